"""Learning while running, compiled (model page, section 10).

The arithmetic is the reference's (`refimpl/continuous.py`):
Tsitouras' method with constant steps between samples. The state is one flat array in the
reference's order, u_E of all layers, u_I, z, Q, W, b, so that what moves in a phase is always
a leading stretch of it; the rest is neither copied nor added to.
"""

from __future__ import annotations

import numpy as np

from .code_cache import inner, kernel
from .elementary import CONTRACT
from .layout import copy, copy_row, units_before, weight_start, widest
from .neurons import add_one, add_rows, add_two, rate_and_slope


@kernel
def run(
    sizes, phi, constants, rule, phase, tableau, nodes, interval, n_steps, y, inputs, targets,
    output, cost,
):  # fmt: skip
    """Integrate from the first sample to the last, in place of y.

    `tableau` is as in `integration.integrate`; `nodes`, (stages + 1,), are where in a step each
    stage is; `interval` is between samples, in seconds, of n_steps steps. `output`, (n_samples,
    n_out), receives φ_E(u_E^L) at each sample, `cost`, (n_samples,), Σ_l ‖c Q^l‖².
    """
    n_layers = sizes.size - 1
    n_out = sizes[n_layers]
    total = units_before(sizes, n_layers)
    n_widest = widest(sizes[1:])
    n_moving = 2 * total + n_out
    if phase[1] or phase[2]:
        n_moving += n_out * total
    if phase[2]:
        n_moving = y.size
    n_stages = tableau.shape[0]
    h = interval / n_steps
    stages = np.zeros((n_stages + 1, y.size))
    y_stage = y.copy()
    layers, c = np.empty((4, total)), np.empty(n_out)
    drive = np.empty((2, n_widest))
    J, J_below = np.empty(n_out * max(n_widest, n_out)), np.empty(n_out * n_widest)
    x, target = np.empty(sizes[0]), np.empty(n_out)
    continuous_derivative(
        sizes, phi, constants, rule, phase, inputs[0], targets[0], y, stages[0], layers, c,
        drive, J, J_below,
    )  # fmt: skip
    for i in range(inputs.shape[0]):
        # The derivative just computed is that at this sample: the last stage is the next first.
        copy_row(layers[0, total - n_out :], output[i])
        cost[i] = control_cost(sizes, y, c, drive[0]) if phase[0] else 0.0
        if i + 1 == inputs.shape[0]:
            break
        for step in range(n_steps):
            for s in range(n_stages):
                moving = y_stage[:n_moving]
                copy_row(y[:n_moving], moving)
                for r in range(0, s, 2):
                    add_two(
                        moving, h * tableau[s, r], stages[r, :n_moving],
                        h * tableau[s, r + 1], stages[r + 1, :n_moving],
                    )  # fmt: skip
                if s % 2 == 0:
                    add_one(moving, h * tableau[s, s], stages[s, :n_moving])
                fraction = (step + nodes[s + 1]) / n_steps
                _between(inputs[i], inputs[i + 1], fraction, x)
                _between(targets[i], targets[i + 1], fraction, target)
                continuous_derivative(
                    sizes, phi, constants, rule, phase, x, target, y_stage, stages[s + 1],
                    layers, c, drive, J, J_below,
                )  # fmt: skip
            copy_row(y_stage[:n_moving], y)
            copy_row(stages[n_stages, :n_moving], stages[0])


@inner(fastmath=CONTRACT)
def _between(first, second, fraction, point):
    """Linear interpolation of a row."""
    for i in range(point.size):
        point[i] = first[i] + fraction * (second[i] - first[i])


