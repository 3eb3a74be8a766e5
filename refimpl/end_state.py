"""Where a network comes to rest, by either method, and its path there (sections 2, 6 and 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .circuit import (
    FeedbackWeights,
    NetworkState,
    Parameters,
    choose,
    closed_loop_derivative,
    drive,
    map_arrays,
    open_loop_derivative,
    pack,
    resting_state,
    unpack,
)
from .configuration import Array, NetworkConfiguration, Setting, Solver, require, with_axes
from .fixed_point import FixedPoint, closed_loop_fixed_point, open_loop_fixed_point
from .integration import TABLEAUS, Derivative, integrate, integrate_recorded, root_mean_square

MOST_STEPS_TO_REST = 20_000
"""Of an integration that stands in for a fixed point: a loop that rests does so in hundreds, and
one too stiff for an explicit method would take for ever to say nothing."""


@dataclass(frozen=True)
class EndStateCounts:
    """How many samples reached their end state in which way, and what the integrations took."""

    frozen_newton: int = 0  # solved with the matrix frozen at the open-loop state
    fresh_newton: int = 0  # needed a fresh matrix and a line search
    integrated: int = 0  # reached by integration
    unsettled: int = 0  # integrated to the horizon or step limit without settling
    # Of all that were integrated together, rejected ones counted; None where nobody counted them.
    # Rounding may decide on one more, so that they make no difference between counts.
    steps: int | None = field(default=None, compare=False)

    def __add__(self, other: EndStateCounts) -> EndStateCounts:
        steps = self.steps if self.integrated else other.steps
        if self.integrated and other.integrated:
            # A sum that left out what nobody counted would be none.
            counted = None not in (self.steps, other.steps)
            steps = (self.steps or 0) + (other.steps or 0) if counted else None
        return EndStateCounts(
            self.frozen_newton + other.frozen_newton,
            self.fresh_newton + other.fresh_newton,
            self.integrated + other.integrated,
            self.unsettled + other.unsettled,
            steps,
        )

    @property
    def mean_steps(self) -> float | None:
        """Steps that a sample's integration took; None if none was, or nobody counted."""
        return self.steps / self.integrated if self.integrated and self.steps is not None else None


def open_loop_end_state(
    configuration: NetworkConfiguration, solver: Solver, parameters: Parameters, x: Array
) -> tuple[NetworkState, EndStateCounts]:
    """Where the network comes to rest without control (section 2).

    The input `x` is (..., batch, n_in), of the parameters' dtype; the state's integral is 0.
    """
    a_1, rest = drive(x, parameters.weights[0], parameters.biases[0]), resting_state(parameters, x)
    search = partial(open_loop_fixed_point, configuration, parameters, a_1, rest)
    derivative = partial(open_loop_derivative, configuration, parameters, a_1)
    return _end_state(configuration, solver, search, derivative, rest, is_closed=False)


def closed_loop_end_state(
    configuration: NetworkConfiguration,
    solver: Solver,
    parameters: Parameters,
    x: Array,
    Q: FeedbackWeights,
    target: Array,
    open_loop: NetworkState,
) -> tuple[NetworkState, EndStateCounts]:
    """Where the network comes to rest under control, starting from the open loop (section 2).

    The input `x` is (..., batch, n_in), Q^l (..., batch, n_out, n_l) and the target
    (..., batch, n_out); the integral starts at 0. ConfigurationError if the method is
    'fixed-point' and the controller has leak 0.
    """
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    start = dataclasses.replace(open_loop, z=np.zeros_like(open_loop.z))
    # Replicas may start from one state.
    leading = np.broadcast_shapes(a_1.shape[:-2], start.u_out.shape[:-2])
    start = map_arrays(lambda u: np.broadcast_to(u, (*leading, *u.shape[-2:])), start)
    search = partial(closed_loop_fixed_point, configuration, parameters, a_1, Q, target, start)
    derivative = partial(closed_loop_derivative, configuration, parameters, a_1, Q, target)
    return _end_state(configuration, solver, search, derivative, start, is_closed=True)


def _end_state(
    configuration: NetworkConfiguration,
    solver: Solver,
    search: Callable[[], FixedPoint],
    derivative: Callable[[NetworkState], NetworkState],
    start: NetworkState,
    is_closed: bool,
) -> tuple[NetworkState, EndStateCounts]:
    def distance(k: Array) -> Array:
        return distance_to_rest(configuration, unpack(k, configuration.sizes), is_closed)

    packed = packed_derivative(configuration, derivative)
    if solver.method != "fixed-point":
        end = integrate(packed, pack(start), solver, distance=distance)
        unsettled, steps = int(np.sum(~end.settled)), int(np.sum(end.n_steps))
        counts = EndStateCounts(integrated=end.settled.size, unsettled=unsettled, steps=steps)
        return unpack(end.y, configuration.sizes), counts
    with np.errstate(over="ignore", invalid="ignore"):
        found = search()
    left = ~(found.found_frozen | found.found_fresh)
    state, unsettled, steps = found.state, 0, 0
    if np.any(left):
        tight = solver_to_rest(solver, start.u_out.dtype)
        end = integrate(packed, pack(start), tight, active=left, distance=distance)
        state = choose(left, unpack(end.y, configuration.sizes), state)
        unsettled, steps = int(np.sum(~end.settled)), int(np.sum(end.n_steps))
    frozen, fresh = int(np.sum(found.found_frozen)), int(np.sum(found.found_fresh))
    return state, EndStateCounts(frozen, fresh, int(np.sum(left)), unsettled, steps)


