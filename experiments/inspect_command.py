"""The command `disinhib inspect`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from ..validation import contents
from .terminal import terminal_console, visible, working

console = terminal_console()


def show_contents(file: Path) -> None:
    """Show what a checkpoint or trace holds."""
    with working(console, f"reading {file}"):
        attributes, datasets = contents(file)
    for name, value in attributes.items():
        named = Text.assemble((visible(name), "bold"), f": {visible(value)}")
        console.print(named, soft_wrap=True)
    table = Table()
    for heading in ("dataset", "shape", "dtype", "range"):
        table.add_column(heading, overflow="fold")
    for row in datasets:
        table.add_row(*map(visible, row))
    console.print(table)
