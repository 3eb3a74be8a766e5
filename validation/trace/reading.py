"""Reading traces and ports' answers to them.

Of a trace every shape and number is checked before anything is compared. Of a port's answers only
arrays at the paths of a trace are read, as many as it has; they are judged as they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ...refimpl import (
    ConfigurationError,
    FeedbackWeights,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Recording,
)
from ..judge import (
    FLOATS,
    PATH_STAGES,
    STEP_STAGES,
    Arithmetic,
    Arrays,
    Stage,
    float_arithmetic,
    golden_run,
    named_arithmetic,
    run_location,
)
from ..storage import (
    DIGEST,
    FileError,
    check_digest,
    dataset_of_numbers,
    find_group,
    named_arrays,
    read_array,
    read_numbers,
    read_parameters,
    read_seconds,
    read_text,
    read_whole,
    reading,
    refuse_other_schema,
)
from .trace import (
    SCHEMA,
    SCHEMA_VERSION,
    CircuitStep,
    Trace,
    TraceStep,
    TraceTrajectory,
    read_trace_configuration,
    time_first,
)
from .writing import read_flat_directory

LARGEST_EVERY = 10_000
"""More steps between entries than anyone records would keep a judge busy for ever."""


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a trace file.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Returns
    -------
    Trace
        All arrays in float64.

    Raises
    ------
    FileError
        It cannot be used; the message names the file and what is wrong.
    """
    path = Path(path)
    with reading(path) as file:
        _check_schema(file)
        # Those recorded elsewhere carry none.
        if DIGEST in file.attrs:
            check_digest(file)
        configuration, solver = read_trace_configuration(file)
        sizes, rule = configuration.sizes, configuration.rule
        inputs = read_numbers(file, "inputs", (None, None, sizes[0]))
        n_steps, batch, _ = inputs.shape
        if 0 in inputs.shape:
            raise FileError(
                f"{path}: inputs has shape {inputs.shape}: at least one step of one sample is "
                "needed"
            )
        initial = _parameters(file, "initial_parameters", configuration)
        final = _parameters(file, "final_parameters", configuration)
        return Trace(
            path=path,
            configuration=configuration,
            solver=solver,
            initial_parameters=initial.astype(np.float64),
            final_parameters=final.astype(np.float64),
            stored_precision=_widest(initial),
            inputs=inputs / 255 if inputs.dtype == np.uint8 else inputs.astype(np.float64),
            targets=_array(file, "targets", (n_steps, batch, sizes[-1])),
            open_loop_loss=_array(file, "open_loop_loss", (n_steps,)),
            closed_loop_loss=(
                None if rule == "backprop" else _array(file, "closed_loop_loss", (n_steps,))
            ),
            steps=_steps(file, configuration, n_steps, batch),
            trajectory=_trajectory(file, configuration, batch),
            dataset=read_text(file, "dataset", default=""),
            dataset_indices=_indices(file, (n_steps, batch)),
        )


def _check_schema(file: h5py.File) -> None:
    refuse_other_schema(file, SCHEMA)
    version = read_whole(file, "schema_version", 0)
    if version != SCHEMA_VERSION:
        raise FileError(
            f"{file.filename}: schema_version is {version}: this program reads {SCHEMA_VERSION}"
        )


def _array(group: h5py.Group, path: str, shape: tuple[int | None, ...]) -> np.ndarray:
    return read_numbers(group, path, shape).astype(np.float64)


def _parameters(parent: h5py.Group, name: str, configuration: NetworkConfiguration) -> Parameters:
    return read_parameters(find_group(parent, name), configuration.sizes)


def _widest(parameters: Parameters) -> np.dtype:
    """Precision that holds all of them; whole numbers are taken into float64."""
    dtype = np.result_type(*named_arrays(parameters).values())
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _indices(file: h5py.File, shape: tuple[int, int]) -> np.ndarray | None:
    if "dataset_indices" not in file:
        return None
    return read_numbers(file, "dataset_indices", shape, "iu").astype(np.int64)


def _steps(
    file: h5py.File, configuration: NetworkConfiguration, n_steps: int, batch: int
) -> tuple[TraceStep, ...]:
    if "steps" not in file:
        return ()
    group = find_group(file, "steps")
    if len(group) != n_steps:
        raise FileError(f"{file.filename}: {len(group)} steps for {n_steps} batches of inputs")
    steps = (find_group(group, f"{number:04d}") for number in range(n_steps))
    return tuple(_step(step, configuration, batch) for step in steps)


def _step(group: h5py.Group, configuration: NetworkConfiguration, batch: int) -> TraceStep:
    return TraceStep(
        gradients=_parameters(group, "gradients", configuration).astype(np.float64),
        parameters_after=_parameters(group, "parameters_after", configuration).astype(np.float64),
        circuit=(
            None if configuration.rule == "backprop" else _circuit(group, configuration, batch)
        ),
    )


def _circuit(group: h5py.Group, configuration: NetworkConfiguration, batch: int) -> CircuitStep:
    return CircuitStep(
        open_loop=_state(group, "open_loop", configuration, (batch,)),
        feedback=_feedback(group, configuration, batch),
        closed_loop_target=_array(group, "closed_loop_targets", (batch, configuration.sizes[-1])),
        closed_loop=_state(group, "closed_loop", configuration, (batch,)),
        mean_inhibition=_mean_inhibition(group, configuration),
    )


