"""Loss, error and target at the readout, sample by sample (model page, section 3)."""

from __future__ import annotations

import math

import numpy as np

from .code_cache import njit


@njit(nogil=True, cache=True, error_model="numpy")
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


@njit(nogil=True, cache=True, error_model="numpy")
def error(is_mse, u, target, e):
    """e = target - softmax(u), or target - u, of one sample."""
    if is_mse:
        for k in range(u.size):
            e[k] = target[k] - u[k]
    else:
        softmax(u, e)
        for k in range(u.size):
            e[k] = target[k] - e[k]


@njit(nogil=True, cache=True, error_model="numpy")
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


@njit(nogil=True, cache=True, error_model="numpy")
def closed_loop_target(is_mse, strong, nudge, u_open, y, target):
    """y, or with weak feedback a nudge towards it, of every sample."""
    if strong:
        target[:] = y
        return
    nudged = np.empty_like(u_open[0])
    for b in range(y.shape[0]):
        error(is_mse, u_open[b], y[b], target[b])
        for k in range(y.shape[1]):
            nudged[k] = u_open[b, k] + nudge * target[b, k]
        if is_mse:
            target[b] = nudged
        else:
            softmax(nudged, target[b])


@njit(nogil=True, cache=True, error_model="numpy")
def losses(is_mse, u_out, y, loss, correct):
    """Loss of every sample, and whether its largest output is that of the label."""
    p = u_out[0].copy()
    for b in range(u_out.shape[0]):
        loss[b] = sample_loss(is_mse, u_out[b], y[b], p)
        best_u, best_y = 0, 0
        for k in range(1, u_out.shape[1]):
            if u_out[b, k] > u_out[b, best_u]:
                best_u = k
            if y[b, k] > y[b, best_y]:
                best_y = k
        correct[b] = best_u == best_y
