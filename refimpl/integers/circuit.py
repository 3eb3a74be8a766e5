"""The microcircuit in integers: ticks of explicit Euler, controller and error (sections 5 and 6).

Arrays of int64 are (batch, units). Sums of products are exact, and rounded once, where a state
takes them in. All layers move at once, from what they were before the tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..circuit import NetworkState, Parameters
from ..configuration import Array, ConfigurationError, NetworkConfiguration, Setting
from .arithmetic import (
    Arithmetic,
    Chance,
    Format,
    Multiplier,
    Overflows,
    multiplier,
    saturated,
    shifted,
    summed,
)
from .tables import Table, Tables, looked_up, tables_of

SITES = (
    "rate_E", "rate_I", "slope_E", "slope_I", "offset", "gain", "exponential", "reciprocal",
    "inverse_root", "softmax", "error", "control", "integral", "u_E", "u_I", "u_out", "nudge",
    "J", "J W", "Q", "mean", "normalised", "tangent", "delta", "sum of products", "gradient",
    "update", "r_bar", "drive", "back",
)  # fmt: skip
"""Where bits are dropped; a site's number is 64 times its place here, plus the layer's from 0."""


@dataclass(frozen=True)
class Chip:
    """All that is fixed before anything runs."""

    network: NetworkConfiguration
    arithmetic: Arithmetic
    tables: Tables
    k_p: Multiplier
    k_i: Multiplier
    leak: Multiplier
    nudge: Multiplier
    rho: Multiplier  # ρ of the running mean
    eta: Multiplier  # learning rate
    # Exact products of matrices: all ways to them come to the same.
    multiply: Callable[[Array, Array], Array] = np.matmul


@dataclass
class Here:
    """Where in a run we are, what did not fit so far, and how bits are dropped and kept."""

    overflows: Overflows
    chance: Chance

    def at_tick(self, tick: int) -> Here:
        """The same, at a tick from 1 in open loop, counted on under control."""
        return replace(self, chance=replace(self.chance, tick=tick))

    def dropped(
        self, values: Array, shift: int | Array, rounding: str, place: str, layer: int
    ) -> Array:
        """Divide by 2^shift and round, at a place of `SITES`."""
        return shifted(values, shift, rounding, self.chance, 64 * SITES.index(place) + layer)

    def fitted(self, values: Array, form: Format, quantity: str) -> Array:
        """Saturate to a quantity's format."""
        return saturated(values, form, quantity, self.overflows)

    def accumulated(self, sums: Array, width: int) -> Array:
        """Saturate exact sums of products to an accumulator of so many bits."""
        return summed(sums, width, self.overflows)


def chip_of(network: NetworkConfiguration, arithmetic: Arithmetic) -> Chip:
    """Fill tables and constants; ConfigurationError names what integers do not admit."""
    refuse_what_has_no_integers(network, arithmetic)

    def constant(factor: Setting) -> Multiplier:
        return multiplier(float(factor), arithmetic.multiplier)

    controller = network.controller
    chip = Chip(
        network,
        arithmetic,
        tables_of(network, arithmetic),
        constant(controller.k_p),
        constant(controller.k_i),
        constant(controller.leak),
        constant(network.feedback.nudge),
        constant(network.mean_inhibition.rate),
        constant(network.optimizer.learning_rate),
    )
    refuse_constants_beside_which_nothing_fits(chip)
    return chip


def refuse_constants_beside_which_nothing_fits(chip: Chip) -> None:
    """Refuse factors so small, or so unlike, that terms brought to one point leave 63 bits.

    A term is its bits, those of its factor among them, and its bits after the point.
    """
    form, bits = chip.arithmetic.format_of, chip.arithmetic.multiplier
    e, z, u, r = (form(name) for name in ("error", "integral", "potential", "rate"))
    difference = max(e.width + max(u.fraction - e.fraction, 0),
                     u.width + max(e.fraction - u.fraction, 0)) + 1  # fmt: skip
    sums = {
        "controller.k_p and k_i are": [
            (e.width + bits, e.fraction + chip.k_p.shift, chip.k_p.m),
            (z.width + bits, z.fraction + chip.k_i.shift, chip.k_i.m),
        ],
        "controller.leak is": [
            (e.width, e.fraction, 1),
            (z.width + bits, z.fraction + chip.leak.shift, chip.leak.m),
        ],
        "feedback.nudge is": [
            (u.width, u.fraction, 1),
            (difference + bits, max(e.fraction, u.fraction) + chip.nudge.shift, chip.nudge.m),
        ],
        "mean_inhibition.rate is": [
            (r.width, r.fraction, 1),
            (r.width + 1 + bits, r.fraction + chip.rho.shift, chip.rho.m),
        ],
    }
    for name, terms in sums.items():
        own = [(width, fraction) for width, fraction, m in terms if m]
        point = max((fraction for _, fraction in own), default=0)
        most = max((width + point - fraction for width, fraction in own), default=0) + 1
        if most > 63:
            raise ConfigurationError(
                f"{name} too small in integers, or too unlike: a sum may need {most} bits, and "
                "sums have 63"
            )


