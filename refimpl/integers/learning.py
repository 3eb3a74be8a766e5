"""One learning step in integers: feedback weights, what synapses learn, their update (7 to 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..circuit import NetworkState, Parameters
from ..configuration import Array
from ..learning_step import Learner
from ..optimizer import OptimizerState
from .arithmetic import Chance, Overflows, multiplier
from .circuit import (
    Chip,
    Here,
    added,
    closed_loop,
    closed_loop_target,
    drive,
    error,
    last,
    mantissa_of,
    open_loop,
    rounded,
    tabulated,
    times,
)


@dataclass(frozen=True)
class Step:
    """What a learning step saw, all integers; the circuit's parts are None for backprop."""

    u_out: Array  # (batch, n_out), of the open loop or the plain network
    open_loop: NetworkState | None
    Q: tuple[Array, ...] | None
    target: Array | None
    closed_loop: NetworkState | None
    gradients: Parameters


class EndStates(Protocol):
    """A way through all ticks of both loops; all ways come to the same."""

    def open_loop(self, chip: Chip, parameters: Parameters, x: Array, here: Here) -> NetworkState:
        """The state after all ticks from rest."""

    def closed_loop(
        self,
        chip: Chip,
        parameters: Parameters,
        x: Array,
        Q: tuple[Array, ...],
        target: Array,
        start: NetworkState,
        here: Here,
    ) -> NetworkState:
        """The state after all ticks under control."""


class TickByTick:
    """The ticks of `circuit`, one after the other."""

    def open_loop(self, chip: Chip, parameters: Parameters, x: Array, here: Here) -> NetworkState:
        """The state after all ticks from rest."""
        return last(open_loop(chip, parameters, x, here))

    def closed_loop(
        self,
        chip: Chip,
        parameters: Parameters,
        x: Array,
        Q: tuple[Array, ...],
        target: Array,
        start: NetworkState,
        here: Here,
    ) -> NetworkState:
        """The state after all ticks under control."""
        return last(closed_loop(chip, parameters, x, Q, target, start, here))


TICK_BY_TICK = TickByTick()


def learning_step(
    chip: Chip,
    learner: Learner,
    x: Array,
    y: Array,
    overflows: Overflows,
    ways: EndStates = TICK_BY_TICK,
    kind: type[Here] = Here,
) -> tuple[Learner, Step]:
    """Open loop, feedback weights, closed loop, gradients, update; all arrays int64.

    Parameters
    ----------
    chip : Chip
        Network, arithmetic, tables.
    learner : Learner
        Parameters in the formats `weight` and `bias`, r̄ in that of `rate`.
    x : array, (batch, n_in)
        In the format `input`.
    y : array, (batch, n_out)
        Labels, in the format `error`.
    overflows : Overflows
        Counts on.
    ways : EndStates
        How the ticks are taken.
    kind : type
        How bits are dropped and kept.

    Returns
    -------
    learner : Learner
        After the step.
    step : Step
    """
    here = kind(overflows, Chance(chip.arithmetic.seed, learner.optimizer.n_steps))
    parameters, r_bar = learner.parameters, learner.mean_inhibition
    if chip.network.rule == "backprop":
        u_out, gradients = backprop(chip, parameters, x, y, here)
        step = Step(u_out, None, None, None, None, gradients)
    else:
        opened = ways.open_loop(chip, parameters, x, here)
        if chip.network.rule == "linear-threshold":
            r_bar = updated_mean_inhibition(chip, r_bar, opened, here)
        Q = feedback_weights(chip, parameters, opened, here)
        target = closed_loop_target(chip, opened.u_out, y, here)
        closed = ways.closed_loop(chip, parameters, x, Q, target, opened, here)
        gradients = plasticity_gradients(chip, parameters, x, y, opened, closed, r_bar, here)
        step = Step(opened.u_out, opened, Q, target, closed, gradients)
    return updated(chip, learner, gradients, r_bar, here), step


# Feedback weights (section 7).


