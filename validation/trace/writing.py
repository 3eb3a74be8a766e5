"""Writing traces, and the questions of a trace without its answers.

Questions and a port's answers may also be plain files in a directory, for ports without HDF5:
`settings.txt` has a name and its value a line, `arrays.txt` a path, type and dimensions, and each
array lies in PATH.bin, little-endian and in C order (docs/porting.md).
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

from ...refimpl import NetworkConfiguration, Solver, shown
from ..judge import LOSSES, N_CORRECT, PATH_STAGES, STEP_STAGES, Arrays
from ..storage import (
    FileError,
    objects,
    read_array,
    reading,
    refuse_all_but_files,
    write_parameters,
    write_signed_file,
)
from .trace import SCHEMA, SCHEMA_VERSION, Trace, read_trace_configuration, trace_configuration_text

INPUT_SCHEMA = "disinhib-trace-inputs"
SETTINGS, ARRAYS = "settings.txt", "arrays.txt"
MOST_DIMENSIONS = 8
"""A trace's arrays have 3 at most."""
TYPES = ("float64", "float32", "float16", "uint8", "int64", "int32")


def write_trace(path: str | os.PathLike[str], trace: Trace, origin: str) -> None:
    """Write a whole trace, signed with the digest of its content.

    Parameters
    ----------
    path : str or Path
        HDF5 file; one that exists is replaced.
    trace : Trace
        What to write.
    origin : str
        Who made the numbers, in words.

    Raises
    ------
    FileError
        It cannot be written.
    """

    def fill(file: h5py.File) -> None:
        _write_questions(file, trace, SCHEMA)
        file.attrs["origin"] = origin
        for step in range(len(trace.steps)):
            for stage in STEP_STAGES:
                for name, array in stage.golden(trace, step).items():
                    file[stage.location(step, name)] = array
        file["open_loop_loss"] = trace.open_loop_loss
        if trace.closed_loop_loss is not None:
            file["closed_loop_loss"] = trace.closed_loop_loss
        if trace.steps:
            figures = [LOSSES.golden(trace, step) for step in range(len(trace.steps))]
            file[N_CORRECT] = np.array([one[N_CORRECT] for one in figures], dtype=np.int64)
        write_parameters(file.create_group("final_parameters"), trace.final_parameters)
        if trace.trajectory is not None:
            for stage in PATH_STAGES:
                group = file.require_group(stage.group)
                for name, array in stage.golden(trace, 0).items():
                    group[name] = np.swapaxes(array, 0, 1)

    write_signed_file(path, fill)


def write_trace_inputs(path: str | os.PathLike[str], trace: Trace) -> None:
    """Write what a port is given: configuration, start, inputs and labels, and no answer.

    As `write_trace` does.
    """
    write_signed_file(path, lambda file: _write_questions(file, trace, INPUT_SCHEMA))


def _write_questions(file: h5py.File, trace: Trace, schema: str) -> None:
    file.attrs["schema"] = schema
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["config"] = trace_configuration_text(trace.configuration, trace.solver)
    parameters = trace.initial_parameters.astype(trace.stored_precision)
    write_parameters(file.create_group("initial_parameters"), parameters)
    file["inputs"] = _as_bytes_if_exact(trace.inputs)
    file["targets"] = trace.targets
    if trace.dataset:
        file.attrs["dataset"] = trace.dataset
    if trace.dataset_indices is not None:
        file["dataset_indices"] = trace.dataset_indices
    if trace.trajectory is None:
        return
    group = file.create_group("trajectory")
    recording = trace.trajectory.recording
    group.attrs["method"] = f"{recording.method}, constant step"
    group.attrs["dt"] = recording.dt
    group.attrs["every"] = recording.every
    group.attrs["n_steps"] = recording.n_steps
    for l, Q in enumerate(trace.trajectory.feedback):
        group[f"feedback/Q_{l}"] = Q


def _as_bytes_if_exact(inputs: np.ndarray) -> np.ndarray:
    """Images are bytes over 255, and are kept as bytes if nothing is lost."""
    whole = np.rint(inputs * 255)
    is_image = np.array_equal(whole / 255, inputs) and np.all((whole >= 0) & (whole <= 255))
    return whole.astype(np.uint8) if is_image and whole.max(initial=0) > 1 else inputs


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
) -> tuple[Arrays, dict[str, str], list[str]]:
    """Read a port's answers, of the arrays those that are wanted, by path, and the settings.

    Other arrays are left where they are, and their paths given; settings are empty without
    `settings.txt`.
    """
    directory = Path(directory)
    index = directory / ARRAYS
    if not os.path.lexists(index):
        raise FileError(f"{directory}: {ARRAYS} is missing")
    arrays: Arrays = {}
    others: list[str] = []
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
        else:
            others.append(path)
    settings = {}
    if os.path.lexists(directory / SETTINGS):
        for line in _lines(directory / SETTINGS):
            name, _, value = line.strip().partition(" ")
            settings[name] = value
    return arrays, settings, others


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
    if configuration.bias:
        del settings["bias"]
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
