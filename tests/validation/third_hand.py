"""Mistakes of which the judge once said something that misled, and those that give much the same.

They are made in the port of `second_hand_port.py`; what is to be said of each is told in full, as
a hint that names another mistake, or one too few, is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .second_hand import (
    b_1,
    exchanged,
    feedback_by_slopes,
    losses_with,
    path_kept,
    renamed,
    scaled_losses,
    set_to,
    slope_I,
)
from .second_hand_port import Port


@dataclass(frozen=True)
class Misled:
    """A mistake, its trace, the stage that it arises in, and a part of each hint there is to be.

    Where no usual mistake gives its numbers, the hint may still say what they show.
    """

    name: str
    trace: str
    arises: str
    change: dict[str, Callable[..., Any]] = field(repr=False)
    says: tuple[str, ...] = ()
    is_usual: bool = True


# Right in the first step that deviates, and wrong in those after it.


def nesterov(port, name, g, t):
    port.m[name] = 0.9 * port.m.get(name, 0 * g) + g
    return g + 0.9 * port.m[name]


def dampened(port, name, g, t):
    port.m[name] = 0.9 * port.m.get(name, 0 * g) + 0.1 * g
    return port.m[name]


def nadam(port, name, g, t):
    port.m[name], port.v[name] = port.moments(name, g)
    b = b_1(port.s)
    m = b * port.m[name] / (1 - b ** (t + 1)) + (1 - b) * g / (1 - b**t)
    return m / (np.sqrt(port.v[name] / (1 - port.s["optimizer.beta_2"] ** t)) + 1e-8)


def mean_feedback(port, states):
    """A running mean over steps, from zero."""
    Qs = Port.feedback(port, states)
    before = [[0 * Q_l for Q_l in Q] for Q in Qs] if port.before is None else port.before.Qs
    return [
        [0.5 * old + 0.5 * new for old, new in zip(Q_before, Q, strict=True)]
        for Q_before, Q in zip(before, Qs, strict=True)
    ]


def debiased_means(port, r_bar, states):
    """From zero and corrected, as Adam's moments are."""
    rho, number = port.s["mean_inhibition.rate"], port.t + 1
    kept = port.m.setdefault("r", [0 * r for r in r_bar])
    port.m["r"] = [(1 - rho) * old + rho * port.batch_mean(states, l) for l, old in enumerate(kept)]
    return [r / (1 - (1 - rho) ** number) for r in port.m["r"]]


def mean_of_two(port, seen, losses):
    before = losses if port.before is None else port.before.plain
    seen.plain = losses
    return {name: (loss + before[name]) / 2 for name, loss in losses.items()}


ONE_STEP_ONLY = (
    Misled(
        "plain descent has Nesterov's momentum",
        "plain-descent",
        "optimiser update",
        {"descent": nesterov},
        ("Nesterov's momentum of 0.9",),
    ),
    Misled(
        "plain descent has a dampened momentum",
        "plain-descent",
        "optimiser update",
        {"descent": dampened},
        ("a dampened momentum of 0.9",),
    ),
    Misled(
        "Adam has Nesterov's momentum",
        "exact-inverse",
        "optimiser update",
        {"adam": nadam},
        ("Adam has Nesterov's momentum",),
    ),
    Misled(
        "the sign of the gradient moves",
        "exact-inverse",
        "optimiser update",
        {"adam": lambda port, name, g, t: np.sign(g)},
        ("the sign of the gradient moves",),
    ),
    Misled(
        "Q is a running mean over steps",
        "exact-inverse",
        "feedback weights",
        {"feedback": mean_feedback},
    ),
    Misled(
        "the running mean starts at zero and is corrected",
        "linear-threshold-running-mean",
        "mean inhibition",
        {"updated_means": debiased_means},
        ("divided by 1 − (1 − ρ)^t",),
    ),
    Misled(
        "losses are means of this step and the last",
        "exact-inverse",
        "losses",
        losses_with(mean_of_two),
    ),
)


# Two mistakes that give the same numbers.


def slope_at_drive(port, state, l):
    return port.slope("E", state.u_E[l] + port.rate("I", state.u_I[l]))


