"""The command `disinhib figure`."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from .figures import FIGURES, figure_maker, refuse_no_date, write_figure
from .output_file import make_directory
from .terminal import going_on_without_output, say, terminal_console, working

console = terminal_console()


def make_figures(name: str, out: Path, picture_format: str) -> int:
    """Make a figure, or all; give the exit code, 1 if a key number is not the paper's."""
    makers = {one: figure_maker(one) for one in (FIGURES if name == "all" else [name])}
    # Before minutes of work.
    refuse_no_date(picture_format)
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
            for path in write_figure(out, one, result, picture_format):
                say(console, f"  {path}", "dim")
            passed = passed and all(check.passed for check in result.checks)
    return 0 if passed else 1
