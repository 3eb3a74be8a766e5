"""The integrators against exact solutions and the conditions that define their order."""

import dataclasses

import numpy as np
import pytest
from scipy.linalg import expm

from disinhib.refimpl.configuration import ConfigurationError, Solver
from disinhib.refimpl.integration import (
    EULER,
    TSITOURAS_54,
    StepControl,
    integrate,
    integrate_recorded,
    next_step,
    runge_kutta_step,
)

A = np.array([[-3.0, 2.0, 0.0], [-2.0, -3.0, 1.0], [0.0, 0.5, -8.0]])
Y_0 = np.array([[1.0, -2.0, 0.5], [0.3, 0.1, -1.0]])


def linear(y):
    return y @ A.T


@pytest.mark.parametrize(("tableau", "order"), [(EULER, 1), (TSITOURAS_54, 5)])
def test_order_of_convergence(tableau, order):
    exact = Y_0 @ expm(A).T
    errors = []
    for n_steps in (32, 64, 128):
        path = integrate_recorded(linear, Y_0, tableau, 1 / n_steps, n_steps)
        errors.append(np.max(np.abs(path[-1] - exact)))
    observed = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(observed - order) < 0.25), observed


@pytest.mark.parametrize(("tableau", "order"), [(EULER, 2), (TSITOURAS_54, 5)])
def test_error_estimate_shrinks_with_its_order(tableau, order):
    sizes = []
    for dt in (0.04, 0.02, 0.01):
        _, error, _ = runge_kutta_step(tableau, linear, Y_0, linear(Y_0), dt)
        sizes.append(np.max(np.abs(error)))
    assert tableau.error_order == order
    observed = np.log2(np.array(sizes[:-1]) / sizes[1:])
    assert np.all(np.abs(observed - order) < 0.3), observed


def test_tableau_satisfies_the_order_conditions():
    """Row sums are the nodes published by Tsitouras; the step integrates t^k up to k = 4."""
    nodes = np.array([0] + [sum(row) for row in TSITOURAS_54.a])
    published = [0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1]
    np.testing.assert_allclose(nodes, published, rtol=0, atol=1e-14)
    weights = np.array([*TSITOURAS_54.a[-1], 0])
    embedded = weights - np.array(TSITOURAS_54.error)
    # The published digits, 16 of them, in sums of terms of up to 3.
    for k in range(5):
        assert abs(weights @ nodes**k - 1 / (k + 1)) < 1e-13
    for k in range(4):
        assert abs(embedded @ nodes**k - 1 / (k + 1)) < 1e-13
    assert abs(embedded @ nodes**4 - 1 / 5) > 1e-6


@pytest.mark.parametrize("method", ["tsit5", "euler"])
@pytest.mark.parametrize("step_control", ["adaptive", "constant"])
def test_settles_where_the_derivative_vanishes(method, step_control):
    solver = Solver(
        method=method, step_control=step_control, rtol=1e-6, atol=1e-8, dt_max=0.1, horizon=50.0
    )
    rest = np.array([2.0, -1.0, 3.0])
    end = integrate(lambda y: linear(y - rest), Y_0, solver)
    assert np.all(end.settled)
    np.testing.assert_allclose(end.y, np.broadcast_to(rest, Y_0.shape), rtol=0, atol=3e-5)
    assert np.all(end.time < 50)
    # Settling was asked for at rtol: far earlier or later would be another criterion.
    speed = np.sqrt(np.mean(linear(end.y - rest) ** 2, axis=-1))
    allowed = 1e-8 + 1e-6 * np.sqrt(np.mean(end.y**2, axis=-1))
    assert np.all(speed < allowed)
    assert np.all(speed > allowed / 20)


def test_steps_are_each_sample_s_own():
    """A stiff sample beside an easy one costs the easy one nothing."""
    scale = np.array([[1.0], [300.0]])
    solver = Solver(method="tsit5", rtol=1e-6, atol=1e-9, dt_max=1.0, dt_min=1e-6, horizon=100.0)
    y = np.ones((2, 1))
    together = integrate(lambda y: -scale * y, y, solver)
    alone = integrate(lambda y: -scale[:1] * y, y[:1], solver)
    assert together.n_steps[0] == alone.n_steps[0]
    np.testing.assert_allclose(together.y[0], alone.y[0], rtol=1e-14)


def test_recorded_path_is_the_exact_one():
    path = integrate_recorded(linear, Y_0, TSITOURAS_54, 1e-3, 200, every=50)
    assert path.shape == (5, 2, 3)
    for i, state in enumerate(path):
        np.testing.assert_allclose(state, Y_0 @ expm(A * 0.05 * i).T, rtol=1e-12, atol=1e-14)


def test_a_sample_that_leaves_the_finite_numbers_is_not_settled():
    end = integrate(lambda y: y**3, np.array([[10.0], [0.0]]), Solver(method="tsit5"))
    assert list(end.settled) == [False, True]
    # It has no end, and no number that might be taken for one.
    assert np.isnan(end.y[0, 0])
    assert end.y[1, 0] == 0


def test_inactive_samples_stay_as_they_are():
    active = np.array([True, False])
    end = integrate(linear, Y_0, Solver(method="tsit5", horizon=20.0), active=active)
    np.testing.assert_array_equal(end.y[1], Y_0[1])
    assert np.max(np.abs(end.y[0])) < 1e-3


def step_of(inverse_errors, scaled, dt=2e-3, at_minimum=False, **settings):
    solver = Solver(method="tsit5", **settings)
    control = StepControl(
        np.array([dt]),
        np.array([at_minimum]),
        tuple(np.array([value]) for value in inverse_errors),
    )
    kept, after = next_step(solver, control, np.array([scaled]), 5)
    return bool(kept[0]), float(after.dt[0]), after


@pytest.mark.parametrize(
    ("scaled", "factor"),
    [
        # 0.9 ε^(−(p+i+d)/5) ε₁^((p+2d)/5) ε₂^(−d/5), within 0.1 … 2 and, kept, not below 1.
        (0.25, 0.9 * 4**0.1 * 2 ** (-0.06) * 3**0.02),
        (0.9, 1.0),
        (1e-12, 2.0),
        (4.0, 0.9 * 0.25**0.1 * 2 ** (-0.06) * 3**0.02),
        (1e12, 0.1),
    ],
)
def test_pid_control_of_the_step(scaled, factor):
    """Söderlind's PID formula with p = 0.1, i = 0.3, d = 0.1 written out, ε₁ = 1/2, ε₂ = 1/3."""
    kept, dt, _ = step_of((2.0, 3.0), scaled)
    assert kept == (scaled < 1)
    assert dt == pytest.approx(2e-3 * factor, rel=1e-12)


def test_a_rejected_step_shrinks_and_is_not_remembered():
    kept, dt, after = step_of((2.0, 3.0), 1.5)
    assert not kept
    assert dt < 2e-3
    assert [float(e[0]) for e in after.inverse_errors] == [2.0, 3.0]


def test_a_step_at_the_minimum_is_kept_whatever_its_error():
    kept, dt, _ = step_of((1.0, 1.0), 50.0, dt=1e-4, at_minimum=True)
    assert kept
    assert dt == 1e-4


def test_impossible_solver_settings_are_named():
    with pytest.raises(ConfigurationError, match=r"dt_min 0\.1 exceeds dt_max 0\.01"):
        Solver(dt_min=0.1)
    with pytest.raises(ConfigurationError, match="choose one of fixed-point, tsit5, euler"):
        Solver(method="rk4")
    assert dataclasses.replace(Solver(), rtol=0.0).rtol == 0
