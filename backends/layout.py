"""Between the model's arrays, one a layer, and the flat ones that compiled code works on.

The order within a flat array is that of `numba/kernels/layout.py` and of `cuda/kernels/plan.cuh`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..refimpl import ArgumentError, NetworkState, Parameters

Sizes = tuple[int, ...]
Layers = tuple[np.ndarray, ...]


def flat_parameters(parameters: Parameters, dtype: np.dtype) -> np.ndarray:
    """All weights, the readout last among them, then the biases, as one array of `dtype`."""
    arrays = [*parameters.weights, parameters.readout, *parameters.biases]
    return np.concatenate([np.ravel(a) for a in arrays]).astype(dtype)


def parameters_of(flat: np.ndarray, sizes: Sizes) -> Parameters:
    """Copy parameters out of a flat array."""
    at = 0
    weights, biases = [], []
    for n, m in pairwise(sizes):
        weights.append(flat[at : at + n * m].reshape(n, m).copy())
        at += n * m
    for n in sizes[1:-1]:
        biases.append(flat[at : at + n].copy())
        at += n
    return Parameters(tuple(weights[:-1]), tuple(biases), weights[-1])


def layer_views(flat: np.ndarray, sizes: Sizes, batch: int, *inner: int) -> list[np.ndarray]:
    """Views (batch, …, n_l) of the hidden layers of a flat array."""
    views, at = [], 0
    for n in sizes[1:-1]:
        size = batch * n * int(np.prod(inner))
        views.append(flat[at : at + size].reshape(batch, *inner, n))
        at += size
    return views


def put_layers(flat: np.ndarray, sizes: Sizes, batch: int, layers: Layers) -> None:
    """Copy layers (batch or 1, n_l), or (batch or 1, n_out, n_l), into a flat array."""
    inner = layers[0].shape[1:-1]
    for view, array in zip(layer_views(flat, sizes, batch, *inner), layers, strict=True):
        view[:] = array


def put_rows(
    flat: np.ndarray, sizes: Sizes, batch: int, rows: np.ndarray | slice, layers: Layers
) -> None:
    """Copy the layers of some samples into their rows of a flat array of `batch` samples."""
    for view, array in zip(layer_views(flat, sizes, batch), layers, strict=True):
        view[rows] = array


def take_rows(
    flat: np.ndarray, sizes: Sizes, batch: int, rows: np.ndarray | slice, *inner: int
) -> Layers:
    """Copy some samples' layers out of a flat array."""
    return tuple(view[rows].copy() for view in layer_views(flat, sizes, batch, *inner))


def network_state(
    sizes: Sizes, u_E: np.ndarray, u_I: np.ndarray, u_out: np.ndarray, z: np.ndarray
) -> NetworkState:
    """Copy the state of a batch out of flat layers and the arrays (batch, n_out)."""
    batch = len(u_out)
    everything = slice(None)
    return NetworkState(
        take_rows(u_E, sizes, batch, everything),
        take_rows(u_I, sizes, batch, everything),
        u_out.copy(),
        z.copy(),
    )


def check_shapes(
    parameters: Parameters, sizes: tuple[int, ...], name: str = "parameters"
) -> tuple[int, ...]:
    """Refuse parameters that do not fit a network of these sizes.

    Parameters
    ----------
    parameters : Parameters
        Parameters, with any leading axes, the same of all arrays.
    sizes : tuple of int
        Units per layer, inputs and outputs included.
    name : str
        What the message calls them.

    Returns
    -------
    tuple of int
        Lengths of the leading axes.

    Raises
    ------
    ArgumentError
        Naming the first array that does not fit.
    """
    n_hidden = len(sizes) - 2
    if len(parameters.weights) != n_hidden or len(parameters.biases) != n_hidden:
        raise ArgumentError(
            f"{name}: {len(parameters.weights)} hidden weights and "
            f"{len(parameters.biases)} biases, but sizes {sizes} need {n_hidden} of each"
        )
    leading: tuple[int, ...] = parameters.readout.shape[:-2]
    for array, (what, shape) in zip(
        (*parameters.weights, *parameters.biases, parameters.readout),
        array_shapes(sizes),
        strict=True,
    ):
        if array.ndim < len(shape) or array.shape[array.ndim - len(shape) :] != shape:
            raise ArgumentError(f"{name}: {what} has shape {array.shape}: {shape} is needed")
        if array.shape[: array.ndim - len(shape)] != leading or 0 in leading:
            raise ArgumentError(
                f"{name}: {what} has shape {array.shape} and the readout weight "
                f"{parameters.readout.shape}: the axes of replicas must be alike, and none empty"
            )
    return leading


def array_shapes(sizes: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every array: hidden weights, hidden biases, readout."""
    return [
        *((f"weight of hidden layer {l}", shape) for l, shape in enumerate(pairwise(sizes[:-1]))),
        *((f"bias of hidden layer {l}", (n,)) for l, n in enumerate(sizes[1:-1])),
        ("readout weight", sizes[-2:]),
    ]
