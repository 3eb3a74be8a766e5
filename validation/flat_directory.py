"""A trace's questions and a port's answers as plain files, for ports without HDF5.

`settings.txt` has one setting a line, its name and its value: `controller.k_p 0.2`, with `true` and
`false`, words, and `sizes 12 8 6 4`. `arrays.txt` has one array a line: its path, its type and its
dimensions: `initial_parameters/hidden_0/weight float64 12 8`. The numbers of an array lie in a file
of the path's name with `.bin` after it, little-endian, the last index fastest, nothing else in it.
A port writes its answers in the same way, `arrays.txt` among them; `settings.txt` it may leave out,
or write `precision float32`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..refimpl.configuration import NetworkConfiguration, Solver
from ..refimpl.errors import shown
from .hdf5_file import reading, refuse_all_but_files
from .hdf5_structure import objects
from .parameter_groups import FileError, read_array
from .stage_arrays import Arrays
from .trace_configuration import read_trace_configuration

SETTINGS, ARRAYS = "settings.txt", "arrays.txt"
MOST_DIMENSIONS = 8
"""A trace's arrays have 3 at most."""
TYPES = ("float64", "float32", "float16", "uint8", "int64", "int32")


def is_flat_directory(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a directory rather than a file."""
    path = Path(path)
    return path.is_dir()


def write_flat_directory(source: str | os.PathLike[str], directory: str | os.PathLike[str]) -> None:
    """Spread an HDF5 file of questions over plain files.

    Parameters
    ----------
    source : str or path
        From `write_trace_inputs`.
    directory : str or path
        Must not exist, or be empty.

    Raises
    ------
    FileError
        It cannot be written, or has files in it.
    """
    directory = Path(directory)
    source = Path(source)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileError(f"{directory} exists and is no empty directory: another name is needed")
    with reading(source) as file:
        configuration, solver = read_trace_configuration(file)
        arrays: Arrays = {
            path: read_array(file, path)
            for path, item in objects(file)
            if isinstance(item, h5py.Dataset)
        }
        recording = dict(file["trajectory"].attrs) if "trajectory" in file else {}
    settings = _settings(configuration, solver)
    settings |= {f"trajectory.{name}": value for name, value in recording.items()}
    if recording:
        settings["trajectory.method"] = str(recording["method"]).partition(",")[0]
    try:
        _write(directory, settings, arrays)
    except OSError as problem:
        raise FileError(f"{directory} cannot be written: {problem.strerror}") from problem


def read_flat_directory(
    directory: str | os.PathLike[str], wanted: Collection[str]
) -> tuple[Arrays, dict[str, str]]:
    """Read a port's answers.

    Parameters
    ----------
    directory : str or path
        Has `arrays.txt`.
    wanted : collection of str
        Paths to read; others are left where they are.

    Returns
    -------
    arrays : dict of array
        By path.
    settings : dict of str
        By name; empty without `settings.txt`.

    Raises
    ------
    FileError
        It is not as described above.
    """
    directory = Path(directory)
    index = directory / ARRAYS
    if not os.path.lexists(index):
        raise FileError(f"{directory}: {ARRAYS} is missing")
    arrays: Arrays = {}
    for number, line in enumerate(_lines(index), 1):
        words = line.split()
        where = f"{index}, line {number}"
        if not words:
            continue
        dimensions = words[2:]
        if (
            len(words) < 2
            or words[1] not in TYPES
            or len(dimensions) > MOST_DIMENSIONS
            or not all(re.fullmatch(r"[0-9]{1,20}", n) for n in dimensions)
        ):
            raise FileError(
                f"{where}: {shown(line)} is no path, type ({', '.join(TYPES)}) and up to "
                f"{MOST_DIMENSIONS} dimensions"
            )
        path, kind = words[:2]
        if path in arrays:
            raise FileError(f"{where}: {path} is in an earlier line too")
        if path in wanted:
            arrays[path] = _read_numbers(directory, path, kind, [int(n) for n in dimensions])
    settings = {}
    if os.path.lexists(directory / SETTINGS):
        for line in _lines(directory / SETTINGS):
            name, _, value = line.strip().partition(" ")
            settings[name] = value
    return arrays, settings


def _lines(path: Path) -> list[str]:
    refuse_all_but_files(path)
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise FileError(f"{path} cannot be read as text: {problem}") from problem


def _read_numbers(directory: Path, path: str, kind: str, shape: list[int]) -> np.ndarray:
    file = directory / f"{path}.bin"
    refuse_all_but_files(file)
    dtype = np.dtype(kind).newbyteorder("<")
    # Python's own product: the dimensions are the port's, and may be any.
    needed = dtype.itemsize
    for n in shape:
        needed *= n
    try:
        held = file.stat().st_size
        if held != needed:
            raise FileError(
                f"{file} has {held:,} bytes: {kind} of shape {tuple(shape)} needs {needed:,}"
            )
        numbers = np.fromfile(file, dtype)
    except OSError as problem:
        raise FileError(f"{file} cannot be read: {problem.strerror}") from problem
    try:
        return numbers.reshape(shape).astype(kind, copy=False)
    except (ValueError, OverflowError) as problem:
        raise FileError(f"{file} is of shape {tuple(shape)}: NumPy holds none such") from problem


def _settings(configuration: NetworkConfiguration, solver: Solver) -> dict[str, Any]:
    settings: dict[str, Any] = {}

    def add(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                add(f"{prefix}{name}.", value)
            elif value is not None:
                settings[prefix + name] = value

    add("", dataclasses.asdict(configuration))
    settings["solver.rtol"] = solver.rtol
    return settings


def _write(directory: Path, settings: dict[str, Any], arrays: Arrays) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} {_text(value)}" for name, value in settings.items()]
    (directory / SETTINGS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    index = []
    for path, array in arrays.items():
        index.append(" ".join([path, array.dtype.name, *map(str, array.shape)]))
        file = directory / f"{path}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    (directory / ARRAYS).write_text("\n".join(index) + "\n", encoding="utf-8")


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(str(part) for part in value)
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    # Shortest text that reads back as the same number.
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)
