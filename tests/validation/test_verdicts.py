"""Verdicts that once misled: each of these was seen when a stranger's port was judged."""

import dataclasses
import re
import warnings

import h5py
import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.experiments.conformance.report import TraceReport, explanation
from disinhib.refimpl import EndStateCounts
from disinhib.validation import (
    compare,
    conform,
    conform_each,
    first_deviation,
    float_arithmetic,
    named_arithmetic,
    read_candidate,
    read_trace,
    record_standard_case,
    record_trace,
    shipped_directory,
    standard_cases,
    stored_precision_in_words,
    write_trace,
)

from .fault import StagedBackend

DOUBLE = float_arithmetic(np.float64)
GOLDEN = shipped_directory() / "linear-threshold-running-mean.h5"


@pytest.fixture(scope="module")
def trace():
    return read_trace(GOLDEN)


@pytest.fixture(scope="module")
def right_answers(tmp_path_factory, trace):
    path = tmp_path_factory.mktemp("answers") / "right.h5"
    recorded = record_trace(
        trace.configuration, trace.initial_parameters, trace.inputs, trace.targets
    )
    write_trace(path, recorded, "the reference")
    return path


@pytest.fixture
def answers(tmp_path, right_answers):
    """A right port's file, to be spoilt."""
    path = tmp_path / "answers.h5"
    path.write_bytes(right_answers.read_bytes())
    return path


def spoil(path, array, change):
    """Put other numbers in an array's place, of any shape."""
    with h5py.File(path, "a") as file:
        values = file[array][()]
        del file[array]
        file[array] = change(values)


def judged(trace, path, arithmetic=DOUBLE):
    return compare(trace, read_candidate(path, trace), arithmetic)


def first(trace, path):
    return first_deviation(judged(trace, path).results)


# Shapes, and numbers that are none.


@pytest.mark.parametrize(
    ("array", "change", "stage", "words"),
    [
        (
            "steps/0001/closed_loop_targets",
            lambda a: a[:-1],
            "closed-loop target",
            r"shape is \(\d+, 4\), should be \(\d+, 4\)$",
        ),
        (
            "steps/0000/feedback/Q_0",
            lambda a: np.swapaxes(a, 1, 2),
            "feedback weights",
            r"shape is .*: transposed, the numbers are right$",
        ),
        (
            "steps/0000/feedback/Q_0",
            lambda a: np.swapaxes(a, 1, 2) ** 2,
            "feedback weights",
            r"shape is .*: transposed\?$",
        ),
        (
            "open_loop_loss",
            lambda a: a[:, None],
            "losses",
            r"shape is \(4, 1\), should be \(4,\)",
        ),
        (
            "steps/0002/closed_loop/u_E_0",
            lambda a: np.where(np.arange(len(a))[:, None] == 2, np.nan, a),
            "closed loop",
            r"NaN in sample 2$",
        ),
        (
            "steps/0002/gradients/hidden_0/bias",
            lambda a: np.where(np.arange(a.size) < 3, np.inf, a),
            "gradients",
            r"infinity in 3 of \d+ numbers$",
        ),
    ],
)
def test_a_shape_and_numbers_that_are_none_are_named(trace, answers, array, change, stage, words):
    spoil(answers, array, change)
    results = judged(trace, answers).results
    found = first_deviation(results)
    assert found.stage == stage
    assert re.search(words, found.problem), found.problem
    # Of what cannot be compared no mistake can be known.
    assert found.hint == ""
    lines = explanation(TraceReport("trace", "port", results))
    assert any(found.problem in line for line in lines)
    assert not any("should be nan" in line or "nan," in line for line in lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.swapaxes(0, 1), "transposed, the numbers are right"),
        (lambda path: path[:, 1:], "should be"),
    ],
    ids=["time first", "without time 0"],
)
def test_a_trajectory_in_another_shape_is_said_to_be_so(change, words, tmp_path):
    trace = read_trace(shipped_directory() / "exact-inverse.h5")
    path = tmp_path / "answers.h5"
    with h5py.File(path, "w") as file, h5py.File(trace.path) as golden:
        name = "trajectory/open_loop/u_E_0"
        file[name] = change(golden[name][()])
        right = golden[name].shape
    found = first(trace, path)
    assert found.stage == "open-loop trajectory"
    assert f"should be {right}" in found.problem
    assert words in found.problem
    assert found.hint == ""


