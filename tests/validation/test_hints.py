"""What a hint says: which mistakes share it, and the numbers that it gives."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl import NetworkConfiguration, SoftReLU
from disinhib.refimpl.circuit import Parameters, rate
from disinhib.validation import record_standard_case, record_trace
from disinhib.validation.judge import (
    CLOSED_LOOP,
    FEEDBACK,
    GRADIENTS,
    LOSSES,
    MEAN_INHIBITION,
    OPEN_LOOP,
    UPDATE,
    Comparison,
)
from disinhib.validation.mistakes import ignored, usual_mistake
from disinhib.validation.mistakes.catalogue import USUAL_MISTAKES

from .fault import CASES, PLAIN, READOUT_FREE, THRESHOLD, map_parameters, resting
from .faults import FAULTS
from .fifth_hand import FOREIGN
from .fourth_hand import STRANGE
from .second_hand import MISTAKES
from .third_hand import MISLED

ROUNDING = 1e-12


@cache
def golden(case=PLAIN):
    return dataclasses.replace(record_standard_case(CASES[case]), trajectory=None)


def hint_for(stage, trace, found):
    """Of arrays for each step, in float64."""
    comparisons = [
        Comparison(step, right, arrays, dict.fromkeys(right, ROUNDING))
        for step, arrays in enumerate(found)
        for right in [stage.golden(trace, step)]
    ]
    return usual_mistake(
        stage, trace, comparisons, backend_at(trace, trace.initial_parameters)
    ).words


def backend_at(trace, parameters):
    return NumpyBackend(trace.configuration, parameters, np.float64, trace.solver)


def parameters_before(trace, step):
    return trace.steps[step - 1].parameters_after if step else trace.initial_parameters


def open_loops_at(trace, parameters_of):
    """Open loops of all steps, each at the parameters of a number of a step."""
    backends = [backend_at(trace, parameters_of(step)) for step in range(len(trace.steps))]
    return [
        OPEN_LOOP.form.arrays(backend.open_loop(x)[0])
        for backend, x in zip(backends, trace.inputs, strict=True)
    ]


def shorter(trace, n_steps):
    return dataclasses.replace(
        trace,
        inputs=trace.inputs[:n_steps],
        targets=trace.targets[:n_steps],
        steps=trace.steps[:n_steps],
    )


def test_mistakes_that_two_steps_cannot_tell_apart_are_both_named():
    """In the second step, the parameters of the step before are the initial ones."""
    trace = golden("exact-inverse-mse-default")
    initial = open_loops_at(trace, lambda step: trace.initial_parameters)
    before = open_loops_at(trace, lambda step: parameters_before(trace, max(step - 1, 0)))
    assert hint_for(OPEN_LOOP, trace, initial).startswith("parameters are the initial ones")
    assert hint_for(OPEN_LOOP, trace, before).startswith("parameters are those of the step before")
    two = shorter(trace, 2)
    first, second = hint_for(OPEN_LOOP, two, initial[:2]).split("; or ")
    assert first.startswith("parameters are those of the step before")
    assert second.startswith("parameters are the initial ones")


TESTED_HERE = {
    "Q is taken at the closed-loop state",
    "the mean is taken in the closed loop",
    "the initial weights are transposed",
    "the initial weights are read column-major",
    "right samples are given as a part of all",
    "right samples are counted in the closed loop",
}


def test_every_usual_mistake_is_made_by_somebody():
    """A row that no fault makes may name nothing for ever: one did, where it was refused."""
    made = {fault.hint for fault in FAULTS if fault.hint} | TESTED_HERE
    made |= {mistake.says for mistake in MISTAKES if mistake.says}
    made |= {words for misled in (*MISLED, *STRANGE, *FOREIGN) for words in misled.says}
    hints = {hint for rows in USUAL_MISTAKES.values() for hint, _ in rows if isinstance(hint, str)}
    assert {hint for hint in hints if not any(words in hint for words in made)} == set()


def test_every_setting_has_a_row():
    """Of those that a network may have other than the default; some have more telling words."""
    rows = [row for table in USUAL_MISTAKES.values() for row in table]
    named = {hint.args[0] for hint, _ in rows if getattr(hint, "func", None) is ignored.in_words}
    settings = {name for name, _ in ignored.settings_of(NetworkConfiguration())}
    assert settings - named == set(ignored.NAMED_OTHERWISE)


@pytest.mark.parametrize(
    ("name", "stage", "case"),
    [
        ("activation_E.shift", OPEN_LOOP, THRESHOLD),
        ("activation_I.scale", OPEN_LOOP, THRESHOLD),
        ("activation_E.sharpness", GRADIENTS, THRESHOLD),
    ],
)
def test_a_setting_left_at_its_default_is_named_with_its_value(name, stage, case):
    trace = golden(case)
    group, part = name.split(".")
    phi = getattr(trace.configuration, group)
    default = getattr(SoftReLU(), part)
    plain = dataclasses.replace(
        trace.configuration, **{group: dataclasses.replace(phi, **{part: default})}
    )
    found = []
    for step, recorded in enumerate(trace.steps):
        backend = NumpyBackend(plain, parameters_before(trace, step), np.float64, trace.solver)
        circuit, x, y = recorded.circuit, trace.inputs[step], trace.targets[step]
        if stage is OPEN_LOOP:
            answer = backend.open_loop(x)[0]
        else:
            states = (circuit.open_loop, circuit.closed_loop)
            answer = backend.gradients(x, y, *states, circuit.mean_inhibition)
        found.append(stage.form.arrays(answer))
    value = getattr(phi, part)
    assert f"{name} is the default, {default:g}: the trace has {value:g}" in hint_for(
        stage, trace, found
    )


def test_feedback_of_the_closed_loop_is_named():
    trace = golden()
    found = []
    for step, recorded in enumerate(trace.steps):
        backend = backend_at(trace, parameters_before(trace, step))
        found.append(FEEDBACK.form.arrays(backend.feedback_weights(recorded.circuit.closed_loop)))
    hint = hint_for(FEEDBACK, trace, found)
    assert hint.startswith("Q is taken at the closed-loop state")


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        (lambda u_open, u_closed, right: np.mean(right(u_open)), "right samples are given as"),
        (lambda u_open, u_closed, right: np.sum(right(u_closed)), "right samples are counted in"),
    ],
)
def test_another_count_of_right_samples_is_named(counted, words):
    trace, found = golden(), []
    for y, recorded in zip(trace.targets, trace.steps, strict=True):
        outputs = (recorded.circuit.open_loop.u_out, recorded.circuit.closed_loop.u_out)
        count = counted(*outputs, lambda u_out, y=y: u_out.argmax(axis=1) == y.argmax(axis=1))
        found.append({"n_correct": np.asarray(float(count))})
    assert hint_for(LOSSES, trace, found).startswith(words)


def test_a_mean_of_the_closed_loop_is_named():
    trace = golden(THRESHOLD)
    mean_inhibition, phi_I = trace.configuration.mean_inhibition, trace.configuration.activation_I
    rho, found = mean_inhibition.rate, []
    before = tuple(np.full_like(b, mean_inhibition.init) for b in trace.initial_parameters.biases)
    for recorded in trace.steps:
        u_I = recorded.circuit.closed_loop.u_I
        means = (
            (1 - rho) * r + rho * rate(phi_I, u).mean(0) for r, u in zip(before, u_I, strict=True)
        )
        found.append({f"r_I_{l}": mean for l, mean in enumerate(means)})
        before = recorded.circuit.mean_inhibition
    hint = hint_for(MEAN_INHIBITION, trace, found)
    assert hint.startswith("the mean is taken in the closed loop")


def test_in_a_batch_of_one_there_is_no_other_order():
    """Nor an order in memory, nor a softmax over the batch that anything could come of."""
    trace = golden()
    alone = dataclasses.replace(trace, inputs=trace.inputs[:, :1], targets=trace.targets[:, :1])
    recorded = record_trace(
        alone.configuration, alone.initial_parameters, alone.inputs, alone.targets
    )
    found = [OPEN_LOOP.golden(recorded, step) for step in range(3)]
    found[1]["u_E_0"] = found[1]["u_E_0"] + 0.1
    assert hint_for(OPEN_LOOP, recorded, found) == ""


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (lambda W: W.reshape(W.shape[::-1]).T, "the initial weights are read column-major"),
        (lambda W: W.T if W.shape[0] == W.shape[1] else W, "the initial weights are transposed"),
    ],
)
def test_weights_misread_once_are_found_in_the_first_step(stored, words):
    """A port that begins elsewhere, and is right from there on: it is judged by its own steps."""
    trace = golden(PLAIN if "transposed" in words else THRESHOLD)
    misread = map_parameters(lambda W: stored(W) if W.ndim == 2 else W, trace.initial_parameters)
    port = record_trace(trace.configuration, misread, trace.inputs, trace.targets)
    found = [OPEN_LOOP.golden(port, step) for step in range(3)]
    as_given = dataclasses.replace(port, initial_parameters=trace.initial_parameters)
    assert hint_for(OPEN_LOOP, as_given, found).startswith(words)


def test_parameters_written_column_major_are_named_in_every_step():
    """A port that reads and computes rightly, and writes as Fortran does: so its file has them."""
    trace = golden(THRESHOLD)
    steps = tuple(
        dataclasses.replace(
            step,
            parameters_after=map_parameters(
                lambda W: np.ravel(W.T).reshape(W.shape), step.parameters_after
            ),
        )
        for step in trace.steps
    )
    as_given = dataclasses.replace(trace, steps=steps)
    found = [UPDATE.golden(as_given, step) for step in range(3)]
    assert hint_for(UPDATE, as_given, found).startswith("arrays are column-major")


@pytest.mark.parametrize("case", [PLAIN, READOUT_FREE])
def test_the_residual_of_c_is_that_of_the_control_that_was_stopped_at(case):
    """A state at half of the right c: c − κ e by section 6."""
    trace = golden(case)
    kappa = trace.configuration.controller.steady_gain
    found, residuals = [], []
    for step, x in enumerate(trace.inputs):
        backend = backend_at(trace, parameters_before(trace, step))
        circuit = trace.steps[step].circuit
        c = kappa * circuit.closed_loop.z / 2
        state = resting(backend, x, circuit.feedback, c)
        p = np.exp(state.u_out) / np.exp(state.u_out).sum(axis=1, keepdims=True)
        e = circuit.closed_loop_target - p
        residuals.append(np.abs(c - kappa * e).max())
        found.append(CLOSED_LOOP.form.arrays(dataclasses.replace(state, z=e)))
    hint = hint_for(CLOSED_LOOP, trace, found)
    assert hint.startswith(
        f"c does not solve c = κ e: the residual c − κ e is {max(residuals):.2g},"
    )


def test_the_residual_of_u_is_that_of_the_layer_that_was_stopped_in():
    """The second layer after one of Newton's steps: u_E + φ_I(u_I) − a by section 6."""
    trace, found, residuals = golden(), [], []
    phi_E, phi_I = trace.configuration.activation_E, trace.configuration.activation_I
    for step, x in enumerate(trace.inputs):
        p = parameters_before(trace, step)
        right, short = (
            resting(backend_at(trace, p), x, newton_steps=n_steps) for n_steps in (60, 1)
        )
        first = Parameters(p.weights[1:], p.biases[1:], p.readout)
        h = rate(phi_E, right.u_E[0])
        a = h @ first.weights[0] + first.biases[0]
        # Newton's first step from 0.
        u = (a - rate(phi_I, rate(phi_E, 0 * a))) / (1 + 1 / (1 + np.exp(-np.log(2))) / 2)
        r = rate(phi_E, u)
        residuals.append(np.abs(u + rate(phi_I, r) - a).max())
        assert not np.allclose(short.u_E[0], right.u_E[0])
        found.append(
            {
                **OPEN_LOOP.form.arrays(right),
                "u_E_1": u,
                "u_I_1": r,
                "u_out": r @ p.readout,
            }
        )
    hint = hint_for(OPEN_LOOP, trace, found)
    assert f"u_E + φ_I(u_I) − a is {max(residuals):.2g} in hidden layer 1" in hint


