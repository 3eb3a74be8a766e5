"""Training from Python in one call: `disinhib.train`."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import TrainingMetrics
from ..datasets import DatasetError, dataset_digest, is_own_file, own_dataset
from ..refimpl import ConfigurationError, shown
from ..validation import FileError, OtherSizes, Position, newest_checkpoint
from .output import say, tell_user, terminal_console
from .trained import TrainedNetwork, load
from .training import (
    CHECKPOINT,
    CHOSEN_ANEW,
    DATA,
    SECONDS_BETWEEN_PICTURES,
    CheckpointInterval,
    EpochRecord,
    Observer,
    Run,
    RunConfiguration,
    TrainingDiverged,
    begin,
    checked_path,
    differences,
    dotted,
    holds_a_run,
    load_data,
    load_run_configuration,
    lost_patience,
    parse_checkpoint_interval,
    place_of_data,
    progress_display,
    read_records,
    read_toml,
    resume as resume_run,
    run_configuration,
    stop_on_interrupt,
    tell_large_inputs,
    tell_run,
    train as train_run,
)
from .training.configuration import AUTO, SECTIONS, SETTINGS, TOP

Callback = Callable[[EpochRecord], object]


def train(
    configuration: str | os.PathLike[str] | Mapping[str, Any] | RunConfiguration | None = None,
    *,
    dataset: Any = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool | str = "auto",
    callbacks: Callback | Sequence[Callback] = (),
    checkpoint_every: str = "1 epoch",
    progress: bool = True,
    **settings: Any,
) -> TrainedNetwork:
    """Train a network: begin a run, or go on with one.

    Parameters
    ----------
    configuration : path, mapping or RunConfiguration, optional
        A TOML file, or settings; those given by name go before. Without one the published values
        hold.
    dataset : str, path, pair or mapping of arrays, optional
        `digits` (the default), `mnist`, `fashion_mnist`, or a file ``FILE.npz`` or ``FILE.h5``; or
        arrays: ``(x, y)``, or those of such a file by their names (`x`, `y`, `x_test`, …). A run
        keeps arrays in its directory.
    out : path, optional
        Directory of the run. Without one nothing is kept but what is returned.
    resume : 'auto', True or False
        What to do where `out` holds a run. 'auto' goes on with it if it is the same run, so that a
        script or cell that is run once more does the right thing, and begins one where there is
        none. True goes on with whatever run is there, in which the settings given must hold. False
        begins.
    callbacks : callable, or sequence of callables
        Each is called with the `EpochRecord` of every epoch; one that returns True ends the
        training there, until it is called for once more.
    checkpoint_every : str
        How often the run is saved, such as ``"100 steps"`` or ``"5 minutes"``; it is at its end.
    progress : bool
        Show a bar on a terminal, and a line an epoch.
    **settings
        Settings of a run, of which `disinhib config` has all: ``rule="linear-threshold"``,
        ``hidden=[128]``, ``epochs=5``, ``seed=1``; those of a section as a mapping,
        ``optimizer={"learning_rate": 1e-4}``.

    Returns
    -------
    TrainedNetwork
        At its last epoch; ``load(out / "best.h5")`` has it at its best.

    Raises
    ------
    ConfigurationError
        A setting is impossible, or `out` holds another run.
    DatasetError, FileError, BackendUnavailable, TrainingDiverged
        The data cannot be had, something cannot be written, the backend cannot run here, or there
        is nothing finite to go on with.
    KeyboardInterrupt
        It was interrupted; the run is saved, and the same call goes on.
    """
    if not isinstance(checkpoint_every, str):
        raise ConfigurationError(
            f"checkpoint_every is {shown(checkpoint_every)}: a text is needed, as in '100 steps'"
        )
    interval = parse_checkpoint_interval(checkpoint_every)
    if not isinstance(resume, bool) and not (isinstance(resume, str) and resume == "auto"):
        raise ConfigurationError(f"resume is {shown(resume)}: choose 'auto', True or False")
    callbacks = _callbacks(callbacks)
    arrays = _arrays_of(dataset)
    _refuse_unknown(settings)
    if isinstance(settings.get("start"), TrainedNetwork):
        settings["start"] = settings["start"].source
    named = {"dataset": DATA} if arrays else {} if dataset is None else {"dataset": dataset}
    wanted, given = _configured(configuration, {**settings, **named})
    out = None if out is None else checked_path("out", out)
    try:
        with _directory(out) as directory:
            return _trained(
                wanted, given, arrays, directory, resume, interval,
                _CallingBack(progress, callbacks), is_kept=out is not None,
            )  # fmt: skip
    except OtherSizes as problem:
        hint = f"; hidden={list(problem.hidden)} would fit" if problem.hidden else ""
        raise FileError(f"{problem}{hint}") from problem
    except TrainingDiverged as problem:
        if out is None:
            # The checkpoint that it names is gone with all else.
            raise TrainingDiverged(str(problem).partition("; ")[0]) from None
        raise


def _trained(
    wanted: RunConfiguration,
    given: set[str],
    arrays: Mapping[str, np.ndarray],
    directory: Path,
    resume: bool | str,
    interval: CheckpointInterval,
    observer: _CallingBack,
    is_kept: bool,
) -> TrainedNetwork:
    """Train in a directory, as far as there is something left."""
    with _said_in_a_line():
        run, position, records = _begun(wanted, given, arrays, directory, resume)
    if run is None:
        observer.say(f"{directory}: all {position.epochs} epochs are done")
        chosen = {name: getattr(wanted, name) for name in CHOSEN_ANEW if name in given}
        return load(directory, **{n: v for n, v in chosen.items() if v != AUTO})
    try:
        observer.tell(run)
        with stop_on_interrupt() as interrupted, observer.watching(run):
            position, records = train_run(
                run, position, records, observer,
                lambda: interrupted() or observer.told_to_end, interval,
                # Of a directory that goes at once nobody sees a picture.
                SECONDS_BETWEEN_PICTURES if is_kept else None,
            )  # fmt: skip
            number = interrupted()
    finally:
        run.lock.release()
    if number:
        _end_by(number, directory if is_kept else None, position)
    return replace(load(directory), dataset=run.dataset, records=tuple(records))


def _callbacks(callbacks: Any) -> list[Callback]:
    several = [callbacks] if callable(callbacks) else callbacks
    if not isinstance(several, (list, tuple)) or not all(map(callable, several)):
        raise ConfigurationError(
            f"callbacks is {shown(callbacks)}: a function, or a list of functions is needed"
        )
    return list(several)


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Say how a setting is written that stands in a section."""
    for name, value in settings.items():
        sections = [section for section in SECTIONS if name in SETTINGS[section]]
        if name not in SETTINGS[TOP] and sections:
            ways = " or ".join(f'{section}={{"{name}": {shown(value)}}}' for section in sections)
            raise ConfigurationError(f"there is no setting {name} by itself: write {ways}")
        if name in SECTIONS and "name" in SETTINGS[name] and isinstance(value, str):
            raise ConfigurationError(
                f'{name} is {shown(value)}: write {name}={{"name": {shown(value)}}}'
            )