OVER_OUTPUTS = "divided by the number of outputs"
K_P_FOR_K_I = "k_p stands where k_i belongs"
IN_A_LOOP, AT_THE_DRIVE = "the slopes of a loop", "taken at the drive a"
COINCIDENCES = (
    *[
        Misled(
            f"gradients are divided by the number of outputs, {trace}",
            trace,
            "gradients",
            {"count": lambda port, xs: port.n_out},
            ("divided by one less than the batch size", OVER_OUTPUTS),
        )
        for trace in ("exact-inverse", "one-hidden-mse")
    ],
    Misled(
        "gradients are divided by the number of outputs, which tells it apart",
        "many-outputs",
        "gradients",
        {"count": lambda port, xs: port.n_out},
        (OVER_OUTPUTS,),
    ),
    Misled(
        "gradients are divided by one less than the batch size",
        "many-outputs",
        "gradients",
        {"count": lambda port, xs: len(xs) - 1},
        ("divided by one less than the batch size",),
    ),
    Misled(
        "the mean inhibition is divided by the number of outputs",
        "linear-threshold",
        "mean inhibition",
        {
            "batch_mean": lambda port, states, l: (
                Port.batch_mean(port, states, l) * len(states) / port.n_out
            )
        },
        ("divided by one less than its size", OVER_OUTPUTS),
    ),
    Misled(
        "losses are divided by the number of outputs in place of the batch's size",
        "exact-inverse",
        "losses",
        scaled_losses(lambda port, seen: len(seen.ys) / port.n_out),
        ("divided by one less than its size", OVER_OUTPUTS),
    ),
    Misled(
        "Q has slopes at the drive",
        "exact-inverse",
        "feedback weights",
        feedback_by_slopes(slope_at_drive, slope_I),
        (IN_A_LOOP, AT_THE_DRIVE),
    ),
    Misled(
        "Q has slopes at the drive, of a shallow network",
        "one-hidden-mse",
        "feedback weights",
        feedback_by_slopes(slope_at_drive, slope_I),
        (IN_A_LOOP, AT_THE_DRIVE, "the factor φ_I'(u_I^l) is missing"),
    ),
    Misled(
        "Q has slopes at the drive, and activations are unequal",
        "tuned-activations",
        "feedback weights",
        feedback_by_slopes(slope_at_drive, slope_I),
        (AT_THE_DRIVE,),
    ),
    Misled(
        "δ has its slope at the drive",
        "exact-inverse",
        "gradients",
        {
            "delta": lambda port, l, closed, opened: (
                (port.estimate(closed.u_I[l], l) - port.rate("E", closed.u_E[l]))
                * slope_at_drive(port, closed, l)
            )
        },
        (AT_THE_DRIVE,),
    ),
)


# Labels.


def labels_of(change):
    """Labels ys of a step are change(port, ys, step)."""

    def batch(port, step):
        xs, ys = Port.batch(port, step)
        return xs, change(port, ys, step)

    return {"batch": batch, "trajectories": lambda port: ()}


def next_step(port, ys, step):
    return port.labels[(step + 1) % len(port.labels)]


LABELS = (
    *[
        Misled(
            f"{name}, {trace}",
            trace,
            "closed-loop target",
            labels_of(change),
            (said,),
        )
        for trace in ("exact-inverse", "depth-3")
        for name, change, said in (
            (
                "labels of the step before",
                lambda port, ys, step: port.labels[max(step - 1, 0)],
                "labels are those of the step before",
            ),
            ("labels of the step after", next_step, "labels are those of the step after"),
            (
                "the first sample's label",
                lambda port, ys, step: [ys[0] for _ in ys],
                "all samples have the first sample's label",
            ),
            (
                "classes from 1",
                lambda port, ys, step: [np.roll(y, 1) for y in ys],
                "classes are counted from 1",
            ),
        )
    ],
    Misled(
        "labels in the reverse order",
        "exact-inverse",
        "closed-loop target",
        labels_of(lambda port, ys, step: ys[::-1]),
        ("labels are in another order",),
    ),
    Misled(
        "two samples have the first sample's label",
        "one-hidden-mse",
        "closed-loop target",
        labels_of(lambda port, ys, step: [ys[0], *ys[:-1]]),
    ),
)


# The control that is applied, and that which is written.


def without_its_mean(method):
    return lambda port, c, *more: getattr(Port, method)(port, c - np.mean(c), *more)


def written_of_error(port, c, e):
    return e / port.s["controller.leak"]


