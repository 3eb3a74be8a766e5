"""A training run: data, a backend, epochs, and what is written down of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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
from ..datasets.batch_order import batch_order, order_digest, random_generator
from ..datasets.dataset import Dataset, Split, dataset_digest
from ..datasets.labels import softened_labels
from ..datasets.load import load_dataset
from ..refimpl.errors import ConfigurationError
from ..refimpl.parameters import initial_parameters
from ..validation import (
    Checkpoint,
    FileError,
    Position,
    newest_checkpoint,
    read_start,
    write_checkpoint,
)
from ..validation.durable_file import generations
from ..validation.finiteness import not_finite
from .checkpoint_interval import CheckpointInterval
from .divergence import (
    TrainingDiverged,
    advice,
    describe_divergence,
    losses_are_finite,
    refuse_divergence_in_evaluation,
)
from .learning_curves import draw_learning_curves
from .metrics_log import EpochRecord, append_record, epoch_record, keep_records, read_records
from .output_file import make_directory
from .resume_checks import (
    CHOSEN_ANEW,
    refuse_fewer_epochs,
    refuse_other_content,
    refuse_other_random_state,
    resumed_configuration,
    start_digest,
)
from .run_configuration import (
    RunConfiguration,
    load_run_configuration,
    run_configuration,
    write_run_configuration,
)
from .run_lock import RunLock

SECONDS_BETWEEN_REPORTS = 0.25
SECONDS_BETWEEN_PICTURES = 10.0


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
    if configuration.start is not None:
        _refuse_not_finite(str(configuration.start), prepared["backend"])
    make_directory(directory)
    with _holding(directory) as lock:
        # Another process may have come and gone while the data were read.
        _refuse_a_run(directory)
        _write_configuration(directory, configuration)
        return Run(directory=directory, lock=lock, **prepared)


def resume(
    directory: Path,
    epochs: int | None,
    notify: Callable[[str], None] = lambda line: None,
    chosen: Mapping[str, Any] = MappingProxyType({}),
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
    chosen : mapping
        Another `backend`, `dtype` or number of `threads` to go on with; None leaves one be.

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
    with _holding(directory) as lock:
        checkpoint, problems = newest_checkpoint(checkpoint_file)
        for problem in problems:
            notify(problem)
        configuration = _resumed(directory, checkpoint, {**chosen, "epochs": epochs})
        run = Run(directory=directory, lock=lock, **_prepare(configuration))
        _refuse_another_run(run, checkpoint)
        with np.errstate(over="ignore"):
            run.backend.load(checkpoint.learner)
        _refuse_not_finite(str(checkpoint_file), run.backend)
        position, log = checkpoint.position, directory / "metrics.jsonl"
        _tell_missing(log, position.epochs, notify)
        if any(
            configuration.as_dict().get(n) != checkpoint.configuration.get(n) for n in CHOSEN_ANEW
        ):
            # So that config.toml and checkpoint agree, whatever happens next.
            save(run, position)
        _write_configuration(directory, configuration)
        with _writing(log):
            return run, position, keep_records(log, position.epochs)


def train(
    run: Run,
    position: Position,
    records: list[EpochRecord],
    observer: Observer,
    stop: Callable[[], int] = lambda: 0,
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
        Loss or parameters are no longer numbers. The last checkpoint stands.
    FileError
        Something cannot be written. What was saved before stands.
    """
    try:
        # Of an overflow TrainingDiverged tells, once and with its place.
        with np.errstate(all="ignore"):
            return _train(run, position, list(records), observer, stop, Saver(run, interval))
    finally:
        # What is wrong with the directory has been said by then.
        with suppress(OSError):
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
    stop: Callable[[], int],
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
        refuse_divergence_in_evaluation(
            run.directory, position.epochs + 1, {"validation": valid, "test": test}
        )
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
        with _writing(run.directory / "metrics.jsonl"):
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
            batch_order=order_digest(_epoch_order(run, position.epochs)),
            start=run.start_digest,
        ),
    )


def _draw(run: Run, records: list[EpochRecord]) -> None:
    if records:
        with _writing(run.directory / "curves.png"):
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
    first_order, digest_of_start = None, ""
    if configuration.start is not None:
        start = read_start(configuration.start, network.sizes, configuration.batch_size, n_samples)
        parameters, first_order = start.parameters, start.batch_order
        digest_of_start = start_digest(start)
    else:
        generator = random_generator(configuration.seed, "initial-parameters")
        parameters = initial_parameters(network.sizes, generator)
    # Whether the cast overflows is asked of the backend.
    with np.errstate(over="ignore"):
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
        "data_digest": dataset_digest(dataset),
        "start_digest": digest_of_start,
    }


