"""SoftReLU against SciPy's log-sum-exp and logistic functions, and mpmath-free identities."""

import numpy as np
import pytest
from scipy.special import expit

from disinhib.refimpl.circuit import inverse, linearized_inverse, rate, slope
from disinhib.refimpl.configuration import ConfigurationError, SoftReLU

ACTIVATIONS = [SoftReLU(), SoftReLU(1.3, 0.9, 0.4), SoftReLU(5.0, 2.0, 3.0), SoftReLU(0.1, 7.0, -2)]
U = np.concatenate([np.linspace(-30, 30, 241), [-700.0, 700.0]])


@pytest.mark.parametrize("phi", ACTIVATIONS)
def test_rate_is_log_of_one_plus_exponential(phi):
    v = phi.sharpness * (U - phi.shift)
    np.testing.assert_allclose(rate(phi, U), phi.scale * np.logaddexp(0, v), rtol=1e-14)


@pytest.mark.parametrize("phi", ACTIVATIONS)
def test_slope_is_logistic_and_the_derivative_of_the_rate(phi):
    v = phi.sharpness * (U - phi.shift)
    np.testing.assert_allclose(slope(phi, U), phi.scale * phi.sharpness * expit(v), rtol=1e-14)
    h = 1e-5
    difference = (rate(phi, U + h) - rate(phi, U - h)) / (2 * h)
    np.testing.assert_allclose(slope(phi, U), difference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("phi", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverse_undoes_the_rate(phi, dtype):
    """To the conditioning: a relative error ε in r moves φ⁻¹ by ε r / φ'."""
    u = np.linspace(phi.shift - 8 / phi.sharpness, phi.shift + 60, 400).astype(dtype)
    r = rate(phi, u)
    assert r.dtype == inverse(phi, r).dtype == slope(phi, u).dtype == dtype
    allowed = np.finfo(dtype).eps * (4 * r / slope(phi, u) + 4 * np.abs(u) + 4)
    assert np.all(np.abs(inverse(phi, r) - u) <= allowed)


def test_inverse_of_huge_rates_does_not_overflow():
    np.testing.assert_allclose(inverse(SoftReLU(), np.array([1e4, 1e300])), [1e4, 1e300])


@pytest.mark.parametrize("r", [0.0, -0.5, np.nan])
def test_inverse_refuses_rates_that_no_neuron_has(r):
    with pytest.raises(ValueError, match="a rate above 0 is needed"):
        inverse(SoftReLU(), np.array([1.0, r]))


@pytest.mark.parametrize("phi", ACTIVATIONS)
def test_linearized_inverse_is_the_tangent(phi):
    r_0 = phi.scale * np.array([0.1, 0.8, 1.0, 3.0])
    theta, delta = linearized_inverse(phi, r_0)
    np.testing.assert_allclose(theta + delta * r_0, inverse(phi, r_0), rtol=1e-12)
    h = 1e-5 * phi.scale
    tangent = (inverse(phi, r_0 + h) - inverse(phi, r_0 - h)) / (2 * h)
    np.testing.assert_allclose(delta, tangent, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "SoftReLU.scale is 0.0: must be above 0"),
        ({"sharpness": -1}, "SoftReLU.sharpness is -1: must be above 0"),
        ({"shift": np.inf}, "SoftReLU.shift is inf: a finite number is needed"),
        ({"scale": "big"}, "SoftReLU.scale is 'big': a finite number is needed"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ConfigurationError) as problem:
        SoftReLU(**settings)
    assert str(problem.value) == message
