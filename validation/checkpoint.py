"""Checkpoints: all that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..backends.epoch_metrics import TrainingMetrics
from ..refimpl.end_state import EndStateCounts
from ..refimpl.learning_step import Learner
from ..refimpl.optimizer import OptimizerState
from .hdf5_file import reading
from .parameter_groups import FileError, read_array, read_parameters, write_parameters

SCHEMA = "disinhib-checkpoint"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Parameters
    ----------
    epochs : int
        Epochs finished.
    steps : int
        Steps done of the epoch after those.
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
        start. It follows from seed and epoch; on resuming, the two are compared.
    configuration : dict
        The run's whole configuration.
    """

    learner: Learner
    position: Position
    random_state: dict[str, Any]
    configuration: dict[str, Any]


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that the file is always a whole one, the old or the new.

    Parameters
    ----------
    path : str or Path
        Replaced at once, when the new file is complete on disk.
    checkpoint : Checkpoint
        What to write.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    with h5py.File(unfinished, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["config"] = json.dumps(checkpoint.configuration)
        file.attrs["random_state"] = json.dumps(checkpoint.random_state)
        _write_learner(file, checkpoint.learner)
        _write_position(file.create_group("position"), checkpoint.position)
    with open(unfinished, "rb+") as file_on_disk:
        os.fsync(file_on_disk.fileno())
    os.replace(unfinished, path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Raises
    ------
    FileError
        It is not a whole checkpoint of a version this program reads.
    """
    with reading(path) as file:
        if file.attrs.get("schema") != SCHEMA:
            raise FileError(f"{path}: schema is {file.attrs.get('schema')!r}: {SCHEMA!r} is needed")
        version = file.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            raise FileError(
                f"{path}: schema_version is {version}: this program reads {SCHEMA_VERSION}"
            )
        return Checkpoint(
            learner=_read_learner(file),
            position=_read_position(file["position"]),
            random_state=json.loads(file.attrs["random_state"]),
            configuration=json.loads(file.attrs["config"]),
        )


def _write_learner(file: h5py.File, learner: Learner) -> None:
    write_parameters(file.create_group("parameters"), learner.parameters)
    optimizer = file.create_group("optimizer")
    optimizer.attrs["n_steps"] = learner.optimizer.n_steps
    for name in ("first_moment", "second_moment"):
        moment = getattr(learner.optimizer, name)
        if moment is not None:
            write_parameters(optimizer.create_group(name), moment)
    means = file.create_group("mean_inhibition")
    for l, r_bar in enumerate(learner.mean_inhibition):
        means[f"r_I_{l}"] = r_bar


def _read_learner(file: h5py.File) -> Learner:
    optimizer, means = file["optimizer"], file["mean_inhibition"]
    moments = {
        name: read_parameters(optimizer[name]) if name in optimizer else None
        for name in ("first_moment", "second_moment")
    }
    return Learner(
        parameters=read_parameters(file["parameters"]),
        optimizer=OptimizerState(n_steps=int(optimizer.attrs["n_steps"]), **moments),
        mean_inhibition=tuple(read_array(means, f"r_I_{l}") for l in range(len(means))),
    )


def _write_position(group: h5py.Group, position: Position) -> None:
    group.attrs["epochs"] = position.epochs
    group.attrs["steps"] = position.steps
    group.attrs["seconds"] = position.seconds
    metrics = position.metrics
    if metrics is None:
        return
    group["loss"] = metrics.loss
    group["closed_loop_loss"] = metrics.closed_loop_loss
    group["n_correct"] = metrics.n_correct
    group["open_loop_counts"] = np.array(dataclasses.astuple(metrics.open_loop_counts))
    group["closed_loop_counts"] = np.array(dataclasses.astuple(metrics.closed_loop_counts))


def _read_position(group: h5py.Group) -> Position:
    metrics = None
    if "loss" in group:
        metrics = TrainingMetrics(
            loss=read_array(group, "loss"),
            closed_loop_loss=read_array(group, "closed_loop_loss"),
            n_correct=read_array(group, "n_correct"),
            open_loop_counts=_counts(group, "open_loop_counts"),
            closed_loop_counts=_counts(group, "closed_loop_counts"),
        )
    return Position(
        epochs=int(group.attrs["epochs"]),
        steps=int(group.attrs["steps"]),
        seconds=float(group.attrs["seconds"]),
        metrics=metrics,
    )


def _counts(group: h5py.Group, name: str) -> EndStateCounts:
    return EndStateCounts(*(int(n) for n in read_array(group, name)))
