"""Loss, error and target at the readout, sample by sample (model page, section 3)."""

from __future__ import annotations

import math

import numpy as np

from .code_cache import inner, kernel
from .layout import copy, copy_row


@kernel
def closed_loop_target(is_mse, strong, nudge, b_0, b_1, u_open, y, target):
    """y, or with weak feedback a nudge towards it, of samples b_0 … b_1."""
    if strong:
        copy(y[b_0:b_1], target[b_0:b_1])
        return
    nudged = np.empty_like(u_open[0])
    for b in range(b_0, b_1):
        error(is_mse, u_open[b], y[b], target[b])
        for k in range(y.shape[1]):
            nudged[k] = u_open[b, k] + nudge * target[b, k]
        if is_mse:
            copy_row(nudged, target[b])
        else:
            softmax(nudged, target[b])


@kernel
def losses(is_mse, b_0, b_1, u_out, y, loss, correct):
    """Loss of samples b_0 … b_1, and whether each one's largest output is that of the label.

    An output that is no number makes no sample right.
    """
    p = np.empty_like(u_out[0])
    for b in range(b_0, b_1):
        loss[b] = sample_loss(is_mse, u_out[b], y[b], p)
        best_u, best_y, are_numbers = 0, 0, True
        for k in range(u_out.shape[1]):
            are_numbers = are_numbers and math.isfinite(u_out[b, k])
            if u_out[b, k] > u_out[b, best_u]:
                best_u = k
            if y[b, k] > y[b, best_y]:
                best_y = k
        correct[b] = are_numbers and best_u == best_y


@inner
def sample_loss(is_mse, u, y, p):
    """Loss of one sample; p is scratch."""
    total = u[0] - u[0]
    if is_mse:
        for k in range(u.size):
            total += (y[k] - u[k]) * (y[k] - u[k])
        return total / 2
    log_sum = softmax(u, p)
    for k in range(u.size):
        total -= y[k] * (u[k] - log_sum)
    return total


@inner
def error(is_mse, u, target, e):
    """e = target - softmax(u), or target - u, of one sample."""
    if is_mse:
        for k in range(u.size):
            e[k] = target[k] - u[k]
    else:
        softmax(u, e)
        for k in range(u.size):
            e[k] = target[k] - e[k]


@inner
def softmax(u, p):
    """Softmax of one sample into p; returns log Σ exp(u)."""
    top = u[0]
    for k in range(1, u.size):
        top = max(top, u[k])
    total = top - top
    for k in range(u.size):
        p[k] = math.exp(u[k] - top)
        total += p[k]
    for k in range(u.size):
        p[k] /= total
    return top + math.log(total)
