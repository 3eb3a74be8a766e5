"""Replacing a file so that at every moment a whole one is on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from .parameter_groups import FileError


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
