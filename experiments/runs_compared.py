"""The command `disinhib compare`: runs beside each other, what sets them apart, how they ended."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.measure import Measurement
from rich.table import Column, Table

from ..refimpl import ConfigurationError
from ..validation import newest_checkpoint
from .output import (
    refuse_other_pictures,
    refuse_twice,
    refuse_unwritable,
    say,
    terminal_console,
    visible,
    write_output,
    write_text,
)
from .training import (
    EpochRecord,
    RunConfiguration,
    best_record,
    dotted,
    draw_learning_curves,
    holds_a_run,
    load_run_configuration,
    read_records,
    refuse_files_of_run,
)

console = terminal_console()
NOT_COMPARED = ("epochs", "data_dir", "threads")
"""Settings that make no other network, or whose effect is a column of its own."""
MEASURES = [
    item.name
    for item in dataclasses.fields(EpochRecord)
    if item.name.endswith(("loss", "accuracy"))
]


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run's settings and epochs, as its directory has them."""

    directory: Path
    configuration: RunConfiguration
    records: Sequence[EpochRecord]
    data: str  # digest of the data that it learnt, empty where it is not known

    @property
    def best(self) -> EpochRecord:
        """The first epoch of highest validation accuracy."""
        return best_record(self.records)


def read_run(directory: str | os.PathLike[str]) -> ComparedRun:
    """Read what a run has written; ConfigurationError if there is no run, or no epoch of it."""
    directory = Path(directory)
    config, log = directory / "config.toml", directory / "metrics.jsonl"
    if not config.is_file():
        raise ConfigurationError(f"{directory} holds no run: config.toml is missing")
    records = read_records(log)
    if not records:
        raise ConfigurationError(f"{directory} has no finished epoch yet")
    # Of a run whose log alone was kept nobody can say which data it learnt.
    is_whole = holds_a_run(directory)
    data = newest_checkpoint(directory / "checkpoint.h5")[0].data if is_whole else ""
    return ComparedRun(directory, load_run_configuration(config, {}), records, data)


def tidy_rows(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Make a row a run: settings in which the runs differ, by dotted names, and its figures.

    Figures are those of the last epoch, by their names in metrics.jsonl, and, after `best_`, of the
    first epoch of highest validation accuracy.
    """
    settings = [_settings(run.configuration) for run in runs]
    names = dict.fromkeys(name for one in settings for name in one)
    # Where a file of one's own lies makes no other data, and one by the same name may have others.
    are_other = learnt_different_data(runs)
    are_other_data = are_other and len({run.configuration.dataset for run in runs}) == 1
    not_compared = {*NOT_COMPARED, *([] if are_other else ["dataset"])}
    differing = [
        name
        for name in names
        if name not in not_compared and any(s.get(name) != settings[0].get(name) for s in settings)
    ]
    rows = []
    for run, own in zip(runs, settings, strict=True):
        last, best = run.records[-1], run.best
        rows.append({
            "run": str(run.directory),
            **({"data": run.data[:8]} if are_other_data else {}),
            **{name: own.get(name) for name in differing},
            "epochs": last.epoch,
            **{name: getattr(last, name) for name in MEASURES},
            "best_epoch": best.epoch,
            **{f"best_{name}": getattr(best, name) for name in MEASURES},
            "seconds": sum(record.seconds for record in run.records),
        })  # fmt: skip
    return rows


def learnt_different_data(runs: Sequence[ComparedRun]) -> bool:
    """Whether what runs have learnt differs, wherever it lay."""
    names, digests = {run.configuration.dataset for run in runs}, {run.data for run in runs}
    return len(digests) > 1 if "" not in digests else len(names) > 1


def runs_table(directories: Iterable[str | os.PathLike[str]]) -> list[dict[str, Any]]:
    """Set runs beside each other: a row a run, as ``pandas.DataFrame`` takes them.

    Parameters
    ----------
    directories : iterable of paths
        Of runs.

    Returns
    -------
    list of dict
        Of each run its directory, the settings in which they differ, by dotted names, `epochs`, the
        last epoch's figures by their names in metrics.jsonl, `best_epoch`, the first of highest
        validation accuracy, its figures after `best_`, and `seconds`.

    Raises
    ------
    ConfigurationError, FileError
        There is no run, no finished epoch of it, or a file that cannot be read.
    """
    return tidy_rows([read_run(directory) for directory in directories])


def _settings(configuration: RunConfiguration) -> dict[str, Any]:
    """Settings by their dotted names, each in one cell of a table."""
    settings = dotted(configuration.as_dict())
    return settings | {"hidden": "-".join(map(str, configuration.hidden))}


def compare_runs(
    directories: Sequence[Path], csv_file: Path | None = None, plot_file: Path | None = None
) -> None:
    """Print a row a run, and write what was asked for."""
    refuse_twice(csv_file, plot_file)
    for file in (csv_file, plot_file):
        refuse_unwritable(file)
        for directory in directories:
            refuse_files_of_run(directory, file)
    refuse_other_pictures(plot_file)
    if len({directory.resolve() for directory in directories}) < len(directories):
        raise ConfigurationError("a run is given twice")
    runs = [read_run(directory) for directory in directories]
    rows = tidy_rows(runs)
    first_measure = list(rows[0]).index("epochs")
    settings = list(rows[0])[:first_measure]
    figures = {
        "epochs": "epochs",
        "valid_accuracy": "valid, last",
        "test_accuracy": "test, last",
        "best_epoch": "best at",
        "best_valid_accuracy": "valid, best",
        "best_test_accuracy": "test, best",
    }
    table = Table(
        *(Column(visible(name), overflow="fold") for name in settings),
        *(Column(name, justify="right") for name in figures.values()),
    )
    for row in rows:
        cells = ["" if row[name] is None else visible(row[name]) for name in settings]
        measures = [
            f"{row[name]:.2%}" if name.endswith("accuracy") else str(row[name]) for name in figures
        ]
        table.add_row(*cells, *measures)
    print_whole(table)
    if learnt_different_data(runs):
        say(console, "  these runs learnt different data", "yellow")
    write_output(csv_file, write_rows, rows)
    # The table has what sets them apart, which a legend has no room for.
    names = [run.directory.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.directory) for run in runs]
    curves = {name: run.records for name, run in zip(names, runs, strict=True)}
    write_output(plot_file, draw_learning_curves, curves)


def print_whole(table: Table) -> None:
    """Print a table as wide as it is: nothing of it is cut, and only a terminal wraps its lines."""
    width = Measurement.get(console, console.options.update(width=10_000), table).maximum
    if width <= console.width:
        console.print(table)
    else:
        console.print(table, width=width, no_wrap=True, soft_wrap=True, crop=False)


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with a heading, as `pandas.read_csv` takes it; what is unset stays empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
