"""Mistakes that someone could make, each in a backend that is otherwise the reference.

Each is written out on its own, from MODEL.md's equation and not from the kit's own catalogue, so
that what the kit says of it is proved by something that does not know the kit.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.activation import rate, slope
from disinhib.refimpl.learning_step import Learner
from disinhib.refimpl.loss import softmax
from disinhib.refimpl.parameters import Parameters
from disinhib.refimpl.state import NetworkState


class StagedBackend(NumpyBackend):
    """The reference, whose learning step goes through its own stages one by one."""

    def learning_step(self, x, y):
        x, y = self._cast(x), self._cast(y)
        if self.configuration.rule == "backprop":
            return super().learning_step(x, y)
        _, metrics = _metrics_of(self, x, y)
        open_loop, _ = self.open_loop(x)
        r_bar = self.mean_inhibition(open_loop)
        Q = self.feedback_weights(open_loop)
        target = self.closed_loop_target(open_loop, y)
        closed_loop, _ = self.closed_loop(x, Q, target, open_loop)
        self.update(self.gradients(x, y, open_loop, closed_loop, r_bar), r_bar)
        return metrics


def _metrics_of(backend, x, y):
    learner = backend.learner()
    metrics = NumpyBackend.learning_step(backend, x, y)
    backend.load(learner)
    return learner, metrics


@dataclass(frozen=True)
class Fault:
    """One mistake.

    stage: where it arises. case: standard case that shows it. hint: words of the kit's hint,
    empty where the mistake is not a usual one. backend: the class that makes it.
    """

    name: str
    stage: str
    case: str
    hint: str
    backend: type[NumpyBackend]


FAULTS: list[Fault] = []
PLAIN = "exact-inverse-softmax-cross-entropy-default"
THRESHOLD = "unequal-activations-linear-threshold"
WEAK = "exact-inverse-softmax-cross-entropy-weak-averaged"


def fault(name: str, stage: str, case: str, hint: str = "", **methods: Callable) -> None:
    """List a mistake made in one method or several."""
    FAULTS.append(Fault(name, stage, case, hint, type("Faulty", (StagedBackend,), methods)))


def misconfigured(name: str, stage: str, case: str, hint: str, change: Callable) -> None:
    """List a mistake that is in the whole network."""

    def init(self, configuration, parameters, dtype, solver, threads=None):
        NumpyBackend.__init__(self, change(configuration), parameters, dtype, solver, threads)

    fault(name, stage, case, hint, __init__=init)


def after(method: str, change: Callable) -> dict[str, Callable]:
    """Spoil what a method gives; `change` is of (backend, result, arguments)."""

    def spoilt(self, *arguments):
        return change(self, getattr(NumpyBackend, method)(self, *arguments), arguments)

    return {method: spoilt}


def of_state(change: Callable) -> Callable:
    """Spoil a state, of (backend, state, arguments), and pass the counts on."""
    return lambda self, result, arguments: (change(self, result[0], arguments), result[1])


replace = dataclasses.replace


def map_parameters(change: Callable, parameters: Parameters) -> Parameters:
    return Parameters(
        tuple(change(W) for W in parameters.weights),
        tuple(change(b) for b in parameters.biases),
        change(parameters.readout),
    )


# Activations and the open loop.

misconfigured(
    "activations exchanged",
    "open loop",
    THRESHOLD,
    "φ_E and φ_I are exchanged",
    lambda c: replace(c, activation_E=c.activation_I, activation_I=c.activation_E),
)
misconfigured(
    "one activation for both",
    "open loop",
    THRESHOLD,
    "φ_E stands where φ_I belongs",
    lambda c: replace(c, activation_I=c.activation_E),
)
misconfigured(
    "shift added instead of taken away",
    "open loop",
    THRESHOLD,
    "the shift has the wrong sign",
    lambda c: replace(
        c,
        activation_E=replace(c.activation_E, shift=-c.activation_E.shift),
        activation_I=replace(c.activation_I, shift=-c.activation_I.shift),
    ),
)
misconfigured(
    "sharpness forgotten",
    "open loop",
    THRESHOLD,
    "the sharpness k of the activation is left out",
    lambda c: replace(
        c,
        activation_E=replace(c.activation_E, sharpness=1.0),
        activation_I=replace(c.activation_I, sharpness=1.0),
    ),
)
misconfigured(
    "scale forgotten",
    "open loop",
    THRESHOLD,
    "the scale s of the activation is left out",
    lambda c: replace(
        c,
        activation_E=replace(c.activation_E, scale=1.0),
        activation_I=replace(c.activation_I, scale=1.0),
    ),
)


def plain_network(self, x):
    x, configuration = self._cast(x), self.configuration
    parameters, u_E, u_I, h = self._learner.parameters, [], [], x
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        u_E.append(h @ W + b)
        h = rate(configuration.activation_E, u_E[-1])
        u_I.append(h)
    u_out = h @ parameters.readout
    _, counts = NumpyBackend.open_loop(self, x)
    return NetworkState(tuple(u_E), tuple(u_I), u_out, np.zeros_like(u_out)), counts


fault("no inhibition", "open loop", PLAIN, "inhibition is left out", open_loop=plain_network)


def with_parameters(change: Callable) -> Callable:
    """Take the open loop at other parameters than the learner's."""

    def open_loop(self, x):
        learner = self._learner
        self._learner = replace(learner, parameters=change(learner.parameters))
        result = NumpyBackend.open_loop(self, x)
        self._learner = learner
        return result

    return open_loop


