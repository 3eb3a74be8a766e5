"""Batches: each run as if alone, whoever trained it, however often it was cut off."""

import csv
import itertools
import json
import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from disinhib import batch, read_records, train
from disinhib.experiments.batch.batch_command import parse_share, seconds_of
from disinhib.experiments.batch.here import Share, prepared
from disinhib.experiments.batch.results import (
    Progress,
    batch_table,
    best_study,
    grouped,
    read_batch,
)
from disinhib.experiments.batch.study import read_study
from disinhib.experiments.batch.work import Results, Terms, directory_of, in_turn, own_first, work
from disinhib.experiments.training.lock import RunLock
from disinhib.refimpl import ConfigurationError
from disinhib.validation import newest_checkpoint

from .test_command_line import COMMAND, disinhib, one_line
from .test_resume import learner_arrays
from .test_training import without_times

BASE = {"dataset": "digits", "hidden": [8], "epochs": 2, "batch_size": 50, "backend": "numpy"}
STUDY = {"base": BASE, "vary": {"rule": ["backprop", "exact-inverse"], "seed": "0-1"}}
TERMS = Terms(attempt="here")
TIMES = ("run", "seconds")


def rows_without_times(directory):
    return [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in batch_table(directory)
    ]


def made(directory, source=STUDY, threads=None):
    return prepared(source, {}, directory, threads, lambda line: None)


def worked(directory, source=STUDY, terms=TERMS, stop=lambda: 0):
    study = made(directory, source)
    return work(directory, study.rows(), study.n_combinations, terms, stop)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "s"
    assert worked(directory)
    return directory


def files_of(directory):
    return {path.name for path in directory.iterdir()}


def test_every_run_is_what_it_is_alone(undisturbed, tmp_path):
    study, _ = read_batch(undisturbed)
    for row in study.rows():
        place = directory_of(undisturbed, row, 4)
        alone = tmp_path / row.name
        train(row.configuration(), out=alone, progress=False)
        # But for its picture, for which it is to be asked.
        assert files_of(place) | {"curves.png"} == files_of(alone)
        assert "curves.png" not in files_of(place)
        checkpoints = [newest_checkpoint(one / "checkpoint.h5")[0] for one in (place, alone)]
        ours, theirs = (learner_arrays(one.learner) for one in checkpoints)
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
        assert without_times(place) == without_times(alone)
        assert (place / "config.toml").read_text() == (alone / "config.toml").read_text()


def test_the_table_has_a_row_a_run_in_the_order_of_the_study(undisturbed):
    rows = batch_table(undisturbed)
    combinations = itertools.product(["backprop", "exact-inverse"], [0, 1])
    assert [(row["rule"], row["seed"]) for row in rows] == list(combinations)
    for row in rows:
        records = read_records(Path(row["run"]) / "metrics.jsonl")
        assert (row["state"], row["why"], row["epochs"]) == ("done", "", 2)
        assert row["test_accuracy"] == records[-1].test_accuracy
        best = max(records, key=lambda record: record.valid_accuracy)
        assert row["best_epoch"] == best.epoch
        assert row["best_test_loss"] == best.test_loss


def test_each_result_says_on_what_its_last_bits_depend(undisturbed):
    for line in Results(undisturbed).outcomes.values():
        assert line["threads"] == 1
        assert {"python", "numpy", "numba", "disinhib"} <= set(line["versions"])
        assert line["processor"]
        assert "numpy" in line["computed_by"]


def test_means_and_deviations_are_those_of_a_sample(undisturbed):
    rows = batch_table(undisturbed)
    (backprop, exact) = grouped(rows, ["rule"], ["test_loss"])
    for line, rule in ((backprop, "backprop"), (exact, "exact-inverse")):
        values = [row["test_loss"] for row in rows if row["rule"] == rule]
        assert line["n"] == 2
        assert line["test_loss"] == pytest.approx(np.mean(values))
        assert line["test_loss_sd"] == pytest.approx(np.std(values, ddof=1))
    (alone,) = grouped(rows[:1], [], ["test_loss"])
    assert alone["test_loss_sd"] is None
    with pytest.raises(ConfigurationError, match="'speed' is no column"):
        grouped(rows, ["rule"], ["speed"])


