"""Plasticity curves of one E-I pair with one synapse (section 8; figure 3 of the paper).

Then where a curve changes sign, and the same curves of related models of error-driven learning
(section 9; supplement 1). Time is in units of τ here, and φ has shift 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...refimpl import SoftReLU, inverse, rate, slope

Rates = TypeVar("Rates", float, np.ndarray)

PHI = SoftReLU(shift=3.0)
DISINHIBITION_GAIN = 5.0
EULER_STEP = 1 / 50
N_EULER_STEPS = 600

TARGETS = (4.0, 3.0)
CLAMPED = tuple(float(r_I) for r_I in np.linspace(0.01, 2, 4))
"""Inhibitory rates of the isolated neuron."""
INPUTS = np.linspace(0, 10, 401)
INPUTS_WITHOUT_TARGET = np.linspace(0, 13, 521)


@dataclass(frozen=True)
class LinearThreshold:
    """Estimate û_I = θ + δ r_I; the defaults are the first fit of figure 3."""

    theta: float = 1.5
    delta: float = 1.5

    def __call__(self, r_I: Rates) -> Rates:
        """û_I of any rates."""
        return self.theta + self.delta * r_I


@dataclass(frozen=True)
class PlasticityCurve:
    """Weight change Δw over a range of inputs x; arrays (n,)."""

    x: np.ndarray
    rate: np.ndarray  # postsynaptic activity: the rate φ(u), or the rate of events
    dw: np.ndarray
    state: dict[str, np.ndarray]  # the model's own variables, by name

    @property
    def spacing(self) -> float:
        """Largest step of the rates, within which sign changes are known."""
        return float(np.max(np.abs(np.diff(self.rate))))

    def changes(self, negligible: float = 0.0) -> list[SignChange]:
        """Where Δw changes sign."""
        return sign_changes(self.rate, self.dw, negligible)

    def to_ltp(self, negligible: float = 0.0) -> list[float]:
        """Rates at which LTD turns into LTP: thresholds."""
        return [one.rate for one in self.changes(negligible) if one.to_potentiation]

    def to_ltd(self, negligible: float = 0.0) -> list[float]:
        """Rates at which LTP turns into LTD."""
        return [one.rate for one in self.changes(negligible) if not one.to_potentiation]


@dataclass(frozen=True)
class Curves:
    """Curves of one model, or one fit, under the three conditions of figure 3."""

    controlled: dict[float, PlasticityCurve]  # by target rate
    uncontrolled: PlasticityCurve
    clamped: dict[float, PlasticityCurve]  # by inhibitory rate, rising; empty if nothing inhibits


def circuit(
    x: np.ndarray, target: float | None, rule: LinearThreshold | None = None
) -> PlasticityCurve:
    """Let the pair come to rest, dis-inhibited towards a target rate r_tar if there is one.

    u̇_E = −u_E − φ(u_I) + x and u̇_I = −u_I + φ(u_E) − α (r_tar − φ(u_E)), α = 0 without a target.
    The synapse estimates u_I by `rule`, or by the exact inverse. x is (n,).
    """

    def motion(u_E: np.ndarray, u_I: np.ndarray) -> tuple[np.ndarray, ...]:
        r_E = rate(PHI, u_E)
        c = 0.0 if target is None else DISINHIBITION_GAIN * (target - r_E)
        return -u_E - rate(PHI, u_I) + x, -u_I + r_E - c

    u_E, u_I = _at_rest(motion, np.zeros_like(x), np.zeros_like(x))
    dw = _dw(x, u_E, rate(PHI, u_I), rule)
    return PlasticityCurve(x, rate(PHI, u_E), dw, {"u_E": u_E, "u_I": u_I})


def isolated(x: np.ndarray, r_I: float, rule: LinearThreshold | None = None) -> PlasticityCurve:
    """Clamp the inhibitory rate that the synapse sees while the neuron follows its input, u_E = x.

    x is (n,), r_I is above 0.
    """
    return PlasticityCurve(x, rate(PHI, x), _dw(x, x, np.full_like(x, r_I), rule), {"u_E": x})


def _at_rest(
    motion: Callable[..., tuple[np.ndarray, ...]], *start: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Follow potentials by Euler's steps for as long as the published figures do."""
    state = start
    for _ in range(N_EULER_STEPS):
        state = tuple(u + EULER_STEP * du for u, du in zip(state, motion(*state), strict=True))
    return state


def _dw(
    x: np.ndarray, u_E: np.ndarray, r_I: np.ndarray, rule: LinearThreshold | None
) -> np.ndarray:
    """Δw = x (r_E − û_I) φ'(u_E)."""
    estimate = inverse(PHI, r_I) if rule is None else rule(r_I)
    return x * (rate(PHI, u_E) - estimate) * slope(PHI, u_E)


@dataclass(frozen=True)
class SignChange:
    """A zero crossing of Δw: at which postsynaptic rate, and whether LTP is above it or LTD."""

    rate: float
    to_potentiation: bool


def sign_changes(rate: np.ndarray, dw: np.ndarray, negligible: float = 0.0) -> list[SignChange]:
    """Find the sign changes of Δw, by linear interpolation between neighbours, from low rates up.

    Arrays are (n,), the rate rises; each is within its spacing of the true one. Weight changes up
    to `negligible` have no sign: what is left of a zero when the dynamics are followed for a finite
    time.
    """
    signed = np.abs(dw) > negligible
    rate, dw = rate[signed], dw[signed]
    changes = []
    for i in np.flatnonzero(np.sign(dw[1:]) != np.sign(dw[:-1])):
        part = dw[i] / (dw[i] - dw[i + 1])
        at = rate[i] + part * (rate[i + 1] - rate[i])
        changes.append(SignChange(float(at), bool(dw[i] < 0)))
    return changes


