"""Whether a backend integrates as its solver says: by the same steps, to an end that is at rest.

What a trace has are end states, which many ways lead to. Here the way is judged, on networks of a
few units: how long a step is, when it is kept, when a sample has come to its end, and when it has
none. By the reference's own integration, in float64: in fewer digits rounding may decide whether a
step is kept. And whoever says that a sample has settled by its distance is held to that distance.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import (
    Controller,
    EndStateCounts,
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    SoftReLU,
    Solver,
    pack,
)
from ..trace import StandardCase, case_data
from .stages import Arrays, state_arrays
from .tolerance import float_arithmetic
from .verdict import Comparison, StageResult, judged, natural_scale, state_scale


@dataclass(frozen=True)
class Integration:
    """A network, and how it is integrated.

    Where there is an offset, (batch, 1), the open loop's own output is to be moved by so much;
    `diverges` where there is no end state, and none is to be given.
    """

    name: str
    configuration: NetworkConfiguration
    solver: Solver
    offset: tuple[float, ...] | None = None
    diverges: bool = False

    @property
    def has_rest(self) -> bool:
        """Whether samples come to rest, and are to be as near to it as they say."""
        return self.solver.settled == "distance" and self.offset is None


FLOAT64 = np.dtype(np.float64)
PUBLISHED = Solver(method="tsit5", settled="published")
SLOW = Solver(
    method="tsit5", settled="distance", rtol=1e-4, dt=0.1, dt_min=0.01, dt_max=1.0, horizon=5e3
)
"""For time constants of seconds: what is slow beside 1 s is what a speed alone does not tell."""
IDLE_OFFSETS = (0.7, 1.5, 0.7, 1.5, 1.5)
"""Errors of an integral that nothing drives, over the distance at which it counts as settled."""


def integrations() -> Iterator[Integration]:
    """List what is integrated; each differs from the first in what its name says."""
    network = NetworkConfiguration(
        sizes=(6, 7, 5, 4),
        activation_E=SoftReLU(1.3, 2.0, 0.2),
        activation_I=SoftReLU(0.8, 1.5, -0.3),
        tau_E=0.03,
        tau_I=0.008,
        loss="mse",
    )
    published, slow, replace = PUBLISHED, SLOW, dataclasses.replace
    yield Integration("as published", network, published)
    yield Integration("by Euler", network, replace(published, method="euler"))
    yield Integration("short horizon", network, replace(published, horizon=0.05, max_steps=1000))
    yield Integration("few steps", network, replace(published, max_steps=12))
    # Too short ones are kept whatever their error, and as it shrinks some that follow are not.
    shortest = replace(published, rtol=1e-6, atol=1e-9, dt=5e-3, dt_min=4e-3, dt_max=0.05)
    yield Integration(
        "shortest steps",
        network,
        replace(shortest, safety=0.99, p=0.7, i=0.4, d=0.3, max_steps=400),
    )
    yield Integration(
        "rejected steps",
        network,
        replace(
            published, method="euler", rtol=1e-8, atol=1e-10, dt=1e-2, dt_min=1e-6, max_steps=60
        ),
    )
    yield Integration(
        "constant steps", network, replace(published, step_control="constant", dt=2e-3)
    )
    # It is shortened until there are numbers: no sample has diverged that was not kept.
    longest = float(np.finfo(FLOAT64).max)
    yield Integration(
        "first step beyond all numbers",
        network,
        replace(published, dt=longest, dt_max=longest, horizon=longest, max_steps=1000),
    )
    yield Integration(
        "divergence",
        network,
        replace(published, method="euler", step_control="constant", dt=0.1, horizon=1e3),
        diverges=True,
    )
    second = replace(network, tau_E=1.0, tau_I=0.5)
    yield Integration(
        "slow membranes",
        replace(network, tau_E=30.0, tau_I=0.5, controller=Controller(tau=2.0)),
        slow,
    )
    slow_leak = replace(second, controller=Controller(0.5, 0.02, leak=0.02, tau=2.0))
    yield Integration("slow leak", slow_leak, slow)
    yield Integration("slow leak, by speed", slow_leak, replace(slow, settled="published"))
    yield Integration(
        "without leak", replace(second, controller=Controller(0.9, 0.05, leak=0.0, tau=2.0)), slow
    )
    yield Integration(
        "idle integral",
        replace(second, controller=Controller(0.0, 0.0, leak=0.0, tau=20.0)),
        replace(slow, max_steps=200),
        offset=IDLE_OFFSETS,
    )


@dataclass(frozen=True)
class Given:
    """What an integration starts from, and what it is to come to."""

    parameters: Parameters
    x: np.ndarray
    open_loop: NetworkState
    feedback: FeedbackWeights
    target: np.ndarray


def given_to(one: Integration) -> Given:
    """Draw a network; its open loop is where it rests, found without integrating."""
    parameters, inputs, labels = case_data(StandardCase(one.name, one.configuration))
    # Without a leak there would be no fixed point under control; without control there is one.
    at_rest = dataclasses.replace(one.configuration, controller=Controller())
    backend = NumpyBackend(at_rest, parameters, FLOAT64, Solver())
    open_loop, _ = backend.open_loop(inputs[0])
    target = backend.closed_loop_target(open_loop, labels[0])
    if one.offset is not None:
        near = allowed_distance(one.solver, open_loop)
        target = open_loop.u_out + np.reshape(one.offset, (-1, 1)) * near[:, None]
    return Given(parameters, inputs[0], open_loop, backend.feedback_weights(open_loop), target)


def allowed_distance(solver: Solver, state: NetworkState) -> np.ndarray:
    """How far from rest a sample may be that has settled, atol + rtol · rms; (..., batch)."""
    return np.asarray(solver.atol + solver.rtol * np.sqrt(np.mean(pack(state) ** 2, axis=-1)))


Ends = tuple[list[NetworkState], list[EndStateCounts]]
"""End states of both loops, or of the open one alone, and their counts."""


def ends_of(backend: Backend, one: Integration, given: Given) -> Ends:
    """Integrate both loops, each from where it is to start."""
    x = given.x
    # Some are to leave all numbers, of which nobody is to be warned.
    with np.errstate(over="ignore", invalid="ignore"):
        ends = [backend.open_loop(x)]
    if not one.diverges:
        ends.append(backend.closed_loop(x, given.feedback, given.target, given.open_loop))
    return [state for state, _ in ends], [counts for _, counts in ends]


STEPS_TOLERANCE = 1e-9
"""Of a state to which the same steps lead: an estimated error, a small difference of large terms,
has some nine digits less than they, and the length of the next step has those of the error."""


def judge_steps(kind: type[Backend], one: Integration) -> StageResult:
    """Judge by the reference's integration, step for step."""
    given, expected, counted = _right_ends(one)
    backend = kind(one.configuration, given.parameters, FLOAT64, one.solver)
    found, counts = ends_of(backend, one, given)
    comparisons = [
        Comparison(None, _end(right, one), _end(state, one), dict.fromkeys(_end(right, one), 0.0))
        for right, state in zip(expected, found, strict=True)
    ]
    result = judged(
        f"steps: {one.name}",
        comparisons,
        STEPS_TOLERANCE,
        "solver",
        state_scale,
        float_arithmetic(FLOAT64),
    )
    # Of how a sample comes to its end there is one way; of a search's two nothing is said here.
    if result.passed and counts != counted:
        says = f"{_unsettled(counts)} samples are counted as unsettled, should be"
        return dataclasses.replace(
            result, used=float(np.inf), element=None, problem=f"{says} {_unsettled(counted)}"
        )
    return result