def _configured(
    configuration: Any, settings: Mapping[str, Any]
) -> tuple[RunConfiguration, set[str]]:
    """The whole configuration, and the dotted names of what was given of it."""
    before: dict[str, Any]
    if isinstance(configuration, (str, os.PathLike)):
        load_run_configuration(configuration, {})
        before = read_toml(checked_path("configuration", configuration))
    elif isinstance(configuration, RunConfiguration):
        before = configuration.as_dict()
    elif configuration is None or isinstance(configuration, Mapping):
        before = dict(configuration or {})
    else:
        hint = "; arrays are given as dataset=(x, y)" if isinstance(configuration, Iterable) else ""
        raise ConfigurationError(
            f"configuration is {shown(configuration)}: a file, a mapping or a RunConfiguration "
            f"is needed{hint}"
        )
    for name, value in settings.items():
        section = before.get(name)
        if isinstance(section, Mapping) and isinstance(value, Mapping):
            value = {**section, **value}
        before[name] = value
    return run_configuration(before, "train"), set(dotted(before))


def _begun(
    wanted: RunConfiguration,
    given: set[str],
    arrays: Mapping[str, np.ndarray],
    directory: Path,
    resume: bool | str,
) -> tuple[Run | None, Position, list[EpochRecord]]:
    """A run that is ready to be trained; none where all is done."""
    is_there = holds_a_run(directory)
    if resume is True and not is_there:
        raise ConfigurationError(f"resume is True, and {directory} holds no run")
    if not is_there or resume is False:
        anew = resume == "auto"
        return begin(wanted, directory, arrays or None, anew), Position(0), []
    checkpoint, _ = newest_checkpoint(directory / CHECKPOINT)
    saved = run_configuration(checkpoint.configuration, str(directory))
    # What the run makes of data is compared below, if it was given.
    alike = wanted.model_copy(update={"data": saved.data})
    _refuse_other_data(alike, given, arrays, directory, checkpoint.data)
    for name, now, then in differences(wanted.as_dict(), saved.as_dict()):
        if _is_the_same(name, now, then):
            continue
        section = name.partition(".")[0]
        if resume is True and name not in given and section not in given:
            continue
        raise ConfigurationError(
            f"{directory} holds another run: {name} is {shown(then)} there, {shown(now)} here; "
            f"choose another out, with start={str(directory)!r} if it is to begin with what that "
            "has learnt"
        )
    epochs = wanted.epochs if resume == "auto" or "epochs" in given else saved.epochs
    records = read_records(directory / "metrics.jsonl")
    position = checkpoint.position
    so_far = [record for record in records if record.epoch <= position.epochs]
    if not position.steps and (position.epochs == epochs or lost_patience(saved, so_far)):
        return None, position, []
    chosen = {name: getattr(wanted, name) for name in (*CHOSEN_ANEW, "data_dir") if name in given}
    return resume_run(directory, epochs, tell_user, chosen)


