"""The dynamics integrated sample by sample (model page, sections 2, 3 and 7)."""

from __future__ import annotations

import numpy as np

from .code_cache import inner, kernel
from .elementary import CONTRACT
from .layout import bias, copy, copy_row, feedback, units_before, weight, widest
from .neurons import add_bias, add_one, add_two, rate_and_slope
from .readout import error


@kernel
def integrate(
    theta, sizes, phi, is_mse, to_readout, is_closed, constants, batch, b_0, b_1, a_1, Q, target,
    state, settled, n_steps, tableau, error_weights, error_order, is_adaptive, rtol, atol, dt_first,
    control, horizon, max_steps,
):  # fmt: skip
    """Integrate samples b_0 … b_1 until each has come to rest.

    state, (batch, n), is the start and becomes the end; `settled`, (batch,), receives which samples
    came to rest, and `n_steps`, (batch,), how many steps each took, rejected ones counted. Row s of
    the tableau, (stages, stages), holds the weights of stage s + 1, the last row being the step
    itself; error_weights, (stages + 1,), are the error estimate's. `control` is dt_min, dt_max,
    safety, factor_min, factor_max, p, i, d.
    """
    rows, n, n_stages = b_1 - b_0, state.shape[1], tableau.shape[0]
    n_out = sizes[sizes.size - 1]
    dtype = theta.dtype.type
    settled[b_0:b_1] = False
    dt_min, dt_max, safety = control[0], control[1], control[2]
    factor_min, factor_max = control[3], control[4]
    slowest = constants[7] if is_closed else constants[6]
    p, i_gain, d = control[5], control[6], control[7]
    index = np.arange(b_0, b_1)
    y, y_next = state[b_0:b_1].copy(), np.empty((rows, n), dtype=theta.dtype)
    stages = np.empty((n_stages + 1, rows, n), dtype=theta.dtype)
    drive_1, aim = a_1[b_0:b_1].copy(), target[b_0:b_1].copy()
    below = np.empty(rows * widest(sizes), dtype=theta.dtype)
    drive = np.empty_like(below)
    e = np.empty((rows, n_out), dtype=theta.dtype)
    scratch = np.empty(n, dtype=theta.dtype)
    h = np.empty(rows, dtype=theta.dtype)
    dt = np.full(rows, dt_first)
    step = np.empty(rows)
    time = np.zeros(rows)
    at_minimum = np.zeros(rows, dtype=np.bool_)
    last, before_last = np.ones(rows), np.ones(rows)
    m = rows
    derivative(
        theta, sizes, phi, is_mse, to_readout, is_closed, constants, batch, m, index, drive_1, Q,
        aim, y, stages[0], below, drive, e,
    )  # fmt: skip
    for taken in range(max_steps):
        if m == 0:
            break
        for b in range(m):
            step[b] = min(dt[b], horizon - time[b])
            h[b] = dtype(step[b])
        for s in range(n_stages):
            combine(y, h, tableau[s], s + 1, stages, y_next, m)
            derivative(
                theta, sizes, phi, is_mse, to_readout, is_closed, constants, batch, m, index,
                drive_1, Q, aim, y_next, stages[s + 1], below, drive, e,
            )  # fmt: skip
        left = 0
        for b in range(m):
            kept = True
            if is_adaptive:
                scaled = scaled_error(
                    y, y_next, h, error_weights, n_stages + 1, stages, rtol, atol, b, scratch
                )
                kept = scaled < 1 or at_minimum[b]
                inverse = 1 / scaled if scaled > 0 else np.inf
                factor = (
                    safety
                    * inverse ** ((p + i_gain + d) / error_order)
                    * last[b] ** (-(p + 2 * d) / error_order)
                    * before_last[b] ** (d / error_order)
                )
                # A kept step never shrinks the next; a rejected one always does.
                if kept:
                    factor = min(max(factor, 1.0), factor_max)
                else:
                    factor = min(max(factor, factor_min), safety)
                next_dt = dt[b] * factor
                at_minimum[b] = next_dt <= dt_min or (at_minimum[b] and factor == 1)
                dt[b] = min(max(next_dt, dt_min), dt_max)
                if kept:
                    before_last[b] = last[b]
                    last[b] = inverse if 0 < inverse < np.inf else 1.0
            finite = is_finite(y_next[b]) and is_finite(stages[n_stages, b])
            at_rest, goes_on = False, not (kept and not finite)
            if kept and finite:
                time[b] += step[b]
                copy_row(y_next[b], y[b])
                copy_row(stages[n_stages, b], stages[0, b])
                at_rest = is_still(sizes, y[b], stages[0, b], rtol, atol, slowest)
                goes_on = not at_rest and time[b] < horizon * (1 - 1e-12)
            elif kept:
                # The path left the finite numbers: it has no end.
                y[b, :] = dtype(np.nan)
            if goes_on:
                if left != b:
                    index[left], dt[left], time[left] = index[b], dt[b], time[b]
                    at_minimum[left] = at_minimum[b]
                    last[left], before_last[left] = last[b], before_last[b]
                    for moved in (y, stages[0], drive_1, aim):
                        copy_row(moved[b], moved[left])
                left += 1
            else:
                copy_row(y[b], state[index[b]])
                settled[index[b]] = at_rest
                n_steps[index[b]] = taken + 1
        m = left
    for b in range(m):
        copy_row(y[b], state[index[b]])
        n_steps[index[b]] = max_steps


