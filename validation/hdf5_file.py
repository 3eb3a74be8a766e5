"""Opening an HDF5 file for reading, with one line for whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from .byte_seal import check_seal
from .global_heap import check_global_heaps
from .parameter_groups import FileError


@contextmanager
def reading(path: str | Path) -> Iterator[h5py.File]:
    """Open a file, and close it again.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Raises
    ------
    FileError
        It is missing, is not HDF5, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        content = path.read_bytes()
        check_seal(path, content)
        check_global_heaps(path, content)
        with h5py.File(path, "r") as file:
            yield file
    except FileError:
        raise
    except Exception as problem:
        # What a damaged file makes HDF5 or a parser of its content raise has no end of kinds.
        raise FileError(f"{path}: not a readable HDF5 file ({_first_line(problem)})") from problem


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__
