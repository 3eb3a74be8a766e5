"""What is said is true: of mistakes that look like others, and of answers in part."""

import dataclasses
import re

import numpy as np
import pytest

from disinhib.experiments.conformance.report import TraceReport, explanation
from disinhib.validation import compare, first_deviation, named_arithmetic

from .fifth_hand import FOREIGN, SAMPLE as SAMPLE_OF_FOREIGN
from .fourth_hand import REVERSED_ON_PATH, SAMPLE as SAMPLE_OF_STRANGE, STRANGE
from .second_hand import port_candidate, trace_named
from .second_hand_port import Port
from .third_hand import MISLED, SAMPLE

DOUBLE = named_arithmetic("float64")


def judged(name, change, left_out="^$"):
    """What the judge says of the port, without answers at paths of a pattern."""
    candidate = port_candidate(trace_named(name), change)
    given = {
        path: array for path, array in candidate.arrays.items() if not re.search(left_out, path)
    }
    return compare(trace_named(name), dataclasses.replace(candidate, arrays=given), DOUBLE).results


def lines_of(results):
    return explanation(TraceReport("trace", "a port", results))


@pytest.mark.parametrize(
    "misled",
    [
        pytest.param(misled, id=misled.name, marks=[] if misled in sample else [pytest.mark.slow])
        for listed, sample in (
            (MISLED, SAMPLE),
            (STRANGE, SAMPLE_OF_STRANGE),
            (FOREIGN, SAMPLE_OF_FOREIGN),
        )
        for misled in listed
    ],
)
def test_no_hint_misleads(misled):
    """All mistakes are named that give the numbers of every step, and no other."""
    results = judged(misled.trace, misled.change)
    first = first_deviation(results)
    assert first.stage == misled.arises
    assert not first.hint_from
    named = first.hint.split("; or ") if first.hint else []
    assert len(named) == len(misled.says), first.hint
    for said in misled.says:
        assert any(said in hint for hint in named), first.hint
    assert not misled.says or first.is_usual == misled.is_usual
    words = "\n".join(lines_of(results))
    assert ("those of a usual mistake" in words) == bool(misled.says and misled.is_usual)
    assert ("no mistake is known that gives these numbers" in words) == bool(
        misled.says and not misled.is_usual
    )


# Answers in part.

AT_ALL_RATES = {
    "delta": lambda port, l, closed, opened: (
        (port.estimate(closed.u_I[l], l) - port.rate("E", closed.u_E[l]))
        * port.slope("E", port.rate("E", closed.u_E[l]))
    )
}
SUMMED = {"count": lambda port, xs: 1}
UNNORMALISED = {"normalized": lambda port, Q_l: Q_l}
NUDGED_OUTSIDE = {
    "target": lambda port, o, y: port.softmax(o) + port.s["feedback.nudge"] * (y - port.softmax(o)),
    "trajectories": lambda port: (),
}
WITHOUT_C = {"direct": lambda port, c: 0 * c, "trajectories": lambda port: ()}
LAYER_1_TWICE = {
    "drive": lambda port, l, below: (
        Port.drive(port, l, below) + (port.p[f"hidden_{l}/bias"] if l == 1 else 0)
    )
}
OF_MEAN_POTENTIAL = {
    "batch_mean": lambda port, states, l: port.rate(
        "I", sum(state.u_I[l] for state in states) / len(states)
    )
}

EPSILON_INSIDE = {
    "quotient": lambda port, m, v, t: (
        m
        / port.bias_correction(port.s["optimizer.beta_1"], t)
        / np.sqrt(v / port.bias_correction(port.s["optimizer.beta_2"], t) + 1e-8)
    )
}
HIDDEN_SUMMED = {"delta": lambda port, *given: len(port.labels[0]) * Port.delta(port, *given)}
SMALLER_ERROR = {"error": lambda port, u_out, target: 0.7 * Port.error(port, u_out, target)}


