"""Plasticity curves of one E-I pair with one synapse (section 8; figure 3 of the paper).

Time is in units of τ here, and φ has shift 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..refimpl.activation import SoftReLU, inverse, rate, slope

PHI = SoftReLU(shift=3.0)
DISINHIBITION_GAIN = 5.0
EULER_STEP = 1 / 50
N_EULER_STEPS = 600


@dataclass(frozen=True)
class LinearThreshold:
    """Estimate û_I = θ + δ r_I.

    Parameters
    ----------
    theta, delta : float
        θ and δ; the defaults are the first fit of figure 3.
    """

    theta: float = 1.5
    delta: float = 1.5


@dataclass(frozen=True)
class PlasticityCurve:
    """Weight change over a range of inputs.

    Parameters
    ----------
    x : array, (n,)
        Input.
    u_E, u_I : array, (n,)
        Potentials at the end; u_I is None for an isolated neuron.
    r_E : array, (n,)
        Excitatory rate, φ(u_E).
    dw : array, (n,)
        Weight change Δw.
    """

    x: np.ndarray
    u_E: np.ndarray
    u_I: np.ndarray | None
    r_E: np.ndarray
    dw: np.ndarray


def circuit(
    x: np.ndarray, target: float | None, rule: LinearThreshold | None = None
) -> PlasticityCurve:
    """Let the pair come to rest, dis-inhibited towards a target rate if there is one.

    u̇_E = −u_E − φ(u_I) + x and u̇_I = −u_I + φ(u_E) − α (r_tar − φ(u_E)).

    Parameters
    ----------
    x : array, (n,)
        Inputs.
    target : float or None
        r_tar; None for α = 0.
    rule : LinearThreshold or None
        How the synapse estimates u_I; None for the exact inverse.
    """
    u_E, u_I = np.zeros_like(x), np.zeros_like(x)
    for _ in range(N_EULER_STEPS):
        r_E = rate(PHI, u_E)
        c = 0.0 if target is None else DISINHIBITION_GAIN * (target - r_E)
        du_E = -u_E - rate(PHI, u_I) + x
        du_I = -u_I + r_E - c
        u_E, u_I = u_E + EULER_STEP * du_E, u_I + EULER_STEP * du_I
    return PlasticityCurve(x, u_E, u_I, rate(PHI, u_E), _dw(x, u_E, rate(PHI, u_I), rule))


def isolated(x: np.ndarray, r_I: float, rule: LinearThreshold | None = None) -> PlasticityCurve:
    """Clamp the inhibitory rate that the synapse sees while the neuron follows its input.

    Parameters
    ----------
    x : array, (n,)
        Inputs; u_E = x.
    r_I : float
        Inhibitory rate, above 0.
    rule : LinearThreshold or None
        As for `circuit`.
    """
    return PlasticityCurve(x, x, None, rate(PHI, x), _dw(x, x, np.full_like(x, r_I), rule))


def _dw(
    x: np.ndarray, u_E: np.ndarray, r_I: np.ndarray, rule: LinearThreshold | None
) -> np.ndarray:
    """Δw = x (r_E − û_I) φ'(u_E)."""
    estimate = inverse(PHI, r_I) if rule is None else rule.theta + rule.delta * r_I
    return x * (rate(PHI, u_E) - estimate) * slope(PHI, u_E)
