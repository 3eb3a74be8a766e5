"""Does a backend, or a port, compute the published model? A trace against it, stage by stage.

A backend runs each stage from the trace's own inputs to it. A port has given its answers already,
each of which followed from those before it: what deviates is judged again from what it was given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import EndStateCounts, Learner, Solver, tolerances_to_rest
from ..mistakes import Explanation, mistake_in_final_parameters, usual_mistake
from ..storage import named_arrays
from ..trace import Candidate, Trace
from .allowance import (
    LEARNING_RUN,
    golden_run,
    has_fixed_point,
    learning_run,
    loss_effects,
    reference_for,
    rounding_effects,
    run_and_step_effects,
    run_effects,
    stages_to_judge,
    tolerance_of_run,
)
from .bias import bias_in_words
from .initialisation import judge_initialisation
from .limits import coarseness_in_words, moments_in_words
from .stages import (
    CLOSED_LOOP,
    CLOSED_LOSS,
    END_STATES,
    GRADIENTS,
    LOSSES,
    MEAN_INHIBITION,
    N_CORRECT,
    OPEN_LOOP,
    OPEN_LOSS,
    UPDATE,
    Arrays,
    Place,
    Stage,
    layer_arrays,
    learner_before,
    left_before,
    left_in_words,
    load_learner,
    recorded_losses,
    undisturbed,
)
from .tolerance import Arithmetic, float_arithmetic, largest, own_rounding, rounding_size
from .verdict import (
    Comparison,
    StageResult,
    StageToJudge,
    judged,
    natural_scale,
    problem_with,
    stage_verdict,
)


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
    arithmetic: Arithmetic | None = None,
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
    arithmetic : Arithmetic, optional
        By which it is judged, where that is not the dtype's.

    Returns
    -------
    list of StageResult
        In order of cause; only the stages that the trace has.
    """
    return conform_each(trace, [backend_class], dtype, method, progress, arithmetic)[0]


def conform_each(
    trace: Trace,
    backend_classes: Sequence[type[Backend]],
    dtype: np.dtype,
    method: str = "fixed-point",
    progress: Callable[[str], None] = lambda stage: None,
    arithmetic: Arithmetic | None = None,
) -> list[list[StageResult]]:
    """Judge several backends by one trace, each as `conform` does.

    What rounding may do there is measured once.
    """
    solver = conformance_solver(trace, method, dtype)
    arithmetic = arithmetic or float_arithmetic(dtype)

    def begun() -> list[Backend]:
        return [
            kind(trace.configuration, trace.initial_parameters, dtype, solver)
            for kind in backend_classes
        ]

    backends, reference = begun(), reference_for(trace, solver)
    by_fixed_point = solver.method == "fixed-point"
    results = [[start_verdict(backend, trace, arithmetic)] for backend in backends]
    effects, of_steps = run_and_step_effects(reference, trace, arithmetic, by_fixed_point)
    for item in stages_to_judge(trace, solver):
        progress(item.stage.name)
        golden = [item.stage.golden(trace, step) for step in item.steps]
        rounding = [
            _rounding(item, reference, trace, step, arithmetic, by_fixed_point, of_steps)[1]
            for step in item.steps
        ]
        for backend, judgements in zip(backends, results, strict=True):
            miscounted: dict[int, str] = {}
            found = [_found(item.stage, backend, trace, step, miscounted) for step in item.steps]
            compared = list(map(Comparison, item.steps, golden, found, rounding))
            result = stage_verdict(item, compared, arithmetic, trace)
            result = _with_hint(result, item.stage, trace, compared, reference)
            judgements.append(_refuted_by_counts(result, miscounted))
    progress(LEARNING_RUN)
    # Of their own start, which nobody has loaded.
    for backend, judgements in zip(begun(), results, strict=True):
        run = learning_run(backend, trace)
        judgements.append(_run_verdict(run, golden_run(trace), effects, trace, arithmetic, solver))
    return results


