"""Files that can be trusted: how one is opened, and how it is written.

Two SHA-256 guard a file. The digest, root attribute `sha256`, is over what the file says: it is
what the format promises to every reader, whoever rewrote the bytes since. The seal, a line after
HDF5's own content, is over the bytes: it is compared before HDF5 sees any of them, since HDF5 may
not come back from damaged ones. HDF5 passes over that line, and whatever else writes to the file
takes it off; a file without a seal is no worse for it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import get_ident
from typing import Any

import h5py
import numpy as np

from .arrays import FileError, read_array
from .hdf5 import check_global_heaps, check_structure, holds_text_or_numbers, objects

DIGEST = "sha256"
"""Root attribute that holds the digest; the one thing that it does not cover."""
MARK = b"\ndisinhib sha256 "
LENGTH = len(MARK) + 64 + 1
"""Bytes of the seal."""


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a file that is looked through from end to end, and close it again.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Raises
    ------
    FileError
        It is missing, is not HDF5, is damaged, leads to other files, or unfolds to more than its
        size allows (see `check_structure`). One line for whatever is wrong.
    """
    path = Path(path)
    refuse_all_but_files(path)
    try:
        # Before all its bytes are read: a sparse file may have any number.
        if not h5py.is_hdf5(path):
            raise FileError(f"{path}: not a readable HDF5 file (no HDF5 signature)")
        _check_bytes(path)
        # Reading needs no lock, and some file systems have none: HDF5 would refuse the file there.
        with h5py.File(path, "r", locking=False) as file:
            check_structure(file)
            yield file
    except FileError:
        raise
    except Exception as problem:
        # What a damaged file makes HDF5 or a parser of its content raise has no end of kinds.
        lines = str(problem).strip().splitlines() or [type(problem).__name__]
        raise FileError(f"{path}: not a readable HDF5 file ({lines[0]})") from problem


def refuse_all_but_files(path: str | os.PathLike[str]) -> None:
    """Refuse what is missing or closed to us, and what one might wait for ever to read.

    That are pipes, devices and sockets.

    Parameters
    ----------
    path : str or path
        Where a file is wanted.

    Raises
    ------
    FileError
        There is none, or it may not be read.
    """
    path = Path(path)
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileError(f"{path}: no such file") from None
    except OSError as problem:
        raise FileError(f"{path} cannot be read: {problem.strerror}") from problem
    if not stat.S_ISREG(kind):
        what = "a directory" if stat.S_ISDIR(kind) else "a pipe, socket or device"
        raise FileError(f"{path} is {what}: a file is needed")
    try:
        with open(path, "rb"):
            pass
    except OSError as problem:
        raise FileError(f"{path} cannot be read: {problem.strerror}") from problem


def _check_bytes(path: Path) -> None:
    content = path.read_bytes()
    _check_seal(path, content)
    check_global_heaps(path, content)


def _check_seal(path: Path, content: bytes) -> bool:
    """Compare the bytes with the seal; whether there is one."""
    # A view, as a copy would take the file's size once more.
    body, seal = memoryview(content)[:-LENGTH], content[-LENGTH:]
    if not seal.startswith(MARK):
        return False
    found, written = _sha256([body]), seal[len(MARK) : -1].decode("ascii", "replace")
    if found != written:
        raise _damaged(path, "bytes have", found, f"they were sealed with {written[:12]!r}")
    return True


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
        raise _damaged(file.filename, "content has", found, f"it was written with {signed[:12]}")


def _damaged(path: str | Path, what: str, found: str, written: str) -> FileError:
    return FileError(f"{path}: the file is damaged: its {what} SHA-256 {found[:12]}…, {written}…")


def content_digest(file: h5py.File) -> str:
    """SHA-256 over every path, dtype, shape, attribute and value but the digest itself.

    HDF5's own checksums leave attributes and contiguous data open. Bytes that no reader sees do not
    count. A dataset of something else than numbers is refused.
    """

    def with_lengths() -> Iterator[bytes | memoryview]:
        # The length before each part, so that no two contents run together alike.
        for part in _said(file):
            is_raw = isinstance(part, bytes | memoryview)
            raw = part if is_raw else str(part).encode(errors="surrogateescape")
            yield f"{len(raw)}:".encode()
            yield raw

    return _sha256(with_lengths())