# The first deviation is the first in time.


class TooFast(StagedBackend):
    """A learning rate a million times too large: from the second step on there is only noise."""

    def update(self, gradients, mean_inhibition):
        right = self.configuration
        rate = right.optimizer.learning_rate * 1e6
        optimizer = dataclasses.replace(right.optimizer, learning_rate=rate)
        self.configuration = dataclasses.replace(right, optimizer=optimizer)
        NumpyBackend.update(self, gradients, mean_inhibition)
        self.configuration = right


def test_the_first_deviation_is_the_first_in_time_then_in_cause(trace, tmp_path):
    """What a later step makes of it is earlier in the order of stages."""
    path = tmp_path / "answers.h5"
    solver = dataclasses.replace(trace.solver, method="fixed-point")
    backend = TooFast(trace.configuration, trace.initial_parameters, np.float64, solver)
    for x, y in zip(trace.inputs[:1], trace.targets[:1], strict=True):
        backend.learning_step(x, y)
    after = backend.learner().parameters
    with h5py.File(path, "w") as file, h5py.File(GOLDEN) as golden:
        for step in ("0000", "0001"):
            golden.copy(f"steps/{step}", file.require_group("steps"))
        for l, W in enumerate(after.weights):
            file[f"steps/0000/parameters_after/hidden_{l}/weight"][...] = W
        # What came of that is no number in the stage that comes first in every step.
        for array in file["steps/0001/open_loop"].values():
            array[...] = np.nan
    result = judged(trace, path)
    assert not next(r for r in result.results if r.stage == "open loop").passed
    found = first_deviation(result.results)
    assert (found.stage, found.first_step) == ("optimiser update", 0)


# Losses have a stage, and counts are judged.


def test_a_loss_that_alone_is_wrong_is_blamed_itself(trace, answers):
    spoil(answers, "closed_loop_loss", lambda loss: loss * np.array([1, 1, 2, 1]))
    found = first(trace, answers)
    assert (found.stage, found.first_step) == ("losses", 2)


def test_a_wrong_count_is_found(trace, answers):
    spoil(answers, "n_correct", lambda count: count + np.array([0, 0, 0, 1]))
    found = first(trace, answers)
    assert (found.stage, found.first_step) == ("losses", 3)
    assert found.element.array == "n_correct"


def test_losses_without_states_are_judged_by_the_trace(trace, tmp_path):
    path = tmp_path / "answers.h5"
    with h5py.File(path, "w") as file:
        file["open_loop_loss"] = trace.open_loop_loss
    (result,) = judged(trace, path).results
    assert (result.stage, result.passed) == ("losses", True)
    spoil(path, "open_loop_loss", lambda loss: loss * (1 + 1e-6))
    assert first(trace, path).stage == "losses"


def begun_wrongly(change):
    class Backend(StagedBackend):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self._learner = change(self._learner)

    return Backend


def counted(learner):
    return dataclasses.replace(learner, optimizer=dataclasses.replace(learner.optimizer, n_steps=1))


def with_another_mean(learner):
    return dataclasses.replace(
        learner, mean_inhibition=tuple(2 * r for r in learner.mean_inhibition)
    )


@pytest.mark.parametrize(("change", "array"), [(counted, "n_steps"), (with_another_mean, "r_I_0")])
def test_a_backend_that_begins_elsewhere_is_caught(trace, change, array):
    found = first_deviation(conform(trace, begun_wrongly(change), np.dtype(np.float32)))
    assert (found.stage, found.element.array) == ("start", array)


def test_a_backend_that_counts_wrongly_is_caught(trace):
    class Backend(StagedBackend):
        def learning_step(self, x, y):
            metrics = super().learning_step(x, y)
            return dataclasses.replace(metrics, n_correct=np.asarray(metrics.n_correct + 1))

    found = first_deviation(conform(trace, Backend, np.dtype(np.float64)))
    assert (found.stage, found.element.array) == ("losses", "n_correct")


