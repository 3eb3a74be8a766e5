"""The commands `disinhib backends`, `warm-up` and `inspect`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from rich.table import Column, Table
from rich.text import Text

from ..backends import CompilesAhead, backend_class, backend_descriptions
from ..refimpl import ConfigurationError, shown
from ..validation import FileError, contents, newest_checkpoint, read_checkpoint
from .output import say, terminal_console, visible, working
from .training import (
    EpochRecord,
    RunConfiguration,
    best_record,
    differences,
    dotted,
    holds_a_run,
    load_run_configuration,
    read_records,
    run_configuration,
)

console = terminal_console()


def list_backends() -> None:
    """List the backends, and why one cannot run here."""
    table = _table("name", "version", "device", "can run here")
    for description in backend_descriptions():
        reason = description.unavailable
        can_run = Text(visible(f"no: {reason}"), style="red") if reason else "yes"
        about = (description.name, description.version, description.device)
        table.add_row(*map(visible, about), can_run)
    console.print(table)


def warm_up(
    backend: str, rules: Sequence[str], methods: Sequence[str], dtypes: Sequence[str]
) -> None:
    """Compile ahead every combination of what is given."""
    kind = backend_class(backend)
    if not isinstance(kind, CompilesAhead):
        say(console, f"{backend} has nothing to compile ahead")
        return
    for dtype, rule, method in product(dtypes, rules, methods):
        kind.compile_ahead(rule, method, np.dtype(dtype))
    say(console, f"{backend} is ready")


def inspect_path(path: str | os.PathLike[str]) -> None:
    """Show what a run, a checkpoint or a trace is."""
    show_run(path) if Path(path).is_dir() else show_contents(path)


def show_run(directory: str | os.PathLike[str]) -> None:
    """Show what a run is, how far it has come, and what it has written."""
    directory = Path(directory)
    if not holds_a_run(directory):
        raise ConfigurationError(f"{directory} holds no run: checkpoint.h5 is missing")
    with working(console, f"reading {directory}"):
        checkpoint, problems = newest_checkpoint(directory / "checkpoint.h5")
        found = run_configuration(checkpoint.configuration, str(directory))
        records = read_records(directory / "metrics.jsonl")
    plain = dotted(RunConfiguration().as_dict())
    # A run always has a backend of its own, so that the default tells nothing.
    own = {n: v for n, v in dotted(found.as_dict()).items() if n == "backend" or v != plain.get(n)}
    settings = ", ".join(f"{name} = {value}" for name, value in own.items())
    say(console, f"{directory}: {found.dataset}, {found.rule}, seed {found.seed}")
    say(console, f"other than by default: {settings}")
    position = checkpoint.position
    steps = f" and {position.steps} steps" if position.steps else ""
    say(console, f"{position.epochs} of {found.epochs} epochs{steps} are saved")
    for problem in (*problems, *_problems_beside(directory, found, position.epochs, records)):
        say(console, f"  {problem}", "yellow")
    if records:
        best = best_record(records)
        seconds = sum(record.seconds for record in records)
        table = _table("epoch", "train loss", "train", "valid", "test")
        rows = [("last", records[-1]), ("best by validation", best)]
        if best is records[-1]:
            rows = [("last, and best by validation", best)]
        for name, record in rows:
            table.add_row(
                f"{record.epoch} ({name})",
                f"{record.train_loss:.4f}",
                *(
                    f"{getattr(record, f'{split}_accuracy'):.2%}"
                    for split in ("train", "valid", "test")
                ),
            )
        console.print(table)
        say(console, f"{seconds:,.1f} s in all, by {records[-1].computed_by}")
    for file in sorted(directory.iterdir()):
        if file.is_file():
            say(console, f"  {file.name}  {file.stat().st_size:,} bytes", "dim")


def _problems_beside(
    directory: Path, saved: RunConfiguration, epochs: int, records: Sequence[EpochRecord]
) -> list[str]:
    """What is wrong with the files beside the checkpoints, or does not fit them, a line each."""
    told = []
    try:
        written = load_run_configuration(directory / "config.toml", {})
        told += [
            f"{directory / 'config.toml'}: {name} is {shown(now)}, {shown(then)} in the checkpoint"
            for name, now, then in differences(written.as_dict(), saved.as_dict())
        ]
    except ConfigurationError as problem:
        told.append(str(problem))
    # An epoch after the last that was saved is learnt anew.
    so_far = [record for record in records if record.epoch <= epochs]
    if not so_far:
        return told
    best, file = best_record(so_far).epoch, directory / "best.h5"
    try:
        found = read_checkpoint(file).position.epochs
        if found not in (best, best_record(records).epoch):
            told.append(f"{file} is of epoch {found}: by metrics.jsonl, epoch {best} is the best")
    except FileError as problem:
        told.append(str(problem))
    return told


def show_contents(file: str | os.PathLike[str]) -> None:
    """Show what a checkpoint or trace holds."""
    with working(console, f"reading {file}"):
        attributes, datasets = contents(file)
    for name, value in attributes.items():
        named = Text.assemble((visible(name), "bold"), f": {visible(value)}")
        console.print(named, soft_wrap=True)
    table = _table("dataset", "shape", "dtype", "range")
    for row in datasets:
        table.add_row(*map(visible, row))
    console.print(table)


def _table(*headings: str) -> Table:
    return Table(*(Column(heading, overflow="fold") for heading in headings))
