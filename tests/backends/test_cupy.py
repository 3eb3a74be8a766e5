"""The GPU backend: what it says where it cannot run, and on a GPU what only that can show."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from disinhib.backends import BackendUnavailable, backend_class, backend_descriptions
from disinhib.backends.cuda.workspace import workspace_elements
from disinhib.refimpl.circuit import Parameters, initial_parameters
from disinhib.refimpl.configuration import NetworkConfiguration, Solver

from ..experiments.test_command_line import disinhib, one_line
from .test_threads_forks_and_copies import can_fork, in_child

DESCRIPTION = {d.name: d for d in backend_descriptions()}["cupy"]
SIZES = (784, 256, 256, 256, 10)

no_gpu = pytest.mark.skipif(not DESCRIPTION.unavailable, reason="there is a GPU")
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(DESCRIPTION.unavailable), reason=DESCRIPTION.unavailable or "-"),
]


@no_gpu
def test_without_a_gpu_the_list_of_backends_says_what_is_missing():
    # The extra cuda-check brings CuPy, but no cuBLAS.
    missing = {"pip install 'disinhib[cuda13]'": "[cuda13]", "libcublas": "libcublas"}
    missing["no CUDA device: cudaError"] = "cudaError"
    missing["no CUDA device: there is no driver"] = "driver"
    (word,) = (word for words, word in missing.items() if words in DESCRIPTION.unavailable)
    listed = disinhib("backends", COLUMNS="200")
    assert listed.returncode == 0
    assert "no: " in listed.stdout
    assert word in listed.stdout


@no_gpu
@pytest.mark.parametrize("command", ["train", "conform", "bench"])
def test_without_a_gpu_asking_for_it_is_one_line_and_code_2(command):
    with pytest.raises(BackendUnavailable, match="backend 'cupy' cannot run here: "):
        backend_class("cupy")
    result = disinhib(command, "--backend", "cupy")
    assert "backend 'cupy' cannot run here" in one_line(result)
    assert result.stdout == ""


def network(dtype, rule="exact-inverse", method="fixed-point", replicas=None):
    parameters = initial_parameters(SIZES, np.random.default_rng(0))
    if replicas:
        parameters = Parameters(
            tuple(np.stack([W] * replicas) for W in parameters.weights),
            tuple(np.stack([b] * replicas) for b in parameters.biases),
            np.stack([parameters.readout] * replicas),
        )
    configuration = NetworkConfiguration(sizes=SIZES, rule=rule)
    return backend_class("cupy")(configuration, parameters, dtype, Solver(method=method))


def images(n=1000):
    generator = np.random.default_rng(1)
    x = generator.integers(0, 256, (n, 784)) * (generator.random((n, 784)) < 0.5)
    y = np.full((n, 10), 0.01 / 9)
    y[np.arange(n), generator.integers(0, 10, n)] = 0.99
    return x.astype(np.uint8), y


class TestOnGpu:
    pytestmark = on_gpu

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold", "backprop"])
    def test_runs_are_bitwise_alike(self, dtype, rule):
        order = np.random.default_rng(2).permutation(1000).reshape(10, 100)
        learners = []
        for _ in range(2):
            backend = network(dtype, rule)
            backend.train(backend.place(*images(), 255), order)
            learners.append(backend.learner().parameters)
        for a, b in zip(learners[0].weights, learners[1].weights, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_products_are_not_rounded_to_tf32(self):
        """TF32 keeps 10 bits: errors of 1e-4 where float32's sums of 784 err by some 1e-6."""
        x, _ = images(100)
        single, double = network(np.float32), network(np.float64)
        (a, _), (b, _) = single.open_loop(x / 255), double.open_loop(x / 255)
        assert np.max(np.abs(a.u_E[0] - b.u_E[0])) < 1e-5

    def test_equal_replicas_learn_alike(self):
        order = np.arange(1000).reshape(10, 100)
        backend = network(np.float32, replicas=3)
        backend.train(backend.place(*images(), 255), order)
        readout = backend.learner().parameters.readout
        np.testing.assert_array_equal(readout[0], readout[1])
        np.testing.assert_array_equal(readout[0], readout[2])

    @can_fork
    def test_a_forked_child_is_told_in_a_line_and_its_parent_goes_on(self):
        backend = network(np.float32)
        order = np.arange(1000).reshape(10, 100)
        data = backend.place(*images(), 255)
        backend.train(data, order)

        def refusal():
            try:
                backend.train(data, order)
            except BackendUnavailable as problem:
                return str(problem).encode()
            return b"worked"

        assert in_child(refusal).startswith(b"backend 'cupy' was made before this process was")
        assert np.isfinite(backend.train(data, order).loss).all()

    def test_too_large_a_batch_names_what_would_fit(self):
        backend = network(np.float64, replicas=64)
        with pytest.raises(BackendUnavailable, match=r"out of memory: .* would fit"):
            backend.open_loop(np.zeros((100_000, 784)))

    def test_a_backend_that_is_dropped_gives_its_memory_to_the_next(self):
        """Five that each take three tenths of what is free, one after the other."""
        import cupy

        configuration = NetworkConfiguration(sizes=(1, 64, 100))
        parameters = initial_parameters(configuration.sizes, np.random.default_rng(0))
        of_a_row = sum(workspace_elements(configuration, 1, 0, False).values())
        free, _ = cupy.cuda.runtime.memGetInfo()
        x = np.zeros((int(0.3 * free / 4 / of_a_row), 1))
        for _ in range(5):
            backend = backend_class("cupy")(configuration, parameters, np.float32, Solver())
            open_loop, _ = backend.open_loop(x)
            assert np.isfinite(open_loop.u_out).all()

    @pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="no compute-sanitizer")
    @pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
    def test_no_thread_reads_what_it_must_not(self, tool):
        code = (
            "import numpy as np\n"
            "from disinhib.backends import backend_class\n"
            "from disinhib.refimpl.configuration import NetworkConfiguration, Solver\n"
            "from disinhib.refimpl.circuit import initial_parameters\n"
            "sizes = (20, 33, 17, 5)\n"
            "for method in ('fixed-point', 'tsit5'):\n"
            "    b = backend_class('cupy')(\n"
            "        NetworkConfiguration(sizes=sizes, rule='linear-threshold'),\n"
            "        initial_parameters(sizes, np.random.default_rng(0)),\n"
            "        np.float32, Solver(method=method))\n"
            "    x, y = np.random.default_rng(1).random((8, 20)), np.full((8, 5), 0.2)\n"
            "    b.train(b.place(x, y), np.arange(8).reshape(2, 4))\n"
        )
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
        # CuPy asks CUDA what it can do, and takes an error for no: none of ours.
        command += ["--report-api-errors", "no"]
        result = subprocess.run(
            [*command, sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout[-2000:]
