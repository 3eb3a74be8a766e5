"""A port's answers against a trace, stage by stage, each from what the port itself was given.

The port has gone through all steps on its own, so that an early error is in all that follows. To
find where it arose, the reference runs each stage from the port's own results so far (or the
trace's, where the port gives none), and a stage agrees if it gives what the trace has, or what the
reference makes of what the port had.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..backends import NumpyBackend
from ..refimpl.configuration import Solver
from .allowance import (
    StageToJudge,
    has_fixed_point,
    reference_for,
    rounding_effects,
    stage_verdict,
    stages_to_judge,
)
from .arithmetic import Arithmetic
from .candidate import Candidate
from .conformance import run_verdict
from .learning_run import golden_run
from .run_effects import LEARNING_RUN, run_effects
from .stage_arrays import Arrays
from .stage_result import Comparison, StageResult
from .stages import MEAN_INHIBITION
from .trace import Trace
from .usual_mistakes import usual_mistake


@dataclass(frozen=True)
class ComparisonResult:
    """What a port's file amounts to.

    Parameters
    ----------
    results : list of StageResult
        In order of cause; only stages of which the port gave something.
    not_given : dict of int
        By stage, how many of its arrays the port did not give.
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
    integrates = rtol is not None or not has_fixed_point(trace)
    solver = dataclasses.replace(
        trace.solver,
        method="tsit5" if integrates else "fixed-point",
        step_control="adaptive",
        rtol=max(trace.solver.rtol, rtol or 0.0),
    )
    exact_solver = dataclasses.replace(trace.solver, step_control="adaptive")
    reference = reference_for(trace, exact_solver)
    results, not_given = [], dict[str, int]()
    as_given = trace
    for item in stages_to_judge(trace, solver):
        stage = item.stage
        progress(stage.name)
        pairs = []
        for step in item.steps:
            golden = stage.golden(trace, step)
            found = candidate.of_stage(stage, trace, step)
            not_given[stage.name] = not_given.get(stage.name, 0) + len(golden) - len(found)
            pairs.append((step, golden, found))
            as_given = _with_found(as_given, item, step, golden, found)
        if any(found for _, _, found in pairs):
            results.append((item, pairs))
    verdicts = []
    for item, pairs in results:
        progress(item.stage.name)
        verdicts.append(_verdict(item, pairs, as_given, reference, arithmetic, solver))
    run = candidate.of_run(trace)
    not_given[LEARNING_RUN] = len(golden_run(trace)) - len(run)
    if run:
        progress(LEARNING_RUN)
        effects = run_effects(reference, trace, arithmetic, solver.method == "fixed-point")
        verdict = run_verdict(run, effects, trace, arithmetic, solver)
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
    pairs: list[tuple[int, Arrays, Arrays]],
    as_given: Trace,
    reference: NumpyBackend,
    arithmetic: Arithmetic,
    solver: Solver,
) -> StageResult:
    from_trace, from_own = [], []
    for step, golden, found in pairs:
        with np.errstate(all="ignore"):
            exact, effects = rounding_effects(
                item.stage,
                reference,
                as_given,
                step,
                arithmetic,
                solver.method == "fixed-point",
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
