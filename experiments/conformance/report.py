"""Reports on conformance: a table and lines for people, JSON, JUnit, and a page with plots."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from ...validation import StagePower, StageResult, first_deviation
from ..output import going_on_without_output, refuse_unwritable, say, visible, write_output

NOT_OF_STEPS = ("trajectory", "start", "initialisation")
"""Ends of the names of stages that come before all steps."""
MOST_LISTED = 4
"""Of paths that are not known."""
MOST_COLUMNS = 1000
WIDE = 110
"""Characters a line from which the worst element has a column."""
ORIGIN_MARK = {"trace": "T", "solver": "S", "rounding": "R"}
"""What an allowance is made of."""


@dataclass(frozen=True)
class TraceReport:
    """All that is known of a candidate by one trace."""

    trace: str  # file of the trace
    candidate: str  # a backend with precision and method, or a port's file with its precision
    results: Sequence[StageResult]  # in order of cause
    # by stage, how many arrays a port left out
    not_given: dict[str, int] = field(default_factory=dict)
    powers: Sequence[StagePower] = ()  # what the tolerances are worth, if that was asked for
    # what is to be said of the end states as fixed points of the equations of motion
    stability: str = ""
    # paths of a port at which nothing was asked, each with the answer's path most like it, if any
    other_paths: Sequence[tuple[str, str]] = ()
    misnamed: Sequence[tuple[str, str]] = ()  # those of them that seem to be answers
    remarks: Sequence[str] = ()  # what is to be said of the numbers as such

    @property
    def passed(self) -> bool:
        """Every stage that there is agrees, and no answer is under another name."""
        return all(result.passed for result in self.results) and not self.misnamed

    @property
    def first_deviation(self) -> StageResult | None:
        """The stage in which the first error arises; the later ones may only follow from it."""
        return first_deviation(self.results)


@dataclass(frozen=True)
class ReportFiles:
    """Where to write a report, None for nowhere: for programs, for people, for a port's CI."""

    json_file: Path | None
    html_file: Path | None
    junit_file: Path | None

    @property
    def wanted(self) -> list[Path]:
        """Those that are asked for."""
        return [path for path in (self.json_file, self.html_file, self.junit_file) if path]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Do the work that they are of, even if nobody reads what is printed."""
        with going_on_without_output() if self.wanted else nullcontext():
            yield

    def refuse_unwritable(self) -> None:
        """Raise FileError, before any work, if one of them could not be written."""
        for path in self.wanted:
            refuse_unwritable(path)

    def write(self, settings: dict[str, Any], title: str, reports: Sequence[TraceReport]) -> None:
        """Write those that are asked for; the settings are for JSON, the title is the page's."""
        write_output(self.json_file, write_json, settings, reports)
        write_output(self.html_file, write_page, title, reports)
        write_output(self.junit_file, write_junit, reports)


def print_report(console: Console, report: TraceReport) -> None:
    """Print one trace's table, and below it where the first deviation arises."""
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
    # Where there is room for a column that folds, there is room for the others.
    (console.print if is_wide else partial(print_table, console))(table)
    for line in explanation(report):
        say(console, line)
    if report.powers:
        print_powers(console, report)


def print_table(console: Console, table: Table) -> None:
    """Print a table in as many characters a line as its numbers need, however wide the console.

    What is wider than a terminal goes on in the next line there, and is whole in a file.
    """
    before = console.width
    unbounded = console.options.update(max_width=MOST_COLUMNS)
    console.width = max(before, Measurement.get(console, unbounded, table).maximum)
    try:
        console.print(table, crop=False)
    finally:
        console.width = before


def _short(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.3g}" if value < 1e3 else f"{value:.0e}"


def verdict(result: StageResult) -> str:
    """Say in a word or two how a stage fared."""
    if result.passed:
        return "follows" if result.follows else "pass"
    return "FAIL, may follow" if result.follows else "FAIL"


