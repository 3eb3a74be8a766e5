"""SoftReLU and its slope at machine speed: one exponential and one logarithm for both.

Polynomials that LLVM turns into vector instructions, as it cannot calls into libm:

- exp(x) for x ≤ 0: x = n ln 2 + f with |f| ≤ ½ ln 2, the part of ln 2 beyond a short
  leading one kept apart (W. J. Cody & W. Waite, Software Manual for the Elementary
  Functions, 1980), a polynomial in f, and n added to the exponent;
- log1p(e) = e + e² g(e) for 0 ≤ e ≤ 1, with a polynomial in e − ½ for g, interpolated at
  Chebyshev nodes. g is analytic up to e = −1, so that each degree gains a factor 3 + √8.

Both polynomials are summed by G. Estrin's scheme (Proc. Western Joint Computer Conf. 1960, 33-40):
Horner's is one chain in which every operation waits for the one before.

Kernels that call these are compiled with CONTRACT: a product and the sum it goes into are
rounded once, by one instruction where the processor has it.

Largest errors, as `tests/backends/test_numba_cpu.py` holds them, in either precision: exp
2 ULP, log1p 2 ULP, the rate 2 ULP, the slope 3 ULP. Below the least normal number exp
stays there.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
from numba import types
from numba.extending import overload

from .code_cache import inner

CONTRACT = {"contract"}
"""The one flag of fast mathematics that is on. A Newton pass takes about 0.7 of the time
that it takes without."""


def _log1p_polynomial(n: int) -> list[Decimal]:
    """n coefficients of g = (log1p(e) / e − 1) / e in powers of t = e − ½, lowest first.

    Interpolated at Chebyshev nodes in decimal arithmetic: solving for powers of t loses
    digits, that double precision would not have to spare.
    """
    with localcontext() as context:
        context.prec = 60
        nodes = [Decimal(0.5 * math.cos(math.pi * (2 * k + 1) / (2 * n))) for k in range(n)]
        points = [Decimal("0.5") + t for t in nodes]
        differences = [((1 + e).ln() / e - 1) / e for e in points]
        for order in range(1, n):
            for k in range(n - 1, order - 1, -1):
                rise = differences[k] - differences[k - 1]
                differences[k] = rise / (nodes[k] - nodes[k - order])
        # Newton's form, multiplied out from the innermost factor.
        powers = [Decimal(0)] * n
        for node, difference in zip(reversed(nodes), reversed(differences), strict=True):
            lowered = [Decimal(0), *powers[:-1]]
            powers = [low - node * high for low, high in zip(lowered, powers, strict=True)]
            powers[0] += difference
        return powers


LOG1P_32 = tuple(np.float32(c) for c in _log1p_polynomial(12))
LOG1P_64 = tuple(np.float64(c) for c in _log1p_polynomial(24))
# On so short an interval Taylor's polynomial is as good: its remainder is 5e-9 and 4e-18.
# The terms 1 and f stand apart, to be added last.
EXP_32 = tuple(np.float32(1 / math.factorial(k)) for k in range(2, 8))
EXP_64 = tuple(np.float64(1 / math.factorial(k)) for k in range(2, 14))
LOG2_E_32, LOG2_E_64 = np.float32(1 / math.log(2)), np.float64(1 / math.log(2))
# A leading part of ln 2 so short that its product with n is exact, and the rest.
LN2_HIGH_32, LN2_LOW_32 = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
LN2_HIGH_64, LN2_LOW_64 = np.float64(0.6931471803691238), np.float64(1.9082149292705877e-10)
LOWEST_32, LOWEST_64 = np.float32(-87.0), np.float64(-708.0)
# Adding this leaves no room for a fraction: the sum is rounded to a whole number, which
# stands in its lowest bits.
ROUNDER_32, ROUNDER_64 = np.float32(1.5 * 2**23), np.float64(1.5 * 2**52)
MANTISSA_BITS_32, MANTISSA_BITS_64 = np.int32(23), np.int64(52)
ONE_32, ONE_64 = np.float32(1), np.float64(1)
HALF_32, HALF_64 = np.float32(0.5), np.float64(0.5)


@inner(forceinline=True, fastmath=CONTRACT)
def _four(c_0, c_1, c_2, c_3, t, t_2):
    """Four terms of a polynomial."""
    return (c_0 + t * c_1) + t_2 * (c_2 + t * c_3)


@inner(forceinline=True, fastmath=CONTRACT)
def _exp_32(x):
    c = EXP_32
    whole = max(x, LOWEST_32) * LOG2_E_32 + ROUNDER_32
    n = whole - ROUNDER_32
    f = (max(x, LOWEST_32) - n * LN2_HIGH_32) - n * LN2_LOW_32
    f_2 = f * f
    rest = _four(c[0], c[1], c[2], c[3], f, f_2) + f_2 * f_2 * (c[4] + f * c[5])
    p = ONE_32 + (f + f_2 * rest)
    exponent = np.int32(np.float32(whole).view(np.int32) << MANTISSA_BITS_32)
    return np.int32(np.float32(p).view(np.int32) + exponent).view(np.float32)


@inner(forceinline=True, fastmath=CONTRACT)
def _exp_64(x):
    c = EXP_64
    whole = max(x, LOWEST_64) * LOG2_E_64 + ROUNDER_64
    n = whole - ROUNDER_64
    f = (max(x, LOWEST_64) - n * LN2_HIGH_64) - n * LN2_LOW_64
    f_2 = f * f
    f_4 = f_2 * f_2
    low = _four(c[0], c[1], c[2], c[3], f, f_2) + f_4 * _four(c[4], c[5], c[6], c[7], f, f_2)
    rest = low + f_4 * f_4 * _four(c[8], c[9], c[10], c[11], f, f_2)
    p = ONE_64 + (f + f_2 * rest)
    exponent = np.float64(whole).view(np.int64) << MANTISSA_BITS_64
    return np.int64(np.float64(p).view(np.int64) + exponent).view(np.float64)


@inner(forceinline=True, fastmath=CONTRACT)
def _log1p_32(e):
    c = LOG1P_32
    t = e - HALF_32
    t_2 = t * t
    t_4 = t_2 * t_2
    low = _four(c[0], c[1], c[2], c[3], t, t_2) + t_4 * _four(c[4], c[5], c[6], c[7], t, t_2)
    g = low + t_4 * t_4 * _four(c[8], c[9], c[10], c[11], t, t_2)
    return e + e * (e * g)


@inner(forceinline=True, fastmath=CONTRACT)
def _log1p_64(e):
    c = LOG1P_64
    t = e - HALF_64
    t_2 = t * t
    t_4 = t_2 * t_2
    t_8 = t_4 * t_4
    low = _four(c[0], c[1], c[2], c[3], t, t_2) + t_4 * _four(c[4], c[5], c[6], c[7], t, t_2)
    middle = _four(c[8], c[9], c[10], c[11], t, t_2) + t_4 * _four(
        c[12], c[13], c[14], c[15], t, t_2
    )
    high = _four(c[16], c[17], c[18], c[19], t, t_2) + t_4 * _four(
        c[20], c[21], c[22], c[23], t, t_2
    )
    return e + e * (e * (low + t_8 * (middle + t_8 * high)))


def exp_of_negative(x):
    """exp(x) for x ≤ 0, in the precision of x; for compiled code."""
    raise TypeError("exp_of_negative is for compiled code")


def log1p_of_fraction(e):
    """log(1 + e) for 0 ≤ e ≤ 1, in the precision of e; for compiled code."""
    raise TypeError("log1p_of_fraction is for compiled code")


@overload(exp_of_negative, inline="always")
def _exp_of_negative(x):
    if x == types.float32:
        return lambda x: _exp_32(x)
    return lambda x: _exp_64(x)


@overload(log1p_of_fraction, inline="always")
def _log1p_of_fraction(e):
    if e == types.float32:
        return lambda e: _log1p_32(e)
    return lambda e: _log1p_64(e)
