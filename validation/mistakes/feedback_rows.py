"""Rows of mean inhibition, feedback weights and the target of control."""

from __future__ import annotations

from functools import partial

import numpy as np

from . import dynamics, feedback, learning, order
from .ignored import ignored
from .mistake import Row, arrays, givens, negated, settings, settings_from
from .shared_rows import (
    ACTIVATIONS_EXCHANGED,
    HARD_LABELS,
    IN_FLOAT32,
    OF_LAYERS,
    OF_MEMORY,
    OF_SAMPLES,
    OF_STEPS,
    OF_THE_FIRST_STEP,
    OF_WEIGHTS,
    SILENT_SAMPLES,
    SLOPE_MIRRORED,
    SOFTMAX_OVER_BATCH,
    of_slopes,
)

MEAN_INHIBITION_ROWS: list[Row] = [
    (
        "the running mean is updated late: it takes in the present batch before it is used",
        learning.mean_not_updated,
    ),
    (
        "the running mean is updated late: it takes in the present batch before it is used",
        learning.mean_of_the_batch_before,
    ),
    (
        "the running mean is never updated: it stays at mean_inhibition.init",
        learning.mean_never_updated,
    ),
    (
        "potentials where rates belong, or, what is the same at rest, excitatory rates where "
        "inhibitory ones do: r̄ is a mean of φ_I(u_I)",
        learning.mean_of_potentials,
    ),
    (
        "the mean is taken in the closed loop: it belongs to the open loop",
        learning.mean_in_closed_loop,
    ),
    (
        "r̄ takes in one sample after another: it takes in the batch's mean once",
        learning.mean_sample_by_sample,
    ),
    ("the rate of the mean potential: it is the mean of the rates", learning.rate_of_mean),
    (
        "ρ and 1 − ρ are exchanged: r̄ ← (1 − ρ) r̄ + ρ · batch mean",
        settings_from(lambda c: {"mean_inhibition": {"rate": 1 - c.mean_inhibition.rate}}),
    ),
    *ignored("mean_inhibition.rate", "mean_inhibition.init", "activation_I"),
    (
        "the sum over the batch: r̄ takes in its mean",
        partial(learning.mean_with, lambda r: r.sum(axis=0)),
    ),
    (
        "the sum over the batch is divided by one less than its size: r̄ takes in its mean",
        partial(learning.mean_with, lambda r: r.sum(axis=0) / max(len(r) - 1, 1)),
    ),
    (
        "the sum over the batch is divided by the number of outputs: r̄ takes in its mean",
        learning.mean_over_outputs,
    ),
    (
        "the mean over units, too: each unit has its own",
        partial(learning.mean_with, learning.over_units_too),
    ),
    (
        "the first sample alone: r̄ takes in the mean over the batch",
        partial(learning.mean_with, lambda r: r[0]),
    ),
    (
        "the last sample alone: r̄ takes in the mean over the batch",
        partial(learning.mean_with, lambda r: r[-1]),
    ),
    (
        "the running mean starts at zero: it starts at mean_inhibition.init",
        learning.mean_from_zero,
    ),
    ("r̄ has no past: r̄ ← (1 − ρ) r̄ + ρ · batch mean", learning.mean_without_past),
    (
        "the running mean starts at that of the first batch: it starts at mean_inhibition.init",
        learning.mean_from_first_batch,
    ),
    *[
        (
            "the running mean is divided by 1 − (1 − ρ)^t, as Adam's moments are: it is not",
            partial(learning.mean_corrected, from_zero),
        )
        for from_zero in (True, False)
    ],
    ("the running mean starts anew in each step: it goes on", learning.mean_anew),
    ("the running mean takes in the batch twice a step", learning.mean_twice),
    (
        "the mean of all batches so far: r̄ ← (1 − ρ) r̄ + ρ · batch mean",
        learning.mean_of_all_batches,
    ),
    OF_LAYERS,
    IN_FLOAT32,
]

