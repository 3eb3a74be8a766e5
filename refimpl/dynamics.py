"""The differential equations of the microcircuit (section 2)."""

from __future__ import annotations

import numpy as np

from .activation import rate
from .configuration import NetworkConfiguration
from .controller import control_signal, integral_derivative
from .loss import error
from .parameters import Parameters
from .state import NetworkState

FeedbackWeights = tuple[np.ndarray, ...]
"""Q^l of each hidden layer, (..., batch, n_out, n_l)."""


def drive(r: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """a^l = φ_E(u_E^{l−1}) W^l + b^l.

    Parameters
    ----------
    r : array, (..., batch, n_in)
        Rates of the layer below, or the input x.
    weight : array, (..., n_in, n)
        W^l.
    bias : array, (..., n)
        b^l.

    Returns
    -------
    array, (..., batch, n)
    """
    return r @ weight + bias[..., None, :]


def disinhibition(c: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """q^l = c Q^l, the top-down current that is taken from the inhibitory units.

    Parameters
    ----------
    c : array, (..., batch, n_out)
        Control signal.
    Q : array, (..., batch or 1, n_out, n_l)
        Feedback weights.

    Returns
    -------
    array, (..., batch, n_l)
    """
    return (c[..., None, :] @ Q)[..., 0, :]


def open_loop_derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    state: NetworkState,
) -> NetworkState:
    """Time derivative without control: c = 0, and the integral rests.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Activations and time constants.
    parameters : Parameters
        Weights and biases.
    a_1 : array, (..., batch, n_1)
        Drive of the first layer, constant as the input is.
    state : NetworkState
        Present state.

    Returns
    -------
    NetworkState
        Derivatives, per second.
    """
    q = tuple(np.zeros_like(u) for u in state.u_I)
    return _derivative(configuration, parameters, a_1, state, q, 0, np.zeros_like(state.z))


def closed_loop_derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    Q: FeedbackWeights,
    target: np.ndarray,
    state: NetworkState,
) -> NetworkState:
    """Time derivative under control: c acts through Q on every inhibitory unit.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Activations, time constants, controller and loss.
    parameters : Parameters
        Weights and biases.
    a_1 : array, (..., batch, n_1)
        Drive of the first layer.
    Q : tuple of array, each (..., batch, n_out, n_l)
        Feedback weights.
    target : array, (..., batch, n_out)
        What the controller is given.
    state : NetworkState
        Present state.

    Returns
    -------
    NetworkState
        Derivatives, per second.
    """
    e = error(configuration.loss, state.u_out, target)
    c = control_signal(configuration.controller, e, state.z)
    q = tuple(disinhibition(c, Q_l) for Q_l in Q)
    to_readout = c if configuration.feedback.to_readout else 0
    dz = integral_derivative(configuration.controller, e, state.z)
    return _derivative(configuration, parameters, a_1, state, q, to_readout, dz)


def _derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    state: NetworkState,
    q: tuple[np.ndarray, ...],
    c: np.ndarray | int,
    dz: np.ndarray,
) -> NetworkState:
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    tau_E, tau_I = configuration.tau_E, configuration.tau_I
    # All layers move at once: a^l uses the present rate of the layer below.
    r_E = [rate(phi_E, u_E) for u_E in state.u_E]
    r_I = [rate(phi_I, u_I) for u_I in state.u_I]
    a = [a_1] + [
        drive(r, W, b)
        for r, W, b in zip(r_E[:-1], parameters.weights[1:], parameters.biases[1:], strict=True)
    ]
    du_E = tuple((-u + a_l - r) / tau_E for u, a_l, r in zip(state.u_E, a, r_I, strict=True))
    du_I = tuple((-u + r - q_l) / tau_I for u, r, q_l in zip(state.u_I, r_E, q, strict=True))
    du_out = (-state.u_out + r_E[-1] @ parameters.readout + c) / tau_E
    return NetworkState(du_E, du_I, du_out, dz)
