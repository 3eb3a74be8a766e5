"""The leaky proportional-integral controller that dis-inhibits (section 3)."""

from __future__ import annotations

import numpy as np

from .configuration import Controller


def control_signal(controller: Controller, e: np.ndarray, z: np.ndarray) -> np.ndarray:
    """c = k_p e + k_i z.

    Parameters
    ----------
    controller : Controller
        Gains.
    e, z : array, (..., batch, n_out)
        Error and integral.

    Returns
    -------
    array, (..., batch, n_out)
    """
    return controller.k_p * e + controller.k_i * z


def integral_derivative(controller: Controller, e: np.ndarray, z: np.ndarray) -> np.ndarray:
    """dz/dt = (e − leak · z) / τ_c, per second.

    Parameters
    ----------
    controller : Controller
        Leak and time constant.
    e, z : array, (..., batch, n_out)
        Error and integral.

    Returns
    -------
    array, (..., batch, n_out)
    """
    return (e - controller.leak * z) / controller.tau


def steady_integral(controller: Controller, e: np.ndarray, c: np.ndarray) -> np.ndarray:
    """z = e / leak, where a constant error leaves the integral.

    With e = c / κ it is c / (k_p leak + k_i), whose digits do not depend on those of e, a
    small difference at large gain.

    Parameters
    ----------
    controller : Controller
        Gains and leak, the leak above 0.
    e, c : array, (..., batch, n_out)
        Error, and the control signal κ e that belongs to it.

    Returns
    -------
    array, (..., batch, n_out)
    """
    gain = controller.k_p * controller.leak + controller.k_i
    none = np.asarray(gain) == 0
    return np.where(none, e / controller.leak, c / np.where(none, 1, gain)).astype(e.dtype)
