"""Ticks and sums of products of the model in integers, sample by sample (`refimpl.integers`).

Every function here has its like there, and gives the same integers. Weights and activity are int32,
so that products are of 32 bits; states, sums and tables' arguments are int64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .code_cache import inner, kernel

FLOOR, TRUNCATE, NEAREST_EVEN, NEAREST_AWAY, STOCHASTIC = range(5)


class IntegerTable(NamedTuple):
    """A table of `refimpl.integers`, and the number of its first site."""

    entries: np.ndarray
    first: int
    cell_bits: int
    interpolates: bool
    site: int


class IntegerPlan(NamedTuple):
    """All that a tick needs to know; f_ are bits after the point, s_ sites, n_ counters' places."""

    rounding: int
    seed: int
    shift_E: int
    shift_I: int
    shift_c: int
    f_input: int
    f_weight: int
    f_bias: int
    f_u: int
    f_r: int
    f_e: int
    f_z: int
    f_c: int
    f_Q: int
    f_mantissa: int
    u_limit: int  # largest of the format; the smallest is −limit − 1
    e_limit: int
    z_limit: int
    c_limit: int
    accumulator: int  # 2^(width − 1)
    k_p: int
    k_p_shift: int
    k_i: int
    k_i_shift: int
    leak: int
    leak_shift: int
    is_mse: bool
    to_readout: bool
    s_error: int
    s_softmax: int
    s_control: int
    s_integral: int
    s_u_E: int
    s_u_I: int
    s_u_out: int
    n_potential: int
    n_error: int
    n_integral: int
    n_control: int
    n_accumulator: int
    n_table: int


@inner
def mixed(word):
    """Mix the bits of a uint32."""
    word = np.uint32(word ^ (word >> np.uint32(16)))
    word = np.uint32(word * np.uint32(0x7FEB352D))
    word = np.uint32(word ^ (word >> np.uint32(15)))
    word = np.uint32(word * np.uint32(0x846CA68B))
    return np.uint32(word ^ (word >> np.uint32(16)))


@inner
def word_at(seed, step, site, tick):
    """What the place in a run comes to, which is mixed with a value's own number."""
    word = mixed(np.uint32(seed))
    word = mixed(np.uint32(word ^ np.uint32(step)))
    word = mixed(np.uint32(word ^ np.uint32(site)))
    return mixed(np.uint32(word ^ np.uint32(tick)))


@inner
def shifted(value, shift, rounding, word, index):
    """Divide by 2^shift and round; a negative shift multiplies."""
    if shift <= 0:
        return value << np.int64(-shift)
    down = np.int64(min(shift, 62))
    half = np.int64(1) << (down - np.int64(1))
    if rounding == NEAREST_EVEN:
        return (value + (half - 1) + ((value >> down) & np.int64(1))) >> down
    if rounding == FLOOR:
        return value >> down
    if rounding == TRUNCATE:
        return (value + (2 * half - 1 if value < 0 else np.int64(0))) >> down
    if rounding == NEAREST_AWAY:
        return (value + half - (np.int64(1) if value < 0 else np.int64(0))) >> down
    bits = np.int64(mixed(np.uint32(np.uint32(index) ^ word)))
    return (value + ((bits << np.int64(30)) >> (np.int64(62) - down))) >> down


@inner
def saturated(value, limit, counts, place):
    """Take the nearest of −limit − 1 to limit, and count if it is another."""
    if value > limit:
        counts[place] += 1
        return limit
    if value < -limit - 1:
        counts[place] += 1
        return -limit - 1
    return value


@inner
def looked_up(table, argument, rounding, word, index, counts, place):
    """The table's value at an integer; arguments beyond its ends are counted if place is one."""
    cells = np.int64(table.entries.size - 1)
    address = argument - table.first
    if address < 0 or address > (cells << table.cell_bits):
        if place >= 0:
            counts[place] += 1
        address = np.int64(0) if address < 0 else cells << table.cell_bits
    cell = min(address >> table.cell_bits, cells - 1)
    value = table.entries[cell]
    if not table.interpolates:
        return value
    rise = (table.entries[cell + 1] - value) * (address - (cell << table.cell_bits))
    return value + shifted(rise, table.cell_bits, rounding, word, index)


