"""The stages of a learning step, in order: what each is given, computes, and is called in a file.

A backend runs a stage by itself, from a trace's own inputs to it, or all of them one after another.
Either way what passes on may be disturbed, as rounding would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...backends import Backend
from ...refimpl import (
    EndStateCounts,
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
    Recording,
    Setting,
    SoftReLU,
    count_correct,
    forward,
    initial_optimizer_state,
    map_arrays,
    new_learner,
    open_loop_output,
    optimizer_step,
    resting_state,
    sample_loss,
)
from ..storage import named_arrays, parameters_from
from ..trace import Trace, TraceTrajectory

Arrays = dict[str, np.ndarray]
Disturb = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Form:
    """How the arrays of a file are made of a value, by name, and the value of them.

    From the sizes of a network and the leading axes follow the shapes, in the value's own form;
    parameters are read as such.
    """

    arrays: Callable[[Any], Arrays]
    value: Callable[[Arrays], Any]
    shapes: Callable[[tuple[int, ...], tuple[int, ...]], Any] | None = None


@dataclass(frozen=True)
class Stage:
    """One thing to compare.

    Parameters
    ----------
    name : str
        As the report shows it.
    part : str
        What it gives: a field of the trace's trajectory, of its step or of the step's circuit.
    given : tuple of str
        What it is given, by the names of `given_to`.
    compute : callable
        From the backend and what is given to what it gives.
    form : Form
        Of what it gives.
    longest_sum : callable
        From a trace to the length of the longest sum.
    is_path : bool
        The arrays are (time, batch, n), of batch 0 alone; in a file (batch, time, n).
    loads : bool
        It depends on the learner, which a backend is to load first.
    of_run : bool
        A file has its arrays of all steps in one, below the root.
    """

    name: str
    part: str
    given: tuple[str, ...]
    compute: Callable[..., Any]
    form: Form
    longest_sum: Callable[[Trace], int]
    is_path: bool = False
    loads: bool = True
    of_run: bool = False

    @property
    def is_state(self) -> bool:
        """The arrays are one state, found by a solver that judges it as a whole."""
        return self.form is STATE

    @property
    def finds_end_state(self) -> bool:
        """It gives counts of how its end states were found, too."""
        return self.is_state and not self.is_path

    @property
    def group(self) -> str:
        """Where a file has its arrays, below steps/NNNN/ or, for a path, below the root."""
        if self.is_path:
            return f"trajectory/{self.part}"
        return "" if self.form is TARGET or self.of_run else self.part

    def location(self, step: int, name: str) -> str:
        """Path of one of its arrays in a file."""
        above = "" if self.is_path or self.of_run else f"steps/{step:04d}/"
        return f"{above}{self.group}/{name}" if self.group else f"{above}{name}"

    def golden(self, trace: Trace, step: int) -> Arrays:
        """Give the trace's arrays; none where it has none."""
        if self is LOSSES:
            return recorded_losses(trace, step)
        holder = trace.trajectory if self.is_path else _step_or_circuit(trace, step, self.part)
        value = None if holder is None else getattr(holder, self.part)
        return {} if value is None else self.form.arrays(value)

    def put(self, trace: Trace, step: int, arrays: Arrays) -> Trace:
        """Give a trace that has these arrays instead."""
        return with_part(trace, step, self.part, self.form.value(arrays), self.is_path)

    def run(
        self,
        backend: Backend,
        trace: Trace,
        step: int,
        disturb: Disturb,
        told: Callable[[EndStateCounts], None] = lambda counts: None,
    ) -> Arrays:
        """Let a backend compute it from what the trace has, each array through `disturb` first.

        `told` hears how end states were found.
        """
        if self.loads:
            load_learner(backend, trace, step, disturb)
        given = (given_to(trace, step, name) for name in self.given)
        found = self.compute(
            backend, *(disturbed(trace.configuration, value, disturb) for value in given)
        )
        if self.finds_end_state:
            found, counts = found
            told(counts)
        if self.part == "feedback":
            # Averaged weights may come with a batch axis of 1; the files repeat them.
            found = repeated(found, trace.inputs.shape[1])
        return self.form.arrays(found)


