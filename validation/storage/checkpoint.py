"""A run's files: checkpoints, all that it needs to go on as if it had never stopped; start files.

Last, what any HDF5 file of this project holds, as rows for a person to read. The schemas are in
docs/files.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...backends import TrainingMetrics
from ...refimpl import EndStateCounts, Learner, OptimizerState, Parameters
from .arrays import (
    FileError,
    find_group,
    named_arrays,
    not_finite,
    read_array,
    read_numbers,
    read_parameters,
    stored_sizes,
    write_parameters,
)
from .hdf5 import (
    holds_text_or_numbers,
    is_of_schema,
    objects,
    read_json,
    read_seconds,
    read_text,
    read_whole,
    refuse_other_schema,
)
from .signed_file import check_digest, generations, reading, write_signed_file

SCHEMA = "disinhib-checkpoint"
SCHEMA_VERSION = 1
CONTENT_DIGESTS = ("data", "batch_order", "start")
MOMENTS = ("first_moment", "second_moment")
MOST_GENERATIONS = 100
"""As many names are looked at for a whole checkpoint."""


class OtherSizes(FileError):
    """Parameters that are whole, but of another network than is configured.

    `hidden` are their hidden layers if with those they would fit, else none.
    """

    def __init__(self, message: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        super().__init__(message)
        ends_fit = (found[0], found[-1]) == (wanted[0], wanted[-1])
        self.hidden = found[1:-1] if ends_fit else ()


class OtherVersion(FileError):
    """A whole checkpoint that another version of this program wrote."""


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Parameters
    ----------
    epochs, steps : int
        Epochs finished, and steps done of the epoch after those.
    seconds : float
        Time those steps took.
    metrics : TrainingMetrics or None
        Their figures; None when there are no such steps.
    """

    epochs: int
    steps: int = 0
    seconds: float = 0.0
    metrics: TrainingMetrics | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A run at one moment.

    Parameters
    ----------
    learner : Learner
        Parameters, optimiser moments, running means.
    position : Position
        Where in the run.
    random_state : dict
        State of the generator that orders the batches of the epoch in progress, at its
        start. It follows from seed and epoch.
    configuration : dict
        The run's whole configuration.
    data, batch_order, start : str
        Digests of the data learnt from and judged by, of the batches of the epoch in progress, and
        of what a start file gave, empty without one. They and the random state are compared on
        resuming.
    """

    learner: Learner
    position: Position
    random_state: dict[str, Any]
    configuration: dict[str, Any]
    data: str = ""
    batch_order: str = ""
    start: str = ""


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint, keep: int = 2) -> None:
    """Write a checkpoint so that a whole one is on disk at every moment.

    Parameters
    ----------
    path : str or Path
        Takes the new one, when it is complete and checked; those before get names of
        their own, see `generations`.
    checkpoint : Checkpoint
        What to write.
    keep : int
        How many are kept.

    Raises
    ------
    FileError
        It cannot be written, or parameters, moments or running means are not finite; those
        before stand.
    """
    path = Path(path)
    broken = not_finite(checkpoint.learner)
    if broken:
        raise FileError(
            f"{path}: not finite: {', '.join(broken)}: no run can go on from that; "
            "what was saved before stands"
        )
    configuration = json.dumps(checkpoint.configuration)
    random_state = json.dumps(checkpoint.random_state)

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["config"] = configuration
        file.attrs["random_state"] = random_state
        for name in CONTENT_DIGESTS:
            file.attrs[name] = getattr(checkpoint, name)
        _write_learner(file, checkpoint.learner)
        _write_position(file.create_group("position"), checkpoint.position)

    write_signed_file(path, fill, keep)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    What a later program has added to version 1 is passed over.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Raises
    ------
    FileError
        It is not a whole checkpoint of a version this program reads, or what it says of a learner
        does not fit together.
    """
    path = Path(path)
    with reading(path) as file:
        refuse_other_schema(file, SCHEMA)
        if read_whole(file, "schema_version", 0) != SCHEMA_VERSION:
            raise _other_version(file)
        check_digest(file)
        return Checkpoint(
            learner=_read_learner(file),
            position=_read_position(find_group(file, "position")),
            random_state=read_json(file, "random_state"),
            configuration=read_json(file, "config"),
            # Version 1 began without some of them.
            **{name: read_text(file, name, default="") for name in CONTENT_DIGESTS},
        )