@pytest.mark.parametrize(
    ("name", "change", "left_out", "stage", "unseen", "says"),
    [
        ("plain-descent", SUMMED, "/gradients/", "optimiser update", "gradients", "summed over"),
        pytest.param(
            "plain-descent",
            AT_ALL_RATES,
            "/gradients/",
            "optimiser update",
            "gradients",
            "rates where potentials belong: φ_E' is to be taken at u_E",
            marks=pytest.mark.slow,
        ),
        (
            "exact-inverse",
            UNNORMALISED,
            "/feedback/|trajectory",
            "closed loop",
            "feedback weights",
            "the normalisation is missing",
        ),
        pytest.param(
            "exact-inverse",
            UNNORMALISED,
            "/feedback/|/closed_loop/|trajectory|_loss",
            "gradients",
            "feedback weights, closed loop",
            "the normalisation is missing",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "weak-feedback",
            NUDGED_OUTSIDE,
            "closed_loop_targets",
            "closed loop",
            "closed-loop target",
            "the nudge is applied to probabilities",
            marks=pytest.mark.slow,
        ),
        (
            "exact-inverse",
            WITHOUT_C,
            "/closed_loop/|_loss",
            "gradients",
            "closed loop",
            "the readout's own feedback",
        ),
        (
            "linear-threshold",
            OF_MEAN_POTENTIAL,
            "/mean_inhibition/",
            "gradients",
            "mean inhibition",
            "the rate of the mean potential",
        ),
        pytest.param(
            "plain-descent",
            LAYER_1_TWICE,
            "/open_loop/",
            "feedback weights",
            "open loop",
            "",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_was_left_out_is_not_taken_for_right(name, change, left_out, stage, unseen, says):
    """The stage that shows an error is not blamed for it, and the mistake is named where it was."""
    results = judged(name, change, left_out)
    first = first_deviation(results)
    assert (first.stage, first.first_step) == (stage, 0)
    where = f"not given before it: {unseen} of step 0; the error may be in any stage that was not"
    assert first.unseen == where
    lines = lines_of(results)
    assert f"The first deviation shows in: {stage}, step 0." in lines
    assert any(where in line for line in lines)
    assert first.hint.startswith(says)
    if says:
        last = unseen.split(", ", maxsplit=1)[0]
        assert first.hint.endswith(f"(in {last}, not given)")
        assert any("would be those of a usual mistake" in line for line in lines)
    assert bool(first.hint) == bool(says)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [(SUMMED, "/closed_loop/"), (SUMMED, "/feedback/"), (AT_ALL_RATES, "$a^")],
    ids=["the closed loop", "feedback weights", "nothing"],
)
def test_what_is_wrong_by_what_was_given_is_blamed_itself(change, left_out):
    """Feedback weights show in the closed loop alone, which is right."""
    results = judged("plain-descent", change, left_out)
    first = first_deviation(results)
    assert (first.stage, first.first_step) == ("gradients", 0)
    assert ("closed loop" in first.unseen) == ("closed_loop" in left_out)
    assert bool(first.unseen) == ("closed_loop" in left_out)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (EPSILON_INSIDE, "Adam's ε is inside the root: m̂ / (√v̂ + ε)"),
        (HIDDEN_SUMMED, "the hidden layers' gradients are summed over the batch: g is a mean"),
    ],
    ids=["ε inside the root", "hidden layers summed"],
)
def test_gradients_that_were_left_out_follow_from_the_ports_own_states(change, says):
    """Those of the trace belong to parameters that the port has left after the first step."""
    first = first_deviation(judged("exact-inverse", change, "/gradients/"))
    assert (first.stage, first.first_step) == ("optimiser update", 0)
    assert first.hint.removesuffix(" (in gradients, not given)") == says


def test_of_a_path_it_is_said_that_its_end_state_is_no_number():
    def reversed_and_lost(port, x, Q, target, open_loop):
        state = Port.closed_loop(port, x, Q, target, open_loop)
        state.u_E[0] = np.nan * state.u_E[0]
        return state

    results = judged("one-hidden-mse", {**REVERSED_ON_PATH, "closed_loop": reversed_and_lost})
    first = first_deviation(results)
    assert first.stage == "closed-loop trajectory"
    assert first.hint.startswith("the sign of the error")
    assert "  the closed loop of step 0 fails too: u_E_0: NaN in every sample" in lines_of(results)


def test_final_parameters_of_steps_that_were_not_given_accuse_no_step():
    results = judged("plain-descent", SUMMED, "steps/|_loss|n_correct")
    (run,) = (result for result in results if not result.passed)
    assert "optimiser update" in run.unseen
    assert run.unseen.endswith("the error may be in any stage that was not")


@pytest.mark.slow
def test_a_path_and_its_end_state_are_told_apart():
    """Where the path has no hint, that of the end state is said to be of the end state."""
    results = judged("exact-inverse", SMALLER_ERROR)
    first = first_deviation(results)
    assert first.stage == "closed-loop trajectory"
    assert first.hint_from == "closed loop of step 0"
    lines = lines_of(results)
    assert any("the closed loop of step 0 fails too" in line for line in lines)
    assert any("its numbers" in line for line in lines)
