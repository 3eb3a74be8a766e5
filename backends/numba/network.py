"""One network on the CPU: its stages, and how threads share a learning step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ...refimpl import (
    TABLEAUS,
    EndStateCounts,
    FeedbackWeights,
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
    Recording,
    Solver,
    closed_loop_end_state,
    linearized_inverse,
    open_loop_end_state,
    pack,
    slowest_time_constant,
    unpack,
)
from ..backend import Counts, seconds_of, total
from ..layout import (
    flat_parameters,
    layer_views,
    network_state,
    parameters_of,
    put_layers,
    state_size,
    tableau_arrays,
    take_rows,
    units_of,
)
from . import stages
from .kernels.integration import integrate, record
from .kernels.learning import descend, gradients, plain_forward, sum_up
from .kernels.open_loop import condition, gather, open_loop
from .kernels.readout import losses
from .kernels.workspace import Workspace, workspace
from .stages import Estimate, Samples, compiled_settings, run_stages
from .threads import ThreadTeam

T = TypeVar("T")
NOTHING = EndStateCounts()


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A thread's share of a batch.

    Its number, its first sample and the first of the next, and the counts that it adds to
    where the compiled search finds all of its end states.
    """

    number: int
    first: int
    end: int
    all_found: EndStateCounts

    @property
    def samples(self) -> slice:
        """Its rows."""
        return slice(self.first, self.end)

    @property
    def size(self) -> int:
        """How many these are."""
        return self.end - self.first


