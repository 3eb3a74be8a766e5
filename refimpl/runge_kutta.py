"""One step of an explicit Runge-Kutta method with an embedded error estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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
