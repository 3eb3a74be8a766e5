"""Mistakes that a stranger put into a port in Java, of which the judge said nothing or the wrong.

They are made in the port of `second_hand_port.py`. What is to be said of each is told in full, so
that of two that look alike the one is told from the other.
"""

import numpy as np

from .second_hand import (
    b_1,
    b_2,
    feedback_by_slopes,
    losses_with,
    path_kept,
    set_to,
    slope_E,
    slope_I,
    with_tangent,
)
from .second_hand_port import Port, in_float32, in_float64
from .third_hand import Misled

PLAIN, THRESHOLD, FIXED = "exact-inverse", "linear-threshold", "linear-threshold-fixed-mse-default"
UNEQUAL, RUNNING = "unusual-units", "linear-threshold-running-mean"


# The tangent.


def through(u_0_of):
    """θ and δ of a u₀, of (port, r₀)."""

    def tangent(port, r_0):
        u_0 = u_0_of(port, r_0)
        delta = 1 / port.slope("I", u_0)
        return u_0 - r_0 * delta, delta

    return {"tangent": tangent}


def phi_I(port, name):
    return port.s[f"activation_I.{name}"]


def without_k(port, r_0):
    return phi_I(port, "shift") + np.log(np.expm1(r_0 / phi_I(port, "scale")))


def without_m(port, r_0):
    return without_k(port, r_0) / phi_I(port, "sharpness") - phi_I(port, "shift") * (
        1 / phi_I(port, "sharpness")
    )


def without_s(port, r_0):
    return phi_I(port, "shift") + np.log(np.expm1(r_0)) / phi_I(port, "sharpness")


def tangent_to_excitation(port, r_0):
    s, k, m = (port.s[f"activation_E.{name}"] for name in ("scale", "sharpness", "shift"))
    u_0 = m + np.log(np.expm1(r_0 / s)) / k
    delta = 1 / port.slope("E", u_0)
    return u_0 - r_0 * delta, delta


def tangent_of_potential(port, u_I, l):
    theta, delta = port.tangent(port.r_0(l))
    return theta + delta * u_I


def running(port, step):
    """Keeps a running mean that nobody asked for."""
    xs, _ = port.batch(step)
    port.kept = port.updated_means(port.r_bar, [port.open_loop(x) for x in xs])
    return Port.circuit_step(port, step)


def with_opens(port, step):
    """Keeps the mean potentials of the open loop."""
    opens = [port.open_loop(x) for x in port.batch(step)[0]]
    port.kept = [np.mean([one.u_I[l] for one in opens], axis=0) for l in range(port.L)]
    return Port.circuit_step(port, step)


def tangent_at_mean_potential(rate_0):
    def estimate(port, u_I, l):
        u_0 = port.kept[l]
        r_0 = port.r_bar[l] if rate_0 == "r̄" else port.rate("I", u_0)
        return u_0 + (port.rate("I", u_I) - r_0) / port.slope("I", u_0)

    return estimate


def mean_of_closed_loops(port, xs, ys, closeds, opens):
    port.r_bar, kept = [port.batch_mean(closeds, l) for l in range(port.L)], port.r_bar
    gradients = Port.gradients(port, xs, ys, closeds, opens)
    port.r_bar = kept
    return gradients


def linearised_by_sample(port, l, closed, opened):
    theta, delta = port.tangent(port.rate("I", opened.u_I[l]))
    compared = theta + delta * port.rate("I", closed.u_I[l]) - port.rate("E", closed.u_E[l])
    return compared * port.slope("E", closed.u_E[l])


def corrected_mean(port, r_bar, states):
    rho = port.s["mean_inhibition.rate"]
    port.m["r"] = Port.updated_means(port, port.m.get("r", r_bar), states)
    return [r / (1 - (1 - rho) ** (port.t + 1)) for r in port.m["r"]]


