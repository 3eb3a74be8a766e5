"""The command `disinhib`: its commands, their options, and how it ends.

What a command does is loaded when it is asked for: `disinhib --help` is there at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from ..backends import PRECISIONS
from ..datasets import DATASETS, SPLITS
from ..refimpl import METHODS, RULES, ConfigurationError, shown
from .loading import loading
from .output import OutputFailed, any_stream, tell_user
from .paper.figures import FIGURES, FORMATS

# Values of options: numbers in plain digits. The parsers are our own: a library's take digits of
# other scripts, underscores and spaces too. A default comes to them as the number that it is.

MOST_DIGITS = 4000
"""Beyond which Python refuses to read a whole number."""


def _whole(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not re.fullmatch(f"[+-]?[0-9]{{1,{MOST_DIGITS}}}", text):
        raise typer.BadParameter(f"{shown(text)} is not a whole number.")
    return int(text)


def _real(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise typer.BadParameter(f"{shown(text)} is not a finite number.")
    return float(text)


def whole(**details: Any) -> Any:
    """Describe an option whose value is a whole number."""
    return typer.Option(**{"parser": _whole, "metavar": "INTEGER", **details})


def real(**details: Any) -> Any:
    """Describe an option whose value is a finite number."""
    return typer.Option(parser=_real, metavar="FLOAT", **details)


def whole_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers separated by commas; the example in a refusal has those that are there."""
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", part) for part in parts):
        found = re.findall(r"(?<![0-9])[1-9][0-9]{0,6}(?![0-9])", text) if text.isascii() else []
        example = ",".join(found) or "256,128"
        raise ConfigurationError(
            f"{option} is {shown(text)}: whole numbers separated by commas are needed, as in "
            f"{example}"
        )
    return [int(part) for part in parts]


def _chosen(option: Enum | None) -> str | None:
    return None if option is None else str(option.value)


def _all(options: Iterable[Enum]) -> list[str]:
    return [str(one.value) for one in options]


# The commands.

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
trace_app = typer.Typer(
    help="Record traces, hand out their questions, and judge a port's answers.",
    no_args_is_help=True,
)
reproduce_app = typer.Typer(help="Repeat the paper's experiments.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")
arithmetic_app = typer.Typer(help="Integers in the place of floating point.", no_args_is_help=True)
app.add_typer(arithmetic_app, name="arithmetic")
app.add_typer(reproduce_app, name="reproduce")
batch_app = typer.Typer(
    help="Run studies of many runs, and look at what has come of them.", no_args_is_help=True
)
app.add_typer(batch_app, name="batch")

Rule = Enum("Rule", {name: name for name in RULES}, type=str)  # type: ignore[misc]
Method = Enum("Method", {name: name for name in METHODS}, type=str)  # type: ignore[misc]
Precision = Enum("Precision", {name: name for name in PRECISIONS}, type=str)  # type: ignore[misc]
SplitName = Enum("SplitName", {name: name for name in SPLITS}, type=str)  # type: ignore[misc]
Format = Enum("Format", {name: name for name in FORMATS}, type=str)  # type: ignore[misc]
PICTURES = ("curves", "receptive-fields", "weights", "activity")
PICTURES_HELP = f"From {', '.join(PICTURES)}; else all."
PictureName = Enum("PictureName", {name: name for name in PICTURES}, type=str)  # type: ignore[misc]
ExportFormat = Enum(
    "ExportFormat",
    {"npz": "npz", "torch": "torch", "c-header": "c-header", "readmemh": "readmemh"},
    type=str,
)
Cases = Enum("Cases", {"standard": "standard"}, type=str)

Precisions = Annotated[list[Precision] | None, typer.Option(help="May be given again; else both.")]
OnePrecision = Annotated[Precision, typer.Option(help="Precision.")]
GivenSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting, as in controller.k_p=0.3; may be given again.",
    ),
]
IntegerPreset = Annotated[
    str | None,
    typer.Option(
        "--arithmetic", metavar="PRESET", help="Of integers; else the run's own, or int16."
    ),
]
ArithmeticSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Of integers, as in arithmetic.weight=8.6; repeatable."
    ),
]
Threads = Annotated[int | None, whole(help="Threads; else all processors.")]
ThreadsOfEach = Annotated[
    int | None,
    whole(help="Threads of each run; else 1, or more if there are more cores than runs."),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the results there too.", readable=False),
]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page with plots.", readable=False),
]
JunitFile = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write JUnit XML, for a CI.", readable=False),
]
ShowPower = Annotated[
    bool, typer.Option("--power", help="Measure the smallest fault that would be caught.")
]


