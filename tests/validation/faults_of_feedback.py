"""Mistakes in the feedback weights."""

import numpy as np

from disinhib.refimpl.circuit import rate, slope

from .fault import PLAIN, after, fault

# Feedback weights.


def chain(
    backend, open_loop, slope_E=None, slope_I=None, turned=False, condition=None
) -> tuple[np.ndarray, ...]:
    """Section 4, a sample and a layer at a time."""
    phi_E, phi_I = backend.configuration.activation_E, backend.configuration.activation_I
    slope_E = slope_E or (lambda u: slope(phi_E, u))
    slope_I = slope_I or (lambda u: slope(phi_I, u))
    parameters, norm = backend.learner().parameters, backend.configuration.feedback.norm
    result: list[np.ndarray] = []
    J = np.stack([parameters.readout.T * slope_E(u) for u in open_loop.u_E[-1]])
    for l in range(len(open_loop.u_E) - 1, -1, -1):
        Q = np.stack([j * slope_I(u) for j, u in zip(J, open_loop.u_I[l], strict=True)])
        if condition is not None:
            Q = condition(Q)
        else:
            Q = np.stack([q * (norm / np.linalg.norm(q)) for q in Q])
        result.insert(0, Q)
        if l:
            W = parameters.weights[l] if turned else parameters.weights[l].T
            J = np.stack(
                [(j @ W) * slope_E(u) for j, u in zip(J, open_loop.u_E[l - 1], strict=True)]
            )
    return tuple(result)


def feedback_fault(name, hint, case=PLAIN, **changes):
    def feedback_weights(self, open_loop):
        made = {
            key: value(self) if key.startswith("slope") else value for key, value in changes.items()
        }
        return chain(self, open_loop, **made)

    fault(name, "feedback weights", case, hint, feedback_weights=feedback_weights)


feedback_fault("Q not normalised", "the normalisation is missing", condition=lambda Q: Q)
feedback_fault("φ_I' forgotten", "φ_I'(u_I^l) is missing", slope_I=lambda self: np.ones_like)
feedback_fault("φ_E' forgotten", "φ_E'(u_E^l) is missing", slope_E=lambda self: np.ones_like)
feedback_fault("W for Wᵀ", "weights are transposed", turned=True)
feedback_fault(
    "φ_E' at the rate",
    "φ_E' is to be taken at u_E",
    slope_E=lambda self: (
        lambda u: slope(self.configuration.activation_E, rate(self.configuration.activation_E, u))
    ),
)
feedback_fault(
    "φ_I' at the rate",
    "φ_I' is to be taken at u_I",
    slope_I=lambda self: (
        lambda u: slope(self.configuration.activation_I, rate(self.configuration.activation_I, u))
    ),
)
feedback_fault(
    "one norm for the batch",
    "normalised over the whole batch",
    condition=lambda Q: Q / np.linalg.norm(Q),
)
feedback_fault(
    "a norm for each output",
    "normalised output by output",
    condition=lambda Q: Q / np.linalg.norm(Q, axis=-1, keepdims=True),
)
feedback_fault(
    "the largest singular value for the Frobenius norm",
    "",
    condition=lambda Q: Q / np.linalg.norm(Q, 2, axis=(-2, -1), keepdims=True),
)
feedback_fault(
    "batch mean unasked",
    "the batch average is on where it is off",
    condition=lambda Q: np.broadcast_to(Q.mean(0) / np.linalg.norm(Q.mean(0)), Q.shape),
)
feedback_fault(
    "clipped after normalising",
    "normalised before clipping",
    case="exact-inverse-softmax-cross-entropy-clipped",
    condition=lambda Q: np.clip(Q / np.linalg.norm(Q, axis=(-2, -1), keepdims=True), -0.05, 0.05),
)
feedback_fault(
    "averaged after normalising",
    "normalised before averaging",
    case="exact-inverse-softmax-cross-entropy-averaged",
    condition=lambda Q: np.broadcast_to(
        (Q / np.linalg.norm(Q, axis=(-2, -1), keepdims=True)).mean(0), Q.shape
    ),
)
fault(
    "Q with the wrong sign",
    "feedback weights",
    PLAIN,
    "the sign of Q",
    **after("feedback_weights", lambda self, Q, a: tuple(-q for q in Q)),
)
