"""The learning rule: Hebbian, with its sign set by inhibition (section 5)."""

from __future__ import annotations

import numpy as np

from .circuit import NetworkState, Parameters, drive, error, linearized_inverse, rate, slope
from .configuration import NetworkConfiguration

# --- The learning rule: Hebbian, with its sign set by inhibition (section 5).


def updated_mean_inhibition(
    configuration: NetworkConfiguration,
    mean_inhibition: tuple[np.ndarray, ...],
    open_loop: NetworkState,
) -> tuple[np.ndarray, ...]:
    """r̄ ← (1 − ρ) r̄ + ρ · batch mean of φ_I(u_I), per neuron, in the open loop.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Holds φ_I and ρ.
    mean_inhibition : tuple of array, each (..., n_l)
        r̄ before.
    open_loop : NetworkState
        Open-loop end state.

    Returns
    -------
    tuple of array, each (..., n_l)
    """
    rho = configuration.mean_inhibition.rate
    rho = rho[..., 0] if isinstance(rho, np.ndarray) else rho
    return tuple(
        (1 - rho) * mean + rho * np.mean(rate(configuration.activation_I, u_I), axis=-2)
        for mean, u_I in zip(mean_inhibition, open_loop.u_I, strict=True)
    )


def estimated_inhibitory_potential(
    configuration: NetworkConfiguration, u_I: np.ndarray, mean_inhibition: np.ndarray
) -> np.ndarray:
    """û_I, what a synapse reads from its inhibition, as the rule has it.

    - exact inverse: φ_I⁻¹(r_I) = u_I;
    - linear threshold: θ + δ r_I, linearised at r̄, or at the fixed r₀.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Holds the rule, φ_I and r₀.
    u_I : array, (..., batch, n)
        Inhibitory potential under control.
    mean_inhibition : array, (..., n)
        r̄ of this layer.

    Returns
    -------
    array, (..., batch, n)

    Raises
    ------
    ValueError
        r̄ is not above 0.
    """
    if configuration.rule == "exact-inverse":
        return u_I
    phi_I = configuration.activation_I
    if configuration.rule == "linear-threshold-fixed":
        r_0 = np.asarray(configuration.mean_inhibition.fixed_point, dtype=u_I.dtype)
    else:
        r_0 = mean_inhibition[..., None, :]
    theta, delta = linearized_inverse(phi_I, r_0)
    return theta + delta * rate(phi_I, u_I)


def plasticity_gradients(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    open_loop: NetworkState,
    closed_loop: NetworkState,
    mean_inhibition: tuple[np.ndarray, ...],
) -> Parameters:
    """g of every parameter, the direction that parameters descend along.

    δ^l = (û_I^l − φ_E(u_E^l)) ∘ φ_E'(u_E^l), g(W^l) = mean of pre^lᵀ δ^l and
    g(b^l) = mean of δ^l, at the closed-loop end state. The readout has
    δ_out = φ_E(u_E^L) W_out − u_out; without feedback to it, the gradient of the loss at
    the open-loop output.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input.
    y : array, (..., batch, n_out)
        Label.
    open_loop, closed_loop : NetworkState
        End states.
    mean_inhibition : tuple of array, each (..., n_l)
        r̄, of this step.

    Returns
    -------
    gradients : Parameters
    """
    phi_E = configuration.activation_E
    pre, gradients_W, gradients_b = x, [], []
    for u_E, u_I, r_bar in zip(closed_loop.u_E, closed_loop.u_I, mean_inhibition, strict=True):
        r_E = rate(phi_E, u_E)
        u_I_estimate = estimated_inhibitory_potential(configuration, u_I, r_bar)
        delta = (u_I_estimate - r_E) * slope(phi_E, u_E)
        gradients_W.append(mean_outer_product(pre, delta))
        gradients_b.append(np.mean(delta, axis=-2))
        pre = r_E
    if configuration.feedback.to_readout:
        delta_out = pre @ parameters.readout - closed_loop.u_out
    else:
        pre = rate(phi_E, open_loop.u_E[-1])
        delta_out = -error(configuration.loss, open_loop.u_out, y)
    return Parameters(tuple(gradients_W), tuple(gradients_b), mean_outer_product(pre, delta_out))


def mean_outer_product(pre: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Batch mean of preᵀ δ.

    Parameters
    ----------
    pre : array, (..., batch, n_in)
        Presynaptic rate.
    delta : array, (..., batch, n)
        Postsynaptic factor.

    Returns
    -------
    array, (..., n_in, n)
    """
    return np.swapaxes(pre, -1, -2) @ delta / pre.shape[-2]


# --- The baseline: a plain network of the same widths, trained by backpropagation (section 5).


def forward(
    configuration: NetworkConfiguration, parameters: Parameters, x: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """h^l = φ_E(a^l), a^l = h^{l−1} W^l + b^l; u_out = h^L W_out.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Holds φ_E.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input.

    Returns
    -------
    a : tuple of array, each (..., batch, n_l)
        Drive of each hidden layer.
    u_out : array, (..., batch, n_out)
    """
    h, drives = x, []
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        drives.append(drive(h, W, b))
        h = rate(configuration.activation_E, drives[-1])
    return tuple(drives), h @ parameters.readout


def backprop_gradients(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    a: tuple[np.ndarray, ...],
    u_out: np.ndarray,
) -> Parameters:
    """Gradient of the mean loss over the batch.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Holds φ_E and the loss.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input.
    y : array, (..., batch, n_out)
        Label.
    a, u_out
        Result of `forward`.

    Returns
    -------
    gradients : Parameters
    """
    phi = configuration.activation_E
    h = [x, *(rate(phi, a_l) for a_l in a)]
    delta = -error(configuration.loss, u_out, y)
    gradient_readout = mean_outer_product(h[-1], delta)
    gradients_W: list[np.ndarray] = []
    gradients_b: list[np.ndarray] = []
    above = [*parameters.weights[1:], parameters.readout]
    for l in range(configuration.n_hidden - 1, -1, -1):
        delta = (delta @ np.swapaxes(above[l], -1, -2)) * slope(phi, a[l])
        gradients_W.insert(0, mean_outer_product(h[l], delta))
        gradients_b.insert(0, np.mean(delta, axis=-2))
    return Parameters(tuple(gradients_W), tuple(gradients_b), gradient_readout)
