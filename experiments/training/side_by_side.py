"""Runs side by side: networks that agree in shape learn in one backend call, each as if alone.

Every run goes through `train` in a thread of its own, with a backend that is its part of a shared
one. Only one thread is ever at work: a run goes on until it asks its backend to learn or to
evaluate, and when all ask, what they ask alike is done for all of them at once.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ...backends import (
    Backend,
    Evaluation,
    TrainingMetrics,
    evaluation_of_replica,
    joined,
    metrics_of_replica,
)
from ...refimpl import (
    ConfigurationError,
    Learner,
    NetworkConfiguration,
    OptimizerState,
    Parameters,
    Solver,
    map_arrays,
    new_learner,
)
from ...validation import not_finite
from .configuration import RunConfiguration, dotted

T = TypeVar("T")
MakeBackend = Callable[..., Backend]

OF_A_RUN = ("seed", "epochs", "patience", "start")
"""Settings of a run that no backend sees."""


def what_must_agree(configuration: RunConfiguration) -> tuple[tuple[str, str], ...]:
    """What runs side by side have in common: all but seeds, ends, and numbers of a replica's own.

    A number may be a replica's own where `NetworkConfiguration` admits an array; whether there is
    one at all, as of `feedback.clip`, is common.
    """
    own = _numbers_of_replicas(NetworkConfiguration())
    return tuple(
        (name, "a number" if name in own and value is not None else repr(value))
        for name, value in sorted(dotted(configuration.as_dict()).items())
        if name not in OF_A_RUN and not name.startswith("schedule.")
    )


def _numbers_of_replicas(settings: Any, path: str = "") -> set[str]:
    names: set[str] = set()
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            names |= _numbers_of_replicas(value, f"{path}{item.name}.")
        elif str(item.type).startswith("Setting"):
            names.add(path + item.name)
    return names


def with_own_numbers(configurations: Sequence[Any]) -> Any:
    """One network's configuration of many: numbers that differ become arrays (R, 1, 1)."""
    first = configurations[0]
    if not dataclasses.is_dataclass(first) or isinstance(first, type):
        if all(one == first for one in configurations):
            return first
        return np.array(configurations, float).reshape(-1, 1, 1)
    fields = {
        item.name: with_own_numbers([getattr(one, item.name) for one in configurations])
        for item in dataclasses.fields(first)
    }
    return type(first)(**fields)


def stacked(parameters: Sequence[Parameters]) -> Parameters:
    """Networks side by side, arrays (R, ...)."""
    return map_arrays(lambda *arrays: np.stack(arrays), *parameters)


class TooManyAtOnce(RuntimeError):
    """The runs have no room side by side; the message is the backend's."""


def side_by_side(
    kind: MakeBackend, tasks: Sequence[Callable[[MakeBackend], T]]
) -> list[T | BaseException]:
    """Do tasks that each train a run, with backends that are parts of one.

    Parameters
    ----------
    kind : callable
        Makes the backend that is shared, as its class does; it tells its replicas' counts apart.
    tasks : sequence of callable
        Each is called with what makes its backend, in the place of `kind`.

    Returns
    -------
    list
        What came of each task, or the exception that ended it; `TooManyAtOnce` of all if there is
        no room for all.
    """
    shared = _Shared(kind, len(tasks))
    results: list[Any] = [None] * len(tasks)

    def run(number: int, task: Callable[[MakeBackend], T]) -> None:
        member = shared.members[number]
        with shared.turn:
            try:
                results[number] = task(member.made)
            except BaseException as problem:
                results[number] = problem
            finally:
                shared.leave(member)

    started = []
    for number, task in enumerate(tasks):
        thread = threading.Thread(target=run, args=(number, task), name=f"run {number}")
        try:
            thread.start()
        except RuntimeError as problem:
            # The system gives no more of them, and nobody is to wait for one that never comes.
            results[number] = TooManyAtOnce(str(problem))
            with shared.turn:
                shared.leave(shared.members[number])
        else:
            started.append(thread)
    for thread in started:
        thread.join()
    return results


@dataclass
class _Request:
    """What a run asks of its backend, and how much of it is done."""

    data: int
    orders: np.ndarray | None = None  # (steps, batch); None to evaluate
    batch_size: int = 0
    n_done: int = 0
    parts: list[Any] = field(default_factory=list)

    def alike(self) -> tuple[Any, ...]:
        """Requests with the same can be done together."""
        shape = None if self.orders is None else self.orders.shape[1:]
        return self.data, shape, self.batch_size


