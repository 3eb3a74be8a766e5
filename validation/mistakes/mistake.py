"""A mistake that a port may make in one stage, and what it would then compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...backends import NumpyBackend
from ...refimpl import NetworkConfiguration, Solver
from ..judge import Arrays, Stage, undisturbed
from ..trace import CircuitStep, Trace


@dataclass(frozen=True)
class Setting:
    """Where a mistake is made.

    Parameters
    ----------
    trace : Trace
        Holds what the stage is given.
    step : int
        Learning step.
    solver : Solver
        Of the reference.
    """

    trace: Trace
    step: int
    solver: Solver

    @property
    def circuit(self) -> CircuitStep:
        """What the circuit did in this step."""
        circuit = self.trace.steps[self.step].circuit
        assert circuit is not None
        return circuit


@dataclass(frozen=True)
class Mistake:
    """One usual mistake.

    Parameters
    ----------
    stage : Stage
        Where it is made.
    words : str
        What it is and what would be right.
    result : callable
        From a Setting to what the stage then gives; None where the mistake cannot be made.
    """

    stage: Stage
    words: str
    result: Callable[[Setting], Arrays | None]


ChangeConfiguration = Callable[[NetworkConfiguration], NetworkConfiguration]
ChangeTrace = Callable[[Setting], Trace | None]


def misconfigured(stage: Stage, words: str, change: ChangeConfiguration) -> Mistake:
    """Run the stage as if the network were another one."""

    def result(setting: Setting) -> Arrays | None:
        configuration = change(setting.trace.configuration)
        if configuration == setting.trace.configuration:
            return None
        trace = dataclasses.replace(setting.trace, configuration=configuration)
        return run_reference(stage, trace, setting)

    return Mistake(stage, words, result)


def misled(stage: Stage, words: str, change: ChangeTrace) -> Mistake:
    """Run the stage as if it had been given something else."""

    def result(setting: Setting) -> Arrays | None:
        trace = change(setting)
        return None if trace is None else run_reference(stage, trace, setting)

    return Mistake(stage, words, result)


def misreported(
    stage: Stage, words: str, change: Callable[[Setting, Arrays], Arrays | None]
) -> Mistake:
    """Run the stage as it should be, and spoil what it gives."""
    return Mistake(
        stage,
        words,
        lambda setting: change(setting, run_reference(stage, setting.trace, setting)),
    )


def run_reference(stage: Stage, trace: Trace, setting: Setting) -> Arrays:
    """Run the stage by the float64 reference for the trace's network."""
    reference = NumpyBackend(
        trace.configuration, trace.initial_parameters, np.float64, setting.solver
    )
    return stage.run(reference, trace, setting.step, undisturbed)


def with_circuit(setting: Setting, **changes: object) -> Trace:
    """Give the trace with parts of this step's circuit replaced."""
    circuit = dataclasses.replace(setting.circuit, **changes)  # type: ignore[arg-type]
    steps = list(setting.trace.steps)
    steps[setting.step] = dataclasses.replace(steps[setting.step], circuit=circuit)
    return dataclasses.replace(setting.trace, steps=tuple(steps))


def exchanged_activations(configuration: NetworkConfiguration) -> NetworkConfiguration:
    """Take φ_E for φ_I and φ_I for φ_E."""
    return dataclasses.replace(
        configuration,
        activation_E=configuration.activation_I,
        activation_I=configuration.activation_E,
    )
