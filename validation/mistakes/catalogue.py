"""A plain hint: the usual mistake that would give the numbers that were found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...backends import Backend
from ..judge import Arrays, Comparison, Stage, deviation, largest
from ..trace import Trace
from . import (
    dynamics as mistakes_of_dynamics,
    feedback as mistakes_of_feedback,
    learning as mistakes_of_learning,
)
from .mistake import Mistake, Setting, run_reference

USUAL_MISTAKES: tuple[Mistake, ...] = (
    *mistakes_of_dynamics.MISTAKES,
    *mistakes_of_feedback.MISTAKES,
    *mistakes_of_learning.MISTAKES,
)

LIKENESS = 0.02
"""A mistake is named if it explains all but this fraction of every array's deviation."""


def usual_mistake(
    stage: Stage, trace: Trace, comparisons: Sequence[Comparison], reference: Backend
) -> str:
    """Name the mistake that gives nearest to the numbers found.

    Parameters
    ----------
    stage : Stage
        Which deviates.
    trace : Trace
        Holds what the stage was given.
    comparisons : sequence of Comparison
        What was computed, step by step, as far as given, and what rounding may do.
    reference : Backend
        Whose solver finds end states.

    Returns
    -------
    str
        In words; empty if none explains every array.
    """
    settings = [Setting(trace, step, reference.solver) for step in range(len(comparisons))]
    nearest, words = 1.0, ""
    with np.errstate(all="ignore"):
        rights = [run_reference(stage, trace, setting) for setting in settings]
        for mistake in USUAL_MISTAKES:
            if mistake.stage is not stage:
                continue
            wrongs = _results(mistake, settings)
            if wrongs is None:
                continue
            unexplained = _unexplained(wrongs, rights, comparisons)
            # Where two explain it equally well, the plainer comes first.
            if unexplained < nearest:
                nearest, words = unexplained, mistake.words
    return words


def _results(mistake: Mistake, settings: Sequence[Setting]) -> list[Arrays] | None:
    results = []
    for setting in settings:
        try:
            result = mistake.result(setting)
        except (ValueError, np.linalg.LinAlgError):
            # A mistaken network may have no answer at all.
            return None
        if result is None:
            return None
        results.append(result)
    return results


def _unexplained(
    wrongs: Sequence[Arrays], rights: Sequence[Arrays], comparisons: Sequence[Comparison]
) -> float:
    """Largest part of any array's deviation that a mistake leaves, over what it may leave."""
    worst = 0.0
    for wrong, right, comparison in zip(wrongs, rights, comparisons, strict=True):
        for name, found in comparison.found.items():
            deviates = largest(deviation(right[name], found))
            left = largest(deviation(wrong[name], found))
            rounding = comparison.rounding.get(name, 0.0)
            # What is right by itself must stay right under the mistake.
            limit = max(LIKENESS * deviates, 2 * rounding, np.finfo(np.float64).tiny)
            worst = max(worst, left / limit)
    return worst
