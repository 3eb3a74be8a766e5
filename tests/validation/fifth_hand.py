"""Mistakes that a stranger put into a port in C++, of which the judge said nothing.

They are made in the port of `second_hand_port.py`. What is to be said of each is told in full.
"""

import dataclasses
from fnmatch import fnmatch
from types import SimpleNamespace

import numpy as np

from .second_hand import feedback_by_slopes, set_to, slope_E, slope_I
from .second_hand_port import Port
from .third_hand import Misled

PLAIN, THRESHOLD, RUNNING = "exact-inverse", "linear-threshold", "linear-threshold-running-mean"
SQUARES, WEAK, UNEQUAL = "one-hidden-mse", "weak-feedback", "unusual-units"


def silent_path(port):
    """Gives no trajectories, in which the mistake would show first."""
    return ()


# Slopes.


def mirrored(port, which, u):
    m = port.s[f"activation_{which}.shift"]
    return port.slope(which, 2 * m - u)


def mirrored_E(port, state, l):
    return mirrored(port, "E", state.u_E[l])


def mirrored_I(port, state, l):
    return mirrored(port, "I", state.u_I[l])


def delta_mirrored(port, l, closed, opened):
    compared = port.estimate(closed.u_I[l], l) - port.rate("E", closed.u_E[l])
    return compared * mirrored(port, "E", closed.u_E[l])


SLOPES = (
    Misled(
        "both slopes of −v",
        PLAIN,
        "feedback weights",
        feedback_by_slopes(mirrored_E, mirrored_I),
        ("σ(−k (u − m)) stands in φ_E' and φ_I'",),
    ),
    Misled(
        "φ_E' of −v",
        UNEQUAL,
        "feedback weights",
        feedback_by_slopes(mirrored_E, slope_I),
        ("σ(−k (u − m)) stands in φ_E':",),
    ),
    Misled(
        "φ_I' of −v",
        UNEQUAL,
        "feedback weights",
        feedback_by_slopes(slope_E, mirrored_I),
        ("σ(−k (u − m)) stands in φ_I':",),
    ),
    Misled(
        "φ_E' of −v in δ",
        PLAIN,
        "gradients",
        {"delta": delta_mirrored},
        ("σ(−k (u − m)) stands in φ_E':",),
    ),
)


# Steps: what is stale, or another's.


def with_part(port, part, make):
    """What is made with other parameters, of some names, and with the right ones after it."""
    now = port.p
    port.p = now | {name: array for name, array in part.items() if name in now}
    made = make()
    port.p = now
    return made


def before(port, pattern):
    """Parameters with which the step before began, of those whose names a pattern fits."""
    earlier = port.m.get("begun", port.p)
    return {name: array for name, array in earlier.items() if fnmatch(name, pattern)}


def noting(port, step):
    """Notes what each step began with, when it is over."""
    begun = port.p
    seen = Port.circuit_step(port, step)
    port.m["begun"] = begun
    return seen


def stale_feedback(pattern):
    return {
        "circuit_step": noting,
        "feedback": lambda port, states: with_part(
            port, before(port, pattern), lambda: Port.feedback(port, states)
        ),
    }


def stale_open_loop(pattern):
    return {
        "circuit_step": noting,
        "open_loop": lambda port, x: with_part(
            port, before(port, pattern), lambda: Port.open_loop(port, x)
        ),
    }


def stale_closed_loop(pattern):
    return {
        "circuit_step": noting,
        "closed_loop": lambda port, *given: with_part(
            port, before(port, pattern), lambda: Port.closed_loop(port, *given)
        ),
    }


def first_feedback(port, states):
    if port.before is None:
        port.kept = Port.feedback(port, states)
    return port.kept


def feedback_at_the_loop_before(port, states):
    return Port.feedback(port, states if port.before is None else port.before.opens)


def first_labels(port, step):
    return port.inputs[step], port.labels[0]


def answers_reversed(port):
    """Writes the steps from the last to the first."""
    given = dict(Port.answers(port))
    n = len(port.inputs)
    return {_turned(path, n): array for path, array in given.items()}


