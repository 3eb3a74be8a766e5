"""Where the time of a learning step goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .benchmark import build
from .benchmark_cases import Case

N_REPEATS = 15
FEWEST_REPEATS = 7
SECONDS_PER_STAGE = 2.0
"""After which a stage is not repeated more than the fewest times."""


def stage_profile(case: Case) -> dict[str, float]:
    """Time each stage on its own, and the step in one go.

    Called one by one the stages copy arrays in and out, and what a fused step computes once
    they may compute again, so that their sum exceeds the step.

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
    x, y = x[: case.batch].astype(case.dtype), y[: case.batch].astype(case.dtype)
    open_loop, _ = backend.open_loop(x)
    r_bar = backend.mean_inhibition(open_loop)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    data = backend.place(x, y)
    order = np.arange(case.batch)[None]
    stages: dict[str, Callable[[], Any]] = {
        "open loop": lambda: backend.open_loop(x),
        "mean inhibition": lambda: backend.mean_inhibition(open_loop),
        "feedback weights": lambda: backend.feedback_weights(open_loop),
        "closed-loop target": lambda: backend.closed_loop_target(open_loop, y),
        "closed loop": lambda: backend.closed_loop(x, Q, target, open_loop),
        "gradients": lambda: backend.gradients(x, y, open_loop, closed_loop, r_bar),
        "optimiser update": lambda: backend.update(gradients, r_bar),
    }
    profile = {name: _median(work) for name, work in stages.items()}
    # Several steps a call, as in training, unless a single one is long against the call.
    n = 8 if _seconds(lambda: backend.train(data, order)) < 0.1 else 1
    order = order.repeat(n, axis=0)
    profile["whole learning step"] = _median(lambda: backend.train(data, order)) / n
    return profile


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
