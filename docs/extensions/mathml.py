"""Equations as MathML, which browsers draw by themselves: no MathJax, no LaTeX, no network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError


def mathml(latex: str, display: str) -> str:
    """Draw one equation, or say what cannot be drawn."""
    # GitHub knows `aligned`, the converter knows it as `split`.
    lines = latex.strip().replace("{aligned}", "{split}")
    try:
        code = convert(lines, display=display)
    except Exception as problem:
        raise SphinxError(
            f"not an equation that can be drawn: {latex!r} ({problem!r})"
        ) from problem
    # What the converter does not know it passes on as text, with its backslash.
    unknown = re.findall(r">\\[A-Za-z]+<", code)
    if unknown:
        raise SphinxError(f"{latex!r} has commands that cannot be drawn: {unknown}")
    return code


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write an equation within a line."""
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write an equation of its own."""
    self.body.append(f'<div class="equation">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer it to Sphinx as a renderer of equations."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
