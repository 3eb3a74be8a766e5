from .plasticity_curves import (
    LinearThreshold as LinearThreshold,
    circuit as circuit,
    isolated as isolated,
)
from .table import Table as Table, train_table as train_table
