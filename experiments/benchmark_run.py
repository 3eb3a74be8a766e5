"""The command `disinhib bench`: which cases, in what order, shown how."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .benchmark import Case, Row, measure, scaling_cases, standard_cases
from .benchmark_report import (
    draw_rows,
    draw_scaling,
    print_rows,
    processor,
    varied_size,
    write_rows,
)
from .stage_profile import stage_profile


def run_benchmark(
    console: Console,
    backends: Sequence[str],
    threads: int | None,
    json_file: Path | None,
    chart: Path | None,
    with_scaling: bool,
) -> None:
    """Measure the standard cases, and if asked for the scaling curves of the last backend.

    PyTorch's backprop step is measured too where PyTorch is installed.
    """
    console.print(f"{processor()}, 784-256-256-256-10, batch 100", highlight=False)
    cases = standard_cases(backends)
    if importlib.util.find_spec("torch") is not None:
        cases += [Case("torch", dtype, "backprop", "") for dtype in ("float32", "float64")]
    if threads is not None:
        cases = [dataclasses.replace(case, threads=threads) for case in cases]
    rows = _measured(console, cases)
    print_rows(console, rows)
    scaling: dict[str, list[Row]] = {}
    if with_scaling:
        for name, of in scaling_cases(backends[-1]).items():
            scaling[name] = _measured(console, of)
            _print_scaling(console, name, scaling[name])
    if json_file is not None:
        write_rows(json_file, rows, scaling)
    if chart is not None:
        draw_rows(chart, rows)
        if scaling:
            draw_scaling(chart.with_name(f"{chart.stem}-scaling{chart.suffix}"), scaling)


def run_profile(console: Console, backends: Sequence[str], threads: int | None) -> None:
    """Print the stages of one exact-inverse step of every backend, float32, fixed point."""
    for name in backends:
        case = Case(name, "float32", "exact-inverse", "fixed-point", threads=threads)
        profile = stage_profile(case)
        whole = profile["whole learning step"]
        table = Table(title=f"{name}, float32, exact-inverse, fixed-point", title_justify="left")
        table.add_column("stage")
        table.add_column("ms", justify="right")
        table.add_column("of the step", justify="right")
        for stage, seconds in profile.items():
            table.add_row(stage, f"{1e3 * seconds:.2f}", f"{seconds / whole:.0%}")
        console.print(table)


def _measured(console: Console, cases: Sequence[Case]) -> list[Row]:
    rows = []
    with console.status("") as status:
        for case in cases:
            status.update(f"{case.backend} {case.dtype} {case.rule} {case.method} {case.sizes}")
            rows.append(measure(case))
    return rows


def _print_scaling(console: Console, name: str, rows: Sequence[Row]) -> None:
    table = Table(name, "step, ms", "÷ backprop")
    for row in rows:
        milliseconds = 1e3 * row.case.batch / row.samples_per_second
        table.add_row(
            str(varied_size(name, row)), f"{milliseconds:.2f}", f"{row.backprop_ratio:.2f}"
        )
    console.print(table)