def repeated(Q: tuple[np.ndarray, ...], batch: int) -> tuple[np.ndarray, ...]:
    """Feedback weights (..., batch or 1, n_out, n_l) as one matrix for each sample."""
    return tuple(np.broadcast_to(q, (*q.shape[:-3], batch, *q.shape[-2:])) for q in Q)


def given_to(trace: Trace, step: int, name: str) -> Any:
    """What the trace has for a stage to start from, by name: a part, or what comes before all."""
    circuit = trace.steps[step].circuit if trace.steps else None
    match name:
        case "inputs" | "targets":
            return getattr(trace, name)[step]
        case "path_target":
            # Weak feedback nudges from the open-loop output, so that only a file with steps has it.
            return trace.targets[0] if circuit is None else circuit.closed_loop_target
        case "path_start":
            return map_arrays(lambda u: u[-1], _trajectory(trace).open_loop)
        case "recording" | "path_feedback":
            return getattr(_trajectory(trace), name.removeprefix("path_"))
        case "mean_inhibition":
            # Where the rule does not learn r̄, the one that the step began with.
            recorded = None if circuit is None else circuit.mean_inhibition
            return recorded or learner_before(trace, step).mean_inhibition
    holder = _step_or_circuit(trace, step, name)
    if holder is None:
        # Backprop uses no states.
        return resting_state(trace.initial_parameters, trace.inputs[step])
    return getattr(holder, name)


def _trajectory(trace: Trace) -> TraceTrajectory:
    assert trace.trajectory is not None
    return trace.trajectory


def _step_or_circuit(trace: Trace, step: int, part: str) -> Any:
    """What of a step holds a part; None where the trace has no steps or no circuit."""
    recorded = trace.steps[step] if trace.steps else None
    return recorded if recorded is None or hasattr(recorded, part) else recorded.circuit


def with_part(trace: Trace, step: int, part: str, value: Any, of_trajectory: bool = False) -> Trace:
    """Give a trace with one part of a step, or of its trajectory, replaced."""
    if of_trajectory:
        trajectory = dataclasses.replace(_trajectory(trace), **{part: value})
        return dataclasses.replace(trace, trajectory=trajectory)
    holder = _step_or_circuit(trace, step, part)
    changed = dataclasses.replace(holder, **{part: value})
    if holder is not trace.steps[step]:
        changed = dataclasses.replace(trace.steps[step], circuit=changed)
    steps = (*trace.steps[:step], changed, *trace.steps[step + 1 :])
    return dataclasses.replace(trace, steps=steps)


def state_arrays(state: NetworkState) -> Arrays:
    """Name the arrays of a state as the files do."""
    return {
        **layer_arrays("u_E", state.u_E),
        **layer_arrays("u_I", state.u_I),
        "u_out": state.u_out,
        "c_int": state.z,
    }


def state_from(arrays: Arrays) -> NetworkState:
    """Build the state whose arrays these are."""
    return NetworkState(
        layers_from("u_E", arrays), layers_from("u_I", arrays), arrays["u_out"], arrays["c_int"]
    )


def layer_arrays(name: str, layers: tuple[np.ndarray, ...]) -> Arrays:
    """Name an array of each hidden layer as the files do."""
    return {f"{name}_{l}": array for l, array in enumerate(layers)}


def layers_from(name: str, arrays: Arrays) -> tuple[np.ndarray, ...]:
    """Give the array of each hidden layer; the inverse of `layer_arrays`."""
    n_hidden = sum(one.startswith(f"{name}_") for one in arrays)
    return tuple(arrays[f"{name}_{l}"] for l in range(n_hidden))


def _state_shapes(sizes: tuple[int, ...], leading: tuple[int, ...]) -> Any:
    layers: Any = tuple((*leading, n) for n in sizes[1:-1])
    output: Any = (*leading, sizes[-1])
    return NetworkState(layers, layers, output, output)


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


