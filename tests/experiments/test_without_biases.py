"""`bias = false`: a run, its files and what goes on from them."""

import json

import h5py
import numpy as np
import pytest

import disinhib as package
from disinhib.experiments.training import load_run_configuration
from disinhib.validation import (
    FileError,
    named_arrays,
    read_checkpoint,
    read_trace,
    record_standard_case,
    write_trace,
)
from disinhib.validation.storage.signed_file import sign
from disinhib.validation.trace.cases import standard_cases

from .test_command_line import disinhib, one_line

RUN = ("--hidden", "8,6", "--batch-size", "50", "--epochs", "1", "--backend", "numpy")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run without biases, and one with them."""
    found = {}
    for bias in ("false", "true"):
        out = found[bias] = tmp_path_factory.mktemp("runs") / bias
        result = disinhib("train", *RUN, "--set", f"bias={bias}", "--out", out)
        assert result.returncode == 0, result.stderr
    return found


def test_a_run_has_none_and_says_so(runs):
    for bias, out in runs.items():
        parameters = named_arrays(read_checkpoint(out / "checkpoint.h5").learner.parameters)
        learnt = [np.any(b) for name, b in parameters.items() if name.endswith("bias")]
        assert learnt == 2 * [bias == "true"]
        assert f"bias = {bias}\n" in (out / "config.toml").read_text()
    network = package.load(runs["false"])
    assert not network.configuration.bias
    assert 0 < network.evaluate("test").accuracy < 1
    assert network.picture("weights").axes


def test_what_is_no_truth_value_is_refused():
    for value in ("0", "1", '"no"', "[]"):
        message = one_line(disinhib("train", "--set", f"bias={value}"))
        assert message.endswith("true or false is needed"), message
    with pytest.raises(package.ConfigurationError, match=r"bias is 'no': true or false is needed"):
        package.train(bias="no")


def test_other_biases_are_no_start_for_it(runs, tmp_path):
    start = ("train", *RUN, "--set", "bias=false", "--out", tmp_path / "next", "--start")
    message = one_line(disinhib(*start, runs["true"]))
    assert f"{runs['true']}: parameters: bias of hidden layer 0 is " in message
    assert message.endswith("0 is needed, since the network is configured without biases")
    assert not (tmp_path / "next").exists()
    assert disinhib(*start, runs["false"]).returncode == 0


def test_a_run_is_not_resumed_as_another(runs):
    file = runs["false"] / "config.toml"
    before = file.read_text()
    file.write_text(before.replace("bias = false", "bias = true"))
    try:
        message = one_line(disinhib("train", "--resume", runs["false"], "--epochs", "2"))
        assert f"bias is true in {file}, false in the checkpoint" in message.lower()
    finally:
        file.write_text(before)


def test_what_was_saved_before_there_was_the_setting_has_biases(runs):
    """Its files have no word of it."""
    checkpoint, file = runs["true"] / "checkpoint.h5", runs["true"] / "config.toml"
    file.write_text(file.read_text().replace("bias = true\n", ""))
    with h5py.File(checkpoint, "r+") as content:
        settings = json.loads(content.attrs["config"])
        del settings["bias"]
        content.attrs["config"] = json.dumps(settings)
        sign(content)
    assert load_run_configuration(file, {}).bias
    result = disinhib("train", "--resume", runs["true"], "--epochs", "2")
    assert result.returncode == 0, result.stderr


def test_an_exported_network_has_them_at_0_and_learns_none(runs, tmp_path):
    torch = pytest.importorskip("torch")
    assert disinhib("export", runs["false"], "--out", tmp_path / "n.npz").returncode == 0
    from disinhib.experiments import pytorch_network

    module = pytorch_network.load(str(tmp_path / "n.npz"))
    assert not any(torch.any(b) or b.requires_grad for b in module.biases)
    assert all(W.requires_grad for W in module.weights)


def test_a_trace_says_so_and_one_of_before_says_nothing(tmp_path):
    cases = {case.name: case for case in standard_cases()}
    for name, bias in (("without-biases", False), ("one-unit-layers", True)):
        path = tmp_path / f"{name}.h5"
        write_trace(path, record_standard_case(cases[name]), "a test")
        assert read_trace(path).configuration.bias == bias
        with h5py.File(path) as file:
            assert json.loads(file.attrs["config"]).get("bias") == (None if bias else False)
    with h5py.File(tmp_path / "without-biases.h5", "r+") as file:
        file["initial_parameters/hidden_1/bias"][0] = 0.5
        sign(file)
    with pytest.raises(FileError, match=r"biases other than 0: .* without biases"):
        read_trace(tmp_path / "without-biases.h5")
