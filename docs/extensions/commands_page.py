"""The directive `commands`: every command with its own help, as the program has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from settings_page import nodes_lines
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command
from words import with_options

from disinhib.experiments.command_line import app as program


def commands(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """All commands with their contexts, a group's own after it."""
    for name in sorted(command.commands):
        one = command.commands[name]
        inner = type(context)(one, info_name=name, parent=context)
        if hasattr(one, "commands"):
            yield from commands(one, inner)
        else:
            yield one, inner


class CommandHelp(SphinxDirective):
    """A section a command: its usage, what it does, arguments and options."""

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        top = get_command(program)
        top.add_completion = False
        context = top.make_context("disinhib", [], resilient_parsing=True)
        context.info_name = "disinhib"
        return [self.section(command, inner) for command, inner in commands(top, context)]

    def section(self, command: Any, context: Any) -> nodes.section:
        """One command."""
        title = context.command_path
        node = nodes.section(ids=[nodes.make_id(title)], names=[])
        node += nodes.title("", "", nodes.literal("", title))
        usage = " ".join([title, *command.collect_usage_pieces(context)])
        lines = [with_options(command.help or ""), "", "```text", usage, "```", ""]
        rows = [
            row
            for one in command.get_params(context)
            if (row := self.row(one, context)) is not None
        ]
        if rows:
            lines += [line for row in rows for line in row]
        container = nodes.Element()
        self.state.nested_parse(nodes_lines(lines), self.content_offset, container)
        node += container.children
        return node

    def row(self, parameter: Any, context: Any) -> list[str] | None:
        """One argument or option, with its value and default; not --help."""
        record = None if "--help" in parameter.opts else parameter.get_help_record(context)
        if record is None:
            return None
        name, words = (part.strip() for part in record)
        return [f"`{name}`", f": {with_options(words) or '–'}", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("commands", CommandHelp)
    return {"parallel_read_safe": True}
