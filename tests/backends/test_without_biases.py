"""A network without biases: they begin at 0 and stay there, in every backend."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl import (
    ArgumentError,
    NetworkConfiguration,
    Optimizer,
    Solver,
    initial_parameters,
    map_arrays,
)
from disinhib.validation import named_arrays

from .implementations import IMPLEMENTATIONS, implementation
from .small_task import RULES, SIZES, arrays_of, task, trained

pytestmark = pytest.mark.parametrize("name", IMPLEMENTATIONS)
WITHOUT = NetworkConfiguration(sizes=SIZES, bias=False)


def biases_of(learner):
    moments = (learner.optimizer.first_moment, learner.optimizer.second_moment)
    parts = [learner.parameters, *(moment for moment in moments if moment is not None)]
    return np.concatenate([np.ravel(b) for part in parts for b in part.biases])


@pytest.mark.parametrize(("optimizer", "learning_rate"), [("adam", 0.01), ("sgd", 0.1)])
@pytest.mark.parametrize("rule", RULES)
def test_three_steps_are_the_reference_s_and_biases_stay_0(name, rule, optimizer, learning_rate):
    configuration = dataclasses.replace(
        WITHOUT, rule=rule, optimizer=Optimizer(optimizer, learning_rate)
    )
    _, learner = trained(implementation(name), configuration, Solver())
    _, reference = trained(NumpyBackend, configuration, Solver())
    _, other = trained(NumpyBackend, dataclasses.replace(configuration, bias=True), Solver())
    np.testing.assert_array_equal(biases_of(learner), 0)
    for a, b in zip(arrays_of(learner), arrays_of(reference), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
    # Where others have biases, which move their weights apart.
    apart = np.max(np.abs(learner.parameters.readout - other.parameters.readout))
    assert apart > 1e-6
    assert np.any(biases_of(other))


def test_gradients_of_biases_are_0_whatever_was_moved_along_before(name):
    x, y = task()
    backend = implementation(name)(
        WITHOUT, initial_parameters(SIZES, np.random.default_rng(0)), np.float64, Solver()
    )
    learner = backend.learner()
    ones = map_arrays(np.ones_like, learner.parameters)
    backend.update(ones, backend.learner().mean_inhibition)
    backend.load(learner)
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    g = backend.gradients(x, y, open_loop, closed_loop, learner.mean_inhibition)
    for path, array in named_arrays(g).items():
        assert np.any(array) == (not path.endswith("bias")), path
    backend.learning_step(x, y)
    np.testing.assert_array_equal(biases_of(backend.learner()), 0)


def test_replicas_have_none_either(name):
    x, y = task()
    networks = [initial_parameters(SIZES, np.random.default_rng(seed)) for seed in range(3)]
    parameters = map_arrays(lambda *arrays: np.stack(arrays), *networks)
    together = implementation(name)(WITHOUT, parameters, np.float64, Solver())
    together.train(together.place(x, y), np.arange(12).reshape(3, 4))
    learner = together.learner()
    np.testing.assert_array_equal(biases_of(learner), 0)
    alone = implementation(name)(WITHOUT, networks[2], np.float64, Solver())
    alone.train(alone.place(x, y), np.arange(12).reshape(3, 4))
    found, expected = learner.parameters.readout[2], alone.learner().parameters.readout
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_other_biases_to_begin_with_are_refused(name):
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    parameters.biases[1][3] = 0.25
    with pytest.raises(ArgumentError) as problem:
        implementation(name)(WITHOUT, parameters, np.float64, Solver())
    assert str(problem.value) == (
        "parameters: bias of hidden layer 1 is 0.25 at unit 3: 0 is needed, since the network is "
        "configured without biases"
    )