def _turned(path, n):
    folder, _, rest = path.partition("/")
    if folder != "steps":
        return path
    number, _, rest = rest.partition("/")
    return f"steps/{n - 1 - int(number):04d}/{rest}"


def always_first(port):
    """Writes what the first step gave for every step."""
    given = dict(Port.answers(port))
    return {
        path: given[f"steps/0000/{path.split('/', 2)[2]}"] if path.startswith("steps/") else array
        for path, array in given.items()
    }


STEPS = (
    Misled(
        "labels of step 0 always",
        PLAIN,
        "closed-loop target",
        {"batch": first_labels},
        ("labels are those of the first step",),
    ),
    Misled(
        "Q of step 0 always",
        PLAIN,
        "feedback weights",
        {"feedback": first_feedback},
        ("all is that of the first step",),
    ),
    Misled(
        "Q at the open loop of the step before",
        PLAIN,
        "feedback weights",
        {"feedback": feedback_at_the_loop_before},
        ("Q is taken at the open loop of the step before",),
    ),
    Misled(
        "Q of the readout of the step before",
        PLAIN,
        "feedback weights",
        stale_feedback("readout*"),
        ("the readout is that of the step before",),
    ),
    Misled(
        "the open loop of hidden weights of the step before",
        PLAIN,
        "open loop",
        stale_open_loop("hidden*weight") | {"trajectories": silent_path},
        ("hidden weights are those of the step before",),
    ),
    Misled(
        "the open loop of the readout of the step before",
        PLAIN,
        "open loop",
        stale_open_loop("readout*") | {"trajectories": silent_path},
        ("the readout is that of the step before",),
    ),
    Misled(
        "the closed loop of the readout of the step before",
        PLAIN,
        "closed loop",
        stale_closed_loop("readout*"),
        ("the readout is that of the step before",),
    ),
    Misled(
        "all steps are copies of the first",
        PLAIN,
        "open loop",
        {"answers": always_first},
        ("all is that of the first step",),
    ),
    Misled(
        "steps are written in reverse",
        PLAIN,
        "open loop",
        {"answers": answers_reversed},
        ("steps are in reverse order",),
    ),
)


# Feedback weights.


def first_sample(port, states):
    Qs = Port.feedback(port, states)
    return [Qs[0] for _ in Qs]


def column_major(array):
    return array.ravel().reshape(array.shape, order="F")


def feedback_reading(pattern):
    def feedback(port, states):
        read = {name: column_major(W) for name, W in port.p.items() if pattern in name}
        return with_part(port, read, lambda: Port.feedback(port, states))

    return {"feedback": feedback}


def transposed_by_reader(Q):
    return [Q_l.reshape(Q_l.shape[1], Q_l.shape[0]).T for Q_l in Q]


FEEDBACK = (
    Misled(
        "all samples have the first one's Q",
        PLAIN,
        "feedback weights",
        {"feedback": first_sample},
        ("all samples have the first sample's Q",),
    ),
    Misled(
        "W_out is read column-major",
        PLAIN,
        "feedback weights",
        feedback_reading("readout"),
        ("W_out is read column-major in Q",),
    ),
    Misled(
        "hidden weights are read column-major",
        PLAIN,
        "feedback weights",
        feedback_reading("hidden_1/weight"),
        ("weights of hidden layers are read column-major in Q",),
    ),
)


# Closed loop.


def closed_with(change):
    def closed_loop(port, x, Q, target, opened):
        return change(port, Port.closed_loop(port, x, Q, target, opened), opened)

    return {"closed_loop": closed_loop}


def set_output(state, u_out):
    return SimpleNamespace(u_E=state.u_E, u_I=state.u_I, u_out=u_out, z=state.z)


def without_phi_I(port, x, Q, target, opened):
    """Applies J, normalised as Q is."""
    bare = feedback_by_slopes(slope_E, lambda port, state, l: 1.0)["raw_feedback"]
    J = [port.normalized(Q_l) for Q_l in bare(port, opened)]
    return Port.closed_loop(port, x, J, target, opened)


