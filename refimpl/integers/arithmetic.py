"""Integers for numbers: formats, rounding, saturation, and constants that stand for quotients.

A number is an integer n in two's complement that stands for n · 2^−fraction. Every operation here
is defined to the bit, on arrays of int64 that hold what a chip would hold in fewer. Sections are
those of the page *The model in integers*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..configuration import Array, ConfigurationError, require, shown, whole_number

MOST_WIDTH, MOST_FRACTION = 32, 31
"""So that the sum of products of any two quantities, shifted, has room in 64 bits."""

ROUNDINGS = ("floor", "truncate", "nearest-even", "nearest-away", "stochastic")
NORMALIZATIONS = ("table", "power-of-two", "fixed")
INTERPOLATIONS = ("linear", "none")


@dataclass(frozen=True)
class Format:
    """Two's complement of `width` bits, the last `fraction` of them after the point (section 1)."""

    width: int
    fraction: int

    def __post_init__(self) -> None:
        require(self, "width", minimum=2, maximum=MOST_WIDTH, whole=True)
        require(self, "fraction", minimum=0, maximum=MOST_FRACTION, whole=True)

    @property
    def largest(self) -> int:
        """The largest integer."""
        return (1 << (self.width - 1)) - 1

    @property
    def smallest(self) -> int:
        """The smallest, which has no opposite."""
        return -(1 << (self.width - 1))

    def __str__(self) -> str:
        return f"{self.width}.{self.fraction}"


QUANTITIES: dict[str, str] = {
    "input": "x",
    "weight": "W",
    "bias": "b",
    "potential": "u_E, u_I, u_out",
    "rate": "φ_E(u_E), φ_I(u_I), r̄",
    "slope": "φ_E', φ_I'",
    "error": "labels, targets, softmax and the error e",
    "integral": "z",
    "control": "c",
    "sensitivity": "J, and Q before it is normalised",
    "feedback": "Q as applied",
    "tangent": "θ and δ of the linear threshold",
    "mantissa": "exp of what is at most 0, 1 / m and 1 / √m, of tables",
    "delta": "δ",
    "gradient": "g",
}
"""What has a format of its own, with the symbols of `model.md`."""


@dataclass(frozen=True)
class Arithmetic:
    """What a chip has: a format for each kind of quantity, tables, ticks, rounding.

    The defaults are the preset `int16`.
    """

    input: Format = Format(16, 14)  # format of x
    weight: Format = Format(16, 13)  # format of W
    bias: Format = Format(16, 13)  # format of b
    potential: Format = Format(16, 11)  # format of u_E, u_I, u_out
    rate: Format = Format(16, 12)  # format of φ_E(u_E), φ_I(u_I), r̄
    slope: Format = Format(16, 14)  # format of φ_E', φ_I'
    error: Format = Format(16, 14)  # format of labels, targets, softmax, e
    integral: Format = Format(16, 14)  # format of z
    control: Format = Format(16, 14)  # format of c
    sensitivity: Format = Format(16, 13)  # format of J, and Q before it is normalised
    feedback: Format = Format(16, 15)  # format of Q as applied
    tangent: Format = Format(16, 11)  # format of θ and δ of the linear threshold
    mantissa: Format = Format(16, 14)  # format of exp, 1 / m and 1 / √m in tables
    delta: Format = Format(16, 14)  # format of δ
    gradient: Format = Format(16, 16)  # format of g
    accumulator: int = 48  # bits of a sum of products, before it is rounded
    multiplier: int = 16  # bits of a constant that stands for a factor, its sign among them
    table_bits: int = 8  # address bits of each table
    table_range: int = 3  # tables of φ and φ' cover potentials from −2^range to 2^range
    interpolation: str = "linear"  # between the entries of a table
    ticks: int = 100  # of the open loop, and again under control
    shift_E: int = 3  # a tick is 2^−shift of τ_E,
    shift_I: int = 1  # of τ_I
    shift_c: int = 5  # and of τ_c
    rounding: str = "nearest-even"  # wherever bits are dropped
    update_rounding: str = "stochastic"  # where a weight or bias moves
    normalization: str = "table"  # how Q comes to its norm without a division
    seed: int = 0  # of stochastic rounding

    def __post_init__(self) -> None:
        for name in QUANTITIES:
            object.__setattr__(self, name, checked_format(name, getattr(self, name)))
        require(self, "accumulator", minimum=8, maximum=62, whole=True)
        require(self, "multiplier", minimum=4, maximum=18, whole=True)
        require(self, "table_bits", minimum=1, maximum=16, whole=True)
        require(self, "table_range", minimum=0, maximum=15, whole=True)
        require(self, "ticks", minimum=1, maximum=100_000, whole=True)
        require(self, "shift_E", "shift_I", "shift_c", minimum=0, maximum=20, whole=True)
        require(self, "interpolation", among=INTERPOLATIONS)
        require(self, "rounding", "update_rounding", among=ROUNDINGS)
        require(self, "normalization", among=NORMALIZATIONS)
        require(self, "seed", minimum=0, maximum=4_294_967_295, whole=True)
        if self.table_range + self.potential.fraction < self.table_bits:
            raise ConfigurationError(
                f"Arithmetic.table_bits is {self.table_bits}: a table over potentials of "
                f"±2^{self.table_range} with {self.potential.fraction} bits after the point has "
                f"{self.table_range + self.potential.fraction} bits of address at most"
            )

    def format_of(self, quantity: str) -> Format:
        """Format of a quantity of `QUANTITIES`."""
        found: Format = getattr(self, quantity)
        return found

    def formats(self) -> Iterator[tuple[str, Format]]:
        """Every quantity with its format."""
        return ((name, self.format_of(name)) for name in QUANTITIES)


