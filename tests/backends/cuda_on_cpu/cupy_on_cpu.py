"""As much of CuPy as `CupyDevice` uses, on the CPU, with the freedom that a device has.

Whatever is asked of a stream waits in its queue. When the host waits for a stream, queues advance
in an order drawn at random, bound by events alone: what should have waited for another stream and
does not is done too early, one time or another. A stream that is captured, and all that join it by
events, do nothing but note; memory, copies and waits are refused meanwhile, and so is every call
of CuPy's own cuBLAS.
"""

import random
from types import ModuleType, SimpleNamespace

import numpy as np

from disinhib.backends.cuda.source import source

from .cpu_device import library

PROCESSORS, BLOCK_BYTES, FREE_BYTES = 8, 200_000, 2**40
POISON = 0xFF


class CUDARuntimeError(RuntimeError):
    def __init__(self, words, status=1):
        super().__init__(words)
        self.status = status


class Queues:
    """The streams of one device; `current` is where work goes that names none."""

    def __init__(self, seed):
        self.random, self.streams, self.current = random.Random(seed), [], []
        self.free_bytes, self.runs = FREE_BYTES, False

    def capturing(self):
        return any(stream.capture is not None for stream in self.streams)

    def refuse_capture(self, what):
        if self.capturing():
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")

    def run_until(self, is_done, queues):
        before, self.runs = self.runs, True
        try:
            while not is_done():
                ready = [queue for queue in queues if queue and queue[0][0]()]
                if not ready:
                    raise CUDARuntimeError("streams wait for each other")
                self.random.choice(ready).pop(0)[1]()
        finally:
            self.runs = before


class Event:
    """Reached when the stream that recorded it has come so far; a later record is another."""

    def __init__(self, queues, disable_timing=False):
        self.queues, self.stream, self.capture = queues, None, None

    def record(self, stream):
        self.reached = reached = SimpleNamespace(yet=False)
        self.stream, self.capture = stream, stream.capture
        stream.put(lambda: setattr(reached, "yet", True))
        if self.capture is not None:
            self.capture.events.append(reached)
            self.noted = len(self.capture.notes[stream])

    def synchronize(self):
        self.queues.refuse_capture("the host waits for an event")
        reached = self.reached
        self.queues.run_until(lambda: reached.yet, [s.queue for s in self.queues.streams])


class Stream:
    def __init__(self, queues, non_blocking=False):
        assert non_blocking, "a stream that waits for the legacy one cannot be captured"
        self.queues, self.queue, self.capture = queues, [], None
        queues.streams.append(self)
        self.ptr = id(self)

    def __enter__(self):
        self.queues.current.append(self)
        return self

    def __exit__(self, *_):
        self.queues.current.pop()

    def put(self, work, is_ready=lambda: True):
        queue = self.queue if self.capture is None else self.capture.notes.setdefault(self, [])
        queue.append((is_ready, work))

    def wait_event(self, event):
        reached = event.reached
        if event.capture is not None:
            self.capture = event.capture
            self.capture.waited_for[event.stream] = event.noted
        self.put(lambda: None, lambda: reached.yet)

    def synchronize(self):
        self.queues.refuse_capture("the host waits for a stream")
        self.queues.run_until(lambda: not self.queue, [s.queue for s in self.queues.streams])

    def begin_capture(self):
        assert not self.queues.capturing()
        self.capture = SimpleNamespace(notes={self: []}, events=[], waited_for={})

    def end_capture(self):
        capture = self.capture
        for stream in self.queues.streams:
            stream.capture = None
        for stream, notes in capture.notes.items():
            # All that a branch does must have been waited for.
            if stream is not self and capture.waited_for.get(stream) != len(notes):
                raise CUDARuntimeError("cudaErrorStreamCaptureUnjoined")
        return Graph(self.queues, capture)


class Graph:
    def __init__(self, queues, capture):
        self.queues, self.capture = queues, capture

    def upload(self, stream):
        pass

    def launch(self, stream):
        def run():
            for event in self.capture.events:
                event.yet = False
            branches = [list(notes) for notes in self.capture.notes.values()]
            self.queues.run_until(lambda: not any(branches), branches)

        stream.put(run)


class Memory:
    """Taken from the device until it is dropped, which waits for all that is asked for."""

    def __init__(self, queues, n_bytes):
        queues.refuse_capture("memory is taken")
        if n_bytes > queues.free_bytes:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory", 2)
        self.queues, self.bytes = queues, np.full(n_bytes, POISON, np.uint8)
        queues.free_bytes -= n_bytes

    def __del__(self):
        if not hasattr(self, "bytes"):
            return
        self.queues.free_bytes += self.bytes.size
        # The queues' own work may drop memory: what runs already is not run in there again.
        if not self.queues.runs:
            streams = [stream.queue for stream in self.queues.streams]
            self.queues.run_until(lambda: not any(streams), streams)
        self.bytes[:] = POISON


