"""What a machine makes of one large matrix product: the ceiling of every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

N_PRODUCTS = 5


def product_rate(backend: str, dtype: str, n: int = 1536) -> float:
    """Operations per nanosecond of the product of two n × n matrices where a backend computes.

    Parameters
    ----------
    backend : str
        'cupy' and 'torch-cuda' measure the GPU, any other the CPU.
    dtype : {'float32', 'float64'}
        Precision.
    n : int
        Size; large enough that nothing but the product takes time.
    """
    a: Any = np.random.default_rng(0).random((n, n)).astype(dtype)
    wait: Callable[[], Any] = lambda: None  # noqa: E731
    if backend == "cupy":
        import cupy

        a, wait = cupy.asarray(a), cupy.cuda.Device().synchronize
    elif backend == "torch-cuda":
        import torch

        a, wait = torch.tensor(a, device="cuda"), torch.cuda.synchronize
    times = []
    # The first may load a library.
    for _ in range(N_PRODUCTS + 1):
        wait()
        began = time.perf_counter()
        a @ a
        wait()
        times.append(time.perf_counter() - began)
    return float(2 * n**3 / np.median(times[1:]) / 1e9)
