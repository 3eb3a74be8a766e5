"""Rows that several stages have: what a mistake is, what would be right, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...refimpl import SoftReLU
from . import dynamics, feedback, order
from .mistake import Result, Row, arrays, givens, settings, settings_from

ACTIVATIONS_EXCHANGED: Row = (
    "φ_E and φ_I are exchanged",
    settings_from(lambda c: {"activation_E": c.activation_I, "activation_I": c.activation_E}),
)
READOUT_FEEDBACK: Row = (
    "the readout's own feedback: `+ c` drives it unless feedback.to_readout is off",
    settings_from(lambda c: {"feedback": {"to_readout": not c.feedback.to_readout}}),
)
PROPORTIONAL_ONLY: Row = (
    "the controller is proportional only: c = k_p e + k_i z",
    settings(controller={"k_i": 0.0}),
)
SOFTMAX_OF_SQUARES: Row = (
    "a softmax is in the error: with squares e = target − u_out",
    settings_from(lambda c: {"loss": "softmax-cross-entropy"} if c.loss == "mse" else {}),
)
GAINS_EXCHANGED: Row = (
    "k_p and k_i are exchanged: c = k_p e + k_i z",
    settings_from(lambda c: {"controller": {"k_p": c.controller.k_i, "k_i": c.controller.k_p}}),
)
SOFTMAX_LEFT_OUT: Row = (
    "the softmax is left out of the error: e = target − softmax(u_out)",
    settings(loss="mse"),
)
INTEGRAL_ONLY: Row = (
    "the controller is integral only: c = k_p e + k_i z",
    settings(controller={"k_p": 0.0}),
)
K_P_FOR_K_I: Row = (
    "k_p stands where k_i belongs: c = k_p e + k_i z",
    settings_from(lambda c: {"controller": {"k_i": c.controller.k_p}}),
)

ERRORS_OF_A_MEAN: list[Row] = [
    (words, partial(dynamics.error_times, factor))
    for words, factor in (
        (
            "the error of squares is a mean over the outputs: e = target − u_out",
            lambda n_out: 1 / n_out,
        ),
        (
            "the error of squares is the slope of torch's mean over the outputs, without the ½: "
            "e = target − u_out",
            lambda n_out: 2 / n_out,
        ),
        ("the ½ is missing from the squares: e = target − u_out", lambda n_out: 2.0),
    )
]


def of_weights(change: Callable[[np.ndarray], np.ndarray]) -> Result:
    """Run the stage with all weights changed."""
    return givens(partial(order.of_weights, change))


def inputs_times(factor: float) -> Result:
    """Run the stage with inputs on another scale."""
    return givens(partial(dynamics.inputs_times, factor))


def of_slopes(words: str, slope_of: Callable[[SoftReLU, np.ndarray], np.ndarray]) -> list[Row]:
    """Slopes of another kind in the feedback weights, both or either; {} in words is which."""
    return [
        (
            words.format("φ_E' and φ_I'"),
            partial(feedback.chain, slope_E=slope_of, slope_I=slope_of),
        ),
        (words.format("φ_E'"), partial(feedback.chain, slope_E=slope_of)),
        (words.format("φ_I'"), partial(feedback.chain, slope_I=slope_of)),
    ]


INPUTS_NOT_SCALED: Row = ("byte inputs are not divided by 255", inputs_times(255))
INPUTS_OVER_256: Row = (
    "byte inputs are divided by 256: they are divided by 255",
    inputs_times(255 / 256),
)
INPUTS_SIGNED: Row = (
    "byte inputs are read as signed: they are 0 to 255",
    givens(dynamics.inputs_signed),
)
INPUTS_LEFT_OUT: list[Row] = [
    (
        f"the {which} input is left out: all drive the first layer",
        givens(partial(dynamics.input_left_out, number)),
    )
    for which, number in (("first", 0), ("last", -1))
]
INPUTS_CUT: Row = ("inputs are cut to whole numbers", givens(dynamics.inputs_cut))
FIRST_BATCH: Row = (
    "each step is given the first batch: step t is given batch t",
    givens(dynamics.first_batch),
)
BIAS_LEFT_OUT: Row = ("biases are left out: a = h W + b", givens(dynamics.without_bias))
BIAS_SUBTRACTED: Row = (
    "biases are subtracted, as thresholds: a = h W + b",
    givens(dynamics.bias_subtracted),
)
BIAS_TWICE: Row = ("biases are added twice: a = h W + b", givens(dynamics.bias_twice))
SLOPE_MIRRORED = "σ(−k (u − m)) stands in {}: φ' = s k σ(k (u − m))"
SOFTMAX_OVER_BATCH = "the softmax goes over the batch: it goes over the outputs of a sample"
HARD_LABELS = (
    "labels are 1 on the class and 0 elsewhere: those of the trace are softened, 0.99 and "
    "0.01 / (n_out − 1)"
)

TRANSPOSED = "weights are transposed: they are (n_in, n_out), and a = h W + b"
COLUMN_MAJOR = "weights are read column-major: they are (n_in, n_out), the last index fastest"
OF_WEIGHTS: list[Row] = [
    (TRANSPOSED, givens(dynamics.transposed)),
    (COLUMN_MAJOR, of_weights(order.read_column_major)),
    (COLUMN_MAJOR, of_weights(order.written_column_major)),
]
OF_STEPS: list[Row] = [
    *[(f"the initial {words}", order.in_the_first_step(result)) for words, result in OF_WEIGHTS],
    (
        "parameters are those of the step before: each step begins with what the last one left",
        givens(order.parameters_of_the_step_before),
    ),
    (
        "parameters are the initial ones in every step: each begins with what the last one left",
        givens(order.initial_parameters),
    ),
    *[
        (
            f"{what} of the step before: each step begins with what the last one left",
            givens(partial(order.part_of_the_step_before, part)),
        )
        for what, part in (
            ("the readout is that", "readout"),
            ("hidden weights are those", "weights"),
            ("biases are those", "biases"),
        )
    ],
]
OF_THE_FIRST_STEP: Row = (
    "all is that of the first step: each step has its own",
    order.of_the_first_step,
)
OF_STEPS_REVERSED: Row = ("steps are in reverse order: the first is 0000", order.steps_reversed)
IN_MEMORY = "arrays are column-major: the last index is to run fastest"
ORDERS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    order.written_column_major,
    order.read_column_major,
)
OF_MEMORY: list[Row] = [(IN_MEMORY, arrays("*", order.in_a_file(change))) for change in ORDERS]
IN_FLOAT32: Row = (
    "numbers are rounded to float32, as they are held or as they are written, and another "
    "precision is said",
    arrays("*", lambda setting, array: order.in_float32(array)),
)
PARAMETERS_IN_FLOAT32 = (
    "parameters are rounded to float32 in every step, and another precision is said"
)
OF_PRECISION: list[Row] = [
    IN_FLOAT32,
    *[
        (
            "the initial parameters are rounded to float32, and another precision is said",
            order.first_initial_parameters_of(rounded),
        )
        for rounded in (order.in_float32, order.weights_in_float32)
    ],
    (PARAMETERS_IN_FLOAT32, of_weights(order.in_float32)),
]
OF_LAYERS: Row = (
    "hidden layers are numbered from the top: they are from the input, 0 first",
    order.layers_from_the_top,
)
SILENT_SAMPLES: Row = (order.silent_in_words, order.left_at_zero)
OF_SAMPLES: list[Row] = [
    SILENT_SAMPLES,
    (
        partial(order.order_in_words, "samples", order.samples_apart),
        order.samples_in_another_order,
    ),
]
