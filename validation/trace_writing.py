"""Writing traces, and the questions of a trace without its answers."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from ..refimpl.state import NetworkState
from .parameter_groups import write_parameters
from .signed_file import write_signed_file
from .stage_arrays import state_arrays
from .stages import PATH_STAGES, STEP_STAGES
from .trace import SCHEMA, SCHEMA_VERSION, Trace, time_first
from .trace_configuration import trace_configuration_text

INPUT_SCHEMA = "disinhib-trace-inputs"


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
    path = Path(path)

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
        write_parameters(file.create_group("final_parameters"), trace.final_parameters)
        if trace.trajectory is not None:
            for stage in PATH_STAGES:
                state = getattr(trace.trajectory, stage.group.rpartition("/")[2])
                _write_state(file.require_group(stage.group), time_first(state))

    write_signed_file(path, fill)


def write_trace_inputs(path: str | os.PathLike[str], trace: Trace) -> None:
    """Write what a port is given: configuration, start, inputs and labels, and no answer.

    Parameters
    ----------
    path : str or Path
        HDF5 file; one that exists is replaced.
    trace : Trace
        Whose questions to write.

    Raises
    ------
    FileError
        It cannot be written.
    """
    path = Path(path)
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


def _write_state(group: h5py.Group, state: NetworkState) -> None:
    for name, array in state_arrays(state).items():
        group[name] = array
