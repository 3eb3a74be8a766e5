"""Arrays in HDF5 files: each checked as it is read, and parameters under the names of all files.

Those names are hidden_l/weight, hidden_l/bias and readout/weight, l from 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np

from ...refimpl import Learner, Parameters


class FileError(ValueError):
    """An HDF5 file that cannot be used; the message is one line and names the file."""

    def __init__(self, message: str) -> None:
        # Messages quote names and other libraries' errors, either of which may span lines.
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


def named_arrays(parameters: Parameters) -> dict[str, np.ndarray]:
    """Name every array of the parameters as the files do."""
    names: dict[str, np.ndarray] = {}
    for l, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
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


def write_parameters(group: h5py.Group, parameters: Parameters) -> None:
    """Write parameters, gradients or moments below a group."""
    for name, array in named_arrays(parameters).items():
        group[name] = array


def read_parameters(group: h5py.Group, sizes: tuple[int, ...]) -> Parameters:
    """Read parameters, gradients or moments of one network of these sizes, without axes before.

    They are in the precision of the file. Refused is an array that is missing, of another shape, or
    has a number that is none.
    """
    n_hidden, found = len(sizes) - 2, _n_hidden(group)
    if found != n_hidden:
        raise FileError(
            f"{group.file.filename}: group {group.name} has {found} hidden layers: "
            f"sizes {sizes} need {n_hidden}"
        )
    return Parameters(
        tuple(read_numbers(group, f"hidden_{l}/weight", sizes[l : l + 2]) for l in range(n_hidden)),
        tuple(read_numbers(group, f"hidden_{l}/bias", (sizes[l + 1],)) for l in range(n_hidden)),
        read_numbers(group, "readout/weight", sizes[-2:]),
    )


def stored_sizes(group: h5py.Group) -> tuple[int, ...]:
    """Tell of what sizes a group of parameters is, before they are read."""
    names = [*(f"hidden_{l}/weight" for l in range(_n_hidden(group))), "readout/weight"]
    shapes = [dataset_of_numbers(group, name).shape for name in names]
    for name, shape in zip(names, shapes, strict=True):
        if len(shape) != 2:
            raise FileError(f"{_place(group, name)} has shape {shape}: a matrix is needed")
    return (*(shape[0] for shape in shapes), shapes[-1][1])


def _n_hidden(group: h5py.Group) -> int:
    return sum(name.startswith("hidden_") for name in group)


def read_numbers(
    group: h5py.Group,
    path: str,
    shape: tuple[int | None, ...],
    kinds: str = "biuf",
    finite: bool = True,
) -> np.ndarray:
    """Read one array of numbers, of a shape that is known.

    Parameters
    ----------
    group : h5py.Group
        Where `path` starts.
    path : str
        Of the dataset.
    shape : tuple of int or None
        That it must have; None for any length.
    kinds : str
        Of `numpy.dtype.kind`, that it may have.
    finite : bool
        Refuse NaN and infinity; their position is named.

    Raises
    ------
    FileError
        There is none, it is of another shape, kind or more than 64 bits, or a number is none.
    """
    item, where = dataset_of_numbers(group, path), _place(group, path)
    if item.dtype.kind not in kinds or item.dtype.itemsize > 8:
        kind = "numbers of 64 bits at most" if "f" in kinds else "whole numbers"
        raise FileError(f"{where} has dtype {item.dtype}: {kind} are needed")
    if len(item.shape) != len(shape) or any(
        needed not in (None, found) for found, needed in zip(item.shape, shape, strict=True)
    ):
        needed_shape = str(tuple("any" if n is None else n for n in shape)).replace("'", "")
        raise FileError(f"{where} has shape {item.shape}: {needed_shape} is needed")
    array = np.asarray(item[()])
    if finite and array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise FileError(f"{where} is {array[at]} at {at}: finite numbers are needed")
    return array


def read_array(group: h5py.Group, path: str) -> np.ndarray:
    """Read one array of numbers, of any shape; refuse what is none."""
    return np.asarray(dataset_of_numbers(group, path)[()])


def dataset_of_numbers(group: h5py.Group, path: str) -> h5py.Dataset:
    """Find a dataset of numbers, without reading it.

    Raises
    ------
    FileError
        There is none, or it holds no numbers.
    """
    item, where = group.get(path), _place(group, path)
    if not isinstance(item, h5py.Dataset):
        raise FileError(f"{where} is missing")
    if item.dtype.kind not in "biuf":
        raise FileError(f"{where} has dtype {item.dtype}: numbers are needed")
    if item.shape is None:
        raise FileError(f"{where} is empty: numbers are needed")
    return item


def _place(group: h5py.Group, path: str) -> str:
    return f"{group.file.filename}: dataset {group.name.rstrip('/')}/{path}"


def find_group(parent: h5py.Group, name: str) -> h5py.Group:
    """Find a group.

    Raises
    ------
    FileError
        There is none.
    """
    group = parent.get(name)
    if not isinstance(group, h5py.Group):
        where = f"{parent.name.rstrip('/')}/{name}"
        raise FileError(f"{parent.file.filename}: group {where} is missing")
    return group


def not_finite(learner: Learner) -> list[str]:
    """Name the layers of a learner with a NaN or an infinity, and where in them it is.

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
        names = found.setdefault(layer, [])
        if name not in names and not np.all(np.isfinite(array)):
            names.append(name)
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
