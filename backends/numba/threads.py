"""Threads that share the work of a learning step with the one that calls.

A queue hands work over in a third of the time that `concurrent.futures` takes, which with
two meetings a step is the difference between one and two hundredths of it.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ...refimpl import ConfigurationError, shown
from ..backend import BackendUnavailable
from ..front import MOST_THREADS, checked_threads

S = TypeVar("S")
T = TypeVar("T")


class ThreadTeam:
    """The calling thread and `threads` - 1 others, started anew in a process that was forked.

    A BackendUnavailable says that the system does not let so many start.
    """

    def __init__(self, threads: int) -> None:
        self._threads, self._is_unfinished = threads, False
        self._start()

    def share(self, work: Callable[[S], T], shares: Sequence[S]) -> list[T]:
        """Do `work` on every share, the first in the calling thread; results in order.

        An exception in any share is raised here, when all have ended.
        """
        if self._process != os.getpid():
            # Threads do not survive a fork.
            self._start()
        elif self._is_unfinished:
            # An interrupt came while the others worked: let them end, and forget what they found.
            _dismiss(self._tasks, self._threads - 1)
            for helper in self._helpers:
                helper.join()
            self._start()
        self._is_unfinished = True
        for i in range(1, len(shares)):
            self._tasks.put((work, i, shares[i]))
        results: list[Any] = [_attempt(work, shares[0])]
        results += [None] * (len(shares) - 1)
        for _ in range(1, len(shares)):
            i, outcome = self._results.get()
            results[i] = outcome
        self._is_unfinished = False
        for _, error in results:
            if error is not None:
                raise error
        return [result for result, _ in results]

    def _start(self) -> None:
        self._process, self._is_unfinished = os.getpid(), False
        self._tasks: SimpleQueue[Any] = SimpleQueue()
        self._results: SimpleQueue[Any] = SimpleQueue()
        self._helpers: list[Thread] = []
        weakref.finalize(self, _dismiss, self._tasks, self._threads - 1)
        for _ in range(self._threads - 1):
            helper = Thread(target=_help, args=(self._tasks, self._results), daemon=True)
            try:
                helper.start()
            except RuntimeError as problem:
                _dismiss(self._tasks, len(self._helpers))
                raise BackendUnavailable(
                    f"threads is {self._threads}: the system starts no more than "
                    f"{len(self._helpers) + 1} ({problem})"
                ) from problem
            self._helpers.append(helper)


def default_threads() -> int:
    """Number of threads: what DISINHIB_THREADS says, else the processors there are for us.

    A ConfigurationError says that it is set to something else than a number of threads.
    """
    text = os.environ.get("DISINHIB_THREADS", "").strip()
    if text:
        # At most so many digits, which every system's Python turns into a number.
        if not re.fullmatch("[0-9]{1,20}", text):
            raise ConfigurationError(
                f"DISINHIB_THREADS is {shown(text)}: a whole number from 1 to {MOST_THREADS} is "
                "needed, or none"
            )
        return checked_threads(int(text), "DISINHIB_THREADS")
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _attempt(work: Callable[[S], T], share: S) -> tuple[T | None, BaseException | None]:
    try:
        return work(share), None
    except BaseException as error:
        return None, error


def _help(tasks: SimpleQueue[Any], results: SimpleQueue[Any]) -> None:
    while (task := tasks.get()) is not None:
        work, i, share = task
        results.put((i, _attempt(work, share)))
        # Nothing of a task may keep its network alive while the next is waited for.
        del task, work, share


def _dismiss(tasks: SimpleQueue[Any], helpers: int) -> None:
    for _ in range(helpers):
        tasks.put(None)
