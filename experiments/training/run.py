"""A run: what it is, how it begins, and how it goes on from a checkpoint.

All is checked before anything is written: that the network fits into memory and the directory is
free; and before a run goes on, that it is still the one that was saved. What must be as it was, and
what may change, stands below `resume`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ...backends import Backend, PlacedData, backend_class
from ...datasets import (
    Dataset,
    Split,
    batch_order,
    dataset_digest,
    is_own_file,
    order_digest,
    own_dataset,
    random_generator,
)
from ...refimpl import (
    ArgumentError,
    ConfigurationError,
    Learner,
    NetworkConfiguration,
    initial_parameters,
    shown,
)
from ...validation import (
    Checkpoint,
    FileError,
    Position,
    Start,
    generations,
    named_arrays,
    newest_checkpoint,
    read_checkpoint,
    read_start,
    write_checkpoint,
)
from ..loading import loading
from ..output import make_directory, replace_bytes, writing
from .choice_of_backend import with_chosen_backend
from .configuration import (
    AUTO,
    RunConfiguration,
    load_run_configuration,
    run_configuration,
    write_run_configuration,
)
from .data import load_data, soft_labels
from .interruption import uninterrupted
from .lock import RunLock
from .metrics import EpochRecord, draw_learning_curves, keep_records, read_records
from .schedule import with_learning_rate


@dataclass(frozen=True)
class Run:
    """All that a run works with."""

    configuration: RunConfiguration
    directory: Path  # where everything is written
    dataset: Dataset
    backend: Backend  # the network, at its present state
    train: PlacedData  # the dataset where the backend keeps it
    validation: PlacedData
    test: PlacedData
    # (steps, batch), batches of the first epoch where a start file gives them
    first_order: np.ndarray | None
    data_digest: str  # of the data learnt from and judged by
    start_digest: str  # of what a start file gave; empty without one
    lock: RunLock  # keeps other processes out of the directory; released when training ends
    make_backend: Callable[..., Backend]  # the backend's class, or a part of one that runs share


def begin(
    configuration: RunConfiguration,
    directory: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray] | None = None,
    anew: bool = False,
    make_backend: Callable[..., Backend] | None = None,
) -> Run:
    """Prepare a new run and its directory.

    Parameters
    ----------
    configuration : RunConfiguration
        What is wanted.
    directory : str or path
        Must not hold a run yet.
    arrays : mapping of arrays, optional
        The data, by the names that they have in a file of one's own. The run keeps them as `DATA`,
        which the configuration's dataset must be.
    anew : bool
        Whether the very same run may have begun there, if it has saved nothing.
    make_backend : callable, optional
        What makes its backend as the class does; else the class that the configuration names.

    Raises
    ------
    ConfigurationError, DatasetError, FileError, BackendUnavailable
        Something asked for cannot be had; nothing has been written then.
    """
    directory = Path(directory)
    _refuse_a_run(directory, anew)
    given = None
    if arrays is not None:
        about = configuration.data
        given = own_dataset(arrays, "dataset", about.validation, about.scale)
        given = dataclasses.replace(given, name=Path(DATA).stem, source=DATA)
    with loading():
        prepared = _prepare(configuration, directory, given=given, make_backend=make_backend)
    make_directory(directory)
    with _holding(directory) as lock:
        # Another process may have come and gone while the data were read.
        _refuse_a_run(directory, anew)
        _refuse_another_beginning(directory, prepared["configuration"])
        if arrays is not None:
            with writing(directory / DATA):
                replace_bytes(directory / DATA, npz_bytes(arrays))
        with writing(directory / "config.toml"):
            write_run_configuration(directory / "config.toml", prepared["configuration"])
        return Run(directory=directory, lock=lock, **prepared)


def resume(
    directory: str | os.PathLike[str],
    epochs: int | None,
    notify: Callable[[str], None] = lambda line: None,
    chosen: Mapping[str, Any] = MappingProxyType({}),
    make_backend: Callable[..., Backend] | None = None,
    draws: bool = True,
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
    make_backend : callable, optional
        As for `begin`.
    draws : bool
        Whether its curves are drawn as far as it has come; else there is no picture.

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
    if not holds_a_run(directory):
        raise ConfigurationError(f"{directory} holds no run to resume: checkpoint.h5 is missing")
    with _holding(directory) as lock:
        checkpoint, problems = newest_checkpoint(checkpoint_file)
        for problem in problems:
            notify(problem)
        configuration = _resumed(directory, checkpoint, {**chosen, "epochs": epochs})
        with loading():
            prepared = _prepare(configuration, directory, checkpoint, make_backend=make_backend)
        run = Run(directory=directory, lock=lock, **prepared)
        _refuse_another_run(run, checkpoint, checkpoint_file)
        with _read_from(checkpoint_file):
            run.backend.load(checkpoint.learner)
        position, log = checkpoint.position, directory / "metrics.jsonl"
        _forget_a_best_to_come(directory, position.epochs, notify)
        _tell_missing(log, position.epochs, notify)
        now, then = configuration.as_dict(), checkpoint.configuration
        if any(now.get(name) != then.get(name) for name in CHOSEN_ANEW):
            # So that config.toml and checkpoint agree, whatever happens next.
            save(run, position)
        with writing(directory / "config.toml"):
            write_run_configuration(directory / "config.toml", configuration)
        with writing(log):
            records = keep_records(log, position.epochs)
        # A kill may have left a picture of fewer epochs than were saved, or of more.
        draw_curves(run, records if draws else [])
        return run, position, records


def place_of_data(
    configuration: RunConfiguration, directory: str | os.PathLike[str]
) -> Path | None:
    """Where a run's data lie: where it says, or with the run itself, which may have moved."""
    file, directory = Path(configuration.dataset), Path(directory)
    if configuration.dataset == DATA and (directory / DATA).is_file():
        return directory
    is_lost = is_own_file(configuration.dataset) and not file.exists()
    if configuration.data_dir is None and is_lost and (directory / file.name).is_file():
        return directory
    return configuration.data_dir


