"""What is asked of a backend beside a trace: right ones keep it, in whatever way, others do not."""

import dataclasses

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl import ConfigurationError, EndStateCounts, Solver, map_arrays
from disinhib.validation import judge_promises
from disinhib.validation.judge.promises import (
    judge_beside_a_great_one,
    judge_drowned,
    judge_labels,
    judge_no_number,
    judge_replicas,
    judge_samples,
    judge_sharp,
)
from disinhib.validation.judge.settling import integrations, judge_distance, judge_steps

from ..backends.implementations import IMPLEMENTATIONS, implementation

FLOAT64 = np.dtype(np.float64)
DTYPES = [FLOAT64, np.dtype(np.float32)]
INTEGRATIONS = {one.name: one for one in integrations()}
SLOWEST = ("numpy", FLOAT64)
WITH_REST = [name for name, one in INTEGRATIONS.items() if one.has_rest]


def failures(results):
    return [(r.stage, r.used, r.problem, r.worst) for r in results if not r.passed]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(
            *one.values,
            dtype,
            id=f"{one.id}-{dtype}",
            # The reference goes by its own steps, for sure, and is the slowest.
            marks=[*one.marks, pytest.mark.slow] if (one.id, dtype) == SLOWEST else one.marks,
        )
        for one in IMPLEMENTATIONS
        for dtype in DTYPES
    ],
)
def test_every_implementation_keeps_its_promises(name, dtype):
    results = list(judge_promises(implementation(name), dtype, has_its_own_way=False))
    assert failures(results) == []
    of_integration = len(INTEGRATIONS) + len(WITH_REST)
    assert len(results) == 7 + (of_integration if dtype == FLOAT64 else 0)


# Right, in another way.


def with_solver(**changes):
    """The reference, told to integrate by another solver than it was."""

    class Otherwise(NumpyBackend):
        def __init__(self, configuration, parameters, dtype, solver, threads=None):
            if solver.method != "fixed-point":
                changed = {
                    name: change(getattr(solver, name)) if callable(change) else change
                    for name, change in changes.items()
                }
                solver = dataclasses.replace(solver, **changed)
            super().__init__(configuration, parameters, dtype, solver, threads)

    return Otherwise


@pytest.mark.parametrize("name", ["slow leak", *(slow(n) for n in WITH_REST if n != "slow leak")])
def test_whoever_takes_other_steps_may_have_them(name):
    kind = with_solver(rtol=lambda rtol: rtol / 2, dt=lambda dt: dt / 2, p=0.2)
    assert not judge_steps(kind, INTEGRATIONS["as published"]).passed
    assert judge_distance(kind, INTEGRATIONS[name]).passed


class GivesUp(NumpyBackend):
    """Says that there is no number where its search finds none, and integrates nothing."""

    def __init__(self, configuration, parameters, dtype, solver, threads=None):
        if solver.method != "fixed-point":
            raise ConfigurationError("only fixed points are offered")
        super().__init__(configuration, parameters, dtype, solver, threads)

    def closed_loop(self, x, Q, target, open_loop):
        state, counts = super().closed_loop(x, Q, target, open_loop)
        if counts.integrated:
            state = map_arrays(np.copy, state)
            for array in (*state.u_E, *state.u_I, state.u_out, state.z):
                array[0] = np.nan
        return state, counts


def test_whoever_gives_up_or_does_not_integrate_is_not_blamed():
    results = list(judge_promises(GivesUp, FLOAT64))
    assert failures(results) == []
    assert [r.stage for r in results if r.stage.startswith(("rest", "steps"))] == []
    # The reference's own way is to integrate.
    assert not judge_samples(GivesUp, FLOAT64, may_give_up=False).passed
    with pytest.raises(ConfigurationError):
        list(judge_promises(GivesUp, FLOAT64, has_its_own_way=False))


# Wrong.

SHARP = {
    "u_E_0": lambda state, counts: (
        dataclasses.replace(state, u_E=tuple(u + 1e-12 for u in state.u_E)),
        counts,
    ),
    "were not found": lambda state, counts: (state, EndStateCounts(24, integrated=1)),
}


