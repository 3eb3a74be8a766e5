"""Mistakes in end states, paths, the target and the control."""

from collections.abc import Callable

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import NetworkState, rate, softmax

from .fault import (
    PLAIN,
    READOUT_FREE,
    THRESHOLD,
    WEAK,
    after,
    fault,
    map_parameters,
    misconfigured,
    of_state,
    replace,
    resting,
    searched,
)

# Activations and the open loop.

misconfigured(
    "activations exchanged",
    "open loop",
    THRESHOLD,
    "φ_E and φ_I are exchanged",
    lambda c: replace(c, activation_E=c.activation_I, activation_I=c.activation_E),
)
misconfigured(
    "one activation for both",
    "open loop",
    THRESHOLD,
    "φ_E stands where φ_I belongs",
    lambda c: replace(c, activation_I=c.activation_E),
)
misconfigured(
    "shift added instead of taken away",
    "open loop",
    THRESHOLD,
    "the shift has the wrong sign",
    lambda c: replace(
        c,
        activation_E=replace(c.activation_E, shift=-c.activation_E.shift),
        activation_I=replace(c.activation_I, shift=-c.activation_I.shift),
    ),
)
misconfigured(
    "sharpness forgotten",
    "open loop",
    THRESHOLD,
    "the sharpness k of the activation is left out",
    lambda c: replace(
        c,
        activation_E=replace(c.activation_E, sharpness=1.0),
        activation_I=replace(c.activation_I, sharpness=1.0),
    ),
)
misconfigured(
    "scale forgotten",
    "open loop",
    THRESHOLD,
    "the scale s of the activation is left out",
    lambda c: replace(
        c,
        activation_E=replace(c.activation_E, scale=1.0),
        activation_I=replace(c.activation_I, scale=1.0),
    ),
)


def plain_network(self, x):
    x, configuration = np.asarray(x, self.dtype), self.configuration
    parameters, u_E, u_I, h = self._learner.parameters, [], [], x
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        u_E.append(h @ W + b)
        h = rate(configuration.activation_E, u_E[-1])
        u_I.append(h)
    u_out = h @ parameters.readout
    _, counts = NumpyBackend.open_loop(self, x)
    return NetworkState(tuple(u_E), tuple(u_I), u_out, np.zeros_like(u_out)), counts


fault("no inhibition", "open loop", PLAIN, "inhibition is left out", open_loop=plain_network)


def with_parameters(change: Callable) -> Callable:
    """Take the open loop at other parameters than the learner's."""

    def open_loop(self, x):
        learner = self._learner
        self._learner = replace(learner, parameters=change(learner.parameters))
        result = NumpyBackend.open_loop(self, x)
        self._learner = learner
        return result

    return open_loop


without_biases = with_parameters(
    lambda p: replace(p, biases=tuple(np.zeros_like(b) for b in p.biases))
)
turned_weights = with_parameters(
    lambda p: replace(p, weights=tuple(W.T if W.shape[0] == W.shape[1] else W for W in p.weights))
)

fault("no biases", "open loop", PLAIN, "biases are left out", open_loop=without_biases)
fault("weights transposed", "open loop", PLAIN, "weights are transposed", open_loop=turned_weights)
fault(
    "bytes not scaled",
    "open loop",
    PLAIN,
    "not divided by 255",
    open_loop=lambda self, x: NumpyBackend.open_loop(self, 255 * x),
)
fault(
    "bytes over 256",
    "open loop",
    PLAIN,
    "byte inputs are divided by 256",
    open_loop=lambda self, x: NumpyBackend.open_loop(self, x * (255 / 256)),
)
fault(
    "biases twice",
    "open loop",
    PLAIN,
    "biases are added twice",
    open_loop=with_parameters(lambda p: replace(p, biases=tuple(b + b for b in p.biases))),
)
fault(
    "weights read as a Fortran array",
    "open loop",
    THRESHOLD,
    "weights are read column-major",
    open_loop=with_parameters(
        lambda p: map_parameters(lambda W: W.reshape(W.shape[::-1]).T if W.ndim > 1 else W, p)
    ),
)
fault(
    "weights held as a Fortran array",
    "open loop",
    THRESHOLD,
    "weights are read column-major",
    open_loop=with_parameters(
        lambda p: map_parameters(lambda W: np.ravel(W.T).reshape(W.shape), p)
    ),
)
fault(
    "samples from the last to the first",
    "open loop",
    PLAIN,
    "samples are in another order: step 0 has the trace's numbers 4, 3, 2, 1, 0",
    open_loop=lambda self, x: NumpyBackend.open_loop(self, x[::-1]),
)
fault(
    "states written column-major",
    "open loop",
    PLAIN,
    "arrays are column-major",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: NetworkState(
                tuple(u.T.reshape(u.shape) for u in s.u_E),
                tuple(u.T.reshape(u.shape) for u in s.u_I),
                s.u_out.T.reshape(s.u_out.shape),
                s.z,
            )
        ),
    ),
)


