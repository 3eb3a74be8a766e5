"""What a backend is, and what all backends share.

First the contract, `Backend`, and two things that a backend may also offer; then what it says of
itself and of many learning steps; then what implementations share: where data lie that stay on
the host, the batches of an evaluation, clocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..refimpl import (
    EndStateCounts,
    FeedbackWeights,
    Learner,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Recording,
    Solver,
    StepMetrics,
)

Counts = tuple[EndStateCounts, EndStateCounts]
"""How end states were reached, in open loop and under control."""
PlacedData = Any
"""Inputs and labels where a backend keeps them; only that backend looks inside."""


@runtime_checkable
class Backend(Protocol):
    """One network that learns, on one device, in one precision.

    Construct as ``Backend(configuration, parameters, dtype, solver, threads=None)``; parameters
    are NumPy arrays of any precision, leading axes are replicas. `threads` limits the
    processors of a CPU backend; None takes all.

    Contract
    --------
    - Every array that comes out is a NumPy array. States, feedback weights, targets,
      gradients, parameters and moments have the backend's dtype; losses and accuracies are
      float64, counts int64.
    - The learner (parameters, moments, running means) and placed data stay where the
      backend keeps them between calls.
    - The stages are pure: none but `update`, `learning_step` and `train` changes the learner.
    - `train` runs its loop over batches without returning to Python, or at a cost that
      does not show.
    - A backend never changes precision or the order of a sum unasked.

    What the front does
    -------------------
    `checked_backend` stands before every backend, by `@checked_backend` above its class or, at
    the latest, when it is taken by its name. What it refuses, a backend never sees; the author
    of one need check nothing again, and may rely on this of what its methods receive:

    - Arrays are NumPy arrays of real and finite numbers, of the backend's dtype, with the shapes
      below, all of one number of samples, at least 1. The replicas' axes, written "...", are
      there in full or, where all replicas share an array, not at all. Parameters, gradients,
      moments and running means always have them, and are copies that the backend may keep.
    - `configuration` has settings of the backend's dtype, which broadcast to the replicas, and
      admits the solver's method. `threads` is None or 1 to 1024.
    - A network without biases begins with biases of 0. Their gradients are to be 0; else nothing
      is special about it.
    - A network of the rule `backprop`, which has no inhibitory units and no control, is asked for
      gradients, updates, learning steps and evaluations alone; its states are not used.
    - `learner` has moments if the optimiser is Adam and none if it is plain.
    - `place` receives contiguous arrays: `x` uint8 or of the backend's dtype, and always a
      `full_scale`, 1 unless the inputs came as whole numbers, which do not exceed it in size.
    - `data` is what the backend's own `place` gave, of as many inputs, outputs and replicas.
      Orders are contiguous int64 within these data, none empty; `batch_size` is at least 1.
    - One call at a time: of several threads, the others wait. In a process that was forked
      while another thread was in a call, the front refuses all calls.
    - `copy` and `pickle` make a new backend by the constructor and `load`, unless the class says
      how itself.

    Raises
    ------
    ArgumentError
        An argument is refused by the front; the message names it, what came, and what would be
        right, such as ``y has 60 samples: x has 50``.
    ConfigurationError
        A setting or a count is; method 'fixed-point' with leak 0, a dtype that is no precision.
    BackendUnavailable
        The backend cannot run here.
    """

    name: str
    configuration: NetworkConfiguration
    solver: Solver
    dtype: np.dtype

    def __init__(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
    ) -> None: ...

    @staticmethod
    def describe() -> BackendDescription:
        """Name, version and device, and why it cannot run here if it cannot; never raises."""

    # State out and in.

    def learner(self) -> Learner:
        """Copy out all that learning changes."""

    def load(self, learner: Learner) -> None:
        """Go on from a learner that this or any other backend gave out."""

    # The stages of a learning step, in order.

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state; x is (..., batch, n_in)."""

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in, each (..., n_l); other rules leave it as it is."""

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied, each (..., batch or 1, n_out, n_l)."""

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller, (..., batch, n_out)."""

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state, reached from the open loop's."""

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter; for 'backprop', whose states are not used, the loss gradient."""

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""

    # Trajectories.

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest, arrays (time, ..., batch, n)."""

    def closed_loop_trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights,
        target: np.ndarray,
        start: NetworkState,
    ) -> NetworkState:
        """Path under control, arrays (time, ..., batch, n)."""

    # The work itself.

    def learning_step(self, x: np.ndarray, y: np.ndarray) -> StepMetrics:
        """All stages in one go."""

    def place(self, x: np.ndarray, y: np.ndarray, full_scale: float | None = None) -> PlacedData:
        """Bring data to where the backend works.

        Parameters
        ----------
        x : array, (..., samples, n_in)
            Inputs. Bytes stay bytes; whole numbers are divided by `full_scale` when used.
        y : array, (..., samples, n_out)
            Labels.
        full_scale : float, optional
            Value of a whole-number input that becomes 1; required for such inputs, refused for
            others.
        """

    def train(self, data: PlacedData, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches.

        Parameters
        ----------
        data : PlacedData
            From `place`.
        batch_order : array of int, (steps, batch) or (steps, ..., batch)
            Positions in the data; replicas may have orders of their own.
        """

    def evaluate(self, data: PlacedData, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""


@runtime_checkable
class TimesStages(Protocol):
    """What a backend also offers if its learning step is more than its stages in turn."""

    def stage_seconds(self, data: PlacedData, order: np.ndarray) -> dict[str, float]:
        """Learn from one batch as `train` does, and time each stage where it runs.

        Parameters
        ----------
        data : PlacedData
            From `place`.
        order : array of int, (batch,)
            Positions in the data.

        Returns
        -------
        dict of float
            Seconds by stage, in order.
        """


@runtime_checkable
class CompilesAhead(Protocol):
    """What the class of a backend also offers if its first use takes long."""

    @staticmethod
    def compile_ahead(rule: str, method: str, dtype: np.dtype | type) -> None:
        """Have compiled and kept all that learning, evaluating and traces need.

        Parameters
        ----------
        rule, method : str
            Learning rule, and way to the end states.
        dtype : numpy.dtype
            Precision.
        """


@runtime_checkable
class HasOwnArithmetic(Protocol):
    """What a backend also offers whose numbers are not those of a dtype: backprop's own forward.

    Without it, the plain network's outputs are those of its parameters in floating point.
    """

    def forward(self, x: np.ndarray) -> np.ndarray:
        """u_out of the plain network, (batch, n_out)."""


@runtime_checkable
class HasDevices(Protocol):
    """What the class of a backend also offers that works on devices of its own, such as GPUs."""

    @staticmethod
    def device_count() -> int:
        """How many this process may use."""


@dataclass(frozen=True)
class BackendDescription:
    """What a user needs to know of a backend before choosing it.

    Parameters
    ----------
    name : str
        By which it is asked for.
    version : str
        Of the library that does its arithmetic; empty if that is not there.
    device : str
        Where it runs, in words.
    unavailable : str
        Why it cannot run here, in one line; empty if it can.
    """

    name: str
    version: str
    device: str
    unavailable: str = ""


class BackendUnavailable(RuntimeError):
    """A backend that is unknown or cannot run here; the message is one line."""


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
        How the end states were reached, over all steps and replicas; `steps` of the integrations
        may be left uncounted.
    closed_loop_n_correct : array of int64, (steps, ...), or None
        Samples whose largest output under control is that of the label; None for backprop, and
        where nobody counted them.
    replica_counts : tuple of (EndStateCounts, EndStateCounts), or None
        Both counts of each replica, in the order of `numpy.ndindex`; None where they were not told
        apart, which a backend need not do.
    """

    loss: np.ndarray
    closed_loop_loss: np.ndarray
    n_correct: np.ndarray
    open_loop_counts: EndStateCounts
    closed_loop_counts: EndStateCounts
    closed_loop_n_correct: np.ndarray | None = None
    replica_counts: tuple[Counts, ...] | None = None


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
    replica_counts : tuple of EndStateCounts, or None
        Those of each replica, in the order of `numpy.ndindex`; None where they were not told apart.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    counts: EndStateCounts
    replica_counts: tuple[EndStateCounts, ...] | None = None


def joined(parts: Sequence[TrainingMetrics]) -> TrainingMetrics:
    """Put consecutive parts of an epoch together.

    Parameters
    ----------
    parts : sequence of TrainingMetrics
        At least one, in the order they were trained.
    """
    loss, closed_loop_loss, n_correct = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("loss", "closed_loop_loss", "n_correct")
    )
    counts = total((part.open_loop_counts, part.closed_loop_counts) for part in parts)
    under_control = [part.closed_loop_n_correct for part in parts]
    counted = [n for n in under_control if n is not None]
    whole = np.concatenate(counted) if len(counted) == len(parts) else None
    apart = [part.replica_counts for part in parts if part.replica_counts is not None]
    each = tuple(map(total, zip(*apart, strict=True))) if len(apart) == len(parts) else None
    return TrainingMetrics(loss, closed_loop_loss, n_correct, *counts, whole, each)


