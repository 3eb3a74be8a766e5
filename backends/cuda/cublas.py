"""Matrix products by cuBLAS, called through ctypes.

CuPy's own wrappers refuse every call while a stream is captured, move the handle to CuPy's current
stream before every call, and share that handle with all who use CuPy in the process. The few
functions below take a handle of our own, on a stream and with a workspace of its own.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from dataclasses import dataclass

import numpy as np

from ..backend import BackendUnavailable

TF32_VARIABLE, TF32_OVERRIDE = "DISINHIB_TF32", "NVIDIA_TF32_OVERRIDE"
WORKSPACE_BYTES = 32 * 2**20
"""What cuBLAS wants on Hopper, the most of all devices; with none, each graph takes its own."""
BRANCH_WORKSPACE_BYTES = 4 * 2**20
"""Enough for products small enough that they run side by side."""
DEFAULT_MATH, TF32_MATH = 0, 3
"""`cublasMath_t`."""
POINTERS_ON_HOST = 0
"""`cublasPointerMode_t`: where alpha and beta lie."""


@dataclass(frozen=True)
class Product:
    """C = alpha A B for `count` triples of matrices that lie at constant strides.

    C is (rows, columns), in rows; A (rows, inner), or (inner, rows) if it lies transposed; B
    (inner, columns), or (columns, inner). a, b and c are addresses of the first triple; strides
    count elements from one triple to the next.
    """

    rows: int
    inner: int
    columns: int
    a: int
    b: int
    c: int
    a_stride: int
    b_stride: int
    c_stride: int
    a_transposed: bool = False
    b_transposed: bool = False
    alpha: float = 1.0
    count: int = 1


def uses_tf32() -> bool:
    """Whether float32 products round their factors to TF32.

    Only if DISINHIB_TF32 is 1; NVIDIA's own variable, which cuBLAS obeys whatever it is told, goes
    before.
    """
    return os.environ.get(TF32_OVERRIDE, os.environ.get(TF32_VARIABLE, "0")) == "1"


def cublas_library(major: int) -> ctypes.CDLL:
    """Give the library of a major version of CUDA, which CuPy's own binding has found and loaded.

    A BackendUnavailable says that it is not there.
    """
    name = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    try:
        return ctypes.CDLL(name)
    except OSError as problem:
        raise BackendUnavailable(f"backend 'cupy' cannot run here: {problem}") from None


class Cublas:
    """Products of one precision on one stream.

    Parameters
    ----------
    library : ctypes.CDLL
        From `cublas_library`.
    dtype : numpy.dtype
        float32 or float64.
    stream : int
        The CUDA stream to which every product goes.
    workspace, workspace_bytes : int
        Address and size of memory on the device for these products alone.

    Raises
    ------
    BackendUnavailable
        The library refuses a call; the message has its reason.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        dtype: np.dtype,
        stream: int,
        workspace: int,
        workspace_bytes: int,
    ) -> None:
        self._library = library
        is_single = dtype == np.float32
        self._number = ctypes.c_float if is_single else ctypes.c_double
        kind = "S" if is_single else "D"
        self._gemm = getattr(library, f"cublas{kind}gemmStridedBatched")
        size, pointer, stride = ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong
        number = ctypes.POINTER(self._number)
        self._gemm.argtypes = [
            pointer, size, size, size, size, size, number, pointer, size, stride,
            pointer, size, stride, number, pointer, size, stride, size,
        ]  # fmt: skip
        self._handle = pointer()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        # The context is gone before an interpreter that ends would come to it.
        weakref.finalize(self, self._library.cublasDestroy_v2, self._handle).atexit = False
        # The stream first: setting it takes the workspace away.
        self._call("cublasSetStream_v2", self._handle, pointer(stream))
        space = pointer(workspace), ctypes.c_size_t(workspace_bytes)
        self._call("cublasSetWorkspace_v2", self._handle, *space)
        self._call("cublasSetPointerMode_v2", self._handle, POINTERS_ON_HOST)
        math = TF32_MATH if uses_tf32() else DEFAULT_MATH
        self._call("cublasSetMathMode", self._handle, math)

    def multiply(self, p: Product) -> None:
        """Run a product; cuBLAS, which counts in columns, is given C's transpose to find."""
        alpha, beta = self._number(p.alpha), self._number(0)
        status = self._gemm(
            self._handle, int(p.b_transposed), int(p.a_transposed), p.columns, p.rows, p.inner,
            alpha, p.b, p.inner if p.b_transposed else p.columns, p.b_stride,
            p.a, p.rows if p.a_transposed else p.inner, p.a_stride,
            beta, p.c, p.columns, p.c_stride, p.count,
        )  # fmt: skip
        self._check(self._gemm.__name__, status)

    def _call(self, name: str, *arguments: object) -> None:
        self._check(name, getattr(self._library, name)(*arguments))

    def _check(self, name: str, status: int) -> None:
        if status == 0:
            return
        describe = self._library.cublasGetStatusString
        describe.restype = ctypes.c_char_p
        text = describe(status).decode()
        raise BackendUnavailable(f"cuBLAS: {name} failed with {text} ({status})")