without_biases = with_parameters(
    lambda p: replace(p, biases=tuple(np.zeros_like(b) for b in p.biases))
)
turned_weights = with_parameters(
    lambda p: replace(p, weights=tuple(W.T if W.shape[0] == W.shape[1] else W for W in p.weights))
)

fault("no biases", "open loop", PLAIN, "biases are left out", open_loop=without_biases)
fault("weights transposed", "open loop", PLAIN, "weights are transposed", open_loop=turned_weights)
fault(
    "bytes not scaled",
    "open loop",
    PLAIN,
    "not divided by 255",
    open_loop=lambda self, x: NumpyBackend.open_loop(self, 255 * x),
)
fault(
    "inhibitory rates for potentials",
    "open loop",
    PLAIN,
    "",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: replace(
                s, u_I=tuple(rate(self.configuration.activation_I, u) for u in s.u_I)
            )
        ),
    ),
)
fault(
    "rates for all potentials",
    "open loop",
    PLAIN,
    "rates are given where potentials belong",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: replace(
                s,
                u_E=tuple(rate(self.configuration.activation_E, u) for u in s.u_E),
                u_I=tuple(rate(self.configuration.activation_I, u) for u in s.u_I),
            )
        ),
    ),
)
fault(
    "populations exchanged",
    "open loop",
    PLAIN,
    "excitatory and inhibitory potentials are exchanged",
    **after("open_loop", of_state(lambda self, s, a: replace(s, u_E=s.u_I, u_I=s.u_E))),
)
fault(
    "one unit never inhibited",
    "open loop",
    PLAIN,
    "",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: replace(
                s, u_I=(np.concatenate([s.u_I[0][:, :-1], 0 * s.u_I[0][:, -1:]], 1), *s.u_I[1:])
            )
        ),
    ),
)

# Trajectories.

PATHS = "unequal-activations"


def with_times(method: str, **taus) -> dict[str, Callable]:
    def path(self, *arguments):
        right = self.configuration
        self.configuration = replace(
            right, **{name: getattr(right, source) for name, source in taus.items()}
        )
        result = getattr(NumpyBackend, method)(self, *arguments)
        self.configuration = right
        return result

    return {method: path}


fault(
    "time constants exchanged",
    "open-loop trajectory",
    PATHS,
    "τ_E and τ_I are exchanged",
    **with_times("open_loop_trajectory", tau_E="tau_I", tau_I="tau_E"),
)
fault(
    "inhibition as slow as excitation",
    "open-loop trajectory",
    PATHS,
    "τ_E where inhibitory units have τ_I",
    **with_times("open_loop_trajectory", tau_I="tau_E"),
)


