"""Parameters as HDF5 groups: hidden_l/weight, hidden_l/bias, readout/weight, l from 0."""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np

from ..refimpl.parameters import Parameters


class FileError(ValueError):
    """An HDF5 file that cannot be used; the message is one line and names the file."""


def read_parameters(group: h5py.Group) -> Parameters:
    """Read parameters, gradients or moments.

    Parameters
    ----------
    group : h5py.Group
        Holds hidden_0, hidden_1, ... and readout.

    Returns
    -------
    parameters : Parameters
        In the precision of the file.

    Raises
    ------
    FileError
        An array is missing.
    """
    n_hidden = sum(name.startswith("hidden_") for name in group)
    return Parameters(
        tuple(read_array(group, f"hidden_{l}/weight") for l in range(n_hidden)),
        tuple(read_array(group, f"hidden_{l}/bias") for l in range(n_hidden)),
        read_array(group, "readout/weight"),
    )


def write_parameters(group: h5py.Group, parameters: Parameters) -> None:
    """Write parameters, gradients or moments below a group."""
    for name, array in named_arrays(parameters).items():
        group[name] = array


def named_arrays(parameters: Parameters) -> dict[str, np.ndarray]:
    """Name every array of the parameters as the files do."""
    layers = enumerate(zip(parameters.weights, parameters.biases, strict=True))
    names: dict[str, np.ndarray] = {}
    for l, (weight, bias) in layers:
        names[f"hidden_{l}/weight"] = weight
        names[f"hidden_{l}/bias"] = bias
    names["readout/weight"] = parameters.readout
    return names


def parameters_from(arrays: Mapping[str, np.ndarray]) -> Parameters:
    """Build the parameters whose arrays these are; the inverse of `named_arrays`."""
    n_hidden = sum(name.endswith("/bias") for name in arrays)
    return Parameters(
        tuple(arrays[f"hidden_{l}/weight"] for l in range(n_hidden)),
        tuple(arrays[f"hidden_{l}/bias"] for l in range(n_hidden)),
        arrays["readout/weight"],
    )


def read_array(group: h5py.Group, path: str) -> np.ndarray:
    """Read one array of numbers, of a file that `check_structure` has passed.

    Parameters
    ----------
    group : h5py.Group
        Where `path` starts.
    path : str
        Of the dataset.

    Raises
    ------
    FileError
        There is none, or it holds no numbers.
    """
    item = group.get(path)
    where = f"{group.name.rstrip('/')}/{path}"
    name = group.file.filename
    if not isinstance(item, h5py.Dataset):
        raise FileError(f"{name}: dataset {where} is missing")
    if item.dtype.kind not in "biuf":
        raise FileError(f"{name}: dataset {where} has dtype {item.dtype}: numbers are needed")
    if item.shape is None:
        raise FileError(f"{name}: dataset {where} is empty: numbers are needed")
    return np.asarray(item[()])