@pytest.mark.parametrize("said", SHARP)
def test_sharp_neurons_are_to_be_found(said):
    class Dull(NumpyBackend):
        def open_loop(self, x):
            return SHARP[said](*super().open_loop(x))

    result = judge_sharp(Dull, FLOAT64)
    assert not result.passed
    assert said in (result.problem or result.worst)


OTHER_SOLVERS = {
    "rtol": 2,
    "atol": 100,
    "dt": 2,
    "dt_min": 0.5,
    "dt_max": 0.5,
    "p": 1.5,
    "i": 1.1,
    "d": 1.5,
    "safety": 0.95,
    "factor_min": 3,
    "factor_max": 1.2,
    "horizon": 0.9,
    "max_steps": lambda n: n - 1,
}


@pytest.mark.parametrize("setting", OTHER_SOLVERS)
def test_each_setting_of_the_solver_shows_in_some_end(setting):
    other = OTHER_SOLVERS[setting]
    change = other if callable(other) else lambda value: other * value
    kind = with_solver(**{setting: change})
    quick = [one for one in INTEGRATIONS.values() if one.solver.settled == "published"]
    assert not all(judge_steps(kind, one).passed for one in quick)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("as published", {"method": "euler"}),
        ("as published", {"step_control": "constant"}),
        ("slow membranes", {"settled": "published"}),
    ],
)
def test_another_kind_of_solver_shows(name, changes):
    assert not judge_steps(with_solver(**changes), INTEGRATIONS[name]).passed


@pytest.mark.parametrize("name", ["slow membranes", "slow leak", slow("without leak")])
def test_whoever_settles_by_speed_alone_is_not_at_rest(name):
    """Whatever its steps: of time constants of 30 to 200 s a speed says nothing."""
    kind = with_solver(settled="published")
    assert not judge_distance(kind, INTEGRATIONS[name]).passed


def test_a_distance_nine_times_as_far_is_told():
    kind = with_solver(rtol=lambda rtol: 9 * rtol)
    assert not judge_distance(kind, INTEGRATIONS["slow membranes"]).passed


def test_samples_at_rest_are_not_to_be_counted_as_unsettled():
    class Miscounts(NumpyBackend):
        def open_loop(self, x):
            state, counts = super().open_loop(x)
            return state, dataclasses.replace(counts, unsettled=1)

    result = judge_distance(Miscounts, INTEGRATIONS["slow leak"])
    assert "1 samples are at rest, and counted as unsettled" in result.problem
    assert "should be 0 and 0" in judge_steps(Miscounts, INTEGRATIONS["as published"]).problem


def test_an_idle_integral_has_settled_where_its_error_is_small():
    """By hand: it moves by e / τ_c a second, which is e a time constant."""
    one = INTEGRATIONS["idle integral"]
    assert judge_steps(NumpyBackend, one).passed
    n_far = sum(offset > 1 for offset in one.offset)
    assert 0 < n_far < len(one.offset)

    class AllSettle(NumpyBackend):
        def closed_loop(self, *given):
            state, counts = super().closed_loop(*given)
            assert counts.unsettled == n_far
            return state, dataclasses.replace(counts, unsettled=0)

    assert "should be 0 and 3" in judge_steps(AllSettle, one).problem


def test_divergence_is_to_be_no_number():
    class KeepsTheLast(NumpyBackend):
        def open_loop(self, x):
            state, counts = super().open_loop(x)
            return map_arrays(np.nan_to_num, state), counts

    assert judge_steps(NumpyBackend, INTEGRATIONS["divergence"]).passed
    assert not judge_steps(KeepsTheLast, INTEGRATIONS["divergence"]).passed


def altered_closed_loop(change):
    class Altered(NumpyBackend):
        def closed_loop(self, x, Q, target, open_loop):
            return change(*super().closed_loop(x, Q, target, open_loop))

    return Altered


def spread(state, counts):
    """One sample's trouble is every sample's."""
    hurt = counts.integrated > 0 and state.u_out.shape[-2] > 1
    return (map_arrays(lambda u: np.full_like(u, np.nan), state) if hurt else state), counts


def miscounted(state, counts):
    return state, dataclasses.replace(counts, integrated=0)


def elsewhere(state, counts):
    """The sample that is integrated comes to an end of its own."""
    if not counts.integrated:
        return state, counts
    u_out = np.array(state.u_out)
    u_out[0] *= 1 + 1e-7
    return dataclasses.replace(state, u_out=u_out), counts


