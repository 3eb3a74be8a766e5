"""Usual mistakes in the feedback weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ...refimpl import Feedback, NetworkConfiguration, NetworkState, conditioned, rate, slope
from ..judge import FEEDBACK, Arrays, learner_before
from ..trace import Trace
from .mistake import (
    Mistake,
    Setting,
    exchanged_activations,
    misconfigured,
    misled,
    misreported,
    with_circuit,
)


def _feedback(**changes: object) -> Callable[[NetworkConfiguration], NetworkConfiguration]:
    return lambda configuration: dataclasses.replace(
        configuration,
        feedback=dataclasses.replace(configuration.feedback, **changes),  # type: ignore[arg-type]
    )


def _average_exchanged(configuration: NetworkConfiguration) -> NetworkConfiguration:
    return _feedback(average=not configuration.feedback.average)(configuration)


def _in_closed_loop(setting: Setting) -> Trace:
    return with_circuit(setting, open_loop=setting.circuit.closed_loop)


def _chain(
    setting: Setting,
    slope_E: Callable[[np.ndarray], np.ndarray] | None = None,
    slope_I: Callable[[np.ndarray], np.ndarray] | None = None,
    turned: bool = False,
    through_inhibition: bool = False,
    condition: Callable[[Feedback, np.ndarray], np.ndarray] = conditioned,
) -> Arrays | None:
    """Section 4 written out, with its ingredients open to exchange."""
    configuration = setting.trace.configuration
    parameters = learner_before(setting.trace, setting.step).parameters
    state: NetworkState = setting.circuit.open_loop
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    slopes_E = [(slope_E or (lambda u: slope(phi_E, u)))(u) for u in state.u_E]
    slopes_I = [(slope_I or (lambda u: slope(phi_I, u)))(u) for u in state.u_I]
    if turned and not any(W.shape[0] == W.shape[1] for W in parameters.weights[1:]):
        return None
    J = parameters.readout.T[None] * slopes_E[-1][:, None, :]
    arrays: Arrays = {}
    for l in reversed(range(configuration.n_hidden)):
        Q = J * slopes_I[l][:, None, :]
        conditioned_Q = condition(configuration.feedback, Q)
        arrays[f"Q_{l}"] = np.broadcast_to(conditioned_Q, Q.shape)
        if l > 0:
            W = parameters.weights[l]
            back = W if turned and W.shape[0] == W.shape[1] else W.T
            J = ((Q if through_inhibition else J) @ back) * slopes_E[l - 1][:, None, :]
    return arrays


def _normalised_before_clipping(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    normalised = conditioned(dataclasses.replace(feedback, clip=None), Q)
    limit = feedback.clip
    return normalised if limit is None else np.clip(normalised, -limit, limit)


def _normalised_before_averaging(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    single = conditioned(dataclasses.replace(feedback, average=False), Q)
    return np.mean(single, axis=-3, keepdims=True) if feedback.average else single


def _normalised_over_batch(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    loose = conditioned(dataclasses.replace(feedback, normalize=False), Q)
    if not feedback.normalize:
        return loose
    return loose * feedback.norm / np.sqrt(np.sum(loose**2))


def _normalised_row_by_row(feedback: Feedback, Q: np.ndarray) -> np.ndarray:
    loose = conditioned(dataclasses.replace(feedback, normalize=False), Q)
    if not feedback.normalize:
        return loose
    return loose * feedback.norm / np.sqrt(np.sum(loose**2, axis=-1, keepdims=True))


def _slope_at_rates(which: str) -> Callable[[Setting], Arrays | None]:
    def result(setting: Setting) -> Arrays | None:
        phi = getattr(setting.trace.configuration, f"activation_{which}")
        at_rate = {f"slope_{which}": lambda u: slope(phi, rate(phi, u))}
        return _chain(setting, **at_rate)  # type: ignore[arg-type]

    return result


MISTAKES: list[Mistake] = [
    misconfigured(
        FEEDBACK,
        "the normalisation is missing: each sample's Q^l has Frobenius norm feedback.norm",
        _feedback(normalize=False),
    ),
    misconfigured(
        FEEDBACK,
        "the normalisation is to norm 1, where feedback.norm asks for another",
        _feedback(norm=1.0),
    ),
    misconfigured(
        FEEDBACK, "the batch average is on where it is off, or the reverse", _average_exchanged
    ),
    misconfigured(FEEDBACK, "the clipping to ±feedback.clip is missing", _feedback(clip=None)),
    misconfigured(FEEDBACK, "φ_E and φ_I are exchanged", exchanged_activations),
    misled(
        FEEDBACK,
        "Q is taken at the closed-loop state: it belongs to the open-loop end state",
        _in_closed_loop,
    ),
    misreported(
        FEEDBACK,
        "the sign of Q",
        lambda setting, arrays: {name: -array for name, array in arrays.items()},
    ),
    Mistake(
        FEEDBACK,
        "the factor φ_I'(u_I^l) is missing: Q^l = J^l ∘ φ_I'",
        lambda setting: _chain(setting, slope_I=np.ones_like),
    ),
    Mistake(
        FEEDBACK,
        "the factor φ_E'(u_E^l) is missing from J^l",
        lambda setting: _chain(setting, slope_E=np.ones_like),
    ),
    Mistake(
        FEEDBACK,
        "weights are transposed in J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E'",
        lambda setting: _chain(setting, turned=True),
    ),
    Mistake(
        FEEDBACK,
        "the chain goes through Q^{l+1}: J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E' goes through J^{l+1}",
        lambda setting: _chain(setting, through_inhibition=True),
    ),
    Mistake(
        FEEDBACK,
        "rates where potentials belong: φ_E' is to be taken at u_E, not at φ_E(u_E)",
        _slope_at_rates("E"),
    ),
    Mistake(
        FEEDBACK,
        "rates where potentials belong: φ_I' is to be taken at u_I, not at φ_I(u_I)",
        _slope_at_rates("I"),
    ),
    Mistake(
        FEEDBACK,
        "normalised before clipping: the order is average, clip, normalise",
        lambda setting: _chain(setting, condition=_normalised_before_clipping),
    ),
    Mistake(
        FEEDBACK,
        "normalised before averaging: the order is average, clip, normalise",
        lambda setting: _chain(setting, condition=_normalised_before_averaging),
    ),
    Mistake(
        FEEDBACK,
        "normalised over the whole batch: each sample's Q^l has a norm of its own",
        lambda setting: _chain(setting, condition=_normalised_over_batch),
    ),
    Mistake(
        FEEDBACK,
        "normalised output by output: the norm is of the whole matrix Q^l of a sample",
        lambda setting: _chain(setting, condition=_normalised_row_by_row),
    ),
]
"""All of them."""