TANGENTS = (
    Misled(
        "r̄ before the first step for the fixed rate",
        FIXED,
        "gradients",
        {"r_0": lambda port, l: port.initial_means()[l]},
        ("mean_inhibition.init is linearised at, not mean_inhibition.fixed_point",),
    ),
    Misled(
        "a running mean for the fixed rate",
        FIXED,
        "gradients",
        {"circuit_step": running, "r_0": lambda port, l: port.kept[l]},
        ("the running r̄ is linearised at, where the rule is another",),
    ),
    *[
        Misled(f"tangent: {name}", trace, "gradients", change, says)
        for name, trace, change, says in (
            (
                "θ has another sign within",
                THRESHOLD,
                with_tangent(lambda port, r_0, theta, delta: (theta + 2 * r_0 * delta, delta)),
                ("r₀ δ is added in θ",),
            ),
            ("m is forgotten", UNEQUAL, through(without_m), ("the shift m is left out of φ_I⁻¹",)),
            (
                "k is forgotten",
                UNEQUAL,
                through(without_k),
                ("the sharpness k is left out of φ_I⁻¹",),
            ),
            ("s is forgotten", UNEQUAL, through(without_s), ("the scale s is left out of φ_I⁻¹",)),
            (
                "r̄ for u₀",
                UNEQUAL,
                through(lambda port, r_0: r_0),
                ("r₀ is taken for a potential",),
            ),
            (
                "the slope at r̄",
                UNEQUAL,
                {
                    "tangent": lambda port, r_0: (
                        port.inverse(r_0) - r_0 / port.slope("I", r_0),
                        1 / port.slope("I", r_0),
                    )
                },
                ("δ is taken at r₀",),
            ),
            (
                "of φ_E",
                UNEQUAL,
                {"tangent": tangent_to_excitation},
                ("the tangent is to φ_E⁻¹",),
            ),
            (
                "of the potential",
                THRESHOLD,
                {"estimate": tangent_of_potential},
                ("the tangent is taken of the potential",),
            ),
            (
                "at the closed loop's rates",
                RUNNING,
                {"gradients": mean_of_closed_loops},
                ("the closed loop's rates are linearised at",),
            ),
            (
                "at each sample's own rate",
                THRESHOLD,
                {"delta": linearised_by_sample},
                ("each sample is linearised at its own open-loop rate",),
            ),
            *[
                (
                    f"at the mean potential, with {rate_0}",
                    THRESHOLD,
                    {"circuit_step": with_opens, "estimate": tangent_at_mean_potential(rate_0)},
                    ("the tangent is at the mean potential",),
                )
                for rate_0 in ("r̄", "its rate")
            ],
            (
                "at the mean over units",
                THRESHOLD,
                {"r_0": lambda port, l: np.full_like(port.r_bar[l], np.mean(port.r_bar[l]))},
                ("r̄ is a mean over units",),
            ),
            (
                "at another layer's r̄",
                "linear-threshold-softmax-cross-entropy-default",
                {"r_0": lambda port, l: port.r_bar[(l + 1) % port.L]},
                ("r̄ is that of another layer",),
            ),
        )
    ],
    Misled(
        "the mean has no past",
        RUNNING,
        "mean inhibition",
        {
            "updated_means": lambda port, r_bar, states: Port.updated_means(
                port, [0 * r for r in r_bar], states
            )
        },
        ("r̄ has no past",),
    ),
    Misled(
        "the mean is corrected where it is used",
        RUNNING,
        "mean inhibition",
        {"updated_means": corrected_mean},
        ("divided by 1 − (1 − ρ)^t",),
    ),
    Misled(
        "the mean starts at that of the first batch",
        RUNNING,
        "mean inhibition",
        {
            "updated_means": lambda port, r_bar, states: Port.updated_means(
                port,
                [port.batch_mean(states, l) for l in range(port.L)] if not port.t else r_bar,
                states,
            )
        },
        ("the running mean starts at that of the first batch",),
    ),
)


# Gradients and the readout.


def slope_of_inhibition(at):
    def delta(port, l, closed, opened):
        compared = port.estimate(closed.u_I[l], l) - port.rate("E", closed.u_E[l])
        return compared * port.slope("I", getattr(closed, at)[l])

    return {"delta": delta}


def readout_in_open_loop(port, y, closed, opened):
    return port.rate("E", opened.u_E[-1]), -port.error(opened.u_out, y)


GRADIENTS = (
    *[
        Misled(
            f"φ_I' for φ_E' at {at}",
            UNEQUAL,
            "gradients",
            slope_of_inhibition(at),
            (f"δ has φ_I'({at})",),
        )
        for at in ("u_I", "u_E")
    ],
    Misled(
        "the readout learns by the loss in the open loop",
        PLAIN,
        "gradients",
        {"readout_pre_and_delta": readout_in_open_loop},
        ("the readout follows the loss's gradient in the open loop",),
    ),
    Misled(
        "hidden layers alone are summed",
        PLAIN,
        "gradients",
        {"delta": lambda port, l, *loops: len(port.labels[0]) * Port.delta(port, l, *loops)},
        ("the hidden layers' gradients are summed over the batch",),
    ),
)


