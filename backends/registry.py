"""Backends by name: those installed under the entry-point group `disinhib.backends`."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from .backend import Backend, BackendDescription, BackendUnavailable
from .front import checked_backend

ENTRY_POINT_GROUP = "disinhib.backends"


def backend_descriptions() -> tuple[BackendDescription, ...]:
    """Describe every installed backend, those that cannot run here included.

    In the order of their names, the reference first.
    """
    return tuple(_description(entry) for entry in _entries().values())


def backend_class(name: str) -> type[Backend]:
    """Find a backend that can run here.

    Parameters
    ----------
    name : str
        As `disinhib backends` lists it.

    Returns
    -------
    type
        Its class, behind the front of `checked_backend`; see `Backend` for the constructor.

    Raises
    ------
    BackendUnavailable
        No such backend is installed, or it cannot run here; the message says why.
    """
    entries = _entries()
    if name not in entries:
        raise BackendUnavailable(f"backend {name!r} is unknown: choose one of {', '.join(entries)}")
    description = _description(entries[name])
    if description.unavailable:
        raise BackendUnavailable(f"backend {name!r} cannot run here: {description.unavailable}")
    found: type[Backend] = checked_backend(entries[name].load())
    return found


def _entries() -> dict[str, EntryPoint]:
    return _installed(tuple(sys.path))


@lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Backends that are installed where Python looks; a run asks for its own at every epoch."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return dict(sorted(found.items(), key=lambda item: (item[0] != "numpy", item[0])))


def _description(entry: EntryPoint) -> BackendDescription:
    try:
        description: BackendDescription = entry.load().describe()
    except Exception as problem:
        # Whatever a plug-in's import raises is its reason, never this program's end.
        lines = str(problem).strip().splitlines()
        reason = f"{type(problem).__name__}: {lines[0]}" if lines else type(problem).__name__
        return BackendDescription(entry.name, "", "", reason)
    return description
