"""Mistakes in the feedback weights."""

import numpy as np

from disinhib.refimpl.circuit import rate, slope

from .fault import PLAIN, THRESHOLD, UNNORMALISED, after, fault

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
    "divided by the largest singular value",
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
feedback_fault(
    "norm 1 where 2 is asked for",
    "the normalisation is to norm 1",
    case="exact-inverse-softmax-cross-entropy-norm-2",
    condition=lambda Q: Q / np.linalg.norm(Q, axis=(-2, -1), keepdims=True),
)
feedback_fault(
    "not clipped",
    "the clipping to ±feedback.clip is missing",
    case="exact-inverse-softmax-cross-entropy-clipped",
)


def through_inhibition(self, open_loop):
    """J^l of Q^{l+1} in place of J^{l+1}."""
    phi_E, phi_I = self.configuration.activation_E, self.configuration.activation_I
    back = [
        *(W.T for W in self.learner().parameters.weights[1:]),
        self.learner().parameters.readout.T,
    ]
    Q, above = [], None
    for l in reversed(range(len(open_loop.u_E))):
        J = back[l][None] if above is None else above @ back[l]
        above = J * (slope(phi_E, open_loop.u_E[l]) * slope(phi_I, open_loop.u_I[l]))[:, None]
        Q.insert(0, above / np.linalg.norm(above, axis=(1, 2), keepdims=True))
    return tuple(Q)


fault(
    "chain through Q",
    "feedback weights",
    PLAIN,
    "the chain goes through Q^{l+1}",
    feedback_weights=through_inhibition,
)
fault(
    "Q with the wrong sign",
    "feedback weights",
    PLAIN,
    "the sign of Q",
    **after("feedback_weights", lambda self, Q, a: tuple(-q for q in Q)),
)
fault(
    "Q as (B, n_l, n_out) in memory",
    "feedback weights",
    PLAIN,
    "output and unit are exchanged in memory",
    **after(
        "feedback_weights",
        lambda self, Q, a: tuple(np.moveaxis(q, 2, 1).copy().reshape(q.shape) for q in Q),
    ),
)
fault(
    "Q column-major",
    "feedback weights",
    PLAIN,
    "arrays are column-major",
    **after("feedback_weights", lambda self, Q, a: tuple(q.T.reshape(q.shape) for q in Q)),
)
fault(
    "Q of another norm",
    "feedback weights",
    PLAIN,
    "all is right but for a factor: it is 1.7 times what it should be",
    **after("feedback_weights", lambda self, Q, a: tuple(self.dtype.type(1.7) * q for q in Q)),
)
fault(
    "Q of another norm in one layer",
    "feedback weights",
    PLAIN,
    "right but for a factor: Q_1 is 0.3 times what it should be",
    **after("feedback_weights", lambda self, Q, a: (Q[0], self.dtype.type(0.3) * Q[1])),
)


def at_excitatory_potential(self, open_loop):
    """Q^l = J^l ∘ φ_I'(u_E^l)."""
    phi_E, phi_I = self.configuration.activation_E, self.configuration.activation_I
    parameters = self.learner().parameters
    J = parameters.readout.T[None] * slope(phi_E, open_loop.u_E[-1])[:, None]
    Q: list[np.ndarray] = []
    for l in reversed(range(len(open_loop.u_E))):
        Q.insert(0, J * slope(phi_I, open_loop.u_E[l])[:, None])
        if l:
            J = (J @ parameters.weights[l].T) * slope(phi_E, open_loop.u_E[l - 1])[:, None]
    return tuple(q / np.linalg.norm(q, axis=(1, 2), keepdims=True) for q in Q)


fault(
    "φ_I' at the excitatory potential",
    "feedback weights",
    THRESHOLD,
    "φ_I' is to be taken at u_I, not at u_E",
    feedback_weights=at_excitatory_potential,
)
feedback_fault(
    "φ_E' at the inhibitory potential",
    "at u_I",
    # At rest without control u_I = φ_E(u_E).
    slope_E=lambda self: (
        lambda u: slope(self.configuration.activation_E, rate(self.configuration.activation_E, u))
    ),
)


def plain_slope(phi, u, sharpness=1.0, scale=1.0):
    """φ' with either of its factors in the reader's hand."""
    return scale * sharpness / (1 + np.exp(-phi.sharpness * (u - phi.shift)))


def slopes_with(**factors):
    """Slopes of both populations with factors, of φ, in place of k and s."""

    def of(population):
        def slope_of(self):
            phi = getattr(self.configuration, population)
            return lambda u: plain_slope(phi, u, **{k: f(phi) for k, f in factors.items()})

        return slope_of

    return {"slope_E": of("activation_E"), "slope_I": of("activation_I")}


WITHOUT_K = slopes_with(scale=lambda phi: phi.scale)
WITHOUT_S = slopes_with(sharpness=lambda phi: phi.sharpness)
for word, slopes in (("sharpness k", WITHOUT_K), ("scale s", WITHOUT_S)):
    for of, which in (
        ("φ_E' and φ_I'", ("slope_E", "slope_I")),
        ("φ_E'", ("slope_E",)),
        ("φ_I'", ("slope_I",)),
    ):
        feedback_fault(
            f"{of} without {word}",
            f"the {word} is left out of {of}:",
            case=UNNORMALISED,
            condition=lambda Q: Q,
            **{name: slopes[name] for name in which},
        )