MISCOUNTED = [
    ({"frozen_newton": 4}, r"4 \+ 0 \+ 0 end states were counted .*, of 5"),
    ({"fresh_newton": 5}, r"5 \+ 5 \+ 0 end states were counted .*, of 5"),
    ({"unsettled": 2}, "2 of 0 integrations are counted as unsettled"),
    ({"steps": -1}, "-1 steps of 0 integrations are counted: each has one"),
]


def miscounting(method, change):
    """A backend that counts wrongly in a loop, or in a whole step's closed loop."""

    def wrong(self, *given):
        found = getattr(NumpyBackend, method)(self, *given)
        if method == "learning_step":
            counts = dataclasses.replace(found.closed_loop_counts, **change)
            return dataclasses.replace(found, closed_loop_counts=counts)
        state, counts = found
        return state, dataclasses.replace(counts, **change)

    return type("Miscounting", (NumpyBackend,), {method: wrong})


def test_every_sample_is_counted_once(trace):
    """Each of the five of a batch has one end state, found in one way."""
    stages = {"open_loop": "open loop", "closed_loop": "closed loop", "learning_step": "losses"}
    cases = [(m, change, said) for m in stages for change, said in MISCOUNTED]
    kinds = [miscounting(method, change) for method, change, _ in cases]
    judged = conform_each(trace, kinds, np.dtype(np.float64))
    for (method, _, said), results in zip(cases, judged, strict=True):
        found = first_deviation(results)
        assert (found.stage, found.first_step) == (stages[method], 0)
        assert re.search(said, found.problem)
        report = TraceReport("trace", "candidate", [found])
        assert any(found.problem in line for line in explanation(report))


def test_a_step_counts_the_open_loop_as_the_stage_does(trace):
    """It is the same search, from the same parameters."""

    class Backend(StagedBackend):
        def learning_step(self, x, y):
            metrics = super().learning_step(x, y)
            counts = EndStateCounts(frozen_newton=4, fresh_newton=1)
            return dataclasses.replace(metrics, open_loop_counts=counts)

    found = first_deviation(conform(trace, Backend, np.dtype(np.float64)))
    assert (found.stage, found.first_step) == ("losses", 0)
    assert found.problem.startswith("in open loop a learning step counts EndStateCounts(frozen")


@pytest.mark.slow
def test_a_fault_without_a_leak_is_blamed_and_no_hint_divides_by_it():
    (case,) = (case for case in standard_cases() if case.name == "without-leak")
    trace = record_standard_case(case)
    one_step = record_trace(
        trace.configuration, trace.initial_parameters, trace.inputs[:1], trace.targets[:1]
    )

    class Backend(NumpyBackend):
        def closed_loop(self, *given):
            state, counts = NumpyBackend.closed_loop(self, *given)
            return dataclasses.replace(state, z=1.001 * state.z), counts

    failed = [r for r in conform(one_step, Backend, np.dtype(np.float64)) if not r.passed]
    assert [(result.stage, result.hint) for result in failed] == [("closed loop", "")]


# Names and precisions.


def test_a_group_under_another_name_is_said_to_be_so(trace, answers):
    with h5py.File(answers, "a") as file:
        file.move("steps/0000/open_loop", "steps/0000/openloop")
        file["notes/clock"] = np.zeros(3)
    candidate = read_candidate(answers, trace)
    others = dict(candidate.other_paths)
    assert others["steps/0000/openloop/u_E_0"] == "steps/0000/open_loop/u_E_0"
    assert others["notes/clock"] == ""
    misnamed = dict(candidate.misnamed())
    assert "notes/clock" not in misnamed
    assert len(misnamed) == len(trace.steps[0].circuit.open_loop.u_E) * 2 + 2
    report = TraceReport(
        "trace",
        "port",
        compare(trace, candidate, DOUBLE).results,
        other_paths=candidate.other_paths,
        misnamed=candidate.misnamed(),
    )
    assert not report.passed
    assert any("openloop/" in line for line in explanation(report))