@inner
def continuous_derivative(
    sizes, phi, constants, rule, phase, x, target, y, k, layers, c, drive, J, J_below,
):  # fmt: skip
    """dy/dt of the whole state into k; what a phase holds still is not written.

    `constants` is τ_E, τ_I, k_p, k_i, leak, τ_c, τ_Q, norm of the feedback weights. `rule` is 0 for
    the exact inverse, 1 for the threshold on r_I, 2 for that on u_I; whether φ_E' is taken at the
    rate; θ, δ, τ_W. `phase` is control, learning of Q, learning of W and b. `layers`, (4, units),
    receives r_E, φ_E', r_I, φ_I' of all layers, c the control signal; the rest is scratch.
    """
    n_layers = sizes.size - 1
    n_out = sizes[n_layers]
    total = units_before(sizes, n_layers)
    at_z = 2 * total
    at_Q = at_z + n_out
    at_W = at_Q + n_out * total
    at_b = at_W + weight_start(sizes, n_layers)
    tau_E, tau_I, k_p, k_i = constants[0], constants[1], constants[2], constants[3]
    leak, tau_c, tau_Q, norm = constants[4], constants[5], constants[6], constants[7]
    _activate(phi[0], phi[1], phi[2], y[:total], layers[0], layers[1])
    _activate(phi[3], phi[4], phi[5], y[total:at_z], layers[2], layers[3])
    first_out = total - n_out
    for j in range(n_out):
        c[j] = 0.0
        k[at_z + j] = 0.0
        if phase[0]:
            e = target[j] - layers[0, first_out + j]
            c[j] = k_p * e + k_i * y[at_z + j]
            k[at_z + j] = (e - leak * y[at_z + j]) / tau_c
    pre = x
    for l in range(n_layers):
        n_in, n = sizes[l], sizes[l + 1]
        start, w = units_before(sizes, l), at_W + weight_start(sizes, l)
        end = start + n
        W = y[w : w + n_in * n].reshape(n_in, n)
        Q = y[at_Q + n_out * start : at_Q + n_out * end].reshape(n_out, n)
        a, q = drive[0, :n], drive[1, :n]
        copy_row(y[at_b + start : at_b + end], a)
        add_rows(a, pre, W)
        q[:] = 0.0
        if phase[0]:
            add_rows(q, c, Q)
        u_E, u_I = y[start:end], y[total + start : total + end]
        r_E, r_I = layers[0, start:end], layers[2, start:end]
        _potentials(
            u_E, u_I, r_E, r_I, a, q, tau_E, tau_I,
            k[start:end], k[total + start : total + end],
        )  # fmt: skip
        if phase[2]:
            db = k[at_b + start : at_b + end]
            _factor(phi, rule, u_E, u_I, r_E, layers[1, start:end], r_I, db)
            dW = k[w : w + n_in * n].reshape(n_in, n)
            for j in range(n_in):
                for i in range(n):
                    dW[j, i] = pre[j] * db[i]
        pre = r_E
    if not phase[1]:
        k[at_Q:at_W] = 0.0
        return
    above = J[: n_out * n_out].reshape(n_out, n_out)
    above[:] = 0.0
    for j in range(n_out):
        above[j, j] = layers[1, first_out + j]
    for l in range(n_layers - 1, -1, -1):
        n = sizes[l + 1]
        start = units_before(sizes, l)
        end = start + n
        if l < n_layers - 1:
            n_above = sizes[l + 2]
            w = at_W + weight_start(sizes, l + 1)
            W = y[w : w + n * n_above].reshape(n, n_above)
            below = J_below[: n_out * n].reshape(n_out, n)
            _through(above, W, layers[1, start:end], below)
            above = J[: n_out * n].reshape(n_out, n)
            copy(below, above)
        Q = y[at_Q + n_out * start : at_Q + n_out * end].reshape(n_out, n)
        dQ = k[at_Q + n_out * start : at_Q + n_out * end].reshape(n_out, n)
        _towards(Q, above, layers[3, start:end], norm, tau_Q, dQ)


@inner(fastmath=CONTRACT)
def _activate(s, k, m, u, r, slope):
    """φ(u) and φ'(u) of a row."""
    for i in range(u.size):
        r[i], slope[i] = rate_and_slope(s, k, m, u[i])


@inner(fastmath=CONTRACT)
def _potentials(u_E, u_I, r_E, r_I, a, q, tau_E, tau_I, du_E, du_I):
    """du_E/dt and du_I/dt of a layer."""
    for i in range(u_E.size):
        du_E[i] = (a[i] - u_E[i] - r_I[i]) / tau_E
        du_I[i] = (r_E[i] - u_I[i] - q[i]) / tau_I


@inner(fastmath=CONTRACT)
def _factor(phi, rule, u_E, u_I, r_E, slope_E, r_I, db):
    """(r_E − û_I) φ_E' / τ_W of a layer; rule is (û_I's form, slope at rate, θ, δ, τ_W)."""
    form, at_rate, theta, delta, tau_W = rule[0], rule[1], rule[2], rule[3], rule[4]
    for i in range(u_E.size):
        if form == 0:
            estimate = u_I[i]
        elif form == 1:
            estimate = theta + delta * r_I[i]
        else:
            estimate = theta + delta * u_I[i]
        slope = slope_E[i]
        if at_rate:
            slope = rate_and_slope(phi[0], phi[1], phi[2], r_E[i])[1]
        db[i] = (r_E[i] - estimate) * slope / tau_W


@inner(fastmath=CONTRACT)
def _through(J, W, slope_E, below):
    """J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E'; J is (n_out, n), W (n_below, n), below (n_out, n_below)."""
    for o in range(J.shape[0]):
        for j in range(W.shape[0]):
            total = 0.0
            for i in range(W.shape[1]):
                total += J[o, i] * W[j, i]
            below[o, j] = total * slope_E[j]


@inner(fastmath=CONTRACT)
def _towards(Q, J, slope_I, norm, tau, dQ):
    """dQ/dt, towards J ∘ φ_I' scaled to a norm; J and dQ are (n_out, n)."""
    total = 0.0
    for o in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            dQ[o, i] = J[o, i] * slope_I[i]
            total += dQ[o, i] * dQ[o, i]
    # A silent layer has no direction to feed back along: its target is 0.
    factor = norm / np.sqrt(total) if total > 0 else 0.0
    for o in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            dQ[o, i] = (factor * dQ[o, i] - Q[o, i]) / tau


@inner
def control_cost(sizes, y, c, q):
    """Σ_l ‖c Q^l‖²; q is scratch, (widest,)."""
    n_layers = sizes.size - 1
    n_out = sizes[n_layers]
    start = 2 * units_before(sizes, n_layers) + n_out
    total = 0.0
    for l in range(n_layers):
        n = sizes[l + 1]
        row = q[:n]
        row[:] = 0.0
        add_rows(row, c, y[start : start + n_out * n].reshape(n_out, n))
        for i in range(n):
            total += row[i] * row[i]
        start += n_out * n
    return total