@pytest.mark.parametrize("calls", [pytest.param(6, marks=pytest.mark.slow), 20])
def test_a_batch_that_was_stopped_goes_on_to_the_same_table(undisturbed, tmp_path, calls):
    directory, n_stops = tmp_path / "s", 0
    while True:
        asked = itertools.count()

        def stop(asked=asked):
            return int(next(asked) >= calls)

        if worked(directory, stop=stop, terms=Terms(attempt=str(n_stops))):
            break
        n_stops += 1
        assert n_stops < 500
    assert n_stops > 0
    assert rows_without_times(directory) == rows_without_times(undisturbed)


def test_workers_that_meet_share_without_doing_anything_twice(undisturbed, tmp_path):
    directory = tmp_path / "s"
    study = made(directory)
    rows = list(study.rows())
    for share in (1, 2):
        own = in_turn(study.rows(), share, 2)
        assert work(directory, own, 4, Terms(attempt=str(share)))
    assert rows_without_times(directory) == rows_without_times(undisturbed)
    lines = [line for path in (directory / "results").iterdir() for line in path.open()]
    assert len(lines) == 4
    assert work(directory, rows, 4, Terms(attempt="again"))
    assert len([line for path in (directory / "results").iterdir() for line in path.open()]) == 4


@pytest.mark.parametrize("share", [1, 2, 3])
def test_a_worker_begins_with_rows_of_its_own_and_leaves_none_out(share):
    ordered = own_first(list(range(10)), share, 3)
    assert sorted(ordered) == list(range(10))
    assert ordered[:3] == list(range(share - 1, 10, 3))[:3]


def test_a_run_that_somebody_else_holds_is_left_to_them(tmp_path):
    directory = tmp_path / "s"
    study = made(directory)
    held = directory_of(directory, next(study.rows()), 4)
    held.mkdir(parents=True)
    lock = RunLock(held)
    assert not worked(directory)
    assert len(batch_table(directory)) == 3
    lock.release()
    assert worked(directory)
    assert len(batch_table(directory)) == 4


DIVERGING = {"base": {**BASE, "optimizer": {"name": "sgd"}},
             "vary": {"optimizer.learning_rate": [1e30, 0.01]}}  # fmt: skip


def test_a_run_that_diverges_is_a_row_that_says_so_and_the_others_go_on(tmp_path):
    assert worked(tmp_path / "s", DIVERGING)
    diverged, done = batch_table(tmp_path / "s")
    assert (diverged["state"], done["state"]) == ("diverged", "done")
    assert "not finite in epoch 1" in diverged["why"]
    (before,) = (tmp_path / "s" / "results").iterdir()
    content = before.read_text()
    assert worked(tmp_path / "s", DIVERGING, Terms(attempt="again"))
    assert before.read_text() == content
    assert [row["state"] for row in batch_table(tmp_path / "s")] == ["diverged", "done"]


def test_what_failed_is_tried_again_by_the_next_command_and_not_by_the_same(tmp_path):
    source = {"base": BASE, "vary": {"batch_size": [50, 5000]}}
    directory = tmp_path / "s"
    for attempt in ("one", "one", "two"):
        assert worked(directory, source, Terms(attempt=attempt))
    states = [row["state"] for row in batch_table(directory)]
    assert states == ["done", "failed"]
    assert "batch_size is 5000" in batch_table(directory)[1]["why"]
    lines = [json.loads(x) for path in (directory / "results").iterdir() for x in path.open()]
    attempts = [line["attempt"] for line in lines if line["state"] == "failed"]
    assert sorted(attempts) == ["one", "two"]


@pytest.mark.slow
def test_more_epochs_go_on_with_the_same_runs(tmp_path):
    directory, seeds = tmp_path / "s", {"seed": "0-1"}
    assert worked(directory, {"base": {**BASE, "epochs": 1}, "vary": seeds})
    longer = {"base": BASE, "vary": seeds}
    assert worked(directory, longer, Terms(attempt="longer"))
    assert worked(tmp_path / "at-once", longer)
    assert rows_without_times(directory) == rows_without_times(tmp_path / "at-once")


@pytest.mark.slow
def test_a_run_of_other_settings_in_a_row_s_place_is_left_alone(tmp_path):
    study = made(tmp_path / "s")
    row = next(study.rows())
    place = directory_of(tmp_path / "s", row, 4)
    other = row.configuration().model_copy(update={"tau_E": 0.03})
    train(other, out=place, progress=False)
    before = (place / "metrics.jsonl").read_text()
    assert worked(tmp_path / "s")
    first = batch_table(tmp_path / "s")[0]
    assert (first["state"], first["why"]) == (
        "failed",
        f"{place} holds another run: tau_E is 0.03 there, 0.02 here",
    )
    assert (place / "metrics.jsonl").read_text() == before