def centred(port, x, Q, target, open_loop):
    """c = κ e of the outputs, whose mean is taken off before it is applied, by half steps."""
    kappa = port.s["controller.k_p"] + port.s["controller.k_i"] / port.s["controller.leak"]
    c = port.nothing(port.n_out)
    for _ in range(200):
        state = port.at_rest(x, Q, c - np.mean(c), open_loop.u_E)
        c = c + (kappa * port.error(state.u_out, target) - c) / 2
    state.z = written_of_error(port, c, port.error(state.u_out, target))
    return state


def stopped(n):
    """The search ends after so many steps, and the integral has the one that is left."""

    def closed_loop(port, x, Q, target, open_loop):
        c, state = port.nothing(port.n_out), open_loop
        for _ in range(n):
            c = c + port.newton_step(c, Q, state, target)
            state = port.at_rest(x, Q, c, state.u_E)
        left = port.newton_step(c, Q, state, target)
        state.z = port.integral(c + left, None)
        return state

    return {"closed_loop": closed_loop, "trajectories": lambda port: ()}


CONTROL = (
    Misled(
        "the control is made free of its mean",
        "one-hidden-mse",
        "closed loop",
        {"closed_loop": centred},
        ("of the c under which all layers rest; the c_int that is given does",),
        is_usual=False,
    ),
    *[
        Misled(
            f"the search stops after {n} steps, {trace}",
            trace,
            "closed loop",
            stopped(n),
            ("while all layers rest under this c",),
            is_usual=False,
        )
        for n, trace in ((1, "exact-inverse"), (1, "strong-gain"), (3, "strong-gain"))
    ],
)


# Right but for a factor.


def moved_by(condition, factor):
    return {
        "moved": lambda port, name, g: (
            port.p[name]
            + (factor if condition(name) else 1) * (Port.moved(port, name, g) - port.p[name])
        )
    }


FACTORS = (
    Misled(
        "c_int is a quarter too large",
        "exact-inverse",
        "closed loop",
        {"integral": lambda port, c, e: 1.25 * Port.integral(port, c, e)},
        ("right but for a factor: c_int is 1.25 times what it should be",),
        is_usual=False,
    ),
    Misled(
        "the mean inhibition is a third too large",
        "linear-threshold",
        "mean inhibition",
        {"updated_means": lambda port, *a: [1.3 * r for r in Port.updated_means(port, *a)]},
        (
            "all is right but for a factor: it is 1.3 times what it should be",
            "they are those of activation_I.scale 1.3",
        ),
        is_usual=False,
    ),
    Misled(
        "losses are half as large",
        "exact-inverse",
        "losses",
        scaled_losses(lambda port, seen: 0.5),
        ("all losses are 0.5 times what they should be",),
        is_usual=False,
    ),
    Misled(
        "one loop's loss is half as large",
        "exact-inverse",
        "losses",
        losses_with(
            lambda port, seen, losses: losses | {"open_loop_loss": losses["open_loop_loss"] / 2}
        ),
        ("right but for a factor, in every step: open_loop_loss is 0.5 times",),
        is_usual=False,
    ),
    Misled(
        "losses are off by a factor of their own in each step",
        "exact-inverse",
        "losses",
        scaled_losses(lambda port, seen: 1 + port.t),
    ),
    Misled(
        "biases learn twice as fast",
        "plain-descent",
        "optimiser update",
        moved_by(lambda name: name.endswith("bias"), 2),
        ("movements are right but for a factor: hidden_0/bias is 2 times, hidden_1/bias is 2",),
        is_usual=False,
    ),
    Misled(
        "the readout learns ten times as fast",
        "exact-inverse",
        "optimiser update",
        moved_by(lambda name: name.startswith("readout"), 10),
        ("movements are right but for a factor: readout/weight is 10 times",),
        is_usual=False,
    ),
)

# Paths in time.


def end_state_again(port, end, target):
    now = port.unpacked(end)
    states = [port.open_loop(x) for x in port.batch(0)[0]]
    there = port.stacked(states)
    there.z = 0 * now.z
    return port.packed(there)


def nudged_from(port, end, ys):
    now = port.unpacked(end)
    return np.stack([port.target(o, y) for o, y in zip(now.u_out, ys, strict=True)])


def kept_late(kept, asked):
    return np.concatenate([kept[:, :1], kept[:, 1 :: asked.every]], axis=1)[:, : _entries(asked)]


