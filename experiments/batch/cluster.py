"""A batch on a cluster: the same work by Dask's workers, which see the study's directory.

A task is a few rows, or a few trials. Dask only hands them out: what has come of them stands in the
directory, so that a task given twice, to a worker that came for one that died, does nothing twice.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...refimpl import ConfigurationError, shown
from ..output import make_directory, tell_user
from ..training import uninterrupted
from .here import SECONDS_TO_END, Share, compile_ahead
from .results import Progress
from .search import work_on_trials
from .study import STUDY, Study, read_study
from .work import FAILED, Results, Terms, groups_of, work

MOST_TASKS = 10_000
"""At once: Dask's scheduler takes about a millisecond for each."""
MOST_TIMES = 5
"""That a task is given again whose worker died."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_QUESTIONS = 1.0
STOPS = "stops"
"""In a study's directory: a file for each attempt that was told to end."""


@contextmanager
def cluster(
    scheduler: str, n_jobs: int, n_threads: int = 1
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Connect to a scheduler that stands, or have SLURM start so many jobs for one of our own.

    Of the second kind Dask's own configuration has partition, cores, memory and time: see
    `jobqueue.slurm` of dask-jobqueue. What is given beside the client is to be called now and then,
    and sees that there are jobs. Raises ConfigurationError: it cannot be had.
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
            yield client, lambda: None
        return
    try:
        # dask-jobqueue makes Ctrl-C and SIGTERM its own when it is imported.
        with uninterrupted():
            from .slurm import Jobs, slurm_cluster
    except ImportError:
        raise ConfigurationError(
            "--slurm needs dask-jobqueue: pip install 'disinhib[dask]'"
        ) from None
    # It ends all jobs, whatever ends us.
    with slurm_cluster(n_threads) as own, Client(own, set_as_default=False) as client:
        yield client, Jobs(own, n_jobs, tell_user).look


def train_on_cluster(
    client: Any,
    directory: str | os.PathLike[str],
    study: Study,
    share: Share,
    deadline: float,
    stop: Callable[[], int],
    watch: Callable[[Progress], None],
    look: Callable[[], None] = lambda: None,
    replicas: int = 1,
) -> bool:
    """Run a share of a study's rows on a cluster; whether none of them is left."""
    from distributed import CancelledError, KilledWorker

    directory = Path(directory).resolve()
    attempt = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    terms = Terms(attempt, deadline, replicas=replicas)
    results = Results(directory)
    progress = Progress(study, directory, share, attempt, results)
    left = tasks_of(study, share, terms, results)
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
            look()
            results.refresh()
            progress.look()
            watch(progress)
            for future in [one for one in given if one.done()]:
                numbers, times = given.pop(future)
                with suppress(CancelledError):
                    problem = future.exception()
                    if isinstance(problem, KilledWorker):
                        left += _after_deaths(study, terms, results, numbers, times)
                    elif problem is not None:
                        raise ConfigurationError(
                            f"a worker of the cluster failed: {type(problem).__name__}: {problem}"
                        ) from problem
            if stop() or time.time() > deadline:
                break
    finally:
        _tell_to_end(directory, attempt)
        _let_end(client, list(given))
        results.refresh(at_once=True)
        progress.look()
    return progress.n_left == 0


def _after_deaths(
    study: Study, terms: Terms, results: Results, numbers: list[int], times: int
) -> list[tuple[list[int], int]]:
    """What to give anew of a task whose workers died; the row that kills them all fails."""
    if times < MOST_TIMES:
        return [(numbers, times + 1)]
    if len(numbers) > 1:
        return [([number], 1) for number in reversed(numbers)]
    own = next(itertools.islice(study.combinations(), numbers[0], None))
    why = f"its workers died, {MOST_TIMES} times as often as Dask allows"
    if study.search is not None:
        tell_user(f"a trial was given up: {why}")
        return []
    row = study.row(own)
    results.refresh(at_once=True)
    if not results.is_settled(row, terms.attempt):
        results.write({
            "key": row.key, "name": row.name, "directory": "", "own": dict(own), "asked": 0,
            "attempt": terms.attempt, "state": FAILED, "why": why, "epochs": 0,
        })  # fmt: skip
    return []


def _let_end(client: Any, given: list[Any]) -> None:
    """Take back what nobody has begun, and wait for the rest, whose runs are being saved."""
    from distributed import wait

    with suppress(OSError, RuntimeError, TimeoutError):
        begun = {key for keys in client.processing().values() for key in keys}
        client.cancel([future for future in given if future.key not in begun])
        at_work = [future for future in given if future.key in begun]
        if not at_work:
            return
        try:
            with client.as_current():
                wait(at_work, timeout=SECONDS_TO_END)
        finally:
            client.cancel(at_work)


def tasks_of(
    study: Study, share: Share, terms: Terms, results: Results
) -> list[tuple[list[int], int]]:
    """Numbers of combinations, those of a task together, the first to be given last.

    Of runs side by side a task has such as agree.
    """
    if study.search is not None:
        ours = range(share.number - 1, study.n_combinations, share.of)
        # Each works on the trials of its group until there are enough.
        every = [[number] for _ in range(study.search.trials) for number in ours]
    else:
        rows = (
            (number, row)
            for number, row in enumerate(study.rows())
            if number % share.of == share.number - 1 and not results.is_settled(row, terms.attempt)
        )
        if terms.replicas > 1:
            left = {row.key: (number, row) for number, row in rows}
            groups = groups_of([row for _, row in left.values()], terms.replicas)
            every = [[left[row.key][0] for row in group] for group in groups]
        else:
            numbers = [number for number, _ in rows]
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
    rows = map(study.row, combinations)
    # Who gave the task has read what has come of others.
    return work(place, rows, study.n_combinations, terms, stop, reads_results=False)


def _tell_to_end(directory: Path, attempt: str) -> None:
    with suppress(OSError):
        make_directory(directory / STOPS)
        (directory / STOPS / attempt).touch()
