"""IDX files, the format MNIST is distributed in.

Two zero bytes, a type code, the number of dimensions, their lengths as big-endian
uint32, then the elements, big-endian, the last dimension fastest. There is no checksum:
an element that changed in a plain file cannot be told; gzip has one.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from .dataset import DatasetError

ELEMENT_TYPES: dict[int, np.dtype] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Array that an IDX file holds.

    Parameters
    ----------
    path : path
        The file; one whose name ends in `.gz` is decompressed.

    Returns
    -------
    array
        Shape and dtype are the file's, in native byte order.

    Raises
    ------
    DatasetError
        If the file cannot be read or is corrupt gzip, does not begin as an IDX file
        does, has an unknown element type, or is shorter or longer than its header says.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4:
        raise DatasetError(
            f"{path}: truncated: expected an IDX header of at least 4 bytes, found {len(content)}"
        )
    if content[:2] != b"\0\0":
        raise DatasetError(
            f"{path}: not an IDX file: expected to begin with 0x0000, found 0x{content[:2].hex()}"
        )
    code, n_dimensions = content[2], content[3]
    if code not in ELEMENT_TYPES:
        allowed = ", ".join(f"0x{known:02x}" for known in ELEMENT_TYPES)
        raise DatasetError(
            f"{path}: unsupported IDX element type: expected one of {allowed}, found 0x{code:02x}"
        )
    header = 4 + 4 * n_dimensions
    if len(content) < header:
        raise DatasetError(
            f"{path}: truncated: expected an IDX header of {header} bytes"
            f" for {n_dimensions} dimensions, found {len(content)}"
        )
    shape = tuple(
        int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)
    )
    dtype = ELEMENT_TYPES[code]
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        trouble = "truncated" if len(content) < expected else "trailing bytes"
        raise DatasetError(
            f"{path}: {trouble}: expected {expected} bytes"
            f" for shape {shape} of {dtype.name}, found {len(content)}"
        )
    try:
        elements = np.frombuffer(content, dtype, offset=header).reshape(shape)
    except ValueError as error:  # too many dimensions, or lengths too large beside a zero
        raise DatasetError(f"{path}: expected a shape NumPy can hold, found {shape}") from error
    return elements.astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: expected a readable file, found: {error.strerror}") from error
    if path.suffix != ".gz":
        return stored
    try:
        return gzip.decompress(stored)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: expected a sound gzip file, found: {error}") from error
