"""What a study's file says, and what is none."""

import itertools
import json

import pytest

from disinhib.experiments.batch.here import prepared
from disinhib.experiments.batch.study import Study, new_and_gone, read_study, write_study
from disinhib.experiments.training import dotted
from disinhib.experiments.training.configuration import RunConfiguration, run_configuration
from disinhib.refimpl import ConfigurationError

STUDY = {
    "base": {"dataset": "digits", "hidden": [8], "epochs": 2, "controller": {"k_p": 0.3}},
    "vary": {
        "rule": ["backprop", "exact-inverse"],
        "seed": "0-2,7",
        "optimizer.learning_rate": [3e-4, 1e-3],
    },
}


def test_rows_are_every_combination_the_last_setting_first_to_change():
    rates, seeds = [3e-4, 1e-3], [0, 1, 2, 7]
    wanted = list(itertools.product(["backprop", "exact-inverse"], seeds, rates))
    study = read_study(STUDY)
    assert study.n_combinations == len(wanted) == 16
    rows = list(study.rows())
    assert [tuple(row.own.values()) for row in rows] == wanted
    for row, (rule, seed, rate) in zip(rows, wanted, strict=True):
        found = row.configuration()
        assert (found.rule, found.seed, found.optimizer.learning_rate) == (rule, seed, rate)
        assert (found.hidden, found.epochs, found.controller.k_p) == ([8], 2, 0.3)
    assert len({row.key for row in rows}) == len({row.name for row in rows}) == 16


def test_a_million_rows_are_not_listed_before_they_are_asked_for():
    study = read_study({"vary": {"seed": "0-999999"}})
    assert study.n_combinations == 10**6
    assert next(study.rows()).own == {"seed": 0}


def test_sections_may_stand_in_quotes_or_as_tables():
    quoted = read_study({"vary": {"controller.k_p": [0.1, 0.2], "optimizer.name": "sgd"}})
    tables = read_study({"vary": {"controller": {"k_p": [0.1, 0.2]}, "optimizer": {"name": "sgd"}}})
    assert quoted == tables
    assert quoted.vary["optimizer.name"] == ("sgd",)


def test_cases_are_settings_that_go_together():
    study = read_study({
        "case": [{"rule": "backprop"}, {"rule": "exact-inverse", "controller": {"k_p": 2}}],
        "vary": {"seed": [0, 1]},
    })  # fmt: skip
    assert [dict(row.own) for row in study.rows()] == [
        {"rule": "backprop", "seed": 0},
        {"rule": "backprop", "seed": 1},
        {"rule": "exact-inverse", "controller.k_p": 2.0, "seed": 0},
        {"rule": "exact-inverse", "controller.k_p": 2.0, "seed": 1},
    ]


@pytest.mark.parametrize("source", [STUDY, {"base": {"seed": 3}}, {
    "base": {"hidden": [8]}, "case": [{"tau_E": 0.03}],
    "vary": {"hidden": [[8], [4, 4]]},
    "search": {"trials": 7, "sampler": "random", "seeds": "2-3", "metric": "valid_loss",
               "prune": "median", "controller.k_p": {"low": 0.1, "high": 2, "log": True},
               "batch_size": {"low": 10, "high": 50, "step": 10},
               "optimizer.name": {"values": ["adam", "sgd"]}},
}])  # fmt: skip
def test_what_is_written_is_read_again(tmp_path, source):
    study = read_study(source)
    write_study(tmp_path / "study.toml", study)
    assert read_study(tmp_path / "study.toml") == study


def test_a_row_s_key_is_of_all_that_makes_another_run():
    plain = dotted(RunConfiguration().as_dict())
    others = {
        "dataset": "mnist", "rule": "backprop", "hidden": [7], "loss": "mse", "dtype": "float64",
        "backend": "numpy", "optimizer.name": "sgd", "schedule.name": "step",
        "solver.method": "tsit5", "solver.step_control": "constant", "solver.settled": "published",
    }  # fmt: skip
    before = next(read_study({}).rows()).key
    tried = 0
    for name, value in plain.items():
        if name in ("epochs", "threads", "data_dir", "start"):
            continue
        is_bool, is_number = isinstance(value, bool), isinstance(value, (int, float))
        other = not value if is_bool else value * 1.5 + 1 if is_number else others[name]
        if isinstance(value, int) and not is_bool:
            other = value + 1
        section, _, key = name.rpartition(".")
        base = {section: {key: other}} if section else {key: other}
        try:
            run_configuration(base, "")
        except ConfigurationError:
            base = {section: {key: value / 2}}
        assert next(read_study({"base": base}).rows()).key != before, name
        tried += 1
    assert tried > 40


@pytest.mark.parametrize("base", [{"epochs": 7}, {"data_dir": "/elsewhere"}, {"threads": 3}])
def test_what_makes_no_other_run_leaves_its_key(base):
    keys = [next(read_study({"base": one}).rows()).key for one in (base, {})]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("more", [{"schedule": {"name": "cosine"}}, {}])
def test_epochs_count_where_the_end_decides_the_way_or_they_vary(more):
    if more:
        keys = [
            next(read_study({"base": {"epochs": n, **more}}).rows()).key for n in (5, 6)
        ]  # fmt: skip
    else:
        keys = [row.key for row in read_study({"vary": {"epochs": [5, 6]}}).rows()]
    assert keys[0] != keys[1]


def test_what_a_changed_study_has_and_had():
    now = read_study({**STUDY, "vary": {**STUDY["vary"], "seed": "1-3,7"}})
    new, gone = new_and_gone(read_study(STUDY), now)
    assert len(new) == len(gone) == 4
    assert all("seed-3" in name for name in new)
    assert all("seed-0" in name for name in gone)


