"""The configuration of a run: flags over file over published defaults; mistakes named."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from disinhib.experiments.training.configuration import (
    load_run_configuration,
    run_configuration,
    write_run_configuration,
)
from disinhib.refimpl.configuration import ConfigurationError


class FsPath:
    """A path as any library may have its own."""

    def __init__(self, text):
        self.text = text

    def __fspath__(self):
        return self.text


def test_defaults_are_the_published_set_up():
    """Section 7 of the model page."""
    c = load_run_configuration(None, {})
    assert c.hidden == [256, 256, 256]
    assert (c.batch_size, c.epochs, c.optimizer.learning_rate) == (100, 50, 1e-3)
    assert (c.optimizer.beta_1, c.optimizer.beta_2, c.optimizer.epsilon) == (0.9, 0.999, 1e-8)
    assert (c.tau_E, c.tau_I, c.controller.tau) == (0.02, 0.005, 0.1)
    assert (c.controller.k_p, c.controller.k_i, c.controller.leak) == (0.2, 0.4, 1.0)
    assert (c.feedback.strong, c.feedback.normalize, c.feedback.norm) == (True, True, 1.0)
    assert (c.feedback.average, c.feedback.clip, c.feedback.nudge) == (False, None, 0.015)
    assert (c.mean_inhibition.rate, c.mean_inhibition.init) == (1.0, 0.8)
    s = c.solver
    assert (s.rtol, s.atol, s.dt, s.dt_min, s.dt_max) == (1e-3, 1e-6, 1e-3, 1e-4, 1e-2)
    assert (s.p, s.i, s.d, s.factor_min, s.factor_max, s.horizon) == (0.1, 0.3, 0.1, 0.1, 2.0, 2.0)
    assert s.method == "fixed-point"


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(
        'rule = "backprop"\nseed = 7\n'
        '[solver]\nmethod = "tsit5"\nrtol = 1e-4\n[optimizer]\nname = "sgd"\n'
    )
    c = load_run_configuration(
        path, {"seed": 0, "solver.method": "euler", "rule": None, "optimizer.learning_rate": 0.5}
    )
    assert (c.rule, c.seed) == ("backprop", 0)
    assert (c.solver.method, c.solver.rtol, c.solver.atol) == ("euler", 1e-4, 1e-6)
    assert (c.optimizer.name, c.optimizer.learning_rate) == ("sgd", 0.5)


@pytest.mark.parametrize("seed", [0, -3, 2**70])
def test_a_configuration_written_reads_back_the_same(tmp_path, seed):
    path = tmp_path / "c.toml"
    settings = {"seed": seed, "hidden": [3, 4], "feedback": {"clip": 0.5, "strong": False}}
    c = run_configuration(settings, "test")
    write_run_configuration(path, c)
    assert load_run_configuration(path, {}) == c


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch': did you mean 'epochs'?"),
        ("learning_rate = 3", r"unknown key 'learning_rate' here: write it under \[optimizer\]"),
        ("sharpness = 3", r"write it under \[activation_E\] or under \[activation_I\]"),
        ("[solver]\nseed = 3", "unknown key 'seed' here: write it at the top, above all sections"),
        ("[solver]\nk_p = 3", r"unknown key 'k_p' here: write it under \[controller\]"),
        ("learning_rat = 3", r"did you mean 'learning_rate'\? write that under \[optimizer\]"),
        ("TAU_E = 3", "unknown key 'TAU_E': did you mean 'tau_E'?"),
        ("zzz = 3", r"unknown key 'zzz': allowed are dataset, data_dir, rule, hidden"),
        ("[solver]\nrtoll = 1", r"solver: unknown key 'rtoll': did you mean 'rtol'\? allowed are"),
        ('rule = "hebb"', "rule is 'hebb': must be 'exact-inverse', 'linear-threshold'"),
        (
            'dataset = "cifar"',
            "dataset is 'cifar': must be 'digits', .*, a file FILE.npz or FILE.h5, or tfds:NAME",
        ),
        ('dtype = "float16"', "dtype is 'float16': must be 'float32' or 'float64'"),
        ("epochs = 0", "epochs is 0: must be at least 1"),
        ("epochs = 1.5", "epochs is 1.5: a whole number is needed"),
        ('epochs = "1"', "epochs is '1': a whole number is needed"),
        ("epochs = true", "epochs is True: a whole number is needed"),
        ("epochs = 10000000000000000000", "epochs is 1.*: a number of 64 bits is needed"),
        ("hidden = []", r"hidden is \[\]: a list of at least 1 whole number"),
        ("hidden = 8", "hidden is 8: a list of at least 1 whole number"),
        ("hidden = [3, -1]", r"hidden\[1\] is -1: must be at least 1"),
        ("hidden = [true, 4]", r"hidden\[0\] is True: a whole number is needed"),
        ("hidden = [4.0]", r"hidden\[0\] is 4.0: a whole number is needed"),
        ('seed = "x"', "seed is 'x': a whole number of at most 1000 digits"),
        ("seed = true", "seed is True: a whole number of at most 1000 digits"),
        (f"seed = {'7' * 1001}", "seed is 777.*: a whole number of at most 1000 digits"),
        (f"seed = {'7' * 5000}", "a value is no possible one: .*4300 digits"),
        (f"seed = 0x{'7' * 5000}", "seed is too long a number: a whole number of at most"),
        ("seed = 1979-05-27", r"seed is datetime.date\(1979, 5, 27\): a whole number"),
        ("threads = 0", "threads is 0: must be at least 1"),
        ("threads = 1025", "threads is 1025: at most 1024"),
        ("threads = 1000000000000000000000", "threads is 1.*: a number of 64 bits"),
        ("backend = 3", "backend is 3: a text is needed"),
        ('data_dir = ""', "data_dir is '': the name of a file is needed"),
        ('start = "a\\u0000b"', r"start is 'a\\x00b': the name of a file is needed"),
        ('tau_E = "1"', "tau_E is '1': a finite number is needed"),
        ("tau_E = true", "tau_E is True: a finite number is needed"),
        ("tau_I = nan", "tau_I is nan: a finite number is needed"),
        ("tau_I = 1e400", "tau_I is inf: a finite number is needed"),
        ("a = " + 5000 * "[" + 5000 * "]", "lists or tables lie too deep in each other"),
        ("tau_E = 0", "tau_E is 0.*: must be above 0"),
        ("[controller]\nleak = -1", "controller: Controller.leak is -1: must be at least 0"),
        ("[feedback]\nstrong = 'yes'", "Feedback.strong is 'yes': choose one of true, false"),
        ("[optimizer]\nname = 'lion'", "choose one of adam, sgd"),
        ("[optimizer]\nname = ['adam']", r"Optimizer.name is \['adam'\]: choose one of adam, sgd"),
        (
            "[optimizer]\nlearning_rate = [1.0, 2.0]",
            r"optimizer: Optimizer.learning_rate is \[1.0, 2.0\]: a finite number is needed",
        ),
        ("[feedback]\nclip = [1, 2]", r"Feedback.clip is \[1, 2\]: a finite number is needed"),
        ("[feedback]\naverage = 1", "Feedback.average is 1: choose one of true, false"),
        (
            "[feedback]\nnudge = 5",
            "Feedback.nudge is 5: must be at most 1, since 1 is the way to the label",
        ),
        ("[solver]\np = 'x'", "Solver.p is 'x': a finite number is needed"),
        ("[solver]\ni = nan", "Solver.i is nan: a finite number is needed"),
        ("[solver]\nd = inf", "Solver.d is inf: a finite number is needed"),
        ("[solver]\nmax_steps = 2.5", "Solver.max_steps is 2.5: a whole number is needed"),
        ("[solver]\nmax_steps = 3000000000", "Solver.max_steps is 3000000000: must be at most"),
        ("[solver]\nfactor_min = 100\nfactor_max = 1", "factor_min is 100: must be below 1"),
        ("[solver]\nfactor_min = 0.9\nsafety = 0.8", "factor_min 0.9 exceeds safety 0.8"),
        ("[solver]\nmethod = 'rk4'", "choose one of fixed-point, tsit5, euler"),
        ("solver = 3", "solver: 3 is not a table"),
        ("seed = = 2", "not valid TOML"),
    ],
)
def test_mistakes_are_named_with_what_is_allowed(tmp_path, text, message):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as problem:
        load_run_configuration(path, {})
    assert str(problem.value).startswith(str(path))
    assert "\n" not in str(problem.value)


def test_a_mistake_in_a_flag_is_not_blamed_on_the_file(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 1")
    with pytest.raises(ConfigurationError, match=r"^command line: epochs is 0"):
        load_run_configuration(path, {"epochs": 0})
    with pytest.raises(ConfigurationError, match=re.escape(f"{tmp_path / 'no.toml'}: no such")):
        load_run_configuration(tmp_path / "no.toml", {})


def test_a_byte_order_mark_is_none_of_the_text(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 5")
    assert load_run_configuration(path, {}).seed == 5


@pytest.mark.parametrize("content", [b"\xff\xfes\0", b"seed = '\xe9'"])
def test_text_that_is_not_utf_8_is_told_with_its_place(tmp_path, content):
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    place = 0 if content[0] == 255 else 8
    with pytest.raises(ConfigurationError, match=f"not valid TOML: byte {place} is not UTF-8"):
        load_run_configuration(path, {})


def test_a_directory_is_no_configuration_file(tmp_path):
    with pytest.raises(ConfigurationError, match="not a file"):
        load_run_configuration(tmp_path, {})


def test_a_name_that_is_not_utf_8_cannot_be_noted(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    with pytest.raises(ConfigurationError, match=r"data_dir is 'caf\\udce9': config.toml"):
        load_run_configuration(None, {"data_dir": tmp_path.joinpath(name).name})


@pytest.mark.parametrize("kind", [str, Path, FsPath])
def test_paths_may_be_text_or_objects(tmp_path, kind):
    path = kind(str(tmp_path / "c.toml"))
    configuration = run_configuration({"data_dir": path, "start": None}, "test")
    assert configuration.data_dir == tmp_path / "c.toml"
    write_run_configuration(path, configuration)
    assert load_run_configuration(path, {}) == configuration


def test_numpy_numbers_count_and_arrays_do_not():
    settings = {
        "hidden": (np.int64(3),),
        "tau_E": np.float32(0.5),
        "optimizer": {"learning_rate": np.float64(0.25)},
    }
    c = run_configuration(settings, "test")
    assert (c.hidden, c.tau_E, c.optimizer.learning_rate) == ([3], 0.5, 0.25)
    assert type(c.hidden[0]) is int
    assert type(c.tau_E) is float
    rates = np.full((2, 1, 1), 0.1)
    with pytest.raises(ConfigurationError, match=r"optimizer: learning_rate .*one network"):
        run_configuration({"optimizer": {"learning_rate": rates}}, "test")