CLOSED = (
    Misled(
        "u_out is the open loop's",
        PLAIN,
        "closed loop",
        closed_with(lambda port, state, opened: set_output(state, opened.u_out)),
        ("the output is that of the open loop",),
    ),
    Misled(
        "u_out is without c",
        PLAIN,
        "closed loop",
        closed_with(
            lambda port, state, opened: set_output(
                state, port.output(port.rate("E", state.u_E[-1]))
            )
        ),
        ("the output is given without c",),
    ),
    Misled(
        "Q is read as (B, n_l, n_out)",
        PLAIN,
        "closed loop",
        {
            "closed_loop": lambda port, x, Q, target, opened: Port.closed_loop(
                port, x, transposed_by_reader(Q), target, opened
            )
        },
        ("feedback weights are read with the output fastest",),
    ),
    Misled(
        "J is applied, and Q written",
        PLAIN,
        "closed loop",
        {"closed_loop": without_phi_I},
        ("feedback weights are applied without φ_I'",),
    ),
    Misled(
        "a softmax in the error of squares",
        SQUARES,
        "closed loop",
        {
            "closed_loops": lambda port, *given: with_error(
                port, softmax_of_squares, lambda: Port.closed_loops(port, *given)
            ),
            "newton_step": lambda port, c, Q, state, target: newton_of_softmax(
                port, c, Q, state, target
            ),
        },
        ("a softmax is in the error",),
    ),
)


def softmax_of_squares(port, u_out, target):
    return target - port.softmax(u_out)


def with_error(port, error, make):
    port.error = lambda u, y: error(port, u, y)
    made = make()
    del port.error
    return made


def newton_of_softmax(port, c, Q, state, target):
    loss = port.s["loss"]
    port.s["loss"] = "softmax-cross-entropy"
    step = Port.newton_step(port, c, Q, state, target)
    port.s["loss"] = loss
    return step


# Paths.


def path_with(change):
    """Changes the closed path as it is written, of (port, state, target)."""

    def named_state(port, where, state):
        if where == "trajectory/closed_loop":
            state = change(port, state)
        yield from Port.named_state(port, where, state)

    return {"named_state": named_state}


def control_for_integral(port, state):
    target = port.target_on_path(*port.batch(0))[:, None]
    e = target - port.softmax(state.u_out)
    c = port.s["controller.k_p"] * e + port.s["controller.k_i"] * state.z
    return SimpleNamespace(u_E=state.u_E, u_I=state.u_I, u_out=state.u_out, z=c)


def target_of(step):
    return {"target_on_path": lambda port, xs, ys: np.stack(port.labels[step])}


PATHS = (
    Misled(
        "c stands for c_int on the path",
        PLAIN,
        "closed-loop trajectory",
        path_with(control_for_integral),
        ("c_int is to be the integral z, not the control signal c",),
    ),
    Misled(
        "the path's target is that of the last step",
        PLAIN,
        "closed-loop trajectory",
        target_of(-1),
        ("the path's target is that of the last step",),
    ),
    Misled(
        "the path's target is that of the second step",
        PLAIN,
        "closed-loop trajectory",
        target_of(1),
        ("the path's target is that of the second step",),
    ),
    Misled(
        "Q is read as (B, n_l, n_out) on the path",
        PLAIN,
        "closed-loop trajectory",
        {
            "feedback_on_path": lambda port, end: [
                np.stack(transposed_by_reader(Q_l)) for Q_l in Port.feedback_on_path(port, end)
            ]
        },
        ("feedback weights are read with the output fastest",),
    ),
)


# Inputs, outputs, means, losses, gradients, update.


def input_lost(number):
    def read_input(port, numbers):
        x = Port.read_input(port, numbers).copy()
        x[number] = 0
        return x

    return {"read_input": read_input}


def output_as_rate(port, where, state):
    if "loop" in where:
        state = SimpleNamespace(
            u_E=state.u_E, u_I=state.u_I, u_out=port.rate("E", state.u_out), z=state.z
        )
    yield from Port.named_state(port, where, state)


def one_by_one(port, r_bar, states):
    rho = port.s["mean_inhibition.rate"]
    for state in states:
        r_bar = [
            (1 - rho) * r + rho * port.rate("I", u) for r, u in zip(r_bar, state.u_I, strict=True)
        ]
    return r_bar


