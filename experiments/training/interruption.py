"""Ctrl-C, SIGTERM and SIGUSR1 as a request to stop at the next good place."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

WARNING = getattr(signal, "SIGUSR1", None)
"""What SLURM sends some time before it ends a job; Windows has none."""

REQUESTS = tuple(n for n in (signal.SIGINT, signal.SIGTERM, WARNING) if n is not None)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], int]]:
    """Turn the first interrupt, termination or warning into a request to stop.

    What is yielded gives the number of the signal that asked, 0 while none has. A second interrupt
    or termination insists, as long as the first has not been heeded: when the number has been asked
    for, the work is ending. In a thread other than the main one, to which Python gives no signals,
    nothing is changed.
    """
    asked, insistent, heeded = 0, False, False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked, insistent
        if heeded:
            return
        if insistent and number != WARNING:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        asked, insistent = asked or number, insistent or number != WARNING

    def stop() -> int:
        nonlocal heeded
        heeded = asked != 0
        return asked

    if not _in_main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in REQUESTS}
    try:
        yield stop
    finally:
        _restore(before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait until something is done that must not be cut short, and takes no time."""
    if not _in_main_thread():
        yield
        return
    waiting: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    before = {number: signal.signal(number, handle) for number in REQUESTS}
    try:
        yield
    finally:
        _restore(before)
        for number in waiting:
            signal.raise_signal(number)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        # None is one that C code had set, and Python cannot.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
