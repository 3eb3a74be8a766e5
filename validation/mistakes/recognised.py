"""Mistakes that are no set of numbers, known by a property of what was found.

A search that stopped early ends anywhere, but its state satisfies all equations except the one that
was searched for; and an array may be right but for a factor, whatever that comes of. Hints give the
numbers that were found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...refimpl import (
    NetworkState,
    disinhibition,
    drive,
    equilibrium,
    error,
    rate,
    softmax,
)
from ..judge import (
    CLOSED_LOOP,
    CLOSED_LOSS,
    OPEN_LOSS,
    UPDATE,
    Arrays,
    layers_from,
    learner_before,
    state_arrays,
)
from ..storage import named_arrays
from .mistake import Setting

FEWEST_TOLD = 3
"""Elements of an array by which a factor is known."""
SAME_FACTOR = 1e-3
"""A factor that is nearer to 1 is none that anybody makes by mistake."""

# A state, and the control signal that it has.


def error_over_the_batch(setting: Setting) -> Arrays | None:
    """Give the state of an error whose softmax sums to 1 over the batch, not over the outputs."""
    if setting.trace.configuration.loss == "mse" or "u_out" not in setting.found:
        return None
    p = softmax(setting.found["u_out"].T).T
    return _at_error(setting, setting.circuit.closed_loop_target - p)


def error_reversed(setting: Setting) -> Arrays | None:
    """Give the state of an error that is output less target."""
    if "u_out" not in setting.found:
        return None
    configuration, target = setting.trace.configuration, setting.circuit.closed_loop_target
    return _at_error(setting, -error(configuration.loss, setting.found["u_out"], target))


def _at_error(setting: Setting, e: np.ndarray) -> Arrays:
    """State in which all layers rest under the control that an error asks for."""
    controller = setting.trace.configuration.controller
    state = _at_control(setting, controller.steady_gain * e)
    return {**state_arrays(state), "c_int": e / controller.leak}


def _at_control(setting: Setting, c: np.ndarray) -> NetworkState:
    """State in which all layers rest while the control signal is held at c."""
    trace, step = setting.trace, setting.step
    parameters = learner_before(trace, step).parameters
    a_1 = drive(trace.inputs[step], parameters.weights[0], parameters.biases[0])
    Q = setting.circuit.feedback
    start = setting.circuit.open_loop
    state, _ = equilibrium(trace.configuration, parameters, a_1, Q, c, start)
    return state


def _found_state(setting: Setting) -> NetworkState | None:
    """What was found, as a state, if all of it was given."""
    found = setting.found
    if len(found) < len(setting.stage.golden(setting.trace, setting.step)):
        return None
    return NetworkState(
        layers_from("u_E", found), layers_from("u_I", found), found["u_out"], found["c_int"]
    )


def _control_found(setting: Setting, state: NetworkState) -> np.ndarray:
    """Control signal by which a state's outputs, or else its inhibitory units, are moved."""
    configuration = setting.trace.configuration
    r_E = [rate(configuration.activation_E, u) for u in state.u_E]
    if configuration.feedback.to_readout:
        readout = learner_before(setting.trace, setting.step).parameters.readout
        return np.asarray(state.u_out - r_E[-1] @ readout)
    q = np.concatenate([r - u for r, u in zip(r_E, state.u_I, strict=True)], axis=-1)
    Q = np.concatenate(setting.circuit.feedback, axis=-1)
    return (q[:, None, :] @ np.linalg.pinv(Q))[:, 0, :]


# A search that stopped early.


def control_not_converged(setting: Setting) -> Arrays | None:
    """State in which all layers rest under the control that was found."""
    state = _found_state(setting)
    if state is None:
        return None
    controller = setting.trace.configuration.controller
    c = _control_found(setting, state)
    rests = _at_control(setting, c)
    e = error(setting.trace.configuration.loss, rests.u_out, setting.circuit.closed_loop_target)
    # The integral may come of either side of the equation, or have the step that was left.
    integrals = [
        *([e / controller.leak] if controller.leak else []),
        c / (controller.k_p * controller.leak + controller.k_i),
        setting.right["c_int"],
    ]
    nearest = min(integrals, key=lambda z: float(np.max(np.abs(z - state.z))))
    if _is_further_on(setting, c, state.z):
        nearest = state.z
    return {**state_arrays(rests), "c_int": nearest}


def _is_further_on(setting: Setting, c: np.ndarray, z: np.ndarray) -> bool:
    """Whether the integral is nearer to the solution than c is, as with the step that is left."""
    controller, right = setting.trace.configuration.controller, setting.right["c_int"]
    gain = controller.k_p * controller.leak + controller.k_i
    missed = np.max(np.abs(c - gain * right), axis=-1)
    return bool(np.all(gain * np.max(np.abs(z - right), axis=-1) <= missed))


