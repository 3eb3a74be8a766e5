"""A training run: data, a backend, epochs, and what is written down of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..backends import (
    Backend,
    BackendDescription,
    PlacedData,
    TrainingMetrics,
    backend_class,
)
from ..backends.epoch_metrics import joined
from ..datasets.batch_order import batch_order, random_generator
from ..datasets.dataset import Dataset, Split, training_digest
from ..datasets.labels import softened_labels
from ..datasets.load import load_dataset
from ..refimpl.errors import ConfigurationError
from ..refimpl.parameters import initial_parameters
from ..validation import Checkpoint, Position, newest_checkpoint, read_start, write_checkpoint
from ..validation.durable_file import generations
from .checkpoint_interval import CheckpointInterval
from .learning_curves import draw_learning_curves
from .metrics_log import EpochRecord, append_record, epoch_record, keep_records
from .run_configuration import RunConfiguration, run_configuration, write_run_configuration
from .run_lock import RunLock

SECONDS_BETWEEN_REPORTS = 0.25
SECONDS_BETWEEN_PICTURES = 10.0


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number; the message is one line."""


class Observer(Protocol):
    """Whoever wants to see a run as it goes."""

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        """Some steps more are done; metrics are of the epoch so far."""
        ...

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""
        ...


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
        Of the data learnt from.
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
    lock: RunLock


def begin(configuration: RunConfiguration, directory: Path) -> Run:
    """Prepare a new run and its directory.

    Parameters
    ----------
    configuration : RunConfiguration
        What is wanted.
    directory : Path
        Must not hold a run yet.

    Raises
    ------
    ConfigurationError, DatasetError, FileError, BackendUnavailable
        Something asked for cannot be had; nothing has been written then.
    """
    _refuse_a_run(directory)
    prepared = _prepare(configuration)
    _make_directory(directory)
    run = Run(directory=directory, lock=RunLock(directory), **prepared)
    # Another process may have come and gone while the data were read.
    _refuse_a_run(directory)
    write_run_configuration(directory / "config.toml", configuration)
    return run


def resume(
    directory: Path, epochs: int | None, notify: Callable[[str], None] = lambda line: None
) -> tuple[Run, Position, list[EpochRecord]]:
    """Prepare to go on with a run.

    Parameters
    ----------
    directory : Path
        Of the run.
    epochs : int or None
        New total number of epochs; None keeps the configured one.
    notify : callable
        Told, a line each, of damaged checkpoints and of the one taken in their place.

    Returns
    -------
    run : Run
        At the state of its checkpoint.
    position : Position
        How far it has come.
    records : list of EpochRecord
        Of the epochs finished.

    Raises
    ------
    ConfigurationError, DatasetError, FileError, BackendUnavailable
        It cannot go on; nothing has been changed then.
    """
    checkpoint_file = directory / "checkpoint.h5"
    if not any(file.is_file() for file in generations(checkpoint_file, keep=2)):
        raise ConfigurationError(f"{directory} holds no run to resume: checkpoint.h5 is missing")
    lock = RunLock(directory)
    checkpoint, problems = newest_checkpoint(checkpoint_file)
    for problem in problems:
        notify(problem)
    settings = dict(checkpoint.configuration)
    done = checkpoint.position.epochs
    if epochs is not None:
        if epochs < done or (epochs == done and checkpoint.position.steps):
            raise ConfigurationError(
                f"--epochs {epochs} is the total, and {directory} has come further: "
                f"{done} epochs and {checkpoint.position.steps} steps"
            )
        settings["epochs"] = epochs
    configuration = run_configuration(settings, str(checkpoint_file))
    _check_random_state(checkpoint, configuration)
    run = Run(directory=directory, lock=lock, **_prepare(configuration))
    if run.data_digest != checkpoint.data:
        raise ConfigurationError(
            f"{configuration.dataset} from {run.dataset.source} has SHA-256 "
            f"{run.data_digest[:12]}…, the checkpoint's data had {checkpoint.data[:12]}…: resumed "
            "on other data it would be another run"
        )
    run.backend.load(checkpoint.learner)
    if epochs is not None:
        write_run_configuration(directory / "config.toml", configuration)
    return run, checkpoint.position, keep_records(directory / "metrics.jsonl", done)