def _calls(method: str) -> Callable[..., Any]:
    return lambda backend, *given: getattr(backend, method)(*given)


def _updated(backend: Backend, gradients: Parameters) -> Parameters:
    backend.update(gradients, backend.learner().mean_inhibition)
    return backend.learner().parameters


def losses_and_count(
    backend: Backend,
    x: np.ndarray,
    y: np.ndarray,
    open_loop: NetworkState,
    closed_loop: NetworkState,
) -> Arrays:
    """Losses of the end states, means over the batch, and the samples that the output gets right.

    Of (..., batch, n), by the model's own formula, whatever the backend.
    """
    configuration, loss = backend.configuration, backend.configuration.loss
    if configuration.rule == "backprop":
        _, u_out = forward(configuration, backend.learner().parameters, x)
        losses = {OPEN_LOSS: u_out}
    else:
        u_out = open_loop.u_out
        losses = {OPEN_LOSS: u_out, CLOSED_LOSS: closed_loop.u_out}
    means = {name: np.mean(sample_loss(loss, u, y), axis=-1) for name, u in losses.items()}
    return {**means, N_CORRECT: np.asarray(count_correct(u_out, y), dtype=np.float64)}


def recorded_losses(trace: Trace, step: int) -> Arrays:
    """Losses of a step as a trace has them; its count follows from the step's output."""
    if not trace.steps:
        return {}
    losses = {OPEN_LOSS: trace.open_loop_loss[step]}
    if trace.closed_loop_loss is not None:
        losses[CLOSED_LOSS] = trace.closed_loop_loss[step]
    circuit = trace.steps[step].circuit
    if circuit is None:
        before = learner_before(trace, step).parameters
        _, u_out = forward(trace.configuration, before, trace.inputs[step])
    else:
        u_out = circuit.open_loop.u_out
    count = np.asarray(count_correct(u_out, trace.targets[step]), dtype=np.float64)
    return {**{name: np.asarray(loss) for name, loss in losses.items()}, N_CORRECT: count}


OPEN_LOSS, CLOSED_LOSS, N_CORRECT = "open_loop_loss", "closed_loop_loss", "n_correct"
TARGETS = "closed_loop_targets"
STATE = Form(state_arrays, state_from, _state_shapes)
MEANS = Form(
    partial(layer_arrays, "r_I"),
    partial(layers_from, "r_I"),
    lambda sizes, leading: tuple((n,) for n in sizes[1:-1]),
)
WEIGHTS = Form(
    partial(layer_arrays, "Q"),
    partial(layers_from, "Q"),
    lambda sizes, leading: tuple((*leading, sizes[-1], n) for n in sizes[1:-1]),
)
TARGET = Form(
    lambda target: {TARGETS: target},
    lambda arrays: arrays[TARGETS],
    lambda sizes, leading: (*leading, sizes[-1]),
)
PARAMETERS = Form(named_arrays, parameters_from)

OPEN_LOOP_PATH: Stage = Stage(
    "open-loop trajectory",
    "open_loop",
    ("recording", "inputs"),
    _calls("open_loop_trajectory"),
    STATE,
    _path,
    is_path=True,
)
CLOSED_LOOP_PATH: Stage = Stage(
    "closed-loop trajectory",
    "closed_loop",
    ("recording", "inputs", "path_feedback", "path_target", "path_start"),
    _calls("closed_loop_trajectory"),
    STATE,
    _path,
    is_path=True,
)
OPEN_LOOP: Stage = Stage("open loop", "open_loop", ("inputs",), _calls("open_loop"), STATE, _fan_in)
MEAN_INHIBITION: Stage = Stage(
    "mean inhibition", "mean_inhibition", ("open_loop",), _calls("mean_inhibition"), MEANS, _batch
)
FEEDBACK: Stage = Stage(
    "feedback weights", "feedback", ("open_loop",), _calls("feedback_weights"), WEIGHTS, _width
)
CLOSED_LOOP_TARGET: Stage = Stage(
    "closed-loop target",
    "closed_loop_target",
    ("open_loop", "targets"),
    _calls("closed_loop_target"),
    TARGET,
    lambda trace: trace.configuration.sizes[-1],
    loads=False,
)
CLOSED_LOOP: Stage = Stage(
    "closed loop",
    "closed_loop",
    ("inputs", "feedback", "closed_loop_target", "open_loop"),
    _calls("closed_loop"),
    STATE,
    _fan_in,
)
GRADIENTS: Stage = Stage(
    "gradients",
    "gradients",
    ("inputs", "targets", "open_loop", "closed_loop", "mean_inhibition"),
    _calls("gradients"),
    PARAMETERS,
    _batch,
)
UPDATE: Stage = Stage(
    "optimiser update", "parameters_after", ("gradients",), _updated, PARAMETERS, lambda trace: 1
)

