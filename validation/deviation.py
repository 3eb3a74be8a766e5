"""How far a candidate's arrays lie from the expected ones, and where they lie furthest."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .arithmetic import Arithmetic


@dataclass(frozen=True)
class Element:
    """One element of one array of one stage.

    Parameters
    ----------
    step : int or None
        Learning step, None where the array is not of one.
    array : str
        Name, as in the files.
    index : tuple of int
        Position, as in the files.
    expected, found : float
        The two numbers.
    words : str
        What it is: layer, unit and sample.
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
    """Distribution of deviations in units in the last place of the candidate's arithmetic.

    Parameters
    ----------
    median, percentile_99, largest : float
        Over all elements of a stage; infinite where a number is missing.
    histogram : tuple of int
        How many elements lie at 0, below 1, below 2, below 4, and so on, doubling.
    """

    median: float
    percentile_99: float
    largest: float
    histogram: tuple[int, ...]


def deviation(expected: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    """Magnitude of the difference; infinite throughout where a shape is wrong.

    Parameters
    ----------
    expected : array
        As it should be.
    found : array or None
        As it is.

    Returns
    -------
    array of float64, of the shape of `expected`
        NaN where the candidate, and not the expected array, is not a number.
    """
    if found is None or found.shape != expected.shape:
        return np.full(expected.shape, np.inf)
    return np.abs(np.asarray(found, dtype=np.float64) - expected)


def last_places(
    arithmetic: Arithmetic, pairs: list[tuple[np.ndarray, np.ndarray | None]]
) -> LastPlaces:
    """Measure deviations in units in the last place.

    Parameters
    ----------
    arithmetic : Arithmetic
        Of the candidate.
    pairs : list of (expected, found)
        Arrays of one stage.
    """
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

    Parameters
    ----------
    step : int or None
        Learning step.
    name : str
        Of the array.
    expected, found : array
        As it should be and as it is.
    is_path : bool
        The array is (time, batch, n); the index is given as in the files, (batch, time, n).
    seconds_per_entry : float
        Of such a path.
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
