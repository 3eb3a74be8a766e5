"""Curves of related models against the published ones, and what must hold of them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.optimize import brentq

from disinhib.experiments.paper.plasticity_curves import (
    LinearThreshold,
    SignChange,
    circuit,
    greedy,
    greedy_isolated,
    isolated,
    meulemans,
    meulemans_isolated,
    payeur,
    sacramento,
    sacramento_isolated,
    sign_changes,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "plasticity.h5"
CIRCUITS = {
    "sacramento2018": sacramento,
    "meulemans2021": meulemans,
    "payeur2021": payeur,
    "greedy2022": greedy,
}
TARGETS = {"target_None": None, "target_3.0": 3.0, "target_4.0": 4.0}


def softplus(u):
    return np.logaddexp(0, u)


def inverse_softplus(r):
    return np.log(np.expm1(r))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", CIRCUITS)
def test_every_published_curve(model, target):
    with h5py.File(GOLDEN) as file:
        golden = {name: item[()] for name, item in file[model][target].items()}
    curve = CIRCUITS[model](golden.pop("x"), TARGETS[target])
    ours = {"dw": curve.dw, **curve.state}
    assert ours.keys() == golden.keys()
    for name, expected in golden.items():
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-10, err_msg=name)


def test_no_published_curve_is_left_out():
    with h5py.File(GOLDEN) as file:
        assert set(file) == {*CIRCUITS, "rossbroich2023"}
        assert all(set(file[model]) == set(TARGETS) for model in CIRCUITS)


@pytest.mark.parametrize("target", [3.0, 4.0])
def test_sacramento_at_rest_under_a_target(target):
    """At rest Δw is zero where the apical dendrite is: 0.55 φ(u_I) = target."""
    u_I = inverse_softplus(target / 0.55)
    crossing = 1.1 * u_I - target
    curve = sacramento(np.linspace(0, 10, 2001), target)
    (found,) = curve.to_ltd()
    assert found == pytest.approx(crossing, abs=1e-4)
    assert curve.to_ltp() == []


@pytest.mark.parametrize("target", [3.0, 4.0])
@pytest.mark.parametrize("model", [meulemans, payeur])
def test_control_and_feedback_vanish_at_the_target(model, target):
    x = np.array([inverse_softplus(target)])
    assert model(x, target).rate[0] == pytest.approx(target, abs=1e-9)
    assert model(x, target).dw[0] == pytest.approx(0, abs=1e-9)
    assert model(x - 0.1, target).dw[0] > 0 > model(x + 0.1, target).dw[0]


@pytest.mark.parametrize("target", [3.0, 4.0])
def test_greedy_changes_sign_where_its_output_meets_the_target(target):
    x = np.array([inverse_softplus(inverse_softplus(target))])
    assert greedy(x, target).dw[0] == pytest.approx(0, abs=1e-12)
    assert greedy(x - 0.1, target).dw[0] > 0 > greedy(x + 0.1, target).dw[0]


def test_meulemans_follows_its_fixed_point():
    """At rest u = x + target − φ(u), a scalar equation with one root."""
    x = np.array([0.5, 2.0, 6.0])
    roots = [brentq(lambda u, v=v: u - v - 3.0 + softplus(u), -20, 20) for v in x]
    np.testing.assert_allclose(meulemans(x, 3.0).state["u"], roots, rtol=0, atol=1e-6)


def test_without_a_target_related_models_have_no_threshold():
    x = np.linspace(0, 13, 261)
    for model in (meulemans, payeur, greedy):
        # Euler is still 13 (1 − 1/50)^600 = 7e-5 from rest at x = 13, where Δw has the factor 13.
        np.testing.assert_allclose(model(x, None).dw, 0, rtol=0, atol=13 * 8e-5)
    assert np.all(sacramento(x[1:], None).dw < 0)


def test_the_circuit_has_one_where_depression_turns_into_potentiation():
    """Without control u_I = r_E at rest, so that Δw has the sign of r_E − θ − δ φ(r_E)."""
    for theta, delta in ((1.5, 1.5), (0.9, 1.8)):

        def estimate_error(r, theta=theta, delta=delta):
            return r - theta - delta * softplus(r - 3)

        roots = brentq(estimate_error, 0, 3), brentq(estimate_error, 3, 8)
        curve = circuit(np.linspace(0, 13, 1301), None, LinearThreshold(theta, delta))
        changes = sign_changes(curve.rate, curve.dw)
        assert [one.to_potentiation for one in changes] == [True, False]
        np.testing.assert_allclose([one.rate for one in changes], roots, rtol=0, atol=1e-3)


@pytest.mark.parametrize("target", [3.0, 4.0])
def test_the_circuit_under_control(target):
    """Exact inverse: Δw = α x (r_tar − r_E) φ', as u_I = r_E − α (r_tar − r_E) at rest."""
    curve = circuit(np.linspace(0, 10, 401), target)
    slope = 1 / (1 + np.exp(3 - curve.state["u_E"]))
    expected = 5 * curve.x * (target - curve.rate) * slope
    # Euler's 600 steps leave (1 − 1/50)^600 = 5.4e-6 of u_E's way from 0 to at most x. u_I follows
    # it with gain 6 φ' ≤ 6 and the same time constant, so it lags by 6 · 600/49 times as much,
    # 4e-4 x, and Δw by 4e-4 x².
    np.testing.assert_array_less(np.abs(curve.dw - expected), 4.5e-4 * curve.x**2 + 1e-12)
    assert np.all(curve.dw[(curve.x > 0) & (curve.rate < target - 0.01)] > 0)
    assert np.all(curve.dw[curve.rate > target + 0.01] < 0)


