"""What a backend reports of many learning steps, and of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..refimpl.end_state import EndStateCounts


@dataclass(frozen=True)
class TrainingMetrics:
    """Figures of consecutive learning steps, each taken before its update.

    One entry a step, so that an epoch reported in parts gives the very same means as one
    reported whole.

    Parameters
    ----------
    loss, closed_loop_loss : array of float64, (steps, ...)
        Mean loss over the batch in open loop and under control; the latter is NaN for
        backprop, which has no control. Leading axes of replicas follow the steps.
    n_correct : array of int64, (steps, ...)
        Samples whose largest open-loop output is that of the label.
    open_loop_counts, closed_loop_counts : EndStateCounts
        How the end states were reached, over all steps and replicas.
    """

    loss: np.ndarray
    closed_loop_loss: np.ndarray
    n_correct: np.ndarray
    open_loop_counts: EndStateCounts
    closed_loop_counts: EndStateCounts


@dataclass(frozen=True)
class Evaluation:
    """Figures of a data set under fixed parameters, in open loop.

    Parameters
    ----------
    loss : array of float64, (...)
        Mean loss.
    accuracy : array of float64, (...)
        Fraction of samples whose largest output is that of the label.
    counts : EndStateCounts
        How the end states were reached.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    counts: EndStateCounts


def joined(parts: Sequence[TrainingMetrics]) -> TrainingMetrics:
    """Put consecutive parts of an epoch together.

    Parameters
    ----------
    parts : sequence of TrainingMetrics
        At least one, in the order they were trained.
    """
    return TrainingMetrics(
        loss=np.concatenate([part.loss for part in parts]),
        closed_loop_loss=np.concatenate([part.closed_loop_loss for part in parts]),
        n_correct=np.concatenate([part.n_correct for part in parts]),
        open_loop_counts=sum((part.open_loop_counts for part in parts), EndStateCounts()),
        closed_loop_counts=sum((part.closed_loop_counts for part in parts), EndStateCounts()),
    )
