from .backend import (
    Backend as Backend,
    BackendDescription as BackendDescription,
    BackendUnavailable as BackendUnavailable,
    CompilesAhead as CompilesAhead,
    PlacedData as PlacedData,
    TimesStages as TimesStages,
)
from .epoch_metrics import (
    Evaluation as Evaluation,
    TrainingMetrics as TrainingMetrics,
)
from .front import checked_backend as checked_backend
from .numba_backend import NumbaBackend as NumbaBackend
from .numpy_backend import NumpyBackend as NumpyBackend
from .precision import PRECISIONS as PRECISIONS
from .registry import (
    backend_class as backend_class,
    backend_descriptions as backend_descriptions,
)
