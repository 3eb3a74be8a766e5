"""Feedback weights: how each output depends on each inhibitory unit (section 4).

The derivative along the plain feedforward chain, as the paper defines it. It leaves out the gain of
the E–I loops, which `fixed_point.output_sensitivity` has.
"""

from __future__ import annotations

import numpy as np

from .circuit import FeedbackWeights, NetworkState, Parameters, slope
from .configuration import Array, Feedback, NetworkConfiguration, with_axes


def feedback_weights(
    configuration: NetworkConfiguration, parameters: Parameters, open_loop: NetworkState
) -> FeedbackWeights:
    """Q^l = J^l ∘ φ_I'(u_I^l), averaged, clipped and normalised as configured (section 4).

    J^L = W_outᵀ ∘ φ_E'(u_E^L) and J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E'(u_E^l), all at the
    open-loop end state.

    Returns
    -------
    tuple of array, each (..., batch, n_out, n_l)
        With averaging, the batch axis has length 1 and broadcasts.
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    slopes_E = [slope(phi_E, u)[..., None, :] for u in open_loop.u_E]
    slopes_I = [slope(phi_I, u)[..., None, :] for u in open_loop.u_I]
    J = np.swapaxes(parameters.readout, -1, -2)[..., None, :, :] * slopes_E[-1]
    Q = [J * slopes_I[-1]]
    for l in range(configuration.n_hidden - 2, -1, -1):
        J = per_output_product(J, np.swapaxes(parameters.weights[l + 1], -1, -2)) * slopes_E[l]
        Q.insert(0, J * slopes_I[l])
    return tuple(conditioned(configuration.feedback, Q_l) for Q_l in Q)


def conditioned(feedback: Feedback, Q: Array) -> Array:
    """Average, clip and normalise one layer's Q, in this order, as far as asked for (section 4).

    From (..., batch, n_out, n_l) to (..., batch or 1, n_out, n_l).
    """
    if feedback.average:
        Q = np.mean(Q, axis=-3, keepdims=True)
    if feedback.clip is not None:
        limit = with_axes(feedback.clip, 3)
        Q = np.clip(Q, -limit, limit)
    if feedback.normalize:
        # In units of the largest weight, so that no square underflows or overflows. A silent
        # layer has no direction to feed back along: its weights stay 0.
        largest = np.max(np.abs(Q), axis=(-2, -1), keepdims=True)
        Q = Q / np.where(largest > 0, largest, 1)
        frobenius = np.sqrt(np.sum(Q**2, axis=(-2, -1), keepdims=True))
        Q = Q * (with_axes(feedback.norm, 3) / np.where(largest > 0, frobenius, 1))
    return Q


def per_output_product(J: Array, W: Array) -> Array:
    """J W of every sample's J, (..., batch, n_out, n), and W, (..., n, m), as one product."""
    *_, batch, n_out, n = J.shape
    product = J.reshape(*J.shape[:-3], batch * n_out, n) @ W
    return product.reshape(*product.shape[:-2], batch, n_out, W.shape[-1])
