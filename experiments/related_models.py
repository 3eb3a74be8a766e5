"""Plasticity curves of related models of error-driven learning (section 9; supplement 1).

Each is one neuron with one synapse of weight 1 and input x, in the circuit with or without a
target, and alone with its inhibition clamped. φ has shift 0 and time is in units of τ.

- J. Sacramento, R. Ponte Costa, Y. Bengio & W. Senn, Dendritic cortical microcircuits approximate
  the backpropagation algorithm, NeurIPS 2018.
- A. Meulemans, M. Tristany Farinha, J. García Ordóñez, P. Vilimelis Aceituno, J. Sacramento &
  B. F. Grewe, Credit assignment in neural networks through deep feedback control, NeurIPS 2021.
- A. Meulemans, M. Tristany Farinha, M. R. Cervera, J. Sacramento & B. F. Grewe, Minimizing control
  for credit assignment with strong feedback, ICML 2022.
- A. Payeur, J. Guerguiev, F. Zenke, B. A. Richards & R. Naud, Burst-dependent synaptic plasticity
  can coordinate learning in hierarchical circuits, Nature Neuroscience 2021.
- W. Greedy, H. W. Zhu, J. Pemberton, J. Mellor & R. Ponte Costa, Single-phase deep learning in
  cortico-cortical networks, NeurIPS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..refimpl.activation import SoftReLU, rate, slope
from .plasticity_curves import EULER_STEP, N_EULER_STEPS

PHI = SoftReLU()

LEAK, BASAL, APICAL, INTERNEURON = 0.1, 1.0, 0.8, 1.0
"""Conductances g_lk, g_B, g_A and g_D of Sacramento 2018."""
SELF_PREDICTION = -0.55
"""Weight of the interneuron onto the apical dendrite, Sacramento 2018."""
BURST_SLOPE = 4.0
"""Of the burst probability against the dendritic potential, Greedy 2022."""
POISSON_BURSTS, POISSON_RATE = 1.6, 10.0
"""Bursts that a high event rate alone makes, in the isolated neuron of Greedy 2022."""


@dataclass(frozen=True)
class RelatedCurve:
    """Weight change over a range of inputs.

    Parameters
    ----------
    x : array, (n,)
        Input.
    rate : array, (n,)
        Postsynaptic activity: the rate φ(u), or the rate of events.
    dw : array, (n,)
        Weight change Δw.
    state : dict of array, each (n,)
        The model's own variables, by name.
    """

    x: np.ndarray
    rate: np.ndarray
    dw: np.ndarray
    state: dict[str, np.ndarray]


def sacramento(x: np.ndarray, target: float | None) -> RelatedCurve:
    """Learn from the soma's difference to what the basal dendrite predicts, Sacramento 2018.

    Parameters
    ----------
    x : array, (n,)
        Basal potentials.
    target : float or None
        Top-down drive of the apical dendrite and of the interneuron; None for none.
    """
    drive = 0.0 if target is None else target
    u_E, u_I = np.zeros_like(x), np.zeros_like(x)
    for _ in range(N_EULER_STEPS):
        v_A = SELF_PREDICTION * rate(PHI, u_I) + drive
        du_E = -LEAK * u_E + BASAL * (x - u_E) + APICAL * (v_A - u_E)
        du_I = -LEAK * u_I + INTERNEURON * (rate(PHI, u_E) - u_I) + drive
        u_E, u_I = u_E + EULER_STEP * du_E, u_I + EULER_STEP * du_I
    return RelatedCurve(x, rate(PHI, u_E), _dendritic_dw(x, u_E), {"u_E": u_E, "u_I": u_I})


def sacramento_isolated(x: np.ndarray, r_I: float) -> RelatedCurve:
    """Clamp the apical dendrite to the inhibition −r_I; the soma is at rest.

    Parameters
    ----------
    x : array, (n,)
        Basal potentials.
    r_I : float
        Inhibitory rate.
    """
    u_E = (BASAL * x - APICAL * r_I) / (LEAK + BASAL + APICAL)
    return RelatedCurve(x, rate(PHI, u_E), _dendritic_dw(x, u_E), {"u_E": u_E})


def _dendritic_dw(x: np.ndarray, u_E: np.ndarray) -> np.ndarray:
    """Δw = x (φ(u_E) − φ(v̂)), v̂ the soma's potential without its apical dendrite."""
    return x * (rate(PHI, u_E) - rate(PHI, x * (BASAL / (LEAK + BASAL + APICAL))))


