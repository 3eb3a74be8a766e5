"""Usual mistakes in r̄, rule and optimiser that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np

from ...refimpl import (
    NetworkConfiguration,
    Parameters,
    SoftReLU,
    error,
    error_jacobian,
    estimated_inhibitory_potential,
    forward,
    initial_optimizer_state,
    inverse,
    linearized_inverse,
    map_arrays,
    mean_outer_product,
    optimizer_step,
    rate,
    slope,
    softmax,
)
from ..judge import GRADIENTS, MEAN_INHIBITION, Arrays, layer_arrays, learner_before, with_part
from ..storage import named_arrays
from ..trace import Trace
from .mistake import Setting, run_reference

LEAST_WITHOUT_COUNT = 30
"""Times too far that only a 1 − β^t that is all but zero takes a step."""


def mean_not_updated(setting: Setting) -> Arrays:
    """Give r̄ before."""
    return layer_arrays("r_I", learner_before(setting.trace, setting.step).mean_inhibition)


def mean_of_potentials(setting: Setting) -> Arrays:
    """Take in the mean of u_I."""
    return _mean(setting, [np.mean(u, axis=0) for u in setting.circuit.open_loop.u_I])


def mean_in_closed_loop(setting: Setting) -> Arrays:
    """Take in the mean of the closed loop's rates."""
    phi = setting.trace.configuration.activation_I
    return _mean(setting, [np.mean(rate(phi, u), axis=0) for u in setting.circuit.closed_loop.u_I])


def mean_never_updated(setting: Setting) -> Arrays:
    """Give r̄ as it was before the first step."""
    return layer_arrays("r_I", learner_before(setting.trace, 0).mean_inhibition)


def mean_of_the_batch_before(setting: Setting) -> Arrays:
    """Take in the batch of the step before, as one does who has been late in every step."""
    if setting.step == 0:
        return mean_never_updated(setting)
    phi, earlier = setting.trace.configuration.activation_I, setting.trace.steps[setting.step - 1]
    assert earlier.circuit is not None
    return _mean(setting, [np.mean(rate(phi, u), axis=0) for u in earlier.circuit.open_loop.u_I])


def rate_of_mean(setting: Setting) -> Arrays:
    """Take in the rate of the mean potential."""
    phi = setting.trace.configuration.activation_I
    return _mean(setting, [rate(phi, np.mean(u, axis=0)) for u in setting.circuit.open_loop.u_I])


def mean_with(change: Callable[[np.ndarray], np.ndarray], setting: Setting) -> Arrays:
    """Take in something else, of the inhibitory rates (batch, n_l)."""
    return _mean(setting, [change(r) for r in _inhibitory_rates(setting)])


def mean_sample_by_sample(setting: Setting) -> Arrays:
    """Take in one sample after another, ρ of each."""
    rho = setting.trace.configuration.mean_inhibition.rate
    means = list(learner_before(setting.trace, setting.step).mean_inhibition)
    for l, r in enumerate(_inhibitory_rates(setting)):
        for sample in r:
            means[l] = (1 - rho) * means[l] + rho * sample
    return layer_arrays("r_I", tuple(means))


def mean_over_outputs(setting: Setting) -> Arrays:
    """Take in the sum over the batch over the number of outputs."""
    n_out = setting.trace.configuration.sizes[-1]
    return _mean(setting, [r.sum(axis=0) / n_out for r in _inhibitory_rates(setting)])


def mean_from_zero(setting: Setting) -> Arrays:
    """Start from zero in the first step; what a port has after it is its own."""
    before = learner_before(setting.trace, setting.step).mean_inhibition
    zero = tuple(0 * r for r in before)
    return _mean(setting, _batch_means(setting), before if setting.step else zero)


def mean_without_past(setting: Setting) -> Arrays:
    """ρ times the mean of the batch, in each step."""
    before = learner_before(setting.trace, setting.step).mean_inhibition
    return _mean(setting, _batch_means(setting), tuple(0 * r for r in before))


def mean_from_first_batch(setting: Setting) -> Arrays:
    """Start at the mean of the first batch; what a port has after it is its own."""
    return _mean(setting, _batch_means(setting), rho=None if setting.step else 1.0)


def mean_corrected(from_zero: bool, setting: Setting) -> Arrays | None:
    """Divide by 1 − (1 − ρ)^t, as Adam does: a mean that started at zero, or at its init."""
    rho = setting.trace.configuration.mean_inhibition.rate
    if rho == 0:
        return None
    start = learner_before(setting.trace, 0).mean_inhibition
    r_bar = _running(setting, tuple(0 * r for r in start) if from_zero else start)
    return layer_arrays("r_I", tuple(r / (1 - (1 - rho) ** (setting.step + 1)) for r in r_bar))


def mean_anew(setting: Setting) -> Arrays | None:
    """Start from mean_inhibition.init in each step."""
    if len(setting.trace.steps) < 2:
        return None
    initial = learner_before(setting.trace, 0).mean_inhibition
    return _mean(setting, _batch_means(setting), initial)


def mean_twice(setting: Setting) -> Arrays:
    """Take in the batch twice."""
    means = _batch_means(setting)
    once = _mean(setting, means)
    return _mean(setting, means, tuple(once[f"r_I_{l}"] for l in range(len(means))))


