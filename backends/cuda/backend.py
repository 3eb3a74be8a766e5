"""The GPU backend: CUDA kernels and cuBLAS through CuPy, replicas side by side.

Results are the same, bit for bit, from run to run on one device and with one version of
CUDA; against other backends they differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
    rate,
)
from ..backend import (
    BackendDescription,
    Evaluation,
    TrainingMetrics,
    metrics_of,
    step_by_training,
    total,
)
from ..front import checked_backend
from .cublas import uses_tf32
from .device import CupyDevice, Device, installed_version, why_unavailable
from .network import CudaNetwork, PlacedOnDevice
from .workspace import refuse_too_large

STAGES_IN_A_ROW, REPLAYS = 8, 5
"""How often a stage that is timed is recorded one after the other, and how often that is called."""


@checked_backend
class CupyBackend:
    """On a CUDA device, in float32 and float64.

    Constructed as `Backend` says, without effect of `threads`; `device` makes of a dtype the device
    to run on, else it is the current one. A BackendUnavailable says that there is none, or that it
    has not enough memory.
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
        self._network = CudaNetwork(configuration, solver, learner, self._device)

    @staticmethod
    def describe() -> BackendDescription:
        """Say which CuPy and which device, or why there is none."""
        reason = why_unavailable()
        if reason:
            return BackendDescription("cupy", installed_version(), "", reason)
        import cupy

        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        device = properties["name"].decode() + (", TF32 products" if uses_tf32() else "")
        return BackendDescription("cupy", cupy.__version__, device)

    @staticmethod
    def device_count() -> int:
        """How many GPUs this process may use."""
        if why_unavailable():
            return 0
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount())

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        return self._network.learner()

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        self._network.load(learner)

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state (sections 2 and 6)."""
        network, w = self._network, self._network.with_inputs(x)
        network.clear_counts()
        network.find_open_loop(w)
        counts = total(network.counts())[0]
        return network.state(w, "open_u_E", "open_u_I", "open_u_out"), counts

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in (section 5)."""
        self._network.per_unit(self._network.with_open_loop(open_loop), "mean_inhibition")
        return self._network.units("next_r_bar")

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied (section 4)."""
        w = self._network.with_open_loop(open_loop)
        self._network.find_feedback_weights(w)
        return self._network.layers(w, "Q", self.configuration.sizes[-1])

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller (section 3)."""
        w = self._network.with_open_loop(open_loop)
        self._network.put(w, "y", y)
        self._network.per_row(w, "closed_loop_target")
        return self._network.outputs(w, "target")

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state (sections 2 and 6)."""
        network, w = self._network, self._network.with_inputs(x)
        network.with_open_loop(open_loop)
        network.drive(w)
        # Loop gains and strengths, by which the search begins, come with the network's own Q.
        network.find_feedback_weights(w)
        network.put_control(w, Q, target)
        network.clear_counts()
        network.find_closed_loop(w)
        counts = total(network.counts())[1]
        return network.state(w, "u_E", "u_I", "u_out", "z"), counts

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter (section 5)."""
        network, w = self._network, self._network.with_inputs(x)
        network.put(w, "y", y)
        if network.is_backprop:
            network.forward(w)
            network.backward(w)
        else:
            network.with_open_loop(open_loop)
            # φ_E of the open loop, from which the readout may learn.
            rates = tuple(rate(self.configuration.activation_E, u) for u in open_loop.u_E)
            network.put_layers(w, "open_r_E", rates)
            network.put_layers(w, "u_E", closed_loop.u_E)
            network.put_layers(w, "u_I", closed_loop.u_I)
            network.put(w, "u_out", closed_loop.u_out)
            network.put_units(mean_inhibition, "next_r_bar")
            network.find_factors(w)
        network.find_gradients(w)
        return network.parameters("g")

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one optimiser step along −g, and take over r̄."""
        network, w = self._network, self._network.any_workspace()
        network.put_parameters("g", gradients)
        network.put_units(mean_inhibition, "r_bar", "next_r_bar")
        network.set_step(0)
        network.descend(w)
        network.n_steps += 1

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Path from rest (section 2)."""
        w = self._network.with_inputs(x)
        self._network.drive(w)
        return self._network.record_path(w, recording, is_closed=False)

    def closed_loop_trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights,
        target: np.ndarray,
        start: NetworkState,
    ) -> NetworkState:
        """Path under control (section 2)."""
        w = self._network.with_inputs(x)
        self._network.with_open_loop(start)
        self._network.put_control(w, Q, target)
        self._network.drive(w)
        return self._network.record_path(w, recording, is_closed=True)

    def place(
        self, x: np.ndarray, y: np.ndarray, full_scale: float | None = None
    ) -> PlacedOnDevice:
        """Upload inputs, bytes as they are, and labels."""
        refuse_too_large(
            self._device,
            x.nbytes + y.nbytes,
            f"data of {y.shape[-2]} samples",
            lambda share: f"{int(y.shape[-2] * share)} samples would fit",
        )
        return PlacedOnDevice(
            x=self._device.put(x),
            y=self._device.put(y),
            n_samples=y.shape[-2],
            x_is_bytes=x.dtype == np.uint8,
            x_is_shared=x.ndim == 2,
            y_is_shared=y.ndim == 2,
            full_scale=full_scale or 1.0,
        )

    def train(self, data: PlacedOnDevice, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches: a recorded step a batch, results read at the end."""
        network = self._network
        network.clear_counts()
        figures = network.repeat("step", network.learning_step, data, batch_order)
        network.n_steps += len(batch_order)
        figures = figures.reshape(len(batch_order), *network.leading, 4)
        counts = network.counts()
        return metrics_of(figures, total(counts), counts)

    def evaluate(self, data: PlacedOnDevice, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data: full batches, then what is left."""
        network, positions = self._network, np.arange(data.n_samples)
        whole = data.n_samples // batch_size * batch_size
        loss, right = np.zeros(()), np.zeros(())
        network.clear_counts()
        for part, batch in ((positions[:whole], batch_size), (positions[whole:], None)):
            if part.size:
                order = part.reshape(-1, batch or part.size)
                figures = network.repeat("evaluation", network.evaluation_step, data, order)
                loss = loss + np.sum(figures[:, :, 0], axis=0) * order.shape[-1]
                right = right + np.sum(figures[:, :, 2], axis=0)
        counts = network.counts()
        return Evaluation(
            (loss / data.n_samples).reshape(network.leading),
            (right / data.n_samples).reshape(network.leading),
            total(counts)[0],
            tuple(of_open_loop for of_open_loop, _ in counts),
        )

    def stage_seconds(self, data: PlacedOnDevice, order: np.ndarray) -> dict[str, float]:
        """Learn from one batch, and time each stage: recorded alone, again and again.

        The host's part is in none, as in training. Learning repeats with the rest: many updates by
        one and the same gradient.
        """
        network, device = self._network, self._device
        w = network.bind(data, order[None])
        seconds = {}
        for name, stage in network.step_stages(w).items():
            # A stage before has gone on to the next batch, of which there is none.
            network.set_step(0)
            replay = device.record(partial(_again_and_again, stage))
            seconds[name] = device.seconds(replay, REPLAYS) / STAGES_IN_A_ROW
        network.n_steps += STAGES_IN_A_ROW * (REPLAYS + 1)
        return seconds


def _again_and_again(stage: Callable[[], None]) -> None:
    for _ in range(STAGES_IN_A_ROW):
        stage()
