"""The command `disinhib conform`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..backends import backend_class, backend_descriptions
from ..backends.precision import PRECISIONS
from ..refimpl.errors import ConfigurationError
from ..validation import (
    Trace,
    conform,
    conformance_solver,
    find_traces,
    float_arithmetic,
    power,
    random_networks,
    read_trace,
    record_trace,
    shipped_directory,
    stability_in_words,
)
from .conformance_report import TraceReport, print_report
from .option_types import Method, Precision, whole
from .report_files import HtmlFile, JsonFile, JunitFile, ReportFiles, ShowPower
from .terminal import say, terminal_console, working

console = terminal_console()


def conform_command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH…", help="Traces, or directories of traces; else the shipped."),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="See `disinhib backends`; another package's too.")
    ] = "numpy",
    dtype: Annotated[Precision, typer.Option(help="Precision.")] = Precision["float64"],
    method: Annotated[Method, typer.Option(help="Way to the end states.")] = Method["fixed-point"],
    show_power: ShowPower = False,
    cross: Annotated[
        bool,
        typer.Option("--cross", help="All backends against each other, on random networks."),
    ] = False,
    seeds: Annotated[int, whole(help="With --cross: how many networks.")] = 5,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    junit_file: JunitFile = None,
) -> int:
    """Judge a backend by traces of the published implementation, stage by stage."""
    files = ReportFiles(json_file, html_file, junit_file)
    files.refuse_unwritable()
    with files.going_on():
        if cross:
            if paths:
                raise ConfigurationError(f"{paths[0]} with --cross: its networks are random ones")
            if seeds < 1:
                raise ConfigurationError(f"--seeds is {seeds}: at least 1 is needed")
            reports = _cross(seeds, method.value)
            files.write(
                {"method": method.value, "seeds": seeds}, "Backends against each other", reports
            )
            return summary(reports)
        kind = backend_class(backend)
        traces, others = find_traces(paths or [shipped_directory()])
        for other in others:
            say(console, f"{other}: not a trace, left out", "dim")
        reports = []
        for path in traces:
            trace = announced_trace(path)
            reports.append(
                _judged(trace, kind, backend, np.dtype(dtype.value), method.value, show_power)
            )
            print_report(console, reports[-1])
        settings = {"backend": backend, "dtype": dtype.value, "method": method.value}
        files.write(settings, f"Conformance of {backend}", reports)
        return summary(reports)


def announced_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a trace, and say so where that takes long."""
    with working(console, f"reading {path}"):
        return read_trace(path)


def summary(reports: Sequence[TraceReport]) -> int:
    """Print the last line, and give the exit code.

    Parameters
    ----------
    reports : sequence of TraceReport
        Of all traces.
    """
    n_failed = sum(not report.passed for report in reports)
    n_stages = sum(len(report.results) for report in reports)
    if n_failed:
        say(console, f"{n_failed} of {len(reports)} traces deviate", "bold red")
        return 1
    say(console, f"All {n_stages} stages of {len(reports)} traces agree.", "green")
    return 0


def _judged(
    trace: Trace,
    kind: Any,
    name: str,
    dtype: np.dtype,
    method: str,
    show_power: bool = False,
    made_by: str = "",
) -> TraceReport:
    solver = conformance_solver(trace, method, dtype)
    with working(console, f"conforming {name} to {trace.path.name}") as now:
        results = conform(
            trace,
            kind,
            dtype,
            method,
            lambda stage: now(f"conforming {name} to {trace.path.name}: {stage}"),
        )
        return TraceReport(
            trace=str(trace.path),
            candidate=f"{name}, {dtype.name}, {solver.method}{made_by}",
            results=results,
            powers=power(trace, float_arithmetic(dtype), solver) if show_power else (),
            stability=stability_in_words(trace),
        )


def _cross(seeds: int, method: str) -> list[TraceReport]:
    """Let each backend make golden numbers, and judge all the others by them."""
    available = [d.name for d in backend_descriptions() if not d.unavailable]
    reports = []
    for network in random_networks(seeds):
        for maker in available:
            trace = record_trace(
                network.configuration,
                network.parameters,
                network.inputs,
                network.targets,
                backend_class=backend_class(maker),
                path=Path(network.name),
            )
            for candidate in available:
                for precision in PRECISIONS:
                    if candidate == maker and precision == "float64":
                        continue
                    dtype = np.dtype(precision)
                    reports.append(
                        _judged(
                            trace,
                            backend_class(candidate),
                            candidate,
                            dtype,
                            method,
                            made_by=f", by {maker}",
                        )
                    )
                    print_report(console, reports[-1])
    return reports
