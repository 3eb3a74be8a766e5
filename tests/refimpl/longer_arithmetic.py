"""End states to sixty digits: an oracle that shares nothing with the project but the equations.

Every number that the network was given counts as exact. A target of cross-entropy is a
distribution, whatever rounding made of its sum, and is divided by that sum.
"""

from dataclasses import dataclass

import mpmath as mp
import numpy as np

DIGITS = 60


@dataclass(frozen=True)
class ExactState:
    """What the closed loop of one sample comes to: lists, layers first, and D = ∂u_out/∂c."""

    u_E: list
    u_I: list
    u_out: list
    c: list
    z: list
    D: mp.matrix


def softplus(phi, u):
    v = mp.mpf(phi.sharpness) * (u - mp.mpf(phi.shift))
    return mp.mpf(phi.scale) * (max(v, 0) + mp.log1p(mp.exp(-abs(v))))


def slope(phi, u):
    v = mp.mpf(phi.sharpness) * (u - mp.mpf(phi.shift))
    return mp.mpf(phi.scale) * mp.mpf(phi.sharpness) / (1 + mp.exp(-v))


def numbers(array):
    return [[mp.mpf(float(x)) for x in row] for row in np.atleast_2d(array)]


def product(row, matrix):
    return [mp.fsum(row[i] * matrix[i][j] for i in range(len(row))) for j in range(len(matrix[0]))]


def neuron(phi_E, phi_I, a, q):
    """u_E of one pair, by Newton's method from above the root of a convex function."""
    low = a
    # φ_I is positive, so that the root lies below a.
    u = low
    for _ in range(10_000):
        r = softplus(phi_E, u)
        f = u + softplus(phi_I, r - q) - a
        step = f / (1 + slope(phi_I, r - q) * slope(phi_E, u))
        u -= step
        if abs(step) <= mp.mpf(10) ** (8 - DIGITS) * (1 + abs(u)):
            return u
    raise ArithmeticError("no equilibrium")


def network(configuration, parameters, x, Q, c):
    """State under a control signal that is held, and ∂u_out/∂c, row k of c_k."""
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    n_out = len(c)
    below, response = x, None
    u_E, u_I = [], []
    for l, (W, b) in enumerate(parameters[0]):
        a = [s + t for s, t in zip(product(below, W), b, strict=True)]
        q = product(c, Q[l])
        u = [neuron(phi_E, phi_I, *pair) for pair in zip(a, q, strict=True)]
        r = [softplus(phi_E, v) for v in u]
        v = [s - t for s, t in zip(r, q, strict=True)]
        da = [product(row, W) if l else [mp.mpf(0)] * len(u) for row in (response or [[]] * n_out)]
        response = []
        for k in range(n_out):
            row = []
            for i in range(len(u)):
                e, j = slope(phi_E, u[i]), slope(phi_I, v[i])
                row.append(e * (da[k][i] + j * Q[l][k][i]) / (1 + e * j))
            response.append(row)
        u_E.append(u)
        u_I.append(v)
        below = r
    direct = 1 if configuration.feedback.to_readout else 0
    u_out = [s + direct * t for s, t in zip(product(below, parameters[1]), c, strict=True)]
    D = mp.matrix([product(row, parameters[1]) for row in response]) + direct * mp.eye(n_out)
    return u_E, u_I, u_out, D


def softmax(u):
    top = max(u)
    e = [mp.exp(v - top) for v in u]
    return [v / mp.fsum(e) for v in e]


def closed_loop(configuration, parameters, x, Q, target, guess):
    """The end state of one sample, found by raising κ from 0 in Newton's continuation.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Of plain numbers.
    parameters : pair
        (weights and biases of the hidden layers, readout), as `numbers` gives them.
    x, target : list
    Q : list of matrices
    """
    controller = configuration.controller
    k_p, k_i = mp.mpf(controller.k_p), mp.mpf(controller.k_i)
    leak = mp.mpf(controller.leak)
    kappa_end = k_p + k_i / leak
    is_mse = configuration.loss == "mse"
    if not is_mse:
        total = mp.fsum(target)
        target = [t / total for t in target]
    n = len(target)

    def residual(kappa, c):
        u_E, u_I, u_out, D = network(configuration, parameters, x, Q, c)
        p = u_out if is_mse else softmax(u_out)
        S = mp.eye(n) if is_mse else mp.diag(p) - mp.matrix(p) * mp.matrix(p).T
        F = mp.matrix([c[k] / kappa - target[k] + p[k] for k in range(n)])
        return F, mp.eye(n) / kappa + D * S, (u_E, u_I, u_out, D)

    # From the guess if it is near a root; else raising κ from where the loop is nearly open.
    first = min(kappa_end, mp.mpf(1) / 8)
    kappa, factor, last = kappa_end, mp.mpf(64), first
    c = [mp.mpf(float(v)) for v in guess]
    at_guess = all(mp.isfinite(v) for v in c)
    if not at_guess:
        c, kappa = [mp.mpf(0)] * n, first
    while True:
        trial, converged = list(c), False
        for _ in range(8 if at_guess else 40):
            F, M, _ = residual(kappa, trial)
            step = mp.lu_solve(M.T, F)
            trial = [trial[k] - step[k] for k in range(n)]
            size, scale = mp.norm(step, mp.inf), 1 + max(abs(v) for v in trial)
            if not size < mp.mpf(10) ** 6 * scale:
                break
            if size <= mp.mpf(10) ** (24 - DIGITS) * scale:
                converged = True
                break
        if not converged:
            if at_guess:
                c, kappa, at_guess = [mp.mpf(0)] * n, first, False
                continue
            # The path was left: go on in smaller strides.
            factor = mp.sqrt(factor)
            kappa = min(kappa_end, last * factor)
            if factor < mp.mpf(1.1):
                raise ArithmeticError("no closed loop")
            continue
        c, last, at_guess = trial, kappa, False
        if kappa == kappa_end:
            break
        kappa = min(kappa_end, kappa * factor)
    _, _, (u_E, u_I, u_out, D) = residual(kappa_end, c)
    gain = k_p * leak + k_i
    e = [v / kappa_end for v in c]
    z = [v / gain for v in c] if gain else [v / leak for v in e]
    return ExactState(u_E, u_I, u_out, c, z, D)
