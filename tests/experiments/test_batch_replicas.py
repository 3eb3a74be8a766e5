"""Runs side by side in one backend: each is what it is alone, whoever leaves or comes late."""

import importlib
import itertools
import threading

import numpy as np
import pytest

from disinhib import batch
from disinhib.backends import backend_class
from disinhib.experiments.batch.results import batch_table
from disinhib.experiments.batch.study import read_study, write_study
from disinhib.experiments.batch.work import Results, Terms, directory_of, groups_of, own_first
from disinhib.experiments.training import TooManyAtOnce, side_by_side
from disinhib.experiments.training.epochs import steps_at_once, train
from disinhib.experiments.training.lock import RunLock
from disinhib.experiments.training.run import begin, epoch_order
from disinhib.refimpl import ConfigurationError
from disinhib.validation import Position, newest_checkpoint

from ..backends.cuda_on_cpu import COMPILER, cpu_backend
from .test_batch import files_of, rows_without_times, worked
from .test_command_line import disinhib, one_line
from .test_resume import learner_arrays
from .test_training import Watcher, without_times

BASE = {
    "dataset": "digits", "hidden": [8], "epochs": 1, "batch_size": 100, "backend": "numba",
    "threads": 1,
}  # fmt: skip
OWN = {
    "seed": "0-1",
    "optimizer.learning_rate": [1e-3, 1e-2],
    "controller.k_p": [0.2, 1.0],
}
STUDY = {"base": BASE, "vary": OWN}
TERMS = Terms(attempt="here", replicas=8)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    directory = tmp_path_factory.mktemp("alone") / "s"
    assert worked(directory, STUDY, Terms(attempt="alone"))
    return directory


def assert_same_runs(found, expected, n_rows):
    """Tables, checkpoints bit for bit, what is logged, and what lies there."""
    assert rows_without_times(found) == rows_without_times(expected)
    assert len(rows_without_times(found)) == n_rows
    for row in read_study(expected / "study.toml").rows():
        ours, theirs = (directory_of(place, row, n_rows) for place in (found, expected))
        arrays = [
            learner_arrays(newest_checkpoint(run / "checkpoint.h5")[0].learner)
            for run in (ours, theirs)
        ]
        assert arrays[0].keys() == arrays[1].keys()
        for name, array in arrays[0].items():
            np.testing.assert_array_equal(array, arrays[1][name])
        assert without_times(ours) == without_times(theirs)
        assert files_of(ours) == files_of(theirs)


def test_runs_side_by_side_are_what_they_are_alone(alone, tmp_path):
    assert worked(tmp_path / "s", STUDY, TERMS)
    assert_same_runs(tmp_path / "s", alone, 8)
    assert {line["side_by_side"] for line in Results(tmp_path / "s").outcomes.values()} == {8}


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [100, pytest.param(30, marks=pytest.mark.slow)])
def test_those_that_were_stopped_at_different_steps_come_together_again(
    alone, tmp_path, stop_after
):
    """Each asks by itself whether to stop, so that they leave one after the other."""
    asked = itertools.count()
    stop = lambda: int(next(asked) > stop_after)  # noqa: E731
    while not worked(tmp_path / "s", STUDY, TERMS, stop):
        asked = itertools.count()
    assert_same_runs(tmp_path / "s", alone, 8)


def test_a_rate_that_falls_and_ends_that_differ_are_each_run_s_own(tmp_path):
    """The backend is made anew with every rate, and a run that has ended is missed by nobody."""
    study = {
        "base": {**BASE, "schedule": {"name": "step", "every": 1}},
        "vary": {"epochs": [1, 3], "seed": "0-1"},
    }
    assert worked(tmp_path / "alone", study, Terms(attempt="alone"))
    assert worked(tmp_path / "s", study, TERMS)
    assert_same_runs(tmp_path / "s", tmp_path / "alone", 4)