def refuse_what_has_no_integers(network: NetworkConfiguration, arithmetic: Arithmetic) -> None:
    """Refuse Adam, a norm that a shift does not have, and sums that 64 bits do not hold."""
    if network.optimizer.name != "sgd":
        raise ConfigurationError(
            f"optimizer.name is {network.optimizer.name}: in integers parameters descend by sgd"
        )
    norm = float(network.feedback.norm)
    if arithmetic.normalization == "power-of-two" and np.frexp(norm)[0] != 0.5:
        raise ConfigurationError(
            f"feedback.norm is {norm:g}: arithmetic.normalization power-of-two needs a power of 2"
        )
    form = dict(arithmetic.formats())
    n_out, widest = network.sizes[-1], max(network.sizes[1:-1])
    sums = [
        ("input", "weight", network.sizes[0]),
        ("rate", "weight", widest),
        ("control", "feedback", n_out),
        ("sensitivity", "weight", widest),
        ("sensitivity", "sensitivity", n_out * widest),
        ("delta", "weight", max(n_out, widest)),
    ]
    for first, second, n in sums:
        bits = form[first].width + form[second].width - 2 + int(np.ceil(np.log2(max(n, 1)))) + 1
        if bits > 63:
            raise ConfigurationError(
                f"arithmetic: {n} products of {first} ({form[first]}) and {second} "
                f"({form[second]}) may need {bits} bits: the sums here have 63"
            )
    # Terms of a tick are brought to one point: to that of its sums of products.
    point = max(
        max(form["input"].fraction, form["rate"].fraction) + form["weight"].fraction,
        form["control"].fraction + form["feedback"].fraction,
    )
    for name in ("potential", "rate", "control", "bias"):
        bits = form[name].width + max(point - form[name].fraction, 0) + 2
        if bits > 63:
            raise ConfigurationError(
                f"arithmetic.{name} is {form[name]}: beside sums with {point} bits after the point "
                f"it may need {bits} bits, and they have 63"
            )
    dropped = point - form["potential"].fraction + max(arithmetic.shift_E, arithmetic.shift_I)
    if dropped > 62:
        raise ConfigurationError(
            f"arithmetic: a tick would drop {dropped} bits of a change, and there are 62; take "
            "fewer after the point, or smaller shifts"
        )
    sum_fraction = min(form["input"].fraction, form["rate"].fraction) + form["weight"].fraction
    for name in ("bias", "potential"):
        if form[name].fraction > sum_fraction:
            raise ConfigurationError(
                f"arithmetic.{name} is {form[name]}: sums of products have {sum_fraction} bits "
                "after the point, and cannot take in more"
            )


def rounded(
    chip: Chip, values: Array, fraction: int, quantity: str, here: Here, place: str, layer: int = 0
) -> Array:
    """Bring values with so many bits after the point into a quantity's format."""
    form, rounding = chip.arithmetic.format_of(quantity), chip.arithmetic.rounding
    fewer = here.dropped(values, fraction - form.fraction, rounding, place, layer)
    return here.fitted(fewer, form, quantity)


def tabulated(chip: Chip, table: str, values: Array, here: Here, layer: int = 0) -> Array:
    """Look values up in a table by its name."""
    found: Table = getattr(chip.tables, table)

    def drop(rises: Array, shift: int) -> Array:
        return here.dropped(rises, shift, chip.arithmetic.rounding, table, layer)

    return looked_up(found, values, drop, here.overflows)


def times(factor: Multiplier, values: Array, fraction: int) -> tuple[Array, int]:
    """Exact product by a constant, and its bits after the point."""
    return values * np.int64(factor.m), fraction + factor.shift


def added(*terms: tuple[Array, int]) -> tuple[Array, int]:
    """Exact sum of terms that have their own bits after the point."""
    fraction = max(f for _, f in terms)
    total = sum(values << np.int64(fraction - f) for values, f in terms)
    return np.asarray(total), fraction


# Drive and ticks (section 5).


