"""Descent along g: plain, or by Adam (section 7).

D. P. Kingma & J. Ba, Adam: a method for stochastic optimization, ICLR 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .circuit import Parameters, map_arrays
from .configuration import Array, Optimizer, Setting, with_axes


@dataclass(frozen=True)
class OptimizerState:
    """What the optimiser remembers."""

    n_steps: int  # steps taken
    first_moment: Parameters | None = None  # Adam's running means of g
    second_moment: Parameters | None = None  # and of g²; None for plain descent


def initial_optimizer_state(optimizer: Optimizer, parameters: Parameters) -> OptimizerState:
    """State before the first step: no steps, moments 0."""
    if optimizer.name == "sgd":
        return OptimizerState(0)
    zeros = map_arrays(np.zeros_like, parameters)
    return OptimizerState(0, zeros, zeros)


def optimizer_step(
    optimizer: Optimizer, parameters: Parameters, gradients: Parameters, state: OptimizerState
) -> tuple[Parameters, OptimizerState]:
    """Move the parameters one step along −g: p ← p − η g, or p ← p − η m̂ / (√v̂ + ε) by Adam.

    m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g² are Adam's moments; at its step t they are
    unbiased as m̂ = m / (1 − β₁^t) and v̂ = v / (1 − β₂^t).
    """
    t, beta_1, beta_2 = state.n_steps + 1, optimizer.beta_1, optimizer.beta_2
    n_leading = parameters.readout.ndim - 2

    def eta(p: Array) -> Setting:
        return with_axes(optimizer.learning_rate, p.ndim - n_leading)

    if optimizer.name == "sgd":
        moved = map_arrays(lambda p, g: p - eta(p) * g, parameters, gradients)
        return moved, OptimizerState(t)
    assert state.first_moment is not None
    assert state.second_moment is not None
    m = map_arrays(lambda m, g: beta_1 * m + (1 - beta_1) * g, state.first_moment, gradients)
    v = map_arrays(lambda v, g: beta_2 * v + (1 - beta_2) * g**2, state.second_moment, gradients)

    def descend(p: Array, m: Array, v: Array) -> Array:
        m_unbiased, v_unbiased = m / (1 - beta_1**t), v / (1 - beta_2**t)
        return p - eta(p) * m_unbiased / (np.sqrt(v_unbiased) + optimizer.epsilon)

    return map_arrays(descend, parameters, m, v), OptimizerState(t, m, v)