class CompiledNetwork:
    """A single network that learns, of plain settings; the backend holds one for each replica."""

    def __init__(
        self,
        configuration: NetworkConfiguration,
        solver: Solver,
        learner: Learner,
        dtype: np.dtype,
        team: ThreadTeam,
        threads: int,
    ) -> None:
        self.configuration, self.solver, self.dtype = configuration, solver, dtype
        self._team, self._threads = team, threads
        self._sizes = configuration.sizes
        self._sizes_array = np.array(configuration.sizes, dtype=np.int64)
        self._number = dtype.type
        self._is_backprop = configuration.rule == "backprop"
        self._is_integrated = solver.method != "fixed-point" and not self._is_backprop
        self._settings = compiled_settings(configuration, dtype, self._is_integrated)
        c, slowest = configuration.controller, self._slowest()
        tau = configuration.tau_E, configuration.tau_I
        constants = [*tau, c.k_p, c.k_i, c.leak, c.tau, *slowest]
        self._constants = np.array(constants, dtype=dtype)
        o = configuration.optimizer
        betas = [o.beta_1, o.beta_2, 1 - o.beta_1, 1 - o.beta_2]
        self._rates = np.array([o.learning_rate, *betas, 1, 1, o.epsilon], dtype=dtype)
        self._workspaces: dict[int, Workspace] = {}
        self._chunks_of: dict[int, list[Chunk]] = {}
        self.load(learner)

    def _slowest(self) -> tuple[float, float]:
        """Slowest time constant in open loop and under control; 0 asks nothing of the distance."""
        if self.solver.settled == "published":
            return 0.0, 0.0
        opened, closed = (slowest_time_constant(self.configuration, c) for c in (False, True))
        return float(opened), float(closed)

    # State out and in.

    def load(self, learner: Learner) -> None:
        """Take over a learner."""
        self._theta = flat_parameters(learner.parameters, self.dtype)
        self._g = np.zeros_like(self._theta)
        optimizer = learner.optimizer
        self._n_steps = optimizer.n_steps
        self._is_adam = optimizer.first_moment is not None
        self._m, self._v = (
            np.zeros(0, dtype=self.dtype) if moment is None else flat_parameters(moment, self.dtype)
            for moment in (optimizer.first_moment, optimizer.second_moment)
        )
        self._take_over([np.array(r, dtype=self.dtype) for r in learner.mean_inhibition])

    def learner(self) -> Learner:
        """Copy the learner out."""
        moments = [parameters_of(m, self._sizes) for m in (self._m, self._v) if self._is_adam]
        r_bar = tuple(r.copy() for r in self._r_bar)
        parameters = parameters_of(self._theta, self._sizes)
        return Learner(parameters, OptimizerState(self._n_steps, *moments), r_bar)

    # The stages, each on arrays of its own.

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state."""
        w = self._with_inputs(x)
        counts, _ = total(self._run(w, stages.OPEN_LOOP, stages.OPEN_LOOP))
        z = np.zeros_like(w.open_u_out)
        return network_state(self._sizes, w.open_u_E, w.open_u_I, w.open_u_out, z), counts

    def mean_inhibition(self, open_loop: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in."""
        if not self._settings.is_linear_threshold:
            return tuple(r.copy() for r in self._r_bar)
        w = self._with_open_loop(open_loop)
        self._run(w, stages.RATE_SUMS, stages.RATE_SUMS)
        return tuple(self._next_r_bar(w))

    def feedback_weights(self, open_loop: NetworkState) -> FeedbackWeights:
        """Q^l as applied."""
        w = self._with_open_loop(open_loop)
        self._run(w, stages.FEEDBACK, stages.FEEDBACK)
        if self._settings.average:
            self._average(w)
        return take_rows(w.Q, self._sizes, w.batch, slice(None), self._sizes[-1])

    def closed_loop_target(self, open_loop: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller."""
        w = self._with_open_loop(open_loop)
        w.y[:] = y
        self._run(w, stages.TARGET, stages.TARGET)
        return w.target.copy()

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, open_loop: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state."""
        w = self._with_inputs(x)
        # The drive of the first layer, loop gains and the rough first matrix belong to the
        # network's own open loop; the given state is where the search starts.
        self._run(w, stages.OPEN_LOOP, stages.OPEN_LOOP)
        self._with_open_loop(open_loop)
        self._run(w, stages.FEEDBACK, stages.FEEDBACK)
        put_layers(w.Q, self._sizes, w.batch, Q)
        w.target[:] = target
        _, counts = total(self._run(w, stages.CLOSED_LOOP, stages.CLOSED_LOOP))
        return network_state(self._sizes, w.u_E, w.u_I, w.u_out, w.z), counts

    def gradients(
        self,
        x: np.ndarray,
        y: np.ndarray,
        open_loop: NetworkState,
        closed_loop: NetworkState,
        mean_inhibition: tuple[np.ndarray, ...],
    ) -> Parameters:
        """g of every parameter."""
        w = self._with_inputs(x)
        w.y[:] = y
        estimate = self._estimate
        if not self._is_backprop:
            self._with_open_loop(open_loop)
            self._put(w, slice(None), closed_loop, is_closed=True)
            estimate = self._estimate_from(list(mean_inhibition))
        self._run(w, stages.FACTORS, stages.FACTORS, estimate)
        self._all_gradients(w)
        return parameters_of(self._g, self._sizes)

    def update(self, gradients: Parameters, mean_inhibition: tuple[np.ndarray, ...]) -> None:
        """One optimiser step along -g."""
        self._g[:] = flat_parameters(gradients, self.dtype)
        self._take_over([np.array(r, dtype=self.dtype) for r in mean_inhibition])
        self._move()

    def trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights | None = None,
        target: np.ndarray | None = None,
        start: NetworkState | None = None,
    ) -> NetworkState:
        """Path from rest, or under control from `start` with the integral at zero."""
        w = self._with_inputs(x)
        state = np.zeros((w.batch, state_size(self._sizes)), dtype=self.dtype)
        if start is not None:
            state[:] = pack(dataclasses.replace(start, z=np.zeros_like(start.z)))
        if Q is not None:
            put_layers(w.Q, self._sizes, w.batch, Q)
            w.target[:] = target
        self._run(w, stages.OPEN_LOOP, stages.OPEN_LOOP)
        coefficients, _ = tableau_arrays(recording.method, self.dtype)
        n_times = recording.n_steps // recording.every + 1
        path = np.zeros((n_times, *state.shape), dtype=self.dtype)
        record(
            *self._network(), self._settings.is_mse, self._settings.to_readout, Q is not None,
            self._constants, w.a_1, w.Q, w.target, state, coefficients,
            self._number(recording.dt), recording.n_steps, recording.every, path,
        )  # fmt: skip
        return unpack(path, self._sizes)

    # The work itself.

    def step(
        self,
        source: np.ndarray,
        y: np.ndarray,
        order: np.ndarray,
        full_scale: float,
        figures: np.ndarray,
    ) -> list[Counts]:
        """Learn from one batch; counts of parts of the work, whose sum is the step's.

        `order`, (batch,), are positions in all inputs and labels, `full_scale` is the input that
        counts as 1; figures, (4,), take mean loss, mean closed-loop loss, how many samples are
        right, and how many are under control.
        """
        w = self._workspace(len(order))
        samples = Samples(source, y, order, self._number(full_scale))
        # Averages over the batch wait for all of its samples.
        meets = self._settings.is_linear_threshold or (
            self._settings.average and not self._is_backprop
        )
        if meets:
            counts = self._run(w, stages.GATHER, stages.RATE_SUMS, samples=samples)
            if self._settings.average:
                self._average(w)
            if self._settings.is_linear_threshold:
                self._take_over(self._next_r_bar(w))
            counts = counts + self._run(w, stages.TARGET, stages.LOSSES)
        else:
            counts = self._run(w, stages.GATHER, stages.LOSSES, samples=samples)
        rates = self._next_rates()

        def learn(share: int) -> None:
            self._gradients(w, share)
            self._descend(share, rates)
            if share == 0:
                sum_up(w.loss, w.closed_loop_loss, w.correct, w.closed_loop_correct, figures)

        self._each_share(learn)
        return counts

    def timed_step(
        self, source: np.ndarray, y: np.ndarray, order: np.ndarray, full_scale: float
    ) -> dict[str, float]:
        """Learn from one batch, and give the seconds of each stage; threads meet after each."""
        w = self._workspace(len(order))
        samples = Samples(source, y, order, self._number(full_scale))

        def sum_rates() -> None:
            self._run(w, stages.RATE_SUMS, stages.RATE_SUMS)
            if self._settings.is_linear_threshold:
                self._take_over(self._next_r_bar(w))

        def feed_back() -> None:
            self._run(w, stages.FEEDBACK, stages.FEEDBACK)
            if self._settings.average:
                self._average(w)

        return seconds_of(
            {
                "gathering": partial(self._run, w, stages.GATHER, stages.GATHER, samples=samples),
                "open loop": partial(self._run, w, stages.OPEN_LOOP, stages.OPEN_LOOP),
                "mean inhibition": sum_rates,
                "feedback weights": feed_back,
                "closed-loop target": partial(self._run, w, stages.TARGET, stages.TARGET),
                "closed loop": partial(self._run, w, stages.CLOSED_LOOP, stages.CLOSED_LOOP),
                "postsynaptic factors": partial(self._run, w, stages.FACTORS, stages.FACTORS),
                "losses": partial(self._run, w, stages.LOSSES, stages.LOSSES),
                "gradients": partial(self._all_gradients, w),
                "optimiser update": self._move,
            }
        )

    def evaluate(
        self, source: np.ndarray, y: np.ndarray, order: np.ndarray, full_scale: float
    ) -> tuple[float, int, EndStateCounts]:
        """Sum of the open-loop losses over `order`, samples that are right, and how."""
        batch, scale = len(order), self._number(full_scale)
        loss, correct = np.empty(batch, dtype=self.dtype), np.empty(batch, dtype=bool)
        found, counts = np.zeros(batch, dtype=bool), NOTHING

        def work(chunk: Chunk) -> None:
            n, part, is_mse = chunk.size, chunk.samples, self._settings.is_mse
            x, x_columns = self._array(n, self._sizes[0]), self._array(self._sizes[0], n)
            labels, u_out = self._array(n, self._sizes[-1]), self._array(n, self._sizes[-1])
            gather(source, y, order[part], scale, 0, n, x, x_columns, labels)
            u_E, u_I, r_E = (self._array(n * sum(self._sizes[1:-1])) for _ in range(3))
            if self._is_backprop:
                plain_forward(*self._network(), x, n, 0, n, r_E, u_E, u_out)
                found[part] = True
            else:
                open_loop(
                    *self._network(), self._settings.eps, x, n, 0, n,
                    self._array(n, self._sizes[1]), u_E, u_I, r_E, u_out, found[part],
                )  # fmt: skip
            losses(is_mse, 0, n, u_out, labels, loss[part], correct[part])

        if not self._is_integrated:
            self._each_chunk(batch, work)
            if not self._is_backprop:
                counts = EndStateCounts(frozen_newton=batch)
        if not np.all(found):
            state, counts = self.open_loop(source[order] / scale)
            u_out = np.ascontiguousarray(state.u_out)
            losses(self._settings.is_mse, 0, batch, u_out, y[order], loss, correct)
        return float(np.sum(loss, dtype=np.float64)), int(np.count_nonzero(correct)), counts

    # Stages on a batch, a chunk a thread.

    def _run(
        self,
        w: Workspace,
        first: int,
        last: int,
        estimate: Estimate | None = None,
        samples: Samples | None = None,
    ) -> list[Counts]:
        """Run stages `first` to `last`, in Python what compiled code leaves; counts by chunk."""
        chosen = estimate or self._estimate

        def work(chunk: Chunk) -> Counts:
            opened = chunk.all_found if first <= stages.OPEN_LOOP <= last else NOTHING
            closed = chunk.all_found if first <= stages.CLOSED_LOOP <= last else NOTHING
            stage = first
            while stage <= last:
                stage = run_stages(
                    self._theta, self._sizes_array, self._settings, chosen, w, samples,
                    chunk.number, chunk.first, chunk.end, stage, last,
                )  # fmt: skip
                if self._is_backprop:
                    opened = closed = NOTHING
                elif stage == stages.OPEN_LOOP + 1:
                    opened = self._finish(w, chunk, is_closed=False)
                elif stage == stages.CLOSED_LOOP + 1:
                    closed = self._finish(w, chunk, is_closed=True)
            return opened, closed

        return self._each_chunk(w.batch, work)

    def _finish(self, w: Workspace, chunk: Chunk, is_closed: bool) -> EndStateCounts:
        """Integrate, or solve as the reference would what the compiled search left."""
        if self._is_integrated:
            return self._integrate(w, chunk, is_closed)
        found = w.found if is_closed else w.open_found
        left = np.flatnonzero(~found[chunk.samples]) + chunk.first
        if left.size == 0:
            return chunk.all_found
        parameters = parameters_of(self._theta, self._sizes)
        if is_closed:
            Q = take_rows(w.Q, self._sizes, w.batch, left, self._sizes[-1])
            start = self._open_state(w, left)
            state, counts = closed_loop_end_state(
                self.configuration, self.solver, parameters, w.x[left], Q, w.target[left], start
            )
        else:
            state, counts = open_loop_end_state(
                self.configuration, self.solver, parameters, w.x[left]
            )
        self._put(w, left, state, is_closed)
        return EndStateCounts(frozen_newton=chunk.size - left.size) + counts

    def _integrate(self, w: Workspace, chunk: Chunk, is_closed: bool) -> EndStateCounts:
        """Integrate from rest, or under control from the open loop's end states."""
        solver, part = self.solver, chunk.samples
        state = np.zeros((w.batch, state_size(self._sizes)), dtype=self.dtype)
        if is_closed:
            state[part] = pack(self._open_state(w, part))
        settled, n_steps = np.zeros(w.batch, dtype=bool), np.zeros(w.batch, dtype=np.int64)
        coefficients, error_weights = tableau_arrays(solver.method, self.dtype)
        limits = [solver.dt_min, solver.dt_max, solver.safety, solver.factor_min, solver.factor_max]
        integrate(
            *self._network(), self._settings.is_mse, self._settings.to_readout, is_closed,
            self._constants, w.batch, chunk.first, chunk.end, w.a_1, w.Q, w.target, state, settled,
            n_steps, coefficients, error_weights, TABLEAUS[solver.method].error_order,
            solver.step_control == "adaptive", self._number(solver.rtol),
            self._number(solver.atol), solver.dt,
            np.array([*limits, solver.p, solver.i, solver.d]), solver.horizon, solver.max_steps,
        )  # fmt: skip
        self._put(w, part, unpack(state[part], self._sizes), is_closed)
        n_settled = int(np.count_nonzero(settled[part]))
        return EndStateCounts(
            integrated=chunk.size,
            unsettled=chunk.size - n_settled,
            steps=int(np.sum(n_steps[part])),
        )

    def _all_gradients(self, w: Workspace) -> None:
        self._each_share(lambda share: self._gradients(w, share))

    def _move(self) -> None:
        rates = self._next_rates()
        self._each_share(lambda share: self._descend(share, rates))

    def _gradients(self, w: Workspace, share: int) -> None:
        gradients(
            self._sizes_array, self.configuration.bias, w.batch, share, self._threads,
            w.x_columns, w.pre_columns, w.delta, w.delta_out, self._g,
        )  # fmt: skip

    def _descend(self, share: int, rates: np.ndarray) -> None:
        descend(
            self._sizes_array, share, self._threads, self._theta, self._g, self._m, self._v,
            self._is_adam, rates,
        )  # fmt: skip

    def _average(self, w: Workspace) -> None:
        s = self._settings
        for l, block in enumerate(layer_views(w.Q, self._sizes, w.batch, self._sizes[-1])):
            mean = np.mean(block, axis=0)
            w.strength[l] = condition(mean, s.normalize, s.norm, s.clip)
            block[:] = mean

    # Numbers of the step to come.

    def _next_rates(self) -> np.ndarray:
        """η, β₁, β₂, 1 - β₁, 1 - β₂, 1 - β₁ᵗ, 1 - β₂ᵗ, ε of the next step t."""
        self._n_steps += 1
        o = self.configuration.optimizer
        self._rates[5] = 1 - o.beta_1**self._n_steps
        self._rates[6] = 1 - o.beta_2**self._n_steps
        return self._rates

    def _next_r_bar(self, w: Workspace) -> list[np.ndarray]:
        mean = np.sum(w.rate_sums, axis=0) / self._number(w.batch)
        rho = self._number(self.configuration.mean_inhibition.rate)
        new, one = units_of(mean, self._sizes), self._number(1)
        return [(one - rho) * r + rho * n for r, n in zip(self._r_bar, new, strict=True)]

    def _take_over(self, r_bar: list[np.ndarray]) -> None:
        self._r_bar = r_bar
        self._estimate = self._estimate_from(r_bar)

    def _estimate_from(self, r_bar: list[np.ndarray]) -> Estimate:
        rule = self.configuration.rule
        if rule == "linear-threshold-fixed":
            fixed = self._number(self.configuration.mean_inhibition.fixed_point)
            r_bar = [np.full_like(r, fixed) for r in r_bar]
        if rule in ("linear-threshold", "linear-threshold-fixed"):
            r_0 = np.concatenate(r_bar)
            theta, delta = linearized_inverse(self.configuration.activation_I, r_0)
            return Estimate(False, theta.astype(self.dtype), delta.astype(self.dtype))
        nothing = np.zeros(0, dtype=self.dtype)
        return Estimate(True, nothing, nothing)

    # Shares of the threads.

    def _chunks(self, batch: int) -> list[Chunk]:
        if batch not in self._chunks_of:
            ends = [batch * t // self._threads for t in range(self._threads + 1)]
            shares = [(a, b) for a, b in pairwise(ends) if b > a]
            self._chunks_of[batch] = [
                Chunk(i, a, b, EndStateCounts(frozen_newton=b - a))
                for i, (a, b) in enumerate(shares)
            ]
        return self._chunks_of[batch]

    def _each_chunk(self, batch: int, work: Callable[[Chunk], T]) -> list[T]:
        return self._team.share(work, self._chunks(batch))

    def _each_share(self, work: Callable[[int], None]) -> None:
        """Share the parameters: each thread the rows of its number."""
        self._team.share(work, range(self._threads))

    # Arrays.

    def _array(self, *shape: int) -> np.ndarray:
        return np.empty(shape, dtype=self.dtype)

    def _network(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._theta, self._sizes_array, self._settings.phi

    def _workspace(self, batch: int) -> Workspace:
        if batch not in self._workspaces:
            self._workspaces = {batch: workspace(self._sizes, batch, self._threads, self.dtype)}
        return self._workspaces[batch]

    def _with_inputs(self, x: np.ndarray) -> Workspace:
        w = self._workspace(len(x))
        w.x[:] = x
        w.x_columns[:] = w.x.T
        return w

    def _with_open_loop(self, state: NetworkState) -> Workspace:
        w = self._workspace(len(state.u_out))
        self._put(w, slice(None), state, is_closed=False)
        return w

    def _put(
        self, w: Workspace, rows: np.ndarray | slice, state: NetworkState, is_closed: bool
    ) -> None:
        """Copy the state of some samples into the workspace."""
        u_E, u_I, u_out = (
            (w.u_E, w.u_I, w.u_out) if is_closed else (w.open_u_E, w.open_u_I, w.open_u_out)
        )
        put_layers(u_E, self._sizes, w.batch, state.u_E, rows)
        put_layers(u_I, self._sizes, w.batch, state.u_I, rows)
        u_out[rows] = state.u_out
        if is_closed:
            w.z[rows] = state.z

    def _open_state(self, w: Workspace, rows: np.ndarray | slice) -> NetworkState:
        """Open-loop state of some samples, the integral at zero."""
        return NetworkState(
            take_rows(w.open_u_E, self._sizes, w.batch, rows),
            take_rows(w.open_u_I, self._sizes, w.batch, rows),
            w.open_u_out[rows].copy(),
            np.zeros_like(w.open_u_out[rows]),
        )
