"""Usual mistakes in states, control and target that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ...refimpl import Controller, Parameters, disinhibition, error, rate, softmax
from ..judge import TARGETS, Arrays, learner_before, with_part
from ..trace import Trace
from .mistake import Setting, changed_parameters, run_reference


def transposed(setting: Setting) -> Trace | None:
    """Turn those weights around whose shape does not betray it."""

    def turned(W: np.ndarray) -> np.ndarray:
        return W.T if W.shape[0] == W.shape[1] else W

    def change(parameters: Parameters) -> Parameters:
        weights = tuple(turned(W) for W in parameters.weights)
        return Parameters(weights, parameters.biases, turned(parameters.readout))

    if not any(a == b for a, b in pairwise(setting.trace.configuration.sizes)):
        return None
    return changed_parameters(setting.trace, change)


def without_bias(setting: Setting) -> Trace | None:
    """Put zeros for biases that are not zero already."""

    def change(parameters: Parameters) -> Parameters:
        biases = tuple(np.zeros_like(b) for b in parameters.biases)
        return dataclasses.replace(parameters, biases=biases)

    if not any(np.any(b) for b in learner_before(setting.trace, setting.step).parameters.biases):
        return None
    return changed_parameters(setting.trace, change)


def bias_twice(setting: Setting) -> Trace | None:
    """Double the biases."""

    def change(parameters: Parameters) -> Parameters:
        return dataclasses.replace(parameters, biases=tuple(2 * b for b in parameters.biases))

    return changed_parameters(setting.trace, change)


def inputs_times(factor: float, setting: Setting) -> Trace:
    """Give inputs on another scale."""
    return dataclasses.replace(setting.trace, inputs=factor * setting.trace.inputs)


def other_method(setting: Setting) -> Trace | None:
    """Integrate a trajectory by the other method."""
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    other = "euler" if trajectory.recording.method == "tsit5" else "tsit5"
    recording = dataclasses.replace(trajectory.recording, method=other)
    return with_part(setting.trace, setting.step, "recording", recording, of_trajectory=True)


def feedback_negated(setting: Setting) -> Trace:
    """Give the closed loop −Q."""
    negative = tuple(-Q for Q in setting.circuit.feedback)
    return with_part(setting.trace, setting.step, "feedback", negative)


def label_as_target(setting: Setting) -> Trace | None:
    """Give the closed loop the label, where feedback is weak."""
    trace, step = setting.trace, setting.step
    if trace.configuration.feedback.strong:
        return None
    return with_part(trace, step, "closed_loop_target", trace.targets[step])


def hard_labels(setting: Setting) -> Trace | None:
    """Give labels of 1 on the class and 0 elsewhere, where the trace's are softened."""
    hard = hardened(setting.trace)
    return None if hard is None else dataclasses.replace(setting.trace, targets=hard)


def hard_label_as_target(setting: Setting) -> Trace | None:
    """Give the closed loop such a label, where feedback is strong."""
    trace, step, hard = setting.trace, setting.step, hardened(setting.trace)
    if hard is None or not trace.configuration.feedback.strong:
        return None
    return with_part(trace, step, "closed_loop_target", hard[step])


def hardened(trace: Trace) -> np.ndarray | None:
    """Labels of 1 on the class and 0 elsewhere, where the trace's are softened."""
    y = trace.targets
    hard = (y == np.max(y, axis=-1, keepdims=True)).astype(np.float64)
    are_softened = trace.configuration.loss != "mse" and np.all(np.sum(hard, axis=-1) == 1)
    return hard if are_softened and np.any(hard != y) else None


def rates(setting: Setting) -> Arrays:
    """Give rates for potentials."""
    configuration = setting.trace.configuration
    of = {"u_E": configuration.activation_E, "u_I": configuration.activation_I}
    return {
        name: rate(of[name[:3]], array) if name[:3] in of else array
        for name, array in setting.right.items()
    }


def exchanged_populations(setting: Setting) -> Arrays:
    """Give u_I for u_E and the reverse."""
    right = setting.right
    other = {"u_E": "u_I", "u_I": "u_E"}
    return {name: right[other.get(name[:3], name[:3]) + name[3:]] for name in right}


def without_inhibition(setting: Setting) -> Arrays:
    """u_E = a: the plain network's drive."""
    configuration = setting.trace.configuration
    parameters = learner_before(setting.trace, setting.step).parameters
    found: Arrays = {}
    r = setting.trace.inputs[setting.step]
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        found[f"u_E_{l}"] = r @ W + b
        r = rate(configuration.activation_E, found[f"u_E_{l}"])
        found[f"u_I_{l}"] = r
    found["u_out"] = r @ parameters.readout
    found["c_int"] = np.zeros_like(found["u_out"])
    return found


