"""Files and directories that a command writes, refused at its beginning if it could not."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..validation import FileError
from ..validation.durable_file import not_written


def refuse_unwritable(path: str | os.PathLike[str] | None) -> None:
    """Say before minutes of work what would fail after them.

    Parameters
    ----------
    path : path or None
        File to be written; None is none.

    Raises
    ------
    FileError
        It is a directory, its directory is missing, or the system refuses it.
    """
    if path is None:
        return
    path = Path(path)
    try:
        # Asked of the system itself: `Path.exists` takes some errors for an answer.
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        is_directory = False
    except OSError as problem:
        raise FileError(f"{path} cannot be written: {problem.strerror}") from problem
    if is_directory:
        raise FileError(f"{path} cannot be written: it is a directory")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileError(f"{path} cannot be written: {path.parent} is not a directory")
    if not os.access(path if path.exists() else parent, os.W_OK):
        raise FileError(f"{path} cannot be written: {os.strerror(errno.EACCES)}")


def make_directory(path: str | os.PathLike[str]) -> None:
    """Make a directory, with those above it, unless it is there.

    Parameters
    ----------
    path : str or path
        Directory.

    Raises
    ------
    FileError
        It cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise FileError(f"{path} cannot be made: {problem.strerror}") from problem


def write_output(path: str | os.PathLike[str], write: Callable[[], object]) -> None:
    """Write a file.

    Parameters
    ----------
    path : str or path
        Which, for the message.
    write : callable
        Does it.

    Raises
    ------
    FileError
        It could not be written.
    """
    path = Path(path)
    try:
        write()
    except OSError as problem:
        raise FileError(f"{path} cannot be written: {problem.strerror}") from problem


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one line that a file of a run cannot be written.

    Parameters
    ----------
    path : str or path
        Which.

    Raises
    ------
    FileError
        What is done meanwhile raises OSError.
    """
    path = Path(path)
    try:
        yield
    except OSError as problem:
        raise not_written(path, problem) from problem
