"""Weights and biases, and how they start (section 7)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .errors import ConfigurationError

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


def check_shapes(parameters: Parameters, sizes: tuple[int, ...]) -> None:
    """Refuse parameters that do not fit a network of these sizes.

    Parameters
    ----------
    parameters : Parameters
        Parameters, with any leading axes.
    sizes : tuple of int
        Units per layer, inputs and outputs included.

    Raises
    ------
    ConfigurationError
        Naming the first array that does not fit.
    """
    n_hidden = len(sizes) - 2
    if len(parameters.weights) != n_hidden or len(parameters.biases) != n_hidden:
        raise ConfigurationError(
            f"parameters have {len(parameters.weights)} hidden weights and "
            f"{len(parameters.biases)} biases: sizes {sizes} need {n_hidden} of each"
        )
    named = [
        *(
            (f"weight of hidden layer {i}", w, sizes[i : i + 2])
            for i, w in enumerate(parameters.weights)
        ),
        *(
            (f"bias of hidden layer {i}", b, sizes[i + 1 : i + 2])
            for i, b in enumerate(parameters.biases)
        ),
        ("readout weight", parameters.readout, sizes[-2:]),
    ]
    for name, array, shape in named:
        if array.shape[-len(shape) :] != shape:
            raise ConfigurationError(f"{name} has shape {array.shape}: {shape} is needed")


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
