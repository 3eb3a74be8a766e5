"""Usual mistakes in the losses of a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ...refimpl import count_correct, forward, rate, sample_loss, softmax
from ..judge import CLOSED_LOSS as CLOSED, N_CORRECT, OPEN_LOSS as OPEN, Arrays, learner_before
from .dynamics import computed, hardened, open_loop_with
from .mistake import Setting, run_reference

LOOPS: tuple[tuple[str, ...], ...] = ((OPEN, CLOSED), (OPEN,), (CLOSED,))
"""Of which a mistake may be: of both losses, or of one."""

LossOf = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


def losses(setting: Setting, loss_of: LossOf = sample_loss, y: np.ndarray | None = None) -> Arrays:
    """Mean loss of each loop with its ingredients open to exchange; backprop has one loop.

    What else the stage gives stays right.
    """
    trace, configuration = setting.trace, setting.trace.configuration
    y = trace.targets[setting.step] if y is None else y
    outputs = {}
    if configuration.rule == "backprop":
        parameters = learner_before(trace, setting.step).parameters
        outputs[OPEN] = forward(configuration, parameters, trace.inputs[setting.step])[1]
    else:
        outputs[OPEN] = setting.circuit.open_loop.u_out
        outputs[CLOSED] = setting.circuit.closed_loop.u_out
    means = {
        name: np.asarray(np.mean(loss_of(configuration.loss, u_out, y)))
        for name, u_out in outputs.items()
    }
    return {**setting.right, **means}


def _times(setting: Setting, factor: float) -> Arrays:
    right = setting.right
    return {**right, **{name: factor * right[name] for name in (OPEN, CLOSED) if name in right}}


def without_half(setting: Setting) -> Arrays | None:
    """Σ (y − u_out)², of a squared error."""
    if setting.trace.configuration.loss != "mse":
        return None
    return _times(setting, 2)


def summed(setting: Setting) -> Arrays:
    """Sum over the batch."""
    return _times(setting, setting.trace.inputs.shape[1])


def mean_over_outputs(setting: Setting) -> Arrays:
    """Divide by the outputs as well."""
    return _times(setting, 1 / setting.trace.configuration.sizes[-1])


def over_outputs(setting: Setting) -> Arrays:
    """Divide the sum over the batch by the outputs, not by its size."""
    trace = setting.trace
    return _times(setting, trace.inputs.shape[1] / trace.configuration.sizes[-1])


def over_one_less(setting: Setting) -> Arrays | None:
    """Divide the sum over the batch by one less than its size."""
    batch = setting.trace.inputs.shape[1]
    return _times(setting, batch / (batch - 1)) if batch > 1 else None


def torch_mean(setting: Setting) -> Arrays | None:
    """Give Σ (y − u_out)² over the number of outputs, of a squared error."""
    configuration = setting.trace.configuration
    if configuration.loss != "mse":
        return None
    return _times(setting, 2 / configuration.sizes[-1])


def times(factor: float, setting: Setting) -> Arrays:
    """Give losses times a factor."""
    return _times(setting, factor)


def of_sample(number: int, setting: Setting) -> Arrays:
    """Give the loss of one sample."""
    return losses(setting, lambda loss, u_out, y: sample_loss(loss, u_out, y)[number])


def guarded(small: float, setting: Setting) -> Arrays | None:
    """−Σ y log(p + small)."""
    if setting.trace.configuration.loss == "mse":
        return None

    def loss_of(loss: str, u_out: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(-np.sum(y * np.log(softmax(u_out) + small), axis=-1))

    return losses(setting, loss_of)


def with_inhibition(counted: bool, setting: Setting) -> Arrays | None:
    """Give backprop the loss of a circuit's open loop, or its count of right samples, too."""
    if setting.trace.configuration.rule != "backprop":
        return None
    u_out = open_loop_with(setting)["u_out"]
    loss = setting.trace.configuration.loss
    y = setting.trace.targets[setting.step]
    means = {OPEN: np.asarray(np.mean(sample_loss(loss, u_out, y)))}
    if counted:
        means[N_CORRECT] = np.asarray(count_correct(u_out, y), dtype=np.float64)
    return {**setting.right, **means}


def after_the_update(in_closed_loop: bool, setting: Setting) -> Arrays | None:
    """Measure with the parameters that the step left; both losses, or the open loop's alone."""
    trace, step = setting.trace, setting.step
    after = dataclasses.replace(
        trace,
        initial_parameters=trace.steps[step].parameters_after,
        inputs=trace.inputs[step : step + 1],
        targets=trace.targets[step : step + 1],
        steps=(),
    )
    done = computed(dataclasses.replace(setting, trace=after, step=0))
    right = setting.right
    if trace.configuration.rule == "backprop":
        u_out = forward(trace.configuration, after.initial_parameters, trace.inputs[step])[1]
        outputs = {OPEN: u_out}
    else:
        outputs = {OPEN: done["open_loop"].u_out, CLOSED: done["closed_loop"].u_out}
    loss, y = trace.configuration.loss, trace.targets[step]
    means = {
        name: np.asarray(np.mean(sample_loss(loss, u_out, y)))
        for name, u_out in outputs.items()
        if name in right and (in_closed_loop or name == OPEN)
    }
    return {**right, **means}