def test_a_factor_of_one_step_is_said_step_by_step():
    trace = golden()
    found = [dict(GRADIENTS.golden(trace, step)) for step in range(3)]
    found[1] = {name: 7 * g for name, g in found[1].items()}
    hint = hint_for(GRADIENTS, trace, found)
    assert (
        hint
        == "all is right but for a factor: it is (1, 7, 1, step by step) times what it should be"
    )


def test_a_factor_that_is_none_is_not_said():
    """A deviation of the last digits is no mistake of a factor."""
    trace = golden()
    found = [dict(GRADIENTS.golden(trace, step)) for step in range(3)]
    found[1] = {name: (1 + 1e-7) * g for name, g in found[1].items()}
    assert hint_for(GRADIENTS, trace, found) == ""


def test_samples_are_told_by_their_order_in_the_first_step_that_is_wrong():
    trace = golden()
    found = [OPEN_LOOP.golden(trace, step) for step in range(3)]
    order = [2, 0, 1, 4, 3]
    found[1] = {name: array[order] for name, array in found[1].items()}
    hint = hint_for(OPEN_LOOP, trace, found)
    assert hint == (
        "samples are in another order: step 1 has the trace's numbers 2, 0, 1, 4, 3, where they "
        "count from 0"
    )


def test_a_state_that_misses_two_equations_is_no_search_that_stopped():
    trace = golden()
    found = [dict(OPEN_LOOP.golden(trace, step)) for step in range(3)]
    for arrays in found:
        arrays["u_E_0"] = arrays["u_E_0"] + 0.01
    assert hint_for(OPEN_LOOP, trace, found) == ""


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_of_what_is_no_number_nothing_is_said(wrong):
    trace = golden()
    found = [dict(OPEN_LOOP.golden(trace, step)) for step in range(3)]
    found[0]["u_out"] = np.full_like(found[0]["u_out"], wrong)
    assert hint_for(OPEN_LOOP, trace, found) == ""
    found[0]["u_out"] = np.zeros((1, 1))
    assert hint_for(OPEN_LOOP, trace, found) == ""
