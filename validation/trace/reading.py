"""Reading traces and ports' answers to them.

Of a trace every shape and number is checked before anything is compared. Of a port's answers only
arrays at the paths of a trace are read, as many as it has; they are judged as they are.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...refimpl import ConfigurationError, NetworkConfiguration, Parameters, Recording
from ..judge import (
    CLOSED_LOOP,
    CLOSED_LOOP_PATH,
    CLOSED_LOOP_TARGET,
    FEEDBACK,
    FLOATS,
    GRADIENTS,
    LOSSES,
    MEAN_INHIBITION,
    N_CORRECT,
    OPEN_LOOP,
    OPEN_LOOP_PATH,
    PATH_STAGES,
    STEP_STAGES,
    UPDATE,
    Arithmetic,
    Arrays,
    Stage,
    float_arithmetic,
    golden_run,
    initialisation_locations,
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
    objects,
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
        refuse_other_schema(file, SCHEMA)
        version = read_whole(file, "schema_version", 0)
        if version != SCHEMA_VERSION:
            raise FileError(
                f"{path}: schema_version is {version}: this program reads {SCHEMA_VERSION}"
            )
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
        if not configuration.bias and any(np.any(b) for b in initial.biases):
            raise FileError(
                f"{path}: initial_parameters has biases other than 0: the trace is of a network "
                "without biases"
            )
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
            dataset_indices=(
                read_numbers(file, "dataset_indices", (n_steps, batch), "iu").astype(np.int64)
                if "dataset_indices" in file
                else None
            ),
        )


def _array(group: h5py.Group, path: str, shape: tuple[int | None, ...]) -> np.ndarray:
    return read_numbers(group, path, shape).astype(np.float64)


def _parameters(parent: h5py.Group, name: str, configuration: NetworkConfiguration) -> Parameters:
    return read_parameters(find_group(parent, name), configuration.sizes)


def _widest(parameters: Parameters) -> np.dtype:
    """Precision that holds all of them; whole numbers are taken into float64."""
    dtype = np.result_type(*named_arrays(parameters).values())
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


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
    gradients, after = (
        _parameters(group, stage.part, configuration).astype(np.float64)
        for stage in (GRADIENTS, UPDATE)
    )
    if configuration.rule == "backprop":
        return TraceStep(gradients, after, None)
    parts = {
        stage.part: _part(group, stage, configuration, batch)
        for stage in (OPEN_LOOP, FEEDBACK, CLOSED_LOOP_TARGET, CLOSED_LOOP)
    }
    means = None
    if configuration.rule == "linear-threshold" or MEAN_INHIBITION.part in group:
        means = _part(group, MEAN_INHIBITION, configuration)
        for l, mean in enumerate(means):
            if not np.all(mean > 0):
                raise FileError(
                    f"{group.file.filename}: dataset {group.name}/mean_inhibition/r_I_{l} goes "
                    f"down to {mean.min()}: rates above 0 are needed"
                )
    return TraceStep(gradients, after, CircuitStep(**parts, mean_inhibition=means))


def _part(
    parent: h5py.Group, stage: Stage, configuration: NetworkConfiguration, *leading: int
) -> Any:
    """What a stage gave, from its group."""
    group = find_group(parent, stage.part) if stage.group else parent
    assert stage.form.shapes is not None
    shapes: dict[str, Any] = stage.form.arrays(stage.form.shapes(configuration.sizes, leading))
    arrays = {name: _array(group, name, shape) for name, shape in shapes.items()}
    if stage.is_path:
        # The files have (batch, time, n), the model (time, batch, n).
        arrays = {name: np.swapaxes(array, 0, 1) for name, array in arrays.items()}
    return stage.form.value(arrays)


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
        open_loop=_part(group, OPEN_LOOP_PATH, configuration, batch, *n_times),
        closed_loop=_part(group, CLOSED_LOOP_PATH, configuration, batch, *n_times),
        feedback=_part(group, FEEDBACK, configuration, batch),
        recording=recording,
    )


PRECISION = "precision"
"""Optional attribute by which a port says in what arithmetic it computed."""


@dataclass(frozen=True)
class Candidate:
    """Arrays of a port, by their paths, in the precision of the file.

    The precision that the file says is empty if it says none. Other paths are those at which a
    trace has neither a question nor an answer, each with the answer's path that is most like it,
    empty where none is.
    """

    path: Path
    arrays: Arrays
    precision: str = ""
    other_paths: tuple[tuple[str, str], ...] = ()

    def misnamed(self) -> tuple[tuple[str, str], ...]:
        """Give other paths that are nearly those of answers, which are not there."""
        return tuple(pair for pair in self.other_paths if pair[1] and pair[1] not in self.arrays)

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
        if stage.of_run:
            # One of another shape than an entry a step is given whole, with the first.
            n_steps = len(trace.steps)
            return {
                name: np.asarray(array[step]) if array.shape == (n_steps,) else array
                for name, array in found.items()
                if array.shape == (n_steps,) or step == 0
            }
        return {
            name: np.swapaxes(array, 0, 1) if stage.is_path and array.ndim > 1 else array
            for name, array in found.items()
        }

    def of_run(self, trace: Trace) -> Arrays:
        """Give its losses and final parameters."""
        return self._at({name: run_location(name) for name in golden_run(trace)})

    def _at(self, locations: dict[str, str]) -> Arrays:
        return {name: self.arrays[path] for name, path in locations.items() if path in self.arrays}


def stored_precision_in_words(candidate: Candidate, arithmetic: Arithmetic) -> str:
    """Say if the numbers are those of another precision than the one they are judged by.

    Empty if they are not, or where there are too few to tell.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # Numbers of another byte order may be none of which nobody is warned.
        numbers = [
            array[np.isfinite(array) & (array != np.rint(array))].astype(np.float64)
            for array in map(np.asarray, candidate.arrays.values())
            if array.dtype.kind == "f"
        ]
    together = np.concatenate(numbers) if numbers else np.zeros(0)
    if together.size < FEWEST_TOLD:
        return ""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        held = [name for name in FLOATS if np.array_equal(together, together.astype(name))]
    narrowest = held[0]
    if arithmetic.is_fixed_point:
        is_held = bool(np.all(np.ldexp(together, arithmetic.fraction_bits) % 1 == 0))
        is_narrower = False
    else:
        is_held = FLOATS.index(narrowest) <= FLOATS.index(arithmetic.name)
        is_narrower = narrowest != arithmetic.name
    if not is_held:
        return (
            f"The numbers have more digits than {arithmetic.name}, by which they are judged; "
            f"{narrowest} holds them."
        )
    if is_narrower:
        return (
            f"The numbers are of {narrowest}, and are judged as {arithmetic.name}: if you "
            f"computed in {narrowest}, say --precision {narrowest}."
        )
    return ""


