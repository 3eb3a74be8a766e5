"""How fast a backend learns, as ratios taken in one run.

A row is measured in a process of its own, in which the backend's backprop step and the
step in question take turns: a machine whose speed drifts slows both.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from ..backends import Backend, backend_class
from ..datasets.labels import softened_labels
from ..refimpl.configuration import NetworkConfiguration, Optimizer, Solver
from ..refimpl.errors import ConfigurationError
from ..refimpl.parameters import initial_parameters
from .benchmark_cases import TORCH, TORCHES, Case
from .product_rate import product_rate

N_REPEATS = 9
FEWEST_REPEATS = 7
SECONDS_PER_REPEAT = 0.15
SECONDS_PER_ROW = 10.0
"""After which a row is not repeated more than the fewest times."""
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Row:
    """What was measured.

    Parameters
    ----------
    case : Case
        Of what.
    step_seconds : tuple of float
        Time of a step, repeat by repeat.
    backprop_seconds : tuple of float
        Time of the same backend's backprop step, in turns with it; for backprop the same times.
    matrix_product_gigaflops : float
        The machine's rate in a large product, same precision and process.
    peak_mebibytes : float
        Largest memory of the process when it had warmed up.
    start_up_seconds : float
        From construction to the end of the first step, compiled code read or made.
    """

    case: Case
    step_seconds: tuple[float, ...]
    backprop_seconds: tuple[float, ...]
    matrix_product_gigaflops: float
    peak_mebibytes: float
    start_up_seconds: float

    @property
    def rates(self) -> tuple[float, ...]:
        """Samples per second, repeat by repeat."""
        return tuple(self.case.batch / seconds for seconds in self.step_seconds)

    @property
    def samples_per_second(self) -> float:
        """Samples per second in the repeat of median time."""
        return self.case.batch / median(self.step_seconds)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Step time over that of the backprop step next to it, repeat by repeat."""
        pairs = zip(self.step_seconds, self.backprop_seconds, strict=True)
        return tuple(step / backprop for step, backprop in pairs)

    @property
    def backprop_ratio(self) -> float:
        """Median of the ratios."""
        return median(self.ratios)

    @property
    def gigaflops(self) -> float:
        """Operations of the products that a step cannot do without, per nanosecond."""
        return required_operations(self.case) / median(self.step_seconds) / 1e9


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
        reason = lines[-1] if lines else f"its process ended with code {result.returncode}"
        raise ConfigurationError(f"benchmark of {case}: {reason}")
    values = json.loads(result.stdout.splitlines()[-1])
    for name in ("step_seconds", "backprop_seconds"):
        values[name] = tuple(values[name])
    return Row(**{**values, "case": case})


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
    if case.backend in TORCHES:
        # Imported before the clock starts, as the libraries of our own backends are.
        importlib.import_module("torch")
    began = time.perf_counter()
    step = _step(case, generator)
    step(1)
    start_up = time.perf_counter() - began
    step(1)
    # Read before there is a second network to compare with.
    peak = _peak_memory()
    backprop = step
    if case.rule != "backprop":
        backprop = _step(dataclasses.replace(case, rule="backprop"), generator)
        backprop(2)
    step_seconds, backprop_seconds = _times_in_turns(step, backprop)
    return Row(
        case=case,
        step_seconds=step_seconds,
        backprop_seconds=backprop_seconds,
        matrix_product_gigaflops=product_rate(case.backend, case.dtype),
        peak_mebibytes=peak / MEBIBYTE,
        start_up_seconds=start_up,
    )


def _times_in_turns(
    step: Callable[[int], None], backprop: Callable[[int], None]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds a step, repeat by repeat, of two steps that may be one and the same."""
    counts = {function: _calibrate(function) for function in {step, backprop}}
    step_seconds: list[float] = []
    backprop_seconds: list[float] = []
    began = time.perf_counter()
    while len(step_seconds) < FEWEST_REPEATS or (
        len(step_seconds) < N_REPEATS and time.perf_counter() - began < SECONDS_PER_ROW
    ):
        backprop_seconds.append(_time(backprop, counts[backprop]))
        step_seconds.append(backprop_seconds[-1] if step is backprop else _time(step, counts[step]))
    return tuple(step_seconds), tuple(backprop_seconds)


def build(case: Case, generator: np.random.Generator) -> tuple[Backend, np.ndarray, np.ndarray]:
    """Build the backend of a case, with images and labels of eight batches.

    Three fifths of the pixels are dark, as in Fashion-MNIST about half are.
    """
    n_in, n_out = case.sizes[0], case.sizes[-1]
    x = generator.uniform(-1.5, 1, (8 * case.batch, n_in))
    np.maximum(x, 0, out=x)
    y = softened_labels(generator.integers(0, n_out, 8 * case.batch), n_out)
    # Learning hardly moves the network, so that the last repeat measures what the first did.
    optimizer = Optimizer(learning_rate=1e-7)
    configuration = NetworkConfiguration(sizes=case.sizes, rule=case.rule, optimizer=optimizer)
    backend = backend_class(case.backend)(
        configuration,
        initial_parameters(case.sizes, generator),
        np.dtype(case.dtype),
        Solver() if case.method is None else Solver(method=case.method),
        threads=case.threads,
    )
    return backend, x, y


def _step(case: Case, generator: np.random.Generator) -> Callable[[int], None]:
    if case.backend in TORCHES:
        from .benchmark_torch import torch_backprop_step

        device = "cpu" if case.backend == TORCH else "cuda"
        return torch_backprop_step(case.sizes, case.batch, case.dtype, case.threads, device)
    backend, x, y = build(case, generator)
    data = backend.place(x, y)
    order = np.arange(8 * case.batch).reshape(8, case.batch)

    def steps(n: int) -> None:
        backend.train(data, order[np.arange(n) % 8])

    return steps


def _calibrate(steps: Callable[[int], None]) -> int:
    """Number of steps that a repeat takes, of a step that has warmed up."""
    seconds = _time(steps, 1)
    if seconds < SECONDS_PER_REPEAT:
        seconds = _time(steps, 3)
    return max(1, round(SECONDS_PER_REPEAT / seconds))


def _time(steps: Callable[[int], None], n: int) -> float:
    began = time.perf_counter()
    steps(n)
    return (time.perf_counter() - began) / n


def _peak_memory() -> int:
    """Largest resident memory of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: Linux hands it down, so that a child counts its parent's memory as well.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    row = _measure_here(Case(**json.loads(sys.argv[1])))
    print(json.dumps(dataclasses.asdict(row)))
