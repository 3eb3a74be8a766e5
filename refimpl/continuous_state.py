"""What moves in continuous time: potentials, the integral, and all weights (section 10)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

INITIAL_SCALE = 2.0
"""Deviation of a first weight is this over √n_in, of a first bias this over √n_layer."""


@dataclass(frozen=True)
class ContinuousState:
    """State of a network that learns while it runs, or its time derivative.

    Layers l = 1..L are E-I layers, the output among them as layer L.

    Parameters
    ----------
    u_E, u_I : tuple of array, each (n_l,)
        Potentials of the excitatory and inhibitory units.
    z : array, (n_out,)
        Integral of the controller.
    Q : tuple of array, each (n_out, n_l)
        Feedback weights.
    W : tuple of array, each (n_{l-1}, n_l)
        Forward weights.
    b : tuple of array, each (n_l,)
        Biases.
    """

    u_E: tuple[np.ndarray, ...]
    u_I: tuple[np.ndarray, ...]
    z: np.ndarray
    Q: tuple[np.ndarray, ...]
    W: tuple[np.ndarray, ...]
    b: tuple[np.ndarray, ...]


def pack_continuous(state: ContinuousState) -> np.ndarray:
    """Join a state into one array (n,), in the order u_E, u_I, z, Q, W, b."""
    parts = (*state.u_E, *state.u_I, state.z, *state.Q, *state.W, *state.b)
    return np.concatenate([part.reshape(-1) for part in parts])


def unpack_continuous(y: np.ndarray, sizes: tuple[int, ...]) -> ContinuousState:
    """Split what `pack_continuous` joined; the arrays are views of `y`.

    Parameters
    ----------
    y : array, (n,)
        Packed state.
    sizes : tuple of int
        Units per layer, inputs first.
    """
    layers, n_out = sizes[1:], sizes[-1]
    start = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal start
        first, start = start, start + int(np.prod(shape))
        return y[first:start].reshape(shape)

    return ContinuousState(
        u_E=tuple(take(n) for n in layers),
        u_I=tuple(take(n) for n in layers),
        z=take(n_out),
        Q=tuple(take(n_out, n) for n in layers),
        W=tuple(take(n_in, n) for n_in, n in pairwise(sizes)),
        b=tuple(take(n) for n in layers),
    )


def draw_weights(
    generator: np.random.Generator, sizes: tuple[int, ...]
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """W^l from N(0, 1) · 2/√n_{l−1}, b^l from N(0, 1) · 2/√n_l.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of randomness.
    sizes : tuple of int
        Units per layer, inputs first.

    Returns
    -------
    W : tuple of array, each (n_{l-1}, n_l)
    b : tuple of array, each (n_l,)
    """
    W = tuple(
        generator.standard_normal((n_in, n)) * INITIAL_SCALE / np.sqrt(n_in)
        for n_in, n in pairwise(sizes)
    )
    b = tuple(generator.standard_normal(n) * INITIAL_SCALE / np.sqrt(n) for n in sizes[1:])
    return W, b
