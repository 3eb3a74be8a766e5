"""The compiled kernels: accuracy of the elementary functions, every combination, threads."""

import gc
import threading

import numpy as np
import pytest
from numba import njit
from scipy.special import expit

from disinhib.backends import BackendUnavailable, NumbaBackend, NumpyBackend, backend_class
from disinhib.backends.numba.kernels.closed_loop import solve
from disinhib.backends.numba.kernels.elementary import CONTRACT, exp_of_negative, log1p_of_fraction
from disinhib.backends.numba.kernels.neurons import rate_and_slope
from disinhib.backends.numba.threads import ThreadTeam, checked_threads, default_threads
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import (
    ConfigurationError,
    Feedback,
    NetworkConfiguration,
    Solver,
)
from disinhib.validation.storage.arrays import named_arrays

from ..validation.run_allowance import run_allowance
from .small_task import RULES, SIZES, arrays_of, task, trained


@njit(error_model="numpy", fastmath=CONTRACT)
def exp_all(x, out):
    for i in range(x.size):
        out[i] = exp_of_negative(x[i])


@njit(error_model="numpy", fastmath=CONTRACT)
def log1p_all(x, out):
    for i in range(x.size):
        out[i] = log1p_of_fraction(x[i])


@njit(error_model="numpy", fastmath=CONTRACT)
def rate_and_slope_all(s, k, m, u, rate, slope):
    for i in range(u.size):
        rate[i], slope[i] = rate_and_slope(s, k, m, u[i])


def ulp(found, exact):
    """Distance in units in the last place of the precision of `found`."""
    spacing = np.spacing(np.abs(exact).astype(found.dtype)).astype(np.longdouble)
    return np.max(np.abs(found.astype(np.longdouble) - exact) / spacing)


few_and_many = pytest.mark.parametrize(
    "n", [100_001, pytest.param(1_000_001, marks=pytest.mark.slow)]
)