def train(
    run: Run,
    position: Position,
    records: list[EpochRecord],
    observer: Observer,
    stop: Callable[[], bool] = lambda: False,
    interval: CheckpointInterval = CheckpointInterval(),  # noqa: B008  (frozen)
) -> tuple[Position, list[EpochRecord]]:
    """Train to the configured number of epochs, or until told to stop.

    Parameters
    ----------
    run : Run
        From `begin` or `resume`.
    position : Position
        Where to go on; ``Position(0)`` for a new run.
    records : list of EpochRecord
        Of the epochs finished.
    observer : Observer
        Told of every part and every epoch.
    stop : callable
        Asked between steps; when it says so, a checkpoint is written there.
    interval : CheckpointInterval
        How often one is written anyway; one is at the end.

    Returns
    -------
    position : Position
        How far the run has come.
    records : list of EpochRecord

    Raises
    ------
    TrainingDiverged
        The loss is no longer a number. The last checkpoint stands.
    """
    try:
        return _train(run, position, list(records), observer, stop, Saver(run, interval))
    finally:
        run.lock.release()


class Saver:
    """Writes the checkpoints of a run, and knows when the next is due.

    Parameters
    ----------
    run : Run
        What is saved.
    interval : CheckpointInterval
        How often.
    """

    def __init__(self, run: Run, interval: CheckpointInterval) -> None:
        self._run, self._interval = run, interval
        self._epochs = self._steps = 0
        self._saved_at = time.perf_counter()

    def passed(self, position: Position, epochs: int, steps: int) -> None:
        """Take note of epochs or steps that have passed, and save if it is time."""
        self._epochs, self._steps = self._epochs + epochs, self._steps + steps
        seconds = time.perf_counter() - self._saved_at
        if self._interval.is_due(self._epochs, self._steps, seconds):
            self.save(position)

    def most_steps(self) -> int | None:
        """Steps that may pass before the next save; None if steps do not decide."""
        return self._interval.steps_left(self._steps)

    def save(self, position: Position) -> None:
        """Write the checkpoint of this moment."""
        save(self._run, position)
        self._epochs = self._steps = 0
        self._saved_at = time.perf_counter()


def _train(
    run: Run,
    position: Position,
    records: list[EpochRecord],
    observer: Observer,
    stop: Callable[[], bool],
    saver: Saver,
) -> tuple[Position, list[EpochRecord]]:
    drawn = time.perf_counter()
    if position.epochs == 0 and position.steps == 0:
        saver.save(position)
    while position.epochs < run.configuration.epochs:
        began = time.perf_counter()
        seconds_before = position.seconds
        position = _train_epoch(run, position, observer, stop, saver)
        if position.steps < len(_epoch_order(run, position.epochs)):
            saver.save(position)
            break
        assert position.metrics is not None
        valid = run.backend.evaluate(run.validation)
        test = run.backend.evaluate(run.test)
        record = epoch_record(
            position.epochs + 1,
            run.configuration.batch_size,
            position.metrics,
            valid,
            test,
            training_seconds=position.seconds,
            seconds=seconds_before + time.perf_counter() - began,
            computed_by=_named(backend_class(run.configuration.backend).describe()),
        )
        records.append(record)
        # The log first: a line without its checkpoint is dropped on resuming and comes
        # again, a checkpoint without its line would lose it.
        append_record(run.directory / "metrics.jsonl", record)
        position = Position(position.epochs + 1)
        if position.epochs == run.configuration.epochs:
            saver.save(position)
        else:
            saver.passed(position, epochs=1, steps=0)
        observer.on_epoch(record)
        if time.perf_counter() - drawn > SECONDS_BETWEEN_PICTURES:
            _draw(run, records)
            drawn = time.perf_counter()
    _draw(run, records)
    return position, records


def _named(description: BackendDescription) -> str:
    return f"{description.name} {description.version}, {description.device}"


def save(run: Run, position: Position) -> None:
    """Write the checkpoint of this moment."""
    state = random_generator(run.configuration.seed, "batch-order", position.epochs)
    write_checkpoint(
        run.directory / "checkpoint.h5",
        Checkpoint(
            learner=run.backend.learner(),
            position=position,
            random_state=_json_state(state),
            configuration=run.configuration.as_dict(),
            data=run.data_digest,
        ),
    )


