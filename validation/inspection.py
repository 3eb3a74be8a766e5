"""What an HDF5 file of this project holds, as rows for a person to read."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from .hdf5_file import reading
from .hdf5_structure import holds_text_or_numbers, objects


def contents(
    path: str | os.PathLike[str],
) -> tuple[dict[str, str], list[tuple[str, str, str, str]]]:
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
    path = Path(path)
    attributes: dict[str, str] = {}
    datasets: list[tuple[str, str, str, str]] = []

    with reading(path) as file:
        attributes.update(_attributes(file, ""))
        for name, item in objects(file):
            attributes.update(_attributes(item, f"{name}."))
            if isinstance(item, h5py.Dataset):
                shape = "empty" if item.shape is None else " × ".join(map(str, item.shape))
                datasets.append((name, shape or "scalar", str(item.dtype), _range(item)))
    return attributes, datasets


def _attributes(item: h5py.HLObject, prefix: str) -> dict[str, str]:
    return {
        prefix + name: (
            str(item.attrs[name])
            if holds_text_or_numbers(item, name)
            else f"({item.attrs.get_id(name).dtype})"
        )
        for name in item.attrs
    }


def _range(item: h5py.Dataset) -> str:
    # Others than numbers may be of any size.
    if not item.size or item.dtype.kind not in "iuf":
        return ""
    array = np.asarray(item[()])
    low, high = np.min(array), np.max(array)
    if np.isnan(low) or np.isnan(high):
        return "holds NaN"
    return f"{low:.4g} … {high:.4g}"
