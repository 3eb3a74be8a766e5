"""Backends are found by entry point; one that cannot run is listed with its reason."""

import sys
import warnings
from importlib import import_module

import pytest

from disinhib.backends import BackendUnavailable, backend_class, backend_descriptions


@pytest.fixture
def broken_plug_in(tmp_path, monkeypatch):
    """A real installed package whose backend fails on import."""
    (tmp_path / "broken_backend.py").write_text(
        'raise OSError("no such accelerator\\nand a second line")\n'
    )
    info = tmp_path / "broken_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[disinhib.backends]\nbroken = broken_backend:Backend\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("broken_backend", None)


def test_the_reference_comes_first_and_runs():
    first = backend_descriptions()[0]
    assert first.name == "numpy"
    assert first.unavailable == ""
    assert backend_class("numpy").name == "numpy"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(BackendUnavailable, match="'tpu' is unknown: choose one of numpy"):
        backend_class("tpu")


@pytest.mark.usefixtures("broken_plug_in")
def test_a_backend_that_cannot_run_gives_its_reason_in_one_line():
    described = {d.name: d for d in backend_descriptions()}
    assert described["broken"].unavailable == "OSError: no such accelerator"
    assert described["numpy"].unavailable == ""
    with pytest.raises(BackendUnavailable, match="cannot run here: OSError: no such accelerator"):
        backend_class("broken")


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("numpy_backend", "NumpyBackend", "numpy.backend"),
        ("numba_backend", "NumbaBackend", "numba.backend"),
        ("cupy_backend", "CupyBackend", "cuda.backend"),
        ("epoch_metrics", "TrainingMetrics", "backend"),
        ("epoch_metrics", "joined", "backend"),
        ("arguments", "checked_threads", "front"),
    ],
)
def test_an_old_path_still_leads_there_and_says_where_it_is_now(old, name, new):
    module = import_module(f"disinhib.backends.{old}")
    with pytest.warns(DeprecationWarning, match=f"{old} is now disinhib.backends.{new}$") as said:
        found = getattr(module, name)
    assert [warning.filename for warning in said] == [__file__]
    assert found is getattr(import_module(f"disinhib.backends.{new}"), name)
    assert not hasattr(module, "no_such_name")


def test_precisions_are_where_they_were():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from disinhib.backends.precision import PRECISIONS, checked_dtype
    assert [checked_dtype(name).name for name in PRECISIONS] == ["float32", "float64"]