def _entries(asked):
    return asked.n_steps // asked.every + 1


def with_batch(port, number):
    xs, ys = port.inputs[0], port.labels[0]
    port.inputs[0], port.labels[0] = port.inputs[number], port.labels[number]
    done = list(Port.trajectories(port))
    port.inputs[0], port.labels[0] = xs, ys
    return done


def after_learning(port):
    """Trajectories are made when all else is done."""
    done = {name: array for name, array in Port.answers(port).items() if "traj" not in name}
    port.p = {name: done[f"final_parameters/{name}"] for name in port.p}
    return done | dict(Port.trajectories(port))


ERROR_OF_SQUARES = (
    ("a mean over the outputs", lambda n: 1 / n, "the error of squares is a mean over the outputs"),
    ("torch's mean", lambda n: 2 / n, "the slope of torch's mean over the outputs"),
    ("without a half", lambda n: 2, "the ½ is missing from the squares"),
)


def error_times(factor):
    return {
        "error": lambda port, u_out, target: factor(port.n_out) * Port.error(port, u_out, target)
    }


WEAK = "exact-inverse-mse-weak"
PATHS = (
    Misled(
        "the softmax is left out of the error",
        "exact-inverse",
        "closed-loop trajectory",
        {"error": lambda port, u_out, target: target - u_out},
        ("the softmax is left out of the error",),
    ),
    Misled(
        "k_p and k_i are exchanged, along a path",
        "exact-inverse",
        "closed-loop trajectory",
        exchanged("controller.k_p", "controller.k_i"),
        ("k_p and k_i are exchanged",),
    ),
    *[
        Misled(
            f"an error of squares, {name}, {trace}",
            trace,
            stage,
            error_times(factor),
            (said,),
        )
        for name, factor, said in ERROR_OF_SQUARES
        for trace, stage in (
            ("one-hidden-mse", "closed-loop trajectory"),
            ("exact-inverse-mse-averaged", "closed loop"),
        )
    ],
    Misled(
        "the path under control starts at the end state",
        "exact-inverse",
        "closed-loop trajectory",
        {"start_of_closed_path": end_state_again},
        ("the controlled path starts at the open loop's end state",),
    ),
    Misled(
        "the path's target is the label",
        WEAK,
        "closed-loop trajectory",
        {"target_on_path": lambda port, xs, ys: np.stack(ys)},
        ("the path's target is the label",),
    ),
    Misled(
        "the path's target is nudged from its own start",
        WEAK,
        "closed-loop trajectory",
        {
            "path": lambda port, y, f: (
                port.__dict__.setdefault("first", Port.path(port, y, f))
                if "first" not in port.__dict__
                else Port.path(port, y, f)
            ),
            "target_on_path": lambda port, xs, ys: nudged_from(port, port.first[:, -1], ys),
        },
        ("the nudge starts from where the path ended",),
    ),
    Misled(
        "states are kept a step late",
        "exact-inverse",
        "open-loop trajectory",
        path_kept(kept_late),
        ("states are kept one step late",),
    ),
    Misled(
        "the step of time is twice as long",
        "exact-inverse",
        "open-loop trajectory",
        {"advance": lambda port, y, f, dt: Port.advance(port, y, f, 2 * dt)},
        ("states lie twice as far apart",),
    ),
    Misled(
        "the path is of the last batch",
        "exact-inverse",
        "open-loop trajectory",
        {"trajectories": lambda port: with_batch(port, -1)},
        ("the path is of the last batch",),
    ),
    Misled(
        "the path has the parameters that learning left",
        "exact-inverse",
        "open-loop trajectory",
        {"answers": after_learning},
        ("the path has the parameters that learning left",),
    ),
)

# What is usual, and was not known.


def with_gain(gain):
    """c of another κ, and z of c by the right gains."""

    def closed_loop(port, x, Q, target, open_loop):
        c, s = port.nothing(port.n_out), port.s
        state = open_loop
        for _ in range(200):
            c = c + (gain(s) * port.error(state.u_out, target) - c) / 2
            state = port.at_rest(x, Q, c, open_loop.u_E)
        state.z = port.integral(c, None)
        return state

    return {"closed_loop": closed_loop, "trajectories": lambda port: ()}