def _draw(run: Run, records: list[EpochRecord]) -> None:
    if records:
        draw_learning_curves(run.directory / "curves.png", {run.configuration.rule: records})


def _prepare(configuration: RunConfiguration) -> dict[str, Any]:
    """Load data and build the backend, before anything is written."""
    kind = backend_class(configuration.backend)
    dataset = load_dataset(configuration.dataset, configuration.data_dir)
    n_samples, n_inputs = dataset.train.images.shape
    if configuration.batch_size > n_samples:
        raise ConfigurationError(
            f"batch_size is {configuration.batch_size}: {dataset.name} has {n_samples} "
            "training samples, so that at most this many fit one batch"
        )
    network = configuration.network(n_inputs, dataset.n_classes)
    first_order = None
    if configuration.start is not None:
        start = read_start(configuration.start, network.sizes, configuration.batch_size, n_samples)
        parameters, first_order = start.parameters, start.batch_order
    else:
        generator = random_generator(configuration.seed, "initial-parameters")
        parameters = initial_parameters(network.sizes, generator)
    backend = kind(
        network,
        parameters,
        np.dtype(configuration.dtype),
        configuration.solver,
        threads=configuration.threads,
    )

    def place(split: Split) -> PlacedData:
        labels = softened_labels(split.labels, dataset.n_classes)
        return backend.place(split.images, labels, full_scale=dataset.full_scale)

    return {
        "configuration": configuration,
        "dataset": dataset,
        "backend": backend,
        "train": place(dataset.train),
        "validation": place(dataset.validation),
        "test": place(dataset.test),
        "first_order": first_order,
        "data_digest": training_digest(dataset),
    }


def _refuse_a_run(directory: Path) -> None:
    for name in ("checkpoint.h5", "checkpoint-1.h5", "metrics.jsonl", "config.toml"):
        if (directory / name).exists():
            raise ConfigurationError(
                f"{directory} already holds a run ({name}): go on with --resume, "
                "or choose another --out"
            )


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigurationError(f"{directory} cannot be made: {problem.strerror}") from problem


def _epoch_order(run: Run, epoch: int) -> np.ndarray:
    if epoch == 0 and run.first_order is not None:
        return run.first_order
    configuration = run.configuration
    n_samples = run.dataset.train.images.shape[0]
    return batch_order(configuration.seed, epoch, n_samples, configuration.batch_size)


def _train_epoch(
    run: Run, position: Position, observer: Observer, stop: Callable[[], bool], saver: Saver
) -> Position:
    """Go through the epoch in parts, short enough that someone watching sees it move."""
    order = _epoch_order(run, position.epochs)
    parts = [] if position.metrics is None else [position.metrics]
    steps, seconds, part = position.steps, position.seconds, 1
    while steps < len(order) and not stop():
        part = min(part, saver.most_steps() or part, len(order) - steps)
        began = time.perf_counter()
        parts.append(run.backend.train(run.train, order[steps : steps + part]))
        took = time.perf_counter() - began
        steps, seconds = steps + part, seconds + took
        if not np.all(np.isfinite(parts[-1].loss)):
            raise TrainingDiverged(
                f"the loss is not finite in epoch {position.epochs + 1}, step {steps}: "
                "try a lower learning rate; the last checkpoint stands"
            )
        observer.on_steps(position.epochs, steps, len(order), joined(parts))
        if steps < len(order):
            here = Position(position.epochs, steps, seconds, joined(parts))
            saver.passed(here, epochs=0, steps=part)
        part = max(1, min(2 * part, round(part * SECONDS_BETWEEN_REPORTS / max(took, 1e-6))))
    return Position(position.epochs, steps, seconds, joined(parts) if parts else None)


def _check_random_state(checkpoint: Checkpoint, configuration: RunConfiguration) -> None:
    generator = random_generator(configuration.seed, "batch-order", checkpoint.position.epochs)
    if _json_state(generator) != checkpoint.random_state:
        raise ConfigurationError(
            "the checkpoint's random state is not the one that its seed gives with this NumPy "
            f"({np.__version__}): resumed, it would be another run"
        )


def _json_state(generator: np.random.Generator) -> dict[str, Any]:
    return dict(generator.bit_generator.state)
