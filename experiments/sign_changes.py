"""Where a plasticity curve changes sign: its thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SignChange:
    """A zero crossing of Δw.

    Parameters
    ----------
    rate : float
        Postsynaptic rate at which Δw is zero.
    to_potentiation : bool
        True from depression (LTD) below to potentiation (LTP) above; False the other way.
    """

    rate: float
    to_potentiation: bool


def sign_changes(rate: np.ndarray, dw: np.ndarray, negligible: float = 0.0) -> list[SignChange]:
    """Find the sign changes of Δw, by linear interpolation between neighbours.

    Parameters
    ----------
    rate : array, (n,)
        Postsynaptic rate, rising.
    dw : array, (n,)
        Weight change.
    negligible : float
        Weight changes up to this size have no sign: what is left of a zero when the dynamics are
        followed for a finite time.

    Returns
    -------
    list of SignChange
        From low rates to high; each within the spacing of `rate` of the true one.
    """
    signed = np.abs(dw) > negligible
    rate, dw = rate[signed], dw[signed]
    changes = []
    for i in np.flatnonzero(np.sign(dw[1:]) != np.sign(dw[:-1])):
        part = dw[i] / (dw[i] - dw[i + 1])
        at = rate[i] + part * (rate[i + 1] - rate[i])
        changes.append(SignChange(float(at), bool(dw[i] < 0)))
    return changes


def potentiation_thresholds(
    rate: np.ndarray, dw: np.ndarray, negligible: float = 0.0
) -> list[float]:
    """Rates at which LTD turns into LTP; arguments as for `sign_changes`."""
    return [one.rate for one in sign_changes(rate, dw, negligible) if one.to_potentiation]


def depression_thresholds(rate: np.ndarray, dw: np.ndarray, negligible: float = 0.0) -> list[float]:
    """Rates at which LTP turns into LTD; arguments as for `sign_changes`."""
    return [one.rate for one in sign_changes(rate, dw, negligible) if not one.to_potentiation]