def with_remembered(method: str, choose: Callable) -> dict[str, Callable]:
    """Run a method at parameters of another step, of (all so far, number of this step)."""

    def late(self, *arguments):
        learner, step = self._learner, self._learner.optimizer.n_steps
        if step == 0:
            self.remembered = {}
        self.remembered[step] = learner.parameters
        self._learner = replace(learner, parameters=choose(self.remembered, step))
        result = getattr(NumpyBackend, method)(self, *arguments)
        if method != "update":
            self._learner = learner
        return result

    return {method: late}


def of_the_step_before(parameters, step):
    return parameters[max(step - 1, 0)]


fault(
    "parameters a step late",
    "open loop",
    "exact-inverse-mse-default",
    "parameters are those of the step before",
    **with_remembered("open_loop", of_the_step_before),
)
fault(
    "parameters never taken over",
    "open loop",
    "exact-inverse-mse-default",
    "parameters are the initial ones in every step",
    **with_remembered("open_loop", lambda parameters, step: parameters[0]),
)
for stage, method in (("feedback weights", "feedback_weights"), ("optimiser update", "update")):
    fault(
        f"parameters a step late in the {stage}",
        stage,
        "exact-inverse-mse-default",
        "parameters are those of the step before",
        **with_remembered(method, of_the_step_before),
    )


def two_newton_steps(self, x):
    return resting(self, x, newton_steps=2), NumpyBackend.open_loop(self, x)[1]


fault(
    "two of Newton's steps",
    "open loop",
    PLAIN,
    "the residual u_E + φ_I(u_I) − a is",
    open_loop=two_newton_steps,
)
fault(
    "inhibitory rates for potentials",
    "open loop",
    PLAIN,
    "the inhibitory arrays hold rates",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: replace(
                s, u_I=tuple(rate(self.configuration.activation_I, u) for u in s.u_I)
            )
        ),
    ),
)
fault(
    "rates for all potentials",
    "open loop",
    PLAIN,
    "rates are given where potentials belong",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: replace(
                s,
                u_E=tuple(rate(self.configuration.activation_E, u) for u in s.u_E),
                u_I=tuple(rate(self.configuration.activation_I, u) for u in s.u_I),
            )
        ),
    ),
)
fault(
    "populations exchanged",
    "open loop",
    PLAIN,
    "excitatory and inhibitory potentials are exchanged",
    **after("open_loop", of_state(lambda self, s, a: replace(s, u_E=s.u_I, u_I=s.u_E))),
)
fault(
    "one unit never inhibited",
    "open loop",
    PLAIN,
    "",
    **after(
        "open_loop",
        of_state(
            lambda self, s, a: replace(
                s, u_I=(np.concatenate([s.u_I[0][:, :-1], 0 * s.u_I[0][:, -1:]], 1), *s.u_I[1:])
            )
        ),
    ),
)


# Trajectories.

fault(
    "batches of times for times of batches",
    "open-loop trajectory",
    "unequal-activations",
    "time and batch are exchanged in memory",
    **after(
        "open_loop_trajectory",
        lambda self, path, a: NetworkState(
            *(tuple(written_with_time_first(u) for u in part) for part in (path.u_E, path.u_I)),
            written_with_time_first(path.u_out),
            written_with_time_first(path.z),
        ),
    ),
)


def written_with_time_first(path):
    n_times, batch, n = path.shape
    # The file has (batch, time, n), and is read as such.
    return np.ascontiguousarray(path).reshape(batch, n_times, n).swapaxes(0, 1)


PATHS = "unequal-activations"


