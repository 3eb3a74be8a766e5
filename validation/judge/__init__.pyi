from .allowance import (
    golden_run as golden_run,
    has_fixed_point as has_fixed_point,
    learning_run as learning_run,
    run_location as run_location,
)
from .conformance import (
    ComparisonResult as ComparisonResult,
    compare as compare,
    conform as conform,
    conform_each as conform_each,
    conformance_solver as conformance_solver,
)
from .initialisation import initialisation_locations as initialisation_locations
from .power import StagePower as StagePower, power as power
from .promises import judge_promises as judge_promises
from .stability import stability_in_words as stability_in_words
from .stages import (
    CLOSED_LOOP as CLOSED_LOOP,
    CLOSED_LOOP_PATH as CLOSED_LOOP_PATH,
    CLOSED_LOOP_TARGET as CLOSED_LOOP_TARGET,
    CLOSED_LOSS as CLOSED_LOSS,
    END_STATES as END_STATES,
    FEEDBACK as FEEDBACK,
    GRADIENTS as GRADIENTS,
    LOSSES as LOSSES,
    MEAN_INHIBITION as MEAN_INHIBITION,
    N_CORRECT as N_CORRECT,
    OPEN_LOOP as OPEN_LOOP,
    OPEN_LOOP_PATH as OPEN_LOOP_PATH,
    OPEN_LOSS as OPEN_LOSS,
    PATH_STAGES as PATH_STAGES,
    STEP_STAGES as STEP_STAGES,
    TARGETS as TARGETS,
    UPDATE as UPDATE,
    Arrays as Arrays,
    Place as Place,
    Stage as Stage,
    layer_arrays as layer_arrays,
    layers_from as layers_from,
    learner_before as learner_before,
    load_learner as load_learner,
    repeated as repeated,
    run_to_gradients as run_to_gradients,
    state_arrays as state_arrays,
    undisturbed as undisturbed,
    with_part as with_part,
)
from .tolerance import (
    FLOATS as FLOATS,
    Arithmetic as Arithmetic,
    float_arithmetic as float_arithmetic,
    largest as largest,
    named_arithmetic as named_arithmetic,
)
from .verdict import (
    Comparison as Comparison,
    StageResult as StageResult,
    deviation as deviation,
    first_deviation as first_deviation,
)
