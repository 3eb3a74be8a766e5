from .classifier import DisinhibitoryClassifier as DisinhibitoryClassifier
from .trained import (
    SplitEvaluation as SplitEvaluation,
    TrainedNetwork as TrainedNetwork,
    load_trained as load_trained,
)
from .training import (
    EpochRecord as EpochRecord,
    RunConfiguration as RunConfiguration,
    begin as begin,
    load_run_configuration as load_run_configuration,
    read_records as read_records,
    resume as resume,
    train as train,
)
