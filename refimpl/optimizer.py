"""Descent along g: plain, or by Adam (section 7).

D. P. Kingma & J. Ba, Adam: a method for stochastic optimization, ICLR 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .circuit import Parameters, map_arrays
from .configuration import Optimizer


@dataclass(frozen=True)
class OptimizerState:
    """What the optimiser remembers.

    Parameters
    ----------
    n_steps : int
        Steps taken.
    first_moment, second_moment : Parameters or None
        Adam's running means of g and g²; None for plain descent.
    """

    n_steps: int
    first_moment: Parameters | None = None
    second_moment: Parameters | None = None


def initial_optimizer_state(optimizer: Optimizer, parameters: Parameters) -> OptimizerState:
    """State before the first step: no steps, moments 0."""
    if optimizer.name == "sgd":
        return OptimizerState(0)
    zeros = map_arrays(np.zeros_like, parameters)
    return OptimizerState(0, zeros, zeros)


def optimizer_step(
    optimizer: Optimizer, parameters: Parameters, gradients: Parameters, state: OptimizerState
) -> tuple[Parameters, OptimizerState]:
    """Move the parameters one step along −g.

    Parameters
    ----------
    optimizer : Optimizer
        Method and learning rate η.
    parameters, gradients : Parameters
        Of the same form.
    state : OptimizerState
        Before the step.

    Returns
    -------
    parameters : Parameters
    state : OptimizerState
    """
    t = state.n_steps + 1
    flat_parameters, flat_gradients = _arrays(parameters), _arrays(gradients)
    rates = _learning_rates(optimizer.learning_rate, len(parameters.biases))
    if optimizer.name == "sgd":
        moved = [
            p - eta * g for p, g, eta in zip(flat_parameters, flat_gradients, rates, strict=True)
        ]
        return _parameters(moved), OptimizerState(t)
    assert state.first_moment is not None
    assert state.second_moment is not None
    moved, firsts, seconds = [], [], []
    for p, g, m, v, eta in zip(
        flat_parameters,
        flat_gradients,
        _arrays(state.first_moment),
        _arrays(state.second_moment),
        rates,
        strict=True,
    ):
        p, m, v = adam(optimizer, t, p, g, m, v, eta)
        moved.append(p)
        firsts.append(m)
        seconds.append(v)
    return _parameters(moved), OptimizerState(t, _parameters(firsts), _parameters(seconds))


def adam(
    optimizer: Optimizer,
    t: int,
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    eta: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One Adam step of one array: p ← p − η m̂ / (√v̂ + ε).

    Parameters
    ----------
    optimizer : Optimizer
        Decay rates β₁, β₂ and ε.
    t : int
        Number of this step, from 1.
    p, g, m, v : array
        Parameter, gradient, first and second moment.
    eta : float or array
        Learning rate.

    Returns
    -------
    p, m, v : array
    """
    m = optimizer.beta_1 * m + (1 - optimizer.beta_1) * g
    v = optimizer.beta_2 * v + (1 - optimizer.beta_2) * g**2
    m_unbiased = m / (1 - optimizer.beta_1**t)
    v_unbiased = v / (1 - optimizer.beta_2**t)
    return p - eta * m_unbiased / (np.sqrt(v_unbiased) + optimizer.epsilon), m, v


def _arrays(parameters: Parameters) -> list[np.ndarray]:
    return [*parameters.weights, *parameters.biases, parameters.readout]


def _parameters(arrays: list[np.ndarray]) -> Parameters:
    n = len(arrays) // 2
    return Parameters(tuple(arrays[:n]), tuple(arrays[n : 2 * n]), arrays[-1])


def _learning_rates(learning_rate: float | np.ndarray, n_hidden: int) -> list[float | np.ndarray]:
    """Give each array its rate: a rate per replica, (R, 1, 1), loses an axis for biases."""
    bias_rate = learning_rate[..., 0] if isinstance(learning_rate, np.ndarray) else learning_rate
    return [learning_rate] * n_hidden + [bias_rate] * n_hidden + [learning_rate]
