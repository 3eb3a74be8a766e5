"""The CUDA sources: one text to compile, its kernels, and the layout of what they work on."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

SAMPLES_PER_GROUP = (1, 2, 4)
"""Values of S for which kernels of groups are compiled."""

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"\n', re.MULTILINE)
_KERNEL = re.compile(
    r"template <typename T(, int S)?>\n__global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\("
)


@cache
def source() -> str:
    """All sources as one text, every header once where it is first included.

    A compiler that keeps what it compiled by the text alone then never misses a change.
    """
    return _with_headers("kernels.cu", set())


@cache
def kernels() -> dict[str, bool]:
    """Every kernel's name, and whether it works on groups of S samples."""
    return {name: bool(grouped) for grouped, name in _KERNEL.findall(source())}


def instances(ctype: str) -> list[str]:
    """Every kernel as its template is instantiated for `float` or `double`."""
    return [
        instance(name, ctype, samples)
        for name, grouped in kernels().items()
        for samples in (SAMPLES_PER_GROUP if grouped else (1,))
    ]


def compiled_with(name: str, ctype: str) -> list[str]:
    """Instances that are compiled in one go with one of them.

    Those of a group's kernels, which take seconds each, alone; all others together.
    """
    plain = [instance(kernel, ctype, 1) for kernel, grouped in kernels().items() if not grouped]
    return plain if name in plain else [name]


def instance(name: str, ctype: str, samples: int) -> str:
    """One kernel's template, instantiated."""
    return f"{name}<{ctype}, {samples}>" if kernels()[name] else f"{name}<{ctype}>"


@cache
def plan_members() -> dict[str, str]:
    """Members of `struct Plan` in order, each with its type."""
    body = source().split("struct Plan {\n")[1].split("};")[0]
    members = [line.strip().rstrip(";").rsplit(" ", 1) for line in body.splitlines()]
    return {name: kind for kind, name in members}


@cache
def enumerators(name: str) -> dict[str, int]:
    """Names and values of one of the plan's enumerations."""
    body = source().split(f"enum {name} {{")[1].split("}")[0]
    return {word: i for i, word in enumerate(re.findall(r"\w+", body))}


def _with_headers(name: str, seen: set[str]) -> str:
    text = (files(__package__) / "kernels" / name).read_text(encoding="utf-8")
    text = text.replace("#pragma once\n", "")

    def included(match: re.Match[str]) -> str:
        header = match.group(1)
        if header in seen:
            return ""
        seen.add(header)
        return _with_headers(header, seen)

    return _INCLUDE.sub(included, text)
