"""What the orchestration of the CUDA kernels needs of a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

DeviceArray = Any
"""An array in the device's memory; only the device looks inside."""


@dataclass(frozen=True)
class Launch:
    """How many threads run a kernel.

    Parameters
    ----------
    blocks, threads : int
        Blocks, and threads in each.
    block_bytes : int
        Memory that the threads of a block share.
    samples : int
        S, for kernels of groups.
    """

    blocks: int
    threads: int
    block_bytes: int = 0
    samples: int = 1


@dataclass(frozen=True)
class Product:
    """C = alpha A B for `count` triples of matrices that lie at constant strides.

    Parameters
    ----------
    rows, inner, columns : int
        C is (rows, columns), in rows; A (rows, inner) and B (inner, columns).
    a, b, c : int
        Addresses of the first triple.
    a_stride, b_stride, c_stride : int
        Elements from one triple to the next.
    a_transposed, b_transposed : bool
        A lies as (inner, rows); B lies as (columns, inner).
    alpha : float
        Factor.
    count : int
        Triples.
    """

    rows: int
    inner: int
    columns: int
    a: int
    b: int
    c: int
    a_stride: int
    b_stride: int
    c_stride: int
    a_transposed: bool = False
    b_transposed: bool = False
    alpha: float = 1.0
    count: int = 1


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
        ...

    def put(self, array: np.ndarray, into: DeviceArray | None = None) -> DeviceArray:
        """Copy an array to the device: to new memory, or to the front of some."""
        ...

    def get(self, array: DeviceArray, size: int | None = None) -> np.ndarray:
        """Copy out, flat, the first `size` elements or all, when what was asked for is done."""
        ...

    def address(self, array: DeviceArray) -> int:
        """Address of the first element."""
        ...

    def free_bytes(self) -> int:
        """Bytes that can still be taken."""
        ...

    def launch(self, kernel: str, how: Launch, plan: DeviceArray, argument: int) -> None:
        """Run a kernel of `cuda_source.kernels`."""
        ...

    def multiply(self, product: Product) -> None:
        """Run a matrix product."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` asks for, without doing it; calling the result does it."""
        ...

    def synchronize(self) -> None:
        """Wait until all is done."""
        ...
