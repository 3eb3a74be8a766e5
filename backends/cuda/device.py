"""A CUDA device: what the network needs of one, and how CuPy gives it.

Kernels come by NVRTC, products by cuBLAS, steps as CUDA graphs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import cycle
from typing import Any, Protocol

import numpy as np

from ..backend import BackendUnavailable
from .cublas import BRANCH_WORKSPACE_BYTES, WORKSPACE_BYTES, Cublas, Product, cublas_library
from .source import compiled_with, instance, source

DeviceArray = Any
"""An array in the device's memory; only the device looks inside."""


@dataclass(frozen=True)
class Launch:
    """How many threads run a kernel: blocks, threads in each, bytes that these share.

    `samples` is S, for kernels of groups.
    """

    blocks: int
    threads: int
    block_bytes: int = 0
    samples: int = 1


class Device(Protocol):
    """Memory, kernels and products, all in the order in which they are asked for.

    `dtype` is the network's precision; `processors` how many groups it works on at once;
    `threads` and `group_threads` what a block of an elementwise kernel or of a group has;
    `block_bytes` the most memory that its threads can share.
    """

    dtype: np.dtype
    processors: int
    threads: int
    group_threads: int
    block_bytes: int

    def empty(self, size: int, dtype: np.dtype | type) -> DeviceArray:
        """Memory for `size` elements, its content undefined."""

    def put(self, array: np.ndarray, into: DeviceArray | None = None) -> DeviceArray:
        """Copy an array to the device: to new memory, or to the front of some."""

    def get(self, array: DeviceArray, size: int | None = None) -> np.ndarray:
        """Copy out, flat, the first `size` elements or all, when what was asked for is done."""

    def address(self, array: DeviceArray) -> int:
        """Address of the first element."""

    def free_bytes(self) -> int:
        """Bytes that can still be taken."""

    def launch(self, kernel: str, how: Launch, plan: DeviceArray, argument: int) -> None:
        """Run a kernel of `source.kernels`."""

    def multiply(self, product: Product) -> None:
        """Run a matrix product."""

    def beside(self, works: Sequence[Callable[[], None]]) -> None:
        """Run pieces of work side by side, after all that was asked for, before what comes next.

        None may read or write what another writes, or begin work side by side itself.
        """

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` asks for, without doing it; calling the result does it."""

    def seconds(self, recorded: Callable[[], None], times: int) -> float:
        """Mean time of what was recorded, called so many times one after the other."""


INSTALL = "CuPy is not installed: pip install 'disinhib[cuda13]', or [cuda12] for an older driver"


DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
"""The library of the driver, without which there is no device."""


def why_unavailable() -> str:
    """Say why no CUDA device can be used here, in one line; empty if one can."""
    # CuPy is slow to load, and on many machines it is installed and of no use.
    if "cupy" not in sys.modules and find_spec("cupy") is not None and not _has_driver():
        return f"no CUDA device: there is no driver, {DRIVERS[0]}, here"
    try:
        import cupy
    except ImportError as problem:
        # CuPy's own text runs over many lines; a library that it lacks is worth naming.
        missing = isinstance(problem, ModuleNotFoundError) and problem.name == "cupy"
        return INSTALL if missing else f"CuPy cannot be imported: {str(problem).splitlines()[0]}"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "no CUDA device"
    except cupy.cuda.runtime.CUDARuntimeError as problem:
        return f"no CUDA device: {problem}"
    try:
        # Loads the library itself.
        from cupy_backends.cuda.libs import cublas  # noqa: F401
    except ImportError as problem:
        reason = str(problem).splitlines()[0]
        return f"cuBLAS, which disinhib[cuda13] brings, cannot be loaded: {reason}"
    return ""


def installed_version() -> str:
    """Version of CuPy, which need not be loaded for it; empty if there is none."""
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        with suppress(PackageNotFoundError):
            return version(name)
    return ""


def _has_driver() -> bool:
    for name in DRIVERS:
        with suppress(OSError):
            ctypes.CDLL(name)
            return True
    return False


@dataclass(frozen=True)
class Line:
    """A stream, with products that run on it in memory of their own."""

    stream: Any
    workspace: DeviceArray
    products: Cublas


BRANCHES = 5
"""Streams beside the main one: as many as a step has use for."""


OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation."""


class CupyDevice:
    """The current CUDA device; a BackendUnavailable says why there is none."""

    threads = 256
    group_threads = 512

    def __init__(self, dtype: np.dtype) -> None:
        reason = why_unavailable()
        if reason:
            raise BackendUnavailable(f"backend 'cupy' cannot run here: {reason}")
        import cupy

        self.dtype, self._process = np.dtype(dtype), os.getpid()
        self._cupy, runtime = cupy, cupy.cuda.runtime
        self._ctype = "float" if self.dtype == np.float32 else "double"
        device = cupy.cuda.Device().id

        def attribute(name: str) -> int:
            return int(runtime.deviceGetAttribute(getattr(runtime, f"cudaDevAttr{name}"), device))

        self.processors = attribute("MultiProcessorCount")
        self.block_bytes = attribute("MaxSharedMemoryPerBlockOptin")
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._kernels: dict[str, Any] = {}
        self._only_compiles = False
        library = cublas_library(runtime.runtimeGetVersion() // 1000)

        def line(stream: Any, workspace_bytes: int) -> Line:
            workspace = self.empty(workspace_bytes, np.uint8)
            space = self.address(workspace), workspace_bytes
            return Line(stream, workspace, Cublas(library, self.dtype, stream.ptr, *space))

        # All of them now: none may be made while a step is recorded.
        self._line = line(self._stream, WORKSPACE_BYTES)
        self._branches = [
            line(cupy.cuda.Stream(non_blocking=True), BRANCH_WORKSPACE_BYTES)
            for _ in range(BRANCHES)
        ]

    def _kernel(self, name: str) -> Any:
        """Compile what is not compiled yet, which takes seconds: only what is asked for."""
        if name not in self._kernels:
            names = compiled_with(name, self._ctype)
            module = self._cupy.RawModule(
                code=source(), options=("-std=c++17",), backend="nvrtc", name_expressions=names
            )
            found = {one: module.get_function(one) for one in names}
            for kernel in found.values():
                kernel.max_dynamic_shared_size_bytes = self.block_bytes
            self._kernels |= found
        return self._kernels[name]

    def _refuse_after_fork(self) -> None:
        # CUDA's context belongs to the process that made it.
        if self._process != os.getpid():
            raise BackendUnavailable(
                "backend 'cupy' was made before this process was forked, which CUDA does not "
                "survive: make it here, in a process that was spawned"
            )

    def empty(self, size: int, dtype: np.dtype | type) -> DeviceArray:
        """Memory for `size` elements."""
        self._refuse_after_fork()
        # Of no pool of CuPy's: the shared one keeps what it was given back for the stream that it
        # came from, where nobody works any more, and one that is dropped loses its memory.
        cuda, asked = self._cupy.cuda, size * np.dtype(dtype).itemsize
        try:
            memory = cuda.MemoryPointer(cuda.Memory(asked), 0)
        except cuda.runtime.CUDARuntimeError as error:
            if error.status != OUT_OF_MEMORY:
                raise
            raise BackendUnavailable(
                f"the GPU is out of memory: {asked:,} bytes were asked for, "
                f"{self.free_bytes():,} are free; take a smaller batch or fewer replicas"
            ) from None
        return self._cupy.ndarray(size, dtype=dtype, memptr=memory)

    def put(self, array: np.ndarray, into: DeviceArray | None = None) -> DeviceArray:
        """Copy to the device."""
        self._refuse_after_fork()
        array = np.ascontiguousarray(array)
        target = self.empty(array.size, array.dtype) if into is None else into[: array.size]
        target.set(array.ravel(), stream=self._stream)
        # What the host changes next must not reach the copy.
        self._stream.synchronize()
        return target if into is None else into

    def get(self, array: DeviceArray, size: int | None = None) -> np.ndarray:
        """Copy out when all that was asked for is done."""
        self._refuse_after_fork()
        found: np.ndarray = array[:size].get(stream=self._stream)
        self._stream.synchronize()
        return found

    def address(self, array: DeviceArray) -> int:
        """Address of the first element."""
        return int(array.data.ptr)

    def free_bytes(self) -> int:
        """Bytes free on the device."""
        self._refuse_after_fork()
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free)

    def launch(self, kernel: str, how: Launch, plan: DeviceArray, argument: int) -> None:
        """Run a kernel."""
        function = self._kernel(instance(kernel, self._ctype, how.samples))
        if self._only_compiles:
            return
        with self._line.stream:
            function(
                (how.blocks,), (how.threads,), (plan, np.int64(argument)),
                shared_mem=how.block_bytes,
            )  # fmt: skip

    def multiply(self, product: Product) -> None:
        """Run a product."""
        if not self._only_compiles:
            self._line.products.multiply(product)

    def beside(self, works: Sequence[Callable[[], None]]) -> None:
        """Run side by side: the first on the stream itself, the others on branches of it."""
        main, event = self._line, partial(self._cupy.cuda.Event, disable_timing=True)
        begun = event()
        begun.record(main.stream)
        branches = self._branches[: len(works) - 1]
        for line in branches:
            line.stream.wait_event(begun)
        try:
            for work, line in zip(works, cycle([main, *branches]), strict=False):
                self._line = line
                work()
        finally:
            self._line = main
        for line in branches:
            done = event()
            done.record(line.stream)
            main.stream.wait_event(done)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture as a CUDA graph; a replay is one launch."""
        # What is compiled while a stream is captured would have to be loaded there too.
        self._only_compiles = True
        try:
            work()
        finally:
            self._only_compiles = False
        with self._stream:
            self._stream.begin_capture()
            try:
                work()
            except BaseException:
                # A capture that is broken off says so once more: what broke it is worth knowing.
                with suppress(self._cupy.cuda.runtime.CUDARuntimeError):
                    self._stream.end_capture()
                raise
            graph: Any = self._stream.end_capture()
        graph.upload(self._stream)
        return lambda: graph.launch(self._stream)

    def seconds(self, recorded: Callable[[], None], times: int) -> float:
        """Mean time by events: what the host does meanwhile is not in it."""
        recorded()
        first, last = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        first.record(self._stream)
        for _ in range(times):
            recorded()
        last.record(self._stream)
        last.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(first, last)) / 1e3 / times
