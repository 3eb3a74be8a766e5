"""Training from Python in one call: `disinhib.train`."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import TrainingMetrics
from ..datasets import DatasetError, own_dataset
from ..refimpl import ConfigurationError, shown
from ..validation import Position, newest_checkpoint
from .output import make_directory, say, tell_user, terminal_console, write_output
from .trained import TrainedNetwork, load
from .training import (
    CHOSEN_ANEW,
    FREE,
    EpochRecord,
    Observer,
    Run,
    RunConfiguration,
    begin,
    differences,
    holds_a_run,
    load_run_configuration,
    parse_checkpoint_interval,
    progress_display,
    resume as resume_run,
    run_configuration,
    stop_on_interrupt,
    tell_large_inputs,
    tell_run,
    train as train_run,
)
from .training.configuration import SECTIONS, SETTINGS, TOP

Callback = Callable[[EpochRecord], object]

console = terminal_console()

DATA = "data.npz"
"""Where a run keeps arrays that it was given."""


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
        `digits` (the default), `mnist`, `fashion_mnist`, or a file ``FILE.npz``; or arrays:
        ``(x, y)``, or those of such a file by their names (`x`, `y`, `x_test`, …). A run keeps
        arrays in its directory.
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
    interval = parse_checkpoint_interval(checkpoint_every)
    callbacks = [callbacks] if callable(callbacks) else list(callbacks)
    if resume != "auto" and not isinstance(resume, bool):
        raise ConfigurationError(f"resume is {shown(resume)}: choose 'auto', True or False")
    arrays = _arrays_of(dataset)
    _refuse_unknown(settings)
    if isinstance(settings.get("start"), TrainedNetwork):
        settings["start"] = settings["start"].source
    given = {**settings, **({} if dataset is None or arrays else {"dataset": dataset})}
    with _directory(out) as directory, _data_in_place(directory, arrays) as file:
        if file is not None:
            given["dataset"] = file
        wanted = _configured(configuration, given)
        run, position, records = _begun(wanted, set(given), directory, resume)
        if run is None:
            if progress:
                say(console, f"{directory}: all {position.epochs} epochs are done")
            return load(directory, notify=tell_user)
        if progress:
            tell_run(run)
        tell_large_inputs(run)
        n_epochs, batch_size = run.configuration.epochs, run.configuration.batch_size
        shown_on = (
            progress_display(console, n_epochs, batch_size) if progress else nullcontext(_Silent())
        )
        with stop_on_interrupt() as interrupted, shown_on as display:
            observer = _CallingBack(display, callbacks)
            position, records = train_run(
                run, position, records, observer, lambda: interrupted() or observer.told_to_end,
                interval,
            )  # fmt: skip
            number = interrupted()
        if number:
            _end_by(number, out, position)
        return replace(load(directory), dataset=run.dataset, records=tuple(records))


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


def _configured(configuration: Any, given: Mapping[str, Any]) -> RunConfiguration:
    if isinstance(configuration, (str, os.PathLike)):
        settings = load_run_configuration(configuration, {}).as_dict()
    elif isinstance(configuration, RunConfiguration):
        settings = configuration.as_dict()
    elif configuration is None or isinstance(configuration, Mapping):
        settings = dict(configuration or {})
    else:
        hint = "; arrays are given as dataset=(x, y)" if isinstance(configuration, Iterable) else ""
        raise ConfigurationError(
            f"configuration is {shown(configuration)}: a file, a mapping or a RunConfiguration "
            f"is needed{hint}"
        )
    for name, value in given.items():
        before = settings.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = {**before, **value}
        settings[name] = value
    return run_configuration(settings, "train")


def _begun(
    wanted: RunConfiguration, given: set[str], directory: Path, resume: bool | str
) -> tuple[Run | None, Position, list[EpochRecord]]:
    """A run that is ready to be trained; none where all is done."""
    is_there = holds_a_run(directory)
    if resume is True and not is_there:
        raise ConfigurationError(f"resume is True, and {directory} holds no run")
    if not is_there or resume is False:
        return begin(wanted, directory), Position(0), []
    checkpoint, _ = newest_checkpoint(directory / "checkpoint.h5")
    saved = run_configuration(checkpoint.configuration, str(directory))
    for name, now, then in differences(wanted.as_dict(), saved.as_dict()):
        section = name.partition(".")[0]
        if section in (*FREE, *CHOSEN_ANEW) or (resume is True and section not in given):
            continue
        raise ConfigurationError(
            f"{directory} holds another run: {name} is {shown(then)} there, {shown(now)} here; "
            f"choose another out, with start={str(directory)!r} if it is to begin with what that "
            "has learnt"
        )
    epochs = wanted.epochs if resume == "auto" or "epochs" in given else saved.epochs
    if checkpoint.position.epochs == epochs and not checkpoint.position.steps:
        return None, checkpoint.position, []
    chosen = {name: getattr(wanted, name) for name in (*CHOSEN_ANEW, "data_dir") if name in given}
    return resume_run(directory, epochs, tell_user, chosen)


# Where a run lies, and arrays that it was given.


@contextmanager
def _directory(out: str | os.PathLike[str] | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="disinhib-") as directory:
        yield Path(directory)


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
    return {str(name): np.asarray(array) for name, array in dataset.items()}


@contextmanager
def _data_in_place(directory: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[Path | None]:
    """Have a run's arrays in its directory; those that nothing came of are taken away again."""
    if not arrays:
        yield None
        return
    own_dataset(arrays, "dataset")
    file, was_there = directory / DATA, (directory / DATA).exists()
    if was_there:
        with np.load(file, allow_pickle=False) as kept:
            names = set(kept.files)
            same = names == set(arrays) and all(
                np.array_equal(kept[name], arrays[name]) for name in names
            )
        if not same:
            raise DatasetError(f"{file}: found other arrays than are given: choose another out")
    else:
        make_directory(directory)
        named: dict[str, Any] = dict(arrays)
        write_output(file, lambda path: np.savez(path, **named))
    try:
        yield file
    except BaseException:
        if not was_there and not holds_a_run(directory):
            file.unlink(missing_ok=True)
        raise


# Who watches.


class _Silent:
    """Shows nothing."""

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        pass

    def on_epoch(self, record: EpochRecord) -> None:
        pass


class _CallingBack:
    """Passes on what it is told, and calls back after each epoch."""

    def __init__(self, observer: Observer, callbacks: Sequence[Callback]) -> None:
        self.on_steps, self._observer = observer.on_steps, observer
        self._callbacks, self.told_to_end = tuple(callbacks), False

    def on_epoch(self, record: EpochRecord) -> None:
        self._observer.on_epoch(record)
        for callback in self._callbacks:
            told = callback(record)
            if told is not None and not isinstance(told, (bool, np.bool_)):
                raise ConfigurationError(
                    f"a callback gave {shown(told)}: None is needed, or True to end the training"
                )
            self.told_to_end |= bool(told)


def _end_by(number: int, out: str | os.PathLike[str] | None, position: Position) -> None:
    """End as the signal would have."""
    kept = "nothing is kept without out" if out is None else f"train with out={str(out)!r} goes on"
    if number == signal.SIGINT:
        raise KeyboardInterrupt(
            f"stopped after {position.epochs} epochs and {position.steps} steps: {kept}"
        )
    raise SystemExit(128 + number)