@kernel
def record(
    theta, sizes, phi, is_mse, to_readout, is_closed, constants, a_1, Q, target, state, tableau,
    dt, n_steps, every, path,
):  # fmt: skip
    """Integrate a whole batch with a constant step into path, (time, batch, n)."""
    batch, n = state.shape
    n_stages = tableau.shape[0]
    y, y_next = state.copy(), np.empty_like(state)
    stages = np.empty((n_stages + 1, batch, n), dtype=theta.dtype)
    below = np.empty(batch * widest(sizes), dtype=theta.dtype)
    drive = np.empty_like(below)
    e = np.empty((batch, sizes[sizes.size - 1]), dtype=theta.dtype)
    index = np.arange(batch)
    h = np.full(batch, dt)
    copy(y, path[0])
    derivative(
        theta, sizes, phi, is_mse, to_readout, is_closed, constants, batch, batch, index, a_1, Q,
        target, y, stages[0], below, drive, e,
    )  # fmt: skip
    for step in range(1, n_steps + 1):
        for s in range(n_stages):
            combine(y, h, tableau[s], s + 1, stages, y_next, batch)
            derivative(
                theta, sizes, phi, is_mse, to_readout, is_closed, constants, batch, batch, index,
                a_1, Q, target, y_next, stages[s + 1], below, drive, e,
            )  # fmt: skip
        copy(y_next, y)
        copy(stages[n_stages], stages[0])
        if step % every == 0:
            copy(y, path[step // every])


@inner
def derivative(
    theta, sizes, phi, is_mse, to_readout, is_closed, constants, batch, m, index, a_1, Q, target,
    y, k, below, drive, e,
):  # fmt: skip
    """dy/dt of the first m rows of y into k; below, drive and e are scratch.

    `constants` is τ_E, τ_I, k_p, k_i, leak, τ_c, then the slowest in open loop and under control,
    or 0. Without control, not `is_closed`, c = 0 and the integral rests. a_1 and target are in step
    with y; `index`, (m,), is the sample of each row, by which Q is read.
    """
    n_hidden, n_out = sizes.size - 2, sizes[sizes.size - 1]
    total = units_before(sizes, n_hidden)
    tau_E, tau_I, k_p, k_i = constants[0], constants[1], constants[2], constants[3]
    leak, tau_c = constants[4], constants[5]
    zero = tau_E - tau_E
    at_out, at_z = 2 * total, 2 * total + n_out
    for b in range(m):
        if is_closed:
            error(is_mse, y[b, at_out:at_z], target[b], e[b])
            for j in range(n_out):
                k[b, at_z + j] = (e[b, j] - leak * y[b, at_z + j]) / tau_c
                # From here on e holds c.
                e[b, j] = k_p * e[b, j] + k_i * y[b, at_z + j]
        else:
            for j in range(n_out):
                k[b, at_z + j] = zero
                e[b, j] = zero
    start = 0
    for l in range(n_hidden):
        n = sizes[l + 1]
        size = m * n
        if l == 0:
            a = a_1[:m]
        else:
            a = drive[:size].reshape(m, n)
            np.dot(below[: m * sizes[l]].reshape(m, sizes[l]), weight(theta, sizes, l), a)
            add_bias(a, bias(theta, sizes, l))
        r = below[:size].reshape(m, n)
        for b in range(m):
            u_E, u_I = y[b, start : start + n], y[b, total + start : total + start + n]
            k_E, k_I = k[b, start : start + n], k[b, total + start : total + start + n]
            _rates(phi[0], phi[1], phi[2], u_E, r[b])
            _rates(phi[3], phi[4], phi[5], u_I, k_E)
            _leak(a[b], u_E, tau_E, k_E)
            for i in range(n):
                k_I[i] = r[b, i] - u_I[i]
            if is_closed:
                Q_b = feedback(Q, sizes, batch, l, index[b], index[b] + 1)[0]
                for j in range(0, n_out - 1, 2):
                    add_two(k_I, -e[b, j], Q_b[j], -e[b, j + 1], Q_b[j + 1])
                if n_out % 2:
                    add_one(k_I, -e[b, n_out - 1], Q_b[n_out - 1])
            for i in range(n):
                k_I[i] /= tau_I
        start += n
    n = sizes[n_hidden]
    out = drive[: m * n_out].reshape(m, n_out)
    np.dot(below[: m * n].reshape(m, n), weight(theta, sizes, n_hidden), out)
    for b in range(m):
        for j in range(n_out):
            direct = e[b, j] if to_readout else zero
            k[b, at_out + j] = (out[b, j] - y[b, at_out + j] + direct) / tau_E


@inner(fastmath=CONTRACT)
def _rates(s, k, m, u, r):
    """φ(u) of a row. Few arrays a loop: beyond some, LLVM gives up telling them apart."""
    for i in range(u.size):
        r[i] = rate_and_slope(s, k, m, u[i])[0]


@inner
def _leak(a, u, tau, du):
    """(a - u - du) / τ of a row, in place of du."""
    for i in range(u.size):
        du[i] = (a[i] - u[i] - du[i]) / tau


@inner
def combine(y, h, coefficients, n_stages, stages, result, m):
    """result = y + h Σ coefficients_s k_s, row by row; h is each row's own step."""
    for b in range(m):
        row, step = result[b], h[b]
        copy_row(y[b], row)
        for s in range(0, n_stages - 1, 2):
            first, second = step * coefficients[s], step * coefficients[s + 1]
            add_two(row, first, stages[s, b], second, stages[s + 1, b])
        if n_stages % 2:
            add_one(row, step * coefficients[n_stages - 1], stages[n_stages - 1, b])


@inner
def scaled_error(y, y_next, h, coefficients, n_stages, stages, rtol, atol, b, scratch):
    """Root mean square of the error estimate over atol + rtol max(|y|, |y_next|), one row."""
    scratch[:] = 0
    for s in range(0, n_stages - 1, 2):
        add_two(scratch, coefficients[s], stages[s, b], coefficients[s + 1], stages[s + 1, b])
    if n_stages % 2:
        add_one(scratch, coefficients[n_stages - 1], stages[n_stages - 1, b])
    for i in range(scratch.size):
        allowed = atol + rtol * max(abs(y[b, i]), abs(y_next[b, i]))
        scratch[i] = h[b] * scratch[i] / allowed
    value = np.sqrt(np.float64(np.dot(scratch, scratch)) / scratch.size)
    return value if np.isfinite(value) else np.inf


@inner
def is_still(sizes, y, k, rtol, atol, slowest):
    """Root mean square of the derivative below atol + rtol · that of the state, one row.

    With a time constant `slowest` above 0 no population of units may be further than that
    from rest, as `refimpl.end_state.distance_to_rest` has it.
    """
    speed, size = np.float64(np.dot(k, k)), np.float64(np.dot(y, y))
    small = atol + rtol * np.sqrt(size / y.size)
    if not np.sqrt(speed / y.size) < small:
        return False
    start, n_hidden = 0, sizes.size - 2
    for part in range(2 * n_hidden + 2):
        n = sizes[1 + part % n_hidden] if part < 2 * n_hidden else sizes[n_hidden + 1]
        own = k[start : start + n]
        if not slowest * np.sqrt(np.float64(np.dot(own, own)) / n) <= small:
            return False
        start += n
    return True


@inner
def is_finite(row):
    """Whether every element is a number; squares that overflow are looked at one by one."""
    if np.isfinite(np.dot(row, row)):
        return True
    return np.all(np.isfinite(row))
