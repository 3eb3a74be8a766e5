"""What an HDF5 file of this project holds, as rows for a person to read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from .hdf5_file import reading


def contents(path: str | Path) -> tuple[dict[str, str], list[tuple[str, str, str, str]]]:
    """List the attributes and datasets of a file.

    Parameters
    ----------
    path : str or Path
        Any HDF5 file.

    Returns
    -------
    attributes : dict of str
        By their place and name.
    datasets : list of tuple of str
        Path, shape, dtype and range of every dataset.

    Raises
    ------
    FileError
        It is not a readable HDF5 file.
    """
    attributes: dict[str, str] = {}
    datasets: list[tuple[str, str, str, str]] = []

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        attributes.update({f"{name}.{key}": str(value) for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            shape = " × ".join(str(n) for n in item.shape) or "scalar"
            datasets.append((name, shape, str(item.dtype), _range(np.asarray(item[()]))))

    with reading(path) as file:
        attributes.update({key: str(value) for key, value in file.attrs.items()})
        file.visititems(visit)
    return attributes, datasets


def _range(array: np.ndarray) -> str:
    if array.size == 0 or array.dtype.kind not in "iuf":
        return ""
    low, high = np.min(array), np.max(array)
    if np.isnan(low) or np.isnan(high):
        return "holds NaN"
    return f"{low:.4g} … {high:.4g}"