def test_an_open_loop_of_one_step_of_newton_s_is_told():
    """From rest all neurons of the pair step upwards, and the first step goes beyond the root."""

    class OneStep(NumpyBackend):
        def open_loop(self, x):
            state, counts = super().open_loop(x)
            # At u = 0 both slopes are known: φ_E' = 1/2, φ_I' = σ(log 2) = 2/3.
            u_E = (x + 120 - np.log(3)) / (1 + 1 / 3)
            u_E = u_E if x.shape[-1] == 2 else state.u_E[0]
            return dataclasses.replace(state, u_E=(u_E, *state.u_E[1:])), counts

    assert not judge_samples(OneStep, FLOAT64).passed


def test_a_singular_sample_is_integrated_and_the_others_are_found():
    seen = []

    def watch(state, counts):
        seen.append(counts)
        return state, counts

    assert judge_samples(altered_closed_loop(watch), FLOAT64, may_give_up=False).passed
    assert seen[0].integrated == 1
    assert seen[0].unsettled == 0
    assert all(counts.integrated == 0 for counts in seen[1:])


@pytest.mark.parametrize("change", [spread, miscounted, elsewhere])
def test_samples_that_hurt_each_other_are_told(change):
    assert not judge_samples(altered_closed_loop(change), FLOAT64).passed


def test_samples_that_stop_by_the_measure_of_a_great_one_are_told():
    """As a search would that takes the largest control of the whole batch for each sample's."""

    def stopped(state, counts):
        left = np.finfo(np.float64).eps ** 0.75 * np.max(np.abs(state.z))
        return dataclasses.replace(state, u_out=state.u_out + left), counts

    assert judge_beside_a_great_one(NumpyBackend, FLOAT64).passed
    assert not judge_beside_a_great_one(altered_closed_loop(stopped), FLOAT64).passed


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_labels_that_are_taken_at_their_word_are_told(dtype):
    """The sum's rounding, n ε / 2 = 12 ε, times the gain, goes into all controls alike."""

    class AtTheirWord(NumpyBackend):
        def closed_loop(self, x, Q, target, open_loop):
            state, counts = super().closed_loop(x, Q, target, open_loop)
            excess = np.sum(target, axis=-1, keepdims=True) - 1
            # z is c / κ where k_p is 0 and the leak 1.
            return dataclasses.replace(state, z=state.z + excess / target.shape[-1]), counts

    assert judge_labels(NumpyBackend, dtype).passed
    assert not judge_labels(AtTheirWord, dtype).passed


def test_what_is_drowned_is_not_found():
    assert judge_drowned(NumpyBackend, FLOAT64).passed
    found = altered_closed_loop(lambda state, counts: (state, EndStateCounts(frozen_newton=3)))
    assert not judge_drowned(found, FLOAT64).passed


def test_replicas_that_share_what_is_their_own_are_told():
    class Shares(NumpyBackend):
        def feedback_weights(self, open_loop):
            return tuple(np.roll(Q, 1, axis=0) for Q in super().feedback_weights(open_loop))

        def learning_step(self, x, y):
            open_loop, _ = self.open_loop(x)
            Q, target = self.feedback_weights(open_loop), self.closed_loop_target(open_loop, y)
            closed_loop, _ = self.closed_loop(x, Q, target, open_loop)
            r_I = self.mean_inhibition(open_loop)
            self.update(self.gradients(x, y, open_loop, closed_loop, r_I), r_I)

    assert judge_replicas(NumpyBackend, FLOAT64).passed
    assert not judge_replicas(Shares, FLOAT64).passed


def test_an_output_beyond_all_numbers_is_not_right():
    class CountsAll(NumpyBackend):
        def learning_step(self, x, y):
            metrics = super().learning_step(x, y)
            return dataclasses.replace(metrics, n_correct=np.asarray(len(x)))

    assert judge_no_number(NumpyBackend, FLOAT64).passed
    assert not judge_no_number(CountsAll, FLOAT64).passed


def test_an_integration_is_by_settings_that_a_solver_has():
    names = {field.name for field in dataclasses.fields(Solver)}
    assert set(OTHER_SOLVERS) | {"method", "step_control", "settled"} == names
