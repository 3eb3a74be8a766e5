"""Open- and closed-loop end states, by whichever method, and how they were reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .configuration import NetworkConfiguration, Solver
from .dynamics import FeedbackWeights, closed_loop_derivative, drive, open_loop_derivative
from .fixed_point import FixedPoint, closed_loop_fixed_point, open_loop_fixed_point
from .integration import Derivative, integrate
from .parameters import Parameters
from .state import NetworkState, choose, pack, resting_state, unpack


@dataclass(frozen=True)
class EndStateCounts:
    """How many samples reached their end state in which way.

    Parameters
    ----------
    frozen_newton : int
        Solved with the matrix frozen at the open-loop state.
    fresh_newton : int
        Needed a fresh matrix and a line search.
    integrated : int
        Reached by integration.
    unsettled : int
        Integrated to the horizon or step limit without settling.
    """

    frozen_newton: int = 0
    fresh_newton: int = 0
    integrated: int = 0
    unsettled: int = 0

    def __add__(self, other: EndStateCounts) -> EndStateCounts:
        return EndStateCounts(
            self.frozen_newton + other.frozen_newton,
            self.fresh_newton + other.fresh_newton,
            self.integrated + other.integrated,
            self.unsettled + other.unsettled,
        )


def check_method(configuration: NetworkConfiguration, solver: Solver) -> None:
    """Refuse, before any work is done, a method that the network does not admit.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    solver : Solver
        Method.

    Raises
    ------
    ConfigurationError
        The method is 'fixed-point' and the controller has leak 0.
    """
    if solver.method == "fixed-point" and configuration.rule != "backprop":
        _ = configuration.controller.steady_gain


def open_loop_end_state(
    configuration: NetworkConfiguration, solver: Solver, parameters: Parameters, x: np.ndarray
) -> tuple[NetworkState, EndStateCounts]:
    """Where the network comes to rest without control (section 2).

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network.
    solver : Solver
        Method.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input, of the parameters' dtype.

    Returns
    -------
    state : NetworkState
        End state, its integral 0.
    counts : EndStateCounts
        How it was reached.
    """
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    rest = resting_state(parameters, x)
    return _end_state(
        configuration,
        solver,
        lambda: open_loop_fixed_point(configuration, parameters, a_1, rest),
        lambda state: open_loop_derivative(configuration, parameters, a_1, state),
        rest,
    )


def closed_loop_end_state(
    configuration: NetworkConfiguration,
    solver: Solver,
    parameters: Parameters,
    x: np.ndarray,
    Q: FeedbackWeights,
    target: np.ndarray,
    open_loop: NetworkState,
) -> tuple[NetworkState, EndStateCounts]:
    """Where the network comes to rest under control, starting from the open loop (section 2).

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network.
    solver : Solver
        Method.
    parameters : Parameters
        Weights and biases.
    x : array, (..., batch, n_in)
        Input.
    Q : tuple of array, each (..., batch, n_out, n_l)
        Feedback weights.
    target : array, (..., batch, n_out)
        What the controller is given.
    open_loop : NetworkState
        Open-loop end state; its integral is taken as 0.

    Returns
    -------
    state : NetworkState
        End state.
    counts : EndStateCounts
        How it was reached.

    Raises
    ------
    ConfigurationError
        The method is 'fixed-point' and the controller has leak 0.
    """
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    start = dataclasses.replace(open_loop, z=np.zeros_like(open_loop.z))
    return _end_state(
        configuration,
        solver,
        lambda: closed_loop_fixed_point(configuration, parameters, a_1, Q, target, start),
        lambda state: closed_loop_derivative(configuration, parameters, a_1, Q, target, state),
        start,
    )


def packed_derivative(
    configuration: NetworkConfiguration, derivative: Callable[[NetworkState], NetworkState]
) -> Derivative:
    """Turn a derivative of states into one of packed arrays.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Holds the sizes by which an array is split.
    derivative : callable
        From NetworkState to NetworkState.

    Returns
    -------
    callable
        From array (..., batch, n) to array.
    """
    return lambda y: pack(derivative(unpack(y, configuration.sizes)))


def _end_state(
    configuration: NetworkConfiguration,
    solver: Solver,
    search: Callable[[], FixedPoint],
    derivative: Callable[[NetworkState], NetworkState],
    start: NetworkState,
) -> tuple[NetworkState, EndStateCounts]:
    packed = packed_derivative(configuration, derivative)
    if solver.method != "fixed-point":
        end = integrate(packed, pack(start), solver)
        return unpack(end.y, configuration.sizes), EndStateCounts(
            integrated=end.settled.size, unsettled=int(np.sum(~end.settled))
        )
    with np.errstate(over="ignore", invalid="ignore"):
        found = search()
    left = ~(found.found_frozen | found.found_fresh)
    state, unsettled = found.state, 0
    if np.any(left):
        rtol, atol = tolerances_to_rest(start.u_out.dtype)
        tight = dataclasses.replace(solver, method="tsit5", rtol=rtol, atol=atol)
        end = integrate(packed, pack(start), tight, active=left)
        state = choose(left, unpack(end.y, configuration.sizes), state)
        unsettled = int(np.sum(~end.settled))
    return state, EndStateCounts(
        frozen_newton=int(np.sum(found.found_frozen)),
        fresh_newton=int(np.sum(found.found_fresh)),
        integrated=int(np.sum(left)),
        unsettled=unsettled,
    )


def tolerances_to_rest(dtype: np.dtype) -> tuple[float, float]:
    """Give rtol and atol at which an integration stands in for a fixed point in this precision."""
    eps = float(np.finfo(dtype).eps)
    return eps**0.6, eps**0.75
