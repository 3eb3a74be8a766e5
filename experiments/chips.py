"""`disinhib arithmetic`: what a network asks of a chip in integers.

How large its quantities are and what formats they need (`probe`), how far a chip's numbers are from
those of floating point, and why (`distance`), and what they cost (`cost`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ..backends import NumpyBackend, backend_class
from ..refimpl import (
    ConfigurationError,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Solver,
    control_signal,
    error,
    estimated_inhibitory_potential,
    feedback_weights,
    linearized_inverse,
    map_arrays,
    rate,
    slope,
)
from ..refimpl.integers import QUANTITIES, Arithmetic, Format, arithmetic
from .output import say, tell_user, terminal_console, working
from .trained import TrainedNetwork, load
from .training import parse_arithmetic, soft_labels

console = terminal_console()
HEADROOM = 1.25
"""How much larger than what was seen a format is made."""

# How large the quantities are.


@dataclass(frozen=True)
class QuantityRange:
    """How large the numbers of a quantity are, and the format that holds them.

    Parameters
    ----------
    quantity : str
        Of `refimpl.integers.QUANTITIES`.
    largest, median : float
        Of their magnitudes; the median is of those that are not 0.
    form : Format
        Of the width asked for, with room for a quarter more.
    """

    quantity: str
    largest: float
    median: float
    form: Format

    @property
    def median_bits(self) -> float:
        """Bits that the median has in this format: log2 of it in units of the last bit."""
        return float(np.log2(self.median * 2.0**self.form.fraction)) if self.median else 0.0


def probed_ranges(network: TrainedNetwork, width: int, samples: int) -> list[QuantityRange]:
    """Run samples of the training set in floating point, and look at all that integers would hold.

    Raises
    ------
    ConfigurationError
        The network has no circuit (backprop), or there are not so many samples.
    """
    configuration = network.configuration
    if configuration.rule == "backprop":
        raise ConfigurationError("rule is backprop: its network has no inhibition and no control")
    Format(width, 0)
    x, y = _training_samples(network, samples)
    found = dict[str, list[np.ndarray]]()
    for quantity, array in _values(network, x, y):
        found.setdefault(quantity, []).append(np.abs(array).ravel())
    return [_range(name, np.concatenate(found[name]), width) for name in QUANTITIES]


def _training_samples(network: TrainedNetwork, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of the first of the training set, in float64."""
    data, configuration = network.data(), network.configuration
    if not 1 <= samples <= len(data.train.images):
        raise ConfigurationError(
            f"--samples is {samples}: 1 to {len(data.train.images)} are in the training set"
        )
    x = np.asarray(data.inputs(data.train.images[:samples]), dtype=np.float64)
    y = soft_labels(configuration, data.train.labels[:samples], data.n_classes)
    return x, np.asarray(y, dtype=np.float64)


def _range(quantity: str, magnitudes: np.ndarray, width: int) -> QuantityRange:
    largest, seen = float(magnitudes.max()), magnitudes[magnitudes > 0]
    whole_bits = int(np.ceil(np.log2(largest * HEADROOM))) if largest else 0
    fraction = int(np.clip(width - 1 - whole_bits, 0, 31))
    median = float(np.median(seen)) if len(seen) else 0.0
    return QuantityRange(quantity, largest, median, Format(width, fraction))


