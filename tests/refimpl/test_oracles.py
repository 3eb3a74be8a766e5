"""SciPy's solvers, and complex steps, on the equations of refimpl/model.md written out here.

A complex step gives the derivative of an analytic function to rounding, with no difference
taken: f'(x) = Im f(x + i h) / h for h as small as 1e-30 (W. Squire & G. Trapp, SIAM Review
40 (1998) 110-112).
"""

import dataclasses
import itertools

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, root

from disinhib.refimpl.circuit import (
    closed_loop_derivative,
    closed_loop_target,
    drive,
    inverse,
    linearized_inverse,
    open_loop_derivative,
    pack,
    resting_state,
    slope,
    unpack,
)
from disinhib.refimpl.configuration import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    SoftReLU,
    Solver,
)
from disinhib.refimpl.end_state import (
    Recording,
    closed_loop_end_state,
    closed_loop_trajectory,
    open_loop_end_state,
    open_loop_trajectory,
    packed_derivative,
)
from disinhib.refimpl.feedback import feedback_weights
from disinhib.refimpl.fixed_point import (
    control_step,
    equilibrium,
    neuron_equilibrium,
    output_sensitivity,
)
from disinhib.refimpl.integration import integrate
from disinhib.refimpl.plasticity import backprop_gradients, forward, plasticity_gradients

from . import longer_arithmetic
from .microcircuit import random_network, softrelu, softrelu_slope

LOSSES = ["softmax-cross-entropy", "mse"]
TUNED = {
    "activation_E": SoftReLU(1.3, 0.9, 0.4),
    "activation_I": SoftReLU(0.8, 1.2, -0.2),
    "tau_E": 0.03,
    "tau_I": 0.007,
    "controller": Controller(k_p=0.3, k_i=0.9, leak=0.6, tau=0.08),
}
PHIS = [SoftReLU(), SoftReLU(1.3, 0.9, 0.4), SoftReLU(5.0, 2.0, 3.0), SoftReLU(0.1, 7.0, -2)]
STEP = 1e-30


def network(depth, loss="softmax-cross-entropy", **feedback):
    sizes = (4, *(5, 3, 4)[:depth], 3)
    configuration = NetworkConfiguration(sizes, loss=loss, feedback=Feedback(**feedback), **TUNED)
    parameters, x, y = random_network(sizes, seed=depth)
    return configuration, parameters, x[:2], y[:2]


def end_states(configuration, solver, parameters, x, y):
    open_loop, _ = open_loop_end_state(configuration, solver, parameters, x)
    Q = feedback_weights(configuration, parameters, open_loop)
    target = closed_loop_target(configuration.loss, configuration.feedback, open_loop.u_out, y)
    closed_loop, _ = closed_loop_end_state(
        configuration, solver, parameters, x, Q, target, open_loop
    )
    return open_loop, Q, target, closed_loop


def analytic_softrelu(phi, u):
    """Section 1, for complex u too."""
    v = phi.sharpness * (u - phi.shift)
    folded = np.where(v.real > 0, -v, v)
    return phi.scale * (np.where(v.real > 0, v, 0) + np.log1p(np.exp(folded)))


def analytic_softmax(u):
    e = np.exp(u - np.max(u.real))
    return e / np.sum(e)