@inner
def rounding_of(rounding, down):
    """What is added before `down` bits are dropped: always, if the rest is odd, if negative.

    Of the last two, masks. Not for what is rounded by chance.
    """
    if down <= 0 or rounding == FLOOR:
        return np.int64(0), np.int64(0), np.int64(0)
    half = np.int64(1) << np.int64(down - 1)
    if rounding == NEAREST_EVEN:
        return half - np.int64(1), np.int64(1), np.int64(0)
    if rounding == TRUNCATE:
        return np.int64(0), np.int64(0), 2 * half - np.int64(1)
    return half, np.int64(0), np.int64(-1)


@inner
def look_up(table, arguments, values, n, rounding, word, first_index):
    """Look n arguments up, in `values`; returns how many lay beyond the table's ends."""
    entries, down, start = table.entries, np.int64(table.cell_bits), np.int64(table.first)
    cells = np.int64(entries.size - 1)
    end = cells << down
    n_beyond = 0
    if not table.interpolates:
        for i in range(n):
            address = arguments[i] - start
            within = min(max(address, np.int64(0)), end)
            n_beyond += address != within
            values[i] = entries[min(within >> down, cells - np.int64(1))]
        return n_beyond
    if rounding == STOCHASTIC:
        for i in range(n):
            address = arguments[i] - start
            within = min(max(address, np.int64(0)), end)
            n_beyond += address != within
            cell = min(within >> down, cells - np.int64(1))
            value = entries[cell]
            rise = (entries[cell + 1] - value) * (within - (cell << down))
            values[i] = value + shifted(rise, down, rounding, word, first_index + i)
        return n_beyond
    always, odd, negative = rounding_of(rounding, down)
    for i in range(n):
        address = arguments[i] - start
        within = min(max(address, np.int64(0)), end)
        n_beyond += address != within
        cell = min(within >> down, cells - np.int64(1))
        value = entries[cell]
        rise = (entries[cell + 1] - value) * (within - (cell << down))
        rise += always + ((rise >> down) & odd) + ((rise >> np.int64(63)) & negative)
        values[i] = value + (rise >> down)
    return n_beyond


@inner
def take_in(state, change, n, shift, rounding, word, first_index, limit):
    """Add n changes to a state, divided by 2^shift and rounded; returns how many did not fit."""
    n_unfit = 0
    if rounding == STOCHASTIC:
        for i in range(n):
            value = state[i] + shifted(change[i], shift, rounding, word, first_index + i)
            fitting = min(max(value, -limit - np.int64(1)), limit)
            n_unfit += value != fitting
            state[i] = fitting
        return n_unfit
    down = np.int64(min(shift, 62))
    always, odd, negative = rounding_of(rounding, down)
    for i in range(n):
        step = change[i]
        step += always + ((step >> down) & odd) + ((step >> np.int64(63)) & negative)
        value = state[i] + (step >> down)
        fitting = min(max(value, -limit - np.int64(1)), limit)
        n_unfit += value != fitting
        state[i] = fitting
    return n_unfit


@inner
def bit_length(value):
    """Bits of an integer of at least 1."""
    length = np.int64(0)
    while value > 0:
        value >>= np.int64(1)
        length += 1
    return length


@kernel
def integer_products(h, W, out, row_0, row_1):
    """Rows row_0 … row_1 of h W, exact; h (rows, n_in) and W (n_in, n) int32, out int64."""
    n_in, n = W.shape
    for b in range(row_0, row_1):
        sums = out[b]
        for i in range(n):
            sums[i] = 0
        for j in range(n_in):
            r = np.int64(h[b, j])
            if r != 0:
                row = W[j]
                for i in range(n):
                    sums[i] += r * np.int64(row[i])


@inner
def softmax(plan, exponential, reciprocal, u_out, share, powers, b, words, counts):
    """exp(u) / Σ exp(u) of one sample; `words` are those of exponential, reciprocal, softmax."""
    n_out = u_out.size
    largest = u_out[0]
    for k in range(1, n_out):
        largest = max(largest, u_out[k])
    total = np.int64(0)
    for k in range(n_out):
        powers[k] = looked_up(
            exponential, u_out[k] - largest, plan.rounding, words[0], b * n_out + k, counts, -1
        )
        total += powers[k]
    p = bit_length(total) - 1
    m = shifted(total, p - plan.f_mantissa, FLOOR, np.uint32(0), 0)
    factor = looked_up(reciprocal, m, plan.rounding, words[1], b, counts, plan.n_table)
    for k in range(n_out):
        part = shifted(
            powers[k] * factor, plan.f_mantissa + p - plan.f_e, plan.rounding, words[2],
            b * n_out + k,
        )  # fmt: skip
        share[k] = saturated(part, plan.e_limit, counts, plan.n_error)


