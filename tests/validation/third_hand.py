"""Mistakes of which the judge once said something that misled, and those that give much the same.

They are made in the port of `second_hand_port.py`; what is to be said of each is told in full, as
a hint that names another mistake, or one too few, is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .second_hand import b_1, feedback_by_slopes, losses_with, scaled_losses, slope_I
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
    ),
    Misled(
        "plain descent has a dampened momentum",
        "plain-descent",
        "optimiser update",
        {"descent": dampened},
    ),
    Misled("Adam has Nesterov's momentum", "exact-inverse", "optimiser update", {"adam": nadam}),
    Misled(
        "the sign of the gradient moves",
        "exact-inverse",
        "optimiser update",
        {"adam": lambda port, name, g, t: np.sign(g)},
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
        (OVER_OUTPUTS,),
    ),
    Misled(
        "losses are divided by the number of outputs in place of the batch's size",
        "exact-inverse",
        "losses",
        scaled_losses(lambda port, seen: len(seen.ys) / port.n_out),
        (OVER_OUTPUTS,),
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
        "c_int is half as large again",
        "exact-inverse",
        "closed loop",
        {"integral": lambda port, c, e: 1.5 * Port.integral(port, c, e)},
        ("right but for a factor: c_int is 1.5 times what it should be",),
        is_usual=False,
    ),
    Misled(
        "the mean inhibition is a third too large",
        "linear-threshold",
        "mean inhibition",
        {"updated_means": lambda port, *a: [1.3 * r for r in Port.updated_means(port, *a)]},
        ("all is right but for a factor: it is 1.3 times what it should be",),
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

# A path in time that hides what is known of the end state.

PATHS = (
    Misled(
        "the softmax is left out of the error",
        "exact-inverse",
        "closed-loop trajectory",
        {"error": lambda port, u_out, target: target - u_out},
        ("the softmax is left out of the error",),
    ),
)

MISLED = (*ONE_STEP_ONLY, *COINCIDENCES, *LABELS, *CONTROL, *FACTORS, *PATHS)
