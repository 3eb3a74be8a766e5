"""Beginning a run, or going on with one: everything is checked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..backends import PlacedData, backend_class
from ..datasets.batch_order import order_digest, random_generator
from ..datasets.dataset import Split, dataset_digest
from ..datasets.labels import softened_labels
from ..datasets.load import load_dataset
from ..refimpl.errors import ArgumentError, ConfigurationError
from ..refimpl.parameters import initial_parameters
from ..validation import Checkpoint, Position, newest_checkpoint, read_start
from ..validation.durable_file import generations
from .metrics_log import EpochRecord, keep_records, read_records
from .network_memory import refuse_more_than_memory
from .output_file import make_directory, writing
from .resume_checks import (
    CHOSEN_ANEW,
    refuse_fewer_epochs,
    refuse_impossible_position,
    refuse_other_content,
    refuse_other_network,
    refuse_other_random_state,
    resumed_configuration,
    start_digest,
)
from .run import Run, epoch_order, json_state, save
from .run_configuration import (
    RunConfiguration,
    load_run_configuration,
    run_configuration,
    write_run_configuration,
)
from .run_lock import RunLock


def begin(configuration: RunConfiguration, directory: str | os.PathLike[str]) -> Run:
    """Prepare a new run and its directory.

    Parameters
    ----------
    configuration : RunConfiguration
        What is wanted.
    directory : str or path
        Must not hold a run yet.

    Raises
    ------
    ConfigurationError, DatasetError, FileError, BackendUnavailable
        Something asked for cannot be had; nothing has been written then.
    """
    directory = Path(directory)
    _refuse_a_run(directory)
    prepared = _prepare(configuration)
    make_directory(directory)
    with _holding(directory) as lock:
        # Another process may have come and gone while the data were read.
        _refuse_a_run(directory)
        _write_configuration(directory, configuration)
        return Run(directory=directory, lock=lock, **prepared)


def resume(
    directory: str | os.PathLike[str],
    epochs: int | None,
    notify: Callable[[str], None] = lambda line: None,
    chosen: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Run, Position, list[EpochRecord]]:
    """Prepare to go on with a run.

    Parameters
    ----------
    directory : str or path
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
    directory = Path(directory)
    checkpoint_file = directory / "checkpoint.h5"
    if not any(file.is_file() for file in generations(checkpoint_file, keep=2)):
        raise ConfigurationError(f"{directory} holds no run to resume: checkpoint.h5 is missing")
    with _holding(directory) as lock:
        checkpoint, problems = newest_checkpoint(checkpoint_file)
        for problem in problems:
            notify(problem)
        configuration = _resumed(directory, checkpoint, {**chosen, "epochs": epochs})
        run = Run(directory=directory, lock=lock, **_prepare(configuration))
        _refuse_another_run(run, checkpoint, checkpoint_file)
        with _read_from(checkpoint_file):
            run.backend.load(checkpoint.learner)
        position, log = checkpoint.position, directory / "metrics.jsonl"
        _tell_missing(log, position.epochs, notify)
        if any(
            configuration.as_dict().get(n) != checkpoint.configuration.get(n) for n in CHOSEN_ANEW
        ):
            # So that config.toml and checkpoint agree, whatever happens next.
            save(run, position)
        _write_configuration(directory, configuration)
        with writing(log):
            return run, position, keep_records(log, position.epochs)


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
    refuse_more_than_memory(network.sizes, configuration.batch_size, configuration.dtype)
    first_order, digest_of_start = None, ""
    if configuration.start is not None:
        start = read_start(configuration.start, network.sizes, configuration.batch_size, n_samples)
        parameters, first_order = start.parameters, start.batch_order
        digest_of_start = start_digest(start)
    else:
        generator = random_generator(configuration.seed, "initial-parameters")
        parameters = initial_parameters(network.sizes, generator)
    with _read_from(configuration.start):
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
    said_by = f"epochs in {config_file}" if chosen["epochs"] is None else "epochs"
    refuse_fewer_epochs(said_by, configuration.epochs, directory, checkpoint.position)
    state = random_generator(configuration.seed, "batch-order", checkpoint.position.epochs)
    refuse_other_random_state(json_state(state), checkpoint.random_state)
    return configuration


def _refuse_another_run(run: Run, checkpoint: Checkpoint, source: Path) -> None:
    """Refuse data, start, batches, network or place that are not the checkpoint's."""
    configuration, epoch = run.configuration, checkpoint.position.epochs
    data = f"data: {configuration.dataset} ({run.dataset.source})"
    refuse_other_content(data, run.data_digest, checkpoint.data)
    refuse_other_content(f"start: {configuration.start}", run.start_digest, checkpoint.start)
    order = order_digest(epoch_order(run, epoch))
    refuse_other_content(f"batch_order: epoch {epoch + 1}", order, checkpoint.batch_order)
    refuse_other_network(source, checkpoint.learner, run.backend.configuration)
    refuse_impossible_position(
        source,
        checkpoint.position,
        checkpoint.learner.optimizer.n_steps,
        lambda epoch: len(epoch_order(run, epoch)),
        configuration.batch_size,
    )


@contextmanager
def _read_from(source: str | os.PathLike[str] | None) -> Iterator[None]:
    """Name the file from which what a backend refuses was read, if it was."""
    try:
        yield
    except ArgumentError as problem:
        if source is None:
            raise
        raise ConfigurationError(f"{source}: {problem}") from problem


def _tell_missing(log: Path, epochs: int, notify: Callable[[str], None]) -> None:
    there = [record.epoch for record in read_records(log) if record.epoch <= epochs]
    # Between those that are there; the number of epochs may be anyone's.
    gaps = [
        str(before + 1) if before + 2 == after else f"{before + 1}–{after - 1}"
        for before, after in pairwise([0, *there, epochs + 1])
        if before + 1 < after
    ]
    if gaps:
        notify(f"{log} lacks epochs {', '.join(gaps)} of {epochs}")


def _refuse_a_run(directory: Path) -> None:
    for name in ("checkpoint.h5", "checkpoint-1.h5", "metrics.jsonl"):
        if (directory / name).exists():
            raise ConfigurationError(
                f"{directory} already holds a run ({name}): resume it, or choose another directory"
            )
    if (directory / "config.toml").exists():
        raise ConfigurationError(
            f"{directory} already holds a run (config.toml) of which nothing was saved: "
            "remove that file, or choose another directory"
        )


@contextmanager
def _holding(directory: Path) -> Iterator[RunLock]:
    """Hold the directory, and let go of it if what is done with it fails."""
    with writing(directory / "lock"):
        lock = RunLock(directory)
    try:
        yield lock
    except BaseException:
        with suppress(OSError):
            lock.release()
        raise


def _write_configuration(directory: Path, configuration: RunConfiguration) -> None:
    """Write config.toml at once, so that a crash leaves it whole."""
    path = directory / "config.toml"
    unfinished = path.with_name(path.name + ".unfinished")
    with writing(path):
        try:
            write_run_configuration(unfinished, configuration)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
