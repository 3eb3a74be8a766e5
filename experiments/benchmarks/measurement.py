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
from typing import Any

import numpy as np

from ...backends import Backend, PlacedData, TimesStages, backend_class
from ...datasets import softened_labels
from ...refimpl import (
    ConfigurationError,
    NetworkConfiguration,
    Optimizer,
    Solver,
    initial_parameters,
)
from .cases import TORCH, TORCH_GRAPH, TORCHES, Case

N_REPEATS = 9
FEWEST_REPEATS = 7
SECONDS_PER_REPEAT = 0.15
SECONDS_PER_ROW = 10.0
"""After which a row is not repeated more than the fewest times."""
MEBIBYTE = 2**20
N_PRODUCTS = 5


@dataclass(frozen=True)
class Row:
    """What was measured of a case."""

    case: Case
    step_seconds: tuple[float, ...]  # repeat by repeat
    # of the same backend's backprop step, in turns with it; for backprop the same times
    backprop_seconds: tuple[float, ...]
    # the machine's rate in a large product, same precision and process
    matrix_product_gigaflops: float
    peak_mebibytes: float  # largest memory of the process when it had warmed up
    start_up_seconds: float  # construction to the end of the first step, compiled code read or made

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
    """Measure a case in a process of its own, whose last line is the message if it fails."""
    command = [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(case))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"its process ended with code {result.returncode}"
        raise ConfigurationError(f"benchmark of {case}: {reason}")
    values = json.loads(result.stdout.splitlines()[-1])
    times = {name: tuple(values[name]) for name in ("step_seconds", "backprop_seconds")}
    return Row(**{**values, **times, "case": case})


def required_operations(case: Case) -> float:
    """Operations of the matrix products that one step cannot do without.

    A multiplication and an addition each. Backprop: forward, back, gradients. Else: open
    loop, feedback weights (n_out rows a sample), one pass of the closed loop above the
    first layer, gradients.
    """
    sizes, batch = case.sizes, case.batch
    products = [n * m for n, m in pairwise(sizes)]
    feedback = 0 if case.rule == "backprop" else sizes[-1] * sum(products[1:-1])
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
        device = "cpu" if case.backend == TORCH else "cuda"
        is_graph = case.backend == TORCH_GRAPH
        return torch_backprop_step(
            case.sizes, case.batch, case.dtype, case.threads, device, is_graph=is_graph
        )
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


def _time(work: Callable[..., Any], n: int | None = None) -> float:
    """Seconds of some work, or of one of its n steps."""
    began = time.perf_counter()
    work() if n is None else work(n)
    return (time.perf_counter() - began) / (n or 1)


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


def torch_backprop_step(
    sizes: tuple[int, ...],
    batch: int,
    dtype: str,
    threads: int | None,
    device: str = "cpu",
    *,
    is_graph: bool = False,
) -> Callable[[int], None]:
    """Build PyTorch's network, its Adam and eight batches; what is given takes so many steps.

    Softplus between the layers, a readout without bias, on 'cpu' or 'cuda', where Adam is one
    fused kernel and the step may be recorded as a graph.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    precision = getattr(torch, dtype)
    layers: list[torch.nn.Module] = []
    for n, m in pairwise(sizes[:-1]):
        layers += [torch.nn.Linear(n, m, dtype=precision), torch.nn.Softplus()]
    readout = torch.nn.Linear(sizes[-2], sizes[-1], bias=False, dtype=precision)
    network = torch.nn.Sequential(*layers, readout).to(device)
    on_gpu = device == "cuda"
    optimizer = torch.optim.Adam(
        network.parameters(), lr=1e-3, fused=on_gpu or None, capturable=is_graph
    )
    generator = np.random.default_rng(0)
    x = torch.tensor(generator.random((8, batch, sizes[0])), dtype=precision, device=device)
    labels = softened_labels(generator.integers(0, sizes[-1], 8 * batch), sizes[-1])
    y = torch.tensor(labels.reshape(8, batch, -1), dtype=precision, device=device)

    def learn(images: Any, targets: Any) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()

    step = _recorded(learn, x[0].clone(), y[0].clone()) if is_graph else learn

    def steps(n: int) -> None:
        for i in range(n):
            step(x[i % 8], y[i % 8])
        if on_gpu:
            torch.cuda.synchronize()

    return steps


def _recorded(learn: Callable[[Any, Any], None], x: Any, y: Any) -> Callable[[Any, Any], None]:
    """Record PyTorch's step as a CUDA graph, on copies that every replay fills first."""
    import torch

    # As PyTorch asks for: a few steps on another stream before.
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            learn(x, y)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        learn(x, y)

    def replay(images: Any, targets: Any) -> None:
        x.copy_(images)
        y.copy_(targets)
        graph.replay()

    return replay


