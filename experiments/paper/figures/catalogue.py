"""Which figures there are, what each is made of, and the command that makes them.

Nothing here loads a drawing library: the command line asks this file for names.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from ....refimpl import ConfigurationError, shown
from ...output import going_on_without_output, make_directory, say, terminal_console, working

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, tuple[str, str]] = {
    "figure-3": ("figure_3", "plasticity of one synapse"),
    "figure-4": ("figure_4", "teacher and student in continuous time"),
    "supplement-1": ("supplement_1", "the same panels for related models"),
    "supplement-2": ("supplement_2", "five linear fits of the inverse"),
    "learning": ("learning", "learning from inside: angles, control work, rules"),
    "circuit": ("circuit", "potentials and control over time"),
}
"""By name: the module that makes it, and what it shows."""

FORMATS = ("png", "pdf", "svg")
DOTS_PER_INCH = 300

console = terminal_console()


def make_figures(name: str, out: str | os.PathLike[str], picture_format: str) -> int:
    """Make a figure, or all; give the exit code, 1 if a key number is not the paper's."""
    makers = {one: figure_maker(one) for one in (FIGURES if name == "all" else [name])}
    # Before minutes of work.
    refuse_no_date(picture_format)
    make_directory(out)
    passed = True
    with going_on_without_output():
        for one, make in makers.items():
            with working(console, f"making {one}: {FIGURES[one][1]}"):
                result = make()
            console.print(Text.assemble((one, "bold"), f": {FIGURES[one][1]}"))
            for line in result.notes:
                console.print(f"  {line}")
            for check in result.checks:
                mark = ("yes", "green") if check.passed else ("NO ", "bold red")
                console.print(Text.assemble("  ", mark, f"  {check.claim}"))
            for finding in result.findings:
                say(console, f"  found {finding.words}")
            for path in write_figure(out, one, result, picture_format):
                say(console, f"  {path}", "dim")
            passed = passed and all(check.passed for check in result.checks)
    return 0 if passed else 1


def figure_maker(name: str) -> Callable[[], FigureResult]:
    """Find who makes a figure; its module is loaded only now."""
    if name not in FIGURES:
        raise ConfigurationError(
            f"figure {name!r} is unknown: choose one of {', '.join(FIGURES)}, or all"
        )
    module = importlib.import_module(f".{FIGURES[name][0]}", __package__)
    make: Callable[[], FigureResult] = module.make
    return make


@dataclass(frozen=True)
class Check:
    """A claim that a reader would check, how it came out, and the numbers that decided it."""

    claim: str
    passed: bool
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What came out where nobody claims anything, and its numbers."""

    words: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureResult:
    """A figure with all that belongs to it."""

    picture: Figure
    data: dict[str, dict[str, np.ndarray]]  # by table and column, each (n,): what the picture shows
    numbers: dict[str, Any]
    checks: list[Check]
    notes: list[str] = field(default_factory=list)  # lines to print: tables in words and the like
    findings: list[Finding] = field(default_factory=list)


def write_figure(
    directory: str | os.PathLike[str], name: str, result: FigureResult, picture_format: str = "png"
) -> list[Path]:
    """Write NAME.png (or another format), NAME-TABLE.csv and NAME.json, and list them.

    Raises ConfigurationError where the directory cannot be written to, or SOURCE_DATE_EPOCH is
    none.
    """
    directory = Path(directory)
    refuse_no_date(picture_format)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        picture = directory / f"{name}.{picture_format}"
        result.picture.savefig(picture, dpi=DOTS_PER_INCH)
        written = [picture]
        for table, columns in result.data.items():
            written.append(directory / f"{name}-{table}.csv")
            _write_table(written[-1], columns)
        written.append(directory / f"{name}.json")
        findings = [_plain(dataclasses.asdict(finding)) for finding in result.findings]
        document = {
            "figure": name,
            "numbers": _plain(result.numbers),
            "checks": [_plain(dataclasses.asdict(check)) for check in result.checks],
            **({"findings": findings} if findings else {}),
        }
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        written[-1].write_text(text + "\n", encoding="utf-8")
    except OSError as problem:
        raise ConfigurationError(f"{directory} cannot be written: {problem.strerror}") from problem
    return written


def refuse_no_date(picture_format: str) -> None:
    """Refuse a SOURCE_DATE_EPOCH that is no seconds; only formats that are text have a date."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text or picture_format == "png":
        return
    try:
        datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"SOURCE_DATE_EPOCH is {shown(text)}: a whole number of seconds since 1970 is needed"
        ) from None


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        # repr of a float is the shortest text that reads back as the same number.
        lists = [np.asarray(column).tolist() for column in columns.values()]
        writer.writerows(zip(*lists, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