def test_one_that_diverges_leaves_the_others_alone(tmp_path):
    study = {
        "base": {**BASE, "optimizer": {"name": "sgd"}},
        "vary": {"optimizer.learning_rate": [0.1, 1e30, 0.01]},
    }
    assert worked(tmp_path / "alone", study, Terms(attempt="alone"))
    assert worked(tmp_path / "s", study, TERMS)
    rows = batch_table(tmp_path / "s")
    assert [row["state"] for row in rows] == ["done", "diverged", "done"]
    assert "step" in rows[1]["why"]
    assert rows_without_times(tmp_path / "s") == rows_without_times(tmp_path / "alone")


@pytest.mark.slow
def test_one_that_somebody_else_holds_is_left_to_them(alone, tmp_path):
    study = read_study(STUDY)
    held = directory_of(tmp_path / "s", list(study.rows())[3], 8)
    held.mkdir(parents=True)
    (tmp_path / "s" / "runs").mkdir(exist_ok=True)
    lock = RunLock(held)
    # A study's directory is made before anything lies in it.
    write_study(tmp_path / "s" / "study.toml", study)
    assert not worked(tmp_path / "s", STUDY, TERMS)
    assert len(batch_table(tmp_path / "s")) == 7
    lock.release()
    assert worked(tmp_path / "s", STUDY, TERMS)
    assert_same_runs(tmp_path / "s", alone, 8)


def test_where_there_is_no_room_fewer_learn_at_once(alone, tmp_path, monkeypatch):
    tried = []

    def small(name):
        real = backend_class(name)

        def made(configuration, parameters, *arguments, **options):
            n = len(parameters.readout) if parameters.readout.ndim == 3 else 1
            tried.append(n)
            if n > 3:
                raise ConfigurationError(f"{n} replicas have no room: 3 replicas would fit")
            return real(configuration, parameters, *arguments, **options)

        return made

    work = importlib.import_module("disinhib.experiments.batch.work")
    monkeypatch.setattr(work, "backend_class", small)
    assert worked(tmp_path / "s", STUDY, TERMS)
    assert tried[:3] == [8, 4, 2]
    assert_same_runs(tmp_path / "s", alone, 8)


@pytest.mark.skipif(COMPILER is None, reason="neither g++ nor clang++ is here")
def test_by_the_cuda_kernels_runs_side_by_side_are_what_they_are_alone(tmp_path):
    """On the CPU, where their sums have an order; on a GPU within the contract."""
    rows = list(read_study({**STUDY, "vary": {**OWN, "seed": "0"}}).rows())

    def task(row, place):
        def do(make_backend):
            run = begin(row.configuration(), tmp_path / place / row.name, make_backend=make_backend)
            watcher = Watcher(12)
            train(run, Position(0), [], watcher, watcher.stop)
            return learner_arrays(run.backend.learner())

        return do

    found = side_by_side(cpu_backend(), [task(row, "beside") for row in rows])
    for row, ours in zip(rows, found, strict=True):
        theirs = task(row, "alone")(cpu_backend())
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


def test_what_agrees_learns_together_up_to_so_many():
    study = {
        "base": BASE,
        "vary": {**OWN, "rule": ["exact-inverse", "backprop"], "feedback.average": [False, True]},
    }
    rows = list(read_study(study).rows())
    groups = groups_of(rows, 3)
    assert sorted(row.key for group in groups for row in group) == sorted(row.key for row in rows)
    assert max(map(len, groups)) == 3
    # Of each rule and kind of feedback there are eight.
    assert sorted(map(len, groups)) == sorted([3, 3, 2] * 4)
    for group in groups:
        assert len({(row.own["rule"], row.own["feedback.average"]) for row in group}) == 1
    assert groups_of(rows, 1) == [[row] for row in rows]


def test_a_worker_takes_no_rows_that_others_begin_with_beside_its_own():
    """Else the first of two would take 32 of 40 runs, and leave the second's GPU all but idle."""
    rows = list(read_study({"base": BASE, "vary": {"seed": "0-39"}}).rows())
    for number in (1, 2):
        groups = groups_of(own_first(rows, number, 2), 32, n_own=20)
        assert list(map(len, groups)) == [20, 20]
        assert groups[0] == rows[number - 1 :: 2]