def _sha256(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _said(file: h5py.File) -> Iterator[Any]:
    """All that a file says, in an order that is fixed."""
    yield from _said_by_attributes(file, set(file.attrs) - {DIGEST})
    for path, item in objects(file):
        is_array = isinstance(item, h5py.Dataset)
        yield from ("dataset" if is_array else "group", path)
        yield from _said_by_attributes(item, set(item.attrs))
        if is_array:
            array = np.ascontiguousarray(read_array(file, path))
            yield from (array.dtype.str, array.shape, array.reshape(-1).view(np.uint8).data)


def _said_by_attributes(item: h5py.HLObject, names: set[str]) -> Iterator[Any]:
    for name in sorted(names):
        yield from ("attribute", name)
        if not holds_text_or_numbers(item, name):
            yield from ("something else", item.attrs.get_id(name).dtype)
            continue
        value = item.attrs[name]
        array = np.asarray(value)
        if isinstance(value, str):
            yield from ("text", value)
        elif array.dtype.hasobject:
            yield from ("texts", array.shape, *array.ravel())
        else:
            yield from (array.dtype.str, array.shape, array.tobytes())


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
        Generations kept, see `generations`.

    Raises
    ------
    FileError
        It cannot be written; what was there before stands.
    """
    # In memory first: HDF5 that meets a full disk may end the process. It tells files by name, also
    # those that are nowhere, and another thread may be here too.
    name = f"in memory of thread {get_ident()}"
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        fill(file)
        sign(file)
        file.flush()
        image = file.id.get_file_image()
    seal = MARK + _sha256([image]).encode() + b"\n"
    _replace_durably(Path(path), image + seal, keep)


def sign(file: h5py.File) -> None:
    """Write the digest of the content into the file."""
    file.attrs[DIGEST] = content_digest(file)


def generations(path: str | os.PathLike[str], keep: int) -> list[Path]:
    """Name the file and the older ones beside it, newest first: name.h5, name-1.h5 and so on."""
    path = Path(path)
    older = [path.with_name(f"{path.stem}-{age}{path.suffix}") for age in range(1, keep)]
    return [path, *older]


def _replace_durably(path: Path, content: bytes, keep: int) -> None:
    """Write a new generation of a file; the oldest beyond `keep` goes, and what is damaged.

    The new file is written beside the old one, brought to disk, checked as it lies there, and
    only then takes the name. A crash at any point leaves a whole file under one of the names
    of `generations`; under the first, where the file system has links.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(content)
        _bring_to_disk(unfinished)
        # The bytes say all that the digest could, which was taken of them in memory.
        if unfinished.read_bytes() != content:
            raise not_written(path, OSError("what lies on disk is not what was written"))
        names = generations(path, keep)
        for newer, older in reversed(list(pairwise(names))):
            # One that is damaged must not take the place of a whole one: until the new file
            # has its name, that may be all there is.
            if newer.exists() and _is_whole(newer):
                _name_as_older(newer, older)
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


def _name_as_older(newer: Path, older: Path) -> None:
    """Give a file the next older name; with links it keeps its own until that is taken."""
    link = older.with_name(older.name + ".unfinished")
    try:
        with suppress(FileNotFoundError):
            link.unlink()
        os.link(newer, link, follow_symlinks=False)
        os.replace(link, older)
        # Where it had that name already nothing has been replaced.
        link.unlink(missing_ok=True)
    except (OSError, NotImplementedError):
        os.replace(newer, older)


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


def _is_whole(path: Path) -> bool:
    """Whether it can be read; of one that is sealed, the bytes tell."""
    try:
        refuse_all_but_files(path)
        if _check_seal(path, path.read_bytes()):
            return True
        with reading(path) as file:
            check_digest(file)
    except (FileError, OSError):
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
