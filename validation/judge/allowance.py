"""What rounding may do, measured on the float64 reference: to one stage, and to a whole run.

A stage is allowed the trace's or the solver's tolerance, or the effect of rounding if that is
larger. In a run of all steps, errors may build up from stage to stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import (
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Setting,
    Solver,
    error_jacobian,
    forward,
    map_arrays,
    output_sensitivity,
    sample_loss,
)
from ..storage import named_arrays
from ..trace import Trace
from .stages import (
    CLOSED_LOOP,
    CLOSED_LOOP_TARGET,
    GRADIENTS,
    LOSSES,
    N_CORRECT,
    OPEN_LOOP,
    OUTPUT,
    PATH_STAGES,
    STEP_STAGES,
    Arrays,
    Disturb,
    Stage,
    disturbed,
    learner_before,
    load_learner,
    run_to_gradients,
    state_arrays,
    state_from,
    undisturbed,
)
from .tolerance import (
    LEAST_DISTURBANCE,
    SURE,
    TRAJECTORY_TOLERANCE,
    Arithmetic,
    MoveTarget,
    StepLeft,
    admitted_step,
    coarser,
    disturbance,
    largest,
    largest_effects,
    mean_error,
    own_rounding,
    rounding_size,
    run_tolerance,
    solver_tolerance,
    stopped_short,
    trace_tolerance,
)
from .verdict import StageToJudge

MOST_ELEMENTS = 2**18
"""Of the largest array that draws have together: larger ones are no quicker than one by one."""
LEARNING_RUN = "learning steps in one run"
SURE_DRAWS = 32
"""Where only the direction of a disturbance matters: a few draws miss the worst ones."""


def stages_to_judge(trace: Trace, solver: Solver) -> Iterator[StageToJudge]:
    """Go through the stages of a trace in order of cause, for a candidate's solver."""
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
        if stage is GRADIENTS:
            yield StageToJudge(LOSSES, range(len(trace.steps)), *tolerance_of_run(trace, solver))
        yield StageToJudge(stage, range(len(trace.steps)), tolerance, origin)


def tolerance_of_run(trace: Trace, solver: Solver) -> tuple[float, str]:
    """Tolerance of losses and final parameters, in natural units, and its origin."""
    of_trace, of_solver = run_tolerance(trace), solver_tolerance(solver)
    return max(of_trace, of_solver), "solver" if of_solver > of_trace else "trace"


def reference_for(trace: Trace, solver: Solver) -> NumpyBackend:
    """Build the float64 reference that measures the effect of rounding.

    It integrates, as tightly as the solver says, only where no fixed point exists.
    """
    method = "fixed-point" if has_fixed_point(trace.configuration) else "tsit5"
    solver = dataclasses.replace(solver, method=method)
    return NumpyBackend(trace.configuration, trace.initial_parameters, np.float64, solver)


def has_fixed_point(configuration: NetworkConfiguration) -> bool:
    """Tell whether the end state can be found without integrating: the controller leaks."""
    return bool(np.all(np.asarray(configuration.controller.leak) > 0))


def has_gain(configuration: NetworkConfiguration) -> bool:
    """Tell whether there is a control signal to search for."""
    return bool(np.any(np.asarray(integral_gain(configuration)) > 0))


