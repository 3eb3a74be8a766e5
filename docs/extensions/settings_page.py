"""The directive `settings`: every setting of a run, read off its classes when the site is built.

Meanings are the comments beside the fields. A run's own fields that have none are those of the
command line's options, or of the network's field by that name. A setting that is explained nowhere
stops the build.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, get_args

from comments import Field, class_fields, in_words, with_options
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from disinhib import NetworkConfiguration, RunConfiguration
from disinhib.datasets import DATASETS
from disinhib.experiments.command_line import train_command
from disinhib.experiments.training.configuration import SECTIONS

logger = logging.getLogger(__name__)
KINDS = {
    "Count": "whole number, at least 1",
    "Number": "number",
    "OptionalPath": "file or directory",
    "CountOr0": "whole number, at least 0",
    "_seed": "whole number",
    "_counts": "list of whole numbers, each at least 1",
    "_threads": "whole number, 1 to 1,024",
    "_dataset": ", ".join(f"`{one}`" for one in DATASETS) + ", or a file `FILE.npz`",
    "_text": "name of a backend",
    "bool": "`true`, `false`",
    "int": "whole number",
    "str": "text",
}
"""What a field may be, by what its type or its check is called."""


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


def option_helps() -> dict[str, str]:
    """What the command line says of its options, by the names of their settings."""
    found = {}
    for name, parameter in inspect.signature(train_command, eval_str=True).parameters.items():
        helps = [getattr(one, "help", None) for one in get_args(parameter.annotation)[1:]]
        found[name] = next(filter(None, helps), "")
    return found


def top_rows() -> list[tuple[str, str, str, str]]:
    """Settings outside sections."""
    network = {field.name: field for field in class_fields(NetworkConfiguration)}
    helps, rows, above = option_helps(), [], ""
    for field in class_fields(RunConfiguration):
        if field.name in SECTIONS:
            continue
        default = RunConfiguration.model_fields[field.name].default
        of_network = network.get(field.name, Field("", "", "", ""))
        # A field without a comment shares that of the field above it.
        is_shared = field.name in network and not of_network.comment
        meaning = field.comment or helps.get(field.name, "") or of_network.comment
        if not meaning and not is_shared:
            logger.warning("nothing says what the setting %s means", field.name)
        choices = get_args(RunConfiguration.model_fields[field.name].annotation)
        if field.type.startswith("Literal"):
            allowed = in_words(among=choices)
        else:
            allowed = of_network.range or _kind(field)
        rows.append(
            (f"`{field.name}`", shown_default(default), allowed, with_options(meaning or above))
        )
        above = meaning or above
    return rows


def _kind(field: Field) -> str:
    for name, words in KINDS.items():
        if re.search(rf"\b{name}\b", field.type):
            return words
    logger.warning("nothing says what the setting %s may be (%s)", field.name, field.type)
    return ""


def section_rows(kind: type) -> list[tuple[str, str, str, str]]:
    """Settings of a section; a field without a comment shares that of the field above it."""
    rows, above = [], ""
    defaults = {item.name: item.default for item in dataclasses.fields(kind)}
    for field in class_fields(kind):
        above = field.comment or above
        if not above:
            logger.warning("nothing says what %s.%s means", kind.__name__, field.name)
        row = (shown_default(defaults[field.name]), field.range or _kind(field), above)
        rows.append((f"`{field.name}`", *row))
    return rows


class SettingsTables(SphinxDirective):
    """A section for the run itself, and one for each table of its configuration."""

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        parts = [section(self, "run", "Of the run", "In a TOML file, above all of its tables.", top_rows())]
        for name, kind in SECTIONS.items():
            summary = (inspect.getdoc(kind) or "").replace("\n", " ").split("  ")
            parts.append(section(self, name, f"[{name}]", " ".join(summary), section_rows(kind)))
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