def product_rate(backend: str, dtype: str, n: int = 1536) -> float:
    """Operations per nanosecond of the product of two n × n matrices where a backend computes.

    n is large enough that nothing but the product takes time.
    """
    a: Any = np.random.default_rng(0).random((n, n)).astype(dtype)
    wait: Callable[[], Any] | None = None
    if backend == "cupy":
        import cupy

        a, wait = cupy.asarray(a), cupy.cuda.Device().synchronize
    elif backend in TORCHES[1:]:
        import torch

        a, wait = torch.tensor(a, device="cuda"), torch.cuda.synchronize

    def product() -> None:
        a @ a
        if wait is not None:
            wait()

    # The first may load a library.
    product()
    return float(2 * n**3 / np.median([_time(product) for _ in range(N_PRODUCTS)]) / 1e9)


# Where the time of a learning step goes, stage by stage.

N_STAGE_REPEATS = 15
SECONDS_PER_STAGE = 2.0
"""After which a stage is not repeated more than the fewest times."""


def stage_profile(case: Case) -> dict[str, float]:
    """Time the stages of a learning step, and at the end the step in one go: median seconds.

    A backend that times them itself does so inside its step, of which they are then the parts. Of
    another each is called on its own: copying arrays in and out, and computing again what a fused
    step computes once, their sum may exceed the step.
    """
    backend, x, y = build(case, np.random.default_rng(0))
    data = backend.place(x, y)
    order = np.arange(case.batch)
    if isinstance(backend, TimesStages):
        profile = _parts(backend, data, order)
    else:
        profile = _calls(backend, x[order].astype(case.dtype), y[order].astype(case.dtype))
    # Several steps a call, as in training, unless a single one is long against the call.
    n = 8 if _time(lambda: backend.train(data, order[None])) < 0.1 else 1
    orders = order[None].repeat(n, axis=0)
    profile["whole learning step"] = _median(lambda: backend.train(data, orders)) / n
    return profile


def _parts(backend: TimesStages, data: PlacedData, order: np.ndarray) -> dict[str, float]:
    """Median seconds of the stages inside the step."""
    backend.stage_seconds(data, order)
    steps: list[dict[str, float]] = []
    _median(lambda: steps.append(backend.stage_seconds(data, order)))
    return {name: float(np.median([step[name] for step in steps])) for name in steps[0]}


def _calls(backend: Backend, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Median seconds of the stages called one by one."""
    open_loop, _ = backend.open_loop(x)
    r_bar = backend.mean_inhibition(open_loop)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    stages: dict[str, Callable[[], Any]] = {
        "open loop": lambda: backend.open_loop(x),
        "mean inhibition": lambda: backend.mean_inhibition(open_loop),
        "feedback weights": lambda: backend.feedback_weights(open_loop),
        "closed-loop target": lambda: backend.closed_loop_target(open_loop, y),
        "closed loop": lambda: backend.closed_loop(x, Q, target, open_loop),
        "gradients": lambda: backend.gradients(x, y, open_loop, closed_loop, r_bar),
        "optimiser update": lambda: backend.update(gradients, r_bar),
    }
    return {name: _median(work) for name, work in stages.items()}


def _median(work: Callable[[], Any]) -> float:
    times: list[float] = []
    while len(times) < FEWEST_REPEATS or (
        len(times) < N_STAGE_REPEATS and sum(times) < SECONDS_PER_STAGE
    ):
        times.append(_time(work))
    return float(np.median(times))


if __name__ == "__main__":
    row = _measure_here(Case(**json.loads(sys.argv[1])))
    print(json.dumps(dataclasses.asdict(row)))
