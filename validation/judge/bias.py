"""Whether deviations lean to one side: an arithmetic that rounds down is told from one to nearest.

Rounding to nearest, and stochastic rounding, err to both sides alike. An arithmetic shift rounds
down, and leaves half of the last place too little on average; a cast in C rounds towards zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .tolerance import Arithmetic, student_t_beyond
from .verdict import Comparison

LEAST_MEAN = 0.2
"""Of a last place: a mean deviation below this is no shift's, whose mean is a half."""
CHANCE = 1e-6
"""How often chance may lean so far in a stage."""
FEWEST = 6
"""Of rows that vote."""


@dataclass(frozen=True)
class Lean:
    """Mean deviation in last places, its standard errors, and how likely chance makes it so."""

    mean: float
    errors: float
    chance: float

    @property
    def is_told(self) -> bool:
        """Whether it is one of rounding down, and beyond chance."""
        return self.mean <= -LEAST_MEAN and self.chance <= CHANCE


def bias_in_words(comparisons: Sequence[Comparison], arithmetic: Arithmetic) -> str:
    """Say how a stage's deviations lean; empty if they do not, or where rounding is to lean so."""
    if not arithmetic.is_fixed_point or arithmetic.is_biased:
        return ""
    down, inwards = (
        lean(comparisons, arithmetic, towards_zero=towards_zero) for towards_zero in (False, True)
    )
    told = [one for one in (down, inwards) if one is not None and one.is_told]
    if not told:
        return ""
    nearest = min(told, key=lambda one: one.mean)
    if len(told) == 2 and np.isclose(told[0].mean, told[1].mean, rtol=0.05):
        # Numbers of one sign: down is towards zero.
        way, guess = "downwards", "floor, or truncation?"
    elif nearest is down:
        way, guess = "downwards", "floor?"
    else:
        way, guess = "towards zero", "truncation?"
    return f"biased {way}: {guess} (on average {-nearest.mean:.2g} of the last place)"


def lean(
    comparisons: Sequence[Comparison], arithmetic: Arithmetic, *, towards_zero: bool
) -> Lean | None:
    """Mean deviation of a stage, over rows: a row is a sample, or what goes out of a unit.

    What a sample's numbers have in common, as a control signal that was rounded once, makes them
    no more than one vote. None where too few rows are given.
    """
    rows = [
        np.mean(off.reshape(len(off), -1), axis=1)
        for comparison in comparisons
        for off in _in_last_places(comparison, arithmetic, towards_zero)
    ]
    votes = np.concatenate(rows) if rows else np.zeros(0)
    # The same few numbers again and again, as labels are, are one vote each.
    if np.unique(np.round(votes, 6)).size < FEWEST:
        return None
    mean, spread = float(np.mean(votes)), float(np.std(votes, ddof=1))
    errors = abs(mean) / (spread / np.sqrt(votes.size)) if spread > 0 else np.inf
    return Lean(mean, float(errors), student_t_beyond(votes.size - 1, float(errors)))


def _in_last_places(
    comparison: Comparison, arithmetic: Arithmetic, towards_zero: bool
) -> list[np.ndarray]:
    signed = []
    for name, expected in comparison.expected.items():
        found = comparison.found.get(name)
        if found is None or found.shape != expected.shape or not np.all(np.isfinite(found)):
            continue
        if expected.ndim == 0:
            continue
        off = (np.asarray(found, dtype=np.float64) - expected) / arithmetic.epsilon
        signed.append(off * np.sign(expected) if towards_zero else off)
    return signed
