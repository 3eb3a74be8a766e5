"""Usual mistakes in the running mean, the rule and the optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ...refimpl import (
    NetworkConfiguration,
    OptimizerState,
    Parameters,
    error,
    estimated_inhibitory_potential,
    mean_outer_product,
    rate,
    slope,
)
from ..judge import GRADIENTS, MEAN_INHIBITION, UPDATE, Arrays, learner_before
from ..storage import named_arrays
from .mistake import Mistake, Setting, misconfigured, misreported, run_reference


def _mean(setting: Setting, batch_mean: Callable[[int], np.ndarray], rho: float) -> Arrays:
    before = learner_before(setting.trace, setting.step).mean_inhibition
    return {f"r_I_{l}": (1 - rho) * r + rho * batch_mean(l) for l, r in enumerate(before)}


def _rho(setting: Setting) -> float:
    return float(setting.trace.configuration.mean_inhibition.rate)


def _not_updated(setting: Setting) -> Arrays:
    return _mean(setting, lambda l: np.zeros(()), 0.0)


def _of_potentials(setting: Setting) -> Arrays:
    u_I = setting.circuit.open_loop.u_I
    return _mean(setting, lambda l: np.mean(u_I[l], axis=0), _rho(setting))


def _in_closed_loop(setting: Setting) -> Arrays:
    phi, u_I = setting.trace.configuration.activation_I, setting.circuit.closed_loop.u_I
    return _mean(setting, lambda l: np.mean(rate(phi, u_I[l]), axis=0), _rho(setting))


def _rate_of_mean(setting: Setting) -> Arrays:
    phi, u_I = setting.trace.configuration.activation_I, setting.circuit.open_loop.u_I
    return _mean(setting, lambda l: rate(phi, np.mean(u_I[l], axis=0)), _rho(setting))


def _rho_exchanged(configuration: NetworkConfiguration) -> NetworkConfiguration:
    mean = configuration.mean_inhibition
    return dataclasses.replace(
        configuration, mean_inhibition=dataclasses.replace(mean, rate=1 - mean.rate)
    )


def _rule(name: str) -> Callable[[NetworkConfiguration], NetworkConfiguration]:
    def change(configuration: NetworkConfiguration) -> NetworkConfiguration:
        if configuration.rule == "backprop":
            return configuration
        return dataclasses.replace(configuration, rule=name)

    return change


def _written_out(
    setting: Setting,
    state: str = "closed_loop",
    pre_state: str | None = None,
    r_bar: tuple[np.ndarray, ...] | None = None,
    slope_of: Callable[[np.ndarray], np.ndarray] | None = None,
    estimate_of: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    delta_out: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Arrays | None:
    """Section 5 with its ingredients open to exchange."""
    trace, configuration = setting.trace, setting.trace.configuration
    if configuration.rule == "backprop":
        return None
    phi_E = configuration.activation_E
    right = run_reference(GRADIENTS, trace, setting)
    means = r_bar or setting.circuit.mean_inhibition
    means = means or learner_before(trace, setting.step).mean_inhibition
    post = getattr(setting.circuit, state)
    before = getattr(setting.circuit, pre_state or state)
    arrays: Arrays = {}
    pre = trace.inputs[setting.step]
    for l, (u_E, u_I) in enumerate(zip(post.u_E, post.u_I, strict=True)):
        estimate = (
            estimated_inhibitory_potential(configuration, u_I, means[l])
            if estimate_of is None
            else estimate_of(u_E, u_I)
        )
        slopes = slope(phi_E, u_E) if slope_of is None else slope_of(u_E)
        delta = (estimate - rate(phi_E, u_E)) * slopes
        arrays[f"hidden_{l}/weight"] = mean_outer_product(pre, delta)
        arrays[f"hidden_{l}/bias"] = np.mean(delta, axis=0)
        pre = rate(phi_E, before.u_E[l])
    if delta_out is None:
        return {**arrays, "readout/weight": right["readout/weight"]}
    pre = rate(phi_E, setting.circuit.closed_loop.u_E[-1])
    readout = learner_before(trace, setting.step).parameters.readout
    u_out = setting.circuit.closed_loop.u_out
    return {**arrays, "readout/weight": mean_outer_product(pre, delta_out(pre @ readout, u_out))}


def _slope_at_rate(setting: Setting) -> Arrays | None:
    phi = setting.trace.configuration.activation_E
    return _written_out(setting, slope_of=lambda u: slope(phi, rate(phi, u)))


def _late_mean(setting: Setting) -> Arrays | None:
    if setting.trace.configuration.rule != "linear-threshold":
        return None
    late = learner_before(setting.trace, setting.step).mean_inhibition
    return _written_out(setting, r_bar=late)


def _rate_as_estimate(setting: Setting) -> Arrays | None:
    phi = setting.trace.configuration.activation_I
    return _written_out(setting, estimate_of=lambda u_E, u_I: rate(phi, u_I))


def _potential_instead_of_rate(setting: Setting) -> Arrays | None:
    """δ = (û_I − u_E) φ_E'."""
    phi = setting.trace.configuration.activation_E
    return _written_out(setting, estimate_of=lambda u_E, u_I: u_I - u_E + rate(phi, u_E))


