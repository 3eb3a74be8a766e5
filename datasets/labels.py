"""Classes as targets of the readout."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from .dataset import DatasetError


def softened_labels(
    labels: np.ndarray, n_classes: int, dtype: DTypeLike = np.float64, on_class: float = 0.99
) -> np.ndarray:
    """One-hot labels whose 1 is `on_class`, the remainder shared by the other classes.

    A softmax reaches 0.99 at a finite potential, and 1 at none: the controller of the
    closed loop needs a target it can attain.

    Parameters
    ----------
    labels : array of int, (n,)
        Class of each sample.
    n_classes : int
        Number of classes, at least 2.
    dtype : dtype
        Of the result.
    on_class : float
        Entry of the sample's own class.

    Returns
    -------
    array of `dtype`, (n, n_classes)
        Rows sum to 1.

    Raises
    ------
    DatasetError
        If there are fewer than two classes, or a label outside 0 to n_classes − 1.
    """
    labels = np.asarray(labels)
    if n_classes < 2:
        raise DatasetError(f"n_classes: found {n_classes}, expected at least 2")
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        raise DatasetError(f"labels: found {outside[0]}, expected 0 to {n_classes - 1}")
    softened = np.full((len(labels), n_classes), (1 - on_class) / (n_classes - 1), dtype=dtype)
    softened[np.arange(len(labels)), labels] = on_class
    return softened
