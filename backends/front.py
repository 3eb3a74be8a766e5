"""The front that every backend's class gets, so that a kernel never sees an unchecked array.

It checks and completes arguments, lets one caller in at a time, and makes copies by the learner.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..refimpl.configuration import NetworkConfiguration, Solver, settings_as
from ..refimpl.end_state import check_method
from ..refimpl.errors import ConfigurationError
from ..refimpl.learning_step import Learner, StepMetrics
from .arguments import (
    Arguments,
    NetworkForm,
    check_settings_of_replicas,
    checked_threads,
    finite_parameters,
)
from .backend import Backend, BackendUnavailable, TimesStages
from .precision import checked_dtype

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

    def enter(self) -> Any:
        """Wait for other callers; returns the lock that is now held."""
        if self.process != os.getpid():
            self._begin_in_child()
        self.lock.acquire()
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


def step_by_training(self: Backend, x: np.ndarray, y: np.ndarray) -> StepMetrics:
    """All stages in one go, as an epoch of one batch."""
    metrics = self.train(self.place(x, y), np.arange(np.shape(y)[-2])[None])
    return StepMetrics(
        metrics.loss[0],
        metrics.closed_loop_loss[0],
        metrics.n_correct[0],
        metrics.open_loop_counts,
        metrics.closed_loop_counts,
    )


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


def _stage(declared: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    """Check by name, in the interface's order, whatever the interface declares."""
    names = tuple(inspect.signature(declared).parameters)[1:]
    checks = tuple((name, CHECKS[name]) for name in names)

    def stage(self: Any, *given: Any, **named: Any) -> Any:
        lock = self._front.enter()
        try:
            arguments = Arguments(self._front.form, type(self))
            values = [
                check(arguments, name, value)
                for (name, check), value in zip(checks, given, strict=False)
            ]
            for name, check in checks[len(given) :]:
                if name in named:
                    named[name] = check(arguments, name, named[name])
            return method(self, *values, *given[len(values) :], **named)
        finally:
            lock.release()

    return stage


def _load(method: Callable[..., None]) -> Callable[..., None]:
    def load(self: Any, learner: Any) -> None:
        front = self._front
        lock = front.enter()
        try:
            arguments = Arguments(front.form, type(self))
            learner = arguments.learner("learner", learner)
            check_settings_of_replicas(front.construction[0], arguments.form.leading)
            method(self, learner)
            front.form = arguments.form
        finally:
            lock.release()

    return load


def _place(method: Callable[..., Any]) -> Callable[..., Any]:
    def place(self: Any, x: Any, y: Any, full_scale: Any = None) -> Any:
        lock = self._front.enter()
        try:
            arguments = Arguments(self._front.form, type(self))
            x, y, full_scale, placed = arguments.place(x, y, full_scale)
            return placed(method(self, x, y, full_scale))
        finally:
            lock.release()

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
