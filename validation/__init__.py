"""Proof that a backend computes the published model, and files that can be trusted."""

from .arithmetic import Arithmetic, float_arithmetic, named_arithmetic
from .candidate import Candidate, read_candidate
from .checkpoint import (
    Checkpoint,
    Position,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from .comparison import ComparisonResult, compare
from .conformance import conform, conform_each, conformance_solver
from .flat_directory import write_flat_directory
from .inspection import contents
from .parameter_groups import FileError
from .power import StagePower, power
from .random_networks import random_networks
from .shipped_traces import find_traces, shipped_directory
from .stage_result import StageResult
from .standard_cases import record_standard_case, standard_cases
from .start_file import Start, read_start
from .trace import Trace
from .trace_reading import read_trace
from .trace_recording import record_trace
from .trace_stability import stability_in_words
from .trace_writing import write_trace, write_trace_inputs

__all__ = [
    "Arithmetic",
    "Candidate",
    "Checkpoint",
    "ComparisonResult",
    "FileError",
    "Position",
    "StagePower",
    "StageResult",
    "Start",
    "Trace",
    "compare",
    "conform",
    "conform_each",
    "conformance_solver",
    "contents",
    "find_traces",
    "float_arithmetic",
    "named_arithmetic",
    "newest_checkpoint",
    "power",
    "random_networks",
    "read_candidate",
    "read_checkpoint",
    "read_start",
    "read_trace",
    "record_standard_case",
    "record_trace",
    "shipped_directory",
    "stability_in_words",
    "standard_cases",
    "write_checkpoint",
    "write_flat_directory",
    "write_trace",
    "write_trace_inputs",
]
