"""What a port computed: arrays under the paths of a trace, as many as it has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from .arithmetic import FLOATS, Arithmetic, float_arithmetic, named_arithmetic
from .attributes import read_text
from .flat_directory import is_flat_directory, read_flat_directory
from .hdf5_file import reading
from .learning_run import golden_run
from .parameter_groups import FileError, read_array
from .stage_arrays import Arrays
from .stages import PATH_STAGES, STEP_STAGES, Stage
from .trace import Trace
from .trace_configuration import read_trace_configuration

PRECISION = "precision"
"""Optional attribute by which a port says in what arithmetic it computed."""


@dataclass(frozen=True)
class Candidate:
    """Arrays of a port, by their paths.

    Parameters
    ----------
    path : str or path
        Where they were read from.
    arrays : dict of array
        By path in the file, in the precision of the file.
    precision : str
        As the file says; empty if it does not.
    """

    path: Path
    arrays: Arrays
    precision: str = ""

    def arithmetic(self) -> Arithmetic:
        """Tell in what arithmetic it computed: as the file says, else as its arrays are stored."""
        if self.precision:
            return named_arithmetic(self.precision)
        widths = {array.dtype.name for array in self.arrays.values()} & set(FLOATS)
        return float_arithmetic(min(widths, key=FLOATS.index, default="float64"))

    def of_stage(self, stage: Stage, trace: Trace, step: int) -> Arrays:
        """Give its arrays of a stage that the trace has too, in memory order."""
        found: Arrays = {}
        for name in stage.golden(trace, step):
            array = self.arrays.get(stage.location(step, name))
            if array is not None:
                found[name] = (
                    np.swapaxes(array, 0, 1) if stage.is_path and array.ndim > 1 else array
                )
        return found

    def of_run(self, trace: Trace) -> Arrays:
        """Give its losses and final parameters."""
        found: Arrays = {}
        for name in golden_run(trace):
            location = name if name.endswith("_loss") else f"final_parameters/{name}"
            if location in self.arrays:
                found[name] = self.arrays[location]
        return found


def read_candidate(path: str | os.PathLike[str], trace: Trace) -> Candidate:
    """Read what a port wrote for a trace.

    Parameters
    ----------
    path : str or Path
        HDF5 file, or a flat directory (see `flat_directory`).
    trace : Trace
        Whose questions were answered; only arrays at its paths are read.

    Raises
    ------
    FileError
        It cannot be read, was made for another network, or has nothing at these paths.
    """
    path = Path(path)
    wanted = answer_locations(trace)
    if is_flat_directory(path):
        arrays, settings = read_flat_directory(path, wanted)
        candidate = Candidate(path, arrays, str(settings.get(PRECISION, "")))
    else:
        with reading(path) as file:
            _check_configuration(path, file, trace)
            candidate = Candidate(
                path,
                {name: read_array(file, name) for name in wanted if _has(file, name)},
                read_text(file, PRECISION, default=""),
            )
    if not candidate.arrays:
        raise FileError(
            f"{path} has no array at any path of {trace.path}: {wanted[0]} would be the first"
        )
    return candidate


def answer_locations(trace: Trace) -> list[str]:
    """List the paths at which a port may write, in order of cause."""
    locations = [
        stage.location(0, name) for stage in PATH_STAGES for name in stage.golden(trace, 0)
    ]
    for step in range(len(trace.steps)):
        for stage in STEP_STAGES:
            locations += [stage.location(step, name) for name in stage.golden(trace, step)]
    for name in golden_run(trace):
        locations.append(name if name.endswith("_loss") else f"final_parameters/{name}")
    return locations


def _has(file: h5py.File, location: str) -> bool:
    return isinstance(file.get(location), h5py.Dataset)


def _check_configuration(path: Path, file: h5py.File, trace: Trace) -> None:
    if "config" not in file.attrs:
        return
    configuration, _ = read_trace_configuration(file)
    for name in configuration.__dataclass_fields__:
        mine, right = getattr(configuration, name), getattr(trace.configuration, name)
        if mine != right:
            raise FileError(
                f"{path} was made for another network: {name} is {mine}, in {trace.path.name} "
                f"it is {right}"
            )
