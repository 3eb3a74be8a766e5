"""Settings that a port ignores: the default stands where the trace has something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ...refimpl import NetworkConfiguration
from .mistake import Result, Setting, Words, settings_from

DEFAULTS = NetworkConfiguration()
NAMED_OTHERWISE = (
    "sizes",
    "loss",
    "rule",
    "bias",
    "optimizer.name",
    "feedback.average",
    "feedback.clip",
    "feedback.normalize",
    "feedback.norm",
    "feedback.strong",
    "feedback.to_readout",
)
"""What no port can leave at a default, or has a row of its own that says what comes of it."""


def settings_of(configuration: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting and its value, by the names of the guide: `controller.k_p`."""
    for part in dataclasses.fields(configuration):
        name, value = f"{above}{part.name}", getattr(configuration, part.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, f"{name}.")
        else:
            yield name, value


def ignored(*names: str) -> list[tuple[Words, Result]]:
    """Rows for settings of these names, or of all below them: each at its default."""
    return [
        (partial(in_words, name), settings_from(partial(_at_default, name, default)))
        for name, default in settings_of(DEFAULTS)
        if name.startswith(names) and name not in NAMED_OTHERWISE
    ]


def _at_default(name: str, default: Any, configuration: NetworkConfiguration) -> dict[str, Any]:
    group, _, part = name.partition(".")
    return {group: {part: default} if part else default}


def in_words(name: str, settings: Sequence[Setting]) -> str:
    """Say which setting, its default and what the trace has."""
    values = dict(settings_of(settings[0].trace.configuration))
    return f"{name} is the default, {_shown(name)}: the trace has {_text(values[name])}"


def _shown(name: str) -> str:
    return _text(dict(settings_of(DEFAULTS))[name])


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
