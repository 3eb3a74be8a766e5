"""Does a backend compute the published model? A trace against it, stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..backends import Backend
from ..refimpl.configuration import Solver
from ..refimpl.end_state import tolerances_to_rest
from .allowance import (
    has_fixed_point,
    reference_for,
    rounding_effects,
    stage_verdict,
    stages_to_judge,
)
from .arithmetic import Arithmetic, float_arithmetic
from .learning_run import golden_run, learning_run
from .run_effects import LEARNING_RUN, run_effects
from .stage_arrays import Arrays
from .stage_inputs import undisturbed
from .stage_result import Comparison, StageResult, judged, natural_scale
from .tolerance import run_tolerance, solver_tolerance
from .trace import Trace
from .usual_mistakes import usual_mistake


def conformance_solver(trace: Trace, method: str, dtype: np.dtype) -> Solver:
    """Choose a solver tight enough to judge a backend by.

    Parameters
    ----------
    trace : Trace
        Tells how long its own solver integrated, and how tightly.
    method : {'fixed-point', 'tsit5', 'euler'}
        Way to the end states; without a leak there is no fixed point, and 'tsit5' is taken.
    dtype : numpy.dtype
        Precision of the backend, below whose rounding no tolerance can go.
    """
    rtol, atol = trace.solver.rtol, trace.solver.atol
    if method == "fixed-point" and not has_fixed_point(trace):
        method = "tsit5"
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
    return conform_each(trace, [backend_class], dtype, method, progress)[0]


def conform_each(
    trace: Trace,
    backend_classes: Sequence[type[Backend]],
    dtype: np.dtype,
    method: str = "fixed-point",
    progress: Callable[[str], None] = lambda stage: None,
) -> list[list[StageResult]]:
    """Judge several backends by one trace: what rounding may do there is measured once.

    Parameters
    ----------
    trace, dtype, method, progress
        As for `conform`.
    backend_classes : sequence of type
        The backends.

    Returns
    -------
    list of list of StageResult
        For each backend what `conform` gives.
    """
    solver = conformance_solver(trace, method, dtype)
    arithmetic = float_arithmetic(dtype)
    backends = [
        kind(trace.configuration, trace.initial_parameters, dtype, solver)
        for kind in backend_classes
    ]
    reference = reference_for(trace, solver)
    by_fixed_point = solver.method == "fixed-point"
    results: list[list[StageResult]] = [[] for _ in backends]
    for item in stages_to_judge(trace, solver):
        progress(item.stage.name)
        comparisons: list[list[Comparison]] = [[] for _ in backends]
        for step in item.steps:
            golden = item.stage.golden(trace, step)
            _, effects = rounding_effects(
                item.stage, reference, trace, step, arithmetic, by_fixed_point
            )
            for backend, compared in zip(backends, comparisons, strict=True):
                found = item.stage.run(backend, trace, step, undisturbed)
                compared.append(Comparison(step, golden, found, effects))
        for compared, judgements in zip(comparisons, results, strict=True):
            result = stage_verdict(item, compared, arithmetic, trace)
            if not result.passed:
                result = dataclasses.replace(
                    result, hint=usual_mistake(item.stage, trace, compared, reference)
                )
            judgements.append(result)
    progress(LEARNING_RUN)
    effects = run_effects(reference, trace, arithmetic, by_fixed_point)
    for backend, judgements in zip(backends, results, strict=True):
        run = learning_run(backend, trace)
        judgements.append(run_verdict(run, effects, trace, arithmetic, solver))
    return results


def run_verdict(
    run: Arrays,
    effects: dict[str, float],
    trace: Trace,
    arithmetic: Arithmetic,
    solver: Solver,
) -> StageResult:
    """Judge losses and final parameters of all steps in one run.

    Parameters
    ----------
    run : dict of array
        As far as given, by the names of `golden_run`.
    effects : dict of float
        Of rounding, from `run_effects`.
    trace : Trace
        Golden numbers.
    arithmetic : Arithmetic
        Of the candidate.
    solver : Solver
        Of the candidate.
    """
    of_trace, of_solver = run_tolerance(trace), solver_tolerance(solver)
    golden = {name: array for name, array in golden_run(trace).items() if name in run}
    return judged(
        LEARNING_RUN,
        [Comparison(None, golden, run, effects)],
        max(of_trace, of_solver),
        "solver" if of_solver > of_trace else "trace",
        natural_scale,
        arithmetic,
    )