def meulemans(x: np.ndarray, target: float | None) -> RelatedCurve:
    """Learn from how far control moves the neuron from its feedforward drive, Meulemans 2021/22.

    Parameters
    ----------
    x : array, (n,)
        Feedforward drive.
    target : float or None
        Rate that the controller steers to; None without control.
    """
    u = np.zeros_like(x)
    for _ in range(N_EULER_STEPS):
        control = 0.0 if target is None else target - rate(PHI, u)
        u = u + EULER_STEP * (-u + x + control)
    return RelatedCurve(x, rate(PHI, u), x * (u - x), {"u": u})


def meulemans_isolated(x: np.ndarray, r_I: float) -> RelatedCurve:
    """Take the clamped inhibition from the drive: u = x − r_I.

    Parameters
    ----------
    x : array, (n,)
        Feedforward drive.
    r_I : float
        Inhibitory rate.
    """
    u = x - r_I
    return RelatedCurve(x, rate(PHI, u), x * (u - x), {"u": u})


def payeur(x: np.ndarray, target: float | None) -> RelatedCurve:
    """Learn from bursts above or below their resting probability, Payeur 2021.

    The model has no inhibition to clamp, hence no curve of an isolated neuron.

    Parameters
    ----------
    x : array, (n,)
        Somatic input.
    target : float or None
        Event rate that feedback teaches; None without feedback.
    """
    e = rate(PHI, x)
    p = _sigmoid(np.zeros_like(e) if target is None else target - e)
    return _burst_curve(x, e, p)


def greedy(x: np.ndarray, target: float | None) -> RelatedCurve:
    """Learn from bursts, driven by what feedback does not cancel, Greedy 2022.

    Parameters
    ----------
    x : array, (n,)
        Somatic input of the hidden neuron.
    target : float or None
        Event rate taught to the output neuron that it drives, e₂ = φ(e); None without teaching.
    """
    e = rate(PHI, x)
    e_2 = rate(PHI, e)
    h_2 = slope(PHI, e) / e_2
    error = np.zeros_like(e) if target is None else -(target - e_2)
    p_2 = 0.5 + 0.5 * error * h_2
    u = 0.5 * e_2 - e_2 * p_2
    return _burst_curve(x, e, _greedy_burst_probability(x, u))


def greedy_isolated(x: np.ndarray, r_I: float) -> RelatedCurve:
    """Clamp the dendrite to −r_I; high event rates count as bursts, as Poisson spikes would.

    Parameters
    ----------
    x : array, (n,)
        Somatic input.
    r_I : float
        Inhibitory rate.
    """
    e = rate(PHI, x)
    by_chance = POISSON_BURSTS * (1 - np.exp(-e / POISSON_RATE))
    return _burst_curve(x, e, by_chance * _greedy_burst_probability(x, np.full_like(x, -r_I)))


def _greedy_burst_probability(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """p = σ(4 u h) with h = φ'(x)/e."""
    return _sigmoid(BURST_SLOPE * u * slope(PHI, x) / rate(PHI, x))


def _burst_curve(x: np.ndarray, e: np.ndarray, p: np.ndarray) -> RelatedCurve:
    """Δw = x e (p − ½)."""
    return RelatedCurve(x, e, x * e * (p - 0.5), {"event_rate": e, "burst_probability": p})


def _sigmoid(v: np.ndarray) -> np.ndarray:
    """σ(v), which is φ' of the plain SoftReLU."""
    return slope(PHI, v)
