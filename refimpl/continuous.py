"""Teacher and student: all potentials and all weights move at once (section 10, figure 4).

Layers l = 1..L are E-I layers, the output among them as layer L. One sample at a time: potentials
are (n_l,), weights W^l (n_{l-1}, n_l), feedback weights Q^l (n_out, n_l).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .circuit import control_signal, integral_derivative, linearized_inverse, rate, slope
from .configuration import (
    Array,
    ConfigurationError,
    Controller,
    Feedback,
    SoftReLU,
    checked_sizes,
    require,
    require_kind,
)
from .feedback import conditioned
from .integration import TSITOURAS_54, runge_kutta_step

CONTINUOUS_RULES = ("exact-inverse", "linear-threshold")


@dataclass(frozen=True)
class Departures:
    """Where the published notebook of figure 4 departs from the paper's equations."""

    slope_at_rate: bool = False  # φ_E'(r_E) is the postsynaptic factor, under either rule
    excitatory_inverse: bool = False  # û_I = θ + δ u_I, with the tangent of φ_E⁻¹ at r₀

    def __post_init__(self) -> None:
        require(self, "slope_at_rate", "excitatory_inverse", among=(True, False))


PAPER = Departures()
PUBLISHED = Departures(slope_at_rate=True, excitatory_inverse=True)


@dataclass(frozen=True)
class ContinuousLearning:
    """A network in continuous time, and how it learns."""

    sizes: tuple[int, ...] = (30, 20, 2)  # units of the inputs, then of the E-I layers
    activation_E: SoftReLU = field(default_factory=lambda: SoftReLU(scale=5.0, shift=3.0))
    activation_I: SoftReLU = field(default_factory=lambda: SoftReLU(scale=1.0, shift=3.0))
    tau_E: float = 0.02  # membrane time constants, seconds
    tau_I: float = 0.005
    tau_Q: float = 30.0  # time constant of the feedback weights, seconds
    tau_W: float = 60.0  # and of forward weights and biases
    controller: Controller = field(
        default_factory=lambda: Controller(k_p=30.0, k_i=15.0, leak=0.5, tau=0.1)
    )
    feedback_norm: float = 7.5  # Frobenius norm of the target of each layer's feedback weights
    rule: str = "exact-inverse"  # or "linear-threshold"
    r_0: float = 0.5  # where the linear threshold is linearised
    departures: Departures = PAPER

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", checked_sizes(self.sizes))
        if len(self.sizes) < 2:
            raise ConfigurationError(
                f"sizes is {self.sizes}: inputs and at least one layer are needed, "
                "each of at least one unit"
            )
        require(self, "tau_E", "tau_I", "tau_Q", "tau_W", "feedback_norm", "r_0", above=0)
        require(self, "rule", among=CONTINUOUS_RULES)
        require_kind(self, activation_E=SoftReLU, activation_I=SoftReLU)
        require_kind(self, controller=Controller, departures=Departures)


@dataclass(frozen=True)
class Phase:
    """What is at work in a stretch of time."""

    control: bool  # otherwise c = 0 and the controller's integral rests
    feedback_learns: bool  # Q moves
    weights_learn: bool  # W and b move


OPEN_LOOP = Phase(control=False, feedback_learns=False, weights_learn=False)
BURN_IN = Phase(control=False, feedback_learns=True, weights_learn=False)
CLOSED_LOOP = Phase(control=True, feedback_learns=False, weights_learn=False)
LEARNING = Phase(control=True, feedback_learns=True, weights_learn=True)


Layers = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class ContinuousState:
    """State of a network that learns while it runs, or its time derivative."""

    u_E: Layers  # potentials, each (n_l,)
    u_I: Layers
    z: Array  # integral of the controller, (n_out,)
    Q: Layers  # feedback weights, each (n_out, n_l)
    W: Layers  # forward weights, each (n_{l-1}, n_l)
    b: Layers  # biases, each (n_l,)


