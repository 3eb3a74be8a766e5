"""A stack of networks on a CUDA device: which kernel, which product, in which order.

Replicas lie side by side in every array and share every launch. Nothing here waits for the
device but what copies results out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from ...refimpl import (
    EndStateCounts,
    FeedbackWeights,
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
    Recording,
    Solver,
    rate,
    unpack,
)
from ..backend import BackendUnavailable
from ..layout import flat_parameters, layer_views, parameters_of
from .device import Device, DeviceArray, Launch, Product
from .source import enumerators
from .workspace import (
    GroupSize,
    Workspace,
    control_array,
    group_size,
    integration_method,
    settings_array,
    state_size,
    structure_values,
    tableau_arrays,
    workspace_elements,
    write_plan,
)

OPEN, CLOSED, EVERY_SAMPLE = 0, 1, 2
"""What `integrate` and `record` are told, as in cuda/integration.cuh."""
KEPT_WORKSPACES = 3
"""Batch sizes whose arrays and recorded steps are kept: training, evaluation, one more."""


@dataclasses.dataclass(frozen=True)
class PlacedOnDevice:
    """Inputs and labels in the device's memory.

    Parameters
    ----------
    x, y : device array
        Inputs as they came if bytes, else in the network's precision; labels.
    n_samples : int
        Samples, of each replica if these have their own.
    x_is_bytes, x_is_shared, y_is_shared : bool
        Inputs are bytes; all replicas use the same inputs; the same labels.
    full_scale : float
        Input that counts as 1.
    """

    x: DeviceArray
    y: DeviceArray
    n_samples: int
    x_is_bytes: bool
    x_is_shared: bool
    y_is_shared: bool
    full_scale: float


class CudaNetwork:
    """Networks that learn on a device.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Settings may be arrays (*leading, 1, 1).
    solver : Solver
        How end states are found.
    learner : Learner
        Start; its leading axes are replicas.
    device : Device
        Where.
    """

    def __init__(
        self, configuration: NetworkConfiguration, solver: Solver, learner: Learner, device: Device
    ) -> None:
        self.configuration, self.solver = configuration, solver
        self._device, self._dtype = device, device.dtype
        self._sizes = configuration.sizes
        self._is_backprop = configuration.rule == "backprop"
        self._is_integrated = solver.method != "fixed-point" and not self._is_backprop
        self._structure = structure_values(configuration, solver)
        self._method = integration_method(solver)
        self._workspaces: dict[int, Workspace] = {}
        self._recorded: dict[tuple[int, str], Callable[[], None]] = {}
        self._fixed: dict[str, DeviceArray] = {}
        self._leading: tuple[int, ...] | None = None
        self.load(learner)

    # State out and in.

    def load(self, learner: Learner) -> None:
        """Take over a learner."""
        device, dtype = self._device, self._dtype
        leading = learner.parameters.readout.shape[:-2]
        theta = self._flat_stack(learner.parameters, leading)
        optimizer = learner.optimizer
        self._n_steps, self._has_moments = optimizer.n_steps, optimizer.first_moment is not None
        r_bar = self._flat_units(learner.mean_inhibition, leading)
        named: dict[str, np.ndarray] = {"theta": theta, "r_bar": r_bar, "next_r_bar": r_bar}
        if optimizer.first_moment is not None and optimizer.second_moment is not None:
            named["m"] = self._flat_stack(optimizer.first_moment, leading)
            named["v"] = self._flat_stack(optimizer.second_moment, leading)
        if leading != self._leading:
            self._leading = leading
            self._allocate(leading)
        for name, array in named.items():
            device.put(array.astype(dtype), into=self._fixed[name])

    def _allocate(self, leading: tuple[int, ...]) -> None:
        """Take the memory that does not depend on the batch."""
        self._workspaces, self._recorded = {}, {}
        self._replicas = int(np.prod(leading, dtype=int))
        device, R = self._device, self._replicas
        n_parameters, n_units = self._structure["n_parameters"], self._structure["n_units"]
        moments = R * n_parameters if self._has_moments else 1
        square, error_weights = tableau_arrays(self._method)
        control = control_array(self.configuration, self.solver, self._dtype)
        self._fixed = {
            "theta": device.empty(R * n_parameters, self._dtype),
            "g": device.empty(R * n_parameters, self._dtype),
            "m": device.empty(moments, self._dtype),
            "v": device.empty(moments, self._dtype),
            **{
                name: device.empty(R * n_units, self._dtype)
                for name in ("r_bar", "next_r_bar", "intercept", "inclination")
            },
            "settings": device.put(
                settings_array(self.configuration, leading).astype(self._dtype).ravel()
            ),
            "control": device.put(control),
            "tableau": device.put(square.astype(self._dtype).ravel()),
            "error_weights": device.put(error_weights.astype(self._dtype)),
            "sizes": device.put(np.array(self._sizes, dtype=np.int64)),
            "full_scale": device.put(np.ones(1, dtype=self._dtype)),
            "counts": device.put(np.zeros(2 * enumerators("Way")["N_WAYS"], dtype=np.uint64)),
            "step": device.put(np.zeros(2, dtype=np.int64)),
        }

    def learner(self) -> Learner:
        """Copy the learner out."""
        optimizer = OptimizerState(self._n_steps)
        if self._has_moments:
            optimizer = OptimizerState(self._n_steps, self._parameters("m"), self._parameters("v"))
        return Learner(self._parameters("theta"), optimizer, self._units("r_bar"))

    # The stages.

    def open_loop(self, x: np.ndarray) -> tuple[NetworkState, EndStateCounts]:
        """Open-loop end state."""
        w = self._with_inputs(x)
        self._clear_counts()
        self._find_open_loop(w)
        state = self._state(w, "open_u_E", "open_u_I", "open_u_out")
        return state, self._counts()[0]

    def mean_inhibition(self, state: NetworkState) -> tuple[np.ndarray, ...]:
        """r̄ with the present batch taken in."""
        w = self._with_open_loop(state)
        self._per_unit(w, "mean_inhibition")
        return self._units("next_r_bar")

    def feedback_weights(self, state: NetworkState) -> FeedbackWeights:
        """Q^l as applied."""
        w = self._with_open_loop(state)
        self._feed_back(w)
        return self._layers(w, "Q", self._sizes[-1])

    def closed_loop_target(self, state: NetworkState, y: np.ndarray) -> np.ndarray:
        """Target of the controller."""
        w = self._with_open_loop(state)
        self._put(w, "y", y)
        self._per_row(w, "closed_loop_target")
        return self._outputs(w, "target")

    def closed_loop(
        self, x: np.ndarray, Q: FeedbackWeights, target: np.ndarray, state: NetworkState
    ) -> tuple[NetworkState, EndStateCounts]:
        """Closed-loop end state."""
        w = self._with_inputs(x)
        self._with_open_loop(state)
        self._drive(w)
        # Loop gains and strengths, by which the search begins, come with the network's own Q.
        self._feed_back(w)
        self._put_layers(w, "Q", Q)
        self._put(w, "target", target)
        self._clear_counts()
        self._find_closed_loop(w)
        return self._state(w, "u_E", "u_I", "u_out", "z"), self._counts()[1]

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
        self._put(w, "y", y)
        if self._is_backprop:
            self._forward(w)
            self._backward(w)
        else:
            self._with_open_loop(open_state)
            # φ_E of the open loop, from which the readout may learn.
            rates = tuple(np.asarray(self._rate_E(u), dtype=self._dtype) for u in open_state.u_E)
            self._put_layers(w, "open_r_E", rates)
            self._put_layers(w, "u_E", closed_state.u_E)
            self._put_layers(w, "u_I", closed_state.u_I)
            self._put(w, "u_out", closed_state.u_out)
            flat = self._flat_units(r_bar, self._leading or ())
            self._device.put(flat.astype(self._dtype), into=self._fixed["next_r_bar"])
            self._find_factors(w)
        self._find_gradients(w)
        return self._parameters("g")

    def update(self, g: Parameters, r_bar: tuple[np.ndarray, ...]) -> None:
        """One optimiser step along -g."""
        leading = self._leading or ()
        w = next(iter(self._workspaces.values()), None) or self._workspace(1)
        flat = self._flat_stack(g, leading).astype(self._dtype)
        self._device.put(flat, into=self._fixed["g"])
        mean = self._flat_units(r_bar, leading).astype(self._dtype)
        self._device.put(mean, into=self._fixed["r_bar"])
        self._device.put(mean, into=self._fixed["next_r_bar"])
        self._set_step(0)
        self._descend(w)
        self._n_steps += 1

    def trajectory(
        self,
        recording: Recording,
        x: np.ndarray,
        Q: FeedbackWeights | None,
        target: np.ndarray | None,
        start: NetworkState | None,
    ) -> NetworkState:
        """Path from rest, or under control from `start` with the integral at zero."""
        w, device = self._with_inputs(x), self._device
        if start is not None and Q is not None and target is not None:
            self._with_open_loop(start)
            self._put_layers(w, "Q", Q)
            self._put(w, "target", target)
        self._drive(w)
        square, error_weights = tableau_arrays(recording.method)
        rows, size = self._rows(w), state_size(self._sizes)
        frames = recording.n_steps // recording.every + 1
        control = control_array(self.configuration, self.solver, self._dtype, recording.dt)
        own = {
            "path": device.empty(frames * rows * size, self._dtype),
            "control": device.put(control),
            "tableau": device.put(square.astype(self._dtype).ravel()),
            "error_weights": device.put(error_weights.astype(self._dtype)),
            "stages": device.empty(rows * (len(square) + 1) * size, self._dtype),
        }
        before = dict(w.values)
        w.values |= {name: device.address(array) for name, array in own.items()}
        w.values |= {"path_steps": recording.n_steps, "path_every": recording.every}
        w.values |= {"n_stages": len(square)}
        write_plan(device, w)
        self._per_group(w, "record", OPEN if Q is None else CLOSED)
        path = device.get(own["path"]).reshape(frames, *(self._leading or ()), w.batch, size)
        w.values = before
        write_plan(device, w)
        return unpack(path, self._sizes)

    # The work itself.

    def train(
        self, data: PlacedOnDevice, batch_order: np.ndarray
    ) -> tuple[np.ndarray, EndStateCounts, EndStateCounts]:
        """Learn from many batches; figures are (steps, replicas, 3), as `sum_up` gives them."""
        n_steps, batch = len(batch_order), batch_order.shape[-1]
        w = self._workspace(batch)
        figures = self._bind(w, data, batch_order)
        self._set_step(0)
        self._clear_counts()
        step = self._recording(w, "step", lambda: self._step(w))
        for _ in range(n_steps):
            step()
        self._n_steps += n_steps
        shape = (n_steps, self._replicas, 3)
        return self._device.get(figures, int(np.prod(shape))).reshape(shape), *self._counts()

    def evaluate(
        self, data: PlacedOnDevice, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray, EndStateCounts]:
        """Sum of the losses, samples that are right, each (replicas,), and how."""
        loss, right = np.zeros(self._replicas), np.zeros(self._replicas)
        self._clear_counts()
        whole = data.n_samples // batch_size * batch_size
        for first, last, batch in (
            (0, whole, batch_size),
            (whole, data.n_samples, data.n_samples - whole),
        ):
            if last == first:
                continue
            order = np.arange(first, last).reshape(-1, batch)
            w = self._workspace(batch)
            figures = self._bind(w, data, order)
            self._set_step(0)
            step = self._recording(w, "evaluation", partial(self._evaluate, w))
            for _ in order:
                step()
            shape = (len(order), self._replicas, 3)
            found = self._device.get(figures, int(np.prod(shape))).reshape(shape)
            loss += np.sum(found[:, :, 0], axis=0) * batch
            right += np.sum(found[:, :, 2], axis=0)
        return loss, right, self._counts()[0]

    def stages(self, data: PlacedOnDevice, order: np.ndarray) -> dict[str, Callable[[], None]]:
        """Stages of a learning step on one batch, to be called in order."""
        w = self._workspace(order.shape[-1])
        self._bind(w, data, order[None])
        self._set_step(0)
        self._n_steps += 1
        return self._step_stages(w)

    def _step(self, w: Workspace) -> None:
        for stage in self._step_stages(w).values():
            stage()

    def _step_stages(self, w: Workspace) -> dict[str, Callable[[], None]]:
        begin = {"gathering": lambda: self._by_row(w, "gather")}
        end = {
            "gradients": lambda: self._find_gradients(w),
            "losses": lambda: self._sum_up(w, with_closed_loop=not self._is_backprop),
            "optimiser update": lambda: self._descend(w),
        }
        if self._is_backprop:
            passes = {
                "forward pass": lambda: self._forward(w),
                "backward pass": lambda: self._backward(w),
            }
            return begin | passes | end
        mean = {"mean inhibition": lambda: self._per_unit(w, "mean_inhibition")}
        if self.configuration.rule != "linear-threshold":
            mean = {}
        return (
            begin
            | {"open loop": lambda: self._find_open_loop(w)}
            | mean
            | {
                "feedback weights": lambda: self._feed_back(w),
                "closed-loop target": lambda: self._per_row(w, "closed_loop_target"),
                "closed loop": lambda: self._find_closed_loop(w),
                "postsynaptic factors": lambda: self._find_factors(w),
            }
            | end
        )

    def _evaluate(self, w: Workspace) -> None:
        self._by_row(w, "gather")
        if self._is_backprop:
            self._forward(w)
        else:
            self._find_open_loop(w)
        self._sum_up(w, with_closed_loop=False)
        self._launch(w, "advance", Launch(1, self._device.threads), argument=0)

    # Stages as kernels and products.

    def _drive(self, w: Workspace) -> None:
        """First-layer drive a^1 = x W^1 + b^1, once a batch."""
        n_in, n_1 = self._sizes[0], self._sizes[1]
        self._multiply_rows(w, "x", n_in, 0, n_1, "a_1")
        self._by_row(w, "add_first_bias")

    def _find_open_loop(self, w: Workspace) -> None:
        self._drive(w)
        if self._is_integrated:
            self._per_group(w, "integrate", OPEN | EVERY_SAMPLE)
        else:
            self._per_group(w, "open_loop")
            self._per_group(w, "integrate", OPEN)

    def _feed_back(self, w: Workspace) -> None:
        n_out, top = self._sizes[-1], self.configuration.n_hidden - 1
        threads = self._device.threads
        block = Launch(self._rows(w), threads, threads * self._dtype.itemsize)
        for l in range(top, -1, -1):
            if l < top:
                # J^l before its slopes: the J of the layer above, of every output of every
                # sample, times the weights between.
                above, n = self._sizes[l + 2], self._sizes[l + 1]
                names = ("J_odd", "J_even") if l % 2 == 0 else ("J_even", "J_odd")
                self._device.multiply(
                    Product(
                        rows=w.batch * n_out,
                        inner=above,
                        columns=n,
                        a=w.values[names[0]],
                        b=self._weight(l + 1),
                        c=w.values[names[1]],
                        a_stride=w.batch * n_out * above,
                        b_stride=self._structure["n_parameters"],
                        c_stride=w.batch * n_out * n,
                        b_transposed=True,
                        count=self._replicas,
                    )
                )
            self._launch(w, "feedback_weights", block, argument=l)
            if self.configuration.feedback.average:
                replicas = dataclasses.replace(block, blocks=self._replicas)
                self._launch(w, "average_feedback", replicas, argument=l)

    def _find_closed_loop(self, w: Workspace) -> None:
        if self._is_integrated:
            self._per_group(w, "integrate", CLOSED | EVERY_SAMPLE)
        else:
            self._per_group(w, "closed_loop")
            self._per_group(w, "search_again", samples=1)
            self._per_group(w, "integrate", CLOSED)

    def _find_factors(self, w: Workspace) -> None:
        if self.configuration.rule != "exact-inverse":
            self._per_unit(w, "linearize")
        self._per_group(w, "factors")

    def _forward(self, w: Workspace) -> None:
        """Plain network: h^l = φ(h^{l-1} W^l + b^l), slopes in delta, output in open_u_out."""
        below, n_below, offset = "x", self._sizes[0], 0
        for l, n in enumerate(self._sizes[1:-1]):
            self._multiply_rows(w, below, n_below, l, n, "r_E", a_from=offset)
            self._launch(
                w, "forward_layer", Launch(self._rows(w), self._device.threads), argument=l
            )
            below, n_below, offset = "r_E", n, self._layer_start(w, l)
        top = self.configuration.n_hidden
        self._multiply_rows(w, below, n_below, top, self._sizes[-1], "open_u_out", a_from=offset)

    def _backward(self, w: Workspace) -> None:
        self._per_row(w, "output_error")
        itemsize, n_parameters = self._dtype.itemsize, self._structure["n_parameters"]
        above, n_above = w.values["delta_out"], self._sizes[-1]
        for l in range(self.configuration.n_hidden - 1, -1, -1):
            n = self._sizes[l + 1]
            self._device.multiply(
                Product(
                    rows=w.batch,
                    inner=n_above,
                    columns=n,
                    a=above,
                    b=self._weight(l + 1),
                    c=w.values["back"],
                    a_stride=w.batch * n_above,
                    b_stride=n_parameters,
                    c_stride=w.batch * n,
                    b_transposed=True,
                    count=self._replicas,
                )
            )
            blocks = -(-self._rows(w) * n // self._device.threads)
            self._launch(w, "backward_layer", Launch(blocks, self._device.threads), argument=l)
            above = w.values["delta"] + self._layer_start(w, l) * itemsize
            n_above = n

    def _find_gradients(self, w: Workspace) -> None:
        """Mean of preᵀ δ, one product a layer, and of δ."""
        itemsize, n_parameters = self._dtype.itemsize, self._structure["n_parameters"]
        top, at = self.configuration.n_hidden, 0
        for l, (n, n_above) in enumerate(pairwise(self._sizes)):
            pre, delta = w.values["x"], w.values["delta_out"]
            if l > 0:
                pre = w.values["r_E"] + self._layer_start(w, l - 1) * itemsize
            if l < top:
                delta = w.values["delta"] + self._layer_start(w, l) * itemsize
            self._device.multiply(
                Product(
                    rows=n,
                    inner=w.batch,
                    columns=n_above,
                    a=pre,
                    b=delta,
                    c=w.values["g"] + at * itemsize,
                    a_stride=w.batch * n,
                    b_stride=w.batch * n_above,
                    c_stride=n_parameters,
                    a_transposed=True,
                    alpha=1 / w.batch,
                    count=self._replicas,
                )
            )
            at += n * n_above
        self._per_unit(w, "bias_gradients")

    def _sum_up(self, w: Workspace, with_closed_loop: bool) -> None:
        threads = self._device.threads
        self._launch(w, "sum_up", Launch(self._replicas, threads, 8 * threads), with_closed_loop)

    def _descend(self, w: Workspace) -> None:
        threads = self._device.threads
        blocks = -(-self._replicas * self._structure["n_parameters"] // threads)
        self._launch(w, "descend", Launch(blocks, threads, 2 * self._dtype.itemsize), 0)
        takes_over = self.configuration.rule == "linear-threshold"
        self._launch(w, "advance", Launch(1, threads), argument=takes_over)

    # Launches.

    def _launch(self, w: Workspace, kernel: str, how: Launch, argument: int) -> None:
        self._device.launch(kernel, how, w.plan, int(argument))

    def _by_row(self, w: Workspace, kernel: str) -> None:
        """A block a row."""
        self._launch(w, kernel, Launch(self._rows(w), self._device.threads), 0)

    def _per_row(self, w: Workspace, kernel: str) -> None:
        """A thread a row."""
        self._launch(w, kernel, Launch(-(-self._rows(w) // 32), 32), 0)

    def _per_unit(self, w: Workspace, kernel: str) -> None:
        """A thread a unit of every replica."""
        units = self._replicas * self._structure["n_units"]
        self._launch(w, kernel, Launch(-(-units // 32), 32), 0)

    def _per_group(
        self, w: Workspace, kernel: str, argument: int = 0, samples: int | None = None
    ) -> None:
        """A block a group of samples."""
        group = self._group(w.batch)
        samples = samples or group.samples
        blocks = self._replicas * -(-w.batch // samples)
        how = Launch(blocks, self._device.group_threads, group.block_bytes, samples)
        self._launch(w, kernel, how, argument)

    def _group(self, batch: int) -> GroupSize:
        return group_size(self._sizes, self._replicas * batch, self._device)

    def _multiply_rows(
        self, w: Workspace, a: str, n: int, l: int, m: int, c: str, a_from: int = 0
    ) -> None:
        """Rows times W^l of each replica, into the layer's rows of c."""
        itemsize = self._dtype.itemsize
        c_from = self._layer_start(w, l) if c == "r_E" else 0
        self._device.multiply(
            Product(
                rows=w.batch,
                inner=n,
                columns=m,
                a=w.values[a] + a_from * itemsize,
                b=self._weight(l),
                c=w.values[c] + c_from * itemsize,
                a_stride=w.batch * n,
                b_stride=self._structure["n_parameters"],
                c_stride=w.batch * m,
                count=self._replicas,
            )
        )

    def _weight(self, l: int) -> int:
        """Address of the first replica's W^l."""
        start = sum(n * m for n, m in list(pairwise(self._sizes))[:l])
        return self._device.address(self._fixed["theta"]) + start * self._dtype.itemsize

    def _layer_start(self, w: Workspace, l: int) -> int:
        """Elements before hidden layer l in a layer array."""
        return self._rows(w) * sum(self._sizes[1 : l + 1])

    def _rows(self, w: Workspace) -> int:
        return self._replicas * w.batch

    # Workspaces.

    def _workspace(self, batch: int) -> Workspace:
        if batch not in self._workspaces:
            while len(self._workspaces) >= KEPT_WORKSPACES:
                oldest = next(iter(self._workspaces))
                del self._workspaces[oldest]
                self._recorded = {k: v for k, v in self._recorded.items() if k[0] != oldest}
            self._workspaces[batch] = self._new_workspace(batch)
        return self._workspaces[batch]

    def _new_workspace(self, batch: int) -> Workspace:
        device, rows = self._device, self._replicas * batch
        with_matrices = self._group(batch).matrices_in_block
        n_stages = len(tableau_arrays(self._method)[0])
        elements = workspace_elements(self.configuration, rows, n_stages, with_matrices)
        self._require_memory(batch, sum(elements.values()) * self._dtype.itemsize)
        arrays = {name: device.empty(max(n, 1), self._dtype) for name, n in elements.items()}
        left = {name: device.empty(rows, np.int64) for name in ("open_left", "closed_left")}
        arrays |= left
        addressed = {**self._fixed, **arrays}
        values = self._structure | {
            "replicas": self._replicas,
            "batch": batch,
            "n_stages": n_stages,
            "matrices_in_block": with_matrices,
            **{name: device.address(array) for name, array in addressed.items()},
        }
        plan = device.put(np.zeros(256, dtype=np.int64))
        w = Workspace(batch, arrays, values, plan)
        write_plan(device, w)
        return w

    def _require_memory(self, batch: int, needed: int) -> None:
        free = self._device.free_bytes()
        if needed <= free:
            return
        fitting = batch * free // needed
        replicas = self._replicas * free // needed
        raise BackendUnavailable(
            f"the device is out of memory: batch {batch} with {self._replicas} replicas asks for "
            f"{needed:,} bytes, {free:,} are free; batch {fitting} would fit, or at this batch "
            f"{replicas} replicas"
        )

    def _bind(self, w: Workspace, data: PlacedOnDevice, batch_order: np.ndarray) -> DeviceArray:
        """Point the plan to data, order and figures of the steps to come."""
        device, n_steps = self._device, len(batch_order)
        orders = np.asarray(batch_order, dtype=np.int64).reshape(n_steps, -1, w.batch)
        if orders.shape[1] not in (1, self._replicas):
            orders = np.broadcast_to(
                batch_order, (n_steps, *(self._leading or ()), w.batch)
            ).reshape(n_steps, self._replicas, w.batch)
        kept = {
            "order": device.put(np.ascontiguousarray(orders).ravel()),
            "figures": device.empty(n_steps * self._replicas * 3, np.float64),
        }
        device.put(np.array([data.full_scale], dtype=self._dtype), into=self._fixed["full_scale"])
        w.arrays |= kept
        w.values |= {name: device.address(array) for name, array in kept.items()}
        w.values |= {
            "order_stride": w.batch if orders.shape[1] > 1 else 0,
            "order_of_step": orders.shape[1] * w.batch,
            "source": device.address(data.x),
            "source_is_bytes": data.x_is_bytes,
            "source_stride": 0 if data.x_is_shared else data.n_samples,
            "labels": device.address(data.y),
            "labels_stride": 0 if data.y_is_shared else data.n_samples,
        }
        write_plan(device, w)
        return kept["figures"]

    def _recording(self, w: Workspace, name: str, work: Callable[[], None]) -> Callable[[], None]:
        key = (w.batch, name)
        if key not in self._recorded:
            self._recorded[key] = self._device.record(work)
        return self._recorded[key]

    def _set_step(self, first: int) -> None:
        """Position in the order of batches, and steps that the optimiser has taken."""
        counters = np.array([first, self._n_steps], dtype=np.int64)
        self._device.put(counters, into=self._fixed["step"])

    def _clear_counts(self) -> None:
        zeros = np.zeros(2 * enumerators("Way")["N_WAYS"], dtype=np.uint64)
        self._device.put(zeros, into=self._fixed["counts"])

    def _counts(self) -> tuple[EndStateCounts, EndStateCounts]:
        found = self._device.get(self._fixed["counts"]).astype(int).reshape(2, -1)
        way = enumerators("Way")
        open_loop, closed_loop = (
            EndStateCounts(
                frozen_newton=int(row[way["FOUND"]]),
                fresh_newton=int(row[way["FOUND_ANEW"]]),
                integrated=int(row[way["INTEGRATED"]]),
                unsettled=int(row[way["UNSETTLED"]]),
            )
            for row in found
        )
        return open_loop, closed_loop

    # Arrays in and out.

    def _rate_E(self, u: np.ndarray) -> np.ndarray:
        return rate(self.configuration.activation_E, np.asarray(u, dtype=self._dtype))

    def _with_inputs(self, x: np.ndarray) -> Workspace:
        w = self._workspace(x.shape[-2])
        self._put(w, "x", x)
        return w

    def _with_open_loop(self, state: NetworkState) -> Workspace:
        w = self._workspace(state.u_out.shape[-2])
        self._put_layers(w, "open_u_E", state.u_E)
        self._put_layers(w, "open_u_I", state.u_I)
        self._put(w, "open_u_out", state.u_out)
        return w

    def _put(self, w: Workspace, name: str, array: np.ndarray) -> None:
        """Copy rows (..., batch, n) in, the same for all replicas if they lack their axes."""
        whole = np.broadcast_to(array, (*(self._leading or ()), *array.shape[-2:]))
        self._device.put(np.ravel(whole).astype(self._dtype), into=w.arrays[name])

    def _put_layers(self, w: Workspace, name: str, layers: tuple[np.ndarray, ...]) -> None:
        leading = self._leading or ()
        inner = layers[0].ndim - len(leading) - 2
        flat = [
            np.broadcast_to(
                array, (*leading, w.batch, *array.shape[array.ndim - 1 - inner :])
            ).ravel()
            for array in layers
        ]
        self._device.put(np.concatenate(flat).astype(self._dtype), into=w.arrays[name])

    def _layers(self, w: Workspace, name: str, *inner: int) -> tuple[np.ndarray, ...]:
        flat = self._device.get(w.arrays[name])
        return tuple(
            view.reshape(*(self._leading or ()), w.batch, *view.shape[1:]).copy()
            for view in layer_views(flat, self._sizes, self._rows(w), *inner)
        )

    def _outputs(self, w: Workspace, name: str) -> np.ndarray:
        flat = self._device.get(w.arrays[name])
        return flat.reshape(*(self._leading or ()), w.batch, self._sizes[-1])

    def _state(self, w: Workspace, u_E: str, u_I: str, u_out: str, z: str = "") -> NetworkState:
        out = self._outputs(w, u_out)
        integral = self._outputs(w, z) if z else np.zeros_like(out)
        return NetworkState(self._layers(w, u_E), self._layers(w, u_I), out, integral)

    def _flat_stack(self, parameters: Parameters, leading: tuple[int, ...]) -> np.ndarray:
        """Parameters of all replicas, one after the other."""
        stack = []
        for replica in np.ndindex(leading):
            one = Parameters(
                tuple(W[replica] for W in parameters.weights),
                tuple(b[replica] for b in parameters.biases),
                parameters.readout[replica],
            )
            stack.append(flat_parameters(one, self._dtype))
        return np.concatenate(stack)

    def _parameters(self, name: str) -> Parameters:
        leading = self._leading or ()
        flat = self._device.get(self._fixed[name]).reshape(self._replicas, -1)
        ones = [parameters_of(row, self._sizes) for row in flat]

        def stack(arrays: list[np.ndarray]) -> np.ndarray:
            return np.stack(arrays).reshape(*leading, *arrays[0].shape)

        layers = range(self.configuration.n_hidden)
        return Parameters(
            tuple(stack([one.weights[l] for one in ones]) for l in layers),
            tuple(stack([one.biases[l] for one in ones]) for l in layers),
            stack([one.readout for one in ones]),
        )

    def _flat_units(self, layers: tuple[np.ndarray, ...], leading: tuple[int, ...]) -> np.ndarray:
        """Numbers of every unit, (replicas, units), flat."""
        parts = [np.broadcast_to(a, (*leading, a.shape[-1])) for a in layers]
        return np.concatenate(parts, axis=-1).ravel()

    def _units(self, name: str) -> tuple[np.ndarray, ...]:
        flat = self._device.get(self._fixed[name]).reshape(*(self._leading or ()), -1)
        ends = np.cumsum(self._sizes[1:-1])[:-1]
        return tuple(part.copy() for part in np.split(flat, ends, axis=-1))
