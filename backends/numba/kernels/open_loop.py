"""The open loop: first-layer drive and the equilibrium without control (section 6)."""

from __future__ import annotations

import numpy as np

from .code_cache import inner, kernel
from .layout import bias, carve, copy, layer, units_before, weight, widest
from .neurons import MAX_PASSES, activate, add_bias, settle, slopes, upper_bound


@kernel
def gather(source, labels, order, divisor, b_0, b_1, x, x_columns, y):
    """Inputs of samples b_0 … b_1 of `order`, divided by the full scale, and their labels.

    Inputs go to rows and to columns.
    """
    for b in range(b_0, b_1):
        sample = order[b]
        for i in range(source.shape[1]):
            x[b, i] = source[sample, i] / divisor
        for i in range(source.shape[1]):
            x_columns[i, b] = x[b, i]
        for k in range(labels.shape[1]):
            y[b, k] = labels[sample, k]


@kernel
def open_loop(theta, sizes, phi, eps, x, batch, b_0, b_1, a_1, u_E, u_I, r_E, u_out, found):
    """Equilibrium at c = 0 of samples b_0 … b_1.

    a_1, (batch, n_1), receives the drive of the first layer, which the closed loop uses again; u_E,
    u_I and r_E potentials and rates; `found`, (batch,), which samples' equations were solved.
    """
    n_hidden = sizes.size - 2
    rows = b_1 - b_0
    found[b_0:b_1] = True
    no_q = np.zeros(rows * widest(sizes), dtype=theta.dtype)
    drive = a_1[b_0:b_1]
    np.dot(x[b_0:b_1], weight(theta, sizes, 0), drive)
    add_bias(drive, bias(theta, sizes, 0))
    for l in range(n_hidden):
        n = sizes[l + 1]
        u, r = layer(u_E, sizes, batch, l, b_0, b_1), layer(r_E, sizes, batch, l, b_0, b_1)
        if l > 0:
            below = layer(r_E, sizes, batch, l - 1, b_0, b_1)
            drive = np.empty((rows, n), dtype=theta.dtype)
            np.dot(below, weight(theta, sizes, l), drive)
            add_bias(drive, bias(theta, sizes, l))
        # Contiguous, or the loops inside do not become vector instructions.
        q = no_q[: rows * n].reshape(rows, n)
        upper_bound(phi, drive, u)
        settle(phi, drive, q, u, r, eps, MAX_PASSES, found[b_0:b_1])
        activate(phi[0], phi[1], phi[2], u, r)
        copy(r, layer(u_I, sizes, batch, l, b_0, b_1))
    last = layer(r_E, sizes, batch, n_hidden - 1, b_0, b_1)
    np.dot(last, weight(theta, sizes, n_hidden), u_out[b_0:b_1])


@kernel
def inhibitory_rate_sums(sizes, phi, batch, b_0, b_1, u_I, sums):
    """Sum of φ_I(u_I) over samples b_0 … b_1, of every inhibitory unit."""
    start = 0
    for l in range(sizes.size - 2):
        u = layer(u_I, sizes, batch, l, b_0, b_1)
        r = np.empty_like(u)
        activate(phi[3], phi[4], phi[5], u, r)
        for i in range(u.shape[1]):
            sums[start + i] = 0
        for b in range(u.shape[0]):
            for i in range(u.shape[1]):
                sums[start + i] += r[b, i]
        start += u.shape[1]


@kernel
def feedback_weights(
    theta, sizes, phi, normalize, norm, clip, average, batch, b_0, b_1, u_E, u_I, Q, strength, gain,
    scratch,
):  # fmt: skip
    """Q^l = J^l ∘ φ_I' of samples b_0 … b_1 (section 4), as applied unless averaged.

    A clip of 0 is none; with `average` the raw weights are left in Q. `strength`, (n_hidden,
    batch), receives the factor from Q^l to the raw weights; `gain` the loop gains
    1 / (1 + φ_I' φ_E').
    """
    n_hidden, n_out = sizes.size - 2, sizes[sizes.size - 1]
    rows = b_1 - b_0
    n_widest = widest(sizes[1 : n_hidden + 1])
    one = theta.dtype.type(1)
    above = np.empty((0, 0), dtype=theta.dtype)
    for l in range(n_hidden - 1, -1, -1):
        n = sizes[l + 1]
        slope_E, free = carve(scratch, 0, rows, n)
        slope_I, free = carve(scratch, free, rows, n)
        u = layer(u_E, sizes, batch, l, b_0, b_1)
        slopes(phi, u, layer(u_I, sizes, batch, l, b_0, b_1), slope_E, slope_I)
        # Two blocks in turn: J of this layer is made from that of the layer above.
        free = 2 * rows * n_widest + (l % 2) * rows * n_out * n_widest
        J, free = carve(scratch, free, rows * n_out, n)
        W = weight(theta, sizes, l + 1)
        if l == n_hidden - 1:
            for b in range(rows):
                for k in range(n_out):
                    for i in range(n):
                        J[b * n_out + k, i] = W[i, k]
        else:
            np.dot(above, W.T, J)
        start = n_out * (batch * units_before(sizes, l) + b_0 * n)
        Q_l = Q[start : start + rows * n_out * n].reshape(rows * n_out, n)
        g = layer(gain, sizes, batch, l, b_0, b_1)
        for b in range(rows):
            for i in range(n):
                g[b, i] = one / (one + slope_E[b, i] * slope_I[b, i])
            for k in range(b * n_out, (b + 1) * n_out):
                for i in range(n):
                    J[k, i] *= slope_E[b, i]
                    Q_l[k, i] = J[k, i] * slope_I[b, i]
            strength[l, b_0 + b] = one
            if not average:
                strength[l, b_0 + b] = condition(
                    Q_l[b * n_out : (b + 1) * n_out], normalize, norm, clip
                )
        above = J


@kernel
def condition(Q, normalize, norm, clip):
    """Clip and normalise the weights (n_out, n) of one sample; returns the factor undone."""
    one = norm / norm
    if clip > 0:
        for k in range(Q.shape[0]):
            for i in range(Q.shape[1]):
                Q[k, i] = min(max(Q[k, i], -clip), clip)
    if not normalize:
        return one
    # Sums down the columns first: vector instructions, and shorter sums.
    squares = np.zeros(Q.shape[1], dtype=Q.dtype)
    for k in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            squares[i] += Q[k, i] * Q[k, i]
    total = one - one
    for i in range(Q.shape[1]):
        total += squares[i]
    least = Q.dtype.type(np.finfo(Q.dtype).tiny / np.finfo(Q.dtype).eps)
    if not (total > least and np.isfinite(total)):
        return condition_extreme(Q, norm)
    frobenius = np.sqrt(total)
    factor = norm / frobenius
    for k in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            Q[k, i] *= factor
    return frobenius / norm


@inner
def condition_extreme(Q, norm):
    """Normalise weights whose squares underflow or overflow, in units of the largest."""
    largest = norm - norm
    for k in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            largest = max(largest, abs(Q[k, i]))
    # A silent layer has no direction to feed back along: its weights stay 0.
    if not largest > 0:
        return largest
    total = norm - norm
    for k in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            Q[k, i] /= largest
            total += Q[k, i] * Q[k, i]
    factor = norm / np.sqrt(total)
    for k in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            Q[k, i] *= factor
    return largest * (np.sqrt(total) / norm)
