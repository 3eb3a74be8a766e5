"""The directive `settings`: every setting of a run, read off its classes when the site is built.

A setting that is explained nowhere stops the build.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from words import with_options

from disinhib.experiments.settings_described import described_settings
from disinhib.experiments.training.configuration import SECTIONS

logger = logging.getLogger(__name__)


def markdown_table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Rows of a table."""
    head = ["| setting | default | may be | meaning |", "|---|---|---|---|"]
    return [*head, *("| " + " | ".join(row) + " |" for row in rows), ""]


def shown_default(value: Any) -> str:
    """As TOML has it; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def rows_of(section: str) -> list[tuple[str, str, str, str]]:
    """Settings of a section."""
    rows = []
    for one in described_settings()[section]:
        if not one.meaning or not one.allowed:
            logger.warning("nothing says what %s.%s means or may be", section, one.name)
        default, meaning = shown_default(one.default), with_options(one.meaning)
        rows.append((f"`{one.name}`", default, one.allowed, meaning))
    return rows


class SettingsTables(SphinxDirective):
    """A section for the run itself, and one for each table of its configuration."""

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        parts = [
            section(
                self, "run", "Of the run", "In a TOML file, above all of its tables.", rows_of("")
            )
        ]
        for name, kind in SECTIONS.items():
            summary = (inspect.getdoc(kind) or "").replace("\n", " ").split("  ")
            parts.append(section(self, name, f"[{name}]", " ".join(summary), rows_of(name)))
        return parts


def section(
    directive: Directive, name: str, title: str, text: str, rows: list[tuple[str, str, str, str]]
) -> nodes.section:
    """A heading, a sentence, and a table."""
    node = nodes.section(ids=[nodes.make_id(f"settings-{name}")], names=[])
    node += nodes.title("", title)
    lines = [text, "", *markdown_table(rows)]
    container = nodes.Element()
    directive.state.nested_parse(
        nodes_lines(lines), directive.content_offset, container, match_titles=False
    )
    node += container.children
    return node


def nodes_lines(lines: list[str]) -> Any:
    """Lines as docutils wants them."""
    from docutils.statemachine import StringList

    return StringList([part for line in lines for part in line.split("\n")], "generated")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("settings", SettingsTables)
    return {"parallel_read_safe": True}
