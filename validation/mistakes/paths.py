"""Usual mistakes along a path in time: where it starts, how it is integrated, what of it is kept.

And end states of which someone thought that they were at rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ...backends import NumpyBackend
from ...refimpl import (
    TABLEAUS,
    NetworkState,
    Recording,
    closed_loop_derivative,
    drive,
    error,
    map_arrays,
    pack,
    rate,
    resting_state,
    unpack,
)
from ..judge import CLOSED_LOOP, CLOSED_LOOP_PATH, Arrays, learner_before, state_arrays, with_part
from ..trace import Trace
from . import dynamics
from .mistake import LOOKED_AT, Setting, refuse_other_start

Weights = tuple[tuple[float, ...], ...]
Change = Callable[[Setting, NetworkState, NetworkState], NetworkState]
TargetOf = Callable[[Setting, np.ndarray, np.ndarray], np.ndarray]

CLASSICAL: Weights = ((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
"""The Runge-Kutta method of fourth order; the last row is the step."""
AT_REST = 1e-9
"""A state that moves no more than that in a step has come to rest."""
LONGEST_AWAY = 0.1
"""Seconds for which a path may go away from what it was near, and come back."""
STEPS_LOOKED_AT = 1000
"""Of an integration that may have ended too early; a network is at rest after so many."""
NUMBERS_LOOKED_AT = 2_000_000
"""And states in them, so that a hint for a large network does not take minutes."""


def followed(
    setting: Setting,
    weights: Weights | None = None,
    change: Change | None = None,
    start: NetworkState | None = None,
    in_sequence: bool = False,
    recording: Recording | None = None,
    without_start: bool = False,
    kept_at: int = 0,
    target_of: TargetOf | None = None,
) -> Arrays | None:
    """Section 2 along a path with its ingredients open to exchange.

    Weights are a method's; `change` is of (setting, derivative, state); in sequence, a layer is
    stepped after the one below. Without the start, the first entry is left out; kept are steps so
    many after, or before, those asked for. The target may depend on the output, of (setting,
    target, output). ValueError where it is elsewhere from the start.
    """
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    asked, sizes = recording or trajectory.recording, setting.trace.configuration.sizes
    method = weights or TABLEAUS[asked.method].a
    derivative = _derivative(setting, change, target_of)
    y = pack(_start(setting) if start is None else start)
    advance = partial(_advance_in_sequence, sizes) if in_sequence else _advance
    kept: list[np.ndarray] = [] if without_start else [y]
    for n in range(1, asked.n_steps + 1):
        y = advance(method, derivative, y, asked.dt)
        if n % asked.every == kept_at % asked.every:
            kept.append(y)
            if len(kept) == 1 + LOOKED_AT:
                refuse_other_start(setting, _named(kept, sizes))
    return _named(kept, sizes)


def _named(kept: Sequence[np.ndarray], sizes: tuple[int, ...]) -> Arrays:
    return state_arrays(unpack(np.stack(kept), sizes))


def _advance(
    method: Weights, derivative: Callable[[np.ndarray], np.ndarray], y: np.ndarray, dt: float
) -> np.ndarray:
    k = [derivative(y)]
    for row in method:
        stage = y + dt * sum(w * k_i for w, k_i in zip(row, k, strict=True))
        if row is not method[-1]:
            k.append(derivative(stage))
    return np.asarray(stage)


def _advance_in_sequence(
    sizes: tuple[int, ...],
    method: Weights,
    derivative: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    dt: float,
) -> np.ndarray:
    """Let each layer take its step with what the one below gives after its own."""
    now = unpack(y, sizes)
    u_E, u_I = list(now.u_E), list(now.u_I)
    for l in range(len(u_E)):
        here = NetworkState(tuple(u_E), tuple(u_I), now.u_out, now.z)
        new = unpack(_advance(method, derivative, pack(here), dt), sizes)
        u_E[l], u_I[l] = new.u_E[l], new.u_I[l]
    here = NetworkState(tuple(u_E), tuple(u_I), now.u_out, now.z)
    new = unpack(_advance(method, derivative, pack(here), dt), sizes)
    return pack(NetworkState(here.u_E, here.u_I, new.u_out, new.z))


def _derivative(
    setting: Setting, change: Change | None, target_of: TargetOf | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Of packed states, as the stage has it: under control, or without."""
    trace, configuration = setting.trace, setting.trace.configuration
    is_closed = setting.stage in (CLOSED_LOOP, CLOSED_LOOP_PATH)
    Q = target = None
    if is_closed:
        assert not setting.stage.is_path or trace.trajectory is not None
        Q = trace.trajectory.feedback if setting.stage.is_path else setting.circuit.feedback  # type: ignore[union-attr]
        target = setting.circuit.closed_loop_target if trace.steps else trace.targets[0]
    parameters = learner_before(trace, setting.step).parameters
    a_1 = drive(trace.inputs[setting.step], parameters.weights[0], parameters.biases[0])

    def derivative(y: np.ndarray) -> np.ndarray:
        state = unpack(y, configuration.sizes)
        to = (
            target
            if target is None or target_of is None
            else target_of(setting, target, state.u_out)
        )
        k = closed_loop_derivative(configuration, parameters, a_1, Q, to, state)
        return pack(k if change is None else change(setting, k, state))

    return derivative