@kernel
def integer_ticks(
    plan, rate_E, rate_I, exponential, reciprocal, sizes, weights, biases, a_1, u_E, u_I, u_out, z,
    Q, target, is_closed, first_tick, n_ticks, step, counts, b_0, b_1,
):  # fmt: skip
    """Take samples b_0 … b_1 through ticks numbered from first_tick, in open loop or under control.

    `weights` is flat, int32, one layer after the other, the readout last; `biases` flat, int64, of
    all hidden units. a_1 is (batch, n_1); u_E and u_I (batch, units), u_out and z (batch, n_out)
    are changed; Q is (batch or 1, n_out, units) of int32, target (batch, n_out).
    """
    n_hidden, n_out = sizes.size - 2, sizes[sizes.size - 1]
    units = u_E.shape[1]
    mode = plan.rounding
    f_sum, f_a1 = plan.f_r + plan.f_weight, plan.f_input + plan.f_weight
    limit = plan.accumulator - 1
    f_I = max(plan.f_c + plan.f_Q, max(plan.f_r, plan.f_u))
    f_out = max(f_sum, max(plan.f_c, plan.f_u))
    p_c, i_c = plan.f_e + plan.k_p_shift, plan.f_z + plan.k_i_shift
    f_control = max(p_c, i_c)
    leak_f = plan.f_z + plan.leak_shift
    f_dz = max(plan.f_e, leak_f)
    r_E, r_I = np.empty(units, np.int64), np.empty(units, np.int64)
    sums = np.empty(units, np.int64)
    sums_out, powers = np.empty(n_out, np.int64), np.empty(n_out, np.int64)
    e, c, share = np.empty(n_out, np.int64), np.empty(n_out, np.int64), np.empty(n_out, np.int64)
    words = np.zeros(3, np.uint32)
    w_E, w_I = np.zeros(n_hidden, np.uint32), np.zeros(n_hidden, np.uint32)
    w_uE, w_uI = np.zeros(n_hidden, np.uint32), np.zeros(n_hidden, np.uint32)
    w_out = w_c = w_z = w_e = np.uint32(0)
    for b in range(b_0, b_1):
        for tick in range(first_tick, first_tick + n_ticks):
            if mode == STOCHASTIC:
                for l in range(n_hidden):
                    w_E[l] = word_at(plan.seed, step, rate_E.site + l, tick)
                    w_I[l] = word_at(plan.seed, step, rate_I.site + l, tick)
                    w_uE[l] = word_at(plan.seed, step, plan.s_u_E + l, tick)
                    w_uI[l] = word_at(plan.seed, step, plan.s_u_I + l, tick)
                words[0] = word_at(plan.seed, step, exponential.site, tick)
                words[1] = word_at(plan.seed, step, reciprocal.site, tick)
                words[2] = word_at(plan.seed, step, plan.s_softmax, tick)
                w_out = word_at(plan.seed, step, plan.s_u_out, tick)
                w_c = word_at(plan.seed, step, plan.s_control, tick)
                w_z = word_at(plan.seed, step, plan.s_integral, tick)
                w_e = word_at(plan.seed, step, plan.s_error, tick)
            at = 0
            for l in range(n_hidden):
                n = sizes[l + 1]
                for table, u, r, word in (
                    (rate_E, u_E, r_E, w_E[l]),
                    (rate_I, u_I, r_I, w_I[l]),
                ):
                    counts[plan.n_table] += look_up(
                        table, u[b, at : at + n], r[at : at + n], n, mode, word, b * n
                    )
                at += n
            if is_closed:
                if plan.is_mse:
                    f = max(plan.f_e, plan.f_u)
                    for k in range(n_out):
                        wide = (target[b, k] << (f - plan.f_e)) - (u_out[b, k] << (f - plan.f_u))
                        value = shifted(wide, f - plan.f_e, mode, w_e, b * n_out + k)
                        e[k] = saturated(value, plan.e_limit, counts, plan.n_error)
                else:
                    softmax(
                        plan, exponential, reciprocal, u_out[b], share, powers, b, words, counts
                    )
                    for k in range(n_out):
                        value = target[b, k] - share[k]
                        e[k] = saturated(value, plan.e_limit, counts, plan.n_error)
                for k in range(n_out):
                    wide = (e[k] * plan.k_p) << (f_control - p_c)
                    wide += (z[b, k] * plan.k_i) << (f_control - i_c)
                    value = shifted(wide, f_control - plan.f_c, mode, w_c, b * n_out + k)
                    c[k] = saturated(value, plan.c_limit, counts, plan.n_control)
                    change = (e[k] << (f_dz - plan.f_e)) - (
                        (z[b, k] * plan.leak) << (f_dz - leak_f)
                    )
                    moved = shifted(
                        change, f_dz - plan.f_z + plan.shift_c, mode, w_z, b * n_out + k
                    )
                    z[b, k] = saturated(z[b, k] + moved, plan.z_limit, counts, plan.n_integral)
            at, below, w = 0, 0, sizes[0] * sizes[1]
            for l in range(n_hidden):
                n = sizes[l + 1]
                f = f_a1
                if l == 0:
                    for i in range(n):
                        sums[i] = a_1[b, i]
                else:
                    f = f_sum
                    m = sizes[l]
                    for i in range(n):
                        sums[i] = biases[at + i] << (f_sum - plan.f_bias)
                    for j in range(m):
                        r = np.int64(np.int32(r_E[below + j]))
                        row = weights[w + j * n : w + (j + 1) * n]
                        for i in range(n):
                            sums[i] += r * np.int64(row[i])
                    for i in range(n):
                        sums[i] = saturated(sums[i], limit, counts, plan.n_accumulator)
                    w += m * n
                    below += m
                f_E = max(f, max(plan.f_u, plan.f_r))
                up_a, up_u, up_r = f_E - f, f_E - plan.f_u, f_E - plan.f_r
                for i in range(n):
                    j = at + i
                    sums[i] = (sums[i] << up_a) - (u_E[b, j] << up_u) - (r_I[j] << up_r)
                counts[plan.n_potential] += take_in(
                    u_E[b, at : at + n], sums, n, up_u + plan.shift_E, mode, w_uE[l], b * n,
                    plan.u_limit,
                )  # fmt: skip
                for i in range(n):
                    sums[i] = 0
                up_r, up_u, up_c = f_I - plan.f_r, f_I - plan.f_u, f_I - plan.f_c - plan.f_Q
                if is_closed:
                    of = b if Q.shape[0] > 1 else 0
                    for k in range(n_out):
                        strength, row = np.int64(np.int32(c[k])), Q[of, k, at : at + n]
                        for i in range(n):
                            sums[i] += strength * np.int64(row[i])
                    for i in range(n):
                        sums[i] = saturated(sums[i], limit, counts, plan.n_accumulator)
                for i in range(n):
                    j = at + i
                    sums[i] = (r_E[j] << up_r) - (u_I[b, j] << up_u) - (sums[i] << up_c)
                counts[plan.n_potential] += take_in(
                    u_I[b, at : at + n], sums, n, up_u + plan.shift_I, mode, w_uI[l], b * n,
                    plan.u_limit,
                )  # fmt: skip
                at += n
            for k in range(n_out):
                sums_out[k] = 0
            top = sizes[n_hidden]
            for j in range(top):
                r = np.int64(np.int32(r_E[below + j]))
                row = weights[w + j * n_out : w + (j + 1) * n_out]
                for k in range(n_out):
                    sums_out[k] += r * np.int64(row[k])
            for k in range(n_out):
                wide = saturated(sums_out[k], limit, counts, plan.n_accumulator) << (f_out - f_sum)
                wide -= u_out[b, k] << (f_out - plan.f_u)
                if is_closed and plan.to_readout:
                    wide += c[k] << (f_out - plan.f_c)
                sums_out[k] = wide
            counts[plan.n_potential] += take_in(
                u_out[b], sums_out, n_out, f_out - plan.f_u + plan.shift_E, mode, w_out, b * n_out,
                plan.u_limit,
            )  # fmt: skip
