"""What the command does to start and end quickly changes nothing else."""

import ctypes
import gc
import subprocess
import sys

import pytest

from disinhib.backends.cuda import device
from disinhib.experiments.loading import loading

from .test_command_line import in_a_process


def test_garbage_is_looked_for_as_before_once_all_is_loaded():
    assert gc.isenabled()
    with loading():
        assert not gc.isenabled()
        with loading():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_a_process_that_ends_has_written_all(tmp_path):
    made = ("--hidden", "3", "--batch-size", "675", "--epochs", "1")
    chosen = {"DISINHIB_BACKEND": "auto", "PYTHONPROFILEIMPORTTIME": "1"}
    result = in_a_process("train", *made, "--out", "run", cwd=tmp_path, **chosen)
    assert result.returncode == 0, result.stderr
    assert "Written to run" in result.stdout
    assert " numpy\n" in result.stderr  # what is imported is told,
    assert " numba\n" not in result.stderr  # and of so little work compiled code is no part
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"checkpoint.h5", "metrics.jsonl", "curves.png", "config.toml"} <= names
    assert "lock" not in names
    assert in_a_process("train", "--hidden", "x", cwd=tmp_path).returncode == 2


def test_cupy_is_not_loaded_where_there_is_no_driver(monkeypatch):
    """In a process of its own: this one may have loaded it, or something in its place."""
    pytest.importorskip("cupy")
    if device._has_driver():
        pytest.skip("there is a driver")
    code = (
        "import sys\n"
        "from disinhib.backends import BackendUnavailable, backend_class, backend_descriptions\n"
        "(cupy,) = [one for one in backend_descriptions() if one.name == 'cupy']\n"
        "print('cupy' in sys.modules, bool(cupy.version), cupy.unavailable)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("False True no CUDA device: there is no driver, ")


@pytest.mark.parametrize("there", [*device.DRIVERS, "libc.so.6"])
def test_a_driver_is_one_that_can_be_loaded(monkeypatch, there):
    def load(name):
        if name != there:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert device._has_driver() == (there in device.DRIVERS)
