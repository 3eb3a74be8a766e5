"""Whether a port draws its initial parameters as the model does: judged as a distribution.

Weights are normal, truncated at two deviations, with variance 1/n_in; biases are 0 (section 7 of
refimpl/model.md). No two generators give the same numbers, so that chance has a part: what it does
less than once in a million is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...refimpl import TRUNCATED_NORMAL_DEVIATION
from .stages import Arrays
from .verdict import LastPlaces, StageResult

INITIALISATION = "initialisation"
CHANCE = 1e-6
MOST_DEVIATIONS = 2.0
ROUNDED = 1e-3
"""Room for a bound that was computed in a few digits, relative."""


def initialisation_locations(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Where a port may write what it draws, and the shape of one draw, below leading axes."""
    *hidden, n_out = sizes[1:]
    shapes: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n) in enumerate(zip(sizes, hidden, strict=False)):
        shapes[f"{INITIALISATION}/hidden_{l}/weight"] = (n_in, n)
        shapes[f"{INITIALISATION}/hidden_{l}/bias"] = (n,)
    shapes[f"{INITIALISATION}/readout/weight"] = (hidden[-1], n_out)
    return shapes


@dataclass(frozen=True)
class Statistic:
    """A property of what was drawn, beside what chance leaves of it."""

    array: str
    value: float
    limit: float
    words: str  # what is wrong if the value exceeds the limit

    @property
    def used(self) -> float:
        """Fraction of its limit; infinite for what is no number."""
        return self.value / self.limit if np.isfinite(self.value) else np.inf


def judge_initialisation(sizes: tuple[int, ...], arrays: Arrays) -> StageResult | None:
    """Judge what a port drew, by paths of a file; None where it gave nothing of it.

    Arrays may have any leading axes, of many draws: some thousand numbers tell variances apart by a
    tenth.
    """
    statistics: list[Statistic] = []
    for path, shape in initialisation_locations(sizes).items():
        if path in arrays:
            name = path.removeprefix(f"{INITIALISATION}/")
            statistics += _statistics(name, np.asarray(arrays[path], dtype=np.float64), shape)
    if not statistics:
        return None
    worst = max(statistics, key=lambda one: one.used)
    nothing = LastPlaces(0.0, 0.0, 0.0, ())
    return StageResult(
        INITIALISATION,
        worst.value,
        worst.used,
        worst.limit,
        "trace",
        worst.used,
        None,
        nothing,
        first_step=0 if worst.used > 1 else None,
        problem=f"{worst.array}: {worst.words}" if worst.used > 1 else "",
    )


def _statistics(name: str, drawn: np.ndarray, shape: tuple[int, ...]) -> Iterator[Statistic]:
    if drawn.shape[-len(shape) :] != shape or drawn.size == 0:
        words = f"shape is {drawn.shape}, should be {shape}, or draws of it"
        yield Statistic(name, np.inf, 1.0, words)
        return
    if not np.all(np.isfinite(drawn)):
        yield Statistic(name, np.inf, 1.0, "not every number is finite")
        return
    if name.endswith("bias"):
        largest = float(np.max(np.abs(drawn)))
        yield Statistic(
            name, largest, np.finfo(float).tiny, f"up to {largest:.3g}: biases begin at 0"
        )
        return
    n_in = shape[0]
    deviation = 1 / (TRUNCATED_NORMAL_DEVIATION * np.sqrt(n_in))
    standard = drawn.ravel() / deviation
    largest = float(np.max(np.abs(standard)))
    yield Statistic(
        name,
        largest,
        MOST_DEVIATIONS * (1 + ROUNDED),
        f"reaches {largest * deviation:.4g}: it is truncated at {MOST_DEVIATIONS * deviation:.4g}, "
        "two deviations of the normal before truncation",
    )
    at_end = float(np.mean(np.abs(standard) >= largest * (1 - 1e-9)))
    yield Statistic(
        name,
        at_end,
        max(MOST_AT_END, FEW_AT_END / standard.size),
        f"{100 * at_end:.2g} % of it is {largest * deviation:.4g} in size: what lies beyond two "
        "deviations is drawn again, not held there",
    )
    # Of N numbers the variance has a variance of (kurtosis − 1) σ⁴ / N.
    variance = float(np.mean(drawn**2)) * n_in
    errors = abs(variance - 1) / np.sqrt((KURTOSIS - 1) / standard.size)
    yield Statistic(
        name,
        float(errors),
        _normal_limit(),
        f"its variance is {variance:.4g} / n_in, n_in being {n_in}: it is to be 1 / n_in"
        f"{_guess(variance, shape)}",
    )
    distance, limit = _distance(standard)
    yield Statistic(
        name,
        distance,
        limit,
        "its distribution is none of a normal that is truncated at two deviations",
    )


MOST_AT_END, FEW_AT_END = 0.005, 5
"""Share of numbers of the largest size, and so many whatever the share: few bits may repeat it."""
KURTOSIS = 2.36554
"""Of a normal that is truncated at two deviations: fourth moment over squared variance."""


def _guess(variance: float, shape: tuple[int, ...]) -> str:
    """What would give this variance, in units of 1 / n_in, to a few per cent."""
    n_in, n_out = shape
    guesses = {
        TRUNCATED_NORMAL_DEVIATION**2: "not corrected for the truncation (0.8796)",
        2.0: "He's, with a factor of 2",
        n_in / n_out: "with n_out for n_in",
        2 * n_in / (n_in + n_out): "Glorot's, with the mean of n_in and n_out",
        1 / 3: "of a uniform distribution to 1/sqrt(n_in)",
        float(n_in): "not divided by n_in",
        1 / n_in: "divided by n_in twice",
    }
    near = [words for value, words in guesses.items() if abs(variance / value - 1) < 0.05]
    return f" ({near[0]}?)" if near else ""


def _normal_limit() -> float:
    from scipy.special import ndtri

    return float(-ndtri(CHANCE / 2))


def _distance(standard: np.ndarray) -> tuple[float, float]:
    """Kolmogorov's distance from the truncated normal, and that which chance exceeds so seldom."""
    from scipy.special import kolmogi, ndtr

    inside = np.clip(np.sort(standard), -MOST_DEVIATIONS, MOST_DEVIATIONS)
    low, high = ndtr(-MOST_DEVIATIONS), ndtr(MOST_DEVIATIONS)
    right = (ndtr(inside) - low) / (high - low)
    n = inside.size
    above = np.max(np.arange(1, n + 1) / n - right)
    below = np.max(right - np.arange(n) / n)
    # Stephens' correction makes the asymptotic law serve for few numbers too.
    scale = np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n)
    return float(max(above, below)), float(kolmogi(CHANCE) / scale)