def metrics_of_replica(metrics: TrainingMetrics, replica: int) -> TrainingMetrics:
    """What a replica, of a single axis of them, would have been told alone.

    `metrics` tells its counts apart.
    """
    assert metrics.replica_counts is not None
    under_control = metrics.closed_loop_n_correct
    return TrainingMetrics(
        metrics.loss[:, replica],
        metrics.closed_loop_loss[:, replica],
        metrics.n_correct[:, replica],
        *metrics.replica_counts[replica],
        None if under_control is None else under_control[:, replica],
    )


def evaluation_of_replica(evaluation: Evaluation, replica: int) -> Evaluation:
    """The same of an evaluation."""
    assert evaluation.replica_counts is not None
    loss, accuracy = evaluation.loss[replica], evaluation.accuracy[replica]
    return Evaluation(loss, accuracy, evaluation.replica_counts[replica])


def total(parts: Iterable[Counts]) -> Counts:
    """Sum of the counts of parts of the work."""
    opened = closed = EndStateCounts()
    for part in parts:
        opened, closed = opened + part[0], closed + part[1]
    return opened, closed


@dataclass(frozen=True)
class HostData:
    """Inputs and labels in the host's memory, as the front brought them."""

    x: np.ndarray
    y: np.ndarray
    full_scale: float


