"""What a run writes of its epochs: `metrics.jsonl`, a JSON object each, and `curves.png`."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends import Evaluation, TrainingMetrics
from ...refimpl import ConfigurationError, EndStateCounts, Parameters, shown
from ...validation import refuse_all_but_files
from ..loading import loading
from ..output import in_a_picture, replace_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Tally = dict[str, int]


@dataclass(frozen=True)
class EpochRecord:
    """Figures of one epoch.

    Parameters
    ----------
    epoch : int
        From 1.
    train_loss, train_accuracy : float
        In open loop, each batch before its update; accuracies are fractions of 1.
    train_closed_loop_loss : float or None
        Under control; None for backprop, which has none.
    valid_loss, valid_accuracy, test_loss, test_accuracy : float
        After the epoch.
    seconds : float
        Of the whole epoch, evaluation included.
    samples_per_second : float
        Of training alone.
    open_loop, closed_loop, evaluation : dict of int
        How many samples reached their end state in which way; `unsettled` counts
        integrations that ended at their horizon or step limit.
    computed_by : str
        Backend, its version and its device; empty in logs of before this was kept.
    train_closed_loop_accuracy : float or None
        Under control, which knows the labels, each batch before its update; None for backprop, and
        in logs of before this was kept, as those that follow are then.
    learning_rate : float or None
        Of the optimiser in this epoch, by the schedule.
    weight_norm : dict of float
        Frobenius norm of each layer's weights after the epoch: `hidden_0`, …, `readout`.
    open_loop_steps, closed_loop_steps : float or None
        Mean number of steps that the integration of a sample took in training, rejected ones
        counted, without control and under it; None where none was integrated, or nobody counted.
    overflows : dict of int
        In integers: how many values of each quantity did not fit their format in this epoch and
        were taken to its end, and how many arguments lay beyond a table's; without those of none.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    train_closed_loop_loss: float | None
    valid_loss: float
    valid_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float
    samples_per_second: float
    open_loop: dict[str, int]
    closed_loop: dict[str, int]
    evaluation: dict[str, int]
    computed_by: str = ""
    train_closed_loop_accuracy: float | None = None
    learning_rate: float | None = None
    weight_norm: dict[str, float] = field(default_factory=dict)
    open_loop_steps: float | None = None
    closed_loop_steps: float | None = None
    overflows: Tally = field(default_factory=dict)

    @property
    def unsettled(self) -> int:
        """Integrations of any kind that did not settle."""
        return sum(
            counts["unsettled"] for counts in (self.open_loop, self.closed_loop, self.evaluation)
        )


def epoch_record(
    epoch: int,
    batch_size: int,
    metrics: TrainingMetrics,
    valid: Evaluation,
    test: Evaluation,
    training_seconds: float,
    seconds: float,
    computed_by: str,
    learning_rate: float,
    parameters: Parameters,
    overflows: Tally,
) -> EpochRecord:
    """Sum up an epoch, from 1, of all its steps, with and without the time of its evaluation.

    `parameters` are those after it.
    """
    n_samples = metrics.loss.size * batch_size
    closed_loop_loss = float(metrics.closed_loop_loss.mean())
    under_control = metrics.closed_loop_n_correct
    return EpochRecord(
        epoch=epoch,
        train_loss=float(metrics.loss.mean()),
        train_accuracy=float(metrics.n_correct.sum() / n_samples),
        train_closed_loop_loss=None if math.isnan(closed_loop_loss) else closed_loop_loss,
        valid_loss=float(valid.loss),
        valid_accuracy=float(valid.accuracy),
        test_loss=float(test.loss),
        test_accuracy=float(test.accuracy),
        seconds=seconds,
        samples_per_second=n_samples / training_seconds,
        open_loop=_ways(metrics.open_loop_counts),
        closed_loop=_ways(metrics.closed_loop_counts),
        evaluation=_ways(valid.counts + test.counts),
        computed_by=computed_by,
        train_closed_loop_accuracy=(
            None if under_control is None else float(under_control.sum() / n_samples)
        ),
        learning_rate=learning_rate,
        weight_norm=weight_norms(parameters),
        open_loop_steps=metrics.open_loop_counts.mean_steps,
        closed_loop_steps=metrics.closed_loop_counts.mean_steps,
        overflows=overflows,
    )


def _ways(counts: EndStateCounts) -> dict[str, int]:
    return {name: n for name, n in dataclasses.asdict(counts).items() if name != "steps"}


def weight_norms(parameters: Parameters) -> dict[str, float]:
    """Frobenius norm of each layer's weights, by the names that layers have in files."""
    weights = {f"hidden_{l}": W for l, W in enumerate(parameters.weights)}
    return {name: _norm(W) for name, W in (weights | {"readout": parameters.readout}).items()}


def _norm(W: np.ndarray) -> float:
    """Of any finite numbers, none of whose squares may be one."""
    largest = float(np.max(np.abs(W)))
    if largest == 0:
        return 0.0
    # Not by BLAS, whose threads go on waiting for more where there are many cores.
    squares = np.square(W.astype(np.float64) / largest)
    return min(largest * math.sqrt(float(np.sum(squares))), LARGEST_FLOAT)


def steps_in_words(open_loop: float | None, closed_loop: float | None) -> str:
    """Say how many steps the integration of a sample took, on average; empty where none was."""
    parts = [
        f"{mean:.1f} steps {loop}"
        for mean, loop in ((open_loop, "in open loop"), (closed_loop, "under control"))
        if mean is not None
    ]
    return f"{' and '.join(parts)} to integrate a sample" if parts else ""