FEEDBACK_ROWS: list[Row] = [
    (
        "the normalisation is missing: each sample's Q^l has Frobenius norm feedback.norm",
        settings(feedback={"normalize": False}),
    ),
    (
        "the normalisation is to norm 1, where feedback.norm asks for another",
        settings(feedback={"norm": 1.0}),
    ),
    (
        "the batch average is on where it is off, or the reverse",
        settings_from(lambda c: {"feedback": {"average": not c.feedback.average}}),
    ),
    (
        "the batch's Q are summed: with feedback.average it is their mean",
        feedback.summed_over_the_batch,
    ),
    (
        "normalised, where feedback.normalize is off",
        settings_from(lambda c: {"feedback": {"normalize": True}}),
    ),
    (
        "clipped from above alone: to ±feedback.clip",
        partial(feedback.chain, condition=feedback.clipped_above),
    ),
    ("the clipping to ±feedback.clip is missing", settings(feedback={"clip": None})),
    ACTIVATIONS_EXCHANGED,
    (
        "Q is taken at the closed-loop state: it belongs to the open-loop end state",
        givens(feedback.in_closed_loop),
    ),
    (
        "Q is taken at the closed-loop state: it belongs to the open-loop end state",
        feedback.of_the_closed_loop,
    ),
    ("Q is that of the step before", order.of_the_step_before),
    OF_THE_FIRST_STEP,
    (
        "Q is taken at the open loop of the step before: each step has its own",
        givens(feedback.of_the_loop_before),
    ),
    (
        "all samples have the first sample's Q: each has its own",
        arrays("*", lambda setting, array: array[:1] + 0 * array),
    ),
    *[
        (
            f"{what} column-major in Q: weights are (n_in, n_out), the last index fastest",
            givens(partial(order.of_part, part, order.read_column_major)),
        )
        for what, part in (
            ("W_out is read", "readout"),
            ("weights of hidden layers are read", "weights"),
        )
    ],
    (
        "the slopes of a loop, φ' / (1 + φ_I' φ_E'): Q has φ_E' and φ_I' alone",
        partial(feedback.chain, in_loop=True),
    ),
    (
        "φ_E' is taken at the drive a, as backprop has it: it is to be taken at u_E",
        partial(feedback.chain, at_drive=True),
    ),
    (
        "the derivative of the softmax is in Q: J^L = W_outᵀ ∘ φ_E'",
        partial(feedback.chain, through_softmax=True),
    ),
    *[
        (
            "one norm for all layers of a sample: each Q^l has a norm of its own",
            partial(feedback.one_norm_for_all_layers, norm),
        )
        for norm in (None, 1.0)
    ],
    *[
        (
            "one norm for all layers of a sample, of which some are divided by it already: each "
            "Q^l has a norm of its own",
            partial(feedback.one_norm_in_place, upwards),
        )
        for upwards in (True, False)
    ],
    *[
        (
            f"divided by {what}: by its Frobenius norm, the root of the sum of squares",
            partial(feedback.chain, condition=partial(feedback.normalised_by, norm_of)),
        )
        for what, norm_of in (
            ("the sum of squares", feedback.square_of_norm),
            ("the sum of magnitudes", feedback.sum_of_magnitudes),
            ("the largest magnitude", feedback.largest_magnitude),
            ("the largest singular value", feedback.largest_singular_value),
        )
    ],
    (feedback.added_in_words, feedback.added_to_norm),
    OF_LAYERS,
    IN_FLOAT32,
    (
        "Q is rounded to float32 before it is normalised, and another precision is said",
        partial(feedback.chain, condition=feedback.rounded),
    ),
    ("the sign of Q", arrays("*", negated)),
    (
        "output and unit are exchanged in memory: Q^l is (B, n_out, n_l), the unit fastest",
        arrays("*", order.in_a_file(order.last_two_exchanged)),
    ),
    (
        "the factor φ_I'(u_I^l) is missing: Q^l = J^l ∘ φ_I'",
        partial(feedback.chain, slope_I=feedback.no_slope),
    ),
    (
        "both factors are missing: J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E', and Q^l = J^l ∘ φ_I'",
        partial(feedback.chain, slope_E=feedback.no_slope, slope_I=feedback.no_slope),
    ),
    (
        "the factor φ_E'(u_E^l) is missing from J^l",
        partial(feedback.chain, slope_E=feedback.no_slope),
    ),
    (
        "the factor φ_E'(u_E^L) is missing from J^L alone: J^L = W_outᵀ ∘ φ_E'",
        partial(feedback.chain, top_slope=False),
    ),
    (
        "φ_E' stands where φ_I' belongs: Q^l = J^l ∘ φ_I'(u_I^l)",
        settings_from(lambda c: {"activation_I": c.activation_E}),
    ),
    (
        "φ_I' stands where φ_E' belongs: J^l has φ_E'(u_E^l)",
        settings_from(lambda c: {"activation_E": c.activation_I}),
    ),
    (
        "weights are transposed in J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E'",
        partial(feedback.chain, turned=True),
    ),
    (
        "the chain goes through Q^{l+1}: J^l = (J^{l+1} W^{l+1ᵀ}) ∘ φ_E' goes through J^{l+1}",
        partial(feedback.chain, through_inhibition=True),
    ),
    (
        "rates where potentials belong: φ_E' is to be taken at u_E, not at φ_E(u_E) or, what "
        "is the same at rest, at u_I",
        partial(feedback.chain, slope_E=feedback.slope_at_rate),
    ),
    (
        "φ_I' is to be taken at u_I, not at u_E",
        partial(feedback.chain, at_I="u_E"),
    ),
    (
        "rates where potentials belong: φ_I' is to be taken at u_I, not at φ_I(u_I)",
        partial(feedback.chain, slope_I=feedback.slope_at_rate),
    ),
    (
        "normalised before clipping: the order is average, clip, normalise",
        partial(feedback.chain, condition=feedback.normalised_before_clipping),
    ),
    (
        "normalised before averaging: the order is average, clip, normalise",
        partial(feedback.chain, condition=feedback.normalised_before_averaging),
    ),
    (
        "normalised over the whole batch: each sample's Q^l has a norm of its own",
        partial(feedback.chain, condition=partial(feedback.normalised_over, axis=None)),
    ),
    (
        "normalised output by output: the norm is of the whole matrix Q^l of a sample",
        partial(feedback.chain, condition=partial(feedback.normalised_over, axis=-1)),
    ),
    (
        "normalised unit by unit: the norm is of the whole matrix Q^l of a sample",
        partial(feedback.chain, condition=partial(feedback.normalised_over, axis=-2)),
    ),
    *of_slopes(
        "the sharpness k is left out of {}: φ' = s k σ(k (u − m))", feedback.without_sharpness
    ),
    *of_slopes("the scale s is left out of {}: φ' = s k σ(k (u − m))", feedback.without_scale),
    *of_slopes(SLOPE_MIRRORED, feedback.mirrored),
    *OF_WEIGHTS[1:],
    *OF_STEPS,
    *OF_SAMPLES,
    *OF_MEMORY,
]

