"""One step of an explicit Runge-Kutta method with an embedded error estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .configuration import Solver

# --- One step of an explicit Runge-Kutta method with an embedded error estimate.


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of a method whose last stage is the first of the next step.

    Parameters
    ----------
    a : tuple of tuple of float
        Weights of earlier stages in stages 2, 3, ...; the last row is the step itself.
    error : tuple of float
        Weights of all stages in the error estimate, step minus embedded step.
    error_order : int
        Power of dt with which the estimated error of one step shrinks.
    """

    a: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]
    error_order: int


def runge_kutta_step(
    tableau: Tableau,
    derivative: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    k_1: np.ndarray,
    dt: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Advance y by dt.

    Parameters
    ----------
    tableau : Tableau
        The method.
    derivative : callable
        dy/dt as a function of y.
    y, k_1 : array, (..., batch, n)
        State, and its derivative.
    dt : float or array, (..., batch, 1)
        Step, seconds.

    Returns
    -------
    y_next : array
        State one step on.
    error : array
        Estimated error of the step.
    k_next : array
        Derivative at `y_next`.
    """
    k = [k_1]
    for row in tableau.a:
        y_stage = y + dt * _weighted_sum(row, k)
        k.append(derivative(y_stage))
    return y_stage, dt * _weighted_sum(tableau.error, k), k[-1]


def _weighted_sum(weights: tuple[float, ...], k: list[np.ndarray]) -> np.ndarray:
    total = weights[0] * k[0]
    for weight, k_i in zip(weights[1:], k[1:], strict=True):
        if weight != 0:
            total = total + weight * k_i
    return total


# --- Explicit Euler, with the step of Heun's method to estimate its error.


EULER = Tableau(a=((1.0,),), error=(0.5, -0.5), error_order=2)
"""Order 1, error estimate of order 2."""


# --- Tsitouras 5(4), the published solver.


TSITOURAS_54 = Tableau(
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.362295432869581),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.02826905039406838,
        ),
        (
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ),
    ),
    error=(
        0.0017800110522257716,
        0.0008164344596567469,
        -0.007880878010261995,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918697,
        -1 / 66,
    ),
    error_order=5,
)
"""Order 5, error estimate from the embedded method of order 4."""


# --- Choice of the step by a PID controller on the error, sample by sample (section 7).


@dataclass(frozen=True)
class StepControl:
    """What the step control remembers of each sample.

    Parameters
    ----------
    dt : array of float64, (..., batch)
        Next step, seconds.
    at_minimum : array of bool, (..., batch)
        The step is as short as allowed, and is therefore kept whatever its error.
    inverse_errors : tuple of two arrays, (..., batch)
        1 / scaled error of the last kept step and of the one before it.
    """

    dt: np.ndarray
    at_minimum: np.ndarray
    inverse_errors: tuple[np.ndarray, np.ndarray]


def first_step(solver: Solver, shape: tuple[int, ...]) -> StepControl:
    """Start with the step `solver.dt` and no history, for samples of the given shape."""
    one = np.ones(shape)
    return StepControl(one * solver.dt, np.zeros(shape, dtype=bool), (one, one))


def scaled_error(
    solver: Solver, y: np.ndarray, y_next: np.ndarray, error: np.ndarray
) -> np.ndarray:
    """Root mean square of the error over what is allowed, atol + rtol · max(|y|, |y_next|).

    Parameters
    ----------
    solver : Solver
        Tolerances.
    y, y_next, error : array, (..., batch, n)
        State before and after the step, and the estimated error.

    Returns
    -------
    array of float64, (..., batch)
        Below 1 the step is good; infinite where it left the finite numbers.
    """
    allowed = solver.atol + solver.rtol * np.maximum(np.abs(y), np.abs(y_next))
    scaled = root_mean_square(error / allowed).astype(np.float64)
    return np.where(np.isfinite(scaled), scaled, np.inf)


def root_mean_square(y: np.ndarray) -> np.ndarray:
    """Root of the mean of squares over the last axis."""
    return np.sqrt(np.mean(y**2, axis=-1))


def next_step(
    solver: Solver, control: StepControl, scaled: np.ndarray, error_order: int
) -> tuple[np.ndarray, StepControl]:
    """Decide whether a step is kept, and how long the next one is.

    Parameters
    ----------
    solver : Solver
        Gains and limits.
    control : StepControl
        Before the step.
    scaled : array, (..., batch)
        Scaled error of the step.
    error_order : int
        Of the method.

    Returns
    -------
    kept : array of bool, (..., batch)
    control : StepControl
        For the next step.
    """
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
    factor = np.clip(
        factor,
        np.where(kept, 1.0, solver.factor_min),
        np.where(kept, solver.factor_max, solver.safety),
    )
    dt = control.dt * factor
    at_minimum = (dt <= solver.dt_min) | (control.at_minimum & (factor == 1))
    # An error of exactly 0, or none that is finite, says nothing about the next step.
    memory = np.where((inverse > 0) & np.isfinite(inverse), inverse, 1.0)
    return kept, StepControl(
        dt=np.clip(dt, solver.dt_min, solver.dt_max),
        at_minimum=at_minimum,
        inverse_errors=(np.where(kept, memory, last), np.where(kept, last, before_last)),
    )


# --- Integration of an autonomous system to its steady state, or along a recorded path.


TABLEAUS = {"tsit5": TSITOURAS_54, "euler": EULER}
"""Integration methods by the name the configuration gives them."""

Derivative = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Integration:
    """End of an integration.

    Parameters
    ----------
    y : array, (..., batch, n)
        State at the end; NaN where the path left the finite numbers, for there is none.
    settled : array of bool, (..., batch)
        The sample reached its steady state, rather than the horizon or the step limit.
    time : array of float64, (..., batch)
        Simulated time at the end, seconds.
    n_steps : array of int, (..., batch)
        Steps tried, rejected ones counted.
    """

    y: np.ndarray
    settled: np.ndarray
    time: np.ndarray
    n_steps: np.ndarray


def integrate(
    derivative: Derivative,
    y: np.ndarray,
    solver: Solver,
    active: np.ndarray | None = None,
    distance: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Integration:
    """Integrate each sample until its derivative vanishes (section 7).

    A sample has settled when, after a kept step, the root mean square of its derivative
    is below atol + rtol · root mean square of its state; and its distance to rest is too, if
    `solver.settled` is 'distance' and that distance can be told.

    Parameters
    ----------
    derivative : callable
        dy/dt of the whole batch as a function of y, (..., batch, n).
    y : array, (..., batch, n)
        Initial state.
    solver : Solver
        Method 'tsit5' or 'euler', step control, tolerances and limits.
    active : array of bool, (..., batch), optional
        Samples to integrate; the others stay as they are and count as settled.
    distance : callable, optional
        From the derivative to a bound on the distance to rest, (..., batch).

    Returns
    -------
    Integration
    """
    tableau = TABLEAUS[solver.method]
    samples = y.shape[:-1]
    control = first_step(solver, samples)
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
    derivative: Derivative,
    y: np.ndarray,
    tableau: Tableau,
    dt: float,
    n_steps: int,
    every: int = 1,
) -> np.ndarray:
    """Integrate with a constant step and record the path.

    Parameters
    ----------
    derivative : callable
        dy/dt as a function of y.
    y : array, (..., n)
        Initial state.
    tableau : Tableau
        Method.
    dt : float
        Step, seconds.
    n_steps : int
        Number of steps.
    every : int
        Record every so many steps.

    Returns
    -------
    array, (n_steps // every + 1, ..., n)
        The initial state first.
    """
    path = [y]
    k = derivative(y)
    for step in range(1, n_steps + 1):
        y, _, k = runge_kutta_step(tableau, derivative, y, k, dt)
        if step % every == 0:
            path.append(y)
    return np.stack(path)