def _refuse_other_data(
    wanted: RunConfiguration,
    given: set[str],
    arrays: Mapping[str, np.ndarray],
    directory: Path,
    learnt: str,
) -> None:
    """Refuse arrays, or a file of one's own, that are not what a run learnt, by its digest."""
    if arrays:
        about = wanted.data
        found = dataset_digest(own_dataset(arrays, "dataset", about.validation, about.scale))
    elif "dataset" in given and is_own_file(wanted.dataset):
        found = dataset_digest(load_data(wanted, place_of_data(wanted, directory)))
    else:
        return
    if learnt and found != learnt:
        raise DatasetError(f"{directory} has learnt other data than are given: choose another out")


def _is_the_same(name: str, now: Any, then: Any) -> bool:
    """Whether a setting that is written otherwise makes no other run."""
    if name in ("epochs", "data_dir", *CHOSEN_ANEW):
        return True
    if None in (now, then):
        return False
    if name == "dataset":
        # Their content counts, and has been compared.
        return is_own_file(now) and is_own_file(then)
    return name == "start" and Path(now).resolve() == Path(then).resolve()


# Where a run lies, and arrays that it was given.


@contextmanager
def _directory(out: str | os.PathLike[str] | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with _said_in_a_line():
        temporary = tempfile.TemporaryDirectory(prefix="disinhib-")
    with temporary as directory:
        yield Path(directory)


@contextmanager
def _said_in_a_line() -> Iterator[None]:
    """Name the file of whatever is wrong with it, and is not said better where it arises."""
    try:
        yield
    except OSError as problem:
        named = "" if problem.filename is None else f"{problem.filename}: "
        raise FileError(f"{named}{problem.strerror or problem}") from problem


def _arrays_of(dataset: Any) -> dict[str, np.ndarray]:
    """Arrays that a dataset is, by the names that they have in a file; none if it is a name."""
    if dataset is None or isinstance(dataset, (str, os.PathLike)):
        return {}
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        dataset = dict(zip(("x", "y"), dataset, strict=True))
    if not isinstance(dataset, Mapping):
        raise ConfigurationError(
            f"dataset is {shown(dataset)}: a name, a file, arrays (x, y), or a mapping of arrays "
            "is needed"
        )
    for name, array in dataset.items():
        if np.ma.is_masked(array):
            raise DatasetError(f"dataset: found masked values in {name}, expected numbers")
    try:
        return {str(name): np.asarray(array) for name, array in dataset.items()}
    except ValueError as problem:
        raise DatasetError(f"dataset: found what is no array: {problem}") from problem


# Who watches.


class _CallingBack:
    """Shows a run, unless it is to be silent, and calls back after each epoch.

    What cannot be shown does not end a run, whose results are in files.
    """

    def __init__(self, is_shown: bool, callbacks: Sequence[Callback]) -> None:
        self._is_shown, self._callbacks, self.told_to_end = is_shown, callbacks, False
        self._display: Observer | None = None

    def say(self, text: str) -> None:
        self._show(lambda: say(terminal_console(), text))

    def tell(self, run: Run) -> None:
        self._show(lambda: tell_run(run))
        tell_large_inputs(run)

    @contextmanager
    def watching(self, run: Run) -> Iterator[None]:
        n_epochs, batch_size = run.configuration.epochs, run.configuration.batch_size
        if not self._is_shown:
            yield
            return
        with progress_display(terminal_console(), n_epochs, batch_size) as self._display:
            yield

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        display = self._display
        if display is not None:
            self._show(lambda: display.on_steps(epoch, steps, n_steps, metrics))

    def on_epoch(self, record: EpochRecord) -> None:
        display = self._display
        if display is not None:
            self._show(lambda: display.on_epoch(record))
        for callback in self._callbacks:
            told = callback(record)
            if told is not None and not isinstance(told, (bool, np.bool_)):
                raise ConfigurationError(
                    f"a callback gave {shown(told)}: None is needed, or True to end the training"
                )
            self.told_to_end |= bool(told)

    def _show(self, work: Callable[[], object]) -> None:
        if not self._is_shown:
            return
        try:
            work()
        except (OSError, ValueError) as problem:
            self._is_shown, self._display = False, None
            tell_user(f"standard output cannot be written ({problem}): going on without it")


def _end_by(number: int, out: Path | None, position: Position) -> None:
    """End as the signal would have."""
    kept = "nothing is kept without out" if out is None else f"train with out={str(out)!r} goes on"
    if number == signal.SIGINT:
        raise KeyboardInterrupt(
            f"stopped after {position.epochs} epochs and {position.steps} steps: {kept}"
        )
    raise SystemExit(128 + number)
