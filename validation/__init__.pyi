from .arithmetic import (
    Arithmetic as Arithmetic,
    float_arithmetic as float_arithmetic,
    named_arithmetic as named_arithmetic,
)
from .candidate import (
    Candidate as Candidate,
    read_candidate as read_candidate,
)
from .checkpoint import (
    Checkpoint as Checkpoint,
    Position as Position,
    newest_checkpoint as newest_checkpoint,
    read_checkpoint as read_checkpoint,
    write_checkpoint as write_checkpoint,
)
from .comparison import (
    ComparisonResult as ComparisonResult,
    compare as compare,
)
from .conformance import (
    conform as conform,
    conform_each as conform_each,
    conformance_solver as conformance_solver,
)
from .flat_directory import write_flat_directory as write_flat_directory
from .inspection import contents as contents
from .parameter_groups import FileError as FileError
from .power import (
    StagePower as StagePower,
    power as power,
)
from .random_networks import random_networks as random_networks
from .shipped_traces import (
    find_traces as find_traces,
    shipped_directory as shipped_directory,
)
from .stage_result import StageResult as StageResult
from .standard_cases import (
    record_standard_case as record_standard_case,
    standard_cases as standard_cases,
)
from .start_file import (
    Start as Start,
    read_start as read_start,
)
from .trace import Trace as Trace
from .trace_reading import read_trace as read_trace
from .trace_recording import record_trace as record_trace
from .trace_stability import stability_in_words as stability_in_words
from .trace_writing import (
    write_trace as write_trace,
    write_trace_inputs as write_trace_inputs,
)
