"""How a chip rounds: told by its deviations, and judged by what it says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from disinhib.experiments.conformance.report import TraceReport, explanation
from disinhib.refimpl.configuration import ConfigurationError
from disinhib.validation import (
    Candidate,
    compare,
    first_deviation,
    named_arithmetic,
    read_candidate,
    read_trace,
    record_standard_case,
    shipped_directory,
)
from disinhib.validation.judge.tolerance import disturbance, mean_error, rounding_size
from disinhib.validation.trace.cases import standard_cases

from .coarse import MODES, fixed_point, write_coarse_answers
from .fault import PLAIN
from .second_hand_port import Port

CASES = {case.name: case for case in standard_cases()}
TRACES = ("one-hidden-mse", "exact-inverse", "weak-feedback")
FALSE_ALARMS = (
    "linear-threshold-mse-averaged",
    "linear-threshold-fixed-mse-readout-free",
    "linear-threshold-fixed-softmax-cross-entropy-weak-averaged",
)


def first_fast(names):
    """The first of them stands for all in the fast tests."""
    return [names[0], *(pytest.param(name, marks=pytest.mark.slow) for name in names[1:])]


def judged(trace, mode, directory, said):
    path = write_coarse_answers(directory / "answers.h5", trace, fixed_point(16, mode))
    return compare(trace, read_candidate(path, trace), named_arithmetic(said)).results


@pytest.mark.parametrize("name", first_fast(TRACES))
@pytest.mark.parametrize("mode", ["nearest-even", "floor", "truncate"])
def test_floor_and_truncation_are_told_from_nearest(name, mode, tmp_path):
    trace = read_trace(shipped_directory() / f"{name}.h5")
    results = judged(trace, mode, tmp_path, "fixed16")
    # By their size alone they are within what sixteen bits leave.
    assert first_deviation(results) is None
    said = {r.stage: r.bias for r in results if r.bias}
    if mode == "nearest-even":
        assert said == {}
        return
    own, other = ("floor", "towards zero") if mode == "floor" else ("truncation", "floor?")
    assert {"open loop", "feedback weights", "gradients", "optimiser update"} <= set(said)
    for stage, words in said.items():
        assert own in words, (stage, words)
        assert other not in words, (stage, words)
    lines = explanation(TraceReport("trace", "chip", results))
    assert any("Deviations are biased" in line for line in lines)


@pytest.mark.parametrize(
    ("mode", "said", "passes"),
    [
        ("floor", "fixed16:floor", True),
        ("floor", "fixed16:nearest-even", False),
        ("truncate", "fixed16:truncate", True),
        ("truncate", "fixed16:stochastic", False),
        ("nearest-even", "fixed16:nearest-even", True),
        ("nearest-away", "fixed16:nearest-away", True),
    ],
)
def test_what_is_said_is_judged(mode, said, passes, tmp_path):
    trace = read_trace(shipped_directory() / "one-hidden-mse.h5")
    first = first_deviation(judged(trace, mode, tmp_path, said))
    assert (first is None) == passes
    if not passes:
        assert first.is_refuted
        lines = explanation(TraceReport("trace", "chip", [first]))
        assert any("said to round otherwise" in line for line in lines)


@pytest.mark.parametrize("name", first_fast(FALSE_ALARMS))
def test_a_gradient_without_a_sign_is_no_false_alarm(name, tmp_path):
    """Adam moves by its rate in the direction of a sign that lies below the last bit."""
    trace = record_standard_case(CASES[name])
    assert first_deviation(judged(trace, "nearest-even", tmp_path, "fixed16")) is None


def test_what_saturates_is_expected_to():
    arithmetic = named_arithmetic("fixed16:floor:saturate2")
    numbers = np.array([-5.0, -4.0, 0.5, 3.9999, 4.0, 17.0])
    most = 4 - 2**-16
    np.testing.assert_array_equal(
        arithmetic.saturated(numbers), [-4.0, -4.0, 0.5, 3.9999, most, most]
    )
    assert named_arithmetic("fixed16").saturated(numbers) is numbers


@pytest.mark.parametrize(
    "name",
    ["fixed16:up", "fixed16:floor:floor", "fixed16:saturate", "float32:floor", "fixed16:"],
)
def test_another_way_to_round_is_refused(name):
    with pytest.raises(ConfigurationError, match="precision is"):
        named_arithmetic(name)


@pytest.mark.parametrize("mode", ["floor", "truncate"])
def test_the_disturbance_of_biased_rounding_is_as_large_as_rounding_every_term(mode):
    """A sum of n products, each rounded before it is added, against the exact sum."""
    n, bits = 200, 16
    generator = np.random.default_rng(1)
    arithmetic = named_arithmetic(f"fixed{bits}:{mode}")
    terms = generator.uniform(0, 1, (1000, n))
    off = np.sum(fixed_point(bits, mode)(terms), axis=1) - np.sum(terms, axis=1)
    size, mean = rounding_size(arithmetic, n), mean_error(arithmetic, n)
    assert np.max(np.abs(off)) <= size * (1 + mean)
    generators = [np.random.default_rng(seed) for seed in range(40)]
    disturbed = disturbance(arithmetic, size, generators, mean)(np.ones((40, 50)))
    # Of a draw the mean is one number, between none and that of every term.
    means = np.mean(disturbed - 1, axis=1)
    assert np.min(means) < np.mean(off) * 0.9
    assert np.max(means) < size / 4


def test_all_modes_are_tried():
    assert set(MODES) == {"nearest-even", "nearest-away", "floor", "truncate"}


ARITHMETICS = {
    "fixed16": (fixed_point(16, "nearest-even"), 2.0**-16),
    "fixed16:floor": (fixed_point(16, "floor"), 2.0**-16),
    "float16": (lambda a: np.asarray(a).astype(np.float16).astype(float), 2.0**-10),
}


class WideMoments(Port):
    """Adam's second moments, squares of small numbers, would fall below the last of few bits."""

    def moments(self, name, g):
        b_1, b_2 = self.s["optimizer.beta_1"], self.s["optimizer.beta_2"]
        m, v = self.m.get(name, 0 * g), self.v.get(name, 0 * g)
        return b_1 * m + (1 - b_1) * g, b_2 * v + (1 - b_2) * g**2