def slow_controller(self, *arguments):
    right = self.configuration
    self.configuration = replace(right, controller=replace(right.controller, tau=right.tau_E))
    result = NumpyBackend.closed_loop_trajectory(self, *arguments)
    self.configuration = right
    return result


fault(
    "controller with a membrane's time constant",
    "closed-loop trajectory",
    PATHS,
    "τ_E where the controller's integral has τ_c",
    closed_loop_trajectory=slow_controller,
)
fault(
    "Euler for Tsitouras",
    "open-loop trajectory",
    PATHS,
    "another integration method",
    open_loop_trajectory=lambda self, recording, x: NumpyBackend.open_loop_trajectory(
        self, replace(recording, method="euler"), x
    ),
)
fault(
    "path one entry late",
    "open-loop trajectory",
    PATHS,
    "",
    **after(
        "open_loop_trajectory",
        lambda self, path, a: NetworkState(
            tuple(np.roll(u, 1, 0) for u in path.u_E),
            tuple(np.roll(u, 1, 0) for u in path.u_I),
            np.roll(path.u_out, 1, 0),
            np.roll(path.z, 1, 0),
        ),
    ),
)

# The running mean.

fault(
    "running mean updated late",
    "mean inhibition",
    THRESHOLD,
    "the running mean is updated late",
    mean_inhibition=lambda self, open_loop: self.learner().mean_inhibition,
)


def running(self, means):
    rho = self.configuration.mean_inhibition.rate
    return tuple(
        (1 - rho) * r + rho * m for r, m in zip(self.learner().mean_inhibition, means, strict=True)
    )


fault(
    "mean of potentials",
    "mean inhibition",
    THRESHOLD,
    "potentials where rates belong",
    mean_inhibition=lambda self, open_loop: running(self, [u.mean(0) for u in open_loop.u_I]),
)
fault(
    "mean of excitatory rates",
    "mean inhibition",
    THRESHOLD,
    "excitatory rates where inhibitory ones do",
    mean_inhibition=lambda self, open_loop: running(
        self, [rate(self.configuration.activation_E, u).mean(0) for u in open_loop.u_E]
    ),
)
fault(
    "ρ the wrong way round",
    "mean inhibition",
    THRESHOLD,
    "ρ and 1 − ρ are exchanged",
    mean_inhibition=lambda self, open_loop: tuple(
        self.configuration.mean_inhibition.rate * r
        + (1 - self.configuration.mean_inhibition.rate)
        * rate(self.configuration.activation_I, u).mean(0)
        for r, u in zip(self.learner().mean_inhibition, open_loop.u_I, strict=True)
    ),
)
fault(
    "rate of the mean",
    "mean inhibition",
    THRESHOLD,
    "the rate of the mean potential",
    mean_inhibition=lambda self, open_loop: running(
        self, [rate(self.configuration.activation_I, u.mean(0)) for u in open_loop.u_I]
    ),
)

# Feedback weights.


def chain(
    backend, open_loop, slope_E=None, slope_I=None, turned=False, condition=None
) -> tuple[np.ndarray, ...]:
    """Section 4, a sample and a layer at a time."""
    phi_E, phi_I = backend.configuration.activation_E, backend.configuration.activation_I
    slope_E = slope_E or (lambda u: slope(phi_E, u))
    slope_I = slope_I or (lambda u: slope(phi_I, u))
    parameters, norm = backend.learner().parameters, backend.configuration.feedback.norm
    result: list[np.ndarray] = []
    J = np.stack([parameters.readout.T * slope_E(u) for u in open_loop.u_E[-1]])
    for l in range(len(open_loop.u_E) - 1, -1, -1):
        Q = np.stack([j * slope_I(u) for j, u in zip(J, open_loop.u_I[l], strict=True)])
        if condition is not None:
            Q = condition(Q)
        else:
            Q = np.stack([q * (norm / np.linalg.norm(q)) for q in Q])
        result.insert(0, Q)
        if l:
            W = parameters.weights[l] if turned else parameters.weights[l].T
            J = np.stack(
                [(j @ W) * slope_E(u) for j, u in zip(J, open_loop.u_E[l - 1], strict=True)]
            )
    return tuple(result)


