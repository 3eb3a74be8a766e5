"""Conformance results as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..validation import StageResult


def print_conformance(console: Console, title: str, results: Sequence[StageResult]) -> None:
    """Print one trace's table.

    Parameters
    ----------
    console : Console
        Where to.
    title : str
        Above the table.
    results : sequence of StageResult
        In order of cause.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("stage")
    for heading in ("largest absolute", "largest relative", "tolerance", "used"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    table.add_column("nearest to its limit", style="dim", overflow="fold")
    for result in results:
        table.add_row(
            result.stage,
            f"{result.absolute:.1e}",
            f"{result.relative:.1e}",
            f"{result.tolerance:.1e}",
            f"{result.used:.1%}" if result.used < 10 else f"{result.used:.1e} ×",
            "[green]pass[/]" if result.passed else "[bold red]FAIL[/]",
            result.worst.replace("[", r"\["),
        )
    console.print(table)


def write_conformance(
    path: Path, settings: Mapping[str, Any], traces: Mapping[str, Sequence[StageResult]]
) -> None:
    """Write all results as JSON.

    Parameters
    ----------
    path : Path
        File to write.
    settings : mapping
        Backend, dtype and method.
    traces : mapping of str to sequence of StageResult
        By trace file. An infinite deviation is null: JSON has no infinity.
    """
    document = {
        **settings,
        "passed": all(result.passed for results in traces.values() for result in results),
        "traces": {
            name: [_plain(result) for result in results] for name, results in traces.items()
        },
    }
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(result: StageResult) -> dict[str, Any]:
    values = {
        key: None if value == float("inf") else value
        for key, value in dataclasses.asdict(result).items()
    }
    return {**values, "passed": result.passed}
