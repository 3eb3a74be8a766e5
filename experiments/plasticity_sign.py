"""Picture of the idea: how inhibition decides the sign of plasticity."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .plasticity_curves import LinearThreshold, circuit, isolated

INHIBITORY_RATES = (0.01, 0.67, 1.34, 2.0)
TARGETS = (None, 3.0, 4.0)


def draw_plasticity_sign(path: str | os.PathLike[str]) -> None:
    """Draw Δw against r_E: for clamped inhibition, and under dis-inhibitory control.

    Parameters
    ----------
    path : str or path
        PNG file to write.
    """
    path = Path(path)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    clamped, controlled = figure.subplots(1, 2)
    x = np.linspace(0, 10, 201)
    for number, r_I in enumerate(INHIBITORY_RATES):
        curve = isolated(x, r_I, LinearThreshold())
        colour = f"C{number}"
        clamped.plot(curve.r_E, curve.dw, color=colour, label=f"$r_I$ = {r_I:g}")
        clamped.plot(1.5 + 1.5 * r_I, 0, "o", color=colour, markersize=5)
    clamped.set_title("inhibition clamped: it moves the threshold", fontsize="medium")
    for number, target in enumerate(TARGETS):
        inputs = np.linspace(0, 13, 261) if target is None else x
        curve = circuit(inputs, target, LinearThreshold())
        label = "no target" if target is None else f"target rate {target:g}"
        controlled.plot(curve.r_E, curve.dw, color=f"C{number}", label=label)
        if target is not None:
            controlled.axvline(target, color=f"C{number}", linewidth=0.8, linestyle=":")
    controlled.set_title("dis-inhibited towards a target rate", fontsize="medium")
    for axes in (clamped, controlled):
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(xlabel="excitatory rate $r_E$", ylabel="weight change Δw")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)
