"""A trained network in use: loaded from its run, it predicts and is evaluated.

The command `disinhib evaluate`. Nothing is written into a run's directory, and no lock is taken: a
run that is still being trained may be looked at.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Column, Table

from ..backends import Backend, HasOwnArithmetic, backend_class
from ..datasets import SPLITS, Dataset, dataset_digest
from ..refimpl import (
    ArgumentError,
    ConfigurationError,
    EndStateCounts,
    OptimizerState,
    Parameters,
    forward,
    sample_loss,
    shown,
)
from ..validation import (
    FileError,
    Trace,
    newest_checkpoint,
    read_checkpoint,
    record_trace,
    recording_to_rest,
    write_trace,
)
from .output import (
    in_a_picture,
    refuse_other_pictures,
    refuse_twice,
    refuse_unwritable,
    say,
    tell_user,
    terminal_console,
    visible,
    working,
    write_output,
    write_text,
)
from .training import (
    INTEGER_BACKENDS,
    EpochRecord,
    RunConfiguration,
    checked_path,
    dotted,
    holds_a_run,
    load_data,
    place_of_data,
    read_records,
    refuse_files_of_run,
    run_configuration,
    soft_labels,
    steps_in_words,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

console = terminal_console()
OF_A_RUN = ("checkpoint.h5", "checkpoint-1.h5", "best.h5")
"""Checkpoints whose epochs are in the metrics.jsonl beside them."""

TRACED = (0, 1, 2, 3)
"""Samples of which a trace is recorded if none are named: few, as all units' paths are kept."""
AT_ONCE = 1000
"""Samples whose end states are found together."""