def overflows_in_words(overflows: Tally) -> str:
    """Say what did not fit its integers, the most first; empty where all did."""
    ordered = sorted(overflows.items(), key=lambda pair: -pair[1])
    parts = [
        f"{n:,} arguments beyond a table" if name == "table" else f"{n:,} of {name}"
        for name, n in ordered
    ]
    return f"did not fit: {', '.join(parts)}" if parts else ""


def best_record(records: Sequence[EpochRecord]) -> EpochRecord:
    """The first of highest validation accuracy, of at least one."""
    return max(records, key=lambda record: (record.valid_accuracy, -record.epoch))


LARGEST_FLOAT, MOST_EPOCHS = sys.float_info.max, 2**53
"""Beyond which a number in a log is none that a run has written."""


def append_record(path: str | os.PathLike[str], record: EpochRecord) -> None:
    """Add a line."""
    path = Path(path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n")


def read_records(path: str | os.PathLike[str]) -> list[EpochRecord]:
    """Read all whole lines; a last line cut short by a crash is left out.

    Raises
    ------
    ConfigurationError, FileError
        It is no text file, or a line is not a record, other than a last one that is cut short.
    """
    path = Path(path)
    try:
        if not path.exists():
            return []
        refuse_all_but_files(path)
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as problem:
        raise ConfigurationError(f"{path}: cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError as problem:
        raise ConfigurationError(f"{path}: not a text of epochs: {problem}") from problem
    records: list[EpochRecord] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(json.loads(line))
        except (ValueError, RecursionError) as problem:
            # Whole lines end in a line break, so that there is nothing after the last.
            if number == len(lines):
                break
            raise ConfigurationError(f"{path}: line {number} is not an epoch: {problem}") from None
        if records and record.epoch <= records[-1].epoch:
            raise ConfigurationError(
                f"{path}: line {number} is of epoch {record.epoch}, after epoch {records[-1].epoch}"
            )
        records.append(record)
    return records


def keep_records(path: str | os.PathLike[str], epochs: int) -> list[EpochRecord]:
    """Drop the lines of epochs that a checkpoint does not know of, so that none comes twice."""
    records = [record for record in read_records(path) if record.epoch <= epochs]
    replace_text(path, "".join(f"{json.dumps(dataclasses.asdict(one))}\n" for one in records))
    return records


def _record(values: Any) -> EpochRecord:
    """Build a record of values of the right kind; ValueError names the first that is not."""
    if not isinstance(values, dict):
        raise ValueError(f"{shown(values)} is no object")
    fields = {item.name: item for item in dataclasses.fields(EpochRecord)}
    needed = [
        name
        for name, item in fields.items()
        if item.default is item.default_factory is dataclasses.MISSING
    ]
    for name in (*values, *needed):
        if name not in fields or name not in values:
            raise ValueError(f"{name} is {'unknown' if name in values else 'missing'}")
    for name, value in values.items():
        kind = str(fields[name].type)
        if not _is_of_kind(value, kind) or (name == "epoch" and value < 1):
            raise ValueError(f"{name} is {shown(value)}: {kind} is needed")
    return EpochRecord(**values)


def _is_of_kind(value: Any, kind: str) -> bool:
    """Tell whether a value out of JSON is of the kind that a field of the record names."""
    match kind:
        case "float" | "float | None":
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            # A whole number may be too large for a float, which is asked by comparison alone.
            is_finite = is_number and -LARGEST_FLOAT <= value <= LARGEST_FLOAT
            return is_finite or (value is None and "None" in kind)
        case "int":
            return type(value) is int and abs(value) < MOST_EPOCHS
        case "str":
            return isinstance(value, str)
        case "dict[str, float]":
            return isinstance(value, dict) and all(_is_of_kind(n, "float") for n in value.values())
    whole = isinstance(value, dict) and all(type(n) is int and n >= 0 for n in value.values())
    return whole and (kind == "Tally" or "unsettled" in value)


def draw_learning_curves(
    path: str | os.PathLike[str], runs: Mapping[str, Sequence[EpochRecord]]
) -> None:
    """Draw train and test curves of runs into a file; see `learning_curves`."""
    # Of a short run the picture is a good part of the work: little is to be compressed in it.
    fast: dict[str, Any] = (
        {"pil_kwargs": {"compress_level": 1}} if Path(path).suffix == ".png" else {}
    )
    learning_curves(runs).savefig(Path(path), dpi=100, **fast)


def learning_curves(runs: Mapping[str, Sequence[EpochRecord]]) -> Figure:
    """Draw train and test curves of runs, a colour each, by the name for the legend."""
    # Imported here: slow to load, and most commands draw nothing.
    with loading():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, PercentFormatter

    # Laid out by hand: a layout that is computed draws everything twice.
    figure = Figure(figsize=(9, 3.8))
    margins = {"left": 0.07, "right": 0.99, "bottom": 0.13, "top": 0.97, "wspace": 0.24}
    loss_axes, accuracy_axes = figure.subplots(1, 2, gridspec_kw=margins)
    for number, (name, records) in enumerate(runs.items()):
        epochs = [record.epoch for record in records]
        colour = f"C{number}"
        for axes, what in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
            for split, style in (("train", ":"), ("valid", "--"), ("test", "-")):
                values = [getattr(record, f"{split}_{what}") for record in records]
                marker = "o" if len(records) < 20 else None
                # Matplotlib hides what begins with an underscore.
                hidden = " " if name.startswith("_") else ""
                label = f"{hidden}{in_a_picture(name)}, {split}"
                line = {"marker": marker, "markersize": 3, "label": label}
                axes.plot(epochs, values, style, color=colour, **line)
    loss_axes.set(xlabel="epoch", ylabel="loss (open loop)")
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (open loop)")
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (loss_axes, accuracy_axes):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    loss_axes.legend(frameon=False, fontsize="small")
    return figure