def mean_of_all_batches(setting: Setting) -> Arrays | None:
    """Weigh all batches so far alike, whatever ρ is."""
    if len(setting.trace.steps) < 2:
        return None
    return _mean(setting, _batch_means(setting), rho=1 / (setting.step + 1))


def _inhibitory_rates(setting: Setting) -> list[np.ndarray]:
    phi = setting.trace.configuration.activation_I
    return [rate(phi, u) for u in setting.circuit.open_loop.u_I]


def _batch_means(setting: Setting) -> list[np.ndarray]:
    return [np.mean(r, axis=0) for r in _inhibitory_rates(setting)]


def over_units_too(r: np.ndarray) -> np.ndarray:
    """One mean for all units of a layer."""
    return np.full(r.shape[1], np.mean(r))


def _mean(
    setting: Setting,
    taken_in: list[np.ndarray],
    start: tuple[np.ndarray, ...] | None = None,
    rho: float | None = None,
) -> Arrays:
    rho = float(setting.trace.configuration.mean_inhibition.rate) if rho is None else rho
    before = learner_before(setting.trace, setting.step).mean_inhibition
    means = zip(before if start is None else start, taken_in, strict=True)
    return layer_arrays("r_I", tuple((1 - rho) * r + rho * mean for r, mean in means))


def other_rule(name: str, configuration: NetworkConfiguration) -> dict[str, str]:
    """Give the rule as a changed setting, but for backprop."""
    return {} if configuration.rule == "backprop" else {"rule": name}


def summed(setting: Setting, array: np.ndarray) -> np.ndarray:
    """Give the sum over the batch of a mean over it."""
    return setting.trace.inputs.shape[1] * array


def divided_again(setting: Setting, array: np.ndarray) -> np.ndarray:
    """Divide by the batch size."""
    return 1 / setting.trace.inputs.shape[1] * array


def transposed(setting: Setting) -> Arrays | None:
    """Turn those gradients around whose shape does not betray it."""
    right = setting.right
    square = [name for name, g in right.items() if g.ndim == 2 and g.shape[0] == g.shape[1]]
    if not square:
        return None
    return {name: array.T if name in square else array for name, array in right.items()}


def estimate(
    configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, r_bar: np.ndarray
) -> np.ndarray:
    """û_I as it should be."""
    return estimated_inhibitory_potential(configuration, u_I, r_bar)


def rate_as_estimate(
    configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, r_bar: np.ndarray
) -> np.ndarray:
    """φ_I(u_I)."""
    return rate(configuration.activation_I, u_I)


def potential_instead_of_rate(
    configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, r_bar: np.ndarray
) -> np.ndarray:
    """Estimate so that δ = (û_I − u_E) φ_E', of a neuron at rest."""
    return u_I - u_E + rate(configuration.activation_E, u_E)


def tangent_without_sharpness(
    configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, r_bar: np.ndarray
) -> np.ndarray:
    """θ + δ r with δ = 1 / (s σ), where the rule has a tangent."""
    phi, r_0 = configuration.activation_I, _linearised_at(configuration, r_bar)
    if configuration.rule == "exact-inverse":
        return u_I
    u_0 = inverse(phi, r_0)
    delta = phi.sharpness / slope(phi, u_0)
    return np.asarray(u_0 + delta * (rate(phi, u_I) - r_0))


def tangent_to_excitation(
    configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, r_bar: np.ndarray
) -> np.ndarray:
    """θ + δ r_I with the tangent to φ_E⁻¹, where the rule has a tangent."""
    if configuration.rule == "exact-inverse":
        return u_I
    theta, delta = linearized_inverse(
        configuration.activation_E, _linearised_at(configuration, r_bar)
    )
    return np.asarray(theta + delta * rate(configuration.activation_I, u_I))


def tangent_at_potential(
    configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, r_bar: np.ndarray
) -> np.ndarray:
    """θ + δ u_I, where the rule has a tangent."""
    if configuration.rule == "exact-inverse":
        return u_I
    theta, delta = linearized_inverse(
        configuration.activation_I, _linearised_at(configuration, r_bar)
    )
    return np.asarray(theta + delta * u_I)


def _linearised_at(configuration: NetworkConfiguration, r_bar: np.ndarray) -> np.ndarray:
    """r₀ of the rule: fixed, or the running mean."""
    if configuration.rule == "linear-threshold-fixed":
        return np.asarray(configuration.mean_inhibition.fixed_point)
    return r_bar


