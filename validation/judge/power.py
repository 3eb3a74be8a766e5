"""What a tolerance is worth: the smallest fault in each stage that is still caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...refimpl import Solver
from ..trace import Trace
from .allowance import reference_for, rounding_effects, stages_to_judge
from .stages import N_CORRECT
from .tolerance import Arithmetic
from .verdict import Comparison, StageToJudge, stage_verdict

SMALLEST, LARGEST = 2.0**-60, 2.0**40
PRECISION = 1.01
"""The fault is found to within a factor of this."""


@dataclass(frozen=True)
class StagePower:
    """Smallest faults caught in one stage, each of the array in which it has to be largest.

    Parameters
    ----------
    stage : str
        Its name.
    whole_array, one_element : float
        Relative size: every element of an array, or one of ordinary magnitude, the median of
        its array, is too large by this factor less 1.
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
    arithmetic, solver : Arithmetic, Solver
        Of the candidate.

    Returns
    -------
    list of StagePower
        In order of cause; arrays that are 0 throughout, and counts, have no relative fault, and are
        left out.
    """
    reference = reference_for(trace, solver)
    by_fixed_point = solver.method == "fixed-point"
    powers = []
    for item in stages_to_judge(trace, solver):
        clean = []
        for step in item.steps:
            exact, effects = rounding_effects(
                item.stage, reference, trace, step, arithmetic, by_fixed_point
            )
            clean.append(Comparison(step, exact, dict(exact), effects))
        powers.append(_stage_power(item, clean, arithmetic, trace))
    return powers


def _stage_power(
    item: StageToJudge, clean: list[Comparison], arithmetic: Arithmetic, trace: Trace
) -> StagePower:
    def is_caught(at: int, name: str, spoil: Spoil, fault: float) -> bool:
        found = {**clean[at].expected, name: spoil(clean[at].expected[name], fault)}
        spoilt = dataclasses.replace(clean[at], found=found)
        comparisons = [*clean[:at], spoilt, *clean[at + 1 :]]
        return not stage_verdict(item, comparisons, arithmetic, trace).passed

    whole, single, weakest = 0.0, 0.0, ""
    for at, comparison in enumerate(clean):
        for name, array in comparison.expected.items():
            if not np.any(array) or name == N_CORRECT:
                continue
            whole = max(whole, _smallest(partial(is_caught, at, name, _whole_array)))
            fault = _smallest(partial(is_caught, at, name, _ordinary_element))
            if fault > single:
                single, weakest = fault, name
    return StagePower(item.stage.name, whole, single, weakest)


Spoil = Callable[[np.ndarray, float], np.ndarray]
"""From an array and the relative size of a fault to the array that has it."""


def _whole_array(array: np.ndarray, fault: float) -> np.ndarray:
    return np.asarray(array * (1 + fault))


def _ordinary_element(array: np.ndarray, fault: float) -> np.ndarray:
    """Spoil the element of median magnitude, of those that are not 0."""
    sizes = np.abs(array).ravel()
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    spoilt = np.array(array)
    spoilt[np.unravel_index(order[order.size // 2], array.shape)] *= 1 + fault
    return spoilt


def _smallest(is_caught: Callable[[float], bool]) -> float:
    """Bisect for the smallest fault caught; infinite if none is."""
    low, high = SMALLEST, LARGEST
    if not is_caught(high):
        return float(np.inf)
    while high / low > PRECISION:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if is_caught(middle) else (middle, high)
    return high
