"""Training runs, the demo and the command line."""

from .metrics_log import EpochRecord, read_records
from .run_beginning import begin, resume
from .run_configuration import RunConfiguration, load_run_configuration
from .training import train

__all__ = [
    "EpochRecord",
    "RunConfiguration",
    "begin",
    "load_run_configuration",
    "read_records",
    "resume",
    "train",
]
