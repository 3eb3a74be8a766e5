"""Postsynaptic factors, gradients and the optimiser (model page, sections 5 and 7).

The factors are computed by samples; the gradients, by rows of each weight matrix, so that
threads share neither a sample nor a parameter, and each result is one product.
"""

from __future__ import annotations

import numpy as np

from .code_cache import inner, kernel
from .elementary import CONTRACT
from .layout import bias, layer, n_weights, units_before, weight, weight_start, widest
from .neurons import activate, add_bias, rate_and_slope, transpose
from .readout import error


@kernel
def factors(
    theta, sizes, phi, is_exact, intercept, inclination, is_mse, to_readout, batch, b_0, b_1,
    y, u_E, u_I, r_E, u_out, open_u_E, open_u_out, delta, delta_out, pre_columns,
):  # fmt: skip
    """δ of samples b_0 … b_1 into delta and delta_out, and the presynaptic rates in columns.

    û_I is u_I if exact, else θ + δ r_I, `intercept` θ and `inclination` δ of every unit.
    pre_columns, flat blocks (n_l, batch), receives φ_E of each hidden layer, transposed.
    """
    n_hidden, n_out = sizes.size - 2, sizes[sizes.size - 1]
    scratch = np.empty(widest(sizes), dtype=theta.dtype)
    start = 0
    for l in range(n_hidden):
        n = sizes[l + 1]
        u, v = layer(u_E, sizes, batch, l, b_0, b_1), layer(u_I, sizes, batch, l, b_0, b_1)
        r, d = layer(r_E, sizes, batch, l, b_0, b_1), layer(delta, sizes, batch, l, b_0, b_1)
        for b in range(b_1 - b_0):
            if is_exact:
                estimate = v[b]
            else:
                _estimate(phi, intercept[start : start + n], inclination[start:], v[b], scratch)
                estimate = scratch
            _factor(phi, estimate, u[b], r[b], d[b])
        columns = pre_columns[batch * start : batch * (start + n)].reshape(n, batch)
        if l == n_hidden - 1 and not to_readout:
            # The readout then learns from the open loop alone.
            activate(phi[0], phi[1], phi[2], layer(open_u_E, sizes, batch, l, b_0, b_1), r)
        transpose(r, columns, b_0)
        start += n
    last = layer(r_E, sizes, batch, n_hidden - 1, b_0, b_1)
    if to_readout:
        np.dot(last, weight(theta, sizes, n_hidden), delta_out[b_0:b_1])
        for b in range(b_0, b_1):
            for k in range(n_out):
                delta_out[b, k] -= u_out[b, k]
    else:
        _output_factor(is_mse, open_u_out, y, b_0, b_1, delta_out)


@inner(fastmath=CONTRACT)
def _estimate(phi, intercept, inclination, u_I, estimate):
    """û_I = θ + δ φ_I(u_I) of a row."""
    for i in range(u_I.size):
        r_I = rate_and_slope(phi[3], phi[4], phi[5], u_I[i])[0]
        estimate[i] = intercept[i] + inclination[i] * r_I


@inner(fastmath=CONTRACT)
def _factor(phi, estimate, u_E, r_E, delta):
    """δ = (û_I - r_E) φ_E' of a row, and r_E with it."""
    for i in range(u_E.size):
        r, slope = rate_and_slope(phi[0], phi[1], phi[2], u_E[i])
        r_E[i] = r
        delta[i] = (estimate[i] - r) * slope


@inner
def _output_factor(is_mse, u_out, y, b_0, b_1, delta_out):
    """δ_out = -e of samples b_0 … b_1."""
    for b in range(b_0, b_1):
        error(is_mse, u_out[b], y[b], delta_out[b])
        for k in range(u_out.shape[1]):
            delta_out[b, k] = -delta_out[b, k]


@kernel
def plain_forward(theta, sizes, phi, x, batch, b_0, b_1, r_E, slope, u_out):
    """Rates, their slopes and outputs of the plain network, samples b_0 … b_1."""
    n_hidden = sizes.size - 2
    below = x[b_0:b_1]
    for l in range(n_hidden):
        r, d = layer(r_E, sizes, batch, l, b_0, b_1), layer(slope, sizes, batch, l, b_0, b_1)
        np.dot(below, weight(theta, sizes, l), r)
        add_bias(r, bias(theta, sizes, l))
        for b in range(b_1 - b_0):
            _activate(phi, r[b], d[b])
        below = r
    np.dot(below, weight(theta, sizes, n_hidden), u_out[b_0:b_1])


@inner(fastmath=CONTRACT)
def _activate(phi, a, slope):
    """φ_E(a) of a row in place, and φ_E' with it."""
    for i in range(a.size):
        a[i], slope[i] = rate_and_slope(phi[0], phi[1], phi[2], a[i])


