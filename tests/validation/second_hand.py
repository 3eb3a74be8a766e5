"""What the author of a port gets wrong, listed by one who had only docs/porting.md: no tests in it.

The list was made without knowing the mistakes that `disinhib trace compare` can tell: it asks what
the judge's hints are worth to a stranger. Each is made in `second_hand_port.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np

from disinhib.refimpl import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    SoftReLU,
)
from disinhib.validation import (
    Candidate,
    Trace,
    read_trace,
    record_standard_case,
    record_trace,
    shipped_directory,
    standard_cases,
)
from disinhib.validation.trace.cases import StandardCase, case_data

from .second_hand_port import TSIT5, Port, flat, in_float32, in_float64

# Traces: the shipped ones, the standard cases, and a few with settings that neither has.

OWN_CASES = (
    StandardCase(
        "unusual-learning",
        NetworkConfiguration(
            sizes=(6, 7, 7, 4),
            rule="linear-threshold-fixed",
            feedback=Feedback(strong=False, nudge=0.06, norm=1.7),
            mean_inhibition=MeanInhibition(fixed_point=0.6),
            optimizer=Optimizer("adam", learning_rate=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
        ),
    ),
    StandardCase(
        "unusual-control",
        NetworkConfiguration(
            sizes=(6, 7, 7, 4),
            tau_E=0.03,
            tau_I=0.012,
            controller=Controller(k_p=0.5, k_i=0.9, leak=0.6, tau=0.04),
        ),
        with_trajectory=True,
    ),
    StandardCase(
        "unusual-gains",
        NetworkConfiguration(
            sizes=(6, 7, 7, 4), controller=Controller(k_p=0.5, k_i=0.9, leak=0.6, tau=0.04)
        ),
    ),
    StandardCase(
        "unusual-units",
        NetworkConfiguration(
            sizes=(6, 7, 7, 4),
            activation_E=SoftReLU(1.3, 2.0, 0.4),
            activation_I=SoftReLU(0.8, 1.5, -0.3),
            rule="linear-threshold",
            mean_inhibition=MeanInhibition(rate=0.25, init=0.5),
        ),
    ),
    StandardCase(
        "large-steps",
        NetworkConfiguration(sizes=(6, 7, 7, 4), optimizer=Optimizer(learning_rate=0.5)),
    ),
)
BYTES = StandardCase("bytes", NetworkConfiguration(sizes=(6, 7, 7, 4)))


@cache
def trace_named(name: str) -> Trace:
    """Read a shipped trace, or record a case."""
    shipped = shipped_directory() / f"{name}.h5"
    if shipped.exists():
        return read_trace(shipped)
    if name == BYTES.name:
        parameters, inputs, targets = case_data(BYTES)
        return record_trace(BYTES.configuration, parameters, np.rint(255 * inputs) / 255, targets)
    (case,) = (case for case in (*OWN_CASES, *standard_cases()) if case.name == name)
    return record_standard_case(case)


# What an author gets wrong.


@dataclass(frozen=True)
class Mistake:
    """What was done wrong, the stage where the first wrong number arises, and what shows it.

    `change` has methods in the place of the port's. A hint that is right has what it `says`. Of
    combined and exotic mistakes no hint can be expected.
    """

    name: str
    trace: str
    change: dict[str, Callable[..., Any]] = field(repr=False)
    hint_expected: bool = True
    precision: str = "float64"
    arises: str = ""
    says: str = ""


ARITHMETICS = {"float64": (in_float64, 2.0**-52), "float32": (in_float32, 2.0**-23)}


def port_candidate(trace: Trace, change: dict | None = None, precision="float64") -> Candidate:
    """Answers of the port, with a mistake or without."""
    rounded, epsilon = ARITHMETICS[precision]
    with np.errstate(all="ignore"):
        port = Port(trace, rounded, epsilon, **(change or {}))
        return Candidate(Path("a port"), port.answers(), precision)


def set_to(**values):
    """Some settings are other than those that the trace has; dots are written as __."""
    other = {name.replace("__", "."): value for name, value in values.items()}
    return {"settings": lambda port, given: Port.settings(port, given) | other}


def ignored(name):
    """A setting is at its default whatever the trace says."""
    default = dict(flat(dataclasses.asdict(NetworkConfiguration())))[name]
    return {"settings": lambda port, given: Port.settings(port, given) | {name: default}}


def exchanged(first, second):
    """Two settings are read into one another's place."""

    def settings(port, given):
        s = Port.settings(port, given)
        return s | {
            name.replace(first, "\0").replace(second, first).replace("\0", second): value
            for name, value in s.items()
        }

    return {"settings": settings}


def rewritten(condition, change):
    """What is computed is right, what is written is not: change(array) where condition(path)."""

    def written(port, path, array):
        path, array = Port.written(port, path, array)
        return path, (change(array) if condition(path) else array)

    return {"written": written}


def renamed(change):
    """Written under another path, which change(path) gives."""
    return {"written": lambda port, path, array: (change(path), Port.written(port, path, array)[1])}


# Trajectories.


def layer_after_layer(port, y, f, dt):
    """Each layer takes its whole step before the next begins."""
    now = port.unpacked(y)
    for l in range(port.L):
        new = port.unpacked(Port.advance(port, port.packed(now), f, dt))
        now.u_E[l], now.u_I[l] = new.u_E[l], new.u_I[l]
    new = port.unpacked(Port.advance(port, port.packed(now), f, dt))
    now.u_out, now.z = new.u_out, new.z
    return port.packed(now)


def classic_runge_kutta(port, y, f, dt):
    k_1 = f(y)
    k_2 = f(y + dt / 2 * k_1)
    k_3 = f(y + dt / 2 * k_2)
    k_4 = f(y + dt * k_3)
    return y + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def tsit5_with(change):
    """The step with another tableau."""

    def advance(port, y, f, dt):
        rows, k = change([list(row) for row in TSIT5]), [f(y)]
        for row in rows[:-1]:
            k.append(f(y + dt * sum(a * k_j for a, k_j in zip(row, k, strict=True))))
        return y + dt * sum(a * k_j for a, k_j in zip(rows[-1], k, strict=True))

    return {"advance": advance}


def wrong_sign_in_tableau(rows):
    rows[1][0] = -rows[1][0]
    return rows


def digits_lost_in_tableau(rows):
    return [[float(np.float32(a)) for a in row] for row in rows]


def path_kept(keep):
    """What is kept of all the states that were passed, (B, 1 + n_steps, n)."""

    def path(port, y, f):
        asked, kept = port.asked.recording, [y]
        for _ in range(asked.n_steps + asked.every):
            y = port.advance(y, f, asked.dt)
            kept.append(y)
        return keep(np.stack(kept, axis=1), asked)

    return {"path": path}


def closed_derivative_with(change):
    """The derivative under control alone is another."""

    def derivative(port, y, x, Q, target):
        dy = Port.derivative(port, y, x, Q, target)
        return dy if target is None else change(port, dy, y, x, Q, target)

    return {"derivative": derivative}


def control_held(port, y, f, dt):
    """The controller is a routine that runs once a step: all stages see its first output."""
    held = []

    def control(port, now, target):
        if not held:
            held.append(Port.control(port, now, target))
        return held[0]

    port.control = MethodType(control, port)
    return Port.advance(port, y, f, dt)


def own_end_state_first(port, x):
    states = [port.open_loop(x_s) for x_s in x]
    return np.stack([port.packed(state) for state in states])


def integral_at_rest(port, end, target):
    now = port.unpacked(end)
    now.z = port.error(now.u_out, target)
    return port.packed(now)


def integral_first(port, y, f, dt):
    """The integral is advanced by Euler's method, with the error after the step."""
    now, new = port.unpacked(y), port.unpacked(Port.advance(port, y, f, dt))
    new.z = now.z + dt * port.unpacked(f(y)).z
    return port.packed(new)