def _state(
    parent: h5py.Group,
    name: str,
    configuration: NetworkConfiguration,
    leading: tuple[int | None, ...],
) -> NetworkState:
    group, (*hidden, n_out) = find_group(parent, name), configuration.sizes[1:]
    return NetworkState(
        _layers(group, "u_E", [(*leading, n) for n in hidden]),
        _layers(group, "u_I", [(*leading, n) for n in hidden]),
        _array(group, "u_out", (*leading, n_out)),
        _array(group, "c_int", (*leading, n_out)),
    )


def _layers(
    group: h5py.Group, name: str, shapes: Sequence[tuple[int | None, ...]]
) -> tuple[np.ndarray, ...]:
    return tuple(_array(group, f"{name}_{l}", shape) for l, shape in enumerate(shapes))


def _feedback(
    parent: h5py.Group, configuration: NetworkConfiguration, batch: int
) -> FeedbackWeights:
    group, (*hidden, n_out) = find_group(parent, "feedback"), configuration.sizes[1:]
    return _layers(group, "Q", [(batch, n_out, n) for n in hidden])


def _mean_inhibition(
    parent: h5py.Group, configuration: NetworkConfiguration
) -> tuple[np.ndarray, ...] | None:
    if configuration.rule != "linear-threshold" and "mean_inhibition" not in parent:
        return None
    group, hidden = find_group(parent, "mean_inhibition"), configuration.sizes[1:-1]
    means = _layers(group, "r_I", [(n,) for n in hidden])
    for l, mean in enumerate(means):
        if not np.all(mean > 0):
            raise FileError(
                f"{group.file.filename}: dataset {group.name}/r_I_{l} goes down to {mean.min()}: "
                "rates above 0 are needed"
            )
    return means


def _trajectory(
    file: h5py.File, configuration: NetworkConfiguration, batch: int
) -> TraceTrajectory | None:
    if "trajectory" not in file:
        return None
    group = find_group(file, "trajectory")
    n_times = dataset_of_numbers(group, "open_loop/u_out").shape[1:2]
    if not n_times or n_times[0] == 0:
        raise FileError(f"{file.filename}: dataset /trajectory/open_loop/u_out has no time")
    every = read_whole(group, "every", 1, LARGEST_EVERY)
    n_steps = (n_times[0] - 1) * every
    if "n_steps" in group.attrs and read_whole(group, "n_steps", 0) != n_steps:
        raise FileError(
            f"{file.filename}: attribute n_steps of /trajectory is {group.attrs['n_steps']}: "
            f"{n_times[0]} times, every {every}th step, make {n_steps}"
        )
    leading = (batch, *n_times)
    try:
        recording = Recording(
            # "tsit5, constant step"
            method=read_text(group, "method").partition(",")[0],
            dt=read_seconds(group, "dt"),
            n_steps=n_steps,
            every=every,
        )
    except ConfigurationError as problem:
        raise FileError(f"{file.filename}: trajectory: {problem}") from problem
    return TraceTrajectory(
        open_loop=time_first(_state(group, "open_loop", configuration, leading)),
        closed_loop=time_first(_state(group, "closed_loop", configuration, leading)),
        feedback=_feedback(group, configuration, batch),
        recording=recording,
    )


PRECISION = "precision"
"""Optional attribute by which a port says in what arithmetic it computed."""


@dataclass(frozen=True)
class Candidate:
    """Arrays of a port, by their paths, in the precision of the file.

    The precision that the file says is empty if it says none.
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
        names = stage.golden(trace, step)
        found = self._at({name: stage.location(step, name) for name in names})
        return {
            name: np.swapaxes(array, 0, 1) if stage.is_path and array.ndim > 1 else array
            for name, array in found.items()
        }

    def of_run(self, trace: Trace) -> Arrays:
        """Give its losses and final parameters."""
        return self._at({name: run_location(name) for name in golden_run(trace)})

    def _at(self, locations: dict[str, str]) -> Arrays:
        return {name: self.arrays[path] for name, path in locations.items() if path in self.arrays}


def read_candidate(path: str | os.PathLike[str], trace: Trace) -> Candidate:
    """Read what a port wrote for a trace.

    Parameters
    ----------
    path : str or Path
        HDF5 file, or a flat directory (see `read_flat_directory`).
    trace : Trace
        Whose questions were answered; only arrays at its paths are read.

    Raises
    ------
    FileError
        It cannot be read, was made for another network, or has nothing at these paths.
    """
    path = Path(path)
    wanted = answer_locations(trace)
    if path.is_dir():
        arrays, settings = read_flat_directory(path, wanted)
        candidate = Candidate(path, arrays, str(settings.get(PRECISION, "")))
    else:
        with reading(path) as file:
            _check_configuration(path, file, trace)
            candidate = Candidate(
                path,
                {
                    name: read_array(file, name)
                    for name in wanted
                    if isinstance(file.get(name), h5py.Dataset)
                },
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
    return locations + [run_location(name) for name in golden_run(trace)]


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
