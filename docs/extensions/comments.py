"""What stands in the sources beside settings: comments, ranges, choices."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field as its class has it."""

    name: str
    type: str
    comment: str  # beside it, empty without one
    range: str  # from the class's own checks, empty without one


def class_fields(kind: type) -> list[Field]:
    """Fields of a dataclass or model in order, with what stands beside them."""
    source = textwrap.dedent(inspect.getsource(kind))
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    ranges = checked_ranges(tree, vars(inspect.getmodule(kind)))
    return [
        Field(
            name=node.target.id,
            type=ast.unparse(node.annotation),
            comment=comments.get(node.end_lineno or node.lineno, ""),
            range=ranges.get(node.target.id, ""),
        )
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id != "model_config"
    ]


def checked_ranges(tree: ast.ClassDef, names: dict[str, Any]) -> dict[str, str]:
    """What each field may be, from calls of `require` in the class's `__post_init__`."""
    found: dict[str, str] = {}
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "require"):
            continue
        fields = [ast.literal_eval(one) for one in call.args[1:]]
        limits = {
            one.arg: eval(compile(ast.Expression(one.value), "", "eval"), names)  # our own source
            for one in call.keywords
            if one.arg not in (None, "because", "per_replica")
        }
        found.update(dict.fromkeys(fields, in_words(**limits)))
    return found


def in_words(
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    among: tuple[Any, ...] | None = None,
    whole: bool = False,
) -> str:
    """Limits as `require` takes them, in words."""
    if among is not None:
        return ", ".join(f"`{str(one).lower()}`" for one in among)
    limits = [
        f"{words} {limit:,}"
        for words, limit in (
            ("above", above),
            ("at least", minimum),
            ("below", below),
            ("at most", maximum),
        )
        if limit is not None
    ]
    return ("whole number" if whole else "number") + "".join(f", {one}" for one in limits)


def with_options(text: str) -> str:
    """Mark options as code, which no dash is made of."""
    return re.sub(r"(?<![\w`-])--[a-z][\w-]*", r"`\g<0>`", text)