class Equations:
    """Sections 2 and 3 for one sample, real or complex; open loop without Q and target."""

    def __init__(self, configuration, parameters, x, Q=None, target=None):
        self.configuration, self.parameters, self.x = configuration, parameters, x
        self.Q, self.target = Q, target
        hidden, n_out = configuration.sizes[1:-1], configuration.sizes[-1]
        self.time_constants = np.concatenate(
            [
                np.full(sum(hidden), configuration.tau_E),
                np.full(sum(hidden), configuration.tau_I),
                np.full(n_out, configuration.tau_E),
                np.full(n_out, configuration.controller.tau),
            ]
        )

    def imbalance(self, y):
        """Right-hand sides times their time constants: the τ du/dt of the model page."""
        configuration, controller = self.configuration, self.configuration.controller
        hidden, n_out = configuration.sizes[1:-1], configuration.sizes[-1]
        remaining, layers = y, []
        for n in (*hidden, *hidden, n_out, n_out):
            layers.append(remaining[:n])
            remaining = remaining[n:]
        u_E, u_I = layers[: len(hidden)], layers[len(hidden) : 2 * len(hidden)]
        u_out, z = layers[-2:]
        c, dz = np.zeros(n_out), np.zeros(n_out)
        if self.Q is not None:
            output = u_out if configuration.loss == "mse" else analytic_softmax(u_out)
            e = self.target - output
            c, dz = controller.k_p * e + controller.k_i * z, e - controller.leak * z
        below, dE, dI = self.x, [], []
        for l in range(len(hidden)):
            a = self.parameters.weights[l].T @ below + self.parameters.biases[l]
            below = analytic_softrelu(configuration.activation_E, u_E[l])
            dE.append(-u_E[l] + a - analytic_softrelu(configuration.activation_I, u_I[l]))
            dI.append(-u_I[l] + below - (0 if self.Q is None else self.Q[l].T @ c))
        d_out = -u_out + self.parameters.readout.T @ below
        if configuration.feedback.to_readout:
            d_out = d_out + c
        return np.concatenate([*dE, *dI, d_out, dz])

    def derivative(self, t, y):
        return self.imbalance(y) / self.time_constants

    def imbalance_jacobian(self, y):
        columns = [self.imbalance(y + 1j * STEP * unit).imag / STEP for unit in np.eye(len(y))]
        return np.array(columns).T

    def jacobian(self, t, y):
        return self.imbalance_jacobian(y) / self.time_constants[:, None]

    def path(self, start, times, method):
        solution = solve_ivp(
            self.derivative,
            (0, times[-1]),
            start,
            method=method,
            t_eval=times,
            rtol=1e-11,
            atol=1e-13,
            **({"jac": self.jacobian} if method == "Radau" else {}),
        )
        return solution.y.T

    def rest(self, start):
        """Where nothing moves; in the open loop the integral never does, and is 0."""
        moving = len(start) - (self.configuration.sizes[-1] if self.Q is None else 0)

        def whole(part):
            return np.append(part, np.zeros(len(start) - moving))

        solution = root(
            lambda part: self.imbalance(whole(part))[:moving],
            start[:moving],
            jac=lambda part: self.imbalance_jacobian(whole(part))[:moving, :moving],
            options={"xtol": 1e-13},
        )
        # Several roundings of terms of order 1.
        assert np.max(np.abs(solution.fun)) < 1e-12, solution.message
        return whole(solution.x)


def of_sample(Q, sample):
    return [np.broadcast_to(Q_l, (2, *Q_l.shape[1:]))[sample] for Q_l in Q]


# --- Paths


