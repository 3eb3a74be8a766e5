"""A digest of all that an HDF5 file says: every path, dtype, shape, attribute and value."""

from __future__ import annotations

import hashlib
from typing import Any

import h5py
import numpy as np

from .hdf5_structure import holds_text_or_numbers, objects
from .parameter_groups import FileError, read_array

DIGEST = "sha256"
"""Root attribute that holds the digest; the one thing that it does not cover."""


def content_digest(file: h5py.File) -> str:
    """SHA-256 over the logical content, in hexadecimal.

    HDF5's own checksums leave attributes and contiguous data open. Bytes that no reader sees
    do not count.

    Parameters
    ----------
    file : h5py.File
        Open file.

    Raises
    ------
    FileError
        A dataset holds something else than numbers.
    """
    digest = hashlib.sha256()

    def add(*parts: Any) -> None:
        # The length before each part, so that no two contents run together alike.
        for part in parts:
            raw = part if isinstance(part, memoryview) else _as_bytes(part)
            digest.update(f"{len(raw)}:".encode())
            digest.update(raw)

    def add_attributes(item: h5py.HLObject, path: str) -> None:
        for name in sorted(set(item.attrs) - ({DIGEST} if path == "/" else set())):
            if not holds_text_or_numbers(item, name):
                add("attribute", name, "something else", item.attrs.get_id(name).dtype)
                continue
            value = item.attrs[name]
            array = np.asarray(value)
            if isinstance(value, str):
                add("attribute", name, "text", value)
            elif array.dtype.hasobject:
                add("attribute", name, "texts", array.shape, *array.ravel())
            else:
                add("attribute", name, array.dtype.str, array.shape, array.tobytes())

    add_attributes(file, "/")
    for path, item in objects(file):
        is_array = isinstance(item, h5py.Dataset)
        add("dataset" if is_array else "group", path)
        add_attributes(item, path)
        if is_array:
            array = np.ascontiguousarray(read_array(file, path))
            add(array.dtype.str, array.shape, array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _as_bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")


def sign(file: h5py.File) -> None:
    """Write the digest of the content into the file."""
    file.attrs[DIGEST] = content_digest(file)


def check_digest(file: h5py.File) -> None:
    """Compare the content with the digest that the file holds.

    Raises
    ------
    FileError
        They differ, or there is none.
    """
    signed = file.attrs.get(DIGEST)
    if not isinstance(signed, str):
        raise FileError(f"{file.filename}: attribute {DIGEST} is missing: the file is damaged")
    found = content_digest(file)
    if found != signed:
        raise FileError(
            f"{file.filename}: the file is damaged: its content has SHA-256 {found[:12]}…, "
            f"it was written with {signed[:12]}…"
        )