# Related models, which have the plain φ.

UNSHIFTED = SoftReLU()

LEAK, BASAL, APICAL, INTERNEURON = 0.1, 1.0, 0.8, 1.0
"""Conductances g_lk, g_B, g_A and g_D of Sacramento 2018."""
SELF_PREDICTION = -0.55
"""Weight of the interneuron onto the apical dendrite, Sacramento 2018."""
BURST_SLOPE = 4.0
"""Of the burst probability against the dendritic potential, Greedy 2022."""
POISSON_BURSTS, POISSON_RATE = 1.6, 10.0
"""Bursts that a high event rate alone makes, in the isolated neuron of Greedy 2022."""


def sacramento(x: np.ndarray, target: float | None) -> PlasticityCurve:
    """Learn from the soma's difference to what the basal dendrite predicts, Sacramento 2018.

    x are basal potentials; the target drives the apical dendrite and the interneuron.
    """
    drive = 0.0 if target is None else target

    def motion(u_E: np.ndarray, u_I: np.ndarray) -> tuple[np.ndarray, ...]:
        v_A = SELF_PREDICTION * rate(UNSHIFTED, u_I) + drive
        du_E = -LEAK * u_E + BASAL * (x - u_E) + APICAL * (v_A - u_E)
        return du_E, -LEAK * u_I + INTERNEURON * (rate(UNSHIFTED, u_E) - u_I) + drive

    u_E, u_I = _at_rest(motion, np.zeros_like(x), np.zeros_like(x))
    return PlasticityCurve(x, rate(UNSHIFTED, u_E), _dendritic_dw(x, u_E), {"u_E": u_E, "u_I": u_I})


def sacramento_isolated(x: np.ndarray, r_I: float) -> PlasticityCurve:
    """Clamp the apical dendrite to the inhibition −r_I; the soma is at rest."""
    u_E = (BASAL * x - APICAL * r_I) / (LEAK + BASAL + APICAL)
    return PlasticityCurve(x, rate(UNSHIFTED, u_E), _dendritic_dw(x, u_E), {"u_E": u_E})


def _dendritic_dw(x: np.ndarray, u_E: np.ndarray) -> np.ndarray:
    """Δw = x (φ(u_E) − φ(v̂)), v̂ the soma's potential without its apical dendrite."""
    return x * (rate(UNSHIFTED, u_E) - rate(UNSHIFTED, x * (BASAL / (LEAK + BASAL + APICAL))))


def meulemans(x: np.ndarray, target: float | None) -> PlasticityCurve:
    """Learn from how far control moves the neuron from its drive x, Meulemans 2021/22."""

    def motion(u: np.ndarray) -> tuple[np.ndarray, ...]:
        control = 0.0 if target is None else target - rate(UNSHIFTED, u)
        return (-u + x + control,)

    (u,) = _at_rest(motion, np.zeros_like(x))
    return PlasticityCurve(x, rate(UNSHIFTED, u), x * (u - x), {"u": u})


def meulemans_isolated(x: np.ndarray, r_I: float) -> PlasticityCurve:
    """Take the clamped inhibition from the feedforward drive: u = x − r_I."""
    u = x - r_I
    return PlasticityCurve(x, rate(UNSHIFTED, u), x * (u - x), {"u": u})


def payeur(x: np.ndarray, target: float | None) -> PlasticityCurve:
    """Learn from bursts above or below their resting probability, Payeur 2021.

    x is somatic input, the target an event rate that feedback teaches. The model has no inhibition
    to clamp, hence no curve of an isolated neuron.
    """
    e = rate(UNSHIFTED, x)
    p = _sigmoid(np.zeros_like(e) if target is None else target - e)
    return _burst_curve(x, e, p)


def greedy(x: np.ndarray, target: float | None) -> PlasticityCurve:
    """Learn from bursts, driven by what feedback does not cancel, Greedy 2022.

    x is somatic input of the hidden neuron, the target an event rate taught to the output neuron
    that it drives, e₂ = φ(e).
    """
    e = rate(UNSHIFTED, x)
    e_2 = rate(UNSHIFTED, e)
    h_2 = slope(UNSHIFTED, e) / e_2
    error = np.zeros_like(e) if target is None else -(target - e_2)
    p_2 = 0.5 + 0.5 * error * h_2
    u = 0.5 * e_2 - e_2 * p_2
    return _burst_curve(x, e, _greedy_burst_probability(x, u))


def greedy_isolated(x: np.ndarray, r_I: float) -> PlasticityCurve:
    """Clamp the dendrite to −r_I; high event rates count as bursts, as Poisson spikes would."""
    e = rate(UNSHIFTED, x)
    by_chance = POISSON_BURSTS * (1 - np.exp(-e / POISSON_RATE))
    return _burst_curve(x, e, by_chance * _greedy_burst_probability(x, np.full_like(x, -r_I)))


def _greedy_burst_probability(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """p = σ(4 u h) with h = φ'(x)/e."""
    return _sigmoid(BURST_SLOPE * u * slope(UNSHIFTED, x) / rate(UNSHIFTED, x))


def _burst_curve(x: np.ndarray, e: np.ndarray, p: np.ndarray) -> PlasticityCurve:
    """Δw = x e (p − ½)."""
    return PlasticityCurve(x, e, x * e * (p - 0.5), {"event_rate": e, "burst_probability": p})


def _sigmoid(v: np.ndarray) -> np.ndarray:
    """σ(v), which is φ' of the plain SoftReLU."""
    return slope(UNSHIFTED, v)
