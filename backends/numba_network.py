"""One network on the CPU: its arrays, and the order in which kernels work on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ..refimpl.activation import linearized_inverse
from ..refimpl.configuration import NetworkConfiguration, Solver
from ..refimpl.dynamics import FeedbackWeights
from ..refimpl.end_state import EndStateCounts, closed_loop_end_state, open_loop_end_state
from ..refimpl.integration import TABLEAUS
from ..refimpl.learning_step import Learner
from ..refimpl.optimizer import OptimizerState
from ..refimpl.parameters import Parameters
from ..refimpl.state import NetworkState, pack, unpack
from ..refimpl.trajectory import Recording
from .numba_cpu.closed_loop import closed_loop
from .numba_cpu.integration import integrate, record
from .numba_cpu.learning import backprop_factors, descend, factors, gradients
from .numba_cpu.open_loop import (
    condition,
    evaluate,
    feedback_weights,
    gather,
    inhibitory_rate_sums,
    open_loop,
)
from .numba_cpu.readout import closed_loop_target, losses
from .numba_workspace import Workspace, workspace

Chunk = tuple[int, int]
"""First sample of a thread's share of the batch, and the first of the next."""
T = TypeVar("T")


class CompiledNetwork:
    """A single network that learns; the backend holds one for each replica.

    Parameters
    ----------
    configuration : NetworkConfiguration
        With plain numbers for settings.
    solver : Solver
        How end states are found.
    learner : Learner
        Start, without leading axes.
    dtype : numpy.dtype
        Precision.
    pool : ThreadPoolExecutor or None
        Threads to share a batch among; None works in the calling thread.
    threads : int
        Their number.
    """

    def __init__(
        self,
        configuration: NetworkConfiguration,
        solver: Solver,
        learner: Learner,
        dtype: np.dtype,
        pool: ThreadPoolExecutor | None,
        threads: int,
    ) -> None:
        self.configuration, self.solver, self.dtype = configuration, solver, dtype
        self._pool, self._threads = pool, threads
        self._sizes = np.array(configuration.sizes, dtype=np.int64)
        self._number = dtype.type
        phi_E, phi_I = configuration.activation_E, configuration.activation_I
        self._phi = np.array(
            [
                phi_E.scale,
                phi_E.sharpness,
                phi_E.shift,
                phi_I.scale,
                phi_I.sharpness,
                phi_I.shift,
            ],
            dtype=dtype,
        )
        controller = configuration.controller
        self._constants = np.array(
            [
                configuration.tau_E,
                configuration.tau_I,
                controller.k_p,
                controller.k_i,
                controller.leak,
                controller.tau,
            ],
            dtype=dtype,
        )
        self._eps = np.finfo(dtype).eps
        self._is_mse = configuration.loss == "mse"
        self._is_backprop = configuration.rule == "backprop"
        self._workspaces: dict[int, Workspace] = {}
        self.load(learner)

    # State out and in.

    def load(self, learner: Learner) -> None:
        """Take over a learner."""
        self._theta = self._flat(learner.parameters)
        self._g = np.zeros_like(self._theta)
        optimizer = learner.optimizer
        self._n_steps = optimizer.n_steps
        self._is_adam = optimizer.first_moment is not None
        if optimizer.first_moment is not None and optimizer.second_moment is not None:
            self._m, self._v = (
                self._flat(optimizer.first_moment),
                self._flat(optimizer.second_moment),
            )
        else:
            self._m = self._v = np.zeros(0, dtype=self.dtype)
        self._r_bar = [np.array(r, dtype=self.dtype) for r in learner.mean_inhibition]

    def learner(self) -> Learner:
        """Copy the learner out."""
        optimizer = OptimizerState(self._n_steps)
        if self._is_adam:
            moments = self._unflat(self._m), self._unflat(self._v)
            optimizer = OptimizerState(self._n_steps, *moments)
        r_bar = tuple(r.copy() for r in self._r_bar)
        return Learner(self._unflat(self._theta), optimizer, r_bar)

    # The stages, each on arrays of its own.

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state."""
        w = self._with_inputs(x)
        counts = self._sum(self._each(w.batch, lambda b: self._open_loop(w, *b)))
        z = np.zeros_like(w.open_u_out)
        return self._state(w.batch, w.open_u_E, w.open_u_I, w.open_u_out, z), counts

    def mean_inhibition(self, state: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in."""
        if self.configuration.rule != "linear-threshold":
            return tuple(r.copy() for r in self._r_bar)
        w = self._workspace(len(state.u_out))
        self._put_layers(w.open_u_I, state.u_I)
        self._each(w.batch, lambda b: self._rate_sums(w, *b))
        return tuple(self._next_r_bar(w))

    def feedback_weights(self, state: NetworkState) -> FeedbackWeights:
        """Q^l as applied."""
        w = self._workspace(len(state.u_out))
        self._put_layers(w.open_u_E, state.u_E)
        self._put_layers(w.open_u_I, state.u_I)
        self._each(w.batch, lambda b: self._feedback(w, *b))
        if self.configuration.feedback.average:
            self._average(w)
        return tuple(Q.copy() for Q in self._blocks(w.Q, w.batch, self.configuration.sizes[-1]))

    def closed_loop_target(self, state: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller."""
        w = self._workspace(len(state.u_out))
        w.open_u_out[:] = state.u_out
        w.y[:] = y
        self._target(w, 0, w.batch)
        return w.target.copy()

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, state: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state."""
        w = self._with_inputs(x)
        # The drive of the first layer, loop gains and the rough first matrix belong to the
        # network's own open loop; the given state is where the search starts.
        self._each(w.batch, lambda b: self._open_loop(w, *b))
        self._put_layers(w.open_u_E, state.u_E)
        self._put_layers(w.open_u_I, state.u_I)
        w.open_u_out[:] = state.u_out
        self._each(w.batch, lambda b: self._feedback(w, *b))
        for block, Q_l in zip(
            self._blocks(w.Q, w.batch, self.configuration.sizes[-1]), Q, strict=True
        ):
            block[:] = Q_l
        w.target[:] = target
        counts = self._sum(self._each(w.batch, lambda b: self._closed_loop(w, *b)))
        return self._state(w.batch, w.u_E, w.u_I, w.u_out, w.z), counts

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_state: NetworkState,
        closed_state: NetworkState,
        r_bar: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter."""
        w = self._with_inputs(x)
        w.y[:] = y
        if self._is_backprop:
            self._each(w.batch, lambda b: self._backprop(w, *b))
        else:
            self._put_layers(w.open_u_E, open_state.u_E)
            w.open_u_out[:] = open_state.u_out
            self._put_layers(w.u_E, closed_state.u_E)
            self._put_layers(w.u_I, closed_state.u_I)
            w.u_out[:] = closed_state.u_out
            estimate = self._estimate([np.asarray(r, dtype=self.dtype) for r in r_bar])
            self._each(w.batch, lambda b: self._factors(w, estimate, *b))
        self._parts(lambda part: self._gradients(w, part))
        return self._unflat(self._g)

    def update(self, g: Parameters, r_bar: tuple[np.ndarray, ...]) -> None:
        """One optimiser step along -g."""
        self._g[:] = self._flat(g)
        self._r_bar = [np.array(r, dtype=self.dtype) for r in r_bar]
        settings = self._next_settings()
        self._parts(lambda part: self._descend(settings, part))

    def trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights | None,
        target: np.ndarray | None,
        start: NetworkState | None,
    ) -> NetworkState:
        """Path from rest, or under control from `start` with the integral at zero."""
        w = self._with_inputs(x)
        n = 2 * sum(self.configuration.sizes[1:-1]) + 2 * self.configuration.sizes[-1]
        state = np.zeros((w.batch, n), dtype=self.dtype)
        if start is not None:
            state[:] = pack(dataclasses.replace(start, z=np.zeros_like(start.z)))
        if Q is not None:
            blocks = self._blocks(w.Q, w.batch, self.configuration.sizes[-1])
            for block, Q_l in zip(blocks, Q, strict=True):
                block[:] = Q_l
            w.target[:] = target
        self._each(w.batch, lambda b: self._open_loop(w, *b))
        tableau = TABLEAUS[recording.method]
        path = np.zeros((recording.n_steps // recording.every + 1, w.batch, n), dtype=self.dtype)
        record(
            *self._network(),
            self._is_mse,
            self.configuration.feedback.to_readout,
            Q is not None,
            self._constants,
            w.a_1,
            w.Q,
            w.target,
            state,
            self._coefficients(tableau.a),
            self._number(recording.dt),
            recording.n_steps,
            recording.every,
            path,
        )
        return unpack(path, self.configuration.sizes)

    # The work itself.

    def step(
        self, source: np.ndarray, y: np.ndarray, order: np.ndarray, full_scale: float
    ) -> tuple[float, float, int, EndStateCounts, EndStateCounts]:
        """Learn from one batch.

        Returns
        -------
        loss, closed_loop_loss : float
        n_correct : int
        open_loop_counts, closed_loop_counts : EndStateCounts
        """
        w, rule = self._workspace(len(order)), self.configuration.rule
        divisor = self._number(full_scale)
        averages = self.configuration.feedback.average and not self._is_backprop

        def first(b: Chunk) -> EndStateCounts:
            chunk = slice(*b)
            gather(source, order[chunk], divisor, w.x[chunk], w.x_columns, b[0])
            w.y[chunk] = y[order[chunk]]
            if self._is_backprop:
                self._backprop(w, *b)
                losses(self._is_mse, w.u_out[chunk], w.y[chunk], w.loss[chunk], w.correct[chunk])
                return EndStateCounts()
            counts = self._open_loop(w, *b)
            self._feedback(w, *b)
            if rule == "linear-threshold":
                self._rate_sums(w, *b)
            return counts

        estimate = self._estimate(self._r_bar)

        def second(b: Chunk) -> EndStateCounts:
            chunk = slice(*b)
            self._target(w, *b)
            counts = self._closed_loop(w, *b)
            self._factors(w, estimate, *b)
            is_mse = self._is_mse
            losses(is_mse, w.u_out[chunk], w.y[chunk], w.closed_loop_loss[chunk], w.correct[chunk])
            losses(is_mse, w.open_u_out[chunk], w.y[chunk], w.loss[chunk], w.correct[chunk])
            return counts

        def both(b: Chunk) -> tuple[EndStateCounts, EndStateCounts]:
            return first(b), second(b)

        if self._is_backprop:
            open_counts, closed_counts = self._sum(self._each(w.batch, first)), EndStateCounts()
        elif averages or rule == "linear-threshold":
            open_counts = self._sum(self._each(w.batch, first))
            if averages:
                self._average(w)
            if rule == "linear-threshold":
                self._r_bar = self._next_r_bar(w)
                estimate = self._estimate(self._r_bar)
            closed_counts = self._sum(self._each(w.batch, second))
        else:
            pairs = self._each(w.batch, both)
            open_counts = self._sum([pair[0] for pair in pairs])
            closed_counts = self._sum([pair[1] for pair in pairs])
        settings = self._next_settings()

        def third(part: int) -> None:
            self._gradients(w, part)
            self._descend(settings, part)

        self._parts(third)
        closed_loss = float("nan") if self._is_backprop else float(np.mean(w.closed_loop_loss))
        n_correct = int(np.count_nonzero(w.correct))
        return float(np.mean(w.loss)), closed_loss, n_correct, open_counts, closed_counts

    def evaluate(
        self, source: np.ndarray, y: np.ndarray, order: np.ndarray, full_scale: float
    ) -> tuple[float, int, EndStateCounts]:
        """Sum of the open-loop losses over `order`, samples that are right, and how."""
        batch = len(order)
        loss, correct = np.empty(batch, dtype=self.dtype), np.empty(batch, dtype=bool)
        found = np.empty(batch, dtype=bool)
        if self.solver.method != "fixed-point" and not self._is_backprop:
            return self._evaluate_integrated(source, y, order, full_scale)

        def chunk(b: Chunk) -> None:
            part = slice(*b)
            x = np.empty((b[1] - b[0], source.shape[1]), dtype=self.dtype)
            unused = np.empty((source.shape[1], b[1] - b[0]), dtype=self.dtype)
            gather(source, order[part], self._number(full_scale), x, unused, 0)
            evaluate(
                *self._network(),
                self._eps,
                self._is_backprop,
                self._is_mse,
                x,
                y[order[part]],
                loss[part],
                correct[part],
                found[part],
            )

        self._each(batch, chunk)
        if not np.all(found):
            return self._evaluate_integrated(source, y, order, full_scale)
        counts = EndStateCounts() if self._is_backprop else EndStateCounts(frozen_newton=batch)
        return float(np.sum(loss, dtype=np.float64)), int(np.count_nonzero(correct)), counts

    def _evaluate_integrated(
        self, source: np.ndarray, y: np.ndarray, order: np.ndarray, full_scale: float
    ) -> tuple[float, int, EndStateCounts]:
        state, counts = self.open_loop(source[order] / self._number(full_scale))
        loss, correct = np.empty(len(order), dtype=self.dtype), np.empty(len(order), dtype=bool)
        losses(self._is_mse, np.ascontiguousarray(state.u_out), y[order], loss, correct)
        return float(np.sum(loss, dtype=np.float64)), int(np.count_nonzero(correct)), counts

    # Chunks of a batch, one a thread.

    def _network(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._theta, self._sizes, self._phi

    def _open_loop(self, w: Workspace, b_0: int, b_1: int) -> EndStateCounts:
        n = b_1 - b_0
        # For an integration this still gives the drive of the first layer.
        open_loop(
            *self._network(),
            self._eps,
            w.x[b_0:b_1],
            w.batch,
            b_0,
            b_1,
            w.a_1,
            w.open_u_E,
            w.open_u_I,
            w.open_r_E,
            w.open_u_out,
            w.open_found,
        )
        if self.solver.method != "fixed-point":
            state = np.zeros((w.batch, self._state_size()), dtype=self.dtype)
            settled = self._integrate(w, b_0, b_1, state, is_closed=False)
            self._take_rows(w, state, b_0, b_1, w.open_u_E, w.open_u_I, w.open_u_out, None)
            return EndStateCounts(integrated=n, unsettled=int(n - np.count_nonzero(settled)))
        left = np.flatnonzero(~w.open_found[b_0:b_1]) + b_0
        if left.size == 0:
            return EndStateCounts(frozen_newton=n)
        found, counts = open_loop_end_state(
            self.configuration, self.solver, self._unflat(self._theta), w.x[left]
        )
        self._put_rows(w, left, found, w.open_u_E, w.open_u_I, w.open_u_out)
        return EndStateCounts(frozen_newton=n - left.size) + counts

    def _closed_loop(self, w: Workspace, b_0: int, b_1: int) -> EndStateCounts:
        n, configuration = b_1 - b_0, self.configuration
        if self.solver.method != "fixed-point":
            state = np.zeros((w.batch, self._state_size()), dtype=self.dtype)
            blocks = [*self._blocks(w.open_u_E, w.batch), *self._blocks(w.open_u_I, w.batch)]
            at = 0
            for block in (*blocks, w.open_u_out):
                state[b_0:b_1, at : at + block.shape[1]] = block[b_0:b_1]
                at += block.shape[1]
            settled = self._integrate(w, b_0, b_1, state, is_closed=True)
            self._take_rows(w, state, b_0, b_1, w.u_E, w.u_I, w.u_out, w.z)
            return EndStateCounts(integrated=n, unsettled=int(n - np.count_nonzero(settled)))
        closed_loop(
            *self._network(),
            self._eps,
            self._is_mse,
            configuration.feedback.to_readout,
            self._number(configuration.controller.steady_gain),
            self._number(configuration.controller.leak),
            w.batch,
            b_0,
            b_1,
            w.a_1,
            w.target,
            w.Q,
            w.strength,
            w.gain,
            w.open_u_E,
            w.open_u_out,
            w.u_E,
            w.u_I,
            w.r_E,
            w.u_out,
            w.z,
            w.found,
            w.scratch[self._chunk_number(w, b_0)],
        )
        left = np.flatnonzero(~w.found[b_0:b_1]) + b_0
        if left.size == 0:
            return EndStateCounts(frozen_newton=n)
        found, counts = self._closed_loop_by_reference(w, left)
        self._put_rows(w, left, found, w.u_E, w.u_I, w.u_out)
        w.z[left] = found.z
        return EndStateCounts(frozen_newton=n - left.size) + counts

    def _closed_loop_by_reference(
        self, w: Workspace, left: np.ndarray
    ) -> tuple[NetworkState, EndStateCounts]:
        """Solve the samples that the compiled search left as the reference would."""
        open_state = NetworkState(
            tuple(u[left] for u in self._blocks(w.open_u_E, w.batch)),
            tuple(u[left] for u in self._blocks(w.open_u_I, w.batch)),
            w.open_u_out[left],
            np.zeros_like(w.open_u_out[left]),
        )
        return closed_loop_end_state(
            self.configuration,
            self.solver,
            self._unflat(self._theta),
            w.x[left],
            tuple(Q[left] for Q in self._blocks(w.Q, w.batch, self.configuration.sizes[-1])),
            w.target[left],
            open_state,
        )

    def _integrate(
        self, w: Workspace, b_0: int, b_1: int, state: np.ndarray, is_closed: bool
    ) -> np.ndarray:
        solver, tableau = self.solver, TABLEAUS[self.solver.method]
        settled = np.zeros(w.batch, dtype=bool)
        integrate(
            *self._network(),
            self._is_mse,
            self.configuration.feedback.to_readout,
            is_closed,
            self._constants,
            w.batch,
            b_0,
            b_1,
            w.a_1,
            w.Q,
            w.target,
            state,
            settled,
            self._coefficients(tableau.a),
            np.array(tableau.error, dtype=self.dtype),
            tableau.error_order,
            solver.step_control == "adaptive",
            self._number(solver.rtol),
            self._number(solver.atol),
            solver.dt,
            np.array(
                [
                    solver.dt_min,
                    solver.dt_max,
                    solver.safety,
                    solver.factor_min,
                    solver.factor_max,
                    solver.p,
                    solver.i,
                    solver.d,
                ]
            ),
            solver.horizon,
            solver.max_steps,
        )
        return settled[b_0:b_1]

    def _rate_sums(self, w: Workspace, b_0: int, b_1: int) -> None:
        sums = w.rate_sums[self._chunk_number(w, b_0)]
        inhibitory_rate_sums(self._sizes, self._phi, w.batch, b_0, b_1, w.open_u_I, sums)

    def _feedback(self, w: Workspace, b_0: int, b_1: int) -> None:
        options = self.configuration.feedback
        feedback_weights(
            *self._network(),
            options.normalize,
            self._number(options.norm),
            self._number(options.clip or 0),
            options.average,
            w.batch,
            b_0,
            b_1,
            w.open_u_E,
            w.open_u_I,
            w.Q,
            w.strength,
            w.gain,
            w.scratch[self._chunk_number(w, b_0)],
        )

    def _average(self, w: Workspace) -> None:
        options = self.configuration.feedback
        blocks = self._blocks(w.Q, w.batch, self.configuration.sizes[-1])
        for l, block in enumerate(blocks):
            mean = np.mean(block, axis=0)
            w.strength[l] = condition(
                mean,
                options.normalize,
                self._number(options.norm),
                self._number(options.clip or 0),
            )
            block[:] = mean

    def _target(self, w: Workspace, b_0: int, b_1: int) -> None:
        options = self.configuration.feedback
        chunk = slice(b_0, b_1)
        closed_loop_target(
            self._is_mse,
            options.strong,
            self._number(options.nudge),
            w.open_u_out[chunk],
            w.y[chunk],
            w.target[chunk],
        )

    def _factors(
        self, w: Workspace, estimate: tuple[bool, np.ndarray, np.ndarray], b_0: int, b_1: int
    ) -> None:
        factors(
            *self._network(),
            *estimate,
            self._is_mse,
            self.configuration.feedback.to_readout,
            w.batch,
            b_0,
            b_1,
            w.y,
            w.u_E,
            w.u_I,
            w.r_E,
            w.u_out,
            w.open_u_E,
            w.open_u_out,
            w.delta,
            w.delta_out,
            w.pre_columns,
        )

    def _backprop(self, w: Workspace, b_0: int, b_1: int) -> None:
        backprop_factors(
            *self._network(),
            self._is_mse,
            w.x[b_0:b_1],
            w.y,
            w.batch,
            b_0,
            b_1,
            w.r_E,
            w.u_out,
            w.delta,
            w.delta_out,
            w.pre_columns,
        )

    # Shares of the parameters, one a thread.

    def _gradients(self, w: Workspace, part: int) -> None:
        gradients(
            self._sizes,
            w.batch,
            part,
            self._threads,
            w.x_columns,
            w.pre_columns,
            w.delta,
            w.delta_out,
            self._g,
        )

    def _descend(self, settings: np.ndarray, part: int) -> None:
        descend(
            self._sizes,
            part,
            self._threads,
            self._theta,
            self._g,
            self._m,
            self._v,
            self._is_adam,
            settings,
        )

    def _next_settings(self) -> np.ndarray:
        self._n_steps += 1
        o, t = self.configuration.optimizer, self._n_steps
        return np.array(
            [
                o.learning_rate,
                o.beta_1,
                o.beta_2,
                1 - o.beta_1,
                1 - o.beta_2,
                1 - o.beta_1**t,
                1 - o.beta_2**t,
                o.epsilon,
            ],
            dtype=self.dtype,
        )

    def _next_r_bar(self, w: Workspace) -> list[np.ndarray]:
        mean = np.sum(w.rate_sums, axis=0) / self._number(w.batch)
        rho = self._number(self.configuration.mean_inhibition.rate)
        ends = np.cumsum(self.configuration.sizes[1:-2])
        new = np.split(mean, ends)
        one = self._number(1)
        return [(one - rho) * r + rho * n for r, n in zip(self._r_bar, new, strict=True)]

    def _estimate(self, r_bar: list[np.ndarray]) -> tuple[bool, np.ndarray, np.ndarray]:
        """How û_I is formed: exactly, or with θ and δ of every unit."""
        rule = self.configuration.rule
        if rule == "linear-threshold-fixed":
            fixed = self._number(self.configuration.mean_inhibition.fixed_point)
            r_bar = [np.full_like(r, fixed) for r in r_bar]
        if rule in ("linear-threshold", "linear-threshold-fixed"):
            r_0 = np.concatenate(r_bar)
            theta, delta = linearized_inverse(self.configuration.activation_I, r_0)
            return False, theta.astype(self.dtype), delta.astype(self.dtype)
        nothing = np.zeros(0, dtype=self.dtype)
        return True, nothing, nothing

    # Threads.

    def _chunks(self, batch: int) -> list[Chunk]:
        ends = [batch * t // self._threads for t in range(self._threads + 1)]
        return [(a, b) for a, b in pairwise(ends) if b > a]

    def _chunk_number(self, w: Workspace, b_0: int) -> int:
        return [first for first, _ in self._chunks(w.batch)].index(b_0)

    def _each(self, batch: int, work: Callable[[Chunk], T]) -> list[T]:
        chunks = self._chunks(batch)
        if self._pool is None:
            return [work(b) for b in chunks]
        return list(self._pool.map(work, chunks))

    def _parts(self, work: Callable[[int], None]) -> None:
        if self._pool is None:
            for part in range(self._threads):
                work(part)
        else:
            list(self._pool.map(work, range(self._threads)))

    @staticmethod
    def _sum(counts: list[EndStateCounts]) -> EndStateCounts:
        return sum(counts, EndStateCounts())

    # Layout.

    def _workspace(self, batch: int) -> Workspace:
        if batch not in self._workspaces:
            self._workspaces = {
                batch: workspace(self.configuration.sizes, batch, self._threads, self.dtype)
            }
        return self._workspaces[batch]

    def _with_inputs(self, x: np.ndarray) -> Workspace:
        w = self._workspace(len(x))
        w.x[:] = x
        w.x_columns[:] = w.x.T
        return w

    def _flat(self, parameters: Parameters) -> np.ndarray:
        arrays = [*parameters.weights, parameters.readout, *parameters.biases]
        return np.concatenate([np.ravel(a) for a in arrays]).astype(self.dtype)

    def _unflat(self, flat: np.ndarray) -> Parameters:
        sizes, at = self.configuration.sizes, 0
        weights, biases = [], []
        for n, m in pairwise(sizes):
            weights.append(flat[at : at + n * m].reshape(n, m).copy())
            at += n * m
        for n in sizes[1:-1]:
            biases.append(flat[at : at + n].copy())
            at += n
        return Parameters(tuple(weights[:-1]), tuple(biases), weights[-1])

    def _blocks(self, flat: np.ndarray, batch: int, *inner: int) -> list[np.ndarray]:
        """Views (batch, …, n_l) of the layers of a flat array."""
        blocks, at = [], 0
        for n in self.configuration.sizes[1:-1]:
            size = batch * n * int(np.prod(inner))
            blocks.append(flat[at : at + size].reshape(batch, *inner, n))
            at += size
        return blocks

    def _put_layers(self, flat: np.ndarray, layers: tuple[np.ndarray, ...]) -> None:
        for block, array in zip(self._blocks(flat, len(layers[0])), layers, strict=True):
            block[:] = array

    def _put_rows(
        self,
        w: Workspace,
        rows: np.ndarray,
        state: NetworkState,
        u_E: np.ndarray,
        u_I: np.ndarray,
        u_out: np.ndarray,
    ) -> None:
        for flat, layers in ((u_E, state.u_E), (u_I, state.u_I)):
            for block, array in zip(self._blocks(flat, w.batch), layers, strict=True):
                block[rows] = array
        u_out[rows] = state.u_out

    def _take_rows(
        self,
        w: Workspace,
        packed: np.ndarray,
        b_0: int,
        b_1: int,
        u_E: np.ndarray,
        u_I: np.ndarray,
        u_out: np.ndarray,
        z: np.ndarray | None,
    ) -> None:
        state = unpack(packed[b_0:b_1], self.configuration.sizes)
        self._put_rows(w, np.arange(b_0, b_1), state, u_E, u_I, u_out)
        if z is not None:
            z[b_0:b_1] = state.z

    def _state(
        self, batch: int, u_E: np.ndarray, u_I: np.ndarray, u_out: np.ndarray, z: np.ndarray
    ) -> NetworkState:
        return NetworkState(
            tuple(u.copy() for u in self._blocks(u_E, batch)),
            tuple(u.copy() for u in self._blocks(u_I, batch)),
            u_out.copy(),
            z.copy(),
        )

    def _state_size(self) -> int:
        return 2 * sum(self.configuration.sizes[1:-1]) + 2 * self.configuration.sizes[-1]

    def _coefficients(self, rows: tuple[tuple[float, ...], ...]) -> np.ndarray:
        square = np.zeros((len(rows), len(rows)), dtype=self.dtype)
        for s, row in enumerate(rows):
            square[s, : len(row)] = row
        return square
