"""What was measured: tables and pictures for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ...backends import backend_descriptions
from ..output import say, visible
from .cases import Case, varied_size
from .measurement import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print the rows of one network and batch as a table of at most 80 columns."""
    table = Table(
        title=rows[0].case.workload,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("step", overflow="fold")
    for heading in ("samples/s", "÷ backprop", "GFLOP/s", "MiB", "start-up"):
        table.add_column(heading, justify="right")
    for name, section in groupby(rows, key=lambda row: f"{row.case.backend} {row.case.dtype}"):
        table.add_row(Text(visible(name), style="bold"))
        for row in section:
            table.add_row(*_cells(row))
        table.add_section()
    console.print(table)
    console.print()


def print_scaling(console: Console, name: str, rows: Sequence[Row]) -> None:
    """Print the step time against the size that was varied."""
    table = Table(name, "step, ms", "÷ backprop")
    for row in rows:
        milliseconds = 1e3 * row.case.batch / row.samples_per_second
        table.add_row(
            str(varied_size(name, row.case)), f"{milliseconds:.2f}", f"{row.backprop_ratio:.2f}"
        )
    console.print(table)


def print_profile(console: Console, case: Case, profile: Mapping[str, float]) -> None:
    """Print the seconds of each stage, the last of which is the whole step."""
    whole = list(profile.values())[-1]
    say(console, case, "bold")
    table = Table("stage", *(Column(name, justify="right") for name in ("ms", "of the step")))
    for stage, seconds in profile.items():
        table.add_row(stage, f"{1e3 * seconds:.3g}", f"{seconds / whole:.0%}")
    console.print(table)


def write_rows(
    path: str | os.PathLike[str], rows: Sequence[Row], scaling: Mapping[str, Sequence[Row]]
) -> None:
    """Write all rows, and what machine they are of, as JSON."""
    curves = {name: [row_record(row) for row in of] for name, of in scaling.items()}
    _write(path, {"rows": [row_record(row) for row in rows], "scaling": curves})


def write_profiles(
    path: str | os.PathLike[str], profiles: Mapping[Case, Mapping[str, float]]
) -> None:
    """Write the seconds of each stage, and what machine they are of, as JSON."""
    records = [{**_case_record(case), "stage_seconds": of} for case, of in profiles.items()]
    _write(path, {"profiles": records})


def row_record(row: Row) -> dict[str, Any]:
    """Turn a row into plain JSON values: of what is repeated, the median and every repeat."""
    return {
        **_case_record(row.case),
        "samples_per_second": row.samples_per_second,
        "samples_per_second_repeats": list(row.rates),
        "step_seconds": row.case.batch / row.samples_per_second,
        "step_seconds_repeats": list(row.step_seconds),
        "backprop_seconds_repeats": list(row.backprop_seconds),
        "backprop_ratio": row.backprop_ratio,
        "backprop_ratio_repeats": list(row.ratios),
        "gigaflops": row.gigaflops,
        "matrix_product_gigaflops": row.matrix_product_gigaflops,
        "peak_mebibytes": row.peak_mebibytes,
        "start_up_seconds": row.start_up_seconds,
    }


def rate_text(rate: float) -> str:
    """Write samples per second as a whole number, a small one with a decimal."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def processor() -> str:
    """Name the processor, where the system says."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cells(row: Row) -> tuple[str, ...]:
    ratio = _ratio(row.backprop_ratio)
    if row.case.method is not None:
        ratio += f"\n{_ratio(min(row.ratios))}–{_ratio(max(row.ratios))}"
    return (
        f" {row.case.rule}\n   {row.case.method or ''}",
        f"{rate_text(row.samples_per_second)}\n"
        f"{rate_text(min(row.rates))}–{rate_text(max(row.rates))}",
        ratio,
        f"{row.gigaflops:.1f}\nof {row.matrix_product_gigaflops:.0f}",
        f"{row.peak_mebibytes:.0f}",
        f"{row.start_up_seconds:.2f} s",
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _case_record(case: Case) -> dict[str, Any]:
    names = ("backend", "method", "dtype", "rule", "sizes", "batch", "threads")
    return {name: getattr(case, name) for name in names}


def _write(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    machine = {
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "backends": [
            dataclasses.asdict(description)
            for description in backend_descriptions()
            if not description.unavailable
        ],
    }
    text = json.dumps({"machine": machine, **document}, indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


# Pictures.

GREY = "C7"
HUES = [f"C{i}" for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)]
"""As many as there are rules times methods."""

BAR_INCHES = 0.15
GAP = 0.8
"""Between two backends or precisions, in bars."""


def draw_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Draw samples per second as bars: a panel for each network and batch, a colour a step."""
    # Imported here: slow to load, and most tables are not drawn.
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    path = Path(path)
    networks = list(dict.fromkeys(row.case.sizes for row in rows))
    batches = sorted({row.case.batch for row in rows})
    steps = list(dict.fromkeys(row.case.step for row in rows))
    others = [step for step in steps if step != "backprop"]
    colours = {"backprop": GREY, **dict(zip(others, HUES, strict=False))}
    panels_of = {
        network: [
            [row for row in rows if (row.case.sizes, row.case.batch) == (network, batch)]
            for batch in batches
        ]
        for network in networks
    }
    heights = [max(map(_bars, panels)) for panels in panels_of.values()]
    inches = [0.6 + BAR_INCHES * height for height in heights]
    figure = Figure(figsize=(max(8, 1 + 3.6 * len(batches)), 1 + sum(inches)), layout="constrained")
    shape = len(networks), len(batches)
    ratios = {"height_ratios": inches}
    grid = figure.subplots(*shape, squeeze=False, sharex=True, gridspec_kw=ratios)
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
    from matplotlib.figure import Figure

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
            bar: dict[str, Any] = {"color": colours[row.case.step], "error_kw": {"elinewidth": 0.8}}
            axes.barh(position, rate, 0.9, xerr=spread, **bar)
            beside: dict[str, Any] = {"xytext": (3, 0), "textcoords": "offset points"}
            at = (max(rates), position)
            axes.annotate(rate_text(rate), at, va="center", fontsize=6, **beside)
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
