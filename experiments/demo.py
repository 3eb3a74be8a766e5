"""A tour in under a minute: three rules on the embedded digits, conformance, pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from rich.table import Table

from ..backends import NumpyBackend
from ..refimpl.errors import ConfigurationError
from ..validation import Position, conform, find_traces, read_trace, shipped_directory
from .learning_curves import draw_learning_curves
from .metrics_log import EpochRecord
from .plasticity_sign import draw_plasticity_sign
from .progress_display import ProgressDisplay
from .run_beginning import begin
from .run_configuration import RunConfiguration, run_configuration
from .terminal import going_on_without_output, say, terminal_console, working
from .training import train

console = terminal_console()

RULES = ("exact-inverse", "linear-threshold", "backprop")
RUN_FILES = ("config.toml", "metrics.jsonl", "checkpoint.h5", "checkpoint-1.h5", "curves.png")


def run_demo(directory: str | os.PathLike[str]) -> bool:
    """Train, compare, conform and draw.

    Parameters
    ----------
    directory : str or path
        An earlier demo in it is replaced.

    Returns
    -------
    bool
        Whether the reference conforms.
    """
    directory = Path(directory)
    with going_on_without_output():
        console.print("Handwritten digits, 64-64-64-10, three rules from one start in one order\n")
        runs: dict[str, list[EpochRecord]] = {}
        for rule in RULES:
            configuration = demo_configuration(rule)
            _clear(directory / rule)
            run = begin(configuration, directory / rule)
            display = ProgressDisplay(
                console, configuration.epochs, configuration.batch_size, f"{rule:>16}"
            )
            with display:
                _, runs[rule] = train(run, Position(0), [], _Quiet(display))
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
            passed, conformance = _conform_reference()
        console.print()
        say(console, conformance)
        console.print()
        say(console, f"Pictures: {directory / 'learning_curves.png'} (the three rules)")
        say(console, f"          {directory / 'plasticity_sign.png'} (inhibition decides the sign)")
    return passed


def demo_configuration(rule: str) -> RunConfiguration:
    """Give the demo's configuration: small enough for a minute, and the same for all rules."""
    settings = {
        "rule": rule,
        "hidden": [64, 64],
        "epochs": 10,
        "batch_size": 50,
        "optimizer": {"learning_rate": 5e-3},
    }
    return run_configuration(settings, "demo")


class _Quiet:
    """Passes the bar on and leaves the line an epoch out."""

    def __init__(self, display: ProgressDisplay) -> None:
        self.on_steps = display.on_steps

    def on_epoch(self, record: EpochRecord) -> None:
        """Print nothing."""


def _side_by_side(runs: dict[str, list[EpochRecord]]) -> Table:
    table = Table(title="test accuracy", title_justify="left", title_style="bold")
    table.add_column("epoch", justify="right")
    for rule in runs:
        table.add_column(rule, justify="right")
    n_epochs = len(next(iter(runs.values())))
    for epoch in sorted({1, 2, 5, 10, n_epochs}):
        accuracies = [f"{records[epoch - 1].test_accuracy:.1%}" for records in runs.values()]
        table.add_row(str(epoch), *accuracies)
    return table


def _conform_reference() -> tuple[bool, str]:
    """Whether the reference conforms, and that in a sentence."""
    traces, _ = find_traces([shipped_directory()])
    results = {
        path.stem: conform(read_trace(path), NumpyBackend, np.dtype(np.float64)) for path in traces
    }
    n_stages = sum(len(stages) for stages in results.values())
    failed = [
        f"{name}: {result.stage}"
        for name, stages in results.items()
        for result in stages
        if not result.passed
    ]
    return not failed, (
        f"Conformance: {n_stages - len(failed)} of {n_stages} stages of {len(results)} traces "
        "of the published implementation agree"
        + (f"; these do not: {', '.join(failed)}" if failed else " (disinhib conform shows them)")
    )


def _clear(directory: Path) -> None:
    """Remove the files of an earlier demo, and nothing else."""
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(f"{directory} is a file: a directory is needed")
    for name in RUN_FILES:
        (directory / name).unlink(missing_ok=True)