@pytest.mark.parametrize("name", ["hidden", "dtype", "solver.rtol", "batch_size", "feedback.clip"])
def test_what_a_backend_has_but_once_is_not_a_replica_s_own(name):
    values = {
        "hidden": [[8], [9]], "dtype": ["float32", "float64"], "solver.rtol": [1e-3, 1e-4],
        "batch_size": [50, 100],
    }  # fmt: skip
    cases = [{}, {"feedback": {"clip": 0.1}}]
    study = {"base": BASE, "case": cases} if name == "feedback.clip" else None
    study = study or {"base": BASE, "vary": {name: values[name]}}
    assert list(map(len, groups_of(list(read_study(study).rows()), 8))) == [1, 1]


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ([], ["--replicas", 0], "--replicas is 0: must be at least 1"),
        (["--set", "backend=numpy"], ["--replicas", 2], "backend numpy does not tell apart"),
    ],
)
def test_what_cannot_be_side_by_side_is_one_line(tmp_path, settings, options, said):
    (tmp_path / "study.toml").write_text('[base]\ndataset = "digits"\n[vary]\nseed = "0-1"\n')
    line = one_line(disinhib("batch", "run", "study.toml", *settings, *options, cwd=tmp_path))
    assert said in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("replicas", ["2", 2.5, True])
def test_what_is_no_number_of_replicas_is_told_before_anything_is_written(tmp_path, replicas):
    with pytest.raises(ConfigurationError, match=r"--replicas is .*: a whole number is needed"):
        batch({"base": BASE}, tmp_path / "s", progress=False, replicas=replicas)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_one_that_loses_its_numbers_amid_a_longer_stretch_ends_alone(tmp_path):
    """Its stretch may end after that of another, whose leaving makes the backend anew."""
    wild = next(read_study({"base": {**BASE, "optimizer": {"learning_rate": 1e30}}}).rows())
    sane = next(read_study({"base": BASE}).rows())
    losses = {}

    def task(row, n_steps):
        def do(make_backend):
            run = begin(row.configuration(), tmp_path / str(n_steps), make_backend=make_backend)
            losses[n_steps] = run.backend.train(run.train, epoch_order(run, 0)[:n_steps]).loss

        return do

    tasks = [task(sane, 3), task(wild, 5)]
    assert side_by_side(backend_class("numba"), tasks) == [None, None]
    assert np.isfinite(losses[3]).all()
    assert not np.isfinite(losses[5]).all()


class _Broken:
    """A backend that fails in learning, and then has nothing to give."""

    def __init__(self, configuration, parameters, *_, **__):
        if parameters.readout.ndim == 3 and len(parameters.readout) == 1:
            raise AssertionError("made anew")

    def load(self, learner):
        pass

    def place(self, x, y, full_scale=None):
        return 0

    def train(self, data, orders):
        raise RuntimeError("the device is lost")

    def learner(self):
        raise RuntimeError("the device is lost")