def _resumed(
    directory: Path, checkpoint: Checkpoint, chosen: Mapping[str, Any]
) -> RunConfiguration:
    """Configure the rest of a run, if config.toml says what the checkpoint does."""
    config_file = directory / "config.toml"
    saved = run_configuration(checkpoint.configuration, str(directory / "checkpoint.h5"))
    written = load_run_configuration(config_file, {}) if config_file.exists() else saved
    configuration = resumed_configuration(config_file, written, saved, chosen)
    said_by = f"epochs in {config_file}" if chosen["epochs"] is None else "--epochs"
    refuse_fewer_epochs(said_by, configuration.epochs, directory, checkpoint.position)
    state = random_generator(configuration.seed, "batch-order", checkpoint.position.epochs)
    refuse_other_random_state(_json_state(state), checkpoint.random_state)
    return configuration


def _refuse_another_run(run: Run, checkpoint: Checkpoint) -> None:
    """Refuse data, start or batches that are not the checkpoint's."""
    configuration, epoch = run.configuration, checkpoint.position.epochs
    data = f"data: {configuration.dataset} ({run.dataset.source})"
    refuse_other_content(data, run.data_digest, checkpoint.data)
    refuse_other_content(f"start: {configuration.start}", run.start_digest, checkpoint.start)
    order = order_digest(_epoch_order(run, epoch))
    refuse_other_content(f"batch_order: epoch {epoch + 1}", order, checkpoint.batch_order)


def _refuse_not_finite(source: str, backend: Backend) -> None:
    broken = not_finite(backend.learner())
    if broken:
        raise ConfigurationError(f"{source}: not finite in {backend.dtype}: {', '.join(broken)}")


def _tell_missing(log: Path, epochs: int, notify: Callable[[str], None]) -> None:
    try:
        there = {record.epoch for record in read_records(log)}
    except UnicodeDecodeError as problem:
        raise ConfigurationError(f"{log}: not a text of epochs: {problem}") from problem
    missing = sorted({*range(1, epochs + 1)} - there)
    if missing:
        notify(f"{log} lacks epochs {', '.join(map(str, missing))} of {epochs}")


def _refuse_a_run(directory: Path) -> None:
    for name in ("checkpoint.h5", "checkpoint-1.h5", "metrics.jsonl"):
        if (directory / name).exists():
            raise ConfigurationError(
                f"{directory} already holds a run ({name}): go on with --resume, "
                "or choose another --out"
            )
    if (directory / "config.toml").exists():
        raise ConfigurationError(
            f"{directory} already holds a run (config.toml) of which nothing was saved: "
            "remove that file, or choose another --out"
        )


@contextmanager
def _holding(directory: Path) -> Iterator[RunLock]:
    """Hold the directory, and let go of it if what is done with it fails."""
    with _writing(directory / "lock"):
        lock = RunLock(directory)
    try:
        yield lock
    except BaseException:
        with suppress(OSError):
            lock.release()
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written."""
    try:
        yield
    except OSError as problem:
        raise FileError(
            f"{path}: cannot be written ({problem.strerror or problem}); "
            "what was saved before stands"
        ) from problem


def _write_configuration(directory: Path, configuration: RunConfiguration) -> None:
    """Write config.toml at once, so that a crash leaves it whole."""
    path = directory / "config.toml"
    unfinished = path.with_name(path.name + ".unfinished")
    with _writing(path):
        try:
            write_run_configuration(unfinished, configuration)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def _epoch_order(run: Run, epoch: int) -> np.ndarray:
    if epoch == 0 and run.first_order is not None:
        return run.first_order
    configuration = run.configuration
    n_samples = run.dataset.train.images.shape[0]
    return batch_order(configuration.seed, epoch, n_samples, configuration.batch_size)


def _train_epoch(
    run: Run, position: Position, observer: Observer, stop: Callable[[], int], saver: Saver
) -> Position:
    """Go through the epoch in parts, short enough that someone watching sees it move."""
    order = _epoch_order(run, position.epochs)
    parts = [] if position.metrics is None else [position.metrics]
    steps, seconds, part = position.steps, position.seconds, 1
    learner = run.backend.learner()
    while steps < len(order) and not stop():
        part = min(part, saver.most_steps() or part, len(order) - steps)
        batches = order[steps : steps + part]
        began = time.perf_counter()
        metrics = run.backend.train(run.train, batches)
        took = time.perf_counter() - began
        before, learner = learner, run.backend.learner()
        if not losses_are_finite(metrics, run.configuration.rule) or not_finite(learner):
            what = describe_divergence(
                run.backend, run.train, batches, before, position.epochs, steps
            )
            raise TrainingDiverged(f"{what}; {advice(run.directory)}")
        parts.append(metrics)
        steps, seconds = steps + part, seconds + took
        observer.on_steps(position.epochs, steps, len(order), joined(parts))
        if steps < len(order):
            here = Position(position.epochs, steps, seconds, joined(parts))
            saver.passed(here, epochs=0, steps=part)
        part = max(1, min(2 * part, round(part * SECONDS_BETWEEN_REPORTS / max(took, 1e-6))))
    return Position(position.epochs, steps, seconds, joined(parts) if parts else None)


def _json_state(generator: np.random.Generator) -> dict[str, Any]:
    return dict(generator.bit_generator.state)
