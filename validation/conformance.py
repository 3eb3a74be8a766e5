"""Does a backend compute the published model? A trace against it, stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..backends import Backend, NumpyBackend
from ..refimpl.configuration import Solver
from ..refimpl.end_state import tolerances_to_rest
from .learning_run import golden_run, learning_run
from .run_effects import LEARNING_RUN, run_effects
from .stages import (
    CLOSED_LOOP,
    CLOSED_LOOP_PATH,
    MEAN_INHIBITION,
    OPEN_LOOP,
    OPEN_LOOP_PATH,
    STEP_STAGES,
    Arrays,
    Stage,
    undisturbed,
)
from .tolerance import (
    LEAST_DISTURBANCE,
    TRAJECTORY_TOLERANCE,
    disturbance,
    largest,
    largest_effects,
    rounding_size,
    run_tolerance,
    solver_tolerance,
    stopped_short,
    trace_tolerance,
)
from .trace import Trace


@dataclass(frozen=True)
class StageResult:
    """Largest deviation found in one stage.

    Parameters
    ----------
    stage : str
        Name of the stage.
    absolute, relative : float
        Largest deviation of any element, and the largest over the largest element of its
        array; infinite where a number is missing.
    tolerance : float
        Relative deviation allowed in the array that comes nearest to its limit.
    used : float
        Fraction of its allowance that this array uses; above 1 the stage fails.
    worst : str
        That array, with its step and the position of the element.
    """

    stage: str
    absolute: float
    relative: float
    tolerance: float
    used: float
    worst: str

    @property
    def passed(self) -> bool:
        """Every array of the stage lies within its allowance."""
        return self.used <= 1


def conformance_solver(trace: Trace, method: str, dtype: np.dtype) -> Solver:
    """Choose a solver tight enough to judge a backend by.

    Parameters
    ----------
    trace : Trace
        Tells how long its own solver integrated, and how tightly.
    method : {'fixed-point', 'tsit5', 'euler'}
        Way to the end states.
    dtype : numpy.dtype
        Precision of the backend, below whose rounding no tolerance can go.
    """
    rtol, atol = trace.solver.rtol, trace.solver.atol
    if dtype == np.float32:
        least_rtol, least_atol = tolerances_to_rest(dtype)
        rtol, atol = max(rtol, least_rtol), max(atol, least_atol)
    return dataclasses.replace(
        trace.solver, method=method, step_control="adaptive", rtol=rtol, atol=atol
    )


def conform(
    trace: Trace,
    backend_class: type[Backend],
    dtype: np.dtype,
    method: str = "fixed-point",
    progress: Callable[[str], None] = lambda stage: None,
) -> list[StageResult]:
    """Judge a backend by a trace.

    Each stage starts from the trace's own inputs to it, so that an error in one does not
    show in the next; the last result is a run of all steps from the initial parameters.

    Parameters
    ----------
    trace : Trace
        Golden numbers.
    backend_class : type
        A backend.
    dtype : numpy.dtype
        Precision to run it in.
    method : {'fixed-point', 'tsit5', 'euler'}
        Way to the end states; trajectories are checked whatever it is.
    progress : callable
        Told the name of each stage before it runs.

    Returns
    -------
    list of StageResult
        In order of cause; only the stages that the trace has.
    """
    solver = conformance_solver(trace, method, dtype)
    backend = backend_class(trace.configuration, trace.initial_parameters, dtype, solver)
    reference = NumpyBackend(
        trace.configuration,
        trace.initial_parameters,
        np.float64,
        dataclasses.replace(solver, method="fixed-point" if _has_fixed_point(trace) else "tsit5"),
    )
    results = []
    for stage, steps, tolerance in _stages(trace, solver):
        progress(stage.name)
        comparisons = []
        for step in steps:
            golden = stage.golden(trace, step)
            candidate = stage.run(backend, trace, step, undisturbed)
            allowance = _rounding(stage, reference, trace, step, backend)
            comparisons.append((f"step {step}: ", golden, candidate, allowance))
        unit_of = _state_scale if stage.is_state else _own_scale
        results.append(_result(stage.name, comparisons, tolerance, unit_of))
    progress(LEARNING_RUN)
    results.append(_run_result(backend, reference, trace, solver))
    return results


def _has_fixed_point(trace: Trace) -> bool:
    return bool(np.all(np.asarray(trace.configuration.controller.leak) > 0))


def _stages(trace: Trace, solver: Solver) -> Iterator[tuple[Stage, range, float]]:
    steps, first = range(len(trace.steps)), range(1)
    if trace.trajectory is not None:
        yield OPEN_LOOP_PATH, first, TRAJECTORY_TOLERANCE
        yield CLOSED_LOOP_PATH, first, TRAJECTORY_TOLERANCE
    if not trace.steps:
        return
    tolerance = trace_tolerance(trace)
    for stage in STEP_STAGES:
        if stage is MEAN_INHIBITION and trace.steps[0].mean_inhibition is None:
            continue
        end_state = stage is OPEN_LOOP or stage is CLOSED_LOOP
        yield stage, steps, max(tolerance, solver_tolerance(solver)) if end_state else tolerance


def _rounding(
    stage: Stage, reference: Backend, trace: Trace, step: int, backend: Backend
) -> dict[str, float]:
    """Largest effect of rounding on each array of the stage, absolute."""
    longest = stage.longest_sum(trace.configuration, trace.inputs.shape[1])
    size = rounding_size(backend.dtype, longest)
    applied = max(size, LEAST_DISTURBANCE)
    name = f"{stage.name} {step}"
    exact = stage.run(reference, trace, step, undisturbed)
    effects = largest_effects(
        lambda generator: stage.run(reference, trace, step, disturbance(applied, generator)),
        exact,
        name,
        size / applied,
    )
    if stage is not CLOSED_LOOP or backend.solver.method != "fixed-point":
        return effects

    def short(generator: np.random.Generator) -> Arrays:
        move = stopped_short(trace.configuration, backend.dtype, generator)
        moved = dataclasses.replace(
            trace.steps[step],
            closed_loop_target=move(exact["u_out"], trace.steps[step].closed_loop_target),
        )
        steps = (*trace.steps[:step], moved, *trace.steps[step + 1 :])
        return stage.run(reference, dataclasses.replace(trace, steps=steps), step, undisturbed)

    residual_effects = largest_effects(short, exact, f"{name} residual", 1.0)
    return {key: effects[key] + residual_effects[key] for key in effects}


def _run_result(backend: Backend, reference: Backend, trace: Trace, solver: Solver) -> StageResult:
    by_fixed_point = backend.solver.method == "fixed-point"
    effects = run_effects(reference, trace, backend.dtype, by_fixed_point)
    tolerance = max(run_tolerance(trace), solver_tolerance(solver))
    comparison = ("", golden_run(trace), learning_run(backend, trace), effects)
    return _result(LEARNING_RUN, [comparison], tolerance, lambda name, arrays: 1.0)


def _own_scale(name: str, arrays: Arrays) -> float:
    return largest(arrays[name])


def _state_scale(name: str, arrays: Arrays) -> float:
    return max(largest(array) for array in arrays.values())


def _result(
    stage: str,
    comparisons: list[tuple[str, Arrays, Arrays, dict[str, float]]],
    tolerance: float,
    unit_of: Callable[[str, Arrays], float],
) -> StageResult:
    absolute = relative = 0.0
    used, allowed_there, worst = -1.0, tolerance, ""
    for prefix, golden, candidate, rounding in comparisons:
        for name, expected in golden.items():
            deviation = _deviation(expected, candidate.get(name))
            scale = largest(expected)
            unit = unit_of(name, golden)
            allowed = max(tolerance * unit, rounding[name])
            size = largest(deviation)
            fraction = size / allowed if allowed > 0 else (0.0 if size == 0 else np.inf)
            absolute = max(absolute, size)
            relative = max(relative, size / scale if scale > 0 else (0.0 if size == 0 else np.inf))
            if fraction > used:
                used = fraction
                allowed_there = allowed / unit if unit > 0 else 0.0
                worst = f"{prefix}{name}{_position(deviation)}"
    return StageResult(stage, absolute, relative, allowed_there, used, worst)


def _deviation(expected: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    if found is None or found.shape != expected.shape:
        return np.full(expected.shape, np.inf)
    return np.abs(np.asarray(found, dtype=np.float64) - expected)


def _position(deviation: np.ndarray) -> str:
    if deviation.ndim == 0:
        return ""
    at = np.unravel_index(int(np.argmax(deviation)), deviation.shape)
    return f"[{', '.join(str(int(i)) for i in at)}]"