def main() -> None:
    """Run the command line; whatever the user got wrong is said in one line."""
    try:
        with any_stream():
            code = _command()(standalone_mode=False)
    except typer.TyperException as problem:
        # Typer's newer versions let their validator's own words through.
        message = problem.format_message().replace("Value error, ", "")
        _fail(" ".join(message.split()), problem.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except OutputFailed as problem:
        if str(problem):
            _fail(str(problem), 2)
        # The reader of our output has gone, and that is its good right.
        sys.exit(0)
    except Exception as problem:
        ending = _ending(problem)
        if ending is None:
            raise
        _fail(*ending)
    sys.exit(code if isinstance(code, int) else 0)


@cache
def _command() -> Any:
    # Once a process, which is a twentieth of a second each time.
    return typer.main.get_command(app)


def _ending(problem: Exception) -> tuple[str, int] | None:
    """Say in a line what is not our fault, with the exit code; None for a fault of ours.

    Which failures there are is loaded only now, as there is one.
    """
    from ..backends import BackendUnavailable
    from ..datasets import DatasetError
    from ..refimpl import ArgumentError
    from ..validation import FileError
    from .training import TrainingDiverged

    if isinstance(problem, TrainingDiverged):
        return str(problem), 1
    bad_input = (ArgumentError, ConfigurationError, DatasetError, FileError, BackendUnavailable)
    if isinstance(problem, bad_input):
        return str(problem), 2
    if isinstance(problem, OSError):
        # Whatever is wrong with a file or directory, and is not said better where it arises.
        named = "" if problem.filename is None else f"{problem.filename}: "
        return f"{named}{problem.strerror or problem}", 2
    return (f"not enough memory: {problem}", 2) if isinstance(problem, MemoryError) else None


def _fail(message: str, code: int) -> None:
    # Where a command's name is missing the help has been printed, and there is no more to say.
    if message:
        tell_user(message)
    sys.exit(code)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        # Imported here: slow to load, and rarely asked for.
        from importlib.metadata import version

        print(f"disinhib {version('disinhib')}")
        raise typer.Exit


@app.callback()
def disinhib(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Deep networks that learn by a Hebbian rule under top-down dis-inhibition."""


@app.command("train")
def train_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml]", help="Settings; flags override them.", readable=False
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="|".join([*DATASETS, "FILE.npz|FILE.h5", "tfds:NAME"]),
            help="Images to learn, or arrays x and y.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of IDX files, or of a prepared tfds dataset.", readable=False),
    ] = None,
    rule: Annotated[Rule | None, typer.Option(help="Learning rule.")] = None,
    hidden: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Units of each hidden layer.")
    ] = None,
    epochs: Annotated[int | None, whole(help="Total number of epochs, also with --resume.")] = None,
    patience: Annotated[
        int | None, whole(help="Epochs without better validation that end the run; 0 is never.")
    ] = None,
    batch_size: Annotated[int | None, whole(help="Samples per step.")] = None,
    learning_rate: Annotated[float | None, real(help="Step size of the optimiser.")] = None,
    seed: Annotated[int | None, whole(help="Any whole number.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="See `disinhib backends`; else the fastest that can run here."),
    ] = None,
    threads: Annotated[
        int | None, whole(help="Threads of a CPU backend; else all processors.")
    ] = None,
    dtype: Annotated[Precision | None, typer.Option(help="Precision.")] = None,
    method: Annotated[Method | None, typer.Option(help="Way to the end states.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|FILE.h5",
            help="Begin with what a run has learnt, or with a file's parameters and batches.",
            readable=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write; a new directory.", readable=False),
    ] = None,
    given_settings: GivenSettings = None,
    resume_from: Annotated[
        Path | None,
        typer.Option("--resume", metavar="DIR", help="Go on with the run in DIR.", readable=False),
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(metavar="N[epochs|steps|minutes]", help="How often to save the run.")
    ] = "1epoch",
) -> int:
    """Train a network, and write config.toml, metrics.jsonl, curves.png and checkpoint.h5."""
    with loading():
        from .training import run_training

    flags = {
        "dataset": dataset,
        "data_dir": data_dir,
        "rule": _chosen(rule),
        "hidden": None if hidden is None else whole_numbers("--hidden", hidden),
        "batch_size": batch_size,
        "optimizer.learning_rate": learning_rate,
        "patience": patience,
        "seed": seed,
        "backend": backend,
        "threads": threads,
        "dtype": _chosen(dtype),
        "solver.method": _chosen(method),
        "start": start,
    }
    settings = given_settings or ()
    return run_training(config, flags, settings, epochs, out, resume_from, checkpoint_every)


StudyDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="Of a study.", readable=False)]


@batch_app.command("run")
def batch_run_command(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY.toml", help="Which runs there are.", readable=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write, or to go on.", readable=False),
    ] = None,
    given_settings: GivenSettings = None,
    workers: Annotated[
        int | None, whole(help="Processes side by side; else as many as there are cores.")
    ] = None,
    threads: ThreadsOfEach = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only the I-th of N parts of the rows, from 1.")
    ] = "1/1",
    time_limit: Annotated[
        str, typer.Option(metavar="TIME", help="Save and end after it, as in 2h50m.")
    ] = "",
    scheduler: Annotated[
        str, typer.Option(metavar="tcp://HOST:PORT", help="Of a Dask cluster that stands.")
    ] = "",
    slurm: Annotated[
        int, whole(metavar="JOBS", help="So many workers by SLURM, through dask-jobqueue.")
    ] = 0,
    replicas: Annotated[
        int | None,
        whole(help="Runs side by side in one backend; else as a GPU has room, 1 on processors."),
    ] = None,
) -> int:
    """Run every row of a study, or go on with those that are left."""
    from .batch import run_batch

    settings = given_settings or ()
    return run_batch(
        study, settings, out, workers, threads, shard, time_limit, scheduler, slurm, replicas
    )


@batch_app.command("work", hidden=True)
def batch_work_command(
    directory: StudyDirectory,
    worker: Annotated[str, typer.Option(metavar="I/N")] = "1/1",
    shard: Annotated[str, typer.Option(metavar="I/N")] = "1/1",
    attempt: Annotated[str, typer.Option()] = "",
    parent: Annotated[int, whole()] = 0,
    deadline: Annotated[str, typer.Option()] = "inf",
    replicas: Annotated[int, whole()] = 1,
) -> int:
    """Be one worker of a batch that another process watches over."""
    from .batch import run_worker

    return run_worker(directory, worker, shard, attempt, parent, float(deadline), replicas)


@batch_app.command("status")
def batch_status_command(directory: StudyDirectory) -> int:
    """Say how far a study is, and what went wrong."""
    from .batch import show_status

    return show_status(directory)


@batch_app.command("table")
def batch_table_command(
    directory: StudyDirectory,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="Mean and standard deviation over all other settings."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Column; may be given again.")
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write every column there too.", readable=False),
    ] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write what is shown.", readable=False),
    ] = None,
) -> int:
    """Show what came of a study: a row a run, or a row a setting."""
    from .batch import show_table

    return show_table(directory, by, metric or [], csv_file, markdown_file)


@batch_app.command("plot")
def batch_plot_command(
    directory: StudyDirectory,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Else batch.png in the directory.", readable=False),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="A column of the table.")
    ] = None,
) -> int:
    """Draw accuracy by setting with its spread; of a search its history and what mattered."""
    from .batch import draw_batch

    return draw_batch(directory, out, metric)


@batch_app.command("best")
def batch_best_command(
    directory: StudyDirectory,
    top: Annotated[int, whole(help="How many settings.")] = 1,
    seeds: Annotated[str, typer.Option(metavar="N-N", help="To repeat them with.")] = "0-9",
    epochs: Annotated[int | None, whole(help="Else as many as the study has.")] = None,
) -> int:
    """Print the study that repeats the settings that were best by validation."""
    from .batch import print_best

    return print_best(directory, top, seeds, epochs)


@app.command("backends")
def backends_command() -> None:
    """List the backends, and why one cannot run here."""
    from .about import list_backends

    list_backends()


@app.command("warm-up")
def warm_up_command(
    backend: Annotated[str, typer.Option(help="See `disinhib backends`.")] = "numba",
    rule: Annotated[
        list[Rule] | None, typer.Option(help="May be given again; else every rule.")
    ] = None,
    method: Annotated[
        list[Method] | None, typer.Option(help="May be given again; else every method.")
    ] = None,
    dtype: Precisions = None,
) -> None:
    """Compile ahead what training and conformance need: for a container's build, a job's prolog."""
    from .about import warm_up

    warm_up(
        backend,
        rules=_all(rule or Rule),
        methods=_all(method or Method),
        dtypes=_all(dtype or Precision),
    )


@app.command("inspect")
def inspect_command(
    path: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE.h5", help="A run's directory, or a file.", readable=False),
    ],
) -> None:
    """Show what a run is and how far it has come, or what a checkpoint or trace holds."""
    from .about import inspect_path

    inspect_path(path)


@app.command("evaluate")
def evaluate_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's directory, or a checkpoint.", readable=False),
    ],
    split: Annotated[SplitName, typer.Option(help="Part of the data.")] = SplitName["test"],
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where the data lies now; else where the run had it.", readable=False),
    ] = None,
    confusion_file: Annotated[
        Path | None,
        typer.Option(
            "--confusion",
            metavar="FILE",
            help="Draw which classes are taken for which.",
            readable=False,
        ),
    ] = None,
    predictions_file: Annotated[
        Path | None,
        typer.Option(
            "--predictions", metavar="FILE.csv", help="Write a row a sample.", readable=False
        ),
    ] = None,
    json_file: JsonFile = None,
    closed_loop: Annotated[
        bool, typer.Option("--closed-loop", help="The outputs under control instead.")
    ] = False,
    trace_file: Annotated[
        Path | None,
        typer.Option(
            "--trace", metavar="FILE.h5", help="Record how a few samples settle.", readable=False
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Those of the trace, from 0; else the first four."),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Else the one that trained it.")] = None,
    dtype: Annotated[Precision | None, typer.Option(help="Else that of the training.")] = None,
    threads: Threads = None,
    preset: IntegerPreset = None,
    given_settings: ArithmeticSettings = None,
) -> None:
    """Evaluate a trained network on a part of its data; the run is not changed."""
    from .trained import evaluate_run
    from .training import parse_arithmetic

    integers = parse_arithmetic(preset, given_settings or []) or None
    evaluate_run(
        run,
        str(split.value),
        data_dir=data_dir,
        chosen={
            "backend": backend,
            "dtype": _chosen(dtype),
            "threads": threads,
            "arithmetic": integers,
        },
        confusion_file=confusion_file,
        predictions_file=predictions_file,
        json_file=json_file,
        closed_loop=closed_loop,
        trace_file=trace_file,
        samples=None if samples is None else whole_numbers("--samples", samples),
    )


@app.command("plot")
def plot_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's directory, or a checkpoint.", readable=False),
    ],
    names: Annotated[
        list[PictureName] | None, typer.Argument(metavar="[PICTURE...]", help=PICTURES_HELP)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for pictures; else RUN/pictures.", readable=False)
    ] = None,
    picture_format: Annotated[Format, typer.Option("--format", help="Of the pictures.")] = Format[
        "png"
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where the data lies now; else where the run had it.", readable=False),
    ] = None,
) -> None:
    """Draw a trained network: its curves, receptive fields, weights and activity."""
    from .run_pictures import plot_run

    chosen = [str(name.value) for name in names or []]
    plot_run(run, out, chosen, str(picture_format.value), data_dir)


@app.command("config")
def config_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml|RUN]", help="A file or a run to begin with.", readable=False
        ),
    ] = None,
    given_settings: GivenSettings = None,
) -> None:
    """Print every setting of a run as TOML: what it means, may be, is by default, and is now."""
    from .settings_described import show_configuration

    show_configuration(config, given_settings or [])


@app.command("export")
def export_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's directory, or a checkpoint.", readable=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.npz or FILE.h; with --to torch or readmemh a directory.",
            show_default=False,
            readable=False,
        ),
    ],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="Arrays, a PyTorch module, or integers for C or for Verilog's $readmemh."
        ),
    ] = ExportFormat["npz"],
    arithmetic: IntegerPreset = None,
    samples: Annotated[
        int | None, whole(help="Of the test set, with all their ticks; else 2.")
    ] = None,
) -> None:
    """Write a trained network for programs that do not have disinhib."""
    from .export import export_run

    export_run(run, str(to.value), out, arithmetic, samples)


@arithmetic_app.command("probe")
def probe_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's directory, or a checkpoint.", readable=False),
    ],
    width: Annotated[int, whole(help="Bits of every quantity.")] = 16,
    samples: Annotated[int, whole(help="Of the training set.")] = 500,
) -> None:
    """Measure how large a network's quantities are, and propose formats."""
    from .chips import probe_run

    probe_run(run, width, samples)


@arithmetic_app.command("distance")
def distance_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's directory, or a checkpoint.", readable=False),
    ],
    preset: IntegerPreset = None,
    given_settings: ArithmeticSettings = None,
    samples: Annotated[int, whole(help="Of the training set.")] = 100,
    each: Annotated[bool, typer.Option("--each", help="Also by each quantity's format.")] = False,
) -> None:
    """Say how far a step in integers is from floating point: by ticks, tables and rounding."""
    from .chips import report_distance

    report_distance(run, preset, given_settings or [], samples, each)


