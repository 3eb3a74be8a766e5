"""The CUDA sources under a GPU's rounding: fused multiply-adds, and subnormal floats flushed.

`test_conformance.py` in tests/validation has them on the traces, `test_extreme_settings.py` here.
"""

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import Parameters, initial_parameters
from disinhib.refimpl.configuration import NetworkConfiguration, Optimizer, Solver

from .cuda_on_cpu import cpu_backend, gpu_like_backend, why_no_gpu_rounding
from .small_task import RULES, SIZES, arrays_of, task, trained
from .test_cuda_kernels import DTYPES

pytestmark = pytest.mark.skipif(bool(why_no_gpu_rounding()), reason=why_no_gpu_rounding() or "-")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_and_sums_are_fused(dtype):
    """Other last digits than those of the build as it comes."""
    configuration, solver = NetworkConfiguration(sizes=SIZES), Solver()
    plain, fused = (
        arrays_of(trained(kind, configuration, solver, dtype)[1])
        for kind in (cpu_backend(), gpu_like_backend())
    )
    assert any(not np.array_equal(a, b) for a, b in zip(plain, fused, strict=True))


def fed_back(kind, dtype, rule, layer, bias):
    """Feedback weights and the learner after a step, one layer's biases all alike."""
    start = initial_parameters(SIZES, np.random.default_rng(0))
    biases = list(start.biases)
    biases[layer] = np.full_like(biases[layer], bias)
    parameters = Parameters(start.weights, tuple(biases), start.readout).astype(dtype)
    configuration = NetworkConfiguration(sizes=SIZES, rule=rule, optimizer=Optimizer("sgd"))
    backend = kind(configuration, parameters, dtype, Solver())
    x, y = (array.astype(dtype) for array in task(4))
    Q = backend.feedback_weights(backend.open_loop(x)[0])
    backend.learning_step(x, y)
    return [*Q, *arrays_of(backend.learner())]


@pytest.mark.parametrize("bias", [-70.0, -1e4])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("rule", RULES[:3])
def test_a_layer_that_is_silent_or_nearly_so_is_as_in_the_reference(rule, layer, bias):
    """Q of a layer at e^-70 has squares that underflow, and yet a norm of 1."""
    expected = fed_back(NumpyBackend, np.float64, rule, layer, bias)
    found = fed_back(gpu_like_backend(), np.float32, rule, layer, bias)
    for a, b in zip(found, expected, strict=True):
        # A sum of so many terms, in float32.
        np.testing.assert_allclose(a, b, rtol=0, atol=100 * np.finfo(np.float32).eps)


def test_floats_below_the_smallest_normal_one_are_flushed():
    """A layer at e^-90, 8e-40, is silent in float32 then; in float64 it is not."""
    for kind, dtype, norm in (
        (cpu_backend(), np.float32, 1),
        (gpu_like_backend(), np.float32, 0),
        (gpu_like_backend(), np.float64, 1),
    ):
        Q = fed_back(kind, dtype, "exact-inverse", 0, -90.0)[0].astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(Q, axis=(-2, -1)), norm, atol=1e-3)
