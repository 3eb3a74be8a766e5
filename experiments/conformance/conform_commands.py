"""The commands `conform` and `trace record`, `inputs`, `compare`, `tolerances` of `disinhib`."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from ...backends import PRECISIONS, CompilesAhead, backend_class, backend_descriptions
from ...datasets import batch_order, random_generator
from ...refimpl import ArgumentError, ConfigurationError, Optimizer, initial_parameters
from ...refimpl.integers import arithmetic as integer_arithmetic
from ...validation import (
    Arithmetic,
    FileError,
    StagePower,
    Trace,
    compare,
    conform,
    conformance_solver,
    find_traces,
    first_integer_difference,
    float_arithmetic,
    is_integer_trace,
    judge_promises,
    named_arithmetic,
    power,
    random_networks,
    read_candidate,
    read_integer_answers,
    read_integer_trace,
    read_trace,
    record_integer_trace,
    record_standard_case,
    record_trace,
    shipped_directory,
    stability_in_words,
    standard_cases,
    stored_precision_in_words,
    write_flat_directory,
    write_integer_questions,
    write_integer_trace,
    write_trace,
    write_trace_inputs,
)
from ..output import make_directory, refuse_unwritable, say, terminal_console, visible, working
from ..training import (
    INTEGER_BACKENDS,
    load_data,
    load_run_configuration,
    parse_settings,
    refuse_more_than_memory,
    soft_labels,
)
from .report import ReportFiles, TraceReport, print_powers, print_report

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
    if backend in INTEGER_BACKENDS:
        return _conform_integers(paths, backend, method, show_power, files)
    with files.going_on():
        kind = backend_class(backend)
        traces, others = find_traces(paths or [shipped_directory()])
        for other in others:
            say(console, f"{other}: not a trace, left out", "dim")
        reports = []
        for path in traces:
            trace = _announced_trace(path)
            reports.append(_judged(trace, kind, backend, np.dtype(dtype), method, show_power))
            print_report(console, reports[-1])
        settings = {"backend": backend, "dtype": dtype, "method": method}
        beside = [] if paths else [_promises(kind, backend, np.dtype(dtype))]
        for report in beside:
            print_report(console, report)
        files.write(settings, f"Conformance of {backend}", [*reports, *beside])
        return _summary(reports, beside)


WIDE_TICKS, WIDE_PRECISION, WIDE_RATE = 800, "fixed20", 0.1
"""Integers are judged at the preset wide: of its 24 bits after the point and tables of 14 bits of
address, the tables leave an error of some last places of 20 bits."""


def _conform_integers(
    paths: Sequence[Path], backend: str, method: str, show_power: bool, files: ReportFiles
) -> int:
    """Judge integers by traces in floating point, made anew with plain descent; give the code."""
    if method != "fixed-point" or show_power:
        raise ConfigurationError(f"backend {backend}: integers go by ticks, and have no --power")
    about = integer_arithmetic("wide", ticks=WIDE_TICKS)

    class Wide(backend_class(backend)):  # type: ignore[misc]
        def __init__(self, *network: Any, **how: Any) -> None:
            super().__init__(*network, arithmetic=about, **how)

    with files.going_on():
        traces, _ = find_traces(paths or [shipped_directory()])
        say(console, f"{backend}: preset wide, {WIDE_TICKS} ticks, plain descent by {WIDE_RATE}, "
                     f"judged as {WIDE_PRECISION}")  # fmt: skip
        reports = []
        for path in traces:
            trace = _announced_trace(path)
            if not trace.steps:
                say(console, f"{path.name}: no stages, left out", "dim")
                continue
            plain = Optimizer(name="sgd", learning_rate=WIDE_RATE)
            with working(console, f"recording {path.name} with plain descent"):
                trace = record_trace(
                    dataclasses.replace(trace.configuration, optimizer=plain),
                    trace.initial_parameters,
                    trace.inputs,
                    trace.targets,
                    path=path,
                )
            reports.append(_judged_wide(trace, Wide, backend))
            print_report(console, reports[-1])
        if not reports:
            raise ConfigurationError("no trace has stages by which integers could be judged")
        files.write({"backend": backend}, f"Conformance of {backend}", reports)
        return _summary(reports)


def _judged_wide(trace: Trace, kind: Any, name: str) -> TraceReport:
    doing = f"conforming {name} to {trace.path.name}"
    with working(console, doing) as now:
        results = conform(
            trace,
            kind,
            np.dtype(np.float64),
            progress=lambda stage: now(f"{doing}: {stage}"),
            arithmetic=named_arithmetic(WIDE_PRECISION),
        )
    return TraceReport(
        trace=str(trace.path),
        candidate=f"{name}, wide, {WIDE_TICKS} ticks",
        results=results,
        stability=stability_in_words(trace),
    )


PROMISES = "beside the traces"
OF_THIS_PACKAGE = "disinhib"


def _promises(kind: Any, name: str, dtype: np.dtype) -> TraceReport:
    """Judge what is asked of a backend beside a trace; of this package's own, the way as well."""
    has_its_own_way = kind.__module__.partition(".")[0] != OF_THIS_PACKAGE
    with working(console, f"judging what {name} does {PROMISES}"):
        results = list(judge_promises(kind, dtype, has_its_own_way))
    return TraceReport(trace=PROMISES, candidate=f"{name}, {dtype.name}", results=results)


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
    doing = f"conforming {name} to {trace.path.name}"
    with working(console, doing) as now:
        results = conform(trace, kind, dtype, method, lambda stage: now(f"{doing}: {stage}"))
        return TraceReport(
            trace=str(trace.path),
            candidate=f"{name}, {dtype.name}, {solver.method}{made_by}",
            results=results,
            powers=power(trace, float_arithmetic(dtype), solver) if show_power else (),
            stability=stability_in_words(trace),
        )


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
        return _summary(reports)


