"""The arrays of a stage by the names that files and reports give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backends import Backend
from ...refimpl import (
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
    Setting,
    SoftReLU,
    initial_optimizer_state,
    new_learner,
    optimizer_step,
    resting_state,
)
from ..storage import named_arrays, parameters_from
from ..trace import CircuitStep, Trace, TraceTrajectory

# --- The arrays of a stage by the names that files and reports give them.


Arrays = dict[str, np.ndarray]


def state_arrays(state: NetworkState) -> Arrays:
    """Name the arrays of a state as the files do."""
    return {
        **{f"u_E_{l}": u for l, u in enumerate(state.u_E)},
        **{f"u_I_{l}": u for l, u in enumerate(state.u_I)},
        "u_out": state.u_out,
        "c_int": state.z,
    }


def state_from(arrays: Arrays, n_hidden: int) -> NetworkState:
    """Build the state whose arrays these are."""
    return NetworkState(
        tuple(arrays[f"u_E_{l}"] for l in range(n_hidden)),
        tuple(arrays[f"u_I_{l}"] for l in range(n_hidden)),
        arrays["u_out"],
        arrays["c_int"],
    )


def layer_arrays(name: str, layers: tuple[np.ndarray, ...]) -> Arrays:
    """Name an array of each hidden layer as the files do."""
    return {f"{name}_{l}": array for l, array in enumerate(layers)}


def layers_from(name: str, arrays: Arrays) -> tuple[np.ndarray, ...]:
    """Give the array of each hidden layer; the inverse of `layer_arrays`."""
    return tuple(arrays[f"{name}_{l}"] for l in range(len(arrays)))


# --- What a stage is given: the learner that began the step, each array as it is or disturbed.


Disturb = Callable[[np.ndarray], np.ndarray]


def undisturbed(array: np.ndarray) -> np.ndarray:
    """Pass an array on as it is."""
    return array


def learner_before(trace: Trace, step: int) -> Learner:
    """Rebuild the learner that began a step.

    The file has parameters and running means; the moments follow from its gradients by the
    definition of the optimiser.

    Parameters
    ----------
    trace : Trace
        With steps, unless `step` is 0.
    step : int
        From 0.
    """
    optimizer = trace.configuration.optimizer
    state = initial_optimizer_state(optimizer, trace.initial_parameters)
    parameters = trace.initial_parameters
    r_bar = new_learner(trace.configuration, parameters).mean_inhibition
    for earlier in trace.steps[:step]:
        _, state = optimizer_step(optimizer, parameters, earlier.gradients, state)
        parameters = earlier.parameters_after
        if earlier.circuit is not None:
            r_bar = earlier.circuit.mean_inhibition or r_bar
    return Learner(parameters, state, r_bar)


def load_learner(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> None:
    """Let a backend go on from the learner that began a step."""
    before = learner_before(trace, step)
    backend.load(
        Learner(
            disturbed_parameters(before.parameters, disturb),
            OptimizerState(
                before.optimizer.n_steps,
                _disturbed_moment(before.optimizer.first_moment, disturb),
                _disturbed_moment(before.optimizer.second_moment, disturb),
            ),
            tuple(disturb(r) for r in before.mean_inhibition),
        )
    )


def disturbed_parameters(parameters: Parameters, disturb: Disturb) -> Parameters:
    """Let every array of the parameters through `disturb`."""
    return Parameters(
        tuple(disturb(W) for W in parameters.weights),
        tuple(disturb(b) for b in parameters.biases),
        disturb(parameters.readout),
    )


def _disturbed_moment(moment: Parameters | None, disturb: Disturb) -> Parameters | None:
    return None if moment is None else disturbed_parameters(moment, disturb)


def disturbed_state(
    configuration: NetworkConfiguration, state: NetworkState, disturb: Disturb
) -> NetworkState:
    """Let every array of a state through `disturb`, and what will be computed of it first.

    A rate rounded by a relative ε is the rate of a potential moved by ε φ/φ', which is at
    most ε (|u| + |m| + 1.4/k): so much is a potential moved, also where it is 0. Likewise
    the readout before a softmax, by ε (|u_out| + 1).
    """

    def moved(u: np.ndarray, more: Setting) -> np.ndarray:
        size = np.abs(u) + more
        return np.asarray(u + (disturb(size) - size))

    def potential(u: np.ndarray, phi: SoftReLU) -> np.ndarray:
        return moved(u, np.abs(phi.shift) + 1.4 / phi.sharpness)

    return NetworkState(
        tuple(potential(u, configuration.activation_E) for u in state.u_E),
        tuple(potential(u, configuration.activation_I) for u in state.u_I),
        moved(state.u_out, 0.0 if configuration.loss == "mse" else 1.0),
        disturb(state.z),
    )


# --- The stages of a learning step, each run by a backend from a trace's own inputs.


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
