"""A digest of a file's bytes at its end, so that damage is found before HDF5 sees any of it.

HDF5 passes over what follows its own content. A file without a seal is no worse than before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from threading import get_ident
from typing import Any

import h5py
import numpy as np

from .arrays import FileError, read_array
from .hdf5 import holds_text_or_numbers, objects, reading, sealed

# --- A digest of all that an HDF5 file says: every path, dtype, shape, attribute and value.


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


# --- Replacing a file so that at every moment a whole one is on disk.


def generations(path: str | os.PathLike[str], keep: int) -> list[Path]:
    """Name the file and the older ones beside it, newest first: name.h5, name-1.h5 and so on."""
    path = Path(path)
    older = [path.with_name(f"{path.stem}-{age}{path.suffix}") for age in range(1, keep)]
    return [path, *older]


def replace_durably(
    path: str | os.PathLike[str], content: bytes, check: Callable[[Path], None], keep: int
) -> None:
    """Write a new generation of a file; the oldest beyond `keep` goes, and what is damaged.

    The new file is written beside the old one, brought to disk, checked as it lies there, and
    only then takes the name. A crash at any point leaves a whole file under one of the names
    of `generations`.

    Parameters
    ----------
    path : str or path
        The newest generation's name.
    content : bytes
        Of the file.
    check : callable
        Raises `FileError` if the file there is not what was written.
    keep : int
        Generations, at least 1.

    Raises
    ------
    FileError
        It cannot be written; the generations before are as they were.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(content)
        _bring_to_disk(unfinished)
        check(unfinished)
        names = generations(path, keep)
        for newer, older in reversed(list(pairwise(names))):
            # One that is damaged must not take the place of a whole one: until the new file
            # has its name, that may be all there is.
            if newer.exists() and _passes(check, newer):
                os.replace(newer, older)
        os.replace(unfinished, path)
        _bring_to_disk(path.parent)
    except OSError as problem:
        raise not_written(path, problem) from problem
    except FileError as problem:
        if path.parent.is_dir():
            raise
        raise not_written(path) from problem
    finally:
        with suppress(OSError):
            unfinished.unlink()


def not_written(path: str | os.PathLike[str], problem: OSError | None = None) -> FileError:
    """Say in one line that a file could not be written.

    A directory that is gone is told in the same words, whatever was being done to which file.

    Parameters
    ----------
    path : str or path
        The file.
    problem : OSError or None
        What the system said.
    """
    path = Path(path)
    if not path.parent.is_dir():
        return FileError(
            f"{path.parent}: the directory is gone, removed or renamed while it was written to: "
            "nothing more can be saved there"
        )
    said = "" if problem is None else f" ({problem.strerror or problem})"
    return FileError(f"{path}: cannot be written{said}; what was saved before stands")


def _passes(check: Callable[[Path], None], path: Path) -> bool:
    try:
        check(path)
    except FileError:
        return False
    return True


def _bring_to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no directory, and keeps its own log of names
    # Not only for reading: Windows flushes what it may write.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- Writing an HDF5 file that can be trusted: signed, sealed, checked on disk, then named.


def write_signed_file(
    path: str | os.PathLike[str], fill: Callable[[h5py.File], None], keep: int = 1
) -> None:
    """Make a file in memory, and let it take its name when it lies whole on disk.

    Parameters
    ----------
    path : str or Path
        One that exists is replaced.
    fill : callable
        Writes the content into an open, empty file.
    keep : int
        Generations kept, see `durable_file.generations`.

    Raises
    ------
    FileError
        It cannot be written; what was there before stands.
    """
    # In memory first: HDF5 that meets a full disk may end the process. It tells files by name, also
    # those that are nowhere, and another thread may be here too.
    path = Path(path)
    name = f"in memory of thread {get_ident()}"
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        fill(file)
        sign(file)
        file.flush()
        image = file.id.get_file_image()

    def check(unfinished: Path) -> None:
        with reading(unfinished) as written:
            check_digest(written)

    replace_durably(Path(path), sealed(image), check, keep)
