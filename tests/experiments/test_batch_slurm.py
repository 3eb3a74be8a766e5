"""Batches on SLURM, without one: what becomes of its jobs, and the script of an array of them.

`benchmarks/slurm_here.sh` starts a real one.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from disinhib.experiments.batch.here import cores
from disinhib.experiments.batch.work import FAILED, Results, Terms
from disinhib.refimpl import ConfigurationError

from .test_batch import STUDY, made, written
from .test_command_line import disinhib, one_line

ARRAY = Path(__file__).parents[2] / "examples" / "batch_array.sh"
needs_a_shell = pytest.mark.skipif(shutil.which("sh") is None, reason="no sh")


def test_a_worker_counts_the_cores_that_slurm_gave(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    n_cores = cores()
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert cores() == 1
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "100000")
    assert cores() == n_cores


# Through Dask.


@pytest.fixture
def slurm():
    pytest.importorskip("dask_jobqueue")
    from disinhib.experiments.batch import slurm

    return slurm


class PretendedCluster:
    """Of two jobs, 1 and 2."""

    def __init__(self):
        self.workers = {f"job-{n}": SimpleNamespace(job_id=str(n), refusal="") for n in (1, 2)}
        self.worker_spec = dict(self.workers)
        self.scheduler_info = {"workers": {}}
        self.asked = []

    def scale(self, jobs):
        self.asked.append(jobs)

    def works(self, *names):
        self.scheduler_info["workers"] = {n: {"name": name} for n, name in enumerate(names)}


@pytest.fixture
def pretended(slurm, monkeypatch):
    """A cluster, its jobs, the queue that SLURM would show, and what is told."""
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_QUESTIONS", -1)
    monkeypatch.setattr(slurm, "SECONDS_OF_PATIENCE", -1)
    queue, told = {"1": "RUNNING", "2": "RUNNING"}, []
    monkeypatch.setattr(slurm, "in_the_queue", lambda: queue)
    cluster = PretendedCluster()
    return cluster, slurm.Jobs(cluster, 2, told.append), queue, told


def test_a_job_whose_time_has_ended_is_followed_by_another(pretended):
    cluster, jobs, queue, told = pretended
    cluster.works("job-1-0", "job-1-1", "job-2")
    jobs.look()
    assert set(cluster.worker_spec) == {"job-1", "job-2"}
    cluster.works("job-2")
    del queue["1"]
    jobs.look()
    assert set(cluster.worker_spec) == {"job-2"}
    assert cluster.asked == [2, 2, 2]
    assert told == []


def test_a_job_that_ended_before_it_worked_is_not_submitted_again(pretended):
    cluster, jobs, queue, told = pretended
    cluster.works("job-2")
    del queue["1"]
    jobs.look()
    assert cluster.asked == [2, 1]
    assert told[0].startswith("job 1 of SLURM ended before its worker came")
    cluster.works()
    cluster.workers = cluster.worker_spec
    cluster.workers["job-3"] = SimpleNamespace(job_id="3", refusal="")
    with pytest.raises(ConfigurationError, match="job 3 of SLURM ended before"):
        jobs.look()


def test_jobs_that_wait_are_told_of_once(pretended):
    _, jobs, queue, told = pretended
    queue.update({"1": "PENDING (Resources)", "2": "PENDING (Resources)"})
    jobs.look()
    jobs.look()
    assert told == ["no job of SLURM works yet: 2 PENDING (Resources)"]


def test_what_slurm_refuses_ends_the_batch_though_it_answers_nothing(slurm, pretended, monkeypatch):
    cluster, jobs, _, _ = pretended
    monkeypatch.setattr(slurm, "in_the_queue", lambda: None)
    for job in cluster.workers.values():
        job.refusal = slurm.said_by_sbatch(
            "Command exited with non-zero exit code.\nstderr:\nsbatch: error: first\n"
            "sbatch: error: invalid partition\n\n"
        )
    with pytest.raises(ConfigurationError, match="no job: error: invalid partition"):
        jobs.look()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals")
def test_ctrl_c_stays_ours_and_a_machine_without_sbatch_is_one_line(slurm, tmp_path):
    # dask-jobqueue takes the signals when it is imported.
    program = (
        "import os, signal; os.environ['PATH'] = ''\n"
        "before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)\n"
        "from disinhib.experiments.batch.cluster import cluster\n"
        "from disinhib.refimpl import ConfigurationError\n"
        "try:\n    cluster('', 1).__enter__()\n"
        "except ConfigurationError as problem:\n    print(problem)\n"
        "assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "there is no sbatch on this machine" in result.stdout


def test_a_configuration_without_memory_is_one_line(slurm, tmp_path):
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    (tmp_path / "jobqueue.yaml").write_text("jobqueue:\n  slurm:\n    cores: 1\n")
    written(tmp_path / "study.toml", STUDY)
    result = disinhib(
        "batch", "run", "study.toml", "--out", "s", "--slurm", "1", cwd=tmp_path,
        PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", DASK_CONFIG=str(tmp_path),
    )  # fmt: skip
    assert "jobqueue.slurm.memory is missing" in one_line(result)


def test_a_row_that_kills_its_workers_fails(tmp_path):
    pytest.importorskip("distributed")
    from disinhib.experiments.batch.cluster import MOST_TIMES, _after_deaths

    study, results = made(tmp_path / "s"), Results(tmp_path / "s")
    terms = Terms(attempt="here")
    assert _after_deaths(study, terms, results, [1, 2], 1) == [([1, 2], 2)]
    assert _after_deaths(study, terms, results, [1, 2], MOST_TIMES) == [([2], 1), ([1], 1)]
    assert _after_deaths(study, terms, results, [1], MOST_TIMES) == []
    results.refresh(at_once=True)
    assert [line["state"] for line in results.outcomes.values()] == [FAILED]
    assert list(results.outcomes) == [list(study.rows())[1].key]


# As an array of jobs.


def a_job(directory, program):
    """The array's script as SLURM starts it, with a pretended disinhib and a pretended scontrol."""
    (directory / "disinhib").write_text(f"#!/bin/sh\n{program}\n")
    (directory / "scontrol").write_text(f'#!/bin/sh\necho "$@" >>{directory}/said\n')
    for name in ("disinhib", "scontrol"):
        (directory / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3",
    }  # fmt: skip
    return subprocess.Popen(["sh", str(ARRAY)], env=environment, cwd=directory)


def said_to_slurm(directory):
    said = directory / "said"
    return said.read_text() if said.exists() else ""


@needs_a_shell
@pytest.mark.parametrize(("code", "said"), [(75, "requeue 7_3\n"), (0, ""), (1, ""), (2, "")])
def test_an_array_goes_on_where_runs_are_left(tmp_path, code, said):
    assert a_job(tmp_path, f"exit {code}").wait(30) == code
    assert said_to_slurm(tmp_path) == said


@needs_a_shell
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals")
def test_slurms_warning_reaches_the_batch_that_saves_before_the_job_goes_back(tmp_path):
    job = a_job(
        tmp_path,
        "trap 'sleep 0.3; touch saved; exit 138' USR1; touch begun; while :; do sleep 0.05; done",
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(30) == 138
    assert (tmp_path / "saved").exists()
    assert said_to_slurm(tmp_path) == "requeue 7_3\n"