PATH_STAGES = (OPEN_LOOP_PATH, CLOSED_LOOP_PATH)
LOSSES: Stage = Stage(
    "losses",
    "losses",
    ("inputs", "targets", "open_loop", "closed_loop"),
    losses_and_count,
    Form(dict, dict),
    _batch,
    of_run=True,
)
OUTPUT: Stage = Stage(
    "open-loop output",
    "",
    ("inputs",),
    lambda backend, x: open_loop_output(
        backend.configuration, backend.solver, backend.learner().parameters, x
    )[0],
    Form(lambda u_out: {"u_out": u_out}, lambda arrays: arrays["u_out"]),
    _fan_in,
)
"""What is counted; of itself it is judged by the open loop, which backprop has none of."""
STEP_STAGES = (
    OPEN_LOOP,
    MEAN_INHIBITION,
    FEEDBACK,
    CLOSED_LOOP_TARGET,
    CLOSED_LOOP,
    GRADIENTS,
    UPDATE,
)
"""In order of cause; the losses, which nothing depends on, come after the closed loop."""


END_STATES = {OPEN_LOOP_PATH: OPEN_LOOP, CLOSED_LOOP_PATH: CLOSED_LOOP}
"""Of each path, the end state of its loop."""
Place = tuple[Stage, int]
"""A stage of a step."""


def _follows_from(stage: Stage, step: int, trace: Trace) -> list[Place]:
    """What its numbers follow from, in order of cause; a starting point for a search does not."""
    configuration = trace.configuration
    needed: list[Stage] = []
    from_before: list[Stage] = [UPDATE]
    if stage is CLOSED_LOOP_PATH:
        needed = [OPEN_LOOP_PATH, *([] if configuration.feedback.strong else [CLOSED_LOOP_TARGET])]
    elif stage is MEAN_INHIBITION:
        needed, from_before = [OPEN_LOOP], [MEAN_INHIBITION]
    elif stage is FEEDBACK:
        needed = [OPEN_LOOP]
    elif stage is CLOSED_LOOP_TARGET:
        needed, from_before = [] if configuration.feedback.strong else [OPEN_LOOP], []
    elif stage is CLOSED_LOOP:
        needed = [FEEDBACK, CLOSED_LOOP_TARGET]
    elif stage is GRADIENTS and configuration.rule != "backprop":
        needed = [CLOSED_LOOP]
        if configuration.rule == "linear-threshold":
            needed = [MEAN_INHIBITION, *needed]
        if not configuration.feedback.to_readout:
            needed = [OPEN_LOOP, *needed]
    elif stage is UPDATE:
        needed = [GRADIENTS]
    places = [(one, step) for one in needed]
    earlier = [(one, step - 1) for one in from_before] if step else []
    if stage is UPDATE and configuration.optimizer.name == "adam":
        # Moments are of all gradients so far.
        earlier = [*((GRADIENTS, number) for number in range(step)), *earlier]
    return [*earlier, *places]


