"""Benchmark results as a table, as JSON and as pictures."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from .benchmark import Row


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print a table."""
    table = Table()
    table.add_column("step", overflow="fold")
    for heading in ("samples/s", "÷ backprop", "GFLOP/s", "MiB", "first step"):
        table.add_column(heading, justify="right")
    for row in rows:
        case = row.case
        threads = "" if case.threads is None else f", {case.threads} threads"
        method = "" if case.rule == "backprop" else f", {case.method}"
        table.add_row(
            f"{case.backend} {case.dtype}{threads}\n{case.rule}{method}",
            f"{row.samples_per_second:,.0f}\n{row.slowest:,.0f} … {row.fastest:,.0f}",
            f"{row.backprop_ratio:.2f}",
            f"{row.gigaflops:.1f}\nof {row.matrix_product_gigaflops:.0f}",
            f"{row.peak_mebibytes:.0f}",
            f"{row.first_step_seconds:.2f} s",
        )
    console.print(table)


def write_rows(path: Path, rows: Sequence[Row], scaling: Mapping[str, Sequence[Row]]) -> None:
    """Write all rows, and what machine they are of, as JSON."""
    document = {
        "machine": {
            "processor": processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "rows": [dataclasses.asdict(row) for row in rows],
        "scaling": {name: [dataclasses.asdict(row) for row in of] for name, of in scaling.items()},
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    """Name the processor, where the system says."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def draw_rows(path: Path, rows: Sequence[Row]) -> None:
    """Draw samples per second as bars."""
    figure = Figure(figsize=(8, 0.6 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [
        f"{row.case.backend} {row.case.dtype}, {row.case.rule}"
        + ("" if row.case.rule == "backprop" else f", {row.case.method}")
        for row in rows
    ]
    rates = [row.samples_per_second for row in rows]
    spread = [
        [row.samples_per_second - row.slowest for row in rows],
        [row.fastest - row.samples_per_second for row in rows],
    ]
    colours = ["C7" if row.case.rule == "backprop" else "C0" for row in rows]
    axes.barh(names, rates, xerr=spread, color=colours, error_kw={"elinewidth": 0.8})
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="samples per second")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def draw_scaling(path: Path, scaling: Mapping[str, Sequence[Row]]) -> None:
    """Draw step time and its ratio to backprop against each size that was varied."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(2, len(scaling), squeeze=False)
    for column, (name, rows) in enumerate(scaling.items()):
        sizes = [varied_size(name, row) for row in rows]
        times = [1e3 * row.case.batch / row.samples_per_second for row in rows]
        backprop = [t / row.backprop_ratio for t, row in zip(times, rows, strict=True)]
        top, bottom = panels[0, column], panels[1, column]
        top.plot(sizes, times, "o-", markersize=4, label="exact inverse, fixed point")
        top.plot(sizes, backprop, "o-", markersize=4, color="C7", label="backprop")
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


def varied_size(name: str, row: Row) -> int:
    """Give the size that a scaling curve varies."""
    case = row.case
    return {
        "batch": case.batch,
        "width": case.sizes[1],
        "depth": len(case.sizes) - 2,
        "outputs": case.sizes[-1],
    }[name]
