"""The stages of a learning step, each run by a backend from a trace's own inputs.

Every stage is a function of (backend, trace, step, disturb) that gives its arrays by name.
`disturb` sees every array on its way in: the identity when a backend is judged, a small
random relative change when the tolerance of the stage is measured (see `tolerance`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Backend
from ..refimpl.state import NetworkState, resting_state
from .parameter_groups import named_arrays, parameters_from
from .stage_arrays import Arrays, layer_arrays, layers_from, state_arrays, state_from
from .stage_inputs import (
    Disturb,
    disturbed_parameters,
    disturbed_state,
    learner_before,
    load_learner,
)
from .trace import CircuitStep, Trace, TraceTrajectory

PutStage = Callable[[Trace, int, Arrays], Trace]


@dataclass(frozen=True)
class Stage:
    """One thing to compare.

    Parameters
    ----------
    name : str
        As the report shows it.
    group : str
        Where a file has its arrays, below `steps/NNNN/` or, for a trajectory, below the root.
    run : callable
        From (backend, trace, step, disturb) to the backend's arrays.
    golden : callable
        From (trace, step) to the trace's arrays, by the same names; none where it has none.
    put : callable
        From (trace, step, arrays) to a trace that has these instead.
    longest_sum : callable
        From a trace to the length of the longest sum.
    is_state : bool
        The arrays are one state, found by a solver that judges it as a whole.
    is_path : bool
        The arrays are (time, batch, n), of batch 0 alone; in a file (batch, time, n).
    """

    name: str
    group: str
    run: Callable[[Backend, Trace, int, Disturb], Arrays]
    golden: Callable[[Trace, int], Arrays]
    put: PutStage
    longest_sum: Callable[[Trace], int]
    is_state: bool = False
    is_path: bool = False

    def location(self, step: int, name: str) -> str:
        """Path of one of its arrays in a file."""
        above = "" if self.is_path else f"steps/{step:04d}/"
        return f"{above}{self.group}/{name}" if self.group else f"{above}{name}"


def _circuit(trace: Trace, step: int) -> CircuitStep:
    circuit = trace.steps[step].circuit
    assert circuit is not None
    return circuit


def _trajectory(trace: Trace) -> TraceTrajectory:
    assert trace.trajectory is not None
    return trace.trajectory


def _open_loop(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, step, disturb)
    state, _ = backend.open_loop(disturb(trace.inputs[step]))
    return state_arrays(state)


def _mean_inhibition(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, step, disturb)
    open_loop = disturbed_state(trace.configuration, _circuit(trace, step).open_loop, disturb)
    return layer_arrays("r_I", backend.mean_inhibition(open_loop))


def _feedback(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, step, disturb)
    Q = backend.feedback_weights(
        disturbed_state(trace.configuration, _circuit(trace, step).open_loop, disturb)
    )
    batch = trace.inputs.shape[1]
    # Averaged weights may come with a batch axis of 1; the files repeat them.
    return layer_arrays(
        "Q", tuple(np.broadcast_to(q, (*q.shape[:-3], batch, *q.shape[-2:])) for q in Q)
    )


def _closed_loop_target(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    open_loop = disturbed_state(trace.configuration, _circuit(trace, step).open_loop, disturb)
    return {TARGETS: backend.closed_loop_target(open_loop, disturb(trace.targets[step]))}


def _closed_loop(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, step, disturb)
    golden = _circuit(trace, step)
    state, _ = backend.closed_loop(
        disturb(trace.inputs[step]),
        tuple(disturb(Q) for Q in golden.feedback),
        disturb(golden.closed_loop_target),
        disturbed_state(trace.configuration, golden.open_loop, disturb),
    )
    return state_arrays(state)


def _mean_inhibition_of(trace: Trace, step: int) -> tuple[np.ndarray, ...]:
    """r̄ of this step, where the rule does not learn it the one that it began with."""
    circuit = trace.steps[step].circuit
    recorded = None if circuit is None else circuit.mean_inhibition
    return recorded or learner_before(trace, step).mean_inhibition


def _gradients(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, step, disturb)
    circuit = trace.steps[step].circuit
    # Backprop uses no states.
    rest = resting_state(trace.initial_parameters, trace.inputs[step])
    gradients = backend.gradients(
        disturb(trace.inputs[step]),
        disturb(trace.targets[step]),
        disturbed_state(trace.configuration, circuit.open_loop if circuit else rest, disturb),
        disturbed_state(trace.configuration, circuit.closed_loop if circuit else rest, disturb),
        tuple(disturb(r) for r in _mean_inhibition_of(trace, step)),
    )
    return named_arrays(gradients)


def _update(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, step, disturb)
    gradients = disturbed_parameters(trace.steps[step].gradients, disturb)
    backend.update(gradients, _mean_inhibition_of(trace, step))
    return named_arrays(backend.learner().parameters)


def _open_loop_path(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, 0, disturb)
    recording = _trajectory(trace).recording
    return state_arrays(backend.open_loop_trajectory(recording, disturb(trace.inputs[0])))


def _closed_loop_path(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    load_learner(backend, trace, 0, disturb)
    trajectory = _trajectory(trace)
    start = NetworkState(
        tuple(u[-1] for u in trajectory.open_loop.u_E),
        tuple(u[-1] for u in trajectory.open_loop.u_I),
        trajectory.open_loop.u_out[-1],
        trajectory.open_loop.z[-1],
    )
    path = backend.closed_loop_trajectory(
        trajectory.recording,
        disturb(trace.inputs[0]),
        tuple(disturb(Q) for Q in trajectory.feedback),
        disturb(trajectory_target(trace)),
        disturbed_state(trace.configuration, start, disturb),
    )
    return state_arrays(path)


def trajectory_target(trace: Trace) -> np.ndarray:
    """What the controller was given on the recorded path: the first step's target.

    Weak feedback nudges from the open-loop output, so that only a file with steps has it.
    """
    circuit = trace.steps[0].circuit if trace.steps else None
    return trace.targets[0] if circuit is None else circuit.closed_loop_target


def _golden_path(which: str) -> Callable[[Trace, int], Arrays]:
    def golden(trace: Trace, step: int) -> Arrays:
        trajectory = trace.trajectory
        return {} if trajectory is None else state_arrays(getattr(trajectory, which))

    return golden


def _put_path(which: str) -> PutStage:
    def put(trace: Trace, step: int, arrays: Arrays) -> Trace:
        state = state_from(arrays, trace.configuration.n_hidden)
        trajectory = dataclasses.replace(_trajectory(trace), **{which: state})  # type: ignore[arg-type]
        return dataclasses.replace(trace, trajectory=trajectory)

    return put


def _golden(arrays_of: Callable[[CircuitStep], Arrays]) -> Callable[[Trace, int], Arrays]:
    def golden(trace: Trace, step: int) -> Arrays:
        circuit = trace.steps[step].circuit if trace.steps else None
        return {} if circuit is None else arrays_of(circuit)

    return golden


def _golden_parameters(which: str) -> Callable[[Trace, int], Arrays]:
    return lambda trace, step: (
        named_arrays(getattr(trace.steps[step], which)) if trace.steps else {}
    )


def _put(which: str, value_of: Callable[[Arrays, Trace], object]) -> PutStage:
    """Replace a part of the circuit's step."""

    def put(trace: Trace, step: int, arrays: Arrays) -> Trace:
        value: Any = value_of(arrays, trace)
        circuit = dataclasses.replace(_circuit(trace, step), **{which: value})
        return _with_step(trace, step, circuit=circuit)

    return put


