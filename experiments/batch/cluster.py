"""A batch on a cluster: the same work by Dask's workers, which see the study's directory.

A task is a few rows, or a few trials. Dask only hands them out: what has come of them stands in the
directory, so that a task given twice, to a worker that came for one that died, does nothing twice.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...refimpl import ConfigurationError, shown
from ..output import make_directory
from .here import Share, compile_ahead
from .results import Progress
from .search import work_on_trials
from .study import STUDY, Study, read_study
from .work import Results, Terms, work

MOST_TASKS = 10_000
"""At once: Dask's scheduler takes about a millisecond for each."""
MOST_TIMES = 5
"""That a task is given again whose worker died."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_QUESTIONS = 1.0
STOPS = "stops"
"""In a study's directory: a file for each attempt that was told to end."""


@contextmanager
def cluster(scheduler: str, n_jobs: int) -> Iterator[Any]:
    """Connect to a scheduler that stands, or have SLURM start so many workers for one of our own.

    Of the second kind Dask's own configuration has partition, cores, memory and time: see
    `jobqueue.slurm` of dask-jobqueue. Raises ConfigurationError: it cannot be had.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigurationError(
            "a cluster needs Dask: pip install 'disinhib[dask]', here and where its workers are"
        ) from None
    if scheduler:
        try:
            client = Client(scheduler, timeout="10s", set_as_default=False)
        except (OSError, ValueError, TimeoutError) as problem:
            raise ConfigurationError(
                f"no scheduler answers at {shown(scheduler)} ({type(problem).__name__}): the "
                "address of a `dask scheduler` is needed, tcp://HOST:PORT"
            ) from problem
        with client:
            yield client
        return
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise ConfigurationError(
            "--slurm needs dask-jobqueue: pip install 'disinhib[dask]'"
        ) from None
    try:
        own = SLURMCluster()
    except (ValueError, OSError) as problem:
        raise ConfigurationError(f"Dask's configuration jobqueue.slurm: {problem}") from problem
    with own, Client(own, set_as_default=False) as client:
        own.scale(jobs=n_jobs)
        yield client


def train_on_cluster(
    client: Any,
    directory: str | os.PathLike[str],
    study: Study,
    share: Share,
    deadline: float,
    stop: Callable[[], int],
    watch: Callable[[Progress], None],
) -> bool:
    """Run a share of a study's rows on a cluster; whether none of them is left."""
    from distributed import CancelledError, KilledWorker

    directory = Path(directory).resolve()
    attempt = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    terms = Terms(attempt, deadline)
    results = Results(directory)
    progress = Progress(study, directory, share, attempt, results)
    left = _tasks(study, directory, share, terms, results)
    given: dict[Any, tuple[list[int], int]] = {}  # by future: what it is to do, how often given
    n_given = 0
    try:
        while left or given:
            while left and len(given) < MOST_TASKS:
                numbers, times = left.pop()
                future = client.submit(
                    work_there, str(directory), numbers, terms,
                    key=f"disinhib-{attempt}-{n_given}",
                )  # fmt: skip
                n_given += 1
                given[future] = (numbers, times)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            results.refresh()
            progress.look()
            watch(progress)
            for future in [one for one in given if one.done()]:
                numbers, times = given.pop(future)
                with suppress(CancelledError):
                    problem = future.exception()
                    if isinstance(problem, KilledWorker) and times < MOST_TIMES:
                        left.append((numbers, times + 1))
                    elif problem is not None and not isinstance(problem, KilledWorker):
                        raise ConfigurationError(
                            f"a worker of the cluster failed: {type(problem).__name__}: {problem}"
                        ) from problem
            if stop():
                break
    finally:
        # They save what they are at, which takes them a moment.
        _tell_to_end(directory, attempt)
        client.cancel(list(given))
        results.refresh()
        progress.look()
    return progress.n_left == 0


def _tasks(
    study: Study, directory: Path, share: Share, terms: Terms, results: Results
) -> list[tuple[list[int], int]]:
    """Numbers of combinations, those of a task together, the first to be given last."""
    if study.search is not None:
        ours = range(share.number - 1, study.n_combinations, share.of)
        # Each works on the trials of its group until there are enough.
        every = [[number] for _ in range(study.search.trials) for number in ours]
    else:
        numbers = [
            number
            for number, row in enumerate(study.rows())
            if number % share.of == share.number - 1 and not results.is_settled(row, terms.attempt)
        ]
        size = max(1, len(numbers) // MOST_TASKS)
        every = [numbers[first : first + size] for first in range(0, len(numbers), size)]
    return [(numbers, 1) for numbers in reversed(every)]


def work_there(directory: str, numbers: Sequence[int], terms: Terms) -> bool:
    """Do a task, where Dask wants it done."""
    place = Path(directory)
    if not (place / STUDY).is_file():
        raise ConfigurationError(
            f"{directory} is not seen on {socket.gethostname()}: a study's directory must lie on a "
            "file system that all workers share"
        )
    study = read_study(place / STUDY)
    asked, answer = 0.0, False

    def stop() -> int:
        nonlocal asked, answer
        if time.monotonic() - asked > SECONDS_BETWEEN_QUESTIONS:
            asked, answer = time.monotonic(), (place / STOPS / terms.attempt).exists()
        return int(answer)

    wanted = set(numbers)
    combinations = [own for number, own in enumerate(study.combinations()) if number in wanted]
    if stop():
        return False
    compile_ahead(study)
    if study.search is not None:
        return work_on_trials(place, study, combinations, terms, stop, at_most=1)
    return work(place, map(study.row, combinations), study.n_combinations, terms, stop)


def _tell_to_end(directory: Path, attempt: str) -> None:
    with suppress(OSError):
        make_directory(directory / STOPS)
        (directory / STOPS / attempt).touch()
