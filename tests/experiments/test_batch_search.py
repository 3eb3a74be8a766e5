"""Searches by Optuna: the same trials whoever works on them, and however often they are cut off."""

import itertools
import json
import math
import statistics

import optuna
import pytest

from disinhib.experiments.batch.here import prepared
from disinhib.experiments.batch.results import batch_figure, batch_table, best_study
from disinhib.experiments.batch.search import grid_size, work_on_trials
from disinhib.experiments.batch.study import read_study
from disinhib.experiments.batch.work import Results, Terms
from disinhib.refimpl import ConfigurationError

from .test_command_line import disinhib

BASE = {"dataset": "digits", "hidden": [4], "epochs": 2, "batch_size": 100, "backend": "numpy",
        "rule": "backprop"}  # fmt: skip
RATE = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
TPE = {"base": BASE, "search": {"trials": 15, "prune": "median", "seeds": "0-1", **RATE}}


SHORT = {"base": {**BASE, "epochs": 1}, "search": {"trials": 4, "prune": "median", **RATE}}


def worked(directory, source=TPE, stop=lambda: 0, attempt="here"):
    study = prepared(source, {}, directory, None, lambda line: None)
    combinations = list(study.combinations())
    return work_on_trials(directory, study, combinations, Terms(attempt), stop)


def rows_of(directory):
    timed = ("run", "seconds")
    return [{k: v for k, v in row.items() if k not in timed} for row in batch_table(directory)]


