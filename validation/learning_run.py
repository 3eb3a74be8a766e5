"""All steps of a trace in one run: errors may now build up from stage to stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..backends import Backend
from ..refimpl.backprop import forward
from ..refimpl.loss import sample_loss
from ..refimpl.parameters import Parameters
from ..refimpl.state import resting_state
from .parameter_groups import named_arrays
from .stage_arrays import Arrays
from .stage_inputs import (
    Disturb,
    disturbed_parameters,
    disturbed_state,
    learner_before,
    load_learner,
)
from .trace import Trace


def golden_run(trace: Trace) -> Arrays:
    """Losses of every step and the parameters after the last, as the trace has them."""
    losses = {"open_loop_loss": trace.open_loop_loss}
    if trace.closed_loop_loss is not None:
        losses["closed_loop_loss"] = trace.closed_loop_loss
    return {**losses, **named_arrays(trace.final_parameters)}


def learning_run(backend: Backend, trace: Trace) -> Arrays:
    """Train on the batches of a trace in order, in one call, from its initial parameters.

    Parameters
    ----------
    backend : Backend
        Of the trace's configuration.
    trace : Trace
        Inputs, labels and start.
    """
    n_steps, batch = trace.inputs.shape[:2]
    backend.load(learner_before(trace, 0))
    data = backend.place(
        trace.inputs.reshape(n_steps * batch, -1), trace.targets.reshape(n_steps * batch, -1)
    )
    metrics = backend.train(data, np.arange(n_steps * batch).reshape(n_steps, batch))
    losses = {"open_loop_loss": metrics.loss}
    if trace.configuration.rule != "backprop":
        losses["closed_loop_loss"] = metrics.closed_loop_loss
    return {**losses, **named_arrays(backend.learner().parameters)}


def disturbed_learning_run(
    backend: Backend,
    trace: Trace,
    enter: Disturb,
    disturb: Disturb,
    disturb_stored: Disturb,
    move_target: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Arrays:
    """Train likewise, but stage by stage, with a disturbance between all stages.

    Parameters
    ----------
    backend : Backend
        The reference in float64.
    trace : Trace
        Inputs, labels and start.
    enter : callable
        Applied to every array of the trace first: may give it an axis of draws.
    disturb : callable
        Applied to every array that passes from one stage to the next.
    disturb_stored : callable
        Applied to the parameters that pass from one step to the next.
    move_target : callable
        From (u_out, target) to the target that the closed loop is given.
    """
    load_learner(backend, trace, 0, enter)
    losses: dict[str, list[np.ndarray]] = {"open_loop_loss": [], "closed_loop_loss": []}
    if backend.configuration.rule == "backprop":
        del losses["closed_loop_loss"]
    for x, y in zip(trace.inputs, trace.targets, strict=True):
        learner = backend.learner()
        stored = disturbed_parameters(learner.parameters, disturb_stored)
        backend.load(dataclasses.replace(learner, parameters=stored))
        x, y = disturb(enter(x)), disturb(enter(y))
        step = _backprop_step if backend.configuration.rule == "backprop" else _circuit_step
        gradients, r_bar, outputs = step(backend, x, y, disturb, move_target)
        backend.update(disturbed_parameters(gradients, disturb), r_bar)
        for values, u_out in zip(losses.values(), outputs, strict=True):
            loss = sample_loss(backend.configuration.loss, u_out, y)
            # A loss near its minimum does not feel the output move, but its own rounding.
            size = np.max(np.abs(u_out), axis=-1) + loss
            values.append(np.mean(loss + (disturb(size) - size), axis=-1))
    return {
        **{name: np.stack(values, axis=-1) for name, values in losses.items()},
        **named_arrays(backend.learner().parameters),
    }


MoveTarget = Callable[[np.ndarray, np.ndarray], np.ndarray]
StepEnd = tuple[Parameters, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
"""Gradients, r̄, and the outputs whose losses count."""


def _circuit_step(
    backend: Backend, x: np.ndarray, y: np.ndarray, disturb: Disturb, move_target: MoveTarget
) -> StepEnd:
    open_loop = disturbed_state(backend.configuration, backend.open_loop(x)[0], disturb)
    r_bar = tuple(disturb(r) for r in backend.mean_inhibition(open_loop))
    Q = tuple(disturb(q) for q in backend.feedback_weights(open_loop))
    target = move_target(open_loop.u_out, disturb(backend.closed_loop_target(open_loop, y)))
    closed_loop = disturbed_state(
        backend.configuration, backend.closed_loop(x, Q, target, open_loop)[0], disturb
    )
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    return gradients, r_bar, (open_loop.u_out, closed_loop.u_out)


def _backprop_step(
    backend: Backend, x: np.ndarray, y: np.ndarray, disturb: Disturb, move_target: MoveTarget
) -> StepEnd:
    learner = backend.learner()
    # The layers in between are not stages: what they round, the weights stand for.
    disturbed = disturbed_parameters(learner.parameters, disturb)
    backend.load(dataclasses.replace(learner, parameters=disturbed))
    rest = resting_state(disturbed, x)
    gradients = backend.gradients(x, y, rest, rest, learner.mean_inhibition)
    _, u_out = forward(backend.configuration, disturbed, x)
    backend.load(learner)
    return gradients, learner.mean_inhibition, (u_out,)
