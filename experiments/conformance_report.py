"""Conformance results as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..validation import StagePower, StageResult
from .terminal import say, visible

WIDE = 110
"""Characters a line from which the worst element has a column."""
ORIGIN_MARK = {"trace": "T", "solver": "S", "rounding": "R"}
"""What an allowance is made of."""


@dataclass(frozen=True)
class TraceReport:
    """All that is known of a candidate by one trace.

    Parameters
    ----------
    trace : str
        File of the trace.
    candidate : str
        A backend with precision and method, or a port's file with its precision.
    results : sequence of StageResult
        In order of cause.
    not_given : dict of int
        By stage, how many arrays a port left out.
    powers : sequence of StagePower
        What the tolerances are worth, if that was asked for.
    stability : str
        What is to be said of the end states as fixed points of the differential equations.
    """

    trace: str
    candidate: str
    results: Sequence[StageResult]
    not_given: dict[str, int] = field(default_factory=dict)
    powers: Sequence[StagePower] = ()
    stability: str = ""

    @property
    def passed(self) -> bool:
        """Every stage that there is agrees."""
        return all(result.passed for result in self.results)

    @property
    def first_deviation(self) -> StageResult | None:
        """The stage in which the first error arises; the later ones may only follow from it."""
        return next((result for result in self.results if not result.passed), None)


def verdict(result: StageResult) -> str:
    """Say in a word or two how a stage fared."""
    if result.passed:
        return "follows" if result.follows else "pass"
    return "FAIL, may follow" if result.follows else "FAIL"


def print_report(console: Console, report: TraceReport) -> None:
    """Print one trace's table, and below it where the first deviation arises.

    Parameters
    ----------
    console : Console
        Where to.
    report : TraceReport
        What to print.
    """
    table = Table(
        title=Text(visible(f"{Path(report.trace).name}   {report.candidate}")),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    is_wide = console.width >= WIDE
    table.add_column("stage", no_wrap=True)
    for heading in ("off by", "allowed", "margin", "ULP\n99 %", "ULP\nmost"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if is_wide:
        table.add_column("nearest to its limit", style="dim", overflow="fold")
    for result in report.results:
        places = result.last_places
        colour = "green" if result.passed else "bold red"
        row: list[str | Text] = [
            result.stage,
            f"{result.used * result.tolerance:.1e}",
            f"{result.tolerance:.1e} {ORIGIN_MARK[result.origin]}",
            _short(result.margin),
            _short(places.percentile_99),
            _short(places.largest),
            Text(verdict(result), style=colour),
        ]
        table.add_row(*row, *([Text(visible(result.worst))] if is_wide else []))
    console.print(table)
    for line in explanation(report):
        say(console, line)
    if report.powers:
        print_powers(console, report)


def explanation(report: TraceReport) -> list[str]:
    """Say in plain lines where the first deviation arises, and what is not known.

    Parameters
    ----------
    report : TraceReport
        Of one trace.
    """
    lines = []
    if report.results:
        lines.append(
            "allowed by T the trace's own tolerance, S the solver's, R rounding; margin: times "
            "the deviation could be larger; ULP: units in the last place"
        )
    first = report.first_deviation
    if first is not None:
        lines.append(f"The first deviation arises in: {first.stage}.")
        element = first.element
        if element is not None:
            lines.append(
                f"  furthest off: {element} ({element.words}): "
                f"{element.found:.17g}, should be {element.expected:.17g}"
            )
        if first.hint:
            lines.append(f"  these numbers come of a usual mistake: {first.hint}")
    if any(result.follows and result.passed for result in report.results):
        lines.append(
            "'follows': off the trace, but right for what the candidate itself had before it."
        )
    if report.not_given:
        missing = ", ".join(f"{stage} ({n})" for stage, n in report.not_given.items())
        lines.append(f"Arrays not given, and not judged: {missing}.")
    if report.stability:
        lines.append(report.stability)
    return lines


def print_powers(console: Console, report: TraceReport) -> None:
    """Print the smallest faults that would be caught.

    Parameters
    ----------
    console : Console
        Where to.
    report : TraceReport
        With powers.
    """
    table = Table(title="Smallest fault caught, relative", title_justify="left")
    table.add_column("stage")
    table.add_column("a whole array", justify="right")
    table.add_column("one element", justify="right")
    table.add_column("weakest in", style="dim")
    for power in report.powers:
        table.add_row(
            power.stage, f"{power.whole_array:.1e}", f"{power.one_element:.1e}", power.weakest
        )
    console.print(table)


def write_json(
    path: str | os.PathLike[str], settings: dict[str, Any], reports: Sequence[TraceReport]
) -> None:
    """Write all results as JSON.

    Parameters
    ----------
    path : str or path
        File to write.
    settings : dict
        Backend, dtype and method, or the precision of a port.
    reports : sequence of TraceReport
        One a trace. A number that is not finite is null: JSON has no infinity.
    """
    path = Path(path)
    document = {
        **settings,
        "passed": all(report.passed for report in reports),
        "traces": {
            report.trace: [_plain(result) for result in report.results] for report in reports
        },
        "not_given": {report.trace: report.not_given for report in reports if report.not_given},
        "power": {
            report.trace: [_finite(dataclasses.asdict(power)) for power in report.powers]
            for report in reports
            if report.powers
        },
        "stability": {report.trace: report.stability for report in reports if report.stability},
    }
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(result: StageResult) -> dict[str, Any]:
    values = _finite(dataclasses.asdict(result))
    return {
        **values,
        "worst": result.worst,
        "margin": _finite(result.margin),
        "passed": result.passed,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.3g}" if value < 1e3 else f"{value:.0e}"
