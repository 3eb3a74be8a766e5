"""Workers of a batch as jobs of SLURM: submitted, and submitted again when their time has ended.

Dask's own cluster submits jobs and says nothing of what becomes of them; SLURM is asked for that.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import dask
from dask_jobqueue import SLURMCluster
from dask_jobqueue.slurm import SLURMJob
from distributed import Status

from ...refimpl import ConfigurationError

SETTINGS = "jobqueue.slurm"
"""In Dask's configuration."""
SECONDS_BETWEEN_QUESTIONS = 5.0
SECONDS_OF_PATIENCE = 20.0
"""Before it is said that no job has begun."""


async def _start(self: Any) -> None:
    """Submit a job, and keep why SLURM did not take it, which Dask only logs."""
    try:
        await SLURMJob.start(self)
    except (OSError, RuntimeError, ValueError) as problem:
        self.refusal = said_by_sbatch(str(problem))
        self.status = Status.running


async def _close(self: Any) -> None:
    await SLURMJob.close(self)
    # Dask asks for it when it ends, and its own jobs do not say so.
    self.status = Status.closed


_JOB: Any = type("Job", (SLURMJob,), {"start": _start, "close": _close, "refusal": ""})


def said_by_sbatch(text: str) -> str:
    """Of what dask-jobqueue says of a refusal, what sbatch did."""
    said = text.partition("stderr:")[2].strip() or text.strip()
    return said.splitlines()[-1].removeprefix("sbatch: ").strip()


def slurm_cluster(n_threads: int) -> SLURMCluster:
    """Make a scheduler for workers of one run at a time each, of so many threads; none works yet.

    Raises ConfigurationError: SLURM is not here, or Dask's configuration does not say enough.
    """
    if shutil.which("sbatch") is None:
        raise ConfigurationError(
            "--slurm submits jobs, and there is no sbatch on this machine: a machine of the "
            "cluster is needed, such as its login node"
        )
    for name in ("cores", "memory"):
        if dask.config.get(f"{SETTINGS}.{name}", None) is None:
            raise ConfigurationError(
                f"{SETTINGS}.{name} is missing in Dask's configuration, {dask.config.PATH}/*.yaml: "
                "--slurm needs cores and memory of a job there"
            )
    cores = dask.config.get(f"{SETTINGS}.cores")
    arguments = dask.config.get(f"{SETTINGS}.worker-extra-args", None) or []
    try:
        return SLURMCluster(
            job_cls=_JOB,
            processes=dask.config.get(f"{SETTINGS}.processes", None) or max(1, cores // n_threads),
            worker_extra_args=["--nthreads", "1", *arguments],
        )
    except (ValueError, TypeError, OSError, RuntimeError) as problem:
        why = " ".join(str(problem).split())
        raise ConfigurationError(f"{SETTINGS} in Dask's configuration: {why}") from problem


class Jobs:
    """As many jobs as were asked for, as long as there is something to do.

    Parameters
    ----------
    cluster : SLURMCluster
    n_jobs : int
    tell : function
        Is given what the user should know, a line at a time.
    """

    def __init__(self, cluster: Any, n_jobs: int, tell: Callable[[str], None]) -> None:
        self._cluster, self._n_jobs, self._tell = cluster, n_jobs, tell
        self._worked: set[str] = set()  # jobs whose workers came, by their numbers
        self._told: set[str] = set()
        self._began = self._asked = time.monotonic()
        cluster.scale(jobs=n_jobs)

    def look(self) -> None:
        """Submit jobs in place of those that have ended, and say so where none begins.

        Raises ConfigurationError: there are no jobs, and no more would come of others.
        """
        jobs = dict(self._cluster.workers)
        at_work = {name for name in jobs if self._has_a_worker(name)}
        self._worked |= {str(jobs[name].job_id) for name in at_work}
        if time.monotonic() - self._asked < SECONDS_BETWEEN_QUESTIONS:
            return
        self._asked = time.monotonic()
        queue = in_the_queue()
        fruitless = {}
        for name, job in jobs.items():
            if job.refusal:
                fruitless[name] = f"SLURM takes no job: {job.refusal}"
            elif queue is None or job.job_id is None or job.job_id in queue or name in at_work:
                continue
            elif job.job_id in self._worked:
                self._forget(name)
            else:
                fruitless[name] = (
                    f"job {job.job_id} of SLURM ended before its worker came: its output says why, "
                    "slurm-JOB.out where nothing else is set"
                )
        self._go_without(fruitless)
        if queue is None:
            return
        waiting = [queue[job.job_id] for job in jobs.values() if job.job_id in queue]
        if not at_work and waiting and time.monotonic() - self._began > SECONDS_OF_PATIENCE:
            counts = Counter(waiting).most_common()
            states = ", ".join(f"{n} {state}" for state, n in counts)
            self._once(f"no job of SLURM works yet: {states}")
        self._cluster.scale(jobs=self._n_jobs)

    def _has_a_worker(self, name: str) -> bool:
        workers = list(self._cluster.scheduler_info["workers"].values())
        names = [str(worker["name"]) for worker in workers]
        return any(one == name or one.startswith(f"{name}-") for one in names)

    def _go_without(self, fruitless: Mapping[str, str]) -> None:
        """So many jobs fewer: others would go the same way."""
        for name in fruitless:
            self._forget(name)
        self._n_jobs -= len(fruitless)
        if self._n_jobs < 1:
            raise ConfigurationError(next(iter(fruitless.values())))
        for why in fruitless.values():
            self._once(why)

    def _forget(self, name: str) -> None:
        with suppress(KeyError):
            del self._cluster.worker_spec[name]

    def _once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)


def in_the_queue() -> dict[str, str] | None:
    """Our jobs by their numbers, as 'PENDING (Resources)'; None if SLURM does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%A %T (%r)"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.partition(" ") for line in answer.stdout.splitlines()]
    return {number: state.removesuffix(" (None)") for number, _, state in lines}
