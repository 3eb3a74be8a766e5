"""The command `disinhib conform`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import PRECISIONS, CompilesAhead, backend_class, backend_descriptions
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
from .report_files import ReportFiles
from .terminal import say, terminal_console, working

console = terminal_console()


def conform_backend(
    paths: Sequence[Path],
    backend: str,
    dtype: str,
    method: str,
    show_power: bool,
    files: ReportFiles,
) -> int:
    """Judge a backend by traces, the shipped ones if none is given; give the exit code."""
    files.refuse_unwritable()
    with files.going_on():
        kind = backend_class(backend)
        traces, others = find_traces(paths or [shipped_directory()])
        for other in others:
            say(console, f"{other}: not a trace, left out", "dim")
        reports = []
        for path in traces:
            trace = announced_trace(path)
            reports.append(_judged(trace, kind, backend, np.dtype(dtype), method, show_power))
            print_report(console, reports[-1])
        settings = {"backend": backend, "dtype": dtype, "method": method}
        files.write(settings, f"Conformance of {backend}", reports)
        return summary(reports)


def conform_each_other(paths: Sequence[Path], seeds: int, method: str, files: ReportFiles) -> int:
    """Judge all backends by each other on random networks; give the exit code."""
    files.refuse_unwritable()
    if paths:
        raise ConfigurationError(f"{paths[0]} with --cross: its networks are random ones")
    if seeds < 1:
        raise ConfigurationError(f"--seeds is {seeds}: at least 1 is needed")
    with files.going_on():
        reports = _cross(seeds, method)
        files.write({"method": method, "seeds": seeds}, "Backends against each other", reports)
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
    if isinstance(kind, CompilesAhead):
        # Before the line that says what is being judged: it has a line, and a clock, of its own.
        kind.compile_ahead(trace.configuration.rule, solver.method, dtype)
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
