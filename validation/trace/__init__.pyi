from .cases import (
    StandardCase as StandardCase,
    case_data as case_data,
    find_traces as find_traces,
    random_networks as random_networks,
    record_standard_case as record_standard_case,
    shipped_directory as shipped_directory,
    standard_cases as standard_cases,
)
from .reading import (
    Candidate as Candidate,
    read_candidate as read_candidate,
    read_trace as read_trace,
    stored_precision_in_words as stored_precision_in_words,
)
from .recording import record_trace as record_trace, recording_to_rest as recording_to_rest
from .trace import CircuitStep as CircuitStep, Trace as Trace, TraceTrajectory as TraceTrajectory
from .writing import (
    write_flat_directory as write_flat_directory,
    write_trace as write_trace,
    write_trace_inputs as write_trace_inputs,
)
