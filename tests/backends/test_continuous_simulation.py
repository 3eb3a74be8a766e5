"""The compiled run in continuous time against the reference's."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends.numba.continuous import run_compiled
from disinhib.experiments.paper.teacher_student import (
    draw_sine_waves,
    draw_weights,
    sample_times,
    sine_inputs,
)
from disinhib.refimpl.configuration import Controller, SoftReLU
from disinhib.refimpl.continuous import (
    BURN_IN,
    CLOSED_LOOP,
    LEARNING,
    OPEN_LOOP,
    PAPER,
    PUBLISHED,
    ContinuousLearning,
    Departures,
    Sampling,
    initial_state,
    pack_continuous,
    run_continuously,
)

ROUNDING = 1e-11
"""Same method, same steps: what is left is the order of sums, 1e-16 an operation, over some
thousand operations a number and gains of the controller of a hundred."""

NETWORKS = {
    "figure 4": ContinuousLearning(),
    "one layer": ContinuousLearning(sizes=(3, 2)),
    "wide output": ContinuousLearning(sizes=(3, 4, 7), rule="linear-threshold"),
    "other numbers": ContinuousLearning(
        sizes=(4, 5, 3, 1),
        activation_E=SoftReLU(2.0, 1.5, 0.5),
        activation_I=SoftReLU(0.7, 0.8, 0.2),
        controller=Controller(3.0, 2.0, 0.1, 0.2),
        tau_E=0.03,
        tau_I=0.01,
        tau_Q=2.0,
        tau_W=3.0,
        feedback_norm=2.0,
        rule="linear-threshold",
        r_0=0.8,
    ),
}


def task(network, n_samples):
    generator = np.random.default_rng(3)
    state = initial_state(network, *draw_weights(generator, network.sizes))
    waves = draw_sine_waves(generator, network.sizes[0])
    x = sine_inputs(waves, sample_times(0, n_samples, 1e-3))
    target = 0.2 + 0.1 * np.sin(np.arange(n_samples)[:, None] / 30 + np.arange(network.sizes[-1]))
    return state, x, target


def assert_same_run(one, other, tolerance):
    np.testing.assert_allclose(
        pack_continuous(one.state), pack_continuous(other.state), rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(one.output, other.output, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        one.control_cost, other.control_cost, rtol=tolerance, atol=100 * tolerance
    )


@pytest.mark.parametrize("phase", [OPEN_LOOP, BURN_IN, CLOSED_LOOP, LEARNING])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_run(name, phase):
    network = NETWORKS[name]
    state, x, target = task(network, 40)
    sampling = Sampling(steps=2)
    runs = [
        run(network, phase, sampling, state, x, target) for run in (run_compiled, run_continuously)
    ]
    assert_same_run(*runs, ROUNDING)


@pytest.mark.parametrize("departures", [PAPER, Departures(True, False), PUBLISHED])
@pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold"])
def test_every_rule(rule, departures):
    network = dataclasses.replace(NETWORKS["other numbers"], rule=rule, departures=departures)
    state, x, target = task(network, 40)
    runs = [
        run(network, LEARNING, Sampling(), state, x, target)
        for run in (run_compiled, run_continuously)
    ]
    assert_same_run(*runs, ROUNDING)


@pytest.mark.slow
def test_a_second_of_learning():
    """1e-8: rounding as above, which the control loop at most carries along."""
    network = ContinuousLearning(rule="linear-threshold")
    state, x, target = task(network, 1001)
    runs = [
        run(network, LEARNING, Sampling(), state, x, target)
        for run in (run_compiled, run_continuously)
    ]
    assert_same_run(*runs, 1e-8)


def test_a_millisecond_is_a_step_short_enough():
    """Over a second: the error of the state below 1e-5, a 32nd of it with half the step."""
    network = ContinuousLearning()
    state, x, target = task(network, 1001)
    ends = [
        pack_continuous(
            run_compiled(network, LEARNING, Sampling(steps=steps), state, x, target).state
        )
        for steps in (1, 2, 16)
    ]
    coarse, fine = (np.max(np.abs(end - ends[-1])) for end in ends[:2])
    assert coarse < 1e-5
    assert 20 < coarse / fine < 50


def test_nothing_given_is_written_to():
    network = NETWORKS["one layer"]
    state, x, target = task(network, 5)
    before = pack_continuous(state), x.copy(), target.copy()
    run_compiled(network, LEARNING, Sampling(), state, x, target)
    for now, then in zip((pack_continuous(state), x, target), before, strict=True):
        np.testing.assert_array_equal(now, then)