def _start(setting: Setting) -> NetworkState:
    """Rest, or what was reached without control; the integral is zero."""
    trace, step = setting.trace, setting.step
    if setting.stage is CLOSED_LOOP_PATH:
        assert trace.trajectory is not None
        start = map_arrays(lambda u: u[-1], trace.trajectory.open_loop)
    elif setting.stage is CLOSED_LOOP:
        start = setting.circuit.open_loop
    else:
        start = resting_state(learner_before(trace, step).parameters, trace.inputs[step])
    return dataclasses.replace(start, z=np.zeros_like(start.z))


# How it is integrated.


def with_a_sign_lost(setting: Setting) -> Arrays | None:
    """Give the method with that coefficient negated which fits best at the beginning."""
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    asked = trajectory.recording
    short = dataclasses.replace(asked, n_steps=min(asked.n_steps, asked.every))
    weights = TABLEAUS[asked.method].a
    apart = {}
    for row, numbers in enumerate(weights):
        for column in range(len(numbers)):
            lost = [list(one) for one in weights]
            lost[row][column] *= -1
            method = tuple(map(tuple, lost))
            begun = followed(setting, method, recording=short) or {}
            apart[method] = max(
                float(np.max(np.abs(setting.found[name][: len(start)] - start)))
                for name, start in begun.items()
                if name in setting.found
            )
    return followed(setting, min(apart, key=lambda method: apart[method]))


def inhibitory_readout(setting: Setting, k: NetworkState, state: NetworkState) -> NetworkState:
    """Let the readout have τ_I."""
    configuration = setting.trace.configuration
    ratio = np.asarray(configuration.tau_E) / np.asarray(configuration.tau_I)
    return dataclasses.replace(k, u_out=k.u_out * ratio)


def inhibition_of_excitation(
    setting: Setting, k: NetworkState, state: NetworkState
) -> NetworkState:
    """Let φ_I be taken of u_E."""
    phi_I, tau_E = setting.trace.configuration.activation_I, setting.trace.configuration.tau_E
    layers = zip(k.u_E, state.u_E, state.u_I, strict=True)
    du_E = tuple(du + (rate(phi_I, u_I) - rate(phi_I, u_E)) / tau_E for du, u_E, u_I in layers)
    return dataclasses.replace(k, u_E=du_E)


def readout_of_potentials(setting: Setting, k: NetworkState, state: NetworkState) -> NetworkState:
    """Let the last layer's potentials drive the readout."""
    configuration, u = setting.trace.configuration, state.u_E[-1]
    readout = learner_before(setting.trace, setting.step).parameters.readout
    other = (u - rate(configuration.activation_E, u)) @ readout / configuration.tau_E
    return dataclasses.replace(k, u_out=k.u_out + other)


def integral_running(
    drives_readout: bool, setting: Setting, k: NetworkState, state: NetworkState
) -> NetworkState:
    """Let the integral take in the error without control; c may drive the readout."""
    trace, configuration = setting.trace, setting.trace.configuration
    controller = configuration.controller
    target = setting.circuit.closed_loop_target if trace.steps else trace.targets[0]
    e = error(configuration.loss, state.u_out, target)
    z = (e - controller.leak * state.z) / controller.tau
    if not drives_readout:
        return dataclasses.replace(k, z=z)
    c = controller.k_p * e + controller.k_i * state.z
    return dataclasses.replace(k, z=z, u_out=k.u_out + c / configuration.tau_E)


def with_error_reversed(setting: Setting) -> Arrays | None:
    """Follow the path whose error is output less target."""
    loss = setting.trace.configuration.loss
    return followed(
        setting, target_of=lambda _, target, u_out: target - 2 * error(loss, u_out, target)
    )


