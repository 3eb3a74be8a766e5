"""Values of options: numbers in plain digits."""

from __future__ import annotations

import re
from typing import Any

import typer

from ..refimpl.errors import ConfigurationError, shown

MOST_DIGITS = 4000
"""Beyond which Python refuses to read a whole number."""


def _whole(text: Any) -> Any:
    # A default comes as the number that it is.
    if not isinstance(text, str):
        return text
    if not re.fullmatch(f"[+-]?[0-9]{{1,{MOST_DIGITS}}}", text):
        raise typer.BadParameter(f"{shown(text)} is not a whole number.")
    return int(text)


def _real(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise typer.BadParameter(f"{shown(text)} is not a finite number.")
    return float(text)


def whole(**details: Any) -> Any:
    """Describe an option whose value is a whole number.

    The parser is our own: a library's take digits of other scripts, underscores and spaces too.
    """
    return typer.Option(parser=_whole, metavar="INTEGER", **details)


def real(**details: Any) -> Any:
    """Describe an option whose value is a finite number."""
    return typer.Option(parser=_real, metavar="FLOAT", **details)


def whole_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers separated by commas.

    Raises
    ------
    ConfigurationError
        It is something else; the example in the message has the numbers that are there.
    """
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", part) for part in parts):
        found = re.findall(r"(?<![0-9])[1-9][0-9]{0,6}(?![0-9])", text) if text.isascii() else []
        example = ",".join(found) or "256,128"
        raise ConfigurationError(
            f"{option} is {shown(text)}: whole numbers separated by commas are needed, as in "
            f"{example}"
        )
    return [int(part) for part in parts]