def _in_time(seconds, kind, tasks):
    """What came of them, in a thread that may be left behind."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(side_by_side(kind, tasks)), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "somebody waits for ever"
    return found


def test_a_backend_that_is_lost_ends_all_its_runs(tmp_path):
    def task(number):
        def do(make_backend):
            row = next(read_study({"base": {**BASE, "seed": number}}).rows())
            run = begin(row.configuration(), tmp_path / str(number), make_backend=make_backend)
            # Two ask for 100 samples at a time, the others for 50: two calls of the backend.
            width = 100 if number < 2 else 50
            run.backend.train(run.train, epoch_order(run, 0)[:2, :width])

        return do

    found = _in_time(20, _Broken, [task(number) for number in range(4)])
    assert [str(problem) for problem in found] == ["the device is lost"] * 4


def test_a_thread_that_cannot_be_had_is_waited_for_by_nobody(tmp_path, monkeypatch):
    real, asked = threading.Thread.start, itertools.count()

    def start(thread):
        if thread.name.startswith("run ") and next(asked) > 1:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    rows = list(read_study({"base": BASE, "vary": {"seed": "0-3"}}).rows())

    def task(row):
        def do(make_backend):
            run = begin(row.configuration(), tmp_path / row.name, make_backend=make_backend)
            run.backend.train(run.train, epoch_order(run, 0)[:2])
            return "done"

        return do

    found = _in_time(20, backend_class("numba"), [task(row) for row in rows])
    assert found[:2] == ["done", "done"]
    assert all(isinstance(problem, TooManyAtOnce) for problem in found[2:])


def test_where_memory_ends_amid_learning_fewer_learn_at_once(tmp_path, monkeypatch):
    work, kind = importlib.import_module("disinhib.experiments.batch.work"), backend_class("numba")
    widths = []

    class Small:
        """Has no room to learn for more than two."""

        def __init__(self, configuration, parameters, *arguments, **options):
            self.n = len(parameters.readout) if parameters.readout.ndim == 3 else 1
            self.real = kind(configuration, parameters, *arguments, **options)

        def __getattr__(self, name):
            return getattr(self.real, name)

        def train(self, data, orders):
            widths.append(self.n)
            if self.n > 2:
                raise MemoryError("out of memory")
            return self.real.train(data, orders)

    monkeypatch.setattr(work, "backend_class", lambda name: Small)
    assert worked(tmp_path / "s", {"base": BASE, "vary": {"seed": "0-2"}}, TERMS)
    assert widths[:2] == [3, 2]
    assert [row["state"] for row in batch_table(tmp_path / "s")] == ["done"] * 3


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def test_what_runs_do_between_steps_does_not_shorten_what_they_take_at_once(tmp_path, monkeypatch):
    """Steps of 2 ms, half a second to look at all learners: a second or two is learnt at once.

    What others do meanwhile once counted as learning, so that one step was taken at a time.
    """
    clock, calls = Clock(), []
    for name in ("epochs", "side_by_side"):
        module = importlib.import_module(f"disinhib.experiments.training.{name}")
        monkeypatch.setattr(module, "time", clock)

    class Slow(backend_class("numba")):
        def train(self, data, batch_order):
            calls.append(len(batch_order))
            clock.now += 2e-3 * len(batch_order)
            return super().train(data, batch_order)

        def learner(self):
            clock.now += 0.5
            return super().learner()

    work = importlib.import_module("disinhib.experiments.batch.work")
    monkeypatch.setattr(work, "backend_class", lambda name: Slow)
    study = {"base": {**BASE, "batch_size": 1, "epochs": 2}, "vary": {"seed": "0-2"}}
    assert worked(tmp_path / "s", study, TERMS)
    n_steps = len(epoch_order(begin_of(study, tmp_path), 0))
    assert sum(calls) == 2 * n_steps
    # 1, 8 and 64 to try how long they take, then 2 s at most are 1000 steps, as a power of two 512.
    at_once = calls[: calls.index(512)]
    assert at_once == [1, 8, 64]
    assert len(calls) <= 3 + 2 * (n_steps // 512 + 1)


def begin_of(study, directory):
    row = next(iter(read_study(study).rows()))
    return begin(row.configuration(), directory / "alone")


@pytest.mark.parametrize("n_steps", [1, 10, 512])
@pytest.mark.parametrize("learning", [1e-4, 1e-2, 0.3, 5.0])
@pytest.mark.parametrize("between", [0.0, 1e-3, 0.1, 30.0])
def test_steps_at_once_are_seen_to_move_and_take_most_of_the_time(n_steps, learning, between):
    taken = steps_at_once(n_steps, learning, between)
    each = learning / n_steps
    assert taken >= 1
    assert taken & (taken - 1) == 0
    if taken > 1:
        assert taken <= 8 * n_steps
        # Nobody waits longer than 2 s; nor than a quarter of one where little else is to do.
        assert taken * each <= 2.0
        if between < 0.02:
            assert taken * each <= 0.25
    if 2 * taken <= 8 * n_steps and between < 0.2:
        # Twice as many would be more than is needed for a tenth of the time.
        assert 2 * taken * each > max(0.25, 9 * between)