def with_times(method: str, **taus) -> dict[str, Callable]:
    def path(self, *arguments):
        right = self.configuration
        self.configuration = replace(
            right, **{name: getattr(right, source) for name, source in taus.items()}
        )
        result = getattr(NumpyBackend, method)(self, *arguments)
        self.configuration = right
        return result

    return {method: path}


fault(
    "time constants exchanged",
    "open-loop trajectory",
    PATHS,
    "τ_E and τ_I are exchanged",
    **with_times("open_loop_trajectory", tau_E="tau_I", tau_I="tau_E"),
)
fault(
    "inhibition as slow as excitation",
    "open-loop trajectory",
    PATHS,
    "τ_E where inhibitory units have τ_I",
    **with_times("open_loop_trajectory", tau_I="tau_E"),
)


fault(
    "excitation as fast as inhibition",
    "open-loop trajectory",
    PATHS,
    "τ_I where excitatory and readout units have τ_E",
    **with_times("open_loop_trajectory", tau_E="tau_I"),
)


def controlled_otherwise(**changes) -> Callable:
    """The closed loop's path under another controller."""

    def path(self, *arguments):
        right = self.configuration
        self.configuration = replace(right, controller=replace(right.controller, **changes))
        result = NumpyBackend.closed_loop_trajectory(self, *arguments)
        self.configuration = right
        return result

    return path


for words, hint, changes in (
    ("integral without a leak", "the controller's integral does not leak", {"leak": 0.0}),
    ("path without an integral", "the controller is proportional only", {"k_i": 0.0}),
    ("path without a proportional part", "the controller is integral only", {"k_p": 0.0}),
):
    fault(
        words,
        "closed-loop trajectory",
        PATHS,
        hint,
        closed_loop_trajectory=controlled_otherwise(**changes),
    )


def slow_controller(self, *arguments):
    right = self.configuration
    self.configuration = replace(right, controller=replace(right.controller, tau=right.tau_E))
    result = NumpyBackend.closed_loop_trajectory(self, *arguments)
    self.configuration = right
    return result


fault(
    "controller with a membrane's time constant",
    "closed-loop trajectory",
    PATHS,
    "τ_E where the controller's integral has τ_c",
    closed_loop_trajectory=slow_controller,
)
fault(
    "Euler for Tsitouras",
    "open-loop trajectory",
    PATHS,
    "another integration method",
    open_loop_trajectory=lambda self, recording, x: NumpyBackend.open_loop_trajectory(
        self, replace(recording, method="euler"), x
    ),
)
fault(
    "path one entry late",
    "open-loop trajectory",
    PATHS,
    "",
    **after(
        "open_loop_trajectory",
        lambda self, path, a: NetworkState(
            tuple(np.roll(u, 1, 0) for u in path.u_E),
            tuple(np.roll(u, 1, 0) for u in path.u_I),
            np.roll(path.u_out, 1, 0),
            np.roll(path.z, 1, 0),
        ),
    ),
)


# The target.

fault(
    "label for nudge",
    "closed-loop target",
    WEAK,
    "strong and weak feedback are exchanged",
    closed_loop_target=lambda self, open_loop, y: np.asarray(y, self.dtype),
)


def nudged(self, open_loop, y, sign):
    o = open_loop.u_out
    return softmax(o + sign * self.configuration.feedback.nudge * (y - softmax(o)))


fault(
    "nudged away from the label",
    "closed-loop target",
    WEAK,
    "the nudge goes away from the label",
    closed_loop_target=lambda self, open_loop, y: nudged(self, open_loop, y, -1),
)
fault(
    "nudged outside the softmax",
    "closed-loop target",
    WEAK,
    "the nudge is applied to probabilities",
    closed_loop_target=lambda self, open_loop, y: (
        softmax(open_loop.u_out)
        + self.configuration.feedback.nudge * (y - softmax(open_loop.u_out))
    ),
)
fault(
    "nudge's softmax over the batch",
    "closed-loop target",
    WEAK,
    "the softmax goes over the batch",
    closed_loop_target=lambda self, open_loop, y: over_batch(
        open_loop.u_out + self.configuration.feedback.nudge * (y - over_batch(open_loop.u_out))
    ),
)


