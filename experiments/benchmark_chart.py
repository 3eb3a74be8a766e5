"""Benchmark results as pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import floor, log10
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .benchmark import Row
from .benchmark_cases import varied_size
from .benchmark_report import rate_text

GREY = "C7"
HUES = [f"C{i}" for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)]
"""As many as there are rules times methods."""

BAR_INCHES = 0.15
GAP = 0.8
"""Between two backends or precisions, in bars."""


def draw_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Draw samples per second as bars: a panel for each network and batch, a colour a step."""
    path = Path(path)
    networks = list(dict.fromkeys(row.case.sizes for row in rows))
    batches = sorted({row.case.batch for row in rows})
    steps = list(dict.fromkeys(row.case.step for row in rows))
    colours = {
        "backprop": GREY,
        **dict(zip((s for s in steps if s != "backprop"), HUES, strict=False)),
    }
    panels_of = {
        network: [
            [row for row in rows if (row.case.sizes, row.case.batch) == (network, batch)]
            for batch in batches
        ]
        for network in networks
    }
    heights = [max(_bars(panel) for panel in panels) for panels in panels_of.values()]
    figure = Figure(
        figsize=(max(8, 1 + 3.6 * len(batches)), 1 + sum(0.6 + BAR_INCHES * h for h in heights)),
        layout="constrained",
    )
    grid = figure.subplots(
        len(networks),
        len(batches),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": [0.6 + BAR_INCHES * h for h in heights]},
    )
    for line, panels, height in zip(grid, panels_of.values(), heights, strict=True):
        for axes, panel in zip(line, panels, strict=True):
            if panel:
                _draw_panel(axes, panel, height, colours)
            else:
                axes.set_axis_off()
    # Whole decades: room for the numbers, and for the shortest bar.
    slowest = min(min(row.rates) for row in rows)
    fastest = max(max(row.rates) for row in rows)
    grid[0, 0].set_xlim(10 ** floor(log10(slowest)), 10 ** (floor(log10(fastest)) + 1))
    figure.supxlabel("samples per second", fontsize="small")
    figure.legend(
        handles=[Patch(color=colours[step], label=step) for step in steps],
        loc="outside upper center",
        ncols=min(3, len(steps)),
        frameon=False,
        fontsize="small",
    )
    figure.savefig(path, dpi=120)


def draw_scaling(path: str | os.PathLike[str], scaling: Mapping[str, Sequence[Row]]) -> None:
    """Draw step time and its ratio to backprop against each size that was varied."""
    path = Path(path)
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(2, len(scaling), squeeze=False)
    for column, (name, rows) in enumerate(scaling.items()):
        sizes = [varied_size(name, row.case) for row in rows]
        times = [1e3 * row.case.batch / row.samples_per_second for row in rows]
        backprop = [t / row.backprop_ratio for t, row in zip(times, rows, strict=True)]
        top, bottom = panels[0, column], panels[1, column]
        top.plot(sizes, times, "o-", markersize=4, label="exact inverse, fixed point")
        top.plot(sizes, backprop, "o-", markersize=4, color=GREY, label="backprop")
        top.set(xscale="log", yscale="log", ylabel="step, ms" if column == 0 else "")
        bottom.plot(sizes, [row.backprop_ratio for row in rows], "o-", markersize=4)
        bottom.set(xscale="log", xlabel=name, ylabel="÷ backprop" if column == 0 else "")
        bottom.set_ylim(bottom=0)
        for axes in (top, bottom):
            axes.set_xticks(sizes, [str(size) for size in sizes], fontsize="small")
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def _draw_panel(axes: Axes, rows: Sequence[Row], height: float, colours: Mapping[str, str]) -> None:
    """Draw the bars of one network and batch, those of a backend and precision together."""
    position, ticks = 0.0, {}
    for name, of in groupby(rows, key=lambda row: f"{row.case.backend} {row.case.dtype}"):
        first = position
        for row in of:
            rate, rates = row.samples_per_second, row.rates
            spread = [[rate - min(rates)], [max(rates) - rate]]
            axes.barh(
                position,
                rate,
                0.9,
                xerr=spread,
                color=colours[row.case.step],
                error_kw={"elinewidth": 0.8},
            )
            axes.annotate(
                rate_text(rate),
                (max(rates), position),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
            )
            position += 1
        ticks[name] = (first + position - 1) / 2
        position += GAP
    axes.set_yticks(list(ticks.values()), list(ticks), fontsize="small")
    # All panels of a line are as high, so that all bars are as thick.
    axes.set_ylim(height - 0.5, -0.5 - GAP / 2)
    axes.set(xscale="log")
    axes.set_title(rows[0].case.workload, fontsize="small", loc="left")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True, labelsize="small")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _bars(rows: Sequence[Row]) -> float:
    """Height of a panel, in bars."""
    groups = {(row.case.backend, row.case.dtype) for row in rows}
    return len(rows) + GAP * len(groups)
