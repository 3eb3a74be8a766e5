"""What moves in time: the potentials of all units and the controller's integral (section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .parameters import Parameters


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
    where = condition[..., None]
    return NetworkState(
        tuple(np.where(where, a, b) for a, b in zip(first.u_E, second.u_E, strict=True)),
        tuple(np.where(where, a, b) for a, b in zip(first.u_I, second.u_I, strict=True)),
        np.where(where, first.u_out, second.u_out),
        np.where(where, first.z, second.z),
    )
