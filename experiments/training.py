"""Training a run: epochs, what is written down of them, and when it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import numpy as np

from ..backends import BackendDescription, TrainingMetrics, backend_class
from ..backends.epoch_metrics import joined
from ..validation import Position
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
from .metrics_log import EpochRecord, append_record, epoch_record
from .output_file import writing
from .run import Run, epoch_order, save

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
    ConfigurationError
        The run is another process's, or has been trained before: see `resume`.
    TrainingDiverged
        Loss or parameters are no longer numbers. The last checkpoint stands.
    FileError
        Something cannot be written. What was saved before stands.
    """
    run.lock.refuse_unless_held()
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
        if position.steps < len(epoch_order(run, position.epochs)):
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
        with writing(run.directory / "metrics.jsonl"):
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


def _draw(run: Run, records: list[EpochRecord]) -> None:
    if records:
        with writing(run.directory / "curves.png"):
            draw_learning_curves(run.directory / "curves.png", {run.configuration.rule: records})


def _train_epoch(
    run: Run, position: Position, observer: Observer, stop: Callable[[], int], saver: Saver
) -> Position:
    """Go through the epoch in parts, short enough that someone watching sees it move."""
    order = epoch_order(run, position.epochs)
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
