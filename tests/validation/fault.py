"""Mistakes that someone could make, each in a backend that is otherwise the reference.

Each is written out on its own, from MODEL.md's equation and not from the kit's own catalogue, so
that what the kit says of it is proved by something that does not know the kit.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl import Feedback, NetworkConfiguration, Optimizer, SoftReLU
from disinhib.refimpl.circuit import NetworkState, Parameters, rate, slope, softmax
from disinhib.validation.trace.cases import StandardCase, standard_cases


class StagedBackend(NumpyBackend):
    """The reference, whose learning step goes through its own stages one by one."""

    def learning_step(self, x, y):
        x, y = np.asarray(x, self.dtype), np.asarray(y, self.dtype)
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
READOUT_FREE = "exact-inverse-softmax-cross-entropy-readout-free"
BACKPROP = "backprop-softmax-cross-entropy-default"

# What no standard case shows: a normalised Q forgets any factor, and a short step of Adam hides
# what is wrong with it behind the parameters.
UNNORMALISED = "unequal activations, nothing normalised"
LONG_STEPS = "Adam in long steps"
CASES = {
    case.name: case
    for case in (
        *standard_cases(),
        StandardCase(
            UNNORMALISED,
            NetworkConfiguration(
                sizes=(6, 7, 5, 4),
                activation_E=SoftReLU(1.3, 2.0, 0.2),
                activation_I=SoftReLU(0.8, 1.5, -0.3),
                feedback=Feedback(normalize=False),
            ),
        ),
        StandardCase(
            LONG_STEPS,
            NetworkConfiguration(sizes=(6, 7, 5, 4), optimizer=Optimizer(learning_rate=0.5)),
        ),
    )
}


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


def resting(backend, x, Q=None, c=None, newton_steps=60) -> NetworkState:
    """Section 6 at a fixed c: each neuron by so many of Newton's steps from 0; z is left at 0."""
    configuration, p = backend.configuration, backend.learner().parameters
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    h, u_E, u_I = np.asarray(x, np.float64), [], []
    for l, (W, b) in enumerate(zip(p.weights, p.biases, strict=True)):
        a, u = h @ W + b, np.zeros((len(x), len(b)))
        q = 0 * a if Q is None else np.einsum("bk,bkn->bn", c, Q[l])
        for _ in range(newton_steps):
            r = rate(phi_E, u)
            u = u - (u + rate(phi_I, r - q) - a) / (1 + slope(phi_I, r - q) * slope(phi_E, u))
        h = rate(phi_E, u)
        u_E.append(u)
        u_I.append(h - q)
    u_out = h @ p.readout
    if c is not None and configuration.feedback.to_readout:
        u_out = u_out + c
    state = NetworkState(tuple(u_E), tuple(u_I), u_out, np.zeros_like(u_out))
    return NetworkState(
        tuple(u.astype(backend.dtype) for u in state.u_E),
        tuple(u.astype(backend.dtype) for u in state.u_I),
        state.u_out.astype(backend.dtype),
        state.z.astype(backend.dtype),
    )


def searched(backend, x, Q, target, error=None, steps=200, newton_steps=60) -> NetworkState:
    """Section 6's c = κ e by plain iteration, half a step each."""
    controller = backend.configuration.controller
    error = error or (lambda u_out: target - softmax(u_out))
    c = np.zeros(target.shape)
    for _ in range(steps):
        e = error(np.asarray(resting(backend, x, Q, c, newton_steps).u_out, np.float64))
        c = c + ((controller.k_p + controller.k_i / controller.leak) * e - c) / 2
    state = resting(backend, x, Q, c, newton_steps)
    z = error(np.asarray(state.u_out, np.float64)) / controller.leak
    return replace(state, z=z.astype(backend.dtype))