def left_before(stage: Stage, step: int, trace: Trace, left: Set[Place]) -> list[Place]:
    """What was left out of that which a stage follows from, as far back as nothing was given.

    In order of cause. What was given is what the stage is judged by, whatever was before it.
    """
    found: set[Place] = set()
    open_ends = [(stage, step)]
    while open_ends:
        new = set(_follows_from(*open_ends.pop(), trace)) & left - found
        found |= new
        open_ends += new
    order = (*PATH_STAGES, *STEP_STAGES)
    return sorted(found, key=lambda place: (place[1], order.index(place[0])))


def left_in_words(places: Sequence[Place]) -> str:
    """Say that the error may be where nothing was given; empty if there is no such place."""
    if not places:
        return ""
    steps = sorted({step for _, step in places})
    names = ", ".join(dict.fromkeys(stage.name for stage, _ in places))
    of = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
    of = "" if all(stage.is_path for stage, _ in places) else f" of {of}"
    return f"not given before it: {names}{of}; the error may be in any stage that was not"


def run_to_gradients(
    backend: Backend,
    x: np.ndarray,
    y: np.ndarray,
    pass_on: Callable[[Stage, Any, dict[str, Any]], Any] = lambda stage, value, before: value,
    told: Callable[[Stage, EndStateCounts], None] = lambda stage, counts: None,
) -> dict[str, Any]:
    """Run the stages of a learning step one after another, the optimiser's update left to do.

    What a stage gave goes through `pass_on`, of (stage, value, all before it), to the later ones;
    `told` hears how end states were found. Given is what was passed on, by the name of its part,
    beside inputs and targets (..., batch, n). Backprop has gradients only: its states are at rest,
    r̄ is as it was.
    """
    done: dict[str, Any] = {"inputs": x, "targets": y}
    stages: tuple[Stage, ...] = STEP_STAGES[: STEP_STAGES.index(UPDATE)]
    if backend.configuration.rule == "backprop":
        learner = backend.learner()
        rest = resting_state(learner.parameters, x)
        done |= {"open_loop": rest, "closed_loop": rest, "mean_inhibition": learner.mean_inhibition}
        stages = (GRADIENTS,)
    for stage in stages:
        value = stage.compute(backend, *(done[name] for name in stage.given))
        if stage.finds_end_state:
            value, counts = value
            told(stage, counts)
        done[stage.part] = pass_on(stage, value, done)
    return done


def learner_before(trace: Trace, step: int) -> Learner:
    """Rebuild the learner that began a step, from 0.

    The file has parameters and running means; the moments follow from its gradients by the
    definition of the optimiser.
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
    parameters = map_arrays(disturb, before.parameters)
    moments = [
        None if moment is None else map_arrays(disturb, moment)
        for moment in (before.optimizer.first_moment, before.optimizer.second_moment)
    ]
    means = map_arrays(disturb, before.mean_inhibition)
    backend.load(Learner(parameters, OptimizerState(before.optimizer.n_steps, *moments), means))


def undisturbed(array: np.ndarray) -> np.ndarray:
    """Pass an array on as it is."""
    return array


def disturbed(configuration: NetworkConfiguration, value: Any, disturb: Disturb) -> Any:
    """Let every array of a value through `disturb`, and of a state what will be computed of it.

    A rate rounded by a relative ε is the rate of a potential moved by ε φ/φ', which is at
    most ε (|u| + |m| + 1.4/k): so much is a potential moved, also where it is 0. Likewise
    the readout before a softmax, by ε (|u_out| + 1).
    """
    if isinstance(value, Recording):
        return value
    if not isinstance(value, NetworkState):
        return map_arrays(disturb, value)

    def moved(u: np.ndarray, more: Setting) -> np.ndarray:
        size = np.abs(u) + more
        return np.asarray(u + (disturb(size) - size))

    def potential(u: np.ndarray, phi: SoftReLU) -> np.ndarray:
        return moved(u, np.abs(phi.shift) + 1.4 / phi.sharpness)

    return NetworkState(
        tuple(potential(u, configuration.activation_E) for u in value.u_E),
        tuple(potential(u, configuration.activation_I) for u in value.u_I),
        moved(value.u_out, 0.0 if configuration.loss == "mse" else 1.0),
        disturb(value.z),
    )
