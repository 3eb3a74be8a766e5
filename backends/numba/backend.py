"""The CPU backend: compiled kernels, each thread taking a share of the batch.

BLAS runs in one thread inside each of the backend's own: two pools of threads on the same
cores would wait for each other. Results are the same, bit for bit, from run to run at a
given number of threads; across numbers of threads they differ by rounding, since a
product of other shape may be summed in another order. Replicas are networks of their own,
worked on in turn.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
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
    map_arrays,
    new_learner,
)
from ..backend import (
    BackendDescription,
    Counts,
    Evaluation,
    HostData,
    TrainingMetrics,
    evaluate_in_batches,
    keep_on_host,
    metrics_of,
    step_by_training,
    total,
)
from ..front import checked_backend
from .network import CompiledNetwork
from .threads import ThreadTeam, default_threads
from .warm_up import compile_training, compile_trajectories, is_compiled

T = TypeVar("T")

OWN_AXES = {
    "x": 2, "y": 2, "target": 2, "Q": 3, "open_loop": 2, "closed_loop": 2, "start": 2, "orders": 2,
}  # fmt: skip
"""Axes of the arrays of an argument that replicas may share, without those of replicas."""


@checked_backend
class NumbaBackend:
    """Compiled for the CPU, in float32 and float64; replicas are worked on in turn.

    Constructed as `Backend` says; `threads` share a batch, as many as DISINHIB_THREADS says, or as
    there are processors, if not told.
    """

    name = "numba"
    place = keep_on_host
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
        """Say which Numba this is; it runs everywhere, but for a number of threads that is none."""
        try:
            default_threads()
        except ConfigurationError as problem:
            return BackendDescription("numba", numba.__version__, "", str(problem))
        return BackendDescription("numba", numba.__version__, f"CPU ({platform.machine()})")

    @staticmethod
    def compile_ahead(rule: str, method: str, dtype: np.dtype | type) -> None:
        """Have compiled all that training, evaluating and traces need."""
        compile_training(rule, method, np.dtype(dtype))
        compile_trajectories(np.dtype(dtype))

    @staticmethod
    def is_compiled(rule: str, method: str, dtype: np.dtype | type) -> bool:
        """Whether training needs nothing compiled that is not on the disk or in this process."""
        return is_compiled(rule, method, np.dtype(dtype))

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        self._leading = learner.parameters.readout.shape[:-2]
        self._networks = [
            CompiledNetwork(
                replica_configuration(self.configuration, replica, self._leading),
                self.solver,
                _learner_of(learner, replica),
                self.dtype,
                self._team,
                self.threads,
            )
            for replica in np.ndindex(self._leading)
        ]

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        learners = [network.learner() for network in self._networks]
        optimizers = [one.optimizer for one in learners]
        moments = [
            self._joined([getattr(optimizer, name) for optimizer in optimizers])
            for name in ("first_moment", "second_moment")
            if optimizers[0].first_moment is not None
        ]
        return Learner(
            self._joined([one.parameters for one in learners]),
            OptimizerState(optimizers[0].n_steps, *moments),
            self._joined([one.mean_inhibition for one in learners]),
        )

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state (sections 2 and 6)."""
        return self._counted(self._each(CompiledNetwork.open_loop, x=x))

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in (section 5)."""
        return self._joined(self._each(CompiledNetwork.mean_inhibition, open_loop=open_loop))

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied (section 4)."""
        return self._joined(self._each(CompiledNetwork.feedback_weights, open_loop=open_loop))

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller (section 3)."""
        work = CompiledNetwork.closed_loop_target
        return self._joined(self._each(work, open_loop=open_loop, y=y))

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state (sections 2 and 6)."""
        work = CompiledNetwork.closed_loop
        return self._counted(self._each(work, x=x, Q=Q, target=target, open_loop=open_loop))

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter (section 5)."""
        found = self._each(
            CompiledNetwork.gradients,
            x=x,
            y=y,
            open_loop=open_loop,
            closed_loop=closed_loop,
            mean_inhibition=mean_inhibition,
        )
        return self._joined(found)

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""
        self._each(CompiledNetwork.update, gradients=gradients, mean_inhibition=mean_inhibition)

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest (section 2)."""
        return self._path(recording, x=x)

    def closed_loop_trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights,
        target: np.ndarray,
        start: NetworkState,
    ) -> NetworkState:
        """Path under control (section 2)."""
        return self._path(recording, x=x, Q=Q, target=target, start=start)

    def train(self, data: HostData, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches."""
        # Replicas in front, as everywhere else.
        orders = batch_order if batch_order.ndim == 2 else np.moveaxis(batch_order, 0, -2)
        figures = np.empty((*self._leading, len(batch_order), 4))

        def learn(
            network: CompiledNetwork,
            x: np.ndarray,
            y: np.ndarray,
            orders: np.ndarray,
            figures: np.ndarray,
        ) -> Counts:
            counts: list[Counts] = []
            for order, figure in zip(orders, figures, strict=True):
                order = np.ascontiguousarray(order)
                counts += network.step(x, y, order, data.full_scale, figure)
            return total(counts)

        counts = self._each(learn, x=data.x, y=data.y, orders=orders, figures=figures)
        return metrics_of(np.moveaxis(figures, -2, 0), total(counts), counts)

    def stage_seconds(self, data: HostData, order: np.ndarray) -> dict[str, float]:
        """Learn from one batch, and time each stage; of replicas, all together."""

        def learn(network: CompiledNetwork, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
            return network.timed_step(x, y, order, data.full_scale)

        times = self._each(learn, x=data.x, y=data.y)
        return {name: sum(seconds[name] for seconds in times) for name in times[0]}

    def evaluate(self, data: HostData, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""

        def sums(order: np.ndarray) -> tuple[np.ndarray, np.ndarray, Sequence[EndStateCounts]]:
            def evaluate(network: CompiledNetwork, x: np.ndarray, y: np.ndarray) -> Any:
                return network.evaluate(x, y, order, data.full_scale)

            loss, right, counts = zip(*self._each(evaluate, x=data.x, y=data.y), strict=True)
            return np.reshape(loss, self._leading), np.reshape(right, self._leading), counts

        return evaluate_in_batches(data.y.shape[-2], batch_size, sums, True)

    def _each(self, work: Callable[..., T], **arguments: Any) -> list[T]:
        """Do work on every replica's network and its part of the arguments."""
        with self._blas.limit(limits=1, user_api="blas"):
            return [
                work(
                    network,
                    **{
                        name: _of(replica, value, OWN_AXES.get(name, 0))
                        for name, value in arguments.items()
                    },
                )
                for network, replica in zip(self._networks, np.ndindex(self._leading), strict=True)
            ]

    def _joined(self, parts: list[Any]) -> Any:
        """Stack arrays, or what is made of them, along the replicas' axes."""

        def stack(*arrays: np.ndarray) -> np.ndarray:
            return np.stack(arrays).reshape(*self._leading, *arrays[0].shape)

        return map_arrays(stack, *parts)

    def _counted(self, results: list[tuple[NetworkState, EndStateCounts]]) -> Any:
        states, counts = zip(*results, strict=True)
        return self._joined(list(states)), sum(counts, EndStateCounts())

    def _path(self, recording: Recording, **arguments: Any) -> NetworkState:
        """Join trajectories, whose time axis stays in front."""
        compile_trajectories(self.dtype)

        def follow(network: CompiledNetwork, **own: Any) -> NetworkState:
            return network.trajectory(recording, **own)

        def time_in_front(array: np.ndarray) -> np.ndarray:
            return np.moveaxis(array, len(self._leading), 0)

        return map_arrays(time_in_front, self._joined(self._each(follow, **arguments)))


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


def _of(replica: tuple[int, ...], value: Any, axes: int) -> Any:
    """One replica of arrays whose last `axes` axes are its own; shared arrays are everyone's."""
    if not replica:
        return value

    def pick(array: np.ndarray) -> np.ndarray:
        return array if array.ndim == axes else array[replica]

    return map_arrays(pick, value)


def _learner_of(learner: Learner, replica: tuple[int, ...]) -> Learner:
    optimizer = learner.optimizer
    moments = [
        moment if moment is None else _of(replica, moment, 0)
        for moment in (optimizer.first_moment, optimizer.second_moment)
    ]
    return Learner(
        _of(replica, learner.parameters, 0),
        OptimizerState(optimizer.n_steps, *moments),
        _of(replica, learner.mean_inhibition, 0),
    )
