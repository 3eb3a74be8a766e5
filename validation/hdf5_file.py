"""Opening an HDF5 file for reading, with one line for whatever is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from .byte_seal import check_seal
from .global_heap import check_global_heaps
from .hdf5_structure import check_structure
from .parameter_groups import FileError


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
        size allows (see `hdf5_structure`).
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
        raise FileError(f"{path}: not a readable HDF5 file ({_first_line(problem)})") from problem


def refuse_all_but_files(path: str | os.PathLike[str]) -> None:
    """Refuse what is missing, and what one might wait for ever to read: pipes, devices, sockets.

    Parameters
    ----------
    path : str or path
        Where a file is wanted.

    Raises
    ------
    FileError
        There is none.
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


def _check_bytes(path: Path) -> None:
    content = path.read_bytes()
    check_seal(path, content)
    check_global_heaps(path, content)


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__
