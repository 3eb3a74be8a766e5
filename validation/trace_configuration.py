"""The JSON configuration inside a trace, as the model's own configuration and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import h5py

from ..refimpl.activation import SoftReLU
from ..refimpl.configuration import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Solver,
)
from ..refimpl.errors import ConfigurationError, shown
from .attributes import read_json
from .parameter_groups import FileError

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


def network_configuration(settings: dict[str, Any]) -> NetworkConfiguration:
    """Build a network configuration from nested dictionaries.

    Parameters
    ----------
    settings : dict
        Keys are the fields of NetworkConfiguration; those left out keep their defaults.

    Raises
    ------
    ConfigurationError
        A value is impossible.
    TypeError
        A key is unknown.
    """
    parts = {
        name: SECTIONS[name](**value) if name in SECTIONS else value
        for name, value in settings.items()
    }
    return NetworkConfiguration(**parts)


def read_trace_configuration(file: h5py.File) -> tuple[NetworkConfiguration, Solver]:
    """Read the attribute `config` of a trace, in which the solver's horizon is called T.

    Parameters
    ----------
    file : h5py.File
        A trace, its questions, or answers to them.

    Returns
    -------
    configuration : NetworkConfiguration
    solver : Solver
        The one that the trace was made with.

    Raises
    ------
    FileError
        It is missing, no JSON object, or has an unknown key, a value of another kind or one that
        is impossible.
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
        return network_configuration(settings), Solver(**solver)
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
    """Write the attribute `config` of a trace; `read_trace_configuration` reads it back.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule, its settings plain numbers.
    solver : Solver
        The one that the trace is made with.
    """
    settings = dataclasses.asdict(configuration)
    settings["sizes"] = list(configuration.sizes)
    settings["feedback"] = {
        name: value for name, value in settings["feedback"].items() if value is not None
    }
    horizon = {"T": solver.horizon}
    written = ("method", "rtol", "atol", "dt")
    settings["solver"] = {name: getattr(solver, name) for name in written} | horizon
    return json.dumps(settings)
