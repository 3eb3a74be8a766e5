"""Mistakes in the running mean, the rule and the optimiser."""

from collections.abc import Callable

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import NetworkState, Parameters, rate, slope, softmax
from disinhib.refimpl.learning_step import Learner

from .fault import (
    BACKPROP,
    CASES,
    LONG_STEPS,
    PLAIN,
    READOUT_FREE,
    THRESHOLD,
    UNNORMALISED,
    after,
    fault,
    map_parameters,
    misconfigured,
    replace,
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


def late_mean(self, open_loop):
    """Use r̄ first, and take the batch in afterwards."""
    if self.learner().optimizer.n_steps == 0:
        self.kept = tuple(
            np.full_like(b, self.configuration.mean_inhibition.init)
            for b in self.learner().parameters.biases
        )
    given, rho = self.kept, self.configuration.mean_inhibition.rate
    self.kept = tuple(
        (1 - rho) * r + rho * rate(self.configuration.activation_I, u).mean(0)
        for r, u in zip(self.kept, open_loop.u_I, strict=True)
    )
    return given


fault(
    "running mean used before it is updated",
    "mean inhibition",
    THRESHOLD,
    "the running mean is updated late",
    mean_inhibition=late_mean,
)
fault(
    "running mean never updated",
    "mean inhibition",
    THRESHOLD,
    "the running mean is never updated",
    mean_inhibition=lambda self, open_loop: tuple(
        np.full_like(r, self.configuration.mean_inhibition.init)
        for r in self.learner().mean_inhibition
    ),
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


# The rule.


def rule(
    backend,
    x,
    y,
    open_loop,
    closed_loop,
    r_bar,
    *,
    hidden=None,
    at_slope=None,
    slope_of=None,
    pre=None,
) -> Parameters:
    """Section 5 for the exact inverse, a sample at a time."""
    phi = backend.configuration.activation_E
    at_slope = at_slope or (lambda u: u)
    hidden = hidden or (lambda u_E, u_I: u_I - rate(phi, u_E))
    states = closed_loop
    pre_rates = [x, *(rate(phi, u) for u in (pre or states).u_E)]
    weights, biases = [], []
    for l, (u_E, u_I) in enumerate(zip(states.u_E, states.u_I, strict=True)):
        slopes = slope(phi, at_slope(u_E)) if slope_of is None else slope_of(l)
        delta = hidden(u_E, u_I) * slopes
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
misconfigured(
    "biases learned where there are none",
    "gradients",
    "without-biases",
    "biases are learned though the network has none",
    lambda c: replace(c, bias=True),
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
gradient_fault(
    "slope of the open loop",
    "φ_E' is taken at the open loop's u_E",
    slope_of=lambda self, a: lambda l: slope(self.configuration.activation_E, a[2].u_E[l]),
)
gradient_fault(
    "slope at the inhibitory potential",
    "φ_E' is to be taken at u_E, not at u_I",
    slope_of=lambda self, a: lambda l: slope(self.configuration.activation_E, a[3].u_I[l]),
)
gradient_fault(
    "slope without k",
    "the sharpness k is left out of φ_E'",
    case=UNNORMALISED,
    slope_of=lambda self, a: (
        # s σ(k (u − m)), with the numbers of the case.
        lambda l: 1.3 / (1 + np.exp(-2.0 * (a[3].u_E[l] - 0.2)))
    ),
)
gradient_fault(
    "slope without s",
    "the scale s is left out of φ_E'",
    case=UNNORMALISED,
    slope_of=lambda self, a: lambda l: 2.0 / (1 + np.exp(-2.0 * (a[3].u_E[l] - 0.2))),
)
fault(
    "readout's sum for mean",
    "gradients",
    PLAIN,
    "the readout's gradient is summed over the batch",
    **after("gradients", lambda self, g, a: replace(g, readout=len(a[0]) * g.readout)),
)
fault(
    "a layer's gradient five times too large",
    "gradients",
    PLAIN,
    "right but for a factor: hidden_1/weight is 5 times what it should be",
    **after("gradients", lambda self, g, a: replace(g, weights=(g.weights[0], 5 * g.weights[1]))),
)
fault(
    "mean of the mean",
    "gradients",
    PLAIN,
    "divided by the batch size twice",
    **after("gradients", lambda self, g, a: map_parameters(lambda array: array / len(a[0]), g)),
)


def tangent(phi, r_0, r, sharpness=1.0):
    """θ + δ r of section 1, with a sharpness too many in δ if it is not 1."""
    u_0 = phi.shift + np.log(np.expm1(r_0 / phi.scale)) / phi.sharpness
    return u_0 + sharpness * (r - r_0) / slope(phi, u_0)


for r_0, hint in (
    (0.8, "mean_inhibition.init is linearised at"),
    (1.0, "a fixed r₀ is linearised at"),
):
    gradient_fault(
        f"tangent at {r_0} for the exact inverse",
        hint,
        hidden=lambda self, a, r_0=r_0: (
            lambda u_E, u_I: (
                tangent(
                    self.configuration.activation_I,
                    r_0,
                    rate(self.configuration.activation_I, u_I),
                )
                - rate(self.configuration.activation_E, u_E)
            )
        ),
    )


def tangent_without_k(self, x, y, open_loop, closed_loop, r_bar):
    """δ = 1 / (s σ)."""
    phi_E, phi_I = self.configuration.activation_E, self.configuration.activation_I
    right = NumpyBackend.gradients(self, x, y, open_loop, closed_loop, r_bar)
    weights, biases, pre = [], [], x
    for u_E, u_I, r_0 in zip(closed_loop.u_E, closed_loop.u_I, r_bar, strict=True):
        u_hat = tangent(phi_I, r_0, rate(phi_I, u_I), sharpness=phi_I.sharpness)
        d = (u_hat - rate(phi_E, u_E)) * slope(phi_E, u_E)
        weights.append((pre.T @ d / len(x)).astype(self.dtype))
        biases.append(d.mean(0).astype(self.dtype))
        pre = rate(phi_E, u_E)
    return Parameters(tuple(weights), tuple(biases), right.readout)


fault(
    "tangent without k",
    "gradients",
    THRESHOLD,
    "the sharpness k is left out of the tangent",
    gradients=tangent_without_k,
)
fault(
    "gradients halved",
    "gradients",
    PLAIN,
    "all is right but for a factor: it is 0.5 times what it should be",
    **after("gradients", lambda self, g, a: map_parameters(lambda array: array / 2, g)),
)
fault(
    "gradients written column-major",
    "gradients",
    THRESHOLD,
    "arrays are column-major",
    **after(
        "gradients", lambda self, g, a: map_parameters(lambda W: np.ravel(W.T).reshape(W.shape), g)
    ),
)


def readout_learning(pre, prediction):
    """g(W_out) of rates from a loop each, 2 the open and 3 the closed one."""

    def gradients(self, *arguments):
        right = NumpyBackend.gradients(self, *arguments)
        phi, W = self.configuration.activation_E, self.learner().parameters.readout
        x, closed_loop = arguments[0], arguments[3]
        off = rate(phi, arguments[prediction].u_E[-1]) @ W - closed_loop.u_out
        return replace(right, readout=rate(phi, arguments[pre].u_E[-1]).T @ off / len(x))

    return gradients


for name, loops in (("readout's rates", (2, 3)), ("readout's rates throughout", (2, 2))):
    fault(
        f"{name} of the open loop",
        "gradients",
        PLAIN,
        "the readout's presynaptic rates are those of the other loop",
        gradients=readout_learning(*loops),
    )


def own_readout(rates_of, error_of):
    """Section 5 without feedback to the readout: preᵀ error, of (arguments)."""

    def gradients(self, *arguments):
        right = NumpyBackend.gradients(self, *arguments)
        r = rate(self.configuration.activation_E, rates_of(arguments).u_E[-1])
        return replace(right, readout=r.T @ error_of(arguments) / len(r))

    return gradients


fault(
    "readout's rates of the closed loop without feedback",
    "gradients",
    READOUT_FREE,
    "the readout's presynaptic rates are those of the other loop",
    gradients=own_readout(lambda a: a[3], lambda a: softmax(a[2].u_out) - a[1]),
)
fault(
    "readout of feedback that it has not",
    "gradients",
    READOUT_FREE,
    "the readout has no feedback",
    gradients=lambda self, *arguments: replace(
        NumpyBackend.gradients(self, *arguments),
        readout=readout_learning(3, 3)(self, *arguments).readout,
    ),
)
fault(
    "readout's softmax over the batch",
    "gradients",
    READOUT_FREE,
    "the softmax goes over the batch",
    gradients=own_readout(
        lambda a: a[2], lambda a: np.exp(a[2].u_out) / np.exp(a[2].u_out).sum(0) - a[1]
    ),
)
fault(
    "readout's hard labels",
    "gradients",
    READOUT_FREE,
    "labels are 1 on the class",
    gradients=own_readout(
        lambda a: a[2], lambda a: softmax(a[2].u_out) - (a[1] > 0.5).astype(a[1].dtype)
    ),
)


def backprop(change_x=lambda x: x, change_y=lambda y: y, change_b=lambda b: b) -> Callable:
    """The plain network's gradient, written out for two hidden layers."""

    def gradients(self, x, y, open_loop, closed_loop, r_bar):
        phi, p = self.configuration.activation_E, self.learner().parameters
        (W_1, W_2), (b_1, b_2) = p.weights, (change_b(b) for b in p.biases)
        x, y = change_x(x), change_y(y)
        a_1 = x @ W_1 + b_1
        a_2 = rate(phi, a_1) @ W_2 + b_2
        off = softmax(rate(phi, a_2) @ p.readout) - y
        d_2 = (off @ p.readout.T) * slope(phi, a_2)
        d_1 = (d_2 @ W_2.T) * slope(phi, a_1)
        n = len(x)
        return Parameters(
            (x.T @ d_1 / n, rate(phi, a_1).T @ d_2 / n),
            (d_1.mean(0), d_2.mean(0)),
            rate(phi, a_2).T @ off / n,
        ).astype(self.dtype)

    return gradients


for name, hint, changes in (
    ("biases twice", "biases are added twice", {"change_b": lambda b: 2 * b}),
    ("no biases", "biases are left out", {"change_b": lambda b: 0 * b}),
    ("bytes", "byte inputs are not divided by 255", {"change_x": lambda x: 255 * x}),
    ("hard labels", "labels are 1 on the class", {"change_y": lambda y: 1.0 * (y > 0.5)}),
):
    fault(f"backprop, {name}", "gradients", BACKPROP, hint, gradients=backprop(**changes))


def tangent_at(first_mean):
    """The linear threshold at a rate of one's own, of (backend)."""

    def gradients(self, x, y, open_loop, closed_loop, r_bar):
        return NumpyBackend.gradients(
            self, x, y, open_loop, closed_loop, tuple(first_mean(self, r) for r in r_bar)
        )

    return gradients


fault(
    "tangent at the first mean",
    "gradients",
    THRESHOLD,
    "mean_inhibition.init is linearised at",
    gradients=tangent_at(lambda self, r: np.full_like(r, self.configuration.mean_inhibition.init)),
)
fault(
    "last sample left out of the mean",
    "gradients",
    PLAIN,
    "the last sample is left out",
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


def adam_fault(name: str, hint: str, step: Callable, case: str = PLAIN) -> None:
    """List a mistake in Adam; `step` gives (movement, m, v) of (g, m, v, t)."""
    eta = CASES[case].configuration.optimizer.learning_rate

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
            [p - eta * d for p, (d, _, _) in zip(arrays(learner.parameters), moved, strict=True)]
        )
        state = replace(
            learner.optimizer,
            n_steps=t,
            first_moment=gather([m for _, m, _ in moved]),
            second_moment=gather([v for _, _, v in moved]),
        )
        self.load(Learner(new, state, tuple(r_bar)))

    fault(name, "optimiser update", case, hint, update=update)


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


def plain(g, m, v, t):
    return (g, *moments(g, m, v))


def not_at_all(g, m, v, t):
    return (0 * g, *moments(g, m, v))


def added_early(g, m, v, t):
    m, v = moments(g, m, v)
    return np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8), m, v


def without_epsilon(g, m, v, t):
    m, v = moments(g, m, v)
    return m / (1 - 0.9**t) / np.sqrt(v / (1 - 0.999**t)), m, v


def moments_reset(g, m, v, t):
    m, v = moments(g, 0 * m, 0 * v)
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def count_reset(g, m, v, t):
    m, v = moments(g, m, v)
    return m / 0.1 / (np.sqrt(v / 0.001) + 1e-8), m, v


def rounded_rest(g, m, v, t):
    beta_1, beta_2 = float(np.float32(0.9)), float(np.float32(0.999))
    m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def rounded_sums(g, m, v, t):
    m, v = moments(g, m, v)
    sums = [float(np.float32(1) - np.power(np.float32(b), np.float32(t))) for b in (0.9, 0.999)]
    return m / sums[0] / (np.sqrt(v / sums[1]) + 1e-8), m, v


adam_fault("plain descent for Adam", "plain descent, where the optimiser is Adam", plain)
adam_fault("no step", "the parameters have not moved", not_at_all)
adam_fault(
    "ε before the correction",
    "Adam's ε is added before the bias correction",
    added_early,
    "near-silent",
)
adam_fault("no ε", "Adam's ε is missing", without_epsilon, "near-silent")
adam_fault("moments reset", "while t counts on", moments_reset)
adam_fault("count reset", "Adam's step counter stays at 1", count_reset)
adam_fault("β₂ rounded", "of a β that float32 has rounded", rounded_rest, LONG_STEPS)
adam_fault("β^t rounded", "1 − β^t is computed in float32", rounded_sums, LONG_STEPS)
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
fault(
    "steps a thousand times too long",
    "optimiser update",
    PLAIN,
    "every movement is 1000 times what it should be: η is 0.001",
    update=lambda self, gradients, r_bar: misconfigured_update(self, gradients, r_bar),
)


def misconfigured_update(self, gradients, r_bar):
    right = self.configuration
    self.configuration = replace(right, optimizer=replace(right.optimizer, learning_rate=1.0))
    NumpyBackend.update(self, gradients, r_bar)
    self.configuration = right
