"""End states without integrating: the closed loop as n_out equations in c (section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .activation import rate, slope
from .configuration import NetworkConfiguration
from .controller import steady_integral
from .dynamics import FeedbackWeights, disinhibition, drive
from .feedback import per_output_product
from .loss import error, error_jacobian
from .neuron_equilibrium import neuron_equilibrium
from .parameters import Parameters
from .state import NetworkState, choose

MAX_FROZEN_ITERATIONS = 20
MAX_FRESH_ITERATIONS = 30
MAX_HALVINGS = 12


@dataclass(frozen=True)
class FixedPoint:
    """End of a fixed-point search.

    Parameters
    ----------
    state : NetworkState
        End state.
    found_frozen, found_fresh : array of bool, (..., batch)
        Samples solved with the frozen matrix, and those that needed a fresh one. A
        sample in neither was not solved.
    """

    state: NetworkState
    found_frozen: np.ndarray
    found_fresh: np.ndarray


def equilibrium(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    Q: FeedbackWeights | None,
    c: np.ndarray,
    start: NetworkState,
) -> tuple[NetworkState, np.ndarray]:
    """State in which every unit rests while the control signal is held at c.

    Layer by layer: u_E from its scalar equation, u_I = φ_E(u_E) − q, and above the last
    layer u_out = φ_E(u_E^L) W_out + c.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Activations and feedback to the readout.
    parameters : Parameters
        Weights and biases.
    a_1 : array, (..., batch, n_1)
        Drive of the first layer.
    Q : tuple of array, each (..., batch, n_out, n_l), or None
        Feedback weights; None in open loop.
    c : array, (..., batch, n_out)
        Control signal.
    start : NetworkState
        Where the search for each u_E starts; its integral is passed on.

    Returns
    -------
    state : NetworkState
        The equilibrium.
    converged : array of bool, (..., batch)
        Whether all its scalar equations were solved.
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    u_E: list[np.ndarray] = []
    u_I: list[np.ndarray] = []
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


def open_loop_fixed_point(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    start: NetworkState,
) -> FixedPoint:
    """Open-loop end state: the equilibrium at c = 0.

    Parameters
    ----------
    configuration, parameters, a_1, start
        As for `equilibrium`.

    Returns
    -------
    FixedPoint
        With no coupled equations to solve, what is found counts as found frozen.
    """
    c = np.zeros_like(start.u_out)
    state, converged = equilibrium(configuration, parameters, a_1, None, c, start)
    return FixedPoint(state, converged, np.zeros_like(converged))


def closed_loop_fixed_point(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    Q: FeedbackWeights,
    target: np.ndarray,
    open_loop: NetworkState,
) -> FixedPoint:
    """Closed-loop end state: the root of F(c) = c − κ e(u_out(c), target).

    Newton's method with a matrix frozen at the open-loop state first. For the samples it
    leaves, Newton's method with a fresh matrix and a line search on ‖F‖.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network; its controller needs a leak above 0.
    parameters : Parameters
        Weights and biases.
    a_1 : array, (..., batch, n_1)
        Drive of the first layer.
    Q : tuple of array, each (..., batch, n_out, n_l)
        Feedback weights.
    target : array, (..., batch, n_out)
        What the controller is given.
    open_loop : NetworkState
        Open-loop end state.

    Returns
    -------
    FixedPoint

    Raises
    ------
    ConfigurationError
        The controller has leak 0.
    """
    kappa = configuration.controller.steady_gain

    def at(c: np.ndarray, start: NetworkState) -> tuple[NetworkState, np.ndarray, np.ndarray]:
        state, solved = equilibrium(configuration, parameters, a_1, Q, c, start)
        residual = c - kappa * error(configuration.loss, state.u_out, target)
        allowed = allowed_residual(kappa, state.u_out, target)
        return state, residual, solved & np.all(np.abs(residual) <= allowed, axis=-1)

    def matrix(state: NetworkState) -> np.ndarray:
        return newton_matrix(configuration, parameters, Q, kappa, state)

    c = np.zeros_like(open_loop.u_out)
    frozen = matrix(open_loop)
    state, residual = open_loop, -kappa * error(configuration.loss, open_loop.u_out, target)
    found = np.zeros(c.shape[:-1], dtype=bool)
    for _ in range(MAX_FROZEN_ITERATIONS):
        c_next = np.where(found[..., None], c, c - row_solve(frozen, residual))
        next_state, next_residual, next_found = at(c_next, state)
        # Samples that are found keep their state, so that no sample depends on the others.
        state = choose(found, state, next_state)
        residual = np.where(found[..., None], residual, next_residual)
        c, found = c_next, found | next_found
        if np.all(found):
            break
    found_frozen = found
    if not np.all(found):
        c, state, found = _fresh_newton(at, matrix, c, state, open_loop, found)
    e = error(configuration.loss, state.u_out, target)
    settled = NetworkState(
        state.u_E, state.u_I, state.u_out, steady_integral(configuration.controller, e)
    )
    return FixedPoint(settled, found_frozen, found & ~found_frozen)


