"""Learning in continuous time: SciPy and finite differences as oracles, fixed points, rules."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import expit, log1p

from disinhib.experiments.paper.teacher_student import (
    SineWaves,
    draw_sine_waves,
    draw_weights,
    sample_times,
    sine_inputs,
)
from disinhib.refimpl.circuit import rate
from disinhib.refimpl.configuration import ConfigurationError, Controller, SoftReLU
from disinhib.refimpl.continuous import (
    BURN_IN,
    CLOSED_LOOP,
    LEARNING,
    OPEN_LOOP,
    PUBLISHED,
    ContinuousLearning,
    ContinuousState,
    Departures,
    Sampling,
    continuous_derivative,
    estimated_inhibition,
    feedback_targets,
    initial_state,
    output,
    pack_continuous,
    postsynaptic_factor,
    run_continuously,
    unpack_continuous,
)

NETWORK = ContinuousLearning(sizes=(4, 5, 3, 2))
"""Two hidden layers, so that J goes through a hidden layer's weights."""


def softrelu(s, k, m, u):
    return s * log1p(np.exp(k * (u - m)))


def derivative_by_hand(network, y, x, target):
    """Section 10 with everything moving, written out anew for four layers of units."""
    (s_E, k_E, m_E), (s_I, k_I, m_I) = (
        (phi.scale, phi.sharpness, phi.shift)
        for phi in (network.activation_E, network.activation_I)
    )
    n_0, n_1, n_2, n_3 = network.sizes
    shapes = [(n_1,), (n_2,), (n_3,)] * 2 + [(n_3,), (n_3, n_1), (n_3, n_2), (n_3, n_3)]
    shapes += [(n_0, n_1), (n_1, n_2), (n_2, n_3), (n_1,), (n_2,), (n_3,)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    parts = [p.reshape(s) for p, s in zip(np.split(y, ends[:-1]), shapes, strict=True)]
    u, v, z, Q, W, b = parts[:3], parts[3:6], parts[6], parts[7:10], parts[10:13], parts[13:]
    r = [softrelu(s_E, k_E, m_E, u_l) for u_l in u]
    slope = [s_E * k_E * expit(k_E * (u_l - m_E)) for u_l in u]
    slope_I = [s_I * k_I * expit(k_I * (v_l - m_I)) for v_l in v]
    e = target - r[2]
    c = network.controller.k_p * e + network.controller.k_i * z
    J = [None, None, np.diag(slope[2])]
    for l in (1, 0):
        J[l] = np.einsum("oi,ji,j->oj", J[l + 1], W[l + 1], slope[l])
    du, dv, dQ, dW, db = [], [], [], [], []
    for l, pre in enumerate([x, r[0], r[1]]):
        du.append((-u[l] + pre @ W[l] + b[l] - softrelu(s_I, k_I, m_I, v[l])) / network.tau_E)
        dv.append((-v[l] + r[l] - c @ Q[l]) / network.tau_I)
        aim = J[l] * slope_I[l]
        aim *= network.feedback_norm / np.sqrt(np.sum(aim**2))
        dQ.append((aim - Q[l]).ravel() / network.tau_Q)
        db.append((r[l] - v[l]) * slope[l] / network.tau_W)
        dW.append(np.outer(pre, db[-1]).ravel())
    dz = (e - network.controller.leak * z) / network.controller.tau
    return np.concatenate([*du, *dv, dz, *dQ, *dW, *db])


def random_state(network, seed=1):
    generator = np.random.default_rng(seed)
    state = initial_state(network, *draw_weights(generator, network.sizes))
    y = pack_continuous(state)
    return unpack_continuous(y + generator.normal(0, 0.3, y.size), network.sizes)


def drives(network, n_samples, seed=2):
    generator = np.random.default_rng(seed)
    x = sine_inputs(draw_sine_waves(generator, network.sizes[0]), sample_times(0, n_samples, 1e-3))
    return x, np.abs(x[:, : network.sizes[-1]])


def test_scipy_takes_the_same_path():
    """SciPy's DOP853 on the equations written anew, over 30 ms with all kinks of the input.

    Its tolerance of 1e-11 and the step of 0.25 ms leave 1e-9.
    """
    x, target = drives(NETWORK, 31)
    start = random_state(NETWORK)
    ours = run_continuously(NETWORK, LEARNING, Sampling(steps=4), start, x, target)
    y = pack_continuous(start)
    for i in range(30):

        def derivative(t, y, i=i):
            x_now, target_now = ((1 - t) * s[i] + t * s[i + 1] for s in (x, target))
            return 1e-3 * derivative_by_hand(NETWORK, y, x_now, target_now)

        y = solve_ivp(derivative, (0, 1), y, method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
    np.testing.assert_allclose(pack_continuous(ours.state), y, rtol=0, atol=1e-9)
    assert np.max(np.abs(y - pack_continuous(start))) > 0.1


def test_the_error_falls_at_the_fifth_power_of_the_step():
    x, target = drives(NETWORK, 21)
    start = random_state(NETWORK)
    paths = [
        pack_continuous(
            run_continuously(NETWORK, LEARNING, Sampling(steps=n), start, x, target).state
        )
        for n in (1, 2, 16)
    ]
    coarse, fine = (np.max(np.abs(path - paths[-1])) for path in paths[:2])
    assert 20 < coarse / fine < 50


def test_phases_hold_still_what_does_not_move():
    state, x, target = random_state(NETWORK), np.ones(4), np.ones(2)
    moves = {}
    for phase in (OPEN_LOOP, BURN_IN, CLOSED_LOOP, LEARNING):
        change = continuous_derivative(NETWORK, phase, x, target, state)
        moves[phase] = [np.any(part != 0) for part in (change.z, change.Q[0], change.W[0])]
    assert moves[OPEN_LOOP] == [False, False, False]
    assert moves[BURN_IN] == [False, True, False]
    assert moves[CLOSED_LOOP] == [True, False, False]
    assert moves[LEARNING] == [True, True, True]


def test_without_control_the_target_is_without_effect():
    state, x = random_state(NETWORK), np.ones(4)
    paths = [
        pack_continuous(continuous_derivative(NETWORK, BURN_IN, x, target, state))
        for target in (np.zeros(2), np.full(2, 7.0))
    ]
    np.testing.assert_array_equal(*paths)


def test_feedback_weights_point_along_the_derivative_of_the_outputs():
    """J by central differences: y by each drive, the layers above following at once."""
    state = random_state(NETWORK)
    targets = feedback_targets(NETWORK, state.u_E, state.u_I, state.W)
    phi_E, phi_I = NETWORK.activation_E, NETWORK.activation_I
    for l in range(3):
        J = np.empty((2, NETWORK.sizes[l + 1]))
        for i in range(J.shape[1]):
            y = []
            for h in (1e-6, -1e-6):
                u = state.u_E[l].copy()
                u[i] += h
                # Above, a unit moves from where it is by what its drive gains.
                for k in range(l, 2):
                    gain = (rate(phi_E, u) - rate(phi_E, state.u_E[k])) @ state.W[k + 1]
                    u = state.u_E[k + 1] + gain
                y.append(rate(phi_E, u))
            J[:, i] = (y[0] - y[1]) / 2e-6
        h = 1e-6
        slope_I = (rate(phi_I, state.u_I[l] + h) - rate(phi_I, state.u_I[l] - h)) / (2 * h)
        aim = J * slope_I
        aim *= 7.5 / np.linalg.norm(aim)
        np.testing.assert_allclose(targets[l], aim, rtol=0, atol=1e-7)


def test_feedback_weights_come_to_rest_at_J():
    """With a constant input and a short τ_Q, after 30 of each time constant."""
    network = dataclasses.replace(NETWORK, tau_Q=0.02)
    start = random_state(network)
    x = np.tile([0.3, -0.2, 0.5, 0.1], (601, 1))
    end = run_continuously(network, BURN_IN, Sampling(), start, x, np.zeros((601, 2))).state
    for Q, aim in zip(end.Q, feedback_targets(network, end.u_E, end.u_I, end.W), strict=True):
        np.testing.assert_allclose(Q, aim, rtol=0, atol=1e-7)
        assert np.linalg.norm(Q) == pytest.approx(7.5, abs=1e-6)


# Scaling a row of zeros overflows before the result is put aside.
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_silent_network_has_no_feedback():
    targets = feedback_targets(
        NETWORK,
        tuple(np.full(n, -2000.0) for n in (5, 3, 2)),
        tuple(np.zeros(n) for n in (5, 3, 2)),
        random_state(NETWORK).W,
    )
    assert all(np.all(target == 0) for target in targets)


@pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold"])
def test_the_rules_agree_where_the_threshold_touches(rule):
    """At r_I = r₀ the tangent is the inverse: û_I = u_I; away from it, it lies above."""
    network = ContinuousLearning(rule=rule)
    u_I = 3 + np.log(np.expm1(0.5))
    np.testing.assert_allclose(estimated_inhibition(network, np.array([u_I])), [u_I], rtol=1e-14)
    away = np.array([u_I - 1, u_I + 1])
    excess = estimated_inhibition(network, away) - away
    assert np.all(excess == 0) if rule == "exact-inverse" else np.all(excess > 0.1)


def test_departures_of_the_published_run():
    u_E, u_I = np.array([0.4]), np.array([0.2])
    r_E = 5 * np.log1p(np.exp(-2.6))
    at_potential, at_rate = (5 * expit(at - 3) for at in (0.4, r_E))
    u_0 = 3 + np.log(np.expm1(0.1))
    delta = 1 / (5 * expit(u_0 - 3))
    estimate = u_0 + delta * (0.2 - 0.5)
    exact = ContinuousLearning(departures=PUBLISHED)
    threshold = ContinuousLearning(rule="linear-threshold", departures=PUBLISHED)
    one = ContinuousLearning(rule="linear-threshold", departures=Departures(False, True))
    for network, expected in (
        (ContinuousLearning(), (r_E - 0.2) * at_potential),
        (exact, (r_E - 0.2) * at_rate),
        (threshold, (r_E - estimate) * at_rate),
        (one, (r_E - estimate) * at_potential),
    ):
        np.testing.assert_allclose(postsynaptic_factor(network, u_E, u_I), expected, rtol=1e-13)


def test_control_brings_the_output_to_the_target():
    """Over 0.4 s with a constant target below the output: what the leak leaves is 1 in κ."""
    start = random_state(NETWORK)
    x = np.tile([0.3, -0.2, 0.5, 0.1], (401, 1))
    free = run_continuously(NETWORK, OPEN_LOOP, Sampling(), start, x, np.zeros((401, 2)))
    target = np.tile(0.7 * free.output[-1], (401, 1))
    held = run_continuously(NETWORK, CLOSED_LOOP, Sampling(), start, x, target)
    gap = free.output[-1] - target[-1]
    assert np.all(np.abs(held.output[-1] - target[-1]) < 0.1 * np.abs(gap))
    assert held.control_cost[-1] > 0
    assert not np.any(free.control_cost)


def test_packing_is_undone_by_unpacking():
    y = np.arange(float(pack_continuous(random_state(NETWORK)).size))
    state = unpack_continuous(y, NETWORK.sizes)
    assert isinstance(state, ContinuousState)
    np.testing.assert_array_equal(pack_continuous(state), y)
    assert [Q.shape for Q in state.Q] == [(2, 5), (2, 3), (2, 2)]
    assert [W.shape for W in state.W] == [(4, 5), (5, 3), (3, 2)]
    assert output(NETWORK, state).shape == (2,)


def test_draws():
    """Deviations of 4000 numbers are within 5 % (over four standard errors)."""
    W, b = draw_weights(np.random.default_rng(0), (100, 4000, 2))
    assert np.std(W[0]) == pytest.approx(0.2, rel=0.05)
    assert np.std(W[1]) == pytest.approx(2 / np.sqrt(4000), rel=0.05)
    assert np.std(b[0]) == pytest.approx(2 / np.sqrt(4000), rel=0.05)
    waves = draw_sine_waves(np.random.default_rng(0), 4000)
    for values, low, high in (
        (waves.amplitude, 0.1, 1),
        (waves.frequency, 0.1, 2),
        (waves.phase, 0, np.pi),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)


def test_a_wave():
    wave = SineWaves(np.array([2.0]), np.array([0.25]), np.array([0.0]))
    np.testing.assert_allclose(sine_inputs(wave, np.array([0.0, 1.0, 3.0]))[:, 0], [0, 2, -2])
    np.testing.assert_allclose(sample_times(2, 50, 0.1)[:2], [10.0, 10.1])


@pytest.mark.parametrize(
    "wrong",
    [{"tau_Q": 0}, {"rule": "backprop"}, {"sizes": (3,)}, {"r_0": -1}, {"feedback_norm": 0}],
)
def test_impossible_settings_are_named(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ContinuousLearning(**wrong)


def test_other_activations_and_gains_are_heeded():
    network = dataclasses.replace(
        NETWORK,
        activation_E=SoftReLU(2.0, 1.5, 0.5),
        activation_I=SoftReLU(0.7, 0.8, 0.2),
        controller=Controller(3.0, 2.0, 0.1, 0.2),
    )
    state, x, target = random_state(network), np.ones(4), np.full(2, 0.5)
    ours = pack_continuous(continuous_derivative(network, LEARNING, x, target, state))
    by_hand = derivative_by_hand(network, pack_continuous(state), x, target)
    np.testing.assert_allclose(ours, by_hand, rtol=1e-12, atol=1e-12)