Tangent = Callable[[SoftReLU, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def with_tangent(
    tangent: Tangent,
    configuration: NetworkConfiguration,
    u_E: np.ndarray,
    u_I: np.ndarray,
    r_bar: np.ndarray,
) -> np.ndarray:
    """θ + δ r where the rule has a tangent, of (φ_I, r₀, θ, δ) as they should be to (θ, δ)."""
    phi, r_0 = configuration.activation_I, _linearised_at(configuration, r_bar)
    if configuration.rule == "exact-inverse":
        return u_I
    theta, delta = tangent(phi, r_0, *linearized_inverse(phi, r_0))
    return np.asarray(theta + delta * rate(phi, u_I))


def without_threshold(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Drop θ."""
    return 0 * theta, delta


def threshold_subtracted(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Give −θ."""
    return -theta, delta


def not_inverted(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Give φ' for δ, and θ of it."""
    return inverse(phi, r_0) - r_0 / delta, 1 / delta


def not_inverted_once(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Give φ' for δ, and the right θ."""
    return theta, 1 / delta


def threshold_of_a_sum(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Give u₀ + r₀ δ for θ."""
    return theta + 2 * r_0 * delta, delta


def _tangent_at(phi: SoftReLU, r_0: Any, u_0: Any) -> tuple[Any, Any]:
    """θ and δ of a u₀ that is another than φ⁻¹(r₀)."""
    delta = 1 / slope(phi, u_0)
    return u_0 - r_0 * delta, delta


def inverse_without_shift(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Leave m out of φ⁻¹."""
    return _tangent_at(phi, r_0, inverse(phi, r_0) - phi.shift)


def inverse_without_sharpness(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Leave k out of φ⁻¹."""
    return _tangent_at(phi, r_0, phi.shift + phi.sharpness * (inverse(phi, r_0) - phi.shift))


def inverse_without_scale(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Leave s out of φ⁻¹."""
    return _tangent_at(phi, r_0, inverse(dataclasses.replace(phi, scale=1.0), r_0))


def rate_as_potential(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Give r₀ for u₀."""
    return _tangent_at(phi, r_0, np.asarray(r_0))


def slope_at_rate_of_tangent(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Take φ' at r₀, and u₀ as it should be."""
    steep = 1 / slope(phi, r_0)
    return inverse(phi, r_0) - r_0 * steep, steep


def at_potential(phi: SoftReLU, r_0: Any, theta: Any, delta: Any) -> tuple[Any, Any]:
    """Take r₀ for a potential."""
    delta = 1 / slope(phi, r_0)
    return r_0 - rate(phi, r_0) * delta, delta


def written_out(
    setting: Setting,
    post: str = "closed_loop",
    pre: str = "closed_loop",
    r_bar: tuple[np.ndarray, ...] | None = None,
    slope_of: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    slope_at: str = "u_E",
    estimate_of: Callable[..., np.ndarray] = estimate,
    delta_out: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    compared: str = "closed_loop",
    estimated: str = "closed_loop",
    sent_of: Callable[[SoftReLU, np.ndarray], np.ndarray] = rate,
) -> Arrays | None:
    """Section 5 with its ingredients open to exchange."""
    trace, configuration = setting.trace, setting.trace.configuration
    if configuration.rule == "backprop":
        return None
    phi_E = configuration.activation_E
    before = learner_before(trace, setting.step)
    means = r_bar or setting.circuit.mean_inhibition or before.mean_inhibition
    learnt_at, sent_at = getattr(setting.circuit, post), getattr(setting.circuit, pre)
    compared_at = learnt_at if compared == "closed_loop" else getattr(setting.circuit, compared)
    estimated_at = learnt_at if estimated == "closed_loop" else getattr(setting.circuit, estimated)
    found: Arrays = {}
    sent = trace.inputs[setting.step]
    for l, (u_E, u_I) in enumerate(zip(learnt_at.u_E, estimated_at.u_I, strict=True)):
        u_hat = estimate_of(configuration, u_E, u_I, means[l])
        at = {
            "u_E": u_E,
            "u_I": u_I,
            "drive": u_E + rate(configuration.activation_I, learnt_at.u_I[l]),
            "open loop": setting.circuit.open_loop.u_E[l],
        }[slope_at]
        delta = (u_hat - rate(phi_E, compared_at.u_E[l])) * slope_of(phi_E, at)
        found[f"hidden_{l}/weight"] = mean_outer_product(sent, delta)
        found[f"hidden_{l}/bias"] = np.mean(delta, axis=0) * configuration.bias
        sent = sent_of(phi_E, sent_at.u_E[l])
    if delta_out is None:
        return {**found, "readout/weight": setting.right["readout/weight"]}
    sent = rate(phi_E, setting.circuit.closed_loop.u_E[-1])
    delta = delta_out(sent @ before.parameters.readout, setting.circuit.closed_loop.u_out)
    return {**found, "readout/weight": mean_outer_product(sent, delta)}


def late_mean(setting: Setting) -> Arrays | None:
    """Linearise at r̄ before, where the rule learns it."""
    if setting.trace.configuration.rule != "linear-threshold":
        return None
    return written_out(setting, r_bar=learner_before(setting.trace, setting.step).mean_inhibition)


def initial_mean(rule: str, setting: Setting) -> Arrays | None:
    """Linearise at r̄ as it was before the first step, where this is the rule."""
    if setting.trace.configuration.rule != rule:
        return None
    return _linearised(setting, learner_before(setting.trace, 0).mean_inhibition)


def running_mean(setting: Setting) -> Arrays | None:
    """Linearise at the running mean of the open loops so far, where the rule has none."""
    if setting.trace.configuration.rule not in ("exact-inverse", "linear-threshold-fixed"):
        return None
    return _linearised(setting, _running(setting, learner_before(setting.trace, 0).mean_inhibition))


def _running(setting: Setting, r_bar: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """r̄ of the open loops so far, from another start."""
    rho = setting.trace.configuration.mean_inhibition.rate
    for step in range(setting.step + 1):
        means = _batch_means(dataclasses.replace(setting, step=step))
        r_bar = tuple((1 - rho) * r + rho * mean for r, mean in zip(r_bar, means, strict=True))
    return r_bar


def mean_of_each_sample(setting: Setting) -> Arrays | None:
    """Linearise each sample at its own rates of the open loop, where the rule learns r̄."""
    if setting.trace.configuration.rule != "linear-threshold":
        return None
    as_it_is = partial(with_tangent, lambda phi, r_0, theta, delta: (theta, delta))
    return written_out(setting, r_bar=tuple(_inhibitory_rates(setting)), estimate_of=as_it_is)


def mean_potential(of_its_rate: bool, setting: Setting) -> Arrays | None:
    """Let u₀ be the mean potential of the open loop, with its own rate for r₀, or with r̄."""
    means = _learnt_means(setting)
    if setting.trace.configuration.rule != "linear-threshold" or not means:
        return None
    if of_its_rate and (MEAN_INHIBITION, setting.step) in setting.left:
        # Where r̄ was not given, it may as well be the rate of the mean potential itself.
        return None
    phi = setting.trace.configuration.activation_I
    potentials = [np.mean(u, axis=0) for u in setting.circuit.open_loop.u_I]
    rates = [rate(phi, u) for u in potentials] if of_its_rate else means
    pairs = tuple(np.stack(pair) for pair in zip(potentials, rates, strict=True))

    def estimate_of(
        configuration: NetworkConfiguration, u_E: np.ndarray, u_I: np.ndarray, pair: np.ndarray
    ) -> np.ndarray:
        theta, delta = _tangent_at(phi, pair[1], pair[0])
        return np.asarray(theta + delta * rate(phi, u_I))

    return written_out(setting, r_bar=pairs, estimate_of=estimate_of)


def mean_of_each_layer(setting: Setting) -> Arrays | None:
    """Linearise all units of a layer at the mean of their r̄, where the rule learns it."""
    means = _learnt_means(setting)
    return _with_means(setting, [np.full_like(r, np.mean(r)) for r in means])


def mean_of_the_layer_above(setting: Setting) -> Arrays | None:
    """Linearise at r̄ of the layer above, the last at that of the first, where all are as wide."""
    means = _learnt_means(setting)
    if len(means) < 2 or len({r.shape for r in means}) > 1:
        return None
    return _with_means(setting, [*means[1:], means[0]])


def mean_of_the_closed_loop(alone: bool, setting: Setting) -> Arrays | None:
    """Linearise at the closed loop's rates: their mean alone, or taken in by r̄ before."""
    configuration = setting.trace.configuration
    if configuration.rule != "linear-threshold":
        return None
    rho = 1.0 if alone else configuration.mean_inhibition.rate
    before = learner_before(setting.trace, setting.step).mean_inhibition
    loop = zip(before, setting.circuit.closed_loop.u_I, strict=True)
    means = [
        (1 - rho) * r + rho * np.mean(rate(configuration.activation_I, u), axis=0) for r, u in loop
    ]
    return _with_means(setting, means)


def _learnt_means(setting: Setting) -> Sequence[np.ndarray]:
    """r̄ of this step; none where the rule has none."""
    circuit = setting.trace.steps[setting.step].circuit
    return () if circuit is None else circuit.mean_inhibition or ()


def _with_means(setting: Setting, means: Sequence[np.ndarray]) -> Arrays | None:
    """Linearise at other rates, where the rule learns them."""
    if setting.trace.configuration.rule != "linear-threshold":
        return None
    return written_out(setting, r_bar=tuple(means))


def _linearised(setting: Setting, means: tuple[np.ndarray, ...]) -> Arrays:
    """Run the stage by the rule of a running mean, of which this is it."""
    trace = setting.trace
    configuration = dataclasses.replace(trace.configuration, rule="linear-threshold")
    trace = dataclasses.replace(trace, configuration=configuration)
    return run_reference(setting, with_part(trace, setting.step, "mean_inhibition", means))


def inhibitory_slope(at: str, setting: Setting) -> Arrays | None:
    """φ_I' for φ_E' in δ, at u_I or at u_E."""
    configuration = setting.trace.configuration
    phi_I = configuration.activation_I
    if phi_I == configuration.activation_E:
        return None
    return written_out(setting, slope_of=lambda phi, u: slope(phi_I, u), slope_at=at)


def readout_of_other_rates(setting: Setting, in_error: bool) -> Arrays | None:
    """Let the readout learn from the rates of the other loop; with feedback, also in its error."""
    if setting.trace.configuration.rule == "backprop":
        return None
    configuration, circuit = setting.trace.configuration, setting.circuit
    phi_E, with_feedback = configuration.activation_E, configuration.feedback.to_readout
    readout = learner_before(setting.trace, setting.step).parameters.readout
    open_loop, closed_loop = (
        rate(phi_E, loop.u_E[-1]) for loop in (circuit.open_loop, circuit.closed_loop)
    )
    if with_feedback:
        pre, predicts = open_loop, open_loop if in_error else closed_loop
        delta = predicts @ readout - circuit.closed_loop.u_out
    else:
        y = setting.trace.targets[setting.step]
        pre, delta = closed_loop, -error(configuration.loss, circuit.open_loop.u_out, y)
    return {**setting.right, "readout/weight": mean_outer_product(pre, delta)}


def readout_with(
    delta_of: Callable[[Setting, str], np.ndarray | None], pre: str, setting: Setting
) -> Arrays | None:
    """Let the readout learn from another δ, of the setting and the loss, and rates of a loop."""
    configuration = setting.trace.configuration
    if configuration.rule == "backprop":
        return None
    delta = delta_of(setting, configuration.loss)
    if delta is None:
        return None
    sent = rate(configuration.activation_E, getattr(setting.circuit, pre).u_E[-1])
    return {**setting.right, "readout/weight": mean_outer_product(sent, delta)}


def readout_of_potentials(setting: Setting) -> Arrays | None:
    """Let the readout's synapses hear potentials; by its own δ, of the loop that it learns in."""
    configuration = setting.trace.configuration
    if configuration.rule == "backprop":
        return None
    circuit = setting.circuit
    if configuration.feedback.to_readout:
        u_E = circuit.closed_loop.u_E[-1]
        W_out = learner_before(setting.trace, setting.step).parameters.readout
        delta = rate(configuration.activation_E, u_E) @ W_out - circuit.closed_loop.u_out
    else:
        u_E, y = circuit.open_loop.u_E[-1], setting.trace.targets[setting.step]
        delta = -error(configuration.loss, circuit.open_loop.u_out, y)
    return {**setting.right, "readout/weight": mean_outer_product(u_E, delta)}


def gradients_with_decay(setting: Setting) -> Arrays | None:
    """Add so much of the parameters to the gradients as fits best in all steps."""
    part = _decay_in_gradients(setting)
    if part is None:
        return None
    parameters = named_arrays(learner_before(setting.trace, setting.step).parameters)
    return {name: g + part * parameters[name] for name, g in setting.right.items()}


def _decay_in_gradients(setting: Setting) -> float | None:
    added = size = 0.0
    for one in setting.beside:
        parameters = named_arrays(learner_before(one.trace, one.step).parameters)
        for name, found in one.found.items():
            added += float(np.sum((found - one.right[name]) * parameters[name]))
            size += float(np.sum(parameters[name] ** 2))
    return added / size if added > 0 else None


def gradients_with_decay_in_words(settings: Sequence[Setting]) -> str:
    """Say how much of the parameters is in the gradients."""
    part = _decay_in_gradients(settings[0])
    return f"{part:.3g} times the parameters is in the gradients: there is no weight decay"


def between_loops(setting: Setting, loss: str) -> np.ndarray:
    """Open-loop output less that under control."""
    return np.asarray(setting.circuit.open_loop.u_out - setting.circuit.closed_loop.u_out)


def error_under_control(setting: Setting, loss: str) -> np.ndarray:
    """−e of the label at the output under control."""
    y = setting.trace.targets[setting.step]
    return -error(loss, setting.circuit.closed_loop.u_out, y)


def controller_error(setting: Setting, loss: str) -> np.ndarray | None:
    """−e of the controller's target, where it is no label."""
    if setting.trace.configuration.feedback.strong:
        return None
    return -error(loss, setting.circuit.closed_loop.u_out, setting.circuit.closed_loop_target)


def open_loop_error(setting: Setting, loss: str) -> np.ndarray | None:
    """−e of the label at the open-loop output, where the readout has feedback."""
    if not setting.trace.configuration.feedback.to_readout:
        return None
    return -error(loss, setting.circuit.open_loop.u_out, setting.trace.targets[setting.step])


def nudged_error(setting: Setting, loss: str) -> np.ndarray | None:
    """−e of the controller's target at the open-loop output, where it is no label."""
    if setting.trace.configuration.feedback.strong:
        return None
    return -error(loss, setting.circuit.open_loop.u_out, setting.circuit.closed_loop_target)


# Gradients of some samples, or of more than the batch.


def of_samples(chosen: slice, of_batch: bool, setting: Setting) -> Arrays | None:
    """Learn from some samples, their mean or, of the batch, their sum over its size."""
    trace, step = setting.trace, setting.step
    batch = trace.inputs.shape[1]
    if batch < 2:
        return None
    taken = dataclasses.replace(
        trace, inputs=trace.inputs[:, chosen], targets=trace.targets[:, chosen]
    )
    if trace.steps[step].circuit is not None:
        for part in ("open_loop", "closed_loop"):
            state = map_arrays(lambda u: u[chosen], getattr(setting.circuit, part))
            taken = with_part(taken, step, part, state)
    factor = taken.inputs.shape[1] / batch if of_batch else 1
    return {name: factor * g for name, g in run_reference(setting, taken).items()}


def not_cleared(setting: Setting) -> Arrays | None:
    """Add to what the step before gave."""
    if len(setting.trace.steps) < 2:
        return None
    if setting.step == 0:
        return setting.right
    earlier = named_arrays(setting.trace.steps[setting.step - 1].gradients)
    return {name: g + earlier[name] for name, g in setting.right.items()}


def one_less(setting: Setting, array: np.ndarray) -> np.ndarray:
    """Divide by one less than the batch."""
    batch = setting.trace.inputs.shape[1]
    return array * batch / (batch - 1)


def over_outputs(setting: Setting, array: np.ndarray) -> np.ndarray:
    """Divide the sum over the batch by the number of outputs."""
    return array * setting.trace.inputs.shape[1] / setting.trace.configuration.sizes[-1]


# Backprop.


def backprop_with(
    setting: Setting,
    slope_of: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    turned: bool = False,
    through_softmax: bool = False,
) -> Arrays | None:
    """The gradient of a plain network's loss with its ingredients open to exchange."""
    trace, configuration = setting.trace, setting.trace.configuration
    if configuration.rule != "backprop":
        return None
    parameters = learner_before(trace, setting.step).parameters
    weights = [*parameters.weights, parameters.readout]
    sent, drives = [trace.inputs[setting.step]], []
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        drives.append(sent[-1] @ W + b)
        sent.append(rate(configuration.activation_E, drives[-1]))
    u_out = sent[-1] @ parameters.readout
    delta = -error(configuration.loss, u_out, trace.targets[setting.step])
    if through_softmax:
        if configuration.loss == "mse":
            return None
        delta = (delta[:, None, :] @ error_jacobian(configuration.loss, u_out))[:, 0, :]
    found: Arrays = {"readout/weight": mean_outer_product(sent[-1], delta)}
    for l in reversed(range(configuration.n_hidden)):
        W = weights[l + 1]
        back = W if turned and W.shape[0] == W.shape[1] else W.T
        delta = (delta @ back) * slope_of(configuration.activation_E, drives[l])
        found[f"hidden_{l}/weight"] = mean_outer_product(sent[l], delta)
        found[f"hidden_{l}/bias"] = np.mean(delta, axis=0) * configuration.bias
    return found


def softmax_over_the_batch(setting: Setting) -> Trace | None:
    """Give labels that make of the open loop's error one whose softmax goes over the batch."""
    trace, step = setting.trace, setting.step
    if trace.configuration.loss == "mse":
        return None
    if trace.configuration.rule == "backprop":
        parameters = learner_before(trace, step).parameters
        u_out = forward(trace.configuration, parameters, trace.inputs[step])[1]
    else:
        u_out = setting.circuit.open_loop.u_out
    targets = trace.targets.copy()
    targets[step] += softmax(u_out) - softmax(u_out.T).T
    return dataclasses.replace(trace, targets=targets)


def loss_gradient_at_readout(setting: Setting) -> Arrays | None:
    """Give the readout the loss's gradient, where it has feedback."""
    configuration, y = setting.trace.configuration, setting.trace.targets[setting.step]
    if not configuration.feedback.to_readout:
        return None
    return written_out(
        setting, delta_out=lambda prediction, u_out: -error(configuration.loss, prediction, y)
    )


def controlled_readout(setting: Setting) -> Arrays | None:
    """Let the readout learn from feedback that it does not have."""
    if setting.trace.configuration.feedback.to_readout:
        return None
    return written_out(setting, delta_out=lambda prediction, u_out: prediction - u_out)


def ascent(setting: Setting) -> Arrays:
    """Take the step the other way."""
    before = unmoved(setting)
    return {name: 2 * before[name] - array for name, array in setting.right.items()}


def unmoved(setting: Setting) -> Arrays:
    """Take no step."""
    return named_arrays(learner_before(setting.trace, setting.step).parameters)


def written_before(setting: Setting) -> Arrays:
    """Give the parameters before the step, as one does who has done so in every step."""
    trace, step = setting.trace, setting.step
    before = learner_before(trace, step)
    if step == 0:
        return named_arrays(before.parameters)
    # Those that were written a step ago had not moved yet.
    earlier = learner_before(trace, step - 1).optimizer
    moved, _ = optimizer_step(
        trace.configuration.optimizer, before.parameters, trace.steps[step - 1].gradients, earlier
    )
    return named_arrays(moved)


def done_twice(setting: Setting) -> Arrays:
    """Take two steps along the same gradients, in every step so far."""
    trace, optimizer = setting.trace, setting.trace.configuration.optimizer
    parameters = trace.initial_parameters
    state = initial_optimizer_state(optimizer, parameters)
    for number, step in enumerate(trace.steps[: setting.step + 1]):
        parameters = learner_before(trace, number).parameters
        for _ in range(2):
            parameters, state = optimizer_step(optimizer, parameters, step.gradients, state)
    return named_arrays(parameters)


def plain_descent(setting: Setting) -> Arrays | None:
    """Go along −g, where the optimiser is another."""
    optimizer = setting.trace.configuration.optimizer
    if optimizer.name == "sgd":
        return None
    gradients = named_arrays(setting.trace.steps[setting.step].gradients)
    return {
        name: p - optimizer.learning_rate * gradients[name] for name, p in unmoved(setting).items()
    }


def right_move(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """m̂ / (√v̂ + ε), of moments m and v and the sums of their weights 1 − β^t so far."""
    return m / first / (np.sqrt(v / second) + epsilon)


def uncorrected(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move without bias correction."""
    return m / (np.sqrt(v) + epsilon)


def first_uncorrected(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move without correction of the first moment."""
    return m / (np.sqrt(v / second) + epsilon)


def second_uncorrected(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move without correction of the second moment."""
    return m / first / (np.sqrt(v) + epsilon)


def without_root(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move by m̂ / (v̂ + ε)."""
    return m / first / (v / second + epsilon)


def epsilon_inside(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move with ε inside the root."""
    return m / first / np.sqrt(v / second + epsilon)


def epsilon_before_correction(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move with ε added before the bias correction."""
    return np.sqrt(second) / first * m / (np.sqrt(v) + epsilon)


def without_epsilon(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move without ε; where nothing ever moved it, a parameter stays."""
    return m / first / np.sqrt(np.where(v > 0, v / second, 1))


def root_before_correction(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move with the second moment's bias corrected after the root."""
    return m / first / (np.sqrt(v) / second + epsilon)


def sum_of_weights(beta: float, t: int) -> float:
    """1 − β^t, what the weights of t gradients sum to."""
    return 1 - beta**t


def rounded_sum_of_weights(beta: float, t: int) -> float:
    """1 − β^t in float32."""
    return float(np.float32(1) - np.float32(beta) ** np.float32(t))


def complement(beta: float) -> float:
    """1 − β, the weight of what is new."""
    return 1 - beta


def rounded_complement(beta: float) -> float:
    """1 − β of a β that float32 has rounded."""
    return 1 - float(np.float32(beta))


def full_weight(beta: float) -> float:
    """Forget 1 − β."""
    return 1.0


def adam(
    setting: Setting,
    move: Callable[..., Any] = right_move,
    ahead: int = 0,
    kept: bool = True,
    counted: bool = True,
    betas_exchanged: bool = False,
    betas_rounded: bool = False,
    sum_of_weights: Callable[[float, int], float] = sum_of_weights,
    from_the_start: bool = False,
    of_arrays: bool = False,
    fewest: int | None = None,
    largest: bool = False,
    weights: Callable[[float], float] = complement,
    second_weights: Callable[[float], float] | None = None,
    size: Callable[[Any], Any] = np.square,
) -> Arrays | None:
    """Adam with its ingredients open to exchange: what moves, its count, memory and β.

    The mistake is made in this step, on moments that were right so far, or from the start. Of
    arrays, each adds to the count; the count is no less than `fewest`. With `largest`, the second
    moment that moves is the largest so far.
    """
    optimizer = setting.trace.configuration.optimizer
    if optimizer.name != "adam":
        return None
    before = learner_before(setting.trace, setting.step)
    state = before.optimizer
    assert state.first_moment is not None
    assert state.second_moment is not None
    first_moments, second_moments = map(named_arrays, (state.first_moment, state.second_moment))
    betas = (optimizer.beta_1, optimizer.beta_2)
    beta_1, beta_2 = reversed(betas) if betas_exchanged else betas
    b_1, b_2 = (float(np.float32(b)) if betas_rounded else b for b in (beta_1, beta_2))
    t = state.n_steps + 1 + ahead if counted else 1
    t = t if fewest is None else max(t, fewest)
    if t < 1:
        return None
    gradients = [named_arrays(step.gradients) for step in setting.trace.steps[: setting.step + 1]]
    found: Arrays = {}
    parameters = named_arrays(before.parameters)
    for number, (name, p) in enumerate(parameters.items()):
        count = state.n_steps * len(parameters) + number + 1 if of_arrays else t
        m, v = first_moments[name], second_moments[name]
        if from_the_start or not kept:
            m, v = np.zeros_like(p), np.zeros_like(p)
        most = np.zeros_like(p)
        for g in gradients if from_the_start else gradients[-1:]:
            m = b_1 * m + weights(b_1) * g[name]
            v = b_2 * v + (second_weights or weights)(b_2) * size(g[name])
            most = np.maximum(most, v)
        sums = (sum_of_weights(beta, count) for beta in (beta_1, beta_2))
        step = move(m, most if largest else v, *sums, optimizer.epsilon)
        found[name] = p - optimizer.learning_rate * step
    return found


def nesterov(setting: Setting) -> Arrays | None:
    """Adam that goes on along its first moment: β₁ m / (1 − β₁^(t+1)) + (1 − β₁) g / (1 − β₁^t)."""
    optimizer, before = setting.trace.configuration.optimizer, unmoved(setting)
    if optimizer.name != "adam":
        return None
    _, state = optimizer_step(
        optimizer,
        learner_before(setting.trace, setting.step).parameters,
        setting.trace.steps[setting.step].gradients,
        learner_before(setting.trace, setting.step).optimizer,
    )
    assert state.first_moment is not None
    assert state.second_moment is not None
    m, v = map(named_arrays, (state.first_moment, state.second_moment))
    g = named_arrays(setting.trace.steps[setting.step].gradients)
    b, t, found = optimizer.beta_1, state.n_steps, {}
    for name, p in before.items():
        along = b * m[name] / (1 - b ** (t + 1)) + (1 - b) * g[name] / (1 - b**t)
        size = np.sqrt(v[name] / (1 - optimizer.beta_2**t)) + optimizer.epsilon
        found[name] = p - optimizer.learning_rate * along / size
    return found


def counted_from_zero(setting: Setting) -> Arrays | None:
    """Adam with t one too low: of 0 in the first step, kept from that by a small number.

    1 − β^t is all but nothing there, and the step as much too large as the number was small.
    """
    if setting.trace.configuration.optimizer.name != "adam":
        return None
    if learner_before(setting.trace, setting.step).optimizer.n_steps:
        return adam(setting, ahead=-1)
    factor = factor_of_move(setting)
    if factor < LEAST_WITHOUT_COUNT:
        return None
    start = unmoved(setting)
    return {name: start[name] + factor * (p - start[name]) for name, p in setting.right.items()}


def factor_of_move(setting: Setting) -> float:
    """How many times too far parameters went."""
    start, right = unmoved(setting), setting.right
    names = list(setting.found)
    found, should = (
        np.concatenate([(arrays[name] - start[name]).ravel() for name in names])
        for arrays in (setting.found, right)
    )
    return float(np.sum(found * should) / np.sum(should**2))


def stays(pattern: str, setting: Setting) -> Arrays:
    """Leave the parameters of a pattern where they were."""
    start = unmoved(setting)
    return {
        name: start[name] if fnmatchcase(name, pattern) else array
        for name, array in setting.right.items()
    }


def other_epsilon(epsilon: float, configuration: NetworkConfiguration) -> dict[str, Any]:
    """Give Adam another ε as a changed setting."""
    return {"optimizer": {"epsilon": epsilon}} if configuration.optimizer.name == "adam" else {}


def other_betas(
    beta_1: float | None, beta_2: float | None, configuration: NetworkConfiguration
) -> dict[str, Any]:
    """Give Adam another β as a changed setting."""
    betas = {"beta_1": beta_1, "beta_2": beta_2}
    changed = {name: beta for name, beta in betas.items() if beta is not None}
    return {"optimizer": changed} if configuration.optimizer.name == "adam" else {}


def biases_moved(setting: Setting) -> Arrays | None:
    """Move biases along gradients that were given as 0, in every step so far."""
    trace, step = setting.trace, setting.step
    if trace.configuration.bias:
        return None
    configuration = dataclasses.replace(trace.configuration, bias=True)
    learns = dataclasses.replace(trace, configuration=configuration)
    for number in range(step + 1):
        here = dataclasses.replace(setting, stage=GRADIENTS, step=number)
        learns = GRADIENTS.put(learns, number, run_reference(here, learns))
    return run_reference(setting, learns)


def signs(setting: Setting) -> Arrays:
    """Go by η against the sign of each gradient."""
    eta = setting.trace.configuration.optimizer.learning_rate
    gradients = named_arrays(setting.trace.steps[setting.step].gradients)
    return {name: p - eta * np.sign(gradients[name]) for name, p in unmoved(setting).items()}


def decayed_gradient(decay: float, setting: Setting) -> Arrays:
    """Add so much of the parameters to the gradient, in every step so far."""
    trace = setting.trace

    def added(step: int) -> Any:
        p, g = learner_before(trace, step).parameters, trace.steps[step].gradients
        return Parameters(
            tuple(a + decay * b for a, b in zip(g.weights, p.weights, strict=True)),
            tuple(a + decay * b for a, b in zip(g.biases, p.biases, strict=True)),
            g.readout + decay * p.readout,
        )

    steps = tuple(
        dataclasses.replace(one, gradients=added(step)) if step <= setting.step else one
        for step, one in enumerate(trace.steps)
    )
    return run_reference(setting, dataclasses.replace(trace, steps=steps))


def decayed(moved: bool, setting: Setting) -> Arrays | None:
    """Take so much of the parameters as fits best off them, before the step or when it is done."""
    part = _decay(moved, setting)
    if part is None:
        return None
    start = setting.right if moved else unmoved(setting)
    return {name: array - part * start[name] for name, array in setting.right.items()}


def _decay(moved: bool, setting: Setting) -> float | None:
    """What part of the parameters is missing in all steps; None if none is."""
    missing = size = 0.0
    for one in setting.beside:
        start = one.right if moved else unmoved(one)
        for name, found in one.found.items():
            missing += float(np.sum((one.right[name] - found) * start[name]))
            size += float(np.sum(start[name] ** 2))
    return missing / size if missing > 0 else None


def decay_in_words(moved: bool, settings: Sequence[Setting]) -> str:
    """Say what part of the parameters decays in a step."""
    part = _decay(moved, settings[0])
    eta = settings[0].trace.configuration.optimizer.learning_rate
    assert part is not None
    return (
        f"weights decay by {part:.3g} of themselves a step, η times {part / eta:.3g}: there is no "
        "weight decay"
    )


def momentum(
    decay: float, setting: Setting, weight: float = 1.0, nesterov: bool = False
) -> Arrays | None:
    """Descend along m ← decay · m + weight · g, where plain descent is asked for.

    Nesterov's goes on from there: along g + decay · m.
    """
    optimizer = setting.trace.configuration.optimizer
    if optimizer.name != "sgd" or len(setting.trace.steps) < 2:
        return None
    start = unmoved(setting)
    m = {name: np.zeros_like(p) for name, p in start.items()}
    for step in setting.trace.steps[: setting.step + 1]:
        g = named_arrays(step.gradients)
        m = {name: decay * m[name] + weight * one for name, one in g.items()}
    along = {name: g[name] + decay * m[name] for name in m} if nesterov else m
    return {name: p - optimizer.learning_rate * along[name] for name, p in start.items()}


def gradient_of_the_step_before(setting: Setting) -> Arrays | None:
    """Move along the gradients of the step before, in every step so far."""
    trace = setting.trace
    if len(trace.steps) < 2:
        return None
    gradients = [step.gradients for step in trace.steps]
    late = [gradients[0], *gradients[:-1]]
    steps = tuple(
        dataclasses.replace(step, gradients=g) for step, g in zip(trace.steps, late, strict=True)
    )
    return run_reference(setting, dataclasses.replace(trace, steps=steps))