def _is_of_error(setting: Setting, z: np.ndarray, e: np.ndarray, missed: float) -> bool:
    """Whether the integral is e / leak of the outputs found, by what c misses κ e."""
    controller = setting.trace.configuration.controller
    apart = float(np.max(np.abs(z - e / controller.leak)))
    return float(controller.steady_gain) * apart <= SAME_FACTOR * missed


def control_left(settings: Sequence[Setting]) -> str:
    """Say by how much c = κ e is missed, or e = 0 where the controller has no leak."""
    left, of_error = [], []
    for setting in settings:
        configuration, state = setting.trace.configuration, _found_state(setting)
        assert state is not None
        c = _control_found(setting, state)
        e = error(configuration.loss, state.u_out, setting.circuit.closed_loop_target)
        if not configuration.controller.leak:
            left.append(float(np.max(np.abs(e))))
            continue
        left.append(float(np.max(np.abs(c - configuration.controller.steady_gain * e))))
        of_error.append(_is_of_error(setting, state.z, e, left[-1]))
    if not of_error:
        return (
            f"e is not 0, where a control without a leak rests: it is {max(left):.2g}, while all "
            "layers rest under this c; the error e is another, or the search stopped early"
        )
    residual = f"c does not solve c = κ e: the residual c − κ e is {max(left):.2g},"
    if all(of_error):
        return (
            f"{residual} of the c under which all layers rest; the c_int that is given does, as it "
            "is e / leak of the outputs: another c than k_p e + k_i z reached the layers, or the "
            "search stopped early and z was taken of e"
        )
    return (
        f"{residual} while all layers rest under this c; the gains in κ, the target or the error e "
        "are others, c was rounded or changed when it had been found, or the search stopped early"
    )


def potential_not_converged(setting: Setting) -> Arrays | None:
    """State that follows from the excitatory potentials found, whatever they are."""
    state = _found_state(setting)
    if state is None:
        return None
    configuration, c = setting.trace.configuration, None
    readout = learner_before(setting.trace, setting.step).parameters.readout
    u_I = tuple(rate(configuration.activation_E, u) for u in state.u_E)
    u_out, z = u_I[-1] @ readout, np.zeros_like(state.z)
    if setting.stage is CLOSED_LOOP:
        target, controller = setting.circuit.closed_loop_target, configuration.controller
        e = error(configuration.loss, state.u_out, target)
        c, z = controller.steady_gain * e, e / controller.leak
        u_out = u_out + c if configuration.feedback.to_readout else u_out
        u_I = tuple(
            r - disinhibition(c, Q) for r, Q in zip(u_I, setting.circuit.feedback, strict=True)
        )
    return state_arrays(NetworkState(state.u_E, u_I, u_out, z))


def potential_left(settings: Sequence[Setting]) -> str:
    """Say by how much u_E + φ_I(u_I) = a is missed, and in which layer first."""
    per_layer = np.max([_residuals(setting) for setting in settings], axis=0)
    layer = int(np.argmax(per_layer > np.max(per_layer) / 10))
    return (
        f"u_E does not solve u_E + φ_I(u_I) = a: the residual u_E + φ_I(u_I) − a is "
        f"{per_layer[layer]:.2g} in hidden layer {layer}, while all that follows from u_E fits; "
        "the drive a = h W + b (inputs, weights, biases) or φ_I is another, u_E was rounded when "
        "it had been found, or the search stopped early"
    )


def _residuals(setting: Setting) -> list[float]:
    state, configuration = _found_state(setting), setting.trace.configuration
    assert state is not None
    parameters = learner_before(setting.trace, setting.step).parameters
    r, left = setting.trace.inputs[setting.step], []
    for W, b, u_E, u_I in zip(
        parameters.weights, parameters.biases, state.u_E, state.u_I, strict=True
    ):
        a = drive(r, W, b)
        left.append(float(np.max(np.abs(u_E + rate(configuration.activation_I, u_I) - a))))
        r = rate(configuration.activation_E, u_E)
    return left


# What is zero without control.


def integral_left(setting: Setting) -> Arrays | None:
    """Give what is right with the integral that was found."""
    if "c_int" not in setting.found:
        return None
    return {**setting.right, "c_int": setting.found["c_int"]}


# A factor.


def one_factor(setting: Setting) -> Arrays:
    """Give what is right times one factor, that which fits best."""
    return _times(setting, _one_factor(setting))


def a_factor_each(setting: Setting) -> Arrays | None:
    """Give each array times the factor that fits it best, where it is not the same for all."""
    factors = _a_factor_each(setting)
    return _times(setting, factors) if len(set(map(_shown, factors.values()))) > 1 else None


def integral_times_factor(setting: Setting) -> Arrays | None:
    """Give the integral times the factor that fits it best, and all else as it should be."""
    factor = _a_factor_each(setting).get("c_int", 1.0)
    return None if factor == 1 else _times(setting, {"c_int": factor})