def _loss_gradient_at_readout(setting: Setting) -> Arrays | None:
    configuration = setting.trace.configuration
    if not configuration.feedback.to_readout:
        return None
    y = setting.trace.targets[setting.step]
    return _written_out(
        setting, delta_out=lambda prediction, u_out: -error(configuration.loss, prediction, y)
    )


def _controlled_readout(setting: Setting) -> Arrays | None:
    if setting.trace.configuration.feedback.to_readout:
        return None
    return _written_out(setting, delta_out=lambda prediction, u_out: prediction - u_out)


def _scaled(factor: Callable[[Setting], float]) -> Callable[[Setting, Arrays], Arrays]:
    return lambda setting, arrays: {name: factor(setting) * array for name, array in arrays.items()}


def _batch(setting: Setting) -> float:
    return float(setting.trace.inputs.shape[1])


def _transposed(setting: Setting, arrays: Arrays) -> Arrays | None:
    square = {
        name for name, array in arrays.items() if array.ndim == 2 and len({*array.shape}) == 1
    }
    if not square:
        return None
    return {name: array.T if name in square else array for name, array in arrays.items()}


def _one_sign(which: str) -> Callable[[Setting, Arrays], Arrays]:
    """Only the hidden layers', or only the readout's, are negated."""
    return lambda setting, arrays: {
        name: -array if name.startswith(which) else array for name, array in arrays.items()
    }


def _ascent(setting: Setting, arrays: Arrays) -> Arrays:
    before = named_arrays(learner_before(setting.trace, setting.step).parameters)
    return {name: 2 * before[name] - array for name, array in arrays.items()}


def _as_given(setting: Setting, arrays: Arrays) -> Arrays:
    return named_arrays(learner_before(setting.trace, setting.step).parameters)


def _adam(
    setting: Setting,
    move: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    of_this_step_alone: bool = False,
    betas: tuple[float, float] | None = None,
) -> Arrays | None:
    """Adam with another last line: `move` is of (m, v, t), and is multiplied by η."""
    optimizer = setting.trace.configuration.optimizer
    if optimizer.name != "adam":
        return None
    before = learner_before(setting.trace, setting.step)
    state: OptimizerState = before.optimizer
    assert state.first_moment is not None
    assert state.second_moment is not None
    gradients: Parameters = setting.trace.steps[setting.step].gradients
    beta_1, beta_2 = betas or (optimizer.beta_1, optimizer.beta_2)
    t = 1 if of_this_step_alone else state.n_steps + 1
    arrays: Arrays = {}
    for (name, p), g, m, v in zip(
        named_arrays(before.parameters).items(),
        named_arrays(gradients).values(),
        named_arrays(state.first_moment).values(),
        named_arrays(state.second_moment).values(),
        strict=True,
    ):
        m = 0 * m if of_this_step_alone else m
        v = 0 * v if of_this_step_alone else v
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        arrays[name] = p - optimizer.learning_rate * move(m, v, t)
    return arrays


