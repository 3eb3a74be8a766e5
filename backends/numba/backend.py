"""The CPU backend: compiled kernels, each thread taking a share of the batch.

BLAS runs in one thread inside each of the backend's own: two pools of threads on the same
cores would wait for each other. Results are the same, bit for bit, from run to run at a
given number of threads; across numbers of threads they differ by rounding, since a
product of other shape may be summed in another order.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
import scipy.linalg  # noqa: F401  (loads the BLAS that compiled products use, to be limited)
from threadpoolctl import ThreadpoolController

from ...refimpl import (
    ConfigurationError,
    EndStateCounts,
    FeedbackWeights,
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
    Recording,
    Solver,
    new_learner,
)
from ..backend import BackendDescription, Evaluation, TrainingMetrics
from ..front import checked_backend, step_by_training
from .network import CompiledNetwork, Counts, total
from .threads import ThreadTeam, default_threads
from .warm_up import compile_training, compile_trajectories

T = TypeVar("T")


@dataclass(frozen=True)
class _Data:
    x: np.ndarray
    y: np.ndarray
    full_scale: float


@checked_backend
class NumbaBackend:
    """Compiled for the CPU, in float32 and float64.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    parameters : Parameters
        Start; leading axes are replicas, which are worked on in turn.
    dtype : numpy.dtype
        float32 or float64.
    solver : Solver
        How end states are found.
    threads : int, optional
        Threads that share a batch; else DISINHIB_THREADS, else all processors.
    """

    name = "numba"
    learning_step = step_by_training

    def __init__(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
    ) -> None:
        self.configuration, self.dtype, self.solver = configuration, np.dtype(dtype), solver
        self.threads = default_threads() if threads is None else threads
        self._team = ThreadTeam(self.threads)
        self._blas = ThreadpoolController()
        compile_training(configuration.rule, solver.method, self.dtype)
        self.load(new_learner(configuration, parameters))

    @staticmethod
    def describe() -> BackendDescription:
        """Say which Numba this is, and how many threads it would use."""
        try:
            device = f"CPU ({platform.machine()}), {default_threads()} threads"
        except ConfigurationError as problem:
            return BackendDescription("numba", numba.__version__, "", str(problem))
        return BackendDescription("numba", numba.__version__, device)

    @staticmethod
    def compile_ahead(rule: str, method: str, dtype: np.dtype | type) -> None:
        """Have compiled all that training, evaluating and traces need."""
        compile_training(rule, method, np.dtype(dtype))
        compile_trajectories(np.dtype(dtype))

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        self._leading = learner.parameters.readout.shape[:-2]
        self._networks = [
            CompiledNetwork(
                replica_configuration(self.configuration, replica, self._leading),
                self.solver,
                _pick_learner(learner, replica),
                self.dtype,
                self._team,
                self.threads,
            )
            for replica in np.ndindex(self._leading)
        ]

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        learners = [network.learner() for network in self._networks]
        first = learners[0].optimizer
        moments = {
            name: None
            if getattr(first, name) is None
            else self._join([getattr(one.optimizer, name) for one in learners])
            for name in ("first_moment", "second_moment")
        }
        return Learner(
            self._join([one.parameters for one in learners]),
            OptimizerState(first.n_steps, **moments),
            self._join([one.mean_inhibition for one in learners]),
        )

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state (sections 2 and 6)."""
        return self._counted(lambda network, pick: network.open_loop(pick(x, 2)))

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in (section 5)."""
        return self._every(
            lambda network, pick: network.mean_inhibition(_pick_state(open_loop, pick))
        )

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied (section 4)."""
        return self._every(
            lambda network, pick: network.feedback_weights(_pick_state(open_loop, pick))
        )

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller (section 3)."""
        return self._every(
            lambda network, pick: network.closed_loop_target(
                _pick_state(open_loop, pick), pick(y, 2)
            )
        )

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state (sections 2 and 6)."""
        return self._counted(
            lambda network, pick: network.closed_loop(
                pick(x, 2),
                tuple(pick(Q_l, 3) for Q_l in Q),
                pick(target, 2),
                _pick_state(open_loop, pick),
            )
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
        return self._every(
            lambda network, pick: network.gradients(
                pick(x, 2),
                pick(y, 2),
                _pick_state(open_loop, pick),
                _pick_state(closed_loop, pick),
                tuple(pick(r, 1) for r in mean_inhibition),
            )
        )

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""
        with self._one_blas_thread():
            for network, replica in zip(self._networks, np.ndindex(self._leading), strict=True):
                network.update(
                    _pick_parameters(gradients, replica),
                    tuple(_pick(r, replica, 1) for r in mean_inhibition),
                )

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest (section 2)."""
        compile_trajectories(self.dtype)
        return self._path(
            lambda network, pick: network.trajectory(recording, pick(x, 2), None, None, None)
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
        compile_trajectories(self.dtype)
        return self._path(
            lambda network, pick: network.trajectory(
                recording,
                pick(x, 2),
                tuple(pick(Q_l, 3) for Q_l in Q),
                pick(target, 2),
                _pick_state(start, pick),
            )
        )

    def place(self, x: np.ndarray, y: np.ndarray, full_scale: float | None = None) -> _Data:
        """Keep them as they are."""
        return _Data(x, y, full_scale or 1.0)

    def train(self, data: _Data, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches."""
        figures = np.empty((len(batch_order), *self._leading, 3))
        counts: list[Counts] = []
        with self._one_blas_thread():
            for replica, network in zip(np.ndindex(self._leading), self._networks, strict=True):
                x, y = _pick(data.x, replica, 2), _pick(data.y, replica, 2)
                for step, batch in enumerate(batch_order):
                    order = np.ascontiguousarray(_pick(batch, replica, 1))
                    counts += network.step(x, y, order, data.full_scale, figures[(step, *replica)])
        loss, closed_loop_loss, n_correct = np.moveaxis(figures, -1, 0).copy()
        return TrainingMetrics(loss, closed_loop_loss, n_correct.astype(np.int64), *total(counts))

    def stage_seconds(self, data: _Data, order: np.ndarray) -> dict[str, float]:
        """Learn from one batch, and time each stage; of replicas, all together."""
        seconds: dict[str, float] = {}
        with self._one_blas_thread():
            for replica, network in zip(np.ndindex(self._leading), self._networks, strict=True):
                x, y = _pick(data.x, replica, 2), _pick(data.y, replica, 2)
                times = network.timed_step(x, y, order, data.full_scale)
                seconds = {name: seconds.get(name, 0.0) + t for name, t in times.items()}
        return seconds

    def evaluate(self, data: _Data, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""
        n_samples = data.y.shape[-2]
        loss, correct = np.zeros(self._leading), np.zeros(self._leading)
        counts = EndStateCounts()
        with self._one_blas_thread():
            for replica, network in zip(np.ndindex(self._leading), self._networks, strict=True):
                x, y = _pick(data.x, replica, 2), _pick(data.y, replica, 2)
                for first in range(0, n_samples, batch_size):
                    order = np.arange(first, min(first + batch_size, n_samples))
                    added, right, how = network.evaluate(x, y, order, data.full_scale)
                    loss[replica] += added
                    correct[replica] += right
                    counts = counts + how
        return Evaluation(np.asarray(loss / n_samples), np.asarray(correct / n_samples), counts)

    @contextmanager
    def _one_blas_thread(self) -> Iterator[None]:
        with self._blas.limit(limits=1, user_api="blas"):
            yield

    def _every(self, work: Callable[[CompiledNetwork, Any], Any]) -> Any:
        """Run a stage on every replica and stack what it gives."""
        return self._join(self._run(work))

    def _counted(self, work: Callable[[CompiledNetwork, Any], Any]) -> Any:
        results = self._run(work)
        counts = sum((result[1] for result in results), EndStateCounts())
        return self._join([result[0] for result in results]), counts

    def _path(self, work: Callable[[CompiledNetwork, Any], Any]) -> NetworkState:
        """Join trajectories, whose time axis stays in front."""
        path: NetworkState = self._every(work)
        axes = len(self._leading)
        return NetworkState(
            tuple(np.moveaxis(u, axes, 0) for u in path.u_E),
            tuple(np.moveaxis(u, axes, 0) for u in path.u_I),
            np.moveaxis(path.u_out, axes, 0),
            np.moveaxis(path.z, axes, 0),
        )

    def _run(self, work: Callable[[CompiledNetwork, Any], T]) -> list[T]:
        def picker(replica: tuple[int, ...]) -> Callable[[np.ndarray, int], np.ndarray]:
            return lambda array, axes: _pick(array, replica, axes)

        with self._one_blas_thread():
            return [
                work(network, picker(replica))
                for network, replica in zip(self._networks, np.ndindex(self._leading), strict=True)
            ]

    def _join(self, parts: list[Any]) -> Any:
        """Stack arrays, or what is made of them, along the replicas' axes."""
        first = parts[0]
        if isinstance(first, np.ndarray):
            return np.stack(parts).reshape(*self._leading, *first.shape)
        if isinstance(first, tuple):
            return tuple(self._join(list(items)) for items in zip(*parts, strict=True))
        return type(first)(
            **{
                item.name: self._join([getattr(part, item.name) for part in parts])
                for item in dataclasses.fields(first)
            }
        )


def replica_configuration(
    configuration: NetworkConfiguration, replica: tuple[int, ...], leading: tuple[int, ...]
) -> NetworkConfiguration:
    """Take one replica's plain settings out of settings that differ between replicas."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(configuration):
        value = getattr(configuration, item.name)
        if isinstance(value, np.ndarray):
            whole = np.broadcast_to(value, (*leading, 1, 1))
            changes[item.name] = float(whole[replica][0, 0])
        elif dataclasses.is_dataclass(value):
            changes[item.name] = replica_configuration(value, replica, leading)  # type: ignore[arg-type]
    return dataclasses.replace(configuration, **changes) if changes else configuration


def _pick(array: np.ndarray, replica: tuple[int, ...], axes: int) -> np.ndarray:
    """One replica of an array whose last `axes` axes are its own; shared arrays are everyone's."""
    return array if array.ndim == axes else array[replica]


def _pick_state(state: NetworkState, pick: Callable[[np.ndarray, int], np.ndarray]) -> NetworkState:
    return NetworkState(
        tuple(pick(u, 2) for u in state.u_E),
        tuple(pick(u, 2) for u in state.u_I),
        pick(state.u_out, 2),
        pick(state.z, 2),
    )


def _pick_parameters(parameters: Parameters, replica: tuple[int, ...]) -> Parameters:
    return Parameters(
        tuple(_pick(W, replica, 2) for W in parameters.weights),
        tuple(_pick(b, replica, 1) for b in parameters.biases),
        _pick(parameters.readout, replica, 2),
    )


def _pick_learner(learner: Learner, replica: tuple[int, ...]) -> Learner:
    optimizer = learner.optimizer
    first, second = optimizer.first_moment, optimizer.second_moment
    return Learner(
        _pick_parameters(learner.parameters, replica),
        OptimizerState(
            optimizer.n_steps,
            None if first is None else _pick_parameters(first, replica),
            None if second is None else _pick_parameters(second, replica),
        ),
        tuple(_pick(r, replica, 1) for r in learner.mean_inhibition),
    )
