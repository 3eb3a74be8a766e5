"""Initial weights against SciPy's truncated normal."""

import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from disinhib.backends.layout import check_shapes
from disinhib.refimpl.circuit import (
    TRUNCATED_NORMAL_DEVIATION,
    Parameters,
    initial_parameters,
)
from disinhib.refimpl.configuration import ArgumentError


def test_deviation_of_the_truncated_normal():
    assert truncnorm(-2, 2).std() == pytest.approx(TRUNCATED_NORMAL_DEVIATION, abs=1e-8)


def test_weights_are_truncated_normal_with_variance_one_over_inputs():
    sizes = (400, 300, 200, 10)
    parameters = initial_parameters(sizes, np.random.default_rng(0))
    check_shapes(parameters, sizes)
    for W in (*parameters.weights, parameters.readout):
        scale = 1 / (TRUNCATED_NORMAL_DEVIATION * np.sqrt(W.shape[0]))
        assert kstest(W.ravel() / scale, truncnorm(-2, 2).cdf).pvalue > 1e-3
        assert np.var(W) * W.shape[0] == pytest.approx(1, abs=5 / np.sqrt(W.size))
    assert all(np.all(b == 0) for b in parameters.biases)


def test_arrays_that_do_not_fit_are_named():
    parameters = initial_parameters((3, 4, 2), np.random.default_rng(0))
    wrong = Parameters((parameters.weights[0].T,), parameters.biases, parameters.readout)
    with pytest.raises(ArgumentError, match=r"weight of hidden layer 0 has shape \(4, 3\)"):
        check_shapes(wrong, (3, 4, 2))
    with pytest.raises(ArgumentError, match="need 2 of each"):
        check_shapes(parameters, (3, 4, 4, 2))