TARGET_ROWS: list[Row] = [
    (
        "strong and weak feedback are exchanged (feedback.strong)",
        settings_from(lambda c: {"feedback": {"strong": not c.feedback.strong}}),
    ),
    (
        "the nudge goes away from the label: o + λ (y − o), in cross-entropy inside the softmax",
        dynamics.nudged_away,
    ),
    (
        "the nudge is applied to probabilities: with cross-entropy it goes inside the softmax",
        dynamics.nudged_probabilities,
    ),
    ("the softmax around the nudged potential is left out", dynamics.nudged_without_softmax),
    *ignored("feedback.nudge"),
    (
        "λ and 1 − λ are exchanged: o + λ (y − o), in cross-entropy inside the softmax",
        settings_from(lambda c: {"feedback": {"nudge": 1 - c.feedback.nudge}}),
    ),
    (
        "the potential is nudged to the label: in cross-entropy o + λ (y − softmax(o)), inside "
        "the softmax",
        partial(dynamics.nudged_with, lambda o, y, nudge: o + nudge * (y - o)),
    ),
    (
        "the nudge leaves out the output: λ (y − o), in cross-entropy λ (y − softmax(o))",
        partial(dynamics.nudged_with, lambda o, y, nudge: o + nudge * y),
    ),
    (
        "a softmax goes around the nudged output: with squares it is o + λ (y − o)",
        dynamics.nudged_with_softmax,
    ),
    (
        "labels are 1 at their largest number and 0 elsewhere: they are taken as they are",
        givens(dynamics.hard_labels_of_squares),
    ),
    (
        "labels are divided by their sum: they are taken as they are",
        givens(partial(order.labels_with, lambda y: y / np.sum(y, axis=-1, keepdims=True))),
    ),
    SILENT_SAMPLES,
    (IN_FLOAT32[0], partial(order.target_in_float32, False)),
    (
        "the target, with strong feedback the label, is rounded to float32 before it is used, and "
        "another precision is said",
        partial(order.target_in_float32, True),
    ),
    (SOFTMAX_OVER_BATCH, dynamics.nudged_over_the_batch),
    (HARD_LABELS, givens(dynamics.hard_labels)),
    (
        "labels are those of the step before: each step has its own",
        givens(partial(order.labels_of_another_step, lambda step, n_steps: max(step - 1, 0))),
    ),
    *[
        ("labels are those of the step after: each step has its own", givens(result))
        for result in (
            partial(order.labels_of_another_step, lambda step, n_steps: (step + 1) % n_steps),
            partial(order.labels_of_another_step, lambda step, n_steps: min(step + 1, n_steps - 1)),
        )
    ],
    (
        "labels are those of the first step: each step has its own",
        givens(partial(order.labels_of_another_step, lambda step, n_steps: 0)),
    ),
    (
        "all samples have the first sample's label: each has its own",
        givens(partial(order.labels_with, lambda y: y[:1] + 0 * y)),
    ),
    *[
        (
            "classes are counted from 1: a label's largest number is at its class, from 0",
            givens(partial(order.labels_with, partial(np.roll, shift=shift, axis=-1))),
        )
        for shift in (1, -1)
    ],
    *OF_MEMORY,
]

LABELS_IN_ANOTHER_ORDER: Row = (
    partial(order.order_in_words, "labels", order.labels_apart),
    order.labels_in_another_order,
)
