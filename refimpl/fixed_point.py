"""End states without integrating: the closed loop as n_out equations in c (section 6).

For a fixed control signal c each neuron rests where a scalar equation says; so the whole network
rests where c = κ e(u_out(c)). Both are solved by Newton's method:

    c = 0, D = ∂u_out/∂c at the open-loop state; repeat until v has no weight:
        state = equilibrium(c);  solve v (I + κ D S) = −(c − κ e) for the row vector v;  c += v

At a moderate κ that is all that a port in float64 needs: `equilibrium`, `output_sensitivity` and
that step. What float32 and large κ ask for besides stands at the end, from `control_step` on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .circuit import (
    FeedbackWeights,
    NetworkState,
    Parameters,
    choose,
    disinhibition,
    drive,
    error,
    log_softmax,
    rate,
    slope,
    steady_integral,
)
from .configuration import Array, NetworkConfiguration, SoftReLU
from .feedback import per_output_product

MAX_FROZEN_ITERATIONS = 20
MAX_FRESH_ITERATIONS = 30
MAX_HALVINGS = 12


@dataclass(frozen=True)
class FixedPoint:
    """End of a fixed-point search; a sample found in neither way was not solved."""

    state: NetworkState
    found_frozen: Array  # solved with the matrix frozen at the open loop, bool (..., batch)
    found_fresh: Array  # needed a fresh one


def closed_loop_fixed_point(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: Array,
    Q: FeedbackWeights,
    target: Array,
    open_loop: NetworkState,
) -> FixedPoint:
    """Closed-loop end state: the root of F(c) = c − κ e(u_out(c), target) (section 6).

    Newton's method with D = ∂u_out/∂c frozen at the open-loop state first, while the error's
    own slope is taken anew in each iteration. For the samples it leaves, Newton's method
    with a fresh D and a line search on ‖F‖. A sample is found when the step in c that is
    left has no weight (`is_negligible`): that step is the error in c, whatever κ is.

    `a_1` is (..., batch, n_1), Q^l (..., batch, n_out, n_l) and the target (..., batch, n_out).
    ConfigurationError if the controller has leak 0.
    """
    loss, controller = configuration.loss, configuration.controller
    kappa = controller.steady_gain

    c = np.zeros_like(open_loop.u_out)
    D = output_sensitivity(configuration, parameters, Q, open_loop)
    state, move = open_loop, control_step(loss, kappa, c, open_loop.u_out, target, D)
    found = np.zeros(c.shape[:-1], dtype=bool)
    for _ in range(MAX_FROZEN_ITERATIONS):
        # Samples that are found keep their state, so that no sample depends on the others.
        c = np.where(found[..., None], c, c + move)
        trial, solved = equilibrium(configuration, parameters, a_1, Q, c, state)
        left = control_step(loss, kappa, c, trial.u_out, target, D)
        # A step that shrinks slowly says that D is another here, and what is left is more.
        converges = np.linalg.norm(left, axis=-1) <= np.linalg.norm(move, axis=-1) / 2
        state, move = choose(found, state, trial), np.where(found[..., None], move, left)
        found = found | (solved & converges & is_negligible(left, kappa, c, trial.u_out))
        if np.all(found):
            break
    found_frozen = found
    if not np.all(found):
        # The frozen iteration may have wandered off: start again from the open loop.
        c = np.where(found[..., None], c, 0)
        state = choose(found, state, open_loop)
        c, move, state, found = _fresh_newton(
            configuration, parameters, a_1, Q, target, c, move, state, found
        )
    found = found & is_resolved(c, Q)
    e = error(loss, state.u_out, target)
    # The step that is left costs nothing more, and z is then known to its square.
    z = steady_integral(controller, e, c + move)
    settled = NetworkState(state.u_E, state.u_I, state.u_out, z)
    return FixedPoint(settled, found & found_frozen, found & ~found_frozen)


def _fresh_newton(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: Array,
    Q: FeedbackWeights,
    target: Array,
    c: Array,
    move: Array,
    state: NetworkState,
    found: Array,
) -> tuple[Array, Array, NetworkState, Array]:
    """Newton's method with D taken anew in each iteration, and a line search on ‖F‖.

    A sample is given up where no fraction of the step leads on, or where there are no numbers.
    """
    loss, kappa = configuration.loss, configuration.controller.steady_gain
    solved, given_up = np.ones_like(found), np.zeros_like(found)
    for _ in range(MAX_FRESH_ITERATIONS):
        D = output_sensitivity(configuration, parameters, Q, state)
        left = control_step(loss, kappa, c, state.u_out, target, D)
        move = np.where(found[..., None], move, left)
        found = found | (solved & ~given_up & is_negligible(move, kappa, c, state.u_out))
        given_up = given_up | ~np.all(np.isfinite(move), axis=-1)
        over = found | given_up
        if np.all(over):
            break
        size = distance_from_root(loss, kappa, c, state.u_out, target)
        fraction = np.ones_like(size)
        for _ in range(MAX_HALVINGS):
            trial_c = np.where(over[..., None], c, c + fraction[..., None] * move)
            trial, solved = equilibrium(configuration, parameters, a_1, Q, trial_c, state)
            left = control_step(loss, kappa, trial_c, trial.u_out, target, D)
            near = is_negligible(left, kappa, trial_c, trial.u_out)
            # Written so that a size that is not a number counts as worse.
            trial_size = distance_from_root(loss, kappa, trial_c, trial.u_out, target)
            worse = ~((trial_size <= (1 - fraction / 4) * size) | near | over)
            if not np.any(worse):
                break
            fraction = np.where(worse, fraction / 2, fraction)
        c, state, given_up = trial_c, choose(over, state, trial), given_up | worse
    return c, move, state, found


def open_loop_fixed_point(
    configuration: NetworkConfiguration, parameters: Parameters, a_1: Array, start: NetworkState
) -> FixedPoint:
    """Open-loop end state: the equilibrium at c = 0, with nothing coupled left to solve."""
    c = np.zeros_like(start.u_out)
    state, converged = equilibrium(configuration, parameters, a_1, None, c, start)
    return FixedPoint(state, converged, np.zeros_like(converged))


def equilibrium(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: Array,
    Q: FeedbackWeights | None,
    c: Array,
    start: NetworkState,
) -> tuple[NetworkState, Array]:
    """State in which every unit rests while the control signal is held at c (section 6).

    Layer by layer: u_E from its scalar equation, u_I = φ_E(u_E) − q, and above the last
    layer u_out = φ_E(u_E^L) W_out + c. Without Q, in open loop, c has no part. The search
    begins at `start`; the second value, (..., batch), tells which samples it solved.
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    u_E: list[Array] = []
    u_I: list[Array] = []
    converged = np.ones(c.shape[:-1], dtype=bool)
    a, r_E = a_1, None
    for l in range(configuration.n_hidden):
        if r_E is not None:
            a = drive(r_E, parameters.weights[l], parameters.biases[l])
        q = 0 if Q is None else disinhibition(c, Q[l])
        u, layer_converged = neuron_equilibrium(phi_E, phi_I, a, q, start.u_E[l])
        r_E = rate(phi_E, u)
        u_E.append(u)
        u_I.append(r_E - q)
        converged = converged & layer_converged
    u_out = r_E @ parameters.readout
    if Q is not None and configuration.feedback.to_readout:
        u_out = u_out + c
    return NetworkState(tuple(u_E), tuple(u_I), u_out, start.z), converged


