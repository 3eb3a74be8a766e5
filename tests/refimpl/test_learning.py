"""The rule, the baseline and the losses against derivatives taken numerically."""

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from disinhib.refimpl.circuit import (
    Parameters,
    closed_loop_target,
    control_signal,
    error,
    error_jacobian,
    rate,
    sample_loss,
)
from disinhib.refimpl.configuration import (
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Solver,
)
from disinhib.refimpl.end_state import closed_loop_end_state, open_loop_end_state
from disinhib.refimpl.feedback import feedback_weights
from disinhib.refimpl.learning_step import learning_step, new_learner
from disinhib.refimpl.plasticity import (
    backprop_gradients,
    forward,
    plasticity_gradients,
    updated_mean_inhibition,
)

from .microcircuit import random_network, softrelu

SIZES = (5, 6, 4, 3)
LOSSES = ["softmax-cross-entropy", "mse"]


def stages(configuration, seed=0):
    parameters, x, y = random_network(configuration.sizes, seed)
    solver = Solver()
    open_loop, _ = open_loop_end_state(configuration, solver, parameters, x)
    Q = feedback_weights(configuration, parameters, open_loop)
    target = closed_loop_target(configuration.loss, configuration.feedback, open_loop.u_out, y)
    closed_loop, _ = closed_loop_end_state(
        configuration, solver, parameters, x, Q, target, open_loop
    )
    return parameters, x, y, open_loop, closed_loop, target


def numerical_gradient(function, array):
    gradient, h = np.zeros_like(array), 1e-6
    for i in np.ndindex(array.shape):
        original = array[i]
        array[i] = original + h
        above = function()
        array[i] = original - h
        below = function()
        array[i] = original
        gradient[i] = (above - below) / (2 * h)
    return gradient


