"""`curves.png`: loss and accuracy over the epochs of one run or of several side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .metrics_log import EpochRecord


def draw_learning_curves(
    path: str | os.PathLike[str], runs: Mapping[str, Sequence[EpochRecord]]
) -> None:
    """Draw train and test curves.

    Parameters
    ----------
    path : str or path
        PNG file to write.
    runs : mapping of str to sequence of EpochRecord
        One colour each; the name goes into the legend.
    """
    # Imported here: slow to load, and most commands draw nothing.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    path = Path(path)
    # Laid out by hand: a layout that is computed draws everything twice.
    figure = Figure(figsize=(9, 3.8))
    margins = {"left": 0.07, "right": 0.99, "bottom": 0.13, "top": 0.97, "wspace": 0.2}
    loss_axes, accuracy_axes = figure.subplots(1, 2, gridspec_kw=margins)
    for number, (name, records) in enumerate(runs.items()):
        epochs = [record.epoch for record in records]
        colour = f"C{number}"
        for axes, what in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
            for split, style in (("train", ":"), ("test", "-")):
                values = [getattr(record, f"{split}_{what}") for record in records]
                marker = "o" if len(records) < 20 else None
                label = f"{name}, {split}"
                axes.plot(
                    epochs, values, style, color=colour, marker=marker, markersize=3, label=label
                )
    loss_axes.set(xlabel="epoch", ylabel="loss (open loop)")
    accuracy_axes.set(xlabel="epoch", ylabel="accuracy (open loop)")
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (loss_axes, accuracy_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    loss_axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)
