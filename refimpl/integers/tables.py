"""Tables for what a chip does not compute: φ, its slope, the tangent, softmax's parts (section 4).

They are filled from the model's own functions, in float64, before anything runs: they are data, as
weights are. A lookup is a subtraction, a shift, a mask, and one product if it interpolates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..circuit import linearized_inverse, rate, slope
from ..configuration import Array, NetworkConfiguration
from .arithmetic import Arithmetic, Format, Overflows


@dataclass(frozen=True)
class Table:
    """Entries at equal distances of 2^cell_bits integers, from `first` on.

    Interpolated, entry i is the function at first + i · 2^cell_bits, and there is one more entry
    than cells; else it is the function in the middle of cell i.
    """

    entries: Array  # (cells + 1,) int64; the last is unused without interpolation
    first: int  # least argument; smaller ones are taken for it
    cell_bits: int
    interpolates: bool
    unfit: int = 0  # entries that their format does not have, and that are its nearest end

    @property
    def last(self) -> int:
        """Largest argument; larger ones are taken for it."""
        return self.first + ((len(self.entries) - 1) << self.cell_bits)


def looked_up(
    table: Table, arguments: Array, drop: Callable[[Array, int], Array], overflows: Overflows
) -> Array:
    """The table's value at integers, those beyond its ends counted; `drop` divides by 2^bits."""
    within = np.clip(arguments, table.first, table.last)
    overflows.add("table", int(np.count_nonzero(within != arguments)))
    address = within - np.int64(table.first)
    cells = len(table.entries) - 1
    cell = np.minimum(address >> np.int64(table.cell_bits), cells - 1)
    value = table.entries[cell]
    if not table.interpolates:
        return value
    # At the last argument the cell before it is left by its whole width.
    beyond = address - (cell << np.int64(table.cell_bits))
    rise = (table.entries[cell + 1] - value) * beyond
    return value + drop(rise, table.cell_bits)


def filled(
    function: Callable[[Array], Array],
    arithmetic: Arithmetic,
    first: int,
    range_bits: int,
    fraction: int,
    form: Format,
) -> Table:
    """Tabulate a function over 2^range_bits integers with `fraction` bits after the point."""
    bits = min(arithmetic.table_bits, range_bits)
    cell_bits, interpolates = range_bits - bits, arithmetic.interpolation == "linear"
    at = first + (np.arange((1 << bits) + 1, dtype=np.float64) * 2.0**cell_bits)
    if not interpolates:
        at = at + 2.0 ** (cell_bits - 1)
    values = np.rint(function(at * 2.0**-fraction) * 2.0**form.fraction)
    entries = np.clip(values, form.smallest, form.largest).astype(np.int64)
    unfit = int(np.count_nonzero(entries != values))
    return Table(entries, first, cell_bits, interpolates, unfit)


@dataclass(frozen=True)
class Tables:
    """All tables of a network."""

    rate_E: Table  # φ_E, of potentials
    rate_I: Table
    slope_E: Table  # φ_E'
    slope_I: Table
    offset: Table  # θ of the tangent to φ_I⁻¹, of rates
    gain: Table  # δ of it
    exponential: Table  # exp, of potentials from −16 to 0
    reciprocal: Table  # 1 / m for m from 1 to 2
    inverse_root: Table  # ν / √m for m from 1 to 4


EXPONENTIAL_RANGE = 4
"""exp of less than −2^4 is that of −2^4."""


def tables_of(network: NetworkConfiguration, arithmetic: Arithmetic) -> Tables:
    """Fill the tables of a network (section 4)."""
    u, r = arithmetic.potential, arithmetic.rate
    # After the leading bit of a number whose reciprocal or root is looked up.
    mantissa_bits = arithmetic.mantissa.fraction
    half = arithmetic.table_range + u.fraction

    def of_potential(function: Callable[[Array], Array], form: Format) -> Table:
        return filled(function, arithmetic, -(1 << half), half + 1, u.fraction, form)

    def of_rate(function: Callable[[Array], Array], form: Format) -> Table:
        # φ_I⁻¹ has no value at 0: the first entry is that of half a cell.
        bits = arithmetic.table_range + r.fraction
        least = 2.0 ** (max(bits - arithmetic.table_bits, 0) - 1 - r.fraction)
        at_least = lambda rates: function(np.maximum(rates, least))  # noqa: E731
        return filled(at_least, arithmetic, 0, bits, r.fraction, form)

    def of_mantissa(function: Callable[[Array], Array], bits: int) -> Table:
        return filled(
            function, arithmetic, 1 << mantissa_bits, bits, mantissa_bits, arithmetic.mantissa
        )

    phi_E, phi_I = network.activation_E, network.activation_I
    # The norm of the feedback is ν 2^e.
    nu = float(np.frexp(float(network.feedback.norm))[0])
    deepest = EXPONENTIAL_RANGE + u.fraction
    return Tables(
        of_potential(lambda at: rate(phi_E, at), r),
        of_potential(lambda at: rate(phi_I, at), r),
        of_potential(lambda at: slope(phi_E, at), arithmetic.slope),
        of_potential(lambda at: slope(phi_I, at), arithmetic.slope),
        of_rate(lambda rates: linearized_inverse(phi_I, rates)[0], arithmetic.tangent),
        of_rate(lambda rates: linearized_inverse(phi_I, rates)[1], arithmetic.tangent),
        filled(np.exp, arithmetic, -(1 << deepest), deepest, u.fraction, arithmetic.mantissa),
        of_mantissa(lambda m: 1 / m, mantissa_bits),
        # The table goes on to 5, as its cells are a power of two.
        of_mantissa(lambda m: nu / np.sqrt(m), mantissa_bits + 2),
    )  # fmt: skip
