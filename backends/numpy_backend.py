"""The reference as a backend: every call goes straight to the model's own functions."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass

import numpy as np
from threadpoolctl import ThreadpoolController

from ..refimpl.backprop import backprop_gradients, forward
from ..refimpl.configuration import NetworkConfiguration, Solver, settings_as
from ..refimpl.dynamics import FeedbackWeights
from ..refimpl.end_state import (
    EndStateCounts,
    check_method,
    closed_loop_end_state,
    open_loop_end_state,
)
from ..refimpl.evaluation import count_correct, open_loop_output
from ..refimpl.feedback import feedback_weights
from ..refimpl.learning_step import Learner, StepMetrics, learning_step, new_learner
from ..refimpl.loss import closed_loop_target, sample_loss
from ..refimpl.optimizer import OptimizerState, optimizer_step
from ..refimpl.parameters import Parameters, check_shapes
from ..refimpl.plasticity import plasticity_gradients, updated_mean_inhibition
from ..refimpl.state import NetworkState
from ..refimpl.trajectory import Recording, closed_loop_trajectory, open_loop_trajectory
from .backend import BackendDescription
from .epoch_metrics import Evaluation, TrainingMetrics
from .numba_threads import checked_threads
from .precision import checked_dtype


@dataclass(frozen=True)
class _Data:
    x: np.ndarray
    y: np.ndarray
    full_scale: float | None


class NumpyBackend:
    """The reference, in float64 as the specification or in float32 as a plain first port.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    parameters : Parameters
        Start; leading axes are replicas.
    dtype : numpy.dtype
        float32 or float64.
    solver : Solver
        How end states are found.
    threads : int, optional
        Threads of NumPy's matrix products, for the whole process.

    Raises
    ------
    ConfigurationError
        Parameters that do not fit the sizes; method 'fixed-point' with leak 0; another dtype, or
        a setting that it cannot hold; an impossible number of threads.
    """

    name = "numpy"

    def __init__(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
    ) -> None:
        self.dtype = checked_dtype(dtype)
        check_shapes(parameters, configuration.sizes)
        check_method(configuration, solver)
        self.configuration = settings_as(configuration, self.dtype)
        self.solver = settings_as(solver, self.dtype)
        if threads is not None:
            # NumPy has one pool for the whole process, which its products alone use.
            ThreadpoolController().limit(limits=checked_threads(threads), user_api="blas")
        self._learner = new_learner(self.configuration, parameters.astype(self.dtype))

    @staticmethod
    def describe() -> BackendDescription:
        """Say which NumPy this is; it runs everywhere."""
        return BackendDescription("numpy", np.__version__, f"CPU ({platform.machine()})")

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        return _cast_learner(self._learner, self.dtype)

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        check_shapes(learner.parameters, self.configuration.sizes)
        self._learner = _cast_learner(learner, self.dtype)

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state (sections 2 and 6)."""
        return open_loop_end_state(
            self.configuration, self.solver, self._learner.parameters, self._cast(x)
        )

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in (section 5)."""
        r_bar = self._learner.mean_inhibition
        if self.configuration.rule == "linear-threshold":
            r_bar = updated_mean_inhibition(
                self.configuration, r_bar, _cast_state(open_loop, self.dtype)
            )
        return tuple(r.copy() for r in r_bar)

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied (section 4)."""
        return feedback_weights(
            self.configuration, self._learner.parameters, _cast_state(open_loop, self.dtype)
        )

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller (section 3)."""
        configuration = self.configuration
        return closed_loop_target(
            configuration.loss, configuration.feedback, self._cast(open_loop.u_out), self._cast(y)
        ).copy()

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state (sections 2 and 6)."""
        return closed_loop_end_state(
            self.configuration,
            self.solver,
            self._learner.parameters,
            self._cast(x),
            tuple(self._cast(Q_l) for Q_l in Q),
            self._cast(target),
            _cast_state(open_loop, self.dtype),
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
        parameters, x, y = self._learner.parameters, self._cast(x), self._cast(y)
        if self.configuration.rule == "backprop":
            a, u_out = forward(self.configuration, parameters, x)
            return backprop_gradients(self.configuration, parameters, x, y, a, u_out)
        return plasticity_gradients(
            self.configuration,
            parameters,
            x,
            y,
            _cast_state(open_loop, self.dtype),
            _cast_state(closed_loop, self.dtype),
            tuple(self._cast(r) for r in mean_inhibition),
        )

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""
        parameters, optimizer = optimizer_step(
            self.configuration.optimizer,
            self._learner.parameters,
            gradients.astype(self.dtype),
            self._learner.optimizer,
        )
        r_bar = tuple(self._cast(r) for r in mean_inhibition)
        self._learner = Learner(parameters, optimizer, r_bar)

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest (section 2)."""
        return open_loop_trajectory(
            self.configuration, recording, self._learner.parameters, self._cast(x)
        )

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
            self.configuration,
            recording,
            self._learner.parameters,
            self._cast(x),
            tuple(self._cast(Q_l) for Q_l in Q),
            self._cast(target),
            _cast_state(start, self.dtype),
        )

    def learning_step(self, x: np.ndarray, y: np.ndarray) -> StepMetrics:
        """All stages in one go."""
        self._learner, metrics = learning_step(
            self.configuration, self.solver, self._learner, self._cast(x), self._cast(y)
        )
        return metrics

    def place(self, x: np.ndarray, y: np.ndarray, full_scale: float | None = None) -> _Data:
        """Keep whole-number inputs as they are, and cast the rest."""
        if x.dtype.kind in "iu":
            if full_scale is None:
                raise ValueError(f"inputs of dtype {x.dtype} need full_scale, the value that is 1")
            return _Data(x, self._cast(y), full_scale)
        return _Data(self._cast(x), self._cast(y), None)

    def train(self, data: _Data, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches."""
        steps = [
            self.learning_step(self._inputs(data, order), _take(data.y, order))
            for order in batch_order
        ]
        return TrainingMetrics(
            loss=np.array([step.loss for step in steps], dtype=np.float64),
            closed_loop_loss=np.array([step.closed_loop_loss for step in steps], dtype=np.float64),
            n_correct=np.array([step.n_correct for step in steps], dtype=np.int64),
            open_loop_counts=sum((step.open_loop_counts for step in steps), EndStateCounts()),
            closed_loop_counts=sum((step.closed_loop_counts for step in steps), EndStateCounts()),
        )

    def evaluate(self, data: _Data, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""
        n_samples = data.y.shape[-2]
        loss, correct, counts = np.zeros(()), np.zeros((), dtype=np.int64), EndStateCounts()
        for first in range(0, n_samples, batch_size):
            order = np.arange(first, min(first + batch_size, n_samples))
            u_out, batch_counts = open_loop_output(
                self.configuration,
                self.solver,
                self._learner.parameters,
                self._inputs(data, order),
            )
            y = _take(data.y, order)
            losses = sample_loss(self.configuration.loss, u_out, y)
            loss = loss + np.sum(losses, axis=-1, dtype=np.float64)
            correct = correct + count_correct(u_out, y)
            counts = counts + batch_counts
        return Evaluation(np.asarray(loss / n_samples), np.asarray(correct / n_samples), counts)

    def _cast(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, dtype=self.dtype)

    def _inputs(self, data: _Data, order: np.ndarray) -> np.ndarray:
        x = self._cast(_take(data.x, order))
        return x if data.full_scale is None else x / data.full_scale


def _take(array: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Pick samples: for all replicas alike, or with an order of its own for each."""
    if array.ndim == 2:
        return array[order]
    return np.take_along_axis(
        array, np.broadcast_to(order, (*array.shape[:-2], order.shape[-1]))[..., None], axis=-2
    )


def _cast_state(state: NetworkState, dtype: np.dtype) -> NetworkState:
    return NetworkState(
        tuple(np.asarray(u, dtype=dtype) for u in state.u_E),
        tuple(np.asarray(u, dtype=dtype) for u in state.u_I),
        np.asarray(state.u_out, dtype=dtype),
        np.asarray(state.z, dtype=dtype),
    )


def _cast_learner(learner: Learner, dtype: np.dtype) -> Learner:
    optimizer = learner.optimizer
    return Learner(
        parameters=learner.parameters.astype(dtype),
        optimizer=dataclasses.replace(
            optimizer,
            first_moment=_cast_moment(optimizer, "first_moment", dtype),
            second_moment=_cast_moment(optimizer, "second_moment", dtype),
        ),
        mean_inhibition=tuple(r.astype(dtype) for r in learner.mean_inhibition),
    )


def _cast_moment(optimizer: OptimizerState, name: str, dtype: np.dtype) -> Parameters | None:
    moment: Parameters | None = getattr(optimizer, name)
    return None if moment is None else moment.astype(dtype)
