"""Files that a command writes at its end, refused at its beginning if they could not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..validation import FileError


def refuse_unwritable(path: Path | None) -> None:
    """Say before minutes of work what would fail after them.

    Parameters
    ----------
    path : Path or None
        File to be written; None is none.

    Raises
    ------
    FileError
        It is a directory, or its directory is missing.
    """
    if path is None:
        return
    if path.is_dir():
        raise FileError(f"{path} cannot be written: it is a directory")
    if not path.absolute().parent.is_dir():
        raise FileError(f"{path} cannot be written: {path.parent} is not a directory")


def write_output(path: Path, write: Callable[[], object]) -> None:
    """Write a file.

    Parameters
    ----------
    path : Path
        Which, for the message.
    write : callable
        Does it.

    Raises
    ------
    FileError
        It could not be written.
    """
    try:
        write()
    except OSError as problem:
        raise FileError(f"{path} cannot be written: {problem.strerror}") from problem
