"""What a mistake is, and the plain kinds of it: a changed setting, other givens, changed arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np

from ...backends import NumpyBackend
from ...refimpl import NetworkConfiguration, Parameters, Solver
from ..judge import Arrays, Place, Stage, deviation, largest, undisturbed, with_part
from ..trace import CircuitStep, Trace

LOOKED_AT = 2
"""Entries of a path beside the first that show whether a mistake may explain it."""
NOTHING = 1e-3
"""Relative deviation there that says nothing against it."""


@dataclass(frozen=True)
class Setting:
    """Where a mistake is made: in a stage of a step, for what the trace has of it.

    The solver is the reference's; found is what was found there, in float64, as far as given.
    Beside it are all steps' settings, in order. What takes long is worked out once, and noted. Left
    is what was not given of that which the stage follows from.
    """

    stage: Stage
    trace: Trace
    step: int
    solver: Solver
    found: Arrays
    beside: list[Setting] = field(default_factory=list, compare=False, repr=False)
    notes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    left: Sequence[Place] = field(default=(), compare=False, repr=False)

    @property
    def circuit(self) -> CircuitStep:
        """What the circuit did in this step."""
        circuit = self.trace.steps[self.step].circuit
        assert circuit is not None
        return circuit

    @cached_property
    def right(self) -> Arrays:
        """What the float64 reference finds here."""
        return run_reference(self, self.trace)


Result = Callable[[Setting], Arrays | None]
"""What a stage gives under a mistake; None where the mistake cannot be made."""
Words = Callable[[Sequence[Setting]], str]
"""A hint, from all steps in order; asked for where its row explains what was found."""
Row = tuple[str | Words, Result]
"""A hint, what the mistake is and what would be right, and what the stage gives under it."""


def run_reference(
    setting: Setting, trace: Trace, written: Callable[[Arrays], Arrays] = lambda arrays: arrays
) -> Arrays:
    """Run the stage by the float64 reference, for the trace's network or another trace's.

    Given is what is `written` of it. A path of another trace's that goes wrong from the start is
    not followed: ValueError.
    """
    stage, solver = setting.stage, setting.solver
    if stage.is_path:
        # A path has no end state, and without a leak there is no fixed point.
        solver = dataclasses.replace(solver, method="tsit5")
    reference = NumpyBackend(trace.configuration, trace.initial_parameters, np.float64, solver)
    if stage.is_path and trace is not setting.trace:
        begun = stage.run(reference, _beginning(trace), setting.step, undisturbed)
        refuse_other_start(setting, written(begun))
    return written(stage.run(reference, trace, setting.step, undisturbed))


def refuse_other_start(setting: Setting, begun: Arrays) -> None:
    """ValueError if a path that begins so cannot be what was found."""
    for name, start in begun.items():
        right = setting.right[name][: len(start)]
        found = setting.found.get(name, right)[: len(start)]
        left, deviates = (largest(deviation(a, found)) for a in (start, right))
        if left > deviates / 2 + NOTHING * largest(right):
            raise ValueError(f"{name} is elsewhere from the start")


def _beginning(trace: Trace) -> Trace:
    """Give a trace whose paths are as short as tells them apart."""
    assert trace.trajectory is not None
    recording = trace.trajectory.recording
    short = dataclasses.replace(
        recording, n_steps=min(recording.n_steps, LOOKED_AT * recording.every)
    )
    return with_part(trace, 0, "recording", short, of_trajectory=True)


def settings(**changes: Any) -> Result:
    """Run the stage as if these settings were other ones; a dictionary changes some of a part."""
    return settings_from(lambda configuration: changes)


def settings_from(changes_of: Callable[[NetworkConfiguration], dict[str, Any]]) -> Result:
    """Likewise, for changes that depend on what the settings are."""

    def result(setting: Setting) -> Arrays | None:
        right = setting.trace.configuration
        changes = {
            name: dataclasses.replace(getattr(right, name), **value)
            if isinstance(value, dict)
            else value
            for name, value in changes_of(right).items()
        }
        wrong = dataclasses.replace(right, **changes)
        if wrong == right:
            return None
        return run_reference(setting, dataclasses.replace(setting.trace, configuration=wrong))

    return result


def givens(change: Callable[[Setting], Trace | None]) -> Result:
    """Run the stage as if it had been given something else."""

    def result(setting: Setting) -> Arrays | None:
        trace = change(setting)
        return None if trace is None else run_reference(setting, trace)

    return result


def changed_parameters(trace: Trace, change: Callable[[Parameters], Parameters]) -> Trace:
    """Change the parameters with which every step begins."""
    return dataclasses.replace(
        trace,
        initial_parameters=change(trace.initial_parameters),
        steps=tuple(
            dataclasses.replace(step, parameters_after=change(step.parameters_after))
            for step in trace.steps
        ),
    )


def arrays(pattern: str, change: Callable[[Setting, np.ndarray], np.ndarray]) -> Result:
    """Run the stage as it should be, and spoil those arrays whose names are of the pattern."""

    def result(setting: Setting) -> Arrays:
        return {
            name: change(setting, array) if fnmatchcase(name, pattern) else array
            for name, array in setting.right.items()
        }

    return result


def negated(setting: Setting, array: np.ndarray) -> np.ndarray:
    """Give the array with the other sign."""
    return -array