# The optimiser.


def quotient(move):
    """Of (m, v, 1 − β₁ᵗ, 1 − β₂ᵗ)."""

    def changed(port, m, v, t):
        return move(m, v, 1 - b_1(port.s) ** t, 1 - b_2(port.s) ** t)

    return {"quotient": changed}


def rounded_beta_2(port, name, g):
    m, _ = Port.moments(port, name, g)
    return m, b_2(port.s) * port.v.get(name, 0 * g) + (1 - float(np.float32(b_2(port.s)))) * g**2


def decayed_when_moved(port, name, g):
    return (1 - 1e-5) * Port.moved(port, name, g)


def biases_of_their_own(port, g):
    """Gradients of biases that are written as 0 are gone along."""
    port.s["bias"] = True
    xs, ys = port.batch(port.t)
    full = port.gradients(xs, ys, port.seen.closeds, port.seen.opens)
    port.s["bias"] = False
    return Port.update(port, full)


def parameters_in_float32(port, name, g):
    return in_float64(in_float32(Port.moved(port, name, g)))


def written_in_float32(port, path, array):
    return path, in_float64(in_float32(array)) if "/parameters_after/" in path else array


UPDATES = (
    *[
        Misled(name, PLAIN, "optimiser update", quotient(move), says)
        for name, move, says in (
            (
                "v is not corrected",
                lambda m, v, first, second: m / first / (np.sqrt(v) + 1e-8),
                ("Adam's second moment is not corrected",),
            ),
            (
                "m is not corrected",
                lambda m, v, first, second: m / (np.sqrt(v / second) + 1e-8),
                ("Adam's first moment is not corrected",),
            ),
            (
                "there is no root",
                lambda m, v, first, second: m / first / (v / second + 1e-8),
                ("Adam has no root",),
            ),
        )
    ],
    *[
        Misled(
            f"{name} is {beta:g}",
            PLAIN,
            "optimiser update",
            set_to(**{f"optimizer__{name}": beta}),
            (f"is {beta:g}: it is optimizer.{name}",),
        )
        for name, beta in (("beta_2", 0.99), ("beta_2", 0.95), ("beta_1", 0.99))
    ],
    Misled(
        "1 − β₂ of a rounded β₂",
        PLAIN,
        "optimiser update",
        {"moments": rounded_beta_2},
        ("Adam's 1 − β₂ is taken of a β₂ that float32 has rounded",),
    ),
    Misled(
        "weights decay when they have moved",
        PLAIN,
        "optimiser update",
        {"moved": decayed_when_moved},
        ("weights decay by 1e-05 of themselves a step",),
    ),
    Misled(
        "biases move all the same",
        "without-biases",
        "optimiser update",
        {"update": biases_of_their_own},
        ("biases move, though the network has none",),
    ),
    Misled(
        "parameters are held in float32",
        PLAIN,
        "optimiser update",
        {"moved": parameters_in_float32},
        ("parameters are rounded to float32 in every step",),
    ),
    Misled(
        "parameters are written in float32",
        PLAIN,
        "optimiser update",
        {"written": written_in_float32},
        ("numbers are rounded to float32, as they are held or as they are written",),
    ),
)


# Feedback weights and the target.


def largest(port, Q_l):
    return np.max(np.abs(Q_l))


def one_norm_in_place(upwards):
    """Each layer is divided by the norm of all, as they are by then."""

    def normalized_batch(port, Qs):
        for Q in Qs:
            for l in range(port.L) if upwards else reversed(range(port.L)):
                Q[l] = Q[l] / np.sqrt(sum(np.sum(Q_l**2) for Q_l in Q))
        return Qs

    return {"normalized_batch": normalized_batch}


def top_without_slope(port, state, l):
    return slope_E(port, state, l) if l + 1 < port.L else np.ones_like(state.u_E[l])


def labels_rolled(port, step):
    xs, ys = Port.batch(port, step)
    return xs, ys[-1:] + ys[:-1]


