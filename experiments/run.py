"""A run: data, a backend, and the checkpoint of its moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import Backend, PlacedData
from ..datasets.batch_order import batch_order, order_digest, random_generator
from ..datasets.dataset import Dataset
from ..validation import Checkpoint, Position, write_checkpoint
from .interruption import uninterrupted
from .run_configuration import RunConfiguration
from .run_lock import RunLock


@dataclass(frozen=True)
class Run:
    """All that a run works with.

    Parameters
    ----------
    configuration : RunConfiguration
        What is wanted.
    directory : Path
        Where everything is written.
    dataset : Dataset
        Images and labels.
    backend : Backend
        The network, at its present state.
    train, validation, test : PlacedData
        The dataset where the backend keeps it.
    first_order : array of int64, (steps, batch), or None
        Batches of the first epoch where a start file gives them.
    data_digest : str
        Of the data learnt from and judged by.
    start_digest : str
        Of what a start file gave; empty without one.
    lock : RunLock
        Keeps other processes out of the directory; released when training ends.
    """

    configuration: RunConfiguration
    directory: Path
    dataset: Dataset
    backend: Backend
    train: PlacedData
    validation: PlacedData
    test: PlacedData
    first_order: np.ndarray | None
    data_digest: str
    start_digest: str
    lock: RunLock


def epoch_order(run: Run, epoch: int) -> np.ndarray:
    """Batches of an epoch, those of the start file for the first if it gives any.

    Parameters
    ----------
    run : Run
        Whose.
    epoch : int
        From 0.

    Returns
    -------
    array of int64, (steps, batch)
    """
    if epoch == 0 and run.first_order is not None:
        return run.first_order
    configuration = run.configuration
    n_samples = run.dataset.train.images.shape[0]
    return batch_order(configuration.seed, epoch, n_samples, configuration.batch_size)


def save(run: Run, position: Position) -> None:
    """Write the checkpoint of this moment, whoever is in a hurry."""
    state = random_generator(run.configuration.seed, "batch-order", position.epochs)
    with uninterrupted():
        write_checkpoint(
            run.directory / "checkpoint.h5",
            Checkpoint(
                learner=run.backend.learner(),
                position=position,
                random_state=json_state(state),
                configuration=run.configuration.as_dict(),
                data=run.data_digest,
                batch_order=order_digest(epoch_order(run, position.epochs)),
                start=run.start_digest,
            ),
        )


def json_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a generator, as JSON takes it."""
    return dict(generator.bit_generator.state)
