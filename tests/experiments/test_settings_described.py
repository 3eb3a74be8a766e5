"""`disinhib config`: every setting, what it means and may be."""

import dataclasses

import pytest

from disinhib.experiments.settings_described import (
    commented_toml,
    described_settings,
    in_words,
)
from disinhib.experiments.training import load_run_configuration, run_configuration
from disinhib.experiments.training.configuration import SETTINGS

from .test_command_line import disinhib, one_line


def test_every_setting_is_explained():
    described = described_settings()
    names = {section: [one.name for one in rows] for section, rows in described.items()}
    top = [name for name in SETTINGS[""] if name not in SETTINGS]
    assert names == {**SETTINGS, "": top}
    for section, rows in described.items():
        for one in rows:
            assert len(one.meaning) > 3, f"{section}.{one.name}"
            assert one.allowed, f"{section}.{one.name}"


def test_defaults_are_those_of_a_run_without_settings():
    plain = run_configuration({}, "test").as_dict()
    of_integers = run_configuration({"backend": "integer"}, "test").as_dict()["arithmetic"]
    for section, rows in described_settings().items():
        if section == "arithmetic":
            owner = {"preset": "int16", **of_integers}
        else:
            owner = plain[section] if section else plain
        # What is off is not in it.
        assert {one.name: one.default for one in rows} == {
            one.name: owner.get(one.name) for one in rows
        }


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("controller.tau", "number, above 0"),
        ("mean_inhibition.rate", "number, at least 0, at most 1"),
        ("optimizer.beta_1", "number, at least 0, below 1"),
        ("optimizer.name", "adam, sgd"),
        ("solver.max_steps", "whole number, at least 1, at most 2,147,483,647"),
        ("feedback.average", "true, false"),
        ("rule", "exact-inverse, linear-threshold, linear-threshold-fixed, backprop"),
        ("hidden", "list of whole numbers, each at least 1"),
    ],
)
def test_what_a_setting_may_be_is_what_its_class_checks(name, allowed):
    section, _, key = name.rpartition(".")
    (found,) = [one for one in described_settings()[section] if one.name == key]
    assert found.allowed == allowed


def test_limits_in_words():
    assert in_words(above=0) == "number, above 0"
    assert in_words(minimum=1, whole=True) == "whole number, at least 1"
    assert in_words(among=(True, False)) == "true, false"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"threads": 2, "data_dir": "a b", "dataset": "own data.npz", "hidden": [7],
         "feedback": {"clip": 0.1}, "schedule": {"name": "cosine"}, "seed": -10**30},
        {"backend": "integer", "arithmetic": {"preset": "fpga", "ticks": 7, "weight": "12.9"}},
    ],
)  # fmt: skip
def test_what_it_prints_is_the_configuration(tmp_path, settings):
    configuration = run_configuration(settings, "test")
    file = tmp_path / "run.toml"
    file.write_text(commented_toml(configuration), encoding="utf-8")
    assert load_run_configuration(file, {}) == configuration


def test_what_is_off_stands_there_too():
    lines = commented_toml(run_configuration({}, "test")).splitlines()
    for name in ("threads", "data_dir", "start", "clip"):
        assert f"# {name} =" in lines


def test_the_command_takes_a_file_and_settings(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("epochs = 7\n")
    result = disinhib("config", file, "--set", "controller.k_p=0.3", "--set", "rule=backprop")
    assert result.returncode == 0, result.stderr
    (tmp_path / "whole.toml").write_text(result.stdout, encoding="utf-8")
    found = load_run_configuration(tmp_path / "whole.toml", {})
    assert (found.epochs, found.controller.k_p, found.rule) == (7, 0.3, "backprop")
    assert dataclasses.asdict(found.solver) == dataclasses.asdict(
        run_configuration({}, "test").solver
    )
    refused = disinhib("config", "--set", "k_p=0.3")
    assert refused.returncode == 2
    assert "controller.k_p" in one_line(refused)
