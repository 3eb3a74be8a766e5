"""The verdict on one stage: how far a candidate's arrays lie from the expected ones, and where.

`judged` compares; each array's allowance is the stage's tolerance or the effect of rounding,
whichever is larger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

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
        Fraction of its allowance that this array uses; above 1 the stage fails. Where a step
        fails, the array is of the first that does.
    element : Element or None
        The element of that array that lies furthest off; None where nothing was compared.
    last_places : LastPlaces
        All deviations of the stage, in units in the last place.
    first_step : int or None
        The first step that fails; None if none does, or where the arrays are not of one.
    problem : str
        What is wrong with that array before its numbers are: its shape, or numbers that are none.
    unseen : str
        What was not given of that on which the stage depends, so that the error may be elsewhere.
    follows : bool
        The stage deviates from the trace only because what it was given did: from that, it
        computed the right thing.
    hint : str
        The usual mistake that would give these numbers; empty if none would.
    is_usual : bool
        The hint names a usual mistake, and does not only say what the numbers show.
    hint_from : str
        The stage of whose numbers the hint is, where not of this one's.
    end_state : str
        Of a path, that the end state of its loop has numbers that are none; empty if it has not.
    unexplained : float
        Fraction of the deviation that this mistake does not explain, by root mean square.
    coarseness : str
        What the arithmetic is too coarse for, where that is why the stage fails.
    bias : str
        To which side the deviations of a stage lean that is else within its allowance, in fixed
        point; empty if they do not.
    is_refuted : bool
        They lean, and the candidate said that it rounds otherwise.
    """

    stage: str
    absolute: float
    relative: float
    tolerance: float
    origin: str
    used: float
    element: Element | None
    last_places: LastPlaces
    first_step: int | None = None
    problem: str = ""
    unseen: str = ""
    follows: bool = False
    hint: str = ""
    is_usual: bool = True
    hint_from: str = ""
    end_state: str = ""
    unexplained: float = 1.0
    coarseness: str = ""
    bias: str = ""
    is_refuted: bool = False

    @property
    def passed(self) -> bool:
        """Every array of the stage lies within its allowance, and is rounded as was said."""
        return self.used <= 1 and not self.is_refuted

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
    if item.stage.of_run:
        unit_of = natural_scale
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


@dataclass(frozen=True)
class ArrayVerdict:
    """One array of one step against its allowance."""

    comparison: Comparison
    name: str
    relative: float  # largest deviation over the largest element
    absolute: float
    allowed: float  # absolute
    unit: float  # what a tolerance is relative to
    origin: str

    @property
    def used(self) -> float:
        """Fraction of the allowance that the deviation uses."""
        return _ratio(self.absolute, self.allowed)


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
    arrays = [
        array_verdict(comparison, name, tolerance, origin, unit_of)
        for comparison in comparisons
        for name in comparison.expected
    ]
    pairs = [(c.expected[name], c.found.get(name)) for c in comparisons for name in c.expected]
    places = last_places(arithmetic, pairs)
    if not arrays:
        return StageResult(stage, 0.0, 0.0, tolerance, origin, -1.0, None, places)
    # In the first step that fails, since what is wrong there may be in all that follow.
    failing = [one.comparison.step for one in arrays if one.used > 1]
    first = failing[0] if failing else None
    nearest = max(
        (one for one in arrays if not failing or one.comparison.step == first),
        key=lambda one: one.used,
    )
    expected = nearest.comparison.expected[nearest.name]
    found = nearest.comparison.found.get(nearest.name)
    is_path = seconds_per_entry is not None
    return StageResult(
        stage,
        max(one.absolute for one in arrays),
        max(one.relative for one in arrays),
        nearest.allowed / nearest.unit if nearest.unit > 0 else 0.0,
        nearest.origin,
        nearest.used,
        worst_element(
            nearest.comparison.step,
            nearest.name,
            expected,
            found,
            is_path,
            seconds_per_entry or 0.0,
        ),
        places,
        first_step=first,
        problem=problem_with(nearest.name, expected, found, is_path),
    )


def array_verdict(
    comparison: Comparison, name: str, tolerance: float, origin: str, unit_of: UnitOf
) -> ArrayVerdict:
    """Hold one array against what is allowed in it."""
    expected, rounding = comparison.expected[name], comparison.rounding[name]
    size = largest(deviation(expected, comparison.found.get(name)))
    unit = unit_of(name, comparison.expected)
    return ArrayVerdict(
        comparison,
        name,
        relative=_ratio(size, largest(expected)),
        absolute=size,
        allowed=max(tolerance * unit, rounding),
        unit=unit,
        origin="rounding" if rounding > tolerance * unit else origin,
    )