def test_a_changed_study_says_which_rows_come_and_go(tmp_path):
    directory, told = tmp_path / "s", []
    made(directory)
    other = {**STUDY, "vary": {**STUDY["vary"], "seed": "1-3"}}
    prepared(other, {}, directory, None, told.append)
    assert [line.split(" rows are ")[0] for line in told] == ["4", "2"]
    assert "seed-2" in told[0]
    assert "no longer in the study" in told[1]
    assert "seed-0" in told[1]
    another = {"base": {**BASE, "tau_E": 0.03}, "vary": STUDY["vary"]}
    with pytest.raises(ConfigurationError, match="another study, of whose 6 rows"):
        made(directory, another)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(ConfigurationError, match="holds something else"):
        made(tmp_path)
    with pytest.raises(ConfigurationError, match=r"holds no study: study\.toml is missing"):
        batch_table(tmp_path)


def test_backend_and_threads_are_those_of_the_first_time(tmp_path, monkeypatch):
    source = {"base": {**BASE, "backend": "auto"}}
    first = made(tmp_path / "s", source, threads=2)
    assert (first.base["backend"], first.base["threads"]) == ("numpy", 2)
    monkeypatch.setenv("DISINHIB_BACKEND", "numba")
    again = made(tmp_path / "s", source)
    assert (again.base["backend"], again.base["threads"]) == ("numpy", 2)


@pytest.mark.slow
def test_a_line_that_was_cut_short_is_none(undisturbed, tmp_path):
    directory = tmp_path / "s"
    assert worked(directory)
    (file,) = (directory / "results").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert len(Results(directory).outcomes) == 3
    assert worked(directory, terms=Terms(attempt="again"))
    assert rows_without_times(directory) == rows_without_times(undisturbed)


def test_results_are_read_as_they_come(tmp_path):
    ours, theirs = Results(tmp_path), Results(tmp_path)
    for number in range(3):
        theirs.write({"key": str(number), "state": "stopped"})
        theirs.write({"key": "0", "state": "done"})
        ours.refresh(at_once=True)
        assert set(ours.outcomes) == {"0", *(str(n) for n in range(number + 1))}
    theirs.write({"key": "0", "state": "stopped"})
    ours.refresh(at_once=True)
    assert ours.outcomes["0"]["state"] == "done"


def test_reading_results_takes_a_hundredth_of_the_time(tmp_path, monkeypatch):
    """On a file system that takes two seconds over it."""
    now, scanned, scandir = 0.0, [], os.scandir

    def slow(path):
        nonlocal now
        scanned.append(now)
        now += 2.0
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    results = Results(tmp_path)
    while now < 1000:
        now += 0.5
        results.refresh()
    # The first reads what there is, which says nothing of the others.
    assert scanned[:2] == [0.0, 2.5]
    assert len(scanned) == 6
    results.refresh(at_once=True)
    assert len(scanned) == 7


def test_who_finds_a_run_done_does_not_speak_for_who_trained_it(tmp_path, monkeypatch):
    """Others' results may not have been read: the run's own directory tells."""
    refresh = Results.refresh
    late = lambda self, at_once=False: refresh(self, True) if at_once else None  # noqa: E731
    study = {"base": {**STUDY["base"], "epochs": 1}, "vary": {"seed": "0-1"}}
    assert worked(tmp_path / "s", study)
    before = Results(tmp_path / "s").outcomes
    with monkeypatch.context() as patch:
        patch.setattr(Results, "refresh", late)
        for _ in range(3):
            assert worked(tmp_path / "s", study)
    assert Results(tmp_path / "s").outcomes == before
    for file in (tmp_path / "s" / "results").iterdir():
        file.unlink()
    # Who was killed before the line was written has left the run.
    assert worked(tmp_path / "s", study)
    assert [row["state"] for row in batch_table(tmp_path / "s")] == ["done", "done"]


