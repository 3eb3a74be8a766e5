"""A tour in under a minute: three rules on the embedded digits, conformance, pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Column, Table

from ..backends import NumpyBackend
from ..refimpl import ConfigurationError
from ..validation import Position, conform, find_traces, read_trace, shipped_directory
from .output import going_on_without_output, say, terminal_console, working
from .paper import LinearThreshold, circuit, isolated
from .training import (
    EpochRecord,
    RunConfiguration,
    begin,
    draw_learning_curves,
    progress_display,
    run_configuration,
    train,
)

console = terminal_console()

RULES = ("exact-inverse", "linear-threshold", "backprop")
RUN_FILES = (
    "config.toml",
    "metrics.jsonl",
    "checkpoint.h5",
    "checkpoint-1.h5",
    "best.h5",
    "curves.png",
)


def run_demo(
    directory: str | os.PathLike[str], epochs: int = 10, traces: Sequence[Path] | None = None
) -> bool:
    """Train, compare, conform and draw, over an earlier demo; tell if the reference conforms.

    To these traces, or to all that are shipped.
    """
    directory = Path(directory)
    with going_on_without_output():
        console.print("Handwritten digits, 64-64-64-10, three rules from one start in one order\n")
        runs: dict[str, list[EpochRecord]] = {}
        for rule in RULES:
            configuration = demo_configuration(rule, epochs)
            _clear(directory / rule)
            run = begin(configuration, directory / rule)
            size = configuration.epochs, configuration.batch_size
            with progress_display(console, *size, f"{rule:>16}", with_lines=False) as display:
                _, runs[rule] = train(run, Position(0), [], display)
            last = runs[rule][-1]
            say(
                console,
                f"{rule:>16}  {last.test_accuracy:.1%} of the test digits right after "
                f"{len(runs[rule])} epochs, {last.samples_per_second:,.0f} samples/s",
            )
        console.print()
        console.print(_side_by_side(runs))
        with working(console, "drawing, and conforming the reference to the shipped traces"):
            draw_learning_curves(directory / "learning_curves.png", runs)
            draw_plasticity_sign(directory / "plasticity_sign.png")
            passed, conformance = _conform_reference(traces)
        console.print()
        say(console, conformance)
        console.print()
        say(console, f"Pictures: {directory / 'learning_curves.png'} (the three rules)")
        say(console, f"          {directory / 'plasticity_sign.png'} (inhibition decides the sign)")
    return passed


def demo_configuration(rule: str, epochs: int) -> RunConfiguration:
    """Give the demo's configuration: small enough for a minute, and the same for all rules."""
    settings = {
        "rule": rule,
        "hidden": [64, 64],
        "epochs": epochs,
        "batch_size": 50,
        "optimizer": {"learning_rate": 5e-3},
    }
    return run_configuration(settings, "demo")


def _side_by_side(runs: dict[str, list[EpochRecord]]) -> Table:
    columns = (Column(name, justify="right") for name in ("epoch", *runs))
    table = Table(*columns, title="test accuracy", title_justify="left", title_style="bold")
    n_epochs = len(next(iter(runs.values())))
    for epoch in sorted({epoch for epoch in (1, 2, 5, 10) if epoch < n_epochs} | {n_epochs}):
        accuracies = [f"{records[epoch - 1].test_accuracy:.1%}" for records in runs.values()]
        table.add_row(str(epoch), *accuracies)
    return table


def _conform_reference(traces: Sequence[Path] | None) -> tuple[bool, str]:
    """Whether the reference conforms, and that in a sentence."""
    if traces is None:
        traces, _ = find_traces([shipped_directory()])
    results = {
        path.stem: conform(read_trace(path), NumpyBackend, np.dtype(np.float64)) for path in traces
    }
    judged = [(name, one) for name, stages in results.items() for one in stages]
    failed = [f"{name}: {one.stage}" for name, one in judged if not one.passed]
    n_right = len(judged) - len(failed)
    return not failed, (
        f"Conformance: {n_right} of {len(judged)} stages of {len(results)} traces of the published "
        "implementation agree"
        + (f"; these do not: {', '.join(failed)}" if failed else " (disinhib conform shows them)")
    )


def _clear(directory: Path) -> None:
    """Remove the files of an earlier demo, and nothing else."""
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(f"{directory} is a file: a directory is needed")
    for name in RUN_FILES:
        (directory / name).unlink(missing_ok=True)


# The picture of the idea: how inhibition decides the sign of plasticity.

INHIBITORY_RATES = (0.01, 0.67, 1.34, 2.0)
TARGETS = (None, 3.0, 4.0)


def draw_plasticity_sign(path: str | os.PathLike[str]) -> None:
    """Draw Δw against r_E: for clamped inhibition, and under dis-inhibitory control."""
    path = Path(path)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    clamped, controlled = figure.subplots(1, 2)
    x = np.linspace(0, 10, 201)
    for number, r_I in enumerate(INHIBITORY_RATES):
        curve = isolated(x, r_I, LinearThreshold())
        colour = f"C{number}"
        clamped.plot(curve.rate, curve.dw, color=colour, label=f"$r_I$ = {r_I:g}")
        clamped.plot(1.5 + 1.5 * r_I, 0, "o", color=colour, markersize=5)
    clamped.set_title("inhibition clamped: it moves the threshold", fontsize="medium")
    for number, target in enumerate(TARGETS):
        inputs = np.linspace(0, 13, 261) if target is None else x
        curve = circuit(inputs, target, LinearThreshold())
        label = "no target" if target is None else f"target rate {target:g}"
        controlled.plot(curve.rate, curve.dw, color=f"C{number}", label=label)
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
