"""Mistakes that someone could make, each in a backend that is otherwise the reference.

Each is written out on its own, from MODEL.md's equation and not from the kit's own catalogue, so
that what the kit says of it is proved by something that does not know the kit.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import Parameters


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
