"""A `Device` whose kernels a C++ compiler made from the CUDA sources."""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from disinhib.backends.cuda.backend import CupyBackend
from disinhib.backends.cuda.source import source

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("clang++")


@functools.cache
def place_of_compiled():
    """In the checkout; where that cannot be written, for this process alone: it is executed."""
    kept = HERE.parents[2] / ".pytest_cache" / "cuda-on-cpu"
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
    if os.access(kept, os.W_OK):
        return kept
    own = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


@functools.cache
def library(*flags):
    """Compile the kernels, once for each version of their sources, whoever else asks for them.

    `flags` ask the compiler for another arithmetic.
    """
    text = (HERE / "launch.cpp").read_text().replace('#include "kernels.cu"', source())
    words = (HERE / "cuda_words.h").read_text()
    version = hashlib.sha256((text + words).encode()).hexdigest()[:16]
    place = place_of_compiled()
    compiled = place / f"{version}{''.join(flags)}.so"
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not compiled.exists():
            for other in place.glob("*.so"):
                if not other.name.startswith(version):
                    other.unlink()
            compile_kernels(text, compiled, *flags)
    found = ctypes.CDLL(str(compiled))
    found.launch.argtypes = [
        ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int,
        ctypes.c_size_t, ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int, ctypes.c_char_p,
        ctypes.c_uint,
    ]  # fmt: skip
    return found


def compile_kernels(text, compiled, *flags):
    with tempfile.TemporaryDirectory(dir=compiled.parent) as own:
        (Path(own) / "launch.cpp").write_text(text)
        # Not -O2: what the kernels then save would not pay for it.
        subprocess.run(
            [COMPILER, "-std=c++17", "-O1", *flags, "-fPIC", "-shared", f"-I{HERE}", "launch.cpp",
             "-o", "kernels.so"],
            cwd=own, check=True, capture_output=True, text=True,
        )  # fmt: skip
        (Path(own) / "kernels.so").replace(compiled)


class CpuDevice:
    """Blocks one after the other; a block's threads take turns between barriers.

    With a seed above 0 the blocks run together, in an order drawn at random, and what may run side
    by side in such an order too; reversed, it runs from last to first. While a step is recorded
    nothing is done and what a capture of CUDA forbids is refused; what was recorded is repeated
    from a tape, with the host's numbers of then. To see that a missing barrier shows, leave out
    those of one function.
    """

    def __init__(
        self,
        dtype,
        threads=1,
        is_reversed=False,
        processors=8,
        block_bytes=200_000,
        free=2**40,
        without_barriers_of="",
        seed=0,
    ):
        self.dtype = np.dtype(dtype)
        self.threads = self.group_threads = threads
        self.processors, self.block_bytes = processors, block_bytes
        self._is_reversed, self._free, self._seed = is_reversed, free, seed
        self._without_barriers_of = without_barriers_of.encode()
        self._library = library()
        self._tape = None

    def _refuse_while_recording(self, what):
        assert self._tape is None, f"{what} while a step is recorded, which CUDA forbids"

    def empty(self, size, dtype):
        self._refuse_while_recording("memory is taken")
        array = np.empty(size, dtype=dtype)
        # What a kernel reads before it is written is no number.
        array.view(np.uint8)[:] = 0xFF
        return array

    def put(self, array, into=None):
        self._refuse_while_recording("the host copies to the device")
        flat = np.ravel(array)
        if into is None:
            return flat.copy()
        into[: flat.size] = flat
        return into

    def get(self, array, size=None):
        self._refuse_while_recording("the host copies from the device")
        return array[:size].copy()

    def address(self, array):
        return array.ctypes.data

    def free_bytes(self):
        return self._free

    def _do(self, work):
        if self._tape is None:
            work()
        else:
            self._tape.append(work)

    def launch(self, kernel, how, plan, argument):
        self._do(functools.partial(self._launch, kernel, how, plan, argument))

    def multiply(self, product):
        self._do(functools.partial(self._multiply, product))

    def beside(self, works):
        if self._seed:
            works = [works[i] for i in np.random.default_rng(self._seed).permutation(len(works))]
        for work in reversed(works) if self._is_reversed else works:
            work()

    def record(self, work):
        self._refuse_while_recording("another recording begins")
        self._tape = tape = []
        try:
            work()
        finally:
            self._tape = None

        def replay():
            for done in tape:
                self._do(done)

        return replay

    def _launch(self, kernel, how, plan, argument):
        threads = min(how.threads, self.threads) if self.threads == 1 else how.threads
        blocks = how.blocks if threads == how.threads else how.blocks * how.threads
        unknown = self._library.launch(
            kernel.encode(), self.dtype == np.float64, how.samples, blocks, threads,
            how.block_bytes, plan.ctypes.data, argument, self._is_reversed,
            self._without_barriers_of, self._seed,
        )  # fmt: skip
        assert not unknown, kernel

    def _multiply(self, p):
        a = self._matrices(p.a, p.rows, p.inner, p.a_stride, p.count, p.a_transposed)
        b = self._matrices(p.b, p.inner, p.columns, p.b_stride, p.count, p.b_transposed)
        c = self._matrices(p.c, p.rows, p.columns, p.c_stride, p.count, False)
        c[:] = self.dtype.type(p.alpha) * (a @ b)

    def _matrices(self, address, rows, columns, stride, count, is_transposed):
        shape = (columns, rows) if is_transposed else (rows, columns)
        size = (count - 1) * stride + rows * columns
        kind = ctypes.c_float if self.dtype == np.float32 else ctypes.c_double
        flat = np.ctypeslib.as_array((kind * size).from_address(address))
        itemsize = self.dtype.itemsize
        strides = (stride * itemsize, shape[1] * itemsize, itemsize)
        found = np.lib.stride_tricks.as_strided(flat, (count, *shape), strides)
        return np.swapaxes(found, -1, -2) if is_transposed else found

    def seconds(self, recorded, times):
        self._refuse_while_recording("the host waits for the device")
        began = time.perf_counter()
        for _ in range(times + 1):
            recorded()
        return (time.perf_counter() - began) / (times + 1)


def cpu_backend(**options):
    """A backend class, as far as callers can tell, on a CpuDevice with these options."""

    def build(configuration, parameters, dtype, solver, threads=None):
        return CupyBackend(
            configuration, parameters, dtype, solver, threads,
            device=functools.partial(CpuDevice, **options),
        )  # fmt: skip

    return build
