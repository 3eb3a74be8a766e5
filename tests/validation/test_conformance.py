"""The backends against the published numbers, and the judge against known faults."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from disinhib.backends import NumpyBackend, backend_class
from disinhib.refimpl.circuit import Parameters
from disinhib.validation import conform, conform_each, find_traces, read_trace, shipped_directory
from disinhib.validation.judge.allowance import golden_run
from disinhib.validation.judge.stages import STEP_STAGES, state_arrays

from ..backends.cuda_on_cpu import cpu_backend
from ..backends.implementations import AVAILABLE, CUDA_ON_CPU, JUDGED_TOGETHER, implementation
from ..backends.test_cuda_kernels import BLOCKS

TRACES = {path.stem: path for path in find_traces([shipped_directory()])[0]}
SMALL = sorted(name for name in TRACES if "fashion" not in name)
DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]

README_TOLERANCE = dict.fromkeys(SMALL, 1e-09) | {
    "fashion-mnist-3x256-exact-inverse": 1e-5,
}
"""Of the golden README, for end states, feedback, gradients and parameters."""


def failures(results):
    return [
        f"{r.stage}: {r.used:.2g} of {r.tolerance:.1e} at {r.worst}"
        for r in results
        if not r.passed
    ]


def test_all_published_traces_are_shipped():
    assert len(TRACES) == 8


def in_a_block_shape(name, dtype):
    """The CUDA kernels in another shape for each small trace and precision."""
    if name not in SMALL:
        return cpu_backend()
    turn = SMALL.index(name) + 2 * DTYPES.index(dtype)
    return cpu_backend(**list(BLOCKS.values())[turn % len(BLOCKS)])


def is_fast(name, dtype):
    if name not in SMALL:
        return dtype == np.float32
    return (SMALL.index(name) + DTYPES.index(dtype)) % 2 == 0


@pytest.mark.parametrize("backends", JUDGED_TOGETHER)
# In the fast tests precisions in turns, real images in that of training: both come of one source,
# and test_standard_cases judges small networks in each.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(
            name,
            dtype,
            id=f"{name}-{dtype}",
            marks=[] if is_fast(name, dtype) else pytest.mark.slow,
        )
        for name in sorted(TRACES)
        for dtype in DTYPES
    ],
)
def test_every_implementation_computes_the_published_model(name, dtype, backends):
    trace = read_trace(TRACES[name])
    kinds = [
        in_a_block_shape(name, dtype) if backend == CUDA_ON_CPU else implementation(backend)
        for backend in backends
    ]
    # The start and the run; the losses are a stage of every step.
    expected = (
        2
        + (2 if trace.trajectory else 0)
        + ((8 if trace.configuration.rule == "linear-threshold" else 7) if trace.steps else 0)
    )
    judged = conform_each(trace, kinds, dtype, "fixed-point")
    for backend, results in zip(backends, judged, strict=True):
        assert failures(results) == [], backend
        assert len(results) == expected
        if dtype == np.float64:
            for result in results:
                limit = 1e-12 if "trajectory" in result.stage else README_TOLERANCE[name]
                # What rounding allows in float64 is no loophole: the README's figures rule.
                assert result.tolerance <= limit * (1 + 1e-12), result


def test_judged_together_backends_are_judged_as_alone():
    trace, dtype = read_trace(TRACES["weak-feedback"]), np.dtype(np.float32)
    kinds = [NumpyBackend, altered("feedback_weights", lambda Q: tuple(-Q_l for Q_l in Q))]
    together = conform_each(trace, kinds, dtype)
    assert repr(together) == repr([conform(trace, kind, dtype) for kind in kinds])
    assert [all(r.passed for r in results) for results in together] == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        # In the fast tests one trace stands for all.
        pytest.param(
            name,
            backend.values[0],
            marks=backend.marks if name == "one-hidden-mse" else [*backend.marks, pytest.mark.slow],
        )
        for name in SMALL
        for backend in AVAILABLE
    ],
)
def test_integration_at_tight_tolerance_ends_in_the_published_states(name, backend):
    # Without its paths: those are no end states, and are judged above.
    trace = dataclasses.replace(read_trace(TRACES[name]), trajectory=None)
    assert trace.solver.rtol == 1e-10
    results = conform(trace, backend_class(backend), np.dtype(np.float64), "tsit5")
    assert failures(results) == []
    # The published solver and ours take the same steps: far closer than was asked for.
    states = [r for r in results if r.stage in ("open loop", "closed loop")]
    assert max(r.absolute for r in states) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_integration_on_real_images(dtype):
    trace = read_trace(TRACES["fashion-mnist-3x256-exact-inverse"])
    assert failures(conform(trace, NumpyBackend, dtype, "tsit5")) == []


def altered(method, change):
    """A backend in which one stage is wrong."""

    def wrong(self, *arguments):
        return change(getattr(NumpyBackend, method)(self, *arguments))

    return type("Altered", (NumpyBackend,), {method: wrong})


def scaled_state(result):
    # The largest potentials: the tolerance of a state is relative to those.
    state, counts = result
    u_E = (state.u_E[0] * (1 + 3e-9), *state.u_E[1:])
    return dataclasses.replace(state, u_E=u_E), counts


def scaled_gradients(gradients):
    return Parameters(
        gradients.weights,
        (gradients.biases[0] * (1 + 3e-9), *gradients.biases[1:]),
        gradients.readout,
    )


FAULTS = {
    "open loop": ("open_loop", scaled_state),
    "feedback weights": ("feedback_weights", lambda Q: (Q[0] * (1 + 3e-9), *Q[1:])),
    "closed-loop target": ("closed_loop_target", lambda target: target * (1 + 3e-9)),
    "closed loop": ("closed_loop", scaled_state),
    "gradients": ("gradients", scaled_gradients),
    "mean inhibition": ("mean_inhibition", lambda r: (r[0] * (1 + 3e-9), *r[1:])),
    "open-loop trajectory": (
        "open_loop_trajectory",
        lambda path: dataclasses.replace(path, u_out=path.u_out * (1 + 1e-11)),
    ),
    "closed-loop trajectory": (
        "closed_loop_trajectory",
        lambda path: dataclasses.replace(path, z=path.z * (1 + 1e-11)),
    ),
}


def trace_of_fault(stage):
    """The quickest that has the stage."""
    if "trajectory" in stage:
        return "tuned-activations"
    return "linear-threshold" if stage == "mean inhibition" else "average-feedback"


# That of the paths takes long; test_mutations has one in the fast tests.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "average-feedback",
        "linear-threshold",
        pytest.param("tuned-activations", marks=pytest.mark.slow),
    ],
)
def test_a_fault_of_a_few_tolerances_is_blamed_on_its_own_stage(name):
    stages = [stage for stage in FAULTS if trace_of_fault(stage) == name]
    assert stages
    kinds = [altered(*FAULTS[stage]) for stage in stages]
    judged = conform_each(read_trace(TRACES[name]), kinds, np.dtype(np.float64), "fixed-point")
    blamed = [[r.stage for r in results if not r.passed] for results in judged]
    assert blamed == [[stage] for stage in stages]


def wrong_update(self, gradients, r_bar):
    NumpyBackend.update(
        self, Parameters(gradients.weights, gradients.biases, -gradients.readout), r_bar
    )


def test_a_fault_in_the_update_is_found():
    kind = type("Altered", (NumpyBackend,), {"update": wrong_update})
    trace = read_trace(TRACES["one-hidden-mse"])
    results = conform(trace, kind, np.dtype(np.float64), "fixed-point")
    assert [r.stage for r in results if not r.passed] == ["optimiser update"]


def test_a_fault_in_the_fused_step_alone_is_found():
    """Right stages do not excuse a wrong learning step."""

    def late(self, x, y):
        metrics = NumpyBackend.learning_step(self, x, y)
        learner = self.learner()
        biases = (learner.parameters.biases[0] + 1e-8, *learner.parameters.biases[1:])
        self.load(
            dataclasses.replace(
                learner, parameters=dataclasses.replace(learner.parameters, biases=biases)
            )
        )
        return metrics

    kind = type("Altered", (NumpyBackend,), {"learning_step": late})
    trace = read_trace(TRACES["average-feedback"])
    results = conform(trace, kind, np.dtype(np.float64), "fixed-point")
    assert [r.stage for r in results if not r.passed] == ["learning steps in one run"]


def test_samples_that_are_right_under_control_are_counted_there():
    """A count may be left out; one that is of the open loop is none of the closed."""

    def counting(count):
        def step(self, x, y):
            metrics = NumpyBackend.learning_step(self, x, y)
            return dataclasses.replace(metrics, closed_loop_n_correct=count(metrics))

        return type("Counting", (NumpyBackend,), {"learning_step": step})

    trace = read_trace(TRACES["linear-threshold"])
    kinds = [counting(lambda metrics: metrics.n_correct), counting(lambda metrics: None)]
    of_open_loop, left_out = conform_each(trace, kinds, np.dtype(np.float64), "fixed-point")
    assert failures(left_out) == []
    (failed,) = (result for result in of_open_loop if not result.passed)
    assert failed.stage == "losses"
    assert "are counted as right under control" in failed.problem


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_missing_number_never_passes(wrong):
    def spoil(Q):
        Q[1][0, 0, 0] = wrong
        return Q

    trace = read_trace(TRACES["average-feedback"])
    kind = altered("feedback_weights", spoil)
    results = {r.stage: r for r in conform(trace, kind, np.dtype(np.float64), "fixed-point")}
    assert not results["feedback weights"].passed
    assert results["feedback weights"].absolute == np.inf


def test_an_array_of_the_wrong_shape_never_passes():
    trace = read_trace(TRACES["average-feedback"])
    kind = altered("closed_loop_target", lambda target: target[:, :-1])
    results = {r.stage: r for r in conform(trace, kind, np.dtype(np.float64), "fixed-point")}
    assert not results["closed-loop target"].passed


def test_the_reader_gives_what_the_file_holds():
    path = TRACES["linear-threshold-running-mean"]
    trace = read_trace(path)
    with h5py.File(path) as file:
        config = json.loads(file.attrs["config"])
        assert trace.configuration.mean_inhibition.rate == config["mean_inhibition"]["rate"] == 0.25
        assert trace.solver.horizon == config["solver"]["T"]
        assert len(trace.steps) == len(file["steps"]) == 4
        step = file["steps/0002"]
        np.testing.assert_array_equal(
            trace.steps[2].circuit.mean_inhibition[1], step["mean_inhibition/r_I_1"]
        )
        for name, array in state_arrays(trace.steps[2].circuit.closed_loop).items():
            np.testing.assert_array_equal(array, step["closed_loop"][name])
        np.testing.assert_array_equal(
            golden_run(trace)["hidden_0/bias"], file["final_parameters/hidden_0/bias"]
        )
    fashion = read_trace(TRACES["fashion-mnist-3x256-exact-inverse"])
    assert fashion.steps == ()
    assert fashion.inputs.min() == 0
    assert 0.9 < fashion.inputs.max() <= 1
    assert {stage.name for stage in STEP_STAGES} >= {"open loop", "closed loop", "gradients"}