def test_isolated_thresholds_move_with_inhibition():
    rates = np.linspace(0.01, 2, 4)
    x = np.linspace(0, 10, 2001)
    found = []
    for r_I in rates:
        curve = isolated(x, r_I, LinearThreshold())
        found += [one.rate for one in sign_changes(curve.rate, curve.dw)]
    np.testing.assert_allclose(found, 1.5 + 1.5 * rates, rtol=0, atol=1e-3)


@pytest.mark.parametrize("r_I", [0.01, 1.0, 3.0])
def test_clamped_inhibition_only_depresses_in_sacramento_and_meulemans(r_I):
    x = np.linspace(0.01, 25, 500)
    assert np.all(sacramento_isolated(x, r_I).dw < 0)
    np.testing.assert_allclose(meulemans_isolated(x, r_I).dw, -x * r_I, rtol=0, atol=1e-12)


def test_without_inhibition_sacramento_and_meulemans_are_still():
    x = np.linspace(0, 25, 100)
    np.testing.assert_allclose(sacramento_isolated(x, 0.0).dw, 0, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(meulemans_isolated(x, 0.0).dw, 0)


def test_sacramento_isolated_is_at_rest():
    """Conductances balance: −0.1 u + (x − u) + 0.8 (−r_I − u) = 0."""
    x = np.linspace(0, 10, 11)
    u = sacramento_isolated(x, 0.7).state["u_E"]
    np.testing.assert_allclose(-0.1 * u + (x - u) + 0.8 * (-0.7 - u), 0, rtol=0, atol=1e-12)


def test_threshold_of_greedy_isolated():
    """p = ½ where 1.6 (1 − exp(−e/10)) σ(−4 r_I h) = ½; h is 1/e to 1e-4 there, as φ' is 1."""
    found = []
    for r_I in (0.0, 0.5, 1.0, 2.0):

        def excess(e, r_I=r_I):
            return 1.6 * (1 - np.exp(-e / 10)) / (1 + np.exp(4 * r_I / e)) - 0.5

        curve = greedy_isolated(np.linspace(0, 25, 2501), r_I)
        (change,) = sign_changes(curve.rate, curve.dw)
        assert change.to_potentiation
        assert change.rate == pytest.approx(brentq(excess, 1, 40), abs=1e-3)
        found.append(change.rate)
    assert found[0] == pytest.approx(-10 * np.log(1 - 1 / 1.6), abs=1e-3)
    assert np.all(np.diff(found) > 1)


def test_sign_changes_of_a_parabola():
    rate = np.linspace(0, 5, 101)
    changes = sign_changes(rate, (rate - 1.02) * (4.03 - rate))
    assert [one.to_potentiation for one in changes] == [True, False]
    np.testing.assert_allclose([one.rate for one in changes], [1.02, 4.03], rtol=0, atol=1e-3)


def test_sign_changes_of_a_line_are_exact():
    rate = np.array([0.0, 1.0, 2.0])
    assert sign_changes(rate, np.array([-1.0, 0.0, 1.0])) == [SignChange(1.0, True)]
    assert sign_changes(rate, np.array([0.0, 1.0, 2.0])) == []
    assert sign_changes(rate, np.zeros(3)) == []
    assert sign_changes(rate, np.array([-1e-6, 1.0, 2.0]), negligible=1e-5) == []