def _cross(seeds: int, method: str) -> list[TraceReport]:
    """Let each backend make golden numbers, and judge all the others by them."""
    # Integers have no Adam, and a precision of their own: they have traces of their own.
    available = [
        d.name
        for d in backend_descriptions()
        if not d.unavailable and d.name not in INTEGER_BACKENDS
    ]
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
            for candidate, precision in product(available, PRECISIONS):
                if (candidate, precision) != (maker, "float64"):
                    kind, dtype = backend_class(candidate), np.dtype(precision)
                    by = f", by {maker}"
                    reports.append(_judged(trace, kind, candidate, dtype, method, made_by=by))
                    print_report(console, reports[-1])
    return reports


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
    if is_integer_trace(golden):
        _refuse_of_floats(precision, rtol, show_power, files)
        return _judge_integers(golden, candidate, complete)
    traces, _ = find_traces([golden])
    with files.going_on():
        reports, without, unusable = [], 0, 0
        for path in traces:
            trace = _announced_trace(path)
            file = _by_name(candidate, path) if golden.is_dir() else candidate
            if file is None:
                without += 1
                say(console, f"{trace.path.name}: no answers: neither {path.name} nor {path.stem}/")
                continue
            try:
                reports.append(_judged_answers(trace, file, precision, rtol, show_power))
            except (FileError, ArgumentError) as problem:
                if not golden.is_dir():
                    raise
                unusable += 1
                say(console, problem, "bold red")
                continue
            print_report(console, reports[-1])
        if not reports:
            raise FileError(f"{candidate} has no answers to any trace of {golden}")
        files.write({"candidate": str(candidate)}, f"Conformance of {candidate}", reports)
        code = _summary(reports)
        missing = sum(sum(report.not_given.values()) for report in reports)
        if missing:
            say(console, f"{missing} arrays were not given.")
        if without:
            say(console, f"{without} of {len(traces)} traces have no answers.")
        if unusable:
            say(console, f"The answers to {unusable} of {len(traces)} traces cannot be used.")
            return 2
        # A trace that was not judged is no success.
        return 1 if without or (complete and missing) else code


