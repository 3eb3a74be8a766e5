"""Conformance results as one HTML file with its plots inside."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure

from .conformance_report import TraceReport, explanation, verdict
from .terminal import visible

PASS, FAIL = "#0072b2", "#d55e00"
"""Blue and vermilion, told apart by all eyes."""
SMALLEST_SHOWN = 1e-8


def write_page(path: str | os.PathLike[str], title: str, reports: Sequence[TraceReport]) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or path
        File to write.
    title : str
        Above everything.
    reports : sequence of TraceReport
        One a trace.
    """
    path = Path(path)
    environment = Environment(
        loader=PackageLoader("disinhib.experiments", "."),
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
    results = list(report.results)[::-1]
    figure = Figure(figsize=(5.2, 0.8 + 0.3 * len(results)), layout="constrained")
    axes = figure.subplots()
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
    results = list(report.results)[::-1]
    figure = Figure(figsize=(5.2, 0.8 + 0.3 * len(results)), layout="constrained")
    axes = figure.subplots()
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


def _embedded(figure: Figure) -> str:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "disinhib"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()