class _Member:
    """A run's part of the shared backend, as much of one as `train` and `resume` ask for."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self.own: Learner | None = None  # while it has no replica
        self.request: _Request | None = None
        self.answer: Any = None
        self.n_steps = 0
        self.seconds = 0.0

    def made(
        self,
        configuration: NetworkConfiguration,
        parameters: Parameters,
        dtype: np.dtype | type,
        solver: Solver,
        threads: int | None = None,
    ) -> Any:
        """Construct, as a backend's class does; anew with another learning rate."""
        self._shared.part(self)
        self.configuration, self.dtype, self.solver = configuration, np.dtype(dtype), solver
        self.threads = threads
        self.load(new_learner(configuration, parameters.astype(dtype)))
        return self

    def learner(self) -> Learner:
        """Copy out all that learning changes."""
        return self._shared.learner(self)

    def load(self, learner: Learner) -> None:
        """Go on from this learner."""
        self._shared.part(self)
        self.own, self.n_steps = learner, learner.optimizer.n_steps

    def place(self, x: np.ndarray, y: np.ndarray, full_scale: float | None = None) -> int:
        """Remember data, which all runs share that bring the same."""
        return self._shared.place(x, y, full_scale)

    def clock(self) -> float:
        """Seconds that the shared backend has learnt for this run, among others."""
        return self.seconds

    def train(self, data: int, batch_order: np.ndarray) -> TrainingMetrics:
        """Learn from many batches."""
        parts: list[TrainingMetrics] = self._shared.ask(self, _Request(data, batch_order))
        return joined(parts)

    def evaluate(self, data: int, batch_size: int = 1000) -> Evaluation:
        """Open-loop loss and accuracy over all placed data."""
        parts: list[Evaluation] = self._shared.ask(self, _Request(data, batch_size=batch_size))
        return parts[0]