def keep_on_host(
    self: Backend, x: np.ndarray, y: np.ndarray, full_scale: float | None = None
) -> HostData:
    """Keep them as they are."""
    return HostData(x, y, full_scale or 1.0)


def step_by_training(self: Backend, x: np.ndarray, y: np.ndarray) -> StepMetrics:
    """All stages in one go, as an epoch of one batch."""
    metrics = self.train(self.place(x, y), np.arange(np.shape(y)[-2])[None])
    return StepMetrics(
        metrics.loss[0],
        metrics.closed_loop_loss[0],
        metrics.n_correct[0],
        metrics.open_loop_counts,
        metrics.closed_loop_counts,
        None if metrics.closed_loop_n_correct is None else metrics.closed_loop_n_correct[0],
    )


def metrics_of(
    figures: np.ndarray, counts: Counts, replica_counts: Iterable[Counts] | None = None
) -> TrainingMetrics:
    """Of figures (steps, ..., 4), the counts of all replicas and of each.

    Figures are mean loss, mean closed-loop loss, samples that are right, and right under control.
    """
    loss, closed_loop_loss, n_correct, under_control = np.moveaxis(figures, -1, 0).copy()
    # Backprop has no control, and so no such loss.
    has_control = not np.all(np.isnan(closed_loop_loss))
    return TrainingMetrics(
        loss,
        closed_loop_loss,
        n_correct.astype(np.int64),
        *counts,
        under_control.astype(np.int64) if has_control else None,
        None if replica_counts is None else tuple(replica_counts),
    )


def evaluate_in_batches(
    n_samples: int,
    batch_size: int,
    evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, Sequence[EndStateCounts]]],
    tells_replicas_apart: bool,
) -> Evaluation:
    """Evaluate positions of one batch after the other.

    `evaluate` gives sums over its batch, and counts of each replica or of all together.
    """
    loss, right = np.zeros(()), np.zeros(())
    of_batches: list[Sequence[EndStateCounts]] = []
    for first in range(0, n_samples, batch_size):
        found = evaluate(np.arange(first, min(first + batch_size, n_samples)))
        loss, right = loss + found[0], right + found[1]
        of_batches.append(found[2])
    each = tuple(sum(counts, EndStateCounts()) for counts in zip(*of_batches, strict=True))
    return Evaluation(
        np.asarray(loss / n_samples),
        np.asarray(right / n_samples),
        sum(each, EndStateCounts()),
        each if tells_replicas_apart else None,
    )


def seconds_of(
    stages: Mapping[str, Callable[[], object]], wait: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Run stages in order and time each, from wait to wait."""
    seconds = {}
    for name, stage in stages.items():
        wait()
        began = time.perf_counter()
        stage()
        wait()
        seconds[name] = time.perf_counter() - began
    return seconds