def continuous_derivative(
    configuration: ContinuousLearning, phase: Phase, x: Array, target: Array, state: ContinuousState
) -> ContinuousState:
    """Time derivative of everything (section 10); the target counts only under control.

    τ_E du_E^l/dt = −u_E^l + a^l − φ_I(u_I^l)        a^l = φ_E(u_E^{l−1}) W^l + b^l
    τ_I du_I^l/dt = −u_I^l + φ_E(u_E^l) − c Q^l
    τ_c dz/dt = e − leak · z
    τ_Q dQ^l/dt = −Q^l + J^l ∘ φ_I'(u_I^l), scaled
    τ_W dW^l/dt = preᵀ (r_E − û_I) φ_E'              τ_W db^l/dt = (r_E − û_I) φ_E'
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    c, dz = control(configuration, phase, state, target)
    pre = x
    du_E, du_I, dW, db = [], [], [], []
    layers = zip(state.u_E, state.u_I, state.Q, state.W, state.b, strict=True)
    for u_E, u_I, Q, W, b in layers:
        r_E = rate(phi_E, u_E)
        a = pre @ W + b
        du_E.append((-u_E + a - rate(phi_I, u_I)) / configuration.tau_E)
        du_I.append((-u_I + r_E - c @ Q) / configuration.tau_I)
        if phase.weights_learn:
            db.append(postsynaptic_factor(configuration, u_E, u_I) / configuration.tau_W)
            dW.append(np.outer(pre, db[-1]))
        else:
            db.append(np.zeros_like(b))
            dW.append(np.zeros_like(W))
        pre = r_E
    dQ = [np.zeros_like(Q) for Q in state.Q]
    if phase.feedback_learns:
        towards = feedback_targets(configuration, state.u_E, state.u_I, state.W)
        dQ = [(-Q + J) / configuration.tau_Q for Q, J in zip(state.Q, towards, strict=True)]
    return ContinuousState(tuple(du_E), tuple(du_I), dz, tuple(dQ), tuple(dW), tuple(db))


def control(
    configuration: ContinuousLearning, phase: Phase, state: ContinuousState, target: Array
) -> tuple[Array, Array]:
    """c = k_p e + k_i z with e = target − y, and dz/dt; both 0 without control; (n_out,)."""
    if not phase.control:
        return np.zeros_like(state.z), np.zeros_like(state.z)
    e = target - output(configuration, state)
    c = control_signal(configuration.controller, e, state.z)
    return c, integral_derivative(configuration.controller, e, state.z)


def output(configuration: ContinuousLearning, state: ContinuousState) -> Array:
    """y = φ_E(u_E^L), (n_out,)."""
    return rate(configuration.activation_E, state.u_E[-1])


def postsynaptic_factor(configuration: ContinuousLearning, u_E: Array, u_I: Array) -> Array:
    """(r_E − û_I) φ_E'(u_E), the part of the weight change that is the neuron's own, (n_l,)."""
    r_E = rate(configuration.activation_E, u_E)
    at = r_E if configuration.departures.slope_at_rate else u_E
    return (r_E - estimated_inhibition(configuration, u_I)) * slope(configuration.activation_E, at)


def estimated_inhibition(configuration: ContinuousLearning, u_I: Array) -> Array:
    """û_I, what a synapse reads from its inhibition (section 5), (n_l,).

    - exact inverse: φ_I⁻¹(r_I) = u_I;
    - linear threshold: θ + δ r_I, the tangent of φ_I⁻¹ at r₀.
    """
    if configuration.rule == "exact-inverse":
        return u_I
    theta, delta = threshold(configuration)
    if configuration.departures.excitatory_inverse:
        return theta + delta * u_I
    return theta + delta * rate(configuration.activation_I, u_I)


def threshold(configuration: ContinuousLearning) -> tuple[float, float]:
    """θ and δ of the linear threshold."""
    is_excitatory = configuration.departures.excitatory_inverse
    phi = configuration.activation_E if is_excitatory else configuration.activation_I
    theta, delta = linearized_inverse(phi, np.asarray(configuration.r_0))
    return float(theta), float(delta)


def feedback_targets(
    configuration: ContinuousLearning, u_E: Layers, u_I: Layers, W: Layers
) -> Layers:
    """J^l ∘ φ_I'(u_I^l), each layer's scaled to a norm: where the feedback weights move to.

    J^L = diag(φ_E'(u_E^L)) and J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E'(u_E^l): the derivative of the
    outputs y by the drives, as section 4 has it for a linear readout.
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    scaled = Feedback(norm=configuration.feedback_norm)
    J = np.diag(slope(phi_E, u_E[-1]))
    targets = [J * slope(phi_I, u_I[-1])]
    for l in range(len(u_E) - 2, -1, -1):
        J = (J @ W[l + 1].T) * slope(phi_E, u_E[l])
        targets.insert(0, J * slope(phi_I, u_I[l]))
    return tuple(conditioned(scaled, target) for target in targets)


# Along sampled inputs and targets.


@dataclass(frozen=True)
class Sampling:
    """How time is divided."""

    interval: float = 1e-3  # between samples of input and target, seconds
    steps: int = 1  # of the integration to an interval

    def __post_init__(self) -> None:
        require(self, "interval", above=0)
        require(self, "steps", minimum=1, whole=True)


@dataclass(frozen=True)
class ContinuousRun:
    """What a stretch of time leaves."""

    state: ContinuousState  # at the last sample
    output: Array  # y at every sample, the first one included, (n_samples, n_out)
    control_cost: Array  # Σ_l ‖c Q^l‖² at every sample, (n_samples,)


def run_continuously(
    configuration: ContinuousLearning,
    phase: Phase,
    sampling: Sampling,
    state: ContinuousState,
    inputs: Array,
    targets: Array,
) -> ContinuousRun:
    """Integrate from the first sample, where the state is, to the last by Tsitouras' method.

    Inputs are (n_samples, n_in), targets (n_samples, n_out), both linear between samples; the
    targets are without effect when there is no control.
    """
    n_samples, sizes = len(inputs), configuration.sizes
    y = pack_continuous(state)
    outputs, costs = np.empty((n_samples, sizes[-1])), np.empty(n_samples)
    dt = sampling.interval / sampling.steps

    def clocked_derivative(clocked: Array) -> Array:
        # Its last element is a clock, which tells the stages where between the samples they are.
        fraction, state = clocked[-1], unpack_continuous(clocked[:-1], sizes)
        x = inputs[i] + fraction * (inputs[i + 1] - inputs[i])
        target = targets[i] + fraction * (targets[i + 1] - targets[i])
        change = continuous_derivative(configuration, phase, x, target, state)
        return np.append(pack_continuous(change), 1 / sampling.interval)

    for i in range(n_samples):
        now = unpack_continuous(y, sizes)
        outputs[i] = output(configuration, now)
        c, _ = control(configuration, phase, now, targets[i])
        costs[i] = sum(np.sum((c @ Q_l) ** 2) for Q_l in now.Q)
        if i + 1 == n_samples:
            break
        for step in range(sampling.steps):
            clocked = np.append(y, step / sampling.steps)
            k = clocked_derivative(clocked)
            y = runge_kutta_step(TSITOURAS_54, clocked_derivative, clocked, k, dt)[0][:-1]
    return ContinuousRun(unpack_continuous(y, sizes), outputs, costs)


def pack_continuous(state: ContinuousState) -> Array:
    """Join a state into one array (n,), in the order u_E, u_I, z, Q, W, b."""
    parts = (*state.u_E, *state.u_I, state.z, *state.Q, *state.W, *state.b)
    return np.concatenate([part.reshape(-1) for part in parts])


def unpack_continuous(y: Array, sizes: tuple[int, ...]) -> ContinuousState:
    """Split what `pack_continuous` joined; the arrays are views of `y`."""
    layers, n_out = sizes[1:], sizes[-1]
    start = 0

    def take(*shape: int) -> Array:
        nonlocal start
        first, start = start, start + int(np.prod(shape))
        return y[first:start].reshape(shape)

    return ContinuousState(
        u_E=tuple(take(n) for n in layers),
        u_I=tuple(take(n) for n in layers),
        z=take(n_out),
        Q=tuple(take(n_out, n) for n in layers),
        W=tuple(take(n_in, n) for n_in, n in pairwise(sizes)),
        b=tuple(take(n) for n in layers),
    )


def initial_state(configuration: ContinuousLearning, W: Layers, b: Layers) -> ContinuousState:
    """All potentials and the integral at zero, Q at its target there (section 10)."""
    zero = tuple(np.zeros(n) for n in configuration.sizes[1:])
    Q = feedback_targets(configuration, zero, zero, W)
    return ContinuousState(zero, zero, np.zeros(configuration.sizes[-1]), Q, W, b)