class _Shared:
    """The backend that runs share, made anew when others come together in it."""

    def __init__(self, kind: MakeBackend, n_members: int) -> None:
        self._kind = kind
        self.turn = threading.Condition()
        self.members = [_Member(self) for _ in range(n_members)]
        self._active = list(self.members)
        self._together: tuple[_Member, ...] = ()
        self._backend: Any = None
        self._learners: list[Learner] | None = None  # of those together, since they last learnt
        self._data: list[tuple[np.ndarray, np.ndarray, float | None]] = []
        self._placed: dict[int, Any] = {}

    def ask(self, member: _Member, request: _Request) -> Any:
        """Wait until what is asked has been done; others are at work meanwhile."""
        member.request, member.answer = request, None
        while member.answer is None:
            if all(one.request is not None for one in self._active):
                self._serve()
                self.turn.notify_all()
            else:
                self.turn.wait()
        if isinstance(member.answer, BaseException):
            raise member.answer
        return member.answer

    def leave(self, member: _Member) -> None:
        """Go on without a run that has ended."""
        self._active.remove(member)
        self.turn.notify_all()
        # A backend that is broken has nothing to give back: those in it are told when they ask.
        with suppress(Exception):
            self.part(member)

    def part(self, member: _Member) -> None:
        """Give all their learners back, if this is one of those together."""
        if member in self._together:
            for one, learner in zip(self._together, self._all_learners(), strict=True):
                one.own = learner
            self._together, self._backend, self._learners, self._placed = (), None, None, {}

    def learner(self, member: _Member) -> Learner:
        """Of a run, wherever it is."""
        if member in self._together:
            return self._all_learners()[self._together.index(member)]
        assert member.own is not None
        return member.own

    def place(self, x: np.ndarray, y: np.ndarray, full_scale: float | None) -> int:
        """Number data; equal ones are kept once."""
        for number, (known_x, known_y, known_scale) in enumerate(self._data):
            is_same = known_scale == full_scale and known_x.dtype == x.dtype
            if is_same and np.array_equal(known_x, x) and np.array_equal(known_y, y):
                return number
        self._data.append((x, y, full_scale))
        return len(self._data) - 1

    def _serve(self) -> None:
        """Do what is asked alike by those who are furthest behind."""
        waiting = [(one, one.request) for one in self._active if one.request is not None]
        first, its = min(waiting, key=lambda pair: pair[0].n_steps)
        group = [
            (one, request)
            for one, request in waiting
            if one.n_steps == first.n_steps and request.alike() == its.alike()
        ]
        try:
            if self._end_diverged(group):
                return
            self._bring_together(tuple(one for one, _ in group))
            data = self._placed_here(its.data)
            if its.orders is None:
                self._evaluate(group, data)
            else:
                self._train(group, data)
        except Exception as problem:
            has_no_room = isinstance(problem, MemoryError) and len(group) > 1
            for one, _ in group:
                one.answer = TooManyAtOnce(str(problem)) if has_no_room else problem
        finally:
            for one, _ in group:
                # Whose answer is there is at work again, though its thread may not have its turn.
                if one.answer is not None:
                    one.request = None

    def _end_diverged(self, group: Sequence[tuple[_Member, _Request]]) -> bool:
        """Answer those early that have lost their numbers amid what they asked; whether any has.

        A backend that is made anew takes no such network, and what it would do is known.
        """
        if tuple(one for one, _ in group) == self._together:
            return False
        lost = [(one, its) for one, its in group if its.parts and not_finite(self.learner(one))]
        for one, its in lost:
            one.answer = its.parts
        return bool(lost)

    def _train(self, group: Sequence[tuple[_Member, _Request]], data: Any) -> None:
        left = [request.orders[request.n_done :] for _, request in group]  # type: ignore[index]
        n = min(map(len, left))
        orders, began = np.stack([order[:n] for order in left], axis=1), time.perf_counter()
        metrics = self._backend.train(data, orders)
        took = time.perf_counter() - began
        self._learners = None
        for replica, (one, request) in enumerate(group):
            request.parts.append(metrics_of_replica(metrics, replica))
            request.n_done += n
            one.n_steps += n
            one.seconds += took
            if request.n_done == len(request.orders):  # type: ignore[arg-type]
                one.answer = request.parts

    def _evaluate(self, group: Sequence[tuple[_Member, _Request]], data: Any) -> None:
        evaluation = self._backend.evaluate(data, group[0][1].batch_size)
        for replica, (one, _) in enumerate(group):
            one.answer = [evaluation_of_replica(evaluation, replica)]

    def _bring_together(self, group: tuple[_Member, ...]) -> None:
        if group == self._together:
            return
        if self._together:
            self.part(self._together[0])
        learners = [self.learner(one) for one in group]
        first = group[0]
        try:
            backend = self._kind(
                with_own_numbers([one.configuration for one in group]),
                stacked([learner.parameters for learner in learners]),
                first.dtype,
                first.solver,
                threads=first.threads,
            )
            backend.load(_joined_learners(learners))
        except (ConfigurationError, MemoryError) as problem:
            if len(group) == 1:
                raise
            raise TooManyAtOnce(str(problem)) from problem
        self._backend, self._together, self._placed = backend, group, {}
        self._learners = None

    def _placed_here(self, number: int) -> Any:
        if number not in self._placed:
            x, y, full_scale = self._data[number]
            self._placed[number] = self._backend.place(x, y, full_scale=full_scale)
        return self._placed[number]

    def _all_learners(self) -> list[Learner]:
        if self._learners is None:
            whole = self._backend.learner()
            self._learners = [_learner_of(whole, r) for r in range(len(self._together))]
        return self._learners


def _joined_learners(learners: Sequence[Learner]) -> Learner:
    """Of as many steps each, arrays (R, ...)."""
    first = learners[0].optimizer
    moments = [
        stacked([getattr(one.optimizer, name) for one in learners])
        for name in ("first_moment", "second_moment")
        if getattr(first, name) is not None
    ]
    means = zip(*(one.mean_inhibition for one in learners), strict=True)
    return Learner(
        stacked([one.parameters for one in learners]),
        OptimizerState(first.n_steps, *moments),
        tuple(np.stack(layer) for layer in means),
    )


def _learner_of(whole: Learner, replica: int) -> Learner:
    def own(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[replica])

    optimizer = whole.optimizer
    moments = [
        map_arrays(own, moment)
        for moment in (optimizer.first_moment, optimizer.second_moment)
        if moment is not None
    ]
    return Learner(
        map_arrays(own, whole.parameters),
        OptimizerState(optimizer.n_steps, *moments),
        tuple(own(layer) for layer in whole.mean_inhibition),
    )
