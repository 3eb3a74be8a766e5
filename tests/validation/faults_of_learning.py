"""Mistakes in the running mean, the rule and the optimiser."""

from collections.abc import Callable

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import NetworkState, Parameters, rate, slope, softmax
from disinhib.refimpl.learning_step import Learner

from .fault import PLAIN, THRESHOLD, after, fault, map_parameters, replace

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