def labels_in_float32(port, step):
    xs, ys = Port.batch(port, step)
    return xs, [in_float64(in_float32(y)) for y in ys]


def labels_written_in_float32(port, path, array):
    return path, in_float64(in_float32(array)) if path.endswith("_targets") else array


def q_in_float32(port, state):
    return [in_float64(in_float32(Q)) for Q in Port.raw_feedback(port, state)]


def labels_of_the_class(port, step):
    xs, ys = Port.batch(port, step)
    return xs, [(y == np.max(y)) * 1.0 for y in ys]


def labels_of_sum_1(port, step):
    xs, ys = Port.batch(port, step)
    return xs, [y / np.sum(y) for y in ys]


FEEDBACK = (
    *[
        Misled(name, trace, "feedback weights", change, says)
        for name, trace, change, says in (
            (
                "the largest magnitude for the norm",
                PLAIN,
                {"length": largest},
                ("divided by the largest magnitude",),
            ),
            *[
                (
                    f"one norm, in place, {way}",
                    PLAIN,
                    one_norm_in_place(way == "upwards"),
                    ("one norm for all layers of a sample, of which some are divided",),
                )
                for way in ("upwards", "downwards")
            ],
            (
                "Q is held in float32",
                PLAIN,
                {"raw_feedback": q_in_float32},
                ("Q is rounded to float32 before it is normalised",),
            ),
            (
                "the top has no slope",
                PLAIN,
                feedback_by_slopes(top_without_slope, slope_I),
                ("the factor φ_E'(u_E^L) is missing from J^L alone",),
            ),
            (
                "no slopes at all",
                PLAIN,
                feedback_by_slopes(*[lambda port, s, l: np.ones_like(s.u_E[l])] * 2),
                ("both factors are missing",),
            ),
            (
                "φ_E' for φ_I'",
                UNEQUAL,
                feedback_by_slopes(slope_E, lambda port, s, l: port.slope("E", s.u_I[l])),
                ("φ_E' stands where φ_I' belongs",),
            ),
            (
                "φ_I' for φ_E'",
                UNEQUAL,
                feedback_by_slopes(lambda port, s, l: port.slope("I", s.u_E[l]), slope_I),
                ("φ_I' stands where φ_E' belongs",),
            ),
        )
    ],
    Misled(
        "labels are those of the sample before",
        PLAIN,
        "closed-loop target",
        {"batch": labels_rolled},
        ("the trace's numbers 4, 0, 1, 2, 3, where they count from 0, or of equal ones another",),
    ),
    Misled(
        "labels are held in float32",
        PLAIN,
        "closed-loop target",
        {"batch": labels_in_float32},
        ("the target, with strong feedback the label, is rounded to float32",),
    ),
    Misled(
        "labels are written in float32",
        PLAIN,
        "closed-loop target",
        {"written": labels_written_in_float32},
        ("numbers are rounded to float32, as they are held or as they are written",),
    ),
    Misled(
        "labels are made to sum to 1",
        "labels-of-less-than-1",
        "closed-loop target",
        {"batch": labels_of_sum_1},
        ("labels are divided by their sum",),
    ),
    Misled(
        "labels of squares are taken for classes",
        "one-hidden-mse",
        "closed-loop target",
        {"batch": labels_of_the_class},
        ("labels are 1 at their largest number",),
    ),
    Misled(
        "squares have a softmax around the nudge",
        "exact-inverse-mse-weak",
        "closed-loop target",
        {"target": lambda port, o, y: port.softmax(Port.target(port, o, y))},
        ("a softmax goes around the nudged output",),
    ),
)


# States.


def batch_after(port, step):
    xs, _ = Port.batch(port, (step + 1) % len(port.inputs))
    return xs, port.labels[step]


def shifted(what, by):
    """Each sample has what another has: feedback weights, or a target."""

    def closed_loops(port, xs, Qs, targets, opens):
        given = {"Q": Qs, "target": targets}
        given[what] = given[what][-by:] + given[what][:-by]
        return Port.closed_loops(port, xs, given["Q"], given["target"], opens)

    return {"closed_loops": closed_loops, "trajectories": lambda port: ()}


def unnormalised(port, xs, Qs, targets, opens):
    loose = [port.raw_feedback(state) for state in opens]
    return Port.closed_loops(port, xs, loose, targets, opens)