def first_deviation(results: Sequence[StageResult]) -> StageResult | None:
    """Find where the first error arises: the first step that fails, and in it the first stage.

    What is not of a step, a run, comes last. None if all pass.
    """
    failing = [result for result in results if not result.passed]
    of_steps = [result for result in failing if result.first_step is not None]
    # Of equals `min` takes the first, and the results are in order of cause.
    if of_steps:
        return min(of_steps, key=lambda result: result.first_step or 0)
    return failing[0] if failing else None


LIKE = 1e-2
"""Numbers in another shape are the right ones if they are so near, relative to the largest."""


def problem_with(
    name: str, expected: np.ndarray, found: np.ndarray | None, is_path: bool = False
) -> str:
    """Say what keeps an array from being compared: its shape, or numbers that are none.

    Empty if nothing does. A path is (time, batch, n); the files have (batch, time, n), and so do
    the words.
    """
    if found is None:
        return ""
    if found.shape != expected.shape:
        if is_path and found.ndim > 1:
            expected, found = np.swapaxes(expected, 0, 1), np.swapaxes(found, 0, 1)
        return f"shape is {found.shape}, should be {expected.shape}{_other_shape(expected, found)}"
    if _has_other_byte_order(expected, found):
        return "its bytes are in the other order: little-endian is asked for"
    wrong = ~np.isfinite(np.asarray(found, dtype=np.float64)) & np.isfinite(expected)
    if not np.any(wrong):
        return ""
    kind = "NaN" if np.any(np.isnan(np.asarray(found, dtype=np.float64)[wrong])) else "infinity"
    sample_axis = 1 if is_path else 0
    has_samples = name.startswith(SAMPLED) and expected.ndim > sample_axis
    if not has_samples:
        return f"{kind} in {np.count_nonzero(wrong)} of {wrong.size} numbers"
    others = tuple(axis for axis in range(wrong.ndim) if axis != sample_axis)
    samples = np.flatnonzero(np.any(wrong, axis=others))
    if samples.size == wrong.shape[sample_axis]:
        return f"{kind} in every sample"
    listed = ", ".join(map(str, samples[:MOST_LISTED]))
    more = ", …" if samples.size > MOST_LISTED else ""
    return f"{kind} in sample{'s' if samples.size > 1 else ''} {listed}{more}"


def _has_other_byte_order(expected: np.ndarray, found: np.ndarray) -> bool:
    """Whether numbers that are far off are right when their bytes are turned round."""
    tolerance = LIKE * largest(expected)
    if found.dtype.kind != "f" or largest(deviation(expected, found)) <= tolerance:
        return False
    # A number turned round may be none, of which nobody is warned.
    with np.errstate(invalid="ignore"):
        return largest(deviation(expected, found.byteswap())) <= tolerance


SAMPLED = ("u_E", "u_I", "u_out", "c_int", "Q_", "closed_loop_targets")
"""Arrays of these names have a row a sample."""
MOST_LISTED = 5


def _other_shape(expected: np.ndarray, found: np.ndarray) -> str:
    """Say what would mend a shape: other axes, or the same numbers in another order of axes."""
    if found.size != expected.size:
        return ""
    tolerance = LIKE * largest(expected)
    for axes in permutations(range(found.ndim)):
        turned = np.transpose(found, axes)
        if turned.shape == expected.shape:
            if largest(deviation(expected, turned)) <= tolerance:
                return ": transposed, the numbers are right"
            return ": transposed?"
    if largest(deviation(expected, np.reshape(found, expected.shape))) <= tolerance:
        return "; the numbers are right, and in the right order"
    return ""


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
    with np.errstate(invalid="ignore", over="ignore"):
        # What a file has may be no number, or of another byte order.
        return np.asarray(np.abs(np.asarray(found, dtype=np.float64) - expected))


def last_places(
    arithmetic: Arithmetic, pairs: list[tuple[np.ndarray, np.ndarray | None]]
) -> LastPlaces:
    """Measure the deviations of pairs (expected, found) in units in the last place."""
    with np.errstate(over="ignore", invalid="ignore"):
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
        case "open_loop_loss" | "closed_loop_loss", ():
            return "mean over the batch"
        case "n_correct", _:
            return "samples whose largest output is that of the label"
        case _, (unit,):
            return f"{where}, bias of unit {unit}"
        case _, (before, unit):
            return f"{where}, weight from unit {before} to unit {unit}"
        case _:
            return where
