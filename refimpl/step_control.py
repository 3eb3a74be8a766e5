"""Choice of the step by a PID controller on the error, sample by sample (section 7).

G. Söderlind, Digital filters in adaptive time-stepping, ACM Transactions on
Mathematical Software 29 (2003) 1-26, with the limits of the published solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .configuration import Solver


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
