"""The precisions every backend offers."""

from __future__ import annotations

import numpy as np

from ..refimpl.errors import ConfigurationError

PRECISIONS = ("float32", "float64")


def checked_dtype(dtype: np.dtype | type | str) -> np.dtype:
    """Turn the name or type of a precision into a dtype.

    Parameters
    ----------
    dtype : numpy.dtype, type or str
        Asked-for precision.

    Raises
    ------
    ConfigurationError
        It is neither float32 nor float64.
    """
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in PRECISIONS:
        raise ConfigurationError(f"dtype is {name!r}: choose one of {', '.join(PRECISIONS)}")
    return np.dtype(name)