def updated_twice(port, g):
    before = port.p
    port.p = Port.update(port, g)
    after = Port.update(port, g)
    port.p = before
    return after


OTHERS = (
    Misled(
        "z is c over k_i",
        "exact-inverse",
        "closed loop",
        {"integral": lambda port, c, e: c / port.s["controller.k_i"]},
        ("c_int is c / k_i",),
    ),
    Misled(
        "steps are counted from 1",
        "exact-inverse",
        "open loop",
        renamed(lambda path: re.sub(r"\d{4}", lambda n: f"{int(n[0]) + 1:04d}", path)),
        ("steps count from 0000",),
    ),
    Misled(
        "the loss of squares is torch's",
        "exact-inverse-mse-averaged",
        "losses",
        scaled_losses(lambda port, seen: 2 / port.n_out),
        ("as torch has it",),
    ),
    *[
        Misled(
            f"Adam's ε is {epsilon:g}",
            "exact-inverse",
            "optimiser update",
            {
                "quotient": lambda port, m, v, t, epsilon=epsilon: (
                    m
                    / port.bias_correction(port.s["optimizer.beta_1"], t)
                    / (np.sqrt(v / port.bias_correction(port.s["optimizer.beta_2"], t)) + epsilon)
                )
            },
            (f"Adam's ε is {epsilon:g}",),
        )
        for epsilon in (1e-10, 1e-7, 1e-6)
    ],
    Misled(
        "Adam's ε is 1e-8 whatever is asked for",
        "unusual-learning",
        "optimiser update",
        set_to(optimizer__epsilon=1e-8),
        ("optimizer.epsilon is the default", "Adam's ε is 1e-08"),
    ),
    *[
        Misled(
            f"a decay of {decay:g} in the optimiser's gradient",
            "exact-inverse",
            "optimiser update",
            {
                "update": lambda port, g, decay=decay: Port.update(
                    port, {name: g[name] + decay * port.p[name] for name in port.p}
                )
            },
            (f"a weight decay of {decay:g} is in the optimiser's gradient",),
        )
        for decay in (1e-2, 1e-3, 5e-4, 1e-4, 1e-5)
    ],
    *[
        Misled(
            f"the search has k_{part} alone, {trace}",
            trace,
            "closed loop",
            with_gain(lambda s, part=part: s[f"controller.k_{part}"]),
            (said, *coincides),
        )
        for trace, part, said, coincides in (
            ("exact-inverse", "p", "the controller is proportional only", ()),
            # By default k_i is twice k_p: k_i alone is k_p in both places.
            ("exact-inverse", "i", "the controller is integral only", (K_P_FOR_K_I,)),
            # Of three outputs, κ = 0.2 is a third, and 0.4 two thirds, of what it should be.
            ("one-hidden-mse", "p", "the controller is proportional only", ("a mean over the",)),
            (
                "one-hidden-mse",
                "i",
                "the controller is integral only",
                (K_P_FOR_K_I, "torch's mean"),
            ),
        )
    ],
    Misled(
        "Adam's update is done twice",
        "exact-inverse",
        "optimiser update",
        {"update": updated_twice},
        ("the update is done 2 times a step",),
    ),
    Misled(
        "a decay apart from the gradient",
        "exact-inverse",
        "optimiser update",
        {
            "moved": lambda port, name, g: (
                Port.moved(port, name, g) - port.s["optimizer.learning_rate"] * 0.01 * port.p[name]
            )
        },
        ("weights decay by 1e-05 of themselves a step, η times 0.01",),
    ),
    Misled(
        "a decay of plain descent, which is in the gradient and apart from it",
        "plain-descent",
        "optimiser update",
        {
            "update": lambda port, g: Port.update(
                port, {name: g[name] + 1e-4 * port.p[name] for name in port.p}
            )
        },
        ("a weight decay of 0.0001 is in", "weights decay by 1e-05 of themselves"),
    ),
)

MISLED = (*ONE_STEP_ONLY, *COINCIDENCES, *LABELS, *CONTROL, *FACTORS, *PATHS, *OTHERS)
SAMPLE = (
    *ONE_STEP_ONLY,
    *COINCIDENCES[::24],
    LABELS[0],
    CONTROL[0],
    *FACTORS[::24],
    PATHS[0],
    OTHERS[0],
)
"""Of all kinds some, for the fast tests."""
