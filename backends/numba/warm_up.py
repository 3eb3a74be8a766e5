"""Compiling before the work: announced, by one process for all, and ended by Ctrl-C at once.

Another process compiles, and its code comes by way of the disk: LLVM cannot be interrupted,
but a process can. Where no code can be kept, a thread of this process compiles.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numba.core import event

from ...refimpl import NetworkConfiguration, Recording, Solver, initial_parameters, new_learner
from .kernels.code_cache import code_directory
from .network import CompiledNetwork
from .threads import ThreadTeam

TICK = 0.2
"""Seconds between looks at the clock."""


def compile_training(rule: str, method: str, dtype: np.dtype) -> None:
    """Have compiled what learning by a rule and evaluating need; at once if it has been."""
    _compile(dtype.name, *_of_training(rule, method))


def is_compiled(rule: str, method: str, dtype: np.dtype) -> bool:
    """Whether what learning by a rule and evaluating need lies on the disk."""
    directory = code_directory()
    name = _name(dtype.name, *_of_training(rule, method))
    return directory is not None and (directory / f"{name}.ready").exists()


def _of_training(rule: str, method: str) -> tuple[str, str]:
    """The rule and the way to end states that stand for all that need the same code."""
    if rule == "backprop":
        return rule, ""
    sums = "linear-threshold" if rule == "linear-threshold" else "exact-inverse"
    return sums, "fixed-point" if method == "fixed-point" else "integrated"


def _name(dtype: str, rule: str, way: str) -> str:
    return "-".join(part for part in (rule, way, dtype) if part)


def compile_trajectories(dtype: np.dtype) -> None:
    """Have compiled what trajectories need; at once if it has been."""
    _compile(dtype.name, "exact-inverse", "trajectory")


@cache
def _compile(dtype: str, rule: str, way: str) -> None:
    name = _name(dtype, rule, way)
    directory = code_directory()
    ready = None if directory is None else directory / f"{name}.ready"
    if directory is not None and os.access(directory, os.W_OK):
        _compile_elsewhere(directory, name, (dtype, rule, way))
    if ready is not None and ready.exists():
        # From the disk.
        _work(dtype, rule, way)
        return
    with _clock(name) as compiling:
        _in_a_thread(lambda: _work(dtype, rule, way), compiling)


def _work(dtype: str, rule: str, way: str) -> None:
    """Do on a network of a few units, in which types are those of any, all that is needed."""
    number = np.dtype(dtype)
    configuration = NetworkConfiguration(sizes=(2, 2, 2), rule=rule)
    is_integrated = way == "integrated"
    solver = Solver(method="tsit5", max_steps=1) if is_integrated else Solver(method="fixed-point")
    parameters = initial_parameters(configuration.sizes, np.random.default_rng(0)).astype(number)
    learner = new_learner(configuration, parameters)
    network = CompiledNetwork(configuration, solver, learner, number, ThreadTeam(1), 1)
    x, y, order = np.ones((1, 2), dtype=number), np.full((1, 2), 0.5, dtype=number), np.arange(1)
    if way == "trajectory":
        recording = Recording(method="tsit5", dt=1e-3, n_steps=1, every=1)
        network.trajectory(recording, x)
        return
    for inputs in (x, x.astype(np.uint8)):
        network.step(inputs, y, order, 1.0, np.empty(3))
        network.evaluate(inputs, y, order, 1.0)


def _compile_elsewhere(directory: Path, name: str, what: tuple[str, str, str]) -> None:
    """Have another process compile, unless one does so already or has done so."""
    ready = directory / f"{name}.ready"
    if ready.exists():
        return
    lock = FileLock(directory / f"{name}.lock")
    try:
        with _clock(name, "waiting for another process that compiles") as waiting:
            while not lock.is_locked:
                with suppress(Timeout):
                    lock.acquire(timeout=TICK, poll_interval=TICK / 2)
                if not lock.is_locked:
                    waiting("")
    except OSError:
        # No locks on this file system: processes that start together each compile.
        pass
    try:
        if not ready.exists():
            with _clock(name) as compiling:
                if _in_a_process(what, compiling):
                    ready.touch()
    except OSError:
        # Whatever is wrong with a second process or the disk, this one can compile.
        pass
    finally:
        lock.release()


def _in_a_process(what: tuple[str, str, str], compiling: Callable[[str], None]) -> bool:
    """Whether another process has compiled it; it names each kernel on its standard output."""
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    process = subprocess.Popen(
        # -P: nothing that lies in the present directory is imported by mistake.
        [sys.executable, "-P", "-c", f"from {__name__} import main; main()", *what],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            compiling(line.strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(TICK)
            compiling("")
    finally:
        process.kill()
        process.wait()
        reader.join()
        if process.stdout is not None:
            process.stdout.close()
    return process.returncode == 0


def _in_a_thread(work: Callable[[], None], compiling: Callable[[str], None]) -> None:
    """Do work that compiles, and raise here what it raises; an interrupt does not wait for it."""
    problems: list[BaseException] = []

    def attempt() -> None:
        try:
            with event.install_listener("numba:compile", _Listener(compiling)):
                work()
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(TICK)
        compiling("")
    if problems:
        raise problems[0]


def main() -> None:
    """Compile what the command line names, and tell each kernel to who waits."""
    dtype, rule, way = sys.argv[1:]
    with event.install_listener("numba:compile", _Listener(lambda name: print(name, flush=True))):
        _work(dtype, rule, way)


class _Listener(event.Listener):
    """Names each of our kernels when its compilation begins."""

    def __init__(self, named: Callable[[str], None]) -> None:
        self._named = named

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if function.__module__.startswith(f"{__package__}."):
            self._named(function.__name__)

    def on_end(self, event: Any) -> None:
        """Nothing: the next begins, or all is done."""


@contextmanager
def _clock(name: str, doing: str = "compiling") -> Iterator[Callable[[str], None]]:
    """Say on standard error what is being done and for how long, from when it is first named.

    What it yields takes the kernel that is being compiled, or an empty string to move the clock.
    """
    began, kernel, shown = time.monotonic(), "", False
    stream = sys.stderr
    is_terminal = stream is sys.__stderr__ and stream is not None and stream.isatty()

    def show(now: str) -> None:
        nonlocal kernel, shown
        kernel = now or kernel
        if doing == "compiling" and not kernel:
            return
        if is_terminal:
            what = f"{name}: {kernel}" if kernel else name
            _write(f"\r\033[Kdisinhib: {doing} {what} ({time.monotonic() - began:.0f} s)")
        elif not shown:
            _write(f"disinhib: {doing} {name}, once for this version and processor\n")
        shown = True

    end = "stopped after"
    try:
        yield show
        end = "took"
    finally:
        if shown:
            done = f"disinhib: {doing} {name} {end} {time.monotonic() - began:.0f} s\n"
            _write(f"\r\033[K{done}" if is_terminal else done)


def _write(text: str) -> None:
    # Where standard error cannot be written there is nobody to tell.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