def feedback_weights(
    chip: Chip, parameters: Parameters, open_loop: NetworkState, here: Here
) -> tuple[Array, ...]:
    """Q^l as applied, each (batch or 1, n_out, n_l)."""
    form, n_hidden = chip.arithmetic.format_of, chip.network.n_hidden
    f_J, f_s, f_W = (form(name).fraction for name in ("sensitivity", "slope", "weight"))
    slope_E, slope_I = (
        [tabulated(chip, table, u, here, l)[:, None, :] for l, u in enumerate(layers)]
        for table, layers in (("slope_E", open_loop.u_E), ("slope_I", open_loop.u_I))
    )
    through, fraction = parameters.readout.T[None], f_W
    Q: list[Array] = []
    for l in range(n_hidden - 1, -1, -1):
        J = rounded(chip, through * slope_E[l], fraction + f_s, "sensitivity", here, "J", l)
        Q.insert(0, rounded(chip, J * slope_I[l], f_J + f_s, "sensitivity", here, "Q", l))
        if l > 0:
            products = chip.multiply(J, parameters.weights[l].T)
            sums = here.accumulated(products, chip.arithmetic.accumulator)
            through, fraction = rounded(chip, sums, f_J + f_W, "sensitivity", here, "J W", l), f_J
    return tuple(conditioned(chip, Q_l, here, l) for l, Q_l in enumerate(Q))


def conditioned(chip: Chip, Q: Array, here: Here, layer: int) -> Array:
    """Average, clip, normalise, in this order; from the format `sensitivity` to `feedback`."""
    feedback, about = chip.network.feedback, chip.arithmetic
    if feedback.average:
        mean = batch_mean(
            chip, np.sum(Q, axis=0, keepdims=True), len(Q), about.sensitivity.fraction
        )
        Q = rounded(chip, *mean, "sensitivity", here, "mean", layer)
    if feedback.clip is not None:
        limit = np.int64(np.rint(float(feedback.clip) * 2.0**about.sensitivity.fraction))
        Q = np.clip(Q, -limit, limit)
    if not feedback.normalize:
        return rounded(chip, Q, about.sensitivity.fraction, "feedback", here, "normalised", layer)
    return normalised(chip, Q, here, layer)


def normalised(chip: Chip, Q: Array, here: Here, layer: int) -> Array:
    """Bring each sample's Q to the norm, without a division and a root (section 7)."""
    about = chip.arithmetic
    squares = here.accumulated(np.sum(Q * Q, axis=(-2, -1), keepdims=True), 62)
    # A silent layer has no direction: its weights are 0 whatever they are multiplied by.
    m, p = mantissa_of(np.maximum(squares, 1), 2, about.mantissa.fraction)
    # The norm is ν 2^e with ν from ½ to 1, and ν / √m is in the table.
    e = int(np.frexp(float(chip.network.feedback.norm))[1])
    if about.normalization == "table":
        factor = tabulated(chip, "inverse_root", m, here, layer)
        fraction = about.mantissa.fraction + p // 2 - e
    elif about.normalization == "power-of-two":
        # The root lies between 2^(p/2) and twice that: Q comes to ½ to 1 of the norm 2^(e−1).
        factor, fraction = np.ones_like(m), p // 2 + 2 - e
    else:
        scale = multiplier(float(chip.network.feedback.norm), about.multiplier)
        factor = np.full_like(m, scale.m)
        fraction = np.full_like(p, about.sensitivity.fraction + scale.shift)
    shift = fraction - about.feedback.fraction
    fewer = here.dropped(Q * factor, shift, about.rounding, "normalised", layer)
    return here.fitted(fewer, about.feedback, "feedback")


def batch_mean(chip: Chip, sums: Array, batch: int, fraction: int) -> tuple[Array, int]:
    """Mean of sums over so many samples, by the constant for 1 / batch; exact, not yet rounded."""
    return times(multiplier(1 / batch, chip.arithmetic.multiplier), sums, fraction)


# Learning (section 8).


