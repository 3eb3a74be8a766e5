"""Does a backend, or a port, compute the published model? A trace against it, stage by stage.

A backend runs each stage from the trace's own inputs to it. A port has given its answers already,
each of which followed from those before it: what deviates is judged again from what it was given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import Solver, tolerances_to_rest
from ..mistakes import usual_mistake
from ..trace import Candidate, Trace
from .allowance import (
    LEARNING_RUN,
    golden_run,
    has_fixed_point,
    learning_run,
    reference_for,
    rounding_effects,
    run_effects,
    stages_to_judge,
)
from .stages import MEAN_INHIBITION, Arrays, undisturbed
from .tolerance import Arithmetic, float_arithmetic, run_tolerance, solver_tolerance
from .verdict import Comparison, StageResult, StageToJudge, judged, natural_scale, stage_verdict


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
    if method == "fixed-point" and not has_fixed_point(trace.configuration):
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
    """Judge several backends by one trace, each as `conform` does.

    What rounding may do there is measured once.
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
        golden = [item.stage.golden(trace, step) for step in item.steps]
        rounding = [
            rounding_effects(item.stage, reference, trace, step, arithmetic, by_fixed_point)[1]
            for step in item.steps
        ]
        for backend, judgements in zip(backends, results, strict=True):
            found = [item.stage.run(backend, trace, step, undisturbed) for step in item.steps]
            compared = list(map(Comparison, item.steps, golden, found, rounding))
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
        judgements.append(_run_verdict(run, effects, trace, arithmetic, solver))
    return results


def _run_verdict(
    run: Arrays, effects: dict[str, float], trace: Trace, arithmetic: Arithmetic, solver: Solver
) -> StageResult:
    """Judge losses and final parameters of all steps in one run, as far as given."""
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


@dataclass(frozen=True)
class ComparisonResult:
    """What a port's file amounts to.

    Results are in order of cause, of stages of which the port gave something; not given is, by
    stage, how many of its arrays the port left out.
    """

    results: list[StageResult]
    not_given: dict[str, int]


def compare(
    trace: Trace,
    candidate: Candidate,
    arithmetic: Arithmetic,
    rtol: float | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> ComparisonResult:
    """Judge a port's answers.

    Parameters
    ----------
    trace : Trace
        Golden numbers.
    candidate : Candidate
        The answers, all or some.
    arithmetic : Arithmetic
        In which the port computed.
    rtol : float, optional
        Relative tolerance of the port's integration; without it, its end states are taken to
        be fixed points.
    progress : callable
        Told the name of each stage before it is judged.
    """
    integrates = rtol is not None or not has_fixed_point(trace.configuration)
    solver = dataclasses.replace(
        trace.solver,
        method="tsit5" if integrates else "fixed-point",
        step_control="adaptive",
        rtol=max(trace.solver.rtol, rtol or 0.0),
    )
    exact_solver = dataclasses.replace(trace.solver, step_control="adaptive")
    reference = reference_for(trace, exact_solver)
    given, not_given = [], dict[str, int]()
    as_given = trace
    for item in stages_to_judge(trace, solver):
        stage = item.stage
        progress(stage.name)
        pairs = []
        for step in item.steps:
            golden = stage.golden(trace, step)
            found = candidate.of_stage(stage, trace, step)
            not_given[stage.name] = not_given.get(stage.name, 0) + len(golden) - len(found)
            pairs.append((golden, found))
            as_given = _with_found(as_given, item, step, golden, found)
        if any(found for _, found in pairs):
            given.append((item, pairs))
    verdicts = []
    for item, pairs in given:
        progress(item.stage.name)
        verdicts.append(_verdict(item, pairs, as_given, reference, arithmetic, solver))
    run = candidate.of_run(trace)
    not_given[LEARNING_RUN] = len(golden_run(trace)) - len(run)
    if run:
        progress(LEARNING_RUN)
        effects = run_effects(reference, trace, arithmetic, solver.method == "fixed-point")
        verdict = _run_verdict(run, effects, trace, arithmetic, solver)
        wrong_before = not all(result.passed for result in verdicts)
        verdicts.append(dataclasses.replace(verdict, follows=wrong_before and not verdict.passed))
    return ComparisonResult(verdicts, {name: n for name, n in not_given.items() if n})


def _with_found(
    trace: Trace, item: StageToJudge, step: int, golden: Arrays, found: Arrays
) -> Trace:
    """Put the port's arrays in the place of the trace's, as far as they can stand there."""
    usable = {
        name: np.asarray(array, dtype=np.float64)
        for name, array in found.items()
        if array.shape == golden[name].shape
        and np.all(np.isfinite(array))
        # Of a rate that is none, the stages after it could make nothing.
        and (item.stage is not MEAN_INHIBITION or np.all(array > 0))
    }
    return item.stage.put(trace, step, {**golden, **usable}) if usable else trace


def _verdict(
    item: StageToJudge,
    pairs: list[tuple[Arrays, Arrays]],
    as_given: Trace,
    reference: NumpyBackend,
    arithmetic: Arithmetic,
    solver: Solver,
) -> StageResult:
    """Judge what a port found by the trace, or else by what follows from what it was given."""
    from_trace, from_own = [], []
    by_fixed_point = solver.method == "fixed-point"
    for step, (golden, found) in zip(item.steps, pairs, strict=True):
        with np.errstate(all="ignore"):
            exact, effects = rounding_effects(
                item.stage, reference, as_given, step, arithmetic, by_fixed_point
            )
        from_trace.append(Comparison(step, {n: golden[n] for n in found}, found, effects))
        from_own.append(Comparison(step, {n: exact[n] for n in found}, found, effects))
    against_trace = stage_verdict(item, from_trace, arithmetic, as_given)
    if against_trace.passed:
        return against_trace
    against_own = stage_verdict(item, from_own, arithmetic, as_given)
    if against_own.passed:
        return dataclasses.replace(against_own, follows=True)
    hint = usual_mistake(item.stage, as_given, from_own, reference)
    return dataclasses.replace(against_own, hint=hint)
