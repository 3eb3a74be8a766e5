from . import choice_of_backend as choice_of_backend
from .choice_of_backend import (
    agrees_with_numpy as agrees_with_numpy,
    asked_backend as asked_backend,
)
from .configuration import (
    AUTO as AUTO,
    INTEGER_BACKENDS as INTEGER_BACKENDS,
    SECTIONS as SECTIONS,
    SETTINGS as SETTINGS,
    TOP as TOP,
    RunConfiguration as RunConfiguration,
    checked_path as checked_path,
    dotted as dotted,
    load_run_configuration as load_run_configuration,
    parse_arithmetic as parse_arithmetic,
    parse_settings as parse_settings,
    read_toml as read_toml,
    run_configuration as run_configuration,
)
from .data import Data as Data, load_data as load_data, soft_labels as soft_labels
from .epochs import (
    SECONDS_BETWEEN_PICTURES as SECONDS_BETWEEN_PICTURES,
    CheckpointInterval as CheckpointInterval,
    Observer as Observer,
    TrainingDiverged as TrainingDiverged,
    lost_patience as lost_patience,
    parse_checkpoint_interval as parse_checkpoint_interval,
    train as train,
)
from .interruption import stop_on_interrupt as stop_on_interrupt, uninterrupted as uninterrupted
from .lock import InUse as InUse, RunLock as RunLock
from .metrics import (
    EpochRecord as EpochRecord,
    best_record as best_record,
    draw_learning_curves as draw_learning_curves,
    learning_curves as learning_curves,
    read_records as read_records,
    steps_in_words as steps_in_words,
)
from .run import (
    CHECKPOINT as CHECKPOINT,
    CHOSEN_ANEW as CHOSEN_ANEW,
    DATA as DATA,
    Run as Run,
    begin as begin,
    differences as differences,
    holds_a_run as holds_a_run,
    npz_bytes as npz_bytes,
    place_of_data as place_of_data,
    refuse_files_of_run as refuse_files_of_run,
    refuse_more_than_memory as refuse_more_than_memory,
    resume as resume,
)
from .schedule import Schedule as Schedule, with_learning_rate as with_learning_rate
from .side_by_side import (
    TooManyAtOnce as TooManyAtOnce,
    side_by_side as side_by_side,
    stacked as stacked,
    what_must_agree as what_must_agree,
    with_own_numbers as with_own_numbers,
)
from .train_command import (
    progress_display as progress_display,
    run_training as run_training,
    tell_large_inputs as tell_large_inputs,
    tell_run as tell_run,
)