@arithmetic_app.command("cost")
def cost_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's directory, or a checkpoint.", readable=False),
    ],
    preset: IntegerPreset = None,
    given_settings: ArithmeticSettings = None,
) -> None:
    """Count multiplications, lookups and bits moved for one sample."""
    from .chips import report_cost

    report_cost(run, preset, given_settings or [])


@app.command("compare")
def compare_runs_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Directories of runs.", readable=False)
    ],
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a row a run.", readable=False),
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw all learning curves.", readable=False),
    ] = None,
) -> None:
    """Set runs beside each other: in what they differ, and how they ended."""
    from .runs_compared import compare_runs

    compare_runs(runs, csv_file, plot_file)


@app.command("demo")
def demo_command(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to leave the pictures.", readable=False)
    ] = Path("runs/demo"),
) -> int:
    """Train three rules side by side, conform the reference, draw pictures: under a minute."""
    from .demo import run_demo

    return 0 if run_demo(out) else 1


@app.command("bench")
def bench_command(
    backend: Annotated[
        list[str] | None, typer.Option(help="May be given again; else all that can run.")
    ] = None,
    dtype: Precisions = None,
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
    json_file: JsonFile = None,
    chart: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the results there.", readable=False),
    ] = None,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Vary batch, width, depth and outputs too.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Break one learning step into its stages instead.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Time learning steps, each as a ratio to the same backend's backprop step.

    Without --rule, --method, --sizes and --batch: the standard table, a quarter of an hour on two
    cores. With any of them: every combination of what is given, on 784-256-256-256-10 and batch
    100 where these are not. PyTorch's own backprop step is a row too where PyTorch is installed.
    """
    from .benchmarks import Choice, write_benchmark

    choice = Choice(
        backends=backend or [],
        dtypes=_all(dtype or ()),
        rules=_all(rule or ()),
        methods=_all(method or ()),
        networks=[tuple(whole_numbers("--sizes", one)) for one in sizes or ()],
        batches=batch or (),
        threads=threads,
    )
    write_benchmark(choice, json_file, chart, scaling=scaling, profile=profile)


@app.command("conform")
def conform_command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH…",
            help="Traces, or directories of traces; else the shipped.",
            readable=False,
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="See `disinhib backends`; another package's too.")
    ] = "numpy",
    dtype: OnePrecision = Precision["float64"],
    method: Annotated[Method, typer.Option(help="Way to the end states.")] = Method["fixed-point"],
    show_power: ShowPower = False,
    cross: Annotated[
        bool, typer.Option("--cross", help="All backends against each other, on random networks.")
    ] = False,
    seeds: Annotated[int, whole(help="With --cross: how many networks.")] = 5,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    junit_file: JunitFile = None,
) -> int:
    """Judge a backend by traces of the published implementation, stage by stage."""
    from .conformance import ReportFiles, conform_backend, conform_each_other

    files = ReportFiles(json_file, html_file, junit_file)
    if cross:
        return conform_each_other(paths or [], seeds, method.value, files)
    return conform_backend(paths or [], backend, dtype.value, method.value, show_power, files)


@app.command("figure")
def figure_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(FIGURES)}, or all.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to write.", readable=False)
    ] = Path("runs/figures"),
    picture_format: Annotated[Format, typer.Option("--format", help="Of the picture.")] = Format[
        "png"
    ],
) -> int:
    """Make a figure of the paper: the picture, its data, and a check of its key numbers."""
    from .paper.figures import make_figures

    return make_figures(name, out, picture_format.value)


@trace_app.command("record")
def record_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml]", help="A run's settings; else the defaults.", readable=False
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="PATH", help="File, or with --cases a new directory.", readable=False),
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
    dtype: OnePrecision = Precision["float64"],
    given_settings: GivenSettings = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET", help="In integers, every tick: int16, int8-weights, fpga, wide."
        ),
    ] = None,
) -> None:
    """Record learning steps by the reference, every stage in float64 or every tick in integers."""
    from .conformance import record, record_standard

    if cases is not None:
        record_standard(config, out)
        return
    settings = list(given_settings or [])
    if arithmetic is not None:
        if any(text.partition("=")[0].strip() == "arithmetic.preset" for text in settings):
            raise ConfigurationError(
                f"--set arithmetic.preset: --arithmetic says {arithmetic} already"
            )
        settings.append(f"arithmetic.preset={arithmetic}")
    record(config, out, steps, trajectories, backend, dtype.value, settings)


@trace_app.command("inputs")
def inputs_command(
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="A trace, or a directory.", readable=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="File, or a new directory.", readable=False)
    ],
    flat: Annotated[
        bool, typer.Option("--flat", help="A directory of plain files, for a port without HDF5.")
    ] = False,
) -> None:
    """Strip a trace of its answers: what is left is what a port is given."""
    from .conformance import hand_out_questions

    hand_out_questions(source, out, flat)


@trace_app.command("compare")
def compare_command(
    golden: Annotated[
        Path, typer.Argument(metavar="GOLDEN", help="A trace, or a directory.", readable=False)
    ],
    candidate: Annotated[
        Path,
        typer.Argument(
            metavar="CANDIDATE",
            help="The port's HDF5 file or flat directory; or a directory of them, by the names "
            "of the traces.",
            readable=False,
        ),
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="float16|float32|float64|fixedN[:ROUNDING][:saturateM]",
            help="Of the port's arithmetic, N the bits after the binary point, ROUNDING "
            "nearest-even, nearest-away, floor, truncate or stochastic, M the bits before the "
            "point; else what its file says or is stored in.",
        ),
    ] = None,
    rtol: Annotated[
        float | None, real(help="Tolerance of the port's integration; else it finds fixed points.")
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
    from .conformance import ReportFiles, judge_answers

    files = ReportFiles(json_file, html_file, junit_file)
    return judge_answers(golden, candidate, precision, rtol, complete, show_power, files)


@trace_app.command("tolerances")
def tolerances_command(
    source: Annotated[Path, typer.Argument(metavar="TRACE.h5", help="A trace.", readable=False)],
    precision: Annotated[
        list[str],
        typer.Option(
            metavar="float16|float32|float64|fixedN", help="Arithmetic; may be given again."
        ),
    ],
) -> None:
    """Show what rounding may do to each stage, and so what numbers a port can expect."""
    from .conformance import show_tolerances

    show_tolerances(source, precision)


@reproduce_app.callback()
def reproduce() -> None:
    """Repeat the paper's experiments."""


