"""Which backend computes a run that names none: the fastest that can run here.

A run keeps the one that was chosen: it is in its config.toml and checkpoints, and a resumed run
goes on with it.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise

import numpy as np

from ...backends import Backend, BackendUnavailable, NumpyBackend, backend_class
from ...refimpl import NetworkConfiguration, Solver, initial_parameters
from .configuration import AUTO, RunConfiguration

CHOICE_VARIABLE = "DISINHIB_BACKEND"
"""An environment variable that names the backend of runs that name none."""

COMPILING = 20.0
"""Seconds for which nobody is made to wait who would be done sooner without."""
LOADING = 0.4
"""Seconds that a process takes to load Numba with what it has compiled; CuPy takes longer."""

SECONDS_A_SAMPLE, SECONDS_A_WEIGHT = 3e-5, 2.4e-9
"""What NumPy takes for a sample's learning step by fixed point, and for each weight of it: from
784-256-256-256-10 and 64-64-10 on two cores, and enough to tell seconds from minutes."""
INTEGRATION = 40
"""How many times as long a sample takes where its end states are integrated."""


def with_chosen_backend(
    configuration: RunConfiguration, sizes: tuple[int, ...], n_samples: int
) -> RunConfiguration:
    """Name the backend of a run of so many training samples that leaves it open.

    Raises BackendUnavailable: the environment names one that cannot run here.
    """
    if configuration.backend != AUTO:
        return configuration
    name = asked_backend() or _fastest(configuration, sizes, n_samples)
    return configuration.model_copy(update={"backend": name})


def asked_backend() -> str:
    """Name the backend that the environment asks for; empty if it asks for none.

    Raises BackendUnavailable: that cannot run here.
    """
    asked = os.environ.get(CHOICE_VARIABLE, "").strip()
    if asked in ("", AUTO):
        return ""
    try:
        backend_class(asked)
    except BackendUnavailable as problem:
        raise BackendUnavailable(f"{CHOICE_VARIABLE}: {problem}") from problem
    return asked


def _fastest(configuration: RunConfiguration, sizes: tuple[int, ...], n_samples: int) -> str:
    with_numpy = seconds_with_numpy(configuration, sizes, n_samples)
    if with_numpy < LOADING and "numba" not in sys.modules:
        return "numpy"
    dtype = np.dtype(configuration.dtype)
    cupy = _if_it_can_run("cupy")
    if cupy is not None and agrees_with_numpy(cupy, dtype):
        return "cupy"
    numba = _if_it_can_run("numba")
    if numba is None:
        return "numpy"
    rule, method = configuration.rule, configuration.solver.method
    is_compiled = getattr(numba, "is_compiled", lambda *_: True)
    if is_compiled(rule, method, dtype):
        return "numba"
    return "numba" if with_numpy > COMPILING else "numpy"


def _if_it_can_run(name: str) -> type[Backend] | None:
    try:
        return backend_class(name)
    except BackendUnavailable:
        return None


def seconds_with_numpy(
    configuration: RunConfiguration, sizes: tuple[int, ...], n_samples: int
) -> float:
    """About how long training takes with NumPy."""
    weights = sum(n * m for n, m in pairwise(sizes))
    samples = float(n_samples) * min(configuration.epochs, 10**9)
    way = 1 if configuration.solver.method == "fixed-point" else INTEGRATION
    return way * samples * (SECONDS_A_SAMPLE + SECONDS_A_WEIGHT * weights)


TOLERANCE = 1e-4
"""Of a step of Adam at 1e-2 in float32, whose gradients differ by rounding."""


def agrees_with_numpy(kind: type[Backend], dtype: np.dtype) -> bool:
    """Whether a backend learns here, from two batches, what NumPy does; no error is one."""
    sizes = (7, 6, 5, 3)
    generator = np.random.default_rng(0)
    parameters = initial_parameters(sizes, generator)
    x, y = generator.random((8, 7)), np.full((8, 3), 0.05)
    y[np.arange(8), generator.integers(0, 3, 8)] = 0.9
    order = np.arange(8).reshape(2, 4)
    try:
        found = []
        for one in (kind, NumpyBackend):
            backend = one(NetworkConfiguration(sizes=sizes), parameters, dtype, Solver())
            backend.train(backend.place(x, y), order)
            found.append(backend.learner().parameters)
    except Exception:
        # A driver's, a compiler's: whatever it is, this backend is not to be chosen unasked.
        return False
    ours, theirs = ([*p.weights, *p.biases, p.readout] for p in found)
    return all(np.allclose(a, b, rtol=0, atol=TOLERANCE) for a, b in zip(ours, theirs, strict=True))