def one_factor_of_losses(setting: Setting) -> Arrays | None:
    """Give losses times one factor, the same for both loops and in all steps."""
    factor = _factor_in_all_steps(setting, (OPEN_LOSS, CLOSED_LOSS))
    return _losses_times(setting, dict.fromkeys((OPEN_LOSS, CLOSED_LOSS), factor))


def a_factor_each_of_losses(setting: Setting) -> Arrays | None:
    """Give each loop's losses times a factor, the same in all steps."""
    factors = _factors_of_losses(setting)
    return _losses_times(setting, factors) if len(set(map(_shown, factors.values()))) > 1 else None


def _factors_of_losses(setting: Setting) -> dict[str, float]:
    return {name: _factor_in_all_steps(setting, (name,)) for name in (OPEN_LOSS, CLOSED_LOSS)}


def _losses_times(setting: Setting, factors: dict[str, float]) -> Arrays:
    return {name: factors.get(name, 1.0) * array for name, array in setting.right.items()}


def _factor_in_all_steps(setting: Setting, names: Sequence[str]) -> float:
    """Factor of losses in all steps: one step has so few that any factor fits."""
    pairs = [
        (one.found[name], one.right[name])
        for one in setting.beside
        for name in names
        if name in one.found
    ]
    return _factor(*(np.array([float(pair[n]) for pair in pairs]) for n in (0, 1)))


def loss_factor_in_words(settings: Sequence[Setting]) -> str:
    """Say which factor all losses have."""
    factor = _factor_in_all_steps(settings[0], (OPEN_LOSS, CLOSED_LOSS))
    return f"all losses are {_shown(factor)} times what they should be"


def loss_factors_in_words(settings: Sequence[Setting]) -> str:
    """Say which factors the losses have that are not right."""
    factors = {n: f for n, f in _factors_of_losses(settings[0]).items() if f != 1}
    listed = ", ".join(f"{name} is {_shown(factor)} times" for name, factor in factors.items())
    return f"right but for a factor, in every step: {listed} what it should be"


def factor_in_words(settings: Sequence[Setting]) -> str:
    """Say which one factor what was found has in each step."""
    factors = [_one_factor(setting)[""] for setting in settings]
    if settings[0].stage is UPDATE:
        eta = settings[0].trace.configuration.optimizer.learning_rate
        return f"every movement is {_listed(factors)} times what it should be: η is {eta:g}"
    return f"all is right but for a factor: it is {_listed(factors)} times what it should be"


def factors_in_words(settings: Sequence[Setting]) -> str:
    """Say which factors the arrays have that are not right."""
    if settings[0].stage is CLOSED_LOOP:
        integral = [_a_factor_each(setting)["c_int"] for setting in settings]
        return f"right but for a factor: c_int is {_listed(integral)} times what it should be"
    steps = [_a_factor_each(setting) for setting in settings]
    parts = [
        f"{name} is {_listed([factors[name] for factors in steps])} times"
        for name in steps[0]
        if any(_shown(factors[name]) != "1" for factors in steps)
    ]
    if settings[0].stage is UPDATE:
        return f"movements are right but for a factor: {', '.join(parts)} what it should be"
    return f"right but for a factor: {', '.join(parts)} what it should be"


def _listed(factors: Sequence[float]) -> str:
    """One number, if it is the same in every step, or else one a step."""
    texts = list(map(_shown, factors))
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)}, step by step)"


def _shown(factor: float) -> str:
    return f"{factor:.4g}"


def _times(setting: Setting, factors: dict[str, float]) -> Arrays:
    start, right = _start(setting), setting.right
    return {
        name: start[name] + factors.get(name, factors.get("", 1.0)) * (array - start[name])
        for name, array in right.items()
    }


def _start(setting: Setting) -> Arrays:
    """What a factor leaves alone: the parameters that an update moves, else nothing."""
    if setting.stage is UPDATE:
        return named_arrays(learner_before(setting.trace, setting.step).parameters)
    return {name: np.zeros_like(array) for name, array in setting.right.items()}


def _one_factor(setting: Setting) -> dict[str, float]:
    """Factor of all arrays together, by the name "" that stands for each."""
    start, right = _start(setting), setting.right

    def joined(arrays: Arrays) -> np.ndarray:
        moved = [(arrays[name] - start[name]).ravel() for name in setting.found]
        return np.concatenate([np.zeros(0), *moved])

    return {"": _factor(joined(setting.found), joined(right))}


def _a_factor_each(setting: Setting) -> dict[str, float]:
    start, right = _start(setting), setting.right
    return {
        name: _factor(found - start[name], right[name] - start[name])
        for name, found in setting.found.items()
    }


def _factor(found: np.ndarray, right: np.ndarray) -> float:
    """Factor by which the one is nearest to the other; 1 where so few numbers say nothing."""
    factor = float(np.sum(found * right) / np.sum(right**2))
    told = found.size >= FEWEST_TOLD and np.isfinite(factor) and abs(factor - 1) > SAME_FACTOR
    return factor if told else 1.0
