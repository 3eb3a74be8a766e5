"""A plain hint: the usual mistake that would give the numbers that were found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..backends import Backend
from . import mistakes_of_dynamics, mistakes_of_feedback, mistakes_of_learning
from .deviation import deviation
from .mistake import Mistake, Setting, run_reference
from .stages import Arrays, Stage
from .tolerance import largest
from .trace import Trace

USUAL_MISTAKES: tuple[Mistake, ...] = (
    *mistakes_of_dynamics.MISTAKES,
    *mistakes_of_feedback.MISTAKES,
    *mistakes_of_learning.MISTAKES,
)

LIKENESS = 0.02
"""A mistake is named if it explains all but this fraction of the deviation."""


def usual_mistake(stage: Stage, trace: Trace, founds: Sequence[Arrays], reference: Backend) -> str:
    """Name the mistake that gives nearest to the numbers found.

    Parameters
    ----------
    stage : Stage
        Which deviates.
    trace : Trace
        Holds what the stage was given.
    founds : sequence of dict of array
        What was computed, step by step, as far as given.
    reference : Backend
        Whose solver finds end states.

    Returns
    -------
    str
        In words; empty if none comes near.
    """
    settings = [Setting(trace, step, reference.solver) for step in range(len(founds))]
    with np.errstate(all="ignore"):
        rights = [run_reference(stage, trace, setting) for setting in settings]
        without = _distance(rights, founds, rights)
        nearest, words = LIKENESS * without, ""
        for mistake in USUAL_MISTAKES:
            if mistake.stage is not stage:
                continue
            wrongs = _results(mistake, settings)
            if wrongs is None:
                continue
            distance = _distance(wrongs, founds, rights)
            # Where the first step tells two apart no more than this, the plainer comes first.
            if distance < nearest:
                nearest, words = distance, mistake.words
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


def _distance(one: Sequence[Arrays], other: Sequence[Arrays], scale: Sequence[Arrays]) -> float:
    """Largest difference of any array, relative to its right size."""
    distance = 0.0
    for a, b, right in zip(one, other, scale, strict=True):
        for name, array in b.items():
            size = largest(right[name])
            off = largest(deviation(a[name], array))
            distance = max(distance, off / size if size > 0 else off)
    return distance
