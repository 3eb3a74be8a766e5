"""All steps of a trace in one run: errors may now build up from stage to stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import Parameters, Solver, forward, resting_state, sample_loss
from ..storage import named_arrays
from ..trace import Trace
from .stages import (
    CLOSED_LOOP,
    OPEN_LOOP,
    PATH_STAGES,
    STEP_STAGES,
    Arrays,
    Disturb,
    Stage,
    disturbed_parameters,
    disturbed_state,
    learner_before,
    load_learner,
    state_arrays,
    undisturbed,
)
from .tolerance import (
    LEAST_DISTURBANCE,
    TRAJECTORY_TOLERANCE,
    Arithmetic,
    disturbance,
    largest_effects,
    own_rounding,
    rounding_size,
    solver_tolerance,
    stopped_short,
    trace_tolerance,
)
from .verdict import Comparison, StageResult, UnitOf, judged, own_scale, state_scale

# --- All steps of a trace in one run: errors may now build up from stage to stage.


def golden_run(trace: Trace) -> Arrays:
    """Losses of every step and the parameters after the last, as the trace has them."""
    losses = {"open_loop_loss": trace.open_loop_loss}
    if trace.closed_loop_loss is not None:
        losses["closed_loop_loss"] = trace.closed_loop_loss
    return {**losses, **named_arrays(trace.final_parameters)}


def learning_run(backend: Backend, trace: Trace) -> Arrays:
    """Train on the batches of a trace in order, in one call, from its initial parameters.

    Parameters
    ----------
    backend : Backend
        Of the trace's configuration.
    trace : Trace
        Inputs, labels and start.
    """
    n_steps, batch = trace.inputs.shape[:2]
    backend.load(learner_before(trace, 0))
    data = backend.place(
        trace.inputs.reshape(n_steps * batch, -1), trace.targets.reshape(n_steps * batch, -1)
    )
    metrics = backend.train(data, np.arange(n_steps * batch).reshape(n_steps, batch))
    losses = {"open_loop_loss": metrics.loss}
    if trace.configuration.rule != "backprop":
        losses["closed_loop_loss"] = metrics.closed_loop_loss
    return {**losses, **named_arrays(backend.learner().parameters)}


def disturbed_learning_run(
    backend: Backend,
    trace: Trace,
    enter: Disturb,
    disturb: Disturb,
    disturb_stored: Disturb,
    move_target: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Arrays:
    """Train likewise, but stage by stage, with a disturbance between all stages.

    Parameters
    ----------
    backend : Backend
        The reference in float64.
    trace : Trace
        Inputs, labels and start.
    enter : callable
        Applied to every array of the trace first: may give it an axis of draws.
    disturb : callable
        Applied to every array that passes from one stage to the next.
    disturb_stored : callable
        Applied to the parameters that pass from one step to the next.
    move_target : callable
        From (u_out, target) to the target that the closed loop is given.
    """
    load_learner(backend, trace, 0, enter)
    losses: dict[str, list[np.ndarray]] = {"open_loop_loss": [], "closed_loop_loss": []}
    if backend.configuration.rule == "backprop":
        del losses["closed_loop_loss"]
    for x, y in zip(trace.inputs, trace.targets, strict=True):
        learner = backend.learner()
        stored = disturbed_parameters(learner.parameters, disturb_stored)
        backend.load(dataclasses.replace(learner, parameters=stored))
        x, y = disturb(enter(x)), disturb(enter(y))
        step = _backprop_step if backend.configuration.rule == "backprop" else _circuit_step
        gradients, r_bar, outputs = step(backend, x, y, disturb, move_target)
        backend.update(disturbed_parameters(gradients, disturb), r_bar)
        for values, u_out in zip(losses.values(), outputs, strict=True):
            loss = sample_loss(backend.configuration.loss, u_out, y)
            # A loss near its minimum does not feel the output move, but its own rounding.
            size = np.max(np.abs(u_out), axis=-1) + loss
            values.append(np.mean(loss + (disturb(size) - size), axis=-1))
    return {
        **{name: np.stack(values, axis=-1) for name, values in losses.items()},
        **named_arrays(backend.learner().parameters),
    }


MoveTarget = Callable[[np.ndarray, np.ndarray], np.ndarray]
StepEnd = tuple[Parameters, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
"""Gradients, r̄, and the outputs whose losses count."""


def _circuit_step(
    backend: Backend, x: np.ndarray, y: np.ndarray, disturb: Disturb, move_target: MoveTarget
) -> StepEnd:
    open_loop = disturbed_state(backend.configuration, backend.open_loop(x)[0], disturb)
    r_bar = tuple(disturb(r) for r in backend.mean_inhibition(open_loop))
    Q = tuple(disturb(q) for q in backend.feedback_weights(open_loop))
    target = move_target(open_loop.u_out, disturb(backend.closed_loop_target(open_loop, y)))
    closed_loop = disturbed_state(
        backend.configuration, backend.closed_loop(x, Q, target, open_loop)[0], disturb
    )
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    return gradients, r_bar, (open_loop.u_out, closed_loop.u_out)


def _backprop_step(
    backend: Backend, x: np.ndarray, y: np.ndarray, disturb: Disturb, move_target: MoveTarget
) -> StepEnd:
    learner = backend.learner()
    # The layers in between are not stages: what they round, the weights stand for.
    disturbed = disturbed_parameters(learner.parameters, disturb)
    backend.load(dataclasses.replace(learner, parameters=disturbed))
    rest = resting_state(disturbed, x)
    gradients = backend.gradients(x, y, rest, rest, learner.mean_inhibition)
    _, u_out = forward(backend.configuration, disturbed, x)
    backend.load(learner)
    return gradients, learner.mean_inhibition, (u_out,)


# --- What a stage is allowed: the trace's tolerance, or the effect of rounding if that is larger.


MOST_ELEMENTS = 2**18
"""Of the largest array that draws have together: larger ones are no quicker than one by one."""


@dataclasses.dataclass(frozen=True)
class StageToJudge:
    """A stage that a trace has, and what is allowed in it before rounding.

    Parameters
    ----------
    stage : Stage
        The stage.
    steps : range
        Learning steps that the trace has of it.
    tolerance : float
        Relative.
    origin : str
        'trace' or 'solver'.
    """

    stage: Stage
    steps: range
    tolerance: float
    origin: str


def stages_to_judge(trace: Trace, solver: Solver) -> Iterator[StageToJudge]:
    """Go through the stages of a trace in order of cause.

    Parameters
    ----------
    trace : Trace
        What there is.
    solver : Solver
        The candidate's.
    """
    for stage in PATH_STAGES:
        if stage.golden(trace, 0):
            yield StageToJudge(stage, range(1), TRAJECTORY_TOLERANCE, "trace")
    of_trace, of_solver = trace_tolerance(trace), solver_tolerance(solver)
    for stage in STEP_STAGES:
        if not stage.golden(trace, 0):
            continue
        tolerance, origin = of_trace, "trace"
        if stage in (OPEN_LOOP, CLOSED_LOOP) and of_solver > of_trace:
            tolerance, origin = of_solver, "solver"
        yield StageToJudge(stage, range(len(trace.steps)), tolerance, origin)


def reference_for(trace: Trace, solver: Solver) -> NumpyBackend:
    """Build the float64 reference that measures the effect of rounding.

    Parameters
    ----------
    trace : Trace
        Its network.
    solver : Solver
        How tightly to integrate where no fixed point exists.
    """
    method = "fixed-point" if has_fixed_point(trace) else "tsit5"
    return NumpyBackend(
        trace.configuration,
        trace.initial_parameters,
        np.float64,
        dataclasses.replace(solver, method=method),
    )


def has_fixed_point(trace: Trace) -> bool:
    """Tell whether the end state can be found without integrating: the controller leaks."""
    return bool(np.all(np.asarray(trace.configuration.controller.leak) > 0))


def for_draws(reference: NumpyBackend, trace: Trace, n_draws: int) -> NumpyBackend:
    """Build a reference of which each draw is a replica."""
    repeated = disturbed_parameters(trace.initial_parameters, repeating(n_draws))
    return NumpyBackend(trace.configuration, repeated, np.float64, reference.solver)


def repeating(n_draws: int) -> Disturb:
    """Give an array a first axis of draws, all alike."""
    return lambda array: np.broadcast_to(array, (n_draws, *np.shape(array)))


def draws_at_once(trace: Trace) -> int:
    """How many draws to take at once."""
    n_in, *hidden, n_out = trace.configuration.sizes
    batch, widest = trace.inputs.shape[1], max(hidden)
    elements = max(n_in * widest, widest**2, batch * widest * n_out)
    if trace.trajectory is not None:
        recording = trace.trajectory.recording
        times = recording.n_steps // recording.every + 1
        elements = max(elements, times * batch * (2 * sum(hidden) + 2 * n_out))
    return max(1, MOST_ELEMENTS // elements)


def rounding_effects(
    stage: Stage,
    reference: NumpyBackend,
    trace: Trace,
    step: int,
    arithmetic: Arithmetic,
    by_fixed_point: bool,
) -> tuple[Arrays, dict[str, float]]:
    """Run the reference from what the trace has, exactly and disturbed.

    Parameters
    ----------
    stage : Stage
        Which.
    reference : NumpyBackend
        In float64.
    trace : Trace
        Holds the inputs of the stage.
    step : int
        Learning step.
    arithmetic : Arithmetic
        Of the candidate.
    by_fixed_point : bool
        The candidate's closed loop may stop at the residual that the model admits.

    Returns
    -------
    exact : dict of array
        What the reference gives.
    effects : dict of float
        Largest effect of rounding on each of these arrays, absolute.
    """
    size = rounding_size(arithmetic, stage.longest_sum(trace))
    applied = max(size, LEAST_DISTURBANCE)
    name = f"{stage.name} {step}"
    exact = stage.run(reference, trace, step, undisturbed)
    at_once = draws_at_once(trace)

    def disturbed(generators: Sequence[np.random.Generator]) -> Arrays:
        drawn, repeat = (
            for_draws(reference, trace, len(generators)),
            repeating(len(generators)),
        )
        disturb = disturbance(arithmetic, applied, generators)
        found = stage.run(drawn, trace, step, lambda array: disturb(repeat(array)))
        # A path's first axis is time.
        return {
            key: np.moveaxis(array, 1, 0) if stage.is_path else array
            for key, array in found.items()
        }

    effects = largest_effects(disturbed, exact, name, size / applied, at_once)
    # What leaves the stage is rounded too, be it never so deaf to what enters.
    effects = {
        key: effect + own_rounding(arithmetic, size, exact[key]) for key, effect in effects.items()
    }
    if stage is not CLOSED_LOOP or not by_fixed_point:
        return exact, effects

    def short(generators: Sequence[np.random.Generator], along: bool) -> Arrays:
        drawn, repeat = (
            for_draws(reference, trace, len(generators)),
            repeating(len(generators)),
        )
        move = stopped_short(trace.configuration, arithmetic, generators, along=along)
        circuit = trace.steps[step].circuit
        assert circuit is not None
        given = repeat(circuit.closed_loop_target)
        target = move(repeat(exact["u_out"]), given)
        load_learner(drawn, trace, step, repeat)
        ended, _ = drawn.closed_loop(
            trace.inputs[step], circuit.feedback, target, circuit.open_loop
        )
        # The integral is of the error to the target that the candidate was given.
        shift = (target - given) / trace.configuration.controller.leak
        arrays = state_arrays(ended)
        return {**arrays, "c_int": arrays["c_int"] - shift}

    residuals = [
        largest_effects(partial(short, along=along), exact, f"{name} residual", 1.0, at_once)
        for along in (True, False)
    ]
    return exact, {
        key: effect + max(residual[key] for residual in residuals)
        for key, effect in effects.items()
    }


def stage_verdict(
    item: StageToJudge, comparisons: list[Comparison], arithmetic: Arithmetic, trace: Trace
) -> StageResult:
    """Judge one stage by its comparisons.

    Parameters
    ----------
    item : StageToJudge
        The stage and its tolerance.
    comparisons : list of Comparison
        Of its steps.
    arithmetic : Arithmetic
        Of the candidate.
    trace : Trace
        Says how far apart in time a path's entries are.
    """
    unit_of: UnitOf = state_scale if item.stage.is_state else own_scale
    seconds = None
    if item.stage.is_path:
        assert trace.trajectory is not None
        seconds = trace.trajectory.recording.dt * trace.trajectory.recording.every
    return judged(
        item.stage.name, comparisons, item.tolerance, item.origin, unit_of, arithmetic, seconds
    )


# --- What rounding may do to a whole run of learning steps, measured on the reference.


LEARNING_RUN = "learning steps in one run"


def run_effects(
    reference: NumpyBackend, trace: Trace, arithmetic: Arithmetic, by_fixed_point: bool
) -> dict[str, float]:
    """Largest change of each loss and parameter that rounding may make in a run.

    Two right runs may differ by twice this.

    Parameters
    ----------
    reference : NumpyBackend
        In float64.
    trace : Trace
        Its configuration, batches and initial parameters; steps are not read.
    arithmetic : Arithmetic
        Whose rounding is allowed for.
    by_fixed_point : bool
        Allow also for the residual at which a closed loop found by fixed point may stop.

    Returns
    -------
    dict of float
        By the names of `learning_run`.
    """
    configuration = trace.configuration
    size = rounding_size(arithmetic, CLOSED_LOOP.longest_sum(trace))
    applied = max(size, LEAST_DISTURBANCE)
    magnified = applied / size
    stored = magnified * rounding_size(arithmetic, 1)

    def unmoved(u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
        return target

    def disturbed(generators: Sequence[np.random.Generator]) -> Arrays:
        return disturbed_learning_run(
            for_draws(reference, trace, len(generators)),
            trace,
            repeating(len(generators)),
            disturbance(arithmetic, applied, generators),
            disturbance(arithmetic, stored, generators),
            stopped_short(configuration, arithmetic, generators, magnified)
            if by_fixed_point
            else unmoved,
        )

    exact = disturbed_learning_run(reference, trace, undisturbed, undisturbed, undisturbed, unmoved)
    return largest_effects(disturbed, exact, LEARNING_RUN, 1 / magnified, draws_at_once(trace))
