"""The verdict on one stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .arithmetic import Arithmetic
from .deviation import Element, LastPlaces, deviation, last_places, worst_element
from .stage_arrays import Arrays
from .tolerance import largest


@dataclass(frozen=True)
class Comparison:
    """One step's arrays of a stage.

    Parameters
    ----------
    step : int or None
        Learning step, None where the arrays are not of one.
    expected, found : dict of array
        By name.
    rounding : dict of float
        Largest effect of rounding on each expected array, absolute.
    """

    step: int | None
    expected: Arrays
    found: Arrays
    rounding: dict[str, float]


@dataclass(frozen=True)
class StageResult:
    """Largest deviation found in one stage.

    Parameters
    ----------
    stage : str
        Name of the stage.
    absolute, relative : float
        Largest deviation of any element, and the largest over the largest element of its
        array; infinite where a number is missing.
    tolerance : float
        Relative deviation allowed in the array that comes nearest to its limit.
    origin : str
        What that allowance is made of: 'trace', 'solver' or 'rounding' (see `tolerance`).
    used : float
        Fraction of its allowance that this array uses; above 1 the stage fails.
    element : Element or None
        The element of that array that lies furthest off; None where nothing was compared.
    last_places : LastPlaces
        All deviations of the stage, in units in the last place.
    follows : bool
        The stage deviates from the trace only because what it was given did: from that, it
        computed the right thing.
    hint : str
        The usual mistake that would give these numbers; empty if none would.
    """

    stage: str
    absolute: float
    relative: float
    tolerance: float
    origin: str
    used: float
    element: Element | None
    last_places: LastPlaces
    follows: bool = False
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Every array of the stage lies within its allowance."""
        return self.used <= 1

    @property
    def margin(self) -> float:
        """How many times larger the deviation could be; infinite where there is none."""
        return float(np.inf) if self.used == 0 else 1 / self.used

    @property
    def worst(self) -> str:
        """The element nearest to its limit, in short."""
        return "" if self.element is None else str(self.element)


UnitOf = Callable[[str, Arrays], float]


def own_scale(name: str, arrays: Arrays) -> float:
    """Size of the array itself, to which a tolerance is relative."""
    return largest(arrays[name])


def state_scale(name: str, arrays: Arrays) -> float:
    """Size of the whole state: a solver judges its steps by that."""
    return max(largest(array) for array in arrays.values())


def natural_scale(name: str, arrays: Arrays) -> float:
    """One: a tolerance in natural units."""
    return 1.0


def judged(
    stage: str,
    comparisons: Sequence[Comparison],
    tolerance: float,
    origin: str,
    unit_of: UnitOf,
    arithmetic: Arithmetic,
    seconds_per_entry: float | None = None,
) -> StageResult:
    """Compare all arrays of a stage.

    Parameters
    ----------
    stage : str
        Its name.
    comparisons : sequence of Comparison
        Of all steps.
    tolerance : float
        Relative, of the trace or of the solver; rounding may allow more.
    origin : str
        Which of the two.
    unit_of : callable
        From (name, expected arrays) to what the tolerance of an array is relative to.
    arithmetic : Arithmetic
        Of the candidate.
    seconds_per_entry : float, optional
        For paths: the time between entries.
    """
    absolute = relative = 0.0
    used, allowed_there, origin_there = -1.0, tolerance, origin
    worst: Element | None = None
    for comparison in comparisons:
        for name, expected in comparison.expected.items():
            found = comparison.found.get(name)
            size, scale = largest(deviation(expected, found)), largest(expected)
            unit, rounding = unit_of(name, comparison.expected), comparison.rounding[name]
            allowed = max(tolerance * unit, rounding)
            fraction = _ratio(size, allowed)
            absolute, relative = max(absolute, size), max(relative, _ratio(size, scale))
            if fraction > used:
                used = fraction
                allowed_there = allowed / unit if unit > 0 else 0.0
                origin_there = "rounding" if rounding > tolerance * unit else origin
                worst = worst_element(
                    comparison.step,
                    name,
                    expected,
                    found,
                    seconds_per_entry is not None,
                    seconds_per_entry or 0.0,
                )
    pairs = [(e, c.found.get(name)) for c in comparisons for name, e in c.expected.items()]
    return StageResult(
        stage,
        absolute,
        relative,
        allowed_there,
        origin_there,
        used,
        worst,
        last_places(arithmetic, pairs),
    )


def _ratio(size: float, limit: float) -> float:
    if np.isinf(limit):
        # Where rounding may do anything, no number is right.
        return float(np.inf)
    if limit > 0:
        return size / limit
    return 0.0 if size == 0 else float(np.inf)
