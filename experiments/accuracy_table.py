"""Accuracies as a table and a picture: mean and standard deviation over seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .accuracy_cells import FEEDBACKS, STRENGTHS, TABLE_RULES, AccuracyRow
from .accuracy_results import CellResult

MARKERS = {
    ("", ""): "s",
    ("per-sample", "strong"): "o",
    ("averaged", "strong"): "D",
    ("per-sample", "weak"): "^",
    ("averaged", "weak"): "v",
}


def grouped(
    results: Sequence[CellResult],
) -> dict[tuple[str, int], dict[AccuracyRow, np.ndarray]]:
    """Collect final test accuracies by (dataset, depth) and row, in percent.

    Parameters
    ----------
    results : sequence of CellResult
        Any number of seeds each.

    Returns
    -------
    dict of dict of array, (seeds,)
    """
    table: dict[tuple[str, int], dict[AccuracyRow, list[float]]] = {}
    for result in sorted(results, key=lambda r: (r.cell.dataset, r.cell.depth, r.cell.seed)):
        column = table.setdefault((result.cell.dataset, result.cell.depth), {})
        column.setdefault(result.cell.row, []).append(100 * result.test_accuracy)
    return {
        place: {row: np.array(values) for row, values in column.items()}
        for place, column in table.items()
    }


def table_in_markdown(results: Sequence[CellResult]) -> str:
    """Write mean ± standard deviation (of the sample, n − 1) of the test accuracy in percent.

    Parameters
    ----------
    results : sequence of CellResult
        Finished trainings.
    """
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

    def place(row: AccuracyRow) -> tuple[int, int, int]:
        if not row.feedback:
            return TABLE_RULES.index(row.rule), 0, 0
        return (
            TABLE_RULES.index(row.rule),
            STRENGTHS.index(row.strength),
            FEEDBACKS.index(row.feedback),
        )

    return sorted({row for column in table.values() for row in column}, key=place)


def _mean_and_deviation(values: np.ndarray | None) -> str:
    if values is None:
        return ""
    if values.size == 1:
        return f"{values[0]:.2f} (1 seed)"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f} ({values.size} seeds)"


def draw_accuracies(path: str | os.PathLike[str], results: Sequence[CellResult]) -> None:
    """Draw every seed's accuracy and the means, a panel a dataset and depth.

    Parameters
    ----------
    path : str or path
        Picture to write.
    results : sequence of CellResult
        Finished trainings.
    """
    # Imported here: slow to load, and most commands draw nothing.
    from .figures.style import PAGE, RULE_COLOURS, new_figure

    path = Path(path)
    table = grouped(results)
    places = sorted(table)
    rows = _rows(table)[::-1]
    figure = new_figure(PAGE, 1.0 + 0.28 * len(rows))
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for axes, place in zip(panels, places, strict=True):
        for height, row in enumerate(rows):
            values = table[place].get(row)
            if values is None:
                continue
            colour = RULE_COLOURS[row.rule]
            marker = MARKERS[row.feedback, row.strength]
            axes.plot(
                values,
                np.full(values.size, height),
                marker,
                color=colour,
                markersize=3,
                alpha=0.4,
                linestyle="none",
            )
            spread = values.std(ddof=1) if values.size > 1 else 0.0
            axes.errorbar(
                values.mean(),
                height,
                xerr=spread,
                fmt=marker,
                color=colour,
                capsize=3,
                markersize=5,
            )
        axes.set_title(f"{place[0].replace('_', '-')}, depth {place[1]}")
        axes.set_xlabel("test accuracy, %")
        axes.grid(axis="x", alpha=0.3)
        axes.margins(x=0.15, y=0.1)
    panels[0].set_yticks(range(len(rows)), [str(row) for row in rows])
    figure.savefig(path, dpi=200)