fault(
    "nudge without its softmax",
    "closed-loop target",
    WEAK,
    "the softmax around the nudged potential is left out",
    closed_loop_target=lambda self, open_loop, y: (
        open_loop.u_out + self.configuration.feedback.nudge * (y - softmax(open_loop.u_out))
    ),
)


def over_batch(u):
    """Softmax down each column."""
    return np.exp(u) / np.exp(u).sum(axis=0)


for case in (PLAIN, WEAK):
    fault(
        f"hard labels, {case}",
        "closed-loop target",
        case,
        "labels are 1 on the class",
        closed_loop_target=lambda self, open_loop, y: NumpyBackend.closed_loop_target(
            self, open_loop, (y > 0.5).astype(self.dtype)
        ),
    )
    fault(
        f"labels of the next sample, {case}",
        "closed-loop target",
        case,
        "labels are in another order",
        closed_loop_target=lambda self, open_loop, y: NumpyBackend.closed_loop_target(
            self, open_loop, np.roll(y, -1, axis=0)
        ),
    )


# The closed loop.


def reconfigured(change: Callable) -> Callable:
    def closed_loop(self, *arguments):
        right = self.configuration
        self.configuration = change(right)
        result = NumpyBackend.closed_loop(self, *arguments)
        self.configuration = right
        return result

    return closed_loop


fault(
    "control with the wrong sign",
    "closed loop",
    PLAIN,
    "the sign of the control",
    closed_loop=lambda self, x, Q, target, open_loop: NumpyBackend.closed_loop(
        self, x, tuple(-q for q in Q), target, open_loop
    ),
)
fault(
    "readout not driven",
    "closed loop",
    PLAIN,
    "the readout's own feedback",
    closed_loop=reconfigured(lambda c: replace(c, feedback=replace(c.feedback, to_readout=False))),
)
fault(
    "no integral",
    "closed loop",
    PLAIN,
    "the controller is proportional only",
    closed_loop=reconfigured(lambda c: replace(c, controller=replace(c.controller, k_i=0.0))),
)
fault(
    "no proportional part",
    "closed loop",
    PLAIN,
    "the controller is integral only",
    closed_loop=reconfigured(lambda c: replace(c, controller=replace(c.controller, k_p=0.0))),
)
fault(
    "leak taken for 1",
    "closed loop",
    "strong-gain",
    "the leak is left out of the steady gain",
    closed_loop=reconfigured(lambda c: replace(c, controller=replace(c.controller, leak=1.0))),
)
fault(
    "error without softmax",
    "closed loop",
    PLAIN,
    "the softmax is left out of the error",
    closed_loop=reconfigured(lambda c: replace(c, loss="mse")),
)


def other_gain(gain: Callable) -> Callable:
    """c = κ' e, and z = e / leak."""

    def closed_loop(self, *arguments):
        right = self.configuration
        k = right.controller
        wrong = replace(k, k_p=gain(k), k_i=0.0, leak=1.0)
        self.configuration = replace(right, controller=wrong)
        state, counts = NumpyBackend.closed_loop(self, *arguments)
        self.configuration = right
        return replace(state, z=state.z / self.dtype.type(k.leak)), counts

    return closed_loop


fault(
    "κ without the leak",
    "closed loop",
    "strong-gain",
    "the leak is left out of the steady gain",
    closed_loop=other_gain(lambda k: k.k_p + k.k_i),
)
fault(
    "κ times the leak",
    "closed loop",
    "strong-gain",
    "the leak multiplies in the steady gain",
    closed_loop=other_gain(lambda k: k.k_p + k.k_i * k.leak),
)
fault(
    "κ over the leak",
    "closed loop",
    "strong-gain",
    "the leak divides all of the steady gain",
    closed_loop=other_gain(lambda k: (k.k_p + k.k_i) / k.leak),
)
fault(
    "integral at the error",
    "closed loop",
    "strong-gain",
    "the integral rests at z = e / leak, not at e",
    **after(
        "closed_loop",
        of_state(lambda self, s, a: replace(s, z=self.configuration.controller.leak * s.z)),
    ),
)
fault(
    "excitation for dis-inhibition",
    "closed loop",
    PLAIN,
    "c Q is added to u_I",
    **after(
        "closed_loop",
        of_state(
            lambda self, s, a: replace(
                s,
                # At rest c = (k_p + k_i) z, with leak 1.
                u_I=tuple(
                    rate(self.configuration.activation_E, u_E)
                    + np.einsum("bk,bkn->bn", self.dtype.type(0.6) * s.z, Q)
                    for u_E, Q in zip(s.u_E, a[1], strict=True)
                ),
            )
        ),
    ),
)
fault(
    "hard labels in the controller",
    "closed loop",
    PLAIN,
    "labels are 1 on the class",
    closed_loop=lambda self, x, Q, target, open_loop: NumpyBackend.closed_loop(
        self, x, Q, (target > 0.5).astype(self.dtype), open_loop
    ),
)


