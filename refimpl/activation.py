"""SoftReLU: the rate of a neuron as a function of its potential (section 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import Setting, require


@dataclass(frozen=True)
class SoftReLU:
    """φ(u) = s · log(1 + exp(k (u − m))).

    Parameters
    ----------
    scale : float
        s, the rate gained per unit of k (u − m) far above threshold.
    sharpness : float
        k.
    shift : float
        m, the threshold.
    """

    scale: Setting = 1.0
    sharpness: Setting = 1.0
    shift: Setting = 0.0

    def __post_init__(self) -> None:
        require(self, "scale", above=0, per_replica=True)
        require(self, "sharpness", above=0, per_replica=True)
        require(self, "shift", per_replica=True)


def rate(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Firing rate r = φ(u).

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    u : array
        Membrane potential.

    Returns
    -------
    array
        Rate, of the shape and dtype of `u`.
    """
    v = phi.sharpness * (u - phi.shift)
    # log(1 + e^v) written so that the exponential never overflows.
    return phi.scale * (np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))))


def slope(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Derivative φ'(u) = s k σ(k (u − m)).

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    u : array
        Membrane potential.

    Returns
    -------
    array
        Slope, of the shape and dtype of `u`.
    """
    v = phi.sharpness * (u - phi.shift)
    e = np.exp(-np.abs(v))
    return phi.scale * phi.sharpness * (np.where(v >= 0, 1, e) / (1 + e))


def inverse(phi: SoftReLU, r: np.ndarray) -> np.ndarray:
    """Potential φ⁻¹(r) = m + log(expm1(r / s)) / k, defined for r > 0.

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    r : array
        Rate, above 0.

    Returns
    -------
    array
        Potential, of the shape and dtype of `r`.

    Raises
    ------
    ValueError
        A rate is not above 0.
    """
    r = np.asarray(r)
    if not np.all(r > 0):
        raise ValueError(f"the inverse of SoftReLU at rate {np.min(r)}: a rate above 0 is needed")
    y = r / phi.scale
    # Above log 2, log(expm1 y) = y + log1p(−e^−y): exact for large y, where expm1 overflows.
    small = np.minimum(y, 1)
    large = np.maximum(y, 0.5)
    v = np.where(y < np.log(2), np.log(np.expm1(small)), large + np.log1p(-np.exp(-large)))
    return phi.shift + v / phi.sharpness


def linearized_inverse(phi: SoftReLU, r_0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tangent θ + δ r to φ⁻¹ at the rate r₀: u₀ = φ⁻¹(r₀), δ = 1/φ'(u₀), θ = u₀ − r₀ δ.

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    r_0 : array
        Rate at which to linearise, above 0.

    Returns
    -------
    theta, delta : array
        Intercept and slope, of the shape and dtype of `r_0`.

    Raises
    ------
    ValueError
        A rate is not above 0.
    """
    r_0 = np.asarray(r_0)
    # A running mean that is no number stays none.
    none = np.isnan(r_0)
    u_0 = np.where(none, r_0, inverse(phi, np.where(none, 1, r_0)))
    delta = 1 / slope(phi, u_0)
    theta = u_0 - r_0 * delta
    return theta, delta
