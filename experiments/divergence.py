"""Where a run stopped having numbers: the step, the layers, and what is left to go on from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..backends import Backend, Evaluation, PlacedData, TrainingMetrics
from ..refimpl.learning_step import Learner
from ..validation import FileError, read_checkpoint
from ..validation.durable_file import generations
from ..validation.finiteness import not_finite


class TrainingDiverged(RuntimeError):
    """The loss or the parameters are no longer numbers; the message is one line."""


def losses_are_finite(metrics: TrainingMetrics, rule: str) -> bool:
    """Whether every loss of some steps is a number; backprop has none in closed loop."""
    losses = [metrics.loss] if rule == "backprop" else [metrics.loss, metrics.closed_loop_loss]
    return all(bool(np.all(np.isfinite(loss))) for loss in losses)


def describe_divergence(
    backend: Backend, data: PlacedData, order: np.ndarray, before: Learner, epoch: int, steps: int
) -> str:
    """Find the step and the layers by taking the steps of a part again, one by one.

    Parameters
    ----------
    backend : Backend
        What diverged; its learner is lost.
    data : PlacedData
        What it learnt from.
    order : array of int64, (steps, batch)
        Batches of the part.
    before : Learner
        At the start of the part, all finite.
    epoch : int
        From 0.
    steps : int
        Of the epoch, before the part.

    Returns
    -------
    str
        One line, epochs and steps counted from 1.
    """
    rule = backend.configuration.rule
    backend.load(before)
    for number, batch in enumerate(order, start=steps + 1):
        metrics = backend.train(data, batch[None])
        layers = ", ".join(not_finite(backend.learner()))
        where = f"epoch {epoch + 1}, step {number}"
        if not losses_are_finite(metrics, rule):
            loop = "loss" if not np.all(np.isfinite(metrics.loss)) else "closed-loop loss"
            after = f"after it these are not: {layers}" if layers else "and so they are after it"
            return f"the {loop} is not finite in {where}: the parameters were before it, {after}"
        if layers:
            return (
                f"the update of {where} is not finite: {layers}; "
                f"the loss before it was {float(np.mean(metrics.loss)):.3g}"
            )
    # Only where a backend's sums depend on how many steps it is given at once.
    return (
        f"loss or parameters are not finite in epoch {epoch + 1}, within steps {steps + 1} to "
        f"{steps + len(order)}; taken one by one, they are"
    )


def refuse_divergence_in_evaluation(
    directory: str | os.PathLike[str], epoch: int, evaluations: dict[str, Evaluation]
) -> None:
    """Refuse a loss that is no number after an epoch whose training had one.

    Raises
    ------
    TrainingDiverged
        Naming the split and the epoch, from 1.
    """
    directory = Path(directory)
    for split, evaluation in evaluations.items():
        if not np.all(np.isfinite(evaluation.loss)):
            raise TrainingDiverged(
                f"the {split} loss is not finite after epoch {epoch}, though all parameters are: "
                f"the outputs are too large; {advice(directory)}"
            )


def advice(directory: str | os.PathLike[str]) -> str:
    """Say what may help, and from where a run can go on."""
    directory = Path(directory)
    for path in generations(directory / "checkpoint.h5", keep=2):
        try:
            position = read_checkpoint(path).position
        except FileError:
            continue
        return (
            f"try a lower learning rate; the last good checkpoint is {path}, "
            f"at {position.epochs} epochs and {position.steps} steps"
        )
    return "try a lower learning rate; there is no good checkpoint"
