"""The arithmetic of an implementation: what rounding does to each number in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..refimpl.errors import ConfigurationError, shown

FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Arithmetic:
    """Floating or fixed point, as far as rounding goes.

    Parameters
    ----------
    name : str
        `float16`, `float32`, `float64`, or `fixedN` for N bits after the binary point.
    epsilon : float
        Distance of neighbouring numbers: relative, at 1, in floating point; everywhere in
        fixed point.
    is_fixed_point : bool
        Whether that distance is the same for small numbers and large.
    smallest_normal : float
        Below it a float's neighbours are no nearer.
    smallest : float
        What is below it may vanish: the smallest normal number, as many flush what is below to
        0; in float16, which is little use without, the smallest subnormal one.
    """

    name: str
    epsilon: float
    is_fixed_point: bool = False
    smallest_normal: float = 0.0
    smallest: float = 0.0

    @property
    def unit_roundoff(self) -> float:
        """Largest error of rounding one number, half of `epsilon`."""
        return self.epsilon / 2

    def spacing(self, x: np.ndarray) -> np.ndarray:
        """Distance between neighbouring numbers at x: one unit in the last place.

        Parameters
        ----------
        x : array of float64
            Any numbers.

        Returns
        -------
        array of float64, of the same shape
        """
        if self.is_fixed_point:
            return np.full(np.shape(x), self.epsilon)
        _, exponent = np.frexp(np.maximum(np.abs(x), self.smallest_normal))
        return np.ldexp(self.epsilon, exponent - 1)


def float_arithmetic(dtype: np.dtype | type | str) -> Arithmetic:
    """Describe a floating-point precision.

    Parameters
    ----------
    dtype : numpy.dtype, type or str
        float16, float32 or float64.
    """
    limits, name = np.finfo(dtype), np.dtype(dtype).name
    normal, subnormal = float(limits.smallest_normal), float(limits.smallest_subnormal)
    return Arithmetic(
        name,
        float(limits.eps),
        smallest_normal=normal,
        smallest=subnormal if name == "float16" else normal,
    )


def named_arithmetic(name: str) -> Arithmetic:
    """Find an arithmetic by the name that a user gives.

    Parameters
    ----------
    name : str
        `float16`, `float32`, `float64`, or `fixedN` for N bits after the binary point.

    Raises
    ------
    ConfigurationError
        It is none of these.
    """
    if name in FLOATS:
        return float_arithmetic(name)
    bits = re.fullmatch(r"fixed([1-9]\d?)", name)
    if bits is None or int(bits[1]) > 62:
        raise ConfigurationError(
            f"precision is {shown(name)}: choose {', '.join(FLOATS)}, or fixedN for N bits after "
            "the binary point, N from 1 to 62"
        )
    return Arithmetic(name, 2.0 ** -int(bits[1]), is_fixed_point=True)
