"""Usual mistakes in states, control and target that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ...backends import NumpyBackend
from ...refimpl import (
    Controller,
    Parameters,
    SoftReLU,
    disinhibition,
    error,
    map_arrays,
    rate,
    softmax,
)
from ..judge import (
    CLOSED_LOOP,
    OPEN_LOOP,
    TARGETS,
    Arrays,
    learner_before,
    load_learner,
    run_to_gradients,
    undisturbed,
    with_part,
)
from ..trace import Trace
from .mistake import Setting, changed_parameters, run_reference

RateOf = Callable[[SoftReLU, np.ndarray], np.ndarray]
BISECTIONS = 64
"""After so many, an interval is as narrow as float64 can tell."""


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


def bias_subtracted(setting: Setting) -> Trace | None:
    """Take biases for thresholds."""

    def change(parameters: Parameters) -> Parameters:
        return dataclasses.replace(parameters, biases=tuple(-b for b in parameters.biases))

    if without_bias(setting) is None:
        return None
    return changed_parameters(setting.trace, change)


def inputs_signed(setting: Setting) -> Trace | None:
    """Read bytes above 127 as negative."""
    x = setting.trace.inputs
    if np.max(x) <= 127 / 255:
        return None
    return dataclasses.replace(setting.trace, inputs=np.where(x > 127 / 255, x - 256 / 255, x))


def inputs_cut(setting: Setting) -> Trace:
    """Leave whole numbers of the inputs."""
    return dataclasses.replace(setting.trace, inputs=np.trunc(setting.trace.inputs))


def input_left_out(number: int, setting: Setting) -> Trace:
    """Put zero for one of a sample's inputs."""
    inputs = setting.trace.inputs.copy()
    inputs[..., number] = 0
    return dataclasses.replace(setting.trace, inputs=inputs)


def next_batch(setting: Setting) -> Trace | None:
    """Give each step the batch of the step after it, the last one the first."""
    inputs = setting.trace.inputs
    if len(inputs) < 2:
        return None
    return dataclasses.replace(setting.trace, inputs=np.roll(inputs, -1, axis=0))


def first_batch(setting: Setting) -> Trace | None:
    """Give each step the first batch."""
    inputs = setting.trace.inputs
    if len(inputs) < 2:
        return None
    return dataclasses.replace(setting.trace, inputs=np.broadcast_to(inputs[:1], inputs.shape))


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


def hard_labels_of_squares(setting: Setting) -> Trace | None:
    """Give labels of 1 at the largest number and 0 elsewhere, where they may be any numbers."""
    y = setting.trace.targets
    if setting.trace.configuration.loss != "mse":
        return None
    hard = (y == np.max(y, axis=-1, keepdims=True)).astype(np.float64)
    return dataclasses.replace(setting.trace, targets=hard)


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


