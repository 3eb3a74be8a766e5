"""What a tolerance is worth: the smallest fault in each stage that is still caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...backends import NumpyBackend
from ...refimpl import Solver
from ..trace import Trace
from .allowance import StageToJudge, reference_for, rounding_effects, stage_verdict, stages_to_judge
from .tolerance import Arithmetic
from .verdict import Comparison

SMALLEST, LARGEST = 2.0**-60, 2.0**40
PRECISION = 1.01
"""The fault is found to within a factor of this."""


@dataclass(frozen=True)
class StagePower:
    """Smallest faults caught in one stage.

    Parameters
    ----------
    stage : str
        Its name.
    whole_array : float
        Relative size: every element of one array is too large by this factor less 1. Of the
        array in which it has to be largest.
    one_element : float
        Relative size: one element of ordinary magnitude, the median of its array, is too large
        by this factor less 1. Of the array in which it has to be largest.
    weakest : str
        The array in which a wrong element has to be largest.
    """

    stage: str
    whole_array: float
    one_element: float
    weakest: str


def power(trace: Trace, arithmetic: Arithmetic, solver: Solver) -> list[StagePower]:
    """Make ever smaller faults in what the reference computes, until they are not caught.

    Parameters
    ----------
    trace : Trace
        Golden numbers.
    arithmetic : Arithmetic
        Of the candidate.
    solver : Solver
        Of the candidate.

    Returns
    -------
    list of StagePower
        In order of cause; arrays that are 0 throughout have no relative fault, and are left out.
    """
    reference = reference_for(trace, solver)
    return [
        _stage_power(item, _clean(item, trace, reference, arithmetic, solver), arithmetic, trace)
        for item in stages_to_judge(trace, solver)
    ]


def _clean(
    item: StageToJudge,
    trace: Trace,
    reference: NumpyBackend,
    arithmetic: Arithmetic,
    solver: Solver,
) -> list[Comparison]:
    comparisons = []
    for step in item.steps:
        exact, effects = rounding_effects(
            item.stage,
            reference,
            trace,
            step,
            arithmetic,
            solver.method == "fixed-point",
        )
        comparisons.append(Comparison(step, exact, dict(exact), effects))
    return comparisons


def _stage_power(
    item: StageToJudge, clean: list[Comparison], arithmetic: Arithmetic, trace: Trace
) -> StagePower:
    whole, single, weakest = 0.0, 0.0, ""
    for at, comparison in enumerate(clean):
        for name, array in comparison.expected.items():
            if not np.any(array):
                continue

            def caught(found: np.ndarray, at: int = at, name: str = name) -> bool:
                spoilt = dataclasses.replace(clean[at], found={**clean[at].expected, name: found})
                comparisons = [*clean[:at], spoilt, *clean[at + 1 :]]
                return not stage_verdict(item, comparisons, arithmetic, trace).passed

            whole = max(whole, _smallest(lambda f, a=array: caught(a * (1 + f))))  # type: ignore[misc]
            position = _ordinary_element(array)

            def with_fault(
                f: float, array: np.ndarray = array, position: tuple[int, ...] = position
            ) -> np.ndarray:
                spoilt = array.copy()
                spoilt[position] *= 1 + f
                return spoilt

            fault = _smallest(lambda f, make=with_fault: caught(make(f)))  # type: ignore[misc]
            if fault > single:
                single, weakest = fault, name
    return StagePower(item.stage.name, whole, single, weakest)


def _ordinary_element(array: np.ndarray) -> tuple[int, ...]:
    """Position of the element of median magnitude, of those that are not 0."""
    sizes = np.abs(array).ravel()
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    return tuple(int(i) for i in np.unravel_index(order[order.size // 2], array.shape))


def _smallest(is_caught: Callable[[float], bool]) -> float:
    """Bisect for the smallest fault caught; infinite if none is."""
    low, high = SMALLEST, LARGEST
    if not is_caught(high):
        return float(np.inf)
    while high / low > PRECISION:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if is_caught(middle) else (middle, high)
    return high