@dataclass(frozen=True, repr=False)
class TrainedNetwork:
    """A network as a checkpoint has it, in a backend.

    Parameters
    ----------
    configuration : RunConfiguration
        Of the run that trained it.
    backend : Backend
        The network itself.
    epochs, steps : int
        How far its training had come: whole epochs, and learning steps of the next.
    source : Path
        The checkpoint.
    data_digest : str
        Of the data that it learnt; empty in checkpoints of before it was kept.
    dataset : Dataset, optional
        The data themselves, where they are at hand.
    records : tuple of EpochRecord, optional
        Of the epochs that led there; None where they have not been read.
    """

    configuration: RunConfiguration
    backend: Backend
    epochs: int
    steps: int
    source: Path
    data_digest: str
    dataset: Dataset | None = None
    records: tuple[EpochRecord, ...] | None = None

    @property
    def parameters(self) -> Parameters:
        """Weights, biases and readout, as NumPy arrays in the run's precision."""
        return self.backend.learner().parameters

    @property
    def class_names(self) -> tuple[str, ...]:
        """What classes are called, by number: ``class_names[predict(x)[0]]``.

        Raises
        ------
        ConfigurationError, DatasetError
            The data, which have the names, cannot be had.
        """
        dataset = self.data()
        return tuple(dataset.name_of(label) for label in range(dataset.n_classes))

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.backend.configuration.sizes))
        steps = f" and {self.steps} steps" if self.steps else ""
        return (
            f"<TrainedNetwork {sizes}, {self.configuration.rule}, {self.configuration.dataset}, "
            f"after {self.epochs} epochs{steps}>"
        )

    @property
    def metrics(self) -> MetricsTable:
        """The figures of all epochs that led there, a column each; see `EpochRecord`.

        Raises
        ------
        ConfigurationError, FileError
            The run's metrics.jsonl is not what a run writes.
        """
        return MetricsTable(self.records_so_far())

    def records_so_far(self) -> tuple[EpochRecord, ...]:
        """Figures of the epochs that led there; raises as `metrics` does."""
        if self.records is not None:
            return self.records
        log = self.source.parent / "metrics.jsonl"
        is_of_a_run = self.source.name in OF_A_RUN
        found = read_records(log) if is_of_a_run else []
        records = tuple(record for record in found if record.epoch <= self.epochs)
        if self.epochs and (not records or records[-1].epoch != self.epochs):
            where = log if is_of_a_run else f"{self.source}, which is not in its run's directory,"
            raise ConfigurationError(f"{where} has no figures of epoch {self.epochs}")
        return records

    def picture(self, what: str) -> Figure:
        """Draw the network.

        Parameters
        ----------
        what : {'curves', 'receptive-fields', 'weights', 'activity'}
            Loss and accuracy over the epochs; weights to each unit of the first layer, as images;
            how weights and biases are spread; how rates are spread over validation samples.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ConfigurationError
            There is no such picture, or the network has no such thing.
        DatasetError
            The data cannot be had.
        """
        # Imported here: slow to load, and most networks are not drawn.
        from .run_pictures import picture

        return picture(self, what)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Compute the outputs u_out at rest without control, a column a class (section 2).

        Parameters
        ----------
        x : array, (n, ...)
            Inputs, floats scaled as those that were learnt (0 to 1), or bytes where those were
            bytes; after a run with `data.scale` also as the data have them. What follows the first
            axis is flattened.

        Returns
        -------
        array, (n, classes)
            In the run's precision.

        Raises
        ------
        ArgumentError
            Inputs are of another number than the network has, other whole numbers, or no numbers.
        ConfigurationError, DatasetError
            For bytes, the data that was learnt, whose scale they have, cannot be had.
        """
        return self._outputs(self._inputs(x))[0]

    def _inputs(self, x: np.ndarray) -> np.ndarray:
        """Floats as the network takes them, of the same shape."""
        n_inputs = self.backend.configuration.sizes[0]
        if np.ma.is_masked(x):
            raise ArgumentError("x has masked values: numbers are needed")
        try:
            x = np.asarray(x)
        except ValueError as problem:
            raise ArgumentError(f"x is no array: {problem}") from problem
        if x.ndim < 2 or int(np.prod(x.shape[1:])) != n_inputs:
            raise ArgumentError(f"x has shape {x.shape}: (n, {n_inputs}) is needed, a row a sample")
        has_scale = self.configuration.data.scale is not None
        if x.dtype == np.uint8 or (has_scale and x.dtype.kind in "iuf"):
            data = self.data()
            learnt = data.train.images.dtype
            if x.dtype.kind == learnt.kind and data.full_scale is not None:
                return x / data.full_scale
            if x.dtype == np.uint8:
                needed = "floats are" if learnt.kind == "f" else f"{learnt} is"
                raise ArgumentError(f"x is of {x.dtype}: {needed} needed, as was learnt")
        if x.dtype.kind != "f":
            raise ArgumentError(f"x is of {x.dtype}: floats are needed, scaled to 0 to 1, or bytes")
        return x

    def _outputs(self, x: np.ndarray) -> tuple[np.ndarray, EndStateCounts]:
        """Outputs for inputs as the network takes them, and how they were reached."""
        network = self.backend.configuration
        with np.errstate(over="ignore"):
            flat = x.reshape(len(x), network.sizes[0]).astype(self.configuration.dtype)
        if network.rule == "backprop":
            if not np.all(np.isfinite(flat)):
                raise ArgumentError("x has values that are no finite numbers")
            if isinstance(self.backend, HasOwnArithmetic):
                return self.backend.forward(flat), EndStateCounts()
            return forward(network, self.parameters, flat)[1], EndStateCounts()
        found, opened = [np.zeros((0, network.sizes[-1]), flat.dtype)], EndStateCounts()
        for first in range(0, len(flat), AT_ONCE):
            state, counts = self.backend.open_loop(flat[first : first + AT_ONCE])
            found.append(state.u_out)
            opened += counts
        return np.concatenate(found), opened

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Class of each input, that of the largest output; see `outputs`.

        Returns
        -------
        array of int64, (n,)
            −1 where an output is no number, as of a sample that has no end state.
        """
        return predictions(self.outputs(x))

    def evaluate(
        self,
        split: str = "test",
        data_dir: str | os.PathLike[str] | None = None,
        closed_loop: bool = False,
    ) -> SplitEvaluation:
        """Evaluate on a part of the data that it was trained with.

        Parameters
        ----------
        split : {'test', 'validation', 'train'}
            Part.
        data_dir : path, optional
            Where the data lies now; else where the run had it.
        closed_loop : bool
            With the outputs under control, in batches of the run's size: how near the controller,
            which knows the labels, brings them (sections 2 to 4).

        Returns
        -------
        SplitEvaluation

        Raises
        ------
        ConfigurationError
            There is no such part, the data is not what the run had, or control is asked for of a
            network of the rule 'backprop', which has none.
        DatasetError
            The data cannot be had.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split is {shown(split)}: choose from {', '.join(SPLITS)}")
        if closed_loop and self.configuration.rule == "backprop":
            raise ConfigurationError(
                "closed_loop is True: a network of the rule 'backprop' has no control"
            )
        dataset = self.data(data_dir)
        part = getattr(dataset, split)
        y = soft_labels(self.configuration, part.labels, dataset.n_classes)
        # Outputs that are no numbers are counted as such below.
        with np.errstate(all="ignore"):
            x = dataset.inputs(part.images)
            if closed_loop:
                u_out, opened, closed = self._controlled(x, y)
            else:
                (u_out, opened), closed = self._outputs(x), EndStateCounts()
        with np.errstate(all="ignore"):
            losses = sample_loss(self.configuration.loss, u_out.astype(np.float64), y)
        return SplitEvaluation(
            dataset.name,
            split,
            labels=part.labels,
            predictions=predictions(u_out),
            losses=losses,
            class_names=tuple(dataset.name_of(label) for label in range(dataset.n_classes)),
            unsettled=opened.unsettled + closed.unsettled,
            closed_loop=closed_loop,
            open_loop_steps=opened.mean_steps,
            closed_loop_steps=closed.mean_steps,
        )

    def _controlled(
        self, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, EndStateCounts, EndStateCounts]:
        """Outputs under control, and how both loops' end states were reached."""
        x, y = (one.astype(self.configuration.dtype) for one in (x, y))
        found, size = [], self.configuration.batch_size
        opened = closed = EndStateCounts()
        for first in range(0, len(x), size):
            batch = slice(first, first + size)
            open_loop, of_open_loop = self.backend.open_loop(x[batch])
            Q = self.backend.feedback_weights(open_loop)
            target = self.backend.closed_loop_target(open_loop, y[batch])
            state, of_control = self.backend.closed_loop(x[batch], Q, target, open_loop)
            found.append(state.u_out)
            opened, closed = opened + of_open_loop, closed + of_control
        return np.concatenate(found), opened, closed

    def trace(
        self,
        split: str = "test",
        samples: Sequence[int] = TRACED,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> Trace:
        """Record how a few samples settle: one learning step, every stage of it, and the way there.

        It is computed by the reference in float64, and changes nothing. The path lasts ten of the
        slowest time constant, without control and then under it.

        Parameters
        ----------
        split : {'test', 'validation', 'train'}
            Part of the data.
        samples : sequence of int
            Their places in it, from 0.
        data_dir : path, optional
            Where the data lies now; else where the run had it.

        Returns
        -------
        Trace
            Its `trajectory` has the paths; `disinhib.write_trace` writes it.

        Raises
        ------
        ConfigurationError
            There is no such part or sample, a sample does not come to rest, or the rule is
            'backprop', whose network has no inhibition and no path.
        DatasetError
            The data cannot be had.
        """
        if split not in SPLITS:
            raise ConfigurationError(f"split is {shown(split)}: choose from {', '.join(SPLITS)}")
        if self.configuration.rule == "backprop":
            raise ConfigurationError(
                "a network of the rule 'backprop' settles nowhere: it has no inhibition"
            )
        dataset = self.data(data_dir)
        part, where = getattr(dataset, split), np.asarray(list(samples))
        n = len(part.labels)
        if where.dtype.kind not in "iu" or where.ndim != 1 or np.any((where < 0) | (where >= n)):
            raise ConfigurationError(
                f"samples is {shown(list(samples))}: whole numbers from 0 to {n - 1} are needed, "
                f"places in {dataset.name} {split}"
            )
        sizes = self.backend.configuration.sizes
        network = self.configuration.network(sizes[0], sizes[-1])
        trace = record_trace(
            network,
            self.parameters,
            dataset.inputs(part.images[where]).astype(np.float64)[None],
            soft_labels(self.configuration, part.labels[where], dataset.n_classes)[None],
            with_trajectory=True,
            recording=recording_to_rest(network),
        )
        name = dataset.name if split == "train" else f"{dataset.name} {split}"
        return dataclasses.replace(
            trace, dataset=name, dataset_indices=where.astype(np.int64)[None]
        )

    def data(self, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
        """Load the data that it was trained with; raises as `evaluate` does."""
        if self.dataset is not None and data_dir is None:
            return self.dataset
        name = self.configuration.dataset
        place = place_of_data(self.configuration, self.source.parent)
        dataset = load_data(self.configuration, data_dir or place)
        found = dataset_digest(dataset)
        if self.data_digest and found != self.data_digest:
            raise ConfigurationError(
                f"data: {name} ({dataset.source}) has SHA-256 {found[:12]}…, that of "
                f"{self.source} had {self.data_digest[:12]}…: it learnt something else"
            )
        return dataset


SHOWN = ("epoch", "train_loss", "train_accuracy", "valid_accuracy", "test_accuracy")
"""Columns that are printed; the others are named."""


class MetricsTable(dict[str, np.ndarray]):
    """Figures of epochs, (epochs,) each, by their names; of counts too, as `closed_loop.unsettled`.

    ``pandas.DataFrame(table)`` takes it as it is.
    """

    def __init__(self, records: Sequence[EpochRecord]) -> None:
        rows = [dotted(dataclasses.asdict(record)) for record in records]
        names = dict.fromkeys(name for row in rows for name in row)
        super().__init__({name: _column([row.get(name) for row in rows]) for name in names})

    def __repr__(self) -> str:
        names = [name for name in self if name in SHOWN]
        rows = zip(*(self[name].tolist() for name in names), strict=True)
        lines = [" ".join(f"{name:>14}" for name in names)]
        lines += [
            " ".join(
                f"{value:>14}" if isinstance(value, int) else f"{value:14.4f}" for value in row
            )
            for row in rows
        ]
        others = ", ".join(name for name in self if name not in names)
        return "\n".join([*lines, f"and {others}"])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row an epoch, under a row of names; what is no number stays empty.

        Raises
        ------
        ConfigurationError, FileError
            The file is a run's own, or cannot be written.
        """
        path = checked_path("path", path)
        if holds_a_run(path.parent):
            refuse_files_of_run(path.parent, path)
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self)
        for row in zip(*(column.tolist() for column in self.values()), strict=True):
            writer.writerow("" if value != value else value for value in row)
        write_output(path, write_text, text.getvalue())


def _column(values: list[Any]) -> np.ndarray:
    """Whole numbers, text, or floats, among which None is no number."""
    kinds = {type(value) for value in values}
    if kinds in ({int}, {str}):
        return np.array(values)
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def predictions(u_out: np.ndarray) -> np.ndarray:
    """Class of the largest output, −1 where one is no number; (n,) of (n, classes)."""
    largest = np.argmax(u_out, axis=-1)
    return np.where(np.all(np.isfinite(u_out), axis=-1), largest, -1)


@dataclass(frozen=True, repr=False)
class SplitEvaluation:
    """What a network makes of a part of its data, in open loop or under control.

    Parameters
    ----------
    dataset, split : str
        What it was evaluated on.
    labels, predictions : array of int64, (n,)
        True classes, and those of the largest output, −1 where one is no number.
    losses : array of float64, (n,)
        Of each sample, to its softened label.
    class_names : tuple of str
        A name for each class.
    unsettled : int
        Samples that were integrated and did not come to rest.
    closed_loop : bool
        Whether outputs are those under control.
    open_loop_steps, closed_loop_steps : float or None
        Mean number of steps that the integration of a sample took, rejected ones counted, without
        control and under it; None where none was integrated.
    """

    dataset: str
    split: str
    labels: np.ndarray
    predictions: np.ndarray
    losses: np.ndarray
    class_names: tuple[str, ...]
    unsettled: int
    closed_loop: bool = False
    open_loop_steps: float | None = None
    closed_loop_steps: float | None = None

    @property
    def accuracy(self) -> float:
        """Fraction of samples that are right."""
        return float(np.mean(self.labels == self.predictions))

    @property
    def loss(self) -> float:
        """Mean loss; no number where a sample has none."""
        return float(np.mean(self.losses))

    @property
    def confusion(self) -> np.ndarray:
        """Samples by true class (row) and prediction (column), int64, (classes, classes).

        Those that have no prediction are left out.
        """
        counts = np.zeros((len(self.class_names), len(self.class_names)), dtype=np.int64)
        has_one = self.predictions >= 0
        np.add.at(counts, (self.labels[has_one], self.predictions[has_one]), 1)
        return counts

    def picture(self) -> Figure:
        """Draw the confusion matrix, each row coloured by its own fractions."""
        return confusion_picture(self)

    def __repr__(self) -> str:
        return (
            f"<SplitEvaluation {self.dataset} {self.split}{', under control' * self.closed_loop}: "
            f"{self.accuracy:.2%} of {self.labels.size:,} right, loss {self.loss:.4f}>"
        )

    def as_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "closed_loop": self.closed_loop,
            "samples": int(self.labels.size),
            "accuracy": self.accuracy,
            "loss": self.loss if np.isfinite(self.loss) else None,
            "unsettled": self.unsettled,
            "open_loop_steps": self.open_loop_steps,
            "closed_loop_steps": self.closed_loop_steps,
            "classes": list(self.class_names),
            "confusion": self.confusion.tolist(),
        }


def load(
    path: str | os.PathLike[str],
    *,
    backend: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    arithmetic: str | Mapping[str, Any] | None = None,
    notify: Callable[[str], None] = tell_user,
) -> TrainedNetwork:
    """Load a trained network.

    Parameters
    ----------
    path : path
        A run's directory, whose newest whole checkpoint is taken, or a checkpoint.
    backend, dtype, threads : optional
        To run it with; else those that trained it.
    arithmetic : str or mapping, optional
        To run it in integers: a preset's name, or settings of ``[arithmetic]``, as
        ``{"weight": "8.6"}``, which change those that trained it, or else the preset int16.
    notify : callable
        Told, a line each, of damaged checkpoints and of the one taken in their place; else they are
        told on standard error.

    Raises
    ------
    ConfigurationError, FileError, BackendUnavailable
        There is no checkpoint, it cannot be read, or the backend cannot run here.
    """
    path = checked_path("path", path).absolute()
    try:
        is_directory, is_run = path.is_dir(), holds_a_run(path)
    except OSError as problem:
        raise FileError(f"{path} cannot be read: {problem.strerror}") from problem
    if is_directory:
        source = path / "checkpoint.h5"
        if not is_run:
            raise ConfigurationError(f"{path} holds no run: checkpoint.h5 is missing")
        checkpoint, problems = newest_checkpoint(source)
        for damaged in problems:
            notify(damaged)
    else:
        source, checkpoint = path, read_checkpoint(path)
    chosen = {"backend": backend, "dtype": dtype, "threads": threads}
    given: dict[str, Any] = {name: one for name, one in chosen.items() if one is not None}
    saved, learner = dict(checkpoint.configuration), checkpoint.learner
    if arithmetic is not None:
        changes = {"preset": arithmetic} if isinstance(arithmetic, str) else dict(arithmetic)
        own = {} if "preset" in changes else saved.get("arithmetic") or {}
        given["arithmetic"] = {**own, **changes}
        if backend is None and saved.get("backend") not in INTEGER_BACKENDS:
            backend = given["backend"] = "integer"
    if backend in INTEGER_BACKENDS and saved.get("backend") not in INTEGER_BACKENDS:
        # What was learnt in floating point is used, and not gone on with.
        saved["optimizer"] = {**saved.get("optimizer", {}), "name": "sgd"}
        optimizer = OptimizerState(learner.optimizer.n_steps)
        learner = dataclasses.replace(learner, optimizer=optimizer)
    configuration = run_configuration({**saved, **given}, str(source))
    parameters = learner.parameters
    weights = (*parameters.weights, parameters.readout)
    if [W.shape[1] for W in weights[:-1]] != configuration.hidden:
        raise FileError(f"{source} has other layers than its own configuration")
    network = configuration.network(weights[0].shape[0], weights[-1].shape[1])
    kind = backend_class(configuration.backend)
    built = kind(
        network,
        parameters,
        np.dtype(configuration.dtype),
        configuration.solver,
        threads=configuration.threads,
        **configuration.backend_options(),
    )
    built.load(learner)
    return TrainedNetwork(
        configuration,
        built,
        checkpoint.position.epochs,
        checkpoint.position.steps,
        source,
        checkpoint.data,
    )


# The command.

TRACED_BY = "reference of the package disinhib, float64, at what a run has learnt"


def evaluate_run(
    path: Path,
    split: str,
    *,
    data_dir: Path | None = None,
    chosen: dict[str, Any] | None = None,
    confusion_file: Path | None = None,
    predictions_file: Path | None = None,
    json_file: Path | None = None,
    closed_loop: bool = False,
    trace_file: Path | None = None,
    samples: Sequence[int] | None = None,
) -> None:
    """Evaluate a run, print what was found, and write what was asked for."""
    files = (confusion_file, predictions_file, json_file, trace_file)
    if samples is not None and trace_file is None:
        raise ConfigurationError("--samples without --trace: they are those of the trace")
    refuse_twice(*files)
    for file in files:
        refuse_unwritable(file)
        refuse_files_of_run(path if path.is_dir() else path.parent, file)
    refuse_other_pictures(confusion_file)
    with working(console, f"evaluating {path}") as now:
        network = load(path, notify=tell_user, **(chosen or {}))
        network = dataclasses.replace(network, dataset=network.data(data_dir))
        found = network.evaluate(split, closed_loop=closed_loop)
        if trace_file is not None:
            now(f"recording a trace of {path}")
            trace = network.trace(split, TRACED if samples is None else samples)
            write_trace(trace_file, trace, TRACED_BY)
    configuration = network.configuration
    after = f"{network.epochs} epochs" + (f" and {network.steps} steps" if network.steps else "")
    say(
        console,
        f"{found.dataset} {found.split}{', under control' if closed_loop else ''}: "
        f"{found.accuracy:.2%} of {found.labels.size:,} right, "
        f"loss {found.loss:.4f} ({configuration.rule}, after {after}; {configuration.backend} "
        f"{configuration.dtype})",
    )
    steps = steps_in_words(found.open_loop_steps, found.closed_loop_steps)
    if steps:
        say(console, f"  {steps}")
    for n, what in (
        (found.unsettled, "samples did not come to rest"),
        (int(np.sum(found.predictions < 0)), "samples have outputs that are no numbers"),
    ):
        if n:
            say(console, f"  {n:,} {what}", "yellow")
    console.print(by_class(found))
    write_output(confusion_file, draw_confusion, found)
    write_output(predictions_file, write_predictions, found)
    about = {"source": str(network.source), "epochs": network.epochs, "steps": network.steps}
    text = json.dumps({**about, **found.as_dict()}, indent=1, allow_nan=False) + "\n"
    write_output(json_file, write_text, text)


def by_class(found: SplitEvaluation) -> Table:
    """Count the samples of each class, those that are right, and what others are taken for."""
    headings = ("class", "samples", "right", "most often taken for")
    table = Table(*(Column(heading, justify="right", overflow="fold") for heading in headings))
    samples = np.bincount(found.labels, minlength=len(found.class_names))
    for label, row in enumerate(found.confusion):
        if not samples[label]:
            continue
        others = np.where(np.arange(row.size) == label, -1, row)
        other = int(np.argmax(others))
        names = [visible(found.class_names[one]) for one in (label, other)]
        taken = f"{names[1]} ({others[other]:,})" if others[other] > 0 else ""
        right = row[label] / samples[label]
        table.add_row(names[0], f"{samples[label]:,}", f"{right:.1%}", taken)
    return table


def write_predictions(path: str | os.PathLike[str], found: SplitEvaluation) -> None:
    """Write a row a sample: its place in the split from 0, class, prediction and loss.

    Classes are called as the data call them; a prediction that there is none of stays empty.
    """
    names = [*found.class_names, ""]
    columns = zip(found.labels.tolist(), found.predictions.tolist(), found.losses, strict=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("sample", "label", "prediction", "loss"))
    for sample, (label, prediction, loss) in enumerate(columns):
        writer.writerow((sample, names[label], names[prediction], f"{loss:.6g}"))
    write_text(path, text.getvalue())


def draw_confusion(path: str | os.PathLike[str], found: SplitEvaluation) -> None:
    """Draw the counts into a file; see `confusion_picture`."""
    confusion_picture(found).savefig(path, dpi=200)


def confusion_picture(found: SplitEvaluation) -> Figure:
    """Draw the counts, each row coloured by its own fractions."""
    # Imported here: slow to load, and most commands draw nothing.
    from .paper.figures.style import new_figure

    counts, n = found.confusion, len(found.class_names)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(max(3.2, 0.42 * n + 1.2), LARGEST)
    figure = new_figure(size, size)
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if n <= MOST_WRITTEN:
        for row, column in np.argwhere(counts):
            colour = "w" if fractions[row, column] > 0.5 else "k"
            axes.text(column, row, str(counts[row, column]), color=colour, ha="center", va="center")
        names = [in_a_picture(name) for name in found.class_names]
        longest = max(map(len, names))
        axes.set_xticks(range(n), names, rotation=90 if longest > 3 else 0)
        axes.set_yticks(range(n), names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("class")
    name = in_a_picture(f"{found.dataset} {found.split}")
    axes.set_title(f"{name}, {found.accuracy:.2%} right")
    return figure


LARGEST = 14.0
"""Inches of a picture, however many classes there are."""
MOST_WRITTEN = 30
"""Classes of which every count is written into the picture."""
