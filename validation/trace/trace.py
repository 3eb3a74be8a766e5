"""Traces: everything a few learning steps computed, in schema `disinhib-trace` version 1.

What a trace is in memory, and its configuration in the file's JSON and back.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...refimpl import (
    ConfigurationError,
    Controller,
    Feedback,
    FeedbackWeights,
    MeanInhibition,
    NetworkConfiguration,
    NetworkState,
    Optimizer,
    Parameters,
    Recording,
    SoftReLU,
    Solver,
    shown,
)
from ..storage import FileError, read_json

SCHEMA = "disinhib-trace"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CircuitStep:
    """What the microcircuit does in one learning step.

    End states (batch, n), feedback weights as applied (batch, n_out, n_l), what the controller was
    given (batch, n_out), and r̄ (n_l,), which only the linear threshold has.
    """

    open_loop: NetworkState
    feedback: FeedbackWeights
    closed_loop_target: np.ndarray
    closed_loop: NetworkState
    mean_inhibition: tuple[np.ndarray, ...] | None


@dataclass(frozen=True)
class TraceStep:
    """Every stage of one learning step; backprop has no circuit."""

    gradients: Parameters
    parameters_after: Parameters
    circuit: CircuitStep | None


@dataclass(frozen=True)
class TraceTrajectory:
    """Paths of batch 0 from rest and then under control, at the initial parameters.

    States are (time, batch, n), the closed loop's starts where the open loop ended; feedback
    weights are those of the closed loop, (batch, n_out, n_l).
    """

    open_loop: NetworkState
    closed_loop: NetworkState
    feedback: FeedbackWeights
    recording: Recording


@dataclass(frozen=True)
class Trace:
    """A recorded run of S learning steps.

    Parameters
    ----------
    path : Path
        Where it was read from.
    configuration : NetworkConfiguration
        Network and rule.
    solver : Solver
        How its end states were found.
    initial_parameters, final_parameters : Parameters
        Before the first and after the last step.
    stored_precision : numpy.dtype
        Of the parameters in the file.
    inputs, targets : array of float64, (S, batch, n)
        Inputs, scaled to [0, 1] where the file has bytes, and labels.
    open_loop_loss, closed_loop_loss : array of float64, (S,)
        Mean loss of each step before its update, and likewise under control; backprop has None.
    steps : tuple of TraceStep
        Empty where the file has a summary only.
    trajectory : TraceTrajectory or None
        Where the file has one.
    dataset, dataset_indices : str, array of int64 (S, batch) or None
        Name of the dataset that the inputs are from, empty for none, and their positions in its
        training split; where the name has another split after it, in that.
    """

    path: Path
    configuration: NetworkConfiguration
    solver: Solver
    initial_parameters: Parameters
    final_parameters: Parameters
    stored_precision: np.dtype
    inputs: np.ndarray
    targets: np.ndarray
    open_loop_loss: np.ndarray
    closed_loop_loss: np.ndarray | None
    steps: tuple[TraceStep, ...]
    trajectory: TraceTrajectory | None
    dataset: str = ""
    dataset_indices: np.ndarray | None = None


SECTIONS = {
    "activation_E": SoftReLU,
    "activation_I": SoftReLU,
    "controller": Controller,
    "feedback": Feedback,
    "mean_inhibition": MeanInhibition,
    "optimizer": Optimizer,
}
"""Parts of a configuration that are objects of their own, in the network and in a trace."""
KINDS = {bool: "true or false", int: "a whole number", str: "a text"}


def read_trace_configuration(file: h5py.File) -> tuple[NetworkConfiguration, Solver]:
    """Read the attribute `config` of a trace, in which the solver's horizon is called T.

    So it is in a trace's questions, and may be in answers to them. Refused is a text that is no
    JSON object, an unknown key, a value of another kind or one that is impossible.
    """
    settings = read_json(file, "config")
    solver = settings.pop("solver", {})
    if isinstance(solver, dict) and "T" in solver:
        solver["horizon"] = solver.pop("T")
    try:
        _check_kinds(settings, NetworkConfiguration(), "")
        _check_kinds(solver, Solver(), "solver")
        # What a trace does not say was done as published.
        solver.setdefault("settled", "published")
        parts = {
            name: SECTIONS[name](**value) if name in SECTIONS else value
            for name, value in settings.items()
        }
        return NetworkConfiguration(**parts), Solver(**solver)
    except ConfigurationError as problem:
        raise FileError(f"{file.filename}: attribute config is unusable: {problem}") from problem


def _check_kinds(settings: Any, defaults: Any, where: str) -> None:
    """Refuse keys that are unknown, and values of another kind than the default's.

    The classes take arrays too, a number for each replica; a trace has one network.
    """
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{where} is {shown(settings)}: an object of settings is needed")
    for key, value in settings.items():
        name = f"{where}.{key}" if where else key
        if key not in defaults.__dataclass_fields__:
            allowed = ", ".join(defaults.__dataclass_fields__)
            raise ConfigurationError(f"unknown key {shown(name)}: allowed are {allowed}")
        default = getattr(defaults, key)
        if dataclasses.is_dataclass(default):
            _check_kinds(value, default, name)
        elif isinstance(default, tuple):
            if not isinstance(value, list) or not all(type(n) is int for n in value):
                raise ConfigurationError(
                    f"{name} is {shown(value)}: a list of whole numbers is needed"
                )
        elif isinstance(default, (bool, int, str)):
            if type(value) is not type(default):
                kind = KINDS[type(default)]
                raise ConfigurationError(f"{name} is {shown(value)}: {kind} is needed")
        elif type(value) not in (int, float) and not (value is None and default is None):
            raise ConfigurationError(f"{name} is {shown(value)}: a number is needed")


def trace_configuration_text(configuration: NetworkConfiguration, solver: Solver) -> str:
    """Write the attribute `config` of a trace; `read_trace_configuration` reads it back."""
    settings = dataclasses.asdict(configuration)
    settings["sizes"] = list(configuration.sizes)
    if configuration.bias:
        # A trace of a network as published says no more than it did before there were others.
        del settings["bias"]
    settings["feedback"] = {
        name: value for name, value in settings["feedback"].items() if value is not None
    }
    horizon = {"T": solver.horizon}
    written = ("method", "rtol", "atol", "dt")
    settings["solver"] = {name: getattr(solver, name) for name in written} | horizon
    return json.dumps(settings)
