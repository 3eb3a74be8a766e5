"""Recorded trajectories: the same dynamics with a constant step, kept along the way."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .configuration import NetworkConfiguration
from .dynamics import FeedbackWeights, closed_loop_derivative, drive, open_loop_derivative
from .end_state import packed_derivative
from .errors import require
from .integration import TABLEAUS, Derivative, integrate_recorded
from .parameters import Parameters
from .state import NetworkState, pack, resting_state, unpack


@dataclass(frozen=True)
class Recording:
    """How a trajectory is integrated and what of it is kept.

    Parameters
    ----------
    method : {'tsit5', 'euler'}
        Integration method.
    dt : float
        Constant step, seconds.
    n_steps : int
        Number of steps.
    every : int
        Keep every so many steps; time 0 is always kept.
    """

    method: str = "tsit5"
    dt: float = 1e-3
    n_steps: int = 200
    every: int = 10

    def __post_init__(self) -> None:
        require(self, "method", among=tuple(TABLEAUS))
        require(self, "dt", above=0)
        require(self, "n_steps", minimum=0, whole=True)
        require(self, "every", minimum=1, whole=True)


def open_loop_trajectory(
    configuration: NetworkConfiguration,
    recording: Recording,
    parameters: Parameters,
    x: np.ndarray,
) -> NetworkState:
    """Path from the resting state without control.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network.
    recording : Recording
        Method, step and what is kept.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input.

    Returns
    -------
    NetworkState
        Arrays (time, ..., batch, n).
    """
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    derivative = packed_derivative(
        configuration, lambda state: open_loop_derivative(configuration, parameters, a_1, state)
    )
    return _recorded(configuration, recording, derivative, resting_state(parameters, x))


def closed_loop_trajectory(
    configuration: NetworkConfiguration,
    recording: Recording,
    parameters: Parameters,
    x: np.ndarray,
    Q: FeedbackWeights,
    target: np.ndarray,
    start: NetworkState,
) -> NetworkState:
    """Path under control, from a given state with the controller's integral at zero.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network.
    recording : Recording
        Method, step and what is kept.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input.
    Q : tuple of array, each (..., batch, n_out, n_l)
        Feedback weights.
    target : array, (..., batch, n_out)
        What the controller is given.
    start : NetworkState
        Where the path begins; its integral is taken as 0.

    Returns
    -------
    NetworkState
        Arrays (time, ..., batch, n).
    """
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    derivative = packed_derivative(
        configuration,
        lambda state: closed_loop_derivative(configuration, parameters, a_1, Q, target, state),
    )
    start = dataclasses.replace(start, z=np.zeros_like(start.z))
    return _recorded(configuration, recording, derivative, start)


def _recorded(
    configuration: NetworkConfiguration,
    recording: Recording,
    derivative: Derivative,
    start: NetworkState,
) -> NetworkState:
    path = integrate_recorded(
        derivative,
        pack(start),
        TABLEAUS[recording.method],
        recording.dt,
        recording.n_steps,
        recording.every,
    )
    return unpack(path, configuration.sizes)