def newest_checkpoint(path: str | os.PathLike[str]) -> tuple[Checkpoint, list[str]]:
    """Read the newest checkpoint that is not damaged.

    Parameters
    ----------
    path : str or Path
        Where the newest is; those before lie beside it.

    Returns
    -------
    checkpoint : Checkpoint
    problems : list of str
        What is wrong with newer ones, a line each, and which was taken instead.

    Raises
    ------
    FileError
        None is whole; the message is that of the newest. Or the newest is, but of another
        version: going on from an older one would lose what it holds.
    """
    path = Path(path)
    problems: list[FileError] = []
    for candidate in generations(path, MOST_GENERATIONS):
        if not candidate.is_file():
            continue
        try:
            checkpoint = read_checkpoint(candidate)
        except OtherVersion:
            raise
        except FileError as problem:
            problems.append(problem)
            continue
        told = [*map(str, problems), f"the one before is taken: {candidate}"] if problems else []
        if not problems and candidate != path:
            told = [f"{path} is missing, the one before is taken: {candidate}"]
        return checkpoint, told
    raise problems[0] if problems else FileError(f"{path}: no such file")


def _other_version(file: h5py.File) -> FileError:
    line = (
        f"{file.filename}: schema_version is {file.attrs.get('schema_version')}: "
        f"this program reads {SCHEMA_VERSION}"
    )
    try:
        check_digest(file)
    except FileError:
        # A flipped bit may be all that is other about the version.
        return FileError(line)
    return OtherVersion(line)


def _write_learner(file: h5py.File, learner: Learner) -> None:
    write_parameters(file.create_group("parameters"), learner.parameters)
    optimizer = file.create_group("optimizer")
    optimizer.attrs["n_steps"] = learner.optimizer.n_steps
    for name in MOMENTS:
        moment = getattr(learner.optimizer, name)
        if moment is not None:
            write_parameters(optimizer.create_group(name), moment)
    means = file.create_group("mean_inhibition")
    for l, r_bar in enumerate(learner.mean_inhibition):
        means[f"r_I_{l}"] = r_bar


def _read_learner(file: h5py.File) -> Learner:
    group, optimizer = find_group(file, "parameters"), find_group(file, "optimizer")
    means = find_group(file, "mean_inhibition")
    sizes = stored_sizes(group)
    parameters = read_parameters(group, sizes)
    moments = [
        read_parameters(find_group(optimizer, name), sizes)
        for name in MOMENTS
        # Plain descent has neither.
        if any(one in optimizer for one in MOMENTS)
    ]
    learner = Learner(
        parameters,
        OptimizerState(read_whole(optimizer, "n_steps", 0), *moments),
        tuple(read_numbers(means, f"r_I_{l}", (n,)) for l, n in enumerate(sizes[1:-1])),
    )
    _check_learner(file, learner, len(means))
    return learner


def _check_learner(file: h5py.File, learner: Learner, n_means: int) -> None:
    """Refuse what no learner can be, though every array is there and fits."""
    parameters, second = learner.parameters, learner.optimizer.second_moment
    if not parameters.weights or n_means != len(parameters.weights):
        raise FileError(
            f"{file.filename}: {len(parameters.weights)} hidden layers and {n_means} running "
            "means: at least one layer, and a mean for each, is needed"
        )
    groups = [parameters, learner.optimizer.first_moment, second]
    arrays = [array for one in groups if one is not None for array in named_arrays(one).values()]
    found = sorted({array.dtype.name for array in (*arrays, *learner.mean_inhibition)})
    if found not in (["float32"], ["float64"]):
        raise FileError(
            f"{file.filename}: parameters, moments and means are {', '.join(found)}: "
            "all float32 or all float64 is needed"
        )
    squares = [] if second is None else list(named_arrays(second).values())
    for name, positive in (("running mean", learner.mean_inhibition), ("second moment", squares)):
        least = min((array.min(initial=0) for array in positive), default=0)
        if least < 0:
            raise FileError(f"{file.filename}: a {name} goes down to {least}: 0 or more is needed")


