"""Numbers on the command line in plain digits, and networks that fit into memory."""

import re
from importlib.metadata import version

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.experiments.command_line import whole_numbers
from disinhib.experiments.training.run import (
    available_bytes,
    needed_bytes,
    refuse_more_than_memory,
)
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import ConfigurationError, NetworkConfiguration, Solver
from disinhib.validation.storage.arrays import named_arrays

from .test_command_line import disinhib, one_line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", "64 64"], "--hidden is '64 64': .*separated by commas.*, as in 64,64$"),
        (["--hidden", "64;32"], "as in 64,32$"),
        (["--hidden", "٣"], "--hidden is '٣': .*as in 256,128$"),
        (["--hidden", "1_0"], "--hidden is '1_0'"),
        (["--hidden", "9" * 5000], "--hidden is '999+….*as in 256,128$"),
        (["--hidden", "10000000000000000000"], r"hidden\[0\] is 10+: a number of 64 bits"),
        (
            ["--hidden", "1000000000000"],
            r"sizes \(64, 10+, 10\), .* GiB of memory are needed",
        ),
        (["--batch-size", "1000000000000"], "digits has 1350 training samples"),
        (["--epochs", "٣"], "Invalid value for '--epochs': '٣' is not a whole number"),
        (["--epochs", "1_0"], "'1_0' is not a whole number"),
        (["--epochs", " 1"], "' 1' is not a whole number"),
        (["--seed", "9" * 5000], "'9+… is not a whole number"),
        (["--learning-rate", "1_0"], "'--learning-rate': '1_0' is not a finite number"),
        (["--learning-rate", "inf"], "'inf' is not a finite number"),
        (["--threads", "100000000000000000000"], "threads is 10+: a number of 64 bits"),
        (["--threads", "5000"], "threads is 5000: at most 1024 can be used"),
    ],
)
def test_a_number_is_written_in_plain_digits(tmp_path, arguments, message):
    line = one_line(disinhib("train", *arguments, cwd=tmp_path))
    assert re.search(message, line), line
    assert list(tmp_path.iterdir()) == []


def test_numbers_come_through(tmp_path):
    small = ("--hidden", "3", "--batch-size", "+675", "--epochs", "1", "--learning-rate", "1.5e-3")
    result = disinhib("train", *small, "--seed", "-7", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "run" / "config.toml").read_text()
    for line in ("seed = -7", "batch_size = 675", "learning_rate = 0.0015"):
        assert f"{line}\n" in text
    assert whole_numbers("--sizes", "3, 4,+5") == [3, 4, 5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_refused_needs_more_than_a_network_has_arrays(dtype):
    """The estimate is what parameters, gradients and moments take, and their float64 draw."""
    sizes, batch = (7, 5, 4, 3), 6
    parameters = initial_parameters(sizes, np.random.default_rng(0))
    drawn = sum(array.nbytes for array in named_arrays(parameters).values())
    backend = NumpyBackend(NetworkConfiguration(sizes=sizes), parameters, dtype, Solver())
    optimizer = backend.learner().optimizer
    held = sum(array.nbytes for array in named_arrays(backend.learner().parameters).values())
    moments = sum(
        array.nbytes
        for moment in (optimizer.first_moment, optimizer.second_moment)
        for array in named_arrays(moment).values()
    )
    states = batch * sum(sizes) * np.dtype(dtype).itemsize
    assert needed_bytes(sizes, batch, np.dtype(dtype).name) == drawn + 2 * held + moments + states


def test_the_limit_is_what_is_free():
    there = available_bytes()
    assert there is not None
    refuse_more_than_memory((64, 8, 10), 100, "float32")
    # A layer of a hundredth of the memory's bytes in float64: its arrays fill it many times.
    too_many = (64, there // 100, 10)
    with pytest.raises(ConfigurationError, match=r"GiB of memory are needed, and .* GiB are free"):
        refuse_more_than_memory(too_many, 100, "float64")
    with pytest.raises(ConfigurationError, match="endlessly many GiB"):
        refuse_more_than_memory((64, 10**400, 10), 100, "float64")


def test_any_setting_may_be_given(tmp_path):
    lines = {
        "controller.k_p=0.3": "k_p = 0.3",
        " hidden = [8, 4] ": "hidden = [\n    8,\n    4,\n]",
        "dtype=float64": 'dtype = "float64"',
        "feedback.average=true": "average = true",
        "optimizer.name=sgd": 'name = "sgd"',
    }
    given = [word for setting in lines for word in ("--set", setting)]
    small = ("--batch-size", "675", "--epochs", "1")
    result = disinhib("train", *small, *given, "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    written = (tmp_path / "run" / "config.toml").read_text()
    for line in lines.values():
        assert f"{line}\n" in written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "seed"], "--set 'seed': NAME=VALUE is needed, as in controller.k_p=0.3"),
        (["--set", "=3"], "NAME=VALUE is needed"),
        (["--set", "seed=1\nepochs=9"], "NAME=VALUE is needed"),
        (["--set", "k_p=3"], "there is no setting 'k_p': did you mean controller.k_p"),
        (["--set", "sharpness=3"], "activation_E.sharpness or activation_I.sharpness"),
        (["--set", "controler.k_p=3"], "did you mean controller.k_p"),
        (["--set", "whatever=3"], "there is no setting 'whatever'$"),
        (["--set", "controller=3"], "controller is a section; .* as in controller.k_p=…"),
        (["--set", "seed=1", "--set", "seed=2"], "seed is given twice$"),
        (["--set", "seed=1", "--seed", "2"], "seed is given twice: by its flag and by --set"),
        (["--set", "seed=one"], "seed is 'one': a whole number"),
        (["--set", "seed=[1"], r"seed is '\[1': a whole number"),
        (["--set", "rule=hebb"], "rule is 'hebb': must be"),
        (["--set", "controller.k_p=-1"], "Controller.k_p is -1: must be at least 0"),
        (["--resume", ".", "--set", "seed=1"], "--set with --resume: a run goes on as it began"),
    ],
)
def test_a_setting_that_is_none_is_told_what_was_meant(tmp_path, arguments, message):
    line = one_line(disinhib("train", *arguments, cwd=tmp_path))
    assert re.search(message, line), line
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_package():
    result = disinhib("--version")
    assert (result.returncode, result.stdout) == (0, f"disinhib {version('disinhib')}\n")


@pytest.mark.parametrize("command", [[], ["train"], ["trace"], ["trace", "record"]])
def test_help_has_a_short_name_and_ends_well(command):
    short, long = disinhib(*command, "-h"), disinhib(*command, "--help")
    assert (short.returncode, short.stderr) == (0, "")
    assert short.stdout == long.stdout
    assert "Usage: disinhib" in short.stdout


@pytest.mark.parametrize("command", [[], ["trace"], ["reproduce"]])
def test_without_a_command_there_is_help_and_nothing_else(command):
    result = disinhib(*command)
    assert (result.returncode, result.stderr) == (2, "")
    assert "Commands" in result.stdout