@kernel
def backprop_factors(
    theta, sizes, is_mse, y, batch, b_0, b_1, r_E, u_out, delta, delta_out, pre_columns
):
    """Backward pass of the plain network, samples b_0 … b_1; delta holds slopes before."""
    n_hidden = sizes.size - 2
    rows, start = b_1 - b_0, 0
    for l in range(n_hidden):
        n = sizes[l + 1]
        columns = pre_columns[batch * start : batch * (start + n)].reshape(n, batch)
        transpose(layer(r_E, sizes, batch, l, b_0, b_1), columns, b_0)
        start += n
    _output_factor(is_mse, u_out, y, b_0, b_1, delta_out)
    above = delta_out[b_0:b_1]
    for l in range(n_hidden - 1, -1, -1):
        d = layer(delta, sizes, batch, l, b_0, b_1)
        back = np.empty((rows, sizes[l + 1]), dtype=theta.dtype)
        np.dot(above, weight(theta, sizes, l + 1).T, back)
        for b in range(rows):
            for i in range(sizes[l + 1]):
                d[b, i] *= back[b, i]
        above = d


@kernel
def gradients(sizes, has_biases, batch, part, parts, x_columns, pre_columns, delta, delta_out, g):
    """Mean of preᵀ δ for this part's rows of every weight matrix, and of δ for its biases.

    g receives them, laid out as the parameters; `part` counts from 0 to `parts` - 1. In a network
    without biases theirs are 0.
    """
    n_hidden = sizes.size - 2
    one = g.dtype.type(1)
    per_sample = one / g.dtype.type(batch)
    for l in range(n_hidden + 1):
        n = sizes[l]
        first, last = n * part // parts, n * (part + 1) // parts
        if l == 0:
            pre = x_columns[first:last]
        else:
            start = batch * (units_before(sizes, l - 1) + first)
            pre = pre_columns[start : start + batch * (last - first)].reshape(last - first, batch)
        d = delta_out if l == n_hidden else layer(delta, sizes, batch, l, 0, batch)
        begin = weight_start(sizes, l) + first * sizes[l + 1]
        block = g[begin : begin + (last - first) * sizes[l + 1]]
        np.dot(pre, d, block.reshape(last - first, sizes[l + 1]))
        for i in range(block.size):
            block[i] *= per_sample
    for l in range(n_hidden):
        n = sizes[l + 1]
        d = layer(delta, sizes, batch, l, 0, batch)
        start = n_weights(sizes) + units_before(sizes, l)
        first, last = n * part // parts, n * (part + 1) // parts
        for i in range(first, last):
            g[start + i] = 0
        if not has_biases:
            continue
        for b in range(batch):
            for i in range(first, last):
                g[start + i] += d[b, i]
        for i in range(first, last):
            g[start + i] *= per_sample


@kernel
def descend(sizes, part, parts, theta, g, m, v, is_adam, settings):
    """Move this part's parameters along -g: the rows whose gradients it computed.

    `settings` is η, β₁, β₂, 1 - β₁, 1 - β₂, 1 - β₁ᵗ, 1 - β₂ᵗ, ε.
    """
    n_hidden = sizes.size - 2
    for block in range(2 * n_hidden + 1):
        if block <= n_hidden:
            n, width, start = sizes[block], sizes[block + 1], weight_start(sizes, block)
        else:
            l = block - n_hidden - 1
            n, width, start = sizes[l + 1], 1, n_weights(sizes) + units_before(sizes, l)
        first, last = n * part // parts, n * (part + 1) // parts
        at = slice(start + first * width, start + last * width)
        if is_adam:
            _adam(
                theta[at], g[at], m[at], v[at], settings[0], settings[1], settings[2], settings[3],
                settings[4], settings[5], settings[6], settings[7],
            )  # fmt: skip
        else:
            p, step = theta[at], g[at]
            for i in range(p.size):
                p[i] -= settings[0] * step[i]


@inner
def _adam(p, g, m, v, eta, beta_1, beta_2, rest_1, rest_2, unbias_1, unbias_2, epsilon):
    for i in range(p.size):
        m[i] = beta_1 * m[i] + rest_1 * g[i]
        v[i] = beta_2 * v[i] + rest_2 * (g[i] * g[i])
        p[i] -= eta * (m[i] / unbias_1) / (np.sqrt(v[i] / unbias_2) + epsilon)


@kernel
def sum_up(loss, closed_loop_loss, correct, closed_loop_correct, figures):
    """Mean losses, open and closed, and samples that are right, likewise, into figures, (4,).

    They are in the order loss, closed-loop loss, right, right under control.
    """
    figures[:] = 0
    for b in range(loss.size):
        figures[0] += loss[b]
        figures[1] += closed_loop_loss[b]
        figures[2] += correct[b]
        figures[3] += closed_loop_correct[b]
    figures[0] /= loss.size
    figures[1] /= loss.size
