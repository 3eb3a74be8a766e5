"""Whether a network fits into memory, asked before any of it is made."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..refimpl.errors import ConfigurationError, shown

COPIES = 4
"""Parameters, their gradients and Adam's two moments: at the least, in whatever backend."""

DRAWN = 8
"""Bytes of a parameter as it is drawn, in float64."""

CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where a container's limit and what it uses stand, by version of Linux's control groups."""


def refuse_more_than_memory(sizes: tuple[int, ...], batch_size: int, dtype: str) -> None:
    """Refuse a network that certainly does not fit.

    Parameters
    ----------
    sizes : tuple of int
        Units per layer.
    batch_size : int
        Samples per step.
    dtype : {'float32', 'float64'}
        Precision.

    Raises
    ------
    ConfigurationError
        Naming the sizes, what they need and what there is.
    """
    needed, there = needed_bytes(sizes, batch_size, dtype), available_bytes()
    if there is not None and needed > there:
        raise ConfigurationError(
            f"sizes {shown(sizes)}, batch size {batch_size}: at least {_gibibytes(needed)} of "
            f"memory are needed, and {_gibibytes(there)} are free"
        )


def needed_bytes(sizes: tuple[int, ...], batch_size: int, dtype: str) -> int:
    """Bytes that training cannot do without: parameters and states, not what a backend adds."""
    parameters = sum(n * m for n, m in pairwise(sizes)) + sum(sizes[1:-1])
    states = batch_size * sum(sizes)
    return np.dtype(dtype).itemsize * (COPIES * parameters + states) + DRAWN * parameters


def available_bytes() -> int | None:
    """Bytes of memory that are free here, or in this container; None if nothing says so."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, usage in CONTROL_GROUPS:
        # A limit may also be the word "max".
        with suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()) - int(Path(usage).read_text()))
    return min(found, default=None)


def _gibibytes(n: int) -> str:
    return f"{n / 2**30:.3g} GiB" if n < 2**1000 else "endlessly many GiB"
