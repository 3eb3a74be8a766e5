"""Files outside docs/ that a page links to: each becomes a page that shows it.

On GitHub `[model.md](../refimpl/model.md)` leads to the file. On the site it leads to
`source/refimpl/model.html`, made here: Markdown as such, all else with its colours. Links within
such Markdown go on to further pages of this kind, or to the page of docs/ that they name.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from docutils import nodes
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
AS_TEXT = {".md", ".py", ".pyi", ".c", ".h", ".cu", ".cuh", ".toml", ".cff", ".txt", ".yml", ""}


def page_of(path: str) -> str:
    """Name of the page that shows a file, by its path in the repository."""
    return f"source/{path.removesuffix('.md')}"


class LinksToFiles(SphinxTransform):
    """Turn downloads of files outside docs/ into links to their pages."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Do so in one page."""
        here = (DOCS / self.env.docname).parent
        wanted = self.env.__dict__.setdefault("source_pages", {})
        for node in list(self.document.findall(is_link_to_file)):
            target, _, fragment = node["reftarget"].partition("#")
            if isinstance(node, pending_xref):
                # MyST takes other Markdown for a page of the site, by its path without ".md".
                target, fragment = f"{target}.md", node.get("reftargetid") or ""
            file = Path(os.path.normpath(here / target))
            if not file.is_relative_to(ROOT) or file.is_relative_to(DOCS) or not file.is_file():
                continue
            path = file.relative_to(ROOT).as_posix()
            wanted.setdefault(self.env.docname, set()).add(path)
            up = "../" * self.env.docname.count("/")
            refuri = f"{up}{page_of(path)}.html" + (f"#{fragment}" if fragment else "")
            node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=refuri))


def is_link_to_file(node: nodes.Node) -> bool:
    """Whether MyST made it of a link to a file."""
    if isinstance(node, pending_xref):
        return bool(node.get("reftype") == "myst" and node.get("refdomain") == "doc")
    return isinstance(node, download_reference)


def forget(app: Sphinx, env: Any, docname: str) -> None:
    """Drop what a page that is read anew had wanted."""
    env.__dict__.setdefault("source_pages", {}).pop(docname, None)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make the pages, and those that they lead to."""
    wanted = app.env.__dict__.get("source_pages", {})
    queue, made = sorted({path for paths in wanted.values() for path in paths}), set()
    while queue:
        path = queue.pop(0)
        if path in made:
            continue
        made.add(path)
        body, more = rendered(app, path)
        queue += sorted(more - made)
        yield page_of(path), {"title": path, "body": body, "parents": []}, "page.html"


def rendered(app: Sphinx, path: str) -> tuple[str, set[str]]:
    """HTML of a file, and the files that it leads to."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if not path.endswith(".md"):
        try:
            lexer = get_lexer_for_filename(path)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight(text, lexer, HtmlFormatter())
        return f"<h1>{escape(path)}</h1><p>From the repository.</p>{code}", set()
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(text)
    more: set[str] = set()
    _name_headings(tokens)
    for token in (inner for outer in tokens for inner in (outer.children or ())):
        for name in ("href", "src"):
            if name in token.attrs:
                token.attrs[name] = _led(app, path, str(token.attrs[name]), more)
    html = str(parser.renderer.render(tokens, parser.options, {}))
    return html.replace("<table>", '<table class="table">'), more


def _name_headings(tokens: list[Token]) -> None:
    """Give headings the anchors that GitHub gives them."""
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            words = re.sub(r"[^\w\- ]", "", inline.content.lower())
            token.attrSet("id", words.replace(" ", "-"))


def _led(app: Sphinx, path: str, link: str, more: set[str]) -> str:
    """Where a link in a file of the repository leads on the site."""
    target, hash_, fragment = link.partition("#")
    if not target or ":" in target:
        return link
    up = "../" * page_of(path).count("/")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if file.startswith("docs/"):
        docname = file.removeprefix("docs/").removesuffix(".md")
        if docname in app.env.found_docs:
            return f"{up}{docname}.html{hash_}{fragment}"
    if not (ROOT / file).is_file():
        logger.warning("%s leads to %s, which is no file", path, link)
        return link
    if Path(file).suffix in AS_TEXT:
        more.add(file)
        return f"{up}{page_of(file)}.html{hash_}{fragment}"
    # A picture, or data: copied as it is.
    copied = Path(app.outdir, "_downloads", "repository", file)
    copied.parent.mkdir(parents=True, exist_ok=True)
    copied.write_bytes((ROOT / file).read_bytes())
    return f"{up}_downloads/repository/{file}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_transform(LinksToFiles)
    app.connect("env-purge-doc", forget)
    app.connect("html-collect-pages", pages)
    return {"version": "1", "parallel_read_safe": False}