def _prepare(
    configuration: RunConfiguration,
    directory: Path,
    saved: Checkpoint | None = None,
    given: Dataset | None = None,
    make_backend: Callable[..., Backend] | None = None,
) -> dict[str, Any]:
    """Load data and build the backend, before anything is written.

    A run that goes on has its checkpoint; a backend built for it is still to be loaded with that.
    """
    if configuration.backend != AUTO:
        backend_class(configuration.backend)  # Before data are read that may take long.
    dataset = given or load_data(configuration, place_of_data(configuration, directory))
    n_samples = len(dataset.train.images)
    if configuration.batch_size > n_samples:
        raise ConfigurationError(
            f"batch_size is {configuration.batch_size}: {dataset.name} has {n_samples} "
            "training samples, so that at most this many fit one batch"
        )
    epoch = 0 if saved is None else saved.position.epochs
    network = _network_at(configuration, dataset, epoch)
    configuration = with_chosen_backend(configuration, network.sizes, n_samples)
    refuse_more_than_memory(network.sizes, configuration.batch_size, configuration.dtype)
    first_order, digest_of_start = None, ""
    if saved is not None and saved.start.startswith(TRAINED):
        # Of the network that was started from there is nothing left to ask, be it gone or further.
        parameters, digest_of_start = saved.learner.parameters, saved.start
    elif configuration.start is not None:
        start = read_start(configuration.start, network.sizes, configuration.batch_size, n_samples)
        parameters, first_order = start.parameters, start.batch_order
        digest_of_start = _start_digest(start)
    else:
        generator = random_generator(configuration.seed, "initial-parameters")
        parameters = initial_parameters(network.sizes, generator)
    make_backend = make_backend or backend_class(configuration.backend)
    with _read_from(configuration.start):
        backend = make_backend(
            network,
            parameters,
            np.dtype(configuration.dtype),
            configuration.solver,
            threads=configuration.threads,
            **configuration.backend_options(),
        )

    return {
        "configuration": configuration,
        "dataset": dataset,
        "backend": backend,
        **_place(configuration, backend, dataset),
        "first_order": first_order,
        "data_digest": dataset_digest(dataset),
        "start_digest": digest_of_start,
        "make_backend": make_backend,
    }