def checked_format(name: str, value: Any) -> Format:
    """Take a format, as one or as the text WIDTH.FRACTION or a pair, as TOML has them."""
    if isinstance(value, Format):
        return value
    parts: list[Any] = []
    if isinstance(value, str):
        parts = [
            int(part) if part.isascii() and part.isdigit() else part for part in value.split(".")
        ]
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    if len(parts) != 2:
        raise ConfigurationError(
            f"Arithmetic.{name} is {shown(value)}: bits and bits after the point are needed, as in "
            "'16.12'"
        )
    numbers = [whole_number(f"Arithmetic.{name}", part) for part in parts]
    try:
        return Format(*numbers)
    except ConfigurationError as problem:
        raise ConfigurationError(f"Arithmetic.{name}: {problem}") from problem


def arithmetic(preset: str = "int16", **changes: Any) -> Arithmetic:
    """Take a preset, with some settings changed.

    Raises
    ------
    ConfigurationError
        There is no such preset or setting, or a setting is impossible.
    """
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigurationError(f"arithmetic.preset is {shown(preset)}: choose one of {known}")
    names = [item.name for item in dataclasses.fields(Arithmetic)]
    for name in changes:
        if name not in names:
            raise ConfigurationError(
                f"arithmetic has no {shown(name)}: choose among preset, {', '.join(names)}"
            )
    return Arithmetic(**{**PRESETS[preset], **changes})


PRESETS: dict[str, Mapping[str, Any]] = {
    "int16": {},
    # Weights of 8 bits, for memory; their updates fall below the last bit, and chance keeps them.
    "int8-weights": {"weight": "8.6", "bias": "8.6"},
    # The multipliers of FPGAs: 18 by 25 bits, and 48 to sum up.
    "fpga": {
        **dict.fromkeys(("weight", "bias"), "18.15"),
        **dict.fromkeys(("input", "rate", "slope", "error", "sensitivity", "tangent"), "18.14"),
        "mantissa": "18.16",
        **dict.fromkeys(("control", "feedback", "delta"), "18.16"),
        **dict.fromkeys(("potential", "integral"), "25.20"),
        "gradient": "25.24",
        "multiplier": 18,
        "table_bits": 10,
    },
    # Where rounding is seen to vanish: for the comparison with floating point.
    "wide": {
        **dict.fromkeys(("input", "weight", "bias", "error", "control", "tangent"), "27.24"),
        **dict.fromkeys(("potential", "rate"), "28.24"),
        **dict.fromkeys(("slope", "sensitivity", "feedback", "mantissa"), "26.24"),
        "integral": "28.24",
        "delta": "27.25",
        "gradient": "32.28",
        "accumulator": 62,
        "multiplier": 18,
        "table_bits": 14,
        "ticks": 2000,
        "update_rounding": "nearest-even",
    },
}
"""Named arithmetics: what differs from the defaults."""


class Overflows:
    """How often a value did not fit, by quantity, and how often a table was left."""

    NAMES = (*QUANTITIES, "accumulator", "table")

    def __init__(self) -> None:
        self.counts = np.zeros(len(self.NAMES), dtype=np.int64)

    def add(self, name: str, n: int) -> None:
        """Count so many more."""
        self.counts[self.NAMES.index(name)] += n

    def as_dict(self) -> dict[str, int]:
        """Those that are not 0."""
        pairs = zip(self.NAMES, self.counts.tolist(), strict=True)
        return {name: count for name, count in pairs if count}


# Dropping bits (section 2).


