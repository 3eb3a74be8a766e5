"""Attributes of an HDF5 group, each of the kind that it must be."""

from __future__ import annotations

import json
from typing import Any

import h5py
import numpy as np

from ..refimpl.errors import shown
from .hdf5_structure import holds_text_or_numbers
from .parameter_groups import FileError


def is_of_schema(file: h5py.File, schema: str) -> bool:
    """Tell whether a file says that it is of a schema."""
    try:
        return read_text(file, "schema", default="") == schema
    except FileError:
        return False


def refuse_other_schema(file: h5py.File, schema: str) -> None:
    """Refuse a file that is of another schema, or of none.

    Raises
    ------
    FileError
        Naming its schema and the one that is needed.
    """
    found = read_text(file, "schema", default="")
    if found != schema:
        raise FileError(f"{file.filename}: schema is {shown(found)}: {schema!r} is needed")


def read_text(group: h5py.Group, name: str, default: str | None = None) -> str:
    """Read an attribute that is one text.

    Parameters
    ----------
    group : h5py.Group
        What has the attribute.
    name : str
        Of the attribute.
    default : str, optional
        Where there is none; without, it must be there.

    Raises
    ------
    FileError
        It is missing, or something else.
    """
    if name not in group.attrs and default is not None:
        return default
    value = _value(group, name)
    if isinstance(value, bytes):
        # Of fixed length, as C programs write it.
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        raise _refusal(group, name, value, "a text is needed")
    return value


def read_json(group: h5py.Group, name: str) -> dict[str, Any]:
    """Read an attribute that is a text, and that a JSON object.

    Raises
    ------
    FileError
        It is missing, or something else.
    """
    try:
        value = json.loads(read_text(group, name))
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, FileError):
            raise
        raise FileError(f"{_place(group, name)} is no JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise _refusal(group, name, value, "a JSON object is needed")
    return value


def read_whole(group: h5py.Group, name: str, minimum: int, maximum: int | None = None) -> int:
    """Read an attribute that is one whole number.

    Raises
    ------
    FileError
        It is missing, something else, or out of range.
    """
    value = _value(group, name)
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise _refusal(group, name, value, "a whole number is needed")
    if value < minimum or (maximum is not None and value > maximum):
        most = "" if maximum is None else f" and at most {maximum}"
        raise _refusal(group, name, value, f"at least {minimum}{most} is needed")
    return int(value)


def read_seconds(group: h5py.Group, name: str) -> float:
    """Read an attribute that is one finite number, 0 or more.

    Raises
    ------
    FileError
        It is missing, or something else.
    """
    value = _value(group, name)
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if not is_number or isinstance(value, bool) or not 0 <= value < np.inf:
        raise _refusal(group, name, value, "a finite number, 0 or more, is needed")
    return float(value)


def _value(group: h5py.Group, name: str) -> Any:
    if name not in group.attrs:
        raise FileError(f"{_place(group, name)} is missing")
    if not holds_text_or_numbers(group, name):
        kind = group.attrs.get_id(name).dtype
        raise FileError(f"{_place(group, name)} is of type {kind}: text or numbers are needed")
    value = group.attrs[name]
    # One number in an array of no axes, or of one entry, is what some programs write.
    return value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value


def _refusal(group: h5py.Group, name: str, value: Any, needed: str) -> FileError:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return FileError(f"{_place(group, name)} is {shown(plain)}: {needed}")


def _place(group: h5py.Group, name: str) -> str:
    where = "" if group.name == "/" else f" of {group.name}"
    return f"{group.file.filename}: attribute {name}{where}"