def amsgrad(port, name, g, t):
    port.m[name], port.v[name] = port.moments(name, g)
    port.m[f"most {name}"] = np.maximum(port.m.get(f"most {name}", 0 * g), port.v[name])
    return port.quotient(port.m[name], port.m[f"most {name}"], t)


def readout_of_potentials(port, y, closed, opened):
    _, delta = Port.readout_pre_and_delta(port, y, closed, opened)
    return closed.u_E[-1], delta


def first_weight_forgotten(port, name, g):
    _, v = Port.moments(port, name, g)
    b = port.s["optimizer.beta_1"]
    return b * port.m.get(name, 0 * g) + g, v


def decayed(port, xs, *given):
    g = Port.gradients(port, xs, *given)
    return {name: array + 0.03 * port.p[name] for name, array in g.items()}


def written_column_major(port, path, array):
    """All arrays of two axes, as a language writes them whose first index runs fastest."""
    path, array = Port.written(port, path, array)
    return path, array.ravel(order="F").reshape(array.shape) if array.ndim == 2 else array


REST = (
    Misled(
        "the slopes of max(v, 0)",
        PLAIN,
        "feedback weights",
        {
            "raw_feedback": lambda port, state: [0 * Q_l for Q_l in Port.raw_feedback(port, state)],
            "normalized": lambda port, Q_l: Q_l,
        },
        ("all of it is zero, in every sample",),
    ),
    Misled(
        "all arrays are written column-major",
        PLAIN,
        "open loop",
        {"written": written_column_major, "trajectories": silent_path},
        ("arrays are column-major",),
    ),
    Misled(
        "six decimals, and no trajectories",
        PLAIN,
        "open loop",
        {
            "written": lambda port, path, array: to_six_decimals(port, path, array),
            "trajectories": silent_path,
        },
        ("numbers have 6 decimals",),
    ),
    Misled(
        "the last input is lost",
        SQUARES,
        "open-loop trajectory",
        input_lost(-1),
        ("the last input is left out",),
    ),
    Misled(
        "the first input is lost",
        SQUARES,
        "open-loop trajectory",
        input_lost(0),
        ("the first input is left out",),
    ),
    Misled(
        "rates of the output are written",
        PLAIN,
        "open-loop trajectory",
        {"named_state": output_as_rate},
        ("the output is given as a rate",),
    ),
    Misled(
        "r̄ takes in sample after sample",
        RUNNING,
        "mean inhibition",
        {"updated_means": one_by_one},
        ("r̄ takes in one sample after another",),
    ),
    Misled(
        "AMSGrad",
        PLAIN,
        "optimiser update",
        {"adam": amsgrad},
        ("Adam's second moment is the largest so far",),
    ),
    Misled(
        "1 − β₁ is forgotten",
        PLAIN,
        "optimiser update",
        {"moments": first_weight_forgotten},
        ("1 − β₁ is left out of Adam's m",),
    ),
    Misled(
        "Q is summed over the batch",
        "averaged-unnormalised",
        "feedback weights",
        {
            "averaged": lambda port, Qs: [
                [len(Qs) * Q_l for Q_l in Q] for Q in Port.averaged(port, Qs)
            ]
        },
        ("the batch's Q are summed",),
    ),
    Misled(
        "the readout hears potentials",
        PLAIN,
        "gradients",
        {"readout_pre_and_delta": readout_of_potentials},
        ("the readout hears presynaptic potentials",),
    ),
    Misled(
        "weights decay in the gradients",
        PLAIN,
        "gradients",
        {"gradients": decayed},
        ("0.03 times the parameters is in the gradients",),
    ),
)


# What the numbers show: a constant, or how they were written.


def to_six_decimals(port, path, array):
    path, array = Port.written(port, path, array)
    return path, np.round(array, 6)


def to_six_digits(port, path, array):
    path, array = Port.written(port, path, array)
    return path, np.vectorize(lambda number: float(f"{number:.6g}"))(array)


def of_the_path(name, factor):
    """The constant is another on the path alone."""

    def trajectories(port):
        kept = port.s[name]
        port.s[name] = factor * kept
        yield from Port.trajectories(port)
        port.s[name] = kept

    return {"trajectories": trajectories}


