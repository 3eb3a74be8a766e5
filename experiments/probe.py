"""`disinhib arithmetic probe`: how large a network's quantities are, and what formats they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from ..refimpl import (
    ConfigurationError,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    control_signal,
    error,
    estimated_inhibitory_potential,
    feedback_weights,
    linearized_inverse,
    rate,
    slope,
)
from ..refimpl.integers import QUANTITIES, Format
from .output import say, tell_user, terminal_console, working
from .trained import TrainedNetwork, load
from .training import soft_labels

console = terminal_console()
HEADROOM = 1.25
"""How much larger than what was seen a format is made."""


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
    data = network.data()
    if not 1 <= samples <= len(data.train.images):
        raise ConfigurationError(
            f"--samples is {samples}: 1 to {len(data.train.images)} are in the training set"
        )
    x = np.asarray(data.inputs(data.train.images[:samples]), dtype=np.float64)
    y = np.asarray(
        soft_labels(configuration, data.train.labels[:samples], data.n_classes), dtype=np.float64
    )
    found = dict[str, list[np.ndarray]]()
    for quantity, array in _values(network, x, y):
        found.setdefault(quantity, []).append(np.abs(array).ravel())
    return [_range(name, np.concatenate(found[name]), width) for name in QUANTITIES]


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
