"""Where things were: for one version, an old module gives what has moved and says where it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any


def moved(old: str, new: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of an old module whose content is in module `new` of this folder."""

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        place = f"{__package__}.{new}"
        found = getattr(import_module(place), name)
        warnings.warn(f"{old} is now {place}", DeprecationWarning, stacklevel=2)
        return found

    return __getattr__
