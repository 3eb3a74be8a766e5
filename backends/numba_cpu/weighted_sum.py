"""Sums of rows with factors, two rows a pass: half the reading and writing of the sum."""

from __future__ import annotations

from .code_cache import inner
from .elementary import CONTRACT


@inner(fastmath=CONTRACT)
def add_one(total, factor, row):
    """total + factor · row, in place."""
    for i in range(total.size):
        total[i] += factor * row[i]


@inner(fastmath=CONTRACT)
def add_two(total, factor, row, other_factor, other):
    """total + factor · row + other_factor · other, in place."""
    for i in range(total.size):
        total[i] = (total[i] + factor * row[i]) + other_factor * other[i]
