"""The standard set: what it covers, and that every implementation agrees on it."""

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl.configuration import LOSSES, RULES
from disinhib.validation import conform_each, record_standard_case
from disinhib.validation.judge.stability import stability_in_words, trace_growth_rates
from disinhib.validation.trace.cases import (
    FEEDBACK_OPTIONS,
    case_data,
    random_network,
    standard_cases,
)
from disinhib.validation.trace.recording import record_trace

from ..backends.implementations import IMPLEMENTATIONS, JUDGED_TOGETHER, implementation

CASES = {case.name: case for case in standard_cases()}
DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
QUICK = (
    "linear-threshold-fixed-mse-clipped",
    "linear-threshold-fixed-mse-unnormalised",
    "linear-threshold-softmax-cross-entropy-readout-free",
    "without-weights",
    "without-biases",
    "without-gain",
    "unequal-activations-linear-threshold",
    "strong-gain",
    "near-silent",
    "saturated-linear-threshold",
    "one-unit-layers",
    "backprop-softmax-cross-entropy-default",
)
"""Of the fast tests."""
UNSTABLE = ("unstable-fixed-point", "changing-slopes")


def test_every_rule_loss_and_option_is_there():
    found = {
        (c.configuration.rule, c.configuration.loss, c.configuration.feedback)
        for c in CASES.values()
    }
    for loss in LOSSES:
        for rule in RULES:
            for feedback in FEEDBACK_OPTIONS.values():
                # Backprop feeds nothing back.
                assert rule == "backprop" or (rule, loss, feedback) in found
            assert any(f[:2] == (rule, loss) for f in found)
    assert {c.configuration.n_hidden for c in CASES.values()} >= {1, 2, 3, 4, 5}
    assert any(c.configuration.activation_E != c.configuration.activation_I for c in CASES.values())
    assert len(CASES) == len(list(standard_cases())) == 85


def test_the_extremes_are_extreme():
    """In the units that make them so, at the recorded states."""

    def rates_E(name):
        circuit = record_standard_case(CASES[name]).steps[0].circuit
        return [np.logaddexp(0, u) for u in circuit.open_loop.u_E]

    assert max(r.max() for r in rates_E("near-silent")) < 1e-4
    assert max(r.max() for r in rates_E("saturated")) > 50
    # Beside 1 they are nothing.
    assert max(r.max() for r in rates_E("far-silent")) < 2**-53
    means = record_standard_case(CASES["far-saturated"]).steps[0].circuit.mean_inhibition
    with np.errstate(over="ignore"):
        assert any(np.any(np.isinf(np.expm1(r))) for r in means)
    without_weights = record_standard_case(CASES["without-weights"]).steps
    assert [[bool(np.any(Q)) for Q in step.circuit.feedback] for step in without_weights] == [
        [False, False],
        [False, True],
        [True, True],
    ]
    stiff = CASES["stiff-time-constants"].configuration
    assert stiff.controller.tau / stiff.tau_I == 20_000
    assert CASES["strong-gain"].configuration.controller.steady_gain > 100


def test_a_matrix_frozen_at_the_open_loop_does_not_do_everywhere():
    trace = record_standard_case(CASES["changing-slopes"])
    backend = NumpyBackend(trace.configuration, trace.initial_parameters, np.float64, trace.solver)
    counts = [
        backend.learning_step(x, y).closed_loop_counts
        for x, y in zip(trace.inputs, trace.targets, strict=True)
    ]
    assert all(one.fresh_newton > 0 for one in counts)
    assert all(one.integrated == 0 for one in counts)


def test_a_case_is_the_same_every_time():
    first, second = (case_data(CASES["depth-3"]) for _ in range(2))
    np.testing.assert_array_equal(first[0].weights[1], second[0].weights[1])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])


@pytest.mark.parametrize("names", JUDGED_TOGETHER)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES],
)
def test_every_implementation_agrees(case, dtype, names):
    trace = record_standard_case(CASES[case])
    judged = conform_each(trace, [implementation(name) for name in names], dtype)
    for name, results in zip(names, judged, strict=True):
        assert [(r.stage, r.used, r.worst) for r in results if not r.passed] == [], name
        if dtype == np.float64:
            # What rounding allows is no loophole: no stage needs more than the README's figures.
            # In a run Adam may divide a gradient that rounding rules by its own size.
            for r in results[:-1]:
                limit = 1e-12 if "trajectory" in r.stage else 1e-9
                if r.stage == "losses":
                    # The figures are relative, but a loss's tolerance is in natural units.
                    limit *= max(1.0, np.max(trace.open_loop_loss))
                assert r.tolerance <= limit * (1 + 1e-12), r


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 40))]
)
@pytest.mark.parametrize("maker", IMPLEMENTATIONS)
def test_implementations_agree_with_each_other_on_random_networks(maker, seed):
    network = random_network(seed)
    trace = record_trace(
        network.configuration,
        network.parameters,
        network.inputs,
        network.targets,
        backend_class=implementation(maker),
    )
    names = [name for together in JUDGED_TOGETHER for name in together.values[0]]
    kinds = [implementation(name) for name in names]
    for dtype in DTYPES:
        for name, results in zip(names, conform_each(trace, kinds, dtype), strict=True):
            assert [(r.stage, r.used) for r in results if not r.passed] == [], name


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([*QUICK, *UNSTABLE], id="some"),
        pytest.param(list(CASES), id="all", marks=pytest.mark.slow),
    ],
)
def test_the_standard_cases_are_stable_but_for_those_that_say_so(names):
    """Growth of a disturbance, per second: a leak of 1 over 100 ms gives −10 where it rules."""
    unstable = []
    for case in map(CASES.__getitem__, names):
        trace = record_standard_case(case)
        rates = trace_growth_rates(trace)
        if rates is None:
            assert case.configuration.rule == "backprop"
            continue
        said = stability_in_words(trace)
        if np.any(rates > 0):
            unstable.append(case.name)
            assert said.startswith(f"UNSTABLE: of the trace, {np.sum(rates > 0)} of {rates.size} ")
        else:
            assert said.startswith("Of the trace, all closed-loop end states are stable")
    assert unstable == [case for case in names if case in UNSTABLE]
