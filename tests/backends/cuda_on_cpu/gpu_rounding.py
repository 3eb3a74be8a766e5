"""The CPU build with a GPU's rounding: fused multiply-adds, and subnormal numbers flushed."""

import platform
from pathlib import Path

from disinhib.backends.cuda.backend import CupyBackend

from .cpu_device import COMPILER, CpuDevice, library

# NVRTC fuses by itself, GCC with the last of these; and CuPy gives NVRTC -ftz=true, which
# flushes what is float.
FLAGS = ("-mfma", "-ffp-contract=fast", "-fexpensive-optimizations", "-DFLUSH_SUBNORMALS")


def why_no_gpu_rounding():
    """Say why the flags would not do here; empty if they do."""
    processor = Path("/proc/cpuinfo")
    if COMPILER is None:
        return "neither g++ nor clang++ is here"
    if platform.machine() != "x86_64" or not processor.exists():
        return "the flags are those of x86-64 on Linux"
    return "" if " fma " in processor.read_text() else "this processor has no fused multiply-add"


def gpu_like_backend(**options):
    """A backend class, as far as callers can tell, on a CpuDevice that rounds as a GPU."""

    def device(dtype):
        made = CpuDevice(dtype, **options)
        made._library = library(*FLAGS)
        return made

    def build(configuration, parameters, dtype, solver, threads=None):
        return CupyBackend(configuration, parameters, dtype, solver, threads, device=device)

    return build
