"""The command `disinhib train`, and how a run shows itself: a bar, and a line an epoch."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ...backends import TrainingMetrics
from ...refimpl import ConfigurationError
from ...refimpl.integers import PRESETS, arithmetic
from ...validation import FileError, OtherSizes, Position
from ..output import (
    Announcement,
    announced,
    going_on_without_output,
    say,
    tell_user,
    terminal_console,
    working,
)
from .configuration import RunConfiguration, dotted, load_run_configuration, parse_settings
from .epochs import (
    CheckpointInterval,
    lost_patience,
    parse_checkpoint_interval,
    train,
)
from .interruption import stop_on_interrupt
from .metrics import EpochRecord, best_record, overflows_in_words, steps_in_words
from .run import BEST, CHOSEN_ANEW, Run, begin, resume

console = terminal_console()


def run_training(
    config: Path | None,
    flags: dict[str, Any],
    given_settings: Sequence[str],
    epochs: int | None,
    out: Path | None,
    resume_from: Path | None,
    checkpoint_every: str,
) -> int:
    """Begin a run or go on with one, and give the exit code.

    `flags` are by setting, None where not given; `given_settings` are those of `--set`.
    """
    interval = parse_checkpoint_interval(checkpoint_every)
    settings = parse_settings(given_settings)
    if resume_from is not None:
        chosen = {name: flags[name] for name in CHOSEN_ANEW}
        fixed = {name: value for name, value in flags.items() if name not in CHOSEN_ANEW}
        given = {"set": settings or None}
        _refuse_with_resume({**fixed, "config": config, "out": out, **given})
        with working(console, f"getting {resume_from} ready to go on"):
            run, position, records = resume(resume_from, epochs, tell_user, chosen)
    else:
        flags = {**flags, "epochs": epochs}
        for name in settings:
            if flags.get(name) is not None:
                raise ConfigurationError(f"{name} is given twice: by its flag and by --set")
        configuration = load_run_configuration(config, {**flags, **settings})
        directory = out or _free_directory(configuration)
        with working(console, f"getting {configuration.dataset} and the network ready"):
            run, position, records = _begun(configuration, directory), Position(0), []
    return _train(run, position, records, interval)


def _begun(configuration: RunConfiguration, directory: Path) -> Run:
    try:
        return begin(configuration, directory)
    except OtherSizes as problem:
        fitting = ",".join(map(str, problem.hidden))
        hint = f"; --hidden {fitting} would fit" if fitting else ""
        raise FileError(f"{problem}{hint}") from problem


def _train(run: Run, position: Position, records: list[Any], interval: CheckpointInterval) -> int:
    configuration, epochs = run.configuration, run.configuration.epochs
    with going_on_without_output():
        tell_run(run)
        tell_large_inputs(run)
        if position.epochs >= epochs:
            run.lock.release()
            is_bound = configuration.schedule.name == "cosine"
            more = "" if is_bound else "; a larger --epochs would go on"
            say(console, f"All {epochs} epochs are done{more}.")
            return 0
        with (
            stop_on_interrupt() as stop,
            progress_display(console, epochs, configuration.batch_size) as display,
        ):
            position, records = train(run, position, records, display, stop, interval)
        if lost_patience(configuration, records):
            say(
                console,
                f"Ended after {position.epochs} epochs: validation was best after epoch "
                f"{best_record(records).epoch} ({run.directory / BEST}), {configuration.patience} "
                "epochs ago",
            )
        elif position.epochs < epochs:
            say(
                console,
                f"Stopped after {position.epochs} epochs and {position.steps} steps; "
                f"go on with: disinhib train --resume {run.directory}",
            )
            return 128 + stop()
        say(console, f"Written to {run.directory}")
        return 0


def tell_run(run: Run) -> None:
    """Say in a line what a run is."""
    configuration = run.configuration
    sizes = "-".join(str(n) for n in run.backend.configuration.sizes)
    name, source = configuration.dataset, run.dataset.source
    say(
        console,
        f"{name if source == name else f'{name} ({source})'}, {sizes}, {configuration.rule}, "
        f"{_way(configuration)}, seed {configuration.seed}",
    )


def _way(configuration: RunConfiguration) -> str:
    """How and by what a run is computed."""
    about = configuration.arithmetic
    if about is None:
        return f"{configuration.solver.method}, {configuration.backend} {configuration.dtype}"
    presets = {name: arithmetic(name) for name in PRESETS}
    named = [name for name, one in presets.items() if one == replace(about, ticks=one.ticks)]
    which = f"of preset {named[0]}" if named else "of its own formats"
    return (
        f"{about.ticks} ticks in integers {which}, {configuration.backend}, sgd at "
        f"{configuration.optimizer.learning_rate:g}"
    )


LARGE_INPUT = 16.0
"""Beyond which floats are most likely not scaled yet."""


def tell_large_inputs(run: Run) -> None:
    """Say that inputs, which are taken as they are, are far from what the settings are for."""
    images = run.dataset.train.images
    if run.dataset.full_scale is None and np.abs(images).max() > LARGE_INPUT:
        tell_user(
            f"inputs go from {images.min():g} to {images.max():g}: the settings are for 0 to 1"
        )


def _refuse_with_resume(flags: dict[str, Any]) -> None:
    given = [name for name, value in flags.items() if value is not None]
    if given:
        name = given[0].rpartition(".")[2].replace("_", "-")
        named = "CONFIG.toml" if name == "config" else f"--{name}"
        raise ConfigurationError(
            f"{named} with --resume: a run goes on as it began; only --epochs, --backend, --dtype "
            "and --threads may change; --start begins another run with what it has learnt"
        )


def _free_directory(configuration: RunConfiguration) -> Path:
    """Choose a directory by the run's name, or the first free number after it."""
    first = Path("runs") / run_name(configuration)
    directory, number = first, 1
    while directory.exists():
        number += 1
        directory = first.with_name(f"{first.name}-{number}")
    return directory


