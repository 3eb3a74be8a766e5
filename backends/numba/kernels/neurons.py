"""Elementwise work on rows: rates, slopes, equilibrium, sums (model page, sections 1 and 6).

`phi` is (s_E, k_E, m_E, s_I, k_I, m_I) in the precision of the network.
"""

from __future__ import annotations

import numpy as np

from .code_cache import inner
from .elementary import CONTRACT, exp_of_negative, log1p_of_fraction

MAX_PASSES = 60
"""Far more than Newton's method needs from any start."""


@inner(forceinline=True, fastmath=CONTRACT)
def rate_and_slope(s, k, m, u):
    """φ(u) and φ'(u) from one exponential."""
    v = k * (u - m)
    e = exp_of_negative(-abs(v))
    one = s / s
    rate = s * (max(v, v - v) + log1p_of_fraction(e))
    slope = s * k * ((one if v >= 0 else e) / (one + e))
    return rate, slope


@inner(fastmath=CONTRACT)
def activate(s, k, m, u, r):
    """φ(u) of a block."""
    for b in range(u.shape[0]):
        for i in range(u.shape[1]):
            r[b, i] = rate_and_slope(s, k, m, u[b, i])[0]


@inner(fastmath=CONTRACT)
def slopes(phi, u_E, u_I, slope_E, slope_I):
    """φ_E'(u_E) and φ_I'(u_I) of a block."""
    for b in range(u_E.shape[0]):
        for i in range(u_E.shape[1]):
            slope_E[b, i] = rate_and_slope(phi[0], phi[1], phi[2], u_E[b, i])[1]
            slope_I[b, i] = rate_and_slope(phi[3], phi[4], phi[5], u_I[b, i])[1]


@inner
def upper_bound(phi, a, u):
    """Where Newton's method starts in open loop: at or above the root, and near it.

    φ lies above both its asymptotes, 0 and s k (u - m), so that the root of
    u + φ_I(φ_E(u)) = a lies below the roots with either in its place.
    """
    one = phi[0] / phi[0]
    slope_I = phi[3] * phi[4]
    shift = slope_I * (phi[0] * phi[1] * phi[2] + phi[5])
    gain = one / (one + slope_I * phi[0] * phi[1])
    for b in range(a.shape[0]):
        for i in range(a.shape[1]):
            u[b, i] = min(a[b, i], gain * (a[b, i] + shift))


@inner
def settle(phi, a, q, u, r, eps, max_passes, solved):
    """Newton's method for u + φ_I(φ_E(u) - q) = a, neuron by neuron, from the u given.

    All are (rows, n): u is replaced by the root, r receives φ_E there, `solved`, (rows,), becomes
    False where a neuron of the row has not converged. One pass computes state, rates, slopes and
    step of a whole row. After the last step s the rate is φ_E(u) - φ_E' s, short of the exact one
    by order s²: what the criterion of convergence holds below rounding.
    """
    one = phi[0] / phi[0]
    half_curvature = phi[1] * (one + phi[0] * phi[4]) / (one + one)
    # Rounding is ε at least. Written so that what is no number is sharp.
    may_be_sharp = not (half_curvature * eps <= one / 16)
    excess = np.empty(u.shape[1], dtype=u.dtype)
    for b in range(u.shape[0]):
        left = u.shape[1]
        for _ in range(max_passes):
            if may_be_sharp:
                _careful_newton_pass(phi, half_curvature, eps, a[b], q[b], u[b], r[b], excess)
            else:
                _newton_pass(phi, half_curvature, eps, a[b], q[b], u[b], r[b], excess)
            left = 0
            for i in range(excess.size):
                # Written so that what is no number has not converged.
                left += not (excess[i] <= 0)
            if left == 0:
                break
        solved[b] = solved[b] and left == 0


@inner(fastmath=CONTRACT)
def _newton_pass(phi, half_curvature, eps, a, q, u, r, excess):
    """One step of a row; excess is by how much the error left may exceed rounding.

    Nothing is counted here: a sum of whole numbers would keep the loop from becoming
    vector instructions.
    """
    s_E, k_E, m_E, s_I, k_I, m_I = phi[0], phi[1], phi[2], phi[3], phi[4], phi[5]
    one = s_E / s_E
    for i in range(u.size):
        r_E, slope_E = rate_and_slope(s_E, k_E, m_E, u[i])
        r_I, slope_I = rate_and_slope(s_I, k_I, m_I, r_E - q[i])
        step = (u[i] + r_I - a[i]) / (one + slope_I * slope_E)
        next_u = u[i] - step
        u[i] = next_u
        r[i] = r_E - slope_E * step
        rounding = eps * (one + abs(a[i]) + abs(q[i]) + abs(next_u))
        excess[i] = half_curvature * step * step - rounding


@inner
def _careful_newton_pass(phi, half_curvature, eps, a, q, u, r, excess):
    """`_newton_pass` where a small step may say nothing, as `refimpl.fixed_point` tells it.

    Of sharp neurons excess is negative where the root was seen between two points.
    """
    s_E, k_E, m_E, s_I, k_I, m_I = phi[0], phi[1], phi[2], phi[3], phi[4], phi[5]
    one = s_E / s_E
    two = one + one
    for i in range(u.size):
        r_E, slope_E = rate_and_slope(s_E, k_E, m_E, u[i])
        r_I, slope_I = rate_and_slope(s_I, k_I, m_I, r_E - q[i])
        step = (u[i] + r_I - a[i]) / (one + slope_I * slope_E)
        u[i] -= step
        r[i] = r_E - slope_E * step
        rounding = eps * (one + abs(a[i]) + abs(q[i]) + abs(u[i]))
        if half_curvature * rounding <= one / 16:
            excess[i] = half_curvature * step * step - rounding
            continue
        excess[i] = abs(step) - two * rounding
        if excess[i] <= 0 and step > 0:
            below = u[i] - two * rounding
            r_E = rate_and_slope(s_E, k_E, m_E, below)[0]
            if below + rate_and_slope(s_I, k_I, m_I, r_E - q[i])[0] > a[i]:
                u[i], r[i], excess[i] = below, r_E, one


@inner(fastmath=CONTRACT)
def add_rows(total, factors, rows):
    """total + factors · rows, (factors.size, total.size), in place.

    Two rows a pass: half the reading and writing of the sum.
    """
    n = factors.size
    for j in range(0, n - 1, 2):
        add_two(total, factors[j], rows[j], factors[j + 1], rows[j + 1])
    if n % 2:
        add_one(total, factors[n - 1], rows[n - 1])


@inner(fastmath=CONTRACT)
def add_one(total, factor, row):
    """total + factor · row, in place."""
    for i in range(total.size):
        total[i] += factor * row[i]


@inner(fastmath=CONTRACT)
def add_two(total, factor, row, other_factor, other):
    """total + factor · row + other_factor · other, in place."""
    for i in range(total.size):
        total[i] = (total[i] + factor * row[i]) + other_factor * other[i]


@inner
def add_bias(a, bias):
    """a + b, in place."""
    for b in range(a.shape[0]):
        for i in range(a.shape[1]):
            a[b, i] += bias[i]


@inner
def transpose(rows, columns, b_0):
    """Copy rows (samples b_0 …) into the columns of (n, batch), as the gradient reads them."""
    for i in range(rows.shape[1]):
        for b in range(rows.shape[0]):
            columns[i, b_0 + b] = rows[b, i]