MAX_ITERATIONS = 60


def neuron_equilibrium(
    phi_E: SoftReLU, phi_I: SoftReLU, a: Array, q: Array | float, u_E: Array
) -> tuple[Array, Array]:
    """Solve u_E + φ_I(φ_E(u_E) − q) = a for u_E by Newton's method (section 6).

    All arrays are (..., batch, n). Gives the root, found from the start u_E, and, (..., batch),
    whether every neuron of the sample came within rounding of its root.

    The left side is convex, being a sum of a line and a composition of convex increasing
    functions, and its slope is 1 + φ_I' φ_E' ≥ 1. Newton's method on such a function
    converges from every start: the first step lands at or above the root, and from
    there it descends to it.

    How far the root still is follows from M = k_E (1 + s_E k_I), which bounds the curvature
    over the slope: where M |s| ≤ ½ a step s leaves an error of ½ M s² (twice that at most),
    and the search stops when it is within rounding. Of neurons so sharp that rounding itself
    is no small part of 1/M, a small step says nothing: where the equation falls exponentially
    every step is about 1/M, however far the root. There a root must be seen between two
    points that rounding does not part: a small step up says so, for it came from below the
    root and landed above; after a small step down the equation is asked on the other side.
    """
    eps = np.finfo(a.dtype).eps
    curvature = phi_E.sharpness * (1 + phi_E.scale * phi_I.sharpness)
    rounding = eps * (1 + np.abs(a) + abs(q))
    for _ in range(MAX_ITERATIONS):
        r_E = rate(phi_E, u_E)
        residual = u_E + rate(phi_I, r_E - q) - a
        step = residual / (1 + slope(phi_I, r_E - q) * slope(phi_E, u_E))
        u_E = u_E - step
        allowed = rounding + eps * np.abs(u_E)
        converged = curvature / 2 * step**2 <= allowed
        sharp = ~(8 * curvature * allowed <= 1)
        if np.any(sharp):
            small = sharp & (np.abs(step) <= 2 * allowed)
            below = u_E - 2 * allowed
            above_root = (step > 0) & (below + rate(phi_I, rate(phi_E, below) - q) > a)
            converged = np.where(sharp, small & ~above_root, converged)
            u_E = np.where(small & above_root, below, u_E)
        # What is no number stays none.
        if np.all(converged | np.isnan(u_E)):
            break
    return u_E, np.all(converged, axis=-1)


