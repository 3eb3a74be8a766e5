"""The table of usual mistakes, by stage.

A row is a hint, what the mistake is and what would be right, and what the stage gives under it. A
hint that has numbers of what was found is a function that gives the words. What is more than a
changed setting or a changed array is a function in the file of its stages.
"""

from __future__ import annotations

from ..judge import (
    CLOSED_LOOP,
    CLOSED_LOOP_PATH,
    CLOSED_LOOP_TARGET,
    FEEDBACK,
    GRADIENTS,
    LOSSES,
    MEAN_INHIBITION,
    OPEN_LOOP,
    OPEN_LOOP_PATH,
    UPDATE,
    Stage,
)
from . import paths, recognised
from .feedback_rows import (
    FEEDBACK_ROWS,
    LABELS_IN_ANOTHER_ORDER,
    MEAN_INHIBITION_ROWS,
    TARGET_ROWS,
)
from .learning_rows import GRADIENTS_ROWS, LOSSES_ROWS, UPDATE_ROWS
from .mistake import Row
from .other_values import DT, SHORT_NUMBERS, other_values
from .state_rows import CLOSED_LOOP_ROWS, CLOSED_PATH_ROWS, OPEN_LOOP_ROWS, OPEN_PATH_ROWS

ROWS: dict[Stage, list[Row]] = {
    OPEN_LOOP_PATH: OPEN_PATH_ROWS,
    CLOSED_LOOP_PATH: CLOSED_PATH_ROWS,
    OPEN_LOOP: OPEN_LOOP_ROWS,
    MEAN_INHIBITION: MEAN_INHIBITION_ROWS,
    FEEDBACK: FEEDBACK_ROWS,
    CLOSED_LOOP_TARGET: TARGET_ROWS,
    CLOSED_LOOP: CLOSED_LOOP_ROWS,
    LOSSES: LOSSES_ROWS,
    GRADIENTS: GRADIENTS_ROWS,
    UPDATE: UPDATE_ROWS,
}
USUAL_MISTAKES = {stage: [*rows, *SHORT_NUMBERS] for stage, rows in ROWS.items()}

NOT_CONVERGED: Row = (recognised.potential_left, recognised.potential_not_converged)
NOT_AT_REST: Row = (paths.time_integrated, paths.not_yet_at_rest)
FACTOR: Row = (recognised.factor_in_words, recognised.one_factor)
FACTORS: Row = (recognised.factors_in_words, recognised.a_factor_each)
IF_NOTHING_SIMPLER: dict[Stage, list[Row]] = {CLOSED_LOOP_TARGET: [LABELS_IN_ANOTHER_ORDER]}
"""Mistakes that give much of what others do: named where no other explains what was found."""
OBSERVATIONS: dict[Stage, list[Row]] = {
    OPEN_LOOP_PATH: other_values("activation_", "tau_", DT),
    CLOSED_LOOP_PATH: other_values("activation_", "tau_", DT, "controller."),
    OPEN_LOOP: [*other_values("activation_"), NOT_AT_REST, NOT_CONVERGED],
    MEAN_INHIBITION: [FACTOR, FACTORS, *other_values("mean_inhibition.", "activation_I")],
    FEEDBACK: [FACTOR, FACTORS, *other_values("activation_", "feedback.clip")],
    CLOSED_LOOP_TARGET: other_values("feedback.nudge"),
    CLOSED_LOOP: [
        (recognised.factors_in_words, recognised.integral_times_factor),
        *other_values("controller.", "activation_"),
        (recognised.control_left, recognised.control_not_converged),
        NOT_CONVERGED,
        NOT_AT_REST,
    ],
    LOSSES: [
        (recognised.loss_factor_in_words, recognised.one_factor_of_losses),
        (recognised.loss_factors_in_words, recognised.a_factor_each_of_losses),
    ],
    GRADIENTS: [
        FACTOR,
        FACTORS,
        *other_values("mean_inhibition.fixed_point"),
        *other_values("activation_"),
    ],
    UPDATE: [FACTOR, FACTORS, *other_values("optimizer.")],
}
"""What numbers show where no mistake that is known gives them: no mistakes, but where to look."""
