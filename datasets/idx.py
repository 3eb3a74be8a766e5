"""IDX files, the format MNIST is distributed in.

Two zero bytes, a type code, the number of dimensions, their lengths as big-endian
uint32, then the elements, big-endian, the last dimension fastest. There is no checksum:
an element that changed in a plain file cannot be told; gzip has one.
"""

from __future__ import annotations

import gzip
import math
import os
import stat
import zlib
from pathlib import Path
from typing import IO

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

MOST_EXPANSION = 64
"""Bytes for each byte of a packed file; gzip makes a fifth of MNIST's images, half of others."""
ALWAYS_ALLOWED = 2**24
"""Bytes that any packed file may have."""
READ_AT_ONCE = 2**20


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
        does, has an unknown element type, is shorter or longer than its header says, or
        unpacks to more than MOST_EXPANSION times its size and ALWAYS_ALLOWED.
    """
    path = Path(path)
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            # One might wait for ever to read it.
            raise DatasetError(f"{path}: expected a file, found a pipe, socket or device")
        with open(path, "rb") as stored:
            size = os.fstat(stored.fileno()).st_size
            if path.suffix != ".gz":
                return _read(path, stored, size, size)
            most = max(ALWAYS_ALLOWED, MOST_EXPANSION * size)
            return _read(path, gzip.GzipFile(fileobj=stored), most, None)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: expected a sound gzip file, found: {error}") from error
    except OSError as error:
        raise DatasetError(f"{path}: expected a readable file, found: {error.strerror}") from error


def _read(path: Path, file: IO[bytes] | gzip.GzipFile, most: int, size: int | None) -> np.ndarray:
    """Read no more than the header says and a byte; `size` is the content's, where it is known."""
    start = file.read(4)
    if len(start) < 4:
        raise DatasetError(
            f"{path}: truncated: expected an IDX header of at least 4 bytes, found {len(start)}"
        )
    if start[:2] != b"\0\0":
        raise DatasetError(
            f"{path}: not an IDX file: expected to begin with 0x0000, found 0x{start[:2].hex()}"
        )
    code, n_dimensions = start[2], start[3]
    if code not in ELEMENT_TYPES:
        allowed = ", ".join(f"0x{known:02x}" for known in ELEMENT_TYPES)
        raise DatasetError(
            f"{path}: unsupported IDX element type: expected one of {allowed}, found 0x{code:02x}"
        )
    lengths, header = file.read(4 * n_dimensions), 4 + 4 * n_dimensions
    if len(lengths) < 4 * n_dimensions:
        raise DatasetError(
            f"{path}: truncated: expected an IDX header of {header} bytes"
            f" for {n_dimensions} dimensions, found {4 + len(lengths)}"
        )
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    dtype = ELEMENT_TYPES[code]
    expected = header + math.prod(shape) * dtype.itemsize
    content = bytearray()
    if size in (None, expected):
        # In pieces: what is asked for at once is allocated at once, whether it is there or not.
        wanted = min(expected, most) - header + 1
        while piece := file.read(min(wanted - len(content), READ_AT_ONCE)):
            content += piece
    found = header + len(content) if size is None else size
    if expected > most and found > most:
        raise DatasetError(
            f"{path}: expected to unpack to at most {most} bytes, {MOST_EXPANSION} times its size,"
            f" found {expected} for shape {shape} of {dtype.name}"
        )
    if found != expected:
        trouble = "truncated" if found < expected else "trailing bytes"
        more = " or more" if size is None and found > expected else ""
        raise DatasetError(
            f"{path}: {trouble}: expected {expected} bytes"
            f" for shape {shape} of {dtype.name}, found {found}{more}"
        )
    try:
        elements = np.frombuffer(content, dtype).reshape(shape)
    except ValueError as error:  # too many dimensions, or lengths too large beside a zero
        raise DatasetError(f"{path}: expected a shape NumPy can hold, found {shape}") from error
    return elements.astype(dtype.newbyteorder("="), copy=False)
