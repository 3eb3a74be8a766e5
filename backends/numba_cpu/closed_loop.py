"""The closed loop as n_out equations in c (model page, section 6), sample by sample.

F(c) = c - κ e(u_out(c)) is solved by Broyden's method: a matrix taken once at the
open-loop state, corrected after every step by what the step did (C. G. Broyden, A class of
methods for solving nonlinear simultaneous equations, Math. Comp. 19 (1965) 577-593).
The corrections cost n_out² a sample, so that the first matrix may be rough: it takes
∂u_out/∂c of each layer from the feedback weights at hand and mean loop gains above,
without the products with all weights that the exact one needs.

The neurons' own equations take one Newton step for each step of c: the loop is found when
both have nothing left, and until then neither need be better than the other.
"""

from __future__ import annotations

import numpy as np

from .code_cache import inner, kernel
from .layout import bias, carve, copy, feedback, layer, units_before, weight
from .neurons import activate, add_bias, settle
from .readout import error, softmax
from .weighted_sum import add_one, add_two

MAX_ITERATIONS = 25


@inner
def invert(M):
    """Invert a matrix in place; False, and M is spoilt, if it is singular or holds no numbers.

    Gauss-Jordan elimination with row pivots: n³ multiplications in vector instructions.
    """
    n = M.shape[0]
    one = M.dtype.type(1)
    rows = np.empty(n, dtype=np.int64)
    for k in range(n):
        pivot = k
        for r in range(k + 1, n):
            if abs(M[r, k]) > abs(M[pivot, k]):
                pivot = r
        rows[k] = pivot
        if M[pivot, k] == 0 or not np.isfinite(M[pivot, k]):
            return False
        if pivot != k:
            for i in range(n):
                M[k, i], M[pivot, i] = M[pivot, i], M[k, i]
        scale = one / M[k, k]
        M[k, k] = one
        for i in range(n):
            M[k, i] *= scale
        for r in range(n):
            factor = M[r, k]
            if r != k and factor != 0:
                M[r, k] = one - one
                for i in range(n):
                    M[r, i] -= factor * M[k, i]
    # Rows that were exchanged are columns of the inverse, exchanged back in the other order.
    for k in range(n - 1, -1, -1):
        if rows[k] != k:
            for r in range(n):
                M[r, k], M[r, rows[k]] = M[r, rows[k]], M[r, k]
    return True


@inner
def first_matrix(sizes, is_mse, to_readout, kappa, batch, b, Q, strength, gain, u_out, D, S, M):
    """I + κ D S of sample b into M, for row vectors, with the rough D described above."""
    n_hidden, n_out = sizes.size - 2, sizes[sizes.size - 1]
    one = D.dtype.type(1)
    for k in range(n_out):
        for j in range(n_out):
            D[k, j] = one if to_readout and k == j else one - one
    gains_above = one
    for l in range(n_hidden - 1, -1, -1):
        q = feedback(Q, sizes, batch, l, b, b + 1)[0]
        g = layer(gain, sizes, batch, l, b, b + 1)[0]
        scaled = np.empty_like(q)
        mean_gain = one - one
        for i in range(g.size):
            mean_gain += g[i]
        for k in range(n_out):
            for i in range(g.size):
                scaled[k, i] = q[k, i] * g[i]
        factor = strength[l, b] * gains_above
        np.dot(scaled, q.T, S)
        for k in range(n_out):
            for j in range(n_out):
                D[k, j] += factor * S[k, j]
        gains_above *= mean_gain / g.size
    if is_mse:
        for k in range(n_out):
            for j in range(n_out):
                M[k, j] = kappa * D[k, j]
    else:
        p = S[0]
        softmax(u_out, p)
        for k in range(n_out):
            dot = one - one
            for j in range(n_out):
                dot += D[k, j] * p[j]
            for j in range(n_out):
                M[k, j] = kappa * (D[k, j] - dot) * p[j]
    for k in range(n_out):
        M[k, k] += one