@functools.cache
def _right_ends(one: Integration) -> tuple[Given, list[NetworkState], list[EndStateCounts]]:
    """What is given, and the reference's own ends; they depend on no backend."""
    given = given_to(one)
    reference = NumpyBackend(one.configuration, given.parameters, FLOAT64, one.solver)
    return given, *ends_of(reference, one, given)


def _unsettled(counts: Sequence[EndStateCounts]) -> str:
    return " and ".join(str(one.unsettled) for one in counts)


def _end(state: NetworkState, one: Integration) -> Arrays:
    """Arrays of an end state; where there is none, whether the output says so."""
    if one.diverges:
        return {"u_out": np.isnan(state.u_out).astype(np.float64)}
    return state_arrays(state)


REACH = 2.0
"""By how much the distance of the slowest mode alone may fall short of that of all together."""


def judge_distance(kind: type[Backend], one: Integration) -> StageResult:
    """Judge ends that have settled by their distance, by where the network really rests.

    That is found without integrating; without a leak it is where the output is the target.
    """
    given = given_to(one)
    found, counts = ends_of(
        kind(one.configuration, given.parameters, FLOAT64, one.solver), one, given
    )
    rest = [state_arrays(given.open_loop)]
    if np.all(np.asarray(one.configuration.controller.leak) > 0):
        solved = NumpyBackend(one.configuration, given.parameters, FLOAT64, Solver())
        rest.append(
            state_arrays(
                solved.closed_loop(given.x, given.feedback, given.target, given.open_loop)[0]
            )
        )
    else:
        rest.append({"u_out": given.target})
    widest = max(one.configuration.sizes[1:])
    # Of each population the root mean square is bounded, and so by √n the largest.
    allowed = max(float(np.max(allowed_distance(one.solver, state))) for state in found)
    comparisons = [
        Comparison(None, right, state_arrays(state), dict.fromkeys(right, 0.0))
        for right, state in zip(rest, found, strict=True)
    ]
    result = judged(
        f"rest: {one.name}",
        comparisons,
        REACH * float(np.sqrt(widest)) * allowed,
        "solver",
        natural_scale,
        float_arithmetic(FLOAT64),
    )
    n_unsettled = sum(one.unsettled for one in counts)
    if result.passed and n_unsettled:
        says = f"{n_unsettled} samples are at rest, and counted as unsettled"
        return dataclasses.replace(result, used=float(np.inf), element=None, problem=says)
    return result
