"""The files that a conformance report may be written to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conformance_junit import write_junit
from .conformance_report import TraceReport, write_json
from .output_file import refuse_unwritable, write_output
from .terminal import going_on_without_output


@dataclass(frozen=True)
class ReportFiles:
    """Where to write a report, None for nowhere.

    Parameters
    ----------
    json_file, html_file, junit_file : Path or None
        For programs, for people, and for a port's CI.
    """

    json_file: Path | None
    html_file: Path | None
    junit_file: Path | None

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Do the work that they are of, even if nobody reads what is printed."""
        wanted = any((self.json_file, self.html_file, self.junit_file))
        with going_on_without_output() if wanted else nullcontext():
            yield

    def refuse_unwritable(self) -> None:
        """Raise FileError, before any work, if one of them could not be written."""
        for path in (self.json_file, self.html_file, self.junit_file):
            refuse_unwritable(path)

    def write(self, settings: dict[str, Any], title: str, reports: Sequence[TraceReport]) -> None:
        """Write those that are asked for.

        Parameters
        ----------
        settings : dict
            Who was judged, for JSON.
        title : str
            Of the page.
        reports : sequence of TraceReport
            One a trace.
        """
        if (path := self.json_file) is not None:
            write_output(path, lambda: write_json(path, settings, reports))
        if (page := self.html_file) is not None:
            # Imported here: drawing is slow to load.
            from .conformance_page import write_page

            write_output(page, lambda: write_page(page, title, reports))
        if (junit := self.junit_file) is not None:
            write_output(junit, lambda: write_junit(junit, reports))