@inner
def step_and_correct(c, F, H, previous_F, move, first):
    """One Broyden step of one sample: correct H by what the last move did, then move c.

    H is the inverse matrix for row vectors: the move is -F H.
    """
    n = c.size
    one = H.dtype.type(1)
    if not first:
        # With s the last move and y the change of F: H ← H + yᵀ-side rank-one correction
        # that makes y H = s.
        yH = np.empty_like(c)
        for j in range(n):
            total = one - one
            for k in range(n):
                total += (F[k] - previous_F[k]) * H[k, j]
            yH[j] = total
        denominator = one - one
        for j in range(n):
            denominator += yH[j] * move[j]
        if denominator != 0:
            Hs = np.empty_like(c)
            for k in range(n):
                total = one - one
                for j in range(n):
                    total += H[k, j] * move[j]
                Hs[k] = total / denominator
            for k in range(n):
                for j in range(n):
                    H[k, j] += Hs[k] * (move[j] - yH[j])
    for j in range(n):
        total = one - one
        for k in range(n):
            total += F[k] * H[k, j]
        move[j] = -total
        c[j] += move[j]
        previous_F[j] = F[j]


@kernel
def closed_loop(
    theta,
    sizes,
    phi,
    eps,
    is_mse,
    to_readout,
    kappa,
    leak,
    batch,
    b_0,
    b_1,
    a_1,
    target,
    Q,
    strength,
    gain,
    open_u_E,
    open_u_out,
    u_E,
    u_I,
    r_E,
    u_out,
    z,
    found,
    scratch,
):
    """Closed-loop end state of samples b_0 … b_1; those not found are left to others.

    Parameters
    ----------
    a_1, target, Q, strength, gain, open_u_E, open_u_out
        Results of the open loop and the feedback weights.
    u_E, u_I, r_E : flat arrays of layers
        Receive potentials and rates.
    u_out, z : array, (batch, n_out)
        Receive output and integral.
    found : array of bool, (batch,)
        Receives which samples were solved.
    scratch : array
        Overwritten.

    Returns
    -------
    int
        Iterations taken.
    """
    n_hidden, n_out = sizes.size - 2, sizes[sizes.size - 1]
    rows = b_1 - b_0
    zero = theta.dtype.type(0)
    one = theta.dtype.type(1)
    allowed_eps = eps ** theta.dtype.type(0.75)
    found[b_0:b_1] = False
    # Samples still at work lie in the first m rows of everything below.
    index = np.empty(rows, dtype=np.int64)
    for b in range(rows):
        index[b] = b_0 + b
    m = rows
    drive_1, free = carve(scratch, 0, rows, sizes[1])
    copy(a_1[b_0:b_1], drive_1)
    c, free = carve(scratch, free, rows, n_out)
    c[:] = zero
    F, free = carve(scratch, free, rows, n_out)
    previous_F, free = carve(scratch, free, rows, n_out)
    move, free = carve(scratch, free, rows, n_out)
    out, free = carve(scratch, free, rows, n_out)
    H_flat, free = carve(scratch, free, rows, n_out * n_out)
    H = H_flat.reshape(rows, n_out, n_out)
    all_units = units_before(sizes, n_hidden)
    potentials, free = carve(scratch, free, 1, rows * all_units)
    rates, free = carve(scratch, free, 1, rows * all_units)
    inhibition, free = carve(scratch, free, 1, rows * all_units)
    potentials, rates, inhibition = potentials[0], rates[0], inhibition[0]
    D = np.empty((n_out, n_out), dtype=theta.dtype)
    S = np.empty((n_out, n_out), dtype=theta.dtype)
    for l in range(n_hidden):
        copy(layer(open_u_E, sizes, batch, l, b_0, b_1), layer(potentials, sizes, rows, l, 0, rows))
    for b in range(rows):
        sample = b_0 + b
        first_matrix(
            sizes,
            is_mse,
            to_readout,
            kappa,
            batch,
            sample,
            Q,
            strength,
            gain,
            open_u_out[sample],
            D,
            S,
            H[b],
        )
        invert(H[b])
        error(is_mse, open_u_out[sample], target[sample], F[b])
        for k in range(n_out):
            F[b, k] *= -kappa
    solved = np.empty(rows, dtype=np.bool_)
    iteration = 0
    while m > 0 and iteration < MAX_ITERATIONS:
        for b in range(m):
            step_and_correct(c[b], F[b], H[b], previous_F[b], move[b], iteration == 0)
        iteration += 1
        solved[:m] = True
        for l in range(n_hidden):
            n = sizes[l + 1]
            drive = drive_1[:m]
            if l > 0:
                drive, _ = carve(scratch, free, m, n)
                np.dot(layer(rates, sizes, rows, l - 1, 0, m), weight(theta, sizes, l), drive)
                add_bias(drive, bias(theta, sizes, l))
            q, _ = carve(scratch, scratch.size - m * n, m, n)
            for b in range(m):
                Q_b = feedback(Q, sizes, batch, l, index[b], index[b] + 1)[0]
                q[b] = zero
                for k in range(0, n_out - 1, 2):
                    add_two(q[b], c[b, k], Q_b[k], c[b, k + 1], Q_b[k + 1])
                if n_out % 2:
                    add_one(q[b], c[b, n_out - 1], Q_b[n_out - 1])
            u, r = layer(potentials, sizes, rows, l, 0, m), layer(rates, sizes, rows, l, 0, m)
            settle(phi, drive, q, u, r, eps, 1, solved)
            u_I_l = layer(inhibition, sizes, rows, l, 0, m)
            for b in range(m):
                for i in range(n):
                    u_I_l[b, i] = r[b, i] - q[b, i]
        np.dot(
            layer(rates, sizes, rows, n_hidden - 1, 0, m),
            weight(theta, sizes, n_hidden),
            out[:m],
        )
        left = 0
        for b in range(m):
            sample = index[b]
            largest = zero
            for k in range(n_out):
                if to_readout:
                    out[b, k] += c[b, k]
                largest = max(largest, abs(out[b, k]) + abs(target[sample, k]))
            error(is_mse, out[b], target[sample], F[b])
            allowed = allowed_eps * (one + kappa * largest)
            good = solved[b]
            for k in range(n_out):
                F[b, k] = c[b, k] - kappa * F[b, k]
                # Written so that what is no number is not good.
                good = good and abs(F[b, k]) <= allowed
            if good:
                found[sample] = True
                for l in range(n_hidden):
                    copy(
                        layer(potentials, sizes, rows, l, b, b + 1),
                        layer(u_E, sizes, batch, l, sample, sample + 1),
                    )
                    copy(
                        layer(inhibition, sizes, rows, l, b, b + 1),
                        layer(u_I, sizes, batch, l, sample, sample + 1),
                    )
                for k in range(n_out):
                    u_out[sample, k] = out[b, k]
                    # The error, from the residual's own definition: e = (c - F) / κ.
                    z[sample, k] = (c[b, k] - F[b, k]) / (kappa * leak)
            else:
                if left != b:
                    index[left] = index[b]
                    for moved in (drive_1, c, F, move, previous_F, H_flat):
                        copy(moved[b : b + 1], moved[left : left + 1])
                    for l in range(n_hidden):
                        copy(
                            layer(potentials, sizes, rows, l, b, b + 1),
                            layer(potentials, sizes, rows, l, left, left + 1),
                        )
                left += 1
        m = left
    for l in range(n_hidden):
        activate(
            phi[0],
            phi[1],
            phi[2],
            layer(u_E, sizes, batch, l, b_0, b_1),
            layer(r_E, sizes, batch, l, b_0, b_1),
        )
    return iteration
