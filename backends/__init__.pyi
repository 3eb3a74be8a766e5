from .backend import (
    Backend as Backend,
    BackendDescription as BackendDescription,
    BackendUnavailable as BackendUnavailable,
    CompilesAhead as CompilesAhead,
    Evaluation as Evaluation,
    HasDevices as HasDevices,
    HasOwnArithmetic as HasOwnArithmetic,
    PlacedData as PlacedData,
    TimesStages as TimesStages,
    TrainingMetrics as TrainingMetrics,
    evaluation_of_replica as evaluation_of_replica,
    joined as joined,
    metrics_of_replica as metrics_of_replica,
)
from .front import checked_backend as checked_backend, checked_threads as checked_threads
from .numba.backend import NumbaBackend as NumbaBackend
from .numba.continuous import run_compiled as run_compiled
from .numpy.backend import NumpyBackend as NumpyBackend
from .precision import PRECISIONS as PRECISIONS, checked_dtype as checked_dtype
from .registry import backend_class as backend_class, backend_descriptions as backend_descriptions
