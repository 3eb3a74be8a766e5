"""A network in continuous time along sampled inputs and targets (section 10).

Inputs and targets are known at samples and linear in between. Steps are constant, a whole
number of them to an interval: none crosses a kink, and the method keeps its order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .continuous_learning import (
    ContinuousLearning,
    Phase,
    continuous_derivative,
    control,
    control_cost,
    output,
)
from .continuous_state import ContinuousState, pack_continuous, unpack_continuous
from .errors import require
from .integration import Derivative
from .runge_kutta import runge_kutta_step
from .tsitouras import TSITOURAS_54


@dataclass(frozen=True)
class Sampling:
    """How time is divided.

    Parameters
    ----------
    interval : float
        Between samples of input and target, seconds.
    steps : int
        Steps of the integration to an interval.
    """

    interval: float = 1e-3
    steps: int = 1

    def __post_init__(self) -> None:
        require(self, "interval", above=0)
        require(self, "steps", minimum=1, whole=True)


@dataclass(frozen=True)
class ContinuousRun:
    """What a stretch of time leaves.

    Parameters
    ----------
    state : ContinuousState
        At the last sample.
    output : array, (n_samples, n_out)
        y at every sample, the first one included.
    control_cost : array, (n_samples,)
        Σ_l ‖c Q^l‖² at every sample.
    """

    state: ContinuousState
    output: np.ndarray
    control_cost: np.ndarray


def run_continuously(
    configuration: ContinuousLearning,
    phase: Phase,
    sampling: Sampling,
    state: ContinuousState,
    inputs: np.ndarray,
    targets: np.ndarray,
) -> ContinuousRun:
    """Integrate from the first sample to the last by Tsitouras' method.

    Parameters
    ----------
    configuration : ContinuousLearning
        Network.
    phase : Phase
        What is at work.
    sampling : Sampling
        Interval between samples, and steps to an interval.
    state : ContinuousState
        At the first sample.
    inputs : array, (n_samples, n_in)
        x.
    targets : array, (n_samples, n_out)
        Desired output; without effect when there is no control.

    Returns
    -------
    ContinuousRun
    """
    n_samples, sizes = len(inputs), configuration.sizes
    y = pack_continuous(state)
    outputs, costs = np.empty((n_samples, sizes[-1])), np.empty(n_samples)
    dt = sampling.interval / sampling.steps
    for i in range(n_samples):
        now = unpack_continuous(y, sizes)
        outputs[i] = output(configuration, now)
        c, _ = control(configuration, phase, now, targets[i])
        costs[i] = control_cost(c, now.Q)
        if i + 1 == n_samples:
            break
        ends = (inputs[i], inputs[i + 1]), (targets[i], targets[i + 1])
        for step in range(sampling.steps):
            # A clock of its own tells the stages where between the samples they are.
            clocked = np.append(y, step / sampling.steps)
            derivative = _clocked_derivative(configuration, phase, sampling, *ends)
            clocked, _, _ = runge_kutta_step(
                TSITOURAS_54, derivative, clocked, derivative(clocked), dt
            )
            y = clocked[:-1]
    return ContinuousRun(unpack_continuous(y, sizes), outputs, costs)


def _clocked_derivative(
    configuration: ContinuousLearning,
    phase: Phase,
    sampling: Sampling,
    x_ends: tuple[np.ndarray, np.ndarray],
    target_ends: tuple[np.ndarray, np.ndarray],
) -> Derivative:
    """dy/dt of the packed state with the fraction of the interval as its last element."""

    def derivative(clocked: np.ndarray) -> np.ndarray:
        fraction = clocked[-1]
        state = unpack_continuous(clocked[:-1], configuration.sizes)
        x = x_ends[0] + fraction * (x_ends[1] - x_ends[0])
        target = target_ends[0] + fraction * (target_ends[1] - target_ends[0])
        change = continuous_derivative(configuration, phase, x, target, state)
        return np.append(pack_continuous(change), 1 / sampling.interval)

    return derivative
