"""A stack of networks on a CUDA device: which kernel, which product, in which order.

Replicas lie side by side in every array and share every launch. Nothing here waits for the
device but what copies results out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
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
    unpack,
)
from ..backend import Counts
from ..layout import (
    flat_parameters,
    layer_views,
    parameters_of,
    state_size,
    tableau_arrays,
    units_of,
)
from .cublas import Product
from .device import Device, DeviceArray, Launch
from .source import enumerators
from .workspace import (
    GroupSize,
    Workspace,
    control_array,
    group_size,
    integration_method,
    refuse_too_large,
    settings_array,
    structure_values,
    workspace_elements,
    write_plan,
)

KEPT_WORKSPACES = 3
"""Batch sizes whose arrays and recorded steps are kept: training, evaluation, one more."""


@dataclasses.dataclass(frozen=True)
class PlacedOnDevice:
    """Inputs and labels in the device's memory, replicas one after the other unless shared."""

    x: DeviceArray
    y: DeviceArray
    n_samples: int
    x_is_bytes: bool
    x_is_shared: bool
    y_is_shared: bool
    full_scale: float


class CudaNetwork:
    """Networks that learn on a device; settings may be arrays (*leading, 1, 1)."""

    def __init__(
        self, configuration: NetworkConfiguration, solver: Solver, learner: Learner, device: Device
    ) -> None:
        self.configuration, self.solver = configuration, solver
        self._device, self._dtype = device, device.dtype
        self._sizes = configuration.sizes
        self.is_backprop = configuration.rule == "backprop"
        self._is_integrated = solver.method != "fixed-point" and not self.is_backprop
        self._structure = structure_values(configuration, solver)
        self._n_parameters = self._structure["n_parameters"]
        self._method = integration_method(solver)
        self._workspaces: dict[int, Workspace] = {}
        self._recorded: dict[tuple[int, str], Callable[[], None]] = {}
        self._fixed: dict[str, DeviceArray] = {}
        self.leading: tuple[int, ...] = ()
        self.load(learner)

    # State out and in.

    def load(self, learner: Learner) -> None:
        """Take over a learner; its leading axes are replicas."""
        leading = learner.parameters.readout.shape[:-2]
        optimizer = learner.optimizer
        self.n_steps, self._has_moments = optimizer.n_steps, optimizer.first_moment is not None
        if leading != self.leading or not self._fixed:
            self.leading = leading
            self._allocate(leading)
        self.put_parameters("theta", learner.parameters)
        if optimizer.first_moment is not None and optimizer.second_moment is not None:
            self.put_parameters("m", optimizer.first_moment)
            self.put_parameters("v", optimizer.second_moment)
        self.put_units(learner.mean_inhibition, "r_bar", "next_r_bar")

    def _allocate(self, leading: tuple[int, ...]) -> None:
        """Take the memory that does not depend on the batch."""
        self._workspaces, self._recorded = {}, {}
        self._replicas = int(np.prod(leading, dtype=int))
        device, R = self._device, self._replicas
        n_parameters, n_units = self._structure["n_parameters"], self._structure["n_units"]
        moments = R * n_parameters if self._has_moments else 1
        numbers = 2 * R * n_parameters + 2 * moments + 4 * R * n_units
        refuse_too_large(
            device,
            numbers * self._dtype.itemsize,
            f"{R} replicas" if R > 1 else "the network",
            lambda share: f"{int(R * share)} replicas would fit" if R > 1 else "take a smaller one",
        )
        tableau, error_weights = tableau_arrays(self._method, self._dtype)
        self._fixed = {
            "theta": device.empty(R * n_parameters, self._dtype),
            "g": device.empty(R * n_parameters, self._dtype),
            "m": device.empty(moments, self._dtype),
            "v": device.empty(moments, self._dtype),
            **{
                name: device.empty(R * n_units, self._dtype)
                for name in ("r_bar", "next_r_bar", "intercept", "inclination")
            },
            "settings": device.put(settings_array(self.configuration, leading).astype(self._dtype)),
            "control": device.put(control_array(self.configuration, self.solver, self._dtype)),
            "tableau": device.put(tableau),
            "error_weights": device.put(error_weights),
            "sizes": device.put(np.array(self._sizes, dtype=np.int64)),
            # Where each layer begins: kernels need it all the time, and would add up sizes.
            "unit_starts": device.put(np.cumsum([0, *self._sizes[1:-1]], dtype=np.int64)),
            "weight_starts": device.put(
                np.cumsum([0, *(n * m for n, m in pairwise(self._sizes))], dtype=np.int64)
            ),
            "full_scale": device.put(np.ones(1, dtype=self._dtype)),
            "counts": device.put(self._no_counts()),
            "step": device.put(np.zeros(2, dtype=np.int64)),
            "corrections": device.empty(4, np.float64),
        }

    def learner(self) -> Learner:
        """Copy the learner out."""
        moments = [self.parameters(name) for name in ("m", "v") if self._has_moments]
        optimizer = OptimizerState(self.n_steps, *moments)
        return Learner(self.parameters("theta"), optimizer, self.units("r_bar"))

    # What a step is.

    def step_stages(self, w: Workspace) -> Mapping[str, Callable[[], None]]:
        """Stages of a learning step on the batch that is bound, one after the other."""
        last = {
            "gradients": partial(self.find_gradients, w),
            "losses": partial(self._sum_up, w, with_closed_loop=not self.is_backprop),
            "optimiser update": partial(self.descend, w),
        }
        if self.is_backprop:
            passes = {
                "forward pass": partial(self.forward, w),
                "backward pass": partial(self.backward, w),
            }
            return {"gathering": partial(self._by_row, w, "gather"), **passes, **last}
        stages = {
            "gathering": partial(self._by_row, w, "gather"),
            "open loop": partial(self.find_open_loop, w),
            "mean inhibition": partial(self.per_unit, w, "mean_inhibition"),
            "feedback weights": partial(self.find_feedback_weights, w),
            "closed-loop target": partial(self.per_row, w, "closed_loop_target"),
            "closed loop": partial(self.find_closed_loop, w),
            "postsynaptic factors": partial(self.find_factors, w),
        }
        if self.configuration.rule != "linear-threshold":
            del stages["mean inhibition"]
        return stages | last

    def learning_step(self, w: Workspace) -> None:
        """The same stages as training runs them: side by side what does not wait for another."""
        beside = self._device.beside
        self._by_row(w, "gather")
        if self.is_backprop:
            self.forward(w)
            self.backward(w)
        else:
            self.find_open_loop(w)
            before_control = [
                partial(self.find_feedback_weights, w),
                partial(self.per_row, w, "closed_loop_target"),
            ]
            if self.configuration.rule == "linear-threshold":
                before_control.append(partial(self.per_unit, w, "mean_inhibition"))
            beside(before_control)
            self.find_closed_loop(w)
            self.find_factors(w)
        losses = partial(self._sum_up, w, with_closed_loop=not self.is_backprop)
        beside([*self._gradients(w), losses])
        self.descend(w)

    def evaluation_step(self, w: Workspace) -> None:
        """Losses in open loop of the batch that is bound."""
        self._by_row(w, "gather")
        (self.forward if self.is_backprop else self.find_open_loop)(w)
        self._sum_up(w, with_closed_loop=False)
        self._launch(w, "advance", Launch(1, self._device.threads), 0)

    def repeat(
        self,
        name: str,
        work: Callable[[Workspace], None],
        data: PlacedOnDevice,
        batch_order: np.ndarray,
    ) -> np.ndarray:
        """Do work, recorded once by name, on batch after batch; figures (steps, replicas, 4)."""
        w = self.bind(data, batch_order)
        key = (w.batch, name)
        if key not in self._recorded:
            self._recorded[key] = self._device.record(partial(work, w))
        for _ in batch_order:
            self._recorded[key]()
        shape = (len(batch_order), self._replicas, 4)
        return self._device.get(w.arrays["figures"], int(np.prod(shape))).reshape(shape)

    def record_path(self, w: Workspace, recording: Recording, is_closed: bool) -> NetworkState:
        """Path of the batch that was put in, arrays (time, ..., batch, n)."""
        device, size = self._device, state_size(self._sizes)
        tableau, error_weights = tableau_arrays(recording.method, self._dtype)
        rows, frames = self.rows(w), recording.n_steps // recording.every + 1
        control = control_array(self.configuration, self.solver, self._dtype, recording.dt)
        own = {
            "path": device.empty(frames * rows * size, self._dtype),
            "control": device.put(control),
            "tableau": device.put(tableau),
            "error_weights": device.put(error_weights),
            "stages": device.empty(rows * (len(tableau) + 1) * size, self._dtype),
        }
        before = dict(w.values)
        w.values |= {name: device.address(array) for name, array in own.items()}
        w.values |= {"path_steps": recording.n_steps, "path_every": recording.every}
        w.values |= {"n_stages": len(tableau)}
        try:
            write_plan(device, w)
            self.per_group(w, "record", is_closed)
            path = device.get(own["path"]).reshape(frames, *self.leading, w.batch, size)
        finally:
            # Whatever happens: the plan must not point to memory that is given back.
            w.values = before
            write_plan(device, w)
        return unpack(path, self._sizes)

    # Stages as kernels and products.

    def drive(self, w: Workspace) -> None:
        """x W^1, once a batch; whoever reads it adds b^1."""
        n_in, n_1 = self._sizes[:2]
        self._multiply(w.batch, n_in, n_1, w.values["x"], self._weight(0), w.values["a_1"])

    def find_open_loop(self, w: Workspace) -> None:
        """Open-loop end state."""
        self.drive(w)
        if self._is_integrated:
            self.per_group(w, "integrate", argument=False)
        else:
            self.per_group(w, "open_loop")

    def find_feedback_weights(self, w: Workspace) -> None:
        """Q^l as applied, from the top."""
        n_out, top = self._sizes[-1], self.configuration.n_hidden - 1
        threads = self._device.threads
        block = Launch(self.rows(w), threads, threads * self._dtype.itemsize)
        for l in range(top, -1, -1):
            if l < top:
                # J^l before its slopes: the J of the layer above, of every output of every
                # sample, times the weights between.
                above, n = self._sizes[l + 2], self._sizes[l + 1]
                names = ("J_odd", "J_even") if l % 2 == 0 else ("J_even", "J_odd")
                read, written = (w.values[name] for name in names)
                weight = self._weight(l + 1)
                rows = w.batch * n_out
                self._multiply(rows, above, n, read, weight, written, b_transposed=True)
            self._launch(w, "feedback_weights", block, argument=l)
            if self.configuration.feedback.average:
                replicas = dataclasses.replace(block, blocks=self._replicas)
                self._launch(w, "average_feedback", replicas, argument=l)

    def find_closed_loop(self, w: Workspace) -> None:
        """Closed-loop end state."""
        if self._is_integrated:
            self.per_group(w, "integrate", argument=True)
        else:
            self.per_group(w, "closed_loop")

    def find_factors(self, w: Workspace) -> None:
        """δ of every unit."""
        if self.configuration.rule != "exact-inverse":
            self.per_unit(w, "linearize")
        self.per_group(w, "factors")

    def forward(self, w: Workspace) -> None:
        """Plain network: h^l = φ(h^{l-1} W^l + b^l), slopes in delta, output in open_u_out."""
        below, n_below = w.values["x"], self._sizes[0]
        for l, n in enumerate(self._sizes[1:-1]):
            h = self._layer(w, "r_E", l)
            self._multiply(w.batch, n_below, n, below, self._weight(l), h)
            self._by_row(w, "forward_layer", l)
            below, n_below = h, n
        weight, out = self._weight(self.configuration.n_hidden), w.values["open_u_out"]
        self._multiply(w.batch, n_below, self._sizes[-1], below, weight, out)

    def backward(self, w: Workspace) -> None:
        """δ of the plain network."""
        self.per_row(w, "output_error")
        above, n_above = w.values["delta_out"], self._sizes[-1]
        for l in range(self.configuration.n_hidden - 1, -1, -1):
            n, weight, back = self._sizes[l + 1], self._weight(l + 1), w.values["back"]
            self._multiply(w.batch, n_above, n, above, weight, back, b_transposed=True)
            blocks = -(-self.rows(w) * n // self._device.threads)
            self._launch(w, "backward_layer", Launch(blocks, self._device.threads), argument=l)
            above, n_above = self._layer(w, "delta", l), n

    def find_gradients(self, w: Workspace) -> None:
        """g of every parameter."""
        self._device.beside(self._gradients(w))

    def _gradients(self, w: Workspace) -> list[Callable[[], None]]:
        """Mean of preᵀ δ, one product a layer, and of δ: none waits for another."""
        top, at = self.configuration.n_hidden, w.values["g"]
        works: list[Callable[[], None]] = []
        for l, (n, n_above) in enumerate(pairwise(self._sizes)):
            pre = w.values["x"] if l == 0 else self._layer(w, "r_E", l - 1)
            delta = w.values["delta_out"] if l == top else self._layer(w, "delta", l)
            product = Product(
                n, w.batch, n_above, pre, delta, at, w.batch * n, w.batch * n_above,
                self._n_parameters, a_transposed=True, alpha=1 / w.batch, count=self._replicas,
            )  # fmt: skip
            works.append(partial(self._device.multiply, product))
            at += n * n_above * self._dtype.itemsize
        return [*works, partial(self.per_unit, w, "bias_gradients")]

    def _sum_up(self, w: Workspace, with_closed_loop: bool) -> None:
        threads = self._device.threads
        self._launch(w, "sum_up", Launch(self._replicas, threads, 8 * threads), with_closed_loop)

    def descend(self, w: Workspace) -> None:
        """Move the parameters along -g, and go on to the next batch."""
        threads = self._device.threads
        blocks = -(-self._replicas * self._structure["n_parameters"] // threads)
        self._launch(w, "descend", Launch(blocks, threads), 0)
        takes_over = self.configuration.rule == "linear-threshold"
        self._launch(w, "advance", Launch(1, threads), argument=takes_over)

    # Launches.

    def _launch(self, w: Workspace, kernel: str, how: Launch, argument: int) -> None:
        self._device.launch(kernel, how, w.plan, int(argument))

    def _by_row(self, w: Workspace, kernel: str, argument: int = 0) -> None:
        """A block a row."""
        self._launch(w, kernel, Launch(self.rows(w), self._device.threads), argument)

    def per_row(self, w: Workspace, kernel: str) -> None:
        """A thread a row."""
        self._launch(w, kernel, Launch(-(-self.rows(w) // 32), 32), 0)

    def per_unit(self, w: Workspace, kernel: str) -> None:
        """A thread a unit of every replica."""
        units = self._replicas * self._structure["n_units"]
        self._launch(w, kernel, Launch(-(-units // 32), 32), 0)

    def per_group(self, w: Workspace, kernel: str, argument: int = 0) -> None:
        """A block a group of samples."""
        group = self._group(w.batch)
        blocks = self._replicas * -(-w.batch // group.samples)
        how = Launch(blocks, group.threads, group.block_bytes, group.samples)
        self._launch(w, kernel, how, argument)

    def _group(self, batch: int) -> GroupSize:
        return group_size(self._sizes, self._replicas * batch, self._device)

    def _multiply(
        self,
        rows: int,
        inner: int,
        columns: int,
        a: int,
        W: int,
        c: int,
        b_transposed: bool = False,
    ) -> None:
        """C = A W of each replica, (rows, columns) = (rows, inner) (inner, columns)."""
        self._device.multiply(
            Product(
                rows, inner, columns, a, W, c, rows * inner, self._n_parameters, rows * columns,
                b_transposed=b_transposed, count=self._replicas,
            )
        )  # fmt: skip

    def _weight(self, l: int) -> int:
        """Address of the first replica's W^l."""
        start = sum(n * m for n, m in list(pairwise(self._sizes))[:l])
        return self._device.address(self._fixed["theta"]) + start * self._dtype.itemsize

    def _layer(self, w: Workspace, name: str, l: int) -> int:
        """Address of hidden layer l in a layer array."""
        start = self.rows(w) * sum(self._sizes[1 : l + 1])
        return w.values[name] + start * self._dtype.itemsize

    def rows(self, w: Workspace) -> int:
        """Samples of all replicas."""
        return self._replicas * w.batch

    # Workspaces.

    def workspace(self, batch: int) -> Workspace:
        """Arrays for a batch size, kept from before or new."""
        if batch not in self._workspaces:
            while len(self._workspaces) >= KEPT_WORKSPACES:
                oldest = next(iter(self._workspaces))
                del self._workspaces[oldest]
                self._recorded = {k: v for k, v in self._recorded.items() if k[0] != oldest}
            self._workspaces[batch] = self._new_workspace(batch)
        return self._workspaces[batch]

    def any_workspace(self) -> Workspace:
        """Arrays for some batch size, for work that needs none."""
        return next(iter(self._workspaces.values()), None) or self.workspace(1)

    def _new_workspace(self, batch: int) -> Workspace:
        device, rows = self._device, self._replicas * batch
        with_matrices = self._group(batch).matrices_in_block
        n_stages = len(tableau_arrays(self._method, self._dtype)[0])
        elements = workspace_elements(self.configuration, rows, n_stages, with_matrices)
        refuse_too_large(
            device,
            sum(elements.values()) * self._dtype.itemsize,
            f"batch {batch} with {self._replicas} replicas",
            lambda share: (
                f"batch {int(batch * share)} would fit, or at this batch "
                f"{int(self._replicas * share)} replicas"
            ),
        )
        arrays = {name: device.empty(max(n, 1), self._dtype) for name, n in elements.items()}
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

    def bind(self, data: PlacedOnDevice, batch_order: np.ndarray) -> Workspace:
        """Point the plan to data, order and figures of the steps to come, the first of them."""
        device, n_steps, batch = self._device, len(batch_order), batch_order.shape[-1]
        w = self.workspace(batch)
        orders = batch_order.reshape(n_steps, -1, batch)
        kept = {
            "order": device.put(orders),
            "figures": device.empty(n_steps * self._replicas * 4, np.float64),
        }
        device.put(np.array([data.full_scale], dtype=self._dtype), into=self._fixed["full_scale"])
        w.arrays |= kept
        w.values |= {name: device.address(array) for name, array in kept.items()}
        w.values |= {
            "order_stride": batch if orders.shape[1] > 1 else 0,
            "order_of_step": orders.shape[1] * batch,
            "source": device.address(data.x),
            "source_is_bytes": data.x_is_bytes,
            "source_stride": 0 if data.x_is_shared else data.n_samples,
            "labels": device.address(data.y),
            "labels_stride": 0 if data.y_is_shared else data.n_samples,
        }
        write_plan(device, w)
        self.set_step(0)
        return w

    def set_step(self, first: int) -> None:
        """Position in the order of batches, and steps that the optimiser has taken."""
        counters = np.array([first, self.n_steps], dtype=np.int64)
        self._device.put(counters, into=self._fixed["step"])
        self._launch(self.any_workspace(), "begin_descent", Launch(2, 1), 0)

    def clear_counts(self) -> None:
        """Count from 0."""
        self._device.put(self._no_counts(), into=self._fixed["counts"])

    def _no_counts(self) -> np.ndarray:
        return np.zeros((self._replicas, 2, enumerators("Way")["N_WAYS"]), dtype=np.uint64)

    def counts(self) -> list[Counts]:
        """How the end states of each replica were reached, in open loop and under control."""
        found = self._device.get(self._fixed["counts"]).astype(int)
        way = enumerators("Way")

        def counts_of(row: np.ndarray) -> EndStateCounts:
            return EndStateCounts(
                frozen_newton=int(row[way["FOUND"]]),
                fresh_newton=int(row[way["FOUND_ANEW"]]),
                integrated=int(row[way["INTEGRATED"]]),
                unsettled=int(row[way["UNSETTLED"]]),
                steps=int(row[way["STEPS"]]),
            )

        shaped = found.reshape(self._replicas, 2, -1)
        return [(counts_of(of_open_loop), counts_of(control)) for of_open_loop, control in shaped]

    # Arrays in and out.

    def with_inputs(self, x: np.ndarray) -> Workspace:
        """Put inputs, (..., batch, n_in), where a batch of so many lies."""
        w = self.workspace(x.shape[-2])
        self.put(w, "x", x)
        return w

    def with_open_loop(self, state: NetworkState) -> Workspace:
        """Put an open-loop state where its batch lies."""
        w = self.workspace(state.u_out.shape[-2])
        self.put_layers(w, "open_u_E", state.u_E)
        self.put_layers(w, "open_u_I", state.u_I)
        self.put(w, "open_u_out", state.u_out)
        return w

    def put_control(self, w: Workspace, Q: FeedbackWeights, target: np.ndarray) -> None:
        """Put what the controller works with."""
        self.put_layers(w, "Q", Q, self._sizes[-1])
        self.put(w, "target", target)

    def put(self, w: Workspace, name: str, array: np.ndarray) -> None:
        """Copy rows (..., batch, n) in, the same for all replicas if they lack their axes."""
        whole = np.broadcast_to(array, (*self.leading, *array.shape[-2:]))
        self._device.put(np.ravel(whole).astype(self._dtype), into=w.arrays[name])

    def put_layers(
        self, w: Workspace, name: str, layers: tuple[np.ndarray, ...], *inner: int
    ) -> None:
        """Copy layers (..., batch or 1, *inner, n_l) in, shared ones for every replica."""
        before = (*self.leading, w.batch, *inner)
        flat = [np.broadcast_to(array, (*before, array.shape[-1])).ravel() for array in layers]
        self._device.put(np.concatenate(flat).astype(self._dtype), into=w.arrays[name])

    def layers(self, w: Workspace, name: str, *inner: int) -> tuple[np.ndarray, ...]:
        """Copy layers out, (..., batch, *inner, n_l)."""
        flat = self._device.get(w.arrays[name])
        return tuple(
            view.reshape(*self.leading, w.batch, *view.shape[1:]).copy()
            for view in layer_views(flat, self._sizes, self.rows(w), *inner)
        )

    def outputs(self, w: Workspace, name: str) -> np.ndarray:
        """Copy outputs out, (..., batch, n_out)."""
        flat = self._device.get(w.arrays[name])
        return flat.reshape(*self.leading, w.batch, self._sizes[-1])

    def state(self, w: Workspace, u_E: str, u_I: str, u_out: str, z: str = "") -> NetworkState:
        """Copy a state out of the arrays so named; without one for it, the integral is 0."""
        out = self.outputs(w, u_out)
        integral = self.outputs(w, z) if z else np.zeros_like(out)
        return NetworkState(self.layers(w, u_E), self.layers(w, u_I), out, integral)

    def put_parameters(self, name: str, parameters: Parameters) -> None:
        """Copy parameters of all replicas in, one replica after the other."""
        self._device.put(flat_parameters(parameters, self._dtype), into=self._fixed[name])

    def parameters(self, name: str) -> Parameters:
        """Copy parameters out."""
        flat = self._device.get(self._fixed[name])
        return parameters_of(flat.reshape(*self.leading, -1), self._sizes)

    def put_units(self, layers: tuple[np.ndarray, ...], *names: str) -> None:
        """Copy numbers of every unit in, (..., n_l) a layer."""
        flat = np.concatenate(layers, axis=-1).astype(self._dtype)
        for name in names:
            self._device.put(flat, into=self._fixed[name])

    def units(self, name: str) -> tuple[np.ndarray, ...]:
        """Copy numbers of every unit out."""
        flat = self._device.get(self._fixed[name])
        return units_of(flat.reshape(*self.leading, -1), self._sizes)