class MemoryPointer:
    def __init__(self, memory, offset):
        self.mem, self.ptr = memory, memory.bytes.ctypes.data + offset


class Array:
    """Memory of the device: the host sees it through `get` alone."""

    def __init__(self, size, dtype, memptr):
        self.data, self._queues = memptr, memptr.mem.queues
        self._array = memptr.mem.bytes.view(dtype)[:size]

    def __getitem__(self, part):
        array = self._array[part]
        offset = array.ctypes.data - self.data.mem.bytes.ctypes.data
        found = Array(0, array.dtype, MemoryPointer(self.data.mem, offset))
        found._array = array
        return found

    def set(self, array, stream):
        self._queues.refuse_capture("the host copies to the device")
        assert array.dtype == self._array.dtype
        assert array.shape == self._array.shape
        stream.put(lambda: self._array.__setitem__(slice(None), array))

    def get(self, stream):
        self._queues.refuse_capture("the host copies from the device")
        stream.synchronize()
        return self._array.copy()


class Kernel:
    def __init__(self, queues, name):
        self.queues, self.name, self.max_dynamic_shared_size_bytes = queues, name, 0

    def __call__(self, grid, block, arguments, shared_mem):
        plan, number = arguments
        assert isinstance(number, np.int64)
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        kernel, _, rest = self.name.rstrip(">").partition("<")
        ctype, _, samples = rest.partition(", ")
        call = (
            kernel.encode(), ctype == "double", int(samples or 1), grid[0], block[0],
            shared_mem, plan.data.ptr, int(number), False, b"", 0,
        )  # fmt: skip

        def run():
            assert library().launch(*call) == 0, kernel

        self.queues.current[-1].put(run)


class Cublas:
    """The library of test_cublas.py, whose products wait in the queue of the handle's stream."""

    def __init__(self, queues, on_cpu):
        self._queues, self._on_cpu, self._streams = queues, on_cpu, {}

    def __getattr__(self, name):
        if name.endswith("gemmStridedBatched"):
            found = getattr(self._on_cpu, name)

            def later(handle, *arguments):
                stream = self._streams[handle.value]
                stream.put(lambda: self._check(found(handle, *arguments)))
                return 0

            # As ctypes has it: whoever calls says of what types the arguments are.
            class Function:
                __name__ = name

                def __setattr__(self, attribute, value):
                    setattr(found, attribute, value)

                def __call__(self, *arguments):
                    return later(*arguments)

            return Function()
        if name == "cublasSetStream_v2":

            def set_stream(handle, pointer):
                self._queues.refuse_capture("a handle is given a stream")
                self._streams[handle.value] = next(
                    stream for stream in self._queues.streams if stream.ptr == pointer.value
                )
                return self._on_cpu.cublasSetStream_v2(handle, pointer)

            return set_stream
        return getattr(self._on_cpu, name)

    @staticmethod
    def _check(status):
        assert status == 0


def modules(seed):
    """The modules `cupy` and `cupy_backends…`, and the queues of their device."""
    queues = Queues(seed)

    class RawModule:
        def __init__(self, *, code, options, backend, name_expressions):
            queues.refuse_capture("a module is compiled and loaded")
            assert code == source()
            self.names = name_expressions

        def get_function(self, name):
            assert name in self.names
            return Kernel(queues, name)

    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        cudaDevAttrMultiProcessorCount=16,
        cudaDevAttrMaxSharedMemoryPerBlockOptin=97,
        deviceGetAttribute=lambda which, _: {16: PROCESSORS, 97: BLOCK_BYTES}[which],
        getDeviceCount=lambda: 1,
        memGetInfo=lambda: (queues.free_bytes, FREE_BYTES),
        runtimeGetVersion=lambda: 13_020,
    )
    cupy = ModuleType("cupy")
    cupy.__version__ = "on the CPU"
    cupy.ndarray, cupy.RawModule = Array, RawModule
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        Memory=lambda n_bytes: Memory(queues, n_bytes),
        MemoryPointer=MemoryPointer,
        Device=lambda: SimpleNamespace(id=0),
        Stream=lambda **options: Stream(queues, **options),
        Event=lambda **options: Event(queues, **options),
        get_elapsed_time=lambda first, last: 1.0,
    )

    class CupyCublas(ModuleType):
        """Every call of CuPy's wrappers sets the stream first, which a capture forbids."""

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            if queues.capturing():
                raise NotImplementedError("calling cuBLAS API during stream capture")
            raise AssertionError(f"{name} of CuPy's cuBLAS, on a stream that is not ours")

    cublas = CupyCublas("cupy_backends.cuda.libs.cublas")
    libs = ModuleType("cupy_backends.cuda.libs")
    libs.cublas = cublas
    names = ("cupy_backends", "cupy_backends.cuda")
    return {
        "cupy": cupy,
        **{name: ModuleType(name) for name in names},
        "cupy_backends.cuda.libs": libs,
        "cupy_backends.cuda.libs.cublas": cublas,
    }, queues
