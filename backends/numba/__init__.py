"""The CPU backend: kernels compiled by Numba, threads that share a batch."""

from .integer_ticks import CompiledTicks
from .threads import default_threads

__all__ = ["CompiledTicks", "default_threads"]
