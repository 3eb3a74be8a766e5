"""Between the model's arrays, one a layer, and the flat ones that compiled code works on.

The order within a flat array is that of `numba/kernels/layout.py` and of `cuda/kernels/plan.cuh`.
Axes of replicas, where there are some, stay in front.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..refimpl import TABLEAUS, ArgumentError, NetworkState, Parameters

Sizes = tuple[int, ...]
Layers = tuple[np.ndarray, ...]


def flat_parameters(parameters: Parameters, dtype: np.dtype) -> np.ndarray:
    """All weights, the readout last among them, then the biases, (..., n_parameters)."""
    leading = parameters.readout.shape[:-2]
    arrays = [*parameters.weights, parameters.readout, *parameters.biases]
    return np.concatenate([a.reshape(*leading, -1) for a in arrays], axis=-1).astype(dtype)


def parameters_of(flat: np.ndarray, sizes: Sizes) -> Parameters:
    """Copy parameters out of a flat array, (..., n_parameters)."""
    shapes = [*pairwise(sizes), *((n,) for n in sizes[1:-1])]
    arrays, at = [], 0
    for shape in shapes:
        n = int(np.prod(shape))
        arrays.append(flat[..., at : at + n].reshape(*flat.shape[:-1], *shape).copy())
        at += n
    n_hidden = len(sizes) - 2
    return Parameters(tuple(arrays[:n_hidden]), tuple(arrays[n_hidden + 1 :]), arrays[n_hidden])


def units_of(flat: np.ndarray, sizes: Sizes) -> Layers:
    """Copy each hidden layer's numbers out of those of all units, (..., units)."""
    ends = np.cumsum(sizes[1:-2])
    return tuple(part.copy() for part in np.split(flat, ends, axis=-1))


def layer_views(flat: np.ndarray, sizes: Sizes, batch: int, *inner: int) -> list[np.ndarray]:
    """Views (batch, …, n_l) of the hidden layers of a flat array."""
    views, at = [], 0
    for n in sizes[1:-1]:
        size = batch * n * int(np.prod(inner))
        views.append(flat[at : at + size].reshape(batch, *inner, n))
        at += size
    return views


def put_layers(
    flat: np.ndarray,
    sizes: Sizes,
    batch: int,
    layers: Layers,
    rows: np.ndarray | slice = slice(None),
) -> None:
    """Copy layers (samples or 1, n_l), or (samples or 1, n_out, n_l), into rows of a flat array."""
    inner = layers[0].shape[1:-1]
    for view, array in zip(layer_views(flat, sizes, batch, *inner), layers, strict=True):
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
    excitatory, inhibitory = (take_rows(u, sizes, len(u_out), slice(None)) for u in (u_E, u_I))
    return NetworkState(excitatory, inhibitory, u_out.copy(), z.copy())


def state_size(sizes: Sizes) -> int:
    """Components of a sample's packed state."""
    return 2 * sum(sizes[1:])


def tableau_arrays(method: str, dtype: np.dtype | type) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (stages, stages) and weights of the error (stages + 1) of an integration."""
    tableau = TABLEAUS[method]
    square = np.zeros((len(tableau.a), len(tableau.a)), dtype=dtype)
    for stage, row in enumerate(tableau.a):
        square[stage, : len(row)] = row
    return square, np.array(tableau.error, dtype=dtype)


def check_shapes(
    parameters: Parameters, sizes: tuple[int, ...], name: str = "parameters"
) -> tuple[int, ...]:
    """Refuse parameters, called `name`, that do not fit; the lengths of their leading axes.

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