def _found(
    stage: Stage, backend: Backend, trace: Trace, step: int, miscounted: dict[int, str]
) -> Arrays:
    """What a backend computes from what the trace has; losses are those that it reports itself.

    Counts of end states that are not those of a batch are put into `miscounted`.
    """

    def told(counts: EndStateCounts, of: str = "") -> None:
        wrong = wrong_counts(counts, trace.inputs.shape[1])
        if wrong:
            miscounted.setdefault(step, f"{of}{wrong}")

    if stage is not LOSSES:
        return stage.run(backend, trace, step, undisturbed, told)
    load_learner(backend, trace, step, undisturbed)
    has_circuit = trace.configuration.rule != "backprop"
    alone = backend.open_loop(trace.inputs[step])[1] if has_circuit else None
    metrics = backend.learning_step(trace.inputs[step], trace.targets[step])
    if has_circuit:
        told(metrics.open_loop_counts, "in open loop ")
        told(metrics.closed_loop_counts, "in closed loop ")
        if metrics.open_loop_counts != alone:
            counted = f"in open loop a learning step counts {metrics.open_loop_counts}"
            miscounted.setdefault(step, f"{counted}, the stage alone {alone}")
        wrong = _wrongly_right(metrics.closed_loop_n_correct, trace, step)
        if wrong:
            miscounted.setdefault(step, wrong)
    figures = {
        OPEN_LOSS: metrics.loss,
        CLOSED_LOSS: metrics.closed_loop_loss,
        N_CORRECT: metrics.n_correct,
    }
    return {name: np.asarray(figures[name]) for name in stage.golden(trace, step)}


NEAR = 1e-2
"""Outputs that are nearer than this part of the largest may change places."""


def _wrongly_right(n_correct: np.ndarray | None, trace: Trace, step: int) -> str:
    """Say what is wrong with a count of samples that are right under control, if it was taken.

    A sample whose label's output and the largest other one are near is right or not.
    """
    circuit = trace.steps[step].circuit
    if n_correct is None or circuit is None:
        return ""
    u_out = circuit.closed_loop.u_out
    is_label = np.arange(u_out.shape[-1]) == np.argmax(trace.targets[step], axis=-1)[:, None]
    lead = np.max(np.where(is_label, u_out, -np.inf), axis=-1) - np.max(
        np.where(is_label, -np.inf, u_out), axis=-1
    )
    least, most = (np.sum(lead > side * NEAR * largest(u_out)) for side in (1, -1))
    if least <= n_correct <= most:
        return ""
    return f"{n_correct} samples are counted as right under control: {least} to {most} are"


def wrong_counts(counts: EndStateCounts, n_samples: int) -> str:
    """Say what is wrong with counts of end states; in whatever way, each sample has one."""
    ways = (counts.frozen_newton, counts.fresh_newton, counts.integrated)
    if min(*ways, counts.unsettled) < 0 or sum(ways) != n_samples:
        listed = " + ".join(map(str, ways))
        return f"{listed} end states were counted (frozen, fresh, integrated), of {n_samples}"
    if counts.unsettled > counts.integrated:
        return f"{counts.unsettled} of {counts.integrated} integrations are counted as unsettled"
    if counts.steps is not None and counts.steps < counts.integrated:
        return f"{counts.steps} steps of {counts.integrated} integrations are counted: each has one"
    return ""


def _refuted_by_counts(result: StageResult, miscounted: dict[int, str]) -> StageResult:
    """Fail a stage whose numbers are right, and whose counts of end states are not."""
    if not miscounted or not result.passed:
        return result
    step = min(miscounted)
    return dataclasses.replace(
        result, used=float(np.inf), first_step=step, problem=miscounted[step], element=None
    )


def _rounding(
    item: StageToJudge,
    reference: NumpyBackend,
    trace: Trace,
    step: int,
    arithmetic: Arithmetic,
    by_fixed_point: bool,
    of_run: dict[str, float] | None = None,
) -> tuple[Arrays, dict[str, float]]:
    """What a stage gives exactly, and the effects of rounding.

    Of losses that follow from a whole step, and not from the end states before them, those of a run
    are given too.
    """
    if item.stage is not LOSSES:
        return rounding_effects(item.stage, reference, trace, step, arithmetic, by_fixed_point)
    exact, effects = loss_effects(reference, trace, step, arithmetic, item.tolerance)
    return exact, {name: max(size, (of_run or {}).get(name, 0.0)) for name, size in effects.items()}


