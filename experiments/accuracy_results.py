"""Finished trainings of a table, in one HDF5 file that grows by one at a time."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..refimpl.errors import ConfigurationError
from ..validation import FileError
from ..validation.attributes import read_json, read_text, refuse_other_schema
from ..validation.content_digest import check_digest
from ..validation.hdf5_file import reading
from ..validation.parameter_groups import dataset_of_numbers, find_group, read_numbers
from ..validation.signed_file import write_signed_file
from .accuracy_cells import AccuracyCell, AccuracyRow
from .metrics_log import EpochRecord

SCHEMA = "disinhib-accuracies"
CURVES = ("train_loss", "train_accuracy", "valid_accuracy", "test_loss", "test_accuracy", "seconds")
DOES_NOT_MATTER = ("data_dir", "threads")
"""Settings that two runs of one cell may differ in."""


@dataclass(frozen=True)
class CellResult:
    """A finished training.

    Parameters
    ----------
    cell : AccuracyCell
        Which.
    configuration : dict
        Of the run, plain values.
    curves : dict of array, each (epochs,)
        By name, see CURVES.
    computed_by : str
        Backend, version and device.
    """

    cell: AccuracyCell
    configuration: dict[str, Any]
    curves: dict[str, np.ndarray]
    computed_by: str

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return float(self.curves["test_accuracy"][-1])


def cell_result(
    cell: AccuracyCell, configuration: dict[str, Any], records: list[EpochRecord]
) -> CellResult:
    """Sum up a run that has ended.

    Parameters
    ----------
    cell : AccuracyCell
        Which.
    configuration : dict
        Of the run.
    records : list of EpochRecord
        All its epochs.
    """
    curves = {name: np.array([getattr(record, name) for record in records]) for name in CURVES}
    return CellResult(cell, configuration, curves, records[-1].computed_by)


def read_results(path: str | os.PathLike[str]) -> dict[str, CellResult]:
    """Read all finished cells; none if there is no file yet.

    Parameters
    ----------
    path : str or path
        HDF5 file.

    Raises
    ------
    FileError
        It is damaged or something else.
    """
    path = Path(path)
    if not path.exists():
        return {}
    with reading(path) as file:
        refuse_other_schema(file, SCHEMA)
        check_digest(file)
        if "cells" not in file:
            return {}
        cells = find_group(file, "cells")
        return {name: _read_result(find_group(cells, name)) for name in cells}


def _read_result(group: h5py.Group) -> CellResult:
    about = read_json(group, "cell")
    try:
        cell = AccuracyCell(AccuracyRow(**about.pop("row")), **about)
        named_alike = group.name == f"/cells/{cell.name}"
    except (KeyError, TypeError, ValueError) as problem:
        raise FileError(f"{group.file.filename}: {group.name} is no cell: {problem}") from problem
    if not named_alike:
        raise FileError(f"{group.file.filename}: {group.name} is the cell {cell.name}")
    n_epochs = dataset_of_numbers(group, CURVES[0]).shape[:1]
    if n_epochs in ((), (0,)):
        raise FileError(f"{group.file.filename}: {group.name} has no epoch")
    return CellResult(
        cell,
        read_json(group, "config"),
        {curve: read_numbers(group, curve, n_epochs) for curve in CURVES},
        read_text(group, "computed_by"),
    )


def write_results(path: str | os.PathLike[str], results: dict[str, CellResult]) -> None:
    """Write all finished cells, so that at every moment a whole file is on disk.

    Parameters
    ----------
    path : str or path
        HDF5 file.
    results : dict of CellResult
        By name of the cell.

    Raises
    ------
    FileError
        It cannot be written; the one before stands.
    """
    path = Path(path)

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["schema_version"] = 1
        for name, result in results.items():
            group = file.create_group(f"cells/{name}")
            row = vars(result.cell.row)
            group.attrs["cell"] = json.dumps({**vars(result.cell), "row": row})
            group.attrs["config"] = json.dumps(result.configuration)
            group.attrs["computed_by"] = result.computed_by
            for curve, values in result.curves.items():
                group[curve] = values

    write_signed_file(path, fill)


def refuse_other_settings(
    result: CellResult, wanted: dict[str, Any], path: str | os.PathLike[str]
) -> None:
    """Refuse to take a finished cell for one that was asked for with other settings.

    Parameters
    ----------
    result : CellResult
        As it is in the file.
    wanted : dict
        Configuration now asked for.
    path : str or path
        Of the file.

    Raises
    ------
    ConfigurationError
        They differ; the field and both values are named.
    """
    path = Path(path)
    for name in sorted({*wanted, *result.configuration} - set(DOES_NOT_MATTER)):
        there, now = result.configuration.get(name), wanted.get(name)
        if there != now:
            raise ConfigurationError(
                f"{path} has {result.cell.name} with {name} {there}, now it is {now}: "
                "choose another directory"
            )
