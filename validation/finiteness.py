"""Which layers of a learner have numbers that are none."""

from __future__ import annotations

import numpy as np

from ..refimpl.learning_step import Learner
from ..refimpl.parameters import Parameters


def not_finite(learner: Learner) -> list[str]:
    """Name the layers with a NaN or an infinity, and where in them it is.

    Parameters
    ----------
    learner : Learner
        All that learning changes.

    Returns
    -------
    list of str
        Such as ``"hidden layer 0 (weight, second moment)"``, from the inputs up; empty if
        every number is finite.
    """
    optimizer = learner.optimizer
    arrays = [
        *_by_layer(learner.parameters, "weight", "bias"),
        *_by_layer(optimizer.first_moment, "first moment", "first moment"),
        *_by_layer(optimizer.second_moment, "second moment", "second moment"),
        *((l, "running mean", r_bar) for l, r_bar in enumerate(learner.mean_inhibition)),
    ]
    found: dict[int, list[str]] = {}
    for layer, name, array in arrays:
        if not np.all(np.isfinite(array)) and name not in found.setdefault(layer, []):
            found[layer].append(name)
    n_hidden = len(learner.parameters.weights)
    return [
        f"{'readout' if layer == n_hidden else f'hidden layer {layer}'} ({', '.join(names)})"
        for layer, names in sorted(found.items())
        if names
    ]


def _by_layer(
    arrays: Parameters | None, weight: str, bias: str
) -> list[tuple[int, str, np.ndarray]]:
    """Arrays with their layer and name; the readout comes after the last hidden layer."""
    if arrays is None:
        return []
    named = [(l, weight, array) for l, array in enumerate((*arrays.weights, arrays.readout))]
    return named + [(l, bias, array) for l, array in enumerate(arrays.biases)]
