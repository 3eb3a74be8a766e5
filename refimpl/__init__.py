"""The model itself, in NumPy alone, with its page `model.md`: read these to port it, in this order.

1. `learning_step`: the whole model on a screen.
2. `circuit`: neurons, equations of motion, controller, losses.
3. `feedback`: feedback weights.
4. `fixed_point`: end states without integrating, what `end_state` calls unless told otherwise.
5. `plasticity`: what each synapse learns; backprop beside it.
6. `optimizer`: SGD and Adam.
7. `integration`: the equations of motion integrated.
8. `end_state`: the choice between the two ways, and recorded paths.
9. `continuous`: teacher and student, where everything moves at once.
10. `configuration`: every setting and its default; the rest of it is messages.

Leading axes "..." are replicas, many networks trained side by side. To port one, leave them out,
and read `with_axes(setting, n)` as the setting.
"""

from .circuit import (
    TRUNCATED_NORMAL_DEVIATION,
    FeedbackWeights,
    NetworkState,
    Parameters,
    closed_loop_derivative,
    closed_loop_target,
    control_signal,
    disinhibition,
    drive,
    error,
    error_jacobian,
    initial_parameters,
    inverse,
    linearized_inverse,
    map_arrays,
    pack,
    rate,
    resting_state,
    sample_loss,
    slope,
    softmax,
    unpack,
)
from .configuration import (
    LOSSES,
    METHODS,
    RULES,
    ArgumentError,
    ConfigurationError,
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Setting,
    SoftReLU,
    Solver,
    real_number,
    require,
    shown,
    whole_number,
)
from .continuous import (
    BURN_IN,
    LEARNING,
    OPEN_LOOP,
    PUBLISHED,
    ContinuousLearning,
    ContinuousRun,
    ContinuousState,
    Phase,
    Sampling,
    initial_state,
    pack_continuous,
    threshold,
    unpack_continuous,
)
from .end_state import (
    MOST_STEPS_TO_REST,
    EndStateCounts,
    Recording,
    closed_loop_end_state,
    closed_loop_trajectory,
    open_loop_end_state,
    open_loop_trajectory,
    slowest_time_constant,
    tolerances_to_rest,
)
from .feedback import conditioned, feedback_weights
from .fixed_point import equilibrium, output_sensitivity
from .integration import TABLEAUS, TSITOURAS_54
from .learning_step import (
    Learner,
    StepMetrics,
    count_correct,
    learning_step,
    new_learner,
    open_loop_output,
)
from .optimizer import OptimizerState, initial_optimizer_state, optimizer_step
from .plasticity import (
    backprop_gradients,
    estimated_inhibitory_potential,
    forward,
    mean_outer_product,
    plasticity_gradients,
    updated_mean_inhibition,
)

__all__ = [
    "BURN_IN", "LEARNING", "LOSSES", "METHODS",
    "MOST_STEPS_TO_REST", "OPEN_LOOP", "PUBLISHED", "RULES", "TABLEAUS",
    "TRUNCATED_NORMAL_DEVIATION", "TSITOURAS_54",
    "ArgumentError", "ConfigurationError", "ContinuousLearning", "ContinuousRun", "ContinuousState",
    "Controller", "EndStateCounts", "Feedback", "FeedbackWeights", "Learner", "MeanInhibition",
    "NetworkConfiguration", "NetworkState", "Optimizer", "OptimizerState", "Parameters", "Phase",
    "Recording", "Sampling", "Setting", "SoftReLU", "Solver", "StepMetrics",
    "backprop_gradients", "closed_loop_derivative", "closed_loop_end_state", "closed_loop_target",
    "closed_loop_trajectory", "conditioned", "control_signal", "count_correct", "disinhibition",
    "drive",
    "equilibrium", "error", "error_jacobian", "estimated_inhibitory_potential", "feedback_weights",
    "forward", "initial_optimizer_state", "initial_parameters", "initial_state", "inverse",
    "learning_step", "linearized_inverse", "map_arrays", "mean_outer_product", "new_learner",
    "open_loop_end_state", "open_loop_output", "open_loop_trajectory", "optimizer_step",
    "output_sensitivity", "pack",
    "pack_continuous", "plasticity_gradients", "rate", "real_number", "require", "resting_state",
    "sample_loss", "shown", "slope", "slowest_time_constant",
    "softmax", "threshold", "tolerances_to_rest", "unpack", "unpack_continuous",
    "updated_mean_inhibition", "whole_number",
]  # fmt: skip
