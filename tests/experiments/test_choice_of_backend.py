"""Which backend computes a run that names none."""

import sys

import numpy as np
import pytest

from disinhib import BackendUnavailable, NumbaBackend, NumpyBackend
from disinhib.experiments.training import begin, choice_of_backend, resume, run_configuration
from disinhib.experiments.training.choice_of_backend import (
    agrees_with_numpy,
    seconds_with_numpy,
    with_chosen_backend,
)
from disinhib.validation import read_checkpoint

from ..backends.implementations import CUDA_ON_CPU, NO_COMPILER, implementation
from .test_command_line import disinhib, one_line

TINY = ({"epochs": 1}, (64, 8, 10), 1350)
SMALL = ({"epochs": 100}, (64, 8, 10), 1350)
LARGE = ({"epochs": 50}, (784, 256, 256, 256, 10), 54_000)


@pytest.fixture
def here(monkeypatch):
    """Say what can run here, and what of numba is there; gives what would be chosen."""
    monkeypatch.delenv("DISINHIB_BACKEND")

    def choose(job, compiled=True, loaded=False, **kinds):
        settings, sizes, n_samples = job
        found = {"numba": NumbaBackend, **kinds}
        monkeypatch.setattr(choice_of_backend, "_if_it_can_run", found.get)
        monkeypatch.setattr(NumbaBackend, "is_compiled", staticmethod(lambda *_: compiled))
        configuration = run_configuration(settings, "test")
        assert configuration.backend == "auto"
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "numba", sys)
            if not loaded:
                patched.delitem(sys.modules, "numba")
            return with_chosen_backend(configuration, sizes, n_samples).backend

    return choose


def test_what_is_compiled_is_used_and_only_large_jobs_wait_for_it(here):
    assert here(SMALL) == here(LARGE) == "numba"
    assert here(SMALL, compiled=False) == "numpy"
    assert here(LARGE, compiled=False) == "numba"
    assert here(LARGE, numba=None) == "numpy"


def test_what_is_done_before_it_would_be_loaded_is_done_without(here):
    # Fifty milliseconds of NumPy against half a second in which Numba is imported; seconds of it.
    assert here(TINY) == here(TINY, cupy=NumpyBackend) == "numpy"
    assert here(TINY, loaded=True) == "numba"
    assert here(SMALL) == "numba"


@NO_COMPILER
def test_a_gpu_is_used_if_it_learns_what_numpy_does(here, monkeypatch):
    """By the kernels themselves, on the CPU: `kind` is a class in `Backend`'s place."""
    kind = implementation(CUDA_ON_CPU)
    assert agrees_with_numpy(kind, np.dtype(np.float32))
    assert agrees_with_numpy(kind, np.dtype(np.float64))
    monkeypatch.setattr(choice_of_backend, "backend_class", lambda name: kind)
    assert here(SMALL, cupy=kind) == "cupy"


def test_a_device_that_computes_something_else_or_fails_is_not(here):
    class Wrong(NumpyBackend):
        def train(self, data, batch_order):
            return super().train(data, batch_order[::-1])

    class Broken(NumpyBackend):
        def place(self, *data):
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    for kind in (Wrong, Broken):
        assert not agrees_with_numpy(kind, np.dtype(np.float32))
        assert here(SMALL, cupy=kind) == "numba"


@pytest.mark.parametrize("backend", [NumpyBackend, NumbaBackend])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_right_agrees(backend, dtype):
    assert agrees_with_numpy(backend, np.dtype(dtype))


def test_work_is_counted_in_samples_weights_and_ways_to_end_states():
    settings, sizes, n_samples = LARGE
    once = seconds_with_numpy(run_configuration(settings, "test"), sizes, n_samples)
    # Some 1,100 samples a second, as measured with two cores.
    assert 50 * 54_000 / 2000 < once < 50 * 54_000 / 500
    more = run_configuration({**settings, "solver": {"method": "tsit5"}}, "test")
    assert seconds_with_numpy(more, sizes, n_samples) > 10 * once


def test_the_choice_is_the_runs_own_from_then_on(tmp_path, monkeypatch):
    out = tmp_path / "run"
    settings = ("--hidden", "8", "--epochs", "1", "--dataset", "digits")
    monkeypatch.setenv("DISINHIB_BACKEND", "numba")
    result = disinhib("train", *settings, "--out", out)
    assert result.returncode == 0, result.stderr
    assert ", numba float32, seed 0" in result.stdout
    assert 'backend = "numba"' in (out / "config.toml").read_text()
    assert read_checkpoint(out / "checkpoint.h5").configuration["backend"] == "numba"
    monkeypatch.setenv("DISINHIB_BACKEND", "numpy")
    run, _, _ = resume(out, 2, chosen={"backend": "auto"})
    assert run.configuration.backend == "numba"
    run.lock.release()


def test_a_backend_that_the_environment_names_must_run_here(tmp_path, monkeypatch):
    monkeypatch.setenv("DISINHIB_BACKEND", "abacus")
    with pytest.raises(BackendUnavailable, match="'abacus' is unknown"):
        begin(run_configuration({"hidden": [8]}, "test"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    result = disinhib("train", "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "abacus" in one_line(result)
