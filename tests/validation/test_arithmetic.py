"""Floating and fixed point against NumPy's own spacing and plain rounding."""

import numpy as np
import pytest

from disinhib.refimpl.configuration import ConfigurationError
from disinhib.validation.judge.tolerance import float_arithmetic, named_arithmetic


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_spacing_of_a_float_is_numpys(dtype):
    generator = np.random.default_rng(1)
    limits = np.finfo(dtype)
    exponents = generator.uniform(limits.minexp, limits.maxexp - 1, 500)
    x = np.concatenate([np.exp2(exponents) * generator.choice([-1, 1], 500), [0.0, 1.0, -4.0]])
    x = x.astype(dtype)
    expected = np.where(
        np.abs(x) < limits.smallest_normal, limits.smallest_subnormal, np.spacing(np.abs(x))
    ).astype(np.float64)
    found = float_arithmetic(dtype).spacing(x.astype(np.float64))
    np.testing.assert_array_equal(found, expected)


def test_fixed_point_has_the_same_spacing_everywhere():
    arithmetic = named_arithmetic("fixed16")
    np.testing.assert_array_equal(arithmetic.spacing(np.array([0.0, 1e-9, 3e4])), 2.0**-16)
    x = np.random.default_rng(2).uniform(-4, 4, 1000)
    rounded = np.round(x * 2**16) / 2**16
    assert np.max(np.abs(rounded - x)) <= arithmetic.unit_roundoff


@pytest.mark.parametrize("name", ["float128", "fixed", "fixed0", "fixed63", "fixed-3", ""])
def test_another_name_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"precision is '{name}': choose float16"):
        named_arithmetic(name)
