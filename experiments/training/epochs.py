"""Training a run, epoch by epoch: what is written down, when it is saved, and where it diverged."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ...backends import Evaluation, TrainingMetrics, backend_class, joined
from ...refimpl import ConfigurationError, Learner, require, shown
from ...validation import Checkpoint, FileError, Position, generations, not_finite, read_checkpoint
from ..output import writing
from .configuration import RunConfiguration
from .metrics import (
    EpochRecord,
    append_record,
    best_record,
    epoch_record,
)
from .run import (
    BEST,
    Run,
    at_epoch,
    draw_curves,
    epoch_order,
    keep,
    learning_rate_at,
    save,
    snapshot,
)

SECONDS_BETWEEN_REPORTS = 0.25
MOST_SECONDS_BETWEEN_REPORTS = 2.0
SECONDS_BETWEEN_PICTURES = 10.0

UNITS = ("epochs", "steps", "minutes")


@dataclass(frozen=True)
class CheckpointInterval:
    """Save every so many epochs, learning steps or minutes.

    A run saved by steps or minutes is saved at the end of each epoch too, unless that is not asked
    for.
    """

    number: int = 1
    unit: str = "epochs"
    at_epochs: bool = True

    def __post_init__(self) -> None:
        require(self, "number", minimum=1, whole=True)
        require(self, "unit", among=UNITS)
        require(self, "at_epochs", among=(True, False))

    def is_due(self, epochs: int, steps: int, seconds: float) -> bool:
        """Whether it is time, so many epochs, steps and seconds after the last save."""
        passed = {"epochs": epochs, "steps": steps, "minutes": seconds / 60}[self.unit]
        is_at_epoch = self.unit != "epochs" and self.at_epochs and epochs > 0
        return passed >= self.number or is_at_epoch

    def steps_left(self, steps: int) -> int | None:
        """Steps until the next save, so many after the last; None if steps do not decide."""
        return max(self.number - steps, 1) if self.unit == "steps" else None


def parse_checkpoint_interval(text: str) -> CheckpointInterval:
    """Read '2 epochs', '100 steps' or '5 minutes'; the unit's s and the space may be missing."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*(epoch|step|minute)s?\s*", text)
    if found is None or int(found.group(1)) == 0:
        raise ConfigurationError(
            f"a run saved every {shown(text)}: a whole number above 0 of epochs, steps or minutes "
            "is needed, as in 2epochs, 100steps or 5minutes"
        )
    return CheckpointInterval(int(found.group(1)), found.group(2) + "s")


