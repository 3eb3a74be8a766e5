"""The distribution of initial parameters: right draws pass, and the usual wrong ones are named."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from scipy.stats import kstwo, truncnorm

from disinhib.refimpl import initial_parameters
from disinhib.validation import (
    compare,
    first_deviation,
    float_arithmetic,
    named_arrays,
    read_candidate,
    read_trace,
    shipped_directory,
)
from disinhib.validation.judge.initialisation import KURTOSIS, _distance, judge_initialisation

SIZES = (12, 8, 6, 4)
N_DRAWS = 40


def drawn(of_layer, bias=0.0):
    """N_DRAWS draws by a function of (n_in, n_out) and the generator."""
    generator = np.random.default_rng(7)
    arrays = {}
    for l, (n_in, n_out) in enumerate(pairwise(SIZES)):
        layer = "readout" if l == 2 else f"hidden_{l}"
        weights = of_layer(n_in, n_out, generator)
        arrays[f"initialisation/{layer}/weight"] = weights
        if l < 2:
            arrays[f"initialisation/{layer}/bias"] = np.full((N_DRAWS, n_out), bias)
    return arrays


def truncated(n_in, n_out, generator, variance=None):
    """By SciPy, from its own generator of truncated normals."""
    variance = 1 / n_in if variance is None else variance
    normal = truncnorm(-2, 2).rvs((N_DRAWS, n_in, n_out), random_state=generator)
    return normal * np.sqrt(variance / truncnorm(-2, 2).var())


def uniform(n_in, n_out, generator):
    """Of the right variance."""
    end = np.sqrt(3 / n_in)
    return generator.uniform(-end, end, (N_DRAWS, n_in, n_out))


def untruncated(n_in, n_out, generator):
    return generator.normal(0, 1 / np.sqrt(n_in), (N_DRAWS, n_in, n_out))


def uncorrected(n_in, n_out, generator):
    return truncated(n_in, n_out, generator, truncnorm(-2, 2).var() / n_in)


def by_outputs(n_in, n_out, generator):
    return truncated(n_in, n_out, generator, 1 / n_out)


def doubled(n_in, n_out, generator):
    return truncated(n_in, n_out, generator, 2 / n_in)


def clipped(n_in, n_out, generator):
    """Not drawn again but held at the bound, and scaled to the right variance."""
    normal = np.clip(generator.normal(size=(N_DRAWS, n_in, n_out)), -2, 2)
    return normal / np.std(normal) / np.sqrt(n_in)


@pytest.mark.parametrize("seed", range(20))
def test_right_draws_pass_one_at_a_time(seed):
    """Twenty seeds of three layers: of a limit of one in a million none is met."""
    sizes = (30, 20, 10, 5)
    parameters = initial_parameters(sizes, np.random.default_rng(seed))
    arrays = {f"initialisation/{name}": array for name, array in named_arrays(parameters).items()}
    assert judge_initialisation(sizes, arrays).passed


def test_many_right_draws_of_another_generator_pass():
    assert judge_initialisation(SIZES, drawn(truncated)).passed


@pytest.mark.parametrize(
    ("of_layer", "words"),
    [
        (uniform, "its distribution is none"),
        (untruncated, "it is truncated at"),
        (uncorrected, "not corrected for the truncation"),
        (by_outputs, "with n_out for n_in"),
        (doubled, "with a factor of 2"),
        (clipped, "drawn again, not held there"),
    ],
)
def test_wrong_distributions_are_named(of_layer, words):
    result = judge_initialisation(SIZES, drawn(of_layer))
    assert not result.passed
    assert words in result.problem


def test_biases_begin_at_zero():
    result = judge_initialisation(SIZES, drawn(truncated, bias=1e-3))
    assert not result.passed
    assert "bias" in result.problem
    assert "begin at 0" in result.problem


def test_weights_the_wrong_way_round_are_named():
    arrays = drawn(truncated)
    name = "initialisation/hidden_0/weight"
    arrays[name] = np.swapaxes(arrays[name], -1, -2)
    result = judge_initialisation(SIZES, arrays)
    assert "shape is (40, 8, 12), should be (12, 8), or draws of it" in result.problem


def test_the_constants_are_those_of_the_distribution():
    assert pytest.approx(truncnorm(-2, 2).stats("k") + 3, rel=1e-5) == KURTOSIS
    for n in (100, 5000):
        standard = truncnorm(-2, 2).rvs(n, random_state=n)
        distance, limit = _distance(standard)
        assert limit == pytest.approx(kstwo.isf(1e-6, n), rel=0.01)
        right = np.sort(truncnorm(-2, 2).cdf(standard))
        steps = np.arange(n + 1) / n
        expected = max(np.max(steps[1:] - right), np.max(right - steps[:-1]))
        assert distance == pytest.approx(expected, rel=1e-9)


def test_a_port_may_give_its_draws_beside_its_answers(tmp_path):
    trace = read_trace(shipped_directory() / "exact-inverse.h5")
    sizes = trace.configuration.sizes
    path = tmp_path / "answers.h5"
    for scale, passes in ((1.0, True), (1.5, False)):
        with h5py.File(path, "w") as file:
            draws = [initial_parameters(sizes, np.random.default_rng(s)) for s in range(50)]
            for name in named_arrays(draws[0]):
                file[f"initialisation/{name}"] = scale * np.stack(
                    [named_arrays(one)[name] for one in draws]
                )
        candidate = read_candidate(path, trace)
        assert candidate.other_paths == ()
        (result,) = compare(trace, candidate, float_arithmetic(np.float64)).results
        assert result.stage == "initialisation"
        assert result.passed == passes
        assert (first_deviation([result]) is None) == passes
