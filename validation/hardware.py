"""A trace in integers for hardware: a C header, memory files that Verilog reads, or arrays.

All hold everything: what a chip is given, and what it comes to, tick by tick, for a testbench.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .integers import IntegerTrace, format_of_answer, questions, settings_lines

SIZES = (8, 16, 32, 64)


def write_c_header(trace: IntegerTrace, path: str | os.PathLike[str]) -> None:
    """Write a header: formats as macros, settings, arrays and answers in tables by name.

    `examples/port_c/integers.c` compiled with ``-DNETWORK_H`` reads it, and compares.
    """
    Path(path).write_text("".join(_header(trace)), encoding="utf-8")


def integer_arrays(trace: IntegerTrace) -> dict[str, np.ndarray]:
    """Every array by its name, and `settings`: lines of NAME VALUE, formats among them."""
    arrays = {**questions(trace), **trace.answers}
    settings = "\n".join(f"{name} {value}" for name, value in settings_lines(trace))
    named = {name.replace("/", "."): array for name, array in arrays.items()}
    return {**named, "settings": np.array(settings)}


def _header(trace: IntegerTrace) -> Iterator[str]:
    yield (
        "/* A network in integers, by `disinhib export --to c-header`; docs/integers.md says what\n"
        "   each is. Numbers lie in rows; `network_answers` are what a testbench compares. */\n"
        "#ifndef DISINHIB_NETWORK_H\n#define DISINHIB_NETWORK_H\n"
        "#include <stddef.h>\n#include <stdint.h>\n\n"
    )
    for name, form in trace.arithmetic.formats():
        yield f"#define {name.upper()}_WIDTH {form.width}\n"
        yield f"#define {name.upper()}_FRACTION {form.fraction}\n"
    yield "\nstatic const char *const network_settings[][2] = {\n"
    for name, value in settings_lines(trace):
        yield f'    {{"{name}", "{value}"}},\n'
    yield "};\n\n"
    asked = questions(trace)
    listed: dict[str, list[str]] = {"network_arrays": [], "network_answers": []}
    for registry, arrays in (("network_arrays", asked), ("network_answers", trace.answers)):
        for name, array in arrays.items():
            bits = next(n for n in SIZES if np.all(np.abs(array + 0.5) <= 2.0 ** (n - 1)))
            plain, symbol = name.replace("/", "."), name.replace("/", "_")
            yield f"static const int{bits}_t {symbol}[] = {{ /* {_lengths(array)} */\n"
            yield from _rows(array)
            yield "};\n"
            lengths = ", ".join(map(str, (*array.shape, 0, 0, 0)[:3]))
            listed[registry].append(
                f'    {{"{plain}", {symbol}, {bits // 8}, {array.size}, {{{lengths}}}}},\n'
            )
    yield (
        "\ntypedef struct {\n    const char *name;\n    const void *values;\n"
        "    int bytes;\n    size_t n;\n    size_t lengths[3];\n} network_array;\n"
    )
    for registry, lines in listed.items():
        yield f"\nstatic const network_array {registry}[] = {{\n{''.join(lines)}}};\n"
    yield "\n#endif\n"


def _lengths(array: np.ndarray) -> str:
    return " by ".join(map(str, array.shape))


def _rows(array: np.ndarray) -> Iterator[str]:
    flat = array.ravel().tolist()
    for first in range(0, len(flat), 16):
        yield "    " + ", ".join(map(str, flat[first : first + 16])) + ",\n"


def write_memory_files(trace: IntegerTrace, directory: str | os.PathLike[str]) -> None:
    """Write NAME.mem for each array, a number in hexadecimal a line, as $readmemh reads them.

    In two's complement of the quantity's own width; `memories.txt` lists NAME, width, lengths.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, array in (questions(trace) | trace.answers).items():
        plain, width = name.replace("/", "."), _width(trace, name, array)
        digits, mask = -(-width // 4), (1 << width) - 1
        text = "".join(f"{value & mask:0{digits}x}\n" for value in array.ravel().tolist())
        (directory / f"{plain}.mem").write_text(text, encoding="ascii")
        lines.append(" ".join([plain, str(width), *map(str, array.shape)]))
    (directory / "memories.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    settings = "".join(f"{name} {value}\n" for name, value in settings_lines(trace))
    (directory / "settings.txt").write_text(settings, encoding="utf-8")


QUANTITY_OF_TABLE = {
    "rate_E": "rate", "rate_I": "rate", "slope_E": "slope", "slope_I": "slope",
    "offset": "tangent", "gain": "tangent", "exponential": "mantissa", "reciprocal": "mantissa",
    "inverse_root": "mantissa",
}  # fmt: skip


def _width(trace: IntegerTrace, name: str, array: np.ndarray) -> int:
    """Bits of a memory: those of the quantity, or as many as its numbers need."""
    about, parts = trace.arithmetic, name.split("/")
    if parts[0] == "steps":
        return format_of_answer(trace, name).width
    if parts[0] == "tables" and parts[2] == "entries":
        return about.format_of(QUANTITY_OF_TABLE[parts[1]]).width
    quantities = {"inputs": "input", "targets": "error"}
    if parts[0] in quantities:
        return about.format_of(quantities[parts[0]]).width
    if parts[0] == "initial":
        kind = (
            "rate" if parts[1].startswith("r_bar") else "bias" if "bias" in parts[1] else "weight"
        )
        return about.format_of(kind).width
    largest = int(np.max(np.abs(array + 0.5)) + 0.5)
    return max(largest.bit_length() + 1, 2)
