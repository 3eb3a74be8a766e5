"""What numbers show of a constant or of how they were written: another value, or too few digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...refimpl import ConfigurationError, NetworkConfiguration
from ..judge import Arrays, with_part
from .dynamics import of_the_right_run
from .ignored import settings_of
from .mistake import LOOKED_AT, Row, Setting, run_reference
from .recognised import SAME_FACTOR

MOST_ITERATIONS = 12
"""Of the search for a value; Newton's method on one number doubles its digits in each."""
AGAINST = 0.9
"""Of the deviation; a constant whose change leaves more of it in a first step is not the one."""
DIFFERENCE = 1e-5
"""Relative change of a constant by which the slope is taken."""
LEAST = 1e-6
"""Relative deviation of an array that says nothing of a constant."""
STARTS = (0.0, -2.3, 2.3)
"""Where the search begins: at the constant, a tenth of it and ten times it."""
MOST_APART = 9.2
"""Logarithm of ten thousand: what is further off is not another value, but none."""
LONGEST_STEP = 1.5
"""Logarithm of the factor by which a step may change a constant."""
FOUND = 1e-10
"""A step, relative, that moves the value no further."""
FEWEST_DIGITS, MOST_DIGITS = 3, 14
"""Of numbers that were written too short: what has more is as good as right."""
ENOUGH_NUMBERS, MOST_LOOKED_AT = 8, 2000
"""By which it is known how many digits were written, and beyond which no more are asked."""
DT = "trajectory.dt"


# A constant of another value.


def other_values(*names: str) -> list[Row]:
    """Rows for settings of these names, or of all below them: each at the value that fits best."""
    known = [name for name, _ in settings_of(NetworkConfiguration())] + [DT]
    return [
        (partial(_value_in_words, name), partial(_at_best_value, name))
        for name in known
        if name.startswith(names)
    ]


def _at_best_value(name: str, setting: Setting) -> Arrays | None:
    """What the stage gives with the constant at the value that was found, the same in all steps."""
    value = _best_value(name, setting.beside or [setting])
    return None if value is None else _at(name, value, setting)


def _value_in_words(name: str, settings: Sequence[Setting]) -> str:
    value, right = _best_value(name, settings), _value(name, settings[0])
    return f"they are those of {name} {value:.4g}: the trace has {right:g}"


def _value(name: str, setting: Setting) -> float | None:
    """What the trace has; None where it is off."""
    if name == DT:
        trajectory = setting.trace.trajectory
        return None if trajectory is None else trajectory.recording.dt
    value = dict(settings_of(setting.trace.configuration))[name]
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return float(value) if is_number else None


def _at(name: str, value: float, setting: Setting) -> Arrays:
    """Run the stage at this value."""
    trace = setting.trace
    if name != DT:
        trace = dataclasses.replace(trace, configuration=_with(trace.configuration, name, value))
    else:
        assert trace.trajectory is not None
        recording = dataclasses.replace(trace.trajectory.recording, dt=value)
        trace = with_part(trace, 0, "recording", recording, of_trajectory=True)
    return run_reference(dataclasses.replace(setting, trace=trace), trace)


def _with(configuration: NetworkConfiguration, name: str, value: float) -> NetworkConfiguration:
    group, _, part = name.partition(".")
    if not part:
        changes: dict[str, Any] = {group: value}
        return dataclasses.replace(configuration, **changes)
    changed = dataclasses.replace(getattr(configuration, group), **{part: value})
    return dataclasses.replace(configuration, **{group: changed})


def _best_value(name: str, settings: Sequence[Setting]) -> float | None:
    """Value that gives what was found in the step that is furthest off; None if none does."""
    noted = settings[0].notes
    if name not in noted:
        noted[name] = _fitted(name, _beginning(max(settings, key=_off)))
    value: float | None = noted[name]
    return value


def _off(setting: Setting) -> float:
    """Largest deviation, beside the largest number of its array."""
    right = setting.right
    return max(
        (
            float(np.max(np.abs(right[name] - found)) / (np.max(np.abs(right[name])) or 1.0))
            for name, found in setting.found.items()
            if found.size
        ),
        default=0.0,
    )


def _beginning(setting: Setting) -> Setting:
    """Give of a path as much as tells one value from another."""
    trajectory = setting.trace.trajectory
    if not setting.stage.is_path or trajectory is None:
        return dataclasses.replace(setting, beside=[], notes={})
    asked, kept = trajectory.recording, 1 + LOOKED_AT
    short = dataclasses.replace(asked, n_steps=min(asked.n_steps, LOOKED_AT * asked.every))
    return dataclasses.replace(
        setting,
        trace=with_part(setting.trace, 0, "recording", short, of_trajectory=True),
        found={key: array[:kept] for key, array in setting.found.items()},
        beside=[],
        notes={},
    )