def _fresh_newton(
    at: Callable[[np.ndarray, NetworkState], tuple[NetworkState, np.ndarray, np.ndarray]],
    matrix: Callable[[NetworkState], np.ndarray],
    c: np.ndarray,
    state: NetworkState,
    open_loop: NetworkState,
    found: np.ndarray,
) -> tuple[np.ndarray, NetworkState, np.ndarray]:
    """Newton's method with a matrix taken anew each iteration, and a line search on ‖F‖."""
    # The frozen iteration may have wandered off: start again from the open loop.
    c = np.where(found[..., None], c, 0)
    start, residual, _ = at(c, choose(found, state, open_loop))
    state = choose(found, state, start)
    for _ in range(MAX_FRESH_ITERATIONS):
        direction = row_solve(matrix(state), residual)
        size = np.linalg.norm(residual, axis=-1)
        fraction = np.ones_like(size)
        for _ in range(MAX_HALVINGS):
            trial = np.where(found[..., None], c, c - fraction[..., None] * direction)
            trial_state, trial_residual, trial_found = at(trial, state)
            # Written so that a residual that is not a number counts as worse.
            better = np.linalg.norm(trial_residual, axis=-1) <= (1 - fraction / 4) * size
            worse = ~(better | trial_found | found)
            if not np.any(worse):
                break
            fraction = np.where(worse, fraction / 2, fraction)
        state = choose(found, state, trial_state)
        residual = np.where(found[..., None], residual, trial_residual)
        c, found = trial, found | trial_found
        if np.all(found):
            break
    return c, state, found


def allowed_residual(
    kappa: float | np.ndarray, u_out: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Residual of F at which a sample counts as solved.

    Rounding in u_out is amplified by κ on its way into the residual; ε^¾ leaves room for it
    and is as small as needed: Newton's next step would square it.

    Parameters
    ----------
    kappa : float
        Steady gain of the controller.
    u_out, target : array, (..., batch, n_out)
        Readout potential and target.

    Returns
    -------
    array, (..., batch, 1)
    """
    scale = 1 + kappa * np.max(np.abs(u_out) + np.abs(target), axis=-1, keepdims=True)
    return np.finfo(u_out.dtype).eps ** 0.75 * scale


def newton_matrix(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    Q: FeedbackWeights,
    kappa: float | np.ndarray,
    state: NetworkState,
) -> np.ndarray:
    """∂F/∂c = I + κ D S, acting on row vectors from the right.

    Parameters
    ----------
    configuration, parameters, Q
        Network and its feedback weights.
    kappa : float
        Steady gain of the controller.
    state : NetworkState
        Where the derivative is taken.

    Returns
    -------
    array, (..., batch, n_out, n_out)
    """
    D = output_sensitivity(configuration, parameters, Q, state)
    S = error_jacobian(configuration.loss, state.u_out)
    identity = np.eye(S.shape[-1], dtype=S.dtype)
    gain = kappa[..., None] if isinstance(kappa, np.ndarray) else kappa
    return identity + gain * (D @ S)


def output_sensitivity(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    Q: FeedbackWeights,
    state: NetworkState,
) -> np.ndarray:
    """D = ∂u_out/∂c: row k is the response of the readout to the k-th control signal.

    In each layer du_E = g (da + φ_I' Q) with the loop gain g = 1 / (1 + φ_I' φ_E').

    Parameters
    ----------
    configuration, parameters, Q, state
        As for `newton_matrix`.

    Returns
    -------
    array, (..., batch, n_out, n_out)
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    da: np.ndarray | int = 0
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


def row_solve(matrix: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Solve v M = row for v, sample by sample.

    Parameters
    ----------
    matrix : array, (..., batch, n, n)
        M.
    row : array, (..., batch, n)
        Right side.

    Returns
    -------
    array, (..., batch, n)
        NaN for a sample whose matrix is singular: it must not take the batch with it.
    """
    transposed = np.swapaxes(matrix, -1, -2)
    try:
        return np.linalg.solve(transposed, row[..., :, None])[..., 0]
    except np.linalg.LinAlgError:
        singular = np.linalg.slogdet(transposed)[0] == 0
        identity = np.eye(row.shape[-1], dtype=row.dtype)
        solvable = np.where(singular[..., None, None], identity, transposed)
        solution = np.linalg.solve(solvable, row[..., :, None])[..., 0]
        return np.where(singular[..., None], np.nan, solution).astype(row.dtype)