STEPS = "steps"
"""Nobody counted them where the attribute is missing, as before there was one."""
WAYS = [item.name for item in dataclasses.fields(EndStateCounts) if item.name != STEPS]
UNDER_CONTROL = "closed_loop_n_correct"
"""Backprop has none, nor have checkpoints of before it was counted."""


def _write_position(group: h5py.Group, position: Position) -> None:
    for name in ("epochs", "steps", "seconds"):
        group.attrs[name] = getattr(position, name)
    if position.metrics is None:
        return
    for name in ("loss", "closed_loop_loss", "n_correct", UNDER_CONTROL):
        figures = getattr(position.metrics, name)
        if figures is not None:
            group[name] = figures
    for name in ("open_loop_counts", "closed_loop_counts"):
        counts = getattr(position.metrics, name)
        group[name] = np.array([getattr(counts, way) for way in WAYS])
        if counts.steps is not None:
            group[name].attrs[STEPS] = counts.steps


def _read_position(group: h5py.Group) -> Position:
    steps = read_whole(group, "steps", 0)
    metrics = None
    if steps:
        metrics = TrainingMetrics(
            loss=read_numbers(group, "loss", (steps,)),
            # NaN for backprop, which has none.
            closed_loop_loss=read_numbers(group, "closed_loop_loss", (steps,), finite=False),
            n_correct=read_numbers(group, "n_correct", (steps,), "iu"),
            open_loop_counts=_counts(group, "open_loop_counts"),
            closed_loop_counts=_counts(group, "closed_loop_counts"),
            closed_loop_n_correct=(
                read_numbers(group, UNDER_CONTROL, (steps,), "iu")
                if UNDER_CONTROL in group
                else None
            ),
        )
    elif "loss" in group:
        raise FileError(
            f"{group.file.filename}: {group.name} has figures of steps, and attribute steps is 0"
        )
    return Position(
        epochs=read_whole(group, "epochs", 0),
        steps=steps,
        seconds=read_seconds(group, "seconds"),
        metrics=metrics,
    )


def _counts(group: h5py.Group, name: str) -> EndStateCounts:
    numbers = [int(n) for n in read_numbers(group, name, (len(WAYS),), "iu")]
    is_counted = STEPS in group[name].attrs
    steps = read_whole(group[name], STEPS, 0) if is_counted else None
    return EndStateCounts(**dict(zip(WAYS, numbers, strict=True)), steps=steps)


@dataclass(frozen=True)
class Start:
    """Where training begins: parameters and, if wanted, the batches of the first epoch.

    Parameters
    ----------
    parameters : Parameters
        In the precision of the file.
    batch_order : array of int64, (steps, batch), or None
        Positions in the training split, after the validation part was taken off the front.
    is_trained : bool
        They are a trained network's.
    """

    parameters: Parameters
    batch_order: np.ndarray | None
    is_trained: bool = False


