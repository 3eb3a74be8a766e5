"""The precisions that every backend offers, and what they resolve."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..refimpl import ConfigurationError, NetworkConfiguration, Setting, Solver, shown

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


def check_method(
    configuration: NetworkConfiguration, solver: Solver, dtype: np.dtype | None = None
) -> None:
    """Refuse, before any work is done, what the method or the precision cannot resolve.

    A rate is known to s k ε |u|, ε being the precision's: from k ε = 1/8 on it is no number to
    compute with.

    A ConfigurationError says that the method is 'fixed-point' and the controller has leak 0, or
    that its steady gain or a sharpness is more than the precision resolves.
    """
    needs_gain = solver.method == "fixed-point" and configuration.rule != "backprop"
    kappa = configuration.controller.steady_gain if needs_gain else 0.0
    if dtype is None:
        return
    require_precision("the controller's steady gain k_p + k_i / leak", kappa, dtype)
    most = 1 / (8 * float(np.finfo(dtype).eps))
    for name in ("activation_E", "activation_I"):
        phi = getattr(configuration, name)
        steepest = np.max(phi.sharpness * np.maximum(1, np.abs(phi.shift)))
        if steepest > most:
            raise ConfigurationError(
                f"{name} has sharpness {np.max(phi.sharpness):g} at shift {np.max(phi.shift):g}: "
                f"{dtype} resolves rates up to a sharpness, times the shift, of {most:.0e}"
            )


def settings_as(configuration: Any, dtype: np.dtype) -> Any:
    """Cast arrays among the settings to `dtype`, so that they do not promote float32 arrays.

    Plain numbers are untouched, as they never promote; those that `dtype` turns into 0 or into
    infinity are refused by a ConfigurationError.
    """
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(configuration):
        value = getattr(configuration, item.name)
        if isinstance(value, (float, np.ndarray)):
            require_precision(f"{type(configuration).__name__}.{item.name}", value, dtype)
        if isinstance(value, np.ndarray):
            changes[item.name] = value.astype(dtype)
        elif dataclasses.is_dataclass(value):
            changes[item.name] = settings_as(value, dtype)
    return dataclasses.replace(configuration, **changes) if changes else configuration


def require_precision(where: str, value: Setting, dtype: np.dtype) -> None:
    """Refuse a number, called `where`, that a precision turns into 0 or into infinity."""
    if isinstance(value, float) and dtype == np.float64 and math.isfinite(value):
        return  # it is one, and backends are made by the thousand
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