FEWEST_TOLD = 16
"""So many numbers are those of a narrower precision by chance never."""


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
    drawn = initialisation_locations(trace.configuration.sizes)
    wanted = [*answer_locations(trace), *drawn]
    if path.is_dir():
        arrays, settings, others = read_flat_directory(path, wanted)
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
            others = [
                name
                for name, item in objects(file)
                if isinstance(item, h5py.Dataset) and name not in candidate.arrays
            ]
    unknown = [name for name in others if not is_question(name)]
    like = [_most_like(name, wanted) for name in unknown[:MOST_LOOKED_UP]]
    like += [""] * (len(unknown) - len(like))
    candidate = dataclasses.replace(candidate, other_paths=tuple(zip(unknown, like, strict=True)))
    if not candidate.arrays:
        near = next((f", and {one} is not {other}" for one, other in candidate.misnamed()), "")
        raise FileError(
            f"{path} has no array at any path of {trace.path}: {wanted[0]} would be the first{near}"
        )
    return candidate


QUESTIONS = ("inputs", "targets", "dataset_indices", "initial_parameters/", "trajectory/feedback/")


def is_question(path: str) -> bool:
    """Whether a trace has what it asks at this path, as answers may that began as a copy of it."""
    return path in QUESTIONS or any(path.startswith(q) for q in QUESTIONS if q.endswith("/"))


MOST_LOOKED_UP = 100
"""So many names show what a port calls things."""


def _most_like(path: str, wanted: list[str]) -> str:
    # Step and layer are right in a name that is spelt otherwise.
    digits = re.findall(r"\d+", path)
    alike = [one for one in wanted if re.findall(r"\d+", one) == digits]
    return next(iter(get_close_matches(path, alike, 1, 0.8)), "")


def answer_locations(trace: Trace) -> list[str]:
    """List the paths at which a port may write, in order of cause."""
    locations = [
        stage.location(0, name) for stage in PATH_STAGES for name in stage.golden(trace, 0)
    ]
    for step in range(len(trace.steps)):
        for stage in STEP_STAGES:
            locations += [stage.location(step, name) for name in stage.golden(trace, step)]
    counts = [LOSSES.location(0, N_CORRECT)] if trace.steps else []
    return locations + [run_location(name) for name in golden_run(trace)] + counts


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