def _with_hint(
    result: StageResult,
    stage: Stage,
    trace: Trace,
    compared: Sequence[Comparison],
    reference: NumpyBackend,
    left: Set[Place] = frozenset(),
) -> StageResult:
    """Add the usual mistake to a stage that fails in its numbers.

    It is to explain all steps that deviate: of the first alone, many mistakes give the same.
    """
    if result.passed or result.problem:
        return result
    sound = [
        c
        for c in compared
        # A step of which nothing was given says nothing.
        if c.found and not any(problem_with(n, c.expected[n], c.found.get(n)) for n in c.expected)
    ]
    if stage.finds_end_state and not has_fixed_point(trace.configuration):
        sound = [_of_an_integration(comparison, result.tolerance) for comparison in sound]
    told = usual_mistake(
        stage,
        trace,
        sound,
        reference,
        [left_before(stage, comparison.step or 0, trace, left) for comparison in sound],
    )
    return _told(result, told)


def _of_an_integration(comparison: Comparison, tolerance: float) -> Comparison:
    """Give a comparison with a reference that is known no better than to a tolerance."""
    least = tolerance * max(largest(array) for array in comparison.expected.values())
    rounding = {name: max(size, least) for name, size in comparison.rounding.items()}
    return dataclasses.replace(comparison, rounding=rounding)


def _told(result: StageResult, told: Explanation) -> StageResult:
    return dataclasses.replace(
        result, hint=told.words, is_usual=told.is_usual, unexplained=told.left
    )


START = "start"


def start_verdict(backend: Backend, trace: Trace, arithmetic: Arithmetic) -> StageResult:
    """Judge what a backend begins from: parameters, step count, moments and running means."""
    golden, found = _learner_arrays(learner_before(trace, 0)), _learner_arrays(backend.learner())
    size = rounding_size(arithmetic, 1)
    rounding = {name: own_rounding(arithmetic, size, array) for name, array in golden.items()}
    # Other arrays than there should be are as wrong as other numbers.
    found = {name: array for name, array in found.items() if name in golden}
    comparison = Comparison(0, golden, found, rounding)
    return judged(START, [comparison], 0.0, "rounding", natural_scale, arithmetic)


def _learner_arrays(learner: Learner) -> Arrays:
    arrays = dict(named_arrays(learner.parameters))
    arrays |= layer_arrays("r_I", learner.mean_inhibition)
    arrays["n_steps"] = np.asarray(learner.optimizer.n_steps)
    moments = {
        "first_moment": learner.optimizer.first_moment,
        "second_moment": learner.optimizer.second_moment,
    }
    for name, moment in moments.items():
        if moment is not None:
            arrays |= {f"{name}/{key}": array for key, array in named_arrays(moment).items()}
    return arrays