def label_of(target, o, nudge):
    """Section 3's weak target, softmax(o + λ (y − softmax(o))), solved for y."""
    nudged = np.log(target) - o
    return softmax(o) + (nudged - nudged.mean(axis=1, keepdims=True)) / nudge


fault(
    "label where the nudge belongs",
    "closed loop",
    WEAK,
    "the label is the target where weak feedback nudges",
    closed_loop=lambda self, x, Q, target, open_loop: NumpyBackend.closed_loop(
        self, x, Q, label_of(target, open_loop.u_out, 0.015).astype(self.dtype), open_loop
    ),
)
fault(
    "error's softmax over the batch",
    "closed loop",
    PLAIN,
    "the softmax goes over the batch",
    closed_loop=lambda self, x, Q, target, open_loop: (
        searched(self, x, Q, target, error=lambda u: target - over_batch(u)),
        NumpyBackend.closed_loop(self, x, Q, target, open_loop)[1],
    ),
)
fault(
    "search for c stopped early",
    "closed loop",
    PLAIN,
    "the residual c − κ e is",
    closed_loop=lambda self, x, Q, target, open_loop: (
        searched(self, x, Q, target, steps=4),
        NumpyBackend.closed_loop(self, x, Q, target, open_loop)[1],
    ),
)
fault(
    "search for c stopped early, readout not driven",
    "closed loop",
    READOUT_FREE,
    "the residual c − κ e is",
    closed_loop=lambda self, x, Q, target, open_loop: (
        searched(self, x, Q, target, steps=4),
        NumpyBackend.closed_loop(self, x, Q, target, open_loop)[1],
    ),
)
fault(
    "search for u_E under control stopped early",
    "closed loop",
    PLAIN,
    "the residual u_E + φ_I(u_I) − a is",
    closed_loop=lambda self, x, Q, target, open_loop: (
        searched(self, x, Q, target, newton_steps=2),
        NumpyBackend.closed_loop(self, x, Q, target, open_loop)[1],
    ),
)
fault(
    "control signal for integral",
    "closed loop",
    PLAIN,
    "not the control signal c",
    **after(
        "closed_loop",
        # At rest e = z with leak 1.
        of_state(lambda self, s, a: replace(s, z=0.2 * s.z + 0.4 * s.z)),
    ),
)
fault(
    "integral never written",
    "closed loop",
    WEAK,
    "which was left at 0",
    **after("closed_loop", of_state(lambda self, s, a: replace(s, z=0 * s.z))),
)
fault(
    "integral with the wrong sign",
    "closed loop",
    WEAK,
    "the sign of the integral",
    **after("closed_loop", of_state(lambda self, s, a: replace(s, z=-s.z))),
)
fault(
    "u_I of the open loop's relation",
    "closed loop",
    PLAIN,
    "the open loop's relation is used",
    **after(
        "closed_loop",
        of_state(
            lambda self, s, a: replace(
                s, u_I=tuple(rate(self.configuration.activation_E, u) for u in s.u_E)
            )
        ),
    ),
)
fault(
    "control never switched on",
    "closed loop",
    PLAIN,
    "the control does nothing",
    **after("closed_loop", of_state(lambda self, s, a: a[3])),
)
fault(
    "a sample left at the open loop",
    "closed loop",
    PLAIN,
    "",
    **after(
        "closed_loop",
        of_state(
            lambda self, s, a: NetworkState(
                *(
                    tuple(
                        np.concatenate([u[:-1], v[-1:]]) for u, v in zip(mine, open_, strict=True)
                    )
                    for mine, open_ in ((s.u_E, a[3].u_E), (s.u_I, a[3].u_I))
                ),
                s.u_out,
                s.z,
            )
        ),
    ),
)
