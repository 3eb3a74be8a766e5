"""The stages of a learning step, each run by a backend from a trace's own inputs.

Every stage is a function of (backend, trace, step, disturb) that gives its arrays by name.
`disturb` sees every array on its way in: the identity when a backend is judged, a small
random relative change when the tolerance of the stage is measured (see `tolerance`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..backends import Backend
from ..refimpl.configuration import NetworkConfiguration
from ..refimpl.learning_step import Learner, new_learner
from ..refimpl.optimizer import OptimizerState, initial_optimizer_state, optimizer_step
from ..refimpl.parameters import Parameters
from ..refimpl.state import NetworkState
from ..refimpl.trajectory import Recording
from .parameter_groups import named_arrays
from .trace import Trace

Disturb = Callable[[np.ndarray], np.ndarray]
Arrays = dict[str, np.ndarray]

GOLDEN_RECORDING = Recording(method="tsit5", dt=1e-3, n_steps=200, every=10)
"""How the trajectories in the files were made."""


@dataclass(frozen=True)
class Stage:
    """One thing to compare.

    Parameters
    ----------
    name : str
        As the report shows it.
    run : callable
        From (backend, trace, step, disturb) to the backend's arrays.
    golden : callable
        From (trace, step) to the trace's arrays, by the same names.
    longest_sum : callable
        From a network configuration and a batch size to the length of the longest sum.
    is_state : bool
        The arrays are one state, found by a solver that judges it as a whole.
    """

    name: str
    run: Callable[[Backend, Trace, int, Disturb], Arrays]
    golden: Callable[[Trace, int], Arrays]
    longest_sum: Callable[[NetworkConfiguration, int], int]
    is_state: bool = False


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
        r_bar = earlier.mean_inhibition or r_bar
    return Learner(parameters, state, r_bar)


def _load(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> None:
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


def disturbed_state(state: NetworkState, disturb: Disturb) -> NetworkState:
    """Let every array of a state through `disturb`."""
    return NetworkState(
        tuple(disturb(u) for u in state.u_E),
        tuple(disturb(u) for u in state.u_I),
        disturb(state.u_out),
        disturb(state.z),
    )


def state_arrays(state: NetworkState) -> Arrays:
    """Name the arrays of a state as the files do."""
    return {
        **{f"u_E_{l}": u for l, u in enumerate(state.u_E)},
        **{f"u_I_{l}": u for l, u in enumerate(state.u_I)},
        "u_out": state.u_out,
        "c_int": state.z,
    }


def _layer_arrays(name: str, layers: tuple[np.ndarray, ...]) -> Arrays:
    return {f"{name}_{l}": array for l, array in enumerate(layers)}


def _open_loop(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, step, disturb)
    state, _ = backend.open_loop(disturb(trace.inputs[step]))
    return state_arrays(state)


def _mean_inhibition(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, step, disturb)
    open_loop = disturbed_state(trace.steps[step].open_loop, disturb)
    return _layer_arrays("r_I", backend.mean_inhibition(open_loop))


def _feedback(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, step, disturb)
    Q = backend.feedback_weights(disturbed_state(trace.steps[step].open_loop, disturb))
    batch = trace.inputs.shape[1]
    # Averaged weights may come with a batch axis of 1; the files repeat them.
    return _layer_arrays("Q", tuple(np.broadcast_to(q, (batch, *q.shape[1:])) for q in Q))


def _closed_loop_target(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    open_loop = disturbed_state(trace.steps[step].open_loop, disturb)
    return {"target": backend.closed_loop_target(open_loop, disturb(trace.targets[step]))}


def _closed_loop(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, step, disturb)
    golden = trace.steps[step]
    state, _ = backend.closed_loop(
        disturb(trace.inputs[step]),
        tuple(disturb(Q) for Q in golden.feedback),
        disturb(golden.closed_loop_target),
        disturbed_state(golden.open_loop, disturb),
    )
    return state_arrays(state)


def _gradients(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, step, disturb)
    golden = trace.steps[step]
    r_bar = golden.mean_inhibition or learner_before(trace, step).mean_inhibition
    gradients = backend.gradients(
        disturb(trace.inputs[step]),
        disturb(trace.targets[step]),
        disturbed_state(golden.open_loop, disturb),
        disturbed_state(golden.closed_loop, disturb),
        tuple(disturb(r) for r in r_bar),
    )
    return named_arrays(gradients)


def _update(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, step, disturb)
    golden = trace.steps[step]
    r_bar = golden.mean_inhibition or learner_before(trace, step).mean_inhibition
    backend.update(disturbed_parameters(golden.gradients, disturb), r_bar)
    return named_arrays(backend.learner().parameters)


def _open_loop_path(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    _load(backend, trace, 0, disturb)
    return state_arrays(backend.open_loop_trajectory(GOLDEN_RECORDING, disturb(trace.inputs[0])))


def _closed_loop_path(backend: Backend, trace: Trace, step: int, disturb: Disturb) -> Arrays:
    assert trace.trajectory is not None
    _load(backend, trace, 0, disturb)
    start = NetworkState(
        tuple(u[-1] for u in trace.trajectory.open_loop.u_E),
        tuple(u[-1] for u in trace.trajectory.open_loop.u_I),
        trace.trajectory.open_loop.u_out[-1],
        trace.trajectory.open_loop.z[-1],
    )
    path = backend.closed_loop_trajectory(
        GOLDEN_RECORDING,
        disturb(trace.inputs[0]),
        tuple(disturb(Q) for Q in trace.trajectory.feedback),
        disturb(_trajectory_target(trace)),
        disturbed_state(start, disturb),
    )
    return state_arrays(path)


def _trajectory_target(trace: Trace) -> np.ndarray:
    """What the controller was given on the recorded path: the first step's target.

    Weak feedback nudges from the open-loop output, so that only a file with steps has it.
    """
    return trace.steps[0].closed_loop_target if trace.steps else trace.targets[0]


def _golden_path(which: str) -> Callable[[Trace, int], Arrays]:
    return lambda trace, step: state_arrays(getattr(trace.trajectory, which))


def _fan_in(configuration: NetworkConfiguration, batch: int) -> int:
    return max(configuration.sizes[:-1])


def _path(configuration: NetworkConfiguration, batch: int) -> int:
    # A recorded state is the sum of all the increments that led to it.
    return _fan_in(configuration, batch) + GOLDEN_RECORDING.n_steps


def _width(configuration: NetworkConfiguration, batch: int) -> int:
    return max(*configuration.sizes[1:-1], configuration.sizes[-1] * max(configuration.sizes[1:-1]))


def _batch(configuration: NetworkConfiguration, batch: int) -> int:
    return max(batch, configuration.sizes[-2])


def _outputs(configuration: NetworkConfiguration, batch: int) -> int:
    return configuration.sizes[-1]


def _elementwise(configuration: NetworkConfiguration, batch: int) -> int:
    return 1


OPEN_LOOP_PATH = Stage(
    "open-loop trajectory", _open_loop_path, _golden_path("open_loop"), _path, is_state=True
)
CLOSED_LOOP_PATH = Stage(
    "closed-loop trajectory", _closed_loop_path, _golden_path("closed_loop"), _path, is_state=True
)
OPEN_LOOP = Stage(
    "open loop",
    _open_loop,
    lambda trace, step: state_arrays(trace.steps[step].open_loop),
    _fan_in,
    is_state=True,
)
MEAN_INHIBITION = Stage(
    "mean inhibition",
    _mean_inhibition,
    lambda trace, step: _layer_arrays("r_I", trace.steps[step].mean_inhibition or ()),
    _batch,
)
FEEDBACK = Stage(
    "feedback weights",
    _feedback,
    lambda trace, step: _layer_arrays("Q", trace.steps[step].feedback),
    _width,
)
CLOSED_LOOP_TARGET = Stage(
    "closed-loop target",
    _closed_loop_target,
    lambda trace, step: {"target": trace.steps[step].closed_loop_target},
    _outputs,
)
CLOSED_LOOP = Stage(
    "closed loop",
    _closed_loop,
    lambda trace, step: state_arrays(trace.steps[step].closed_loop),
    _fan_in,
    is_state=True,
)
GRADIENTS = Stage(
    "gradients",
    _gradients,
    lambda trace, step: named_arrays(trace.steps[step].gradients),
    _batch,
)
UPDATE = Stage(
    "optimiser update",
    _update,
    lambda trace, step: named_arrays(trace.steps[step].parameters_after),
    _elementwise,
)

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