def mean_so_far(names: tuple[str, ...], setting: Setting) -> Arrays | None:
    """Give the mean of all losses up to this step, of one loop or both."""
    if len(setting.trace.steps) < 2:
        return None
    places = [dataclasses.replace(setting, step=step) for step in range(setting.step + 1)]
    each = [run_reference(place, setting.trace) for place in places]
    means = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    return {**setting.right, **{name: means[name] for name in names if name in means}}


def a_step_late(setting: Setting) -> Arrays | None:
    """Give the loss of the step before; in the first step zero."""
    if len(setting.trace.steps) < 2:
        return None
    if setting.step == 0:
        return _times(setting, 0.0)
    before = run_reference(dataclasses.replace(setting, step=setting.step - 1), setting.trace)
    return {**before, N_CORRECT: setting.right[N_CORRECT]}


def of_nudged_target(setting: Setting, in_open_loop: bool) -> Arrays | None:
    """Take the controller's target for the label, where feedback is weak."""
    configuration = setting.trace.configuration
    if configuration.rule == "backprop" or configuration.feedback.strong:
        return None
    nudged = losses(setting, y=setting.circuit.closed_loop_target)
    return nudged if in_open_loop else {**setting.right, CLOSED: nudged[CLOSED]}


def open_loop_twice(setting: Setting) -> Arrays | None:
    """Give the open loop's loss for the closed loop's."""
    right = setting.right
    return {**right, CLOSED: right[OPEN]} if CLOSED in right else None


def exchanged(setting: Setting) -> Arrays | None:
    """Give each loop's loss for the other's."""
    right = setting.right
    return {**right, OPEN: right[CLOSED], CLOSED: right[OPEN]} if CLOSED in right else None


def over_the_batch(setting: Setting) -> Arrays | None:
    """Take the softmax over the batch."""
    if setting.trace.configuration.loss == "mse":
        return None

    def loss_of(loss: str, u_out: np.ndarray, y: np.ndarray) -> np.ndarray:
        column = u_out - np.max(u_out, axis=0)
        return np.asarray(-np.sum(y * (column - np.log(np.sum(np.exp(column), axis=0))), axis=-1))

    return losses(setting, loss_of)


def of_hard_labels(setting: Setting) -> Arrays | None:
    """Take labels of 1 on the class and 0 elsewhere, where the trace's are softened."""
    hard = hardened(setting.trace)
    return None if hard is None else losses(setting, y=hard[setting.step])


def of_squared_error(setting: Setting) -> Arrays | None:
    """½ Σ (y − softmax(u_out))², where cross-entropy is asked for."""
    if setting.trace.configuration.loss == "mse":
        return None

    def loss_of(loss: str, u_out: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum((y - softmax(u_out)) ** 2, axis=-1) / 2)

    return losses(setting, loss_of)


def of_other_loss(setting: Setting) -> Arrays:
    """Take ½ Σ (y − u_out)² for the cross-entropy, or the reverse."""
    other = {"mse": "softmax-cross-entropy"}.get(setting.trace.configuration.loss, "mse")
    return losses(setting, lambda loss, u_out, y: sample_loss(other, u_out, y))


def without_control(setting: Setting) -> Arrays | None:
    """Give the closed loop's loss of what its hidden layers send up, without c."""
    configuration = setting.trace.configuration
    if configuration.rule == "backprop":
        return None
    r = rate(configuration.activation_E, setting.circuit.closed_loop.u_E[-1])
    u_out = r @ learner_before(setting.trace, setting.step).parameters.readout
    y = setting.trace.targets[setting.step]
    loss = np.asarray(np.mean(sample_loss(configuration.loss, u_out, y)))
    return {**setting.right, CLOSED: loss}


def fraction(setting: Setting) -> Arrays:
    """Count right samples as a part of all."""
    right = setting.right
    return {**right, N_CORRECT: right[N_CORRECT] / setting.trace.inputs.shape[1]}


def counted_in_closed_loop(setting: Setting) -> Arrays | None:
    """Count right samples by the output under control."""
    if setting.trace.configuration.rule == "backprop":
        return None
    u_out, y = setting.circuit.closed_loop.u_out, setting.trace.targets[setting.step]
    return {**setting.right, N_CORRECT: np.asarray(count_correct(u_out, y), dtype=np.float64)}


def counted_wrong(setting: Setting) -> Arrays:
    """Count the samples that are not right."""
    right = setting.right
    return {**right, N_CORRECT: setting.trace.inputs.shape[1] - right[N_CORRECT]}


def counted_after_the_update(setting: Setting) -> Arrays:
    """Count by the outputs of the parameters that the step left."""
    trace, step = setting.trace, setting.step
    parameters = trace.steps[step].parameters_after
    x, y = trace.inputs[step], trace.targets[step]
    if trace.configuration.rule == "backprop":
        u_out = forward(trace.configuration, parameters, x)[1]
    else:
        one = dataclasses.replace(
            trace, initial_parameters=parameters, inputs=x[None], targets=y[None], steps=()
        )
        u_out = computed(dataclasses.replace(setting, trace=one, step=0))["open_loop"].u_out
    return {**setting.right, N_CORRECT: np.asarray(count_correct(u_out, y), dtype=np.float64)}


def counted_so_far(setting: Setting) -> Arrays | None:
    """Add up the right samples of all steps so far."""
    if len(setting.trace.steps) < 2:
        return None
    so_far = [one.right[N_CORRECT] for one in setting.beside if one.step <= setting.step]
    return {**setting.right, N_CORRECT: np.sum(so_far, axis=0)}
