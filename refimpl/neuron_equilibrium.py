"""Equilibrium of one E-I pair under constant drive and dis-inhibition (section 6)."""

from __future__ import annotations

import numpy as np

from .activation import SoftReLU, rate, slope

MAX_ITERATIONS = 60


def neuron_equilibrium(
    phi_E: SoftReLU,
    phi_I: SoftReLU,
    a: np.ndarray,
    q: np.ndarray | float,
    u_E: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve u_E + φ_I(φ_E(u_E) − q) = a for u_E by Newton's method.

    The left side is convex, being a sum of a line and a composition of convex increasing
    functions, and its slope is 1 + φ_I' φ_E' ≥ 1. Newton's method on such a function
    converges from every start: the first step lands at or above the root, and from
    there it descends to it.

    After a step of size s the error left is at most ½ M s², where M bounds the curvature
    over the slope, M = k_E (1 + s_E k_I): the search stops when that is within rounding. Of
    sharp neurons M is so large that no step of a precision's own size passes; there two
    steps in a row within rounding do. One alone might be the last before a bend, from which
    the next is of a bend's width, 1/k.

    Parameters
    ----------
    phi_E, phi_I : SoftReLU
        Activation functions.
    a : array, (..., batch, n)
        Drive.
    q : array, (..., batch, n), or 0
        Dis-inhibition c Q.
    u_E : array, (..., batch, n)
        Start; the nearer, the fewer iterations.

    Returns
    -------
    u_E : array, (..., batch, n)
        Root.
    converged : array of bool, (..., batch)
        Whether every neuron of the sample came within rounding of its root.
    """
    eps = np.finfo(a.dtype).eps
    curvature = phi_E.sharpness * (1 + phi_E.scale * phi_I.sharpness)
    rounding = eps * (1 + np.abs(a) + np.abs(q))
    was_small = np.zeros(1, dtype=bool)
    for _ in range(MAX_ITERATIONS):
        r_E = rate(phi_E, u_E)
        residual = u_E + rate(phi_I, r_E - q) - a
        step = residual / (1 + slope(phi_I, r_E - q) * slope(phi_E, u_E))
        u_E = u_E - step
        allowed = rounding + eps * np.abs(u_E)
        small = np.abs(step) <= 2 * allowed
        converged = (curvature / 2 * step**2 <= allowed) | (small & was_small)
        was_small = small
        # What is no number stays none.
        if np.all(converged | np.isnan(u_E)):
            break
    return u_E, np.all(converged, axis=-1)
