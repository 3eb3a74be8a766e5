"""Which usual mistake would give the numbers that were found, and how much it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from ...backends import Backend
from ..judge import Arrays, Comparison, Place, Stage, deviation, largest
from ..trace import Trace
from .catalogue import IF_NOTHING_SIMPLER, OBSERVATIONS, USUAL_MISTAKES
from .left_out import mistakes_before
from .mistake import Result, Row, Setting

LIKENESS = 1e-3
"""A mistake is named if it explains all but this fraction of every array's deviation: of two that
differ by a per cent, as no step and one a hundred times too small, only one is right."""
FAR_BETTER = 0.25
"""And if, where more deviates than rounding would, it leaves no more than this of it, by root mean
square: in coarse arithmetic, too, it must be far nearer to what was found than the right is."""
SAME_NUMBERS = 1e-12
"""Relative; two ways to the same numbers in float64 are no further apart."""
MOST_NAMED = 3
"""Of mistakes that give the same numbers."""


@dataclass(frozen=True)
class Explanation:
    """The usual mistakes that give what was found, in words, and what they leave unexplained.

    The words are empty if there are none. What is left is a fraction of the deviation, by root mean
    square, of the array that is explained worst. What names no mistake, and says only what the
    numbers show, is not a usual one.
    """

    words: str = ""
    left: float = 1.0
    is_usual: bool = True


def usual_mistake(
    stage: Stage,
    trace: Trace,
    comparisons: Sequence[Comparison],
    reference: Backend,
    left: Sequence[Sequence[Place]] = (),
) -> Explanation:
    """Name the mistake that gives nearest to the numbers found; none if none explains every array.

    Those that give the same numbers, within rounding, are all named, as far as three. The
    comparisons are the steps' in order, of what was computed, as far as given, and what rounding
    may do. The trace has what the stage was given, the reference the solver that finds end states.
    What was left out before the stage, step by step and in order of cause, may have the mistake.
    """
    places = [
        Setting(stage, trace, comparison.step or 0, reference.solver, _usable(comparison), left=one)
        for comparison, one in zip(comparisons, left or [()] * len(comparisons), strict=True)
    ]
    for setting in places:
        setting.beside.extend(places)
    if any(len(s.found) < len(c.found) for s, c in zip(places, comparisons, strict=True)):
        # Of what is no number, or of another shape, nothing can be said.
        return Explanation()
    tables = [{**USUAL_MISTAKES}, IF_NOTHING_SIMPLER, OBSERVATIONS]
    if any(left):
        before = {c.step or 0: list(one) for c, one in zip(comparisons, left, strict=True)}
        tables[0][stage] = [*USUAL_MISTAKES.get(stage, []), *mistakes_before(before)]
    with np.errstate(all="ignore"):
        for table in tables:
            told = _told_by(table.get(stage, []), places, comparisons)
            if told.words:
                return replace(told, is_usual=table is not OBSERVATIONS)
    return Explanation()


def _told_by(
    rows: Sequence[Row], places: Sequence[Setting], comparisons: Sequence[Comparison]
) -> Explanation:
    """Name of these the mistake that explains most."""
    rights, explained = [setting.right for setting in places], []
    for row in rows:
        unexplained = _unexplained(_results(row[1], places), rights, comparisons)
        if unexplained < 1:
            explained.append((unexplained, row))
    return _explanation(explained, places, comparisons) if explained else Explanation()


def _usable(comparison: Comparison) -> Arrays:
    return {
        name: np.asarray(array, dtype=np.float64)
        for name, array in comparison.found.items()
        if array.shape == comparison.expected[name].shape and np.all(np.isfinite(array))
    }


def _results(result: Result, places: Sequence[Setting]) -> Iterator[Arrays | None]:
    for setting in places:
        try:
            yield result(setting)
        except (ValueError, KeyError, ZeroDivisionError, np.linalg.LinAlgError):
            # A mistaken network may have no answer at all, as without a leak there is no steady
            # gain, or what shows a mistake was not given.
            yield None


def _unexplained(
    wrongs: Iterator[Arrays | None],
    rights: Sequence[Arrays],
    comparisons: Sequence[Comparison],
) -> float:
    """Largest part of any array's deviation that a mistake leaves, over what it may leave."""
    worst, deviates_anywhere = 0.0, False
    for wrong, right, comparison in zip(wrongs, rights, comparisons, strict=True):
        if wrong is None:
            return np.inf
        for name, found in comparison.found.items():
            off, left = deviation(right[name], found), deviation(wrong[name], found)
            rounding = comparison.rounding.get(name, 0.0)
            # What is right by itself must stay right under the mistake.
            limit = max(LIKENESS * largest(off), 2 * rounding, np.finfo(np.float64).tiny)
            worst = max(worst, largest(left) / limit)
            if largest(off) > 2 * rounding:
                deviates_anywhere = True
                worst = max(worst, _size(left) / (FAR_BETTER * _size(off)))
        if worst >= 1:
            # The other steps cost time, and cannot make it better.
            break
    # Where nothing deviates by more than two right answers may, nothing is there to explain.
    return worst if deviates_anywhere else np.inf


def _size(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.ravel()))


def _explanation(
    explained: Sequence[tuple[float, Row]],
    places: Sequence[Setting],
    comparisons: Sequence[Comparison],
) -> Explanation:
    """Name the mistake that leaves least, and before or after it those that give its numbers."""
    nearest = min(explained, key=itemgetter(0))[1]
    wrongs = list(_results(nearest[1], places))
    hints = []
    for _, (hint, result) in explained:
        others = _results(result, places)
        if all(map(_are_equal, wrongs, others, comparisons)):
            hints.append(hint if isinstance(hint, str) else hint(places))
    left = 0.0
    for wrong, setting, comparison in zip(wrongs, places, comparisons, strict=True):
        for name, found in comparison.found.items():
            off = deviation(setting.right[name], found)
            if wrong is not None and largest(off) > 2 * comparison.rounding.get(name, 0.0):
                left = max(left, _size(deviation(wrong[name], found)) / _size(off))
    return Explanation("; or ".join(list(dict.fromkeys(hints))[:MOST_NAMED]), left)


def _are_equal(one: Arrays | None, other: Arrays | None, comparison: Comparison) -> bool:
    """Whether two mistakes give the same numbers, as far as rounding lets one tell."""
    if one is None or other is None:
        return False
    return all(
        largest(deviation(one[name], other[name]))
        <= max(
            2 * comparison.rounding.get(name, 0.0),
            SAME_NUMBERS * largest(one[name]),
            np.finfo(np.float64).tiny,
        )
        for name in comparison.found
    )
