"""Where the time of a learning step goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Backend, PlacedData, TimesStages
from .benchmark import build
from .benchmark_cases import Case

N_REPEATS = 15
FEWEST_REPEATS = 7
SECONDS_PER_STAGE = 2.0
"""After which a stage is not repeated more than the fewest times."""


def stage_profile(case: Case) -> dict[str, float]:
    """Time the stages of a learning step, and the step in one go.

    A backend that times them itself does so inside its step, of which they are then the
    parts. Of another each is called on its own: copying arrays in and out, and computing
    again what a fused step computes once, their sum may exceed the step.

    Parameters
    ----------
    case : Case
        Not backprop, whose step has no such stages.

    Returns
    -------
    dict of float
        Median seconds by stage; the last is the whole step.
    """
    backend, x, y = build(case, np.random.default_rng(0))
    data = backend.place(x, y)
    order = np.arange(case.batch)
    if isinstance(backend, TimesStages):
        profile = _parts(backend, data, order)
    else:
        profile = _calls(backend, x[order].astype(case.dtype), y[order].astype(case.dtype))
    # Several steps a call, as in training, unless a single one is long against the call.
    n = 8 if _seconds(lambda: backend.train(data, order[None])) < 0.1 else 1
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
        len(times) < N_REPEATS and sum(times) < SECONDS_PER_STAGE
    ):
        times.append(_seconds(work))
    return float(np.median(times))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