def learning_rate_at(configuration: RunConfiguration, epoch: int) -> float:
    """Learning rate of an epoch, from 0."""
    factor = configuration.schedule.factor_at(epoch, configuration.epochs)
    return float(configuration.optimizer.learning_rate * factor)


def _network_at(
    configuration: RunConfiguration, dataset: Dataset, epoch: int
) -> NetworkConfiguration:
    """The network, with the learning rate of an epoch, from 0."""
    network = configuration.network(dataset.train.images.shape[1], dataset.n_classes)
    factor = configuration.schedule.factor_at(epoch, configuration.epochs)
    return with_learning_rate(network, factor)


def _place(
    configuration: RunConfiguration, backend: Backend, dataset: Dataset
) -> dict[str, PlacedData]:
    """Bring every split to where a backend keeps it."""

    def place(split: Split) -> PlacedData:
        labels = soft_labels(configuration, split.labels, dataset.n_classes)
        if split.images.dtype.kind == "f":
            return backend.place(dataset.inputs(split.images), labels)
        return backend.place(split.images, labels, full_scale=dataset.full_scale)

    return {name: place(getattr(dataset, name)) for name in ("train", "validation", "test")}


def at_epoch(run: Run, epoch: int) -> Run:
    """Give the run with the learning rate of an epoch, from 0.

    A backend has one learning rate, so that another makes another backend, which goes on from what
    the first has learnt.
    """
    configuration, first = run.configuration, run.backend
    network = _network_at(configuration, run.dataset, epoch)
    if network.optimizer == first.configuration.optimizer:
        return run
    learner = first.learner()
    backend = run.make_backend(
        network,
        learner.parameters,
        first.dtype,
        first.solver,
        threads=configuration.threads,
        **configuration.backend_options(),
    )
    backend.load(learner)
    return dataclasses.replace(run, backend=backend, **_place(configuration, backend, run.dataset))


# What must be as it was when a run goes on, and what may change.

CHOSEN_ANEW = ("backend", "dtype", "threads")
"""Change a run by rounding alone; but they do, so that they are changed by flags only."""

FREE = ("epochs", "data_dir", "start")
"""Epochs are where to stop; of data and start file the content counts, which has digests."""


def _resumed(
    directory: Path, checkpoint: Checkpoint, chosen: Mapping[str, Any]
) -> RunConfiguration:
    """Configure the rest of a run, if config.toml says what the checkpoint does.

    `chosen` is given anew, `epochs` and those of `CHOSEN_ANEW`; None leaves one be.
    """
    config_file = directory / "config.toml"
    saved = run_configuration(checkpoint.configuration, str(directory / "checkpoint.h5"))
    written = load_run_configuration(config_file, {}) if config_file.exists() else saved
    given = {name: value for name, value in chosen.items() if value not in (None, AUTO)}
    for field, now, then in differences(written.as_dict(), saved.as_dict()):
        # With a start file or without is another run; where it lies is not.
        moved = field in FREE and (field != "start" or None not in (now, then))
        moved |= field == "dataset" and is_own_file(str(now)) and is_own_file(str(then))
        left_open = field == "backend" and now == AUTO
        if moved or left_open or field in given:
            continue
        way = f"; {field} may be chosen when it is resumed" if field in CHOSEN_ANEW else ""
        raise ConfigurationError(
            f"{field} is {_shown(now)} in {config_file}, {_shown(then)} in the checkpoint: "
            f"resumed, it would be another run{way}"
        )
    plain = written.as_dict()
    if plain["backend"] == AUTO:
        plain["backend"] = saved.backend
    configuration = run_configuration({**plain, **given}, "command line")
    position, epochs = checkpoint.position, configuration.epochs
    if configuration.schedule.name == "cosine" and epochs != saved.epochs:
        raise ConfigurationError(
            f"epochs {epochs}: the learning rate of {directory} falls by a cosine over "
            f"{saved.epochs}, so that with another number it would be another run; "
            "a new one may start from what it has learnt"
        )
    if epochs < position.epochs or (epochs == position.epochs and position.steps):
        said_by = "epochs" if "epochs" in given else f"epochs in {config_file}"
        raise ConfigurationError(
            f"{said_by} {epochs} is the total, and {directory} has come further: "
            f"{position.epochs} epochs and {position.steps} steps"
        )
    state = json_state(random_generator(configuration.seed, "batch-order", position.epochs))
    for field, now, then in differences(state, checkpoint.random_state):
        raise ConfigurationError(
            f"random_state.{field} is {_shown(now)} by seed, epoch and this NumPy, {_shown(then)} "
            "in the checkpoint: resumed, it would be another run"
        )
    return configuration


