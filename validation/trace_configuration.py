"""The JSON configuration inside a trace, as the model's own configuration and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ..refimpl.activation import SoftReLU
from ..refimpl.configuration import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Solver,
)

SECTIONS = {
    "activation_E": SoftReLU,
    "activation_I": SoftReLU,
    "controller": Controller,
    "feedback": Feedback,
    "mean_inhibition": MeanInhibition,
    "optimizer": Optimizer,
}
"""Parts of a configuration that are objects of their own, in the network and in a trace."""


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


def parse_trace_configuration(text: str) -> tuple[NetworkConfiguration, Solver]:
    """Read the attribute `config` of a trace.

    Parameters
    ----------
    text : str
        JSON; the solver's horizon is called T there.

    Returns
    -------
    configuration : NetworkConfiguration
    solver : Solver
        The one that the trace was made with.

    Raises
    ------
    ValueError, TypeError
        Not JSON, an unknown key or an impossible value.
    """
    settings = json.loads(text)
    solver = settings.pop("solver", {})
    if "T" in solver:
        solver["horizon"] = solver.pop("T")
    return network_configuration(settings), Solver(**solver)


def trace_configuration_text(configuration: NetworkConfiguration, solver: Solver) -> str:
    """Write the attribute `config` of a trace; `parse_trace_configuration` reads it back.

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
    shown = ("method", "rtol", "atol", "dt")
    settings["solver"] = {name: getattr(solver, name) for name in shown} | horizon
    return json.dumps(settings)