def _fitted(name: str, setting: Setting) -> float | None:
    """Find by Newton's method the value that leaves least; None where it leads nowhere.

    A positive constant is changed by factors, any other by what is added.
    """
    start = _value(name, setting)
    if start is None:
        return None
    right = setting.right
    # An array that rounding alone puts off weighs as little as that.
    sizes = {
        key: max(float(np.linalg.norm(right[key] - found)), LEAST * float(np.linalg.norm(found)))
        for key, found in setting.found.items()
    }

    def value_at(t: float) -> float:
        return float(start * np.exp(t)) if start > 0 else start + t

    def left(t: float) -> np.ndarray:
        """What is left of each array, over its own deviation; inf where no setting may be."""
        try:
            wrong = _at(name, value_at(t), setting)
        except ConfigurationError:
            return np.full(1, np.inf)
        parts = [
            (wrong[key] - found).ravel() / (sizes[key] or 1.0)
            for key, found in setting.found.items()
        ]
        return np.concatenate(parts)

    first = float(np.linalg.norm(left(0.0)))
    for begun in STARTS:
        t = _searched(left, begun, AGAINST * first)
        if t is not None:
            return value_at(t) if SAME_FACTOR < abs(t) < MOST_APART else None
    return None


def _searched(left: Callable[[float], np.ndarray], t: float, limit: float) -> float | None:
    """Newton's method from t on; None where more than the limit is left of a first step."""
    here = left(t)
    for _ in range(MOST_ITERATIONS):
        slope = (left(t + DIFFERENCE) - here) / DIFFERENCE
        steepness = float(slope @ slope)
        if not steepness > 0:
            return None
        step = float(np.clip(-float(slope @ here) / steepness, -LONGEST_STEP, LONGEST_STEP))
        there = left(t + step)
        while np.linalg.norm(there) > np.linalg.norm(here) and abs(step) > FOUND:
            step /= 4
            there = left(t + step)
        t, here = t + step, there
        if not np.linalg.norm(here) <= limit:
            return None
        if abs(step) <= FOUND:
            break
    return t


# Numbers written with too few digits.


def _in_decimals(digits: int, array: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(array, digits))


def _in_digits(digits: int, array: np.ndarray) -> np.ndarray:
    """So many significant ones, as a text has them."""
    texts = [f"{number:.{digits}g}" for number in array.ravel()]
    return np.array(texts, dtype=np.float64).reshape(array.shape)


WAYS: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
    "decimals": _in_decimals,
    "significant digits": _in_digits,
}


def _digits(way: str, settings: Sequence[Setting]) -> int | None:
    """Fewest digits that hold all that was found; None if it takes as many as there are."""
    noted = settings[0].notes
    if way not in noted:
        found = [array.ravel() for one in settings for array in one.found.values()]
        numbers = np.concatenate([np.zeros(0), *found])
        numbers = numbers[numbers != np.rint(numbers)][:MOST_LOOKED_AT]
        noted[way] = None
        if len(numbers) >= ENOUGH_NUMBERS:
            fitting = (
                n
                for n in range(FEWEST_DIGITS, MOST_DIGITS + 1)
                if np.array_equal(WAYS[way](n, numbers), numbers)
            )
            noted[way] = next(fitting, None)
    digits: int | None = noted[way]
    return digits


def _written_short(way: str, setting: Setting) -> Arrays | None:
    digits = _digits(way, setting.beside or [setting])
    if digits is None:
        return None
    return {name: WAYS[way](digits, array) for name, array in setting.right.items()}


def written_short_by_the_right_run(way: str, setting: Setting) -> Arrays | None:
    """Give the open loop of a port that goes on from more digits than it writes."""
    digits = _digits(way, setting.beside or [setting])
    return None if digits is None else of_the_right_run(partial(WAYS[way], digits), setting)


def _short_in_words(way: str, settings: Sequence[Setting]) -> str:
    digits = _digits(way, settings)
    return (
        f"numbers have {digits} {way}, as they are held or as they are written: 17 significant "
        "digits hold a float64, and 9 a float32"
    )


SHORT_NUMBERS: list[Row] = [
    (partial(_short_in_words, way), partial(_written_short, way)) for way in WAYS
]
