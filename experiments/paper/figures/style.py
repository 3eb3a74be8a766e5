"""How figures look, and what those of plasticity curves share.

One style, legible at column width, in colours that all eyes tell apart; then the conditions, marks
and tables of figure 3 and its supplements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ....refimpl import inverse
from ..plasticity_curves import PHI, Curves, LinearThreshold, PlasticityCurve

PAGE = 7.0
"""Width of a page, inches."""

BLUE, VERMILION, GREEN, SKY = "#0072b2", "#d55e00", "#009e73", "#56b4e9"
ORANGE, PURPLE, BLACK = "#e69f00", "#cc79a7", "#000000"
"""M. Okabe & K. Ito, Color universal design, 2008."""

RULE_COLOURS = {
    "backprop": BLACK,
    "exact-inverse": BLUE,
    "linear-threshold": VERMILION,
    "linear-threshold-fixed": GREEN,
}


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches in the house style, which later ones follow too."""
    matplotlib.style.use(str(files("disinhib.experiments.paper.figures") / "figures.mplstyle"))
    return Figure(figsize=(width, height), layout="constrained")


def label_panel(axes: Axes, letter: str) -> None:
    """Write a bold letter above the upper left corner of a panel."""
    axes.set_title(letter, loc="left", fontweight="bold")


# What the figures of plasticity curves share.

FIT = LinearThreshold()
TARGET_COLOURS = {4.0: VERMILION, 3.0: ORANGE}
RATE_LABEL = "postsynaptic rate $r_E$ (a.u.)"
CHANGE_LABEL = "weight change Δw (a.u.)"


def draw_controlled(axes: Axes, curves: dict[float, PlasticityCurve]) -> None:
    """Draw curves by target rate, and the targets as dotted lines in their colours."""
    for target, curve in curves.items():
        colour = TARGET_COLOURS[target]
        axes.plot(curve.rate, curve.dw, color=colour, label=f"target {target:g}")
        axes.axvline(target, color=colour, linewidth=0.8, linestyle=":", zorder=1)


def draw_clamped(axes: Axes, curves: dict[float, PlasticityCurve]) -> None:
    """Draw curves by clamped inhibitory rate, rising."""
    for (r_I, curve), colour in zip(curves.items(), shades(len(curves)), strict=True):
        axes.plot(curve.rate, curve.dw, color=colour, label=f"$r_I$ = {r_I:.2f}")


def draw_conditions(panels: Sequence[Axes], curves: Curves) -> None:
    """Draw a panel a condition: under control, without, isolated."""
    draw_controlled(panels[0], curves.controlled)
    panels[1].plot(curves.uncontrolled.rate, curves.uncontrolled.dw, color=GREEN)
    draw_clamped(panels[2], curves.clamped)


def shades(n: int) -> list[tuple[float, float, float]]:
    """Shades of blue from light to full, for a quantity that rises."""
    blue = np.array(to_rgb(BLUE))
    mixed = [1 - (1 - blue) * part for part in np.linspace(0.35, 1, n)]
    return [(float(r), float(g), float(b)) for r, g, b in mixed]


def mark_zero(axes: Axes) -> None:
    """Draw the line at Δw = 0, behind the curves."""
    axes.axhline(0, color=BLACK, linewidth=0.6, zorder=1)


def name_of(fit: LinearThreshold) -> str:
    """Name of a fit's column."""
    return f"theta_{fit.theta:g}_delta_{fit.delta:g}"


def text_of(fit: LinearThreshold) -> str:
    """A fit in words."""
    return f"{fit.theta:g} + {fit.delta:g} r_I".replace("-", "−")


def columns(curve: PlasticityCurve, activity: str = "r_E") -> dict[str, np.ndarray]:
    """Columns of a curve's table."""
    return {"x": curve.x, **curve.state, activity: curve.rate, "dw": curve.dw}


def inverse_table(r_I: np.ndarray, fits: Iterable[LinearThreshold]) -> dict[str, np.ndarray]:
    """Columns of φ⁻¹ and what fits make of it."""
    return {"r_I": r_I, "exact": inverse(PHI, r_I), **{name_of(fit): fit(r_I) for fit in fits}}


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


def by_condition(
    curves: Mapping[float, PlasticityCurve], changes: Callable[[PlasticityCurve], list[float]]
) -> dict[str, list[float]]:
    """Rates at which curves change sign, by target or clamped rate as words."""
    return {f"{key:g}": changes(curve) for key, curve in curves.items()}


def rates_text(rates: list[float]) -> str:
    """Rates as words."""
    return ", ".join(f"{rate:.2f}" for rate in rates) or "none"


def listed(found: dict[str, list[float]], of_what: str) -> str:
    """Rates by condition as words."""
    return "; ".join(
        f"{rates_text(rates)} for {of_what} {float(key):.3g}" for key, rates in found.items()
    )