def read_start(
    path: str | os.PathLike[str], sizes: tuple[int, ...], batch_size: int, n_samples: int
) -> Start:
    """Read `initial_parameters/{hidden_l,readout}/{weight,bias}` and `batch_order`.

    Or the parameters of a trained network: of a checkpoint, or of a run's directory, whose newest
    whole one is taken.

    Parameters
    ----------
    path : str or Path
        HDF5 file, or a run's directory.
    sizes : tuple of int
        Units per layer of the network that is to start from it.
    batch_size : int
        Samples per batch of the run.
    n_samples : int
        Samples of the training split.

    Raises
    ------
    FileError
        The file cannot be used for this run; the message says why.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoint.h5"
        checkpoint, problems = newest_checkpoint(path)
        if problems:
            # Which one is wanted is for the user to say: the other is of an earlier moment.
            raise FileError(f"{problems[0]}: name the checkpoint to start from")
        return _trained_start(path, checkpoint, sizes)
    with reading(path) as file:
        is_checkpoint = is_of_schema(file, SCHEMA)
    if is_checkpoint:
        return _trained_start(path, read_checkpoint(path), sizes)
    with reading(path) as file:
        parameters = _read_start(find_group(file, "initial_parameters"), sizes)
        order = read_array(file, "batch_order") if "batch_order" in file else None
    if order is not None:
        _check_order(path, order, batch_size, n_samples)
        order = order.astype(np.int64)
    return Start(parameters, order)


def _read_start(group: h5py.Group, sizes: tuple[int, ...]) -> Parameters:
    try:
        return read_parameters(group, sizes)
    except FileError as problem:
        found = sizes
        with suppress(FileError):
            stored = stored_sizes(group)
            read_parameters(group, stored)
            found = stored
        if found == sizes:
            raise
        # Whole in itself, it is a start for another network.
        raise OtherSizes(str(problem), found, sizes) from problem


def _trained_start(path: Path, checkpoint: Checkpoint, sizes: tuple[int, ...]) -> Start:
    parameters = checkpoint.learner.parameters
    weights = (*parameters.weights, parameters.readout)
    found = (*(W.shape[0] for W in weights), weights[-1].shape[1])
    if found != sizes:
        raise OtherSizes(f"{path} is of sizes {found}: {sizes} is configured", found, sizes)
    return Start(parameters, None, is_trained=True)


def _check_order(path: str | Path, order: np.ndarray, batch_size: int, n_samples: int) -> None:
    if order.dtype.kind not in "iu" or order.ndim != 2:
        raise FileError(
            f"{path}: batch_order is {order.dtype} of shape {order.shape}: "
            "whole numbers of shape (steps, batch) are needed"
        )
    if order.shape[1] != batch_size:
        raise FileError(
            f"{path}: batch_order has batches of {order.shape[1]}: the batch size is {batch_size}"
        )
    if not order.size:
        raise FileError(f"{path}: batch_order has no step: leave it out, or give at least one")
    if order.min() < 0 or order.max() >= n_samples:
        raise FileError(
            f"{path}: batch_order runs from {order.min()} to {order.max()}: "
            f"positions 0 to {n_samples - 1} are needed"
        )


def contents(
    path: str | os.PathLike[str],
) -> tuple[dict[str, str], list[tuple[str, str, str, str]]]:
    """List the attributes and datasets of a file.

    Parameters
    ----------
    path : str or Path
        Any HDF5 file.

    Returns
    -------
    attributes : dict of str
        By their place and name.
    datasets : list of tuple of str
        Path, shape, dtype and range of every dataset.

    Raises
    ------
    FileError
        It is not a readable HDF5 file.
    """
    datasets: list[tuple[str, str, str, str]] = []
    with reading(path) as file:
        attributes = _attributes(file, "")
        for name, item in objects(file):
            attributes |= _attributes(item, f"{name}.")
            if isinstance(item, h5py.Dataset):
                shape = "empty" if item.shape is None else " × ".join(map(str, item.shape))
                datasets.append((name, shape or "scalar", str(item.dtype), _range(item)))
    return attributes, datasets


def _attributes(item: h5py.HLObject, prefix: str) -> dict[str, str]:
    return {
        prefix + name: (
            str(item.attrs[name])
            if holds_text_or_numbers(item, name)
            else f"({item.attrs.get_id(name).dtype})"
        )
        for name in item.attrs
    }


def _range(item: h5py.Dataset) -> str:
    # Others than numbers may be of any size.
    if not item.size or item.dtype.kind not in "iuf":
        return ""
    array = np.asarray(item[()])
    low, high = np.min(array), np.max(array)
    if np.isnan(low) or np.isnan(high):
        return "holds NaN"
    return f"{low:.4g} … {high:.4g}"
