"""The GPU backend: CUDA kernels and cuBLAS through CuPy, replicas side by side.

Results are the same, bit for bit, from run to run on one device and with one version of
CUDA; against other backends they differ by rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ...refimpl import (
    EndStateCounts,
    FeedbackWeights,
    Learner,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Recording,
    Solver,
    new_learner,
)
from ..backend import BackendDescription, Evaluation, TrainingMetrics
from ..front import checked_backend, step_by_training
from .device import CupyDevice, Device, uses_tf32, why_unavailable
from .network import CudaNetwork, PlacedOnDevice


@checked_backend
class CupyBackend:
    """On a CUDA device, in float32 and float64.

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
        Of no effect.
    device : callable, optional
        From the dtype to the device to run on; else the current CUDA device.

    Raises
    ------
    BackendUnavailable
        There is no CUDA device, or not enough memory on it.
    """

    name = "cupy"
    learning_step = step_by_training

    def __init__(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
        device: Callable[[np.dtype], Device] = CupyDevice,
    ) -> None:
        self.configuration, self.dtype, self.solver = configuration, np.dtype(dtype), solver
        self._device = device(self.dtype)
        learner = new_learner(configuration, parameters)
        self._leading = learner.parameters.readout.shape[:-2]
        self._network = CudaNetwork(configuration, solver, learner, self._device)

    @staticmethod
    def describe() -> BackendDescription:
        """Say which CuPy and which device, or why there is none."""
        reason = why_unavailable()
        try:
            import cupy
        except ImportError:
            return BackendDescription("cupy", "", "", reason)
        if reason:
            return BackendDescription("cupy", cupy.__version__, "", reason)
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        device = properties["name"].decode() + (", TF32 products" if uses_tf32() else "")
        return BackendDescription("cupy", cupy.__version__, device)

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        return self._network.learner()

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        self._leading = learner.parameters.readout.shape[:-2]
        self._network.load(learner)

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state (sections 2 and 6)."""
        return self._network.open_loop(x)

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in (section 5)."""
        return self._network.mean_inhibition(open_loop)

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied (section 4)."""
        return self._network.feedback_weights(open_loop)

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller (section 3)."""
        return self._network.closed_loop_target(open_loop, y)

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state (sections 2 and 6)."""
        return self._network.closed_loop(x, Q, target, open_loop)

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter (section 5)."""
        return self._network.gradients(x, y, open_loop, closed_loop, mean_inhibition)

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""
        self._network.update(gradients, mean_inhibition)

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest (section 2)."""
        return self._network.trajectory(recording, x, None, None, None)

    def closed_loop_trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights,
        target: np.ndarray,
        start: NetworkState,
    ) -> NetworkState:
        """Path under control (section 2)."""
        return self._network.trajectory(recording, x, Q, target, start)

    def place(
        self, x: np.ndarray, y: np.ndarray, full_scale: float | None = None
    ) -> PlacedOnDevice:
        """Upload inputs, bytes as they are, and labels."""
        return PlacedOnDevice(
            x=self._device.put(np.ravel(x)),
            y=self._device.put(np.ravel(y)),
            n_samples=y.shape[-2],
            x_is_bytes=x.dtype == np.uint8,
            x_is_shared=x.ndim == 2,
            y_is_shared=y.ndim == 2,
            full_scale=full_scale or 1.0,
        )

    def train(self, data: PlacedOnDevice, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches: a recorded step a batch, results read at the end."""
        figures, open_counts, closed_counts = self._network.train(data, batch_order)
        figures = figures.reshape(len(batch_order), *self._leading, 3)
        return TrainingMetrics(
            figures[..., 0].copy(),
            figures[..., 1].copy(),
            figures[..., 2].astype(np.int64),
            open_counts,
            closed_counts,
        )

    def evaluate(self, data: PlacedOnDevice, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""
        loss, right, counts = self._network.evaluate(data, batch_size)
        return Evaluation(
            (loss / data.n_samples).reshape(self._leading),
            (right / data.n_samples).reshape(self._leading),
            counts,
        )

    def stage_seconds(self, data: PlacedOnDevice, order: np.ndarray) -> dict[str, float]:
        """Learn from one batch, and time each stage, a wait for the device included."""
        seconds = {}
        for name, work in self._network.stages(data, order).items():
            self._device.synchronize()
            began = time.perf_counter()
            work()
            self._device.synchronize()
            seconds[name] = time.perf_counter() - began
        return seconds
