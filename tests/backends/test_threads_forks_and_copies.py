"""A backend among threads, in a forked process, copied, pickled, interrupted."""

import copy
import gc
import os
import pickle
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from disinhib.backends import BackendUnavailable
from disinhib.backends.numba.threads import ThreadTeam
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import NetworkConfiguration, Solver

from .implementations import IMPLEMENTATIONS, implementation
from .small_task import SIZES, arrays_of, task

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork here")
every_backend = pytest.mark.parametrize("name", IMPLEMENTATIONS)
ORDER = np.arange(12).reshape(3, 4)
SECONDS_FOR_A_HANG = 600
"""After which a forked process that hangs ends itself; nothing that works comes near it."""


def built(name):
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    configuration = NetworkConfiguration(sizes=SIZES)
    return implementation(name)(configuration, parameters, np.float32, Solver(), threads=2)


def trained(backend, order=ORDER):
    backend.train(backend.place(*task()), order)
    return np.concatenate([a.ravel() for a in arrays_of(backend.learner())])


def in_child(work):
    """What `work` gives, as bytes, in a process forked from this one."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # That threads do not come along is what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            signal.alarm(SECONDS_FOR_A_HANG)
            with os.fdopen(write, "wb") as end:
                end.write(work())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as end:
        found = end.read()
    os.waitpid(child, 0)
    return found


@can_fork
@pytest.mark.parametrize("name", [p for p in IMPLEMENTATIONS if p.id != "cupy"])
def test_a_forked_process_goes_on_as_its_parent(name):
    """But for CUDA, whose context does not survive: see test_cupy.py."""
    backend = built(name)
    trained(backend, ORDER[:1])
    found = in_child(lambda: trained(backend, ORDER[1:]).tobytes())
    np.testing.assert_array_equal(np.frombuffer(found, np.float32), trained(backend, ORDER[1:]))
    # And the child of a child.
    grandchild = in_child(lambda: in_child(lambda: trained(backend).tobytes()))
    np.testing.assert_array_equal(np.frombuffer(grandchild, np.float32), trained(backend))


@can_fork
@every_backend
def test_a_fork_in_the_midst_of_another_thread_s_call_is_refused(name):
    """What that call would have left is unknown."""
    backend = built(name)
    inside, forked = threading.Event(), threading.Event()

    class Slow:
        """Becomes an array only when the fork has been made: the call waits for it."""

        def __array__(self, dtype=None, copy=None):
            inside.set()
            forked.wait()
            return np.zeros((4, SIZES[0]), np.float32)

    def refusal():
        try:
            backend.open_loop(np.zeros((4, SIZES[0])))
        except BackendUnavailable as problem:
            return str(problem).encode()
        return b"worked"

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(backend.open_loop, Slow())
        inside.wait()
        try:
            found = in_child(refusal)
        finally:
            forked.set()
        call.result()
    assert found.startswith(b"this process was forked while another thread was using the backend")
    assert np.isfinite(trained(backend)).all()


@every_backend
def test_threads_may_share_a_backend(name):
    """Calls of batches of two sizes, between which a workspace cannot be shared."""
    backend = built(name)
    x, _ = task()
    expected = {n: backend.open_loop(x[:n])[0].u_out for n in (3, 12)}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: (n, backend.open_loop(x[:n])[0].u_out), [3, 12] * 50))
    for n, u_out in found:
        np.testing.assert_array_equal(u_out, expected[n])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: backend.learning_step(*task()), range(20)))
    assert backend.learner().optimizer.n_steps == 20


@every_backend
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))]
)
def test_a_copy_goes_on_alike_and_on_its_own(name, duplicate):
    backend = built(name)
    before = trained(backend, ORDER[:1])
    other = duplicate(backend)
    assert type(other) is type(backend)
    after = trained(other, ORDER[1:])
    np.testing.assert_array_equal(
        np.concatenate([a.ravel() for a in arrays_of(backend.learner())]), before
    )
    np.testing.assert_array_equal(trained(backend, ORDER[1:]), after)


def test_an_interrupt_leaves_no_result_behind():
    """The one who waits is interrupted while another works: what that finds is nobody's."""
    team = ThreadTeam(2)
    waits, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    caller, results = threading.get_ident(), team._results

    class Announced:
        """The team's own queue, which says when it is waited for."""

        def get(self):
            waits.set()
            return results.get()

    def work(share):
        if share == "second":
            waits.wait()
            # Again and again: one that comes just before a wait begins does not end it.
            while not go_on.wait(0.05):
                signal.pthread_kill(caller, signal.SIGINT)
            ended.set()
        return f"stale {share}"

    def interrupt_once(*_):
        if not heeded:
            heeded.append(True)
            raise KeyboardInterrupt

    heeded = []
    team._results = Announced()
    # Which a process that was started in the background may have been told to ignore.
    before = signal.signal(signal.SIGINT, interrupt_once)
    try:
        with pytest.raises(KeyboardInterrupt):
            team.share(work, ["first", "second"])
    finally:
        go_on.set()
        ended.wait()
        signal.signal(signal.SIGINT, before)
    for _ in range(3):
        assert team.share(str, [1, 2]) == ["1", "2"]


def test_threads_of_an_interrupted_or_forked_team_end_with_it():
    before = set(threading.enumerate())
    team = ThreadTeam(3)
    team._is_unfinished = True
    assert team.share(str, [1, 2, 3]) == ["1", "2", "3"]
    started = set(threading.enumerate()) - before
    del team
    gc.collect()
    for thread in started:
        thread.join()
    assert set(threading.enumerate()) <= before


def test_too_many_threads_for_the_system_are_told(monkeypatch):
    def start(self):
        if len([t for t in threading.enumerate() if t.name.startswith("Thread")]) >= limit:
            raise RuntimeError("can't start new thread")
        begin(self)

    begin, limit = threading.Thread.start, len(threading.enumerate()) + 2
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(BackendUnavailable, match=r"^threads is 500: the system starts no more"):
        ThreadTeam(500)