def output_sensitivity(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    Q: FeedbackWeights,
    state: NetworkState,
) -> Array:
    """D = ∂u_out/∂c: row k is the response of the readout to the k-th control signal (section 6).

    In each layer du_E = g (da + φ_I' Q) with the loop gain g = 1 / (1 + φ_I' φ_E').
    The result is (..., batch, n_out, n_out).
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    da: Array | int = 0
    for l in range(configuration.n_hidden):
        slope_E = slope(phi_E, state.u_E[l])[..., None, :]
        slope_I = slope(phi_I, state.u_I[l])[..., None, :]
        gain = 1 / (1 + slope_I * slope_E)
        dr_E = slope_E * gain * (da + slope_I * Q[l])
        above = parameters.weights[l + 1] if l + 1 < configuration.n_hidden else parameters.readout
        da = per_output_product(dr_E, above)
    if configuration.feedback.to_readout:
        da = da + np.eye(parameters.readout.shape[-1], dtype=parameters.dtype)
    return np.asarray(da)


def control_step(
    loss: str, kappa: float | Array, c: Array, u_out: Array, target: Array, D: Array
) -> Array:
    """Newton's step from c towards c = κ e(u_out(c)), the network's response to it being D.

    For MSE it solves v (I + κ D) = −F. For cross-entropy, with p = softmax(u_out), the end
    state has p = q = target − c / κ, and two things are done so that no κ is too large.
    Where q answers to the control more slowly than p does, κ q_k D_kk ≥ 1, the equation is
    log p_k = log q_k, nearly linear in c; elsewhere F_k = 0, which is so where κ is small.
    Their Newton matrices, I + κ D S with the slope at q or at p, are equal at the root. And
    log Σ exp(u_out) is an unknown of its own, its equation Σ c = κ (Σ target − 1): S has no
    slope in the direction of equal controls, and rounding of the softmax, times κ, would
    drive them there. Columns are divided by what is large in them.

    c, u_out and target are (..., batch, n_out); the step is NaN where the matrix is singular.
    """
    kappa = np.asarray(kappa, dtype=c.dtype)
    if loss == "mse":
        over, under = np.maximum(kappa, 1), np.minimum(kappa, 1)
        scaled_F = c / over - under * (target - u_out)
        return row_solve(_columns(D, under, 1 / over), -scaled_F[..., None, :])[..., 0, :]
    log_p = log_softmax(u_out)
    p = np.exp(log_p)
    q = target - c / np.maximum(kappa, np.finfo(c.dtype).tiny)
    stiff = (q > 0) & (kappa * q * np.diagonal(D, axis1=-2, axis2=-1) >= 1)
    weight = kappa * np.where(stiff, q, p)
    over, under = np.maximum(weight, 1), np.minimum(weight, 1)
    log_q = np.log(np.where(stiff, q, 1))
    scaled_F = np.where(stiff, under * (log_p - log_q), c / over - kappa / over * (target - p))
    rows = np.stack([-scaled_F, under * np.ones_like(scaled_F)], axis=-2)
    step = row_solve(_columns(D, under, 1 / over), rows)
    along, per_log_sum = step[..., 0, :], step[..., 1, :]
    missing = kappa * excess_of(target) - np.sum(c + along, axis=-1, keepdims=True)
    slack = np.sum(per_log_sum, axis=-1, keepdims=True)
    return along + np.where(slack == 0, 0, missing / np.where(slack == 0, 1, slack)) * per_log_sum


def _columns(D: Array, factor: Array | float, diagonal: Array | float) -> Array:
    """D with its columns multiplied by `factor`, plus `diagonal` on the diagonal."""
    n = D.shape[-1]
    full = np.broadcast_to(diagonal, (*D.shape[:-2], n)).astype(D.dtype)
    return D * np.broadcast_to(factor, full.shape)[..., None, :] + full[..., None] * np.eye(
        n, dtype=D.dtype
    )


def distance_from_root(
    loss: str, kappa: float | Array, c: Array, u_out: Array, target: Array
) -> Array:
    """‖F‖ = ‖c − κ e‖, divided by κ where that is above 1; (..., batch)."""
    kappa = np.asarray(kappa, dtype=c.dtype)
    over = np.maximum(kappa, 1)
    return np.linalg.norm(c / over - kappa / over * error(loss, u_out, target), axis=-1)


def is_negligible(move: Array, kappa: float | Array, c: Array, u_out: Array) -> Array:
    """Whether the step in c that is left has no weight beside what rounding does to c.

    u_out is known to ε |u_out|, and c with it, or to κ times that where κ is below 1. ε^¾
    leaves room for sums over a layer and for the network's response to c, D, being below 1.
    """

    def largest(values: Array) -> Array:
        return np.max(np.abs(values), axis=-1, keepdims=True)

    scale = largest(c) + np.minimum(np.asarray(kappa, dtype=c.dtype), 1) * (1 + largest(u_out))
    return np.all(np.abs(move) <= np.finfo(c.dtype).eps ** 0.75 * scale, axis=-1)


def is_resolved(c: Array, Q: FeedbackWeights) -> Array:
    """Whether rounding of q = c Q leaves half the digits of one; (..., batch).

    A control signal of some 1/√ε, as an output that cannot reach its target asks for at great
    gain, drowns what the neurons are to be told.
    """
    effort = np.stack([np.max(disinhibition(np.abs(c), np.abs(Q_l)), axis=-1) for Q_l in Q])
    eps = np.finfo(c.dtype).eps
    return np.all(eps * effort <= np.sqrt(eps), axis=0)


def excess_of(target: Array) -> Array:
    """Σ target − 1, (..., batch, 1); a sum that is 1 to within the rounding of its terms is 1."""
    excess = np.sum(target, axis=-1, keepdims=True) - 1
    rounding = target.shape[-1] * np.finfo(target.dtype).eps
    return np.where(np.abs(excess) <= rounding, 0, excess)


def row_solve(matrix: Array, rows: Array) -> Array:
    """Solve V M = rows for V, sample by sample; NaN where M, (..., batch, n, n), is singular.

    A singular matrix must not take the batch with it.
    """
    transposed, columns = np.swapaxes(matrix, -1, -2), np.swapaxes(rows, -1, -2)
    try:
        solution = np.linalg.solve(transposed, columns)
    except np.linalg.LinAlgError:
        singular = (np.linalg.slogdet(transposed)[0] == 0)[..., None, None]
        identity = np.eye(rows.shape[-1], dtype=rows.dtype)
        solution = np.linalg.solve(np.where(singular, identity, transposed), columns)
        solution = np.where(singular, np.nan, solution).astype(rows.dtype)
    return np.swapaxes(solution, -1, -2)
