"""Descent and Adam against closed forms."""

import numpy as np
import pytest
from scipy.signal import lfilter

from disinhib.refimpl.circuit import Parameters
from disinhib.refimpl.configuration import Optimizer
from disinhib.refimpl.optimizer import initial_optimizer_state, optimizer_step


def one_weight(value):
    return Parameters((np.full((1, 1), value),), (np.full(1, value),), np.full((1, 1), value))


def walk(optimizer, gradients):
    parameters = one_weight(1.0)
    state = initial_optimizer_state(optimizer, parameters)
    path = []
    for g in gradients:
        parameters, state = optimizer_step(optimizer, parameters, one_weight(g), state)
        values = {float(a.ravel()[0]) for a in (*parameters.weights, *parameters.biases)}
        assert values == {float(parameters.readout[0, 0])}
        path.append(float(parameters.readout[0, 0]))
    assert state.n_steps == len(gradients)
    return np.array(path)


def test_plain_descent():
    gradients = np.array([0.5, -2.0, 1.0])
    path = walk(Optimizer("sgd", learning_rate=0.1), gradients)
    np.testing.assert_allclose(path, 1 - 0.1 * np.cumsum(gradients), rtol=1e-14)


@pytest.mark.parametrize("g", [1e-3, -5.0])
def test_adam_moves_by_the_learning_rate_along_a_constant_gradient(g):
    """Unbiased moments are g and g² then, exactly."""
    path = walk(Optimizer(learning_rate=0.01), [g] * 5)
    step = 0.01 * g / (abs(g) + 1e-8)
    np.testing.assert_allclose(path, 1 - step * np.arange(1, 6), rtol=1e-12)


def test_adam_is_two_exponential_filters():
    """The moments as SciPy's recursive filters, the bias correction as their step response."""
    optimizer = Optimizer(learning_rate=0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-3)
    g = np.random.default_rng(0).standard_normal(40)
    ones = np.ones_like(g)

    def filtered(beta, signal):
        return lfilter([1 - beta], [1, -beta], signal) / lfilter([1 - beta], [1, -beta], ones)

    steps = 0.01 * filtered(0.8, g) / (np.sqrt(filtered(0.95, g**2)) + 1e-3)
    np.testing.assert_allclose(walk(optimizer, g), 1 - np.cumsum(steps), rtol=1e-11)