def judged_port(trace, said, port=WideMoments):
    """A port by another hand, which rounds the result of every operation."""
    with np.errstate(all="ignore"):
        answers = port(trace, *ARITHMETICS[said]).answers()
    candidate = Candidate(Path("a port"), answers)
    return compare(trace, candidate, named_arithmetic(said)).results


@pytest.mark.parametrize("said", ["fixed16", "float16"])
def test_a_port_that_rounds_every_operation_to_nearest_is_right_and_leans_nowhere(said):
    """Along its trajectories, too, where each entry has the error of the last."""
    results = judged_port(read_trace(shipped_directory() / "one-hidden-mse.h5"), said)
    assert first_deviation(results) is None
    assert {r.bias for r in results} == {""}


@pytest.mark.parametrize(
    ("case", "said", "stage", "words"),
    [
        ("near-silent", "fixed16", "feedback weights", "keep J wider"),
        pytest.param(
            "near-silent", "float16", "feedback weights", "keep J wider", marks=pytest.mark.slow
        ),
        ("unstable-fixed-point", "fixed16:floor", "feedback weights", "keep J wider"),
        pytest.param("depth-4", "fixed16", "feedback weights", "keep J", marks=pytest.mark.slow),
        pytest.param("depth-5", "fixed16", "feedback weights", "keep J", marks=pytest.mark.slow),
        pytest.param(
            *("stiff-time-constants", "fixed16", "open-loop trajectory", "of the shortest time"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_sixteen_bits_cannot_resolve_is_said_and_no_mistake_is_guessed(
    case, said, stage, words
):
    results = judged_port(record_standard_case(CASES[case]), said)
    first = first_deviation(results)
    assert first.stage == stage
    assert words in first.coarseness
    assert (first.hint, first.bias) == ("", "")
    lines = explanation(TraceReport("trace", "chip", results))
    assert any("the arithmetic is too coarse" in line for line in lines)


@pytest.mark.slow
def test_moments_below_the_last_place_are_said_to_be_there():
    trace = dataclasses.replace(record_standard_case(CASES[PLAIN]), trajectory=None)
    first = first_deviation(judged_port(trace, "fixed16", Port))
    assert first.stage == "optimiser update"
    assert "second moments are to be kept wider" in first.coarseness
    assert first.hint == ""


def test_a_mistake_in_sixteen_bits_is_no_matter_of_coarseness():
    """Q of the wrong sign, in the same arithmetic."""
    trace = dataclasses.replace(record_standard_case(CASES[PLAIN]), trajectory=None)

    class Negated(WideMoments):
        def normalized(self, Q_l):
            return -super().normalized(Q_l)

    first = first_deviation(judged_port(trace, "fixed16", Negated))
    assert (first.stage, first.coarseness) == ("feedback weights", "")
    assert first.hint.startswith("the sign of Q")
