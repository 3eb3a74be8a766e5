"""The whole model in one file of plain NumPy, to be read from top to bottom.

J. Rossbroich & F. Zenke, "Dis-inhibitory neuronal circuits can control the sign of synaptic
plasticity", NeurIPS 2023. Each hidden unit is an excitatory (E) and an inhibitory (I) neuron. The
network comes to rest twice: by itself, and while a controller, which sees the error at the output,
takes inhibition away. Under control each synapse finds in its own neuron what it should change.

Row vectors: activity is (batch, n), weights are (n_in, n_out). `s` holds the settings by the names
of docs/porting.md, `p` the parameters: W and b, one a hidden layer, and W_out. For speed, float32
and extreme settings there is the package; this file is for reading, and is right all the same:

    disinhib trace inputs validation/golden/exact-inverse.h5 --out questions --flat
    python examples/one_file.py questions answers
    disinhib trace compare validation/golden/exact-inverse.h5 answers
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

# 1. Neurons. A rate is φ(u) = scale log(1 + exp(sharpness (u − shift))); which is "E" or "I".


def activation(s, which):
    """Scale, sharpness and shift of φ_E or φ_I."""
    return (s[f"activation_{which}.{name}"] for name in ("scale", "sharpness", "shift"))


def rate(s, which, u):
    """r = φ(u)."""
    scale, k, shift = activation(s, which)
    return scale * np.logaddexp(0, k * (u - shift))


def slope(s, which, u):
    """φ'(u)."""
    scale, k, shift = activation(s, which)
    return scale * k * np.exp(-np.logaddexp(0, -k * (u - shift)))


def tangent_to_inverse(s, which, r_0):
    """θ and δ of θ + δ r, which touches φ⁻¹ at the rate r₀."""
    scale, k, shift = activation(s, which)
    u_0 = shift + (r_0 / scale + np.log(-np.expm1(-r_0 / scale))) / k
    delta = 1 / slope(s, which, u_0)
    return u_0 - r_0 * delta, delta


# 2. Controller and loss. The controller's error is the loss's negative gradient.