def drive(
    chip: Chip, h: Array, of: str, W: Array, b: Array | None, here: Here
) -> tuple[Array, int]:
    """h W + b, exact in the accumulator, and its bits after the point; h is of quantity `of`."""
    form = chip.arithmetic.format_of
    fraction = form(of).fraction + form("weight").fraction
    a = chip.multiply(h, W)
    if b is not None:
        a = a + (b << np.int64(fraction - form("bias").fraction))
    return here.accumulated(a, chip.arithmetic.accumulator), fraction


def resting_state(parameters: Parameters, batch: int) -> NetworkState:
    """All zero."""
    hidden = [np.zeros((batch, len(b)), dtype=np.int64) for b in parameters.biases]
    u_out = np.zeros((batch, parameters.readout.shape[-1]), dtype=np.int64)
    return NetworkState(tuple(hidden), tuple(h.copy() for h in hidden), u_out, u_out.copy())


def tick(
    chip: Chip,
    parameters: Parameters,
    a_1: tuple[Array, int],
    state: NetworkState,
    control: tuple[tuple[Array, ...], Array] | None,
    here: Here,
) -> NetworkState:
    """One step of explicit Euler; `control` is Q and target, or None in open loop.

    u_E takes 2^−shift_E of a − u_E − φ_I(u_I), u_I takes 2^−shift_I of φ_E(u_E) − c Q − u_I,
    u_out takes 2^−shift_E of its sum, z takes 2^−shift_c of e − leak z.
    """
    about, form = chip.arithmetic, chip.arithmetic.format_of
    f_u, f_r = form("potential").fraction, form("rate").fraction
    r_E = [tabulated(chip, "rate_E", u, here, l) for l, u in enumerate(state.u_E)]
    r_I = [tabulated(chip, "rate_I", u, here, l) for l, u in enumerate(state.u_I)]
    if control is None:
        c, e, z = None, None, state.z
    else:
        e = error(chip, state.u_out, control[1], here)
        c = control_signal(chip, e, state.z, here)
        z = moved(chip, state.z, "integral", about.shift_c, here, "integral", 0,
                  (e, form("error").fraction), *_leaked(chip, state.z))  # fmt: skip
    u_E, u_I = [], []
    for l, (u, v) in enumerate(zip(state.u_E, state.u_I, strict=True)):
        a = a_1 if l == 0 else drive(
            chip, r_E[l - 1], "rate", parameters.weights[l], parameters.biases[l], here
        )  # fmt: skip
        u_E.append(moved(chip, u, "potential", about.shift_E, here, "u_E", l,
                         a, (-u, f_u), (-r_I[l], f_r)))  # fmt: skip
        terms = [(r_E[l], f_r), (-v, f_u)]
        if c is not None and control is not None:
            terms.append(disinhibition(chip, c, control[0][l], here))
        u_I.append(moved(chip, v, "potential", about.shift_I, here, "u_I", l, *terms))
    terms = [drive(chip, r_E[-1], "rate", parameters.readout, None, here), (-state.u_out, f_u)]
    if c is not None and chip.network.feedback.to_readout:
        terms.append((c, form("control").fraction))
    u_out = moved(chip, state.u_out, "potential", about.shift_E, here, "u_out", 0, *terms)
    return NetworkState(tuple(u_E), tuple(u_I), u_out, z)


def moved(
    chip: Chip,
    state: Array,
    quantity: str,
    shift: int,
    here: Here,
    place: str,
    layer: int,
    *terms: tuple[Array, int],
) -> Array:
    """Take 2^−shift of the exact sum of the terms into a state, rounded once."""
    form, (change, fraction) = chip.arithmetic.format_of(quantity), added(*terms)
    by = fraction - form.fraction + shift
    step = here.dropped(change, by, chip.arithmetic.rounding, place, layer)
    return here.fitted(state + step, form, quantity)


def disinhibition(chip: Chip, c: Array, Q: Array, here: Here) -> tuple[Array, int]:
    """−c Q, exact in the accumulator, and its bits after the point."""
    form = chip.arithmetic.format_of
    cQ = np.sum(c[:, :, None] * Q, axis=1)
    cQ = here.accumulated(cQ, chip.arithmetic.accumulator)
    return -cQ, form("control").fraction + form("feedback").fraction


# Controller and error (section 6).


def control_signal(chip: Chip, e: Array, z: Array, here: Here) -> Array:
    """c = k_p e + k_i z, rounded once."""
    form = chip.arithmetic.format_of
    terms = added(
        times(chip.k_p, e, form("error").fraction), times(chip.k_i, z, form("integral").fraction)
    )
    return rounded(chip, *terms, "control", here, "control")


