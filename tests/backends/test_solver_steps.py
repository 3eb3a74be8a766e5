"""How many steps integrations take, as every backend counts them."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl import EndStateCounts, NetworkConfiguration, Solver, initial_parameters
from disinhib.refimpl.circuit import map_arrays

from .implementations import IMPLEMENTATIONS, implementation
from .small_task import SIZES, task

CONFIGURATION = NetworkConfiguration(sizes=SIZES)
CONSTANT = {"step_control": "constant", "dt": 1e-3}


def trained(name, solver, dtype=np.float64, replicas=0):
    """Counts of two steps of six samples each, and of an evaluation of all twelve."""
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    if replicas:
        parameters = map_arrays(lambda a: np.stack(replicas * [a]), parameters)
    backend = implementation(name)(CONFIGURATION, parameters, dtype, solver)
    data = backend.place(*(one.astype(dtype) for one in task()))
    metrics = backend.train(data, np.arange(12).reshape(2, 6))
    return metrics.open_loop_counts, metrics.closed_loop_counts, backend.evaluate(data).counts


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("method", ["euler", "tsit5"])
def test_steps_of_a_constant_length_are_as_many_as_the_horizon_has(name, method):
    """None settles within 12 ms, whose 12 steps are no more for another replica."""
    solver = Solver(method=method, horizon=0.012, **CONSTANT)
    for replicas in (0, 2):
        for counts in trained(name, solver, replicas=replicas):
            assert counts.integrated == counts.unsettled == 12 * max(replicas, 1)
            assert counts.steps == 12 * counts.integrated
            assert counts.mean_steps == 12


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_the_limit_of_steps_is_counted_to(name):
    for counts in trained(name, Solver(method="euler", max_steps=7, **CONSTANT)):
        assert (counts.unsettled, counts.mean_steps) == (12, 7)


@pytest.mark.parametrize("name", [p for p in IMPLEMENTATIONS if p.id != "numpy"])
@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["euler", "tsit5"])
def test_steps_that_are_chosen_are_the_reference_s(name, dtype, method):
    """But for some that rounding decides on: the rejected ones are counted too."""
    found = trained(name, Solver(method=method), dtype)
    expected = trained("numpy", Solver(method=method), dtype)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == theirs
        assert ours.steps == pytest.approx(theirs.steps, rel=0.01)
        assert 3 < ours.mean_steps < 2000


def test_a_sample_at_rest_takes_no_more_while_others_go_on():
    """Each by itself, as the mean over samples alone."""
    x = task()[0]
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    # Half of them much stronger than the others.
    x[:6] *= 50
    backend = NumpyBackend(CONFIGURATION, parameters, np.float64, Solver(method="tsit5"))
    alone = [backend.open_loop(x[b : b + 1])[1].steps for b in range(12)]
    assert backend.open_loop(x)[1].steps == sum(alone)
    assert len(set(alone)) > 1


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_fixed_point_takes_none(name):
    for counts in trained(name, Solver()):
        assert (counts.integrated, counts.mean_steps) == (0, None)


def test_what_nobody_counted_is_in_no_sum():
    counted, uncounted = EndStateCounts(integrated=4, steps=40), EndStateCounts(integrated=2)
    solved = EndStateCounts(frozen_newton=3)
    assert (counted + solved + counted).mean_steps == 10
    assert (EndStateCounts() + counted).mean_steps == 10
    assert (solved + solved).mean_steps is None
    for one in (counted + uncounted, uncounted + counted, uncounted + solved):
        assert one.mean_steps is None
    assert counted == dataclasses.replace(counted, steps=41)