def optuna_trials(directory, name="search"):
    """As Optuna's own tools read them."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(directory / "search.journal")))
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("search") / "s"
    assert worked(directory)
    return directory


def test_a_trial_s_value_is_the_mean_over_its_seeds(undisturbed):
    rows = batch_table(undisturbed)
    trials = optuna_trials(undisturbed)
    assert len(trials) == 15
    n_pruned = 0
    for trial in trials:
        ours = [row for row in rows if row["trial"] == trial.number]
        for row in ours:
            assert row["optimizer.learning_rate"] == trial.params["optimizer.learning_rate"]
        if trial.state.name == "COMPLETE":
            assert [row["seed"] for row in ours] == [0, 1]
            values = [row["valid_accuracy"] for row in ours]
            assert trial.value == pytest.approx(sum(values) / 2)
        else:
            assert trial.state.name == "PRUNED"
            assert ours[-1]["state"] == "pruned"
            n_pruned += 1
    assert n_pruned > 0


def test_a_trial_is_pruned_that_is_below_the_median_of_those_before(undisturbed):
    trials = optuna_trials(undisturbed)
    for trial in trials:
        if trial.state.name != "PRUNED":
            continue
        step = max(trial.intermediate_values)
        at_step = [
            other.intermediate_values[step]
            for other in trials[: trial.number]
            if other.state.name == "COMPLETE" and step in other.intermediate_values
        ]
        assert max(trial.intermediate_values.values()) < statistics.median(at_step)


@pytest.mark.parametrize(
    ("source", "calls"), [(SHORT, 9), pytest.param(TPE, 7, marks=pytest.mark.slow)]
)
def test_a_search_that_was_stopped_ends_with_the_same_trials(tmp_path, source, calls):
    directory, n_stops = tmp_path / "s", 0
    while True:
        asked = itertools.count()
        if worked(directory, source, lambda asked=asked: int(next(asked) >= calls), str(n_stops)):
            break
        n_stops += 1
        assert n_stops < 1000
    assert n_stops > 1
    assert worked(tmp_path / "undisturbed", source)
    assert rows_of(directory) == rows_of(tmp_path / "undisturbed")


def test_the_first_trial_has_the_base_s_settings(undisturbed):
    assert optuna_trials(undisturbed)[0].params == {"optimizer.learning_rate": 1e-3}


def test_the_best_is_that_of_the_best_trial(undisturbed):
    done = [t for t in optuna_trials(undisturbed) if t.state.name == "COMPLETE"]
    best = max(done, key=lambda trial: trial.value)
    study = best_study(undisturbed, 1, [5], None)
    assert dict(study.cases[0]) == best.params


def test_history_and_importance_are_drawn(undisturbed):
    figure = batch_figure(undisturbed)
    history, bars = figure.axes
    assert history.get_ylabel() == "validation accuracy"
    (step,) = (line for line in history.lines if line.get_label() == "best so far")
    assert list(step.get_ydata()) == sorted(step.get_ydata())
    assert sum(bar.get_width() for bar in bars.patches) == pytest.approx(1)


@pytest.mark.slow
def test_a_grid_tries_every_point_once(tmp_path):
    grid = {
        "optimizer.learning_rate": {"values": [1e-3, 1e-2]},
        "batch_size": {"low": 60, "high": 100, "step": 20},
    }
    source = {"base": {**BASE, "epochs": 1}, "search": {"sampler": "grid", "trials": 99, **grid}}
    assert grid_size(read_study(source).search) == 6
    assert worked(tmp_path / "s", source)
    rows = batch_table(tmp_path / "s")
    found = {(row["optimizer.learning_rate"], row["batch_size"]) for row in rows}
    assert found == set(itertools.product([1e-3, 1e-2], [60, 80, 100]))
    assert len(rows) == 6
    # And there it ends.
    assert worked(tmp_path / "s", source, attempt="again")
    assert len(batch_table(tmp_path / "s")) == 6


def test_within_each_combination_there_is_a_search_of_its_own(tmp_path):
    source = {
        "base": {**BASE, "epochs": 1},
        "vary": {"rule": ["backprop", "exact-inverse"]},
        "search": {"sampler": "random", "trials": 2, "metric": "valid_loss", **RATE},
    }
    assert worked(tmp_path / "s", source)
    rows = batch_table(tmp_path / "s")
    assert [(row["rule"], row["trial"]) for row in rows] == [
        ("backprop", 0), ("backprop", 1), ("exact-inverse", 0), ("exact-inverse", 1),
    ]  # fmt: skip
    # The first is the base's; what is drawn is a matter of the search's name.
    rates = [row["optimizer.learning_rate"] for row in rows]
    assert rates[0] == rates[2] == 1e-3
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert len(optuna_trials(tmp_path / "s", "rule = backprop")) == 2
    lowest = min(rows, key=lambda row: row["valid_loss"])
    case = dict(best_study(tmp_path / "s", 1, [0], None).cases[0])
    assert case["optimizer.learning_rate"] == lowest["optimizer.learning_rate"]


def test_a_trial_that_diverges_is_on_record_and_the_search_goes_on(tmp_path):
    source = {
        "base": {**BASE, "epochs": 1, "optimizer": {"name": "sgd"}},
        "search": {"sampler": "grid", "optimizer.learning_rate": {"values": [1e30, 0.1]}},
    }
    assert worked(tmp_path / "s", source)
    states = {row["optimizer.learning_rate"]: row["state"] for row in batch_table(tmp_path / "s")}
    assert states == {1e30: "diverged", 0.1: "done"}
    trials = {t.params["optimizer.learning_rate"]: t for t in optuna_trials(tmp_path / "s")}
    assert trials[1e30].state.name == "FAIL"
    assert math.isfinite(trials[0.1].value)


def test_a_search_may_go_on_longer_but_not_otherwise(undisturbed):
    with pytest.raises(ConfigurationError, match=r"another \[search\]"):
        worked(undisturbed, {**TPE, "search": {**TPE["search"], "seeds": "0"}})
    before = rows_of(undisturbed)
    study = read_study({**TPE, "search": {**TPE["search"], "trials": 16}})
    assert study.search.trials == 16
    assert rows_of(undisturbed) == before


def test_the_command_shows_and_counts_trials(tmp_path):
    source = tmp_path / "search.toml"
    base = "\n".join(f"{name} = {json.dumps(value)}" for name, value in BASE.items())
    searched = '"optimizer.learning_rate" = { low = 1e-3, high = 1e-1 }'
    source.write_text(f'[base]\n{base}\n[search]\ntrials = 3\nsampler = "random"\n{searched}\n')
    result = disinhib("batch", "run", source, "--out", "s", "--workers", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "3 trials: 3 done" in result.stdout
    assert len(Results(tmp_path / "s").trials) == 3
    assert "trial" in disinhib("batch", "table", "s", cwd=tmp_path).stdout
    assert "3 trials: 3 done" in disinhib("batch", "status", "s", cwd=tmp_path).stdout
