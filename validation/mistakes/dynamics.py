"""Usual mistakes in end states, trajectories, the controller and its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ...refimpl import (
    NetworkConfiguration,
    Parameters,
    closed_loop_target,
    disinhibition,
    error,
    rate,
    softmax,
)
from ..judge import (
    CLOSED_LOOP,
    CLOSED_LOOP_PATH,
    CLOSED_LOOP_TARGET,
    OPEN_LOOP,
    PATH_STAGES,
    TARGETS,
    Arrays,
    Stage,
    learner_before,
)
from ..trace import Trace
from .mistake import (
    ChangeConfiguration,
    Mistake,
    Setting,
    exchanged_activations,
    misconfigured,
    misled,
    misreported,
    run_reference,
    with_circuit,
)


def _one_activation(configuration: NetworkConfiguration) -> NetworkConfiguration:
    return dataclasses.replace(configuration, activation_I=configuration.activation_E)


def _negated_shift(configuration: NetworkConfiguration) -> NetworkConfiguration:
    return dataclasses.replace(
        configuration,
        activation_E=dataclasses.replace(
            configuration.activation_E, shift=-configuration.activation_E.shift
        ),
        activation_I=dataclasses.replace(
            configuration.activation_I, shift=-configuration.activation_I.shift
        ),
    )


def _scale_left_out(configuration: NetworkConfiguration) -> NetworkConfiguration:
    return dataclasses.replace(
        configuration,
        activation_E=dataclasses.replace(configuration.activation_E, scale=1.0),
        activation_I=dataclasses.replace(configuration.activation_I, scale=1.0),
    )


def _sharpness_left_out(configuration: NetworkConfiguration) -> NetworkConfiguration:
    return dataclasses.replace(
        configuration,
        activation_E=dataclasses.replace(configuration.activation_E, sharpness=1.0),
        activation_I=dataclasses.replace(configuration.activation_I, sharpness=1.0),
    )


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


def _without_bias(setting: Setting) -> Trace | None:
    if all(np.all(b == 0) for b in learner_before(setting.trace, setting.step).parameters.biases):
        return None
    return _in_every_step(
        setting.trace,
        lambda parameters: dataclasses.replace(
            parameters, biases=tuple(np.zeros_like(b) for b in parameters.biases)
        ),
    )


def transposed_where_square(parameters: Parameters) -> Parameters:
    """Turn those weights around whose shape does not betray it."""

    def turned(W: np.ndarray) -> np.ndarray:
        return W.T if W.shape[0] == W.shape[1] else W

    return dataclasses.replace(
        parameters,
        weights=tuple(turned(W) for W in parameters.weights),
        readout=turned(parameters.readout),
    )


def _transposed(setting: Setting) -> Trace | None:
    sizes = setting.trace.configuration.sizes
    if not any(a == b for a, b in pairwise(sizes)):
        return None
    return _in_every_step(setting.trace, transposed_where_square)


def _inputs_not_scaled(setting: Setting) -> Trace:
    return dataclasses.replace(setting.trace, inputs=setting.trace.inputs * 255)


def _rates(setting: Setting, arrays: Arrays) -> Arrays:
    configuration = setting.trace.configuration
    return {
        name: rate(configuration.activation_E, array)
        if name.startswith("u_E")
        else rate(configuration.activation_I, array)
        if name.startswith("u_I")
        else array
        for name, array in arrays.items()
    }


def _exchanged_populations(setting: Setting, arrays: Arrays) -> Arrays:
    return {
        name: arrays[name.replace("u_E", "u_X").replace("u_I", "u_E").replace("u_X", "u_I")]
        for name in arrays
    }


def _without_inhibition(setting: Setting) -> Arrays:
    """u_E = a: the plain network's drive."""
    configuration = setting.trace.configuration
    parameters = learner_before(setting.trace, setting.step).parameters
    arrays: Arrays = {}
    r = setting.trace.inputs[setting.step]
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        arrays[f"u_E_{l}"] = r @ W + b
        r = rate(configuration.activation_E, arrays[f"u_E_{l}"])
        arrays[f"u_I_{l}"] = r
    arrays["u_out"] = r @ parameters.readout
    arrays["c_int"] = np.zeros_like(arrays["u_out"])
    return arrays


