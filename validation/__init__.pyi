from .judge.conformance import (
    ComparisonResult as ComparisonResult,
    compare as compare,
    conform as conform,
    conform_each as conform_each,
    conformance_solver as conformance_solver,
)
from .judge.power import StagePower as StagePower, power as power
from .judge.stability import stability_in_words as stability_in_words
from .judge.tolerance import (
    Arithmetic as Arithmetic,
    float_arithmetic as float_arithmetic,
    named_arithmetic as named_arithmetic,
)
from .judge.verdict import StageResult as StageResult
from .storage.arrays import (
    FileError as FileError,
    dataset_of_numbers as dataset_of_numbers,
    find_group as find_group,
    named_arrays as named_arrays,
    not_finite as not_finite,
    read_numbers as read_numbers,
)
from .storage.checkpoint import (
    Checkpoint as Checkpoint,
    Position as Position,
    Start as Start,
    contents as contents,
    newest_checkpoint as newest_checkpoint,
    read_checkpoint as read_checkpoint,
    read_start as read_start,
    write_checkpoint as write_checkpoint,
)
from .storage.hdf5 import (
    read_json as read_json,
    read_text as read_text,
    refuse_other_schema as refuse_other_schema,
)
from .storage.signed_file import (
    check_digest as check_digest,
    generations as generations,
    not_written as not_written,
    reading as reading,
    refuse_all_but_files as refuse_all_but_files,
    write_signed_file as write_signed_file,
)
from .trace.cases import (
    find_traces as find_traces,
    random_networks as random_networks,
    record_standard_case as record_standard_case,
    shipped_directory as shipped_directory,
    standard_cases as standard_cases,
)
from .trace.reading import (
    Candidate as Candidate,
    read_candidate as read_candidate,
    read_trace as read_trace,
)
from .trace.recording import record_trace as record_trace
from .trace.trace import Trace as Trace
from .trace.writing import (
    write_flat_directory as write_flat_directory,
    write_trace as write_trace,
    write_trace_inputs as write_trace_inputs,
)