def feedback_fault(name, hint, case=PLAIN, **changes):
    def feedback_weights(self, open_loop):
        made = {
            key: value(self) if key.startswith("slope") else value for key, value in changes.items()
        }
        return chain(self, open_loop, **made)

    fault(name, "feedback weights", case, hint, feedback_weights=feedback_weights)


feedback_fault("Q not normalised", "the normalisation is missing", condition=lambda Q: Q)
feedback_fault("φ_I' forgotten", "φ_I'(u_I^l) is missing", slope_I=lambda self: np.ones_like)
feedback_fault("φ_E' forgotten", "φ_E'(u_E^l) is missing", slope_E=lambda self: np.ones_like)
feedback_fault("W for Wᵀ", "weights are transposed", turned=True)
feedback_fault(
    "φ_E' at the rate",
    "φ_E' is to be taken at u_E",
    slope_E=lambda self: (
        lambda u: slope(self.configuration.activation_E, rate(self.configuration.activation_E, u))
    ),
)
feedback_fault(
    "φ_I' at the rate",
    "φ_I' is to be taken at u_I",
    slope_I=lambda self: (
        lambda u: slope(self.configuration.activation_I, rate(self.configuration.activation_I, u))
    ),
)
feedback_fault(
    "one norm for the batch",
    "normalised over the whole batch",
    condition=lambda Q: Q / np.linalg.norm(Q),
)
feedback_fault(
    "a norm for each output",
    "normalised output by output",
    condition=lambda Q: Q / np.linalg.norm(Q, axis=-1, keepdims=True),
)
feedback_fault(
    "the largest singular value for the Frobenius norm",
    "",
    condition=lambda Q: Q / np.linalg.norm(Q, 2, axis=(-2, -1), keepdims=True),
)
feedback_fault(
    "batch mean unasked",
    "the batch average is on where it is off",
    condition=lambda Q: np.broadcast_to(Q.mean(0) / np.linalg.norm(Q.mean(0)), Q.shape),
)
feedback_fault(
    "clipped after normalising",
    "normalised before clipping",
    case="exact-inverse-softmax-cross-entropy-clipped",
    condition=lambda Q: np.clip(Q / np.linalg.norm(Q, axis=(-2, -1), keepdims=True), -0.05, 0.05),
)
feedback_fault(
    "averaged after normalising",
    "normalised before averaging",
    case="exact-inverse-softmax-cross-entropy-averaged",
    condition=lambda Q: np.broadcast_to(
        (Q / np.linalg.norm(Q, axis=(-2, -1), keepdims=True)).mean(0), Q.shape
    ),
)
fault(
    "Q with the wrong sign",
    "feedback weights",
    PLAIN,
    "the sign of Q",
    **after("feedback_weights", lambda self, Q, a: tuple(-q for q in Q)),
)

# The target.

fault(
    "label for nudge",
    "closed-loop target",
    WEAK,
    "strong and weak feedback are exchanged",
    closed_loop_target=lambda self, open_loop, y: self._cast(y),
)


def nudged(self, open_loop, y, sign):
    o = open_loop.u_out
    return softmax(o + sign * self.configuration.feedback.nudge * (y - softmax(o)))


fault(
    "nudged away from the label",
    "closed-loop target",
    WEAK,
    "the nudge goes away from the label",
    closed_loop_target=lambda self, open_loop, y: nudged(self, open_loop, y, -1),
)
fault(
    "nudged outside the softmax",
    "closed-loop target",
    WEAK,
    "the nudge is applied to probabilities",
    closed_loop_target=lambda self, open_loop, y: (
        softmax(open_loop.u_out)
        + self.configuration.feedback.nudge * (y - softmax(open_loop.u_out))
    ),
)

