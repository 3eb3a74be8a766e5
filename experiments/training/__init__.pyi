from .configuration import (
    RunConfiguration as RunConfiguration,
    load_run_configuration as load_run_configuration,
    run_configuration as run_configuration,
)
from .interruption import stop_on_interrupt as stop_on_interrupt
from .metrics import EpochRecord as EpochRecord
from .run import (
    begin as begin,
    refuse_more_than_memory as refuse_more_than_memory,
    resume as resume,
)
from .training import train as train