def _refuse_of_floats(
    precision: str | None, rtol: float | None, show_power: bool, files: ReportFiles
) -> None:
    """Refuse what a trace of integers has no use for: it has no allowances, and one difference."""
    given: dict[str, Any] = {
        "--precision": precision,
        "--rtol": rtol,
        "--power": show_power or None,
    }
    given |= {"--json": files.json_file, "--html": files.html_file, "--junit": files.junit_file}
    for option, value in given.items():
        if value is not None:
            raise ConfigurationError(
                f"{option}: a trace of integers is compared bit by bit, and told on the screen"
            )


def _judge_integers(golden: Path, candidate: Path, complete: bool) -> int:
    """Say where a port's integers first differ from a trace's; 1 if they do."""
    trace = read_integer_trace(golden)
    answers = read_integer_answers(candidate, trace)
    with working(console, "looking for the first difference"):
        found = first_integer_difference(trace, answers)
    missing = len(trace.answers) - len(answers)
    if found is not None:
        for line in str(found).splitlines():
            say(console, line, "bold red")
    else:
        _say_that_all_is_equal(answers)
    if missing:
        say(console, f"{missing} of {len(trace.answers)} arrays were not given.")
    return 1 if found is not None or (complete and missing) else 0


def _say_that_all_is_equal(answers: dict[str, np.ndarray]) -> None:
    numbers = sum(array.size for array in answers.values())
    say(console, f"All {numbers:,} integers of {len(answers)} arrays are equal.")


def _judged_answers(
    trace: Trace, file: Path, precision: str | None, rtol: float | None, show_power: bool
) -> TraceReport:
    with working(console, f"reading {file}"):
        found = read_candidate(file, trace)
    arithmetic = named_arithmetic(precision) if precision else found.arithmetic()
    with working(console, f"judging {file}") as now:
        result = compare(
            trace, found, arithmetic, rtol, lambda stage: now(f"judging {file}: {stage}")
        )
        judged = {one.stage for one in result.results}
        return TraceReport(
            trace=str(trace.path),
            candidate=f"{file}, {arithmetic.name}",
            results=result.results,
            not_given=result.not_given,
            powers=_fixed_point_power(trace, arithmetic) if show_power else (),
            # Where no closed loop was given, nobody asks whether an integration would find it.
            stability=stability_in_words(trace) if "closed loop" in judged else "",
            other_paths=found.other_paths,
            misnamed=found.misnamed(),
            remarks=[line for line in [stored_precision_in_words(found, arithmetic)] if line],
        )


def _by_name(directory: Path, trace: Path) -> Path | None:
    """Answers by the name of their trace; None where there are none."""
    file, flat = directory / trace.name, directory / trace.stem
    return next((one for one in (file, flat) if one.exists()), None)


def show_tolerances(source: Path, precision: Sequence[str]) -> None:
    """Show what rounding may do to each stage at these arithmetics."""
    trace = _announced_trace(source)
    for name in precision:
        with working(console, f"measuring tolerances at {name}"), np.errstate(all="ignore"):
            powers = _fixed_point_power(trace, named_arithmetic(name))
        report = TraceReport(str(source), name, (), powers=powers)
        console.print(Text.assemble((visible(source.name), "bold"), f"   {name}"))
        print_powers(console, report)


def _fixed_point_power(trace: Trace, arithmetic: Arithmetic) -> Sequence[StagePower]:
    """What tolerances are worth for a port, which finds fixed points."""
    solver = conformance_solver(trace, "fixed-point", np.dtype(np.float64))
    return power(trace, arithmetic, solver)


def _announced_trace(path: Path) -> Trace:
    """Read a trace, and say so where that takes long."""
    with working(console, f"reading {path}"):
        return read_trace(path)


