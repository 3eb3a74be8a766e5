"""Every implementation against the reference, on every combination of what can be chosen."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import (
    Controller,
    Feedback,
    NetworkConfiguration,
    Optimizer,
    SoftReLU,
    Solver,
)

from .implementations import IMPLEMENTATIONS, implementation
from .small_task import FEEDBACK, LOSSES, RULES, SIZES, SOLVERS, arrays_of, task, trained

pytestmark = pytest.mark.parametrize("name", [p for p in IMPLEMENTATIONS if p.id != "numpy"])


FAST_INTEGRATIONS = [("tsit5", "sgd"), ("tsit5 constant", "sgd"), ("euler", "adam")]
"""The reference takes seconds to integrate: in the fast tests all feedback options at once stand
for each of them, and an optimiser for both, which what it descends does not concern."""


@functools.cache
def reference_run(configuration, method):
    """What each of the implementations is held against."""
    return trained(NumpyBackend, configuration, SOLVERS[method])


@pytest.mark.parametrize(
    ("feedback", "method", "optimizer"),
    [
        pytest.param(feedback, method, optimizer, marks=[] if fast else [pytest.mark.slow])
        for feedback, method, optimizer in itertools.product(FEEDBACK, SOLVERS, ["sgd", "adam"])
        for fast in [
            method == "fixed-point"
            or (feedback == "all" and (method, optimizer) in FAST_INTEGRATIONS)
        ]
    ],
)
def test_three_steps_of_every_combination_are_the_reference_s(name, feedback, method, optimizer):
    """Plain descent, so that a gradient's own size is compared, and Adam in its turn."""
    for rule, loss in itertools.product(RULES, LOSSES):
        if rule == "backprop" and (feedback != "default" or method != "fixed-point"):
            continue
        configuration = NetworkConfiguration(
            sizes=SIZES,
            rule=rule,
            loss=loss,
            activation_I=SoftReLU(0.9, 1.1, 0.1),
            feedback=Feedback(**FEEDBACK[feedback]),
            optimizer=Optimizer(optimizer, learning_rate=0.01),
        )
        found, learner = trained(implementation(name), configuration, SOLVERS[method])
        expected, reference = reference_run(configuration, method)
        # Both fixed points may leave a residual of ε^¾ κ times outputs of about 1, which Adam
        # passes on in proportion to the gradients it came from.
        atol = 1e-9 if optimizer == "sgd" else 1e-7
        for a, b in zip(arrays_of(learner), arrays_of(reference), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=f"{rule} {loss}")
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-9)
        np.testing.assert_allclose(found.closed_loop_loss, expected.closed_loop_loss, rtol=1e-8)
        np.testing.assert_array_equal(found.n_correct, expected.n_correct)
        found, expected = found.closed_loop_n_correct, expected.closed_loop_n_correct
        assert (found is None) == (expected is None) == (rule == "backprop")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("n_out", [1, 2, 40])
def test_other_depths_and_outputs(name, depth, n_out):
    sizes = (6, *range(4, 4 + depth), n_out)
    configuration = NetworkConfiguration(sizes=sizes, loss="mse")
    generator = np.random.default_rng(1)
    x, y = generator.random((4, 6)), generator.random((4, n_out))
    parameters = initial_parameters(sizes, generator)
    learners = []
    for kind in (implementation(name), NumpyBackend):
        backend = kind(configuration, parameters, np.float64, Solver())
        backend.learning_step(x, y)
        learners.append(backend.learner())
    for a, b in zip(*map(arrays_of, learners), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def test_what_the_quick_search_leaves_is_solved_too(name):
    """So strong a controller that Broyden's method from a rough matrix may fail."""
    configuration = NetworkConfiguration(
        sizes=SIZES,
        loss="mse",
        activation_E=SoftReLU(3, 3, 0.5),
        controller=Controller(k_p=5, k_i=500),
    )
    x, y = task()
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    strong = dataclasses.replace(parameters, readout=parameters.readout * 20)
    solver = dataclasses.replace(Solver(), horizon=30.0)
    kinds = (implementation(name), NumpyBackend)
    backends = [kind(configuration, strong, np.float64, solver) for kind in kinds]
    results = []
    for backend in backends:
        open_loop, _ = backend.open_loop(x)
        Q = backend.feedback_weights(open_loop)
        results.append(backend.closed_loop(x, Q, 3 * y, open_loop))
    (found, counts), (expected, _) = results
    assert counts.frozen_newton < 12
    assert counts.frozen_newton + counts.fresh_newton + counts.integrated == 12
    assert counts.unsettled == 0
    np.testing.assert_allclose(found.u_out, expected.u_out, rtol=0, atol=1e-6)
