"""What a stage is allowed: the trace's tolerance, or the effect of rounding if that is larger."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import numpy as np

from ..backends import Backend, NumpyBackend
from ..refimpl.configuration import Solver
from .arithmetic import Arithmetic
from .stage_arrays import Arrays
from .stage_inputs import undisturbed
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


def rounding_effects(
    stage: Stage,
    reference: Backend,
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
    reference : Backend
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
    effects = largest_effects(
        lambda generator: stage.run(
            reference, trace, step, disturbance(arithmetic, applied, generator)
        ),
        exact,
        name,
        size / applied,
    )
    # What leaves the stage is rounded too, be it never so deaf to what enters.
    effects = {
        key: effect + own_rounding(arithmetic, size, exact[key]) for key, effect in effects.items()
    }
    if stage is not CLOSED_LOOP or not by_fixed_point:
        return exact, effects

    def short(generator: np.random.Generator, along: bool) -> Arrays:
        move = stopped_short(trace.configuration, arithmetic, generator, along=along)
        circuit = trace.steps[step].circuit
        assert circuit is not None
        target = move(exact["u_out"], circuit.closed_loop_target)
        moved = dataclasses.replace(circuit, closed_loop_target=target)
        changed = dataclasses.replace(trace.steps[step], circuit=moved)
        steps = (*trace.steps[:step], changed, *trace.steps[step + 1 :])
        ended = stage.run(reference, dataclasses.replace(trace, steps=steps), step, undisturbed)
        # The integral is of the error to the target that the candidate was given.
        leak = trace.configuration.controller.leak
        shift = (target - circuit.closed_loop_target) / leak
        return {**ended, "c_int": ended["c_int"] - shift}

    residuals = [
        largest_effects(partial(short, along=along), exact, f"{name} residual", 1.0)
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
