"""A sample that comes to rest nowhere: no loss, no right answer, nothing of it in the others."""

import dataclasses

import numpy as np
import pytest

from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import NetworkConfiguration, Optimizer, Solver

from .implementations import IMPLEMENTATIONS, implementation
from .small_task import LOSSES, RULES, SIZES, task

LOST = 2
every_backend = pytest.mark.parametrize("name", IMPLEMENTATIONS)


def built(
    name, dtype, parameters, rule="exact-inverse", loss="mse", method="fixed-point", horizon=1.0
):
    configuration = NetworkConfiguration(
        sizes=SIZES, rule=rule, loss=loss, optimizer=Optimizer("sgd")
    )
    return implementation(name)(
        configuration, parameters, dtype, Solver(method=method, horizon=horizon)
    )


def network_and_task(dtype):
    """Positive weights into the first layer, and one sample whose sum over them overflows."""
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    first = np.abs(parameters.weights[0]) + 1
    x, y = task()
    x[LOST] = np.finfo(dtype).max
    return dataclasses.replace(parameters, weights=(first, *parameters.weights[1:])), x, y


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_that_are_no_numbers_are_neither_right_nor_a_loss(name, dtype, loss):
    """Rates are finite, the outputs that they add up to are not."""
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    largest = np.full_like(parameters.readout, np.finfo(dtype).max)
    parameters = dataclasses.replace(parameters, readout=largest)
    backend = built(name, dtype, parameters, loss=loss)
    x, y = task()
    # Where largest outputs are looked for among what is none, the first is found.
    y = np.roll(np.sort(y, axis=-1), 1, axis=-1)
    assert np.all(np.argmax(y, axis=-1) == 0)
    evaluation = backend.evaluate(backend.place(x, y))
    assert not np.isfinite(evaluation.loss)
    assert evaluation.accuracy == 0
    plain = built(name, dtype, parameters, "backprop", loss)
    metrics = plain.train(plain.place(x, y), np.arange(12).reshape(1, 12))
    assert not np.isfinite(metrics.loss[0])
    assert metrics.n_correct[0] == 0


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["fixed-point", "tsit5", "euler"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_sample_without_an_end_state_has_no_loss(name, dtype, method, loss):
    parameters, x, y = network_and_task(dtype)
    backend = built(name, dtype, parameters, loss=loss, method=method)
    state, counts = backend.open_loop(x)
    assert counts.unsettled == 1
    for u in (*state.u_E, *state.u_I, state.u_out):
        assert np.all(np.isnan(u[LOST]))
    others = np.delete(np.arange(12), LOST)
    alone, _ = built(name, dtype, parameters, loss=loss, method=method).open_loop(x[others])
    np.testing.assert_allclose(state.u_out[others], alone.u_out, rtol=1e-4)
    evaluation = backend.evaluate(backend.place(x, y))
    assert np.isnan(evaluation.loss)
    right = np.argmax(alone.u_out, axis=-1) == np.argmax(y[others], axis=-1)
    assert evaluation.accuracy == np.count_nonzero(right) / 12
    with np.errstate(all="ignore"):
        metrics = backend.train(backend.place(x, y), np.arange(12).reshape(3, 4))
    assert np.isnan(metrics.loss[0])
    assert np.isnan(metrics.closed_loop_loss[0])
    # The batch has taken the parameters with it: no later loss is one.
    assert np.all(np.isnan(metrics.loss))


@every_backend
@pytest.mark.parametrize("rule", RULES)
def test_after_an_update_that_is_no_number_no_loss_is_one(name, rule):
    parameters, x, y = network_and_task(np.float32)
    backend = built(name, np.float32, parameters, rule, "softmax-cross-entropy", horizon=0.01)
    with np.errstate(all="ignore"):
        metrics = backend.train(backend.place(x, y), np.arange(12).reshape(3, 4))
        assert np.all(np.isnan(metrics.loss))
        assert np.isnan(backend.evaluate(backend.place(np.zeros_like(x), y)).loss)
