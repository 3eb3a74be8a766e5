"""How a port in integers computes, a stage at a time: as it should, or with a mistake in it.

`Making` is what may be another; `all_stages` is a whole run, `single_stage` and `ticks_of_stage` a
part of one from what came before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..refimpl import (
    Learner,
    NetworkConfiguration,
    NetworkState,
    OptimizerState,
    Parameters,
)
from ..refimpl.integers import (
    Chance,
    Chip,
    Here,
    Overflows,
    backprop,
    closed_loop_target,
    drive,
    feedback_weights,
    plasticity_gradients,
    resting_state,
    tick,
    updated,
    updated_mean_inhibition,
)

Arrays = dict[str, np.ndarray]
Control = tuple[tuple[np.ndarray, ...], np.ndarray] | None
"""Q and target, or None in open loop."""


@dataclass(frozen=True)
class Making:
    """How integers are come to: what is fixed, how bits are dropped and kept, how a tick is taken.

    Parameters are changed before a stage has them, Q and g after. Late, r̄ is that of before.
    """

    chip: Chip
    kind: Callable[[Overflows, Chance], Here] = Here
    ticked: Callable[..., NetworkState] = tick
    of_parameters: Callable[[Parameters], Parameters] = lambda parameters: parameters
    of_gradients: Callable[[Parameters], Parameters] = lambda gradients: gradients
    of_feedback: Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]] = lambda Q: Q
    r_bar_is_late: bool = False

    def here(self, step: int, overflows: Overflows | None = None) -> Here:
        """Where step number so and so begins."""
        seed = self.chip.arithmetic.seed
        return self.kind(Overflows() if overflows is None else overflows, Chance(seed, step))


# The stages of a step, by what each is called in an answer's path.


def stages_of(network: NetworkConfiguration) -> tuple[str, ...]:
    """In the order in which they follow from one another."""
    if network.rule == "backprop":
        return ("output", "gradients", "parameters")
    mean = ("mean_inhibition",) if network.rule == "linear-threshold" else ()
    return (
        "open_loop", *mean, "feedback_weights", "target", "closed_loop", "gradients", "parameters",
    )  # fmt: skip


def ticks_of_stage(
    making: Making,
    stage: str,
    parameters: Parameters,
    x: np.ndarray,
    start: NetworkState,
    control: Control,
    here: Here,
    after: int = 0,
) -> Iterator[NetworkState]:
    """States after the ticks of a loop, from the state after so many of them."""
    chip, parameters = making.chip, making.of_parameters(parameters)
    a_1 = drive(chip, x, "input", parameters.weights[0], parameters.biases[0], here)
    n, state = chip.arithmetic.ticks, start
    first = n if stage == "closed_loop" else 0
    for number in range(after + 1, n + 1):
        at = here.at_tick(first + number)
        state = making.ticked(chip, parameters, a_1, state, control, at)
        yield state


@dataclass(frozen=True)
class Given:
    """What a stage has of those before it; only what it needs is there."""

    learner: Learner
    x: np.ndarray
    y: np.ndarray
    opened: NetworkState | None = None
    r_bar: tuple[np.ndarray, ...] = ()
    Q: tuple[np.ndarray, ...] = ()
    target: np.ndarray | None = None
    closed: NetworkState | None = None
    gradients: Parameters | None = None


def single_stage(making: Making, stage: str, given: Given, here: Here) -> Arrays:
    """What a stage without ticks comes to, by the names of its arrays."""
    chip, learner, y = making.chip, given.learner, given.y
    parameters = making.of_parameters(learner.parameters)
    if stage == "output":
        return {"u_out": backprop(chip, parameters, given.x, y, here)[0]}
    if stage == "gradients" and chip.network.rule == "backprop":
        return named_parameters(
            making.of_gradients(backprop(chip, parameters, given.x, y, here)[1])
        )
    if stage == "parameters":
        assert given.gradients is not None
        moved = updated(chip, learner, given.gradients, learner.mean_inhibition, here)
        return named_parameters(moved.parameters)
    opened = given.opened
    assert opened is not None
    if stage == "mean_inhibition":
        r_bar = updated_mean_inhibition(chip, learner.mean_inhibition, opened, here)
        return {f"r_bar_{l}": r for l, r in enumerate(r_bar)}
    if stage == "feedback_weights":
        Q = making.of_feedback(feedback_weights(chip, parameters, opened, here))
        return {f"Q_{l}": Q_l for l, Q_l in enumerate(Q)}
    if stage == "target":
        return {"target": closed_loop_target(chip, opened.u_out, y, here)}
    assert given.closed is not None
    r_bar = learner.mean_inhibition if making.r_bar_is_late else given.r_bar
    g = plasticity_gradients(chip, parameters, given.x, y, opened, given.closed, r_bar, here)
    return named_parameters(making.of_gradients(g))


def named_parameters(parameters: Parameters) -> Arrays:
    """By the names of an answer's arrays."""
    named: Arrays = {}
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        named |= {f"hidden_{l}_weight": W, f"hidden_{l}_bias": b}
    return {**named, "readout_weight": parameters.readout}


