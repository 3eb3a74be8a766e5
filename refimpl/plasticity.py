"""The learning rule: Hebbian, with its sign set by inhibition; and backpropagation (section 5)."""

from __future__ import annotations

import numpy as np

from .circuit import NetworkState, Parameters, drive, error, linearized_inverse, rate, slope
from .configuration import Array, NetworkConfiguration, with_axes


def plasticity_gradients(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    x: Array,
    y: Array,
    open_loop: NetworkState,
    closed_loop: NetworkState,
    mean_inhibition: tuple[Array, ...],
) -> Parameters:
    """g of every parameter, the direction that parameters descend along (section 5).

    d^l = (û_I^l − φ_E(u_E^l)) ∘ φ_E'(u_E^l), g(W^l) = mean of pre^lᵀ d^l and
    g(b^l) = mean of d^l, at the closed-loop end state. The readout has
    d_out = φ_E(u_E^L) W_out − u_out; without feedback to it, the gradient of the loss at
    the open-loop output. In a network without biases g(b^l) is 0.

    `x` and the label `y` are (..., batch, n_in) and (..., batch, n_out), the states end states,
    and r̄, `mean_inhibition`, is that of this step.
    """
    phi_E = configuration.activation_E
    pre, gradients_W, gradients_b = x, [], []
    for u_E, u_I, r_bar in zip(closed_loop.u_E, closed_loop.u_I, mean_inhibition, strict=True):
        r_E = rate(phi_E, u_E)
        u_I_estimate = estimated_inhibitory_potential(configuration, u_I, r_bar)
        d = (u_I_estimate - r_E) * slope(phi_E, u_E)
        gradients_W.append(mean_outer_product(pre, d))
        gradients_b.append(bias_gradient(configuration, d))
        pre = r_E
    if configuration.feedback.to_readout:
        d_out = pre @ parameters.readout - closed_loop.u_out
    else:
        pre = rate(phi_E, open_loop.u_E[-1])
        d_out = -error(configuration.loss, open_loop.u_out, y)
    return Parameters(tuple(gradients_W), tuple(gradients_b), mean_outer_product(pre, d_out))


def estimated_inhibitory_potential(
    configuration: NetworkConfiguration, u_I: Array, mean_inhibition: Array
) -> Array:
    """û_I, what a synapse reads from its inhibition, as the rule has it (section 5).

    - exact inverse: φ_I⁻¹(r_I) = u_I;
    - linear threshold: θ + δ r_I, linearised at the layer's r̄, (..., n), or at the fixed r₀.
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


def updated_mean_inhibition(
    configuration: NetworkConfiguration, mean_inhibition: tuple[Array, ...], open_loop: NetworkState
) -> tuple[Array, ...]:
    """r̄ ← (1 − ρ) r̄ + ρ · batch mean of φ_I(u_I) in the open loop (section 5), each (..., n_l)."""
    rho = with_axes(configuration.mean_inhibition.rate, 1)
    return tuple(
        (1 - rho) * mean + rho * np.mean(rate(configuration.activation_I, u_I), axis=-2)
        for mean, u_I in zip(mean_inhibition, open_loop.u_I, strict=True)
    )


def mean_outer_product(pre: Array, delta: Array) -> Array:
    """Batch mean of preᵀ d, (..., n_in, n)."""
    return np.swapaxes(pre, -1, -2) @ delta / pre.shape[-2]


def bias_gradient(configuration: NetworkConfiguration, delta: Array) -> Array:
    """Batch mean of d, (..., n) (section 5); in a network without biases, which learns none, 0."""
    return np.mean(delta, axis=-2) if configuration.bias else np.zeros_like(delta[..., 0, :])


# The baseline: a plain network of the same widths.


def forward(
    configuration: NetworkConfiguration, parameters: Parameters, x: Array
) -> tuple[tuple[Array, ...], Array]:
    """Drives a^l = h^{l−1} W^l + b^l with h^l = φ_E(a^l), and u_out = h^L W_out (section 5)."""
    h, drives = x, []
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        drives.append(drive(h, W, b))
        h = rate(configuration.activation_E, drives[-1])
    return tuple(drives), h @ parameters.readout


def backprop_gradients(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    x: Array,
    y: Array,
    a: tuple[Array, ...],
    u_out: Array,
) -> Parameters:
    """Gradient of the mean loss over the batch, from what `forward` gave (section 5)."""
    phi = configuration.activation_E
    h = [x, *(rate(phi, a_l) for a_l in a)]
    d = -error(configuration.loss, u_out, y)
    gradient_readout = mean_outer_product(h[-1], d)
    gradients_W: list[Array] = []
    gradients_b: list[Array] = []
    above = [*parameters.weights[1:], parameters.readout]
    for l in range(configuration.n_hidden - 1, -1, -1):
        d = (d @ np.swapaxes(above[l], -1, -2)) * slope(phi, a[l])
        gradients_W.insert(0, mean_outer_product(h[l], d))
        gradients_b.insert(0, bias_gradient(configuration, d))
    return Parameters(tuple(gradients_W), tuple(gradients_b), gradient_readout)
