"""What each setting of a run means and may be: `disinhib config`, and the site's reference.

Nothing is written twice: meanings are the comments beside the fields, or the command line's words
for its options; ranges are those that the classes themselves check.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tomli_w

from ..datasets import DATASETS
from ..refimpl import NetworkConfiguration
from ..refimpl.integers import PRESETS, Arithmetic, Format
from .training import RunConfiguration, load_run_configuration, parse_settings
from .training.configuration import SECTIONS, TOP


@dataclass(frozen=True)
class SettingDescription:
    """A setting in words.

    Parameters
    ----------
    name : str
        Within its section.
    default : object
        None where it is off.
    allowed : str
        What it may be.
    meaning : str
        Empty where nothing says it.
    """

    name: str
    default: Any
    allowed: str
    meaning: str


def described_settings() -> dict[str, list[SettingDescription]]:
    """Describe every setting, by section, those above all sections first under an empty name."""
    return {TOP: _of_a_run(), **{name: _of_a_section(kind) for name, kind in SECTIONS.items()}}


KINDS = {
    "Count": "whole number, at least 1",
    "Number": "number",
    "OptionalPath": "file or directory",
    "CountOr0": "whole number, at least 0",
    "_seed": "whole number",
    "_counts": "list of whole numbers, each at least 1",
    "_threads": "whole number, 1 to 1,024",
    "_dataset": f"{', '.join(DATASETS)}, a file FILE.npz or FILE.h5, or tfds:NAME",
    "_text": "auto, or the name of a backend",
    "Format": "bits and bits after the point, as in '16.12'",
    "bool": "true, false",
    "int": "whole number",
    "str": "text",
}
"""What a field may be, by what its type or its check is called."""


def _of_a_run() -> list[SettingDescription]:
    network = {field.name: field for field in class_fields(NetworkConfiguration)}
    helps, found, above = _helps_of_options(), list[SettingDescription](), ""
    for field in class_fields(RunConfiguration):
        if field.name in SECTIONS:
            continue
        about = RunConfiguration.model_fields[field.name]
        of_network = network.get(field.name, Field("", "", "", ""))
        meaning = field.comment or helps.get(field.name, "") or of_network.comment
        # A field of the network without a comment shares that of the field above it.
        if not meaning and field.name in network:
            meaning = above
        if field.type.startswith("Literal"):
            allowed = in_words(among=get_args(about.annotation))
        else:
            allowed = of_network.range or _kind(field)
        found.append(SettingDescription(field.name, about.default, allowed, meaning))
        above = meaning
    return found


def _helps_of_options() -> dict[str, str]:
    """What the command line says of its options, by the names of their settings."""
    from .command_line import train_command

    found = {}
    for name, parameter in inspect.signature(train_command, eval_str=True).parameters.items():
        helps = [getattr(one, "help", None) for one in get_args(parameter.annotation)[1:]]
        found[name] = next(filter(None, helps), "")
    return found


def _of_a_section(kind: type) -> list[SettingDescription]:
    """Settings of a section; a field without a comment shares that of the field above it."""
    found, above = list[SettingDescription](), ""
    if kind is Arithmetic:
        found.append(SettingDescription("preset", "int16", ", ".join(PRESETS), OF_A_PRESET))
    defaults = {item.name: item.default for item in dataclasses.fields(kind)}
    for field in class_fields(kind):
        above = field.comment or above
        allowed, default = field.range or _kind(field), defaults[field.name]
        default = str(default) if isinstance(default, Format) else default
        found.append(SettingDescription(field.name, default, allowed, above))
    return found


OF_A_PRESET = "named arithmetic, from which the settings below differ where they are given"


def _kind(field: Field) -> str:
    return next((words for name, words in KINDS.items()
                 if re.search(rf"\b{name}\b", field.type)), "")  # fmt: skip


# What stands in the sources.


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
    ranges = _checked_ranges(tree, vars(inspect.getmodule(kind)))
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


def _checked_ranges(tree: ast.ClassDef, names: dict[str, Any]) -> dict[str, str]:
    """What each field may be, from calls of `require` in the class's `__post_init__`."""
    found: dict[str, str] = {}
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "require"):
            continue
        fields = [ast.literal_eval(one) for one in call.args[1:]]
        limits = {
            one.arg: _value(one.value, names)
            for one in call.keywords
            if one.arg not in (None, "because", "per_replica")
        }
        found.update(dict.fromkeys(fields, in_words(**limits)))
    return found


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """Of a literal, or of a constant or a tuple's keys by their name in the module."""
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Call):
        (argument,) = node.args
        return tuple(_value(argument, names))
    return ast.literal_eval(node)


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
        return ", ".join(str(one).lower() for one in among)
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


# The command.


def commented_toml(configuration: RunConfiguration) -> str:
    """Write a configuration as TOML that `load_run_configuration` reads, each setting explained.

    A setting that is off stands there too, as a comment.
    """
    parts = []
    for section, settings in described_settings().items():
        owner = getattr(configuration, section) if section else configuration
        is_off = "# " if owner is None else ""
        lines = [f"{is_off}[{section}]"] if section else []
        for one in settings:
            # Of integers all that a preset stands for is written out.
            value = getattr(owner, one.name, one.default)
            if one.name == "preset" and owner is not None:
                continue
            default = "off" if one.default is None else _toml(one.default)
            about = f"{one.meaning.rstrip('.')}: {one.allowed}; default {default}"
            lines += [f"# {line}" for line in textwrap.wrap(about, WIDTH)]
            plain = str(value) if isinstance(value, (Path, Format)) else value
            is_set = f"{is_off}{one.name} = {_toml(plain)}" if value is not None else ""
            lines.append(is_set or f"# {one.name} =")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


WIDTH = 96


def _toml(value: Any) -> str:
    text = tomli_w.dumps({"value": value}).removeprefix("value = ").strip()
    return re.sub(r",?\s*\n\s*", ", ", text).replace("[, ", "[").replace(", ]", "]")


def show_configuration(config: Path | None, given_settings: Iterable[str]) -> None:
    """Print the whole configuration that a file and settings come to."""
    if config is not None and config.is_dir():
        config = config / "config.toml"
    configuration = load_run_configuration(config, parse_settings(given_settings))
    print(commented_toml(configuration), end="")