NOT_NAMED = ("dataset", "rule", "hidden", "seed", "epochs", "data_dir", "start", "threads")
"""Settings that a run's name has anyway, or that make no other network."""
LONGEST_NAME = 80


def run_name(configuration: RunConfiguration) -> str:
    """Name a run by what sets it apart, as digits-linear-threshold-128-k_p-0.3-seed-0.

    Dataset and rule, units other than the default, settings other than by default, the seed. If
    that is too long, the settings' places are taken by a digest of them.
    """
    plain = dotted(RunConfiguration().as_dict())
    own = {
        name: value
        for name, value in dotted(configuration.as_dict()).items()
        if name not in NOT_NAMED and value != plain.get(name)
    }
    units = configuration.hidden if configuration.hidden != plain["hidden"] else []
    last = [name.rpartition(".")[2] for name in dotted(configuration.as_dict())]
    about = [
        f"{key if last.count(key) == 1 else name}-{value}"
        for name, value in own.items()
        for key in [name.rpartition(".")[2]]
    ]
    settings = "-".join(about)
    if len(settings) > LONGEST_NAME:
        settings = hashlib.sha256(settings.encode()).hexdigest()[:8]
    parts = [
        Path(configuration.dataset).stem[:LONGEST_NAME],
        configuration.rule,
        "-".join(map(str, units))[:LONGEST_NAME],
        settings,
        f"seed-{configuration.seed}"[:LONGEST_NAME],
    ]
    return re.sub(r"[^\w.+-]", "_", "-".join(part for part in parts if part))


@contextmanager
def progress_display(
    console: Console, n_epochs: int, batch_size: int, label: str = "", with_lines: bool = True
) -> Iterator[ProgressDisplay]:
    """Show a run: a bar on a terminal, and the lines of its epochs, each with the label before."""
    progress = Progress(
        TextColumn("{task.description}"),
        # Narrow enough for 80 columns with all the figures.
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    label = f"{label}  " if label else ""
    with announced(f"{label}training".strip()) as announcement, progress:
        yield ProgressDisplay(progress, announcement, n_epochs, batch_size, label, with_lines)


class ProgressDisplay:
    """Bar with samples/s, loss, accuracy and remaining time."""

    def __init__(
        self,
        progress: Progress,
        announcement: Announcement,
        n_epochs: int,
        batch_size: int,
        label: str,
        with_lines: bool,
    ) -> None:
        self._progress, self._announcement = progress, announcement
        self._n_epochs, self._batch_size, self._label = n_epochs, batch_size, label
        self._with_lines = with_lines
        self._task: TaskID | None = None
        self._last: tuple[int, int, float] | None = None

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        """Move the bar."""
        now = time.monotonic()
        if self._task is None:
            self._task = self._progress.add_task("", total=None, figures="")
        n_samples = metrics.loss.size * self._batch_size
        figures = f"loss {metrics.loss.mean():.3f}  acc {metrics.n_correct.sum() / n_samples:.1%}"
        if self._last is not None and self._last[0] == epoch and now > self._last[2]:
            rate = (steps - self._last[1]) * self._batch_size / (now - self._last[2])
            figures = f"{rate:,.0f} samples/s  {figures}"
        self._last = (epoch, steps, now)
        place = f"{self._label}epoch {epoch + 1}/{self._n_epochs}"
        doing = f"step {steps} of {n_steps}" if steps < n_steps else "evaluating"
        self._announcement.now(f"{place.strip()}: {doing}")
        if self._progress.console.is_terminal:
            self._announcement.shown()
        self._progress.update(
            self._task,
            description=place,
            completed=epoch * n_steps + steps,
            total=self._n_epochs * n_steps,
            figures=figures,
        )

    def on_epoch(self, record: EpochRecord) -> None:
        """Print the epoch's line, and a warning for end states that were not reached."""
        if not self._with_lines:
            return
        self._announcement.shown()
        width = len(str(self._n_epochs))
        say(
            self._progress.console,
            f"{self._label}epoch {record.epoch:>{width}}/{self._n_epochs}  "
            f"loss {record.train_loss:.4f}  train {record.train_accuracy:.2%}  "
            f"valid {record.valid_accuracy:.2%}  test {record.test_accuracy:.2%}  "
            f"{record.samples_per_second:,.0f}/s",
        )
        steps = steps_in_words(record.open_loop_steps, record.closed_loop_steps)
        if steps:
            say(self._progress.console, f"  {steps}", "dim")
        if record.overflows:
            say(self._progress.console, f"  {overflows_in_words(record.overflows)}", "yellow")
        if record.unsettled:
            say(
                self._progress.console,
                f"  {record.unsettled:,} integrations ended at their horizon or step limit "
                "without settling",
                "yellow",
            )
