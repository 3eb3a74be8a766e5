"""Usual mistakes in r̄, rule and optimiser that are more than a changed setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...refimpl import (
    NetworkConfiguration,
    SoftReLU,
    error,
    estimated_inhibitory_potential,
    forward,
    inverse,
    mean_outer_product,
    rate,
    slope,
    softmax,
)
from ..judge import Arrays, layer_arrays, learner_before
from ..storage import named_arrays
from ..trace import Trace
from .mistake import Setting


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


def _mean(setting: Setting, taken_in: list[np.ndarray]) -> Arrays:
    rho = float(setting.trace.configuration.mean_inhibition.rate)
    before = learner_before(setting.trace, setting.step).mean_inhibition
    means = zip(before, taken_in, strict=True)
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
    phi, r_0 = configuration.activation_I, r_bar
    if configuration.rule == "exact-inverse":
        return u_I
    if configuration.rule == "linear-threshold-fixed":
        r_0 = np.asarray(configuration.mean_inhibition.fixed_point)
    u_0 = inverse(phi, r_0)
    delta = phi.sharpness / slope(phi, u_0)
    return np.asarray(u_0 + delta * (rate(phi, u_I) - r_0))


def written_out(
    setting: Setting,
    post: str = "closed_loop",
    pre: str = "closed_loop",
    r_bar: tuple[np.ndarray, ...] | None = None,
    slope_of: Callable[[SoftReLU, np.ndarray], np.ndarray] = slope,
    slope_at: str = "u_E",
    estimate_of: Callable[..., np.ndarray] = estimate,
    delta_out: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Arrays | None:
    """Section 5 with its ingredients open to exchange."""
    trace, configuration = setting.trace, setting.trace.configuration
    if configuration.rule == "backprop":
        return None
    phi_E = configuration.activation_E
    before = learner_before(trace, setting.step)
    means = r_bar or setting.circuit.mean_inhibition or before.mean_inhibition
    learnt_at, sent_at = getattr(setting.circuit, post), getattr(setting.circuit, pre)
    found: Arrays = {}
    sent = trace.inputs[setting.step]
    for l, (u_E, u_I) in enumerate(zip(learnt_at.u_E, learnt_at.u_I, strict=True)):
        u_hat = estimate_of(configuration, u_E, u_I, means[l])
        at = {"u_E": u_E, "u_I": u_I, "open loop": setting.circuit.open_loop.u_E[l]}[slope_at]
        delta = (u_hat - rate(phi_E, u_E)) * slope_of(phi_E, at)
        found[f"hidden_{l}/weight"] = mean_outer_product(sent, delta)
        found[f"hidden_{l}/bias"] = np.mean(delta, axis=0)
        sent = rate(phi_E, sent_at.u_E[l])
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


def initial_mean(setting: Setting) -> Arrays | None:
    """Linearise at r̄ as it was before the first step, where the rule learns it."""
    if setting.trace.configuration.rule != "linear-threshold":
        return None
    return written_out(setting, r_bar=learner_before(setting.trace, 0).mean_inhibition)


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


def epsilon_inside(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move with ε inside the root."""
    return m / first / np.sqrt(v / second + epsilon)


def epsilon_before_correction(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move with ε added before the bias correction."""
    return np.sqrt(second) / first * m / (np.sqrt(v) + epsilon)


def without_epsilon(m: Any, v: Any, first: float, second: float, epsilon: float) -> Any:
    """Move without ε; where nothing ever moved it, a parameter stays."""
    return m / first / np.sqrt(np.where(v > 0, v / second, 1))


def sum_of_weights(beta: float, t: int) -> float:
    """1 − β^t, what the weights of t gradients sum to."""
    return 1 - beta**t


def rounded_sum_of_weights(beta: float, t: int) -> float:
    """1 − β^t in float32."""
    return float(np.float32(1) - np.float32(beta) ** np.float32(t))


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
) -> Arrays | None:
    """Adam with its ingredients open to exchange: what moves, its count, memory and β.

    The mistake is made in this step, on moments that were right so far, or from the start.
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
    gradients = [named_arrays(step.gradients) for step in setting.trace.steps[: setting.step + 1]]
    found: Arrays = {}
    for name, p in named_arrays(before.parameters).items():
        m, v = first_moments[name], second_moments[name]
        if from_the_start or not kept:
            m, v = np.zeros_like(p), np.zeros_like(p)
        for g in gradients if from_the_start else gradients[-1:]:
            m = b_1 * m + (1 - b_1) * g[name]
            v = b_2 * v + (1 - b_2) * g[name] ** 2
        step = move(m, v, sum_of_weights(beta_1, t), sum_of_weights(beta_2, t), optimizer.epsilon)
        found[name] = p - optimizer.learning_rate * step
    return found