def control_as_integral(setting: Setting) -> Arrays:
    """Give c for z."""
    right = setting.right
    return {**right, "c_int": _control(setting, right)}


def _control(setting: Setting, right: Arrays) -> np.ndarray:
    controller = setting.trace.configuration.controller
    return np.asarray(
        controller.k_p * _error(setting, right["u_out"]) + controller.k_i * right["c_int"]
    )


def _error(setting: Setting, u_out: np.ndarray) -> np.ndarray:
    return error(setting.trace.configuration.loss, u_out, setting.circuit.closed_loop_target)


def other_gain(
    gain: Callable[[Controller], float], of_control: bool, setting: Setting
) -> Arrays | None:
    """Take κ for another; z is e / leak, or found of the control signal by the right gains."""
    trace, controller = setting.trace, setting.trace.configuration.controller
    kappa = gain(controller)
    if kappa == controller.steady_gain:
        return None
    wrong = dataclasses.replace(controller, k_p=kappa, k_i=0.0, leak=1.0)
    configuration = dataclasses.replace(trace.configuration, controller=wrong)
    found = run_reference(setting, dataclasses.replace(trace, configuration=configuration))
    # With these gains the integral rests at e.
    e = found["c_int"]
    z = kappa * e / (controller.k_p * controller.leak + controller.k_i) if of_control else None
    return {**found, "c_int": e / controller.leak if z is None else z}


def integral_without_leak(setting: Setting) -> Arrays | None:
    """Give e for z."""
    if setting.trace.configuration.controller.leak == 1:
        return None
    right = setting.right
    return {**right, "c_int": _error(setting, right["u_out"])}


def inhibition_without_control(setting: Setting) -> Arrays:
    """u_I = φ_E(u_E), as in the open loop."""
    right, phi_E = setting.right, setting.trace.configuration.activation_E
    found = {
        name.replace("u_E", "u_I"): rate(phi_E, array)
        for name, array in right.items()
        if name.startswith("u_E")
    }
    return {**right, **found}


def excitation_instead_of_inhibition(setting: Setting) -> Arrays:
    """u_I = φ_E(u_E) + q, where q should have been taken away."""
    right = setting.right
    c = _control(setting, right)
    found = {
        f"u_I_{l}": right[f"u_I_{l}"] + 2 * disinhibition(c, Q)
        for l, Q in enumerate(setting.circuit.feedback)
    }
    return {**right, **found}


def nudged_away(setting: Setting) -> Arrays | None:
    """o − λ e, in cross-entropy inside the softmax."""
    configuration = setting.trace.configuration
    o, y = _output_and_label(setting)
    nudged = o - float(configuration.feedback.nudge) * error(configuration.loss, o, y)
    return _if_weak(setting, nudged if configuration.loss == "mse" else softmax(nudged))


def nudged_probabilities(setting: Setting) -> Arrays | None:
    """p + λ (y − p), of cross-entropy's probabilities."""
    o, y = _output_and_label(setting)
    nudge = float(setting.trace.configuration.feedback.nudge)
    return _if_weak(setting, softmax(o) + nudge * (y - softmax(o)), cross_entropy=True)


def nudged_without_softmax(setting: Setting) -> Arrays | None:
    """o + λ e, where cross-entropy asks for its softmax."""
    configuration = setting.trace.configuration
    o, y = _output_and_label(setting)
    nudged = o + float(configuration.feedback.nudge) * error(configuration.loss, o, y)
    return _if_weak(setting, nudged, cross_entropy=True)


def nudged_over_the_batch(setting: Setting) -> Arrays | None:
    """Take both softmaxes of a nudge over the batch."""
    o, y = _output_and_label(setting)
    nudge = float(setting.trace.configuration.feedback.nudge)
    nudged = o + nudge * (y - softmax(o.T).T)
    return _if_weak(setting, softmax(nudged.T).T, cross_entropy=True)


def _output_and_label(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    return setting.circuit.open_loop.u_out, setting.trace.targets[setting.step]


def _if_weak(setting: Setting, target: np.ndarray, cross_entropy: bool = False) -> Arrays | None:
    configuration = setting.trace.configuration
    if configuration.feedback.strong or (cross_entropy and configuration.loss == "mse"):
        return None
    return {TARGETS: target}
