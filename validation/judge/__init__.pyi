from .allowance import golden_run as golden_run, learning_run as learning_run
from .stages import (
    CLOSED_LOOP as CLOSED_LOOP,
    CLOSED_LOOP_PATH as CLOSED_LOOP_PATH,
    CLOSED_LOOP_TARGET as CLOSED_LOOP_TARGET,
    FEEDBACK as FEEDBACK,
    GRADIENTS as GRADIENTS,
    MEAN_INHIBITION as MEAN_INHIBITION,
    OPEN_LOOP as OPEN_LOOP,
    PATH_STAGES as PATH_STAGES,
    STEP_STAGES as STEP_STAGES,
    TARGETS as TARGETS,
    UPDATE as UPDATE,
    Arrays as Arrays,
    Stage as Stage,
    learner_before as learner_before,
    state_arrays as state_arrays,
    undisturbed as undisturbed,
)
from .tolerance import (
    FLOATS as FLOATS,
    Arithmetic as Arithmetic,
    float_arithmetic as float_arithmetic,
    largest as largest,
    named_arithmetic as named_arithmetic,
)
from .verdict import Comparison as Comparison, deviation as deviation
