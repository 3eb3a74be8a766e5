"""Which figures there are, and who makes each."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from ...refimpl.errors import ConfigurationError
from .figure_result import FigureResult

FIGURES: dict[str, tuple[str, str]] = {
    "figure-3": ("plasticity_of_one_synapse", "plasticity of one synapse"),
    "figure-4": ("teacher_and_student", "teacher and student in continuous time"),
    "supplement-1": ("related_models", "the same panels for related models"),
    "supplement-2": ("linear_fits", "five linear fits of the inverse"),
    "learning": ("learning_from_inside", "learning from inside: angles, control work, rules"),
    "circuit": ("circuit_traces", "potentials and control over time"),
}
"""By name: the module that makes it, and what it shows."""


def figure_maker(name: str) -> Callable[[], FigureResult]:
    """Find who makes a figure; its module is loaded only now.

    Parameters
    ----------
    name : str
        One of FIGURES.

    Raises
    ------
    ConfigurationError
        There is no such figure.
    """
    if name not in FIGURES:
        raise ConfigurationError(
            f"figure {name!r} is unknown: choose one of {', '.join(FIGURES)}, or all"
        )
    module = importlib.import_module(f".{FIGURES[name][0]}", __package__)
    make: Callable[[], FigureResult] = module.make
    return make
