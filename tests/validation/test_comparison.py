"""A port's answers, whole and in part, and through files with and without HDF5."""

import dataclasses

import h5py
import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl.configuration import Solver
from disinhib.validation import (
    FileError,
    compare,
    float_arithmetic,
    named_arithmetic,
    read_candidate,
    read_trace,
    record_standard_case,
    record_trace,
    shipped_directory,
    write_flat_directory,
    write_trace,
    write_trace_inputs,
)
from disinhib.validation.judge.stages import STEP_STAGES
from disinhib.validation.trace.cases import standard_cases
from disinhib.validation.trace.reading import answer_locations
from disinhib.validation.trace.writing import read_flat_directory

DOUBLE = float_arithmetic(np.float64)
CASES = {case.name: case for case in standard_cases()}
GOLDEN = shipped_directory() / "linear-threshold-running-mean.h5"


@pytest.fixture(scope="module")
def trace():
    return read_trace(GOLDEN)


@pytest.fixture
def answers(tmp_path, trace):
    """A right port's file, by the reference in float64."""
    path = tmp_path / "answers.h5"
    recorded = record_trace(
        trace.configuration, trace.initial_parameters, trace.inputs, trace.targets
    )
    write_trace(path, recorded, "the reference")
    return path


def verdicts(trace, path, arithmetic=DOUBLE, **options):
    return compare(trace, read_candidate(path, trace), arithmetic, **options)


def first(result):
    return next((r.stage for r in result.results if not r.passed), None)


def test_a_right_port_agrees_in_every_stage(trace, answers):
    result = verdicts(trace, answers)
    assert first(result) is None
    assert len(result.results) == 9
    assert result.not_given == {}
    # Against the published numbers, within the golden README's tolerance.
    assert all(r.relative < 1e-9 for r in result.results if r.stage != "closed loop")


@pytest.mark.parametrize("stage", [stage.name for stage in STEP_STAGES])
def test_any_stage_alone_is_judged_alone(trace, answers, stage):
    """A porter who has no more yet, and got it from the trace's own numbers."""
    group = next(s for s in STEP_STAGES if s.name == stage)
    with h5py.File(answers, "a") as file:
        for location in answer_locations(trace):
            if not any(
                location == group.location(step, name)
                for step in range(4)
                for name in group.golden(trace, step)
            ):
                del file[location]
    result = verdicts(trace, answers)
    assert [r.stage for r in result.results] == [stage]
    assert result.results[0].passed
    assert stage not in result.not_given
    assert len(result.not_given) == 7


def test_one_array_of_one_step_is_enough(trace, tmp_path):
    path = tmp_path / "answers.h5"
    with h5py.File(path, "w") as file:
        file["steps/0001/feedback/Q_0"] = trace.steps[1].circuit.feedback[0]
    result = verdicts(trace, path)
    assert [r.stage for r in result.results] == ["feedback weights"]
    assert result.results[0].passed
    assert result.not_given["feedback weights"] == 7
    with h5py.File(path, "a") as file:
        file["steps/0001/feedback/Q_0"][...] *= 1 + 3e-9
    assert first(verdicts(trace, path)) == "feedback weights"


def test_what_follows_from_an_error_is_not_blamed(trace, tmp_path):
    """A port whose Q is not normalised: all after it is right for what it was given."""
    configuration = trace.configuration
    wrong = dataclasses.replace(
        configuration, feedback=dataclasses.replace(configuration.feedback, normalize=False)
    )
    recorded = record_trace(wrong, trace.initial_parameters, trace.inputs, trace.targets)
    path = tmp_path / "answers.h5"
    write_trace(path, dataclasses.replace(recorded, configuration=configuration), "a port")
    result = verdicts(trace, path)
    by_stage = {r.stage: r for r in result.results}
    assert [r.stage for r in result.results if not r.passed] == [
        "feedback weights",
        "learning steps in one run",
    ]
    assert "normalisation is missing" in by_stage["feedback weights"].hint
    for stage in ("closed loop", "gradients", "optimiser update"):
        assert by_stage[stage].passed
        assert by_stage[stage].follows
    assert by_stage["learning steps in one run"].follows
    # What comes before the error is off the trace in no way.
    assert by_stage["open loop"].passed
    assert not by_stage["closed-loop target"].follows


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_a_number_that_is_none_is_found_and_stops_nothing(trace, answers, wrong):
    with h5py.File(answers, "a") as file:
        file["steps/0002/open_loop/u_E_0"][3, 1] = wrong
    result = verdicts(trace, answers)
    found = result.results[0]
    assert (found.stage, found.passed) == ("open loop", False)
    assert found.element.words == "hidden layer 0, excitatory unit 1, sample 3"
    assert found.element.index == (3, 1)
    assert found.element.step == 2