def train(
    run: Run,
    position: Position,
    records: list[EpochRecord],
    observer: Observer,
    stop: Callable[[], int] = lambda: 0,
    interval: CheckpointInterval = CheckpointInterval(),
    seconds_between_pictures: float | None = SECONDS_BETWEEN_PICTURES,
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
    seconds_between_pictures : float or None
        How often the curves are drawn after an epoch, and at the end they are; None is not at all.

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
            return _train(
                run, position, list(records), observer, stop, Saver(interval),
                seconds_between_pictures,
            )  # fmt: skip
    finally:
        # What is wrong with the directory has been said by then.
        with suppress(OSError):
            run.lock.release()


class Observer(Protocol):
    """Whoever wants to see a run as it goes."""

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        """Some steps more are done; metrics are of the epoch so far."""

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""


def _train(
    run: Run,
    position: Position,
    records: list[EpochRecord],
    observer: Observer,
    stop: Callable[[], int],
    saver: Saver,
    seconds_between_pictures: float | None,
) -> tuple[Position, list[EpochRecord]]:
    drawn, pace = time.perf_counter(), Pace()
    if position.epochs == 0 and position.steps == 0:
        saver.save(run, position)
    while position.epochs < run.configuration.epochs and not lost_patience(
        run.configuration, records
    ):
        began = time.perf_counter()
        run = at_epoch(run, position.epochs)
        seconds_before = position.seconds
        position = _train_epoch(run, position, observer, stop, saver, pace)
        if position.steps < len(epoch_order(run, position.epochs)):
            saver.save(run, position)
            break
        assert position.metrics is not None
        valid = run.backend.evaluate(run.validation)
        test = run.backend.evaluate(run.test)
        _refuse_divergence_in_evaluation(
            run.directory, position.epochs + 1, {"validation": valid, "test": test}
        )
        by = backend_class(run.configuration.backend).describe()
        record = epoch_record(
            position.epochs + 1,
            run.configuration.batch_size,
            position.metrics,
            valid,
            test,
            training_seconds=position.seconds,
            seconds=seconds_before + time.perf_counter() - began,
            computed_by=f"{by.name} {by.version}, {by.device}",
            learning_rate=learning_rate_at(run.configuration, position.epochs),
            parameters=run.backend.learner().parameters,
            overflows=(
                run.backend.take_overflows() if isinstance(run.backend, CountsOverflows) else {}
            ),
        )
        records.append(record)
        if best_record(records) is record:
            saver.note_best(run, Position(record.epoch))
        # The log first: a line without its checkpoint is dropped on resuming and comes
        # again, a checkpoint without its line would lose it.
        with writing(run.directory / "metrics.jsonl"):
            append_record(run.directory / "metrics.jsonl", record)
        position = Position(position.epochs + 1)
        if position.epochs == run.configuration.epochs or lost_patience(run.configuration, records):
            saver.save(run, position)
        else:
            saver.passed(run, position, epochs=1, steps=0)
        observer.on_epoch(record)
        since = time.perf_counter() - drawn
        if seconds_between_pictures is not None and since > seconds_between_pictures:
            draw_curves(run, records)
            drawn = time.perf_counter()
    if records and seconds_between_pictures is not None:
        draw_curves(run, records)
    return position, records


def lost_patience(configuration: RunConfiguration, records: Sequence[EpochRecord]) -> bool:
    """Whether `patience` epochs have passed since the best one; 0 is never."""
    patience = configuration.patience
    if not patience or not records:
        return False
    return records[-1].epoch - best_record(records).epoch >= patience


def _train_epoch(
    run: Run,
    position: Position,
    observer: Observer,
    stop: Callable[[], int],
    saver: Saver,
    pace: Pace,
) -> Position:
    """Go through the epoch in parts, between which someone watching is told."""
    order = epoch_order(run, position.epochs)
    parts = [] if position.metrics is None else [position.metrics]
    steps, seconds = position.steps, position.seconds
    learner = run.backend.learner()
    clock = run.backend.clock if isinstance(run.backend, HasClock) else time.perf_counter
    pace.begin_epoch()
    while steps < len(order) and not stop():
        left = len(order) - steps
        batches = order[steps : steps + pace.n_steps(min(left, saver.most_steps() or left))]
        part, began = len(batches), clock()
        metrics = run.backend.train(run.train, batches)
        took = clock() - began
        pace.note(part, took)
        before, learner = learner, run.backend.learner()
        if not _losses_are_finite(metrics, run.configuration.rule) or not_finite(learner):
            what = _describe_divergence(run, batches, before, position.epochs, steps)
            raise TrainingDiverged(f"{what}; {_advice(run.directory)}")
        parts.append(metrics)
        steps, seconds = steps + part, seconds + took
        observer.on_steps(position.epochs, steps, len(order), joined(parts))
        if steps < len(order):
            here = Position(position.epochs, steps, seconds, joined(parts))
            saver.passed(run, here, epochs=0, steps=part)
    return Position(position.epochs, steps, seconds, joined(parts) if parts else None)


@runtime_checkable
class HasClock(Protocol):
    """A backend that is waited for while it does what others asked of it."""

    def clock(self) -> float:
        """Seconds that it has learnt for whoever asks."""


@runtime_checkable
class CountsOverflows(Protocol):
    """A backend in integers, which do not always fit."""

    def take_overflows(self) -> dict[str, int]:
        """How many did not, by quantity, since it was last asked."""


class Pace:
    """How many steps to take at once, by how long the last ones and what came after them took."""

    def __init__(self) -> None:
        self._n_steps = 1
        self._last: tuple[int, float] | None = None
        self._began = 0.0

    def begin_epoch(self) -> None:
        """Forget how long ago the last steps began; much else has been done since."""
        self._last = None

    def n_steps(self, most: int) -> int:
        """Steps to take now, at least one and at most so many."""
        now = time.perf_counter()
        if self._last is not None:
            n, learning = self._last
            self._n_steps = steps_at_once(n, learning, now - self._began - learning, self._n_steps)
        self._began = now
        return min(self._n_steps, most)

    def note(self, n_steps: int, learning: float) -> None:
        """So many steps took so many seconds to learn from."""
        self._last = n_steps, learning


def steps_at_once(n_steps: int, learning: float, between: float, before: int = 1) -> int:
    """Steps to take at once, after some whose learning, and all else until now, took so long.

    Often enough that someone watching sees them move; but so that what else there is to do, of the
    other runs too where many learn side by side, takes a tenth of the time. A power of two, so that
    such runs ask for the same. Never far more than were tried, `before` among them.
    """
    seconds = min(max(SECONDS_BETWEEN_REPORTS, 9 * between), MOST_SECONDS_BETWEEN_REPORTS)
    fitting = n_steps * seconds / max(learning, 1e-9)
    return 1 << math.floor(math.log2(max(1.0, min(fitting, max(before, 8 * n_steps)))))


class Saver:
    """Writes the checkpoints of a run, and knows when the next is due."""

    def __init__(self, interval: CheckpointInterval) -> None:
        self._interval = interval
        self._epochs = self._steps = 0
        self._saved_at = time.perf_counter()
        self._best: Checkpoint | None = None

    def note_best(self, run: Run, position: Position) -> None:
        """Take note of the best state so far, which is written with the next checkpoint.

        A run that is killed before goes on from the last one, and comes by this state again.
        """
        self._best = snapshot(run, position)

    def passed(self, run: Run, position: Position, epochs: int, steps: int) -> None:
        """Take note of epochs or steps that have passed, and save if it is time."""
        self._epochs, self._steps = self._epochs + epochs, self._steps + steps
        seconds = time.perf_counter() - self._saved_at
        if self._interval.is_due(self._epochs, self._steps, seconds):
            self.save(run, position)

    def most_steps(self) -> int | None:
        """Steps that may pass before the next save; None if steps do not decide."""
        return self._interval.steps_left(self._steps)

    def save(self, run: Run, position: Position) -> None:
        """Write the checkpoint of this moment, and before it a best state that is not yet kept."""
        if self._best is not None:
            keep(run, self._best, BEST)
            self._best = None
        save(run, position)
        self._epochs = self._steps = 0
        self._saved_at = time.perf_counter()


# Where a run stopped having numbers: the step, the layers, and what is left to go on from.


class TrainingDiverged(RuntimeError):
    """The loss or the parameters are no longer numbers; the message is one line."""


def _losses_are_finite(metrics: TrainingMetrics, rule: str) -> bool:
    """Whether every loss of some steps is a number; backprop has none in closed loop."""
    losses = [metrics.loss] if rule == "backprop" else [metrics.loss, metrics.closed_loop_loss]
    return all(bool(np.all(np.isfinite(loss))) for loss in losses)


def _describe_divergence(
    run: Run, order: np.ndarray, before: Learner, epoch: int, steps: int
) -> str:
    """Find the step and the layers by taking the steps of a part again, one by one.

    The backend's learner is lost; `before` is that at the start of the part, all finite. `order` is
    (steps, batch), the part's, and comes after `steps` of the epoch, both from 0; said they are
    from 1.
    """
    backend, rule = run.backend, run.configuration.rule
    backend.load(before)
    for number, batch in enumerate(order, start=steps + 1):
        metrics = backend.train(run.train, batch[None])
        layers = ", ".join(not_finite(backend.learner()))
        where = f"epoch {epoch + 1}, step {number}"
        if not _losses_are_finite(metrics, rule):
            loop = "loss" if not np.all(np.isfinite(metrics.loss)) else "closed-loop loss"
            after = f"after it these are not: {layers}" if layers else "and so they are after it"
            return f"the {loop} is not finite in {where}: the parameters were before it, {after}"
        if layers:
            return (
                f"the update of {where} is not finite: {layers}; "
                f"the loss before it was {float(np.mean(metrics.loss)):.3g}"
            )
    # Only where a backend's sums depend on how many steps it is given at once.
    return (
        f"loss or parameters are not finite in epoch {epoch + 1}, within steps {steps + 1} to "
        f"{steps + len(order)}; taken one by one, they are"
    )


def _refuse_divergence_in_evaluation(
    directory: Path, epoch: int, evaluations: dict[str, Evaluation]
) -> None:
    """Refuse a loss that is no number after an epoch, from 1, whose training had one."""
    for split, evaluation in evaluations.items():
        if not np.all(np.isfinite(evaluation.loss)):
            raise TrainingDiverged(
                f"the {split} loss is not finite after epoch {epoch}, though all parameters are: "
                f"the outputs are too large; {_advice(directory)}"
            )


def _advice(directory: Path) -> str:
    """Say what may help, and from where a run can go on."""
    for path in generations(directory / "checkpoint.h5", keep=2):
        try:
            position = read_checkpoint(path).position
        except FileError:
            continue
        return (
            f"try a lower learning rate; the last good checkpoint is {path}, "
            f"at {position.epochs} epochs and {position.steps} steps"
        )
    return "try a lower learning rate; there is no good checkpoint"