# The closed loop.


def reconfigured(change: Callable) -> Callable:
    def closed_loop(self, *arguments):
        right = self.configuration
        self.configuration = change(right)
        result = NumpyBackend.closed_loop(self, *arguments)
        self.configuration = right
        return result

    return closed_loop


fault(
    "control with the wrong sign",
    "closed loop",
    PLAIN,
    "the sign of the control",
    closed_loop=lambda self, x, Q, target, open_loop: NumpyBackend.closed_loop(
        self, x, tuple(-q for q in Q), target, open_loop
    ),
)
fault(
    "readout not driven",
    "closed loop",
    PLAIN,
    "the readout's own feedback",
    closed_loop=reconfigured(lambda c: replace(c, feedback=replace(c.feedback, to_readout=False))),
)
fault(
    "no integral",
    "closed loop",
    PLAIN,
    "the controller is proportional only",
    closed_loop=reconfigured(lambda c: replace(c, controller=replace(c.controller, k_i=0.0))),
)
fault(
    "no proportional part",
    "closed loop",
    PLAIN,
    "the controller is integral only",
    closed_loop=reconfigured(lambda c: replace(c, controller=replace(c.controller, k_p=0.0))),
)
fault(
    "leak taken for 1",
    "closed loop",
    "strong-gain",
    "the leak is left out of the steady gain",
    closed_loop=reconfigured(lambda c: replace(c, controller=replace(c.controller, leak=1.0))),
)
fault(
    "error without softmax",
    "closed loop",
    PLAIN,
    "the softmax is left out of the error",
    closed_loop=reconfigured(lambda c: replace(c, loss="mse")),
)
fault(
    "control signal for integral",
    "closed loop",
    PLAIN,
    "not the control signal c",
    **after(
        "closed_loop",
        # At rest e = z with leak 1.
        of_state(lambda self, s, a: replace(s, z=0.2 * s.z + 0.4 * s.z)),
    ),
)
fault(
    "integral never written",
    "closed loop",
    WEAK,
    "which was left at 0",
    **after("closed_loop", of_state(lambda self, s, a: replace(s, z=0 * s.z))),
)
fault(
    "integral with the wrong sign",
    "closed loop",
    WEAK,
    "the sign of the integral",
    **after("closed_loop", of_state(lambda self, s, a: replace(s, z=-s.z))),
)
fault(
    "u_I of the open loop's relation",
    "closed loop",
    PLAIN,
    "the open loop's relation is used",
    **after(
        "closed_loop",
        of_state(
            lambda self, s, a: replace(
                s, u_I=tuple(rate(self.configuration.activation_E, u) for u in s.u_E)
            )
        ),
    ),
)
fault(
    "control never switched on",
    "closed loop",
    PLAIN,
    "the control does nothing",
    **after("closed_loop", of_state(lambda self, s, a: a[3])),
)
fault(
    "a sample left at the open loop",
    "closed loop",
    PLAIN,
    "",
    **after(
        "closed_loop",
        of_state(
            lambda self, s, a: NetworkState(
                *(
                    tuple(
                        np.concatenate([u[:-1], v[-1:]]) for u, v in zip(mine, open_, strict=True)
                    )
                    for mine, open_ in ((s.u_E, a[3].u_E), (s.u_I, a[3].u_I))
                ),
                s.u_out,
                s.z,
            )
        ),
    ),
)

# The rule.


def rule(
    backend, x, y, open_loop, closed_loop, r_bar, *, hidden=None, at_slope=None, pre=None
) -> Parameters:
    """Section 5 for the exact inverse, a sample at a time."""
    phi = backend.configuration.activation_E
    at_slope = at_slope or (lambda u: u)
    hidden = hidden or (lambda u_E, u_I: u_I - rate(phi, u_E))
    states = closed_loop
    pre_rates = [x, *(rate(phi, u) for u in (pre or states).u_E)]
    weights, biases = [], []
    for l, (u_E, u_I) in enumerate(zip(states.u_E, states.u_I, strict=True)):
        delta = hidden(u_E, u_I) * slope(phi, at_slope(u_E))
        weights.append(
            np.mean([np.outer(p, d) for p, d in zip(pre_rates[l], delta, strict=True)], 0)
        )
        biases.append(delta.mean(0))
    right = NumpyBackend.gradients(backend, x, y, open_loop, closed_loop, r_bar)
    return Parameters(tuple(weights), tuple(biases), right.readout)


