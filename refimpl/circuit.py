"""SoftReLU: the rate of a neuron as a function of its potential (section 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from .configuration import Controller, Feedback, NetworkConfiguration, SoftReLU

# --- SoftReLU: the rate of a neuron as a function of its potential (section 1).


def rate(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Firing rate r = φ(u).

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    u : array
        Membrane potential.

    Returns
    -------
    array
        Rate, of the shape and dtype of `u`.
    """
    v = phi.sharpness * (u - phi.shift)
    # log(1 + e^v) written so that the exponential never overflows.
    return phi.scale * (np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))))


def slope(phi: SoftReLU, u: np.ndarray) -> np.ndarray:
    """Derivative φ'(u) = s k σ(k (u − m)).

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    u : array
        Membrane potential.

    Returns
    -------
    array
        Slope, of the shape and dtype of `u`.
    """
    v = phi.sharpness * (u - phi.shift)
    e = np.exp(-np.abs(v))
    return phi.scale * phi.sharpness * (np.where(v >= 0, 1, e) / (1 + e))


def inverse(phi: SoftReLU, r: np.ndarray) -> np.ndarray:
    """Potential φ⁻¹(r) = m + log(expm1(r / s)) / k, defined for r > 0.

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    r : array
        Rate, above 0.

    Returns
    -------
    array
        Potential, of the shape and dtype of `r`.

    Raises
    ------
    ValueError
        A rate is not above 0.
    """
    r = np.asarray(r)
    if not np.all(r > 0):
        raise ValueError(f"the inverse of SoftReLU at rate {np.min(r)}: a rate above 0 is needed")
    y = r / phi.scale
    # Above log 2, log(expm1 y) = y + log1p(−e^−y): exact for large y, where expm1 overflows.
    small = np.minimum(y, 1)
    large = np.maximum(y, 0.5)
    v = np.where(y < np.log(2), np.log(np.expm1(small)), large + np.log1p(-np.exp(-large)))
    return phi.shift + v / phi.sharpness


