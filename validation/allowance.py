"""What a stage is allowed: the trace's tolerance, or the effect of rounding if that is larger."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ..backends import NumpyBackend
from ..refimpl.configuration import Solver
from .arithmetic import Arithmetic
from .stage_arrays import Arrays, state_arrays
from .stage_inputs import Disturb, disturbed_parameters, load_learner, undisturbed
from .stage_result import Comparison, StageResult, UnitOf, judged, own_scale, state_scale
from .stages import CLOSED_LOOP, OPEN_LOOP, PATH_STAGES, STEP_STAGES, Stage
from .tolerance import (
    LEAST_DISTURBANCE,
    TRAJECTORY_TOLERANCE,
    disturbance,
    largest_effects,
    own_rounding,
    rounding_size,
    solver_tolerance,
    stopped_short,
    trace_tolerance,
)
from .trace import Trace

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
