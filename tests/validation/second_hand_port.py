"""A port of the model, written from docs/porting.md alone, that can be made to err.

It computes as one in C would, sample by sample and step by step, in methods so small that a mistake
is another method in the place of one (`second_hand.py`).
"""

import dataclasses
from types import MethodType, SimpleNamespace

import numpy as np

TSIT5 = (
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.362295432869581),
    (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
    (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
     -0.02826905039406838),
    (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
     2.324710524099774),
)  # fmt: skip


def in_float64(numbers):
    return np.asarray(numbers, dtype=np.float64)


def in_float32(numbers):
    return np.asarray(numbers, dtype=np.float32)


def flat(settings, prefix=""):
    """Settings by the names of docs/porting.md."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class Port:
    """The model on one trace; `replaced` has other methods in the place of these, by name.

    Potentials are lists of vectors, a layer each, of one sample; Q is a list of (n_out, n_l).
    `rounded` brings the result of each operation into the port's arithmetic, of this `epsilon`.
    """

    def __init__(self, trace, rounded=in_float64, epsilon=2.0**-52, **replaced):
        for name, method in replaced.items():
            assert callable(getattr(Port, name, None)), f"the port has no method {name}"
            setattr(self, name, MethodType(method, self))
        self.rounded, self.epsilon = rounded, epsilon
        self.s = self.settings(trace.configuration)
        self.L = len(self.s["sizes"]) - 2
        self.n_out = self.s["sizes"][-1]
        self.start = dict(self.read_parameters(trace.initial_parameters))
        self.p = dict(self.start)
        raw = np.rint(trace.inputs * 255)
        is_image = raw.max() > 1 and np.array_equal(raw / 255, trace.inputs)
        inputs = raw.astype(np.uint8) if is_image else trace.inputs
        self.inputs = [[self.read_input(x) for x in batch] for batch in inputs]
        self.labels = [[self.rounded(y) for y in batch] for batch in trace.targets]
        self.asked = trace.trajectory
        self.r_bar = self.initial_means()
        self.m, self.v, self.t = {}, {}, 0
        self.seen = self.before = None

    # What is read and written.

    def settings(self, configuration):
        return dict(flat(dataclasses.asdict(configuration)))

    def read_parameters(self, parameters):
        for l in range(self.L):
            yield f"hidden_{l}/weight", self.read_weight(parameters.weights[l])
            yield f"hidden_{l}/bias", self.rounded(parameters.biases[l])
        yield "readout/weight", self.read_weight(parameters.readout)

    def read_weight(self, numbers):
        return self.rounded(numbers)

    def read_input(self, numbers):
        return self.rounded(numbers / 255 if numbers.dtype == np.uint8 else numbers)

    def batch(self, step):
        """Inputs and labels of a step."""
        return self.inputs[step], self.labels[step]

    def written(self, path, array):
        """Under what path an array is written, and what."""
        return path, self.rounded(array)

    # 1. Activation.

    def scaled(self, which, u):
        """v = k (u − m)."""
        k, m = self.s[f"activation_{which}.sharpness"], self.s[f"activation_{which}.shift"]
        return self.rounded(k * (u - m))

    def rate(self, which, u):
        v = self.scaled(which, u)
        softplus = np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v)))
        return self.rounded(self.s[f"activation_{which}.scale"] * softplus)

    def slope(self, which, u):
        v = self.scaled(which, u)
        e = np.exp(-np.abs(v))
        sk = self.s[f"activation_{which}.scale"] * self.s[f"activation_{which}.sharpness"]
        return self.rounded(sk * np.where(v >= 0, 1, e) / (1 + e))

    def inverse(self, r):
        """Of φ_I."""
        s, k, m = (self.s[f"activation_I.{name}"] for name in ("scale", "sharpness", "shift"))
        x = r / s
        v = np.where(
            x > np.log(2),
            x + np.log1p(-np.exp(-np.maximum(x, 0.5))),
            np.log(np.expm1(np.minimum(x, 1))),
        )
        return self.rounded(m + v / k)

    def tangent(self, r_0):
        u_0 = self.inverse(r_0)
        delta = self.rounded(1 / self.slope("I", u_0))
        return self.rounded(u_0 - r_0 * delta), delta

    # 2. Layer and open loop.

    def drive(self, l, below):
        return self.rounded(below @ self.p[f"hidden_{l}/weight"] + self.p[f"hidden_{l}/bias"])

    def output(self, r):
        return self.rounded(r @ self.p["readout/weight"])

    def settle(self, a, q, guess):
        """u_E and u_I of a layer."""
        u = guess
        for _ in range(200):
            r = self.rate("E", u)
            r_I, slope_I = self.rate("I", r - q), self.slope("I", r - q)
            step = self.rounded((u + r_I - a) / (1 + slope_I * self.slope("E", u)))
            near = 4 * self.epsilon * (np.abs(u) + np.abs(a) + r_I + slope_I * (r + np.abs(q)))
            u = self.rounded(u - step)
            if not np.any(np.abs(step) > near):
                break  # or it is no number, and stays none
        return u, self.rounded(self.rate("E", u) - q)

    def upward(self, u_E, u_I):
        """What a layer gives to that above."""
        return self.rate("E", u_E)

    def at_rest(self, x, Q, c, guess):
        """Where a sample ends under a control that is held at c."""
        below, u_Es, u_Is = x, [], []
        for l in range(self.L):
            u_E, u_I = self.settle(self.drive(l, below), self.inhibition_taken(c, Q, l), guess[l])
            below = self.upward(u_E, u_I)
            u_Es.append(u_E)
            u_Is.append(u_I)
        u_out = self.rounded(self.output(below) + self.direct(c))
        return SimpleNamespace(u_E=u_Es, u_I=u_Is, u_out=u_out, z=self.rounded(0 * u_out))

    def inhibition_taken(self, c, Q, l):
        return 0 if Q is None else self.rounded(np.einsum("...k,...kn->...n", c, Q[l]))

    def direct(self, c):
        """What the control adds to the output."""
        return c if self.s["feedback.to_readout"] else 0

    def nothing(self, *shape):
        return self.rounded(np.zeros(shape))

    def open_loop(self, x):
        guess = [self.nothing(n) for n in self.s["sizes"][1:-1]]
        return self.at_rest(x, None, self.nothing(self.n_out), guess)

    # Trajectories: one sample's state is a vector; here all samples move at once, (B, n).

    def packed(self, state):
        return np.concatenate([*state.u_E, *state.u_I, state.u_out, state.z], axis=-1)

    def unpacked(self, y):
        hidden = self.s["sizes"][1:-1]
        ends = np.cumsum([*hidden, *hidden, self.n_out])
        *u, u_out, z = np.split(y, ends, axis=-1)
        return SimpleNamespace(u_E=u[: self.L], u_I=u[self.L :], u_out=u_out, z=z)

    def derivative(self, y, x, Q, target):
        s, now = self.s, self.unpacked(y)
        c, dz = self.control(now, target), self.integral_derivative(now, target)
        below, du_E, du_I = x, [], []
        for l in range(self.L):
            r_E = self.rate("E", now.u_E[l])
            a = self.drive(l, below)
            du_E.append((a - now.u_E[l] - self.rate("I", now.u_I[l])) / s["tau_E"])
            q = self.inhibition_taken(c, Q, l)
            du_I.append((r_E - now.u_I[l] - q) / s["tau_I"])
            below = r_E
        du_out = self.output_derivative(now, below, c)
        return self.rounded(self.packed(SimpleNamespace(u_E=du_E, u_I=du_I, u_out=du_out, z=dz)))

    def output_derivative(self, now, r, c):
        return (self.output(r) - now.u_out + self.direct(c)) / self.s["tau_E"]

    def control(self, now, target):
        if target is None:
            return 0 * now.z
        e = self.error(now.u_out, target)
        return self.rounded(self.s["controller.k_p"] * e + self.s["controller.k_i"] * now.z)

    def integral_derivative(self, now, target):
        if target is None:
            return 0 * now.z
        e = self.error(now.u_out, target)
        return self.rounded((e - self.s["controller.leak"] * now.z) / self.s["controller.tau"])

    def advance(self, y, f, dt):
        """One step of time."""
        k = [f(y)]
        if self.asked.recording.method == "euler":
            return self.rounded(y + dt * k[0])
        for row in TSIT5[:-1]:
            y_here = y + dt * sum(a * k_j for a, k_j in zip(row, k, strict=True))
            k.append(f(self.rounded(y_here)))
        return self.rounded(y + dt * sum(a * k_j for a, k_j in zip(TSIT5[-1], k, strict=True)))

    def path(self, y, f):
        """Every so many steps from y, (B, T, n)."""
        asked = self.asked.recording
        kept = [y]
        for n in range(1, asked.n_steps + 1):
            y = self.advance(y, f, asked.dt)
            if n % asked.every == 0:
                kept.append(y)
        return np.stack(kept, axis=1)

    def start_of_open_path(self, x):
        return self.nothing(len(x), 2 * sum(self.s["sizes"][1:]))

    def start_of_closed_path(self, end, target):
        now = self.unpacked(end)
        now.z = 0 * now.z
        return self.packed(now)

    def feedback_on_path(self, end):
        return [self.rounded(Q) for Q in self.asked.feedback]

    def target_on_path(self, xs, ys):
        outputs = [self.open_loop(x).u_out for x in xs]
        return np.stack([self.target(o, y) for o, y in zip(outputs, ys, strict=True)])

    def trajectories(self):
        if self.asked is None:
            return
        xs, ys = self.batch(0)
        x = np.stack(xs)
        path = self.path(self.start_of_open_path(x), lambda y: self.derivative(y, x, None, None))
        yield from self.named_state("trajectory/open_loop", self.unpacked(path))
        Q, target = self.feedback_on_path(path[:, -1]), self.target_on_path(xs, ys)
        start = self.start_of_closed_path(path[:, -1], target)
        path = self.path(start, lambda y: self.derivative(y, x, Q, target))
        yield from self.named_state("trajectory/closed_loop", self.unpacked(path))

    # 3. Running mean.

    def initial_means(self):
        sizes = self.s["sizes"][1:-1]
        return [self.rounded(np.full(n, self.s["mean_inhibition.init"])) for n in sizes]

    def batch_mean(self, states, l):
        """Of the inhibitory rates of a layer."""
        total = self.nothing(self.s["sizes"][l + 1])
        for state in states:
            total = self.rounded(total + self.rate("I", state.u_I[l]))
        return self.rounded(total / len(states))

    def updated_means(self, r_bar, states):
        rho = self.s["mean_inhibition.rate"]
        return [
            self.rounded((1 - rho) * r_bar[l] + rho * self.batch_mean(states, l))
            for l in range(self.L)
        ]

    # 4. Feedback weights and target.

    def weight_above(self, l):
        """(n_l, n above)."""
        return self.p[f"hidden_{l + 1}/weight" if l + 1 < self.L else "readout/weight"]

    def carried_down(self, J, Q, l):
        """What layer l − 1 receives of layer l, (n_out, n)."""
        return self.rounded(J @ self.p[f"hidden_{l}/weight"].T)

    def raw_feedback(self, state):
        """Q of one sample, before anything is done to it."""
        J, Qs = self.p["readout/weight"].T, [None] * self.L
        for l in reversed(range(self.L)):
            J = self.rounded(J * self.slope("E", state.u_E[l]))
            Qs[l] = self.rounded(J * self.slope("I", state.u_I[l]))
            J = self.carried_down(J, Qs[l], l)
        return Qs

    def averaged(self, Qs):
        """Qs is of all samples; so is the result."""
        means = [sum(Q[l] for Q in Qs) / len(Qs) for l in range(self.L)]
        return [[self.rounded(mean) for mean in means] for _ in Qs]

    def clipped(self, Q_l):
        return np.clip(Q_l, -self.s["feedback.clip"], self.s["feedback.clip"])

    def length(self, Q_l):
        largest = np.max(np.abs(Q_l))
        if largest == 0:
            return 1.0
        return self.rounded(largest * np.sqrt(np.sum((Q_l / largest) ** 2)))

    def normalized(self, Q_l):
        return self.rounded(self.s["feedback.norm"] * (Q_l / self.length(Q_l)))

    def normalized_batch(self, Qs):
        return [[self.normalized(Q_l) for Q_l in Q] for Q in Qs]

    def feedback(self, states):
        Qs = [self.raw_feedback(state) for state in states]
        if self.s["feedback.average"]:
            Qs = self.averaged(Qs)
        if self.s["feedback.clip"] is not None:
            Qs = [[self.clipped(Q_l) for Q_l in Q] for Q in Qs]
        if self.s["feedback.normalize"]:
            Qs = self.normalized_batch(Qs)
        return Qs

    def softmax(self, u):
        e = np.exp(u - np.max(u, axis=-1, keepdims=True))
        return self.rounded(e / np.sum(e, axis=-1, keepdims=True))

    def error(self, u_out, target):
        return self.rounded(target - (u_out if self.s["loss"] == "mse" else self.softmax(u_out)))

    def target(self, o, y):
        if self.s["feedback.strong"]:
            return y
        nudged = self.rounded(o + self.s["feedback.nudge"] * self.error(o, y))
        return nudged if self.s["loss"] == "mse" else self.softmax(nudged)

    def targets(self, opens, ys):
        return [self.target(o.u_out, y) for o, y in zip(opens, ys, strict=True)]

    # 5. Closed loop.

    def gains(self):
        """G and leak of G e = leak c, with which the controller comes to rest."""
        leak = self.s["controller.leak"]
        return self.s["controller.k_p"] * leak + self.s["controller.k_i"], leak

    def control_left(self, c, state, target):
        """F(c) = leak c − G e."""
        gain, leak = self.gains()
        return self.rounded(leak * c - gain * self.error(state.u_out, target))

    def sensitivity(self, Q, state):
        """D, row k: how the outputs respond to c_k."""
        da, each = self.nothing(self.n_out, self.s["sizes"][1]), np.eye(self.n_out)
        for l in range(self.L):
            slope_E, slope_I = self.slope("E", state.u_E[l]), self.slope("I", state.u_I[l])
            dq = self.inhibition_taken(each, Q, l)
            dr = slope_E / (1 + slope_I * slope_E) * (da + slope_I * dq)
            da = self.rounded(dr @ self.weight_above(l))
        return da + self.direct(each)

    def newton_step(self, c, Q, state, target):
        gain, leak = self.gains()
        S = np.eye(self.n_out)
        if self.s["loss"] != "mse":
            p = self.softmax(state.u_out)
            S = np.diag(p) - np.outer(p, p)
        M = leak * np.eye(self.n_out) + gain * self.sensitivity(Q, state) @ S
        return self.rounded(np.linalg.solve(M.T, -self.control_left(c, state, target)))

    def iterations(self):
        return 200

    def close_enough(self):
        return self.epsilon**0.75

    def found_control(self, x, Q, target, state):
        """c and the state under it: Newton's method, a step halved while it makes matters worse."""
        c = self.nothing(self.n_out)
        for _ in range(self.iterations()):
            v = self.newton_step(c, Q, state, target)
            size = np.max(np.abs(self.control_left(c, state, target)))
            small = np.max(np.abs(c)) + 1e-3 * (1 + np.max(np.abs(state.u_out)))
            last = not np.max(np.abs(v)) > self.close_enough() * small  # or it is no number
            for _ in range(40):
                c_new = self.rounded(c + v)
                new = self.at_rest(x, Q, c_new, state.u_E)
                if last or np.max(np.abs(self.control_left(c_new, new, target))) <= size:
                    break
                v = v / 2
            c, state = c_new, new
            if last:
                break
        return c, state

    def closed_loop(self, x, Q, target, open_loop):
        c, state = self.found_control(x, Q, target, open_loop)
        state.z = self.integral(c, self.error(state.u_out, target))
        return state

    def integral(self, c, e):
        gain, leak = self.gains()
        return self.rounded(c / gain if gain else e / leak)

    def closed_loops(self, xs, Qs, targets, opens):
        each = zip(xs, Qs, targets, opens, strict=True)
        return [self.closed_loop(*arguments) for arguments in each]

    # 6. Learning.

    def r_0(self, l):
        """Where the linear threshold is linearised."""
        if self.s["rule"] == "linear-threshold-fixed":
            return self.rounded(np.full(1, self.s["mean_inhibition.fixed_point"]))
        return self.r_bar[l]

    def estimate(self, u_I, l):
        """û_I."""
        if self.s["rule"] == "exact-inverse":
            return u_I
        theta, delta = self.tangent(self.r_0(l))
        return self.rounded(theta + delta * self.rate("I", u_I))

    def delta(self, l, closed, opened):
        u_E = closed.u_E[l]
        compared = self.estimate(closed.u_I[l], l) - self.rate("E", u_E)
        return self.rounded(compared * self.slope("E", u_E))

    def pre(self, l, x, closed, opened):
        """What a layer of synapses hears."""
        return x if l == 0 else self.rate("E", closed.u_E[l - 1])

    def readout_pre_and_delta(self, y, closed, opened):
        if self.s["feedback.to_readout"]:
            r = self.rate("E", closed.u_E[-1])
            return r, self.rounded(self.output(r) - closed.u_out)
        return self.rate("E", opened.u_E[-1]), self.rounded(-self.error(opened.u_out, y))

    def weight_change(self, pre, delta):
        return np.outer(pre, delta)

    def bias_change(self, delta):
        return delta if self.s["bias"] else 0 * delta

    def initial_sums(self):
        return {name: self.nothing(*array.shape) for name, array in self.p.items()}

    def count(self, xs):
        """What sums over the batch are divided by."""
        return len(xs)

    def gradients(self, xs, ys, closeds, opens):
        g = self.initial_sums()
        for x, y, closed, opened in zip(xs, ys, closeds, opens, strict=True):
            for l in range(self.L):
                d = self.delta(l, closed, opened)
                g[f"hidden_{l}/weight"] += self.weight_change(self.pre(l, x, closed, opened), d)
                g[f"hidden_{l}/bias"] += self.bias_change(d)
            g["readout/weight"] += self.weight_change(
                *self.readout_pre_and_delta(y, closed, opened)
            )
        return {name: self.rounded(array / self.count(xs)) for name, array in g.items()}

    def plain_network(self, x):
        """Drives, activities and output without inhibition."""
        h, a = [x], []
        for l in range(self.L):
            a.append(self.drive(l, h[-1]))
            h.append(self.rate("E", a[-1]))
        return a, h, self.output(h[-1])

    def backprop_sample(self, x, y):
        """Weight and bias gradients of one sample by name."""
        a, h, u_out = self.plain_network(x)
        d = self.output_delta(u_out, y)
        yield "readout/weight", self.weight_change(h[-1], d)
        for l in reversed(range(self.L)):
            d = self.rounded((self.weight_above(l) @ d) * self.plain_slope(a[l]))
            yield f"hidden_{l}/weight", self.weight_change(h[l], d)
            yield f"hidden_{l}/bias", self.bias_change(d)

    def output_delta(self, u_out, y):
        return self.rounded(-self.error(u_out, y))

    def plain_slope(self, a):
        return self.slope("E", a)

    def backprop(self, xs, ys):
        g = self.initial_sums()
        for x, y in zip(xs, ys, strict=True):
            for name, array in self.backprop_sample(x, y):
                g[name] += array
        return {name: self.rounded(array / self.count(xs)) for name, array in g.items()}

    def sample_loss(self, u_out, y):
        if self.s["loss"] == "mse":
            return self.rounded(np.sum((y - u_out) ** 2) / 2)
        u = u_out - np.max(u_out)
        return self.rounded(-np.sum(y * (u - np.log(np.sum(np.exp(u))))))

    def batch_loss(self, outputs, ys):
        losses = [self.sample_loss(u, y) for u, y in zip(outputs, ys, strict=True)]
        return self.rounded(sum(losses) / len(losses))

    # 7. Optimiser.

    def bias_correction(self, beta, t):
        """1 − βᵗ."""
        return -np.expm1(t * np.log(beta)) if beta else 1.0

    def moments(self, name, g):
        b_1, b_2 = self.s["optimizer.beta_1"], self.s["optimizer.beta_2"]
        m = self.rounded(b_1 * self.m.get(name, 0 * g) + (1 - b_1) * g)
        v = self.rounded(b_2 * self.v.get(name, 0 * g) + (1 - b_2) * g**2)
        return m, v

    def quotient(self, m, v, t):
        m = m / self.bias_correction(self.s["optimizer.beta_1"], t)
        v = v / self.bias_correction(self.s["optimizer.beta_2"], t)
        return m / (np.sqrt(v) + self.s["optimizer.epsilon"])

    def adam(self, name, g, t):
        """What is taken from a parameter, before the learning rate."""
        self.m[name], self.v[name] = self.moments(name, g)
        return self.quotient(self.m[name], self.v[name], t)

    def descent(self, name, g, t):
        return g

    def moved(self, name, g):
        which = self.adam if self.s["optimizer.name"] == "adam" else self.descent
        step = self.s["optimizer.learning_rate"] * which(name, g, self.t)
        return self.rounded(self.p[name] - step)

    def update(self, g):
        self.t += 1
        return {name: self.moved(name, g[name]) for name in self.p}

    # The run.

    def circuit_step(self, step):
        """All stages of a step up to the gradients."""
        xs, ys = self.batch(step)
        opens = [self.open_loop(x) for x in xs]
        if self.s["rule"] == "linear-threshold":
            self.r_bar = self.updated_means(self.r_bar, opens)
        Qs = self.feedback(opens)
        targets = self.targets(opens, ys)
        closeds = self.closed_loops(xs, Qs, targets, opens)
        return SimpleNamespace(
            ys=ys, opens=opens, r_bar=self.r_bar, Qs=Qs, targets=targets, closeds=closeds,
            gradients=self.gradients(xs, ys, closeds, opens),
        )  # fmt: skip

    def plain_step(self, step):
        xs, ys = self.batch(step)
        outputs = [SimpleNamespace(u_out=self.plain_network(x)[2]) for x in xs]
        return SimpleNamespace(ys=ys, opens=outputs, gradients=self.backprop(xs, ys))

    def losses(self, seen):
        yield "open_loop_loss", self.batch_loss([o.u_out for o in seen.opens], seen.ys)
        if self.s["rule"] != "backprop":
            yield "closed_loop_loss", self.batch_loss([c.u_out for c in seen.closeds], seen.ys)

    def learn(self, step):
        self.before = self.seen
        take = self.plain_step if self.s["rule"] == "backprop" else self.circuit_step
        self.seen = take(step)
        self.seen.losses = dict(self.losses(self.seen))
        self.p = self.update(self.seen.gradients)
        self.seen.after = self.p
        return self.seen

    def final_parameters(self, steps):
        return steps[-1].after

    # Names of the answers.

    def named_state(self, where, state):
        for l in range(self.L):
            yield f"{where}/u_E_{l}", state.u_E[l]
            yield f"{where}/u_I_{l}", state.u_I[l]
        yield f"{where}/u_out", state.u_out
        yield f"{where}/c_int", state.z

    def stacked(self, states):
        """(B, n) of all potentials."""
        return SimpleNamespace(
            u_E=[np.stack([state.u_E[l] for state in states]) for l in range(self.L)],
            u_I=[np.stack([state.u_I[l] for state in states]) for l in range(self.L)],
            u_out=np.stack([state.u_out for state in states]),
            z=np.stack([state.z for state in states]),
        )

    def named_step(self, number, seen):
        where = f"steps/{number:04d}"
        if self.s["rule"] != "backprop":
            yield from self.named_state(f"{where}/open_loop", self.stacked(seen.opens))
            if self.s["rule"] == "linear-threshold":
                for l in range(self.L):
                    yield f"{where}/mean_inhibition/r_I_{l}", seen.r_bar[l]
            for l in range(self.L):
                yield f"{where}/feedback/Q_{l}", np.stack([Q[l] for Q in seen.Qs])
            yield f"{where}/closed_loop_targets", np.stack(seen.targets)
            yield from self.named_state(f"{where}/closed_loop", self.stacked(seen.closeds))
        for name, array in seen.gradients.items():
            yield f"{where}/gradients/{name}", array
        for name, array in seen.after.items():
            yield f"{where}/parameters_after/{name}", array

    def answers(self):
        """Everything that is asked, by path."""
        given = dict(self.trajectories())
        steps = []
        for number in range(len(self.inputs)):
            steps.append(self.learn(number))
            given |= dict(self.named_step(number, steps[-1]))
        for name in steps[0].losses:
            given[name] = np.array([seen.losses[name] for seen in steps])
        for name, array in self.final_parameters(steps).items():
            given[f"final_parameters/{name}"] = array
        return dict(self.written(path, array) for path, array in given.items())
