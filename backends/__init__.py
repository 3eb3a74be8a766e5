"""Implementations of the hot loop behind one interface: see `backend` for what a backend is."""

from typing import TYPE_CHECKING, Any

from .backend import (
    Backend,
    BackendDescription,
    BackendUnavailable,
    CompilesAhead,
    PlacedData,
    TimesStages,
)
from .epoch_metrics import Evaluation, TrainingMetrics
from .front import checked_backend
from .numpy_backend import NumpyBackend
from .registry import backend_class, backend_descriptions

if TYPE_CHECKING:
    from .numba_backend import NumbaBackend

__all__ = [
    "Backend",
    "BackendDescription",
    "BackendUnavailable",
    "CompilesAhead",
    "Evaluation",
    "NumbaBackend",
    "NumpyBackend",
    "PlacedData",
    "TimesStages",
    "TrainingMetrics",
    "backend_class",
    "backend_descriptions",
    "checked_backend",
]


def __getattr__(name: str) -> Any:
    # Numba is slow to load, and most commands do without.
    if name == "NumbaBackend":
        from .numba_backend import NumbaBackend

        return NumbaBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
