"""Integration of an autonomous system to its steady state, or along a recorded path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .configuration import Solver
from .euler import EULER
from .runge_kutta import Tableau, runge_kutta_step
from .step_control import first_step, next_step, root_mean_square, scaled_error
from .tsitouras import TSITOURAS_54

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