def reversed_end_state(port, x, Q, target, open_loop):
    """c = −κ e, by plain iteration."""
    gain, leak = port.gains()
    c, state = port.nothing(port.n_out), open_loop
    for _ in range(300):
        c = (c - gain / leak * port.error(state.u_out, target)) / 2
        state = port.at_rest(x, Q, c, open_loop.u_E)
    state.z = c / gain
    return state


def excitation_twice(port, a, q, guess):
    u_E, _ = Port.settle(port, a, q, guess)
    return u_E, u_E - q


def output_of_potentials(port, x):
    state = Port.open_loop(port, x)
    state.u_out = port.output(state.u_E[-1])
    return state


STATES = (
    Misled(
        "the batch after is taken",
        "plain-descent",
        "open loop",
        {"batch": batch_after},
        ("each step is given the batch of the step after it",),
    ),
    Misled(
        "u_I is u_E",
        "plain-descent",
        "open loop",
        {"settle": excitation_twice},
        ("u_I is u_E",),
    ),
    Misled(
        "the output is of potentials",
        "plain-descent",
        "open loop",
        {"open_loop": output_of_potentials},
        ("the output is of potentials",),
    ),
    *[
        Misled(
            f"{what} of the sample {by} before",
            PLAIN,
            "closed loop",
            shifted(what, by),
            says,
        )
        for what, says in (
            ("Q", ("feedback weights are another sample's",)),
            ("target", ("the target is another sample's",)),
        )
        for by in (1, -1)
    ],
    Misled(
        "feedback weights are not normalised where they are applied",
        PLAIN,
        "closed loop",
        {"closed_loops": unnormalised, "trajectories": lambda port: ()},
        ("feedback weights are applied that are not normalised",),
    ),
    Misled(
        "the error has the wrong sign",
        PLAIN,
        "closed loop",
        {"closed_loop": reversed_end_state, "trajectories": lambda port: ()},
        ("the sign of the error",),
    ),
    Misled(
        "the integral has a factor without a leak",
        "without-leak",
        "closed loop",
        {"integral": lambda port, c, e: 0.8 * Port.integral(port, c, e)},
        (
            "right but for a factor: c_int is 0.8 times",
            # Without a leak, where c rests says nothing of κ.
            "they are those of controller.k_i 2.5",
        ),
        is_usual=False,
    ),
)


# Paths.


def with_inhibition_of_u_E(port, y, x, Q, target):
    now = port.unpacked(y)
    change = port.unpacked(Port.derivative(port, y, x, Q, target))
    for l, u in enumerate(now.u_E):
        more = port.rate("I", now.u_I[l]) - port.rate("I", u)
        change.u_E[l] = change.u_E[l] + more / port.s["tau_E"]
    return port.packed(change)


def readout_of_potentials(port, now, r, c):
    return (port.output(now.u_E[-1]) - now.u_out + port.direct(c)) / port.s["tau_E"]


def integral_always(port, now, target):
    """Towards the label, which the open loop has no business with."""
    goal = np.stack(port.labels[0]) if target is None else target
    return Port.integral_derivative(port, now, goal)


def control_always(port, now, target):
    """It reaches the readout alone, where there is no Q."""
    goal = np.stack(port.labels[0]) if target is None else target
    return Port.control(port, now, goal)


def hard_target(port, xs, ys):
    return np.stack([(y == np.max(y)) * 1.0 for y in ys])


def once_tau_c(port, now, target):
    return port.s["controller.tau"] * Port.integral_derivative(port, now, target)


def trajectories_of_second_batch(port):
    port.batch = lambda step: Port.batch(port, 1)
    yield from Port.trajectories(port)
    del port.batch


def reversed_control(port, now, target):
    if target is None:
        return 0 * now.z
    k_p, k_i = port.s["controller.k_p"], port.s["controller.k_i"]
    return k_i * now.z - k_p * port.error(now.u_out, target)


def reversed_integral(port, now, target):
    if target is None:
        return 0 * now.z
    change = -port.error(now.u_out, target) - port.s["controller.leak"] * now.z
    return change / port.s["controller.tau"]


def k_p_twice(port, now, target):
    if target is None:
        return 0 * now.z
    return port.s["controller.k_p"] * (port.error(now.u_out, target) + now.z)


def steps_twice_as_long(port, y, f, dt):
    return Port.advance(port, y, f, 2 * dt)


