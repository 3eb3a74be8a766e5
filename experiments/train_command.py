"""The command `disinhib train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..refimpl.errors import ConfigurationError
from ..validation import Position
from .checkpoint_interval import CheckpointInterval, parse_checkpoint_interval
from .interruption import stop_on_interrupt
from .progress_display import ProgressDisplay
from .resume_checks import CHOSEN_ANEW
from .run import Run
from .run_beginning import begin, resume
from .run_configuration import load_run_configuration
from .terminal import going_on_without_output, say, tell_user, terminal_console, working
from .training import train

console = terminal_console()


def run_training(
    config: Path | None,
    flags: dict[str, Any],
    epochs: int | None,
    out: Path | None,
    resume_from: Path | None,
    checkpoint_every: str,
) -> int:
    """Begin a run or go on with one, and give the exit code.

    `flags` are by setting, None where not given.
    """
    interval = parse_checkpoint_interval(checkpoint_every)
    if resume_from is not None:
        chosen = {name: flags[name] for name in CHOSEN_ANEW}
        fixed = {name: value for name, value in flags.items() if name not in CHOSEN_ANEW}
        _refuse_with_resume({**fixed, "config": config, "out": out})
        with working(console, f"getting {resume_from} ready to go on"):
            run, position, records = resume(resume_from, epochs, tell_user, chosen)
    else:
        configuration = load_run_configuration(config, {**flags, "epochs": epochs})
        directory = out or _free_directory(configuration.dataset, configuration.rule)
        with working(console, f"getting {configuration.dataset} and the network ready"):
            run, position, records = begin(configuration, directory), Position(0), []
    return _train(run, position, records, interval)


def _train(run: Run, position: Position, records: list[Any], interval: CheckpointInterval) -> int:
    configuration = run.configuration
    sizes = "-".join(str(n) for n in run.backend.configuration.sizes)
    with going_on_without_output():
        say(
            console,
            f"{configuration.dataset} ({run.dataset.source}), {sizes}, {configuration.rule}, "
            f"{configuration.solver.method}, {configuration.backend} {configuration.dtype}, "
            f"seed {configuration.seed}",
        )
        if position.epochs >= configuration.epochs:
            run.lock.release()
            say(
                console,
                f"All {configuration.epochs} epochs are done; a larger --epochs would go on.",
            )
            return 0
        with (
            stop_on_interrupt() as stop,
            ProgressDisplay(console, configuration.epochs, configuration.batch_size) as display,
        ):
            position, records = train(run, position, records, display, stop, interval)
        if position.epochs < configuration.epochs:
            say(
                console,
                f"Stopped after {position.epochs} epochs and {position.steps} steps; "
                f"go on with: disinhib train --resume {run.directory}",
            )
            return 128 + stop()
        say(console, f"Written to {run.directory}")
        return 0


def _refuse_with_resume(flags: dict[str, Any]) -> None:
    given = [name for name, value in flags.items() if value is not None]
    if given:
        name = given[0].rpartition(".")[2].replace("_", "-")
        named = "CONFIG.toml" if name == "config" else f"--{name}"
        raise ConfigurationError(
            f"{named} with --resume: a run goes on as it began; only --epochs, --backend, --dtype "
            "and --threads may change"
        )


def _free_directory(dataset: str, rule: str) -> Path:
    """Choose runs/DATASET-RULE, or the first free number after it."""
    first = Path("runs") / f"{dataset}-{rule}"
    directory, number = first, 1
    while directory.exists():
        number += 1
        directory = first.with_name(f"{first.name}-{number}")
    return directory