def _leaked(chip: Chip, z: Array) -> list[tuple[Array, int]]:
    return [times(chip.leak, -z, chip.arithmetic.integral.fraction)]


def error(chip: Chip, u_out: Array, target: Array, here: Here) -> Array:
    """e = target − u_out, or target − softmax(u_out)."""
    form = chip.arithmetic.format_of
    if chip.network.loss == "mse":
        difference = added((target, form("error").fraction), (-u_out, form("potential").fraction))
        return rounded(chip, *difference, "error", here, "error")
    e = target - softmax(chip, u_out, here)
    return here.fitted(e, form("error"), "error")


def softmax(chip: Chip, u_out: Array, here: Here) -> Array:
    """exp(u) / Σ exp(u) by two tables: exp of u less the largest, and 1 / m of the sum m 2^p."""
    form = chip.arithmetic.format_of
    below = u_out - np.max(u_out, axis=-1, keepdims=True)
    # Of what lies far below the largest exp is 0: no overflow.
    uncounted = replace(here, overflows=Overflows())
    powers = tabulated(chip, "exponential", below, uncounted)
    m, p = mantissa_of(np.sum(powers, axis=-1, keepdims=True), 1, form("mantissa").fraction)
    reciprocal = tabulated(chip, "reciprocal", m, here)
    # Σ exp = m 2^p in units of the powers, so that the units cancel.
    product, fraction = powers * reciprocal, form("mantissa").fraction + p
    shift = fraction - form("error").fraction
    share = here.dropped(product, shift, chip.arithmetic.rounding, "softmax", 0)
    return here.fitted(share, form("error"), "error")


def mantissa_of(values: Array, step: int, bits: int) -> tuple[Array, Array]:
    """Write integers above 0 as m 2^p: m from 1 to 2^step with so many bits, p a multiple of step.

    m loses its lower bits, as by a shift to the right.
    """
    lengths = bit_length(values) - 1
    p = lengths - lengths % step
    return shifted(values, p - bits, "floor"), p


def bit_length(values: Array) -> Array:
    """Bits of integers of at least 1, which hardware finds by counting leading zeros."""
    length = np.zeros_like(values)
    for bits in (32, 16, 8, 4, 2, 1):
        has_more = (values >> np.int64(bits)) > 0
        length = length + np.where(has_more, bits, 0)
        values = np.where(has_more, values >> np.int64(bits), values)
    return length + 1


def closed_loop_target(chip: Chip, u_out_open: Array, y: Array, here: Here) -> Array:
    """The label, or where weak feedback nudges the open loop's output to."""
    form, feedback = chip.arithmetic.format_of, chip.network.feedback
    if feedback.strong:
        return y
    f_e, f_u = form("error").fraction, form("potential").fraction
    if chip.network.loss == "mse":
        difference, fraction = added((y, f_e), (-u_out_open, f_u))
        nudged = added((u_out_open, f_u), times(chip.nudge, difference, fraction))
        return rounded(chip, *nudged, "error", here, "nudge")
    difference = y - softmax(chip, u_out_open, here)
    nudged = added((u_out_open, f_u), times(chip.nudge, difference, f_e))
    return softmax(chip, rounded(chip, *nudged, "potential", here, "nudge"), here)


# End states.


def open_loop(
    chip: Chip,
    parameters: Parameters,
    x: Array,
    here: Here,
    ticked: Callable[..., NetworkState] = tick,
) -> Iterator[NetworkState]:
    """The states after each tick from rest; ticks are numbered from 1."""
    a_1 = drive(chip, x, "input", parameters.weights[0], parameters.biases[0], here)
    state = resting_state(parameters, len(x))
    for number in range(1, chip.arithmetic.ticks + 1):
        state = ticked(chip, parameters, a_1, state, None, here.at_tick(number))
        yield state


def closed_loop(
    chip: Chip,
    parameters: Parameters,
    x: Array,
    Q: tuple[Array, ...],
    target: Array,
    start: NetworkState,
    here: Here,
    ticked: Callable[..., NetworkState] = tick,
) -> Iterator[NetworkState]:
    """The states after each tick under control, from the open loop's last; z begins at 0."""
    a_1 = drive(chip, x, "input", parameters.weights[0], parameters.biases[0], here)
    state = replace(start, z=np.zeros_like(start.z))
    n = chip.arithmetic.ticks
    for number in range(n + 1, 2 * n + 1):
        state = ticked(chip, parameters, a_1, state, (Q, target), here.at_tick(number))
        yield state


def last(states: Iterator[NetworkState]) -> NetworkState:
    """The state after all ticks."""
    for state in states:
        end = state
    return end
