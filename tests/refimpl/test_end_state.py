"""Both ways to the end state, against the model integrated by SciPy, neuron by neuron."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends.precision import check_method
from disinhib.refimpl.circuit import (
    closed_loop_derivative,
    closed_loop_target,
    control_signal,
    drive,
    error,
    pack,
)
from disinhib.refimpl.configuration import (
    ConfigurationError,
    Controller,
    Feedback,
    NetworkConfiguration,
    SoftReLU,
    Solver,
)
from disinhib.refimpl.end_state import closed_loop_end_state, open_loop_end_state
from disinhib.refimpl.feedback import feedback_weights

from .microcircuit import random_network, simulate

TIGHT = {"rtol": 1e-10, "atol": 1e-12, "horizon": 60.0}
SOLVERS = {
    "fixed-point": Solver(method="fixed-point"),
    "tsit5": Solver(method="tsit5", **TIGHT),
    "euler": Solver(method="euler", rtol=1e-6, atol=1e-8, horizon=60.0, dt_min=1e-5),
}
AGREEMENT = {"fixed-point": 1e-9, "tsit5": 1e-8, "euler": 1e-5}
CONFIGURATIONS = {
    "defaults": {},
    "mse": {"loss": "mse"},
    "weak": {"feedback": Feedback(strong=False)},
    "not to readout": {"feedback": Feedback(to_readout=False)},
    "tuned": {"activation_E": SoftReLU(1.3, 0.9, 0.4), "activation_I": SoftReLU(0.8, 1.2, -0.2)},
    "other gains": {"controller": Controller(k_p=0.1, k_i=1.0, leak=0.5, tau=0.05)},
    "slow inhibition": {"tau_E": 0.01, "tau_I": 0.02},
}


def end_states(configuration, solver, parameters, x, y):
    open_loop, _ = open_loop_end_state(configuration, solver, parameters, x)
    Q = feedback_weights(configuration, parameters, open_loop)
    target = closed_loop_target(configuration.loss, configuration.feedback, open_loop.u_out, y)
    closed_loop, counts = closed_loop_end_state(
        configuration, solver, parameters, x, Q, target, open_loop
    )
    return open_loop, Q, target, closed_loop, counts


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in ("mse", "weak", "tuned") else pytest.mark.slow)
        for case in CONFIGURATIONS
    ],
)
def test_end_states_are_those_of_the_differential_equations(case):
    """SciPy simulates once for all methods, under the feedback that the first of them gives."""
    configuration = NetworkConfiguration(sizes=(5, 6, 4, 3), **CONFIGURATIONS[case])
    parameters, x, y = random_network(configuration.sizes)
    found = {
        method: end_states(configuration, solver, parameters, x, y)
        for method, solver in SOLVERS.items()
        # Its thousands of small steps are those of the same loop whatever the case.
        if method != "euler" or case in ("defaults", "mse", "slow inhibition")
    }
    open_loop, Q, target, *_ = found["fixed-point"]
    for sample in range(2):
        at_rest = simulate(configuration, parameters, x[sample])
        controlled = simulate(
            configuration,
            parameters,
            x[sample],
            start=pack(open_loop)[sample],
            Q=[q[sample] for q in Q],
            target=target[sample],
        )
        for method, (open_state, _, _, closed_state, _) in found.items():
            atol = AGREEMENT[method]
            np.testing.assert_allclose(pack(open_state)[sample], at_rest, rtol=0, atol=atol)
            np.testing.assert_allclose(pack(closed_state)[sample], controlled, rtol=0, atol=atol)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_moves_at_the_fixed_point(depth, dtype):
    configuration = NetworkConfiguration(sizes=(5, *[7] * depth, 3))
    parameters, x, y = random_network(configuration.sizes, seed=depth)
    parameters, x, y = parameters.astype(dtype), x.astype(dtype), y.astype(dtype)
    solver = SOLVERS["fixed-point"]
    _, Q, target, state, counts = end_states(configuration, solver, parameters, x, y)
    assert counts.frozen_newton == 4
    assert pack(state).dtype == dtype
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    rates = closed_loop_derivative(configuration, parameters, a_1, Q, target, state)
    # In units of the time constants, and to the residual that a fixed point may leave.
    still = 60 * np.finfo(dtype).eps ** 0.75
    assert np.max(np.abs(np.concatenate([*rates.u_E, rates.u_out], axis=-1))) * 0.02 < still
    assert np.max(np.abs(np.concatenate(rates.u_I, axis=-1))) * 0.005 < still
    assert np.max(np.abs(rates.z)) * 0.1 < still


def test_a_strongly_controlled_loop_needs_a_fresh_matrix_and_says_so():
    """Far from the open-loop state the frozen matrix no longer contracts."""
    configuration = NetworkConfiguration(
        sizes=(5, 6, 4, 3),
        loss="mse",
        controller=Controller(k_p=2, k_i=40),
        activation_E=SoftReLU(2, 2, 1),
    )
    parameters, x, y = random_network(configuration.sizes, seed=3, scale=3.0)
    _, Q, target, state, counts = end_states(
        configuration, SOLVERS["fixed-point"], parameters, x, 4 * y
    )
    assert counts.fresh_newton > 0
    assert counts.frozen_newton + counts.fresh_newton + counts.integrated == 4
    assert counts.unsettled == 0
    e = error(configuration.loss, state.u_out, target)
    c = control_signal(configuration.controller, e, state.z)
    # A search stops with ε^¾ of some units left in u_out, and so in e.
    np.testing.assert_allclose(c / configuration.controller.steady_gain, e, rtol=0, atol=1e-10)
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    rates = closed_loop_derivative(configuration, parameters, a_1, Q, target, state)
    assert np.max(np.abs(pack(rates))) < 1e-5


def test_samples_that_newton_leaves_are_integrated(monkeypatch):
    """With no Newton steps allowed, every sample is left to integration, and none is lost."""
    import disinhib.refimpl.fixed_point as fixed_point

    configuration = NetworkConfiguration(sizes=(5, 6, 4, 3))
    parameters, x, y = random_network(configuration.sizes)
    solver = dataclasses.replace(SOLVERS["fixed-point"], horizon=60.0)
    expected = end_states(configuration, solver, parameters, x, y)[3]
    monkeypatch.setattr(fixed_point, "MAX_FROZEN_ITERATIONS", 1)
    monkeypatch.setattr(fixed_point, "MAX_FRESH_ITERATIONS", 1)
    state, counts = end_states(configuration, solver, parameters, x, y)[3:]
    assert counts.integrated == 4
    assert counts.unsettled == 0
    np.testing.assert_allclose(pack(state), pack(expected), rtol=0, atol=1e-8)


def test_an_integration_cut_short_is_counted():
    configuration = NetworkConfiguration(sizes=(5, 6, 4, 3))
    parameters, x, _ = random_network(configuration.sizes)
    for cut in ({"horizon": 0.02}, {"max_steps": 3}):
        solver = Solver(method="tsit5", **cut)
        _, counts = open_loop_end_state(configuration, solver, parameters, x)
        assert counts.unsettled == counts.integrated == 4


def test_without_leak_there_is_no_fixed_point_but_integration_goes_on():
    configuration = NetworkConfiguration(
        sizes=(5, 6, 3), loss="mse", controller=Controller(leak=0.0)
    )
    parameters, x, y = random_network(configuration.sizes)
    with pytest.raises(ConfigurationError) as problem:
        check_method(configuration, SOLVERS["fixed-point"])
    assert "leak is 0" in str(problem.value)
    assert "\n" not in str(problem.value)
    check_method(configuration, SOLVERS["tsit5"])
    _, _, target, state, counts = end_states(configuration, SOLVERS["tsit5"], parameters, x, y)
    assert counts.unsettled == 0
    # Without leak the integral works until no error is left.
    np.testing.assert_allclose(error(configuration.loss, state.u_out, target), 0, rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", ["fixed-point", "tsit5"])
def test_a_sample_does_not_depend_on_its_batch(method):
    configuration = NetworkConfiguration(sizes=(5, 6, 4, 3))
    parameters, x, y = random_network(configuration.sizes)
    together = end_states(configuration, SOLVERS[method], parameters, x, y)[3]
    for sample in range(4):
        alone = end_states(configuration, SOLVERS[method], parameters, x[[sample]], y[[sample]])[3]
        np.testing.assert_allclose(pack(alone)[0], pack(together)[sample], rtol=0, atol=1e-12)