def linearized_inverse(phi: SoftReLU, r_0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tangent θ + δ r to φ⁻¹ at the rate r₀: u₀ = φ⁻¹(r₀), δ = 1/φ'(u₀), θ = u₀ − r₀ δ.

    Parameters
    ----------
    phi : SoftReLU
        Activation function.
    r_0 : array
        Rate at which to linearise, above 0.

    Returns
    -------
    theta, delta : array
        Intercept and slope, of the shape and dtype of `r_0`.

    Raises
    ------
    ValueError
        A rate is not above 0.
    """
    r_0 = np.asarray(r_0)
    # A running mean that is no number stays none.
    none = np.isnan(r_0)
    u_0 = np.where(none, r_0, inverse(phi, np.where(none, 1, r_0)))
    delta = 1 / slope(phi, u_0)
    theta = u_0 - r_0 * delta
    return theta, delta


# --- Weights and biases, and how they start (section 7).


TRUNCATED_NORMAL_DEVIATION = 0.87962566
"""Standard deviation of a standard normal truncated at two deviations (section 7)."""


@dataclass(frozen=True)
class Parameters:
    """Parameters of a network; gradients and optimiser moments have the same form.

    Parameters
    ----------
    weights : tuple of array, each (..., n_{l-1}, n_l)
        W^l of the hidden layers.
    biases : tuple of array, each (..., n_l)
        b^l of the hidden layers.
    readout : array, (..., n_L, n_out)
        W_out; the readout has no bias.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    readout: np.ndarray

    @property
    def dtype(self) -> np.dtype:
        """Precision of the network."""
        return self.readout.dtype

    def astype(self, dtype: np.dtype | type) -> Parameters:
        """Copy in another precision."""

        def cast(array: np.ndarray) -> np.ndarray:
            return array.astype(dtype)

        return map_arrays(cast, self)


def initial_parameters(sizes: tuple[int, ...], generator: np.random.Generator) -> Parameters:
    """Draw weights from a truncated normal of variance 1/n_in; biases start at 0.

    Parameters
    ----------
    sizes : tuple of int
        Units per layer, inputs and outputs included.
    generator : numpy.random.Generator
        Source of randomness; layers are drawn in order, the readout last.

    Returns
    -------
    parameters : Parameters
        In float64.
    """
    drawn = [
        truncated_normal((n_in, n_out), generator) / (TRUNCATED_NORMAL_DEVIATION * np.sqrt(n_in))
        for n_in, n_out in pairwise(sizes)
    ]
    return Parameters(
        weights=tuple(drawn[:-1]),
        biases=tuple(np.zeros(n) for n in sizes[1:-1]),
        readout=drawn[-1],
    )


def truncated_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Draw standard normal numbers, redrawing those beyond two deviations.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    array of float64
        Numbers in [−2, 2], of standard deviation 0.87962566.
    """
    numbers = generator.standard_normal(shape)
    while np.any(beyond := np.abs(numbers) > 2):
        numbers[beyond] = generator.standard_normal(np.count_nonzero(beyond))
    return numbers


# --- What moves in time: the potentials of all units and the controller's integral (section 2).


@dataclass(frozen=True)
class NetworkState:
    """State of a network, or its time derivative.

    Parameters
    ----------
    u_E, u_I : tuple of array, each (..., batch, n_l)
        Potentials of the excitatory and inhibitory units of each hidden layer.
    u_out : array, (..., batch, n_out)
        Potentials of the readout.
    z : array, (..., batch, n_out)
        Integral of the controller, seconds of error over τ_c.
    """

    u_E: tuple[np.ndarray, ...]
    u_I: tuple[np.ndarray, ...]
    u_out: np.ndarray
    z: np.ndarray


Arrays = TypeVar("Arrays")


def map_arrays(f: Callable[..., Any], *values: Arrays) -> Arrays:
    """Apply f to the arrays of `Parameters`, of `NetworkState`, or of a tuple, one after another.

    Parameters
    ----------
    f : callable
        Of as many arrays as there are values: the first of each, then the second of each.
    *values : Parameters, NetworkState or tuple of array
        Of one form.

    Returns
    -------
    Parameters, NetworkState or tuple
        What f gave, in the same form.
    """

    def mapped(*parts: Any) -> Any:
        if isinstance(parts[0], tuple):
            return tuple(mapped(*part) for part in zip(*parts, strict=True))
        if isinstance(parts[0], Parameters | NetworkState):
            return type(parts[0])(*mapped(*(tuple(vars(part).values()) for part in parts)))
        return f(*parts)

    result: Arrays = mapped(*values)
    return result


def pack(state: NetworkState) -> np.ndarray:
    """Join a state into one array (..., batch, n) in the order u_E, u_I, u_out, z."""
    return np.concatenate([*state.u_E, *state.u_I, state.u_out, state.z], axis=-1)


def unpack(y: np.ndarray, sizes: tuple[int, ...]) -> NetworkState:
    """Split what `pack` joined; the arrays are views of `y`.

    Parameters
    ----------
    y : array, (..., batch, n)
        Packed state.
    sizes : tuple of int
        Units per layer, inputs and outputs included.
    """
    hidden, n_out = sizes[1:-1], sizes[-1]
    parts, end = [], 0
    for n in (*hidden, *hidden, n_out, n_out):
        parts.append(y[..., end : end + n])
        end += n
    *potentials, u_out, z = parts
    return NetworkState(
        tuple(potentials[: len(hidden)]), tuple(potentials[len(hidden) :]), u_out, z
    )


def resting_state(parameters: Parameters, x: np.ndarray) -> NetworkState:
    """All potentials and the integral at zero, where every simulation starts.

    Parameters
    ----------
    parameters : Parameters
        Parameters; their leading axes, joined with those of `x`, are the state's.
    x : array, (..., batch, n_in)
        Input.
    """
    leading = np.broadcast_shapes(parameters.readout.shape[:-2], x.shape[:-2])

    def zeros(n: int) -> np.ndarray:
        return np.zeros((*leading, x.shape[-2], n), dtype=parameters.dtype)

    layers = tuple(zeros(b.shape[-1]) for b in parameters.biases)
    n_out = parameters.readout.shape[-1]
    return NetworkState(layers, layers, zeros(n_out), zeros(n_out))


def choose(condition: np.ndarray, first: NetworkState, second: NetworkState) -> NetworkState:
    """Take, sample by sample, the first state where the condition holds, else the second.

    Parameters
    ----------
    condition : array of bool, (..., batch)
        One truth value a sample.
    first, second : NetworkState
        States of the same form.
    """

    def chosen(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(condition[..., None], a, b)

    return map_arrays(chosen, first, second)


# --- Loss, the error that drives the controller, and the target it is given (section 3).


def softmax(u: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(u - np.max(u, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def log_softmax(u: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis."""
    v = u - np.max(u, axis=-1, keepdims=True)
    return v - np.log(np.sum(np.exp(v), axis=-1, keepdims=True))


def sample_loss(loss: str, u_out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Loss of each sample: −Σ y log softmax(u_out), or ½ Σ (y − u_out)².

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    u_out, y : array, (..., batch, n_out)
        Readout potential and label.

    Returns
    -------
    array, (..., batch)
    """
    if loss == "mse":
        return np.sum((y - u_out) ** 2, axis=-1) / 2
    return -np.sum(y * log_softmax(u_out), axis=-1)


def error(loss: str, u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Error e, the negative gradient of the loss: target − softmax(u_out), or target − u_out.

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    u_out, target : array, (..., batch, n_out)
        Readout potential and target.

    Returns
    -------
    array, (..., batch, n_out)
    """
    return target - (u_out if loss == "mse" else softmax(u_out))


def error_jacobian(loss: str, u_out: np.ndarray) -> np.ndarray:
    """S = −∂e/∂u_out (section 6): the softmax Jacobian diag(p) − pᵀp, or the identity.

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    u_out : array, (..., batch, n_out)
        Readout potential.

    Returns
    -------
    array, (..., batch, n_out, n_out)
        Symmetric.
    """
    identity = np.eye(u_out.shape[-1], dtype=u_out.dtype)
    if loss == "mse":
        return np.broadcast_to(identity, (*u_out.shape, u_out.shape[-1]))
    p = softmax(u_out)
    return p[..., :, None] * identity - p[..., :, None] * p[..., None, :]


def closed_loop_target(
    loss: str, feedback: Feedback, u_out_open: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Target of the controller: y with strong feedback, a nudge towards it with weak.

    With o the open-loop output, weak feedback gives o + λ (y − o) for MSE and
    softmax(o + λ (y − softmax(o))) for cross-entropy.

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    feedback : Feedback
        Holds `strong` and λ, `nudge`.
    u_out_open, y : array, (..., batch, n_out)
        Open-loop readout potential and label.

    Returns
    -------
    array, (..., batch, n_out)
    """
    if feedback.strong:
        return np.broadcast_to(y, u_out_open.shape)
    nudged = u_out_open + feedback.nudge * error(loss, u_out_open, y)
    return nudged if loss == "mse" else softmax(nudged)


# --- The leaky proportional-integral controller that dis-inhibits (section 3).


def control_signal(controller: Controller, e: np.ndarray, z: np.ndarray) -> np.ndarray:
    """c = k_p e + k_i z.

    Parameters
    ----------
    controller : Controller
        Gains.
    e, z : array, (..., batch, n_out)
        Error and integral.

    Returns
    -------
    array, (..., batch, n_out)
    """
    return controller.k_p * e + controller.k_i * z


def integral_derivative(controller: Controller, e: np.ndarray, z: np.ndarray) -> np.ndarray:
    """dz/dt = (e − leak · z) / τ_c, per second.

    Parameters
    ----------
    controller : Controller
        Leak and time constant.
    e, z : array, (..., batch, n_out)
        Error and integral.

    Returns
    -------
    array, (..., batch, n_out)
    """
    return (e - controller.leak * z) / controller.tau


def steady_integral(controller: Controller, e: np.ndarray, c: np.ndarray) -> np.ndarray:
    """z = e / leak, where a constant error leaves the integral.

    With e = c / κ it is c / (k_p leak + k_i), whose digits do not depend on those of e, a
    small difference at large gain.

    Parameters
    ----------
    controller : Controller
        Gains and leak, the leak above 0.
    e, c : array, (..., batch, n_out)
        Error, and the control signal κ e that belongs to it.

    Returns
    -------
    array, (..., batch, n_out)
    """
    gain = controller.k_p * controller.leak + controller.k_i
    none = np.asarray(gain) == 0
    return np.where(none, e / controller.leak, c / np.where(none, 1, gain)).astype(e.dtype)


# --- The differential equations of the microcircuit (section 2).


FeedbackWeights = tuple[np.ndarray, ...]
"""Q^l of each hidden layer, (..., batch, n_out, n_l)."""


def drive(r: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """a^l = φ_E(u_E^{l−1}) W^l + b^l.

    Parameters
    ----------
    r : array, (..., batch, n_in)
        Rates of the layer below, or the input x.
    weight : array, (..., n_in, n)
        W^l.
    bias : array, (..., n)
        b^l.

    Returns
    -------
    array, (..., batch, n)
    """
    return r @ weight + bias[..., None, :]


def disinhibition(c: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """q^l = c Q^l, the top-down current that is taken from the inhibitory units.

    Parameters
    ----------
    c : array, (..., batch, n_out)
        Control signal.
    Q : array, (..., batch or 1, n_out, n_l)
        Feedback weights.

    Returns
    -------
    array, (..., batch, n_l)
    """
    return (c[..., None, :] @ Q)[..., 0, :]


def open_loop_derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    state: NetworkState,
) -> NetworkState:
    """Time derivative without control: c = 0, and the integral rests.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Activations and time constants.
    parameters : Parameters
        Weights and biases.
    a_1 : array, (..., batch, n_1)
        Drive of the first layer, constant as the input is.
    state : NetworkState
        Present state.

    Returns
    -------
    NetworkState
        Derivatives, per second.
    """
    q = tuple(np.zeros_like(u) for u in state.u_I)
    return _derivative(configuration, parameters, a_1, state, q, 0, np.zeros_like(state.z))


def closed_loop_derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    Q: FeedbackWeights,
    target: np.ndarray,
    state: NetworkState,
) -> NetworkState:
    """Time derivative under control: c acts through Q on every inhibitory unit.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Activations, time constants, controller and loss.
    parameters : Parameters
        Weights and biases.
    a_1 : array, (..., batch, n_1)
        Drive of the first layer.
    Q : tuple of array, each (..., batch, n_out, n_l)
        Feedback weights.
    target : array, (..., batch, n_out)
        What the controller is given.
    state : NetworkState
        Present state.

    Returns
    -------
    NetworkState
        Derivatives, per second.
    """
    e = error(configuration.loss, state.u_out, target)
    c = control_signal(configuration.controller, e, state.z)
    q = tuple(disinhibition(c, Q_l) for Q_l in Q)
    to_readout = c if configuration.feedback.to_readout else 0
    dz = integral_derivative(configuration.controller, e, state.z)
    return _derivative(configuration, parameters, a_1, state, q, to_readout, dz)


def _derivative(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    a_1: np.ndarray,
    state: NetworkState,
    q: tuple[np.ndarray, ...],
    c: np.ndarray | int,
    dz: np.ndarray,
) -> NetworkState:
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    tau_E, tau_I = configuration.tau_E, configuration.tau_I
    # All layers move at once: a^l uses the present rate of the layer below.
    r_E = [rate(phi_E, u_E) for u_E in state.u_E]
    r_I = [rate(phi_I, u_I) for u_I in state.u_I]
    a = [a_1] + [
        drive(r, W, b)
        for r, W, b in zip(r_E[:-1], parameters.weights[1:], parameters.biases[1:], strict=True)
    ]
    du_E = tuple((-u + a_l - r) / tau_E for u, a_l, r in zip(state.u_E, a, r_I, strict=True))
    du_I = tuple((-u + r - q_l) / tau_I for u, r, q_l in zip(state.u_I, r_E, q, strict=True))
    du_out = (-state.u_out + r_E[-1] @ parameters.readout + c) / tau_E
    return NetworkState(du_E, du_I, du_out, dz)
