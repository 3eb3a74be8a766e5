"""The microcircuit: neurons, equations of motion, controller and loss, and how a network starts.

Row vectors: activity is (batch, n), weights are (n_in, n_out). Leading axes, written "...", are
replicas, and broadcast. Symbols and sections are those of `model.md`; times are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from .configuration import Array, Controller, Feedback, NetworkConfiguration, SoftReLU

FeedbackWeights = tuple[np.ndarray, ...]
"""Q^l of each hidden layer, (..., batch, n_out, n_l)."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of a network; gradients and optimiser moments have the same form."""

    weights: tuple[np.ndarray, ...]  # W^l of the hidden layers, each (..., n_{l-1}, n_l)
    biases: tuple[np.ndarray, ...]  # b^l of the hidden layers, each (..., n_l)
    readout: np.ndarray  # W_out, (..., n_L, n_out); the readout has no bias

    @property
    def dtype(self) -> np.dtype:
        """Precision of the network."""
        return self.readout.dtype

    def astype(self, dtype: np.dtype | type) -> Parameters:
        """Copy in another precision."""
        return map_arrays(lambda array: array.astype(dtype), self)


@dataclass(frozen=True)
class NetworkState:
    """State of a network, or its time derivative."""

    u_E: tuple[np.ndarray, ...]  # potentials of each hidden layer's E units, (..., batch, n_l)
    u_I: tuple[np.ndarray, ...]  # and of its I units
    u_out: np.ndarray  # potentials of the readout, (..., batch, n_out)
    z: np.ndarray  # integral of the controller, seconds of error over τ_c, (..., batch, n_out)


# Section 1: the rate of a neuron as a function of its potential.


def rate(phi: SoftReLU, u: Array) -> Array:
    """Firing rate r = φ(u) = s log(1 + exp(k (u − m))) (section 1), of the dtype of u."""
    v = phi.sharpness * (u - phi.shift)
    # log(1 + e^v) written so that the exponential never overflows.
    return phi.scale * (np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))))


def slope(phi: SoftReLU, u: Array) -> Array:
    """Derivative φ'(u) = s k σ(k (u − m)) (section 1)."""
    v = phi.sharpness * (u - phi.shift)
    e = np.exp(-np.abs(v))
    return phi.scale * phi.sharpness * (np.where(v >= 0, 1, e) / (1 + e))


def inverse(phi: SoftReLU, r: Array) -> Array:
    """Potential φ⁻¹(r) = m + log(expm1(r / s)) / k (section 1); ValueError unless r > 0."""
    r = np.asarray(r)
    if not np.all(r > 0):
        raise ValueError(f"the inverse of SoftReLU at rate {np.min(r)}: a rate above 0 is needed")
    y = r / phi.scale
    # Above log 2, log(expm1 y) = y + log1p(−e^−y): exact for large y, where expm1 overflows.
    small = np.minimum(y, 1)
    large = np.maximum(y, 0.5)
    v = np.where(y < np.log(2), np.log(np.expm1(small)), large + np.log1p(-np.exp(-large)))
    return phi.shift + v / phi.sharpness


def linearized_inverse(phi: SoftReLU, r_0: Array) -> tuple[Array, Array]:
    """θ and δ of the tangent θ + δ r to φ⁻¹ at the rate r₀ > 0 (section 1).

    u₀ = φ⁻¹(r₀), δ = 1 / φ'(u₀), θ = u₀ − r₀ δ; a running mean r₀ that is no number stays none.
    """
    r_0 = np.asarray(r_0)
    none = np.isnan(r_0)
    u_0 = np.where(none, r_0, inverse(phi, np.where(none, 1, r_0)))
    delta = 1 / slope(phi, u_0)
    theta = u_0 - r_0 * delta
    return theta, delta


# Section 2: the equations of motion.


def open_loop_derivative(
    configuration: NetworkConfiguration, parameters: Parameters, a_1: Array, state: NetworkState
) -> NetworkState:
    """Time derivative without control: c = 0, and the integral rests (section 2)."""
    return closed_loop_derivative(configuration, parameters, a_1, None, None, state)