def rounding_effects(
    stage: Stage,
    reference: NumpyBackend,
    trace: Trace,
    step: int,
    arithmetic: Arithmetic,
    by_fixed_point: bool,
) -> tuple[Arrays, dict[str, float]]:
    """Run a stage on the reference from what the trace has: exactly, and the effects of rounding.

    These are absolute, the largest on each of the arrays. A closed loop that is found by fixed
    point may also stop at the residual that the model admits.
    """
    size = rounding_size(arithmetic, stage.longest_sum(trace))
    mean = mean_error(arithmetic, stage.longest_sum(trace))
    applied = max(size, LEAST_DISTURBANCE)
    name = f"{stage.name} {step}"
    exact = stage.run(reference, trace, step, undisturbed)
    at_once = _draws_at_once(trace)

    def run_disturbed(generators: Sequence[np.random.Generator]) -> Arrays:
        drawn, repeat = _for_draws(reference, trace, len(generators))
        disturb = disturbance(arithmetic, applied, generators, mean)
        found = stage.run(drawn, trace, step, lambda array: disturb(repeat(array)))
        # A path's first axis is time.
        return {
            key: np.moveaxis(array, 1, 0) if stage.is_path else array
            for key, array in found.items()
        }

    effects = largest_effects(run_disturbed, exact, name, size / applied, at_once)
    # What leaves the stage is rounded too, be it never so deaf to what enters.
    effects = {
        key: effect + own_rounding(arithmetic, size, exact[key], mean)
        for key, effect in effects.items()
    }
    if stage is not CLOSED_LOOP or not (by_fixed_point and has_gain(trace.configuration)):
        return exact, effects

    def short(generators: Sequence[np.random.Generator], along: bool) -> Arrays:
        drawn, repeat = _for_draws(reference, trace, len(generators))
        move = stopped_short(trace.configuration, arithmetic, generators, along=along)
        assert circuit is not None
        given = repeat(circuit.closed_loop_target)
        target = move(repeat(exact["u_out"]), given, left)
        load_learner(drawn, trace, step, repeat)
        ended, _ = drawn.closed_loop(
            trace.inputs[step], circuit.feedback, target, circuit.open_loop
        )
        # The integral is of the error to the target that the candidate was given.
        shift = (target - given) / trace.configuration.controller.leak
        arrays = state_arrays(ended)
        return {**arrays, "c_int": arrays["c_int"] - shift}

    circuit = trace.steps[step].circuit
    assert circuit is not None
    parameters = learner_before(trace, step).parameters
    left = step_left(trace.configuration, parameters, circuit.feedback, state_from(exact))
    residuals = [
        largest_effects(partial(short, along=along), exact, f"{name} residual", 1.0, at_once)
        for along in (True, False)
    ]
    # An integral that is c and the step left, over its gain, is off by as much as the steps that
    # would still follow: one such step, whatever little an error answers.
    steps_to_come = (STEPS_LEFT - 1) / STEPS_LEFT * largest(left.in_control)
    of_control = coarser(arithmetic) * steps_to_come / integral_gain(trace.configuration)
    residuals.append({key: float(of_control) if key == "c_int" else 0.0 for key in effects})
    return exact, {
        key: effect + max(residual[key] for residual in residuals)
        for key, effect in effects.items()
    }


STEPS_LEFT = 2.0
"""Of the step that a search may leave: each that would follow is at most half of the last."""


def step_left(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    Q: FeedbackWeights,
    state: NetworkState,
) -> StepLeft:
    """How far from a closed-loop end state, (batch, n), a search may stop by the step in c.

    Its matrix may be a rough one, so that the step is not the error: what shows is that steps
    halve. The end of c = κ (target − softmax(u_out)) moves by dc where the target moves by
    dc (1/κ + D S), for u_out answers with D, and the softmax to that with S, for MSE the identity.
    """
    kappa = configuration.controller.steady_gain
    D = output_sensitivity(configuration, parameters, Q, state)
    in_target = D @ error_jacobian(configuration.loss, state.u_out) + np.eye(D.shape[-1]) / kappa
    step = admitted_step(kappa, integral_gain(configuration) * state.z, state.u_out)
    return StepLeft(STEPS_LEFT * step, in_target)


def integral_gain(configuration: NetworkConfiguration) -> Setting:
    """What c is over z at an end state, k_p leak + k_i."""
    controller = configuration.controller
    return controller.k_p * controller.leak + controller.k_i