def packed_derivative(
    configuration: NetworkConfiguration, derivative: Callable[[NetworkState], NetworkState]
) -> Derivative:
    """Turn a derivative of states into one of packed arrays, (..., batch, n)."""
    return lambda y: pack(derivative(unpack(y, configuration.sizes)))


def solver_to_rest(solver: Solver, dtype: np.dtype) -> Solver:
    """Make of a solver the one whose integration stands in for a fixed point."""
    rtol, atol = tolerances_to_rest(dtype)
    most = min(solver.max_steps, MOST_STEPS_TO_REST)
    return dataclasses.replace(solver, method="tsit5", rtol=rtol, atol=atol, max_steps=most)


def tolerances_to_rest(dtype: np.dtype) -> tuple[float, float]:
    """Give rtol and atol at which an integration stands in for a fixed point in this precision."""
    eps = float(np.finfo(dtype).eps)
    return eps**0.6, eps**0.75


def distance_to_rest(
    configuration: NetworkConfiguration, k: NetworkState, is_closed: bool
) -> Array:
    """How far a state may be from rest: its derivative k times the slowest time constant.

    The largest root mean square over any population of units, so that a few that crawl do
    not drown among many that rest; (..., batch).
    """
    speeds = [root_mean_square(part) for part in (*k.u_E, *k.u_I, k.u_out, k.z)]
    slowest = np.asarray(slowest_time_constant(configuration, is_closed), dtype=k.u_out.dtype)
    return np.asarray(np.max(speeds, axis=0) * with_axes(slowest, 1))


def slowest_time_constant(configuration: NetworkConfiguration, is_closed: bool) -> Setting:
    """Seconds of the slowest mode: a membrane's, or under control the integral's.

    The integral left to itself decays with τ_c / leak, and control only makes it faster.
    Without a leak it follows the error, whose answer to the control is taken to be of order 1.
    """
    membrane = np.maximum(configuration.tau_E, configuration.tau_I)
    if not is_closed:
        return membrane
    controller = configuration.controller
    leaks = np.asarray(controller.leak) > 0
    rate = np.where(leaks, controller.leak, controller.k_i / (1 + np.asarray(controller.k_p)))
    # Neither leak nor integral gain: the integral never rests, and drives nothing.
    rate = np.where(rate > 0, rate, 1)
    return np.maximum(membrane, controller.tau / rate)


# The same dynamics with a constant step, kept along the way.


@dataclass(frozen=True)
class Recording:
    """How a trajectory is integrated and what of it is kept."""

    method: str = "tsit5"  # or "euler"
    dt: float = 1e-3  # constant step, seconds
    n_steps: int = 200
    every: int = 10  # keep every so many steps; time 0 is always kept

    def __post_init__(self) -> None:
        require(self, "method", among=tuple(TABLEAUS))
        require(self, "dt", above=0)
        require(self, "n_steps", minimum=0, whole=True)
        require(self, "every", minimum=1, whole=True)


def open_loop_trajectory(
    configuration: NetworkConfiguration, recording: Recording, parameters: Parameters, x: Array
) -> NetworkState:
    """Path from rest without control, in arrays (time, ..., batch, n); as `open_loop_end_state`."""
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    derivative = partial(open_loop_derivative, configuration, parameters, a_1)
    return _recorded(configuration, recording, derivative, resting_state(parameters, x))


def closed_loop_trajectory(
    configuration: NetworkConfiguration,
    recording: Recording,
    parameters: Parameters,
    x: Array,
    Q: FeedbackWeights,
    target: Array,
    start: NetworkState,
) -> NetworkState:
    """Path under control, from a given state with the controller's integral at zero.

    In arrays (time, ..., batch, n); see `closed_loop_end_state`.
    """
    a_1 = drive(x, parameters.weights[0], parameters.biases[0])
    derivative = partial(closed_loop_derivative, configuration, parameters, a_1, Q, target)
    start = dataclasses.replace(start, z=np.zeros_like(start.z))
    return _recorded(configuration, recording, derivative, start)


def _recorded(
    configuration: NetworkConfiguration,
    recording: Recording,
    derivative: Callable[[NetworkState], NetworkState],
    start: NetworkState,
) -> NetworkState:
    packed, tableau = packed_derivative(configuration, derivative), TABLEAUS[recording.method]
    path = integrate_recorded(
        packed, pack(start), tableau, recording.dt, recording.n_steps, recording.every
    )
    return unpack(path, configuration.sizes)
