"""Batches on Dask: a real scheduler and real workers, in processes of their own, that may die."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from disinhib.experiments.batch.cluster import tasks_of
from disinhib.experiments.batch.here import Share
from disinhib.experiments.batch.results import batch_table
from disinhib.experiments.batch.study import read_study
from disinhib.experiments.batch.work import Results, Terms

from .test_batch import BASE, rows_without_times, worked, written
from .test_command_line import COMMAND, disinhib, one_line

STUDY = {
    "base": {**BASE, "epochs": 4},
    "vary": {"rule": ["backprop", "exact-inverse"], "seed": "0-2"},
}


@contextmanager
def dask(directory, *command):
    """A process of Dask's, and the file that it writes to."""
    log = directory / f"{command[0]}-{time.monotonic_ns()}.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--no-dashboard"],
            stdout=file, stderr=file, env=environment, cwd=directory,
        )  # fmt: skip
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


def found_in(log, pattern):
    while True:
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)


def test_a_task_has_runs_that_may_learn_side_by_side(tmp_path):
    """Though what is neighbour to what in the study is by the order in which it is written."""
    study = read_study(
        {
            "base": {**BASE, "backend": "numba"},
            "vary": {"seed": "0-3", "rule": ["backprop", "exact-inverse"]},
        }
    )
    terms, rows = Terms(replicas=3), list(study.rows())
    tasks = tasks_of(study, Share(), terms, Results(tmp_path))
    assert sorted(number for numbers, _ in tasks for number in numbers) == list(range(8))
    assert sorted(len(numbers) for numbers, _ in tasks) == [1, 1, 3, 3]
    for numbers, times in tasks:
        assert times == 1
        assert len({rows[number].own["rule"] for number in numbers}) == 1
    alone = tasks_of(study, Share(2, 2), Terms(), Results(tmp_path))
    assert alone == [([number], 1) for number in (7, 5, 3, 1)]


@pytest.fixture
def scheduler(tmp_path):
    pytest.importorskip("distributed")
    with dask(tmp_path, "scheduler", "--port", "0", "--host", "127.0.0.1") as (_, log):
        yield found_in(log, r"Scheduler at:\s+(tcp://\S+)")


def a_worker(directory, scheduler):
    return dask(directory, "worker", scheduler, "--nthreads", "1", "--no-nanny")


@pytest.mark.slow
def test_no_scheduler_is_one_line(tmp_path):
    pytest.importorskip("distributed")
    written(tmp_path / "study.toml", STUDY)
    result = disinhib(
        "batch", "run", "study.toml", "--out", "s", "--scheduler", "tcp://127.0.0.1:9",
        cwd=tmp_path, COLUMNS="100",
    )  # fmt: skip
    assert "no scheduler answers" in one_line(result)


@pytest.mark.slow
def test_two_workers_give_the_table_of_one_machine(tmp_path, scheduler):
    written(tmp_path / "study.toml", STUDY)
    with a_worker(tmp_path, scheduler), a_worker(tmp_path, scheduler):
        result = disinhib(
            "batch", "run", "study.toml", "--out", "s", "--scheduler", scheduler,
            cwd=tmp_path, COLUMNS="100",
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert worked(tmp_path / "alone", STUDY)
    assert rows_without_times(tmp_path / "s") == rows_without_times(tmp_path / "alone")


def at_work(directory):
    """Whether some run has been begun and not ended."""
    news = [json.loads(path.read_text()) for path in (directory / "workers").glob("*.json")]
    return any(Path(f"/proc/{one['process']}").exists() for one in news)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc")
def test_workers_and_coordinators_may_die_twenty_times_each(tmp_path, scheduler):
    long = {**STUDY, "base": {**STUDY["base"], "epochs": 12}}
    written(tmp_path / "study.toml", long)
    command = [COMMAND, "batch", "run", "study.toml", "--out", "s", "--scheduler", scheduler]
    n_workers = n_coordinators = 0
    for turn in itertools.count():
        coordinator = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with a_worker(tmp_path, scheduler) as (worker, _), a_worker(tmp_path, scheduler):
            while coordinator.poll() is None and not at_work(tmp_path / "s"):
                time.sleep(0.02)
            time.sleep(0.05 * (turn % 7))
            if n_workers < 20:
                worker.send_signal(signal.SIGKILL)
                n_workers += 1
            if n_coordinators < 20:
                coordinator.kill()
                n_coordinators += 1
                coordinator.wait()
            else:
                assert coordinator.wait() == 0
                break
    assert (n_workers, n_coordinators) == (20, 20)
    assert worked(tmp_path / "alone", long)
    assert rows_without_times(tmp_path / "s") == rows_without_times(tmp_path / "alone")
    assert {row["state"] for row in batch_table(tmp_path / "s")} == {"done"}