def _for_draws(reference: NumpyBackend, trace: Trace, n_draws: int) -> tuple[NumpyBackend, Disturb]:
    """A reference of which each draw is a replica, and what gives arrays a first axis of draws."""

    def repeat(array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array, (n_draws, *np.shape(array)))

    repeated = map_arrays(repeat, trace.initial_parameters)
    return NumpyBackend(trace.configuration, repeated, np.float64, reference.solver), repeat


def _draws_at_once(trace: Trace) -> int:
    n_in, *hidden, n_out = trace.configuration.sizes
    batch, widest = trace.inputs.shape[1], max(hidden)
    elements = max(n_in * widest, widest**2, batch * widest * n_out)
    if trace.trajectory is not None:
        recording = trace.trajectory.recording
        times = recording.n_steps // recording.every + 1
        elements = max(elements, times * batch * (2 * sum(hidden) + 2 * n_out))
    return max(1, MOST_ELEMENTS // elements)


def loss_effects(
    reference: NumpyBackend, trace: Trace, step: int, arithmetic: Arithmetic, tolerance: float
) -> tuple[Arrays, dict[str, float]]:
    """Losses and count of a step from the trace's end states, and what rounding may do to them.

    A count may be off by the samples whose two foremost outputs, one of them the label's, are
    nearer than rounding, or the tolerance of the solver, tells apart.
    """
    exact, effects = rounding_effects(LOSSES, reference, trace, step, arithmetic, False)
    _, moved = rounding_effects(OUTPUT, reference, trace, step, arithmetic, False)
    u_out = OUTPUT.run(reference, trace, step, undisturbed)["u_out"]
    circuit = trace.steps[step].circuit
    if circuit is not None:
        u_out = circuit.open_loop.u_out
    margin = 2 * max(moved["u_out"], tolerance * largest(u_out))
    is_label = np.arange(u_out.shape[-1]) == np.argmax(trace.targets[step], axis=-1)[:, None]
    of_label = np.max(np.where(is_label, u_out, -np.inf), axis=-1)
    of_others = np.max(np.where(is_label, -np.inf, u_out), axis=-1)
    return exact, {**effects, N_CORRECT: float(np.sum(np.abs(of_label - of_others) <= margin))}


def golden_run(trace: Trace) -> Arrays:
    """Losses of every step and the parameters after the last, as the trace has them."""
    losses = {"open_loop_loss": trace.open_loop_loss}
    if trace.closed_loop_loss is not None:
        losses["closed_loop_loss"] = trace.closed_loop_loss
    return {**losses, **named_arrays(trace.final_parameters)}


def run_location(name: str) -> str:
    """Path in a file of what `golden_run` names."""
    return name if name.endswith("_loss") else f"final_parameters/{name}"


def learning_run(backend: Backend, trace: Trace) -> Arrays:
    """Train on the batches of a trace in order, in one call, from where the backend is."""
    n_steps, batch = trace.inputs.shape[:2]
    data = backend.place(
        trace.inputs.reshape(n_steps * batch, -1), trace.targets.reshape(n_steps * batch, -1)
    )
    metrics = backend.train(data, np.arange(n_steps * batch).reshape(n_steps, batch))
    losses = {"open_loop_loss": metrics.loss}
    if trace.configuration.rule != "backprop":
        losses["closed_loop_loss"] = metrics.closed_loop_loss
    return {**losses, **named_arrays(backend.learner().parameters)}


def run_effects(
    reference: NumpyBackend, trace: Trace, arithmetic: Arithmetic, by_fixed_point: bool
) -> dict[str, float]:
    """Largest change of each loss and parameter that rounding may make in a run, by name.

    Two right runs may differ by twice this. The steps of the trace are not read. A closed loop that
    is found by fixed point may stop at the residual that the model admits.
    """
    return run_and_step_effects(reference, trace, arithmetic, by_fixed_point)[0]


def run_and_step_effects(
    reference: NumpyBackend, trace: Trace, arithmetic: Arithmetic, by_fixed_point: bool
) -> tuple[dict[str, float], dict[str, float]]:
    """Effects in a run, as `run_effects`, and in steps that each start from the trace's learner.

    These have no parameters of 0 that rounding moved in the step before.
    """
    by_fixed_point = by_fixed_point and has_gain(trace.configuration)
    size = rounding_size(arithmetic, CLOSED_LOOP.longest_sum(trace))
    mean, mean_stored = (mean_error(arithmetic, n) for n in (CLOSED_LOOP.longest_sum(trace), 1))
    applied = max(size, LEAST_DISTURBANCE)
    magnified = applied / size
    stored = magnified * rounding_size(arithmetic, 1)

    def unmoved(u_out: np.ndarray, target: np.ndarray, left: StepLeft) -> np.ndarray:
        return target

    lefts: list[StepLeft] | None = [] if by_fixed_point else None
    of_gradients: list[Arrays] = [{} for _ in trace.inputs]
    exact_gradients: list[Arrays] = []
    exact_feedback: list[FeedbackWeights] = []
    is_hidden = False

    def run_disturbed(generators: Sequence[np.random.Generator]) -> Arrays:
        nonlocal is_hidden
        drawn, repeat = _for_draws(reference, trace, len(generators))
        move_target: MoveTarget = unmoved
        if by_fixed_point:
            move_target = stopped_short(trace.configuration, arithmetic, generators, magnified)
        gradients: list[Arrays] = []
        feedback: list[FeedbackWeights] = []
        run = _disturbed_run(
            drawn,
            trace,
            repeat,
            disturbance(arithmetic, applied, generators, mean),
            disturbance(arithmetic, stored, generators, mean_stored),
            move_target,
            gradients,
            lefts,
            feedback,
        )
        is_hidden |= _direction_is_hidden(trace.configuration, exact_feedback, feedback, magnified)
        for largest_change, right, draws in zip(
            of_gradients, exact_gradients, gradients, strict=True
        ):
            for name, g in draws.items():
                change = np.max(np.abs(g - right[name]), axis=0) / magnified
                largest_change[name] = np.maximum(largest_change.get(name, 0.0), change)
        return run

    exact = _disturbed_run(
        *(reference, trace, undisturbed, undisturbed, undisturbed, unmoved),
        *(exact_gradients, lefts, exact_feedback),
    )
    at_once = _draws_at_once(trace)
    effects = largest_effects(run_disturbed, exact, LEARNING_RUN, 1 / magnified, at_once)
    of_run = effects
    if is_hidden:
        # The smallest rounding does as much as the largest: its size has no confidence to give.
        sure = largest_effects(
            run_disturbed, exact, f"{LEARNING_RUN} anew", 1.0, at_once, SURE_DRAWS, SURE
        )
        of_run = {name: max(effect, sure[name]) for name, effect in effects.items()}
    signs = _unknown_signs(trace.configuration, exact_gradients, of_gradients)
    run, steps = (
        {name: effect + signs.get(name, 0.0) for name, effect in found.items()}
        for found in (of_run, effects)
    )
    return run, steps


def _direction_is_hidden(
    configuration: NetworkConfiguration,
    exact: Sequence[FeedbackWeights],
    drawn: Sequence[FeedbackWeights],
    magnified: float,
) -> bool:
    """Whether rounding alone says where some sample's feedback to a layer points.

    Weights above that are 0 give none, but what rounding leaves there, be it never so small, is
    normalised to the same norm. Exact and drawn are those of the steps.
    """
    if not configuration.feedback.normalize:
        return False
    for right, found in zip(exact, drawn, strict=True):
        for Q, Q_drawn in zip(right, found, strict=True):
            norm = np.linalg.norm(Q, axis=(-2, -1))
            moved = np.linalg.norm(Q_drawn - Q, axis=(-2, -1)) / magnified
            if np.any((moved > 0) & (norm <= 2 * moved)):
                return True
    return False


def _unknown_signs(
    configuration: NetworkConfiguration, exact: Sequence[Arrays], changes: Sequence[Arrays]
) -> dict[str, float]:
    """How far Adam may go astray where rounding hides a gradient's sign, by parameter.

    It moves by η in the direction of the sign, be the gradient never so small: draws see that
    only if chance has it. Exact gradients and their largest changes are the steps'.
    """
    optimizer = configuration.optimizer
    if optimizer.name != "adam":
        return {}
    astray: dict[str, float] = {}
    for gradients, moved in zip(exact, changes, strict=True):
        for name, g in gradients.items():
            hidden = (moved[name] > 0) & (np.abs(g) <= 2 * moved[name])
            if np.any(hidden):
                way = 2 * float(np.max(optimizer.learning_rate))
                astray[name] = astray.get(name, 0.0) + way
    return astray


def _disturbed_run(
    backend: Backend,
    trace: Trace,
    enter: Disturb,
    disturb: Disturb,
    disturb_stored: Disturb,
    move_target: MoveTarget,
    gradients: list[Arrays],
    lefts: list[StepLeft] | None,
    feedback: list[FeedbackWeights],
) -> Arrays:
    """Train like `learning_run`, but stage by stage, with a disturbance between all stages.

    `enter` is applied to every array of the trace first, and may give it an axis of draws;
    `disturb` to what passes from one stage to the next, `disturb_stored` to the parameters that
    pass from one step to the next. The gradients of each step are added to a list, the feedback
    weights to another, and by the first run, if there is a list for it, what a search may leave.
    """
    configuration = backend.configuration
    with_circuit = configuration.rule != "backprop"

    def passed_on(stage: Stage, value: Any, before: dict[str, Any]) -> Any:
        value = disturbed(configuration, value, disturb)
        if stage is CLOSED_LOOP_TARGET and lefts is not None and len(gradients) < len(lefts):
            return move_target(before["open_loop"].u_out, value, lefts[len(gradients)])
        return value

    load_learner(backend, trace, 0, enter)
    losses: dict[str, list[np.ndarray]] = {"open_loop_loss": []}
    if with_circuit:
        losses["closed_loop_loss"] = []
    for x, y in zip(trace.inputs, trace.targets, strict=True):
        _disturb_parameters(backend, disturb_stored)
        x, y = disturb(enter(x)), disturb(enter(y))
        stored = backend.learner()
        if not with_circuit:
            # The layers in between are not stages: what they round, the weights stand for.
            _disturb_parameters(backend, disturb)
        done = run_to_gradients(backend, x, y, passed_on)
        if with_circuit:
            outputs = [done["open_loop"].u_out, done["closed_loop"].u_out]
        else:
            outputs = [forward(configuration, backend.learner().parameters, x)[1]]
            backend.load(stored)
        if with_circuit and lefts is not None and len(lefts) == len(gradients):
            parts = (done["feedback"], done["closed_loop"])
            lefts.append(step_left(configuration, backend.learner().parameters, *parts))
        if with_circuit:
            feedback.append(done["feedback"])
        gradients.append(dict(named_arrays(done["gradients"])))
        backend.update(done["gradients"], done["mean_inhibition"])
        for values, u_out in zip(losses.values(), outputs, strict=True):
            loss = sample_loss(configuration.loss, u_out, y)
            # A loss near its minimum does not feel the output move, but its own rounding.
            size = np.max(np.abs(u_out), axis=-1) + loss
            values.append(np.mean(loss + (disturb(size) - size), axis=-1))
    return {
        **{name: np.stack(values, axis=-1) for name, values in losses.items()},
        **named_arrays(backend.learner().parameters),
    }


def _disturb_parameters(backend: Backend, disturb: Disturb) -> None:
    learner = backend.learner()
    parameters = map_arrays(disturb, learner.parameters)
    backend.load(dataclasses.replace(learner, parameters=parameters))
