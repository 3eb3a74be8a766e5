"""Usual mistakes in the feedback weights that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ...refimpl import Feedback, SoftReLU, conditioned, rate, slope
from ..judge import Arrays, learner_before, with_part
from ..trace import Trace
from .mistake import Setting


def in_closed_loop(setting: Setting) -> Trace:
    """Give the trace whose open loop is its closed one."""
    return with_part(setting.trace, setting.step, "open_loop", setting.circuit.closed_loop)


def no_slope(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Give 1 for φ'."""
    return np.ones_like(u)


def slope_at_rate(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """φ'(φ(u))."""
    return slope(phi, rate(phi, u))


def without_sharpness(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Give s σ for φ' = s k σ."""
    return slope(phi, u) / phi.sharpness


def without_scale(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Give k σ for φ' = s k σ."""
    return slope(phi, u) / phi.scale


def chain(
    setting: Setting,
    slope_E: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    slope_I: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    at_I: str = "u_I",
    turned: bool = False,
    through_inhibition: bool = False,
    condition: Callable[[Feedback, np.ndarray], np.ndarray] = conditioned,
) -> Arrays | None:
    """Section 4 written out, with its ingredients open to exchange."""
    configuration = setting.trace.configuration
    parameters = learner_before(setting.trace, setting.step).parameters
    state = setting.circuit.open_loop
    slopes_E = [slope_E(configuration.activation_E, u) for u in state.u_E]
    slopes_I = [slope_I(configuration.activation_I, u) for u in getattr(state, at_I)]
    if turned and not any(W.shape[0] == W.shape[1] for W in parameters.weights[1:]):
        return None
    J = parameters.readout.T[None] * slopes_E[-1][:, None, :]
    found: Arrays = {}
    for l in reversed(range(configuration.n_hidden)):
        Q = J * slopes_I[l][:, None, :]
        found[f"Q_{l}"] = np.broadcast_to(condition(configuration.feedback, Q), Q.shape)
        if l > 0:
            W = parameters.weights[l]
            back = W if turned and W.shape[0] == W.shape[1] else W.T
            J = ((Q if through_inhibition else J) @ back) * slopes_E[l - 1][:, None, :]
    return found


def normalised_before_clipping(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    """Condition Q in another order."""
    normalised = conditioned(dataclasses.replace(feedback, clip=None), Q)
    limit = feedback.clip
    return normalised if limit is None else np.clip(normalised, -limit, limit)


def normalised_before_averaging(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    """Condition Q in another order."""
    single = conditioned(dataclasses.replace(feedback, average=False), Q)
    return np.mean(single, axis=-3, keepdims=True) if feedback.average else single


def normalised_over(feedback: Feedback, Q: np.ndarray, axis: int | None) -> np.ndarray:
    """Take the norm over an axis, or over all."""
    loose = conditioned(dataclasses.replace(feedback, normalize=False), Q)
    if not feedback.normalize:
        return loose
    return loose * feedback.norm / np.sqrt(np.sum(loose**2, axis=axis, keepdims=True))
