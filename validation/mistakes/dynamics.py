"""Usual mistakes in states, control and target that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ...refimpl import Parameters, disinhibition, error, rate, softmax
from ..judge import TARGETS, Arrays, learner_before, with_part
from ..trace import Trace
from .mistake import Setting, run_reference


def transposed(setting: Setting) -> Trace | None:
    """Turn those weights around whose shape does not betray it."""

    def turned(W: np.ndarray) -> np.ndarray:
        return W.T if W.shape[0] == W.shape[1] else W

    def change(parameters: Parameters) -> Parameters:
        weights = tuple(turned(W) for W in parameters.weights)
        return Parameters(weights, parameters.biases, turned(parameters.readout))

    if not any(a == b for a, b in pairwise(setting.trace.configuration.sizes)):
        return None
    return _in_every_step(setting.trace, change)


def without_bias(setting: Setting) -> Trace | None:
    """Put zeros for biases that are not zero already."""

    def change(parameters: Parameters) -> Parameters:
        biases = tuple(np.zeros_like(b) for b in parameters.biases)
        return dataclasses.replace(parameters, biases=biases)

    if not any(np.any(b) for b in learner_before(setting.trace, setting.step).parameters.biases):
        return None
    return _in_every_step(setting.trace, change)


def _in_every_step(trace: Trace, change: Callable[[Parameters], Parameters]) -> Trace:
    """Change the parameters with which every step begins."""
    return dataclasses.replace(
        trace,
        initial_parameters=change(trace.initial_parameters),
        steps=tuple(
            dataclasses.replace(step, parameters_after=change(step.parameters_after))
            for step in trace.steps
        ),
    )


def inputs_not_scaled(setting: Setting) -> Trace:
    """Give inputs as their bytes."""
    return dataclasses.replace(setting.trace, inputs=setting.trace.inputs * 255)


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


def rates(setting: Setting) -> Arrays:
    """Give rates for potentials."""
    configuration = setting.trace.configuration
    of = {"u_E": configuration.activation_E, "u_I": configuration.activation_I}
    return {
        name: rate(of[name[:3]], array) if name[:3] in of else array
        for name, array in run_reference(setting).items()
    }


def exchanged_populations(setting: Setting) -> Arrays:
    """Give u_I for u_E and the reverse."""
    right = run_reference(setting)
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
    right = run_reference(setting)
    return {**right, "c_int": _control(setting, right)}


def _control(setting: Setting, right: Arrays) -> np.ndarray:
    controller = setting.trace.configuration.controller
    return np.asarray(
        controller.k_p * _error(setting, right["u_out"]) + controller.k_i * right["c_int"]
    )


def _error(setting: Setting, u_out: np.ndarray) -> np.ndarray:
    return error(setting.trace.configuration.loss, u_out, setting.circuit.closed_loop_target)


def integral_without_leak(setting: Setting) -> Arrays | None:
    """Give e for z."""
    if setting.trace.configuration.controller.leak == 1:
        return None
    right = run_reference(setting)
    return {**right, "c_int": _error(setting, right["u_out"])}


def inhibition_without_control(setting: Setting) -> Arrays:
    """u_I = φ_E(u_E), as in the open loop."""
    right, phi_E = run_reference(setting), setting.trace.configuration.activation_E
    found = {
        name.replace("u_E", "u_I"): rate(phi_E, array)
        for name, array in right.items()
        if name.startswith("u_E")
    }
    return {**right, **found}


def excitation_instead_of_inhibition(setting: Setting) -> Arrays:
    """u_I = φ_E(u_E) + q, where q should have been taken away."""
    right = run_reference(setting)
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


def _output_and_label(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    return setting.circuit.open_loop.u_out, setting.trace.targets[setting.step]


def _if_weak(setting: Setting, target: np.ndarray, cross_entropy: bool = False) -> Arrays | None:
    configuration = setting.trace.configuration
    if configuration.feedback.strong or (cross_entropy and configuration.loss == "mse"):
        return None
    return {TARGETS: target}
