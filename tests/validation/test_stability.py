"""The linearised equations against differences, hand-made eigenvalues and the motion itself."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from disinhib.refimpl.circuit import (
    NetworkState,
    Parameters,
    closed_loop_derivative,
    closed_loop_target,
    drive,
    open_loop_derivative,
    pack,
    unpack,
)
from disinhib.refimpl.configuration import (
    Controller,
    Feedback,
    NetworkConfiguration,
    SoftReLU,
    Solver,
)
from disinhib.refimpl.end_state import closed_loop_end_state, open_loop_end_state
from disinhib.refimpl.feedback import feedback_weights
from disinhib.validation import find_traces, read_trace, shipped_directory
from disinhib.validation.judge.stability import (
    closed_loop_jacobian,
    growth_rates,
    open_loop_growth_rates,
    open_loop_jacobian,
    sample_state,
)

from ..refimpl.microcircuit import random_network, softrelu_slope

LOSSES = ["softmax-cross-entropy", "mse"]
UNEQUAL = {
    "activation_E": SoftReLU(1.3, 0.9, 0.4),
    "activation_I": SoftReLU(0.8, 1.2, -0.2),
    "tau_E": 0.03,
    "tau_I": 0.007,
    "controller": Controller(k_p=0.7, k_i=1.9, leak=0.6, tau=0.13),
}
TRACES = [
    path
    for path in find_traces([shipped_directory()])[0]
    if (steps := read_trace(path).steps) and steps[0].circuit is not None
]


def random_state(sizes, generator, batch=2):
    n = 2 * sum(sizes[1:])
    return unpack(2 * generator.standard_normal((batch, n)), sizes)


def random_feedback(sizes, generator, batch=2):
    return tuple(generator.standard_normal((batch, sizes[-1], n)) for n in sizes[1:-1])


def differences(function, y):
    """Jacobian by central differences of fourth order.

    With h = 1e-3 the terms left out are about h⁴ of the derivative's size, and rounding
    is the machine epsilon over h: both are below 1e-11 of the largest rate of change.
    """
    h, columns = 1e-3, []
    for i in range(len(y)):
        unit = h * np.eye(len(y))[i]
        near = function(y + unit) - function(y - unit)
        far = function(y + 2 * unit) - function(y - 2 * unit)
        columns.append((8 * near - far) / (12 * h))
    return np.array(columns).T


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("to_readout", [True, False])
def test_jacobians_are_the_derivatives_of_the_equations(depth, loss, to_readout):
    sizes = (4, *(5, 3, 4)[:depth], 3)
    configuration = NetworkConfiguration(
        sizes, loss=loss, feedback=Feedback(to_readout=to_readout), **UNEQUAL
    )
    generator = np.random.default_rng(depth)
    parameters, x, y = random_network(sizes)
    state, Q = random_state(sizes, generator), random_feedback(sizes, generator)
    a_1 = drive(x[:2], parameters.weights[0], parameters.biases[0])
    for sample in range(2):
        one = slice(sample, sample + 1)
        Q_sample = tuple(Q_l[one] for Q_l in Q)

        def closed(packed, one=one, Q_sample=Q_sample):
            state = unpack(packed[None], sizes)
            return pack(
                closed_loop_derivative(configuration, parameters, a_1[one], Q_sample, y[one], state)
            )[0]

        def opened(packed, one=one):
            state = unpack(packed[None], sizes)
            return pack(open_loop_derivative(configuration, parameters, a_1[one], state))[0]

        y_0, at = pack(state)[sample], sample_state(state, sample)
        # Rates of change are up to some 1e3 per second here: see `differences`.
        J = closed_loop_jacobian(configuration, parameters, tuple(q[0] for q in Q_sample), at)
        np.testing.assert_allclose(J, differences(closed, y_0), rtol=0, atol=1e-8)
        J = open_loop_jacobian(configuration, parameters, at)
        expected = differences(opened, y_0)
        moving = len(y_0) - sizes[-1]
        np.testing.assert_allclose(J, expected[:moving, :moving], rtol=0, atol=1e-8)
        # The integral rests and moves nothing in the open loop: leaving it out loses nothing.
        assert not np.any(expected[moving:])
        assert not np.any(expected[:, moving:])


LINEAR = 60.0
"""A potential far above threshold, where SoftReLU is a line of slope s k to rounding, e^−60."""


def linear_loop(tau=0.02, scale_I=1.0, weight=1.0, q=1.0, **settings):
    """One input, one E-I pair, one output, all rates on the straight part of SoftReLU."""
    configuration = NetworkConfiguration(
        (1, 1, 1), loss="mse", tau_E=tau, tau_I=tau, activation_I=SoftReLU(scale_I), **settings
    )
    one = np.ones((1, 1))
    parameters = Parameters((one,), (np.zeros(1),), weight * one)
    state = NetworkState((LINEAR * one,), (LINEAR * one,), one, 0 * one)
    return configuration, parameters, (np.full((1, 1, 1), q),), state


def test_eigenvalues_of_a_pair_by_hand():
    """τ dE/dt = −E − s I, τ dI/dt = E − I: eigenvalues (−1 ± i √s)/τ; the readout has −1/τ."""
    configuration, parameters, _, state = linear_loop(scale_I=4.0)
    eigenvalues = np.linalg.eigvals(
        open_loop_jacobian(configuration, parameters, sample_state(state, 0))
    )
    expected = np.array([-1 - 2j, -1, -1 + 2j]) / 0.02
    found = eigenvalues[np.argsort(eigenvalues.imag)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        open_loop_growth_rates(configuration, parameters, state), -50, rtol=1e-12
    )


def test_eigenvalues_of_readout_and_integral_by_hand():
    """Without Q: u̇ = (−(1 + k_p) u + k_i z)/τ_E and ż = (−u − leak z)/τ_c.

    With (1 + k_p)/τ_E = leak/τ_c = λ the eigenvalues are −λ ± i √(k_i/(τ_E τ_c)).
    """
    controller = Controller(k_p=0.5, k_i=2.0, leak=7.5, tau=0.1)
    configuration, parameters, Q, state = linear_loop(q=0.0, controller=controller)
    J = closed_loop_jacobian(
        configuration, parameters, tuple(q[0] for q in Q), sample_state(state, 0)
    )
    pair = np.linalg.eigvals(J[2:, 2:])
    np.testing.assert_allclose(pair.real, [-75, -75], rtol=1e-12)
    np.testing.assert_allclose(np.abs(pair.imag), np.sqrt(1000), rtol=1e-12)


@pytest.mark.parametrize(
    ("gain", "growth"),
    [
        (2.0, -0.5),
        (10.0, 0.0),
        (68.0, 1.0),
    ],
)
def test_a_loop_of_three_units_grows_above_its_critical_gain(gain, growth):
    """E, I and readout of one τ, c = −k_p u_out on I alone: −1 + roots of λ³ + λ + k_p = 0.

    A pair of roots b/2 ± iω comes with the third at −b, and then ω² = 1 + 3 b²/4 and
    k_p = b (b²/4 + ω²): b = 1, 2 and 4 give k_p = 2, 10 and 68, and growth b/2 − 1 in
    units of 1/τ.
    """
    controller = Controller(k_p=gain, k_i=0.0, leak=50.0, tau=0.1)
    configuration, parameters, Q, state = linear_loop(
        controller=controller, feedback=Feedback(to_readout=False)
    )
    found = growth_rates(configuration, parameters, Q, state)
    # A few roundings of the largest eigenvalue, 500 per second.
    np.testing.assert_allclose(found, growth / 0.02, rtol=0, atol=1e-11 * 500)


@pytest.mark.parametrize("seed", range(3))
def test_open_loop_is_stable_whatever_the_weights(seed):
    """A chain of layers has the eigenvalues of its E-I pairs, by the quadratic formula.

    Inhibition slower than excitation, so that a pair rather than the readout is the slowest.
    """
    sizes = (4, 5, 3, 4, 3)
    configuration = NetworkConfiguration(sizes, **UNEQUAL | {"tau_E": 0.007, "tau_I": 0.03})
    parameters, _, _ = random_network(sizes, seed=seed, scale=5.0)
    state = random_state(sizes, np.random.default_rng(seed))
    u_E, u_I = np.concatenate(state.u_E, axis=-1), np.concatenate(state.u_I, axis=-1)
    loop = softrelu_slope(configuration.activation_E, u_E) * softrelu_slope(
        configuration.activation_I, u_I
    )
    tau_E, tau_I = configuration.tau_E, configuration.tau_I
    trace, determinant = -1 / tau_E - 1 / tau_I, (1 + loop) / (tau_E * tau_I)
    pairs = (trace + np.sqrt(trace**2 - 4 * determinant + 0j)).real / 2
    expected = np.maximum(np.max(pairs, axis=-1), -1 / tau_E)
    found = open_loop_growth_rates(configuration, parameters, state)
    assert np.all(found < 0)
    # Rounding, times some 1e5 that a matrix as far from normal as a chain may amplify it by.
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_averaged_feedback_serves_every_sample():
    sizes = (4, 5, 3)
    configuration = NetworkConfiguration(sizes, loss="mse", **UNEQUAL)
    generator = np.random.default_rng(0)
    parameters, _, _ = random_network(sizes)
    state, Q = random_state(sizes, generator), random_feedback(sizes, generator, batch=1)
    repeated = tuple(np.repeat(Q_l, 2, axis=0) for Q_l in Q)
    np.testing.assert_array_equal(
        growth_rates(configuration, parameters, Q, state),
        growth_rates(configuration, parameters, repeated, state),
    )


def test_there_are_published_end_states_to_judge():
    """The golden README lists eight traces, of which one has a summary only."""
    assert len(TRACES) >= 7


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_published_end_states_are_stable(path):
    trace = read_trace(path)
    configuration, parameters = trace.configuration, trace.initial_parameters
    slowest = -configuration.controller.leak / configuration.controller.tau
    for step in trace.steps:
        circuit = step.circuit
        found = growth_rates(configuration, parameters, circuit.feedback, circuit.closed_loop)
        assert found.shape == (trace.inputs.shape[1],)
        assert np.all(found < 0)
        if configuration.loss == "softmax-cross-entropy":
            # Errors sum to 0, so that the sum of z decays by its leak alone.
            assert np.all(found >= slowest * (1 + 1e-9))
        assert np.all(open_loop_growth_rates(configuration, parameters, circuit.open_loop) < 0)
        parameters = step.parameters_after


def controlled(k_p):
    """Three hidden layers with inhibition as slow as excitation, and their fixed point."""
    sizes = (4, 5, 5, 5, 2)
    configuration = NetworkConfiguration(
        sizes,
        loss="mse",
        tau_I=0.02,
        controller=Controller(k_p=k_p, k_i=0.5),
        feedback=Feedback(to_readout=False, norm=2.0, strong=False, nudge=0.1),
    )
    parameters, x, y = random_network(sizes, seed=1, scale=2.0)
    x, y = x[:1], y[:1]
    solver = Solver()
    open_loop, _ = open_loop_end_state(configuration, solver, parameters, x)
    Q = feedback_weights(configuration, parameters, open_loop)
    target = closed_loop_target(configuration.loss, configuration.feedback, open_loop.u_out, y)
    state, counts = closed_loop_end_state(
        configuration, solver, parameters, x, Q, target, open_loop
    )
    assert counts.frozen_newton + counts.fresh_newton == 1
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])

    def derivative(t, packed):
        state = unpack(packed[None], sizes)
        return pack(
            closed_loop_derivative(configuration, parameters, a_1, Q, target, state)
        ).ravel()

    return configuration, parameters, Q, state, derivative


@pytest.mark.parametrize(("k_p", "stable"), [(0.5, True), (40.0, False)])
def test_the_motion_obeys_the_verdict(k_p, stable):
    """Disturbed along its leading mode, the network leaves or returns at the growth rate."""
    configuration, parameters, Q, state, derivative = controlled(k_p)
    growth = float(growth_rates(configuration, parameters, Q, state)[0])
    assert stable == (growth < 0)
    rest = pack(state)[0]
    J = closed_loop_jacobian(
        configuration, parameters, tuple(q[0] for q in Q), sample_state(state, 0)
    )
    values, vectors = np.linalg.eig(J)
    leading = np.argmax(values.real)
    mode = vectors[:, leading].real
    # One period later an oscillating mode has the same shape; a plain one always does.
    period = 2 * np.pi / abs(values[leading].imag) if values[leading].imag else 1 / abs(growth)
    disturbed = rest + 1e-6 * mode / np.linalg.norm(mode)
    path = solve_ivp(derivative, (0, period), disturbed, method="DOP853", rtol=1e-11, atol=1e-13)
    distance = np.linalg.norm(path.y[:, -1] - rest) / np.linalg.norm(disturbed - rest)
    # Of the second order in the disturbance, and the fixed point itself is good to 1e-11.
    assert np.log(distance) == pytest.approx(growth * period, abs=1e-3)

    long = 40 / abs(growth)
    end = solve_ivp(derivative, (0, long), disturbed, method="LSODA", rtol=1e-9, atol=1e-11)
    far = np.linalg.norm(end.y[:, -1] - rest)
    assert far < 1e-8 if stable else far > 0.01


def test_a_neutral_direction_is_not_stable():
    """Without leak and with errors that sum to 0, nothing brings the sum of z back."""
    configuration, parameters, Q, state, _ = controlled(0.5)
    configuration = dataclasses.replace(
        configuration, loss="softmax-cross-entropy", controller=Controller(leak=0.0)
    )
    found = growth_rates(configuration, parameters, Q, state)
    # An eigenvalue 0 of a matrix whose norm is some 1e3 per second.
    np.testing.assert_allclose(found, 0, rtol=0, atol=1e-9)
