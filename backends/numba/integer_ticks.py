"""Ticks and products in compiled code, with the integers of `refimpl.integers`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...refimpl import NetworkState, Parameters
from ...refimpl.integers import ROUNDINGS, SITES, Chip, Here, Overflows, Table, drive
from .kernels.integers import IntegerPlan, IntegerTable, integer_products, integer_ticks
from .threads import ThreadTeam


def shares(n: int, threads: int) -> list[tuple[int, int]]:
    """Cut n rows into as many parts, none empty."""
    ends = np.linspace(0, n, min(threads, n) + 1).astype(int).tolist()
    return list(pairwise(ends))


class CompiledTicks:
    """Samples shared among threads; integers are the same on any number of them."""

    def __init__(self, threads: int) -> None:
        self._threads, self._team = threads, ThreadTeam(threads)

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Exact product of (..., n) and (n, m)."""
        rows = np.ascontiguousarray(a.reshape(-1, a.shape[-1]), dtype=np.int32)
        columns = np.ascontiguousarray(b, dtype=np.int32)
        out = np.empty((len(rows), columns.shape[1]), dtype=np.int64)

        def work(share: tuple[int, int]) -> None:
            integer_products(rows, columns, out, *share)

        self._team.share(work, shares(len(rows), self._threads))
        return out.reshape(*a.shape[:-1], columns.shape[1])

    def open_loop(
        self, chip: Chip, parameters: Parameters, x: np.ndarray, here: Here
    ) -> NetworkState:
        """The state after all ticks from rest."""
        batch, sizes = len(x), chip.network.sizes
        units, n_out = sum(sizes[1:-1]), sizes[-1]
        state = [np.zeros((batch, n), dtype=np.int64) for n in (units, units, n_out, n_out)]
        nothing = np.zeros((1, n_out, units), np.int32), np.zeros((batch, n_out), np.int64)
        return self._run(chip, parameters, x, state, nothing, False, here)

    def closed_loop(
        self,
        chip: Chip,
        parameters: Parameters,
        x: np.ndarray,
        Q: tuple[np.ndarray, ...],
        target: np.ndarray,
        start: NetworkState,
        here: Here,
    ) -> NetworkState:
        """The state after all ticks under control."""
        state = [np.concatenate(layers, axis=-1) for layers in (start.u_E, start.u_I)]
        state += [start.u_out.copy(), np.zeros_like(start.u_out)]
        strength = np.concatenate(Q, axis=-1).astype(np.int32)
        control = strength, np.ascontiguousarray(target)
        return self._run(chip, parameters, x, state, control, True, here)

    def _run(
        self,
        chip: Chip,
        parameters: Parameters,
        x: np.ndarray,
        state: list[np.ndarray],
        control: tuple[np.ndarray, np.ndarray],
        is_closed: bool,
        here: Here,
    ) -> NetworkState:
        plan, tables = plan_of(chip), tables_of(chip)
        sizes, n_ticks = np.array(chip.network.sizes), chip.arithmetic.ticks
        weights = [*parameters.weights, parameters.readout]
        flat = np.concatenate([W.reshape(-1) for W in weights]).astype(np.int32)
        biases = np.concatenate(parameters.biases)
        a_1, _ = drive(chip, x, "input", parameters.weights[0], parameters.biases[0], here)
        first = n_ticks + 1 if is_closed else 1

        def work(share: tuple[int, int]) -> np.ndarray:
            counts = np.zeros(len(Overflows.NAMES), dtype=np.int64)
            integer_ticks(
                plan, *tables, sizes, flat, biases, a_1, *state, *control, is_closed,
                first, n_ticks, here.chance.step, counts, *share,
            )  # fmt: skip
            return counts

        for counts in self._team.share(work, shares(len(x), self._threads)):
            here.overflows.counts += counts
        u_E, u_I, u_out, z = state
        ends = np.cumsum(sizes[1:-2])
        layers = [
            tuple(np.ascontiguousarray(p) for p in np.split(u, ends, axis=-1)) for u in (u_E, u_I)
        ]
        return NetworkState(layers[0], layers[1], u_out, z)


def plan_of(chip: Chip) -> IntegerPlan:
    """All that a tick needs to know, as plain numbers."""
    about, names = chip.arithmetic, Overflows.NAMES

    def bits(quantity: str) -> int:
        return about.format_of(quantity).fraction

    def limit(quantity: str) -> int:
        return about.format_of(quantity).largest

    return IntegerPlan(
        rounding=ROUNDINGS.index(about.rounding),
        seed=about.seed,
        shift_E=about.shift_E,
        shift_I=about.shift_I,
        shift_c=about.shift_c,
        f_input=bits("input"),
        f_weight=bits("weight"),
        f_bias=bits("bias"),
        f_u=bits("potential"),
        f_r=bits("rate"),
        f_e=bits("error"),
        f_z=bits("integral"),
        f_c=bits("control"),
        f_Q=bits("feedback"),
        f_mantissa=bits("mantissa"),
        u_limit=limit("potential"),
        e_limit=limit("error"),
        z_limit=limit("integral"),
        c_limit=limit("control"),
        accumulator=1 << (about.accumulator - 1),
        k_p=chip.k_p.m,
        k_p_shift=chip.k_p.shift,
        k_i=chip.k_i.m,
        k_i_shift=chip.k_i.shift,
        leak=chip.leak.m,
        leak_shift=chip.leak.shift,
        is_mse=chip.network.loss == "mse",
        to_readout=chip.network.feedback.to_readout,
        **{f"s_{place}": 64 * SITES.index(place)
           for place in ("error", "softmax", "control", "integral", "u_E", "u_I", "u_out")},
        **{f"n_{name}": names.index(name)
           for name in ("potential", "error", "integral", "control", "accumulator", "table")},
    )  # fmt: skip


def tables_of(chip: Chip) -> list[IntegerTable]:
    """The tables of a tick, in the kernel's order."""

    def compiled(name: str) -> IntegerTable:
        table: Table = getattr(chip.tables, name)
        site = 64 * SITES.index(name)
        return IntegerTable(table.entries, table.first, table.cell_bits, table.interpolates, site)

    return [compiled(name) for name in ("rate_E", "rate_I", "exponential", "reciprocal")]
