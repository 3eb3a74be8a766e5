"""What a backend may be given: every argument checked and brought into one form.

First what each argument must be, then the front that every backend's class gets, so that a kernel
never sees an unchecked array. Nothing here knows a backend: the same wrong argument is refused in
the same words by all.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from ..refimpl import (
    ArgumentError,
    ConfigurationError,
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
    Recording,
    Solver,
    shown,
    whole_number,
)
from .backend import Backend, BackendUnavailable, TimesStages
from .layout import array_shapes, check_shapes
from .precision import check_method, checked_dtype, settings_as

MOST_THREADS = 1024
"""No machine gains by more, and each has an array of its own for every layer."""

Axis = tuple[str, int]
"""What an axis counts, and its length."""


@dataclass(frozen=True)
class NetworkForm:
    """What arrays must fit: units per layer, replicas' axes, precision, whether Adam remembers."""

    sizes: tuple[int, ...]
    leading: tuple[int, ...]
    dtype: np.dtype
    has_moments: bool


@dataclass(frozen=True)
class Placed:
    """Data where a backend keeps them, and what its front must know of them.

    `leading` are the replicas' axes of inputs or labels, none where all share them; `placed_for` is
    class of the backend, precision, inputs and outputs.
    """

    kept: Any
    n_samples: int
    leading: tuple[int, ...]
    placed_for: tuple[Any, ...]