def _put_parameters(which: str) -> PutStage:
    return lambda trace, step, arrays: _with_step(trace, step, **{which: parameters_from(arrays)})


def _with_step(trace: Trace, step: int, **changes: object) -> Trace:
    changed = dataclasses.replace(trace.steps[step], **changes)  # type: ignore[arg-type]
    steps = (*trace.steps[:step], changed, *trace.steps[step + 1 :])
    return dataclasses.replace(trace, steps=steps)


def _state_of(arrays: Arrays, trace: Trace) -> NetworkState:
    return state_from(arrays, trace.configuration.n_hidden)


def _fan_in(trace: Trace) -> int:
    return max(trace.configuration.sizes[:-1])


def _path(trace: Trace) -> int:
    # A recorded state is the sum of all the increments that led to it.
    return _fan_in(trace) + _trajectory(trace).recording.n_steps


def _width(trace: Trace) -> int:
    sizes = trace.configuration.sizes
    return max(*sizes[1:-1], sizes[-1] * max(sizes[1:-1]))


def _batch(trace: Trace) -> int:
    return max(trace.inputs.shape[1], trace.configuration.sizes[-2])


def _outputs(trace: Trace) -> int:
    return trace.configuration.sizes[-1]


def _elementwise(trace: Trace) -> int:
    return 1


