"""The verdict on one stage: how far a candidate's arrays lie from the expected ones, and where.

`judged` compares; each array's allowance is the stage's tolerance or the effect of rounding,
whichever is larger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..trace import Trace
from .stages import Arrays, Stage
from .tolerance import Arithmetic, largest


@dataclass(frozen=True)
class Element:
    """One element of one array: where it is, as the files count, its two numbers, and in words.

    The step is None where the array is not of one; the words give layer, unit and sample.
    """

    step: int | None
    array: str
    index: tuple[int, ...]
    expected: float
    found: float
    words: str

    def __str__(self) -> str:
        step = "" if self.step is None else f"step {self.step}: "
        index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{step}{self.array}{index}"


@dataclass(frozen=True)
class LastPlaces:
    """Deviations of all elements of a stage in units in the last place of its arithmetic.

    Infinite where a number is missing. The histogram has how many lie at 0, below 1, below 2, below
    4, and so on, doubling.
    """

    median: float
    percentile_99: float
    largest: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class StageToJudge:
    """A stage, the steps that a trace has of it, and what is allowed in it before rounding.

    That is relative, and of 'trace' or 'solver', its origin.
    """

    stage: Stage
    steps: range
    tolerance: float
    origin: str


@dataclass(frozen=True)
class Comparison:
    """One step's arrays of a stage, by name; the step is None where they are not of one.

    Rounding is its largest effect on each expected array, absolute.
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
    tolerance, origin : float, str
        Relative deviation allowed in the array that comes nearest to its limit, and what that
        is made of: 'trace', 'solver' or 'rounding'.
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


def stage_verdict(
    item: StageToJudge, comparisons: list[Comparison], arithmetic: Arithmetic, trace: Trace
) -> StageResult:
    """Judge one stage by the comparisons of its steps, for a candidate's arithmetic."""
    seconds = None
    if item.stage.is_path:
        assert trace.trajectory is not None
        seconds = trace.trajectory.recording.dt * trace.trajectory.recording.every
    unit_of = state_scale if item.stage.is_state else own_scale
    return judged(
        item.stage.name, comparisons, item.tolerance, item.origin, unit_of, arithmetic, seconds
    )


UnitOf = Callable[[str, Arrays], float]
"""What a tolerance is relative to, from an array's name and the expected arrays."""


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
    """Compare all arrays of a stage; of a path, its entries are so many seconds apart."""
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


def deviation(expected: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    """Magnitude of the difference; infinite throughout where a shape is wrong.

    Of the shape of `expected`; NaN where the candidate, and not the expected array, is not a
    number.
    """
    if found is None or found.shape != expected.shape:
        return np.full(expected.shape, np.inf)
    return np.abs(np.asarray(found, dtype=np.float64) - expected)


def last_places(
    arithmetic: Arithmetic, pairs: list[tuple[np.ndarray, np.ndarray | None]]
) -> LastPlaces:
    """Measure the deviations of pairs (expected, found) in units in the last place."""
    with np.errstate(over="ignore"):
        units = [
            (deviation(expected, found) / arithmetic.spacing(expected)).ravel()
            for expected, found in pairs
        ]
    together = np.concatenate(units) if units else np.zeros(0)
    together = np.where(np.isnan(together), np.inf, together)
    if together.size == 0:
        return LastPlaces(0.0, 0.0, 0.0, ())
    top = float(np.max(together))
    finite = together[np.isfinite(together)]
    edges = [0.0, np.nextafter(0, 1), 1.0]
    while finite.size and edges[-1] <= np.max(finite):
        edges.append(2 * edges[-1])
    counts, _ = np.histogram(finite, edges)
    ordered = np.sort(together)
    # No interpolation: between a number and infinity there is none.
    median, high = (
        float(ordered[min(int(share * ordered.size), ordered.size - 1)]) for share in (0.5, 0.99)
    )
    return LastPlaces(median, high, top, tuple(int(n) for n in counts))


def worst_element(
    step: int | None,
    name: str,
    expected: np.ndarray,
    found: np.ndarray | None,
    is_path: bool = False,
    seconds_per_entry: float = 0.0,
) -> Element:
    """Find the element that lies furthest off.

    A path is (time, batch, n); its index is given as in the files, (batch, time, n).
    """
    off = deviation(expected, found)
    at: tuple[int, ...] = ()
    if off.ndim:
        ranked = np.where(np.isnan(off), np.inf, off)
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(ranked)), off.shape))
    has_number = found is not None and found.shape == expected.shape
    index = (at[1], at[0], *at[2:]) if is_path else at
    time = f" at {at[0] * seconds_per_entry:.6g} s" if is_path else ""
    return Element(
        step=step,
        array=name,
        index=index,
        expected=float(expected[at]),
        found=float(found[at]) if has_number and found is not None else float("nan"),
        words=_in_words(name, (at[1], at[2]) if is_path else at) + time,
    )


def _in_words(name: str, index: tuple[int, ...]) -> str:
    layer = re.search(r"_(\d+)", name)
    where = f"hidden layer {layer[1]}" if layer else "readout"
    kind = name[: layer.start()] if layer else name
    match kind, index:
        case "u_E" | "u_I", (sample, unit):
            population = "excitatory" if kind == "u_E" else "inhibitory"
            return f"{where}, {population} unit {unit}, sample {sample}"
        case "u_out", (sample, unit):
            return f"readout unit {unit}, sample {sample}"
        case "c_int", (sample, unit):
            return f"controller's integral of output {unit}, sample {sample}"
        case "Q", (sample, output, unit):
            return f"{where}, from output {output} to unit {unit}, sample {sample}"
        case "r_I", (unit,):
            return f"{where}, inhibitory unit {unit}"
        case "closed_loop_targets", (sample, unit):
            return f"output {unit}, sample {sample}"
        case "open_loop_loss" | "closed_loop_loss", (step,):
            return f"step {step}"
        case _, (unit,):
            return f"{where}, bias of unit {unit}"
        case _, (before, unit):
            return f"{where}, weight from unit {before} to unit {unit}"
        case _:
            return where
