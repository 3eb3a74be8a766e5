"""The reference as a backend: every call goes straight to the model's own functions."""

from __future__ import annotations

import copy
import dataclasses
import platform

import numpy as np
from threadpoolctl import ThreadpoolController

from ...refimpl import (
    EndStateCounts,
    FeedbackWeights,
    Learner,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Recording,
    Solver,
    StepMetrics,
    backprop_gradients,
    closed_loop_end_state,
    closed_loop_target,
    closed_loop_trajectory,
    count_correct,
    feedback_weights,
    forward,
    learning_step,
    new_learner,
    open_loop_end_state,
    open_loop_output,
    open_loop_trajectory,
    optimizer_step,
    plasticity_gradients,
    sample_loss,
    updated_mean_inhibition,
)
from ..backend import (
    BackendDescription,
    Evaluation,
    HostData,
    TrainingMetrics,
    evaluate_in_batches,
    keep_on_host,
    metrics_of,
    total,
)
from ..front import checked_backend


@checked_backend
class NumpyBackend:
    """The reference, in float64 as the specification or in float32 as a plain first port.

    Constructed as `Backend` says; `threads` limits NumPy's matrix products, for the whole process.
    """

    name = "numpy"
    place = keep_on_host

    def __init__(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
    ) -> None:
        self.configuration, self.dtype, self.solver = configuration, np.dtype(dtype), solver
        if threads is not None:
            # NumPy has one pool for the whole process, which its products alone use.
            ThreadpoolController().limit(limits=threads, user_api="blas")
        self._learner = new_learner(configuration, parameters)

    @staticmethod
    def describe() -> BackendDescription:
        """Say which NumPy this is; it runs everywhere."""
        return BackendDescription("numpy", np.__version__, f"CPU ({platform.machine()})")

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        return copy.deepcopy(self._learner)

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        self._learner = learner

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state (sections 2 and 6)."""
        return open_loop_end_state(self.configuration, self.solver, self._learner.parameters, x)

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in (section 5)."""
        r_bar = self._learner.mean_inhibition
        if self.configuration.rule == "linear-threshold":
            r_bar = updated_mean_inhibition(self.configuration, r_bar, open_loop)
        return tuple(r.copy() for r in r_bar)

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied (section 4)."""
        return feedback_weights(self.configuration, self._learner.parameters, open_loop)

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller (section 3)."""
        configuration = self.configuration
        return closed_loop_target(
            configuration.loss, configuration.feedback, open_loop.u_out, y
        ).copy()

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state (sections 2 and 6)."""
        return closed_loop_end_state(
            self.configuration, self.solver, self._learner.parameters, x, Q, target, open_loop
        )

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter (section 5)."""
        parameters = self._learner.parameters
        if self.configuration.rule == "backprop":
            a, u_out = forward(self.configuration, parameters, x)
            return backprop_gradients(self.configuration, parameters, x, y, a, u_out)
        return plasticity_gradients(
            self.configuration, parameters, x, y, open_loop, closed_loop, mean_inhibition
        )

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""
        parameters, optimizer = optimizer_step(
            self.configuration.optimizer,
            self._learner.parameters,
            gradients,
            self._learner.optimizer,
        )
        self._learner = Learner(parameters, optimizer, mean_inhibition)

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest (section 2)."""
        return open_loop_trajectory(self.configuration, recording, self._learner.parameters, x)

    def closed_loop_trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights,
        target: np.ndarray,
        start: NetworkState,
    ) -> NetworkState:
        """Path under control (section 2)."""
        return closed_loop_trajectory(
            self.configuration, recording, self._learner.parameters, x, Q, target, start
        )

    def learning_step(self, x: np.ndarray, y: np.ndarray) -> StepMetrics:
        """All stages in one go."""
        self._learner, metrics = learning_step(self.configuration, self.solver, self._learner, x, y)
        return dataclasses.replace(
            metrics,
            loss=np.asarray(metrics.loss, dtype=np.float64),
            closed_loop_loss=np.asarray(metrics.closed_loop_loss, dtype=np.float64),
        )

    def train(self, data: HostData, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches."""
        steps = [self.learning_step(*self._batch(data, order)) for order in batch_order]
        figures = [
            np.stack(
                (s.loss, s.closed_loop_loss, s.n_correct, _or_0(s.closed_loop_n_correct, s.loss)),
                axis=-1,
            )
            for s in steps
        ]
        counts = total((s.open_loop_counts, s.closed_loop_counts) for s in steps)
        return metrics_of(np.array(figures), counts)

    def evaluate(self, data: HostData, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""

        def sums(order: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[EndStateCounts]]:
            x, y = self._batch(data, order)
            parameters = self._learner.parameters
            u_out, counts = open_loop_output(self.configuration, self.solver, parameters, x)
            losses = sample_loss(self.configuration.loss, u_out, y)
            loss = np.asarray(np.sum(losses, axis=-1, dtype=np.float64))
            return loss, count_correct(u_out, y), [counts]

        return evaluate_in_batches(data.y.shape[-2], batch_size, sums, False)

    def _batch(self, data: HostData, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.asarray(_take(data.x, order), dtype=self.dtype) / data.full_scale
        return x, _take(data.y, order)


def _take(array: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Pick samples: for all replicas alike, or with an order of its own for each."""
    if array.ndim == 2:
        return array[order]
    return np.take_along_axis(
        array, np.broadcast_to(order, (*array.shape[:-2], order.shape[-1]))[..., None], axis=-2
    )


def _or_0(counts: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """Counts, or as many noughts where there are none."""
    return np.zeros_like(like) if counts is None else counts
