"""Benchmark results as tables for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..backends import backend_descriptions
from .benchmark import Row
from .benchmark_cases import Case, varied_size
from .terminal import say, visible


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
    table = Table()
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("of the step", justify="right")
    for stage, seconds in profile.items():
        table.add_row(stage, f"{1e3 * seconds:.2f}", f"{seconds / whole:.0%}")
    console.print(table)


def write_rows(
    path: str | os.PathLike[str], rows: Sequence[Row], scaling: Mapping[str, Sequence[Row]]
) -> None:
    """Write all rows, and what machine they are of, as JSON."""
    path = Path(path)
    _write(
        path,
        {
            "rows": [row_record(row) for row in rows],
            "scaling": {name: [row_record(row) for row in of] for name, of in scaling.items()},
        },
    )


def write_profiles(
    path: str | os.PathLike[str], profiles: Mapping[Case, Mapping[str, float]]
) -> None:
    """Write the seconds of each stage, and what machine they are of, as JSON."""
    path = Path(path)
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
    return {
        "backend": case.backend,
        "method": case.method,
        "dtype": case.dtype,
        "rule": case.rule,
        "sizes": list(case.sizes),
        "batch": case.batch,
        "threads": case.threads,
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
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
    path.write_text(text + "\n", encoding="utf-8")
