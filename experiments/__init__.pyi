from .batch import (
    batch as batch,
    batch_figure as batch_figure,
    batch_table as batch_table,
    read_study as read_study,
)
from .classifier import DisinhibitoryClassifier as DisinhibitoryClassifier
from .runs_compared import runs_table as runs_table
from .train_in_python import train as train
from .trained import (
    SplitEvaluation as SplitEvaluation,
    TrainedNetwork as TrainedNetwork,
    load as load,
)
from .training import (
    EpochRecord as EpochRecord,
    RunConfiguration as RunConfiguration,
    TrainingDiverged as TrainingDiverged,
    load_run_configuration as load_run_configuration,
    read_records as read_records,
)