# What of it is kept.


def in_other_steps(times: float, setting: Setting) -> Arrays | None:
    """Take steps so many times as long, as many as asked for."""
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    asked = trajectory.recording
    return followed(setting, recording=dataclasses.replace(asked, dt=times * asked.dt))


def kept_a_step_late(setting: Setting) -> Arrays | None:
    """Keep the first step, and each that is as many after it as asked for."""
    trajectory = setting.trace.trajectory
    if trajectory is None or trajectory.recording.every == 1:
        return None
    return followed(setting, kept_at=1)


def kept_a_step_early(setting: Setting) -> Arrays | None:
    """Keep each state before the step after which it is asked for."""
    trajectory = setting.trace.trajectory
    if trajectory is None or trajectory.recording.every == 1:
        return None
    return followed(setting, kept_at=-1)


def without_time_zero(setting: Setting) -> Arrays | None:
    """Begin the record after the first interval, and end it one later."""
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    asked = trajectory.recording
    longer = dataclasses.replace(asked, n_steps=asked.n_steps + asked.every)
    return followed(setting, recording=longer, without_start=True)


def each_step_kept(setting: Setting) -> Arrays | None:
    """Keep each of the first steps, as many as entries are asked for."""
    trajectory = setting.trace.trajectory
    if trajectory is None or trajectory.recording.every == 1:
        return None
    asked = trajectory.recording
    first = dataclasses.replace(asked, n_steps=asked.n_steps // asked.every, every=1)
    return followed(setting, recording=first)


# Of what it is, where it starts, and with what feedback.


def of_the_learnt_parameters(setting: Setting) -> Trace | None:
    """Give the path the parameters after the last step."""
    trace = setting.trace
    if not trace.steps:
        return None
    return dataclasses.replace(trace, initial_parameters=trace.steps[-1].parameters_after)


def of_the_last_batch(setting: Setting) -> Trace | None:
    """Give the path the inputs of the last batch, and its labels."""
    trace = setting.trace
    if len(trace.inputs) < 2:
        return None
    last = dataclasses.replace(trace, inputs=trace.inputs[::-1], targets=trace.targets[::-1])
    if trace.steps and trace.configuration.feedback.strong:
        return with_part(last, 0, "closed_loop_target", trace.targets[-1])
    return last


def of_the_second_batch(setting: Setting) -> Trace | None:
    """Give the path the inputs of the second batch, and its labels."""
    trace = setting.trace
    if len(trace.inputs) < 3:
        return None
    order = [1, *range(1, len(trace.inputs))]
    second = dataclasses.replace(trace, inputs=trace.inputs[order], targets=trace.targets[order])
    if trace.steps and trace.configuration.feedback.strong:
        return with_part(second, 0, "closed_loop_target", trace.targets[1])
    return second


def target_of_another_step(which: int, setting: Setting) -> Trace | None:
    """Give the path the target of another step's samples."""
    steps = setting.trace.steps
    circuit = steps[which].circuit if len(steps) > 1 else None
    if circuit is None:
        return None
    return with_part(setting.trace, 0, "closed_loop_target", circuit.closed_loop_target)


def hard_label_as_target(setting: Setting) -> Trace | None:
    """Give the path a label of 1 on the class and 0 elsewhere, where feedback is strong."""
    return dynamics.hard_label_as_target(setting) if setting.trace.steps else None


def label_as_target(setting: Setting) -> Trace | None:
    """Give the path the label for its target, where feedback is weak."""
    return dynamics.label_as_target(setting) if setting.trace.steps else None


def nudged_from_the_path(setting: Setting) -> Trace | None:
    """Nudge from the output at the end of the open loop's path, where feedback is weak."""
    trace, configuration = setting.trace, setting.trace.configuration
    if trace.trajectory is None or not trace.steps or configuration.feedback.strong:
        return None
    end = map_arrays(lambda u: u[-1], trace.trajectory.open_loop)
    target = _reference(setting).closed_loop_target(end, trace.targets[0])
    return with_part(trace, 0, "closed_loop_target", target)


def from_rest(setting: Setting) -> Arrays | None:
    """Start the controlled path from zero."""
    return followed(setting, start=map_arrays(np.zeros_like, _start(setting)))


def from_the_end_state(setting: Setting) -> Arrays | None:
    """Start at the open loop's end state, which is found without integrating."""
    trace, step = setting.trace, setting.step
    return followed(setting, start=_reference(setting).open_loop(trace.inputs[step])[0])


def integral_at_error(setting: Setting) -> Arrays | None:
    """Start the integral at the error."""
    trace, start = setting.trace, _start(setting)
    target = setting.circuit.closed_loop_target if trace.steps else trace.targets[0]
    e = error(trace.configuration.loss, start.u_out, target)
    return followed(setting, start=dataclasses.replace(start, z=e))


def _reference(setting: Setting) -> NumpyBackend:
    parameters = learner_before(setting.trace, setting.step).parameters
    return NumpyBackend(setting.trace.configuration, parameters, np.float64, setting.solver)


def own_feedback(at_end_of_path: bool, setting: Setting) -> Trace | None:
    """Give the path feedback weights of the open loop, where others were given."""
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    reference = _reference(setting)
    state = _start(setting)
    if not at_end_of_path:
        state, _ = reference.open_loop(setting.trace.inputs[setting.step])
    Q = tuple(
        np.broadcast_to(one, given.shape)
        for one, given in zip(reference.feedback_weights(state), trajectory.feedback, strict=True)
    )
    return with_part(setting.trace, setting.step, "feedback", Q, of_trajectory=True)


def feedback_with(change: Callable[[np.ndarray], np.ndarray], setting: Setting) -> Trace | None:
    """Change the feedback weights that the path is given."""
    trajectory = setting.trace.trajectory
    if trajectory is None:
        return None
    Q = tuple(map(change, trajectory.feedback))
    return with_part(setting.trace, setting.step, "feedback", Q, of_trajectory=True)


# End states that are none.


def not_yet_at_rest(setting: Setting) -> Arrays | None:
    """Give states that an integration passes through, the nearest of each sample."""
    nearest = _nearest(setting)
    return None if nearest is None else nearest[1]


def time_integrated(settings: Sequence[Setting]) -> str:
    """Say by which method and for how long it was integrated."""
    nearest = [one for one in map(_nearest, settings) if one is not None]
    method = nearest[0][0]
    longest = max(float(np.max(times)) for _, _, times in nearest)
    return (
        f"not at rest: the state is that after {longest:.3g} s of {method}, and still moves; "
        "integrate longer"
    )


Passed = tuple[str, Arrays, np.ndarray]
"""By what method, what state that is, and when it was passed, sample by sample."""


def _nearest(setting: Setting) -> Passed | None:
    noted: dict[str, Passed | None] = setting.notes
    if "nearest" not in noted:
        noted["nearest"] = _searched(setting)
    return noted["nearest"]


def _searched(setting: Setting) -> Passed | None:
    found = setting.found
    y = pack(_start(setting))
    if len(found) < len(setting.right) or y.size * STEPS_LOOKED_AT > NUMBERS_LOOKED_AT * 10:
        return None
    sizes = setting.trace.configuration.sizes
    wanted = pack(
        NetworkState(
            tuple(found[f"u_E_{l}"] for l in range(len(sizes) - 2)),
            tuple(found[f"u_I_{l}"] for l in range(len(sizes) - 2)),
            found["u_out"],
            found["c_int"],
        )
    )
    best: tuple[float, str, np.ndarray, np.ndarray] | None = None
    for words, method, dt in _ways():
        apart, state, times = _passed(setting, method, dt, y, wanted)
        if best is None or apart < best[0]:
            best = apart, words, state, times
    assert best is not None
    return best[1], state_arrays(unpack(best[2], sizes)), best[3]


def _ways() -> Iterator[tuple[str, Weights, float]]:
    yield "Euler's method in steps of 1 ms", TABLEAUS["euler"].a, 1e-3
    yield "an exact integration", TABLEAUS["tsit5"].a, 1e-3


def _passed(
    setting: Setting, method: Weights, dt: float, y: np.ndarray, wanted: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """How near the path comes to what is wanted, where that is and when, sample by sample."""
    derivative = _derivative(setting, None)
    nearest, times = y, np.zeros(y.shape[:-1])
    least = np.max(np.abs(y - wanted), axis=-1)
    for n in range(1, STEPS_LOOKED_AT + 1):
        before, y = y, _advance(method, derivative, y, dt)
        apart = np.max(np.abs(y - wanted), axis=-1)
        nearer = apart < least
        nearest = np.where(nearer[..., None], y, nearest)
        times, least = np.where(nearer, n * dt, times), np.where(nearer, apart, least)
        if np.max(np.abs(y - before)) < AT_REST or n * dt > np.max(times) + LONGEST_AWAY:
            break
    return float(np.max(least)), nearest, times