def _run_verdict(
    run: Arrays,
    golden: Arrays,
    effects: dict[str, float],
    trace: Trace,
    arithmetic: Arithmetic,
    solver: Solver,
) -> StageResult:
    """Judge losses and final parameters of all steps in one run, as far as given."""
    tolerance, origin = tolerance_of_run(trace, solver)
    given = {name: array for name, array in golden.items() if name in run}
    return judged(
        LEARNING_RUN,
        [Comparison(None, given, run, effects)],
        tolerance,
        origin,
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
    by_fixed_point = solver.method == "fixed-point"
    given, not_given = [], dict[str, int]()
    left, unseen = set[Place](), set[Place]()
    as_given = trace
    for item in stages_to_judge(trace, solver):
        progress(item.stage.name)
        pairs = []
        for step in item.steps:
            golden = item.stage.golden(trace, step)
            found = candidate.of_stage(item.stage, trace, step)
            if item.stage is LOSSES:
                golden = _whole_if_misshaped(trace, golden, found)
            else:
                n_missing = len(golden) - len(found)
                not_given[item.stage.name] = not_given.get(item.stage.name, 0) + n_missing
                if n_missing:
                    left.add((item.stage, step))
                if not found:
                    unseen.add((item.stage, step))
                as_given = _with_found(as_given, item, step, golden, found)
            pairs.append((golden, found))
        if any(found for _, found in pairs):
            given.append((item, pairs))
    as_given = _with_own_gradients(as_given, reference, left, unseen)
    run, golden = candidate.of_run(trace), golden_run(trace)
    not_given[LEARNING_RUN] = len(golden) - len(run)
    if trace.steps:
        # Losses have a stage of their own, which knows of which end states they are.
        run = {name: array for name, array in run.items() if name not in (OPEN_LOSS, CLOSED_LOSS)}
    effects: dict[str, float] = {}
    if run or any(item.stage is LOSSES for item, _ in given):
        effects = run_effects(reference, trace, arithmetic, by_fixed_point)
    verdicts = []
    for item, pairs in given:
        progress(item.stage.name)
        verdict = _verdict(
            item, pairs, as_given, reference, arithmetic, by_fixed_point, effects, left
        )
        if item.stage is LOSSES and not verdict.passed:
            verdict = _of_unseen_states(verdict, candidate, trace)
        verdicts.append(verdict)
    verdicts = [_with_hint_of_end_state(verdict, verdicts) for verdict in verdicts]
    if run:
        progress(LEARNING_RUN)
        golden = {name: arithmetic.saturated(array) for name, array in golden.items()}
        verdict = _run_verdict(run, golden, effects, trace, arithmetic, solver)
        follows = not verdict.passed and not all(result.passed for result in verdicts)
        # Where a step is wrong, what is left after all is no mistake of its own.
        is_told = not verdict.passed and not verdict.problem and not follows
        if is_told:
            verdict = _told(verdict, mistake_in_final_parameters(as_given, run))
            verdict = dataclasses.replace(
                verdict, unseen=left_in_words(_left_before_the_end(as_given, left))
            )
        verdicts.append(dataclasses.replace(verdict, follows=follows))
    drawn = judge_initialisation(trace.configuration.sizes, candidate.arrays)
    if drawn is not None:
        verdicts.insert(0, drawn)
    return ComparisonResult(verdicts, {name: n for name, n in not_given.items() if n})


def _left_before_the_end(trace: Trace, left: Set[Place]) -> list[Place]:
    """What was left out of that which the final parameters follow from."""
    last = len(trace.steps) - 1
    if last < 0 or (UPDATE, last) not in left:
        return []
    return [*left_before(UPDATE, last, trace, left), (UPDATE, last)]


def _with_hint_of_end_state(verdict: StageResult, verdicts: Sequence[StageResult]) -> StageResult:
    """Say of a path of which no mistake is known what is known of the end state of its loop.

    Of any path that deviates, that its end state is no number.
    """
    ends = {path.name: end.name for path, end in END_STATES.items()}
    if verdict.passed or verdict.problem or verdict.stage not in ends:
        return verdict
    for other in verdicts:
        if other.stage == ends[verdict.stage] and other.problem and other.element:
            what = f"{other.element.array}: {other.problem}"
            where = f"the {other.stage} of step {other.first_step} fails too"
            verdict = dataclasses.replace(verdict, end_state=f"{where}: {what}")
        if other.stage == ends[verdict.stage] and other.hint and not (other.unseen or verdict.hint):
            return dataclasses.replace(
                verdict,
                hint=other.hint,
                is_usual=other.is_usual,
                hint_from=f"{other.stage} of step {other.first_step}",
                unexplained=other.unexplained,
            )
    return verdict


def _of_unseen_states(verdict: StageResult, candidate: Candidate, trace: Trace) -> StageResult:
    """Say of losses that are wrong whether the end states that they are of were given.

    If not, they come of all that was not given before, and are no first deviation.
    """
    step = verdict.first_step
    stages = (OPEN_LOOP,) if trace.closed_loop_loss is None else (OPEN_LOOP, CLOSED_LOOP)
    if step is None or trace.steps[step].circuit is None:
        return verdict
    if all("u_out" in candidate.of_stage(stage, trace, step) for stage in stages):
        return verdict
    return dataclasses.replace(
        verdict,
        first_step=None,
        hint="",
        unseen=f"the end states of step {step} were not given: the error may be in any stage that "
        "was not",
    )


def _whole_if_misshaped(trace: Trace, golden: Arrays, found: Arrays) -> Arrays:
    """Losses of all steps, where a port has them in a shape that cannot be taken step by step."""
    steps = [recorded_losses(trace, step) for step in range(len(trace.steps))]
    return {
        name: array if np.ndim(found.get(name, 0)) == 0 else np.stack([one[name] for one in steps])
        for name, array in golden.items()
    }


LARGEST_USED = 1e150
"""Of larger numbers there are no squares; no stage can go on from them."""


def _with_found(
    trace: Trace, item: StageToJudge, step: int, golden: Arrays, found: Arrays
) -> Trace:
    """Put the port's arrays in the place of the trace's, as far as they can stand there."""
    usable = {
        name: np.asarray(array, dtype=np.float64)
        for name, array in found.items()
        if array.shape == golden[name].shape
        and largest(array) <= LARGEST_USED
        # Of a rate that is none, the stages after it could make nothing.
        and (item.stage is not MEAN_INHIBITION or np.all(array > 0))
    }
    return item.stage.put(trace, step, {**golden, **usable}) if usable else trace


def _with_own_gradients(
    trace: Trace, reference: NumpyBackend, left: Set[Place], unseen: Set[Place]
) -> Trace:
    """Put gradients where none were given that follow from what the port has of the same step.

    The trace's own belong to parameters that the port has left since its first mistake.
    """
    for step in range(len(trace.steps)):
        if (GRADIENTS, step) not in unseen or left_before(GRADIENTS, step, trace, left):
            continue
        with np.errstate(all="ignore"):
            found = GRADIENTS.run(reference, trace, step, undisturbed)
        if all(largest(array) <= LARGEST_USED for array in found.values()):
            trace = GRADIENTS.put(trace, step, found)
    return trace


def _verdict(
    item: StageToJudge,
    pairs: list[tuple[Arrays, Arrays]],
    as_given: Trace,
    reference: NumpyBackend,
    arithmetic: Arithmetic,
    by_fixed_point: bool,
    of_run: dict[str, float],
    left: Set[Place],
) -> StageResult:
    """Judge what a port found by the trace, or else by what follows from what it was given."""
    from_trace, from_own = [], []
    for step, (golden, found) in zip(item.steps, pairs, strict=True):
        with np.errstate(all="ignore"):
            exact, effects = _rounding(item, reference, as_given, step, arithmetic, by_fixed_point)
        of_trace = {name: max(size, of_run.get(name, 0.0)) for name, size in effects.items()}
        if item.stage is not LOSSES:
            of_trace = effects
        # What does not fit saturates, if the port said so.
        exact = {name: arithmetic.saturated(array) for name, array in exact.items()}
        golden = {name: arithmetic.saturated(array) for name, array in golden.items()}
        shaped = {
            name: exact[name] if exact[name].shape == golden[name].shape else golden[name]
            for name in found
        }
        from_trace.append(Comparison(step, {n: golden[n] for n in found}, found, of_trace))
        from_own.append(Comparison(step, shaped, found, effects))
    # By what the port itself had, so that what was rounded before does not lean again; along a path
    # each entry has the error of the last.
    bias = "" if item.stage.is_path else bias_in_words(from_own, arithmetic)
    is_refuted = bool(bias and arithmetic.rounding)
    against_trace = stage_verdict(item, from_trace, arithmetic, as_given)
    if against_trace.passed:
        return dataclasses.replace(against_trace, bias=bias, is_refuted=is_refuted)
    against_own = stage_verdict(item, from_own, arithmetic, as_given)
    if against_own.passed:
        return dataclasses.replace(against_own, follows=True, bias=bias, is_refuted=is_refuted)
    told = dataclasses.replace(against_own, is_refuted=False)
    failing = next((c for c in from_own if c.step == told.first_step), from_own[0])
    if coarse := coarseness_in_words(item.stage, as_given, failing, arithmetic):
        return dataclasses.replace(told, coarseness=coarse)
    before = left_before(item.stage, told.first_step or 0, as_given, left)
    # What is of a wrong shape, or no number, is wrong itself.
    told = dataclasses.replace(told, unseen="" if told.problem else left_in_words(before))
    told = _with_hint(told, item.stage, as_given, from_own, reference, left)
    if not told.hint and not told.problem:
        coarse = moments_in_words(item.stage, as_given, failing, arithmetic)
    return dataclasses.replace(told, coarseness=coarse)
