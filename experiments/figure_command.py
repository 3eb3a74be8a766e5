"""The command `disinhib figure`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from .figures import FIGURES, figure_maker, write_figure
from .figures.figure_files import FORMATS, refuse_no_date
from .output_file import make_directory
from .terminal import going_on_without_output, say, terminal_console, working

console = terminal_console()
Format = Enum("Format", {name: name for name in FORMATS}, type=str)  # type: ignore[misc]


def figure_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(FIGURES)}, or all.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path(
        "runs/figures"
    ),
    picture_format: Annotated[Format, typer.Option("--format", help="Of the picture.")] = Format[
        "png"
    ],
) -> int:
    """Make a figure of the paper: the picture, its data, and a check of its key numbers."""
    makers = {one: figure_maker(one) for one in (FIGURES if name == "all" else [name])}
    # Before minutes of work.
    refuse_no_date(picture_format.value)
    make_directory(out)
    passed = True
    with going_on_without_output():
        for one, make in makers.items():
            with working(console, f"making {one}: {FIGURES[one][1]}"):
                result = make()
            console.print(Text.assemble((one, "bold"), f": {FIGURES[one][1]}"))
            for line in result.notes:
                console.print(f"  {line}")
            for check in result.checks:
                mark = ("yes", "green") if check.passed else ("NO ", "bold red")
                console.print(Text.assemble("  ", mark, f"  {check.claim}"))
            for path in write_figure(out, one, result, picture_format.value):
                say(console, f"  {path}", "dim")
            passed = passed and all(check.passed for check in result.checks)
    return 0 if passed else 1