def _controller(**gains: float) -> ChangeConfiguration:
    def change(configuration: NetworkConfiguration) -> NetworkConfiguration:
        controller = dataclasses.replace(configuration.controller, **gains)
        return dataclasses.replace(configuration, controller=controller)

    return change


def _readout_not_driven(configuration: NetworkConfiguration) -> NetworkConfiguration:
    feedback = dataclasses.replace(
        configuration.feedback, to_readout=not configuration.feedback.to_readout
    )
    return dataclasses.replace(configuration, feedback=feedback)


def _feedback_negated(setting: Setting) -> Trace:
    return with_circuit(setting, feedback=tuple(-Q for Q in setting.circuit.feedback))


def _label_as_target(setting: Setting) -> Trace | None:
    if setting.trace.configuration.feedback.strong:
        return None
    return with_circuit(setting, closed_loop_target=setting.trace.targets[setting.step])


def _error(setting: Setting, u_out: np.ndarray) -> np.ndarray:
    return error(setting.trace.configuration.loss, u_out, setting.circuit.closed_loop_target)


def _integral_as_control(setting: Setting, arrays: Arrays) -> Arrays | None:
    controller = setting.trace.configuration.controller
    e = _error(setting, arrays["u_out"])
    return {**arrays, "c_int": controller.k_p * e + controller.k_i * arrays["c_int"]}


def _integral_without_leak(setting: Setting, arrays: Arrays) -> Arrays | None:
    if setting.trace.configuration.controller.leak == 1:
        return None
    return {**arrays, "c_int": _error(setting, arrays["u_out"])}


def _inhibition_without_control(setting: Setting, arrays: Arrays) -> Arrays:
    """u_I = φ_E(u_E), as in the open loop."""
    phi_E = setting.trace.configuration.activation_E
    rates = {
        name.replace("u_E", "u_I"): rate(phi_E, array)
        for name, array in arrays.items()
        if name.startswith("u_E")
    }
    return {**arrays, **rates}


def _excitation_instead_of_inhibition(setting: Setting, arrays: Arrays) -> Arrays:
    """u_I = φ_E(u_E) + q, where q should have been taken away."""
    controller = setting.trace.configuration.controller
    c = controller.k_p * _error(setting, arrays["u_out"]) + controller.k_i * arrays["c_int"]
    return {
        **arrays,
        **{
            f"u_I_{l}": arrays[f"u_I_{l}"] + 2 * disinhibition(c, Q)
            for l, Q in enumerate(setting.circuit.feedback)
        },
    }


def _softmax_left_out(setting: Setting) -> Arrays | None:
    """Target − u_out as the error of cross-entropy."""
    configuration = setting.trace.configuration
    if configuration.loss == "mse":
        return None
    trace = dataclasses.replace(
        setting.trace, configuration=dataclasses.replace(configuration, loss="mse")
    )
    return run_reference(CLOSED_LOOP, trace, setting)


def _open_loop_again(setting: Setting, arrays: Arrays) -> Arrays:
    state = setting.circuit.open_loop
    return {
        **{f"u_E_{l}": u for l, u in enumerate(state.u_E)},
        **{f"u_I_{l}": u for l, u in enumerate(state.u_I)},
        "u_out": state.u_out,
        "c_int": state.z,
    }


def _weak(setting: Setting) -> tuple[str, float, np.ndarray, np.ndarray] | None:
    """Loss, λ, open-loop output and label, where feedback is weak."""
    configuration = setting.trace.configuration
    if configuration.feedback.strong:
        return None
    o, y = setting.circuit.open_loop.u_out, setting.trace.targets[setting.step]
    return configuration.loss, float(configuration.feedback.nudge), o, y