def _summary(reports: Sequence[TraceReport], beside: Sequence[TraceReport] = ()) -> int:
    """Print the last line about all traces, and what was judged beside; give the exit code."""
    broken = [result.stage for one in beside for result in one.results if not result.passed]
    if broken:
        say(console, f"Beside the traces deviate: {', '.join(broken)}", "bold red")
    n_failed = sum(not report.passed for report in reports)
    n_stages = sum(len(report.results) for report in reports)
    if n_failed:
        say(console, f"{n_failed} of {len(reports)} traces deviate", "bold red")
        return 1
    if broken:
        return 1
    others = sum(len(report.other_paths) for report in reports)
    but = f" {others} arrays were not asked for, and not judged." if others else ""
    say(console, f"All {n_stages} stages of {len(reports)} traces agree.{but}", "green")
    return 0


# Traces that are made: of the first steps of a run, of the standard cases, and without answers.

ORIGIN = "reference of the package disinhib, float64"


def record(
    config: Path | None,
    out: Path,
    steps: int,
    trajectories: bool,
    backend: str,
    dtype: str,
    given_settings: Sequence[str] = (),
) -> None:
    """Record the steps with which a run would begin, every stage of them, or every tick."""
    refuse_unwritable(out)
    if steps < 1:
        raise ConfigurationError(f"--steps is {steps}: at least 1 is needed")
    configuration = load_run_configuration(config, parse_settings(given_settings))
    with working(console, "recording a trace"):
        dataset = load_data(configuration, configuration.data_dir)
        n_samples, n_inputs = dataset.train.images.shape
        network = configuration.network(n_inputs, dataset.n_classes)
        refuse_more_than_memory(network.sizes, configuration.batch_size, dtype)
        order = batch_order(configuration.seed, 0, n_samples, configuration.batch_size)
        if steps > len(order):
            raise ConfigurationError(
                f"--steps is {steps}: {dataset.name} has {len(order)} batches of "
                f"{configuration.batch_size} an epoch; ask for fewer, or smaller batches"
            )
        indices = order[:steps]
        generator = random_generator(configuration.seed, "initial-parameters")
        parameters = initial_parameters(network.sizes, generator)
        inputs = dataset.inputs(dataset.train.images[indices])
        labels = soft_labels(configuration, dataset.train.labels, dataset.n_classes)[indices]
        if configuration.arithmetic is not None:
            if trajectories:
                raise ConfigurationError(
                    "--trajectories: a trace of integers has every tick without being asked"
                )
            about = configuration.arithmetic
            integers = record_integer_trace(network, about, parameters, inputs, labels)
            write_integer_trace(integers, out)
            say(console, f"{steps} steps of {about.ticks} ticks in integers written to {out}")
            unfit = ", ".join(f"{n:,} of {name}" for name, n in integers.overflows.items())
            say(
                console,
                f"What did not fit: {unfit}."
                if unfit
                else "Everything fitted: this trace does not show whether a port saturates.",
            )
            return
        trace = record_trace(
            network,
            parameters,
            inputs,
            labels,
            with_trajectory=trajectories,
            backend_class=backend_class(backend),
            dtype=np.dtype(dtype),
        )
        trace = dataclasses.replace(trace, dataset=dataset.name, dataset_indices=indices)
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
    if is_integer_trace(source):
        trace_of_integers = read_integer_trace(source)
        if flat:
            _new_directory(out)
            out.rmdir()
            write_integer_questions(trace_of_integers, out)
        else:
            refuse_unwritable(out)
            write_integer_trace(trace_of_integers, out, with_answers=False)
        say(console, f"Questions of a trace in integers written to {out}")
        return
    traces, _ = find_traces([source])
    if source.is_dir():
        _new_directory(out)
    elif not flat:
        refuse_unwritable(out)
    for path in traces:
        target = out if not source.is_dir() else out / (path.stem if flat else path.name)
        trace = _announced_trace(path)
        if not flat:
            write_trace_inputs(target, trace)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            questions = Path(scratch) / "inputs.h5"
            write_trace_inputs(questions, trace)
            write_flat_directory(questions, target)
    say(console, f"Questions of {len(traces)} traces written to {out}")


def _new_directory(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileError(f"{directory} exists and is no empty directory: another name is needed")
    make_directory(directory)