def closed_loop_derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: Array,
    Q: FeedbackWeights | None,
    target: Array | None,
    state: NetworkState,
) -> NetworkState:
    """Time derivative under control: c acts through Q on every inhibitory unit (sections 2, 3).

        τ_E du_E = −u_E + a − φ_I(u_I)      τ_I du_I = −u_I + φ_E(u_E) − c Q
        τ_E du_out = −u_out + φ_E(u_E^L) W_out + c

    `a_1`, (..., batch, n_1), is the drive of the first layer, constant as the input is; Q^l is
    (..., batch, n_out, n_l) and the target (..., batch, n_out).
    """
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    tau_E, tau_I = configuration.tau_E, configuration.tau_I
    c: Array | int = 0
    q, dz = [np.zeros_like(u) for u in state.u_I], np.zeros_like(state.z)
    if Q is not None and target is not None:
        e = error(configuration.loss, state.u_out, target)
        c = control_signal(configuration.controller, e, state.z)
        q = [disinhibition(c, Q_l) for Q_l in Q]
        dz = integral_derivative(configuration.controller, e, state.z)
    # All layers move at once: a^l uses the present rate of the layer below.
    r_E = [rate(phi_E, u_E) for u_E in state.u_E]
    r_I = [rate(phi_I, u_I) for u_I in state.u_I]
    above = zip(r_E[:-1], parameters.weights[1:], parameters.biases[1:], strict=True)
    a = [a_1, *(drive(r, W, b) for r, W, b in above)]
    du_E = tuple((-u + a_l - r) / tau_E for u, a_l, r in zip(state.u_E, a, r_I, strict=True))
    du_I = tuple((-u + r - q_l) / tau_I for u, r, q_l in zip(state.u_I, r_E, q, strict=True))
    to_readout = c if configuration.feedback.to_readout else 0
    du_out = (-state.u_out + r_E[-1] @ parameters.readout + to_readout) / tau_E
    return NetworkState(du_E, du_I, du_out, dz)


def drive(r: Array, W: Array, b: Array) -> Array:
    """a^l = φ_E(u_E^{l−1}) W^l + b^l (section 2), (..., batch, n); r is x in the first layer."""
    return r @ W + b[..., None, :]


def disinhibition(c: Array, Q: Array) -> Array:
    """q^l = c Q^l, the current taken from the inhibitory units (section 2), (..., batch, n_l)."""
    return (c[..., None, :] @ Q)[..., 0, :]


# Section 3: controller and loss; all arrays are (..., batch, n_out).


def control_signal(controller: Controller, e: Array, z: Array) -> Array:
    """c = k_p e + k_i z (section 3)."""
    return controller.k_p * e + controller.k_i * z


def integral_derivative(controller: Controller, e: Array, z: Array) -> Array:
    """dz/dt = (e − leak · z) / τ_c, per second (section 3)."""
    return (e - controller.leak * z) / controller.tau


def steady_integral(controller: Controller, e: Array, c: Array) -> Array:
    """z = e / leak, where a constant error leaves the integral; the leak is above 0 (section 6).

    With e = c / κ it is c / (k_p leak + k_i), whose digits do not depend on those of e, a
    small difference at large gain.
    """
    gain = controller.k_p * controller.leak + controller.k_i
    none = np.asarray(gain) == 0
    return np.where(none, e / controller.leak, c / np.where(none, 1, gain)).astype(e.dtype)


def error(loss: str, u_out: Array, target: Array) -> Array:
    """Error e = target − softmax(u_out), or target − u_out for MSE (section 3)."""
    return target - (u_out if loss == "mse" else softmax(u_out))


def error_jacobian(loss: str, u_out: Array) -> Array:
    """S = −∂e/∂u_out (section 6): diag(p) − pᵀp of the softmax p, or the identity.

    Symmetric, (..., batch, n_out, n_out).
    """
    identity = np.eye(u_out.shape[-1], dtype=u_out.dtype)
    if loss == "mse":
        return np.broadcast_to(identity, (*u_out.shape, u_out.shape[-1]))
    p = softmax(u_out)
    return p[..., :, None] * identity - p[..., :, None] * p[..., None, :]


def sample_loss(loss: str, u_out: Array, y: Array) -> Array:
    """−Σ y log softmax(u_out), or ½ Σ (y − u_out)² (section 3), (..., batch)."""
    if loss == "mse":
        return np.sum((y - u_out) ** 2, axis=-1) / 2
    return -np.sum(y * log_softmax(u_out), axis=-1)