@few_and_many
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential(dtype, n):
    x = -np.concatenate([np.linspace(0, 87, n), np.logspace(-12, 0, n // 10)])
    x = x.astype(dtype)
    found = np.empty_like(x)
    exp_all(x, found)
    assert ulp(found, np.exp(x.astype(np.longdouble))) <= 2


@few_and_many
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithm(dtype, n):
    e = np.concatenate([np.linspace(0, 1, n)[1:], np.logspace(-37, 0, n // 10)])
    e = e.astype(dtype)
    found = np.empty_like(e)
    log1p_all(e, found)
    assert ulp(found, np.log1p(e.astype(np.longdouble))) <= 2


@few_and_many
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rate_and_slope(dtype, n):
    u = np.linspace(-80, 80, n).astype(dtype)
    rate, slope = np.empty_like(u), np.empty_like(u)
    one = dtype(1)
    rate_and_slope_all(one, one, dtype(0), u, rate, slope)
    wide = u.astype(np.longdouble)
    assert ulp(rate, np.logaddexp(np.longdouble(0), wide)) <= 2
    assert ulp(slope, expit(wide)) <= 3


def test_far_below_threshold_nothing_leaves_the_finite_numbers():
    u = np.array([-1e30, -1e4, -200, 1e4, 1e30], dtype=np.float32)
    rate, slope = np.empty_like(u), np.empty_like(u)
    rate_and_slope_all(np.float32(1), np.float32(1), np.float32(0), u, rate, slope)
    np.testing.assert_allclose(rate, np.maximum(u, 0), rtol=0, atol=1e-37)
    np.testing.assert_allclose(slope, [0, 0, 0, 1, 1], rtol=0, atol=1e-37)


@njit
def solved(A, right):
    return solve(A, right)


@pytest.mark.parametrize("n", [1, 4, 10, 40])
def test_solutions_of_a_small_system(n):
    generator = np.random.default_rng(n)
    A, right = generator.standard_normal((n, n)), generator.standard_normal((n, 2))
    v = right.copy()
    assert solved(A.copy(), v)
    np.testing.assert_allclose(A @ v, right, rtol=0, atol=1e-10)
    # Every row is exchanged with another, and a pivot is 0 unless it is.
    shifted = np.roll(np.diag(np.arange(1.0, n + 1)), 1, axis=0)
    v = right.copy()
    assert solved(shifted.copy(), v)
    np.testing.assert_allclose(shifted @ v, right, rtol=0, atol=1e-14)
    for column in (0.0, np.nan):
        A[:, 0] = column
        assert not solved(A.copy(), right.copy())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_runs_are_bitwise_alike_and_threads_differ_by_rounding(rule, dtype):
    configuration = NetworkConfiguration(sizes=SIZES, rule=rule)
    runs = {
        (threads, run): named_arrays(
            trained(NumbaBackend, configuration, Solver(), dtype, threads=threads)[1].parameters
        )
        for threads in (1, 2, 3)
        for run in (0, 1)
    }
    start = initial_parameters(SIZES, np.random.default_rng(0))
    x, y = (array.reshape(3, 4, -1) for array in task())
    allowance = run_allowance(configuration, Solver(), start, x, y, dtype)
    allowance = {name: allowance[name] for name in runs[1, 0]}
    for threads in (1, 2, 3):
        for name, array in runs[threads, 0].items():
            np.testing.assert_array_equal(array, runs[threads, 1][name], err_msg=name)
        for name, allowed in allowance.items():
            a, b = runs[threads, 0][name], runs[1, 0][name]
            np.testing.assert_allclose(a, b, rtol=0, atol=allowed, err_msg=name)


@pytest.mark.parametrize("method", ["fixed-point", "tsit5"])
@pytest.mark.parametrize(("rule", "average"), [(rule, a) for rule in RULES for a in (False, True)])
def test_a_step_timed_stage_by_stage_learns_as_any_other(rule, average, method):
    configuration = NetworkConfiguration(sizes=SIZES, rule=rule, feedback=Feedback(average=average))
    expected = trained(NumpyBackend, configuration, Solver(method=method), n_steps=1)[1]
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    backend = NumbaBackend(configuration, parameters, np.float64, Solver(method=method), threads=2)
    seconds = backend.stage_seconds(backend.place(*task()), np.arange(4))
    for found, array in zip(arrays_of(backend.learner()), arrays_of(expected), strict=True):
        np.testing.assert_allclose(found, array, rtol=0, atol=1e-9)
    assert {"open loop", "feedback weights", "closed loop"} < set(seconds)
    assert all(t > 0 for t in seconds.values())


def test_more_threads_than_samples():
    configuration = NetworkConfiguration(sizes=SIZES)
    metrics, _ = trained(NumbaBackend, configuration, Solver(), threads=7)
    expected, _ = trained(NumpyBackend, configuration, Solver())
    np.testing.assert_allclose(metrics.loss, expected.loss, rtol=1e-9)


def test_an_exception_in_a_thread_reaches_the_caller_and_the_team_works_on():
    team = ThreadTeam(3)

    def invert_all_but_zero(i):
        return 1 / i

    assert team.share(invert_all_but_zero, [1, 2, 4]) == [1.0, 0.5, 0.25]
    with pytest.raises(ZeroDivisionError):
        team.share(invert_all_but_zero, [1, 0, 4])
    assert team.share(invert_all_but_zero, [4, 2]) == [0.25, 0.5]


def test_threads_end_with_their_team():
    before = set(threading.enumerate())
    team = ThreadTeam(4)
    started = set(threading.enumerate()) - before
    assert len(started) == 3
    del team
    gc.collect()
    for thread in started:
        thread.join()


@pytest.mark.parametrize(
    ("threads", "message"),
    [
        (0, "threads is 0: must be at least 1"),
        (True, "threads is True: a whole number is needed"),
        (2.0, "threads is 2.0: a whole number is needed"),
        (10**20, "threads is 100000000000000000000: a number of 64 bits"),
        (5000, "threads is 5000: at most 1024"),
    ],
)
def test_a_number_of_threads_is_one(threads, message):
    with pytest.raises(ConfigurationError, match=message):
        checked_threads(threads)


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "٣", "1_0", "5000", "9" * 5000])
def test_the_variable_that_sets_threads_is_refused_if_it_is_none(monkeypatch, text):
    monkeypatch.setenv("DISINHIB_THREADS", text)
    with pytest.raises(ConfigurationError, match=r"^DISINHIB_THREADS is"):
        default_threads()
    assert NumbaBackend.describe().unavailable.startswith("DISINHIB_THREADS is")
    with pytest.raises(BackendUnavailable, match="'numba' cannot run here: DISINHIB_THREADS is"):
        backend_class("numba")
    for right in ("3", " 3 "):
        monkeypatch.setenv("DISINHIB_THREADS", right)
        assert default_threads() == 3
    monkeypatch.setenv("DISINHIB_THREADS", "")
    assert default_threads() >= 1