def updated_mean_inhibition(
    chip: Chip, r_bar: tuple[Array, ...], open_loop: NetworkState, here: Here
) -> tuple[Array, ...]:
    """r̄ ← r̄ + ρ (mean of φ_I(u_I) − r̄), each (n_l,)."""
    f_r, moved = chip.arithmetic.rate.fraction, []
    for l, (r, u) in enumerate(zip(r_bar, open_loop.u_I, strict=True)):
        rates = tabulated(chip, "rate_I", u, here, l)
        mean = rounded(chip, *batch_mean(chip, np.sum(rates, axis=0), len(u), f_r),
                       "rate", here, "mean", l)  # fmt: skip
        change = times(chip.rho, mean - r, f_r)
        moved.append(rounded(chip, *added((r, f_r), change), "rate", here, "r_bar", l))
    return tuple(moved)


def plasticity_gradients(
    chip: Chip,
    parameters: Parameters,
    x: Array,
    y: Array,
    open_loop: NetworkState,
    closed_loop: NetworkState,
    r_bar: tuple[Array, ...],
    here: Here,
) -> Parameters:
    """g of every parameter, in the format `gradient`."""
    form = chip.arithmetic.format_of
    f_u, f_r, f_s = (form(name).fraction for name in ("potential", "rate", "slope"))
    pre, of, gradients_W, gradients_b = x, "input", [], []
    for l, (u_E, u_I) in enumerate(zip(closed_loop.u_E, closed_loop.u_I, strict=True)):
        r_E = tabulated(chip, "rate_E", u_E, here, l)
        estimate = estimated_inhibitory_potential(chip, u_I, r_bar[l], here, l)
        difference, fraction = added((estimate, f_u), (-r_E, f_r))
        product = difference * tabulated(chip, "slope_E", u_E, here, l)
        delta = rounded(chip, product, fraction + f_s, "delta", here, "delta", l)
        gradients_W.append(gradient(chip, pre, of, delta, here, l))
        gradients_b.append(bias_gradient(chip, delta, here, l))
        pre, of = r_E, "rate"
    L = chip.network.n_hidden
    if chip.network.feedback.to_readout:
        terms = drive(chip, pre, "rate", parameters.readout, None, here), (-closed_loop.u_out, f_u)
        delta = rounded(chip, *added(*terms), "delta", here, "delta", L)
    else:
        pre = tabulated(chip, "rate_E", open_loop.u_E[-1], here, L)
        e = -error(chip, open_loop.u_out, y, here)
        delta = rounded(chip, e, form("error").fraction, "delta", here, "delta", L)
    readout = gradient(chip, pre, "rate", delta, here, L)
    return Parameters(tuple(gradients_W), tuple(gradients_b), readout)


def estimated_inhibitory_potential(
    chip: Chip, u_I: Array, r_bar: Array, here: Here, layer: int
) -> Array:
    """û_I in the format `potential`: u_I itself, or θ + δ r_I with θ and δ of tables at r̄ or r₀."""
    if chip.network.rule == "exact-inverse":
        return u_I
    form, about = chip.arithmetic.format_of, chip.arithmetic
    if chip.network.rule == "linear-threshold-fixed":
        r_0 = np.rint(float(chip.network.mean_inhibition.fixed_point) * 2.0**about.rate.fraction)
        r_bar = np.full_like(r_bar, int(np.clip(r_0, 0, about.rate.largest)))
    theta = tabulated(chip, "offset", r_bar, here, layer)
    gain = tabulated(chip, "gain", r_bar, here, layer)
    r_I = tabulated(chip, "rate_I", u_I, here, layer)
    f_t = form("tangent").fraction
    terms = added((theta, f_t), (gain * r_I, f_t + form("rate").fraction))
    return rounded(chip, *terms, "potential", here, "tangent", layer)


def gradient(chip: Chip, pre: Array, of: str, delta: Array, here: Here, layer: int) -> Array:
    """Batch mean of preᵀ δ: the exact sum, brought to the fraction of g, times 1 / batch."""
    about = chip.arithmetic
    fraction = about.format_of(of).fraction + about.delta.fraction
    sums = here.accumulated(chip.multiply(pre.T, delta), about.accumulator)
    return _mean_gradient(chip, sums, fraction, len(pre), here, layer)


