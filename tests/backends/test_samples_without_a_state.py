"""A sample whose outputs are no numbers has no loss and is not right, on every backend."""

import dataclasses

import numpy as np
import pytest

from disinhib.refimpl.configuration import NetworkConfiguration, Optimizer, Solver
from disinhib.refimpl.parameters import initial_parameters

from .implementations import IMPLEMENTATIONS, implementation
from .small_task import LOSSES, SIZES, task

every_backend = pytest.mark.parametrize("name", IMPLEMENTATIONS)


def built(name, dtype, parameters, loss, rule="exact-inverse"):
    configuration = NetworkConfiguration(
        sizes=SIZES, rule=rule, loss=loss, optimizer=Optimizer("sgd")
    )
    return implementation(name)(configuration, parameters, dtype, Solver())


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_that_are_no_numbers_are_neither_right_nor_a_loss(name, dtype, loss):
    """Rates are finite, the outputs that they add up to are not."""
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    largest = np.full_like(parameters.readout, np.finfo(dtype).max)
    parameters = dataclasses.replace(parameters, readout=largest)
    backend = built(name, dtype, parameters, loss)
    x, y = task()
    # Where largest outputs are looked for among what is none, the first is found.
    y = np.roll(np.sort(y, axis=-1), 1, axis=-1)
    assert np.all(np.argmax(y, axis=-1) == 0)
    evaluation = backend.evaluate(backend.place(x, y))
    assert not np.isfinite(evaluation.loss)
    assert evaluation.accuracy == 0
    plain = built(name, dtype, parameters, loss, "backprop")
    metrics = plain.train(plain.place(x, y), np.arange(12).reshape(1, 12))
    assert not np.isfinite(metrics.loss[0])
    assert metrics.n_correct[0] == 0