def _uncorrected(setting: Setting) -> Arrays | None:
    epsilon = setting.trace.configuration.optimizer.epsilon
    return _adam(setting, lambda m, v, t: m / (np.sqrt(v) + epsilon))


def _step_too_low(setting: Setting) -> Arrays | None:
    """Counting from 0: the first step divides by 0."""
    optimizer = setting.trace.configuration.optimizer

    def move(m: np.ndarray, v: np.ndarray, t: int) -> np.ndarray:
        first, second = 1 - optimizer.beta_1 ** (t + 1), 1 - optimizer.beta_2 ** (t + 1)
        return m / first / (np.sqrt(v / second) + optimizer.epsilon)

    return _adam(setting, move)


def _epsilon_inside(setting: Setting) -> Arrays | None:
    optimizer = setting.trace.configuration.optimizer

    def move(m: np.ndarray, v: np.ndarray, t: int) -> np.ndarray:
        first, second = 1 - optimizer.beta_1**t, 1 - optimizer.beta_2**t
        return m / first / np.sqrt(v / second + optimizer.epsilon)

    return _adam(setting, move)


def _epsilon_before_correction(setting: Setting) -> Arrays | None:
    optimizer = setting.trace.configuration.optimizer

    def move(m: np.ndarray, v: np.ndarray, t: int) -> np.ndarray:
        first, second = 1 - optimizer.beta_1**t, 1 - optimizer.beta_2**t
        return np.sqrt(second) / first * m / (np.sqrt(v) + optimizer.epsilon)

    return _adam(setting, move)


def _forgetful(setting: Setting) -> Arrays | None:
    optimizer = setting.trace.configuration.optimizer

    def move(m: np.ndarray, v: np.ndarray, t: int) -> np.ndarray:
        first, second = 1 - optimizer.beta_1**t, 1 - optimizer.beta_2**t
        return m / first / (np.sqrt(v / second) + optimizer.epsilon)

    return _adam(setting, move, of_this_step_alone=True)


def _plain_descent(setting: Setting, arrays: Arrays) -> Arrays | None:
    optimizer = setting.trace.configuration.optimizer
    if optimizer.name == "sgd":
        return None
    before = named_arrays(learner_before(setting.trace, setting.step).parameters)
    gradients = named_arrays(setting.trace.steps[setting.step].gradients)
    return {name: p - optimizer.learning_rate * gradients[name] for name, p in before.items()}


def _betas_exchanged(configuration: NetworkConfiguration) -> NetworkConfiguration:
    optimizer = configuration.optimizer
    return dataclasses.replace(
        configuration,
        optimizer=dataclasses.replace(optimizer, beta_1=optimizer.beta_2, beta_2=optimizer.beta_1),
    )


def _betas_exchanged_now(setting: Setting) -> Arrays | None:
    """In this step, on moments that were right so far."""
    optimizer = setting.trace.configuration.optimizer
    beta_1, beta_2 = optimizer.beta_2, optimizer.beta_1

    def move(m: np.ndarray, v: np.ndarray, t: int) -> np.ndarray:
        return m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + optimizer.epsilon)

    return _adam(setting, move, betas=(beta_1, beta_2))


EXCHANGED_BETAS = "Adam's β₁ and β₂ are exchanged"