class Arguments:
    """The arguments of one call, which must agree on the number of samples.

    Each method takes the argument's name and value and gives what the backend receives.
    """

    def __init__(self, form: NetworkForm, backend: type) -> None:
        self.form = form
        self._batch, self._said_by, self._most = 0, "", 0
        self._placed_for = (backend, form.dtype, form.sizes[0], form.sizes[-1])

    # Arrays of a batch.

    def inputs(self, name: str, value: Any) -> np.ndarray:
        """x, (..., batch, n_in)."""
        return self._rows(name, value, ("input", self.form.sizes[0]))

    def outputs(self, name: str, value: Any) -> np.ndarray:
        """Labels or targets, (..., batch, n_out)."""
        return self._rows(name, value, ("output", self.form.sizes[-1]))

    def state(self, name: str, value: Any) -> NetworkState:
        """All potentials and the integral, (..., batch, n) each."""
        value = _instance(name, value, NetworkState)
        return NetworkState(
            self._layers(f"{name}.u_E", value.u_E),
            self._layers(f"{name}.u_I", value.u_I),
            self.outputs(f"{name}.u_out", value.u_out),
            self.outputs(f"{name}.z", value.z),
        )

    def feedback_weights(self, name: str, value: Any) -> tuple[np.ndarray, ...]:
        """Q of each hidden layer, (..., batch or 1, n_out, n_l)."""
        return self._layers(name, value, ("output", self.form.sizes[-1]))

    # Arrays of the network.

    def parameters(self, name: str, value: Any) -> Parameters:
        """A parameters' worth of numbers, (*leading, ...) each; copied."""
        found, leading = finite_parameters(name, value, self.form.sizes, self.form.dtype)
        if leading != self.form.leading:
            raise ArgumentError(
                f"{name} have replicas' axes {leading}: the network has {self.form.leading}"
            )
        return found

    def mean_inhibition(self, name: str, value: Any) -> tuple[np.ndarray, ...]:
        """r̄ of each hidden layer, (*leading, n_l); copied."""
        hidden = self.form.sizes[1:-1]
        layers = _as_many(name, value, len(hidden))
        return tuple(
            self._rates(f"{name}[{l}]", r, n)
            for l, (r, n) in enumerate(zip(layers, hidden, strict=True))
        )

    def learner(self, name: str, value: Any) -> Learner:
        """All that learning changes, of any number of replicas; copied."""
        value = _instance(name, value, Learner)
        sizes, dtype = self.form.sizes, self.form.dtype
        parameters, leading = finite_parameters(
            f"{name}.parameters", value.parameters, sizes, dtype
        )
        self.form = dataclasses.replace(self.form, leading=leading)
        where = f"{name}.optimizer"
        optimizer = _instance(where, value.optimizer, OptimizerState)
        moments = {
            moment: self._moment(f"{where}.{moment}", getattr(optimizer, moment))
            for moment in ("first_moment", "second_moment")
        }
        n_steps = whole_number(f"{where}.n_steps", optimizer.n_steps, minimum=0)
        return Learner(
            parameters,
            OptimizerState(n_steps, **moments),
            self.mean_inhibition(f"{name}.mean_inhibition", value.mean_inhibition),
        )

    # Data and what is done with them.

    def place(
        self, x: Any, y: Any, full_scale: Any
    ) -> tuple[np.ndarray, np.ndarray, float, Callable[[Any], Placed]]:
        """Inputs, labels and full scale, and what wraps the data that a backend made of them.

        x, (..., samples, n_in), is uint8 if it came so, else of the network's precision; the
        full scale of what came as no whole numbers is 1. Both arrays are contiguous.
        """
        given = _numbers("x", x)
        is_whole = given.dtype.kind in "iu"
        scale = self._full_scale(full_scale, given.dtype) if is_whole else 1.0
        if not is_whole and full_scale is not None:
            raise ArgumentError(
                f"full_scale is {shown(full_scale)} with x of dtype {given.dtype}: only whole "
                "numbers are divided by it, so that none is needed"
            )
        axes = (("input", self.form.sizes[0]),)
        inputs = self._fitting("x", given, axes)
        if is_whole and inputs.size:
            self._refuse_above(inputs, scale, axes)
        if inputs.dtype != np.uint8:
            inputs = self._finite("x", inputs, axes)
        labels = self.outputs("y", y)
        leading = inputs.shape[:-2] or labels.shape[:-2]

        placed = functools.partial(
            Placed, n_samples=self._batch, leading=leading, placed_for=self._placed_for
        )
        return np.ascontiguousarray(inputs), np.ascontiguousarray(labels), scale, placed

    def data(self, name: str, value: Any) -> Any:
        """What `place` gave; the backend receives its own."""
        if not isinstance(value, Placed):
            raise ArgumentError(f"{name} is {_kind(value)}: what place() gave is needed")
        if value.placed_for != self._placed_for:
            kind, dtype, n_in, n_out = value.placed_for
            raise ArgumentError(
                f"{name} was placed by {kind.__name__} in {dtype} for {n_in} inputs and {n_out} "
                f"outputs: what place() of this backend gave is needed"
            )
        if value.leading not in ((), self.form.leading):
            raise ArgumentError(
                f"{name} has replicas' axes {value.leading}: the network has {self.form.leading}"
            )
        self._most = value.n_samples
        return value.kept

    def batch_order(self, name: str, value: Any) -> np.ndarray:
        """Positions of many batches, int64, (steps, batch) or (steps, *leading, batch)."""
        order = self._positions(name, value, "(steps, batch)", ("step", "sample"))
        leading = self.form.leading
        if order.ndim > 2 and order.shape[1:-1] != leading:
            shape = (order.shape[0], *leading, order.shape[-1])
            if order.ndim > len(shape) or any(
                n not in (1, wanted)
                for n, wanted in zip(order.shape[-2:0:-1], shape[-2:0:-1], strict=False)
            ):
                raise ArgumentError(
                    f"{name} has shape {order.shape}: (steps, batch)"
                    + (f" or (steps, {_listed(leading)}, batch)" if leading else "")
                    + " is needed"
                )
            missing = (1,) * (len(shape) - order.ndim)
            order = order.reshape(order.shape[0], *missing, *order.shape[1:])
            order = np.ascontiguousarray(np.broadcast_to(order, shape))
        return order

    def order(self, name: str, value: Any) -> np.ndarray:
        """Positions of one batch, int64, (batch,)."""
        return self._positions(name, value, "(batch,)", ("sample",))

    def batch_size(self, name: str, value: Any) -> int:
        """Most samples at a time."""
        return whole_number(name, value, minimum=1)

    def recording(self, name: str, value: Any) -> Recording:
        """How a trajectory is integrated, which has checked itself."""
        return _instance(name, value, Recording)

    # What they are made of.

    def _layers(self, name: str, value: Any, *between: Axis) -> tuple[np.ndarray, ...]:
        hidden = self.form.sizes[1:-1]
        layers = _as_many(name, value, len(hidden))
        return tuple(
            self._rows(f"{name}[{l}]", layer, *between, ("unit", n))
            for l, (layer, n) in enumerate(zip(layers, hidden, strict=True))
        )

    def _rows(self, name: str, value: Any, *axes: Axis) -> np.ndarray:
        return self._finite(name, self._fitting(name, _numbers(name, value), axes), axes)

    def _fitting(self, name: str, array: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
        """Refuse another shape; replicas' axes are then none or the network's."""
        own = tuple([n for _, n in axes])
        inner = len(own) + 1
        samples = array.shape[-inner] if array.ndim >= inner else 0
        if samples == 0 or array.shape[1 - inner :] != own:
            raise ArgumentError(
                f"{name} has shape {array.shape}: {self._wanted(own)} is needed"
                + _about_classes(name, array, own)
            )
        # Averaged feedback weights have one row for all samples.
        if samples != self._batch and not (inner == 3 and samples == 1 and self._batch):
            if self._batch:
                raise ArgumentError(
                    f"{name} has {samples} samples: {self._said_by} has {self._batch}"
                )
            self._batch, self._said_by = samples, name
        if array.ndim == inner or array.shape[:-inner] == self.form.leading:
            return array
        return self._with_replicas(name, array, inner, own)

    def _with_replicas(
        self, name: str, array: np.ndarray, inner: int, own: tuple[int, ...]
    ) -> np.ndarray:
        leading, wanted = array.shape[: array.ndim - inner], self.form.leading
        if len(leading) <= len(wanted):
            if all(n == 1 for n in leading):
                return array.reshape(array.shape[-inner:])
            pairs = zip(reversed(leading), reversed(wanted), strict=False)
            if all(n in (1, m) for n, m in pairs):
                return np.broadcast_to(array, (*wanted, *array.shape[-inner:]))
        raise ArgumentError(f"{name} has shape {array.shape}: {self._wanted(own)} is needed")

    def _wanted(self, own: tuple[int, ...]) -> str:
        plain = f"(batch, {_listed(own)})"
        leading = self.form.leading
        return f"{plain} or ({_listed(leading)}, batch, {_listed(own)})" if leading else plain

    def _finite(self, name: str, array: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
        return finite(name, array, self.form.dtype, ("sample", *[what for what, _ in axes]))

    def _rates(self, name: str, value: Any, n: int) -> np.ndarray:
        array = _numbers(name, value)
        leading = self.form.leading
        if array.shape not in ((n,), (*leading, n)):
            raise ArgumentError(f"{name} has shape {array.shape}: {(*leading, n)} is needed")
        rates = finite(name, array, self.form.dtype, ("unit",))
        if (rates < 0).any():
            at = np.unravel_index(int(np.argmin(rates)), rates.shape)
            where = _position(at, ("unit",))
            raise ArgumentError(
                f"{name} is {rates[at]:g} at {where}: a rate, not below 0, is needed"
            )
        return np.array(np.broadcast_to(rates, (*leading, n)))

    def _moment(self, name: str, value: Any) -> Parameters | None:
        if self.form.has_moments:
            return self.parameters(name, value)
        if value is not None:
            raise ArgumentError(f"{name} is {_kind(value)}: plain descent has none, None is needed")
        return None

    def _full_scale(self, value: Any, given: np.dtype) -> float:
        if value is None:
            raise ArgumentError(
                f"x has dtype {given}: whole numbers need full_scale, the value that becomes 1"
            )
        try:
            number = float(value) if isinstance(value, Real) else np.nan
        except OverflowError:
            number = np.inf
        with np.errstate(over="ignore"):
            cast = float(self.form.dtype.type(number))
        if isinstance(value, bool) or not (np.isfinite(cast) and cast > 0):
            raise ArgumentError(
                f"full_scale is {shown(value)}: a number above 0 that {self.form.dtype} holds "
                "is needed"
            )
        return number

    def _refuse_above(self, x: np.ndarray, full_scale: float, axes: tuple[Axis, ...]) -> None:
        if x.dtype == np.uint8 and full_scale >= 255:
            return
        largest, smallest = int(np.argmax(x)), int(np.argmin(x))
        for flat in (largest, smallest):
            at = np.unravel_index(flat, x.shape)
            if abs(int(x[at])) > full_scale:
                where = _position(at, ("sample", axes[0][0]))
                raise ArgumentError(
                    f"x is {x[at]} at {where}: full_scale is {full_scale:g}, which no input may "
                    "exceed in size"
                )

    def _positions(self, name: str, value: Any, wanted: str, axes: tuple[str, ...]) -> np.ndarray:
        order = _numbers(name, value)
        if order.dtype.kind not in "iu":
            raise ArgumentError(f"{name} has dtype {order.dtype}: whole numbers are needed")
        if order.ndim < len(axes) or (order.ndim > 1 and len(axes) == 1) or order.size == 0:
            raise ArgumentError(f"{name} has shape {order.shape}: {wanted} is needed, none empty")
        positions = np.ascontiguousarray(order, dtype=np.int64)
        # As unsigned numbers those below 0 are the largest, so that one pass finds either.
        unsigned = positions.view(np.uint64)
        if unsigned.max() >= self._most:
            at = np.unravel_index(int(np.argmax(unsigned)), order.shape)
            raise ArgumentError(
                f"{name} is {order[at]} at {_position(at, axes[-1:], axes[:-1])}: "
                f"positions 0 to {self._most - 1} are needed"
            )
        return positions


def finite_parameters(
    name: str, value: Any, sizes: tuple[int, ...], dtype: np.dtype
) -> tuple[Parameters, tuple[int, ...]]:
    """Copy parameters in the network's precision; also the lengths of their leading axes."""
    value = _instance(name, value, Parameters)
    for part in ("weights", "biases"):
        _as_many(f"{name}.{part}", getattr(value, part))
    shapes = array_shapes(sizes)
    n_hidden = len(sizes) - 2
    arrays = [
        _numbers(f"{name}: {kind} of hidden layer {l}", array)
        for kind, part in (("weight", value.weights), ("bias", value.biases))
        for l, array in enumerate(part)
    ]
    n_weights = len(value.weights)
    found = Parameters(
        tuple(arrays[:n_weights]),
        tuple(arrays[n_weights:]),
        _numbers(f"{name}: readout weight", value.readout),
    )
    leading = check_shapes(found, sizes, name)
    copies = [
        np.array(finite(f"{name}: {what}", array, dtype, ("row", "column")[-len(shape) :]))
        for array, (what, shape) in zip(
            (*found.weights, *found.biases, found.readout), shapes, strict=True
        )
    ]
    return Parameters(tuple(copies[:n_hidden]), tuple(copies[n_hidden:-1]), copies[-1]), leading


def _refuse_biases(name: str, parameters: Parameters) -> None:
    for l, b in enumerate(parameters.biases):
        if np.any(b):
            at = np.unravel_index(int(np.argmax(b != 0)), b.shape)
            raise ArgumentError(
                f"{name}: bias of hidden layer {l} is {b[at]:g} at {_position(at, ('unit',))}: "
                "0 is needed, since the network is configured without biases"
            )


def check_settings_of_replicas(owner: Any, leading: tuple[int, ...], path: str = "") -> None:
    """Refuse settings a replica whose number is not the parameters', by a ConfigurationError."""
    for item in dataclasses.fields(owner):
        value, where = getattr(owner, item.name), f"{path}{item.name}"
        if dataclasses.is_dataclass(value):
            check_settings_of_replicas(value, leading, f"{where}.")
        elif isinstance(value, np.ndarray):
            wanted = (*leading, 1, 1)
            pairs = zip(reversed(value.shape), reversed(wanted), strict=False)
            if value.ndim > len(wanted) or not all(n in (1, m) for n, m in pairs):
                raise ConfigurationError(
                    f"{where} has shape {value.shape}: numbers for replicas {leading} have "
                    f"shape {wanted}"
                )


def checked_threads(threads: object, named: str = "threads") -> int:
    """Take a number of threads, or refuse what is no whole number from 1 to `MOST_THREADS`.

    Raises
    ------
    ConfigurationError
        Naming it.
    """
    number = whole_number(named, threads, minimum=1)
    if number > MOST_THREADS:
        raise ConfigurationError(f"{named} is {number}: at most {MOST_THREADS} can be used")
    return number


def finite(name: str, array: np.ndarray, dtype: np.dtype, axes: tuple[str, ...]) -> np.ndarray:
    """Cast to the network's precision and refuse what is no number then.

    `axes` says what the last axes count, those before being replicas; the message names the first
    place and its value.
    """
    cast = array
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
    are_finite = np.isfinite(cast)
    if not are_finite.all():
        at = np.unravel_index(int(np.argmin(are_finite)), cast.shape)
        where = _position(at, axes)
        if np.isfinite(array[at]):
            raise ArgumentError(
                f"{name} is {array[at]:.3g} at {where}: "
                f"{dtype} ends at {float(np.finfo(dtype).max):.3g}"
            )
        raise ArgumentError(f"{name} is {array[at]} at {where}: a finite number is needed")
    return cast


def _numbers(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ArgumentError(f"{name} is masked in places: numbers are needed everywhere")
    if type(value) is not np.ndarray:
        try:
            value = np.asarray(value)
        except Exception as problem:
            # Whatever an object's own conversion raises; NumPy's for rows of unequal length.
            reason = " ".join(str(problem).split())
            raise ArgumentError(
                f"{name} is {_kind(value)}, of which NumPy makes no array: {reason}"
            ) from problem
    if value.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} has dtype {value.dtype}: real numbers are needed")
    array: np.ndarray = value
    return array


def _instance(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ArgumentError(f"{name} is {_kind(value)}: {kind.__name__} is needed")
    return value


def _as_many(name: str, value: Any, n: int | None = None) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise ArgumentError(f"{name} is {_kind(value)}: a tuple of arrays, one a layer, is needed")
    if n is not None and len(value) != n:
        raise ArgumentError(f"{name} has {len(value)} arrays: {n}, one a hidden layer, are needed")
    return tuple(value)


def _about_classes(name: str, array: np.ndarray, own: tuple[int, ...]) -> str:
    is_class_numbers = name == "y" and (array.ndim < 2 or array.shape[-1] == 1)
    return f"; class numbers become one-hot rows of {own[-1]}" if is_class_numbers else ""


def _position(at: Sequence[Any], last: tuple[str, ...], first: tuple[str, ...] = ()) -> str:
    """Where an index is: names of its first and last axes, and replicas between."""
    between = len(at) - len(first) - len(last)
    names = [*first, *["replica"] * between, *last]
    return ", ".join(f"{name} {int(i)}" for name, i in zip(names, at, strict=True))


def _listed(lengths: tuple[int, ...]) -> str:
    return ", ".join(map(str, lengths))


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


B = TypeVar("B", bound=type)
Check = Callable[[Arguments, str, Any], Any]

CHECKS: dict[str, Check] = {
    "x": Arguments.inputs,
    "y": Arguments.outputs,
    "target": Arguments.outputs,
    "Q": Arguments.feedback_weights,
    "open_loop": Arguments.state,
    "closed_loop": Arguments.state,
    "start": Arguments.state,
    "mean_inhibition": Arguments.mean_inhibition,
    "gradients": Arguments.parameters,
    "learner": Arguments.learner,
    "recording": Arguments.recording,
    "data": Arguments.data,
    "batch_order": Arguments.batch_order,
    "order": Arguments.order,
    "batch_size": Arguments.batch_size,
}
"""By the arguments' names in the interface."""


@dataclass
class _Front:
    """What the front of one backend remembers of it."""

    form: NetworkForm
    construction: tuple[Any, ...]
    lock: Any = field(default_factory=threading.RLock)
    process: int = field(default_factory=os.getpid)

    def held(self) -> Any:
        """The lock, to be held during a call: other callers wait for it."""
        if self.process != os.getpid():
            self._begin_in_child()
        return self.lock

    def _begin_in_child(self) -> None:
        # A caller of the parent's is gone with its lock held; one of this process holds it for
        # two lines here, or has set the process and is at work.
        if self.lock.acquire(timeout=1):
            self.process = os.getpid()
            self.lock.release()
        elif self.process != os.getpid():
            raise BackendUnavailable(
                "this process was forked while another thread was using the backend, whose state "
                "is therefore unknown: fork between calls, or make a backend here"
            )


def checked_backend(kind: B) -> B:
    """Put the front before a class; one that has it, or inherits some, gets what is missing.

    Parameters
    ----------
    kind : type
        With the constructor and methods of `Backend`; its methods then receive what `Backend`
        says.

    Returns
    -------
    type
        The same class, changed.

    Raises
    ------
    BackendUnavailable
        It is no class, or lacks a method.
    """
    interface: dict[str, type] = dict.fromkeys(_methods(Backend), Backend)
    if not isinstance(kind, type):
        raise BackendUnavailable(f"{kind!r} is no class: one with the methods of Backend is needed")
    missing = [name for name in interface if not callable(getattr(kind, name, None))]
    if missing:
        raise BackendUnavailable(f"{kind.__name__} lacks {', '.join(missing)} of a backend")
    interface |= {name: TimesStages for name in _methods(TimesStages) if hasattr(kind, name)}
    fronts = {"__init__": _constructor, "place": _place, "load": _load}
    for name, protocol in interface.items():
        method = getattr(kind, name)
        if name != "describe" and not hasattr(method, "is_checked"):
            front = fronts.get(name, functools.partial(_stage, getattr(protocol, name)))
            checked = functools.wraps(method)(front(method))
            checked.is_checked = True  # type: ignore[attr-defined]
            setattr(kind, name, checked)
    own = ("__reduce__", "__reduce_ex__", "__getstate__", "__deepcopy__", "__copy__")
    if all(getattr(kind, name, None) is getattr(object, name, None) for name in own):
        kind.__reduce__ = _reduce  # type: ignore[assignment, method-assign]
    return kind


def _methods(protocol: type) -> list[str]:
    names = [name for name, member in vars(protocol).items() if callable(member)]
    return ["__init__", *(name for name in names if not name.startswith("_"))]


def _constructor(method: Callable[..., None]) -> Callable[..., None]:
    def __init__(
        self: Any,
        configuration: Any,
        parameters: Any,
        dtype: Any,
        solver: Any,
        threads: Any = None,
        **more: Any,
    ) -> None:
        dtype = checked_dtype(dtype)
        for name, value, needed in (
            ("configuration", configuration, NetworkConfiguration),
            ("solver", solver, Solver),
        ):
            if not isinstance(value, needed):
                given = type(value).__name__
                raise ConfigurationError(f"{name} is of type {given}: {needed.__name__} is needed")
        parameters, leading = finite_parameters(
            "parameters", parameters, configuration.sizes, dtype
        )
        if not configuration.bias:
            _refuse_biases("parameters", parameters)
        check_settings_of_replicas(configuration, leading)
        configuration = settings_as(configuration, dtype)
        solver = settings_as(solver, dtype)
        check_method(configuration, solver, dtype)
        if threads is not None:
            threads = checked_threads(threads)
        has_moments = configuration.optimizer.name == "adam"
        form = NetworkForm(configuration.sizes, leading, dtype, has_moments)
        self._front = front = _Front(form, (configuration, dtype, solver, threads, more))
        method(self, configuration, parameters, dtype, solver, threads, **more)
        # A class above may have made one of its own, without the arguments that it knows not.
        self._front = front

    return __init__


OF_THE_CIRCUIT = (
    "open_loop",
    "mean_inhibition",
    "feedback_weights",
    "closed_loop_target",
    "closed_loop",
    "open_loop_trajectory",
    "closed_loop_trajectory",
)
"""What the network of backprop does not have."""


def _stage(declared: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    """Check by name, in the interface's order, whatever the interface declares."""
    names = tuple(inspect.signature(declared).parameters)[1:]
    checks = tuple((name, CHECKS[name]) for name in names)
    is_of_circuit = declared.__name__ in OF_THE_CIRCUIT

    def stage(self: Any, *given: Any, **named: Any) -> Any:
        with self._front.held():
            if is_of_circuit and self._front.construction[0].rule == "backprop":
                raise ArgumentError(
                    f"{declared.__name__}: the network of the rule 'backprop' is a plain one, "
                    "without inhibitory units and control; it has gradients, learning steps and "
                    "evaluations"
                )
            arguments = Arguments(self._front.form, type(self))
            values = [
                check(arguments, name, value)
                for (name, check), value in zip(checks, given, strict=False)
            ]
            for name, check in checks[len(given) :]:
                if name in named:
                    named[name] = check(arguments, name, named[name])
            return method(self, *values, *given[len(values) :], **named)

    return stage


def _load(method: Callable[..., None]) -> Callable[..., None]:
    def load(self: Any, learner: Any) -> None:
        front = self._front
        with front.held():
            arguments = Arguments(front.form, type(self))
            learner = arguments.learner("learner", learner)
            check_settings_of_replicas(front.construction[0], arguments.form.leading)
            method(self, learner)
            front.form = arguments.form

    return load


def _place(method: Callable[..., Any]) -> Callable[..., Any]:
    def place(self: Any, x: Any, y: Any, full_scale: Any = None) -> Any:
        with self._front.held():
            arguments = Arguments(self._front.form, type(self))
            x, y, full_scale, placed = arguments.place(x, y, full_scale)
            return placed(method(self, x, y, full_scale))

    return place


def _reduce(self: Any) -> tuple[Any, ...]:
    return _remade, (type(self), *self._front.construction, self.learner())


def _remade(
    kind: Any,
    configuration: NetworkConfiguration,
    dtype: np.dtype,
    solver: Solver,
    threads: int | None,
    more: dict[str, Any],
    learner: Learner,
) -> Any:
    backend = kind(configuration, learner.parameters, dtype, solver, threads, **more)
    backend.load(learner)
    return backend