OPEN_PATH_MISTAKES = (
    Mistake(
        "a layer is stepped in time when the one below has been already",
        "exact-inverse",
        {"advance": layer_after_layer},
        says="one after another",
    ),
    Mistake(
        "explicit Euler whatever the method is",
        "exact-inverse",
        {"advance": lambda port, y, f, dt: y + dt * f(y)},
        says="another integration method",
    ),
    Mistake(
        "the Runge-Kutta method of the textbook in place of Tsitouras'",
        "exact-inverse",
        {"advance": classic_runge_kutta},
        says="classical Runge-Kutta",
    ),
    Mistake(
        "a minus sign lost when the tableau was typed",
        "tuned-activations",
        tsit5_with(wrong_sign_in_tableau),
        says="a coefficient of the method has the wrong sign",
    ),
    Mistake(
        "the tableau is kept in single precision",
        "tuned-activations",
        tsit5_with(digits_lost_in_tableau),
        hint_expected=False,
    ),
    Mistake(
        "time 0 is not kept: the record begins after the first interval",
        "one-hidden-mse",
        path_kept(lambda all_states, asked: all_states[:, asked.every :: asked.every]),
        says="time 0 is not kept",
    ),
    Mistake(
        "one entry too few: the loop ends before the last is kept",
        "one-hidden-mse",
        path_kept(lambda states, asked: states[:, : asked.n_steps : asked.every]),
        says="shape is",
    ),
    Mistake(
        "the first steps are kept, each of them, as many as entries are asked",
        "exact-inverse",
        path_kept(lambda states, asked: states[:, : 1 + asked.n_steps // asked.every]),
        says="each of the first steps is kept",
    ),
    Mistake(
        "time is the first axis of the file",
        "one-hidden-mse",
        rewritten(lambda path: path.startswith("traj"), lambda u: np.swapaxes(u, 0, 1)),
        says="transposed",
    ),
    Mistake(
        "the two membrane time constants are exchanged",
        "unequal-activations",
        exchanged("tau_E", "tau_I"),
        says="τ_E and τ_I are exchanged",
    ),
    Mistake(
        "tau_E is the default's",
        "unequal-activations",
        ignored("tau_E"),
        says="tau_E is the default",
    ),
    Mistake(
        "tau_I is the default's",
        "unequal-activations",
        ignored("tau_I"),
        says="tau_I is the default",
    ),
    Mistake(
        "the readout has the time constant of the inhibitory units",
        "exact-inverse",
        {
            "output_derivative": lambda port, now, r, c: (
                Port.output_derivative(port, now, r, c) * (port.s["tau_E"] / port.s["tau_I"])
            )
        },
        says="τ_I where the readout",
    ),
    Mistake(
        "the path starts at the end state that was found without integrating",
        "one-hidden-mse",
        {"start_of_open_path": own_end_state_first},
        says="starts at the end state",
    ),
    Mistake(
        "the step of time is half as long",
        "tuned-activations",
        {"advance": lambda port, y, f, dt: Port.advance(port, y, f, dt / 2)},
        says="half as far apart",
    ),
)

CLOSED_PATH_MISTAKES = (
    Mistake(
        "the path under control starts from zero again",
        "exact-inverse",
        {"start_of_closed_path": lambda port, end, target: 0 * end},
        says="starts from zero",
    ),
    Mistake(
        "the integral starts at the error instead of zero",
        "exact-inverse",
        {"start_of_closed_path": integral_at_rest},
        says="the integral starts at the error",
    ),
    Mistake(
        "the path under control goes with feedback weights of its own, not those given",
        "tuned-activations",
        {
            "feedback_on_path": lambda port, end: [
                np.stack(Q)
                for Q in zip(
                    *port.feedback([port.open_loop(x) for x in port.batch(0)[0]]), strict=True
                )
            ]
        },
        says="feedback weights are the port's own",
    ),
    Mistake(
        "all samples get the first sample's feedback weights",
        "exact-inverse",
        {"feedback_on_path": lambda port, end: [Q[:1] + 0 * Q for Q in port.asked.feedback]},
        says="first sample's feedback weights",
    ),
    Mistake(
        "the integral does not leak",
        "one-hidden-mse",
        {
            "integral_derivative": lambda port, now, target: (
                0 * now.z
                if target is None
                else port.error(now.u_out, target) / port.s["controller.tau"]
            )
        },
        says="does not leak",
    ),
    Mistake(
        "the leak stands outside the time constant",
        "unusual-control",
        {
            "integral_derivative": lambda port, now, target: (
                0 * now.z
                if target is None
                else port.error(now.u_out, target) / port.s["controller.tau"]
                - port.s["controller.leak"] * now.z
            )
        },
        says="the leak stands outside",
    ),
    Mistake(
        "the controller's time constant is the default's",
        "unusual-control",
        ignored("controller.tau"),
        says="controller.tau is the default",
    ),
    Mistake(
        "the control is computed once a step and held while its stages are taken",
        "exact-inverse",
        {"advance": control_held},
        hint_expected=False,
    ),
    Mistake(
        "the integral alone is advanced by Euler's method",
        "exact-inverse",
        {"advance": integral_first},
        hint_expected=False,
    ),
    Mistake(
        "the controller is only its integral",
        "unusual-control",
        {"control": lambda port, now, target: port.s["controller.k_i"] * now.z},
        says="integral only",
    ),
    Mistake(
        "the control excites the inhibitory units along the path",
        "one-hidden-mse",
        {
            "inhibition_taken": lambda port, c, Q, l: -Port.inhibition_taken(port, c, Q, l),
            "closed_loop": lambda port, *arguments: right(port).closed_loop(*arguments),
        },
        says="the sign of the control",
    ),
)


def right(port):
    """The port without the mistake, with the same learner."""
    other = Port.__new__(Port)
    other.__dict__ |= {
        name: value for name, value in vars(port).items() if not isinstance(value, MethodType)
    }
    other.rounded = port.rounded
    return other


# Open loop.


def column_major(port, numbers):
    return port.rounded(np.reshape(np.ravel(numbers), numbers.shape, order="F"))


def square_transposed(port, numbers):
    return port.rounded(numbers.T if numbers.shape[0] == numbers.shape[1] else numbers)


def few_newton_steps(n):
    def settle(port, a, q, guess):
        u = guess
        for _ in range(n):
            r = port.rate("E", u)
            slope = 1 + port.slope("I", r - q) * port.slope("E", u)
            u = u - (u + port.rate("I", r - q) - a) / slope
        return u, port.rate("E", u) - q

    return settle


def uninhibited(port, a, q, guess):
    return a, port.rate("E", a) - q


def potential_subtracted(port, a, q, guess):
    """u_E + u_I = a: the inhibitory potential acts as it is."""
    u = guess
    for _ in range(100):
        step = (u + port.rate("E", u) - q - a) / (1 + port.slope("E", u))
        u = u - step
    return u, port.rate("E", u) - q


def old_rates_below(port, x):
    """Pipeline: a layer hears what the one below gave for the sample before."""
    left = vars(port).setdefault("pipeline", {})

    def drive(self, l, below):
        heard = below if l == 0 else left.get(l, 0 * below)
        if l:
            left[l] = below
        return Port.drive(self, l, heard)

    port.drive = MethodType(drive, port)
    state = Port.open_loop(port, x)
    del port.drive
    return state


def integrated_open(port, x, n=200, dt=1e-3):
    """Euler's method for 0.2 s."""
    y = port.nothing(2 * sum(port.s["sizes"][1:]))
    for _ in range(n):
        y = y + dt * port.derivative(y, x, None, None)
    return port.unpacked(y)


def open_of_batch(change):
    """All open-loop states of a batch are changed at once, after they were found."""

    def circuit_step(port, step):
        count = len(port.batch(step)[0])
        found = []

        def open_loop(self, x):
            found.append(Port.open_loop(self, x))
            return change(found, count)

        port.open_loop = MethodType(open_loop, port)
        seen = Port.circuit_step(port, step)
        del port.open_loop
        return seen

    return {"circuit_step": circuit_step}


def last_left_out(found, count):
    state = found[-1]
    if len(found) < count:
        return state
    zero = [0 * u for u in state.u_E]
    return SimpleNamespace(u_E=zero, u_I=zero, u_out=0 * state.u_out, z=0 * state.z)


def control_left_over(port, x):
    """The open loop begins with the control of the last step still on the wires of the output."""
    state = Port.open_loop(port, x)
    if port.before is None:
        return state
    state.z = port.before.closeds[0].z
    return state


def closed_over_open(port, step):
    """One buffer for both: when it is written out, the open loop is the closed one."""
    seen = Port.circuit_step(port, step)
    seen.opens = seen.closeds
    return seen


def written_to_a_copy(port, g):
    """The network in use keeps its first parameters; the updated ones are written out."""
    port.shadow = getattr(port, "shadow", port.p)
    used, port.p = port.p, port.shadow
    port.shadow = Port.update(port, g)
    port.p = used
    return port.shadow


def used_copy(port, step):
    """With `written_to_a_copy`."""
    port.p = port.start
    return Port.learn(port, step)


def table_of_rates(port, which, u):
    """From 1024 entries between −8 and 8, linear between them."""
    at = np.linspace(-8, 8, 1024)
    return port.rounded(np.interp(u, at, Port.rate(port, which, at)))


def overflowing_rate(port, which, u):
    v = port.scaled(which, u)
    return port.rounded(port.s[f"activation_{which}.scale"] * np.log(1 + np.exp(v)))


def brain_float(port, numbers):
    bits = np.asarray(numbers, dtype=np.float32).view(np.uint32)
    return port.rounded((bits & np.uint32(0xFFFF0000)).view(np.float32))


def one_nan(found, count):
    if len(found) == 2:
        found[-1].u_E[0] = found[-1].u_E[0] * np.nan
    return found[-1]


def layers_from_1(path):
    for l in (8, 7, 6, 5, 4, 3, 2, 1, 0):
        for name in ("u_E_", "u_I_", "r_I_", "Q_"):
            path = path.replace(f"{name}{l}", f"{name}{l + 1}")
    return path


def in_open(part):
    return lambda path: f"open_loop/{part}" in path and path.startswith("steps")


OPEN_LOOP_MISTAKES = (
    Mistake(
        "weights are laid out column by column in memory",
        "average-feedback",
        {"read_weight": column_major},
        says="column-major",
    ),
    Mistake(
        "square weight matrices are taken transposed; no shape tells",
        "unusual-learning",
        {"read_weight": square_transposed},
        says="weights are transposed",
    ),
    Mistake(
        "biases are left out",
        "exact-inverse-mse-averaged",
        {"drive": lambda port, l, below: port.rounded(below @ port.p[f"hidden_{l}/weight"])},
        says="biases are left out",
    ),
    Mistake(
        "biases are subtracted, as thresholds",
        "exact-inverse-mse-averaged",
        {
            "drive": lambda port, l, below: port.rounded(
                below @ port.p[f"hidden_{l}/weight"] - port.p[f"hidden_{l}/bias"]
            )
        },
        says="biases are subtracted",
    ),
    Mistake(
        "the activations of E and I units are exchanged",
        "unusual-units",
        exchanged("activation_E", "activation_I"),
        says="φ_E and φ_I are exchanged",
    ),
    Mistake(
        "inhibitory units have the excitatory activation",
        "unusual-units",
        {
            "scaled": lambda port, which, u: Port.scaled(port, "E", u),
            "rate": lambda port, which, u: Port.rate(port, "E", u),
            "slope": lambda port, which, u: Port.slope(port, "E", u),
        },
        says="φ_E stands where φ_I belongs",
    ),
    Mistake(
        "the scale of φ_E is the default's",
        "unusual-units",
        ignored("activation_E.scale"),
        says="activation_E.scale is the default",
    ),
    Mistake(
        "the sharpness of φ_E is the default's",
        "unusual-units",
        ignored("activation_E.sharpness"),
        says="activation_E.sharpness is the default",
    ),
    Mistake(
        "the shift of φ_I is the default's",
        "unusual-units",
        ignored("activation_I.shift"),
        says="activation_I.shift is the default",
    ),
    Mistake(
        "the shift is added, as if it were a bias",
        "unusual-units",
        {
            "scaled": lambda port, which, u: (
                port.s[f"activation_{which}.sharpness"] * (u + port.s[f"activation_{which}.shift"])
            )
        },
        says="the shift has the wrong sign",
    ),
    Mistake(
        "the shift is subtracted after the sharpness has multiplied: k u − m",
        "unusual-units",
        {
            "scaled": lambda port, which, u: (
                port.s[f"activation_{which}.sharpness"] * u - port.s[f"activation_{which}.shift"]
            )
        },
        says="after k has multiplied",
    ),
    Mistake(
        "softplus as frameworks have it: divided by the sharpness",
        "unusual-units",
        {
            "rate": lambda port, which, u: (
                Port.rate(port, which, u) / port.s[f"activation_{which}.sharpness"]
            ),
            "slope": lambda port, which, u: (
                Port.slope(port, which, u) / port.s[f"activation_{which}.sharpness"]
            ),
        },
        says="divided by the sharpness",
    ),
    Mistake(
        "rates are rectified, not smoothly: max(v, 0)",
        "average-feedback",
        {"rate": lambda port, which, u: np.maximum(port.scaled(which, u), 0)},
        says="max(v, 0)",
    ),
    Mistake(
        "log(1 + exp(v)) as it is written, which overflows",
        "saturated",
        {"rate": overflowing_rate},
        precision="float32",
        says="NaN",
    ),
    Mistake(
        "one Newton step for a unit is thought enough",
        "average-feedback",
        {"settle": few_newton_steps(1)},
        says="the search stopped early",
    ),
    Mistake(
        "three Newton steps for a unit are thought enough",
        "unusual-units",
        {"settle": few_newton_steps(3)},
        says="the search stopped early",
    ),
    Mistake(
        "excitatory units are not inhibited",
        "linear-threshold",
        {"settle": uninhibited},
        says="inhibition is left out",
    ),
    Mistake(
        "the inhibitory potential is subtracted, not the rate",
        "linear-threshold",
        {"settle": potential_subtracted},
        says="potentials inhibit where rates do",
    ),
    Mistake(
        "integrated by Euler's method for 0.2 s, and taken to be at rest",
        "average-feedback",
        {"open_loop": integrated_open},
        says="not at rest",
    ),
    Mistake(
        "the excitatory arrays hold rates",
        "average-feedback",
        rewritten(in_open("u_E"), lambda u: np.logaddexp(0, u)),
        says="excitatory arrays hold rates",
    ),
    Mistake(
        "the inhibitory arrays hold rates",
        "weak-feedback",
        rewritten(in_open("u_I"), lambda u: np.logaddexp(0, u)),
        says="inhibitory arrays hold rates",
    ),
    Mistake(
        "the output is written as probabilities",
        "weak-feedback",
        rewritten(
            in_open("u_out"), lambda u: np.exp(u) / np.sum(np.exp(u), axis=-1, keepdims=True)
        ),
        says="probabilities",
    ),
    Mistake(
        "the arrays of E and I units are exchanged in the file",
        "average-feedback",
        renamed(
            lambda path: path.replace("u_E", "u_X").replace("u_I", "u_E").replace("u_X", "u_I")
        ),
        says="potentials are exchanged",
    ),
    Mistake(
        "hidden layers are counted from 1 in the file",
        "linear-threshold",
        renamed(layers_from_1),
        says="shape is",
    ),
    Mistake(
        "units are the first axis, samples the second",
        "average-feedback",
        rewritten(in_open("u"), lambda u: u.T),
        says="transposed",
    ),
    Mistake(
        "arrays are written flat",
        "weak-feedback",
        rewritten(lambda path: path.startswith("steps"), np.ravel),
        says="in the right order",
    ),
    Mistake(
        "arrays of (batch, n) are written column by column",
        "average-feedback",
        rewritten(in_open("u"), lambda u: np.reshape(u.T, u.shape)),
        says="column-major",
    ),
    Mistake(
        "bytes are not divided by 255",
        "bytes",
        {"read_input": lambda port, numbers: port.rounded(numbers)},
        says="not divided by 255",
    ),
    Mistake(
        "bytes are divided by 256",
        "bytes",
        {"read_input": lambda port, numbers: port.rounded(numbers / 256)},
        says="divided by 256",
    ),
    Mistake(
        "bytes are read as signed",
        "bytes",
        {"read_input": lambda port, numbers: port.rounded(numbers.astype(np.int8) / 255)},
        says="signed",
    ),
    Mistake(
        "inputs pass through an integer and lose their fractions",
        "average-feedback",
        {"read_input": lambda port, numbers: port.rounded(numbers.astype(int))},
        says="whole numbers",
    ),
    Mistake(
        "the first batch is learned again and again",
        "linear-threshold",
        {"batch": lambda port, step: (port.inputs[0], port.labels[0])},
        says="given the first batch",
    ),
    Mistake(
        "samples come out in reverse order",
        "average-feedback",
        rewritten(lambda path: path.startswith("steps") and "_loop/" in path, lambda u: u[::-1]),
        says="samples are in another order",
    ),
    Mistake(
        "the loop over samples ends one too early: the last stays at zero",
        "weak-feedback",
        open_of_batch(last_left_out),
        says="left at zero",
    ),
    Mistake(
        "potentials go up to the next layer, not rates",
        "average-feedback",
        {"upward": lambda port, u_E, u_I: u_E},
        says="potentials go up",
    ),
    Mistake(
        "inhibitory units project to the next layer",
        "weak-feedback",
        {"upward": lambda port, u_E, u_I: port.rate("I", u_I)},
        says="inhibitory rates go up",
    ),
    Mistake(
        "pipeline: a layer hears the rates of the sample before",
        "average-feedback",
        {"open_loop": old_rates_below},
        says="the drive a = h W + b",
    ),
    Mistake(
        "the integral is not set to zero for the open loop",
        "average-feedback",
        {"open_loop": control_left_over},
        says="the integral is not 0",
    ),
    Mistake(
        "one buffer for both loops: the open loop is written out when control has passed",
        "weak-feedback",
        {"circuit_step": closed_over_open},
        says="this is the closed loop",
    ),
    Mistake(
        "open and closed loop have one another's name",
        "linear-threshold",
        renamed(
            lambda path: (
                path.replace("open_loop/", "x/")
                .replace("closed_loop/", "open_loop/")
                .replace("x/", "closed_loop/")
            )
        ),
        says="this is the closed loop",
    ),
    Mistake(
        "learned parameters are written out but never loaded into the network",
        "linear-threshold",
        {"update": written_to_a_copy, "learn": used_copy},
        says="parameters are the initial ones",
    ),
    Mistake(
        "weights are kept in bfloat16",
        "average-feedback",
        {"read_weight": brain_float},
        hint_expected=False,
    ),
    Mistake(
        "weights are kept in single precision, and double is said",
        "exact-inverse-mse-averaged",
        {"read_weight": lambda port, numbers: port.rounded(np.float32(numbers))},
        says="float32",
    ),
    Mistake(
        "all is written in single precision, and double is said",
        "linear-threshold",
        rewritten(lambda path: True, lambda array: array.astype(np.float32)),
        says="float32",
    ),
    Mistake(
        "rates come from a table of 1024 entries",
        "average-feedback",
        {"rate": table_of_rates},
        hint_expected=False,
    ),
    Mistake(
        "one sample's first layer is no number",
        "weak-feedback",
        open_of_batch(one_nan),
        says="NaN",
    ),
)


# Running mean.


def mean_over_units(port, states, l):
    rates = np.stack([port.rate("I", state.u_I[l]) for state in states])
    return np.full(rates.shape[1], rates.mean())


def rate_of_mean(port, states, l):
    return port.rate("I", sum(state.u_I[l] for state in states) / len(states))


def mean_potential(port, states, l):
    return sum(state.u_I[l] for state in states) / len(states)


def excitatory_mean(port, states, l):
    return sum(port.rate("E", state.u_E[l]) for state in states) / len(states)


def mean_under_control(port, step):
    """The mean takes in the closed loop of the step."""
    xs, ys = port.batch(step)
    opens = [port.open_loop(x) for x in xs]
    Qs, targets = port.feedback(opens), port.targets(opens, ys)
    closeds = port.closed_loops(xs, Qs, targets, opens)
    port.r_bar = Port.updated_means(port, port.r_bar, closeds)
    port.updated_means = MethodType(lambda self, r_bar, states: r_bar, port)
    return Port.circuit_step(port, step)


def exchanged_weights_of_mean(port, r_bar, states):
    rho = port.s["mean_inhibition.rate"]
    return [rho * r_bar[l] + (1 - rho) * port.batch_mean(states, l) for l in range(port.L)]


def mean_after_use(port, step):
    """r̄ of the step before is used and written; the present batch is taken in afterwards."""
    new = []

    def updated_means(self, r_bar, states):
        new.extend(Port.updated_means(self, r_bar, states))
        return r_bar

    port.updated_means = MethodType(updated_means, port)
    seen = Port.circuit_step(port, step)
    port.r_bar = new
    return seen


MEAN_MISTAKES = (
    Mistake(
        "the sum over the batch, not the mean",
        "linear-threshold",
        {"batch_mean": lambda port, states, l: len(states) * Port.batch_mean(port, states, l)},
        says="the sum over the batch",
    ),
    Mistake(
        "ρ weighs the past, not the present",
        "linear-threshold-running-mean",
        {"updated_means": exchanged_weights_of_mean},
        says="ρ and 1 − ρ are exchanged",
    ),
    Mistake(
        "ρ is the default's: the present batch alone",
        "linear-threshold-running-mean",
        ignored("mean_inhibition.rate"),
        says="mean_inhibition.rate is the default",
    ),
    Mistake(
        "the initial value is the default's",
        "unusual-units",
        ignored("mean_inhibition.init"),
        says="mean_inhibition.init is the default",
    ),
    Mistake(
        "the mean starts at zero",
        "linear-threshold-running-mean",
        {"initial_means": lambda port: [0 * r for r in Port.initial_means(port)]},
        says="starts at zero",
    ),
    Mistake(
        "the mean starts anew in each step",
        "linear-threshold-running-mean",
        {
            "updated_means": lambda port, r_bar, states: Port.updated_means(
                port, port.initial_means(), states
            )
        },
        says="anew in each step",
    ),
    Mistake(
        "taken at the closed loop",
        "linear-threshold",
        {"circuit_step": mean_under_control},
        says="taken in the closed loop",
    ),
    Mistake(
        "the mean over units too: one number a layer",
        "linear-threshold",
        {"batch_mean": mean_over_units},
        says="over units",
    ),
    Mistake(
        "the rate of the mean potential",
        "linear-threshold",
        {"batch_mean": rate_of_mean},
        says="the rate of the mean potential",
    ),
    Mistake(
        "the mean of potentials",
        "linear-threshold",
        {"batch_mean": mean_potential},
        says="potentials where rates belong",
    ),
    Mistake(
        "excitatory rates are averaged",
        "unusual-units",
        {"batch_mean": excitatory_mean},
        says="excitatory rates",
    ),
    Mistake(
        "the batch is taken in twice a step",
        "linear-threshold-running-mean",
        {
            "updated_means": lambda port, r_bar, states: Port.updated_means(
                port, Port.updated_means(port, r_bar, states), states
            )
        },
        says="twice a step",
    ),
    Mistake(
        "r̄ is used and written before it takes in the batch",
        "linear-threshold-running-mean",
        {"circuit_step": mean_after_use},
        says="updated late",
    ),
    Mistake(
        "the first sample alone, not the batch",
        "linear-threshold",
        {"batch_mean": lambda port, states, l: port.rate("I", states[0].u_I[l])},
        says="the first sample alone",
    ),
    Mistake(
        "the mean of all batches so far, whatever ρ is",
        "linear-threshold-running-mean",
        {
            "updated_means": lambda port, r_bar, states: [
                r_bar[l] + (port.batch_mean(states, l) - r_bar[l]) / (port.t + 1)
                for l in range(port.L)
            ]
        },
        hint_expected=False,
        says="the mean of all batches so far",
    ),
)


# Feedback weights.


def feedback_by_slopes(slope_E, slope_I, carried=lambda J, Q: J):
    """Q with other slopes, of a state and layer, and something else carried down."""

    def raw_feedback(port, state):
        J, Qs = port.p["readout/weight"].T, [None] * port.L
        for l in reversed(range(port.L)):
            J = J * slope_E(port, state, l)
            Qs[l] = J * slope_I(port, state, l)
            J = port.carried_down(carried(J, Qs[l]), Qs[l], l)
        return Qs

    return {"raw_feedback": raw_feedback}


def slope_E(port, state, l):
    return port.slope("E", state.u_E[l])


def slope_I(port, state, l):
    return port.slope("I", state.u_I[l])


def true_gain(port, state, l):
    """The response with inhibition in the loop."""
    return slope_E(port, state, l) / (1 + slope_E(port, state, l) * slope_I(port, state, l))


def one_length(port, Qs):
    """One norm for the batch of a layer."""
    norms = [np.sqrt(sum(np.sum(Q[l] ** 2) for Q in Qs)) for l in range(port.L)]
    return [[port.s["feedback.norm"] * Q[l] / norms[l] for l in range(port.L)] for Q in Qs]


def all_layers_together(port, Qs):
    norms = [np.sqrt(sum(np.sum(Q_l**2) for Q_l in Q)) for Q in Qs]
    return [[Q_l / norm for Q_l in Q] for Q, norm in zip(Qs, norms, strict=True)]


def normalised_by(length):
    return {"normalized": lambda port, Q_l: port.s["feedback.norm"] * Q_l / length(Q_l)}


def feedback_in_order(*order):
    """The three operations in another order."""

    def feedback(port, states):
        Qs = [port.raw_feedback(state) for state in states]
        for operation in order:
            if operation == "average" and port.s["feedback.average"]:
                Qs = port.averaged(Qs)
            if operation == "clip" and port.s["feedback.clip"] is not None:
                Qs = [[port.clipped(Q_l) for Q_l in Q] for Q in Qs]
            if operation == "normalize" and port.s["feedback.normalize"]:
                Qs = port.normalized_batch(Qs)
        return Qs

    return {"feedback": feedback}


def of_the_closed_loop(port, states):
    """Q is taken again when control has come to rest, and that is what is written."""
    xs, ys = port.batch(port.t)
    Qs, targets = Port.feedback(port, states), port.targets(states, ys)
    closeds = right(port).closed_loops(xs, Qs, targets, states)
    return Port.feedback(port, closeds)


def with_first_parameters(port, states):
    now, port.p = port.p, port.start
    Qs = Port.feedback(port, states)
    port.p = now
    return Qs


def of_the_step_before(port, states):
    kept = vars(port).setdefault("kept_feedback", Port.feedback(port, states))
    port.kept_feedback = Port.feedback(port, states)
    return kept


def with_softmax_jacobian(port, state):
    p = port.softmax(state.u_out)
    S = np.diag(p) - np.outer(p, p)
    return [S @ Q_l for Q_l in Port.raw_feedback(port, state)]


FEEDBACK_MISTAKES = (
    Mistake(
        "the slope of E units is taken at their rate",
        "average-feedback",
        feedback_by_slopes(lambda port, s, l: port.slope("E", port.rate("E", s.u_E[l])), slope_I),
        says="not at φ_E(u_E)",
    ),
    Mistake(
        "the slope of I units is taken at the potential of the E units",
        "weak-feedback",
        feedback_by_slopes(slope_E, lambda port, state, l: port.slope("I", state.u_E[l])),
        says="not at u_E",
    ),
    Mistake(
        "without the slope of the I units",
        "linear-threshold",
        feedback_by_slopes(slope_E, lambda port, state, l: 1),
        says="the factor φ_I'(u_I^l) is missing",
    ),
    Mistake(
        "without the slope of the E units",
        "linear-threshold",
        feedback_by_slopes(lambda port, state, l: 1, slope_I),
        says="the factor φ_E'(u_E^l) is missing",
    ),
    Mistake(
        "Q is carried down to the layer below, with the inhibitory slope in it",
        "weak-feedback",
        feedback_by_slopes(slope_E, slope_I, lambda J, Q: Q),
        says="the chain goes through Q",
    ),
    Mistake(
        "how the output responds with inhibition in the loop: slopes over 1 + φ_I' φ_E'",
        "average-feedback",
        feedback_by_slopes(true_gain, slope_I),
        says="φ' / (1 + φ_I' φ_E')",
    ),
    Mistake(
        "the derivative of the softmax is in the feedback weights",
        "linear-threshold",
        {"raw_feedback": with_softmax_jacobian},
        says="derivative of the softmax",
    ),
    Mistake(
        "on the way down square matrices are not transposed",
        "unusual-learning",
        {
            "carried_down": lambda port, J, Q, l: (
                J @ port.p[f"hidden_{l}/weight"]
                if l
                and port.p[f"hidden_{l}/weight"].shape[0] == port.p[f"hidden_{l}/weight"].shape[1]
                else Port.carried_down(port, J, Q, l)
            )
        },
        says="transposed",
    ),
    Mistake(
        "the sign: control lowers where it should raise",
        "linear-threshold",
        {"raw_feedback": lambda port, s: [-Q_l for Q_l in Port.raw_feedback(port, s)]},
        says="the sign of Q",
    ),
    Mistake(
        "one norm for the whole batch",
        "linear-threshold",
        {"normalized_batch": one_length},
        says="over the whole batch",
    ),
    Mistake(
        "one norm for all layers of a sample",
        "linear-threshold",
        {"normalized_batch": all_layers_together},
        says="one norm for all layers",
    ),
    Mistake(
        "each output's row has the norm",
        "weak-feedback",
        normalised_by(lambda Q_l: np.sqrt(np.sum(Q_l**2, axis=1, keepdims=True))),
        says="output by output",
    ),
    Mistake(
        "each unit's column has the norm",
        "weak-feedback",
        normalised_by(lambda Q_l: np.sqrt(np.sum(Q_l**2, axis=0, keepdims=True))),
        says="unit by unit",
    ),
    Mistake(
        "divided by the sum of squares, the root forgotten",
        "average-feedback",
        normalised_by(lambda Q_l: np.sum(Q_l**2)),
        says="divided by the sum of squares",
    ),
    Mistake(
        "the norm is the sum of magnitudes",
        "linear-threshold",
        normalised_by(lambda Q_l: np.sum(np.abs(Q_l))),
        says="the sum of magnitudes",
    ),
    Mistake(
        "the norm is the largest singular value",
        "linear-threshold",
        normalised_by(lambda Q_l: np.linalg.norm(Q_l, 2)),
        says="the largest singular value",
    ),
    Mistake(
        "1e-6 is added to the norm, against division by zero",
        "linear-threshold",
        normalised_by(lambda Q_l: np.sqrt(np.sum(Q_l**2)) + 1e-6),
        says="1e-06 is added to the norm",
    ),
    Mistake(
        "the norm is the default's",
        "exact-inverse-mse-norm-2",
        ignored("feedback.norm"),
        says="feedback.norm",
    ),
    Mistake(
        "not normalised",
        "average-feedback",
        set_to(feedback__normalize=False),
        says="the normalisation is missing",
    ),
    Mistake(
        "normalised though it is off",
        "exact-inverse-mse-unnormalised",
        set_to(feedback__normalize=True),
        says="feedback.normalize is off",
    ),
    Mistake(
        "not averaged over the batch",
        "average-feedback",
        ignored("feedback.average"),
        says="the batch average",
    ),
    Mistake(
        "averaged after normalising",
        "average-feedback",
        feedback_in_order("normalize", "average", "clip"),
        says="normalised before averaging",
    ),
    Mistake(
        "clipped after normalising",
        "exact-inverse-mse-clipped",
        feedback_in_order("average", "normalize", "clip"),
        says="normalised before clipping",
    ),
    Mistake(
        "not clipped",
        "exact-inverse-mse-clipped-unnormalised",
        ignored("feedback.clip"),
        says="the clipping to ±feedback.clip is missing",
    ),
    Mistake(
        "clipped from above alone",
        "exact-inverse-mse-clipped-unnormalised",
        {"clipped": lambda port, Q_l: np.minimum(Q_l, port.s["feedback.clip"])},
        says="from above alone",
    ),
    Mistake(
        "taken at the closed loop",
        "linear-threshold",
        {"feedback": of_the_closed_loop},
        says="taken at the closed-loop state",
    ),
    Mistake(
        "with the weights that learning began with",
        "linear-threshold",
        {"feedback": with_first_parameters},
        says="parameters are the initial ones",
    ),
    Mistake(
        "those of the step before",
        "weak-feedback",
        {"feedback": of_the_step_before},
        says="Q is that of the step before",
    ),
    Mistake(
        "the top layer alone is given feedback, the others zero",
        "linear-threshold",
        {
            "raw_feedback": lambda port, state: [
                Q_l if l == port.L - 1 else 0 * Q_l
                for l, Q_l in enumerate(Port.raw_feedback(port, state))
            ]
        },
        says="Q_0 is 0 times",
    ),
    Mistake(
        "layers are stored from the top",
        "exact-inverse-mse-averaged",
        {"feedback": lambda port, states: [Q[::-1] for Q in Port.feedback(port, states)]},
        says="from the top",
    ),
    Mistake(
        "written (B, n_l, n_out)",
        "linear-threshold",
        rewritten(lambda path: "/Q_" in path, lambda Q: np.swapaxes(Q, 1, 2)),
        says="transposed",
    ),
    Mistake(
        "averaged weights are written once, not for each sample",
        "average-feedback",
        rewritten(lambda path: "/Q_" in path, lambda Q: Q[0]),
        says="shape is",
    ),
)


# Target.


def softmax_of_batch(port, opens, ys):
    """The softmax sums over samples."""
    o = np.stack([state.u_out for state in opens])
    y = np.stack(ys)

    def softmax(u):
        e = np.exp(u - u.max())
        return e / e.sum(axis=0, keepdims=True)

    return list(softmax(o + port.s["feedback.nudge"] * (y - softmax(o))))


def only_mse_or(target):
    return {"target": lambda port, o, y: target(port, o, y, port.s["feedback.nudge"])}


TARGET_MISTAKES = (
    Mistake(
        "the label though feedback is weak",
        "weak-feedback",
        set_to(feedback__strong=True),
        says="strong and weak",
    ),
    Mistake(
        "a nudge though feedback is strong",
        "linear-threshold",
        set_to(feedback__strong=False),
        says="strong and weak",
    ),
    Mistake(
        "the nudge is the default's",
        "unusual-learning",
        ignored("feedback.nudge"),
        says="feedback.nudge is the default",
    ),
    Mistake(
        "the nudged potentials are the target, the softmax is forgotten",
        "weak-feedback",
        only_mse_or(lambda port, o, y, nudge: o + nudge * (y - port.softmax(o))),
        says="softmax around the nudged potential is left out",
    ),
    Mistake(
        "nudged between probabilities",
        "weak-feedback",
        only_mse_or(lambda port, o, y, nudge: port.softmax(o) + nudge * (y - port.softmax(o))),
        says="applied to probabilities",
    ),
    Mistake(
        "the potentials are nudged towards the label, as with the squared error",
        "weak-feedback",
        only_mse_or(lambda port, o, y, nudge: port.softmax(o + nudge * (y - o))),
        says="the potential is nudged to the label",
    ),
    Mistake(
        "nudged away from the label",
        "exact-inverse-mse-weak-averaged",
        only_mse_or(lambda port, o, y, nudge: o - nudge * (y - o)),
        says="away from the label",
    ),
    Mistake(
        "the nudge is added without the output: o is forgotten within the brackets",
        "exact-inverse-mse-weak-averaged",
        only_mse_or(lambda port, o, y, nudge: o + nudge * y),
        says="leaves out the output",
    ),
    Mistake(
        "λ weighs the output and 1 − λ the label",
        "exact-inverse-mse-weak-averaged",
        only_mse_or(lambda port, o, y, nudge: nudge * o + (1 - nudge) * y),
        says="λ and 1 − λ are exchanged",
    ),
    Mistake(
        "labels are hardened to zeros and a one",
        "linear-threshold",
        {"target": lambda port, o, y: (y == y.max()).astype(float)},
        says="labels are 1 on the class",
    ),
    Mistake(
        "the softmax sums over the batch",
        "weak-feedback",
        {"targets": softmax_of_batch},
        says="over the batch",
    ),
    Mistake(
        "labels belong to the next sample",
        "average-feedback",
        {"targets": lambda port, opens, ys: Port.targets(port, opens, [*ys[1:], ys[0]])},
        says="labels are in another order",
    ),
)


# Closed loop.


def relaxed(error_of, mixed=lambda c: c):
    """All samples' controls at once, by small steps c ← c + (κ e − c) / 4 until they rest."""

    def closed_loops(port, xs, Qs, targets, opens):
        gain, leak = port.gains()
        states, c = list(opens), np.zeros((len(xs), port.n_out))
        for _ in range(120):
            e = error_of(port, np.stack([s.u_out for s in states]), np.stack(targets))
            c = c + (mixed(gain / leak * e) - c) / 4
            states = [
                port.at_rest(x, Q, c_s, s.u_E)
                for x, Q, c_s, s in zip(xs, Qs, c, states, strict=True)
            ]
        for s, c_s in zip(states, c, strict=True):
            s.z = c_s / gain
        return states

    return {"closed_loops": closed_loops}


def sum_over_batch(port, u, target):
    e = np.exp(u - u.max())
    return target - e / e.sum(axis=0, keepdims=True)


def integrated_closed(port, x, Q, target, open_loop):
    """Euler's method for 0.3 s."""
    y = port.packed(open_loop)
    for _ in range(300):
        y = y + 1e-3 * port.derivative(y, x, Q, target)
    return port.unpacked(y)


def e_units_stay(port, x, Q, target, open_loop):
    """Only I units and outputs are computed again under control."""
    state = Port.closed_loop(port, x, Q, target, open_loop)
    state.u_E = open_loop.u_E
    return state


def clipped_control(port, x, Q, target, open_loop):
    """The converter that drives the units saturates at 0.1."""
    c, _ = port.found_control(x, Q, target, open_loop)
    c = np.clip(c, -0.1, 0.1)
    state = port.at_rest(x, Q, c, open_loop.u_E)
    state.z = port.integral(c, port.error(state.u_out, target))
    return state


def after_a_step_of_control(port, x, Q, target, open_loop):
    """c = κ e of the open loop, and no more."""
    gain, leak = port.gains()
    c = gain / leak * port.error(open_loop.u_out, target)
    state = port.at_rest(x, Q, c, open_loop.u_E)
    state.z = port.integral(c, None)
    return state


def in_layer(which):
    """Control reaches one layer alone."""

    def inhibition_taken(port, c, Q, l):
        taken = Port.inhibition_taken(port, c, Q, l)
        return taken if l == which % port.L else 0 * taken

    return {"inhibition_taken": inhibition_taken}


def label_for_target(port, xs, Qs, targets, opens):
    return Port.closed_loops(port, xs, Qs, port.batch(port.t)[1], opens)


def previous_feedback(port, xs, Qs, targets, opens):
    before = Qs if port.before is None else port.before.Qs
    return Port.closed_loops(port, xs, before, targets, opens)


def first_feedback_for_all(port, xs, Qs, targets, opens):
    return Port.closed_loops(port, xs, [Qs[0]] * len(Qs), targets, opens)


def gains_of(gain, leak=lambda s: s["controller.leak"]):
    return {"gains": lambda port: (gain(port.s), leak(port.s))}


def without_c_in_a_potential(port, c, Q, l):
    return 0 * Port.inhibition_taken(port, c, Q, l)


CLOSED_LOOP_MISTAKES = (
    Mistake(
        "the control excites the inhibitory units",
        "average-feedback",
        {"inhibition_taken": lambda port, c, Q, l: -Port.inhibition_taken(port, c, Q, l)},
        says="the sign of the control",
    ),
    Mistake(
        "the control does not reach the readout",
        "linear-threshold",
        {"direct": lambda port, c: 0 * c},
        says="the readout's own feedback",
    ),
    Mistake(
        "the control reaches the readout though that is off",
        "linear-threshold-mse-readout-free",
        {"direct": lambda port, c: c},
        says="the readout's own feedback",
    ),
    Mistake(
        "the control does not reach the hidden layers",
        "linear-threshold",
        {"inhibition_taken": without_c_in_a_potential},
        says="does not reach the hidden layers",
    ),
    Mistake(
        "the control reaches the top hidden layer alone",
        "linear-threshold",
        in_layer(-1),
        says="the top hidden layer alone",
    ),
    Mistake(
        "the proportional gain is forgotten",
        "average-feedback",
        gains_of(lambda s: s["controller.k_i"]),
        says="integral only",
    ),
    Mistake(
        "the integral gain is forgotten",
        "average-feedback",
        gains_of(lambda s: s["controller.k_p"] * s["controller.leak"]),
        says="proportional only",
    ),
    Mistake(
        "k_p is the default's",
        "unusual-gains",
        ignored("controller.k_p"),
        says="controller.k_p is the default",
    ),
    Mistake(
        "k_i is the default's",
        "unusual-gains",
        ignored("controller.k_i"),
        says="controller.k_i is the default",
    ),
    Mistake(
        "the leak is the default's",
        "unusual-gains",
        ignored("controller.leak"),
        says="controller.leak is the default",
    ),
    Mistake(
        "the integral gain is multiplied by the leak, not divided",
        "strong-gain",
        gains_of(
            lambda s: s["controller.k_p"] + s["controller.k_i"] * s["controller.leak"], lambda s: 1
        ),
        says="the leak multiplies",
    ),
    Mistake(
        "k_p and k_i are exchanged",
        "unusual-gains",
        exchanged("k_p", "k_i"),
        says="k_p and k_i are exchanged",
    ),
    Mistake(
        "c_int holds the control",
        "linear-threshold",
        {"integral": lambda port, c, e: c},
        says="not the control signal c",
    ),
    Mistake(
        "c_int holds the error, the leak is forgotten",
        "unusual-gains",
        {"integral": lambda port, c, e: e},
        says="not at e",
    ),
    Mistake(
        "c_int holds k_i z",
        "linear-threshold",
        {"integral": lambda port, c, e: port.s["controller.k_i"] * Port.integral(port, c, e)},
        says="not k_i z",
    ),
    Mistake(
        "c_int is left at zero",
        "average-feedback",
        {"integral": lambda port, c, e: 0 * c},
        says="c_int is not given",
    ),
    Mistake(
        "the search for the control ends after two iterations",
        "linear-threshold",
        {"iterations": lambda port: 2},
        says="the search stopped early",
    ),
    Mistake(
        "the search for the control ends at a hundredth",
        "linear-threshold",
        {"close_enough": lambda port: 1e-2},
        says="the search stopped early",
    ),
    Mistake(
        "one step of control: κ times the open loop's error",
        "average-feedback",
        {"closed_loop": after_a_step_of_control},
        says="the search stopped early",
    ),
    Mistake(
        "integrated by Euler's method for 0.3 s, and taken to be at rest",
        "average-feedback",
        {"closed_loop": integrated_closed},
        says="not at rest",
    ),
    Mistake(
        "the error of the squared loss under cross-entropy",
        "average-feedback",
        {"error": lambda port, u_out, target: target - u_out},
        says="the softmax is left out of the error",
    ),
    Mistake(
        "the error has the other sign",
        "exact-inverse-mse-averaged",
        relaxed(lambda port, u, target: u - target, lambda c: np.clip(c, -3, 3)),
        hint_expected=False,
        says="c does not solve c = κ e",
    ),
    Mistake(
        "the softmax sums over the batch",
        "average-feedback",
        relaxed(sum_over_batch),
        says="over the batch",
    ),
    Mistake(
        "one control for the whole batch: errors are averaged",
        "linear-threshold",
        relaxed(
            lambda port, u, target: port.error(u, target),
            lambda c: 0 * c + c.mean(axis=0, keepdims=True),
        ),
        says="c does not solve c = κ e",
    ),
    Mistake(
        "the controller is given the label though feedback is weak",
        "weak-feedback",
        {"closed_loops": label_for_target},
        says="the label is the target",
    ),
    Mistake(
        "with the feedback weights of the step before",
        "linear-threshold",
        {"closed_loops": previous_feedback},
        says="those of the step before",
    ),
    Mistake(
        "all samples get the first sample's feedback weights",
        "linear-threshold",
        {"closed_loops": first_feedback_for_all},
        says="first sample's feedback weights",
    ),
    Mistake(
        "excitatory units keep their open-loop potentials",
        "average-feedback",
        {"closed_loop": e_units_stay},
        says="stay where the open loop had them",
    ),
    Mistake(
        "the control saturates at 0.1",
        "average-feedback",
        {"closed_loop": clipped_control},
        hint_expected=False,
        says="c does not solve c = κ e",
    ),
    Mistake(
        "the inhibitory arrays hold rates",
        "average-feedback",
        rewritten(lambda path: "closed_loop/u_I" in path, lambda u: np.logaddexp(0, u)),
        says="inhibitory arrays hold rates",
    ),
)


# Gradients.


def delta_with(estimate=None, rate=None, slope=None):
    """(û_I − r_E) φ_E' with one of its parts another, each of (port, closed, opened, l)."""

    def delta(port, l, closed, opened):
        a = (estimate or right_estimate)(port, closed, opened, l)
        b = (rate or right_rate)(port, closed, opened, l)
        return (a - b) * (slope or right_slope)(port, closed, opened, l)

    return {"delta": delta}


def right_estimate(port, closed, opened, l):
    return port.estimate(closed.u_I[l], l)


def right_rate(port, closed, opened, l):
    return port.rate("E", closed.u_E[l])


def right_slope(port, closed, opened, l):
    return port.slope("E", closed.u_E[l])


def old_mean(port, l):
    """r̄ before it took in the present batch."""
    return port.initial_means()[l] if port.before is None else port.before.r_bar[l]


def tangent_at_potential(port, r_0):
    delta = 1 / port.slope("I", r_0)
    return r_0 - port.rate("I", r_0) * delta, delta


def with_tangent(change):
    """θ and δ are changed."""
    return {"tangent": lambda port, r_0: change(port, r_0, *Port.tangent(port, r_0))}


def accumulated(port):
    """The sums of the last step are still there."""
    if port.before is None:
        return Port.initial_sums(port)
    batch = len(port.labels[0])
    return {name: batch * array for name, array in port.before.gradients.items()}


def transposed_in_memory(port, pre, delta):
    return np.reshape(np.outer(delta, pre), (len(pre), len(delta)))


def changed_gradient(condition, change):
    """Some gradients are changed, before they are used."""

    def gradients(port, *arguments):
        g = Port.gradients(port, *arguments)
        return {name: change(array) if condition(name) else array for name, array in g.items()}

    return {"gradients": gradients}


def one_sample(which):
    """The loop over samples assigns where it should add."""

    def gradients(port, xs, ys, closeds, opens):
        chosen = slice(which, None) if which < 0 else slice(which, which + 1)
        return Port.gradients(port, xs[chosen], ys[chosen], closeds[chosen], opens[chosen])

    return {"gradients": gradients}


def closed_readout(port, y, closed, opened):
    r = port.rate("E", closed.u_E[-1])
    return r, -port.error(closed.u_out, y)


def nudged_readout(port, y, closed, opened):
    return port.rate("E", opened.u_E[-1]), -port.error(opened.u_out, port.target(opened.u_out, y))


def readout_with(change):
    return {
        "readout_pre_and_delta": lambda port, y, closed, opened: change(
            port, closed, opened, *Port.readout_pre_and_delta(port, y, closed, opened)
        )
    }


def plain_untransposed(port, x, y):
    """W δ with square matrices the wrong way round."""
    a, h, u_out = port.plain_network(x)
    d = port.output_delta(u_out, y)
    yield "readout/weight", np.outer(h[-1], d)
    for l in reversed(range(port.L)):
        W = port.weight_above(l)
        d = ((W.T if W.shape[0] == W.shape[1] else W) @ d) * port.slope("E", a[l])
        yield f"hidden_{l}/weight", np.outer(h[l], d)
        yield f"hidden_{l}/bias", d


def plain_without_slopes(port, x, y):
    """As if all units were linear."""
    _, h, u_out = port.plain_network(x)
    d = port.output_delta(u_out, y)
    yield "readout/weight", np.outer(h[-1], d)
    for l in reversed(range(port.L)):
        d = port.weight_above(l) @ d
        yield f"hidden_{l}/weight", np.outer(h[l], d)
        yield f"hidden_{l}/bias", d


def through_the_softmax_again(port, u_out, y):
    p = port.softmax(u_out)
    return (np.diag(p) - np.outer(p, p)) @ (p - y)


GRADIENT_MISTAKES = (
    Mistake(
        "summed over the batch, not averaged",
        "average-feedback",
        {"count": lambda port, xs: 1},
        says="summed over the batch",
    ),
    Mistake(
        "divided by one less than the batch",
        "average-feedback",
        {"count": lambda port, xs: len(xs) - 1},
        says="one less than the batch",
    ),
    Mistake(
        "averaged twice: the batch divides squared",
        "linear-threshold",
        {"count": lambda port, xs: len(xs) ** 2},
        says="divided by the batch size twice",
    ),
    Mistake(
        "the change of the weights is written, not what they descend along",
        "average-feedback",
        changed_gradient(lambda name: True, lambda g: -g),
        says="the sign of δ",
    ),
    Mistake(
        "hidden layers alone have the other sign",
        "linear-threshold",
        changed_gradient(lambda name: name.startswith("hidden"), lambda g: -g),
        says="the sign of the hidden layers",
    ),
    Mistake(
        "without the slope of the E units",
        "average-feedback",
        delta_with(slope=lambda port, closed, opened, l: 1),
        says="the factor φ_E'(u_E) is missing",
    ),
    Mistake(
        "the slope is taken at the open loop",
        "average-feedback",
        delta_with(slope=lambda port, closed, opened, l: port.slope("E", opened.u_E[l])),
        says="taken at the open loop's u_E",
    ),
    Mistake(
        "the slope is taken at the rate",
        "weak-feedback",
        delta_with(
            slope=lambda port, closed, opened, l: port.slope("E", port.rate("E", closed.u_E[l]))
        ),
        says="not at φ_E(u_E)",
    ),
    Mistake(
        "the slope of the I units in place of the E units'",
        "average-feedback",
        delta_with(slope=lambda port, closed, opened, l: port.slope("I", closed.u_I[l])),
        says="not at u_I",
    ),
    Mistake(
        "excitatory rates are those of the open loop",
        "average-feedback",
        delta_with(rate=lambda port, closed, opened, l: port.rate("E", opened.u_E[l])),
        says="excitatory rates in δ are those of the open loop",
    ),
    Mistake(
        "the excitatory potential is compared, not the rate",
        "weak-feedback",
        delta_with(rate=lambda port, closed, opened, l: closed.u_E[l]),
        says="not û_I − u_E",
    ),
    Mistake(
        "the inhibitory rate is compared, nothing undoes φ_I",
        "average-feedback",
        delta_with(estimate=lambda port, closed, opened, l: port.rate("I", closed.u_I[l])),
        says="not φ_I(u_I)",
    ),
    Mistake(
        "the inhibitory units are those of the open loop",
        "linear-threshold",
        delta_with(estimate=lambda port, closed, opened, l: port.estimate(opened.u_I[l], l)),
        says="û_I in δ is that of the open loop",
    ),
    Mistake(
        "the exact inverse whatever the rule is",
        "linear-threshold",
        {"estimate": lambda port, u_I, l: u_I},
        says="the exact inverse",
    ),
    Mistake(
        "presynaptic rates are those of the open loop",
        "average-feedback",
        {"pre": lambda port, l, x, closed, opened: Port.pre(port, l, x, opened, closed)},
        says="presynaptic rates are those of the open loop",
    ),
    Mistake(
        "presynaptic potentials, not rates",
        "weak-feedback",
        {"pre": lambda port, l, x, closed, opened: x if l == 0 else closed.u_E[l - 1]},
        says="presynaptic potentials",
    ),
    Mistake(
        "θ is dropped from the linear threshold",
        "linear-threshold",
        with_tangent(lambda port, r_0, theta, delta: (0 * theta, delta)),
        says="θ is left out",
    ),
    Mistake(
        "δ is φ_I', not one over it",
        "unusual-learning",
        with_tangent(lambda port, r_0, theta, delta: (port.inverse(r_0) - r_0 / delta, 1 / delta)),
        says="δ is φ_I'(u₀)",
    ),
    Mistake(
        "the threshold is subtracted",
        "linear-threshold",
        with_tangent(lambda port, r_0, theta, delta: (-theta, delta)),
        says="θ is subtracted",
    ),
    Mistake(
        "r̄ is taken for a potential",
        "linear-threshold",
        {"tangent": tangent_at_potential},
        says="r₀ is taken for a potential",
    ),
    Mistake(
        "linearised at r̄ as it was before this batch",
        "linear-threshold-running-mean",
        {"r_0": old_mean},
        says="updated late",
    ),
    Mistake(
        "linearised at the fixed rate though the mean is asked",
        "linear-threshold",
        {"r_0": lambda port, l: np.full(1, port.s["mean_inhibition.fixed_point"])},
        says="a fixed r₀ is linearised at",
    ),
    Mistake(
        "linearised at the first r̄ though the fixed rate is asked",
        "linear-threshold-fixed-mse-default",
        {"r_0": lambda port, l: port.initial_means()[l]},
        says="mean_inhibition.init is linearised at, not mean_inhibition.fixed_point",
    ),
    Mistake(
        "the fixed rate is the default's",
        "unusual-learning",
        ignored("mean_inhibition.fixed_point"),
        says="mean_inhibition.fixed_point is the default",
    ),
    Mistake(
        "bias gradients are summed, weights averaged",
        "average-feedback",
        changed_gradient(lambda name: name.endswith("bias"), lambda g: 5 * g),
        says="the biases' gradients are summed",
    ),
    Mistake(
        "biases have no gradient",
        "linear-threshold",
        {"bias_change": lambda port, delta: 0 * delta},
        says="hidden_0/bias is 0 times",
    ),
    Mistake(
        "the readout's gradient has the other sign",
        "average-feedback",
        changed_gradient(lambda name: name == "readout/weight", lambda g: -g),
        says="the sign of the readout's δ",
    ),
    Mistake(
        "the readout hears the rates of the open loop",
        "linear-threshold",
        readout_with(lambda port, closed, opened, r, d: (port.rate("E", opened.u_E[-1]), d)),
        says="the readout's presynaptic rates",
    ),
    Mistake(
        "the readout compares the two loops' outputs",
        "average-feedback",
        readout_with(lambda port, closed, opened, r, d: (r, opened.u_out - closed.u_out)),
        says="difference of the two loops' outputs",
    ),
    Mistake(
        "the readout learns from the error under control",
        "average-feedback",
        {"readout_pre_and_delta": closed_readout},
        says="the error under control",
    ),
    Mistake(
        "without feedback to it, the readout learns from the error under control",
        "linear-threshold-mse-readout-free",
        {"readout_pre_and_delta": closed_readout},
        says="the error under control",
    ),
    Mistake(
        "without feedback to it, the readout's δ is still W r − u, which is nothing",
        "linear-threshold-mse-readout-free",
        readout_with(
            lambda port, closed, opened, r, d: (
                port.rate("E", closed.u_E[-1]),
                port.output(port.rate("E", closed.u_E[-1])) - closed.u_out,
            )
        ),
        says="the readout has no feedback",
    ),
    Mistake(
        "without feedback to it and nudged, the readout learns from the nudged target",
        "unstable-fixed-point",
        {"readout_pre_and_delta": nudged_readout},
        says="nudged target",
    ),
    Mistake(
        "outer products are laid out the other way round in memory",
        "average-feedback",
        {"weight_change": transposed_in_memory},
        says="column-major",
    ),
    Mistake(
        "gradients are written (n_out, n_in)",
        "linear-threshold",
        rewritten(lambda path: "gradients/" in path, lambda g: g.T),
        says="transposed",
    ),
    Mistake(
        "gradients are not cleared between steps",
        "average-feedback",
        {"initial_sums": accumulated},
        says="not cleared",
    ),
    Mistake(
        "the last sample overwrites the others",
        "average-feedback",
        one_sample(-1),
        says="the last sample alone",
    ),
    Mistake(
        "the gradients of backprop whatever the rule is",
        "average-feedback",
        {"gradients": lambda port, xs, ys, closeds, opens: port.backprop(xs, ys)},
        says="the gradients of backprop",
    ),
    Mistake(
        "weights decay: a hundredth of them is in the gradient",
        "linear-threshold",
        {
            "gradients": lambda port, *arguments: {
                name: g + 0.01 * port.p[name]
                for name, g in Port.gradients(port, *arguments).items()
            }
        },
        says="0.01 times the parameters is in the gradients",
    ),
    Mistake(
        "gradients are clipped to a norm of 0.1",
        "average-feedback",
        changed_gradient(
            lambda name: True, lambda g: g * min(1, 0.1 / float(np.sqrt(np.sum(g**2))))
        ),
        hint_expected=False,
        says="right but for a factor",
    ),
    Mistake(
        "backprop: slopes at activities, not at drives",
        "backprop-mse-default",
        {"plain_slope": lambda port, a: port.slope("E", port.rate("E", a))},
        says="slopes are taken at activities",
    ),
    Mistake(
        "backprop: no slopes",
        "backprop-mse-default",
        {"backprop_sample": plain_without_slopes},
        says="backprop has no slopes",
    ),
    Mistake(
        "backprop: square matrices are not transposed on the way back",
        "backprop-softmax-cross-entropy-default",
        {"backprop_sample": plain_untransposed},
        says="transposed on the way back",
    ),
    Mistake(
        "backprop: the error goes through the derivative of the softmax once more",
        "backprop-softmax-cross-entropy-default",
        {"output_delta": through_the_softmax_again},
        says="derivative of the softmax",
    ),
    Mistake(
        "backprop: the squared error without its half, a gradient twice as large",
        "backprop-mse-default",
        {"output_delta": lambda port, u_out, y: 2 * (u_out - y)},
        says="it is 2 times",
    ),
)


# Optimiser.


def all_together(change):
    """Adam's quotient is another: change(s, m, v, t)."""
    return {"quotient": lambda port, m, v, t: change(port.s, m, v, t)}


def b_1(s):
    return s["optimizer.beta_1"]


def b_2(s):
    return s["optimizer.beta_2"]


def shared_moments(port, name, g, t):
    """The layers share buffers: moments are found under the array's kind alone."""
    kind = f"{name.split('/')[1]} {g.shape}"
    port.m[kind], port.v[kind] = (
        b_1(port.s) * port.m.get(kind, 0 * g) + (1 - b_1(port.s)) * g,
        b_2(port.s) * port.v.get(kind, 0 * g) + (1 - b_2(port.s)) * g**2,
    )
    return port.quotient(port.m[kind], port.v[kind], t)


def step_counted_for_each_array(port, g):
    moved = {}
    for name in port.p:
        port.t += 1
        moved[name] = port.moved(name, g[name])
    return moved


def moments_with(change):
    return {"moments": lambda port, name, g: change(port, port.m.get(name), port.v.get(name), g)}


def one_moment_with_the_new(port, m, v, g):
    m = b_1(port.s) * (0 if m is None else m) + (1 - b_1(port.s)) * g
    return m, b_2(port.s) * (0 if v is None else v) + (1 - b_2(port.s)) * m**2


def unweighted_moments(port, m, v, g):
    """As with momentum: m ← β m + g."""
    return (b_1(port.s) * (0 if m is None else m) + g, b_2(port.s) * (0 if v is None else v) + g**2)


def largest_second_moment(port, name, g, t):
    m, v = port.moments(name, g)
    port.m[name], port.v[name] = m, np.maximum(v, port.v.get(name, v))
    return port.quotient(m, port.v[name], t)


def momentum(port, name, g, t):
    port.m[name] = 0.9 * port.m.get(name, 0 * g) + g
    return port.m[name]


def gradient_of_the_step_before(port, g):
    return Port.update(port, g if port.before is None else port.before.gradients)


def from_the_start(port, g):
    """Each step starts from the initial parameters; the network goes on from the result."""
    now, port.p = port.p, port.start
    new = Port.update(port, g)
    port.p = now
    return new


def some_stay(condition):
    return {
        "moved": lambda port, name, g: (
            port.p[name] if condition(name) else Port.moved(port, name, g)
        )
    }


def correction_by_subtraction(port, beta, t):
    return np.float32(1) - np.float32(beta) ** np.float32(t)


OPTIMISER_MISTAKES = (
    Mistake(
        "Adam's step is counted from 0",
        "average-feedback",
        {"adam": lambda port, name, g, t: Port.adam(port, name, g, max(t - 1, 1e-9))},
        says="one too low",
    ),
    Mistake(
        "Adam's step is one ahead",
        "average-feedback",
        {"adam": lambda port, name, g, t: Port.adam(port, name, g, t + 1)},
        says="one too high",
    ),
    Mistake(
        "Adam's step stays 1",
        "average-feedback",
        {"adam": lambda port, name, g, t: Port.adam(port, name, g, 1)},
        says="stays at 1",
    ),
    Mistake(
        "Adam's step counts arrays, not steps",
        "average-feedback",
        {"update": step_counted_for_each_array},
        says="counts arrays",
    ),
    Mistake(
        "Adam without bias correction",
        "average-feedback",
        {"bias_correction": lambda port, beta, t: 1},
        says="bias correction is missing",
    ),
    Mistake(
        "the second moment's bias is corrected after the root",
        "average-feedback",
        all_together(
            lambda s, m, v, t: (
                m / (1 - b_1(s) ** t) / (np.sqrt(v) / (1 - b_2(s) ** t) + s["optimizer.epsilon"])
            )
        ),
        says="after the root",
    ),
    Mistake(
        "ε stands under the root",
        "unusual-learning",
        all_together(
            lambda s, m, v, t: (
                m / (1 - b_1(s) ** t) / np.sqrt(v / (1 - b_2(s) ** t) + s["optimizer.epsilon"])
            )
        ),
        says="inside the root",
    ),
    Mistake(
        "ε is added before the bias is corrected",
        "unusual-learning",
        all_together(
            lambda s, m, v, t: (
                m
                / (1 - b_1(s) ** t)
                * np.sqrt(1 - b_2(s) ** t)
                / (np.sqrt(v) + s["optimizer.epsilon"])
            )
        ),
        says="before the bias correction",
    ),
    Mistake(
        "ε is the default's",
        "unusual-learning",
        ignored("optimizer.epsilon"),
        says="optimizer.epsilon is the default",
    ),
    Mistake(
        "β₁ is the default's",
        "unusual-learning",
        ignored("optimizer.beta_1"),
        says="optimizer.beta_1 is the default",
    ),
    Mistake(
        "β₂ is the default's",
        "unusual-learning",
        ignored("optimizer.beta_2"),
        says="optimizer.beta_2 is the default",
    ),
    Mistake(
        "β₁ and β₂ are exchanged",
        "average-feedback",
        exchanged("beta_1", "beta_2"),
        says="are exchanged",
    ),
    Mistake(
        "the learning rate is the default's",
        "plain-descent",
        ignored("optimizer.learning_rate"),
        says="optimizer.learning_rate is the default",
    ),
    Mistake(
        "Adam though plain descent is asked",
        "plain-descent-running-mean",
        ignored("optimizer.name"),
        says="Adam, where plain descent",
    ),
    Mistake(
        "plain descent though Adam is asked",
        "linear-threshold",
        set_to(optimizer__name="sgd"),
        says="plain descent, where the optimiser is Adam",
    ),
    Mistake(
        "plain descent has a momentum of 0.9",
        "plain-descent-running-mean",
        {"descent": momentum},
        says="momentum",
    ),
    Mistake(
        "parameters climb along g",
        "average-feedback",
        {"moved": lambda port, name, g: 2 * port.p[name] - Port.moved(port, name, g)},
        says="the sign of the step",
    ),
    Mistake(
        "the second moment averages magnitudes, not squares",
        "linear-threshold",
        moments_with(
            lambda port, m, v, g: (
                b_1(port.s) * (0 if m is None else m) + (1 - b_1(port.s)) * g,
                b_2(port.s) * (0 if v is None else v) + (1 - b_2(port.s)) * np.abs(g),
            )
        ),
        says="takes in |g|",
    ),
    Mistake(
        "the second moment averages the squared first moment",
        "linear-threshold",
        moments_with(one_moment_with_the_new),
        hint_expected=False,
    ),
    Mistake(
        "moments add up: 1 − β is forgotten",
        "linear-threshold",
        moments_with(unweighted_moments),
        says="1 − β is left out",
    ),
    Mistake(
        "moments are forgotten after each step",
        "average-feedback",
        moments_with(lambda port, m, v, g: ((1 - b_1(port.s)) * g, (1 - b_2(port.s)) * g**2)),
        says="moments are not kept",
    ),
    Mistake(
        "arrays of the same kind and shape share moments",
        "unusual-learning",
        {"adam": shared_moments},
        hint_expected=False,
    ),
    Mistake(
        "the largest second moment so far is used",
        "linear-threshold-running-mean",
        {"adam": largest_second_moment},
        hint_expected=False,
    ),
    Mistake(
        "the gradient of the step before is used",
        "linear-threshold",
        {"update": gradient_of_the_step_before},
        says="the gradient is that of the step before",
    ),
    Mistake(
        "each step starts from the initial parameters",
        "linear-threshold",
        {"update": from_the_start},
        says="parameters are the initial ones",
    ),
    Mistake(
        "biases are not updated",
        "average-feedback",
        some_stay(lambda name: name.endswith("bias")),
        says="biases are not updated",
    ),
    Mistake(
        "the readout is not updated",
        "average-feedback",
        some_stay(lambda name: name.startswith("readout")),
        says="the readout is not updated",
    ),
    Mistake(
        "the update is done twice",
        "plain-descent",
        {"moved": lambda port, name, g: 2 * Port.moved(port, name, g) - port.p[name]},
        says="2 times",
    ),
    Mistake(
        "1 − βᵗ is subtracted in single precision",
        "large-steps",
        {"bias_correction": correction_by_subtraction},
        precision="float32",
        says="computed in float32",
    ),
    Mistake(
        "a hundredth of the weights decays, apart from the gradient",
        "average-feedback",
        {
            "moved": lambda port, name, g: (
                Port.moved(port, name, g) - port.s["optimizer.learning_rate"] * 0.01 * port.p[name]
            )
        },
        says="weights decay by 1e-05 of themselves",
    ),
    Mistake(
        "parameters after the step are written before it",
        "linear-threshold",
        {
            "named_step": lambda port, number, seen: Port.named_step(
                port,
                number,
                SimpleNamespace(
                    **(
                        vars(seen)
                        | {"after": port.start if port.before is None else port.before.after}
                    )
                ),
            )
        },
        says="have not moved",
    ),
)


# Losses, and the run as a whole.


def losses_with(change):
    """change(port, seen, losses) of one step."""
    return {"losses": lambda port, seen: change(port, seen, dict(Port.losses(port, seen))).items()}


def scaled_losses(factor):
    return losses_with(
        lambda port, seen, losses: {
            name: factor(port, seen) * loss for name, loss in losses.items()
        }
    )


def loss_after_update(port, step):
    """Losses are evaluated at the end of a step, with the parameters it made."""
    seen = Port.learn(port, step)
    xs, ys = port.batch(step)
    opens = [port.open_loop(x) for x in xs]
    seen.losses["open_loop_loss"] = port.batch_loss([o.u_out for o in opens], ys)
    return seen


def loss_of_nudged(port, seen, losses):
    outputs = [closed.u_out for closed in seen.closeds]
    return losses | {"closed_loop_loss": port.batch_loss(outputs, seen.targets)}


def running_loss(port, seen, losses):
    before = dict.fromkeys(losses, 0) if port.before is None else port.before.losses
    return {name: (port.t * before[name] + loss) / (port.t + 1) for name, loss in losses.items()}


def with_guarded_logarithm(port, u_out, y):
    return -np.sum(y * np.log(port.softmax(u_out) + 1e-6))


def hardened(port, u_out, y):
    return Port.sample_loss(port, u_out, (y == y.max()).astype(float))


def of_parameters(change):
    """The final ones alone."""
    return {"final_parameters": lambda port, steps: change(port, steps)}


LOSS_MISTAKES = (
    Mistake(
        "backprop: units are inhibited as those of the circuit are",
        "backprop-mse-default",
        {
            "plain_network": lambda port, x: (
                lambda state: (state.u_E, [x, *(port.rate("E", u) for u in state.u_E)], state.u_out)
            )(port.open_loop(x))
        },
        says="units are inhibited",
    ),
    Mistake(
        "summed over the batch",
        "average-feedback",
        scaled_losses(lambda port, seen: len(seen.ys)),
        says="summed over the batch",
    ),
    Mistake(
        "the squared error without its half",
        "linear-threshold-mse-averaged",
        scaled_losses(lambda port, seen: 2),
        says="½ is missing",
    ),
    Mistake(
        "averaged over outputs too",
        "linear-threshold-mse-averaged",
        scaled_losses(lambda port, seen: 1 / port.n_out),
        says="number of outputs",
    ),
    Mistake(
        "logarithms to base 2",
        "average-feedback",
        scaled_losses(lambda port, seen: 1 / np.log(2)),
        says="base 2",
    ),
    Mistake(
        "the log-likelihood, its sign not turned",
        "linear-threshold",
        scaled_losses(lambda port, seen: -1),
        says="the sign of the loss",
    ),
    Mistake(
        "measured after the update",
        "average-feedback",
        {"learn": loss_after_update},
        says="after the update",
    ),
    Mistake(
        "the loss under control is that of the nudged target",
        "weak-feedback",
        losses_with(loss_of_nudged),
        says="nudged target",
    ),
    Mistake(
        "open-loop and closed-loop loss are exchanged",
        "average-feedback",
        losses_with(
            lambda port, seen, losses: dict(
                zip(losses, reversed(list(losses.values())), strict=True)
            )
        ),
        says="are exchanged",
    ),
    Mistake(
        "the loss under control is that of the open loop",
        "linear-threshold",
        losses_with(
            lambda port, seen, losses: losses | {"closed_loop_loss": losses["open_loop_loss"]}
        ),
        says="open loop's output",
    ),
    Mistake(
        "the mean of all losses so far, as a progress bar shows it",
        "average-feedback",
        losses_with(running_loss),
        says="mean of all losses so far",
    ),
    Mistake(
        "1e-6 is added within the logarithm",
        "linear-threshold",
        {"sample_loss": with_guarded_logarithm},
        says="within the logarithm",
    ),
    Mistake(
        "of the hard label, not the softened",
        "average-feedback",
        {"sample_loss": hardened},
        says="labels are 1 on the class",
    ),
    Mistake(
        "of the last sample alone",
        "linear-threshold",
        {"batch_loss": lambda port, outputs, ys: port.sample_loss(outputs[-1], ys[-1])},
        says="the last sample alone",
    ),
    Mistake(
        "a step late: the first is zero",
        "average-feedback",
        rewritten(lambda path: path.endswith("_loss"), lambda a: np.concatenate([[0], a[:-1]])),
        says="a step late",
    ),
    Mistake(
        "written in single precision, and double is said",
        "average-feedback",
        rewritten(lambda path: path.endswith("_loss"), lambda array: array.astype(np.float32)),
        says="float32",
    ),
)

RUN_MISTAKES = (
    Mistake(
        "bytes are divided by 256",
        "fashion-mnist-3x256-exact-inverse",
        {"read_input": lambda port, numbers: port.rounded(numbers / 256)},
        says="divided by 256",
    ),
    Mistake(
        "final parameters are those before the last step",
        "average-feedback",
        of_parameters(lambda port, steps: steps[-2].after),
        says="before the last step",
    ),
    Mistake(
        "final parameters are the initial ones",
        "linear-threshold",
        of_parameters(lambda port, steps: port.start),
        says="the initial ones",
    ),
    Mistake(
        "final parameters are averaged over steps",
        "average-feedback",
        of_parameters(
            lambda port, steps: {
                name: sum(seen.after[name] for seen in steps) / len(steps) for name in port.p
            }
        ),
        hint_expected=False,
    ),
    Mistake(
        "final parameters are one step further",
        "linear-threshold",
        of_parameters(lambda port, steps: port.update(steps[-1].gradients)),
        says="one step further",
    ),
    Mistake(
        "final weights are written column by column",
        "average-feedback",
        rewritten(
            lambda path: path.startswith("final") and path.endswith("weight"),
            lambda W: np.reshape(W.T, W.shape),
        ),
        says="column-major",
    ),
    Mistake(
        "final parameters are written in single precision, and double is said",
        "average-feedback",
        rewritten(lambda path: path.startswith("final"), lambda array: array.astype(np.float32)),
        says="float32",
    ),
    Mistake(
        "Adam's moments are forgotten after each step of a run that has no stages",
        "fashion-mnist-3x256-exact-inverse",
        moments_with(lambda port, m, v, g: ((1 - b_1(port.s)) * g, (1 - b_2(port.s)) * g**2)),
        hint_expected=False,
    ),
)

BY_STAGE = {
    "open-loop trajectory": OPEN_PATH_MISTAKES,
    "closed-loop trajectory": CLOSED_PATH_MISTAKES,
    "open loop": OPEN_LOOP_MISTAKES,
    "mean inhibition": MEAN_MISTAKES,
    "feedback weights": FEEDBACK_MISTAKES,
    "closed-loop target": TARGET_MISTAKES,
    "closed loop": CLOSED_LOOP_MISTAKES,
    "gradients": GRADIENT_MISTAKES,
    "optimiser update": OPTIMISER_MISTAKES,
    "losses": LOSS_MISTAKES,
    "learning steps in one run": RUN_MISTAKES,
}

MISTAKES = tuple(
    dataclasses.replace(mistake, arises=stage)
    for stage, mistakes in BY_STAGE.items()
    for mistake in mistakes
)
