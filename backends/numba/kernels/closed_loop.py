"""The closed loop as n_out equations in c (model page, section 6), sample by sample.

The network's response D = ∂u_out/∂c is taken once at the open-loop state, and corrected
after every step by what the step did (C. G. Broyden, A class of methods for solving
nonlinear simultaneous equations, Math. Comp. 19 (1965) 577-593). The error's own slope is
taken anew each time, in the form that holds for every gain (`control_step`). The corrections
cost n_out² a sample, so that the first D may be rough: it takes the response of each layer
from the feedback weights at hand and mean loop gains above, without the products with all
weights that the exact one needs.

The neurons' own equations take one Newton step for each step of c: the loop is found when
both have nothing left, and until then neither need be better than the other. What a D that was
learnt from few moves calls small is small by the least response as well, or was so twice.
"""

from __future__ import annotations

import math

import numpy as np

from .code_cache import inner, kernel
from .layout import bias, carve, copy, feedback, layer, units_before, weight
from .neurons import activate, add_bias, add_rows, settle
from .readout import error, softmax

MAX_ITERATIONS = 25


@kernel
def closed_loop(
    theta, sizes, phi, eps, is_mse, to_readout, kappa, leak, integral_gain, small_control, batch,
    b_0, b_1, a_1, target, Q, strength, gain, open_u_E, open_u_out, u_E, u_I, r_E, u_out, z, found,
    scratch,
):  # fmt: skip
    """Closed-loop end state of samples b_0 … b_1; those not found are left to others.

    Arguments from a_1 to open_u_out are results of the open loop and the feedback weights; those
    from u_E to z receive potentials, rates, output and integral; `found`, (batch,), which samples
    were solved. c over `integral_gain`, k_p leak + k_i, gives z; up to a Σ |c| of `small_control`
    rounding of c Q cannot matter, whatever Q. Returns the iterations taken.
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
    previous_out, free = carve(scratch, free, rows, n_out)
    move, free = carve(scratch, free, rows, n_out)
    out, free = carve(scratch, free, rows, n_out)
    D_flat, free = carve(scratch, free, rows, n_out * n_out)
    D = D_flat.reshape(rows, n_out, n_out)
    all_units = units_before(sizes, n_hidden)
    potentials, free = carve(scratch, free, 1, rows * all_units)
    rates, free = carve(scratch, free, 1, rows * all_units)
    inhibition, free = carve(scratch, free, 1, rows * all_units)
    potentials, rates, inhibition = potentials[0], rates[0], inhibition[0]
    A = np.empty((n_out, n_out), dtype=theta.dtype)
    right = np.empty((n_out, 2), dtype=theta.dtype)
    p = np.empty(n_out, dtype=theta.dtype)
    left = np.empty(n_out, dtype=theta.dtype)
    left_at_least = np.empty(n_out, dtype=theta.dtype)
    D_least = np.zeros((n_out, n_out), dtype=theta.dtype)
    for k in range(n_out):
        D_least[k, k] = one if to_readout else zero
    excess = np.zeros(rows, dtype=theta.dtype)
    solved = np.empty(rows, dtype=np.bool_)
    was_solved = np.ones(rows, dtype=np.bool_)
    tiny = theta.dtype.type(np.finfo(theta.dtype).tiny)
    for l in range(n_hidden):
        copy(layer(open_u_E, sizes, batch, l, b_0, b_1), layer(potentials, sizes, rows, l, 0, rows))
    for b in range(rows):
        sample = b_0 + b
        first_response(sizes, to_readout, batch, sample, Q, strength, gain, D[b], A)
        if not is_mse:
            excess[b] = excess_of(target[sample])
        previous_out[b] = open_u_out[sample]
        control_step(
            is_mse, kappa, tiny, excess[b], c[b], open_u_out[sample], target[sample], D[b], A,
            right, p, move[b],
        )  # fmt: skip
    iteration = 0
    while m > 0 and iteration < MAX_ITERATIONS:
        for b in range(m):
            for k in range(n_out):
                c[b, k] += move[b, k]
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
                add_rows(q[b], c[b], Q_b)
            u, r = layer(potentials, sizes, rows, l, 0, m), layer(rates, sizes, rows, l, 0, m)
            settle(phi, drive, q, u, r, eps, 1, solved)
            u_I_l = layer(inhibition, sizes, rows, l, 0, m)
            for b in range(m):
                for i in range(n):
                    u_I_l[b, i] = r[b, i] - q[b, i]
        last = layer(rates, sizes, rows, n_hidden - 1, 0, m)
        np.dot(last, weight(theta, sizes, n_hidden), out[:m])
        kept = 0
        for b in range(m):
            sample = index[b]
            for k in range(n_out):
                if to_readout:
                    out[b, k] += c[b, k]
                p[k] = out[b, k] - previous_out[b, k]
            correct(D[b], move[b], p, solved[b] and was_solved[b])
            control_step(
                is_mse, kappa, tiny, excess[b], c[b], out[b], target[sample], D[b], A, right, p,
                left,
            )  # fmt: skip
            largest_c, largest_out, largest_left = zero, zero, zero
            effort, size, size_left, largest_move = zero, zero, zero, zero
            for k in range(n_out):
                largest_c = max(largest_c, abs(c[b, k]))
                largest_out = max(largest_out, abs(out[b, k]))
                largest_left = max(largest_left, abs(left[k]))
                effort += abs(c[b, k])
                size += move[b, k] * move[b, k]
                size_left += left[k] * left[k]
                largest_move = max(largest_move, abs(move[b, k]))
            allowed = allowed_eps * (largest_c + min(kappa, one) * (one + largest_out))
            # Written so that what is no number is not good.
            good = solved[b] and largest_left <= allowed and size_left <= size / 4
            if good and not largest_move <= allowed:
                # A response that is too large in a direction not yet gone makes any step small as
                # well. The readout's own, which is the least, tells; or the step before was small.
                control_step(
                    is_mse, kappa, tiny, excess[b], c[b], out[b], target[sample], D_least, A,
                    right, p, left_at_least,
                )  # fmt: skip
                for k in range(n_out):
                    # Written so that what is no number is not good.
                    good = good and abs(left_at_least[k]) <= 4 * allowed
            if good and effort > small_control:
                good = is_resolved(sizes, batch, sample, Q, c[b], eps)
            if good:
                found[sample] = True
                for l in range(n_hidden):
                    u_E_l = layer(u_E, sizes, batch, l, sample, sample + 1)
                    u_I_l = layer(u_I, sizes, batch, l, sample, sample + 1)
                    copy(layer(potentials, sizes, rows, l, b, b + 1), u_E_l)
                    copy(layer(inhibition, sizes, rows, l, b, b + 1), u_I_l)
                for k in range(n_out):
                    u_out[sample, k] = out[b, k]
                if integral_gain > 0:
                    for k in range(n_out):
                        # The step that is left costs nothing more.
                        z[sample, k] = (c[b, k] + left[k]) / integral_gain
                else:
                    error(is_mse, out[b], target[sample], p)
                    for k in range(n_out):
                        z[sample, k] = p[k] / leak
            else:
                move[kept], previous_out[kept] = left, out[b]
                was_solved[kept] = solved[b]
                if kept != b:
                    index[kept] = index[b]
                    drive_1[kept] = drive_1[b]
                    c[kept], excess[kept] = c[b], excess[b]
                    D[kept] = D[b]
                    for l in range(n_hidden):
                        moved = layer(potentials, sizes, rows, l, kept, kept + 1)
                        copy(layer(potentials, sizes, rows, l, b, b + 1), moved)
                kept += 1
        m = kept
    for l in range(n_hidden):
        u, r = layer(u_E, sizes, batch, l, b_0, b_1), layer(r_E, sizes, batch, l, b_0, b_1)
        activate(phi[0], phi[1], phi[2], u, r)
    return iteration


@inner
def first_response(sizes, to_readout, batch, b, Q, strength, gain, D, product):
    """The rough D of sample b that is described above."""
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
        np.dot(scaled, q.T, product)
        for k in range(n_out):
            for j in range(n_out):
                D[k, j] += factor * product[k, j]
        gains_above *= mean_gain / g.size


@inner
def excess_of(target):
    """Σ target - 1 of one sample; a sum that is 1 to within the rounding of its terms is 1."""
    total = target[0] - target[0]
    for k in range(target.size):
        total += target[k]
    excess = total - target.dtype.type(1)
    rounding = target.dtype.type(target.size) * target.dtype.type(np.finfo(target.dtype).eps)
    return excess if abs(excess) > rounding else total - total


@inner
def control_step(is_mse, kappa, tiny, excess, c, u_out, target, D, A, right, p, move):
    """Newton's step in c of one sample, into `move`, as `refimpl.fixed_point.control_step`.

    D is (n_out, n_out); A, `right` (n_out, 2) and p are scratch.
    """
    n = c.size
    one = c.dtype.type(1)
    zero = one - one
    log_sum = zero
    if not is_mse:
        log_sum = softmax(u_out, p)
    for j in range(n):
        if is_mse:
            weight = kappa
            over = max(weight, one)
            F = c[j] / over - min(weight, one) * (target[j] - u_out[j])
        else:
            q = target[j] - c[j] / max(kappa, tiny)
            if q > 0 and kappa * q * D[j, j] >= one:
                weight = kappa * q
                over = max(weight, one)
                F = min(weight, one) * (u_out[j] - log_sum - math.log(q))
            else:
                weight = kappa * p[j]
                over = max(weight, one)
                F = c[j] / over - kappa / over * (target[j] - p[j])
        under = min(weight, one)
        for k in range(n):
            A[j, k] = under * D[k, j]
        A[j, j] += one / over
        right[j, 0] = -F
        right[j, 1] = under
    if not solve(A, right):
        move[:] = np.nan
        return
    share = zero
    if not is_mse:
        missing, slack = kappa * excess, zero
        for k in range(n):
            missing -= c[k] + right[k, 0]
            slack += right[k, 1]
        if slack != 0:
            share = missing / slack
    for k in range(n):
        move[k] = right[k, 0] + share * right[k, 1]


@inner
def solve(A, right):
    """Solve A v = r for the two columns of `right`, which take the solutions; A is overwritten.

    Elimination with row pivots. False if A is singular or holds no numbers.
    """
    n = A.shape[0]
    for k in range(n):
        pivot = k
        for r in range(k + 1, n):
            if abs(A[r, k]) > abs(A[pivot, k]):
                pivot = r
        if not (abs(A[pivot, k]) > 0 and np.isfinite(A[pivot, k])):
            return False
        if pivot != k:
            for i in range(k, n):
                A[k, i], A[pivot, i] = A[pivot, i], A[k, i]
            for i in range(2):
                right[k, i], right[pivot, i] = right[pivot, i], right[k, i]
        scale = A.dtype.type(1) / A[k, k]
        for r in range(k + 1, n):
            factor = A[r, k] * scale
            if factor != 0:
                for i in range(k + 1, n):
                    A[r, i] -= factor * A[k, i]
                for i in range(2):
                    right[r, i] -= factor * right[k, i]
    for k in range(n - 1, -1, -1):
        scale = A.dtype.type(1) / A[k, k]
        for i in range(2):
            total = right[k, i]
            for j in range(k + 1, n):
                total -= A[k, j] * right[j, i]
            right[k, i] = total * scale
    return True


@inner
def correct(D, move, change, are_solved):
    """Broyden's correction of D, after which the last move gives the change of u_out seen.

    None where a state at either end of the move is not solved and the change is mainly another than
    D lets expect: it is then one of states that still come to rest, which no move has brought
    about, and a D that took it for an answer would let a step pass for small that is not.
    """
    n = move.size
    squares = move[0] - move[0]
    for k in range(n):
        squares += move[k] * move[k]
    # What is left is rounding, or nothing, and its square may be nothing.
    if not squares > 0:
        return
    expected, surprise = squares - squares, squares - squares
    for j in range(n):
        answer = squares - squares
        for k in range(n):
            answer += move[k] * D[k, j]
        expected += answer * answer
        # From here on the change is what D does not explain.
        change[j] -= answer
        surprise += change[j] * change[j]
    if not are_solved and not surprise <= expected:
        return
    for j in range(n):
        share = change[j] / squares
        for k in range(n):
            D[k, j] += move[k] * share


@inner
def is_resolved(sizes, batch, b, Q, c, eps):
    """Whether rounding of c Q leaves half the digits of one, as `refimpl.fixed_point` has it."""
    for l in range(sizes.size - 2):
        q = feedback(Q, sizes, batch, l, b, b + 1)[0]
        for i in range(q.shape[1]):
            total = c[0] - c[0]
            for k in range(c.size):
                total += abs(c[k] * q[k, i])
            if not total * eps <= math.sqrt(eps):
                return False
    return True
