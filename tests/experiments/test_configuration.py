"""The configuration of a run: flags over file over published defaults; mistakes named."""

import re

import pytest

from disinhib.experiments.run_configuration import (
    load_run_configuration,
    run_configuration,
    write_run_configuration,
)
from disinhib.refimpl.errors import ConfigurationError


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
        ("zzz = 3", r"unknown key 'zzz': allowed are dataset, data_dir, rule, hidden"),
        ("[solver]\nrtoll = 1", r"solver: unknown key 'rtoll': did you mean 'rtol'\? allowed are"),
        ('rule = "hebb"', "rule is 'hebb': must be 'exact-inverse', 'linear-threshold'"),
        ('dataset = "cifar"', "dataset is 'cifar': must be 'digits', 'fashion_mnist' or 'mnist'"),
        ('dtype = "float16"', "dtype is 'float16': must be 'float32' or 'float64'"),
        ("epochs = 0", "epochs is 0: must be greater than 0"),
        ("epochs = 1.5", "epochs is 1.5"),
        ("hidden = []", "hidden is .*at least 1"),
        ("hidden = [3, -1]", "hidden.1 is -1: must be greater than 0"),
        ('seed = "x"', "seed is 'x'"),
        ("tau_E = 0", "tau_E is 0.*: must be above 0"),
        ("[controller]\nleak = -1", "controller: Controller.leak is -1: must be at least 0"),
        ("[feedback]\nstrong = 'yes'", "Feedback.strong is 'yes': choose one of true, false"),
        ("[optimizer]\nname = 'lion'", "choose one of adam, sgd"),
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
