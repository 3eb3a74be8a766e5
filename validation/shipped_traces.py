"""Where the traces that come with the package lie, and how traces are found by path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from .attributes import is_of_schema
from .hdf5_file import reading
from .parameter_groups import FileError
from .trace import SCHEMA


def shipped_directory() -> Path:
    """Directory of the shipped traces, which a package on disk always has."""
    return Path(str(files("disinhib.validation.golden")))


def find_traces(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[list[Path], list[Path]]:
    """Turn files and directories into trace files.

    Parameters
    ----------
    paths : str or path, or a sequence of them
        Files are taken as they are; of a directory, the `.h5` files that are traces.

    Returns
    -------
    traces, others : list of Path
        Trace files, and the HDF5 files of a directory that are something else.

    Raises
    ------
    FileError
        A path does not exist, or a directory has no trace.
    """
    traces: list[Path] = []
    others: list[Path] = []
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    for path in map(Path, listed):
        if not path.is_dir():
            if not path.exists():
                raise FileError(f"{path}: no such file or directory")
            traces.append(path)
            continue
        found: list[Path] = []
        for candidate in sorted(path.glob("*.h5")):
            with reading(candidate) as file:
                is_trace = is_of_schema(file, SCHEMA)
            (found if is_trace else others).append(candidate)
        if not found:
            raise FileError(f"{path}: no trace (.h5 with schema {SCHEMA!r}) in this directory")
        traces.extend(found)
    return traces, others
