"""A tolerance must have power: what is still caught, measured by making the fault."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.validation import (
    conform,
    conformance_solver,
    float_arithmetic,
    named_arithmetic,
    read_trace,
    record_standard_case,
    shipped_directory,
)
from disinhib.validation.judge.power import power
from disinhib.validation.judge.stages import STEP_STAGES
from disinhib.validation.trace.cases import standard_cases

CASES = {case.name: case for case in standard_cases()}


def powers(trace, dtype):
    dtype = np.dtype(dtype)
    solver = conformance_solver(trace, "fixed-point", dtype)
    return power(trace, float_arithmetic(dtype), solver)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["linear-threshold", pytest.param("weak-feedback", marks=pytest.mark.slow)]
)
def test_in_float64_nothing_beyond_the_tolerance_passes(name):
    """A state's tolerance is of its largest array, so that a small one has room in proportion."""
    trace = read_trace(shipped_directory() / f"{name}.h5")
    for stage in powers(trace, np.float64):
        limit = 1e-9
        if stage.stage in ("open loop", "closed loop"):
            of_stage = {s.name: s for s in STEP_STAGES}[stage.stage]
            golden = of_stage.golden(trace, 0)
            sizes = [np.max(np.abs(a)) for a in golden.values() if np.any(a)]
            limit *= max(sizes) / min(sizes)
        if stage.stage == "losses":
            # In natural units, and of the smallest loss.
            losses = np.concatenate([trace.open_loop_loss, trace.closed_loop_loss])
            assert stage.whole_array == pytest.approx(1e-9 / np.min(losses), rel=0.02)
            continue
        # Bisected to 1 %; the sizes are those of step 0, and change by some per cent.
        assert 1e-9 <= 1.01 * stage.whole_array <= 1.2 * limit, stage


@pytest.mark.parametrize(
    "name", ["linear-threshold", pytest.param("tuned-activations", marks=pytest.mark.slow)]
)
def test_in_float32_an_error_of_a_thousandth_never_passes(name, record_property):
    """4.5e8 machine epsilons, another simulator's default, would be a factor of fifty."""
    trace = read_trace(shipped_directory() / f"{name}.h5")
    measured = powers(trace, np.float32)
    listed = ", ".join(f"{stage.stage} {stage.whole_array:.1e}" for stage in measured)
    record_property("measured", f"smallest fault caught, float32, {name}: {listed}")
    for stage in measured:
        assert 5e-7 < stage.whole_array < 1e-3, stage


def test_the_measured_fault_is_the_smallest_that_conform_catches():
    """Made in a backend, as large as measured and a tenth smaller."""
    trace = record_standard_case(CASES["linear-threshold-mse-unnormalised"])
    measured = {p.stage: p for p in powers(trace, np.float32)}

    def caught(size):
        class Faulty(NumpyBackend):
            def mean_inhibition(self, open_loop):
                return tuple(r * (1 + size) for r in super().mean_inhibition(open_loop))

        # Computed in float64, so that the fault is all there is.
        results = conform(trace, in_double(Faulty), np.dtype(np.float32))
        return not {r.stage: r for r in results}["mean inhibition"].passed

    size = measured["mean inhibition"].whole_array
    assert caught(1.1 * size)
    assert not caught(0.5 * size)


def in_double(kind):
    """A backend that is asked for float32 and computes in float64."""

    def make(configuration, parameters, dtype, solver, threads=None):
        return kind(configuration, parameters, np.float64, solver, threads)

    return make


@pytest.mark.slow
def test_where_rounding_may_do_anything_nothing_passes():
    """Adam's second moments of small gradients in 8 fractional bits."""
    trace = record_standard_case(CASES["exact-inverse-mse-weak"])
    trace = dataclasses.replace(trace, trajectory=None)
    solver = conformance_solver(trace, "fixed-point", np.dtype(np.float64))
    with np.errstate(all="ignore"):
        update = power(trace, named_arithmetic("fixed8"), solver)[-1]
    assert update.stage == "optimiser update"
    assert update.whole_array > 0.1