def test_a_copy_of_the_questions_has_no_names_that_are_not_known(trace, answers):
    assert read_candidate(answers, trace).other_paths == ()
    assert read_candidate(GOLDEN, trace).other_paths == ()


@pytest.mark.parametrize(
    ("stored", "said", "words"),
    [
        ("float64", "float64", ""),
        ("float32", "float64", "The numbers are of float32, and are judged as float64"),
        ("float64", "float32", "more digits than float32"),
        ("float32", "float32", ""),
        ("float32", "fixed16", "more digits than fixed16"),
    ],
)
def test_numbers_of_another_precision_than_said_are_recognised(trace, answers, stored, said, words):
    with h5py.File(answers, "a") as file:
        arrays = []
        file.visititems(
            lambda name, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None
        )
        for array in arrays:
            if array.dtype == np.float64:
                array[...] = array[()].astype(stored)
    line = stored_precision_in_words(read_candidate(answers, trace), named_arithmetic(said))
    assert words in line
    assert bool(line) == bool(words)


def test_numbers_of_fixed_point_are_of_it(trace, answers):
    with h5py.File(answers, "a") as file:
        array = file["steps/0000/open_loop/u_E_0"]
        array[...] = np.round(array[()] * 2**16) / 2**16
        values = array[()]
    with h5py.File(answers, "w") as file:
        file["steps/0000/open_loop/u_E_0"] = values
    line = stored_precision_in_words(read_candidate(answers, trace), named_arithmetic("fixed16"))
    assert line == ""


# Answers in part.


def only(trace, path, arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return judged(trace, path).results


def test_a_later_step_alone_is_judged_and_named(trace, tmp_path):
    """Samples in another order, of a step before which nothing was given."""
    targets = trace.steps[1].circuit.closed_loop_target[::-1]
    (result,) = only(trace, tmp_path / "a.h5", {"steps/0001/closed_loop_targets": targets})
    assert result.first_step == 1
    assert "in another order" in result.hint


def test_numbers_beyond_all_reason_end_nothing(trace, tmp_path):
    huge = np.full_like(trace.steps[0].gradients.readout, 1e300)
    results = only(
        trace,
        tmp_path / "a.h5",
        {
            "steps/0000/gradients/readout/weight": huge,
            "steps/0001/open_loop/u_out": trace.steps[1].circuit.open_loop.u_out,
        },
    )
    assert [r.passed for r in results] == [True, False]
    assert first_deviation(results).stage == "gradients"


def test_the_other_byte_order_is_recognised(trace, tmp_path):
    turned = trace.steps[0].gradients.readout.byteswap()
    (result,) = only(trace, tmp_path / "a.h5", {"steps/0000/gradients/readout/weight": turned})
    assert "little-endian" in result.problem
    assert result.hint == ""


def test_bytes_that_are_no_numbers_warn_of_nothing(trace, tmp_path):
    """A right number turned round may be a signalling NaN, of which NumPy warns."""
    turned = trace.steps[0].gradients.readout.byteswap()
    turned.view(np.uint64)[0, :2] = 0x7FF0000000000001, 0x7FEFFFFFFFFFFFFF
    path = tmp_path / "a.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = only(trace, path, {"steps/0000/gradients/readout/weight": turned})
        stored_precision_in_words(read_candidate(path, trace), DOUBLE)
    assert first_deviation(results).stage == "gradients"


def test_losses_of_states_that_were_not_given_accuse_no_stage(trace, tmp_path):
    results = only(
        trace,
        tmp_path / "a.h5",
        {
            "steps/0003/closed_loop_targets": trace.steps[3].circuit.closed_loop_target + 1,
            "open_loop_loss": trace.open_loop_loss * np.array([1, 1.1, 1, 1]),
        },
    )
    assert first_deviation(results).stage == "closed-loop target"
    of_losses = next(r for r in results if r.stage == "losses")
    assert "the end states of step 1 were not given" in of_losses.unseen