def _refuse_another_run(run: Run, checkpoint: Checkpoint, source: Path) -> None:
    """Refuse data, start, batches, network or place that are not the checkpoint's."""
    configuration, epoch = run.configuration, checkpoint.position.epochs
    for what, found, saved in (
        (f"data: {configuration.dataset} ({run.dataset.source})", run.data_digest, checkpoint.data),
        (f"start: {configuration.start}", run.start_digest, checkpoint.start),
        (
            f"batch_order: epoch {epoch + 1}",
            order_digest(epoch_order(run, epoch)),
            checkpoint.batch_order,
        ),
    ):
        # Empty in checkpoints of before it was kept.
        if saved and found != saved:
            raise ConfigurationError(
                f"{what} has SHA-256 {found[:12]}…, the checkpoint's had {saved[:12]}…: resumed, "
                "it would be another run"
            )
    _refuse_other_network(source, checkpoint.learner, run.backend.configuration)
    _refuse_impossible_position(source, checkpoint, run)


def _refuse_other_network(source: Path, learner: Learner, network: NetworkConfiguration) -> None:
    """Refuse a learner that is whole in itself, but of another network than is configured."""
    weights = (*learner.parameters.weights, learner.parameters.readout)
    sizes = (*(W.shape[0] for W in weights), weights[-1].shape[1])
    if sizes != network.sizes:
        raise ConfigurationError(f"{source} is of sizes {sizes}: {network.sizes} is configured")
    has_moments = learner.optimizer.first_moment is not None
    if has_moments != (network.optimizer.name == "adam"):
        found = "moments" if has_moments else "no moments"
        raise ConfigurationError(
            f"{source} has {found}: not so the optimiser {network.optimizer.name}"
        )


def _refuse_impossible_position(source: Path, checkpoint: Checkpoint, run: Run) -> None:
    """Refuse a place in the run that no run comes to.

    More steps than the epoch has, other steps than the optimiser took, or more samples right than
    there were.
    """
    position, n_steps = checkpoint.position, checkpoint.learner.optimizer.n_steps
    batch_size = run.configuration.batch_size
    # All epochs but the first, which a start file may order, are of one length.
    lengths = [len(epoch_order(run, epoch)) for epoch in range(min(position.epochs, 2))]
    total = sum(lengths) + max(position.epochs - 2, 0) * (lengths[-1] if lengths else 0)
    here = len(epoch_order(run, position.epochs))
    if position.steps >= here:
        raise ConfigurationError(
            f"{source} is at step {position.steps} of epoch {position.epochs + 1}, which has {here}"
        )
    if n_steps != total + position.steps:
        raise ConfigurationError(
            f"{source} has an optimiser that took {n_steps} steps: at {position.epochs} epochs "
            f"and {position.steps} steps it would be {total + position.steps}"
        )
    metrics = position.metrics
    counted = [] if metrics is None else [metrics.n_correct, metrics.closed_loop_n_correct]
    for correct in counted:
        if correct is not None and not 0 <= correct.min() <= correct.max() <= batch_size:
            raise ConfigurationError(
                f"{source} has from {correct.min()} to {correct.max()} samples right of "
                f"{batch_size}"
            )


