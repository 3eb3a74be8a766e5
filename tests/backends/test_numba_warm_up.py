"""Compiling ahead: once for all, announced, ended by an interrupt, and all that is needed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from numba.core import event

from disinhib.backends import CompilesAhead, NumbaBackend
from disinhib.backends.numba.kernels import code_cache
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import Feedback, NetworkConfiguration, Solver

from .test_code_cache import copy_of_the_package

WORK = """
def _work(dtype, rule, way):
    from .kernels.tried import add_twice

    total = np.ones(3)
    add_twice(total, total.copy())
"""
"""In place of a network: one small kernel, so that it is quick."""
CALL = """
from disinhib.backends.numba import warm_up
assert warm_up.__file__.startswith({place!r})
warm_up.compile_training("backprop", "fixed-point", warm_up.np.dtype("float32"))
"""
NAME = "backprop-float32"


@pytest.fixture
def place(tmp_path):
    place = copy_of_the_package(tmp_path / "site")
    with open(place / "disinhib/backends/numba/warm_up.py", "a", encoding="utf-8") as file:
        file.write(WORK)
    return place


def start(place, code=CALL, **environment):
    environment = {
        **os.environ,
        "PYTHONPATH": str(place),
        "NUMBA_CACHE_DIR": str(place / "code"),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-c", code.format(place=str(place))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=place,
    )


def said(process):
    output, problems = process.communicate()
    assert process.returncode == 0, problems
    assert output == ""
    return [line.partition(" took ")[0] for line in problems.splitlines()]


def test_of_two_that_start_together_one_compiles_and_later_none(place):
    compiled = [f"disinhib: compiling {NAME}, once for this version and processor"]
    compiled += [f"disinhib: compiling {NAME}"]
    lines = [said(process) for process in [start(place), start(place)]]
    (one, other) = sorted(lines, key=lambda lines: not any("compiling " in a for a in lines))
    assert one == compiled
    # It may have come when all was done.
    assert all("waiting for another process" in line for line in other)
    assert said(start(place)) == []


@pytest.mark.slow
def test_where_no_code_can_be_kept_this_process_compiles(place):
    code = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/dev/null/t']\n" + CALL
    nowhere = {"NUMBA_CACHE_DIR": "", "HOME": "/dev/null", "XDG_CACHE_HOME": ""}
    assert said(start(place, code, **nowhere)) == [
        "disinhib: no directory for compiled code: every process compiles anew",
        f"disinhib: compiling {NAME}, once for this version and processor",
        f"disinhib: compiling {NAME}",
    ]


@pytest.mark.skipif(os.name == "nt", reason="an interrupt there is no signal to one process")
@pytest.mark.parametrize("where", ["in a process", "in a thread"])
def test_an_interrupt_does_not_wait_for_the_compiler(tmp_path, where):
    """The kernels of a network: seconds of LLVM are to come when the first line is shown."""
    place = copy_of_the_package(tmp_path / "site")
    before, kept = "", {}
    if where == "in a thread":
        before = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/dev/null/t']\n"
        kept = {"NUMBA_CACHE_DIR": "", "HOME": "/dev/null", "XDG_CACHE_HOME": ""}
    process = start(place, before + CALL, **kept)
    lines = iter(process.stderr)
    assert any(f"compiling {NAME}" in line for line in lines)
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[1]
    assert "KeyboardInterrupt" in rest
    # Python forgets that it was interrupted when another thread evaluates code meanwhile.
    assert process.returncode in (-signal.SIGINT, 1), rest
    assert not list((place / "code").rglob("*.ready"))


@pytest.mark.parametrize("method", ["fixed-point", "tsit5"])
@pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold-fixed", "backprop"])
def test_nothing_is_left_to_compile_when_a_backend_is_made(rule, method):
    seen = []

    class Listener(event.Listener):
        def on_start(self, event):
            seen.append(event.data["dispatcher"].py_func.__name__)

        def on_end(self, event):
            pass

    configuration = NetworkConfiguration(
        sizes=(4, 5, 3), rule=rule, feedback=Feedback(average=True, strong=False)
    )
    parameters = initial_parameters(configuration.sizes, np.random.default_rng(0))
    solver = Solver(method=method)
    backend = NumbaBackend(configuration, parameters, np.float64, solver, threads=2)
    x, y = np.arange(16).reshape(4, 4).astype(np.uint8), np.full((4, 3), 1 / 3)
    with event.install_listener("numba:compile", Listener()):
        for data in (backend.place(x, y, 255.0), backend.place(x / 15.0, y)):
            backend.train(data, np.arange(4).reshape(2, 2))
            backend.evaluate(data)
        backend.learning_step(x / 15.0, y)
    assert seen == []


def test_it_is_offered_and_nothing_is_compiled_again():
    assert isinstance(NumbaBackend, CompilesAhead)
    NumbaBackend.compile_ahead("backprop", "fixed-point", np.float64)
    names = {path.name for path in code_cache.code_directory().glob("*.ready")}
    assert {"backprop-float64.ready", "exact-inverse-trajectory-float64.ready"} <= names
