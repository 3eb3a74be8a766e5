"""Implementations of the hot loop behind one interface: see `backend` for what a backend is."""

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
from .numba_backend import NumbaBackend
from .numpy_backend import NumpyBackend
from .registry import backend_class, backend_descriptions

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