def bias_gradient(chip: Chip, delta: Array, here: Here, layer: int) -> Array:
    """Batch mean of δ; 0 in a network without biases."""
    if not chip.network.bias:
        return np.zeros(delta.shape[-1], dtype=np.int64)
    sums, about = np.sum(delta, axis=0), chip.arithmetic
    return _mean_gradient(chip, sums, about.delta.fraction, len(delta), here, 32 + layer)


def _mean_gradient(
    chip: Chip, sums: Array, fraction: int, batch: int, here: Here, layer: int
) -> Array:
    about, f_g = chip.arithmetic, chip.arithmetic.gradient.fraction
    fewer = here.dropped(sums, fraction - f_g, about.rounding, "sum of products", layer)
    mean = batch_mean(chip, fewer, batch, f_g)
    return rounded(chip, *mean, "gradient", here, "gradient", layer)


# Update (section 9).


def updated(
    chip: Chip, learner: Learner, gradients: Parameters, r_bar: tuple[Array, ...], here: Here
) -> Learner:
    """p ← p − η g, η g rounded to the parameter's last bit by `update_rounding`."""
    p, g, L = learner.parameters, gradients, chip.network.n_hidden

    def descend(values: Array, slope: Array, quantity: str, layer: int) -> Array:
        about, form = chip.arithmetic, chip.arithmetic.format_of(quantity)
        step, fraction = times(chip.eta, slope, about.gradient.fraction)
        by = fraction - form.fraction
        change = here.dropped(step, by, about.update_rounding, "update", layer)
        return here.fitted(values - change, form, quantity)

    weights = [
        descend(W, dW, "weight", l)
        for l, (W, dW) in enumerate(zip(p.weights, g.weights, strict=True))
    ]
    biases = [
        descend(b, db, "bias", 32 + l)
        for l, (b, db) in enumerate(zip(p.biases, g.biases, strict=True))
    ]
    moved = Parameters(tuple(weights), tuple(biases), descend(p.readout, g.readout, "weight", L))
    return Learner(moved, OptimizerState(learner.optimizer.n_steps + 1), r_bar)


# The baseline: backprop in the same arithmetic.


def forward(
    chip: Chip, parameters: Parameters, x: Array, here: Here
) -> tuple[tuple[Array, ...], tuple[Array, ...], Array]:
    """Drives a^l as potentials, activity h^0 = x and h^l = φ_E(a^l), and the output's potential."""
    h, of, drives = [x], "input", []
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        a = drive(chip, h[-1], of, W, b, here)
        drives.append(rounded(chip, *a, "potential", here, "drive", l))
        h.append(tabulated(chip, "rate_E", drives[-1], here, l))
        of = "rate"
    out = drive(chip, h[-1], "rate", parameters.readout, None, here)
    u_out = rounded(chip, *out, "potential", here, "drive", chip.network.n_hidden)
    return tuple(drives), tuple(h), u_out


def backprop(
    chip: Chip, parameters: Parameters, x: Array, y: Array, here: Here
) -> tuple[Array, Parameters]:
    """Output, and the gradient of the mean loss, in the format `gradient`."""
    about, L = chip.arithmetic, chip.network.n_hidden
    drives, h, u_out = forward(chip, parameters, x, here)
    e = error(chip, u_out, y, here)
    delta = rounded(chip, -e, about.error.fraction, "delta", here, "delta", L)
    readout = gradient(chip, h[-1], "rate", delta, here, L)
    above = [*parameters.weights[1:], parameters.readout]
    f_delta, f_W, f_s = about.delta.fraction, about.weight.fraction, about.slope.fraction
    gradients_W: list[Array] = []
    gradients_b: list[Array] = []
    for l in range(L - 1, -1, -1):
        sums = here.accumulated(chip.multiply(delta, above[l].T), about.accumulator)
        back = rounded(chip, sums, f_delta + f_W, "delta", here, "back", l)
        product = back * tabulated(chip, "slope_E", drives[l], here, l)
        delta = rounded(chip, product, f_delta + f_s, "delta", here, "delta", l)
        gradients_W.insert(0, gradient(chip, h[l], "input" if l == 0 else "rate", delta, here, l))
        gradients_b.insert(0, bias_gradient(chip, delta, here, l))
    return u_out, Parameters(tuple(gradients_W), tuple(gradients_b), readout)
