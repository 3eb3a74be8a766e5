"""What is wrong with a configuration or an argument, said in one line."""

from __future__ import annotations

from typing import Any

import numpy as np

Setting = float | np.ndarray
"""A number, or one per replica in an array of shape (R, 1, 1)."""


class ConfigurationError(ValueError):
    """A setting that the model does not admit; the message is one line."""


class ArgumentError(ValueError):
    """An array or number that does not fit the network, or is no number; the message is one line.

    It names the argument, what came, and what would be right.
    """


def require(
    owner: Any,
    name: str,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    among: tuple[str, ...] | tuple[bool, ...] | None = None,
) -> None:
    """Check one field of a frozen dataclass, and turn NumPy scalars into plain numbers.

    Plain numbers matter: NumPy promotes a float32 array by a `np.float64` scalar, but
    not by a Python float.

    Parameters
    ----------
    owner : dataclass
        The object that holds the field.
    name : str
        The field.
    above, minimum, below, maximum : float, optional
        Exclusive and inclusive limits.
    among : tuple of str or of bool, optional
        Allowed words, or true and false.

    Raises
    ------
    ConfigurationError
        Naming the field, its value and what would be right.
    """
    value = getattr(owner, name)
    where = f"{type(owner).__name__}.{name}"
    if among is not None:
        if value not in among:
            choices = ", ".join(str(choice).lower() for choice in among)
            raise ConfigurationError(f"{where} is {value!r}: choose one of {choices}")
        return
    number = np.asarray(value)
    if number.dtype.kind not in "iuf" or not np.all(np.isfinite(number)):
        raise ConfigurationError(f"{where} is {value!r}: a finite number is needed")
    if number.ndim == 0:
        object.__setattr__(owner, name, number.item())
    for limit, words, holds in (
        (above, "above", lambda bound: number > bound),
        (minimum, "at least", lambda bound: number >= bound),
        (below, "below", lambda bound: number < bound),
        (maximum, "at most", lambda bound: number <= bound),
    ):
        if limit is not None and not np.all(holds(limit)):
            raise ConfigurationError(f"{where} is {value}: must be {words} {limit:g}")