def gradient_fault(name, hint, case=PLAIN, **changes):
    fault(
        name,
        "gradients",
        case,
        hint,
        gradients=lambda self, *arguments: rule(
            self, *arguments, **{key: value(self, arguments) for key, value in changes.items()}
        ),
    )


fault(
    "ascent",
    "gradients",
    PLAIN,
    "the sign of δ",
    **after("gradients", lambda self, g, a: map_parameters(np.negative, g)),
)
fault(
    "hidden layers' sign",
    "gradients",
    PLAIN,
    "the sign of the hidden layers' δ",
    **after(
        "gradients",
        lambda self, g, a: replace(
            g, weights=tuple(-W for W in g.weights), biases=tuple(-b for b in g.biases)
        ),
    ),
)
fault(
    "readout's sign",
    "gradients",
    PLAIN,
    "the sign of the readout's δ",
    **after("gradients", lambda self, g, a: replace(g, readout=-g.readout)),
)
fault(
    "sum for mean",
    "gradients",
    PLAIN,
    "summed over the batch",
    **after("gradients", lambda self, g, a: map_parameters(lambda array: len(a[0]) * array, g)),
)
fault(
    "sum for mean in the biases",
    "gradients",
    PLAIN,
    "the biases' gradients are summed",
    **after(
        "gradients",
        lambda self, g, a: replace(g, biases=tuple(len(a[0]) * b for b in g.biases)),
    ),
)
fault(
    "gradient transposed",
    "gradients",
    PLAIN,
    "weights are transposed",
    **after(
        "gradients",
        lambda self, g, a: replace(
            g, weights=tuple(W.T if W.shape[0] == W.shape[1] else W for W in g.weights)
        ),
    ),
)
gradient_fault(
    "slope forgotten",
    "the factor φ_E'(u_E) is missing",
    at_slope=lambda self, a: lambda u: np.full_like(u, 40.0),
)
gradient_fault(
    "slope at the rate",
    "φ_E' is to be taken at u_E",
    at_slope=lambda self, a: lambda u: rate(self.configuration.activation_E, u),
)
gradient_fault(
    "presynaptic rates of the open loop",
    "presynaptic rates are those of the open loop",
    pre=lambda self, a: a[2],
)
gradient_fault(
    "inhibitory rate for its inverse",
    "û_I is a potential",
    hidden=lambda self, a: (
        lambda u_E, u_I: (
            rate(self.configuration.activation_I, u_I) - rate(self.configuration.activation_E, u_E)
        )
    ),
)
gradient_fault(
    "excitatory potential for its rate",
    "not û_I − u_E",
    hidden=lambda self, a: lambda u_E, u_I: u_I - u_E,
)
fault(
    "learning in the open loop",
    "gradients",
    "linear-threshold-mse-default",
    "it belongs to the closed loop",
    gradients=lambda self, x, y, open_loop, closed_loop, r_bar: replace(
        NumpyBackend.gradients(self, x, y, open_loop, open_loop, r_bar),
        readout=NumpyBackend.gradients(self, x, y, open_loop, closed_loop, r_bar).readout,
    ),
)
fault(
    "late mean in the rule",
    "gradients",
    THRESHOLD,
    "the running mean is updated late",
    gradients=lambda self, x, y, open_loop, closed_loop, r_bar: NumpyBackend.gradients(
        self, x, y, open_loop, closed_loop, self.learner().mean_inhibition
    ),
)


def exact_rule(self, x, y, open_loop, closed_loop, r_bar):
    right = self.configuration
    self.configuration = replace(right, rule="exact-inverse")
    result = NumpyBackend.gradients(self, x, y, open_loop, closed_loop, r_bar)
    self.configuration = right
    return result


