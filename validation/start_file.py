"""A given start: initial parameters and, if wanted, the batches of the first epoch.

With one, two implementations can be compared over a whole epoch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..refimpl.parameters import Parameters
from .hdf5_file import reading
from .parameter_groups import FileError, find_group, read_array, read_parameters


@dataclass(frozen=True)
class Start:
    """Where training begins.

    Parameters
    ----------
    parameters : Parameters
        In the precision of the file.
    batch_order : array of int64, (steps, batch), or None
        Positions in the training split, after the validation part was taken off the front.
    """

    parameters: Parameters
    batch_order: np.ndarray | None


def read_start(
    path: str | os.PathLike[str], sizes: tuple[int, ...], batch_size: int, n_samples: int
) -> Start:
    """Read `initial_parameters/{hidden_l,readout}/{weight,bias}` and `batch_order`.

    Parameters
    ----------
    path : str or Path
        HDF5 file.
    sizes : tuple of int
        Units per layer of the network that is to start from it.
    batch_size : int
        Samples per batch of the run.
    n_samples : int
        Samples of the training split.

    Raises
    ------
    FileError
        The file cannot be used for this run; the message says why.
    """
    path = Path(path)
    with reading(path) as file:
        parameters = read_parameters(find_group(file, "initial_parameters"), sizes)
        order = read_array(file, "batch_order") if "batch_order" in file else None
    if order is not None:
        _check_order(path, order, batch_size, n_samples)
        order = order.astype(np.int64)
    return Start(parameters, order)


def _check_order(path: str | Path, order: np.ndarray, batch_size: int, n_samples: int) -> None:
    if order.dtype.kind not in "iu" or order.ndim != 2:
        raise FileError(
            f"{path}: batch_order is {order.dtype} of shape {order.shape}: "
            "whole numbers of shape (steps, batch) are needed"
        )
    if order.shape[1] != batch_size:
        raise FileError(
            f"{path}: batch_order has batches of {order.shape[1]}: the batch size is {batch_size}"
        )
    if not order.size:
        raise FileError(f"{path}: batch_order has no step: leave it out, or give at least one")
    if order.min() < 0 or order.max() >= n_samples:
        raise FileError(
            f"{path}: batch_order runs from {order.min()} to {order.max()}: "
            f"positions 0 to {n_samples - 1} are needed"
        )
