"""The commands `disinhib trace record`, `inputs`, `compare` and `tolerances`."""

from __future__ import annotations

import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
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
from .option_types import Precision, real, whole
from .output_file import make_directory, refuse_unwritable
from .report_files import HtmlFile, JsonFile, JunitFile, ReportFiles, ShowPower
from .run_configuration import load_run_configuration
from .terminal import say, terminal_console, visible, working

console = terminal_console()
ORIGIN = "reference of the package disinhib, float64"

Cases = Enum("Cases", {"standard": "standard"}, type=str)

trace_app = typer.Typer(
    help="Record traces, hand out their questions, and judge a port's answers.",
    no_args_is_help=True,
)


@trace_app.command("record")
def record_command(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG.toml]", help="A run's settings; else the defaults."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="File, or with --cases a new directory.")
    ] = Path("trace.h5"),
    cases: Annotated[
        Cases | None, typer.Option(help="Every rule, loss and option, depths 1 to 5, extremes.")
    ] = None,
    steps: Annotated[int, whole(help="Learning steps, a batch each.")] = 3,
    trajectories: Annotated[
        bool, typer.Option("--trajectories", help="Also integrate the first batch, and keep that.")
    ] = False,
    backend: Annotated[
        str, typer.Option(help="Who computes; only the reference makes golden numbers.")
    ] = "numpy",
    dtype: Annotated[Precision, typer.Option(help="Precision.")] = Precision["float64"],
) -> None:
    """Record learning steps by the reference in float64, every stage of them."""
    if cases is not None:
        if config is not None:
            raise ConfigurationError(f"{config} with --cases: the standard cases need no settings")
        _record_standard(out)
        return
    refuse_unwritable(out)
    if steps < 1:
        raise ConfigurationError(f"--steps is {steps}: at least 1 is needed")
    configuration = load_run_configuration(config, {})
    with working(console, "recording a trace"):
        trace = record_dataset_trace(
            configuration, steps, trajectories, backend_class(backend), np.dtype(dtype.value)
        )
    by = ORIGIN if (backend, dtype.value) == ("numpy", "float64") else f"{backend}, {dtype.value}"
    write_trace(out, trace, by)
    batch = trace.inputs.shape[1]
    say(console, f"{len(trace.steps)} steps of {batch} samples written to {out}")


@trace_app.command("inputs")
def inputs_command(
    source: Annotated[Path, typer.Argument(metavar="PATH", help="A trace, or a directory.")],
    out: Annotated[Path, typer.Option(metavar="PATH", help="File, or a new directory.")],
    flat: Annotated[
        bool,
        typer.Option("--flat", help="A directory of plain files, for a port without HDF5."),
    ] = False,
) -> None:
    """Strip a trace of its answers: what is left is what a port is given."""
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


@trace_app.command("compare")
def compare_command(
    golden: Annotated[Path, typer.Argument(metavar="GOLDEN", help="A trace, or a directory.")],
    candidate: Annotated[
        Path,
        typer.Argument(
            metavar="CANDIDATE",
            help="The port's HDF5 file or flat directory; or a directory of them, by the names "
            "of the traces.",
        ),
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="float16|float32|float64|fixedN",
            help="Of the port's arithmetic, N the bits after the binary point; else what its "
            "file says or is stored in.",
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        real(help="Tolerance of the port's integration; else it finds fixed points."),
    ] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="An array that is not given is a failure.")
    ] = False,
    show_power: ShowPower = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    junit_file: JunitFile = None,
) -> int:
    """Judge a port's answers, complete or partial, stage by stage."""
    files = ReportFiles(json_file, html_file, junit_file)
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


@trace_app.command("tolerances")
def tolerances_command(
    source: Annotated[Path, typer.Argument(metavar="TRACE.h5", help="A trace.")],
    precision: Annotated[
        list[str],
        typer.Option(
            metavar="float16|float32|float64|fixedN", help="Arithmetic; may be given again."
        ),
    ],
) -> None:
    """Show what rounding may do to each stage, and so what numbers a port can expect."""
    trace = announced_trace(source)
    for name in precision:
        arithmetic = named_arithmetic(name)
        solver = conformance_solver(trace, "fixed-point", np.dtype(np.float64))
        with working(console, f"measuring tolerances at {name}"), np.errstate(all="ignore"):
            powers = power(trace, arithmetic, solver)
        report = TraceReport(str(source), name, (), powers=powers)
        console.print(Text.assemble((visible(source.name), "bold"), f"   {name}"))
        print_powers(console, report)


def _record_standard(directory: Path) -> None:
    _new_directory(directory)
    listed = list(standard_cases())
    with working(console, "recording") as now:
        for number, case in enumerate(listed, start=1):
            now(f"recording trace {number} of {len(listed)}, {case.name}")
            write_trace(directory / f"{case.name}.h5", record_standard_case(case), ORIGIN)
    say(console, f"{len(listed)} traces written to {directory}")


def _new_directory(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileError(f"{directory} exists and is no empty directory: another name is needed")
    make_directory(directory)


def _by_name(directory: Path, trace: Path) -> Path:
    file, flat = directory / trace.name, directory / trace.stem
    if not file.exists() and not flat.exists():
        raise FileError(f"{directory} has neither {trace.name} nor {trace.stem}/ for {trace}")
    return file if file.exists() else flat
