from .metrics_log import (
    EpochRecord as EpochRecord,
    read_records as read_records,
)
from .run_beginning import (
    begin as begin,
    resume as resume,
)
from .run_configuration import (
    RunConfiguration as RunConfiguration,
    load_run_configuration as load_run_configuration,
)
from .training import train as train
