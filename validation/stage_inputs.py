"""What a stage is given: the learner that began the step, each array as it is or disturbed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..backends import Backend
from ..refimpl.activation import SoftReLU
from ..refimpl.configuration import NetworkConfiguration
from ..refimpl.errors import Setting
from ..refimpl.learning_step import Learner, new_learner
from ..refimpl.optimizer import OptimizerState, initial_optimizer_state, optimizer_step
from ..refimpl.parameters import Parameters
from ..refimpl.state import NetworkState
from .trace import Trace

Disturb = Callable[[np.ndarray], np.ndarray]


def undisturbed(array: np.ndarray) -> np.ndarray:
    """Pass an array on as it is."""
    return array


def learner_before(trace: Trace, step: int) -> Learner:
    """Rebuild the learner that began a step.

    The file has parameters and running means; the moments follow from its gradients by the
    definition of the optimiser.

    Parameters
    ----------
    trace : Trace
        With steps, unless `step` is 0.
    step : int
        From 0.
    """
    optimizer = trace.configuration.optimizer
    state = initial_optimizer_state(optimizer, trace.initial_parameters)
    parameters = trace.initial_parameters
    r_bar = new_learner(trace.configuration, parameters).mean_inhibition
    for earlier in trace.steps[:step]:
        _, state = optimizer_step(optimizer, parameters, earlier.gradients, state)
        parameters = earlier.parameters_after
        if earlier.circuit is not None:
            r_bar = earlier.circuit.mean_inhibition or r_bar
    return Learner(parameters, state, r_bar)


def load_learner(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> None:
    """Let a backend go on from the learner that began a step."""
    before = learner_before(trace, step)
    backend.load(
        Learner(
            disturbed_parameters(before.parameters, disturb),
            OptimizerState(
                before.optimizer.n_steps,
                _disturbed_moment(before.optimizer.first_moment, disturb),
                _disturbed_moment(before.optimizer.second_moment, disturb),
            ),
            tuple(disturb(r) for r in before.mean_inhibition),
        )
    )


def disturbed_parameters(parameters: Parameters, disturb: Disturb) -> Parameters:
    """Let every array of the parameters through `disturb`."""
    return Parameters(
        tuple(disturb(W) for W in parameters.weights),
        tuple(disturb(b) for b in parameters.biases),
        disturb(parameters.readout),
    )


def _disturbed_moment(moment: Parameters | None, disturb: Disturb) -> Parameters | None:
    return None if moment is None else disturbed_parameters(moment, disturb)


def disturbed_state(
    configuration: NetworkConfiguration, state: NetworkState, disturb: Disturb
) -> NetworkState:
    """Let every array of a state through `disturb`, and what will be computed of it first.

    A rate rounded by a relative ε is the rate of a potential moved by ε φ/φ', which is at
    most ε (|u| + |m| + 1.4/k): so much is a potential moved, also where it is 0. Likewise
    the readout before a softmax, by ε (|u_out| + 1).
    """

    def moved(u: np.ndarray, more: Setting) -> np.ndarray:
        size = np.abs(u) + more
        return np.asarray(u + (disturb(size) - size))

    def potential(u: np.ndarray, phi: SoftReLU) -> np.ndarray:
        return moved(u, np.abs(phi.shift) + 1.4 / phi.sharpness)

    return NetworkState(
        tuple(potential(u, configuration.activation_E) for u in state.u_E),
        tuple(potential(u, configuration.activation_I) for u in state.u_I),
        moved(state.u_out, 0.0 if configuration.loss == "mse" else 1.0),
        disturb(state.z),
    )