def _nudged_away(setting: Setting) -> Arrays | None:
    if (weak := _weak(setting)) is None:
        return None
    loss, nudge, o, y = weak
    nudged = o - nudge * error(loss, o, y)
    return {TARGETS: nudged if loss == "mse" else softmax(nudged)}


def _nudged_probabilities(setting: Setting) -> Arrays | None:
    if (weak := _weak(setting)) is None or weak[0] == "mse":
        return None
    _, nudge, o, y = weak
    return {TARGETS: softmax(o) + nudge * (y - softmax(o))}


def _nudged_without_softmax(setting: Setting) -> Arrays | None:
    if (weak := _weak(setting)) is None or weak[0] == "mse":
        return None
    loss, nudge, o, y = weak
    return {TARGETS: o + nudge * error(loss, o, y)}


def _other_strength(setting: Setting) -> Arrays:
    configuration = setting.trace.configuration
    feedback = dataclasses.replace(configuration.feedback, strong=not configuration.feedback.strong)
    o, y = setting.circuit.open_loop.u_out, setting.trace.targets[setting.step]
    return {TARGETS: np.array(closed_loop_target(configuration.loss, feedback, o, y))}


def _times(stage: Stage) -> list[Mistake]:
    def times(tau_E: str, tau_I: str) -> ChangeConfiguration:
        return lambda configuration: dataclasses.replace(
            configuration,
            tau_E=getattr(configuration, tau_E),
            tau_I=getattr(configuration, tau_I),
        )

    def other_method(setting: Setting) -> Trace | None:
        trajectory = setting.trace.trajectory
        if trajectory is None:
            return None
        other = "euler" if trajectory.recording.method == "tsit5" else "tsit5"
        recording = dataclasses.replace(trajectory.recording, method=other)
        return dataclasses.replace(
            setting.trace, trajectory=dataclasses.replace(trajectory, recording=recording)
        )

    return [
        misconfigured(
            stage,
            "τ_E and τ_I are exchanged",
            times("tau_I", "tau_E"),
        ),
        misconfigured(
            stage,
            "wrong time constant: τ_I where excitatory and readout units have τ_E",
            times("tau_I", "tau_I"),
        ),
        misconfigured(
            stage,
            "wrong time constant: τ_E where inhibitory units have τ_I",
            times("tau_E", "tau_E"),
        ),
        misled(
            stage,
            "another integration method than the trace's (Euler for Tsitouras, or the reverse)",
            other_method,
        ),
    ]


_PATH_CONTROL = [
    misconfigured(
        CLOSED_LOOP_PATH,
        "wrong time constant: τ_E where the controller's integral has τ_c",
        lambda configuration: dataclasses.replace(
            configuration,
            controller=dataclasses.replace(configuration.controller, tau=configuration.tau_E),
        ),
    ),
    misconfigured(
        CLOSED_LOOP_PATH,
        "the readout's own feedback: `+ c` drives it unless feedback.to_readout is off",
        _readout_not_driven,
    ),
    misconfigured(
        CLOSED_LOOP_PATH,
        "the controller's integral does not leak: τ_c dz/dt = e − leak · z",
        _controller(leak=0.0),
    ),
]

