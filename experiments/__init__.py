"""Training runs, the demo and the command line.

What is offered is loaded when it is asked for: the command must be able to begin, and to be
interrupted, before any of it is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .metrics_log import EpochRecord, read_records
    from .run_beginning import begin, resume
    from .run_configuration import RunConfiguration, load_run_configuration
    from .training import train

__all__ = [
    "EpochRecord",
    "RunConfiguration",
    "begin",
    "load_run_configuration",
    "read_records",
    "resume",
    "train",
]

_FILES = {
    "metrics_log": ("EpochRecord", "read_records"),
    "run_beginning": ("begin", "resume"),
    "run_configuration": ("RunConfiguration", "load_run_configuration"),
    "training": ("train",),
}


def __getattr__(name: str) -> object:
    for file, offered in _FILES.items():
        if name in offered:
            return getattr(import_module(f".{file}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
