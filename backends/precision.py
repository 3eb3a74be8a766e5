"""What a precision resolves: settings cast to it, and those refused that it cannot hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..refimpl import ConfigurationError, NetworkConfiguration, Setting, Solver, shown


def check_method(
    configuration: NetworkConfiguration, solver: Solver, dtype: np.dtype | None = None
) -> None:
    """Refuse, before any work is done, what the method or the precision cannot resolve.

    A rate is known to s k ε |u|, ε being the precision's: from k ε = 1/8 on it is no number to
    compute with.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    solver : Solver
        Method.
    dtype : numpy.dtype, optional
        Precision.

    Raises
    ------
    ConfigurationError
        The method is 'fixed-point' and the controller has leak 0; its steady gain or a
        sharpness is more than the precision resolves.
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
    """Cast per-replica settings to `dtype`, so that they do not promote float32 arrays.

    Parameters
    ----------
    configuration : dataclass
        A configuration, or a part of one.
    dtype : numpy.dtype
        Precision of the network.

    Returns
    -------
    dataclass
        The same configuration; plain numbers are untouched, as they never promote.

    Raises
    ------
    ConfigurationError
        A number that `dtype` turns into 0 or into infinity.
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
