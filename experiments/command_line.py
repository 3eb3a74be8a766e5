"""The command `disinhib`."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from ..backends import BackendUnavailable, CompilesAhead, backend_class, backend_descriptions
from ..datasets.dataset import DatasetError
from ..datasets.load import DATASETS
from ..refimpl.configuration import RULES
from ..refimpl.errors import ArgumentError, ConfigurationError
from ..validation import FileError, Position, contents
from .checkpoint_interval import CheckpointInterval, parse_checkpoint_interval
from .conform_command import conform_command
from .divergence import TrainingDiverged
from .figure_command import figure_command
from .interruption import stop_on_interrupt
from .option_types import Method, Precision, real, whole, whole_numbers
from .output_file import refuse_unwritable, write_output
from .reproduce_command import reproduce_app
from .resume_checks import CHOSEN_ANEW
from .run import Run
from .run_beginning import begin, resume
from .run_configuration import load_run_configuration
from .terminal import (
    OutputFailed,
    any_stream,
    going_on_without_output,
    say,
    tell_user,
    terminal_console,
    visible,
    working,
)
from .trace_commands import trace_app
from .training import train

USER_ERRORS = (ArgumentError, ConfigurationError, DatasetError, FileError, BackendUnavailable)
"""Bad input: one line and exit code 2."""

app = typer.Typer(
    help="Deep networks that learn by a Hebbian rule under top-down dis-inhibition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = terminal_console()
app.command("conform")(conform_command)
app.command("figure")(figure_command)
app.add_typer(trace_app, name="trace")
app.add_typer(reproduce_app, name="reproduce")

Rule = Enum("Rule", {name: name for name in RULES}, type=str)  # type: ignore[misc]
DatasetName = Enum("DatasetName", {name: name for name in DATASETS}, type=str)  # type: ignore[misc]


def main() -> None:
    """Run the command line; whatever the user got wrong is said in one line."""
    try:
        with any_stream():
            code = app(standalone_mode=False)
    except typer.TyperException as problem:
        # Typer's newer versions let their validator's own words through.
        message = problem.format_message().replace("Value error, ", "")
        _fail(" ".join(message.split()), problem.exit_code)
    except USER_ERRORS as problem:
        _fail(str(problem), 2)
    except TrainingDiverged as problem:
        _fail(str(problem), 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except OutputFailed as problem:
        if str(problem):
            _fail(str(problem), 2)
        # The reader of our output has gone, and that is its good right.
        sys.exit(0)
    except OSError as problem:
        # Whatever is wrong with a file or directory, and is not said better where it arises.
        named = "" if problem.filename is None else f"{problem.filename}: "
        _fail(f"{named}{problem.strerror or problem}", 2)
    except MemoryError as problem:
        _fail(f"not enough memory: {problem}", 2)
    sys.exit(code if isinstance(code, int) else 0)


@app.command("train")
def train_command(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings; flags override them.")
    ] = None,
    dataset: Annotated[DatasetName | None, typer.Option(help="Images to learn.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory of IDX files, or of a prepared tfds dataset.")
    ] = None,
    rule: Annotated[Rule | None, typer.Option(help="Learning rule.")] = None,
    hidden: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Units of each hidden layer.")
    ] = None,
    epochs: Annotated[int | None, whole(help="Total number of epochs, also with --resume.")] = None,
    batch_size: Annotated[int | None, whole(help="Samples per step.")] = None,
    learning_rate: Annotated[float | None, real(help="Step size of the optimiser.")] = None,
    seed: Annotated[int | None, whole(help="Any whole number.")] = None,
    backend: Annotated[str | None, typer.Option(help="See `disinhib backends`.")] = None,
    threads: Annotated[
        int | None, whole(help="Threads of a CPU backend; else all processors.")
    ] = None,
    dtype: Annotated[Precision | None, typer.Option(help="Precision.")] = None,
    method: Annotated[Method | None, typer.Option(help="Way to the end states.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE.h5", help="Initial parameters and first batches."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; a new directory.")
    ] = None,
    resume_from: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the run in DIR.")
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(metavar="N[epochs|steps|minutes]", help="How often to save the run.")
    ] = "1epoch",
) -> int:
    """Train a network, and write config.toml, metrics.jsonl, curves.png and checkpoint.h5."""
    interval = parse_checkpoint_interval(checkpoint_every)
    flags: dict[str, Any] = {
        "dataset": dataset,
        "data_dir": data_dir,
        "rule": rule,
        "hidden": None if hidden is None else whole_numbers("--hidden", hidden),
        "batch_size": batch_size,
        "optimizer.learning_rate": learning_rate,
        "seed": seed,
        "backend": backend,
        "threads": threads,
        "dtype": dtype,
        "solver.method": method,
        "start": start,
    }
    flags = {
        name: value.value if isinstance(value, Enum) else value for name, value in flags.items()
    }
    if resume_from is not None:
        chosen = {name: flags.pop(name) for name in CHOSEN_ANEW}
        _refuse_with_resume({**flags, "config": config, "out": out})
        with working(console, f"getting {resume_from} ready to go on"):
            run, position, records = resume(resume_from, epochs, tell_user, chosen)
    else:
        configuration = load_run_configuration(config, {**flags, "epochs": epochs})
        directory = out or _free_directory(configuration.dataset, configuration.rule)
        with working(console, f"getting {configuration.dataset} and the network ready"):
            run, position, records = begin(configuration, directory), Position(0), []
    return _train(run, position, records, interval)


@app.command("backends")
def backends_command() -> None:
    """List the backends, and why one cannot run here."""
    table = Table()
    for heading in ("name", "version", "device", "can run here"):
        table.add_column(heading, overflow="fold")
    for description in backend_descriptions():
        reason = description.unavailable
        can_run = Text(visible(f"no: {reason}"), style="red") if reason else "yes"
        about = (description.name, description.version, description.device)
        table.add_row(*map(visible, about), can_run)
    console.print(table)


@app.command("warm-up")
def warm_up_command(
    backend: Annotated[str, typer.Option(help="See `disinhib backends`.")] = "numba",
    rule: Annotated[
        list[Rule] | None, typer.Option(help="May be given again; else every rule.")
    ] = None,
    method: Annotated[
        list[Method] | None, typer.Option(help="May be given again; else every method.")
    ] = None,
    dtype: Annotated[
        list[Precision] | None, typer.Option(help="May be given again; else both.")
    ] = None,
) -> None:
    """Compile ahead what training and conformance need: for a container's build, a job's prolog."""
    kind = backend_class(backend)
    if not isinstance(kind, CompilesAhead):
        say(console, f"{backend} has nothing to compile ahead")
        return
    for one in dtype or list(Precision):
        for by in rule or list(Rule):
            for way in method or list(Method):
                kind.compile_ahead(by.value, way.value, np.dtype(one.value))
    say(console, f"{backend} is ready")


@app.command("inspect")
def inspect_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="A checkpoint or a trace.")],
) -> None:
    """Show what a checkpoint or trace holds."""
    with working(console, f"reading {file}"):
        attributes, datasets = contents(file)
    for name, value in attributes.items():
        named = Text.assemble((visible(name), "bold"), f": {visible(value)}")
        console.print(named, soft_wrap=True)
    table = Table()
    for heading in ("dataset", "shape", "dtype", "range"):
        table.add_column(heading, overflow="fold")
    for row in datasets:
        table.add_row(*map(visible, row))
    console.print(table)


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to leave the pictures.")] = Path(
        "runs/demo"
    ),
) -> int:
    """Train three rules side by side, conform the reference, draw pictures: under a minute."""
    # Imported here: no other command needs it.
    from .demo import run_demo

    with going_on_without_output():
        return 0 if run_demo(out, console) else 1


@app.command("bench")
def bench_command(
    backend: Annotated[
        list[str] | None, typer.Option(help="May be given again; else all that can run.")
    ] = None,
    dtype: Annotated[
        list[Precision] | None, typer.Option(help="May be given again; else both.")
    ] = None,
    rule: Annotated[
        list[Rule] | None, typer.Option(help="May be given again; else the standard table's.")
    ] = None,
    method: Annotated[
        list[Method] | None, typer.Option(help="May be given again; else the standard table's.")
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N,N,…",
            help="Units of every layer; may be given again. Else the standard table's.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        whole(help="Samples per step; may be given again. Else the standard table's."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there too.")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the results there.")
    ] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Vary batch, width, depth and outputs too.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Break one learning step into its stages instead.")
    ] = False,
    threads: Annotated[int | None, whole(help="Threads; else all processors.")] = None,
) -> None:
    """Time learning steps, each as a ratio to the same backend's backprop step.

    Without --rule, --method, --sizes and --batch: the standard table, a quarter of an hour on two
    cores. With any of them: every combination of what is given, on 784-256-256-256-10 and batch
    100 where these are not. PyTorch's own backprop step is a row too where PyTorch is installed.
    """
    from .benchmark_cases import Choice
    from .benchmark_chart import draw_rows, draw_scaling
    from .benchmark_report import write_profiles, write_rows
    from .benchmark_run import run_benchmark, run_profile

    choice = Choice(
        backends=backend or [d.name for d in backend_descriptions() if not d.unavailable],
        dtypes=[one.value for one in dtype or ()],
        rules=[one.value for one in rule or ()],
        methods=[one.value for one in method or ()],
        networks=[tuple(whole_numbers("--sizes", one)) for one in sizes or ()],
        batches=batch or (),
        threads=threads,
    )
    for name in choice.backends:
        backend_class(name)
    if profile and (chart is not None or scaling):
        raise ConfigurationError("--profile with --chart or --scaling: stages have no such picture")
    if chart is not None and chart.suffix != ".png":
        raise ConfigurationError(f"--chart is {str(chart)!r}: a name that ends in .png is needed")
    for path in (json_file, chart):
        refuse_unwritable(path)
    if profile:
        profiles = run_profile(console, choice)
        if json_file is not None:
            write_output(json_file, lambda: write_profiles(json_file, profiles))
        return
    rows, curves = run_benchmark(console, choice, scaling)
    if json_file is not None:
        write_output(json_file, lambda: write_rows(json_file, rows, curves))
    if chart is not None:
        write_output(chart, lambda: draw_rows(chart, rows))
        if curves:
            second = chart.with_name(f"{chart.stem}-scaling{chart.suffix}")
            write_output(second, lambda: draw_scaling(second, curves))


def _train(run: Run, position: Position, records: list[Any], interval: CheckpointInterval) -> int:
    from .progress_display import ProgressDisplay

    configuration = run.configuration
    sizes = "-".join(str(n) for n in run.backend.configuration.sizes)
    with going_on_without_output():
        say(
            console,
            f"{configuration.dataset} ({run.dataset.source}), {sizes}, {configuration.rule}, "
            f"{configuration.solver.method}, {configuration.backend} {configuration.dtype}, "
            f"seed {configuration.seed}",
        )
        if position.epochs >= configuration.epochs:
            run.lock.release()
            say(
                console,
                f"All {configuration.epochs} epochs are done; a larger --epochs would go on.",
            )
            return 0
        with (
            stop_on_interrupt() as stop,
            ProgressDisplay(console, configuration.epochs, configuration.batch_size) as display,
        ):
            position, records = train(run, position, records, display, stop, interval)
        if position.epochs < configuration.epochs:
            say(
                console,
                f"Stopped after {position.epochs} epochs and {position.steps} steps; "
                f"go on with: disinhib train --resume {run.directory}",
            )
            return 128 + stop()
        say(console, f"Written to {run.directory}")
        return 0


def _refuse_with_resume(flags: dict[str, Any]) -> None:
    given = [name for name, value in flags.items() if value is not None]
    if given:
        name = given[0].rpartition(".")[2].replace("_", "-")
        named = "CONFIG.toml" if name == "config" else f"--{name}"
        raise ConfigurationError(
            f"{named} with --resume: a run goes on as it began; only --epochs, --backend, --dtype "
            "and --threads may change"
        )


def _free_directory(dataset: str, rule: str) -> Path:
    """Choose runs/DATASET-RULE, or the first free number after it."""
    first = Path("runs") / f"{dataset}-{rule}"
    directory, number = first, 1
    while directory.exists():
        number += 1
        directory = first.with_name(f"{first.name}-{number}")
    return directory


def _fail(message: str, code: int) -> None:
    tell_user(message)
    sys.exit(code)
