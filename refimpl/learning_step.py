"""One learning step, from a batch to new parameters: the whole model, in order.

Two end states make a step: without control, and under control that dis-inhibits. What each synapse
then reads from its own neuron is the gradient that it follows. What is called here is explained in
the chapters after this one; symbols and sections are those of `model.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .circuit import Parameters, closed_loop_target, sample_loss
from .configuration import Array, NetworkConfiguration, Solver, with_axes
from .end_state import EndStateCounts, closed_loop_end_state, open_loop_end_state
from .feedback import feedback_weights
from .optimizer import OptimizerState, initial_optimizer_state, optimizer_step
from .plasticity import backprop_gradients, forward, plasticity_gradients, updated_mean_inhibition


@dataclass(frozen=True)
class Learner:
    """All that learning changes."""

    parameters: Parameters
    optimizer: OptimizerState
    mean_inhibition: tuple[np.ndarray, ...]  # running mean r̄ of each hidden layer, (..., n_l)


@dataclass(frozen=True)
class StepMetrics:
    """What one step saw, before its update; arrays are (...), means over the batch."""

    loss: np.ndarray  # in open loop
    closed_loop_loss: np.ndarray  # under control, against the label; NaN for backprop
    n_correct: np.ndarray  # samples whose largest open-loop output is that of the label
    open_loop_counts: EndStateCounts  # how the end states were reached
    closed_loop_counts: EndStateCounts
    # those whose largest output under control is; None for backprop
    closed_loop_n_correct: np.ndarray | None = None


def new_learner(configuration: NetworkConfiguration, parameters: Parameters) -> Learner:
    """Begin learning from these parameters: no steps taken, r̄ at its initial value."""
    init = with_axes(configuration.mean_inhibition.init, 1)
    return Learner(
        parameters,
        initial_optimizer_state(configuration.optimizer, parameters),
        tuple(np.ones_like(b) * init for b in parameters.biases),
    )


def learning_step(
    configuration: NetworkConfiguration, solver: Solver, learner: Learner, x: Array, y: Array
) -> tuple[Learner, StepMetrics]:
    """Open loop, feedback weights, closed loop, gradients, update.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    solver : Solver
        How end states are found.
    learner : Learner
        Before the step.
    x : array, (..., batch, n_in)
        Input, of the parameters' dtype.
    y : array, (..., batch, n_out)
        Label, likewise.

    Returns
    -------
    learner : Learner
        After the step.
    metrics : StepMetrics
    """
    if configuration.rule == "backprop":
        return _backprop_step(configuration, learner, x, y)
    parameters, loss = learner.parameters, configuration.loss
    open_loop, open_counts = open_loop_end_state(configuration, solver, parameters, x)
    r_bar = learner.mean_inhibition
    if configuration.rule == "linear-threshold":
        # r̄ takes in the present batch before it is used.
        r_bar = updated_mean_inhibition(configuration, r_bar, open_loop)
    Q = feedback_weights(configuration, parameters, open_loop)
    target = closed_loop_target(loss, configuration.feedback, open_loop.u_out, y)
    closed_loop, closed_counts = closed_loop_end_state(
        configuration, solver, parameters, x, Q, target, open_loop
    )
    gradients = plasticity_gradients(configuration, parameters, x, y, open_loop, closed_loop, r_bar)
    parameters, optimizer = optimizer_step(
        configuration.optimizer, parameters, gradients, learner.optimizer
    )
    return Learner(parameters, optimizer, r_bar), StepMetrics(
        loss=np.mean(sample_loss(loss, open_loop.u_out, y), axis=-1),
        closed_loop_loss=np.mean(sample_loss(loss, closed_loop.u_out, y), axis=-1),
        n_correct=count_correct(open_loop.u_out, y),
        open_loop_counts=open_counts,
        closed_loop_counts=closed_counts,
        closed_loop_n_correct=count_correct(closed_loop.u_out, y),
    )


def _backprop_step(
    configuration: NetworkConfiguration, learner: Learner, x: Array, y: Array
) -> tuple[Learner, StepMetrics]:
    a, u_out = forward(configuration, learner.parameters, x)
    gradients = backprop_gradients(configuration, learner.parameters, x, y, a, u_out)
    parameters, optimizer = optimizer_step(
        configuration.optimizer, learner.parameters, gradients, learner.optimizer
    )
    loss = np.mean(sample_loss(configuration.loss, u_out, y), axis=-1)
    none, counts = np.full_like(loss, np.nan), EndStateCounts()
    metrics = StepMetrics(loss, none, count_correct(u_out, y), counts, counts)
    return Learner(parameters, optimizer, learner.mean_inhibition), metrics


def open_loop_output(
    configuration: NetworkConfiguration, solver: Solver, parameters: Parameters, x: Array
) -> tuple[Array, EndStateCounts]:
    """Output that a prediction is read from, (..., batch, n_out), and how it was reached.

    The open-loop end state of the microcircuit; for the rule 'backprop', the output of the
    plain network.
    """
    if configuration.rule == "backprop":
        return forward(configuration, parameters, x)[1], EndStateCounts()
    state, counts = open_loop_end_state(configuration, solver, parameters, x)
    return state.u_out, counts


def count_correct(u_out: Array, y: Array) -> Array:
    """Count the samples whose largest output is that of the label, all of them being numbers."""
    are_numbers = np.all(np.isfinite(u_out), axis=-1)
    is_right = np.argmax(u_out, axis=-1) == np.argmax(y, axis=-1)
    return np.sum(are_numbers & is_right, axis=-1)
