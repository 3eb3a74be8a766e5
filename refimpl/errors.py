"""What is wrong with a configuration or an argument, said in one line."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

Setting = float | np.ndarray
"""A number, or one per replica in an array of shape (R, 1, 1)."""

LONGEST_SHOWN = 60
"""Characters of a value that a message repeats."""


class ConfigurationError(ValueError):
    """A setting that the model does not admit; the message is one line."""


class ArgumentError(ValueError):
    """An array or number that does not fit the network, or is no number; the message is one line.

    It names the argument, what came, and what would be right.
    """


def shown(value: object) -> str:
    """Write a value for a message: as Python does, in one line, and only the beginning of it."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):
        # Python writes no whole number of more than 4,300 digits.
        return "too long a number"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def require(
    owner: Any,
    name: str,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    among: tuple[str, ...] | tuple[bool, ...] | None = None,
    whole: bool = False,
    per_replica: bool = False,
    because: str = "",
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
    whole : bool
        A whole number is needed.
    per_replica : bool
        An array of shape (R, 1, 1) is a number as well.
    because : str
        Why the limits are what they are.

    Raises
    ------
    ConfigurationError
        Naming the field, its value and what would be right. Truth values, text and lists are
        no numbers, and 1 is no truth value.
    """
    value = getattr(owner, name)
    where = f"{type(owner).__name__}.{name}"
    if among is not None:
        kind = (bool, np.bool_) if isinstance(among[0], bool) else str
        if not isinstance(value, kind) or value not in among:
            choices = ", ".join(str(choice).lower() for choice in among)
            raise ConfigurationError(f"{where} is {shown(value)}: choose one of {choices}")
        plain = bool(value) if isinstance(among[0], bool) else str.__str__(value)
        object.__setattr__(owner, name, plain)
        return
    number = np.asarray(whole_number(where, value)) if whole else _real(where, value, per_replica)
    if number.ndim == 0:
        object.__setattr__(owner, name, number.item())
    for limit, words, holds in (
        (above, "above", lambda bound: number > bound),
        (minimum, "at least", lambda bound: number >= bound),
        (below, "below", lambda bound: number < bound),
        (maximum, "at most", lambda bound: number <= bound),
    ):
        if limit is not None and not np.all(holds(limit)):
            why = f", since {because}" if because else ""
            raise ConfigurationError(f"{where} is {shown(value)}: must be {words} {limit:g}{why}")


def whole_number(where: str, value: object, minimum: int | None = None) -> int:
    """Take a whole number that 64 bits hold as a plain one.

    Parameters
    ----------
    where : str
        What it is, for the message.
    value : object
        Python's or NumPy's; a truth value, text or a float is none.
    minimum : int, optional
        Smallest allowed.

    Raises
    ------
    ConfigurationError
        Naming it, its value and what would be right.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ConfigurationError(f"{where} is {shown(value)}: a whole number is needed")
    if not -(2**63) <= value < 2**63:
        raise ConfigurationError(f"{where} is {shown(value)}: a number of 64 bits is needed")
    if minimum is not None and value < minimum:
        raise ConfigurationError(f"{where} is {value}: must be at least {minimum}")
    return int(value)


def real_number(where: str, value: object) -> float:
    """Take a finite number as a plain one.

    Parameters
    ----------
    where : str
        What it is, for the message.
    value : object
        Python's or NumPy's; a truth value, text or a list is none.

    Raises
    ------
    ConfigurationError
        Naming it, its value and what would be right.
    """
    return float(_real(where, value, per_replica=False))


def require_kind(owner: Any, **kinds: type) -> None:
    """Refuse parts of a configuration that are no objects of their class.

    Raises
    ------
    ConfigurationError
        Naming the field, its value and the class.
    """
    for name, kind in kinds.items():
        value = getattr(owner, name)
        if not isinstance(value, kind):
            where = f"{type(owner).__name__}.{name}"
            raise ConfigurationError(f"{where} is {shown(value)}: a {kind.__name__} is needed")


def require_precision(where: str, value: Setting, dtype: np.dtype) -> None:
    """Refuse a number that a precision turns into 0 or into infinity.

    Parameters
    ----------
    where : str
        What it is, for the message.
    value : float or array
        The number.
    dtype : numpy.dtype
        float32 or float64.

    Raises
    ------
    ConfigurationError
        Naming it, its value, the precision and the range that the precision holds.
    """
    number = np.asarray(value)
    with np.errstate(over="ignore", under="ignore"):
        held = number.astype(dtype)
    becomes = "0" if np.any((held == 0) & (number != 0)) else ""
    becomes = becomes or ("" if np.all(np.isfinite(held)) else "infinity")
    if becomes:
        limits = np.finfo(dtype)
        raise ConfigurationError(
            f"{where} is {shown(value)}: {dtype} makes that {becomes}, and holds numbers from "
            f"{limits.smallest_subnormal:.1e} to {limits.max:.1e}"
        )


def _real(where: str, value: object, per_replica: bool) -> np.ndarray:
    is_array = isinstance(value, np.ndarray) and value.ndim > 0
    if is_array and not per_replica:
        raise ConfigurationError(f"{where} is {shown(value)}: it is one number for all replicas")
    number = np.asarray(np.nan)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = np.asarray(float(value))
    elif isinstance(value, (np.number, np.ndarray)) and value.dtype.kind in "iuf":
        number = np.asarray(value, dtype=float)
    if not number.size or not np.all(np.isfinite(number)):
        raise ConfigurationError(f"{where} is {shown(value)}: a finite number is needed")
    if is_array and (number.ndim < 3 or number.shape[-2:] != (1, 1)):
        raise ConfigurationError(
            f"{where} has shape {number.shape}: a number is needed, or an array of shape "
            "(R, 1, 1), a number a replica"
        )
    return number
