"""The calls of cuBLAS, on a library that does on the CPU what its documentation says."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from disinhib.backends import BackendUnavailable
from disinhib.backends.cuda.cublas import (
    TF32_MATH,
    WORKSPACE_BYTES,
    Cublas,
    Product,
    cublas_library,
    uses_tf32,
)

COMPILER = shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="neither gcc nor clang is here")

STREAM, WORKSPACE = 0x1234, 0x5678
"""Addresses that only the library looks at."""


class Handle(ctypes.Structure):
    _fields_ = [
        ("stream", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
        ("math", ctypes.c_int),
        ("pointers_on_device", ctypes.c_int),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    place = tmp_path_factory.mktemp("cublas") / "cublas.so"
    source = Path(__file__).with_name("cublas_on_cpu.c")
    command = [COMPILER, "-O1", "-fPIC", "-shared", source, "-o", place]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(place))


def handle_of(cublas):
    return ctypes.cast(cublas._handle, ctypes.POINTER(Handle)).contents


def matrices(flat, shape, transposed):
    return flat.reshape(-1, *shape[::-1]).swapaxes(1, 2) if transposed else flat.reshape(-1, *shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_products_are_those_of_rows(library, a_transposed, b_transposed, dtype):
    """Matrices that lie with gaps between them, of three different sizes, scaled."""
    rows, inner, columns, count, gap = 4, 7, 3, 5, 2
    generator = np.random.default_rng(0)
    a = generator.random((count, rows * inner + gap)).astype(dtype)
    b = generator.random((count, inner * columns + gap)).astype(dtype)
    c = np.full((count, rows * columns + gap), np.nan, dtype=dtype)
    Cublas(library, np.dtype(dtype), STREAM, WORKSPACE, WORKSPACE_BYTES).multiply(
        Product(
            rows, inner, columns, a.ctypes.data, b.ctypes.data, c.ctypes.data,
            a.shape[1], b.shape[1], c.shape[1], a_transposed, b_transposed, 0.25, count,
        )
    )  # fmt: skip
    A = matrices(a[:, :-gap], (rows, inner), a_transposed)
    B = matrices(b[:, :-gap], (inner, columns), b_transposed)
    found = c[:, :-gap].reshape(count, rows, columns)
    np.testing.assert_allclose(found, 0.25 * (A @ B), rtol=8 * np.finfo(dtype).eps)
    assert np.all(np.isnan(c[:, -gap:]))


def test_the_handle_has_a_stream_and_a_workspace_of_its_own(library):
    """The library takes the workspace away when it is given a stream."""
    cublas = Cublas(library, np.dtype(np.float32), STREAM, WORKSPACE, WORKSPACE_BYTES)
    handle = handle_of(cublas)
    assert (handle.stream, handle.workspace) == (STREAM, WORKSPACE)
    assert handle.workspace_bytes == WORKSPACE_BYTES


@pytest.mark.parametrize(
    ("variables", "rounded"),
    [
        ({}, False),
        ({"DISINHIB_TF32": "1"}, True),
        # NVIDIA's own goes before whatever a program asks for.
        ({"NVIDIA_TF32_OVERRIDE": "1"}, True),
        ({"DISINHIB_TF32": "1", "NVIDIA_TF32_OVERRIDE": "0"}, False),
    ],
)
def test_factors_are_rounded_only_where_it_is_asked_for(library, variables, rounded, monkeypatch):
    for name in ("DISINHIB_TF32", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert uses_tf32() is rounded
    cublas = Cublas(library, np.dtype(np.float32), STREAM, WORKSPACE, WORKSPACE_BYTES)
    assert (handle_of(cublas).math == TF32_MATH) is rounded


def test_what_the_library_refuses_is_an_error_in_a_line(library):
    cublas = Cublas(library, np.dtype(np.float32), 0, WORKSPACE, WORKSPACE_BYTES)
    number = np.ones(1, dtype=np.float32)
    at = number.ctypes.data
    text = "cublasSgemmStridedBatched failed with CUBLAS_STATUS_EXECUTION_FAILED (13)"
    with pytest.raises(BackendUnavailable, match=re.escape(text)):
        cublas.multiply(Product(1, 1, 1, at, at, at, 1, 1, 1))


def test_a_library_that_is_missing_is_an_error_in_a_line():
    with pytest.raises(BackendUnavailable, match=r"cannot run here: libcublas.so.999: .*$"):
        cublas_library(999)