def test_runs_that_have_gone_further_than_is_asked_are_done(tmp_path):
    study = {"base": {**STUDY["base"], "epochs": 2}, "vary": {"seed": "0-1"}}
    assert worked(tmp_path / "s", study)
    shorter = {**study, "base": {**study["base"], "epochs": 1}}
    assert worked(tmp_path / "s", shorter)
    results = Results(tmp_path / "s")
    progress = Progress(read_study(shorter), tmp_path / "s", Share(), "", results)
    assert progress.n_left == 0


def test_a_worker_knows_no_more_than_it_needs(tmp_path):
    Results(tmp_path).write({"key": "a", "state": "done", "asked": 3, "epochs": 3, "loss": 0.5})
    Results(tmp_path).write({"key": "b", "state": "done", "asked": 3, "epochs": 3, "loss": 0.5})
    assert Results(tmp_path, {"a"}).outcomes == {"a": {"state": "done", "asked": 3, "epochs": 3}}


def test_a_large_study_lies_in_many_directories_and_finds_what_it_had(tmp_path):
    row = next(read_study(STUDY).rows())
    small, large = (directory_of(tmp_path, row, n) for n in (10, 10_000))
    assert large.parent.parent == small.parent
    small.mkdir(parents=True)
    assert directory_of(tmp_path, row, 10_000) == small


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h50m", 10_200), ("90s", 90), ("1d", 86_400), ("5", 300), ("1h", 3600)],
)
def test_a_time_limit(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1h", "2 apples", "h", "1e3s"])
def test_what_is_no_time_limit(text):
    with pytest.raises(ConfigurationError, match="as in 2h50m"):
        seconds_of(text)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3"])
def test_what_is_no_share(text):
    with pytest.raises(ConfigurationError, match="I from 1 to N"):
        parse_share(text)


def test_the_best_settings_are_a_study_of_their_own(undisturbed, tmp_path):
    study = best_study(undisturbed, 1, [3, 4], 5)
    rows = batch_table(undisturbed)
    means = {
        rule: statistics.fmean(row["valid_accuracy"] for row in rows if row["rule"] == rule)
        for rule in ("backprop", "exact-inverse")
    }
    assert study.cases == ({"rule": max(means, key=means.get)},)
    assert (study.base["epochs"], list(study.vary["seed"])) == (5, [3, 4])


# As a command, with processes.


def written(path, source):
    text = []
    for table, values in source.items():
        text.append(f"[{table}]")
        text += [f'"{name}" = {json.dumps(value)}' for name, value in values.items()]
    path.write_text("\n".join(text) + "\n")
    return path


def test_the_command_from_the_study_to_its_table_and_picture(undisturbed, tmp_path):
    study = written(tmp_path / "study.toml", STUDY)
    first = disinhib("batch", "run", study, "--out", "s", "--workers", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "4 runs: 4 done" in first.stdout
    assert rows_without_times(tmp_path / "s") == rows_without_times(undisturbed)
    again = disinhib("batch", "run", study, "--out", "s", cwd=tmp_path)
    assert again.returncode == 0
    assert "/4  " not in again.stdout
    assert "4 runs: 4 done" in disinhib("batch", "status", "s", cwd=tmp_path).stdout
    table = disinhib(
        "batch", "table", "s", "--by", "rule", "--csv", "t.csv", "--markdown", "t.md",
        cwd=tmp_path, COLUMNS="200",
    )  # fmt: skip
    assert table.returncode == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["rule"] for row in rows] == ["backprop", "exact-inverse"]
    values = [r["test_accuracy"] for r in batch_table(undisturbed) if r["rule"] == "backprop"]
    assert float(rows[0]["test_accuracy"]) == pytest.approx(np.mean(values))
    shown = f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f} %"
    assert shown in table.stdout
    assert shown in (tmp_path / "t.md").read_text()
    assert disinhib("batch", "plot", "s", cwd=tmp_path).returncode == 0
    assert (tmp_path / "s" / "batch.png").read_bytes().startswith(b"\x89PNG")
    best = disinhib("batch", "best", "s", "--seeds", "0-2", cwd=tmp_path)
    (tmp_path / "best.toml").write_text(best.stdout)
    assert read_study(tmp_path / "best.toml").n_combinations == 3


