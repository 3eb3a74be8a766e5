"""Where a right search may stop, and where rounding alone gives a direction: neither is a fault."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import drive, rate
from disinhib.refimpl.fixed_point import equilibrium
from disinhib.validation import conform, record_standard_case
from disinhib.validation.judge.allowance import (
    learning_run,
    reference_for,
    rounding_effects,
    run_effects,
)
from disinhib.validation.judge.stages import CLOSED_LOOP, state_arrays
from disinhib.validation.judge.tolerance import float_arithmetic
from disinhib.validation.trace.cases import random_network, standard_cases
from disinhib.validation.trace.recording import record_trace

CASES = {case.name: case for case in standard_cases()}
FLOAT32 = float_arithmetic(np.float32)


def admitted_step(kappa, c, u_out):
    """By the porting guide, section 5."""
    size = np.max(np.abs(c), axis=-1) + min(kappa, 1) * (1 + np.max(np.abs(u_out), axis=-1))
    return np.finfo(np.float32).eps ** 0.75 * size[:, None]


@pytest.mark.parametrize(
    "case",
    [
        "linear-threshold-fixed-mse-unnormalised",
        "linear-threshold-softmax-cross-entropy-readout-free",
        "strong-gain",
        pytest.param("saturated", marks=pytest.mark.slow),
        pytest.param("near-silent", marks=pytest.mark.slow),
        pytest.param("depth-5", marks=pytest.mark.slow),
    ],
)
def test_a_search_may_stop_where_steps_that_halve_have_one_admitted_step_left(case):
    """Such a step and all that follow are at most twice it; the integral lacks all but the first.
    Twenty times that is another end state, but where a great gain makes room for a residual.
    """
    trace = record_standard_case(CASES[case])
    configuration, circuit = trace.configuration, trace.steps[0].circuit
    controller, parameters = configuration.controller, trace.initial_parameters
    reference = reference_for(trace, trace.solver)
    exact, allowed = rounding_effects(CLOSED_LOOP, reference, trace, 0, FLOAT32, True)
    gain = controller.k_p * controller.leak + controller.k_i
    c = gain * exact["c_int"]
    a_1 = drive(trace.inputs[0], parameters.weights[0], parameters.biases[0])
    step = admitted_step(controller.steady_gain, c, exact["u_out"])

    def used(steps, signs):
        left = 2 * steps * step * signs
        state, solved = equilibrium(
            configuration, parameters, a_1, circuit.feedback, c + left, circuit.closed_loop
        )
        assert np.all(solved)
        found = {**state_arrays(state), "c_int": (c + left / 2) / gain}
        return max(np.max(np.abs(found[name] - exact[name])) / allowed[name] for name in exact)

    generator = np.random.default_rng(1)
    every = [generator.choice([-1.0, 1.0], c.shape) for _ in range(20)]
    every += [np.where(c < 0, -1.0, 1.0), np.where(c < 0, 1.0, -1.0)]
    assert max(used(1, signs) for signs in every) <= 1
    assert case == "strong-gain" or min(used(20, signs) for signs in every) > 1


def test_a_search_in_float32_that_left_a_whole_step_is_right():
    network = random_network(3)
    trace = record_trace(network.configuration, network.parameters, network.inputs, network.targets)
    results = conform(trace, NumpyBackend, np.dtype(np.float32))
    assert [(r.stage, r.used) for r in results if not r.passed] == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_feedback_that_only_rounding_gives_a_direction_may_have_any(dtype):
    """Weights of 0 give none, but what rounding leaves of û_I − r_E moves them, however little, and
    the feedback through them is normalised. Without weights all samples have the same rates.
    """
    trace = record_standard_case(CASES["without-weights"])
    arithmetic = float_arithmetic(dtype)
    allowed = run_effects(reference_for(trace, trace.solver), trace, arithmetic, True)
    reference = reference_for(trace, trace.solver)
    begun = reference.learner()
    r_E = rate(trace.configuration.activation_E, trace.steps[0].circuit.open_loop.u_E[0][0])
    right = learning_run(reference, trace)
    generator = np.random.default_rng(1)
    largest = dict.fromkeys(right, 0.0)
    for _ in range(20):
        W_1, W_2 = begun.parameters.weights
        delta = arithmetic.epsilon / 100 * generator.standard_normal(W_2.shape[1])
        parameters = dataclasses.replace(
            begun.parameters, weights=(W_1, W_2 - np.outer(r_E, delta))
        )
        reference.load(dataclasses.replace(begun, parameters=parameters))
        found = learning_run(reference, trace)
        for name, array in found.items():
            largest[name] = max(largest[name], np.max(np.abs(array - right[name])))
    # What is normalised does not go with the size of the rounding.
    assert largest["hidden_0/weight"] > 1e-4
    assert {
        name: size / allowed[name] for name, size in largest.items() if size > allowed[name]
    } == {}
    # And what may be is no more than is.
    assert allowed["hidden_0/weight"] < 2 * largest["hidden_0/weight"]
