"""Proof that a backend computes the published model, and files that can be trusted."""

from .checkpoint import (
    Checkpoint,
    Position,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from .conformance import StageResult, conform
from .inspection import contents
from .parameter_groups import FileError
from .shipped_traces import find_traces, shipped_directory
from .start_file import Start, read_start
from .trace import Trace, read_trace

__all__ = [
    "Checkpoint",
    "FileError",
    "Position",
    "StageResult",
    "Start",
    "Trace",
    "conform",
    "contents",
    "find_traces",
    "newest_checkpoint",
    "read_checkpoint",
    "read_start",
    "read_trace",
    "shipped_directory",
    "write_checkpoint",
]
