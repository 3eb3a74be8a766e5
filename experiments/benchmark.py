"""How fast a backend learns, as ratios taken in one run.

A row is measured in a process of its own, in which the backend's backprop step and the
step in question take turns: a machine whose speed drifts slows both.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..backends import Backend, backend_class
from ..datasets.labels import softened_labels
from ..refimpl.configuration import NetworkConfiguration, Optimizer, Solver
from ..refimpl.errors import ConfigurationError
from ..refimpl.parameters import initial_parameters

N_REPEATS = 9
SECONDS_PER_REPEAT = 0.15
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Case:
    """What to measure.

    Parameters
    ----------
    backend, dtype, rule, method : str
        As for a run; the backend 'torch' is PyTorch's own backprop step.
    sizes : tuple of int
        Units per layer.
    batch : int
        Samples per step.
    threads : int or None
        None takes all processors.
    """

    backend: str
    dtype: str
    rule: str
    method: str
    sizes: tuple[int, ...] = (784, 256, 256, 256, 10)
    batch: int = 100
    threads: int | None = None


@dataclass(frozen=True)
class Row:
    """What was measured.

    Parameters
    ----------
    case : Case
        Of what.
    samples_per_second, slowest, fastest : float
        Median and extremes of the repeats.
    backprop_ratio : float
        Median of step time over the same backend's backprop step, repeat by repeat.
    gigaflops : float
        Operations of the matrix products that a step cannot do without, per nanosecond.
    matrix_product_gigaflops : float
        The machine's rate in a large product, same precision and process.
    peak_mebibytes : float
        Largest memory of the process.
    first_step_seconds : float
        From construction to the end of the first step, compiled code read or made.
    """

    case: Case
    samples_per_second: float
    slowest: float
    fastest: float
    backprop_ratio: float
    gigaflops: float
    matrix_product_gigaflops: float
    peak_mebibytes: float
    first_step_seconds: float


def standard_cases(backends: Sequence[str]) -> list[Case]:
    """List the cases of the published table: every rule by fixed point, and by integration."""
    cases = []
    for backend in backends:
        for dtype in ("float32", "float64"):
            for rule in ("backprop", "exact-inverse", "linear-threshold"):
                cases.append(Case(backend, dtype, rule, "fixed-point"))
            cases.append(Case(backend, dtype, "exact-inverse", "tsit5"))
    return cases


def scaling_cases(backend: str) -> dict[str, list[Case]]:
    """Vary one size at a time around the published network."""

    def case(sizes: tuple[int, ...], batch: int = 100) -> Case:
        return Case(backend, "float32", "exact-inverse", "fixed-point", sizes, batch)

    return {
        "batch": [case((784, 256, 256, 256, 10), b) for b in (1, 3, 10, 30, 100, 300, 1000)],
        "width": [case((784, n, n, n, 10)) for n in (64, 128, 256, 512, 1024, 2048)],
        "depth": [case((784, *[256] * depth, 10)) for depth in (1, 2, 3, 4, 6, 8)],
        "outputs": [case((784, 256, 256, 256, n)) for n in (10, 20, 50, 100)],
    }


def measure(case: Case) -> Row:
    """Measure a case in a process of its own.

    Raises
    ------
    ConfigurationError
        The process failed; the message is its last line.
    """
    command = [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(case))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        raise ConfigurationError(f"benchmark of {case}: {lines[-1] if lines else 'no output'}")
    values = json.loads(result.stdout.splitlines()[-1])
    settings = values.pop("case")
    return Row(Case(**{**settings, "sizes": tuple(settings["sizes"])}), **values)


def required_operations(case: Case) -> float:
    """Operations of the matrix products that one step cannot do without.

    A multiplication and an addition each. Backprop: forward, back, gradients. Else: open
    loop, feedback weights (n_out rows a sample), one pass of the closed loop above the
    first layer, gradients.
    """
    sizes, batch = case.sizes, case.batch
    products = [n * m for n, m in pairwise(sizes)]
    if case.rule == "backprop":
        return 2 * batch * (2 * sum(products) + sum(products[1:]))
    feedback = sizes[-1] * sum(products[1:-1])
    return 2 * batch * (2 * sum(products) + sum(products[1:]) + feedback)


def _measure_here(case: Case) -> Row:
    generator = np.random.default_rng(0)
    began = time.perf_counter()
    step = _step(case, generator)
    step(1)
    first_step = time.perf_counter() - began
    backprop = (
        step
        if case.rule == "backprop"
        else _step(dataclasses.replace(case, rule="backprop", method="fixed-point"), generator)
    )
    counts = {function: _calibrate(function) for function in {step, backprop}}
    times, ratios = [], []
    for _ in range(N_REPEATS):
        baseline = _time(backprop, counts[backprop])
        times.append(baseline if step is backprop else _time(step, counts[step]))
        ratios.append(times[-1] / baseline)
    median = float(np.median(times))
    return Row(
        case=case,
        samples_per_second=case.batch / median,
        slowest=case.batch / max(times),
        fastest=case.batch / min(times),
        backprop_ratio=float(np.median(ratios)),
        gigaflops=required_operations(case) / median / 1e9,
        matrix_product_gigaflops=matrix_product_rate(np.dtype(case.dtype)),
        peak_mebibytes=_peak_memory() / MEBIBYTE,
        first_step_seconds=first_step,
    )


def matrix_product_rate(dtype: np.dtype, n: int = 1536) -> float:
    """Operations per nanosecond of a large matrix product: the machine's measured ceiling."""
    a = np.random.default_rng(0).random((n, n)).astype(dtype)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return float(2 * n**3 / np.median(times) / 1e9)


def build(case: Case, generator: np.random.Generator) -> tuple[Backend, np.ndarray, np.ndarray]:
    """Build the backend of a case, with images and labels of eight batches.

    Three fifths of the pixels are dark, as in Fashion-MNIST about half are.
    """
    n_in, n_out = case.sizes[0], case.sizes[-1]
    x = np.maximum(generator.uniform(-1.5, 1, (8 * case.batch, n_in)), 0)
    y = softened_labels(generator.integers(0, n_out, 8 * case.batch), n_out)
    # Learning hardly moves the network, so that the last repeat measures what the first did.
    optimizer = Optimizer(learning_rate=1e-7)
    configuration = NetworkConfiguration(sizes=case.sizes, rule=case.rule, optimizer=optimizer)
    backend = backend_class(case.backend)(
        configuration,
        initial_parameters(case.sizes, generator),
        np.dtype(case.dtype),
        Solver(method=case.method),
        threads=case.threads,
    )
    return backend, x, y


def _step(case: Case, generator: np.random.Generator) -> Callable[[int], None]:
    if case.backend == "torch":
        from .benchmark_torch import torch_backprop_step

        return torch_backprop_step(case.sizes, case.batch, case.dtype, case.threads)
    backend, x, y = build(case, generator)
    data = backend.place(x, y)
    order = np.arange(8 * case.batch).reshape(8, case.batch)

    def steps(n: int) -> None:
        backend.train(data, order[np.arange(n) % 8])

    return steps


def _calibrate(steps: Callable[[int], None]) -> int:
    steps(2)
    return max(1, round(SECONDS_PER_REPEAT / _time(steps, 3)))


def _time(steps: Callable[[int], None], n: int) -> float:
    began = time.perf_counter()
    steps(n)
    return (time.perf_counter() - began) / n


def _peak_memory() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    row = _measure_here(Case(**{**settings, "sizes": tuple(settings["sizes"])}))
    print(json.dumps(dataclasses.asdict(row)))
