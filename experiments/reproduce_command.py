"""The command `disinhib reproduce table`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..backends import TrainingMetrics, backend_descriptions
from ..datasets import DATASETS
from ..refimpl.errors import ConfigurationError
from ..validation import Position
from .accuracy_cells import (
    AccuracyCell,
    accuracy_rows,
    cell_configuration,
)
from .accuracy_results import (
    CellResult,
    cell_result,
    read_results,
    refuse_other_settings,
    write_results,
)
from .accuracy_table import draw_accuracies, table_in_markdown
from .interruption import stop_on_interrupt
from .metrics_log import EpochRecord
from .output_file import make_directory, write_output
from .run_beginning import begin, resume
from .run_configuration import RunConfiguration
from .terminal import Announcement, announced, going_on_without_output, say, terminal_console
from .training import train

console = terminal_console()
MOST_SEEDS, MOST_LAYERS = 1000, 100
"""Of a table, whose cells are listed before the first is trained."""


@dataclass(frozen=True)
class Table:
    """What a table of accuracies is made of: all combinations, and how each is trained."""

    datasets: Sequence[str]
    depths: Sequence[int]
    seeds: int
    epochs: int
    rules: Sequence[str]
    feedback: Sequence[str]
    strength: Sequence[str]
    hidden_units: int
    data_dir: Path | None
    backend: str | None
    dtype: str
    threads: int | None


def train_table(table: Table, out: Path) -> int:
    """Train every cell that `out` does not have yet, draw the table, and give the exit code."""
    rows = accuracy_rows(table.rules, table.feedback, table.strength)
    _check(table)
    settings = {
        "hidden_units": table.hidden_units,
        "backend": table.backend or _quickest(),
        "dtype": table.dtype,
        "threads": table.threads,
    }
    # All rows of one seed before the next: a table that is not finished has them all.
    cells = [
        AccuracyCell(row, dataset, depth, seed)
        for seed in range(table.seeds)
        for dataset in table.datasets
        for depth in table.depths
        for row in rows
    ]
    configurations = {
        cell.name: cell_configuration(cell, table.epochs, settings, table.data_dir)
        for cell in cells
    }
    make_directory(out)
    results = read_results(out / "accuracies.h5")
    for cell in cells:
        if cell.name in results:
            wanted = configurations[cell.name].as_dict()
            refuse_other_settings(results[cell.name], wanted, out / "accuracies.h5")
    with going_on_without_output():
        signal_number = _train_cells(cells, configurations, results, out, table.epochs)
        if results:
            _write_table(out, list(results.values()))
        if signal_number:
            say(console, "Stopped; the same command goes on.")
            return 128 + signal_number
    return 0


def _train_cells(
    cells: list[AccuracyCell],
    configurations: dict[str, RunConfiguration],
    results: dict[str, CellResult],
    out: Path,
    epochs: int,
) -> int:
    done = sum(cell.name in results for cell in cells)
    with (
        stop_on_interrupt() as stop,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress,
        announced("training the table") as announcement,
    ):
        task = progress.add_task("epochs", total=len(cells) * epochs, completed=done * epochs)
        for cell in cells:
            directory = out / "runs" / cell.name
            if cell.name in results:
                # A kill may have come between the two.
                shutil.rmtree(directory, ignore_errors=True)
                continue
            display = _CellDisplay(progress, task, announcement, cell.name)
            records = _train_cell(configurations[cell.name], directory, display, stop)
            if len(records) < epochs:
                return stop()
            plain = configurations[cell.name].as_dict()
            results[cell.name] = cell_result(cell, plain, records)
            write_results(out / "accuracies.h5", results)
            shutil.rmtree(directory)
            say(console, f"{cell.name}: test accuracy {results[cell.name].test_accuracy:.2%}")
            announcement.shown()
    return 0


class _CellDisplay:
    """Moves the bar of the whole table by an epoch, and knows what is being done."""

    def __init__(
        self, progress: Progress, task: Any, announcement: Announcement, cell: str
    ) -> None:
        self._progress, self._task = progress, task
        self._announcement, self._cell = announcement, cell
        announcement.now(f"{cell}: getting ready")

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        """Name the step; the bar moves by epochs."""
        self._announcement.now(f"{self._cell}: epoch {epoch + 1}, step {steps} of {n_steps}")

    def on_epoch(self, record: EpochRecord) -> None:
        """Count it."""
        self._progress.advance(self._task)


def _train_cell(
    configuration: RunConfiguration, directory: Path, display: _CellDisplay, stop: Any
) -> list[EpochRecord]:
    if (directory / "checkpoint.h5").is_file():
        run, position, records = resume(directory, None)
        for record in records:
            display.on_epoch(record)
    else:
        # What a kill left before the first checkpoint.
        shutil.rmtree(directory, ignore_errors=True)
        run, position, records = begin(configuration, directory), Position(0), []
    _, records = train(run, position, records, display, stop)
    return records


def _write_table(out: Path, results: list[CellResult]) -> None:
    text = table_in_markdown(results)
    write_output(out / "table.md", lambda: (out / "table.md").write_text(text, encoding="utf-8"))
    write_output(out / "table.png", lambda: draw_accuracies(out / "table.png", results))
    console.print(text, soft_wrap=True)


def _check(table: Table) -> None:
    for name in table.datasets:
        if name not in DATASETS:
            raise ConfigurationError(f"--datasets has {name!r}: choose from {', '.join(DATASETS)}")
    if not 1 <= min(table.depths) <= max(table.depths) <= MOST_LAYERS:
        given = ",".join(map(str, table.depths))
        raise ConfigurationError(
            f"--depths is {given!r}: whole numbers from 1 to {MOST_LAYERS}, as in 1,2,3"
        )
    if table.data_dir is not None and len(table.datasets) > 1:
        raise ConfigurationError(
            f"--data-dir {table.data_dir} with {len(table.datasets)} datasets: give one"
        )
    if table.seeds < 1 or table.epochs < 1:
        raise ConfigurationError(
            f"--seeds {table.seeds}, --epochs {table.epochs}: at least 1 is needed"
        )
    if table.seeds > MOST_SEEDS:
        raise ConfigurationError(f"--seeds is {table.seeds}: at most {MOST_SEEDS} make a table")


def _quickest() -> str:
    can_run = [d.name for d in backend_descriptions() if not d.unavailable]
    return "numba" if "numba" in can_run else can_run[0]
