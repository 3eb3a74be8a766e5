"""SoftReLU and its slope at machine speed: one exponential and one logarithm for both.

In float64, libm's exp and log1p. In float32, polynomials that LLVM turns into vector
instructions, as it cannot calls into libm:

- exp(x) for x ≤ 0: x = n ln 2 + f with |f| ≤ ½ ln 2, the part of ln 2 that float32 cannot
  hold kept apart (W. J. Cody & W. Waite, Software Manual for the Elementary Functions,
  1980), a polynomial of degree 6 in f, and n added to the exponent;
- log1p(e) for 0 ≤ e ≤ 1: e times a polynomial of degree 11 in e − ½, interpolated at
  Chebyshev nodes. log1p(e)/e is analytic up to e = −1, so that each degree gains a factor
  3 + √8.

Largest errors, as `tests/backends/test_numba_cpu.py` holds them: exp 2 ULP for
x ≥ −87, log1p 3 ULP, the rate 4 ULP, the slope 4 ULP. Below −87 exp stays at 1.6e−38
instead of leaving the normal numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.polynomial import Chebyshev, Polynomial


def _log1p_polynomial() -> tuple[np.float32, ...]:
    """Coefficients of log1p(e) / e in powers of t = e − ½, lowest first."""

    def quotient(t: np.ndarray) -> np.ndarray:
        return np.log1p(t + 0.5) / (t + 0.5)

    series = Chebyshev.interpolate(quotient, 11, domain=[-0.5, 0.5])
    return tuple(np.float32(c) for c in series.convert(kind=Polynomial).coef)


def _exp_polynomial() -> tuple[np.float32, ...]:
    """Coefficients of exp(f) on |f| ≤ ½ ln 2, lowest first."""
    half = 0.5 * math.log(2)
    series = Chebyshev.interpolate(np.exp, 6, domain=[-half, half])
    return tuple(np.float32(c) for c in series.convert(kind=Polynomial).coef)


L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11 = _log1p_polynomial()
E0, E1, E2, E3, E4, E5, E6 = _exp_polynomial()
LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(math.log(2) - 0.693359375)
LOWEST = np.float32(-87.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
ROUNDER = np.float32(1.5 * 2**23)
EXPONENT_BIAS = np.int32(127)
MANTISSA_BITS = np.int32(23)


@njit(inline="always")
def _exp32(x):
    x = max(x, LOWEST)
    # Adding 1.5 · 2^23 leaves no room for a fraction: the sum is rounded to a whole number.
    n = (x * LOG2_E + ROUNDER) - ROUNDER
    f = (x - n * LN2_HIGH) - n * LN2_LOW
    p = E0 + f * (E1 + f * (E2 + f * (E3 + f * (E4 + f * (E5 + f * E6)))))
    power = (np.int32(n) + EXPONENT_BIAS) << MANTISSA_BITS
    return p * np.int32(power).view(np.float32)


@njit(inline="always")
def _log1p32(e):
    t = e - HALF
    p = L6 + t * (L7 + t * (L8 + t * (L9 + t * (L10 + t * L11))))
    return e * (L0 + t * (L1 + t * (L2 + t * (L3 + t * (L4 + t * (L5 + t * p))))))


def exp_of_negative(x):
    """exp(x) for x ≤ 0, in the precision of x; for compiled code."""
    raise TypeError("exp_of_negative is for compiled code")


def log1p_of_fraction(e):
    """log(1 + e) for 0 ≤ e ≤ 1, in the precision of e; for compiled code."""
    raise TypeError("log1p_of_fraction is for compiled code")


@overload(exp_of_negative, inline="always")
def _exp_of_negative(x):
    if x == types.float32:
        return lambda x: _exp32(x)
    return lambda x: math.exp(x)


@overload(log1p_of_fraction, inline="always")
def _log1p_of_fraction(e):
    if e == types.float32:
        return lambda e: _log1p32(e)
    return lambda e: math.log1p(e)