fault(
    "exact inverse for linear threshold",
    "gradients",
    THRESHOLD,
    "the exact inverse",
    gradients=exact_rule,
)


def loss_readout(self, x, y, open_loop, closed_loop, r_bar):
    g = NumpyBackend.gradients(self, x, y, open_loop, closed_loop, r_bar)
    r = rate(self.configuration.activation_E, closed_loop.u_E[-1])
    off = softmax(r @ self.learner().parameters.readout) - y
    return replace(g, readout=r.T @ off / len(x))


fault(
    "readout by the loss",
    "gradients",
    PLAIN,
    "the readout follows the loss's gradient",
    gradients=loss_readout,
)
fault(
    "last sample left out of the mean",
    "gradients",
    PLAIN,
    "",
    gradients=lambda self, x, y, open_loop, closed_loop, r_bar: NumpyBackend.gradients(
        self,
        x[:-1],
        y[:-1],
        *(
            NetworkState(
                tuple(u[:-1] for u in s.u_E), tuple(u[:-1] for u in s.u_I), s.u_out[:-1], s.z[:-1]
            )
            for s in (open_loop, closed_loop)
        ),
        r_bar,
    ),
)

# The optimiser.


def adam_fault(name: str, hint: str, step: Callable) -> None:
    """List a mistake in Adam; `step` gives (movement, m, v) of (g, m, v, t)."""

    def update(self, gradients, r_bar):
        learner = self._learner
        t = learner.optimizer.n_steps + 1

        def arrays(p):
            return [*p.weights, *p.biases, p.readout]

        moved = [
            step(g, m, v, t)
            for g, m, v in zip(
                arrays(gradients.astype(self.dtype)),
                arrays(learner.optimizer.first_moment),
                arrays(learner.optimizer.second_moment),
                strict=True,
            )
        ]

        def gather(values):
            n = len(values) // 2
            return Parameters(tuple(values[:n]), tuple(values[n : 2 * n]), values[-1])

        new = gather(
            [p - 1e-3 * d for p, (d, _, _) in zip(arrays(learner.parameters), moved, strict=True)]
        )
        state = replace(
            learner.optimizer,
            n_steps=t,
            first_moment=gather([m for _, m, _ in moved]),
            second_moment=gather([v for _, _, v in moved]),
        )
        self.load(Learner(new, state, tuple(r_bar)))

    fault(name, "optimiser update", PLAIN, hint, update=update)


def moments(g, m, v):
    return 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g


def uncorrected(g, m, v, t):
    m, v = moments(g, m, v)
    return m / (np.sqrt(v) + 1e-8), m, v


def inside(g, m, v, t):
    m, v = moments(g, m, v)
    return m / (1 - 0.9**t) / np.sqrt(v / (1 - 0.999**t) + 1e-8), m, v


def late_count(g, m, v, t):
    m, v = moments(g, m, v)
    return m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8), m, v


def forgetful(g, m, v, t):
    m, v = moments(g, 0 * m, 0 * v)
    return m / 0.1 / (np.sqrt(v / 0.001) + 1e-8), m, v


def betas_exchanged(g, m, v, t):
    m, v = 0.999 * m + 0.001 * g, 0.9 * v + 0.1 * g * g
    return m / (1 - 0.999**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8), m, v


adam_fault("no bias correction", "Adam's bias correction is missing", uncorrected)
adam_fault("ε inside the root", "Adam's ε is inside the root", inside)
adam_fault("count one too high", "Adam's step counter is one too high", late_count)
adam_fault("moments forgotten", "Adam's moments are not kept", forgetful)
adam_fault("β₁ for β₂", "Adam's β₁ and β₂ are exchanged", betas_exchanged)
fault(
    "step uphill",
    "optimiser update",
    "plain-descent",
    "the sign of the step",
    update=lambda self, gradients, r_bar: NumpyBackend.update(
        self, map_parameters(np.negative, gradients), r_bar
    ),
)
