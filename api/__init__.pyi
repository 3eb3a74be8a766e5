from .backends import (
    Backend as Backend,
    BackendUnavailable as BackendUnavailable,
    NumbaBackend as NumbaBackend,
    NumpyBackend as NumpyBackend,
    backend_class as backend_class,
    backend_descriptions as backend_descriptions,
    checked_backend as checked_backend,
)
from .datasets import Dataset as Dataset, DatasetError as DatasetError, load_dataset as load_dataset
from .experiments import (
    DisinhibitoryClassifier as DisinhibitoryClassifier,
    EpochRecord as EpochRecord,
    RunConfiguration as RunConfiguration,
    SplitEvaluation as SplitEvaluation,
    TrainedNetwork as TrainedNetwork,
    TrainingDiverged as TrainingDiverged,
    batch as batch,
    batch_table as batch_table,
    load as load,
    load_run_configuration as load_run_configuration,
    read_records as read_records,
    runs_table as runs_table,
    train as train,
)
from .refimpl import (
    ArgumentError as ArgumentError,
    ConfigurationError as ConfigurationError,
    Controller as Controller,
    Feedback as Feedback,
    Learner as Learner,
    MeanInhibition as MeanInhibition,
    NetworkConfiguration as NetworkConfiguration,
    Optimizer as Optimizer,
    Parameters as Parameters,
    SoftReLU as SoftReLU,
    Solver as Solver,
    initial_parameters as initial_parameters,
    new_learner as new_learner,
)
from .validation import (
    FileError as FileError,
    Position as Position,
    compare as compare,
    conform as conform,
    find_traces as find_traces,
    read_checkpoint as read_checkpoint,
    read_trace as read_trace,
    record_trace as record_trace,
    shipped_directory as shipped_directory,
    write_trace as write_trace,
)

__version__: str