def explanation(report: TraceReport) -> list[str]:
    """Say in plain lines where the first deviation arises, and what is not known."""
    lines = []
    if report.results:
        lines.append(
            "allowed by T the trace's own tolerance, S the solver's, R rounding; margin: times "
            "the deviation could be larger; ULP: units in the last place"
        )
    lines += report.remarks
    first = report.first_deviation
    if first is not None:
        is_of_step = first.first_step is not None and not first.stage.endswith(NOT_OF_STEPS)
        when = f", step {first.first_step}" if is_of_step else ""
        verb = "shows" if first.unseen else "arises"
        lines.append(f"The first deviation {verb} in: {first.stage}{when}.")
        element = first.element
        if first.problem:
            where = "" if element is None else f"{element.array}: "
            lines.append(f"  {where}{first.problem}")
        elif element is not None:
            lines.append(
                f"  furthest off: {element} ({element.words}): "
                f"{element.found:.17g}, should be {element.expected:.17g}"
            )
        if first.unseen:
            lines.append(f"  {first.unseen}")
        if first.coarseness:
            lines.append(f"  the arithmetic is too coarse: {first.coarseness}")
        if first.is_refuted:
            lines.append(f"  said to round otherwise, but {first.bias}")
        if first.hint:
            lines += _hint_in_words(first)
        if first.end_state:
            lines.append(f"  {first.end_state}")
    for bias in dict.fromkeys(r.bias for r in report.results if r.bias and not r.is_refuted):
        stages = ", ".join(r.stage for r in report.results if r.bias == bias)
        lines.append(f"Deviations are {bias}: in {stages}.")
    if any(result.follows and result.passed for result in report.results):
        lines.append(
            "'follows': off the trace, but right for what the candidate itself had before it."
        )
    if report.other_paths:
        names = [f"{path} ({like}?)" if like else path for path, like in report.other_paths]
        more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
        lines.append(
            f"Arrays at paths that nobody asked for, and not judged: "
            f"{', '.join(names[:MOST_LISTED])}{more}."
        )
    if report.not_given:
        missing = ", ".join(f"{stage} ({n})" for stage, n in report.not_given.items())
        lines.append(f"Arrays not given, and not judged: {missing}.")
    if report.stability:
        lines.append(report.stability)
    return lines


def _hint_in_words(result: StageResult) -> list[str]:
    """Give the hint: a usual mistake, or only what the numbers show."""
    whose = "these"
    lines = []
    if result.hint_from:
        lines.append(
            f"  no mistake is known that gives this path; the {result.hint_from} fails too"
        )
        whose = "its"
    comes = f"{whose} numbers are those of a usual mistake"
    if not result.is_usual:
        comes = f"no mistake is known that gives {whose} numbers, but they show this"
    elif result.unseen:
        comes = f"{whose} numbers would be those of a usual mistake"
    explained = f"it explains {_share(1 - result.unexplained)} of the deviation"
    return [*lines, f"  {comes}: {result.hint}", f"  {explained}"]


def _share(fraction: float) -> str:
    return "all" if fraction > 0.9995 else f"{100 * fraction:.3g} %"


def print_powers(console: Console, report: TraceReport) -> None:
    """Print the smallest faults that would be caught."""
    sizes = (Column(name, justify="right") for name in ("a whole array", "one element"))
    weakest = Column("weakest in", style="dim")
    table = Table(
        "stage", *sizes, weakest, title="Smallest fault caught, relative", title_justify="left"
    )
    for power in report.powers:
        table.add_row(
            power.stage, f"{power.whole_array:.1e}", f"{power.one_element:.1e}", power.weakest
        )
    print_table(console, table)