def test_an_array_of_the_wrong_shape_is_found(trace, answers):
    with h5py.File(answers, "a") as file:
        Q = file["steps/0000/feedback/Q_1"][()]
        del file["steps/0000/feedback/Q_1"]
        file["steps/0000/feedback/Q_1"] = np.swapaxes(Q, 1, 2)
    assert first(verdicts(trace, answers)) == "feedback weights"


@pytest.mark.parametrize(
    "case",
    ["depth-2", pytest.param("without-leak", marks=pytest.mark.slow), "backprop-mse-default"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ports_of_every_kind_agree(case, dtype, tmp_path):
    """With trajectories, without a fixed point, without a circuit."""
    trace = record_standard_case(CASES[case])
    path = tmp_path / "answers.h5"
    integrates = case == "without-leak"
    # As tight as the derivative of a float32 state lets an integration come to rest.
    rtol = 1e-4 if integrates else None
    recorded = record_trace(
        trace.configuration,
        trace.initial_parameters,
        trace.inputs,
        trace.targets,
        with_trajectory=trace.trajectory is not None,
        dtype=dtype,
        solver=Solver(method="tsit5", rtol=rtol, atol=1e-6, horizon=30.0) if integrates else None,
    )
    write_trace(path, recorded, "a port")
    result = verdicts(trace, path, float_arithmetic(dtype), rtol=rtol)
    assert first(result) is None
    assert result.not_given == {}


def test_an_integrating_port_is_judged_by_its_own_tolerance(trace, tmp_path):
    path = tmp_path / "answers.h5"
    recorded = record_trace(
        trace.configuration,
        trace.initial_parameters,
        trace.inputs,
        trace.targets,
        solver=Solver(method="tsit5", rtol=1e-6, atol=1e-9, horizon=30.0),
    )
    write_trace(path, recorded, "a port that integrates")
    assert first(verdicts(trace, path)) == "open loop"
    result = verdicts(trace, path, rtol=1e-6)
    assert first(result) is None
    assert result.results[0].origin == "solver"


def test_the_questions_hold_no_answer(trace, tmp_path):
    path = tmp_path / "questions.h5"
    write_trace_inputs(path, trace)
    with pytest.raises(FileError, match="has no array at any path"):
        read_candidate(path, trace)
    with h5py.File(path) as file, h5py.File(GOLDEN) as golden:
        for name in ("inputs", "targets", "initial_parameters/hidden_1/weight"):
            np.testing.assert_array_equal(file[name], golden[name])
        assert set(file) == {"inputs", "targets", "initial_parameters"}


def test_a_trace_comes_back_as_it_was_written(tmp_path):
    for name in ("depth-3", "backprop-softmax-cross-entropy-default", "near-silent"):
        trace = record_standard_case(CASES[name])
        path = tmp_path / f"{name}.h5"
        write_trace(path, trace, "test")
        again = read_trace(path)
        assert again.configuration == trace.configuration
        assert sorted(read_candidate(path, trace).arrays) == sorted(answer_locations(again))
        for step, (a, b) in enumerate(zip(trace.steps, again.steps, strict=True)):
            for stage in STEP_STAGES:
                for key, array in stage.golden(trace, step).items():
                    np.testing.assert_array_equal(array, stage.golden(again, step)[key])
            assert (a.circuit is None) == (b.circuit is None)
        if trace.trajectory is not None:
            assert again.trajectory.recording == trace.trajectory.recording
            np.testing.assert_array_equal(
                again.trajectory.open_loop.u_E[0], trace.trajectory.open_loop.u_E[0]
            )


def test_image_inputs_stay_bytes(tmp_path):
    trace = record_standard_case(CASES["depth-1"])
    pixels = np.random.default_rng(0).integers(0, 256, trace.inputs.shape)
    image = dataclasses.replace(trace, inputs=pixels / 255)
    write_trace_inputs(tmp_path / "q.h5", image)
    with h5py.File(tmp_path / "q.h5") as file:
        assert file["inputs"].dtype == np.uint8
        np.testing.assert_array_equal(file["inputs"], pixels)


def test_another_networks_answers_are_refused(trace, answers):
    other = read_trace(shipped_directory() / "linear-threshold.h5")
    with pytest.raises(FileError, match=r"made for another network: mean_inhibition is .*0\.25"):
        read_candidate(answers, other)


def test_the_files_own_precision_counts(trace, answers, tmp_path):
    assert read_candidate(answers, trace).arithmetic() == DOUBLE
    with h5py.File(answers, "a") as file:
        file.attrs["precision"] = "fixed20"
    assert read_candidate(answers, trace).arithmetic() == named_arithmetic("fixed20")
    single = tmp_path / "single.h5"
    with h5py.File(single, "w") as file:
        file["steps/0000/open_loop/u_out"] = trace.steps[0].circuit.open_loop.u_out.astype("f4")
    assert read_candidate(single, trace).arithmetic() == float_arithmetic(np.float32)


def to_flat(answers, directory, trace, dtype="<f8"):
    """As a port would write it, without anything of the package."""
    lines = []
    with h5py.File(answers) as file:
        for location in answer_locations(trace):
            array = file[location][()]
            target = directory / f"{location}.bin"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(array.astype(dtype).tobytes())
            lines.append(" ".join([location, np.dtype(dtype).name, *map(str, array.shape)]))
    (directory / "arrays.txt").write_text("\n".join(lines) + "\n")


def test_a_port_without_hdf5(trace, answers, tmp_path):
    questions = tmp_path / "questions"
    write_trace_inputs(tmp_path / "questions.h5", trace)
    write_flat_directory(tmp_path / "questions.h5", questions)
    settings = dict(
        line.split(" ", 1) for line in (questions / "settings.txt").read_text().splitlines()
    )
    assert settings["sizes"] == " ".join(map(str, trace.configuration.sizes))
    assert float(settings["mean_inhibition.rate"]) == 0.25
    assert settings["feedback.normalize"] == "true"
    assert settings["rule"] == "linear-threshold"
    weights = np.fromfile(questions / "initial_parameters/hidden_0/weight.bin", "<f8")
    np.testing.assert_array_equal(weights, trace.initial_parameters.weights[0].ravel())
    assert (
        f"inputs float64 {' '.join(map(str, trace.inputs.shape))}"
        in (questions / "arrays.txt").read_text().splitlines()
    )

    flat = tmp_path / "flat"
    to_flat(answers, flat, trace)
    result = verdicts(trace, flat)
    assert first(result) is None
    assert result.not_given == {}
    (flat / "settings.txt").write_text("precision float32\n")
    assert read_candidate(flat, trace).arithmetic() == float_arithmetic(np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "arrays.txt").unlink(), "arrays.txt is missing"),
        (lambda d: (d / "open_loop_loss.bin").unlink(), "open_loop_loss.bin: no such file"),
        (
            lambda d: (d / "open_loop_loss.bin").write_bytes(b"1234567"),
            r"has 7 bytes: float64 of shape \(4,\) needs 32",
        ),
        (
            lambda d: (d / "arrays.txt").write_text("open_loop_loss double 4\n"),
            "line 1: 'open_loop_loss double 4' is no path, type",
        ),
        (
            lambda d: (d / "arrays.txt").write_text(
                "open_loop_loss float64 99999999999999999999\n"
            ),
            "has 32 bytes: float64 of shape",
        ),
        (lambda d: (d / "arrays.txt").write_bytes(b"\xff\xfe\x00"), "cannot be read as text"),
        (lambda d: (d / "arrays.txt").write_text(""), "has no array at any path"),
    ],
)
def test_a_flat_directory_that_is_none_is_refused(trace, answers, tmp_path, spoil, message):
    flat = tmp_path / "flat"
    to_flat(answers, flat, trace)
    spoil(flat)
    with pytest.raises(FileError, match=message):
        read_candidate(flat, trace)


def test_a_flat_directory_takes_no_other_files_place(tmp_path, trace):
    write_trace_inputs(tmp_path / "q.h5", trace)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="no empty directory"):
        write_flat_directory(tmp_path / "q.h5", tmp_path / "full")


def test_only_wanted_arrays_of_a_flat_directory_are_read(trace, answers, tmp_path):
    flat = tmp_path / "flat"
    to_flat(answers, flat, trace)
    arrays, settings, others = read_flat_directory(flat, ["open_loop_loss"])
    assert list(arrays) == ["open_loop_loss"]
    assert settings == {}
    assert "closed_loop_loss" in others


def test_a_recorded_trace_is_made_by_the_reference_alone():
    """Nothing of a run is in its stages: a fused step of its own would show in the last result."""
    trace = record_standard_case(CASES["plain-descent"])
    backend = NumpyBackend(trace.configuration, trace.initial_parameters, np.float64, trace.solver)
    for x, y in zip(trace.inputs, trace.targets, strict=True):
        backend.learning_step(x, y)
    for a, b in zip(
        backend.learner().parameters.weights, trace.final_parameters.weights, strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        trace.final_parameters.readout, trace.steps[-1].parameters_after.readout
    )