def mean_loss(loss, u_out, y):
    """Section 3, through SciPy."""
    if loss == "mse":
        return np.mean(np.sum((y - u_out) ** 2, axis=-1)) / 2
    return -np.mean(np.sum(y * log_softmax(u_out, axis=-1), axis=-1))


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_error_and_jacobian_are_derivatives_of_each_other(loss):
    generator = np.random.default_rng(0)
    u, y = 3 * generator.standard_normal((1, 4)), softmax(generator.standard_normal((1, 4)))
    assert np.mean(sample_loss(loss, u, y)) == pytest.approx(mean_loss(loss, u, y), rel=1e-13)
    numerical = numerical_gradient(lambda: mean_loss(loss, u, y), u)
    np.testing.assert_allclose(error(loss, u, y), -numerical, rtol=0, atol=1e-8)
    S = error_jacobian(loss, u)[0]
    for k in range(4):
        column = numerical_gradient(lambda k=k: float(-error(loss, u, y)[0, k]), u)
        np.testing.assert_allclose(S[:, k], column[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_huge_potentials_do_not_overflow(loss):
    u = np.array([[1e4, -1e4, 0.0]])
    y = np.array([[0.99, 0.005, 0.005]])
    assert np.all(np.isfinite(error(loss, u, y)))
    assert np.all(np.isfinite(sample_loss(loss, u, y)))


def test_weak_targets_follow_the_model_page():
    weak = Feedback(strong=False, nudge=0.3)
    o, y = np.array([[0.5, -1.0, 2.0]]), np.array([[0.0, 1.0, 0.0]])
    expected = softmax(o + 0.3 * (y - softmax(o, axis=-1)), axis=-1)
    np.testing.assert_allclose(
        closed_loop_target("softmax-cross-entropy", weak, o, y), expected, rtol=1e-14
    )
    np.testing.assert_allclose(closed_loop_target("mse", weak, o, y), o + 0.3 * (y - o))
    np.testing.assert_array_equal(closed_loop_target("mse", Feedback(), o, y), y)


@pytest.mark.parametrize("loss", LOSSES)
def test_backprop_gradient_is_the_loss_gradient(loss):
    configuration = NetworkConfiguration(sizes=SIZES, loss=loss, rule="backprop")
    parameters, x, y = random_network(SIZES)

    def loss_now():
        h = x
        for W, b in zip(parameters.weights, parameters.biases, strict=True):
            h = softrelu(configuration.activation_E, h @ W + b)
        return mean_loss(loss, h @ parameters.readout, y)

    a, u_out = forward(configuration, parameters, x)
    g = backprop_gradients(configuration, parameters, x, y, a, u_out)
    for analytic, array in zip(
        (*g.weights, *g.biases, g.readout),
        (*parameters.weights, *parameters.biases, parameters.readout),
        strict=True,
    ):
        np.testing.assert_allclose(analytic, numerical_gradient(loss_now, array), rtol=0, atol=1e-8)


def direction(gradients: Parameters):
    return np.concatenate([g.ravel() for g in (*gradients.weights, *gradients.biases)])


@pytest.mark.parametrize("loss", LOSSES)
def test_weakly_controlled_the_rule_descends_the_loss(loss):
    """Without normalisation a vanishing error gives −c J φ_I' gain, nearly the loss gradient.

    The gradient of the microcircuit's own open-loop loss is taken numerically; loop gains
    differ between layers, so that directions agree rather than numbers.
    """
    feedback = Feedback(strong=False, nudge=1e-3, normalize=False)
    configuration = NetworkConfiguration(sizes=SIZES, loss=loss, feedback=feedback)
    parameters, x, y, open_loop, closed_loop, _ = stages(configuration)
    r_bar = tuple(np.ones(n) for n in SIZES[1:-1])
    g = plasticity_gradients(configuration, parameters, x, y, open_loop, closed_loop, r_bar)

    def loss_now():
        state, _ = open_loop_end_state(configuration, Solver(), parameters, x)
        return mean_loss(loss, state.u_out, y)

    arrays = (*parameters.weights, *parameters.biases)
    numerical = np.concatenate([numerical_gradient(loss_now, array).ravel() for array in arrays])
    learned = direction(g)
    cosine = learned @ numerical / (np.linalg.norm(learned) * np.linalg.norm(numerical))
    assert cosine > 0.8


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_written_out_neuron_by_neuron(loss):
    configuration = NetworkConfiguration(sizes=SIZES, loss=loss)
    parameters, x, y, open_loop, closed_loop, target = stages(configuration)
    r_bar = tuple(np.ones(n) for n in SIZES[1:-1])
    g = plasticity_gradients(configuration, parameters, x, y, open_loop, closed_loop, r_bar)
    phi, h = configuration.activation_E, 1e-6
    pre = x
    for l in range(2):
        u = closed_loop.u_E[l]
        slope = (softrelu(phi, u + h) - softrelu(phi, u - h)) / (2 * h)
        for i in range(pre.shape[1]):
            for j in range(u.shape[1]):
                post = closed_loop.u_I[l][:, j] - softrelu(phi, u[:, j])
                expected = np.mean(pre[:, i] * post * slope[:, j])
                assert g.weights[l][i, j] == pytest.approx(expected, abs=1e-9)
        pre = softrelu(phi, u)
    # At the fixed point δ_out = −c.
    c = control_signal(
        configuration.controller, error(loss, closed_loop.u_out, target), closed_loop.z
    )
    np.testing.assert_allclose(g.readout, -pre.T @ c / len(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_feedback_to_it_the_readout_follows_the_loss_gradient(loss):
    configuration = NetworkConfiguration(
        sizes=SIZES, loss=loss, feedback=Feedback(to_readout=False)
    )
    parameters, x, y, open_loop, closed_loop, _ = stages(configuration)
    r_bar = tuple(np.ones(n) for n in SIZES[1:-1])
    g = plasticity_gradients(configuration, parameters, x, y, open_loop, closed_loop, r_bar)
    r_E = rate(configuration.activation_E, open_loop.u_E[-1])
    numerical = numerical_gradient(
        lambda: mean_loss(loss, r_E @ parameters.readout, y), parameters.readout
    )
    np.testing.assert_allclose(g.readout, numerical, rtol=0, atol=1e-8)


def test_the_linear_threshold_touches_the_exact_inverse_where_it_is_linearised():
    """With one sample and ρ = 1, r̄ is the open-loop rate: c → 0 leaves no difference."""
    weak = Feedback(strong=False, nudge=1e-6)
    exact = NetworkConfiguration(sizes=SIZES, feedback=weak)
    linear = dataclasses.replace(exact, rule="linear-threshold")
    parameters, x, y, open_loop, closed_loop, _ = (
        part[:1] if isinstance(part, np.ndarray) else part for part in stages(exact)
    )
    one = [
        dataclasses.replace(
            state,
            u_E=tuple(u[:1] for u in state.u_E),
            u_I=tuple(u[:1] for u in state.u_I),
            u_out=state.u_out[:1],
            z=state.z[:1],
        )
        for state in (open_loop, closed_loop)
    ]
    r_bar = updated_mean_inhibition(linear, tuple(np.ones(n) for n in SIZES[1:-1]), one[0])
    expected = direction(plasticity_gradients(exact, parameters, x, y, *one, r_bar))
    found = direction(plasticity_gradients(linear, parameters, x, y, *one, r_bar))
    # Second order in the change of r_I, which is about 1e-6.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.max(np.abs(expected)) > 1e-8


def test_running_mean_of_inhibition():
    mean = MeanInhibition(rate=0.25)
    configuration = NetworkConfiguration(sizes=SIZES, mean_inhibition=mean)
    *_, open_loop, _, _ = stages(configuration)
    before = tuple(np.full(n, 0.8) for n in SIZES[1:-1])
    after = updated_mean_inhibition(configuration, before, open_loop)
    for r_bar, u_I in zip(after, open_loop.u_I, strict=True):
        batch_mean = softrelu(configuration.activation_I, u_I).mean(axis=0)
        np.testing.assert_allclose(r_bar, 0.75 * 0.8 + 0.25 * batch_mean, rtol=1e-13)


@pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold", "linear-threshold-fixed"])
def test_learning_reduces_the_loss(rule):
    configuration = NetworkConfiguration(sizes=(5, 12, 3), rule=rule)
    configuration = dataclasses.replace(
        configuration, optimizer=dataclasses.replace(configuration.optimizer, learning_rate=0.01)
    )
    parameters, x, y = random_network(configuration.sizes)
    learner = new_learner(configuration, parameters)
    losses = []
    for _ in range(60):
        learner, metrics = learning_step(configuration, Solver(), learner, x, y)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.7 * losses[0]


def test_closed_loop_is_nearer_to_the_target():
    configuration = NetworkConfiguration(sizes=SIZES)
    parameters, x, y = random_network(SIZES)
    _, metrics = learning_step(
        configuration, Solver(), new_learner(configuration, parameters), x, y
    )
    assert metrics.closed_loop_loss < metrics.loss


def clamped(parameters):
    """The same with biases at 0, by hand."""
    return dataclasses.replace(parameters, biases=tuple(0 * b for b in parameters.biases))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    "rule", ["exact-inverse", "linear-threshold", "linear-threshold-fixed", "backprop"]
)
def test_without_biases_weights_learn_as_with_biases_that_are_held_at_0(rule, optimizer):
    """Bit for bit; biases that are held by nobody make other weights from the second step on."""
    parameters, x, y = random_network(SIZES, 0)
    with_biases = NetworkConfiguration(
        sizes=SIZES, rule=rule, optimizer=Optimizer(optimizer, learning_rate=0.1)
    )
    without = dataclasses.replace(with_biases, bias=False)
    held = free = new_learner(with_biases, clamped(parameters))
    learner = new_learner(without, clamped(parameters))
    for step in range(3):
        held, free = (learning_step(with_biases, Solver(), one, x, y)[0] for one in (held, free))
        learner, _ = learning_step(without, Solver(), learner, x, y)
        assert all(np.any(b) for b in held.parameters.biases)
        held = dataclasses.replace(held, parameters=clamped(held.parameters))
        found, expected = (
            [*one.parameters.weights, one.parameters.readout] for one in (learner, held)
        )
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(found, free.parameters.weights, strict=False):
            assert np.array_equal(a, b) == (step == 0)
        moments = (learner.optimizer.first_moment, learner.optimizer.second_moment)
        for one in (learner.parameters, *(m for m in moments if m is not None)):
            assert not any(np.any(b) for b in one.biases)