def _values(
    network: TrainedNetwork, x: np.ndarray, y: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Every number of a learning step, by its quantity."""
    backend, configuration = network.backend, network.backend.configuration
    x, y = (array.astype(backend.dtype) for array in (x, y))
    learner = backend.learner()
    parameters = learner.parameters
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    opened, _ = backend.open_loop(x)
    r_bar = backend.mean_inhibition(opened)
    Q, target = backend.feedback_weights(opened), backend.closed_loop_target(opened, y)
    closed, _ = backend.closed_loop(x, Q, target, opened)
    e = error(configuration.loss, closed.u_out, target)
    # The error is largest before control has begun.
    first = error(configuration.loss, opened.u_out, target)
    g = backend.gradients(x, y, opened, closed, r_bar)
    yield from (("input", x), ("error", first), ("error", e), ("error", target))
    yield from (("weight", W) for W in (*parameters.weights, parameters.readout))
    yield from (("bias", b) for b in parameters.biases)
    for state in (opened, closed):
        yield from (("potential", u) for u in (*state.u_E, *state.u_I, state.u_out))
        yield from (("rate", rate(phi_E, u)) for u in state.u_E)
        yield from (("rate", rate(phi_I, u)) for u in state.u_I)
        yield from (("slope", slope(phi_E, u)) for u in state.u_E)
        yield from (("slope", slope(phi_I, u)) for u in state.u_I)
    yield "integral", closed.z
    yield "control", control_signal(configuration.controller, e, closed.z)
    yield from (("sensitivity", J) for J in _sensitivities(configuration, parameters, opened))
    yield from (("feedback", Q_l) for Q_l in Q)
    for r in r_bar:
        yield from (("tangent", part) for part in linearized_inverse(phi_I, r))
    yield from (("delta", delta) for delta in _deltas(configuration, parameters, closed, r_bar))
    yield from (("gradient", array) for array in (*g.weights, *g.biases, g.readout))
    # Entries of exp, 1 / m and 1 / √m are up to 1 in every network.
    yield "mantissa", np.array([1.0, 0.5])


def _sensitivities(
    configuration: NetworkConfiguration, parameters: Parameters, opened: NetworkState
) -> Iterator[np.ndarray]:
    """J of each layer and Q before it is averaged, clipped and normalised."""
    plain = replace(configuration.feedback, average=False, clip=None, normalize=False)
    raw = feedback_weights(dataclasses.replace(configuration, feedback=plain), parameters, opened)
    for Q, u_I in zip(raw, opened.u_I, strict=True):
        yield Q
        yield Q / slope(configuration.activation_I, u_I)[:, None, :]


def _deltas(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    closed: NetworkState,
    r_bar: tuple[np.ndarray, ...],
) -> Iterator[np.ndarray]:
    phi = configuration.activation_E
    for u_E, u_I, r in zip(closed.u_E, closed.u_I, r_bar, strict=True):
        estimate = estimated_inhibitory_potential(configuration, u_I, r)
        yield (estimate - rate(phi, u_E)) * slope(phi, u_E)
    yield rate(phi, closed.u_E[-1]) @ parameters.readout - closed.u_out


# How far integers are from floating point.

PARTS = ("ticks", "tables", "rounding", "all")
"""What sets integers apart: dynamics cut into ticks, functions into tables, numbers into bits."""
TABLE_SETTINGS = ("table_bits", "table_range", "interpolation")
TICK_SETTINGS = ("ticks", "shift_E", "shift_I", "shift_c")

WIDER = {
    **dict.fromkeys(("weight", "bias", "control"), "27.22"),
    **dict.fromkeys(("potential", "integral"), "32.22"),
    "rate": "29.22",
    "sensitivity": "25.22",
}
"""What the preset wide has room for a network at its start for, a trained one goes beyond."""

FOR_FLOATS = "the widest, so that ticks and tables are not told from that"

Quantities = dict[str, np.ndarray]


@dataclass(frozen=True)
class Distance:
    """How far a learning step in integers is from one in float64.

    Parameters
    ----------
    parts : dict
        By quantity and then by part (`PARTS`): root mean square of the difference over that of the
        quantity itself.
    unfit, beyond : dict
        How many values did not fit the chip's formats, and those that stand for floating point,
        by quantity; where the latter has any, ticks and tables are not told from them.
    """

    parts: dict[str, dict[str, float]]
    unfit: dict[str, int]
    beyond: dict[str, int]


def distances(network: TrainedNetwork, about: Arithmetic, samples: int) -> Distance:
    """Take a step four times, each with one thing more of the chip's, and compare.

    End states as float64 finds them, the chip's ticks, its tables, all its formats and rounding. A
    part is the distance from one to the next, and all from the first to the last.

    Parameters
    ----------
    network : TrainedNetwork
        Its parameters are rounded to the chip's format in the last step alone.
    about : Arithmetic
        The chip.
    samples : int
        Of the training set, one batch.

    Raises
    ------
    ConfigurationError
        As `probed_ranges`, or integers do not have what is configured.
    """
    rounded, tabulated, ticking = _chips(about)
    taken = [_learning_step(network, one, samples) for one in (None, ticking, tabulated, rounded)]
    steps = [step for step, _ in taken]
    pairs = dict(zip(PARTS, [*pairwise(steps), (steps[0], steps[-1])], strict=True))
    parts = {
        name: {part: _apart(one[name], two[name], exact) for part, (one, two) in pairs.items()}
        for name, exact in steps[0].items()
    }
    return Distance(parts, taken[-1][1], taken[1][1])


def distances_by_format(
    network: TrainedNetwork, about: Arithmetic, samples: int
) -> dict[str, dict[str, float]]:
    """Which format costs how much: the part of rounding that each quantity has by itself.

    Everything else is as wide as can be. By the format's quantity and then by what is off, as of
    `distances`.
    """
    _, wide, _ = _chips(about)
    exact, _ = _learning_step(network, wide, samples)
    found = {}
    for quantity in QUANTITIES:
        changed: dict[str, Any] = {quantity: about.format_of(quantity)}
        one = replace(wide, rounding=about.rounding, **changed)
        step, _ = _learning_step(network, one, samples)
        found[quantity] = {name: _apart(exact[name], step[name], exact[name]) for name in exact}
    return found


def _chips(about: Arithmetic) -> tuple[Arithmetic, Arithmetic, Arithmetic]:
    """A chip, one of its tables and ticks in wide formats, and one of its ticks alone."""
    ticking = arithmetic("wide", **WIDER, **{name: getattr(about, name) for name in TICK_SETTINGS})
    tables = {name: getattr(about, name) for name in TABLE_SETTINGS}
    return about, replace(ticking, **tables), ticking


def _learning_step(
    network: TrainedNetwork, about: Arithmetic | None, samples: int
) -> tuple[Quantities, dict[str, int]]:
    """What a step gives, on a chip or in float64 at the fixed point; and what did not fit."""
    x, y = _training_samples(network, samples)
    learner, learnt = network.backend.learner(), network.backend.configuration
    plain = replace(learnt, optimizer=replace(learnt.optimizer, name="sgd"))
    parameters = map_arrays(lambda array: array.astype(np.float64), learner.parameters)
    backend: Any
    if about is None:
        backend = NumpyBackend(plain, parameters, np.float64, Solver())
    else:
        integers: type = backend_class("integer")
        backend = integers(plain, parameters, np.float64, Solver(), arithmetic=about)
    opened, _ = backend.open_loop(x)
    r_bar = backend.mean_inhibition(opened)
    Q, target = backend.feedback_weights(opened), backend.closed_loop_target(opened, y)
    closed, _ = backend.closed_loop(x, Q, target, opened)
    g = backend.gradients(x, y, opened, closed, r_bar)
    found = {
        "u_E, open loop": np.concatenate(opened.u_E, axis=-1),
        "u_out, open loop": opened.u_out,
        "Q": np.concatenate(Q, axis=-1),
        "u_I, under control": np.concatenate(closed.u_I, axis=-1),
        "u_out, under control": closed.u_out,
        "g of hidden layers": np.concatenate([W.ravel() for W in g.weights]),
        "g of the readout": g.readout,
    }
    return found, {} if about is None else backend.take_overflows()


def _apart(one: np.ndarray, two: np.ndarray, size_of: np.ndarray) -> float:
    return float(np.linalg.norm(one - two) / np.linalg.norm(size_of))


# What it costs.


@dataclass(frozen=True)
class Cost:
    """What a part of a learning step takes on a chip, for one sample.

    Nothing is kept beside the formats' own memories: each operand is read where it is used.

    Parameters
    ----------
    part : str
        Of the step.
    multiplications, lookups : int
        Products, those of interpolation among them; tables read.
    weight_bits, state_bits : int
        Weights, feedback weights and gradients moved; potentials, integrals and inputs moved.
    """

    part: str
    multiplications: int
    lookups: int
    weight_bits: int
    state_bits: int


def costs(network: NetworkConfiguration, about: Arithmetic) -> list[Cost]:
    """Count what one sample costs, part by part; what is done once a batch is left out.

    The first layer's drive x W + b is taken once a sample, every other product in every tick. A
    state is read and written once a tick, a weight read once where it multiplies. Gradients are
    read and written once a sample, in the accumulator. Backprop has its two ways.
    """
    n_in, *hidden, n_out = network.sizes
    width = {name: about.format_of(name).width for name in QUANTITIES}
    first, units = n_in * hidden[0], sum(hidden)
    upper = sum(a * b for a, b in zip(hidden, [*hidden[1:], n_out], strict=True))
    synapses = first + upper
    entry = 2 if about.interpolation == "linear" else 1
    a_lookup = entry - 1
    softmax = n_out if network.loss != "mse" else 0
    lookups_of_softmax = n_out + 1 if softmax else 0
    gradients = 2 * synapses * about.accumulator
    if network.rule == "backprop":
        back = upper + units
        return [
            Cost("forward", synapses + a_lookup * units, units, synapses * width["weight"],
                 (n_in * width["input"] + units * width["rate"])),
            Cost("backward", back + softmax + a_lookup * (units + lookups_of_softmax),
                 units + lookups_of_softmax, upper * width["weight"], units * width["delta"]),
            Cost("gradients", synapses, 0, gradients,
                 n_in * width["input"] + units * width["rate"]),
        ]  # fmt: skip
    T, fed_back = about.ticks, units * n_out
    states = 2 * (2 * units + n_out) * width["potential"]
    opened = Cost(
        "open loop",
        first + T * (upper + 2 * units * a_lookup),
        2 * T * units,
        (first + T * upper) * width["weight"],
        n_in * width["input"] + T * states,
    )
    chain = n_out * (sum(a * b for a, b in pairwise(hidden)) + 2 * units)
    norm = 2 * fed_back if network.feedback.normalize else 0
    J = Cost(
        "feedback weights",
        chain + norm + 2 * units * a_lookup,
        2 * units,
        (upper * width["weight"] + fed_back * width["feedback"]),
        2 * units * width["potential"],
    )
    control = 3 * n_out + softmax
    closed = Cost(
        "closed loop",
        T * (upper + fed_back + control + (2 * units + lookups_of_softmax) * a_lookup),
        T * (2 * units + lookups_of_softmax),
        T * (upper * width["weight"] + fed_back * width["feedback"]),
        T * (states + 2 * n_out * width["integral"]),
    )
    tangent = 0 if network.rule == "exact-inverse" else units
    learning = Cost(
        "gradients",
        synapses + units + tangent + hidden[-1] * n_out + 3 * units * a_lookup,
        3 * units,
        gradients,
        n_in * width["input"] + 2 * units * width["potential"],
    )
    return [opened, J, closed, learning]


# The commands.


def probe_run(run: Path, width: int, samples: int) -> None:
    """Print the ranges, and the formats as settings of a run."""
    with working(console, f"probing {run}"):
        ranges = probed_ranges(load(run, notify=tell_user), width, samples)
    table = Table(title=f"{samples} samples, {width} bits")
    for heading in ("quantity", "symbols", "largest", "median", "format", "bits of the median"):
        table.add_column(heading, justify="left" if heading in ("quantity", "symbols") else "right")
    for one in ranges:
        table.add_row(
            one.quantity, QUANTITIES[one.quantity], f"{one.largest:.3g}", f"{one.median:.3g}",
            str(one.form), f"{one.median_bits:.1f}",
        )  # fmt: skip
    console.print(table)
    for line in ("[arithmetic]", *(f'{one.quantity} = "{one.form}"' for one in ranges)):
        say(console, line)


def report_distance(
    run: Path, preset: str | None, given_settings: Iterable[str], samples: int, each: bool
) -> None:
    """Print how far integers are from floating point, and why."""
    with working(console, f"learning from {samples} samples in integers and in floating point"):
        network = load(run, notify=tell_user)
        if network.configuration.rule == "backprop":
            raise ConfigurationError("rule is backprop: its network has no ticks")
        about = _chip_of(network, preset, given_settings)
        found = distances(network, about, samples)
        by_format = distances_by_format(network, about, samples) if each else {}
    table = Table(title=f"off by, of its root mean square ({samples} samples)")
    for heading in ("", *PARTS):
        table.add_column(heading, justify="right" if heading else "left")
    for name, parts in found.parts.items():
        table.add_row(name, *(f"{parts[part]:.1e}" for part in PARTS))
    console.print(table)
    for unfit, of_what in ((found.unfit, "the chip's formats"), (found.beyond, FOR_FLOATS)):
        if unfit:
            counts = ", ".join(f"{n:,} of {name}" for name, n in unfit.items())
            say(console, f"Did not fit {of_what}: {counts}.")
    if by_format:
        names = list(found.parts)
        table = Table(title="of rounding, by one quantity's format, all others wide")
        for heading in ("quantity", "format", *names):
            table.add_column(heading, justify="left" if heading == "quantity" else "right")
        for quantity, off in by_format.items():
            form = str(about.format_of(quantity))
            table.add_row(
                quantity, form, *(f"{off[name]:.0e}" if off[name] else "0" for name in names)
            )
        console.print(table)


def report_cost(run: Path, preset: str | None, given_settings: Iterable[str]) -> None:
    """Print what one sample costs."""
    network = load(run, notify=tell_user)
    about = _chip_of(network, preset, given_settings)
    parts = costs(network.backend.configuration, about)
    total = Cost("all", *(sum(getattr(one, name) for one in parts) for name in FIGURES))
    table = Table(
        title=f"one sample of learning, {'-'.join(map(str, network.backend.configuration.sizes))}"
    )
    for heading in ("", "multiplications", "lookups", "bits of weights", "bits of states"):
        table.add_column(heading, justify="right" if heading else "left")
    for one in (*parts, total):
        table.add_row(one.part, *(f"{getattr(one, name):,}" for name in FIGURES))
    console.print(table)


FIGURES = ("multiplications", "lookups", "weight_bits", "state_bits")


def _chip_of(
    network: TrainedNetwork, preset: str | None, given_settings: Iterable[str]
) -> Arithmetic:
    """The run's own integers, or those of a preset; with some settings changed."""
    given, own = parse_arithmetic(preset, given_settings), network.configuration.arithmetic
    if own is not None and "preset" not in given:
        return replace(own, **given)
    return arithmetic(given.pop("preset", "int16"), **given)