def open_loop_with(
    setting: Setting,
    rate_E: RateOf = rate,
    rate_I: RateOf = rate,
    upward: Callable[[RateOf, SoftReLU, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Arrays:
    """Section 6 without control, with its ingredients open to exchange.

    What goes up is of (rate of an I unit, φ_I, u_E, u_I); else the excitatory rate.
    """
    configuration = setting.trace.configuration
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    parameters = learner_before(setting.trace, setting.step).parameters
    found: Arrays = {}
    sent = setting.trace.inputs[setting.step]
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        u_E = _balanced(sent @ W + b, lambda u: rate_I(phi_I, rate_E(phi_E, u)))
        u_I = rate_E(phi_E, u_E)
        found |= {f"u_E_{l}": u_E, f"u_I_{l}": u_I}
        sent = u_I if upward is None else upward(rate_I, phi_I, u_E, u_I)
    found["u_out"] = sent @ parameters.readout
    found["c_int"] = np.zeros_like(found["u_out"])
    return found


def _balanced(a: np.ndarray, inhibition: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """u of u + f(u) = a by bisection, for an f that is never negative and never falls."""
    low, high = a - inhibition(a), a
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_above = middle + inhibition(middle) > a
        low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
    return (low + high) / 2


def rectified(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """s max(k (u − m), 0)."""
    return np.asarray(phi.scale * np.maximum(phi.sharpness * (u - phi.shift), 0))


def potential(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Give the potential for the rate."""
    return u


def potentials_up(rate_I: RateOf, phi_I: SoftReLU, u_E: np.ndarray, u_I: np.ndarray) -> np.ndarray:
    """Let excitatory potentials drive the layer above."""
    return u_E


def inhibition_up(rate_I: RateOf, phi_I: SoftReLU, u_E: np.ndarray, u_I: np.ndarray) -> np.ndarray:
    """Let inhibitory rates drive the layer above."""
    return rate_I(phi_I, u_I)


def closed_loop_instead(setting: Setting) -> Arrays:
    """Give the closed loop that follows from the inputs."""
    return CLOSED_LOOP.form.arrays(computed(setting)["closed_loop"])


def computed(setting: Setting) -> dict[str, Any]:
    """All stages of the step as they follow from its inputs, whatever the trace has of them."""
    trace, step = setting.trace, setting.step
    reference = NumpyBackend(
        trace.configuration, trace.initial_parameters, np.float64, setting.solver
    )
    load_learner(reference, trace, step, undisturbed)
    return run_to_gradients(reference, trace.inputs[step], trace.targets[step])


def of_the_right_run(change: Callable[[np.ndarray], np.ndarray], setting: Setting) -> Arrays | None:
    """Change the open loop of a right run when it is written; what it learnt is not that."""
    trace = setting.trace
    reference = NumpyBackend(
        trace.configuration, trace.initial_parameters, np.float64, setting.solver
    )
    for x, y in zip(trace.inputs[: setting.step], trace.targets, strict=False):
        reference.learning_step(x, y)
    arrays = OPEN_LOOP.form.arrays(reference.open_loop(trace.inputs[setting.step])[0])
    return {name: change(array) for name, array in arrays.items()}


def rates_of(name: str, setting: Setting) -> Arrays:
    """Give rates for the potentials of one population."""
    configuration = setting.trace.configuration
    phi = {"u_E": configuration.activation_E, "u_I": configuration.activation_I}[name]
    return {
        key: rate(phi, array) if key.startswith(name) else array
        for key, array in setting.right.items()
    }


def inhibition_as_excitation(setting: Setting) -> Arrays:
    """Give u_E for u_I, and all else as it should be."""
    right = setting.right
    return {name: right[name.replace("u_I", "u_E")] for name in right}


def readout_of_potentials(setting: Setting) -> Arrays:
    """u_out of the last layer's potentials, in the open loop."""
    right, n_hidden = setting.right, setting.trace.configuration.n_hidden
    readout = learner_before(setting.trace, setting.step).parameters.readout
    return {**right, "u_out": right[f"u_E_{n_hidden - 1}"] @ readout}


def output_as_probabilities(setting: Setting) -> Arrays:
    """Write the softmax of the output."""
    return {**setting.right, "u_out": softmax(setting.right["u_out"])}


def output_as_rates(setting: Setting) -> Arrays:
    """Write φ_E of the output."""
    right, phi = setting.right, setting.trace.configuration.activation_E
    return {**right, "u_out": rate(phi, right["u_out"])}


def output_of_the_open_loop(setting: Setting) -> Arrays:
    """Write the open loop's output for that under control."""
    return {**setting.right, "u_out": setting.circuit.open_loop.u_out}


def output_without_control(setting: Setting) -> Arrays | None:
    """Write φ_E(u_E^L) W_out where the output has c."""
    right, configuration = setting.right, setting.trace.configuration
    if not configuration.feedback.to_readout:
        return None
    return {**right, "u_out": right["u_out"] - _control(setting, right)}


def read_output_fastest(Q: np.ndarray) -> np.ndarray:
    """Read (batch, n_out, n_l) as (batch, n_l, n_out)."""
    batch, n_out, n = Q.shape
    return np.swapaxes(Q.reshape(batch, n, n_out), 1, 2)


def excitation_unchanged(setting: Setting) -> Arrays:
    """Leave E units where the open loop had them."""
    u_E = setting.circuit.open_loop.u_E
    return {**setting.right, **{f"u_E_{l}": u for l, u in enumerate(u_E)}}


def feedback_with(change: Callable[[int, np.ndarray], np.ndarray], setting: Setting) -> Trace:
    """Change the feedback weights that the closed loop is given, of (layer from the top, Q)."""
    Q = setting.circuit.feedback
    changed = tuple(change(len(Q) - 1 - l, one) for l, one in enumerate(Q))
    return with_part(setting.trace, setting.step, "feedback", changed)


def of_another_sample(shift: int, part: str, setting: Setting) -> Trace | None:
    """Give the closed loop of each sample what another has: feedback weights, or a target."""
    if setting.trace.inputs.shape[1] < 2:
        return None
    moved = map_arrays(lambda a: np.roll(a, shift, axis=0), getattr(setting.circuit, part))
    return with_part(setting.trace, setting.step, part, moved)


def feedback_of_the_step_before(setting: Setting) -> Trace | None:
    """Give the closed loop the feedback weights of the step before."""
    trace, step = setting.trace, setting.step
    if len(trace.steps) < 2:
        return None
    earlier = trace.steps[max(step - 1, 0)].circuit
    assert earlier is not None
    return with_part(trace, step, "feedback", earlier.feedback)


def integral_times_gain(setting: Setting) -> Arrays:
    """Give k_i z for z."""
    right = setting.right
    return {**right, "c_int": setting.trace.configuration.controller.k_i * right["c_int"]}


def control_over_integral_gain(setting: Setting) -> Arrays | None:
    """Give c / k_i for z."""
    controller, right = setting.trace.configuration.controller, setting.right
    if controller.k_i == 0 or controller.k_p == 0:
        return None
    return {**right, "c_int": _control(setting, right) / controller.k_i}


def error_times(factor: Callable[[int], float], setting: Setting) -> Arrays | None:
    """Take the error of squares times a factor, of the number of outputs, as a mean over them."""
    trace, controller = setting.trace, setting.trace.configuration.controller
    times = factor(trace.configuration.sizes[-1])
    if trace.configuration.loss != "mse" or times == 1:
        return None
    # With so much of the gains, the integral is that of the whole error.
    other = dataclasses.replace(controller, k_p=times * controller.k_p, k_i=times * controller.k_i)
    configuration = dataclasses.replace(trace.configuration, controller=other)
    return run_reference(
        setting,
        dataclasses.replace(trace, configuration=configuration),
        lambda found: {**found, "c_int": times * found["c_int"]},
    )


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
    gain: Callable[[Controller], float], integral: str, setting: Setting
) -> Arrays | None:
    """Take κ for another; z is e / leak, e, or found of the control signal c by the right gains."""
    trace, controller = setting.trace, setting.trace.configuration.controller
    kappa = gain(controller)
    if kappa == controller.steady_gain:
        return None
    wrong = dataclasses.replace(controller, k_p=kappa, k_i=0.0, leak=1.0)
    configuration = dataclasses.replace(trace.configuration, controller=wrong)
    found = run_reference(setting, dataclasses.replace(trace, configuration=configuration))
    # With these gains the integral rests at e.
    e = found["c_int"]
    z = {
        "e / leak": e / controller.leak,
        "e": e,
        "of c": kappa * e / (controller.k_p * controller.leak + controller.k_i),
    }
    return {**found, "c_int": z[integral]}


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


def nudged_with_softmax(setting: Setting) -> Arrays | None:
    """softmax(o + λ (y − o)), where squares ask for no softmax."""
    configuration = setting.trace.configuration
    if configuration.loss != "mse":
        return None
    o, y = _output_and_label(setting)
    return _if_weak(setting, softmax(o + float(configuration.feedback.nudge) * (y - o)))


def nudged_over_the_batch(setting: Setting) -> Arrays | None:
    """Take both softmaxes of a nudge over the batch."""
    o, y = _output_and_label(setting)
    nudge = float(setting.trace.configuration.feedback.nudge)
    nudged = o + nudge * (y - softmax(o.T).T)
    return _if_weak(setting, softmax(nudged.T).T, cross_entropy=True)


def nudged_with(
    change: Callable[[np.ndarray, np.ndarray, float], np.ndarray], setting: Setting
) -> Arrays | None:
    """Nudge potentials otherwise, of (output, label, λ); in cross-entropy inside the softmax."""
    o, y = _output_and_label(setting)
    configuration = setting.trace.configuration
    nudged = change(o, y, float(configuration.feedback.nudge))
    return _if_weak(setting, nudged if configuration.loss == "mse" else softmax(nudged))


def _output_and_label(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    return setting.circuit.open_loop.u_out, setting.trace.targets[setting.step]


def _if_weak(setting: Setting, target: np.ndarray, cross_entropy: bool = False) -> Arrays | None:
    configuration = setting.trace.configuration
    if configuration.feedback.strong or (cross_entropy and configuration.loss == "mse"):
        return None
    return {TARGETS: target}
