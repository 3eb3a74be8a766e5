"""How figures look, and what those of plasticity curves share.

One style, legible at column width, in colours that all eyes tell apart; then the conditions, marks
and tables of figure 3 and its supplements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ..plasticity_curves import LinearThreshold, PlasticityCurve

COLUMN, PAGE = 3.4, 7.0
"""Widths of a column and of a page, inches."""

BLUE, VERMILION, GREEN, SKY, ORANGE, PURPLE, YELLOW, BLACK = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#56b4e9",
    "#e69f00",
    "#cc79a7",
    "#f0e442",
    "#000000",
)
"""M. Okabe & K. Ito, Color universal design, 2008."""

RULE_COLOURS = {
    "backprop": BLACK,
    "exact-inverse": BLUE,
    "linear-threshold": VERMILION,
    "linear-threshold-fixed": GREEN,
}


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches in the house style."""
    use_style()
    return Figure(figsize=(width, height), layout="constrained")


def use_style() -> None:
    """Take over the style file, which pictures made afterwards follow."""
    matplotlib.style.use(str(files("disinhib.experiments.paper.figures") / "figures.mplstyle"))


def label_panel(axes: object, letter: str) -> None:
    """Write a bold letter above the upper left corner of a panel."""
    axes.set_title(letter, loc="left", fontweight="bold")  # type: ignore[attr-defined]


# --- What the figures of plasticity curves share: conditions, marks, colours and tables.


TARGETS = (4.0, 3.0)
CLAMPED = tuple(float(r_I) for r_I in np.linspace(0.01, 2, 4))
"""Inhibitory rates of the isolated neuron."""

TARGET_COLOURS = {4.0: VERMILION, 3.0: ORANGE}
RATE_LABEL = "postsynaptic rate $r_E$ (a.u.)"
CHANGE_LABEL = "weight change Δw (a.u.)"


def spacing(rate: np.ndarray) -> float:
    """Largest step of a curve's rates, within which its sign changes are known."""
    return float(np.max(np.abs(np.diff(rate))))


def shades(n: int) -> list[tuple[float, float, float]]:
    """Shades of blue from light to full, for a quantity that rises."""
    blue = np.array(to_rgb(BLUE))
    mixed = [1 - (1 - blue) * part for part in np.linspace(0.35, 1, n)]
    return [(float(r), float(g), float(b)) for r, g, b in mixed]


def name_of(fit: LinearThreshold) -> str:
    """Name of a fit's column."""
    return f"theta_{fit.theta:g}_delta_{fit.delta:g}"


def text_of(fit: LinearThreshold) -> str:
    """A fit in words."""
    return f"{fit.theta:g} + {fit.delta:g} r_I".replace("-", "−")


def columns(curve: PlasticityCurve) -> dict[str, np.ndarray]:
    """Columns of a curve's table."""
    state = {"x": curve.x, "u_E": curve.u_E}
    if curve.u_I is not None:
        state["u_I"] = curve.u_I
    return {**state, "r_E": curve.r_E, "dw": curve.dw}


def stack(parts: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Make one table of several parts, columns by name, `x` (n,) among them.

    A single value fills its column, and a column that a part lacks is not a number there.
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: np.concatenate(
            [np.broadcast_to(part.get(name, np.nan), np.shape(part["x"])) for part in parts]
        )
        for name in names
    }


def mark_zero(axes: Axes) -> None:
    """Draw the line at Δw = 0, behind the curves."""
    axes.axhline(0, color=BLACK, linewidth=0.6, zorder=1)


def mark_target(axes: Axes, target: float) -> None:
    """Draw a target rate as a dotted line in its colour."""
    axes.axvline(target, color=TARGET_COLOURS[target], linewidth=0.8, linestyle=":", zorder=1)


def rates_text(rates: list[float]) -> str:
    """Rates as words."""
    return ", ".join(f"{rate:.2f}" for rate in rates) or "none"


def listed(found: dict[str, list[float]], of_what: str) -> str:
    """Rates by condition as words."""
    return "; ".join(
        f"{rates_text(rates)} for {of_what} {float(key):.3g}" for key, rates in found.items()
    )
