"""The model in integers behind the interface of all backends (`refimpl.integers`).

Numbers become integers where they come in, to the nearest, and numbers again where they go out.
What went out comes in again as the same integers, so that stages, checkpoints and files lose none.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence

import numba
import numpy as np

from ...refimpl import (
    ArgumentError,
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
    count_correct,
    map_arrays,
    new_learner,
    sample_loss,
)
from ...refimpl.integers import (
    Arithmetic,
    Chance,
    Chip,
    EndStates,
    Here,
    Overflows,
    Step,
    TickByTick,
    backprop,
    chip_of,
    closed_loop,
    closed_loop_target,
    feedback_weights,
    forward,
    learning_step,
    numbers,
    open_loop,
    plasticity_gradients,
    quantized,
    resting_state,
    updated,
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
    step_by_training,
    total,
)
from ..front import checked_backend
from ..numba import CompiledTicks, default_threads

MOST_BITS_OF_FLOAT32 = 25
"""Its 24 and a sign."""


@checked_backend
class IntegerBackend:
    """One network in integers, its ticks compiled for the CPU.

    Constructed as `Backend` says, with one argument more; the solver's method is left at its
    default, since ticks are the only one. `threads` share a batch, and change no bit.

    Parameters
    ----------
    arithmetic : Arithmetic, optional
        Formats, tables, ticks and rounding; else the preset `int16`.
    """

    name = "integer"
    place = keep_on_host
    learning_step = step_by_training

    def __init__(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self.configuration, self.dtype, self.solver = configuration, np.dtype(dtype), solver
        self.arithmetic = Arithmetic() if arithmetic is None else arithmetic
        _refuse(self.arithmetic, parameters, self.dtype, solver)
        self.overflows = Overflows()
        chip = chip_of(configuration, self.arithmetic)
        self.ways, multiply = self._ways(default_threads() if threads is None else threads)
        self._chip = dataclasses.replace(chip, multiply=multiply)
        self.load(new_learner(configuration, parameters))

    @staticmethod
    def _ways(
        threads: int,
    ) -> tuple[EndStates, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        ticks = CompiledTicks(threads)
        return ticks, ticks.multiply

    @staticmethod
    def describe() -> BackendDescription:
        """Say which Numba this is; it runs everywhere, but for a number of threads that is none."""
        try:
            default_threads()
        except ConfigurationError as problem:
            return BackendDescription("integer", numba.__version__, "", str(problem))
        device = f"integers on a CPU ({platform.machine()})"
        return BackendDescription("integer", numba.__version__, device)

    # State out and in.

    def learner(self) -> Learner:
        """Copy out all that learning changes, as numbers."""
        optimizer = OptimizerState(self._learner.optimizer.n_steps)
        r_bar = tuple(self._numbers(r, "rate") for r in self._learner.mean_inhibition)
        return Learner(self._parameters_out(self._learner.parameters), optimizer, r_bar)

    def load(self, learner: Learner) -> None:
        """Go on from this learner, each of its numbers rounded to the nearest integer."""
        self._learner = Learner(
            self._parameters_in(learner.parameters),
            OptimizerState(learner.optimizer.n_steps),
            tuple(self._integers(r, "rate") for r in learner.mean_inhibition),
        )

    def integers(self) -> Learner:
        """All that learning changes, as the chip holds it: int64."""
        return map_learner(np.copy, self._learner)

    def take_overflows(self) -> dict[str, int]:
        """How many values did not fit their format since this was last asked, by quantity."""
        found = self.overflows.as_dict()
        self.overflows.counts[:] = 0
        return found

    # The stages.

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """The state after all ticks from rest."""
        parameters = self._learner.parameters
        state = self.ways.open_loop(
            self._chip, parameters, self._integers(x, "input"), self._here()
        )
        return self._state_out(state), self._counts(len(x))

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in."""
        r_bar = self._learner.mean_inhibition
        if self.configuration.rule == "linear-threshold":
            state = self._state_in(open_loop)
            r_bar = updated_mean_inhibition(self._chip, r_bar, state, self._here())
        return tuple(self._numbers(r, "rate") for r in r_bar)

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied."""
        state = self._state_in(open_loop)
        Q = feedback_weights(self._chip, self._learner.parameters, state, self._here())
        return tuple(self._numbers(Q_l, "feedback") for Q_l in Q)

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller."""
        u_out = self._integers(open_loop.u_out, "potential")
        target = closed_loop_target(self._chip, u_out, self._integers(y, "error"), self._here())
        return self._numbers(target, "error")

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """The state after all ticks under control."""
        state = self.ways.closed_loop(
            self._chip,
            self._learner.parameters,
            self._integers(x, "input"),
            tuple(self._integers(Q_l, "feedback") for Q_l in Q),
            self._integers(target, "error"),
            self._state_in(open_loop),
            self._here(),
        )
        return self._state_out(state), self._counts(len(x))

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter."""
        x, y = self._integers(x, "input"), self._integers(y, "error")
        parameters, here = self._learner.parameters, self._here()
        if self.configuration.rule == "backprop":
            found = backprop(self._chip, parameters, x, y, here)[1]
        else:
            r_bar = tuple(self._integers(r, "rate") for r in mean_inhibition)
            states = self._state_in(open_loop), self._state_in(closed_loop)
            found = plasticity_gradients(self._chip, parameters, x, y, *states, r_bar, here)
        return map_arrays(lambda g: self._numbers(g, "gradient"), found)

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """Move the learner one step along −g, and take over r̄."""
        g = map_arrays(lambda array: self._integers(array, "gradient"), gradients)
        r_bar = tuple(self._integers(r, "rate") for r in mean_inhibition)
        self._learner = updated(self._chip, self._learner, g, r_bar, self._here())

    def forward(self, x: np.ndarray) -> np.ndarray:
        """u_out of backprop's plain network."""
        parameters = self._learner.parameters
        u_out = forward(self._chip, parameters, self._integers(x, "input"), self._here())[2]
        return self._numbers(u_out, "potential")

    # Trajectories: every tick is a step of explicit Euler.

    def open_loop_trajectory(self, recording: Recording, x: np.ndarray) -> NetworkState:
        """Ticks from rest; `recording.every` of them apart, whatever its dt."""
        inputs = self._integers(x, "input")
        path = open_loop(self._ticking(recording), self._learner.parameters, inputs, self._here())
        start = resting_state(self._learner.parameters, len(x))
        return self._path_out([start, *path], recording)

    def closed_loop_trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights,
        target: np.ndarray,
        start: NetworkState,
    ) -> NetworkState:
        """Ticks under control."""
        state = self._state_in(start)
        path = closed_loop(
            self._ticking(recording),
            self._learner.parameters,
            self._integers(x, "input"),
            tuple(self._integers(Q_l, "feedback") for Q_l in Q),
            self._integers(target, "error"),
            state,
            self._here(),
        )
        first = dataclasses.replace(state, z=np.zeros_like(state.z))
        return self._path_out([first, *path], recording)

    # The work itself.

    def train(self, data: HostData, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches."""
        figures, is_circuit = [], self.configuration.rule != "backprop"
        none = EndStateCounts()
        counts = (none, none)
        for order in batch_order:
            labels = data.y[order]
            x, y = self._inputs(data, order), self._integers(labels, "error")
            self._learner, step = learning_step(
                self._chip, self._learner, x, y, self.overflows, self.ways
            )
            figures.append(self._figures(step, labels))
            if is_circuit:
                counts = total((counts, (self._counts(len(order)), self._counts(len(order)))))
        return metrics_of(np.array(figures), counts)

    def evaluate(self, data: HostData, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""
        is_circuit = self.configuration.rule != "backprop"

        def sums(order: np.ndarray) -> tuple[np.ndarray, np.ndarray, Sequence[EndStateCounts]]:
            x, labels = self._inputs(data, order), data.y[order]
            parameters, here = self._learner.parameters, self._here()
            if is_circuit:
                u_out = self.ways.open_loop(self._chip, parameters, x, here).u_out
            else:
                u_out = forward(self._chip, parameters, x, here)[2]
            losses = sample_loss(self.configuration.loss, self._potentials(u_out), labels)
            counts = self._counts(len(order)) if is_circuit else EndStateCounts()
            return np.asarray(losses.sum()), count_correct(u_out, labels), [counts]

        return evaluate_in_batches(len(data.y), batch_size, sums, False)

    # Between numbers and integers.

    def _here(self) -> Here:
        step = self._learner.optimizer.n_steps
        return Here(self.overflows, Chance(self.arithmetic.seed, step))

    def _integers(self, values: np.ndarray, quantity: str) -> np.ndarray:
        form = self.arithmetic.format_of(quantity)
        return quantized(values, form, quantity, self.overflows)

    def _numbers(self, integers: np.ndarray, quantity: str) -> np.ndarray:
        return numbers(integers, self.arithmetic.format_of(quantity), self.dtype)

    def _potentials(self, u_out: np.ndarray) -> np.ndarray:
        return numbers(u_out, self.arithmetic.potential)

    def _inputs(self, data: HostData, order: np.ndarray) -> np.ndarray:
        x = data.x[order]
        return self._integers(np.asarray(x, dtype=np.float64) / data.full_scale, "input")

    def _parameters_in(self, parameters: Parameters) -> Parameters:
        return Parameters(
            tuple(self._integers(W, "weight") for W in parameters.weights),
            tuple(self._integers(b, "bias") for b in parameters.biases),
            self._integers(parameters.readout, "weight"),
        )

    def _parameters_out(self, parameters: Parameters) -> Parameters:
        return Parameters(
            tuple(self._numbers(W, "weight") for W in parameters.weights),
            tuple(self._numbers(b, "bias") for b in parameters.biases),
            self._numbers(parameters.readout, "weight"),
        )

    def _state_in(self, state: NetworkState) -> NetworkState:
        return NetworkState(
            tuple(self._integers(u, "potential") for u in state.u_E),
            tuple(self._integers(u, "potential") for u in state.u_I),
            self._integers(state.u_out, "potential"),
            self._integers(state.z, "integral"),
        )

    def _state_out(self, state: NetworkState) -> NetworkState:
        return NetworkState(
            tuple(self._numbers(u, "potential") for u in state.u_E),
            tuple(self._numbers(u, "potential") for u in state.u_I),
            self._numbers(state.u_out, "potential"),
            self._numbers(state.z, "integral"),
        )

    def _path_out(self, states: list[NetworkState], recording: Recording) -> NetworkState:
        asked = states[: recording.n_steps + 1 : recording.every]
        kept = [self._state_out(state) for state in asked]
        return map_arrays(lambda *arrays: np.stack(arrays), *kept)

    def _ticking(self, recording: Recording) -> Chip:
        if recording.method != "euler":
            raise ArgumentError(
                f"recording.method is {recording.method}: integers go by ticks of explicit "
                "Euler, which method euler records"
            )
        # An arithmetic has one tick at least; what was not asked for is not kept.
        about = dataclasses.replace(self.arithmetic, ticks=max(recording.n_steps, 1))
        return dataclasses.replace(self._chip, arithmetic=about)

    def _counts(self, batch: int) -> EndStateCounts:
        return EndStateCounts(integrated=batch)

    def _figures(self, step: Step, labels: np.ndarray) -> tuple[float, float, int, int]:
        loss, is_right = self.configuration.loss, count_correct(step.u_out, labels)
        opened = float(np.mean(sample_loss(loss, self._potentials(step.u_out), labels)))
        if step.closed_loop is None:
            return opened, float("nan"), int(is_right), 0
        u_out = step.closed_loop.u_out
        closed = float(np.mean(sample_loss(loss, self._potentials(u_out), labels)))
        return opened, closed, int(is_right), int(count_correct(u_out, labels))


@checked_backend
class IntegerReferenceBackend(IntegerBackend):
    """The same integers by NumPy alone, tick by tick: what `integer` is held to."""

    name = "integer-reference"

    @staticmethod
    def _ways(
        threads: int,
    ) -> tuple[EndStates, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        return TickByTick(), np.matmul

    @staticmethod
    def describe() -> BackendDescription:
        """Say which NumPy this is; it runs everywhere."""
        device = f"integers on a CPU ({platform.machine()})"
        return BackendDescription("integer-reference", np.__version__, device)


def map_learner(f: Callable[[np.ndarray], np.ndarray], learner: Learner) -> Learner:
    """Apply a function to every array of a learner without moments."""
    r_bar = tuple(f(r) for r in learner.mean_inhibition)
    return Learner(map_arrays(f, learner.parameters), learner.optimizer, r_bar)


def _refuse(
    arithmetic: Arithmetic, parameters: Parameters, dtype: np.dtype, solver: Solver
) -> None:
    """Refuse what integers do not have, in a line."""
    if not isinstance(arithmetic, Arithmetic):
        raise ConfigurationError(
            f"arithmetic is of type {type(arithmetic).__name__}: Arithmetic is needed"
        )
    if parameters.readout.ndim != 2:
        raise ConfigurationError(
            "the backend integer has one network: run replicas one after the other"
        )
    if solver.method != "fixed-point":
        raise ConfigurationError(
            f"solver.method is {solver.method}: integers go by ticks alone; leave it at its default"
        )
    if dtype == np.float32:
        for name, form in arithmetic.formats():
            if form.width > MOST_BITS_OF_FLOAT32:
                raise ConfigurationError(
                    f"arithmetic.{name} is {form}: float32 holds {MOST_BITS_OF_FLOAT32} bits; "
                    "use dtype float64"
                )
