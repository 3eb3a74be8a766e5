"""The commands `disinhib backends`, `warm-up` and `inspect`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product

import numpy as np
from rich.table import Column, Table
from rich.text import Text

from ..backends import CompilesAhead, backend_class, backend_descriptions
from ..validation import contents
from .output import say, terminal_console, visible, working

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