def path_in_longer_steps(port):
    asked = port.asked
    longer = dataclasses.replace(asked.recording, dt=3 * asked.recording.dt)
    port.asked = dataclasses.replace(asked, recording=longer)
    yield from Port.trajectories(port)
    port.asked = asked


SHOWN = (
    *[
        Misled(
            name,
            trace,
            arises,
            change,
            (says,),
            is_usual=False,
        )
        for name, trace, arises, change, says in (
            (
                "τ_c halved",
                PLAIN,
                "closed-loop trajectory",
                of_the_path("controller.tau", 0.5),
                "controller.tau 0.",
            ),
            (
                "steps three times as long",
                PLAIN,
                "open-loop trajectory",
                {"trajectories": path_in_longer_steps},
                "trajectory.dt 0.",
            ),
            (
                "λ half as large again",
                WEAK,
                "closed-loop target",
                set_to(feedback__nudge=0.15) | {"trajectories": silent_path},
                "feedback.nudge 0.15",
            ),
            (
                "r̄ begins with 0.7",
                RUNNING,
                "mean inhibition",
                set_to(mean_inhibition__init=0.7),
                "mean_inhibition.init 0.7",
            ),
            (
                "ρ is 0.33",
                RUNNING,
                "mean inhibition",
                set_to(mean_inhibition__rate=0.33),
                "mean_inhibition.rate 0.33",
            ),
            (
                "β₁ is 0.8",
                PLAIN,
                "optimiser update",
                set_to(optimizer__beta_1=0.8),
                "optimizer.beta_1 0.8",
            ),
        )
    ],
    Misled(
        "r₀ is 0.1",
        "linear-threshold-fixed-mse-default",
        "gradients",
        set_to(mean_inhibition__fixed_point=0.1),
        # A φ_I ten times as large has the same u₀ at r₀ = 1, and so the same estimate.
        ("mean_inhibition.fixed_point 0.1", "activation_I.scale 10"),
        is_usual=False,
    ),
    Misled(
        "six decimals",
        PLAIN,
        "open-loop trajectory",
        {"written": to_six_decimals},
        ("numbers have 6 decimals",),
    ),
    Misled(
        "six significant digits",
        PLAIN,
        "open-loop trajectory",
        {"written": to_six_digits},
        ("numbers have 6 significant digits",),
    ),
)


# Counts.


def counting(count):
    """A port that gives counts, which the one of `second_hand_port.py` does not."""

    def losses(port, seen):
        yield from Port.losses(port, seen)
        yield "n_correct", float(count(port, seen))

    return {"losses": losses}


def right_ones(outputs, ys):
    return sum(np.argmax(u) == np.argmax(y) for u, y in zip(outputs, ys, strict=True))


def of_open_loop(port, seen):
    return right_ones([o.u_out for o in seen.opens], seen.ys)


def wrong_ones(port, seen):
    return len(seen.ys) - of_open_loop(port, seen)


def so_far(port, seen):
    port.m["right"] = port.m.get("right", 0) + of_open_loop(port, seen)
    return port.m["right"]


def counted_after(port, step):
    seen = Port.learn(port, step)
    xs, ys = port.batch(step)
    seen.losses["n_correct"] = float(right_ones([port.open_loop(x).u_out for x in xs], ys))
    return seen


COUNTS = (
    Misled(
        "wrong samples are counted",
        PLAIN,
        "losses",
        counting(wrong_ones),
        ("wrong samples are counted",),
    ),
    Misled(
        "right samples add up",
        PLAIN,
        "losses",
        counting(so_far),
        ("right samples are added up",),
    ),
    Misled(
        "right samples are counted after the update",
        "linear-threshold-fixed-softmax-cross-entropy-norm-2",
        "losses",
        counting(of_open_loop) | {"learn": counted_after},
        ("right samples are counted after the update",),
    ),
)

FOREIGN = (*SLOPES, *STEPS, *FEEDBACK, *CLOSED, *PATHS, *REST, *SHOWN, *COUNTS)
SAMPLE = (SLOPES[0], STEPS[3], SHOWN[2], COUNTS[0])
"""Of each kind some, for the fast tests."""
