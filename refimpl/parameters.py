"""Weights and biases, and how they start (section 7)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .errors import ArgumentError

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
        return Parameters(
            tuple(w.astype(dtype) for w in self.weights),
            tuple(b.astype(dtype) for b in self.biases),
            self.readout.astype(dtype),
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
