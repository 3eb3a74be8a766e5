"""Elementwise work on a layer: equilibrium, rates, slopes (model page, sections 1 and 6).

`phi` is (s_E, k_E, m_E, s_I, k_I, m_I) in the precision of the network.
"""

from __future__ import annotations

from numba import njit

from .elementary import exp_of_negative, log1p_of_fraction

MAX_ITERATIONS = 60


@njit(inline="always")
def rate_and_slope(s, k, m, u):
    """φ(u) and φ'(u) from one exponential."""
    v = k * (u - m)
    e = exp_of_negative(-abs(v))
    one = s / s
    rate = s * (max(v, v - v) + log1p_of_fraction(e))
    slope = s * k * ((one if v >= 0 else e) / (one + e))
    return rate, slope


@njit(nogil=True, cache=True, error_model="numpy")
def settle(phi, a, q, u, r, eps):
    """Newton's method for u + φ_I(φ_E(u) - q) = a, neuron by neuron, from the u given.

    One pass computes state, rates, slopes and step of a whole row. After the last step s
    the rate is φ_E(u) - φ_E' s, short of the exact one by order s²: what the criterion of
    convergence holds below rounding.

    Parameters
    ----------
    phi : array, (6,)
    a, q : array, (rows, n)
        Drive and dis-inhibition.
    u : array, (rows, n)
        Start, replaced by the root.
    r : array, (rows, n)
        Receives φ_E at the root.
    eps : float
        Machine epsilon.

    Returns
    -------
    int
        Neurons that did not converge.
    """
    s_E, k_E, m_E, s_I, k_I, m_I = phi[0], phi[1], phi[2], phi[3], phi[4], phi[5]
    one = s_E / s_E
    half_curvature = k_E * (one + s_E * k_I) / (one + one)
    left = 0
    for b in range(u.shape[0]):
        row_left = u.shape[1]
        for _ in range(MAX_ITERATIONS):
            row_left = 0
            for i in range(u.shape[1]):
                r_E, slope_E = rate_and_slope(s_E, k_E, m_E, u[b, i])
                r_I, slope_I = rate_and_slope(s_I, k_I, m_I, r_E - q[b, i])
                step = (u[b, i] + r_I - a[b, i]) / (one + slope_I * slope_E)
                u[b, i] -= step
                r[b, i] = r_E - slope_E * step
                rounding = eps * (one + abs(a[b, i]) + abs(q[b, i]) + abs(u[b, i]))
                # Counting keeps the loop free of branches; what is no number counts too.
                row_left += 1 - int(half_curvature * step * step <= rounding)
            if row_left == 0:
                break
        left += row_left
    return left


@njit(nogil=True, cache=True, error_model="numpy")
def slopes(phi, u_E, u_I, slope_E, slope_I):
    """φ_E'(u_E) and φ_I'(u_I) of a block."""
    for b in range(u_E.shape[0]):
        for i in range(u_E.shape[1]):
            slope_E[b, i] = rate_and_slope(phi[0], phi[1], phi[2], u_E[b, i])[1]
            slope_I[b, i] = rate_and_slope(phi[3], phi[4], phi[5], u_I[b, i])[1]


@njit(nogil=True, cache=True, error_model="numpy")
def activate(s, k, m, u, r):
    """φ(u) of a block."""
    for b in range(u.shape[0]):
        for i in range(u.shape[1]):
            r[b, i] = rate_and_slope(s, k, m, u[b, i])[0]


@njit(nogil=True, cache=True)
def add_bias(a, bias):
    """a + b, in place."""
    for b in range(a.shape[0]):
        for i in range(a.shape[1]):
            a[b, i] += bias[i]


@njit(nogil=True, cache=True)
def transpose(rows, columns, b_0):
    """Copy rows (samples b_0 …) into the columns of (n, batch), as the gradient reads them."""
    for i in range(rows.shape[1]):
        for b in range(rows.shape[0]):
            columns[i, b_0 + b] = rows[b, i]