@pytest.mark.parametrize(
    ("depth", "method"),
    [
        *itertools.product([1, 3], ["DOP853"]),
        (1, "Radau"),
        pytest.param(2, "DOP853", marks=pytest.mark.slow),
        # Tens of thousands of linear systems.
        pytest.param(2, "Radau", marks=pytest.mark.slow),
        pytest.param(3, "Radau", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("loss", "to_readout"), [(LOSSES[0], True), (LOSSES[1], False)])
def test_recorded_paths_are_those_of_scipy(depth, method, loss, to_readout):
    """An implicit and an explicit method; the error of ours is that of its step, see below."""
    configuration, parameters, x, y = network(depth, loss, to_readout=to_readout)
    recording = Recording(dt=2e-4, n_steps=300, every=60)
    open_path = open_loop_trajectory(configuration, recording, parameters, x)
    times = 2e-4 * np.arange(0, 301, 60)
    start = unpack(pack(open_path)[-1], configuration.sizes)
    Q = feedback_weights(configuration, parameters, start)
    target = closed_loop_target(loss, configuration.feedback, start.u_out, y)
    # Its integral must not count: the closed loop starts with none.
    wound_up = dataclasses.replace(start, z=np.ones_like(start.z))
    closed_path = closed_loop_trajectory(
        configuration, recording, parameters, x, Q, target, wound_up
    )
    # Radau solves a linear system at each of its many steps: one sample is enough of that.
    for sample in range(1 if method == "Radau" else 2):
        # Ours: dt/τ_I = 1/35, to the fifth power 2e-8, times an error constant of some 1e-4
        # and at most 9 time constants, 2e-11. SciPy's: some 1e-11 a step, largely forgotten.
        expected = Equations(configuration, parameters, x[sample]).path(
            np.zeros(pack(start).shape[-1]), times, method
        )
        np.testing.assert_allclose(pack(open_path)[:, sample], expected, rtol=0, atol=1e-10)
        equations = Equations(
            configuration, parameters, x[sample], of_sample(Q, sample), target[sample]
        )
        expected = equations.path(pack(start)[sample], times, method)
        np.testing.assert_allclose(pack(closed_path)[:, sample], expected, rtol=0, atol=1e-10)


def test_paths_of_euler_approach_those_of_scipy_in_proportion_to_the_step():
    configuration, parameters, x, _ = network(2)
    expected = Equations(configuration, parameters, x[0]).path(
        np.zeros(2 * 8 + 6), np.linspace(0, 0.04, 5), "DOP853"
    )
    errors = []
    for halving in range(3):
        n_steps = 200 * 2**halving
        recording = Recording("euler", dt=0.04 / n_steps, n_steps=n_steps, every=n_steps // 4)
        path = pack(open_loop_trajectory(configuration, recording, parameters, x))[:, 0]
        errors.append(np.max(np.abs(path - expected)))
    # First order halves; the next order adds dt/τ_I of it, at most 3 %, to each.
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 2, rtol=0.03)


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_integration_stops_on_scipy_s_path(loop):
    """Each sample where SciPy is at the time that the integration says it stopped."""
    configuration, parameters, x, y = network(2)
    # Settles within the horizon at neither: rtol judges the steps, too.
    solver = Solver(method="tsit5", rtol=1e-10, atol=1e-12, dt_min=1e-6, horizon=0.11)
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    open_loop, Q, target, _ = end_states(configuration, Solver(), parameters, x, y)
    if loop == "open":
        start = pack(resting_state(parameters, x))
        derivative = packed_derivative(
            configuration, lambda s: open_loop_derivative(configuration, parameters, a_1, s)
        )
    else:
        start = pack(open_loop)
        derivative = packed_derivative(
            configuration,
            lambda s: closed_loop_derivative(configuration, parameters, a_1, Q, target, s),
        )
    end = integrate(derivative, start, solver)
    for sample in range(2):
        control = {} if loop == "open" else {"Q": of_sample(Q, sample), "target": target[sample]}
        equations = Equations(configuration, parameters, x[sample], **control)
        expected = equations.path(start[sample], [0, end.time[sample]], "DOP853")[-1]
        assert end.time[sample] == pytest.approx(0.11)
        # Ten times what one step may err by: steps are many, but the dynamics contract.
        np.testing.assert_allclose(end.y[sample], expected, rtol=0, atol=1e-9)


# --- End states


@pytest.mark.parametrize(
    ("method", "agreement"),
    [
        # The residual that a fixed point may leave, ε^¾ = 2e-12, and its amplification by κ.
        ("fixed-point", 1e-10),
        # Settled at a derivative of 1e-10 per second or so, and paths of 1e-10 a step.
        ("tsit5", 1e-8),
    ],
)
@pytest.mark.parametrize("depth", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("loss", "strong", "to_readout"),
    list(itertools.product(LOSSES, [True, False], [True, False])),
)
def test_end_states_are_roots_of_the_equations(method, agreement, depth, loss, strong, to_readout):
    configuration, parameters, x, y = network(
        depth, loss, strong=strong, nudge=0.1, to_readout=to_readout
    )
    solver = Solver(method=method, rtol=1e-10, atol=1e-12, dt_min=1e-6, horizon=60.0)
    open_loop, Q, target, closed_loop = end_states(configuration, solver, parameters, x, y)
    generator = np.random.default_rng(0)
    for sample in range(2):
        for state, equations in (
            (open_loop, Equations(configuration, parameters, x[sample])),
            (
                closed_loop,
                Equations(
                    configuration, parameters, x[sample], of_sample(Q, sample), target[sample]
                ),
            ),
        ):
            found = pack(state)[sample]
            # Started elsewhere, so that SciPy has to find it.
            elsewhere = found + generator.uniform(-0.3, 0.3, found.shape)
            np.testing.assert_allclose(found, equations.rest(elsewhere), rtol=0, atol=agreement)


@pytest.mark.parametrize(("average", "norm"), [(True, 1.0), (True, 8.0), (False, 8.0)])
def test_end_states_under_strong_or_averaged_feedback(average, norm):
    configuration, parameters, x, y = network(2, "mse", average=average, norm=norm)
    _, Q, target, closed_loop = end_states(configuration, Solver(), parameters, x, y)
    assert len(Q[0]) == (1 if average else 2)
    for sample in range(2):
        equations = Equations(
            configuration, parameters, x[sample], of_sample(Q, sample), target[sample]
        )
        found = pack(closed_loop)[sample]
        np.testing.assert_allclose(found, equations.rest(found + 0.1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("phi_E", PHIS)
@pytest.mark.parametrize("phi_I", PHIS)
def test_a_pair_rests_where_bisection_finds_it(phi_E, phi_I):
    """u_E lies between a minus the inhibition at u_E = a, and a, as the left side increases."""
    a, q = (grid.ravel() for grid in np.meshgrid([-20.0, -1, 0, 0.5, 3, 50], [-4.0, 0, 2, 30]))
    u_E, converged = neuron_equilibrium(phi_E, phi_I, a[None], q[None], np.zeros((1, len(a))))
    assert np.all(converged)
    for a_j, q_j, found in zip(a, q, u_E[0], strict=True):

        def imbalance(u, a_j=a_j, q_j=q_j):
            return u + softrelu(phi_I, softrelu(phi_E, u) - q_j) - a_j

        lowest = a_j - softrelu(phi_I, softrelu(phi_E, a_j) - q_j) - 1e-9
        expected = brentq(imbalance, lowest, a_j + 1e-9, xtol=1e-13, rtol=1e-14)
        # Rounding in the sum, whose terms are as large as the inhibition.
        assert found == pytest.approx(expected, abs=1e-12 * (1 + abs(lowest)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sharp_pair_rests_where_sixty_digits_say(dtype):
    """A small step is no sign of a root near: as the inhibition falls exponentially, all are."""
    generator = np.random.default_rng(0)
    for _ in range(400):
        scale, shift = generator.uniform(0.5, 2, size=2), generator.uniform(-1, 1, size=2)
        sharpness = 10 ** generator.uniform(0, 6, size=2)
        phi_E, phi_I = (
            SoftReLU(*map(float, phi)) for phi in zip(scale, sharpness, shift, strict=True)
        )
        # Anywhere, or about where the rate bends; so is the start.
        bend = shift[0] + generator.normal(size=2) / sharpness[0]
        a, start = np.where(generator.random(2) < 0.5, bend, generator.normal(size=2)).astype(dtype)
        q = dtype(generator.normal(scale=0.5))
        arrays = [np.full((1, 1), v) for v in (a, q, start)]
        u_E, converged = neuron_equilibrium(phi_E, phi_I, *arrays)
        assert np.all(converged)
        assert u_E.dtype == dtype
        # As in open loop.
        assert neuron_equilibrium(phi_E, phi_I, arrays[0], 0, arrays[2])[0].dtype == dtype
        with mp.workdps(longer_arithmetic.DIGITS):
            exact = longer_arithmetic.neuron(phi_E, phi_I, mp.mpf(float(a)), mp.mpf(float(q)))
            r_E = longer_arithmetic.softplus(phi_E, exact)
            slope_I = longer_arithmetic.slope(phi_I, r_E - q)
            left_side = 1 + slope_I * longer_arithmetic.slope(phi_E, exact)
            off = float(abs(exact - mp.mpf(float(u_E[0, 0]))))
            # What the equation's own rounding moves the root by: that of r_E - q, above all.
            moved = float(slope_I * (r_E + abs(q)) / left_side)
        size = 1 + abs(a) + abs(q) + abs(float(exact))
        # Two roundings of the last step, two between the points that the root lies between.
        assert off <= np.finfo(dtype).eps * (4 * size + moved), (phi_E, phi_I, a, q, start)


# --- Activation


@pytest.mark.parametrize("phi", PHIS)
def test_slope_is_the_complex_step_derivative(phi):
    u = phi.shift + np.concatenate([np.linspace(-40, 40, 321), [-600, -200, 200, 600]]) / (
        phi.sharpness
    )
    derivative = analytic_softrelu(phi, u + 1j * STEP).imag / STEP
    # A few roundings: both start from the same k (u − m), whose own would otherwise count.
    np.testing.assert_allclose(slope(phi, u), derivative, rtol=1e-14)


@pytest.mark.parametrize("phi", PHIS)
def test_inverse_is_the_potential_that_brentq_finds(phi):
    for r in phi.scale * np.array([1e-9, 1e-4, 0.1, np.log(2), 0.7, 3.0, 40.0]):
        expected = brentq(
            lambda u, r=r: np.log(softrelu(phi, u) / r),
            phi.shift - 25 / phi.sharpness,
            phi.shift + 60 / phi.sharpness,
            xtol=1e-14,
            rtol=1e-14,
        )
        # The logarithm of a rate is good to ε, and rises at φ'/φ ≥ k/42 over this range.
        allowed = 1e-12 * (1 + abs(phi.shift) + 60 / phi.sharpness)
        assert inverse(phi, r) == pytest.approx(expected, abs=allowed)


@pytest.mark.parametrize("phi", PHIS)
def test_the_tangent_lies_above_the_inverse_and_meets_it_once(phi):
    """φ⁻¹ is concave, so that a linear threshold overestimates u_I everywhere but at r₀."""
    r_0 = phi.scale * 0.8
    theta, delta = linearized_inverse(phi, np.array(r_0))
    r = phi.scale * np.array([0.01, 0.3, 0.7, 0.9, 2.0, 20.0])
    assert np.all(theta + delta * r > inverse(phi, r))


# --- Newton's matrix


def central_differences(function, c):
    """Rows ∂f/∂c_k of fourth order: h⁴/30 and rounding over h are left, each below 1e-12."""
    h, rows = 1e-3, []
    for k in range(c.shape[-1]):
        unit = np.zeros_like(c)
        unit[..., k] = h
        near = function(c + unit) - function(c - unit)
        far = function(c + 2 * unit) - function(c - 2 * unit)
        rows.append((8 * near - far) / (12 * h))
    return np.stack(rows, axis=-2)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", [{}, {"to_readout": False}, {"average": True, "norm": 3.0}])
def test_sensitivity_is_a_derivative_and_a_step_in_c_is_the_error_in_c(depth, loss, options):
    configuration, parameters, x, y = network(depth, loss, **options)
    open_loop, Q, _, _ = end_states(configuration, Solver(), parameters, x, y)
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])

    def state_at(c):
        state, converged = equilibrium(configuration, parameters, a_1, Q, c, open_loop)
        assert np.all(converged)
        return state

    c = np.random.default_rng(depth).standard_normal(open_loop.u_out.shape)
    state = state_at(c)
    D = output_sensitivity(configuration, parameters, Q, state)
    expected = central_differences(lambda c: state_at(c).u_out, c)
    np.testing.assert_allclose(D, expected, rtol=0, atol=1e-11)
    # c is the end state's for the target c / κ + softmax(u_out) or c / κ + u_out.
    output = state.u_out if loss == "mse" else [analytic_softmax(u) for u in state.u_out]
    if loss != "mse":
        c = c - np.mean(c, axis=-1, keepdims=True)
        state = state_at(c)
        D = output_sensitivity(configuration, parameters, Q, state)
        output = [analytic_softmax(u) for u in state.u_out]
    for kappa in (1e-3, 0.3, 1.8, 40.0, 1e4, 1e8):
        there = c / kappa + np.array(output)
        for size in (1e-4, -1e-4):
            off = size * np.random.default_rng(1).standard_normal(c.shape)
            u_out = state_at(c + off).u_out
            step = control_step(loss, kappa, c + off, u_out, there, D)
            # Newton's method is of second order, and u_out has curvature of some units.
            np.testing.assert_allclose(step, -off, rtol=0, atol=100 * size**2)


# --- Learning


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_backprop_of_tuned_neurons_is_the_complex_step_gradient(depth, loss):
    configuration, parameters, x, y = network(depth, loss)
    g = backprop_gradients(configuration, parameters, x, y, *forward(configuration, parameters, x))

    def mean_loss(arrays):
        *hidden, readout = arrays
        total = 0
        for x_sample, y_sample in zip(x, y, strict=True):
            h = x_sample
            for W, b in zip(hidden[:depth], hidden[depth:], strict=True):
                h = analytic_softrelu(configuration.activation_E, h @ W + b)
            u_out = h @ readout
            if loss == "mse":
                total += np.sum((y_sample - u_out) ** 2) / 2
            else:
                total -= np.sum(y_sample * np.log(analytic_softmax(u_out)))
        return total / len(x)

    found = (*g.weights, *g.biases, g.readout)
    arrays = [
        a.astype(complex) for a in (*parameters.weights, *parameters.biases, parameters.readout)
    ]
    for array, gradient in zip(arrays, found, strict=True):
        for i in np.ndindex(array.shape):
            array[i] += 1j * STEP
            expected = mean_loss(arrays).imag / STEP
            array[i] -= 1j * STEP
            # Rounding in sums of terms of order 1.
            assert gradient[i] == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold", "linear-threshold-fixed"])
def test_hidden_gradients_of_tuned_neurons_written_out(rule):
    """Section 5 by loops, û_I from the rate r_I that a synapse sees."""
    configuration, parameters, x, y = network(2)
    configuration = dataclasses.replace(
        configuration, rule=rule, mean_inhibition=MeanInhibition(fixed_point=0.6)
    )
    open_loop, _, _, closed_loop = end_states(configuration, Solver(), parameters, x, y)
    r_bar = tuple(0.2 + np.random.default_rng(l).random(n) for l, n in enumerate((5, 3)))
    g = plasticity_gradients(configuration, parameters, x, y, open_loop, closed_loop, r_bar)
    phi_E, phi_I = configuration.activation_E, configuration.activation_I

    def potential(r_I):
        return phi_I.shift + np.log(np.expm1(r_I / phi_I.scale)) / phi_I.sharpness

    def estimate(r_I, l, j):
        if rule == "exact-inverse":
            return potential(r_I)
        r_0 = 0.6 if rule == "linear-threshold-fixed" else r_bar[l][j]
        return potential(r_0) + (r_I - r_0) / softrelu_slope(phi_I, potential(r_0))

    expected = [np.zeros_like(array) for array in (*g.weights, *g.biases)]
    for sample in range(2):
        pre = x[sample]
        for l in range(2):
            u_E, u_I = closed_loop.u_E[l][sample], closed_loop.u_I[l][sample]
            for j in range(len(u_E)):
                inhibition = estimate(softrelu(phi_I, u_I[j]), l, j)
                delta = (inhibition - softrelu(phi_E, u_E[j])) * softrelu_slope(phi_E, u_E[j])
                expected[2 + l][j] += delta / 2
                for i in range(len(pre)):
                    expected[l][i, j] += pre[i] * delta / 2
            pre = softrelu(phi_E, u_E)
    for found, array in zip((*g.weights, *g.biases), expected, strict=True):
        # Rounding in log(expm1), at rates of order 1.
        np.testing.assert_allclose(found, array, rtol=0, atol=1e-14)
