"""The commands `disinhib trace record`, `inputs`, `compare` and `tolerances`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.text import Text

from ..backends import backend_class
from ..refimpl.errors import ConfigurationError
from ..validation import (
    FileError,
    compare,
    conformance_solver,
    find_traces,
    named_arithmetic,
    power,
    read_candidate,
    record_standard_case,
    stability_in_words,
    standard_cases,
    write_flat_directory,
    write_trace,
    write_trace_inputs,
)
from .conform_command import announced_trace, summary
from .conformance_report import TraceReport, print_powers, print_report
from .dataset_trace import record_dataset_trace
from .output_file import make_directory, refuse_unwritable
from .report_files import ReportFiles
from .run_configuration import load_run_configuration
from .terminal import say, terminal_console, visible, working

console = terminal_console()
ORIGIN = "reference of the package disinhib, float64"


def record(
    config: Path | None, out: Path, steps: int, trajectories: bool, backend: str, dtype: str
) -> None:
    """Record learning steps with a run's settings, every stage of them."""
    refuse_unwritable(out)
    if steps < 1:
        raise ConfigurationError(f"--steps is {steps}: at least 1 is needed")
    configuration = load_run_configuration(config, {})
    with working(console, "recording a trace"):
        trace = record_dataset_trace(
            configuration, steps, trajectories, backend_class(backend), np.dtype(dtype)
        )
    by = ORIGIN if (backend, dtype) == ("numpy", "float64") else f"{backend}, {dtype}"
    write_trace(out, trace, by)
    batch = trace.inputs.shape[1]
    say(console, f"{len(trace.steps)} steps of {batch} samples written to {out}")


def record_standard(config: Path | None, directory: Path) -> None:
    """Record the standard cases by the reference, into a new directory."""
    if config is not None:
        raise ConfigurationError(f"{config} with --cases: the standard cases need no settings")
    _new_directory(directory)
    listed = list(standard_cases())
    with working(console, "recording") as now:
        for number, case in enumerate(listed, start=1):
            now(f"recording trace {number} of {len(listed)}, {case.name}")
            write_trace(directory / f"{case.name}.h5", record_standard_case(case), ORIGIN)
    say(console, f"{len(listed)} traces written to {directory}")


def hand_out_questions(source: Path, out: Path, flat: bool) -> None:
    """Strip a trace, or a directory of traces, of its answers."""
    traces, _ = find_traces([source])
    if source.is_dir():
        _new_directory(out)
    elif not flat:
        refuse_unwritable(out)
    for path in traces:
        target = out if not source.is_dir() else out / (path.stem if flat else path.name)
        trace = announced_trace(path)
        if not flat:
            write_trace_inputs(target, trace)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            questions = Path(scratch) / "inputs.h5"
            write_trace_inputs(questions, trace)
            write_flat_directory(questions, target)
    say(console, f"Questions of {len(traces)} traces written to {out}")


def judge_answers(
    golden: Path,
    candidate: Path,
    precision: str | None,
    rtol: float | None,
    complete: bool,
    show_power: bool,
    files: ReportFiles,
) -> int:
    """Judge a port's answers, complete or partial, stage by stage; give the exit code."""
    files.refuse_unwritable()
    if rtol is not None and not 0 < rtol < 1:
        raise ConfigurationError(f"--rtol is {rtol}: a number between 0 and 1 is needed")
    traces, _ = find_traces([golden])
    with files.going_on():
        reports = []
        for path in traces:
            trace = announced_trace(path)
            file = candidate if not golden.is_dir() else _by_name(candidate, path)
            with working(console, f"reading {file}"):
                found = read_candidate(file, trace)
            arithmetic = named_arithmetic(precision) if precision else found.arithmetic()
            with working(console, f"judging {file}") as now:
                result = compare(
                    trace,
                    found,
                    arithmetic,
                    rtol,
                    lambda stage: now(f"judging {file}: {stage}"),  # noqa: B023
                )
                solver = conformance_solver(trace, "fixed-point", np.dtype(np.float64))
                reports.append(
                    TraceReport(
                        trace=str(path),
                        candidate=f"{file}, {arithmetic.name}",
                        results=result.results,
                        not_given=result.not_given,
                        powers=power(trace, arithmetic, solver) if show_power else (),
                        stability=stability_in_words(trace),
                    )
                )
            print_report(console, reports[-1])
        files.write({"candidate": str(candidate)}, f"Conformance of {candidate}", reports)
        code = summary(reports)
        missing = sum(sum(report.not_given.values()) for report in reports)
        if missing:
            say(console, f"{missing} arrays were not given.")
        return 1 if complete and missing else code


def show_tolerances(source: Path, precision: Sequence[str]) -> None:
    """Show what rounding may do to each stage at these arithmetics."""
    trace = announced_trace(source)
    for name in precision:
        arithmetic = named_arithmetic(name)
        solver = conformance_solver(trace, "fixed-point", np.dtype(np.float64))
        with working(console, f"measuring tolerances at {name}"), np.errstate(all="ignore"):
            powers = power(trace, arithmetic, solver)
        report = TraceReport(str(source), name, (), powers=powers)
        console.print(Text.assemble((visible(source.name), "bold"), f"   {name}"))
        print_powers(console, report)


def _new_directory(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileError(f"{directory} exists and is no empty directory: another name is needed")
    make_directory(directory)


def _by_name(directory: Path, trace: Path) -> Path:
    file, flat = directory / trace.name, directory / trace.stem
    if not file.exists() and not flat.exists():
        raise FileError(f"{directory} has neither {trace.name} nor {trace.stem}/ for {trace}")
    return file if file.exists() else flat