BAD = [
    ({"bass": {}}, "'bass' is no part of a study"),
    ({"rule": "backprop"}, "a run's settings stand in [base]"),
    ({"base": {"rule": "backdrop"}}, "study [base]: rule is 'backdrop'"),
    ({"base": 3}, "base is 3: a table [base]"),
    ({"vary": {"k_p": [1]}}, "no setting 'k_p' to vary: did you mean controller.k_p?"),
    ({"vary": {"kp": [1]}}, "`disinhib config` has them all"),
    ({"vary": {"controller": [1]}}, "name one of its settings, as controller.k_p"),
    ({"vary": {"seed": []}}, "seed has no value"),
    ({"vary": {"seed": [1, 1]}}, "seed has 1 twice"),
    ({"vary": {"seed": "3-1"}}, "a range goes up"),
    ({"vary": {"seed": "a"}}, 'as in "0-9"'),
    ({"vary": {"seed": [0.5]}}, "seed is 0.5"),
    ({"vary": {"hidden": [128, 64]}}, "a list of layers' units for each network"),
    ({"vary": {"controller.k_p": [-1]}}, "k_p is -1"),
    ({"vary": {"controller.k_p": [{"low": 1}]}}, "a value is needed"),
    ({"case": {"rule": "backprop"}}, "tables [[case]] are needed"),
    ({"case": [{"seed": 1}], "vary": {"seed": [2]}}, "[[case]] and [vary]"),
    ({"search": {"trials": 3}}, "nothing is searched for"),
    ({"search": {"metric": "test_accuracy", "tau_E": {"low": 1, "high": 2}}}, "for the end"),
    ({"search": {"sampler": "magic", "tau_E": {"low": 1, "high": 2}}}, "tpe, random, grid"),
    ({"search": {"trials": 0, "tau_E": {"low": 1, "high": 2}}}, "trials is 0"),
    ({"search": {"seeds": "x", "tau_E": {"low": 1, "high": 2}}}, "seeds is 'x'"),
    ({"search": {"seeds": [], "tau_E": {"low": 1, "high": 2}}}, "whole numbers are needed"),
    ({"search": {"tau_E": {"low": 2, "high": 1}}}, "low is below high"),
    ({"search": {"tau_E": {"low": 0, "high": 1}}}, "tau_E is 0"),
    ({"search": {"tau_E": [1, 2]}}, "low = …, high = …"),
    ({"search": {"tau_E": {"low": 1, "high": 2, "step": -1}}}, "step -1"),
    ({"search": {"seed": {"low": 1, "high": 2}}}, "seed is nothing to search for"),
    ({"search": {"sampler": "grid", "tau_E": {"low": 1, "high": 2}}}, "no end of values"),
    ({"search": {"tau_E": {"low": 1, "high": 2}}, "vary": {"seed": [1]}}, "has its own seeds"),
    ({"search": {"rule": {"values": ["exact"]}}}, "rule is 'exact'"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "said"), BAD, ids=[json.dumps(one) for one, _ in BAD])
def test_what_is_no_study_is_told_in_a_line(source, said):
    with pytest.raises(ConfigurationError) as problem:
        read_study(source)
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_settings_that_do_not_go_together_are_told_before_anything_is_written(tmp_path):
    source = {
        "base": {"schedule": {"name": "step", "every": 1}},
        "vary": {"optimizer.learning_rate": [0.1, 1e-30], "epochs": [5, 20]},
    }
    with pytest.raises(ConfigurationError, match="the learning rate would come to"):
        prepared(source, {}, tmp_path / "s", None, print)
    assert list(tmp_path.iterdir()) == []


def test_a_case_may_be_a_preset_of_integers():
    """It stands for the formats in which it differs; what the base says otherwise stays."""
    source = {
        "base": {"backend": "integer", "arithmetic": {"ticks": 50, "rate": "16.11"}},
        "case": [
            {"arithmetic.preset": "int16"},
            {"arithmetic.preset": "int8-weights", "arithmetic.ticks": 25},
        ],
    }
    own, narrow = (row.configuration().arithmetic for row in read_study(source).rows())
    assert (str(own.weight), str(own.rate), own.ticks) == ("16.13", "16.11", 50)
    assert (str(narrow.weight), str(narrow.rate), narrow.ticks) == ("8.6", "16.11", 25)
    with pytest.raises(ConfigurationError, match="it may stand in"):
        read_study({"base": source["base"], "vary": {"arithmetic.preset": ["int16", "wide"]}})


def test_a_run_is_not_two_rows(tmp_path):
    """One of them would be left for ever, and who waits for it would be told of others at work."""
    source = {
        "base": {"dataset": "digits", "backend": "numpy"},
        "case": [{"rule": "backprop"}, {}, {"rule": "exact-inverse"}],
        "vary": {"seed": "0-1"},
    }
    with pytest.raises(ConfigurationError) as problem:
        prepared(source, {}, tmp_path / "s", None, print)
    assert str(problem.value) == (
        "[[case]] number 3 is {'rule': 'exact-inverse'}: the same runs as number 2, so that one is "
        "to be left out"
    )
    assert list(tmp_path.iterdir()) == []


def test_settings_from_outside_go_before_the_base_s(tmp_path):
    study = read_study(STUDY, **{"controller.k_p": 0.7, "epochs": 9})
    assert (study.base["controller"]["k_p"], study.base["epochs"]) == (0.7, 9)
    assert isinstance(study, Study)
