"""Implementations of the hot loop behind one interface: see `backend` for what a backend is."""

from .backend import Backend, BackendDescription, BackendUnavailable, PlacedData
from .epoch_metrics import Evaluation, TrainingMetrics
from .numpy_backend import NumpyBackend
from .registry import backend_class, backend_descriptions

__all__ = [
    "Backend",
    "BackendDescription",
    "BackendUnavailable",
    "Evaluation",
    "NumpyBackend",
    "PlacedData",
    "TrainingMetrics",
    "backend_class",
    "backend_descriptions",
]