TARGETS = "closed_loop_targets"

OPEN_LOOP_PATH = Stage(
    "open-loop trajectory",
    "trajectory/open_loop",
    _open_loop_path,
    _golden_path("open_loop"),
    _put_path("open_loop"),
    _path,
    is_state=True,
    is_path=True,
)
CLOSED_LOOP_PATH = Stage(
    "closed-loop trajectory",
    "trajectory/closed_loop",
    _closed_loop_path,
    _golden_path("closed_loop"),
    _put_path("closed_loop"),
    _path,
    is_state=True,
    is_path=True,
)
OPEN_LOOP = Stage(
    "open loop",
    "open_loop",
    _open_loop,
    _golden(lambda circuit: state_arrays(circuit.open_loop)),
    _put("open_loop", _state_of),
    _fan_in,
    is_state=True,
)
MEAN_INHIBITION = Stage(
    "mean inhibition",
    "mean_inhibition",
    _mean_inhibition,
    _golden(lambda circuit: layer_arrays("r_I", circuit.mean_inhibition or ())),
    _put("mean_inhibition", lambda arrays, trace: layers_from("r_I", arrays)),
    _batch,
)
FEEDBACK = Stage(
    "feedback weights",
    "feedback",
    _feedback,
    _golden(lambda circuit: layer_arrays("Q", circuit.feedback)),
    _put("feedback", lambda arrays, trace: layers_from("Q", arrays)),
    _width,
)
CLOSED_LOOP_TARGET = Stage(
    "closed-loop target",
    "",
    _closed_loop_target,
    _golden(lambda circuit: {TARGETS: circuit.closed_loop_target}),
    _put("closed_loop_target", lambda arrays, trace: arrays[TARGETS]),
    _outputs,
)
CLOSED_LOOP = Stage(
    "closed loop",
    "closed_loop",
    _closed_loop,
    _golden(lambda circuit: state_arrays(circuit.closed_loop)),
    _put("closed_loop", _state_of),
    _fan_in,
    is_state=True,
)
GRADIENTS = Stage(
    "gradients",
    "gradients",
    _gradients,
    _golden_parameters("gradients"),
    _put_parameters("gradients"),
    _batch,
)
UPDATE = Stage(
    "optimiser update",
    "parameters_after",
    _update,
    _golden_parameters("parameters_after"),
    _put_parameters("parameters_after"),
    _elementwise,
)

PATH_STAGES = (OPEN_LOOP_PATH, CLOSED_LOOP_PATH)
STEP_STAGES = (
    OPEN_LOOP,
    MEAN_INHIBITION,
    FEEDBACK,
    CLOSED_LOOP_TARGET,
    CLOSED_LOOP,
    GRADIENTS,
    UPDATE,
)
"""In order of cause."""
