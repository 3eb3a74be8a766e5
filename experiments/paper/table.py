"""The table of accuracies: the command `disinhib reproduce table`, and all that it writes.

A study for the batch engine, with a run a cell and seed. Of the runs that have ended one HDF5 file
keeps every epoch, and the table and its picture are made: mean and standard deviation over seeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ...datasets import DATASETS
from ...refimpl import ConfigurationError
from ...validation import (
    FileError,
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
from ..batch import finished_runs, run_batch
from ..output import tell_user, terminal_console, write_output
from ..training import RunConfiguration, load_run_configuration, read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

console = terminal_console()
MOST_SEEDS, MOST_LAYERS = 1000, 100
ACCURACIES = "accuracies.h5"


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
    _check(table)
    if (out / ACCURACIES).exists() and not (out / "study.toml").exists():
        raise ConfigurationError(
            f"{out} has a table of an earlier version, which kept no runs: choose another directory"
        )
    code = run_batch(table_study(table), [], out, None, table.threads)
    finished = [cell_result(directory) for directory in finished_runs(out)]
    results = [result for result in finished if result.n_epochs == table.epochs]
    if len(results) < len(finished):
        tell_user(
            f"left out of the table, which is of {table.epochs} epochs: "
            f"{len(finished) - len(results):,} of {len(finished):,} cells, of another number"
        )
    if results:
        write_results(out / ACCURACIES, {result.cell.name: result for result in results})
        text = table_in_markdown(results)
        write_output(out / "table.md", Path.write_text, text, "utf-8")
        write_output(out / "table.png", draw_accuracies, results)
        console.print(text, soft_wrap=True)
    return code


def table_study(table: Table) -> dict[str, Any]:
    """All that the table asks for as a study; what it does not say is as published."""
    base: dict[str, Any] = {"epochs": table.epochs, "dtype": table.dtype}
    if table.backend is not None:
        base["backend"] = table.backend
    if table.data_dir is not None:
        base["data_dir"] = str(table.data_dir)
    return {
        "base": base,
        "case": [
            row.settings for row in accuracy_rows(table.rules, table.feedback, table.strength)
        ],
        "vary": {
            "dataset": list(table.datasets),
            "hidden": [[table.hidden_units] * depth for depth in table.depths],
            "seed": list(range(table.seeds)),
        },
    }


def cell_result(directory: str | os.PathLike[str]) -> CellResult:
    """What a finished run of the table has come to."""
    directory = Path(directory)
    configuration = load_run_configuration(directory / "config.toml", {})
    records = read_records(directory / "metrics.jsonl")
    return CellResult(
        cell_of(configuration),
        configuration.as_dict(),
        {name: np.array([getattr(one, name) for one in records]) for name in CURVES},
        records[-1].computed_by,
    )


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

    @property
    def settings(self) -> dict[str, Any]:
        """Of its runs."""
        if not self.feedback:
            return {"rule": self.rule}
        averaged, strong = self.feedback == "averaged", self.strength == "strong"
        return {"rule": self.rule, "feedback": {"average": averaged, "strong": strong}}

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
        ("--rules", rules, TABLE_RULES),
        ("--feedback", feedbacks, FEEDBACKS),
        ("--strength", strengths, STRENGTHS),
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


def cell_of(configuration: RunConfiguration) -> AccuracyCell:
    """The cell that a run belongs to."""
    row = AccuracyRow(configuration.rule)
    if configuration.rule != "backprop":
        feedback = FEEDBACKS[configuration.feedback.average]
        row = AccuracyRow(row.rule, feedback, STRENGTHS[not configuration.feedback.strong])
    dataset, depth = configuration.dataset, len(configuration.hidden)
    return AccuracyCell(row, dataset, depth, configuration.seed)


# What has ended.

SCHEMA = "disinhib-accuracies"
CURVES = ("train_loss", "train_accuracy", "valid_accuracy", "test_loss", "test_accuracy", "seconds")


@dataclass(frozen=True)
class CellResult:
    """A finished training: its configuration in plain values, and its curves, each (epochs,)."""

    cell: AccuracyCell
    configuration: dict[str, Any]
    curves: dict[str, np.ndarray]
    computed_by: str  # backend, version and device

    @property
    def n_epochs(self) -> int:
        """How many it was trained."""
        return len(self.curves["test_accuracy"])

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
