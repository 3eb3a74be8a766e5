"""The CUDA kernels on a CPU: the same sources compiled by g++, products by NumPy."""

from .cpu_device import COMPILER, CpuDevice, cpu_backend, library
from .gpu_rounding import gpu_like_backend, why_no_gpu_rounding

__all__ = [
    "COMPILER",
    "CpuDevice",
    "cpu_backend",
    "gpu_like_backend",
    "library",
    "why_no_gpu_rounding",
]