def closed_loop_target(loss: str, feedback: Feedback, u_out_open: Array, y: Array) -> Array:
    """Target of the controller: y with strong feedback, a nudge towards it with weak (section 3).

    With o the open-loop output, weak feedback gives o + λ (y − o) for MSE and
    softmax(o + λ (y − softmax(o))) for cross-entropy.
    """
    if feedback.strong:
        return np.broadcast_to(y, u_out_open.shape)
    nudged = u_out_open + feedback.nudge * error(loss, u_out_open, y)
    return nudged if loss == "mse" else softmax(nudged)


def softmax(u: Array) -> Array:
    """Softmax over the last axis."""
    e = np.exp(u - np.max(u, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def log_softmax(u: Array) -> Array:
    """Logarithm of the softmax over the last axis."""
    v = u - np.max(u, axis=-1, keepdims=True)
    return v - np.log(np.sum(np.exp(v), axis=-1, keepdims=True))


# Section 7: how parameters and states start.

TRUNCATED_NORMAL_DEVIATION = 0.87962566
"""Standard deviation of a standard normal truncated at two deviations."""


def initial_parameters(sizes: tuple[int, ...], generator: np.random.Generator) -> Parameters:
    """Draw weights from a truncated normal of variance 1/n_in; biases start at 0 (section 7).

    Layers are drawn in order, the readout last, in float64; sizes are the units per layer,
    inputs and outputs included.
    """
    *weights, readout = [
        truncated_normal((n_in, n_out), generator) / (TRUNCATED_NORMAL_DEVIATION * np.sqrt(n_in))
        for n_in, n_out in pairwise(sizes)
    ]
    return Parameters(tuple(weights), tuple(np.zeros(n) for n in sizes[1:-1]), readout)


def truncated_normal(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Draw standard normal numbers, redrawing those beyond two deviations."""
    numbers = generator.standard_normal(shape)
    while np.any(beyond := np.abs(numbers) > 2):
        numbers[beyond] = generator.standard_normal(np.count_nonzero(beyond))
    return numbers


def resting_state(parameters: Parameters, x: Array) -> NetworkState:
    """All potentials and the integral at zero, where every simulation starts (section 2).

    The state's leading axes are the parameters' joined with those of `x`, (..., batch, n_in).
    """
    leading = np.broadcast_shapes(parameters.readout.shape[:-2], x.shape[:-2])

    def zeros(n: int) -> Array:
        return np.zeros((*leading, x.shape[-2], n), dtype=parameters.dtype)

    layers = tuple(zeros(b.shape[-1]) for b in parameters.biases)
    n_out = parameters.readout.shape[-1]
    return NetworkState(layers, layers, zeros(n_out), zeros(n_out))


# Parameters and states as arrays.

Arrays = TypeVar("Arrays")


def map_arrays(f: Callable[..., Any], *values: Arrays) -> Arrays:
    """Apply f to the arrays of `Parameters`, of `NetworkState`, or of a tuple, one after another.

    Of several values of one form, f takes the first array of each, then the second of each.
    What it gives is returned in the same form.
    """

    def mapped(*parts: Any) -> Any:
        if isinstance(parts[0], tuple):
            return tuple(mapped(*part) for part in zip(*parts, strict=True))
        if isinstance(parts[0], Parameters | NetworkState):
            return type(parts[0])(*mapped(*(tuple(vars(part).values()) for part in parts)))
        return f(*parts)

    result: Arrays = mapped(*values)
    return result


def choose(condition: Array, first: NetworkState, second: NetworkState) -> NetworkState:
    """Take, sample by sample, the first state where the condition, (..., batch), holds."""
    return map_arrays(lambda a, b: np.where(condition[..., None], a, b), first, second)


def pack(state: NetworkState) -> Array:
    """Join a state into one array (..., batch, n) in the order u_E, u_I, u_out, z."""
    return np.concatenate([*state.u_E, *state.u_I, state.u_out, state.z], axis=-1)


def unpack(y: Array, sizes: tuple[int, ...]) -> NetworkState:
    """Split what `pack` joined, for these units per layer; the arrays are views of `y`."""
    hidden, n_out = sizes[1:-1], sizes[-1]
    parts, end = [], 0
    for n in (*hidden, *hidden, n_out, n_out):
        parts.append(y[..., end : end + n])
        end += n
    *potentials, u_out, z = parts
    n_hidden = len(hidden)
    return NetworkState(tuple(potentials[:n_hidden]), tuple(potentials[n_hidden:]), u_out, z)
