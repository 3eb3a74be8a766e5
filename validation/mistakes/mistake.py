"""What a mistake is, and the plain kinds of it: a changed setting, other givens, changed arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ...backends import NumpyBackend
from ...refimpl import NetworkConfiguration, Solver
from ..judge import Arrays, Stage, undisturbed
from ..trace import CircuitStep, Trace


@dataclass(frozen=True)
class Setting:
    """Where a mistake is made: in a stage of a step, for what the trace has of it.

    The solver is the reference's; found is what was found there, in float64, as far as given.
    """

    stage: Stage
    trace: Trace
    step: int
    solver: Solver
    found: Arrays

    @property
    def circuit(self) -> CircuitStep:
        """What the circuit did in this step."""
        circuit = self.trace.steps[self.step].circuit
        assert circuit is not None
        return circuit


Result = Callable[[Setting], Arrays | None]
"""What a stage gives under a mistake; None where the mistake cannot be made."""
Words = Callable[[Sequence[Setting]], str]
"""A hint, from all steps in order; asked for where its row explains what was found."""


def run_reference(setting: Setting, trace: Trace | None = None) -> Arrays:
    """Run the stage by the float64 reference, for the trace's network or another trace's."""
    trace = trace or setting.trace
    reference = NumpyBackend(
        trace.configuration, trace.initial_parameters, np.float64, setting.solver
    )
    return setting.stage.run(reference, trace, setting.step, undisturbed)


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


def arrays(pattern: str, change: Callable[[Setting, np.ndarray], np.ndarray]) -> Result:
    """Run the stage as it should be, and spoil those arrays whose names are of the pattern."""

    def result(setting: Setting) -> Arrays:
        return {
            name: change(setting, array) if fnmatchcase(name, pattern) else array
            for name, array in run_reference(setting).items()
        }

    return result


def negated(setting: Setting, array: np.ndarray) -> np.ndarray:
    """Give the array with the other sign."""
    return -array