def softmax(u):
    """Probabilities of the outputs."""
    e = np.exp(u - u.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def error(s, u_out, target):
    """What the controller is driven by: target − u_out or target − softmax(u_out)."""
    return target - (u_out if s["loss"] == "mse" else softmax(u_out))


def mean_loss(s, u_out, y):
    """½ Σ (y − u_out)² or −Σ y log softmax(u_out), the mean over the batch."""
    if s["loss"] == "mse":
        return np.mean(np.sum((y - u_out) ** 2, axis=-1) / 2)
    log_sum = np.logaddexp.reduce(u_out, axis=-1, keepdims=True)
    return np.mean(-np.sum(y * (u_out - log_sum), axis=-1))


def controller_target(s, u_out_open, y):
    """Strong feedback: the label. Weak: a nudge of λ towards it from the open-loop output."""
    if s["feedback.strong"]:
        return y
    nudged = u_out_open + s["feedback.nudge"] * error(s, u_out_open, y)
    return nudged if s["loss"] == "mse" else softmax(nudged)


# 3. Where the network comes to rest. All layers move at once, from zero:
#
#     τ_E du_E^l/dt = −u_E^l + a^l − φ_I(u_I^l)         a^l = φ_E(u_E^{l−1}) W^l + b^l, a^1 of x
#     τ_I du_I^l/dt = −u_I^l + φ_E(u_E^l) − c Q^l       c = k_p e + k_i z, τ_c dz/dt = e − leak z
#     τ_E du_out/dt = −u_out + φ_E(u_E^L) W_out + c
#
# One need not integrate: for a fixed c each neuron rests where one equation says.


def resting_state(p, batch):
    """Everything at zero."""
    layers = [np.zeros((batch, b.size)) for b in p.b]
    out = np.zeros((batch, p.W_out.shape[1]))
    return SimpleNamespace(u_E=layers, u_I=layers, u_out=out, z=out)


def times(rows, matrices):
    """Each sample's row times its own matrix."""
    return np.einsum("bk,bkn->bn", rows, matrices)


def rest_at(s, p, x, Q, c, start):
    """State of rest while the control signal is held at c: layer by layer, from a first guess."""
    below, u_Es, u_Is = x, [], []
    for l, (W, b) in enumerate(zip(p.W, p.b, strict=True)):
        a, q = below @ W + b, 0 if Q is None else times(c, Q[l])
        # Newton's method for u_E + φ_I(φ_E(u_E) − q) = a: convex, and its slope is at least 1.
        u_E = start.u_E[l]
        for _ in range(100):
            u_I = rate(s, "E", u_E) - q
            step = u_E + rate(s, "I", u_I) - a
            step = step / (1 + slope(s, "I", u_I) * slope(s, "E", u_E))
            u_E = u_E - step
            if np.all(np.abs(step) <= 1e-15 * (1 + np.abs(a) + np.abs(u_E))):
                break
        below = rate(s, "E", u_E)
        u_Es.append(u_E)
        u_Is.append(below - q)
    u_out = below @ p.W_out + (c if Q is not None and s["feedback.to_readout"] else 0)
    return SimpleNamespace(u_E=u_Es, u_I=u_Is, u_out=u_out, z=0 * u_out)


def output_sensitivity(s, p, Q, state):
    """D = ∂u_out/∂c, (batch, n_out, n_out): row k is the response to the k-th control signal."""
    da = 0
    for l, W_above in enumerate([*p.W[1:], p.W_out]):
        slope_E = slope(s, "E", state.u_E[l])[:, None, :]
        slope_I = slope(s, "I", state.u_I[l])[:, None, :]
        da = (slope_E / (1 + slope_I * slope_E) * (da + slope_I * Q[l])) @ W_above
    return da + (np.eye(p.W_out.shape[1]) if s["feedback.to_readout"] else 0)


def closed_loop_end_state(s, p, x, Q, target, open_loop):
    """Damped Newton's method on F(c) = c − κ e(u_out(c)), the n_out equations that are left.

    There are such where the controller has a leak; without one only integration is left.
    """
    k_p, k_i, leak = (s[f"controller.{name}"] for name in ("k_p", "k_i", "leak"))
    kappa = k_p + k_i / leak

    def F(c, state):
        return c - kappa * error(s, state.u_out, target)

    c, state, identity = np.zeros_like(target), open_loop, np.eye(target.shape[-1])
    done = np.zeros(len(x), dtype=bool)
    for _ in range(100):
        if np.all(done):
            break
        S = identity  # −∂e/∂u_out
        if s["loss"] != "mse":
            prob = softmax(state.u_out)
            S = prob[:, :, None] * identity - prob[:, :, None] * prob[:, None, :]
        M = identity + kappa * output_sensitivity(s, p, Q, state) @ S
        v = np.linalg.solve(np.swapaxes(M, 1, 2), -F(c, state)[..., None])[..., 0]
        v[done] = 0
        size, fraction = np.linalg.norm(F(c, state), axis=-1), np.ones(len(x))
        for _ in range(30):
            new_c = c + fraction[:, None] * v
            new = rest_at(s, p, x, Q, new_c, state)
            # Steps that are small enough reach the root to their square.
            done = done | (np.abs(v).max(axis=-1) <= 1e-9 * (1 + np.abs(c).max(axis=-1)))
            worse = (np.linalg.norm(F(new_c, new), axis=-1) > size) & ~done
            if not np.any(worse):
                break
            fraction = np.where(worse, fraction / 2, fraction)
        c, state = new_c, new
    state.z = c / (k_p * leak + k_i)
    return state


# 4. Learning.


def feedback_weights(s, p, open_loop):
    """Q of each hidden layer, (batch, n_out, n): how the outputs depend on its I neurons."""
    J, Q = p.W_out.T, []
    for l in reversed(range(len(p.W))):
        J = J * slope(s, "E", open_loop.u_E[l])[:, None, :]
        Q.insert(0, J * slope(s, "I", open_loop.u_I[l])[:, None, :])
        J = J @ p.W[l].T
    if s["feedback.average"]:
        Q = [np.broadcast_to(np.mean(Q_l, axis=0), Q_l.shape) for Q_l in Q]
    if "feedback.clip" in s:
        Q = [np.clip(Q_l, -s["feedback.clip"], s["feedback.clip"]) for Q_l in Q]
    if s["feedback.normalize"]:
        norms = [np.sqrt(np.sum(Q_l**2, axis=(1, 2), keepdims=True)) for Q_l in Q]
        Q = [
            s["feedback.norm"] * Q_l / np.where(n > 0, n, 1)
            for Q_l, n in zip(Q, norms, strict=True)
        ]
    return Q


def plasticity_gradients(s, p, x, y, open_loop, closed_loop, r_bar):
    """What p descends along: pre × (û_I − r_E) φ_E', Hebbian, its sign set by inhibition."""
    pre, g_W, g_b = x, [], []
    for u_E, u_I, r_bar_l in zip(closed_loop.u_E, closed_loop.u_I, r_bar, strict=True):
        r_E, estimate = rate(s, "E", u_E), u_I
        if s["rule"] != "exact-inverse":
            is_fixed = s["rule"] == "linear-threshold-fixed"
            r_0 = s["mean_inhibition.fixed_point"] if is_fixed else r_bar_l
            theta, delta = tangent_to_inverse(s, "I", r_0)
            estimate = theta + delta * rate(s, "I", u_I)
        d = (estimate - r_E) * slope(s, "E", u_E)
        g_W.append(pre.T @ d / len(x))
        # A network without biases has them at 0, and does not learn them.
        g_b.append(d.mean(axis=0) * s.get("bias", True))
        pre = r_E
    d_out = pre @ p.W_out - closed_loop.u_out
    if not s["feedback.to_readout"]:
        pre, d_out = rate(s, "E", open_loop.u_E[-1]), -error(s, open_loop.u_out, y)
    return SimpleNamespace(W=g_W, b=g_b, W_out=pre.T @ d_out / len(x))


def backprop_gradients(s, p, x, y):
    """The baseline: gradient of the loss of a plain network of the same widths; and its output."""
    h, a = [x], []
    for W, b in zip(p.W, p.b, strict=True):
        a.append(h[-1] @ W + b)
        h.append(rate(s, "E", a[-1]))
    u_out = h[-1] @ p.W_out
    d, g_W, g_b = -error(s, u_out, y), [], []
    g_out = h[-1].T @ d / len(x)
    for l, W_above in reversed(list(enumerate([*p.W[1:], p.W_out]))):
        d = (d @ W_above.T) * slope(s, "E", a[l])
        g_W.insert(0, h[l].T @ d / len(x))
        g_b.insert(0, d.mean(axis=0) * s.get("bias", True))
    return SimpleNamespace(W=g_W, b=g_b, W_out=g_out), u_out


def optimizer_step(s, t, p, g, m, v):
    """Step t, from 1, of every array along −g; m and v are Adam's moments, changed in place."""
    eta, b_1, b_2 = (s[f"optimizer.{name}"] for name in ("learning_rate", "beta_1", "beta_2"))
    new = dict(named(p))
    for name, gradient in named(g):
        move = gradient
        if s["optimizer.name"] == "adam":
            m[name] = b_1 * m.get(name, 0) + (1 - b_1) * gradient
            v[name] = b_2 * v.get(name, 0) + (1 - b_2) * gradient**2
            v_unbiased = v[name] / (1 - b_2**t)
            move = m[name] / (1 - b_1**t) / (np.sqrt(v_unbiased) + s["optimizer.epsilon"])
        new[name] = new[name] - eta * move
    return parameters(new, len(p.W))


def learn(s, p, inputs, labels):
    """One learning step a batch; yields what each saw and made, by the names of the answers."""
    m, v = {}, {}
    r_bar = [np.full(b.size, s["mean_inhibition.init"]) for b in p.b]
    for t, (x, y) in enumerate(zip(inputs, labels, strict=True), start=1):
        seen = {}
        if s["rule"] == "backprop":
            g, u_out = backprop_gradients(s, p, x, y)
            seen["open_loop_loss"] = mean_loss(s, u_out, y)
        else:
            start = resting_state(p, len(x))
            open_loop = rest_at(s, p, x, None, 0, start)
            if s["rule"] == "linear-threshold":
                # r̄ takes in the present batch before it is used.
                rho, r_I = s["mean_inhibition.rate"], [rate(s, "I", u) for u in open_loop.u_I]
                r_bar = [
                    (1 - rho) * old + rho * r.mean(axis=0)
                    for old, r in zip(r_bar, r_I, strict=True)
                ]
                seen |= {f"mean_inhibition/r_I_{l}": r for l, r in enumerate(r_bar)}
            Q = feedback_weights(s, p, open_loop)
            target = controller_target(s, open_loop.u_out, y)
            closed_loop = closed_loop_end_state(s, p, x, Q, target, open_loop)
            g = plasticity_gradients(s, p, x, y, open_loop, closed_loop, r_bar)
            seen |= {f"feedback/Q_{l}": Q_l for l, Q_l in enumerate(Q)}
            seen |= {"closed_loop_targets": target}
            seen |= {f"open_loop/{name}": u for name, u in named_state(open_loop)}
            seen |= {f"closed_loop/{name}": u for name, u in named_state(closed_loop)}
            seen["open_loop_loss"] = mean_loss(s, open_loop.u_out, y)
            seen["closed_loop_loss"] = mean_loss(s, closed_loop.u_out, y)
        p = optimizer_step(s, t, p, g, m, v)
        seen |= {f"gradients/{name}": array for name, array in named(g)}
        seen |= {f"parameters_after/{name}": array for name, array in named(p)}
        yield seen


# 5. Questions and answers: a directory of settings.txt, arrays.txt and one .bin an array.


def parameters(arrays, n_hidden, prefix=""):
    """Gather W, b and W_out from arrays by name."""
    return SimpleNamespace(
        W=[arrays[f"{prefix}hidden_{l}/weight"] for l in range(n_hidden)],
        b=[arrays[f"{prefix}hidden_{l}/bias"] for l in range(n_hidden)],
        W_out=arrays[f"{prefix}readout/weight"],
    )


def named(p):
    """Name and array of all parameters."""
    for l, (W, b) in enumerate(zip(p.W, p.b, strict=True)):
        yield from ((f"hidden_{l}/weight", W), (f"hidden_{l}/bias", b))
    yield "readout/weight", p.W_out


def named_state(state):
    """Name and array of all that moves."""
    for l, (u_E, u_I) in enumerate(zip(state.u_E, state.u_I, strict=True)):
        yield from ((f"u_E_{l}", u_E), (f"u_I_{l}", u_I))
    yield from (("u_out", state.u_out), ("c_int", state.z))


def read_questions(directory):
    """Settings and arrays, in float64."""
    s, arrays = {}, {}
    for line in (directory / "settings.txt").read_text().splitlines():
        name, _, text = line.partition(" ")
        words = {"true": True, "false": False}
        try:
            s[name] = float(text) if "." in text or "e" in text.lower() else int(text)
        except ValueError:
            s[name] = words.get(text, text)
    for line in (directory / "arrays.txt").read_text().splitlines():
        name, kind, *shape = line.split()
        array = np.fromfile(directory / f"{name}.bin", dtype=np.dtype(kind).newbyteorder("<"))
        scale = 255 if kind == "uint8" else 1
        arrays[name] = array.reshape([int(n) for n in shape]).astype(float) / scale
    return s, arrays


def answers(s, arrays):
    """Name and array of everything that is asked."""
    n_hidden = sum(name.startswith("initial_parameters/") for name in arrays) // 2
    p = parameters(arrays, n_hidden, "initial_parameters/")
    inputs, labels = arrays["inputs"], arrays["targets"]
    losses = {"open_loop_loss": [], "closed_loop_loss": []}
    for n, seen in enumerate(learn(s, p, inputs, labels)):
        for name in losses.keys() & seen.keys():
            losses[name].append(seen.pop(name))
        yield from ((f"steps/{n:04d}/{name}", array) for name, array in seen.items())
    last = parameters(seen, n_hidden, "parameters_after/")
    yield from ((f"final_parameters/{name}", array) for name, array in named(last))
    yield from ((name, np.array(values)) for name, values in losses.items() if values)


def main(questions, directory):
    """Answer a directory of questions with a directory of answers."""
    listed = []
    for name, array in answers(*read_questions(Path(questions))):
        file = Path(directory) / f"{name}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.asarray(array, dtype="<f8").tofile(file)
        listed.append(" ".join([name, "float64", *map(str, np.shape(array))]))
    (Path(directory) / "arrays.txt").write_text("\n".join(listed) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
