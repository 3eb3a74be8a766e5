"""Usual mistakes in the feedback weights that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ...refimpl import Feedback, SoftReLU, conditioned, error_jacobian, rate, slope
from ..judge import FEEDBACK, Arrays, learner_before, with_part
from ..trace import Trace
from .dynamics import computed
from .mistake import Setting, run_reference
from .order import in_float32


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


def mirrored(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Give s k σ(−v) for s k σ(v)."""
    return slope(phi, 2 * phi.shift - u)


def without_scale(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Give k σ for φ' = s k σ."""
    return slope(phi, u) / phi.scale


def chain(
    setting: Setting,
    slope_E: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    slope_I: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    at_I: str = "u_I",
    at_drive: bool = False,
    turned: bool = False,
    through_inhibition: bool = False,
    condition: Callable[[Feedback, np.ndarray], np.ndarray] = conditioned,
    in_loop: bool = False,
    through_softmax: bool = False,
    top_slope: bool = True,
) -> Arrays | None:
    """Section 4 written out, with its ingredients open to exchange."""
    configuration = setting.trace.configuration
    parameters = learner_before(setting.trace, setting.step).parameters
    state = setting.circuit.open_loop
    at_E = state.u_E
    if at_drive:
        # At rest a = u_E + φ_I(u_I).
        phi_I = configuration.activation_I
        at_E = tuple(u + rate(phi_I, v) for u, v in zip(state.u_E, state.u_I, strict=True))
    slopes_E = [slope_E(configuration.activation_E, u) for u in at_E]
    slopes_I = [slope_I(configuration.activation_I, u) for u in getattr(state, at_I)]
    if turned and not any(W.shape[0] == W.shape[1] for W in parameters.weights[1:]):
        return None
    if in_loop:
        slopes_E = [E / (1 + I * E) for E, I in zip(slopes_E, slopes_I, strict=True)]
    top = parameters.readout.T[None]
    if through_softmax:
        top = error_jacobian(configuration.loss, state.u_out) @ top
    J = top * (slopes_E[-1] if top_slope else np.ones_like(slopes_E[-1]))[:, None, :]
    found: Arrays = {}
    for l in reversed(range(configuration.n_hidden)):
        Q = J * slopes_I[l][:, None, :]
        found[f"Q_{l}"] = np.broadcast_to(condition(configuration.feedback, Q), Q.shape)
        if l > 0:
            W = parameters.weights[l]
            back = W if turned and W.shape[0] == W.shape[1] else W.T
            J = ((Q if through_inhibition else J) @ back) * slopes_E[l - 1][:, None, :]
    return found


def of_the_closed_loop(setting: Setting) -> Arrays:
    """Take Q at the closed loop that follows from the right one."""
    done = computed(setting)
    at = with_part(setting.trace, setting.step, "open_loop", done["closed_loop"])
    return run_reference(setting, at)


def one_norm_for_all_layers(norm: float | None, setting: Setting) -> Arrays | None:
    """Divide all layers of a sample by one norm; to feedback.norm, or to another."""
    feedback = setting.trace.configuration.feedback
    if not feedback.normalize:
        return None
    loose = chain(setting, condition=_loose)
    assert loose is not None
    sums = sum(np.sum(Q**2, axis=(-2, -1), keepdims=True) for Q in loose.values())
    to = feedback.norm if norm is None else norm
    return {name: Q * to / np.sqrt(sums) for name, Q in loose.items()}


def one_norm_in_place(upwards: bool, setting: Setting) -> Arrays | None:
    """Divide each layer by the norm of all, of which those before it are divided already."""
    feedback = setting.trace.configuration.feedback
    if not feedback.normalize:
        return None
    found = chain(setting, condition=_loose)
    assert found is not None
    for name in sorted(found, reverse=not upwards):
        sums = sum(square_of_norm(Q) for Q in found.values())
        found[name] = found[name] * feedback.norm / np.sqrt(sums)
    return found


def unnormalised(setting: Setting) -> Trace | None:
    """Give the closed loop feedback weights that are not normalised, where others were written."""
    is_given = (FEEDBACK, setting.step) not in setting.left
    if not is_given or not setting.trace.configuration.feedback.normalize:
        return None
    loose = chain(setting, condition=_loose)
    assert loose is not None
    return with_part(setting.trace, setting.step, "feedback", FEEDBACK.form.value(loose))


def without_inhibitory_slope(setting: Setting) -> Trace | None:
    """Give the closed loop feedback weights without φ_I', where right ones were written."""
    if (FEEDBACK, setting.step) in setting.left:
        return None
    found = chain(setting, slope_I=no_slope)
    assert found is not None
    return with_part(setting.trace, setting.step, "feedback", FEEDBACK.form.value(found))


def of_the_loop_before(setting: Setting) -> Trace | None:
    """Give the trace whose open loop is that of the step before."""
    trace, step = setting.trace, setting.step
    earlier = trace.steps[max(step - 1, 0)].circuit
    if len(trace.steps) < 2 or earlier is None:
        return None
    return with_part(trace, step, "open_loop", earlier.open_loop)


def _loose(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    """Condition Q, but for its norm."""
    return conditioned(dataclasses.replace(feedback, normalize=False), Q)


def normalised_by(
    norm_of: Callable[[np.ndarray], np.ndarray], feedback: Feedback, Q: np.ndarray
) -> np.ndarray:
    """Divide by another norm, of (batch, n_out, n_l) to (batch, 1, 1)."""
    loose = _loose(feedback, Q)
    return loose * feedback.norm / norm_of(loose) if feedback.normalize else loose


def square_of_norm(Q: np.ndarray) -> np.ndarray:
    """Sum of squares."""
    return np.asarray(np.sum(Q**2, axis=(-2, -1), keepdims=True))


def sum_of_magnitudes(Q: np.ndarray) -> np.ndarray:
    """Σ |Q|."""
    return np.asarray(np.sum(np.abs(Q), axis=(-2, -1), keepdims=True))


def largest_magnitude(Q: np.ndarray) -> np.ndarray:
    """The largest of |Q|."""
    return np.asarray(np.max(np.abs(Q), axis=(-2, -1), keepdims=True))


def largest_singular_value(Q: np.ndarray) -> np.ndarray:
    """The norm of Q as a map."""
    return np.asarray(np.linalg.norm(Q, 2, axis=(-2, -1), keepdims=True))


def rounded(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    """Round to float32 before anything is done to Q."""
    return conditioned(feedback, in_float32(Q))


def clipped_above(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    """Clip from above alone."""
    limit = feedback.clip
    open_below = dataclasses.replace(feedback, clip=None)
    if limit is None:
        return conditioned(feedback, Q)
    Q = np.mean(Q, axis=-3, keepdims=True) if feedback.average else Q
    return conditioned(dataclasses.replace(open_below, average=False), np.minimum(Q, limit))


def summed_over_the_batch(setting: Setting) -> Arrays | None:
    """Sum what is to be averaged, before it is clipped and normalised."""
    if not setting.trace.configuration.feedback.average:
        return None
    batch = setting.trace.inputs.shape[1]
    return chain(setting, condition=lambda feedback, Q: conditioned(feedback, batch * Q))


def added_to_norm(setting: Setting) -> Arrays | None:
    """Give Q of norms to which a small number was added, that which fits best."""
    small = number_added(setting)
    if small is None:
        return None
    return chain(
        setting,
        condition=partial(normalised_by, lambda Q: np.sqrt(square_of_norm(Q)) + small),
    )


def number_added(setting: Setting) -> float | None:
    """What makes the found weights that much shorter, in the layer where it shows most."""
    feedback = setting.trace.configuration.feedback
    if not feedback.normalize:
        return None
    loose = chain(setting, condition=_loose)
    assert loose is not None
    added = []
    for name, found in setting.found.items():
        norm = np.sqrt(square_of_norm(loose[name]))
        length = np.sqrt(square_of_norm(found))
        added.append(np.median(norm * (feedback.norm / length - 1)))
    small = float(np.median(added)) if added else 0.0
    return small if np.isfinite(small) and small > 0 else None


def added_in_words(settings: Sequence[Setting]) -> str:
    """Say how much was added."""
    small = next(n for n in map(number_added, settings) if n is not None)
    return (
        f"{small:.1g} is added to the norm: Q is divided by its norm alone, and left at 0 where "
        "that is 0"
    )


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
