"""What a figure is made of: the picture, its data, its key numbers and the checks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Check:
    """A claim that a reader would check, and how it came out.

    Parameters
    ----------
    claim : str
        In words.
    passed : bool
        Whether the numbers bear it out.
    numbers : dict
        Those that decided it.
    """

    claim: str
    passed: bool
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureResult:
    """A figure with all that belongs to it.

    Parameters
    ----------
    picture : matplotlib.figure.Figure
        Drawn in the house style.
    data : dict of dict of array
        By table, columns by name, each (n,): what the picture shows.
    numbers : dict
        Key numbers, plain values.
    checks : list of Check
        Claims and how they came out.
    notes : list of str
        Lines to print: tables in words and the like.
    """

    picture: Figure
    data: dict[str, dict[str, np.ndarray]]
    numbers: dict[str, Any]
    checks: list[Check]
    notes: list[str] = field(default_factory=list)
