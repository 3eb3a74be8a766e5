"""The directive `interface`: what `import disinhib` offers, from its stub and its docstrings.

A section for each folder that something comes from, in the stub's order. Fields of dataclasses are
listed with the comments beside them.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

from docutils import nodes
from settings_page import nodes_lines
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import disinhib
from disinhib.experiments.settings_described import class_fields

TITLES = {
    "experiments": "Runs",
    "backends": "Backends",
    "datasets": "Data",
    "refimpl": "The model and its settings",
    "validation": "Traces, checkpoints, conformance",
}
"""What the folders are about; another one has its own name."""


def offered() -> dict[str, list[str]]:
    """Names by the folder that they come from."""
    stub = Path(disinhib.__file__).with_suffix(".pyi")
    found: dict[str, list[str]] = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = (node.module or "").split(".")[0]
            found.setdefault(folder, []).extend(one.asname or one.name for one in node.names)
    order = [*(name for name in TITLES if name in found), *(set(found) - set(TITLES))]
    return {folder: sorted(found[folder], key=_order) for folder in order}


def _order(name: str) -> tuple[bool, bool, str]:
    """Functions first, then classes, then what is raised."""
    thing = getattr(disinhib, name)
    is_class = inspect.isclass(thing)
    return is_class, is_class and issubclass(thing, Exception), name.lower()


def comments_of_fields(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Add a dataclass's fields to its docstring, unless that has parameters of its own."""
    if not (what == "class" and dataclasses.is_dataclass(thing)):
        return
    if any(line.startswith((":param", ":ivar", ".. attribute")) for line in lines):
        return
    fields = [one for one in class_fields(thing) if one.comment]
    if fields:
        lines += ["", *(f":param {one.name}: {one.comment}" for one in fields), ""]


def is_from_elsewhere(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what another package has put into our classes, as scikit-learn does."""
    module = getattr(member, "__module__", None) or "disinhib"
    return None if module.startswith("disinhib") or not callable(member) else True


class Interface(SphinxDirective):
    """Classes and functions, by folder."""

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        return [self.section(folder, names) for folder, names in offered().items()]

    def section(self, folder: str, names: list[str]) -> nodes.section:
        """What comes from one folder."""
        node = nodes.section(ids=[nodes.make_id(f"api-{folder}")], names=[])
        node += nodes.title("", TITLES.get(folder, folder))
        # Whatever has no docstring of its own would show as nothing.
        doc = (importlib.import_module(f"disinhib.{folder}").__doc__ or "").split("\n")[0]
        lines = [doc, "", "```{eval-rst}", ".. currentmodule:: disinhib", ""]
        for name in names:
            thing = getattr(disinhib, name)
            kind = "autofunction"
            if inspect.isclass(thing):
                kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
            lines += [f".. {kind}:: disinhib.{name}"]
            lines += ["   :show-inheritance:"] if kind == "autoexception" else []
            lines += [""]
        lines += ["```", ""]
        container = nodes.Element()
        self.state.nested_parse(nodes_lines(lines), self.content_offset, container)
        node += container.children
        return node


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("interface", Interface)
    app.connect("autodoc-skip-member", is_from_elsewhere)
    # After napoleon, which turns NumPy's form into fields.
    app.connect("autodoc-process-docstring", comments_of_fields, priority=900)
    return {"parallel_read_safe": True}
