"""What is asked of CuPy, on one that runs on the CPU with all the freedom of a device."""

import ctypes
import gc
import sys

import numpy as np
import pytest

from disinhib.backends import BackendUnavailable, NumpyBackend
from disinhib.backends.cuda import device as cuda_device
from disinhib.backends.cuda.backend import CupyBackend
from disinhib.refimpl import NetworkConfiguration, Solver, initial_parameters

from .cuda_on_cpu import cupy_on_cpu
from .implementations import NO_COMPILER
from .small_task import RULES, SIZES, arrays_of, task
from .test_cublas import library as cublas_on_cpu  # noqa: F401 # a fixture

pytestmark = NO_COMPILER


@pytest.fixture
def on_cpu(monkeypatch, cublas_on_cpu):  # noqa: F811
    """Put a CuPy in place whose streams advance in an order drawn by a seed; gives its queues."""

    def put(seed):
        modules, queues = cupy_on_cpu.modules(seed)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        products = cupy_on_cpu.Cublas(queues, cublas_on_cpu)
        monkeypatch.setattr(cuda_device, "cublas_library", lambda major: products)
        monkeypatch.setattr(cuda_device.CupyDevice, "threads", 4)
        monkeypatch.setattr(cuda_device.CupyDevice, "group_threads", 8)
        return queues

    return put


def learned(kind, rule, solver):
    """All that a user gets of some training, evaluation and two trajectory-free stages."""
    x, y = task()
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    backend = kind(NetworkConfiguration(sizes=SIZES, rule=rule), parameters, np.float64, solver)
    data = backend.place(x, y)
    found = []
    for order in (np.arange(12).reshape(3, 4), np.arange(12)[::-1].reshape(3, 4)):
        found.append(backend.train(data, order).loss)
        found.append(backend.evaluate(data, 5).loss)
    if rule == "backprop":
        return [*found, *arrays_of(backend.learner())]
    open_loop, _ = backend.open_loop(x)
    return [*found, *open_loop.u_E, open_loop.u_out, *arrays_of(backend.learner())]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_whatever_order_streams_advance_the_same_is_learned(on_cpu, seed, rule):
    on_cpu(seed)
    for a, b in zip(
        learned(CupyBackend, rule, Solver()), learned(NumpyBackend, rule, Solver()), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_stages_are_timed_and_learn_as_often_as_they_run(on_cpu):
    on_cpu(1)
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    backend = CupyBackend(NetworkConfiguration(sizes=SIZES), parameters, np.float32, Solver())
    seconds = backend.stage_seconds(backend.place(*task()), np.arange(4))
    assert next(iter(seconds)) == "gathering"
    assert list(seconds)[-1] == "optimiser update"
    n_steps = backend.learner().optimizer.n_steps
    assert n_steps == backend._network._device.get(backend._network._fixed["step"])[1] > 0


@pytest.mark.parametrize("forgotten", ["wait before", "wait after", "stream of a product"])
def test_what_does_not_wait_as_it_must_shows(on_cpu, monkeypatch, forgotten):
    """The checks above can fail: with a branch that does not wait, or is not waited for."""
    expected = learned(NumpyBackend, "exact-inverse", Solver())
    differs = 0
    for seed in range(1, 7):
        on_cpu(seed)
        if forgotten == "stream of a product":
            # Products on a stream of their own, as through CuPy's wrappers outside a capture.
            set_stream = cupy_on_cpu.Cublas.__getattr__

            def elsewhere(self, name, set_stream=set_stream):
                if name != "cublasSetStream_v2":
                    return set_stream(self, name)
                other = cupy_on_cpu.Stream(self._queues, non_blocking=True)

                def to_another(handle, pointer):
                    self._streams[handle.value] = other
                    return self._on_cpu.cublasSetStream_v2(handle, pointer)

                return to_another

            monkeypatch.setattr(cupy_on_cpu.Cublas, "__getattr__", elsewhere)
        else:
            is_before = forgotten == "wait before"
            monkeypatch.setattr(cupy_on_cpu.Stream, "wait_event", careless(is_before))
        try:
            found = learned(CupyBackend, "exact-inverse", Solver())
        except cupy_on_cpu.CUDARuntimeError:
            differs += 1
            continue
        finally:
            monkeypatch.undo()
        differs += not all(np.allclose(a, b) for a, b in zip(found, expected, strict=True))
    assert differs > 0


WAIT = cupy_on_cpu.Stream.wait_event


def careless(is_before):
    """A wait that branches leave out, or that the stream they branched from does."""

    def wait_event(self, event):
        is_branch = self.queues.streams.index(self) > 0
        if is_branch != is_before:
            WAIT(self, event)
        elif is_before and event.capture is not None:
            # It joins the capture, as it must, and does not wait.
            self.capture = event.capture
            self.capture.waited_for[event.stream] = event.noted

    return wait_event


def test_what_breaks_a_recording_is_what_is_raised(on_cpu):
    """Not what the end of a broken capture says."""
    on_cpu(1)
    device = cuda_device.CupyDevice(np.dtype(np.float32))

    def work():
        if not device._only_compiles:
            raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        device.record(work)
    device.record(lambda: None)()


def test_all_memory_of_a_backend_goes_with_it(on_cpu):
    """Without waiting for the garbage collector, which knows nothing of a device's memory."""
    queues = on_cpu(1)
    gc.collect()
    gc.disable()
    try:
        before = queues.free_bytes
        learned(CupyBackend, "exact-inverse", Solver())
        assert queues.free_bytes == before
    finally:
        gc.enable()


def test_memory_that_runs_out_is_an_error_in_a_line(on_cpu):
    queues = on_cpu(1)
    device = cuda_device.CupyDevice(np.dtype(np.float32))
    queues.free_bytes = 399
    with pytest.raises(BackendUnavailable, match=r"out of memory: 400 bytes .*, 399 are free"):
        device.empty(100, np.float32)
    assert not queues.capturing()


def test_another_fault_of_the_device_is_not_called_a_lack_of_memory(on_cpu, monkeypatch):
    on_cpu(1)
    device = cuda_device.CupyDevice(np.dtype(np.float32))

    def lost(n_bytes):
        raise cupy_on_cpu.CUDARuntimeError("cudaErrorIllegalAddress", 700)

    monkeypatch.setattr(sys.modules["cupy"].cuda, "Memory", lost)
    with pytest.raises(cupy_on_cpu.CUDARuntimeError, match="IllegalAddress"):
        device.empty(100, np.float32)


def test_cupys_own_products_are_refused_as_cupy_refuses_them(on_cpu):
    """The check that no step goes through them can fail."""
    queues = on_cpu(1)
    from cupy_backends.cuda.libs import cublas

    stream = cupy_on_cpu.Stream(queues, non_blocking=True)
    stream.begin_capture()
    with pytest.raises(NotImplementedError, match="during stream capture"):
        cublas.setStream(ctypes.c_void_p(), stream.ptr)
    stream.end_capture()