REVERSED_ON_PATH = {"control": reversed_control, "integral_derivative": reversed_integral}

PATHS = (
    Misled(
        "path: steps twice as long",
        "tuned-activations",
        "open-loop trajectory",
        {"advance": steps_twice_as_long},
        ("states lie twice as far apart",),
    ),
    Misled(
        "path: k_p where k_i belongs",
        PLAIN,
        "closed-loop trajectory",
        {"control": k_p_twice},
        ("k_p stands where k_i belongs",),
    ),
    *[
        Misled(f"path: {name}", trace, f"{loop}-loop trajectory", change, says)
        for name, trace, loop, change, says in (
            (
                "a step early",
                PLAIN,
                "open",
                path_kept(
                    lambda states, asked: np.concatenate(
                        [
                            states[:, :1],
                            states[:, asked.every - 1 : asked.n_steps : asked.every],
                        ],
                        axis=1,
                    )
                ),
                ("states are kept one step early",),
            ),
            (
                "φ_I of u_E",
                PLAIN,
                "open",
                {"derivative": with_inhibition_of_u_E},
                ("φ_I is taken of u_E",),
            ),
            (
                "the readout is driven by potentials",
                PLAIN,
                "open",
                {"output_derivative": readout_of_potentials},
                ("the readout is driven by potentials",),
            ),
            (
                "the integral runs from the start",
                PLAIN,
                "open",
                {"integral_derivative": integral_always},
                ("the integral runs in the open loop",),
            ),
            (
                "the integral runs from the start, and c drives the readout",
                PLAIN,
                "open",
                {"integral_derivative": integral_always, "control": control_always},
                ("the integral runs in the open loop",),
            ),
            (
                "of the second batch",
                PLAIN,
                "open",
                {"trajectories": trajectories_of_second_batch},
                ("the path is of the second batch",),
            ),
            (
                "τ_c is forgotten",
                PLAIN,
                "closed",
                {"integral_derivative": once_tau_c},
                ("τ_c is left out",),
            ),
            (
                "towards the class",
                PLAIN,
                "closed",
                {"target_on_path": hard_target},
                ("labels are 1 on the class",),
            ),
            *[
                (
                    f"Q of the sample {by} before",
                    PLAIN,
                    "closed",
                    {
                        "feedback_on_path": lambda port, end, by=by: [
                            np.roll(Q, by, axis=0) for Q in Port.feedback_on_path(port, end)
                        ]
                    },
                    ("feedback weights are another sample's",),
                )
                for by in (1, -1)
            ],
            *[
                (
                    f"the error has the wrong sign, {trace}",
                    trace,
                    "closed",
                    REVERSED_ON_PATH,
                    ("the sign of the error",),
                )
                for trace in (PLAIN, "one-hidden-mse")
            ],
        )
    ],
)


# Losses.


def squared(port, u_out, y):
    return np.sum((y - u_out) ** 2) / 2


def loss_without_control(port, seen, losses):
    outputs = [port.output(port.rate("E", closed.u_E[-1])) for closed in seen.closeds]
    return losses | {"closed_loop_loss": port.batch_loss(outputs, seen.ys)}


def mean_so_far(name):
    def changed(port, seen, losses):
        port.m.setdefault("losses", []).append(losses[name])
        return losses | {name: np.mean(port.m["losses"])}

    return losses_with(changed)


LOSSES = (
    Misled(
        "the squared error for the cross-entropy",
        PLAIN,
        "losses",
        {"sample_loss": squared},
        ("the other loss",),
    ),
    Misled(
        "the closed loop's loss is without c",
        PLAIN,
        "losses",
        losses_with(loss_without_control),
        ("the closed loop's loss is of φ_E(u_E^L) W_out",),
    ),
    *[
        Misled(
            f"the mean so far, of {name} alone",
            PLAIN,
            "losses",
            mean_so_far(name),
            ("the mean of all losses so far",),
        )
        for name in ("open_loop_loss", "closed_loop_loss")
    ],
)

STRANGE = (*TANGENTS, *GRADIENTS, *UPDATES, *FEEDBACK, *STATES, *PATHS, *LOSSES)
SAMPLE = (TANGENTS[0], UPDATES[-1], FEEDBACK[-5])
"""Of the kinds that were told wrongly some, for the fast tests."""
