"""The table of accuracies: the command `disinhib reproduce table`, and all that it writes.

One training a cell and seed; those that have ended are kept in one HDF5 file that grows by one at a
time, from which the table and its picture are made: mean and standard deviation over seeds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...backends import TrainingMetrics, backend_descriptions
from ...datasets import DATASETS
from ...refimpl import ConfigurationError
from ...validation import (
    FileError,
    Position,
    check_digest,
    dataset_of_numbers,
    find_group,
    read_json,
    read_numbers,
    read_text,
    reading,
    refuse_other_schema,
    write_signed_file,
)
from ..output import (
    Announcement,
    announced,
    going_on_without_output,
    make_directory,
    say,
    terminal_console,
    write_output,
)
from ..training import (
    EpochRecord,
    RunConfiguration,
    begin,
    resume,
    run_configuration,
    stop_on_interrupt,
    train,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def train_table(table: Table, out: str | os.PathLike[str]) -> int:
    """Train every cell that `out` does not have yet, draw the table, and give the exit code."""
    out = Path(out)
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
            curves = {name: np.array([getattr(one, name) for one in records]) for name in CURVES}
            plain = configurations[cell.name].as_dict()
            results[cell.name] = CellResult(cell, plain, curves, records[-1].computed_by)
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
    write_output(out / "table.md", Path.write_text, text, "utf-8")
    write_output(out / "table.png", draw_accuracies, results)
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


# Ways to learn, and the trainings of a table.

FEEDBACKS = ("per-sample", "averaged")
STRENGTHS = ("strong", "weak")
TABLE_RULES = ("backprop", "exact-inverse", "linear-threshold")


@dataclass(frozen=True, order=True)
class AccuracyRow:
    """A way to learn: rule, feedback weights and strength of control, which backprop has not."""

    rule: str
    feedback: str = ""
    strength: str = ""

    @property
    def parts(self) -> list[str]:
        """Those that it has."""
        return [part for part in (self.rule, self.feedback, self.strength) if part]

    def __str__(self) -> str:
        return ", ".join(self.parts)


@dataclass(frozen=True)
class AccuracyCell:
    """One training: how it learns, what, in how many hidden layers, and its seed."""

    row: AccuracyRow
    dataset: str
    depth: int
    seed: int

    @property
    def name(self) -> str:
        """Of its run and of its results."""
        way = "-".join(self.row.parts)
        return f"{self.dataset}-depth-{self.depth}-{way}-seed-{self.seed}"


def accuracy_rows(
    rules: Sequence[str], feedbacks: Sequence[str], strengths: Sequence[str]
) -> list[AccuracyRow]:
    """Combine rules and ways of feedback; backprop is one row whatever they are."""
    for option, given, known in (
        ("rules", rules, TABLE_RULES),
        ("feedback", feedbacks, FEEDBACKS),
        ("strength", strengths, STRENGTHS),
    ):
        for value in given:
            if value not in known:
                raise ConfigurationError(f"{option} has {value!r}: choose from {', '.join(known)}")
    rows = []
    for rule in rules:
        if rule == "backprop":
            rows.append(AccuracyRow(rule))
        else:
            rows += [AccuracyRow(rule, f, s) for s in strengths for f in feedbacks]
    return rows


def cell_configuration(
    cell: AccuracyCell,
    epochs: int,
    settings: dict[str, Any],
    data_dir: str | os.PathLike[str] | None,
) -> RunConfiguration:
    """Configure the training of a cell, at the published values but for what is given.

    `settings` are `hidden_units` (a layer), `backend`, `dtype` and `threads`.
    """
    feedback = {}
    if cell.row.feedback:
        feedback = {
            "average": cell.row.feedback == "averaged",
            "strong": cell.row.strength == "strong",
        }
    chosen = {
        "dataset": cell.dataset,
        "data_dir": None if data_dir is None else Path(data_dir),
        "rule": cell.row.rule,
        "hidden": [settings["hidden_units"]] * cell.depth,
        "epochs": epochs,
        "seed": cell.seed,
        **{name: settings[name] for name in ("backend", "dtype", "threads")},
        "feedback": feedback,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    return run_configuration(given, "command line")


# What has ended.

SCHEMA = "disinhib-accuracies"
CURVES = ("train_loss", "train_accuracy", "valid_accuracy", "test_loss", "test_accuracy", "seconds")
DOES_NOT_MATTER = ("data_dir", "threads")
"""Settings that two runs of one cell may differ in."""


@dataclass(frozen=True)
class CellResult:
    """A finished training: its configuration in plain values, and its curves, each (epochs,)."""

    cell: AccuracyCell
    configuration: dict[str, Any]
    curves: dict[str, np.ndarray]
    computed_by: str  # backend, version and device

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return float(self.curves["test_accuracy"][-1])


def read_results(path: str | os.PathLike[str]) -> dict[str, CellResult]:
    """Read all finished cells; none if there is no file yet. A damaged or other file is refused."""
    path = Path(path)
    if not path.exists():
        return {}
    with reading(path) as file:
        refuse_other_schema(file, SCHEMA)
        check_digest(file)
        if "cells" not in file:
            return {}
        cells = find_group(file, "cells")
        return {name: _read_result(find_group(cells, name)) for name in cells}


def _read_result(group: h5py.Group) -> CellResult:
    about = read_json(group, "cell")
    try:
        cell = AccuracyCell(AccuracyRow(**about.pop("row")), **about)
        named_alike = group.name == f"/cells/{cell.name}"
    except (KeyError, TypeError, ValueError) as problem:
        raise FileError(f"{group.file.filename}: {group.name} is no cell: {problem}") from problem
    if not named_alike:
        raise FileError(f"{group.file.filename}: {group.name} is the cell {cell.name}")
    n_epochs = dataset_of_numbers(group, CURVES[0]).shape[:1]
    if n_epochs in ((), (0,)):
        raise FileError(f"{group.file.filename}: {group.name} has no epoch")
    return CellResult(
        cell,
        read_json(group, "config"),
        {curve: read_numbers(group, curve, n_epochs) for curve in CURVES},
        read_text(group, "computed_by"),
    )


def write_results(path: str | os.PathLike[str], results: dict[str, CellResult]) -> None:
    """Write all finished cells, so that at every moment a whole file is on disk."""
    path = Path(path)

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["schema_version"] = 1
        for name, result in results.items():
            group = file.create_group(f"cells/{name}")
            row = vars(result.cell.row)
            group.attrs["cell"] = json.dumps({**vars(result.cell), "row": row})
            group.attrs["config"] = json.dumps(result.configuration)
            group.attrs["computed_by"] = result.computed_by
            for curve, values in result.curves.items():
                group[curve] = values

    write_signed_file(path, fill)


def refuse_other_settings(
    result: CellResult, wanted: dict[str, Any], path: str | os.PathLike[str]
) -> None:
    """Refuse to take a finished cell for one that was asked for with other settings."""
    path = Path(path)
    for name in sorted({*wanted, *result.configuration} - set(DOES_NOT_MATTER)):
        there, now = result.configuration.get(name), wanted.get(name)
        if there != now:
            raise ConfigurationError(
                f"{path} has {result.cell.name} with {name} {there}, now it is {now}: "
                "choose another directory"
            )


# What is shown of it.

MARKERS = {
    ("", ""): "s",
    ("per-sample", "strong"): "o",
    ("averaged", "strong"): "D",
    ("per-sample", "weak"): "^",
    ("averaged", "weak"): "v",
}


def grouped(results: Sequence[CellResult]) -> dict[tuple[str, int], dict[AccuracyRow, np.ndarray]]:
    """Collect final test accuracies by (dataset, depth) and row, in percent, (seeds,)."""
    table: dict[tuple[str, int], dict[AccuracyRow, list[float]]] = {}
    for result in sorted(results, key=lambda r: (r.cell.dataset, r.cell.depth, r.cell.seed)):
        column = table.setdefault((result.cell.dataset, result.cell.depth), {})
        column.setdefault(result.cell.row, []).append(100 * result.test_accuracy)
    return {
        place: {row: np.array(values) for row, values in column.items()}
        for place, column in table.items()
    }


def table_in_markdown(results: Sequence[CellResult]) -> str:
    """Write mean ± standard deviation (of the sample, n − 1) of the test accuracy in percent."""
    table = grouped(results)
    places = sorted(table)
    rows = _rows(table)
    heads = [f"{dataset}, depth {depth}" for dataset, depth in places]
    lines = [
        "| " + " | ".join(["test accuracy, %", *heads]) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for row in rows:
        cells = [_mean_and_deviation(table[place].get(row)) for place in places]
        lines.append("| " + " | ".join([str(row), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _rows(table: dict[tuple[str, int], dict[AccuracyRow, np.ndarray]]) -> list[AccuracyRow]:
    """Every row that there is: rules in order, strong before weak, per-sample before averaged."""

    def place(row: AccuracyRow) -> tuple[int, ...]:
        return (
            TABLE_RULES.index(row.rule),
            ("", *STRENGTHS).index(row.strength),
            ("", *FEEDBACKS).index(row.feedback),
        )

    return sorted({row for column in table.values() for row in column}, key=place)


def _mean_and_deviation(values: np.ndarray | None) -> str:
    if values is None:
        return ""
    if values.size == 1:
        return f"{values[0]:.2f} (1 seed)"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f} ({values.size} seeds)"


def draw_accuracies(path: str | os.PathLike[str], results: Sequence[CellResult]) -> None:
    """Draw every seed's accuracy and the means, a panel a dataset and depth."""
    # Imported here: slow to load, and most commands draw nothing.
    from .figures.style import PAGE, new_figure

    path = Path(path)
    table = grouped(results)
    places = sorted(table)
    rows = _rows(table)[::-1]
    figure = new_figure(PAGE, 1.0 + 0.28 * len(rows))
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for axes, place in zip(panels, places, strict=True):
        draw_column(axes, place, table[place], rows)
    panels[0].set_yticks(range(len(rows)), [str(row) for row in rows])
    figure.savefig(path, dpi=200)


def draw_column(
    axes: Axes,
    place: tuple[str, int],
    column: Mapping[AccuracyRow, np.ndarray],
    rows: Sequence[AccuracyRow],
) -> None:
    """Draw accuracies (seeds,) of one dataset and depth in percent, the first row lowest."""
    from .figures.style import RULE_COLOURS

    for height, row in enumerate(rows):
        values = column.get(row)
        if values is None:
            continue
        colour, marker = RULE_COLOURS[row.rule], MARKERS[row.feedback, row.strength]
        heights = np.full(values.size, height)
        seeds: dict[str, Any] = {"markersize": 3, "alpha": 0.4, "linestyle": "none"}
        axes.plot(values, heights, marker, color=colour, **seeds)
        spread = values.std(ddof=1) if values.size > 1 else 0.0
        mean: dict[str, Any] = {"xerr": spread, "fmt": marker, "capsize": 3, "markersize": 5}
        axes.errorbar(values.mean(), height, color=colour, **mean)
    axes.set_title(f"{place[0].replace('_', '-')}, depth {place[1]}")
    axes.set_xlabel("test accuracy, %")
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.15, y=0.1)