@dataclass(frozen=True)
class Chance:
    """Where in a run a value is rounded, on which its random bits depend (section 2)."""

    seed: int = 0
    step: int = 0  # learning steps taken
    tick: int = 0


NO_CHANCE = Chance()
"""For what is not rounded by chance."""


def mixed(words: Array) -> Array:
    """Mix the bits of uint32: two multiplications, three shifts (C. Wellons, lowbias32)."""
    words = words ^ (words >> np.uint32(16))
    words = words * np.uint32(0x7FEB352D)
    words = words ^ (words >> np.uint32(15))
    words = words * np.uint32(0x846CA68B)
    return words ^ (words >> np.uint32(16))


def random_bits(chance: Chance, site: int, n: int) -> Array:
    """32 random bits for each of n values: h(i ^ h(tick ^ h(site ^ h(step ^ h(seed))))), h `mixed`.

    Shape (n,), uint32; i is the value's place among the n.
    """
    word = np.zeros(1, dtype=np.uint32)
    # From the outside in: each part is mixed with what the parts before it came to.
    for part in (chance.seed, chance.step, site, chance.tick):
        word = mixed(word ^ np.array([part & 0xFFFFFFFF], dtype=np.uint32))
    return mixed(np.arange(n, dtype=np.int64).astype(np.uint32) ^ word)


def shifted(
    values: Array, shift: int | Array, rounding: str, chance: Chance = NO_CHANCE, site: int = 0
) -> Array:
    """Divide by 2^shift and round; a negative shift multiplies, exactly.

    `shift` may be an array that broadcasts to the values. Random bits are numbered through the
    values in the order in which they lie, so that an array has the samples of a batch first.
    """
    down = np.clip(np.asarray(shift, dtype=np.int64), 0, 62)
    values = values << (down - np.asarray(shift, dtype=np.int64) if np.any(shift < 0) else 0)
    # What is added before the bits are dropped; below 2^down, so that exact values stay.
    last = (np.int64(1) << down) - 1
    half = (last + 1) >> 1
    if rounding == "floor":
        added: Array = np.zeros_like(values)
    elif rounding == "truncate":
        added = np.where(values < 0, last, 0)
    elif rounding == "nearest-away":
        # Half upwards, but for what is negative.
        added = half - ((values < 0) & (down > 0))
    elif rounding == "nearest-even":
        added = np.where(down > 0, half - 1 + ((values >> down) & 1), 0)
    else:
        bits = random_bits(chance, site, values.size).astype(np.int64).reshape(values.shape)
        added = (bits << np.int64(30)) >> (62 - down)
    return (values + added) >> down


def saturated(values: Array, form: Format, name: str, overflows: Overflows) -> Array:
    """Take the nearest integer that the format has, and count those that it has not."""
    fitting = np.clip(values, form.smallest, form.largest)
    overflows.add(name, int(np.count_nonzero(fitting != values)))
    return fitting


def summed(values: Array, width: int, overflows: Overflows) -> Array:
    """Saturate exact sums of products to the accumulator, and count those that left it."""
    limit = np.int64(1) << np.int64(width - 1)
    fitting = np.clip(values, -limit, limit - 1)
    overflows.add("accumulator", int(np.count_nonzero(fitting != values)))
    return fitting


# Constants in the place of quotients and real factors (section 3).


@dataclass(frozen=True)
class Multiplier:
    """A factor m · 2^−shift, m of a given number of bits."""

    m: int
    shift: int


def multiplier(factor: float, bits: int) -> Multiplier:
    """Nearest m · 2^−shift to a factor, with m's leading bit set; 0 is 0 · 2^0.

    `bits` counts the sign.
    """
    if factor == 0:
        return Multiplier(0, 0)
    mantissa, exponent = np.frexp(factor)
    m, shift = round(float(mantissa) * 2 ** (bits - 1)), bits - 1 - int(exponent)
    if abs(m) == 2 ** (bits - 1):
        m, shift = m // 2, shift - 1
    return Multiplier(m, shift)


# At the edges: between numbers and integers. No tick sees a float.


def quantized(values: Array, form: Format, name: str, overflows: Overflows) -> Array:
    """Nearest integers, ties to even, to finite floats; what has them exactly comes back."""
    scaled = np.rint(np.asarray(values, dtype=np.float64) * 2.0**form.fraction)
    fitting = np.clip(scaled, form.smallest, form.largest)
    overflows.add(name, int(np.count_nonzero(fitting != scaled)))
    return fitting.astype(np.int64)


def numbers(integers: Array, form: Format, dtype: Any = np.float64) -> Array:
    """What integers stand for, exactly if the dtype has the bits."""
    return (np.asarray(integers) * 2.0**-form.fraction).astype(dtype)