def differences(
    now: Mapping[str, Any], then: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields in which two nested mappings differ, with both values; None is unset."""
    for name in sorted({*now, *then}):
        a, b = now.get(name), then.get(name)
        if isinstance(a, Mapping) or isinstance(b, Mapping):
            inner_a, inner_b = (one if isinstance(one, Mapping) else {} for one in (a, b))
            yield from differences(inner_a, inner_b, f"{prefix}{name}.")
        elif a != b:
            yield f"{prefix}{name}", a, b


def _shown(value: Any) -> str:
    return "unset" if value is None else repr(value)


def _forget_a_best_to_come(directory: Path, epochs: int, notify: Callable[[str], None]) -> None:
    """Remove what an epoch left that is trained anew, perhaps otherwise or not at all."""
    file = directory / BEST
    if not file.is_file():
        return
    try:
        epoch = read_checkpoint(file).position.epochs
    except FileError as problem:
        notify(f"{problem}; it is made anew when an epoch is better than those before")
        epoch = epochs + 1
    if epoch > epochs:
        with writing(file):
            file.unlink()


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


TRAINED = "trained:"
"""Before the digest of a start that is a trained network."""


def _start_digest(start: Start) -> str:
    """SHA-256 of all that a start file gives a run, in hexadecimal."""
    arrays = named_arrays(start.parameters)
    if start.batch_order is not None:
        arrays["batch_order"] = start.batch_order
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return f"{TRAINED if start.is_trained else ''}{digest.hexdigest()}"


@contextmanager
def _read_from(source: str | os.PathLike[str] | None) -> Iterator[None]:
    """Name the file from which what a backend refuses was read, if it was."""
    try:
        yield
    except ArgumentError as problem:
        if source is None:
            raise
        raise ConfigurationError(f"{source}: {problem}") from problem


def holds_a_run(directory: str | os.PathLike[str]) -> bool:
    """Whether there is a run to go on with."""
    files = generations(Path(directory) / CHECKPOINT, keep=2)
    return any(file.is_file() for file in files)


def _refuse_a_run(directory: Path, anew: bool) -> None:
    for name in ("checkpoint.h5", "checkpoint-1.h5", "metrics.jsonl"):
        if (directory / name).exists():
            raise ConfigurationError(
                f"{directory} already holds a run ({name}): resume it, or choose another directory"
            )
    if (directory / "config.toml").exists() and not anew:
        raise ConfigurationError(
            f"{directory} already holds a run (config.toml) of which nothing was saved: "
            "remove that file, or choose another directory"
        )
    begun = (directory / "config.toml").exists()
    for name in (BEST, "curves.png", *([] if begun else [DATA])):
        if (directory / name).exists():
            raise ConfigurationError(
                f"{directory} has a {name}, which a run would write over: choose another directory"
            )


def _refuse_another_beginning(directory: Path, configuration: RunConfiguration) -> None:
    """Refuse to begin where another run has begun that has saved nothing."""
    file = directory / "config.toml"
    if not file.exists():
        return
    # Another backend may be the fastest by now, and nothing has been learnt with the first.
    begun = load_run_configuration(file, {})
    if begun.model_copy(update={"backend": configuration.backend}) != configuration:
        raise ConfigurationError(
            f"{directory} holds the beginning of another run (config.toml): choose another "
            "directory"
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


def epoch_order(run: Run, epoch: int) -> np.ndarray:
    """Batches (steps, batch) of an epoch, from 0, the first as the start file has it if it does."""
    if epoch == 0 and run.first_order is not None:
        return run.first_order
    configuration = run.configuration
    n_samples = run.dataset.train.images.shape[0]
    return batch_order(configuration.seed, epoch, n_samples, configuration.batch_size)


def draw_curves(run: Run, records: Sequence[EpochRecord]) -> None:
    """Let the picture show these epochs; there is none of no epoch."""
    picture = run.directory / CURVES
    with writing(picture):
        if records:
            draw_learning_curves(picture, {run.configuration.rule: records})
        else:
            picture.unlink(missing_ok=True)


CURVES = "curves.png"
CHECKPOINT, BEST, DATA = "checkpoint.h5", "best.h5", "data.npz"
"""In a run's directory: the last state, that after its epoch of best validation accuracy, and
arrays that it was given."""


def npz_bytes(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as a file of NumPy's."""
    content = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(content, **named)
    return content.getvalue()


def save(run: Run, position: Position) -> None:
    """Write the checkpoint of this moment."""
    keep(run, snapshot(run, position), CHECKPOINT)


def snapshot(run: Run, position: Position) -> Checkpoint:
    """Take all that a run needs to go on from here."""
    state = random_generator(run.configuration.seed, "batch-order", position.epochs)
    return Checkpoint(
        learner=run.backend.learner(),
        position=position,
        random_state=json_state(state),
        configuration=run.configuration.as_dict(),
        data=run.data_digest,
        batch_order=order_digest(epoch_order(run, position.epochs)),
        start=run.start_digest,
    )


def keep(run: Run, checkpoint: Checkpoint, name: str) -> None:
    """Write a checkpoint, whoever is in a hurry; of the best there is but one."""
    with uninterrupted():
        write_checkpoint(run.directory / name, checkpoint, keep=2 if name == CHECKPOINT else 1)


def json_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a generator, as JSON takes it."""
    return dict(generator.bit_generator.state)


FILES = ("config.toml", "metrics.jsonl", "curves.png", "lock", BEST, DATA)


def refuse_files_of_run(
    directory: str | os.PathLike[str], file: str | os.PathLike[str] | None
) -> None:
    """Refuse to write something else in the place of what a run has in its directory."""
    if file is None or Path(file).absolute().parent.resolve() != Path(directory).resolve():
        return
    name = Path(file).name
    if name in FILES or (name.startswith("checkpoint") and name.endswith(".h5")):
        raise ConfigurationError(f"{file} is the run's own file: choose another name")


# Whether a network fits into memory, asked before any of it is made.

COPIES = 4
"""Parameters, their gradients and Adam's two moments: at the least, in whatever backend."""

DRAWN = 8
"""Bytes of a parameter as it is drawn, in float64."""

CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where a container's limit and what it uses stand, by version of Linux's control groups."""


def refuse_more_than_memory(sizes: tuple[int, ...], batch_size: int, dtype: str) -> None:
    """Refuse a network that certainly does not fit, naming what it needs and what there is."""
    needed, there = needed_bytes(sizes, batch_size, dtype), available_bytes()
    if there is not None and needed > there:
        raise ConfigurationError(
            f"sizes {shown(sizes)}, batch size {batch_size}: at least {_gibibytes(needed)} of "
            f"memory are needed, and {_gibibytes(there)} are free"
        )


def needed_bytes(sizes: tuple[int, ...], batch_size: int, dtype: str) -> int:
    """Bytes that training cannot do without: parameters and states, not what a backend adds."""
    parameters = sum(n * m for n, m in pairwise(sizes)) + sum(sizes[1:-1])
    states = batch_size * sum(sizes)
    return np.dtype(dtype).itemsize * (COPIES * parameters + states) + DRAWN * parameters


def available_bytes() -> int | None:
    """Bytes of memory that are free here, or in this container; None if nothing says so."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, usage in CONTROL_GROUPS:
        # A limit may also be the word "max".
        with suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()) - int(Path(usage).read_text()))
    return min(found, default=None)


def _gibibytes(n: int) -> str:
    return f"{n / 2**30:.3g} GiB" if n < 2**1000 else "endlessly many GiB"