def write_json(
    path: str | os.PathLike[str], settings: dict[str, Any], reports: Sequence[TraceReport]
) -> None:
    """Write all results, with who was judged; JSON has no infinity, and null stands for it."""
    path = Path(path)
    document = {
        **settings,
        "passed": all(report.passed for report in reports),
        "traces": {report.trace: list(map(_plain, report.results)) for report in reports},
        "not_given": {report.trace: report.not_given for report in reports if report.not_given},
        "power": {
            report.trace: [_finite(dataclasses.asdict(power)) for power in report.powers]
            for report in reports
            if report.powers
        },
        "stability": {report.trace: report.stability for report in reports if report.stability},
        "other_paths": {
            report.trace: dict(report.other_paths) for report in reports if report.other_paths
        },
        "remarks": {report.trace: list(report.remarks) for report in reports if report.remarks},
    }
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(result: StageResult) -> dict[str, Any]:
    values = {"worst": result.worst, "margin": result.margin, "passed": result.passed}
    return _finite({**dataclasses.asdict(result), **values})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_junit(path: str | os.PathLike[str], reports: Sequence[TraceReport]) -> None:
    """Write a test suite a trace and a test case a stage: JUnit XML, for a CI."""
    path = Path(path)
    root = ElementTree.Element("testsuites", name="disinhib conformance")
    for report in reports:
        # XML has no control characters, however written.
        name, candidate = visible(Path(report.trace).stem), visible(report.candidate)
        failures = sum(not result.passed for result in report.results)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(report.results) + len(report.not_given) + len(report.misnamed)),
            failures=str(failures + len(report.misnamed)),
            errors="0",
            skipped=str(len(report.not_given)),
        )
        cases = {"classname": f"{name}.{candidate}"}
        for result in report.results:
            case = ElementTree.SubElement(suite, "testcase", cases, name=result.stage)
            if not result.passed:
                message = visible(
                    f"{result.worst} uses {result.used:.3g} of its allowance "
                    f"{result.tolerance:.2e} ({result.origin})"
                )
                failure = ElementTree.SubElement(case, "failure", message=message)
                first = report.first_deviation is result
                lines = explanation(report) if first else [result.hint]
                failure.text = "\n".join(visible(line) for line in lines)
        for path, like in report.misnamed:
            case = ElementTree.SubElement(suite, "testcase", cases, name=visible(path))
            ElementTree.SubElement(case, "failure", message=f"not asked for: {like} is meant?")
        for stage, n in report.not_given.items():
            case = ElementTree.SubElement(suite, "testcase", cases, name=f"{stage}, not given")
            ElementTree.SubElement(case, "skipped", message=f"{n} arrays not given")
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


PASS, FAIL = "#0072b2", "#d55e00"
"""Blue and vermilion, told apart by all eyes."""
SMALLEST_SHOWN = 1e-8


def write_page(path: str | os.PathLike[str], title: str, reports: Sequence[TraceReport]) -> None:
    """Write one HTML file with its plots inside."""
    path = Path(path)
    environment = Environment(
        loader=PackageLoader("disinhib.experiments.conformance", "."),
        autoescape=select_autoescape(default_for_string=True, default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("conformance_page.html.j2").render(
        title=visible(title),
        reports=[
            {
                "name": visible(Path(report.trace).name),
                "candidate": visible(report.candidate),
                "passed": report.passed,
                "rows": [(result, verdict(result)) for result in report.results],
                "lines": [visible(line) for line in explanation(report)],
                "powers": report.powers,
                "used": _embedded(_used_figure(report)),
                "places": _embedded(_places_figure(report)),
            }
            for report in reports
        ],
    )
    path.write_text(page, encoding="utf-8")


def _used_figure(report: TraceReport) -> Figure:
    """Draw how much of its allowance each stage uses."""
    results, figure, axes = _rows_of(report)
    used = [min(max(result.used, SMALLEST_SHOWN), 1e12) for result in results]
    colours = [PASS if result.passed else FAIL for result in results]
    axes.barh([result.stage for result in results], used, left=SMALLEST_SHOWN / 10, color=colours)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(SMALLEST_SHOWN / 10, max(10, 10 * max(used)))
    axes.set_xlabel("fraction of the allowance used")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _places_figure(report: TraceReport) -> Figure:
    """Draw the distribution of deviations in units in the last place, a row a stage."""
    results, figure, axes = _rows_of(report)
    width = max([len(result.last_places.histogram) for result in results] + [2])
    share = np.zeros((len(results), width))
    for row, result in enumerate(results):
        counts = np.array(result.last_places.histogram, dtype=float)
        if counts.sum():
            share[row, : counts.size] = counts / counts.sum()
    image = axes.imshow(
        share, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
    )
    axes.set_yticks(range(len(results)), [result.stage for result in results])
    # Column 0 is no deviation, column k > 0 is below 2^(k−1).
    apart = max(1, -(-width // 6))
    shown = range(apart, width, apart)
    axes.set_xticks([0, *shown], ["0", *(f"$<2^{{{column - 1}}}$" for column in shown)])
    axes.set_xlabel("deviation, units in the last place")
    figure.colorbar(image, label="share of elements")
    return figure


def _rows_of(report: TraceReport) -> tuple[list[StageResult], Figure, Axes]:
    """Make a figure with room for a row a stage, from below upwards."""
    figure = Figure(figsize=(5.2, 0.8 + 0.3 * len(report.results)), layout="constrained")
    return list(report.results)[::-1], figure, figure.subplots()


def _embedded(figure: Figure) -> str:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "disinhib"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()