@pytest.mark.parametrize(("words", "says"), [
    (["run", "none.toml"], "no such configuration file"),
    (["run", "study.toml", "--shard", "3/2"], "I from 1 to N"),
    (["run", "study.toml", "--time-limit", "soon"], "as in 2h50m"),
    (["run", "study.toml", "--workers", "0"], "--workers is 0"),
    (["run", "study.toml", "--workers", "2", "--slurm", "2"], "in one of these ways"),
    (["run", "study.toml", "--set", "k_p=3"], "controller.k_p"),
    (["status", "nowhere"], "holds no study"),
    (["table", "nowhere"], "holds no study"),
    (["plot", "nowhere"], "holds no study"),
    (["best", "nowhere", "--seeds", "x"], "--seeds is 'x'"),
    (["best", "nowhere", "--top", "0"], "--top is 0"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_and_code_2(tmp_path, words, says):
    written(tmp_path / "study.toml", STUDY)
    result = disinhib("batch", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert says in one_line(result)
    assert files_of(tmp_path) == {"study.toml"}


def started(directory, *options):
    return subprocess.Popen(
        [COMMAND, "batch", "run", "study.toml", "--out", "s", *options],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


LONG = {"base": {**BASE, "epochs": 5}, "vary": {"seed": "0-1"}}


def workers_of(directory):
    """Process numbers of workers that are at a run, as soon as there is one."""
    while True:
        for path in (directory / "s" / "workers").glob("*.json"):
            news = json.loads(path.read_text())
            if Path(f"/proc/{news['process']}").exists():
                return news["process"]
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc")
def test_a_worker_that_is_killed_is_followed_by_another(tmp_path):
    written(tmp_path / "study.toml", LONG)
    process = started(tmp_path, "--workers", "1")
    os.kill(workers_of(tmp_path), signal.SIGKILL)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "2 runs: 2 done" in output
    assert worked(tmp_path / "alone", LONG)
    assert rows_without_times(tmp_path / "s") == rows_without_times(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc")
def test_workers_end_with_whom_they_work_for_and_nothing_is_lost(tmp_path):
    written(tmp_path / "study.toml", LONG)
    process = started(tmp_path, "--workers", "1")
    worker = workers_of(tmp_path)
    process.kill()
    process.wait()
    while Path(f"/proc/{worker}").exists():
        time.sleep(0.05)
    again = disinhib("batch", "run", "study.toml", "--out", "s", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert worked(tmp_path / "alone", LONG)
    assert rows_without_times(tmp_path / "s") == rows_without_times(tmp_path / "alone")


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        signal.SIGUSR1,
    ],
)
def test_a_signal_saves_what_is_begun_and_says_how_to_go_on(tmp_path, number):
    written(tmp_path / "study.toml", {**LONG, "base": {**LONG["base"], "epochs": 5000}})
    process = started(tmp_path, "--workers", "1")
    workers_of(tmp_path)
    process.send_signal(number)
    output, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert "Stopped; the same command goes on" in output
    assert [row["state"] for row in batch_table(tmp_path / "s")] == ["stopped"]


def test_when_the_time_is_up_no_row_is_begun(tmp_path):
    assert not worked(tmp_path / "s", terms=Terms("late", deadline=0.0))
    assert batch_table(tmp_path / "s") == []


def test_the_last_row_is_left_where_it_was_only_saved(tmp_path):
    # As done, a job of SLURM would not go back into the queue.
    one, asked = {"base": {**BASE, "epochs": 4}}, itertools.count()
    assert not worked(tmp_path / "s", one, stop=lambda: int(next(asked) >= 5))
    study, results = read_batch(tmp_path / "s")
    assert [line["state"] for line in results.outcomes.values()] == ["stopped"]
    assert Progress(study, tmp_path / "s", Share(), TERMS.attempt, results).n_left == 1


@pytest.mark.slow
def test_when_the_time_is_up_what_is_begun_is_saved(tmp_path):
    written(tmp_path / "study.toml", {**LONG, "base": {**LONG["base"], "epochs": 50_000}})
    result = disinhib("batch", "run", "study.toml", "--out", "s", "--time-limit", "8s",
                      "--workers", "1", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 75, result.stderr
    assert "The time is up" in result.stdout


# From Python.


def test_from_python_a_batch_is_its_table(undisturbed, tmp_path):
    rows = batch(STUDY, tmp_path / "s", progress=False, workers=2)
    assert [{k: v for k, v in row.items() if k not in TIMES} for row in rows] == (
        rows_without_times(undisturbed)
    )
    assert batch(STUDY, tmp_path / "s", progress=False) == rows
