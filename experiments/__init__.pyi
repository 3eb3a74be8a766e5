from .training.configuration import (
    RunConfiguration as RunConfiguration,
    load_run_configuration as load_run_configuration,
)
from .training.metrics import EpochRecord as EpochRecord, read_records as read_records
from .training.run import begin as begin, resume as resume
from .training.training import train as train
