"""The CUDA kernels on a CPU: the same sources compiled by g++, products by NumPy."""

from .cpu_device import COMPILER, CpuDevice, cpu_backend, library

__all__ = ["COMPILER", "CpuDevice", "cpu_backend", "library"]
