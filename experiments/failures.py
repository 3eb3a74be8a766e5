"""What may go wrong that is not our fault: the line that says it, and the exit code."""

from __future__ import annotations

from ..backends import BackendUnavailable
from ..datasets import DatasetError
from ..refimpl.errors import ArgumentError, ConfigurationError
from ..validation import FileError
from .divergence import TrainingDiverged

USER_ERRORS = (ArgumentError, ConfigurationError, DatasetError, FileError, BackendUnavailable)
"""Bad input."""


def exit_code(problem: Exception) -> int | None:
    """Give the exit code of a failure that ends in a line; None for a fault of ours."""
    if isinstance(problem, TrainingDiverged):
        return 1
    return 2 if isinstance(problem, (*USER_ERRORS, OSError, MemoryError)) else None


def in_one_line(problem: Exception) -> str:
    """Say what went wrong."""
    if isinstance(problem, USER_ERRORS):
        return str(problem)
    if isinstance(problem, OSError):
        # Whatever is wrong with a file or directory, and is not said better where it arises.
        named = "" if problem.filename is None else f"{problem.filename}: "
        return f"{named}{problem.strerror or problem}"
    return f"not enough memory: {problem}" if isinstance(problem, MemoryError) else str(problem)