MISTAKES: list[Mistake] = [
    Mistake(
        MEAN_INHIBITION,
        "the running mean is updated late: it takes in the present batch before it is used",
        _not_updated,
    ),
    Mistake(
        MEAN_INHIBITION,
        "potentials where rates belong, or, what is the same at rest, excitatory rates where "
        "inhibitory ones do: r̄ is a mean of φ_I(u_I)",
        _of_potentials,
    ),
    Mistake(
        MEAN_INHIBITION,
        "the mean is taken in the closed loop: it belongs to the open loop",
        _in_closed_loop,
    ),
    Mistake(
        MEAN_INHIBITION,
        "the rate of the mean potential: it is the mean of the rates",
        _rate_of_mean,
    ),
    misconfigured(
        MEAN_INHIBITION,
        "ρ and 1 − ρ are exchanged: r̄ ← (1 − ρ) r̄ + ρ · batch mean",
        _rho_exchanged,
    ),
    misreported(
        GRADIENTS,
        "the sign of δ: δ = û_I − r_E, and parameters descend along g",
        _scaled(lambda setting: -1.0),
    ),
    misreported(GRADIENTS, "the sign of the hidden layers' δ: δ = û_I − r_E", _one_sign("hidden")),
    misreported(
        GRADIENTS,
        "the sign of the readout's δ: δ_out = φ_E(u_E^L) W_out − u_out",
        _one_sign("readout"),
    ),
    misreported(GRADIENTS, "summed over the batch: g is a mean", _scaled(_batch)),
    misreported(
        GRADIENTS,
        "the biases' gradients are summed over the batch: g is a mean",
        lambda setting, arrays: {
            name: _batch(setting) * array if name.endswith("bias") else array
            for name, array in arrays.items()
        },
    ),
    misreported(
        GRADIENTS,
        "divided by the batch size twice",
        _scaled(lambda setting: 1 / _batch(setting)),
    ),
    misreported(GRADIENTS, "weights are transposed: g(W) = preᵀ δ is (n_in, n_out)", _transposed),
    misconfigured(
        GRADIENTS, "the exact inverse, where the rule is another", _rule("exact-inverse")
    ),
    misconfigured(
        GRADIENTS,
        "the running r̄ is linearised at, where the rule is another",
        _rule("linear-threshold"),
    ),
    misconfigured(
        GRADIENTS,
        "a fixed r₀ is linearised at, where the rule is another",
        _rule("linear-threshold-fixed"),
    ),
    Mistake(
        GRADIENTS,
        "the running mean is updated late: r̄ takes in the present batch before it is used",
        _late_mean,
    ),
    Mistake(
        GRADIENTS,
        "the factor φ_E'(u_E) is missing from δ",
        lambda setting: _written_out(setting, slope_of=np.ones_like),
    ),
    Mistake(
        GRADIENTS,
        "rates where potentials belong: φ_E' is to be taken at u_E, not at φ_E(u_E)",
        _slope_at_rate,
    ),
    Mistake(
        GRADIENTS,
        "rates where potentials belong: û_I is a potential, not φ_I(u_I)",
        _rate_as_estimate,
    ),
    Mistake(
        GRADIENTS,
        "potentials where rates belong: δ = û_I − φ_E(u_E), not û_I − u_E",
        _potential_instead_of_rate,
    ),
    Mistake(
        GRADIENTS,
        "learning takes place at the open-loop state: it belongs to the closed loop",
        lambda setting: _written_out(setting, state="open_loop"),
    ),
    Mistake(
        GRADIENTS,
        "presynaptic rates are those of the open loop: they belong to the closed loop",
        lambda setting: _written_out(setting, pre_state="open_loop"),
    ),
    Mistake(
        GRADIENTS,
        "the readout follows the loss's gradient: with feedback, δ_out = φ_E(u_E^L) W_out − u_out",
        _loss_gradient_at_readout,
    ),
    Mistake(
        GRADIENTS,
        "the readout has no feedback: it follows the loss's gradient at the open-loop output",
        _controlled_readout,
    ),
    misreported(UPDATE, "the sign of the step: parameters descend along g", _ascent),
    misreported(UPDATE, "the parameters have not moved", _as_given),
    misreported(UPDATE, "plain descent, where the optimiser is Adam", _plain_descent),
    Mistake(UPDATE, "Adam's bias correction is missing", _uncorrected),
    Mistake(UPDATE, "Adam's step counter is one too high: t counts from 1", _step_too_low),
    Mistake(UPDATE, "Adam's ε is inside the root: m̂ / (√v̂ + ε)", _epsilon_inside),
    Mistake(
        UPDATE,
        "Adam's ε is added before the bias correction: m̂ / (√v̂ + ε)",
        _epsilon_before_correction,
    ),
    Mistake(UPDATE, "Adam's moments are not kept from step to step", _forgetful),
    misconfigured(UPDATE, EXCHANGED_BETAS, _betas_exchanged),
    Mistake(UPDATE, EXCHANGED_BETAS, _betas_exchanged_now),
]
"""All of them."""