def parameters_named(arrays: Arrays, n_hidden: int) -> Parameters:
    """The reverse."""
    return Parameters(
        tuple(arrays[f"hidden_{l}_weight"] for l in range(n_hidden)),
        tuple(arrays[f"hidden_{l}_bias"] for l in range(n_hidden)),
        arrays["readout_weight"],
    )


def named_states(states: list[NetworkState], with_z: bool) -> Arrays:
    """All ticks of a loop, one after the other in front."""
    named: Arrays = {}
    for l in range(len(states[0].u_E)):
        named[f"u_E_{l}"] = np.stack([state.u_E[l] for state in states])
        named[f"u_I_{l}"] = np.stack([state.u_I[l] for state in states])
    named["u_out"] = np.stack([state.u_out for state in states])
    return {**named, "z": np.stack([state.z for state in states])} if with_z else named


def all_stages(
    making: Making,
    learner: Learner,
    inputs: np.ndarray,
    targets: np.ndarray,
    overflows: Overflows | None = None,
) -> Iterator[tuple[str, Arrays]]:
    """All that a port comes to, a stage at a time, by its path `steps/0000/open_loop`."""
    network, seen = making.chip.network, overflows or Overflows()
    for number, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        here = making.here(learner.optimizer.n_steps, seen)
        given = Given(learner, x, y, r_bar=learner.mean_inhibition)
        for stage in stages_of(network):
            if stage in ("open_loop", "closed_loop"):
                start, control = start_of(stage, given), control_of(stage, given)
                parameters = learner.parameters
                ticks = ticks_of_stage(making, stage, parameters, x, start, control, here)
                states = list(ticks)
                found = named_states(states, with_z=stage == "closed_loop")
            else:
                found = single_stage(making, stage, given, here)
            yield f"steps/{number:04d}/{stage}", found
            given = with_stage(given, stage, found, network.n_hidden)
        learner = learner_after(given, found, network.n_hidden)


def learner_after(given: Given, parameters: Arrays, n_hidden: int) -> Learner:
    """What the next step begins with."""
    moved = parameters_named(parameters, n_hidden)
    n_steps = given.learner.optimizer.n_steps + 1
    return Learner(moved, OptimizerState(n_steps), given.r_bar)


def with_stage(given: Given, stage: str, found: Arrays, n_hidden: int) -> Given:
    """Take what a stage came to into what the next ones are given."""
    if stage in ("open_loop", "closed_loop"):
        z = found["z"][-1] if "z" in found else np.zeros_like(found["u_out"][-1])
        end = NetworkState(
            tuple(found[f"u_E_{l}"][-1] for l in range(n_hidden)),
            tuple(found[f"u_I_{l}"][-1] for l in range(n_hidden)),
            found["u_out"][-1],
            z,
        )
        if stage == "open_loop":
            return replace(given, opened=end)
        return replace(given, closed=end)
    if stage == "mean_inhibition":
        return replace(given, r_bar=tuple(found[f"r_bar_{l}"] for l in range(n_hidden)))
    if stage == "feedback_weights":
        return replace(given, Q=tuple(found[f"Q_{l}"] for l in range(n_hidden)))
    if stage == "target":
        return replace(given, target=found["target"])
    if stage == "gradients":
        return replace(given, gradients=parameters_named(found, n_hidden))
    return given


def start_of(stage: str, given: Given) -> NetworkState:
    """Where a loop begins: at rest, or where the open loop ended, with z = 0."""
    if stage == "open_loop":
        return resting_state(given.learner.parameters, len(given.x))
    assert given.opened is not None
    return replace(given.opened, z=np.zeros_like(given.opened.z))


def control_of(stage: str, given: Given) -> Control:
    """What control a loop is under."""
    if stage == "open_loop":
        return None
    assert given.target is not None
    return given.Q, given.target
