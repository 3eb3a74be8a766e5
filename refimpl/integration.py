"""Integration of an autonomous system to its steady state, or along a recorded path (section 7).

Explicit Runge-Kutta methods whose embedded error estimate sets the step of each sample by itself.
States are packed: y is (..., batch, n).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .configuration import Array, Solver

Derivative = Callable[[np.ndarray], np.ndarray]
"""dy/dt of the whole batch as a function of y."""


@dataclass(frozen=True)
class Integration:
    """End of an integration; arrays (..., batch) but for y."""

    y: Array  # state at the end; NaN where the path left the finite numbers, for there is none
    settled: Array  # reached its steady state, rather than the horizon or the step limit
    time: Array  # simulated time at the end, seconds, in float64
    n_steps: Array  # steps tried, rejected ones counted


def integrate(
    derivative: Derivative,
    y: Array,
    solver: Solver,
    active: Array | None = None,
    distance: Derivative | None = None,
) -> Integration:
    """Integrate each sample until its derivative vanishes (section 7).

    A sample has settled when, after a kept step, the root mean square of its derivative
    is below atol + rtol · root mean square of its state; and its distance to rest is too, if
    `solver.settled` is 'distance' and that distance can be told, by a function of the derivative.
    Samples that are not `active`, (..., batch), stay as they are and count as settled.
    """
    tableau = TABLEAUS[solver.method]
    samples = y.shape[:-1]
    ones = np.ones(samples)
    control = StepControl(ones * solver.dt, np.zeros(samples, dtype=bool), (ones, ones))
    running = np.ones(samples, dtype=bool) if active is None else active.copy()
    settled = ~running
    time = np.zeros(samples)
    n_steps = np.zeros(samples, dtype=np.int64)
    kept = np.ones(samples, dtype=bool)
    k = derivative(y)
    for _ in range(solver.max_steps):
        if not np.any(running):
            break
        dt = np.minimum(control.dt, solver.horizon - time)
        with np.errstate(over="ignore", invalid="ignore"):
            h = dt.astype(y.dtype)[..., None]
            y_next, error, k_next = runge_kutta_step(tableau, derivative, y, k, h)
            if solver.step_control == "adaptive":
                scaled = scaled_error(solver, y, y_next, error)
                kept, control = next_step(solver, control, scaled, tableau.error_order)
        finite = np.all(np.isfinite(y_next) & np.isfinite(k_next), axis=-1)
        advance = running & kept & finite
        y = np.where(advance[..., None], y_next, y)
        k = np.where(advance[..., None], k_next, k)
        time = np.where(advance, time + dt, time)
        n_steps += running
        small = solver.atol + solver.rtol * root_mean_square(y)
        still = root_mean_square(k) < small
        if distance is not None and solver.settled == "distance" and np.any(still):
            still &= distance(k) <= small
        settled |= advance & still
        # A kept step that is not finite cannot be shortened: the sample has diverged.
        diverged = running & kept & ~finite
        y = np.where(diverged[..., None], y.dtype.type(np.nan), y)
        running &= ~settled & ~diverged & (time < solver.horizon * (1 - 1e-12))
    return Integration(y, settled, time, n_steps)


def integrate_recorded(
    derivative: Derivative, y: Array, tableau: Tableau, dt: float, n_steps: int, every: int = 1
) -> Array:
    """Integrate with a constant step dt, and keep the initial state and every so many steps.

    The path is (n_steps // every + 1, ..., n).
    """
    path, k = [y], derivative(y)
    for step in range(1, n_steps + 1):
        y, _, k = runge_kutta_step(tableau, derivative, y, k, dt)
        if step % every == 0:
            path.append(y)
    return np.stack(path)


def runge_kutta_step(
    tableau: Tableau, derivative: Derivative, y: Array, k_1: Array, dt: Array | float
) -> tuple[Array, Array, Array]:
    """Advance y by dt, one number or (..., batch, 1), k_1 being its derivative.

    Gives the state one step on, the estimated error of the step, and the derivative there.
    """
    k = [k_1]
    for row in tableau.a:
        y_stage = y + dt * _weighted_sum(row, k)
        k.append(derivative(y_stage))
    return y_stage, dt * _weighted_sum(tableau.error, k), k[-1]


def _weighted_sum(weights: tuple[float, ...], k: list[Array]) -> Array:
    total = weights[0] * k[0]
    for weight, k_i in zip(weights[1:], k[1:], strict=True):
        if weight != 0:
            total = total + weight * k_i
    return total


# The choice of the step, by a PID controller on the error of each sample.


@dataclass(frozen=True)
class StepControl:
    """What the step control remembers of each sample, in arrays (..., batch) of float64."""

    dt: Array  # next step, seconds
    at_minimum: Array  # the step is as short as allowed, and therefore kept whatever its error
    inverse_errors: tuple[Array, Array]  # 1 / scaled error of the last two kept steps


def scaled_error(solver: Solver, y: Array, y_next: Array, error: Array) -> Array:
    """Root mean square of the error over what is allowed, atol + rtol · max(|y|, |y_next|).

    In float64, (..., batch): below 1 the step is good; infinite where it left the finite numbers.
    """
    allowed = solver.atol + solver.rtol * np.maximum(np.abs(y), np.abs(y_next))
    scaled = root_mean_square(error / allowed).astype(np.float64)
    return np.where(np.isfinite(scaled), scaled, np.inf)


def root_mean_square(y: Array) -> Array:
    """Root of the mean of squares over the last axis."""
    return np.sqrt(np.mean(y**2, axis=-1))


def next_step(
    solver: Solver, control: StepControl, scaled: Array, error_order: int
) -> tuple[Array, StepControl]:
    """Decide whether a step is kept, (..., batch), and how long the next one is."""
    kept = (scaled < 1) | control.at_minimum
    with np.errstate(divide="ignore"):
        inverse = 1 / scaled
    last, before_last = control.inverse_errors
    factor = (
        solver.safety
        * inverse ** ((solver.p + solver.i + solver.d) / error_order)
        * last ** (-(solver.p + 2 * solver.d) / error_order)
        * before_last ** (solver.d / error_order)
    )
    # A kept step never shrinks the next; a rejected one always does.
    least = np.where(kept, 1.0, solver.factor_min)
    factor = np.clip(factor, least, np.where(kept, solver.factor_max, solver.safety))
    dt = control.dt * factor
    at_minimum = (dt <= solver.dt_min) | (control.at_minimum & (factor == 1))
    # An error of exactly 0, or none that is finite, says nothing about the next step.
    memory = np.where((inverse > 0) & np.isfinite(inverse), inverse, 1.0)
    return kept, StepControl(
        dt=np.clip(dt, solver.dt_min, solver.dt_max),
        at_minimum=at_minimum,
        inverse_errors=(np.where(kept, memory, last), np.where(kept, last, before_last)),
    )


# The methods.


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of a method whose last stage is the first of the next step."""

    a: tuple[tuple[float, ...], ...]  # weights of earlier stages; the last row is the step itself
    error: tuple[float, ...]  # weights of all stages in the error, step minus embedded step
    error_order: int  # power of dt with which the estimated error of one step shrinks


EULER = Tableau(a=((1.0,),), error=(0.5, -0.5), error_order=2)
"""Explicit Euler, of order 1, with the step of Heun's method to estimate its error."""

TSITOURAS_54 = Tableau(
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.362295432869581),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
         -0.02826905039406838),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742,
         -3.290069515436081, 2.324710524099774)
    ),
    error=(
        0.0017800110522257716, 0.0008164344596567469, -0.007880878010261995, 0.1447110071732629,
        -0.5823571654525552, 0.45808210592918697, -1 / 66
    ),
    error_order=5,
)  # fmt: skip
"""Tsitouras 5(4), the published solver: order 5, its error from the embedded method of order 4."""

TABLEAUS = {"tsit5": TSITOURAS_54, "euler": EULER}
"""Integration methods by the name the configuration gives them."""
