"""A leading axis of replicas with settings of their own, against each network run alone."""

import dataclasses
import itertools

import numpy as np
import pytest

from disinhib.backends.precision import settings_as
from disinhib.refimpl.circuit import Parameters, pack, resting_state
from disinhib.refimpl.configuration import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    SoftReLU,
    Solver,
)
from disinhib.refimpl.end_state import closed_loop_end_state
from disinhib.refimpl.feedback import feedback_weights
from disinhib.refimpl.learning_step import learning_step, new_learner
from disinhib.validation.storage.arrays import named_arrays

from ..validation.run_allowance import run_allowance
from .microcircuit import random_network

SIZES = (5, 6, 4, 3)
SCALES, GAINS, RATES = [1.0, 1.4, 0.7], [0.4, 0.8, 0.1], [1e-3, 1e-2, 3e-3]
NORMS, MEANS = [1.0, 2.0, 0.5], [1.0, 0.5, 0.1]


def configuration(rule, scale, gain, rate, norm, mean):
    return NetworkConfiguration(
        sizes=SIZES,
        rule=rule,
        activation_E=SoftReLU(scale=scale),
        controller=Controller(k_i=gain),
        feedback=Feedback(norm=norm, clip=norm),
        mean_inhibition=MeanInhibition(rate=mean),
        optimizer=Optimizer(learning_rate=rate),
    )


def stacked(networks):
    return Parameters(
        tuple(np.stack(w) for w in zip(*(n.weights for n in networks), strict=True)),
        tuple(np.stack(b) for b in zip(*(n.biases for n in networks), strict=True)),
        np.stack([n.readout for n in networks]),
    )


WAYS = [
    *itertools.product(
        ["exact-inverse", "linear-threshold", "linear-threshold-fixed"],
        ["fixed-point", "tsit5", "euler"],
    ),
    ("backprop", "fixed-point"),
]


# Precisions in turns in the fast tests.
@pytest.mark.parametrize(
    ("rule", "method", "dtype"),
    [
        pytest.param(
            *way,
            dtype,
            id="-".join([*way, dtype]),
            marks=[] if (number + turn) % 2 else pytest.mark.slow,
        )
        for number, way in enumerate(WAYS)
        for turn, dtype in enumerate(["float32", "float64"])
    ],
)
def test_replicas_learn_as_if_alone(rule, method, dtype):
    settings = [SCALES, GAINS, RATES, NORMS, MEANS]
    together = configuration(rule, *(np.reshape(s, (3, 1, 1)) for s in settings))
    together = settings_as(together, np.dtype(dtype))
    solver = dataclasses.replace(Solver(), method=method, max_steps=400)
    networks = [random_network(SIZES, seed)[0].astype(dtype) for seed in range(3)]
    _, x, y = random_network(SIZES)
    x, y = x.astype(dtype), y.astype(dtype)
    learner = new_learner(together, stacked(networks))
    for _ in range(2):
        learner, metrics = learning_step(together, solver, learner, x, y)
    assert learner.parameters.dtype == dtype
    for replica, alone in enumerate(zip(*settings, strict=True)):
        single = configuration(rule, *alone)
        expected = new_learner(single, networks[replica])
        for _ in range(2):
            expected, expected_metrics = learning_step(single, solver, expected, x, y)
        batches = np.stack([x, x]), np.stack([y, y])
        allowance = run_allowance(single, solver, networks[replica], *batches, dtype)
        found = named_arrays(learner.parameters)
        for name, array in named_arrays(expected.parameters).items():
            np.testing.assert_allclose(
                found[name][replica], array, rtol=0, atol=allowance[name], err_msg=name
            )
        rtol = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(metrics.loss[replica], expected_metrics.loss, rtol=rtol)


@pytest.mark.parametrize("method", ["fixed-point", "tsit5", "euler"])
def test_replicas_may_start_from_one_state(method):
    """They end where each would alone."""
    network = configuration("exact-inverse", 1.0, 0.4, 1e-3, 1.0, 1.0)
    solver = dataclasses.replace(Solver(), method=method, max_steps=2000)
    networks = [random_network(SIZES, seed)[0] for seed in range(3)]
    _, x, y = random_network(SIZES)
    start = resting_state(networks[0], x)
    Q = feedback_weights(network, networks[0], start)
    together, _ = closed_loop_end_state(network, solver, stacked(networks), x, Q, y, start)
    for replica, parameters in enumerate(networks):
        alone, _ = closed_loop_end_state(network, solver, parameters, x, Q, y, start)
        np.testing.assert_allclose(pack(together)[replica], pack(alone), rtol=0, atol=1e-12)