_STATE_MISTAKES = [
    mistake
    for stage in (OPEN_LOOP, CLOSED_LOOP, *PATH_STAGES)
    for mistake in (
        misconfigured(stage, "φ_E and φ_I are exchanged", exchanged_activations),
        misconfigured(stage, "φ_E stands where φ_I belongs", _one_activation),
        misconfigured(
            stage, "the shift has the wrong sign: φ(u) = s log(1 + exp(k (u − m)))", _negated_shift
        ),
        misconfigured(stage, "the scale s of the activation is left out", _scale_left_out),
        misconfigured(stage, "the sharpness k of the activation is left out", _sharpness_left_out),
        misled(
            stage, "weights are transposed: they are (n_in, n_out), and a = h W + b", _transposed
        ),
        misled(stage, "biases are left out: a = h W + b", _without_bias),
        misled(stage, "byte inputs are not divided by 255", _inputs_not_scaled),
        misreported(stage, "rates are given where potentials belong", _rates),
        misreported(
            stage, "excitatory and inhibitory potentials are exchanged", _exchanged_populations
        ),
    )
]

MISTAKES: list[Mistake] = [
    *_STATE_MISTAKES,
    *(mistake for stage in PATH_STAGES for mistake in _times(stage)),
    *_PATH_CONTROL,
    Mistake(
        OPEN_LOOP,
        "inhibition is left out: at rest u_E + φ_I(u_I) = a",
        _without_inhibition,
    ),
    misled(
        CLOSED_LOOP,
        "the sign of the control: c Q is taken from u_I, c = k_p e + k_i z, e = target − output",
        _feedback_negated,
    ),
    misled(CLOSED_LOOP, "the label is the target where weak feedback nudges", _label_as_target),
    Mistake(
        CLOSED_LOOP,
        "the softmax is left out of the error: e = target − softmax(u_out)",
        _softmax_left_out,
    ),
    misconfigured(
        CLOSED_LOOP,
        "the readout's own feedback: `+ c` drives it unless feedback.to_readout is off",
        _readout_not_driven,
    ),
    misconfigured(
        CLOSED_LOOP,
        "the controller is proportional only: c = k_p e + k_i z",
        _controller(k_i=0.0),
    ),
    misconfigured(
        CLOSED_LOOP,
        "the controller is integral only: c = k_p e + k_i z",
        _controller(k_p=0.0),
    ),
    misconfigured(
        CLOSED_LOOP,
        "the leak is left out of the steady gain: κ = k_p + k_i / leak",
        _controller(leak=1.0),
    ),
    misreported(
        CLOSED_LOOP,
        "c_int is to be the integral z = e / leak, not the control signal c",
        _integral_as_control,
    ),
    misreported(
        CLOSED_LOOP, "the integral rests at z = e / leak, not at e", _integral_without_leak
    ),
    misreported(
        CLOSED_LOOP,
        "the sign of the integral: τ_c dz/dt = e − leak · z, e = target − output",
        lambda setting, arrays: {**arrays, "c_int": -arrays["c_int"]},
    ),
    misreported(
        CLOSED_LOOP,
        "c_int is not given: it is the integral z = e / leak, which was left at 0",
        lambda setting, arrays: {**arrays, "c_int": np.zeros_like(arrays["c_int"])},
    ),
    misreported(
        CLOSED_LOOP,
        "u_I = φ_E(u_E) − c Q under control; the open loop's relation is used",
        _inhibition_without_control,
    ),
    misreported(
        CLOSED_LOOP,
        "c Q is added to u_I: dis-inhibition takes it away",
        _excitation_instead_of_inhibition,
    ),
    misreported(CLOSED_LOOP, "the control does nothing: this is the open loop", _open_loop_again),
    Mistake(
        CLOSED_LOOP_TARGET,
        "strong and weak feedback are exchanged (feedback.strong)",
        _other_strength,
    ),
    Mistake(
        CLOSED_LOOP_TARGET,
        "the nudge goes away from the label: o + λ (y − o), in cross-entropy inside the softmax",
        _nudged_away,
    ),
    Mistake(
        CLOSED_LOOP_TARGET,
        "the nudge is applied to probabilities: with cross-entropy it goes inside the softmax",
        _nudged_probabilities,
    ),
    Mistake(
        CLOSED_LOOP_TARGET,
        "the softmax around the nudged potential is left out",
        _nudged_without_softmax,
    ),
]
"""All of them."""