@reproduce_app.command("table")
def table_command(
    datasets: Annotated[
        str, typer.Option(metavar="NAME,…", help=f"From {', '.join(DATASETS)}.")
    ] = "fashion_mnist,mnist",
    depths: Annotated[str, typer.Option(metavar="N,…", help="Numbers of hidden layers.")] = "1,2,3",
    seeds: Annotated[int, whole(help="Seeds 0 to N − 1.")] = 5,
    epochs: Annotated[int, whole(help="Of each training.")] = 50,
    rules: Annotated[
        str, typer.Option(metavar="NAME,…", help="Learning rules.")
    ] = "backprop,exact-inverse,linear-threshold",
    feedback: Annotated[
        str, typer.Option(metavar="NAME,…", help="Feedback weights.")
    ] = "per-sample,averaged",
    strength: Annotated[str, typer.Option(metavar="NAME,…", help="Of control.")] = "strong,weak",
    hidden_units: Annotated[int, whole(help="Of each hidden layer.")] = 256,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of IDX files; with one dataset only.", readable=False),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Else the fastest here.")] = None,
    dtype: OnePrecision = Precision["float32"],
    threads: ThreadsOfEach = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to write, and to go on.", readable=False)
    ] = Path("runs/table"),
) -> int:
    """Train every cell of the table; killed, the same command goes on where it was.

    Test accuracy, mean ± standard deviation over seeds, for backprop, exact inverse and linear
    threshold, with per-sample and averaged feedback weights, under strong and weak control.
    It is a batch: `disinhib batch status` and `table` show it too. Results are in accuracies.h5,
    table.md and table.png; a wider table may follow in the same directory, and only what is missing
    is trained. With another number of epochs the table has only the cells trained so far.
    """
    from .paper import Table, train_table

    table = Table(
        datasets=datasets.split(","),
        depths=whole_numbers("--depths", depths),
        seeds=seeds,
        epochs=epochs,
        rules=rules.split(","),
        feedback=feedback.split(","),
        strength=strength.split(","),
        hidden_units=hidden_units,
        data_dir=data_dir,
        backend=backend,
        dtype=dtype.value,
        threads=threads,
    )
    return train_table(table, out)
