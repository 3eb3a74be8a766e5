"""One style for all figures: legible at column width, in colours that all eyes tell apart."""

from __future__ import annotations

from importlib.resources import files

import matplotlib.style
from matplotlib.figure import Figure

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
    """Make an empty figure in the house style.

    Parameters
    ----------
    width, height : float
        Inches.
    """
    use_style()
    return Figure(figsize=(width, height), layout="constrained")


def use_style() -> None:
    """Take over the style file, which pictures made afterwards follow."""
    matplotlib.style.use(str(files("disinhib.experiments.figures") / "figures.mplstyle"))


def label_panel(axes: object, letter: str) -> None:
    """Write a bold letter above the upper left corner of a panel."""
    axes.set_title(letter, loc="left", fontweight="bold")  # type: ignore[attr-defined]
