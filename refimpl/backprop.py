"""The baseline: a plain network of the same widths, trained by backpropagation (section 5)."""

from __future__ import annotations

import numpy as np

from .activation import rate, slope
from .configuration import NetworkConfiguration
from .dynamics import drive
from .loss import error
from .parameters import Parameters
from .plasticity import mean_outer_product


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
