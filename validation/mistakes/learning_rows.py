"""Rows of losses, gradients and the optimiser's update."""

from __future__ import annotations

from functools import partial

import numpy as np

from . import dynamics, feedback, learning, losses, order
from .ignored import ignored
from .mistake import Row, arrays, givens, negated, settings_from
from .shared_rows import (
    BIAS_LEFT_OUT,
    BIAS_SUBTRACTED,
    BIAS_TWICE,
    FIRST_BATCH,
    HARD_LABELS,
    IN_FLOAT32,
    IN_MEMORY,
    INPUTS_NOT_SCALED,
    INPUTS_OVER_256,
    INPUTS_SIGNED,
    OF_MEMORY,
    OF_STEPS,
    OF_THE_FIRST_STEP,
    OF_WEIGHTS,
    ORDERS,
    PARAMETERS_IN_FLOAT32,
    SLOPE_MIRRORED,
    SOFTMAX_OVER_BATCH,
)

LOSSES_ROWS: list[Row] = [
    ("the ½ is missing: the loss is ½ Σ (y − u_out)²", losses.without_half),
    ("losses are summed over the batch: they are means over it", losses.summed),
    (
        "the squares are a mean over the outputs, without the ½, as torch has it: the loss is "
        "½ Σ (y − u_out)²",
        losses.torch_mean,
    ),
    (
        "losses are divided by the number of outputs: they are sums over them",
        losses.mean_over_outputs,
    ),
    (
        "sums over the batch are divided by one less than its size: losses are means over it",
        losses.over_one_less,
    ),
    (
        "sums over the batch are divided by the number of outputs: losses are means over the batch",
        losses.over_outputs,
    ),
    *[
        (
            "losses are of the nudged target: they are of the label, in both loops",
            partial(losses.of_nudged_target, in_open_loop=in_open_loop),
        )
        for in_open_loop in (False, True)
    ],
    ("the closed loop's loss is that of the open loop's output", losses.open_loop_twice),
    ("the losses of open and closed loop are exchanged", losses.exchanged),
    (HARD_LABELS, losses.of_hard_labels),
    (
        "logarithms to base 2: they are natural",
        partial(losses.times, 1 / np.log(2)),
    ),
    (
        "the sign of the loss: −Σ y log softmax(u_out), or ½ Σ (y − u_out)²",
        partial(losses.times, -1),
    ),
    *[
        (
            f"the loss of the {which} sample alone: it is a mean over the batch",
            partial(losses.of_sample, number),
        )
        for which, number in (("first", 0), ("last", -1))
    ],
    *[
        (
            "a small number is added within the logarithm: the loss is −Σ y log softmax(u_out)",
            partial(losses.guarded, small),
        )
        for small in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
    ],
    *[
        (
            "losses are measured after the update: they are of the parameters before it",
            partial(losses.after_the_update, in_closed_loop),
        )
        for in_closed_loop in (False, True)
    ],
    *[
        (
            "the mean of all losses so far: each step has its own",
            partial(losses.mean_so_far, names),
        )
        for names in losses.LOOPS
    ],
    ("losses are a step late: each step has its own", losses.a_step_late),
    *[
        (
            "units are inhibited: backprop's network has no inhibitory units",
            partial(losses.with_inhibition, counted),
        )
        for counted in (False, True)
    ],
    (
        "the other loss: cross-entropy where squares are asked for, or the reverse",
        losses.of_other_loss,
    ),
    (
        "the closed loop's loss is of φ_E(u_E^L) W_out: it is of u_out, with c",
        losses.without_control,
    ),
    IN_FLOAT32,
    (SOFTMAX_OVER_BATCH, losses.over_the_batch),
    (
        "the squared error of the softmax, where cross-entropy is asked for",
        losses.of_squared_error,
    ),
    ("right samples are given as a part of all: they are counted", losses.fraction),
    ("wrong samples are counted: right ones are", losses.counted_wrong),
    (
        "right samples are counted after the update: they are of the parameters before it",
        losses.counted_after_the_update,
    ),
    ("right samples are added up over the steps: each has its own", losses.counted_so_far),
    (
        "right samples are counted in the closed loop: predictions are of the open one",
        losses.counted_in_closed_loop,
    ),
]

GRADIENTS_ROWS: list[Row] = [
    (
        "the sign of δ (by backprop, of the loss's gradient): parameters descend along g",
        arrays("*", lambda setting, array: -1.0 * array),
    ),
    (
        "the sign of the hidden layers' δ: û_I − r_E, or by backprop the loss's slope",
        arrays("hidden*", negated),
    ),
    (
        "the sign of the readout's δ: φ_E(u_E^L) W_out − u_out where control acts on the readout, "
        "else the loss's slope in the open loop",
        arrays("readout*", negated),
    ),
    ("summed over the batch: g is a mean", arrays("*", learning.summed)),
    (
        "the biases' gradients are summed over the batch: g is a mean",
        arrays("*bias", learning.summed),
    ),
    (
        "biases are learned though the network has none: with `bias` false their gradients are 0",
        settings_from(lambda c: {"bias": True}),
    ),
    (
        "the hidden layers' gradients are summed over the batch: g is a mean",
        arrays("hidden*", learning.summed),
    ),
    (
        "the readout's gradient is summed over the batch: g is a mean",
        arrays("readout*", learning.summed),
    ),
    ("divided by the batch size twice", arrays("*", learning.divided_again)),
    ("divided by one less than the batch size", arrays("*", learning.one_less)),
    (
        "divided by the number of outputs: g is a mean over the batch",
        arrays("*", learning.over_outputs),
    ),
    *[
        (words, partial(learning.of_samples, chosen, of_batch))
        for words, chosen in (
            ("the last sample alone: g is a mean over the batch", slice(-1, None)),
            ("the first sample alone: g is a mean over the batch", slice(1)),
            ("the last sample is left out: g is a mean over the batch", slice(-1)),
            ("the first sample is left out: g is a mean over the batch", slice(1, None)),
        )
        for of_batch in (False, True)
    ],
    (
        "gradients are not cleared: those of the step before are still in them",
        learning.not_cleared,
    ),
    ("gradients are those of the step before", order.of_the_step_before),
    OF_THE_FIRST_STEP,
    (learning.gradients_with_decay_in_words, learning.gradients_with_decay),
    (
        "the gradients of backprop, where the rule is another",
        settings_from(lambda c: {"rule": "backprop"}),
    ),
    (
        "backprop's slopes are taken at activities: φ' is to be taken at the drive a",
        partial(learning.backprop_with, slope_of=feedback.slope_at_rate),
    ),
    (
        "backprop has no slopes: δ^l = (W^{l+1} δ^{l+1}) ∘ φ'(a^l)",
        partial(learning.backprop_with, slope_of=feedback.no_slope),
    ),
    (
        "backprop's weights are transposed on the way back: δ^l = (W^{l+1} δ^{l+1}) ∘ φ'(a^l)",
        partial(learning.backprop_with, turned=True),
    ),
    (
        "the derivative of the softmax is there twice: δ_out = softmax(u_out) − y",
        partial(learning.backprop_with, through_softmax=True),
    ),
    *ignored("mean_inhibition.fixed_point", "activation_"),
    IN_FLOAT32,
    ("weights are transposed: g(W) = preᵀ δ is (n_in, n_out)", learning.transposed),
    *OF_MEMORY,
    (
        "the exact inverse, where the rule is another",
        settings_from(partial(learning.other_rule, "exact-inverse")),
    ),
    ("the running r̄ is linearised at, where the rule is another", learning.running_mean),
    *[
        (f"mean_inhibition.init is linearised at{words}", partial(learning.initial_mean, rule))
        for rule, words in (
            ("exact-inverse", ", where the rule is another"),
            ("linear-threshold-fixed", ", not mean_inhibition.fixed_point"),
            ("linear-threshold", ": the rule has the tangent at the running r̄"),
        )
    ],
    (
        "a fixed r₀ is linearised at, where the rule is another",
        settings_from(partial(learning.other_rule, "linear-threshold-fixed")),
    ),
    (
        "the running mean is updated late: r̄ takes in the present batch before it is used",
        learning.late_mean,
    ),
    (
        "each sample is linearised at its own open-loop rate: at r̄, the mean of all",
        learning.mean_of_each_sample,
    ),
    *[
        (
            "the tangent is at the mean potential: it is at φ_I⁻¹(r̄), r̄ the mean of the rates",
            partial(learning.mean_potential, of_its_rate),
        )
        for of_its_rate in (True, False)
    ],
    ("r̄ is a mean over units, too: each unit has its own", learning.mean_of_each_layer),
    ("r̄ is that of another layer: each has its own", learning.mean_of_the_layer_above),
    *[
        (
            "the closed loop's rates are linearised at: r̄ is of the open loop",
            partial(learning.mean_of_the_closed_loop, alone),
        )
        for alone in (True, False)
    ],
    *[
        (f"δ has φ_I'({at}): it has φ_E'(u_E)", partial(learning.inhibitory_slope, at))
        for at in ("u_I", "u_E")
    ],
    (
        "the factor φ_E'(u_E) is missing from δ",
        partial(learning.written_out, slope_of=feedback.no_slope),
    ),
    (
        "rates where potentials belong: φ_E' is to be taken at u_E, not at φ_E(u_E)",
        partial(learning.written_out, slope_of=feedback.slope_at_rate),
    ),
    (
        "φ_E' is to be taken at u_E, not at u_I",
        partial(learning.written_out, slope_at="u_I"),
    ),
    (
        "φ_E' is taken at the drive a: it is to be taken at u_E",
        partial(learning.written_out, slope_at="drive"),
    ),
    (
        "φ_E' is taken at the open loop's u_E: it belongs to the closed loop",
        partial(learning.written_out, slope_at="open loop"),
    ),
    (
        "the sharpness k is left out of φ_E': φ' = s k σ(k (u − m))",
        partial(learning.written_out, slope_of=feedback.without_sharpness),
    ),
    (
        "the scale s is left out of φ_E': φ' = s k σ(k (u − m))",
        partial(learning.written_out, slope_of=feedback.without_scale),
    ),
    (
        SLOPE_MIRRORED.format("φ_E'"),
        partial(learning.written_out, slope_of=feedback.mirrored),
    ),
    (
        "the sharpness k is left out of the tangent: δ = 1/φ'(u₀), φ' = s k σ(k (u − m))",
        partial(learning.written_out, estimate_of=learning.tangent_without_sharpness),
    ),
    *[
        (words, partial(learning.written_out, estimate_of=partial(learning.with_tangent, tangent)))
        for words, tangent in (
            ("θ is left out: û_I = θ + δ r_I, θ = u₀ − r₀ δ", learning.without_threshold),
            ("θ is subtracted: û_I = θ + δ r_I", learning.threshold_subtracted),
            ("r₀ δ is added in θ: θ = u₀ − r₀ δ", learning.threshold_of_a_sum),
            *[
                (
                    f"{left} is left out of φ_I⁻¹: u₀ = m + log(expm1(r₀ / s)) / k",
                    tangent,
                )
                for left, tangent in (
                    ("the shift m", learning.inverse_without_shift),
                    ("the sharpness k", learning.inverse_without_sharpness),
                    ("the scale s", learning.inverse_without_scale),
                )
            ],
            (
                "δ is taken at r₀: δ = 1/φ_I'(u₀), u₀ = φ_I⁻¹(r₀)",
                learning.slope_at_rate_of_tangent,
            ),
            (
                "r₀ is taken for a potential: u₀ = φ_I⁻¹(r₀), δ = 1/φ_I'(u₀), θ = u₀ − r₀ δ",
                learning.rate_as_potential,
            ),
            ("δ is φ_I'(u₀): δ = 1/φ_I'(u₀)", learning.not_inverted),
            ("δ is φ_I'(u₀): δ = 1/φ_I'(u₀)", learning.not_inverted_once),
            (
                "r₀ is taken for a potential: u₀ = φ_I⁻¹(r₀), δ = 1/φ_I'(u₀), θ = u₀ − r₀ δ",
                learning.at_potential,
            ),
        )
    ],
    (
        "the tangent is to φ_E⁻¹: it is to φ_I⁻¹",
        partial(learning.written_out, estimate_of=learning.tangent_to_excitation),
    ),
    (
        "the tangent is taken of the potential, θ + δ u_I: û_I = θ + δ φ_I(u_I)",
        partial(learning.written_out, estimate_of=learning.tangent_at_potential),
    ),
    (
        "excitatory rates in δ are those of the open loop: they belong to the closed loop",
        partial(learning.written_out, compared="open_loop"),
    ),
    (
        "û_I in δ is that of the open loop: it belongs to the closed loop",
        partial(learning.written_out, estimated="open_loop"),
    ),
    (
        "presynaptic potentials: g(W) has presynaptic rates",
        partial(learning.written_out, sent_of=dynamics.potential),
    ),
    (
        "the readout hears presynaptic potentials: g(W) has presynaptic rates",
        learning.readout_of_potentials,
    ),
    *[
        (
            "the readout's δ is the difference of the two loops' outputs: with feedback, "
            "δ_out = φ_E(u_E^L) W_out − u_out",
            partial(learning.readout_with, learning.between_loops, pre),
        )
        for pre in ("open_loop", "closed_loop")
    ],
    *[
        (
            "the readout learns from the error under control: with feedback, "
            "δ_out = φ_E(u_E^L) W_out − u_out, without, the loss's gradient in the open loop",
            partial(learning.readout_with, error_of, pre),
        )
        for error_of in (learning.error_under_control, learning.controller_error)
        for pre in ("open_loop", "closed_loop")
    ],
    (
        "the readout follows the loss's gradient in the open loop: with feedback, "
        "δ_out = φ_E(u_E^L) W_out − u_out",
        partial(learning.readout_with, learning.open_loop_error, "open_loop"),
    ),
    (
        "the readout learns from the nudged target: from the label",
        partial(learning.readout_with, learning.nudged_error, "open_loop"),
    ),
    (
        "rates where potentials belong: û_I is a potential, not φ_I(u_I)",
        partial(learning.written_out, estimate_of=learning.rate_as_estimate),
    ),
    (
        "potentials where rates belong: δ = û_I − φ_E(u_E), not û_I − u_E",
        partial(learning.written_out, estimate_of=learning.potential_instead_of_rate),
    ),
    (
        "learning takes place at the open-loop state: it belongs to the closed loop",
        partial(learning.written_out, post="open_loop", pre="open_loop"),
    ),
    (
        "presynaptic rates are those of the open loop: they belong to the closed loop",
        partial(learning.written_out, pre="open_loop"),
    ),
    (
        "the readout follows the loss's gradient: with feedback, δ_out = φ_E(u_E^L) W_out − u_out",
        learning.loss_gradient_at_readout,
    ),
    (
        "the readout has no feedback: it follows the loss's gradient at the open-loop output",
        learning.controlled_readout,
    ),
    *[
        (
            "the readout's presynaptic rates are those of the other loop: with feedback they "
            "belong to the closed loop, without to the open one",
            partial(learning.readout_of_other_rates, in_error=in_error),
        )
        for in_error in (False, True)
    ],
    (SOFTMAX_OVER_BATCH, givens(learning.softmax_over_the_batch)),
    (HARD_LABELS, givens(dynamics.hard_labels)),
    *OF_WEIGHTS,
    BIAS_LEFT_OUT,
    BIAS_SUBTRACTED,
    BIAS_TWICE,
    INPUTS_NOT_SCALED,
    INPUTS_OVER_256,
    INPUTS_SIGNED,
    FIRST_BATCH,
    *OF_STEPS,
]

UPDATE_ROWS: list[Row] = [
    ("the sign of the step: parameters descend along g", learning.ascent),
    ("the parameters have not moved", learning.unmoved),
    ("the update is done 2 times a step: it is done once", learning.done_twice),
    (
        "the parameters have not moved yet when they are written: they are those after the step",
        learning.written_before,
    ),
    ("plain descent, where the optimiser is Adam", learning.plain_descent),
    ("Adam's bias correction is missing", partial(learning.adam, move=learning.uncorrected)),
    *[
        (f"Adam's {moment} moment is not corrected: {right}", partial(learning.adam, move=move))
        for moment, right, move in (
            ("first", "m / (1 − β₁^t)", learning.first_uncorrected),
            ("second", "v / (1 − β₂^t)", learning.second_uncorrected),
        )
    ],
    ("Adam has Nesterov's momentum: it has none", learning.nesterov),
    (
        "Adam's second moment is the largest so far, as in AMSGrad: it is v",
        partial(learning.adam, largest=True, from_the_start=True),
    ),
    ("Adam has no root: m̂ / (√v̂ + ε)", partial(learning.adam, move=learning.without_root)),
    (
        "Adam's second moment is corrected after the root: √(v / (1 − β₂^t))",
        partial(learning.adam, move=learning.root_before_correction),
    ),
    ("Adam's step counter is one too low: t counts from 1", learning.counted_from_zero),
    (
        "Adam's step counter is one too low: t counts from 1",
        partial(learning.adam, ahead=-1, fewest=1),
    ),
    ("Adam's step counter counts arrays: it counts steps", partial(learning.adam, of_arrays=True)),
    (
        "Adam's moments add up: 1 − β is left out of m ← β m + (1 − β) g",
        partial(learning.adam, weights=learning.full_weight, from_the_start=True),
    ),
    (
        "1 − β₁ is left out of Adam's m ← β₁ m + (1 − β₁) g",
        partial(
            learning.adam,
            weights=learning.full_weight,
            second_weights=learning.complement,
            from_the_start=True,
        ),
    ),
    (
        "Adam's second moment takes in |g|: it takes in g²",
        partial(learning.adam, size=np.abs, from_the_start=True),
    ),
    *ignored("optimizer"),
    (
        "Adam, where plain descent is asked for",
        settings_from(lambda c: {"optimizer": {"name": "adam"}}),
    ),
    ("plain descent has a momentum of 0.9: it has none", partial(learning.momentum, 0.9)),
    (
        "plain descent has Nesterov's momentum of 0.9: it has none",
        partial(learning.momentum, 0.9, nesterov=True),
    ),
    (
        "plain descent has a dampened momentum of 0.9, a mean of gradients: it has none",
        partial(learning.momentum, 0.9, weight=0.1),
    ),
    ("the sign of the gradient moves, and not its size", learning.signs),
    *[
        (
            f"a weight decay of {decay:g} is in the optimiser's gradient: there is none",
            partial(learning.decayed_gradient, decay),
        )
        for decay in (1e-2, 1e-3, 5e-4, 1e-4, 1e-5)
    ],
    *[
        (partial(learning.decay_in_words, moved), partial(learning.decayed, moved))
        for moved in (False, True)
    ],
    ("biases move, though the network has none", learning.biases_moved),
    *[
        (
            f"Adam's ε is {epsilon:g}: it is optimizer.epsilon",
            settings_from(partial(learning.other_epsilon, epsilon)),
        )
        for epsilon in (1e-7, 1e-8, 1e-6, 1e-10)
    ],
    *[
        (
            f"Adam's {name} is {beta:g}: it is optimizer.{setting}",
            settings_from(partial(learning.other_betas, *betas)),
        )
        for name, setting, beta, betas in (
            ("β₂", "beta_2", 0.99, (None, 0.99)),
            ("β₂", "beta_2", 0.95, (None, 0.95)),
            ("β₁", "beta_1", 0.99, (0.99, None)),
        )
    ],
    ("the gradient is that of the step before", learning.gradient_of_the_step_before),
    ("biases are not updated", partial(learning.stays, "*bias")),
    ("the readout is not updated", partial(learning.stays, "readout*")),
    (IN_FLOAT32[0], order.parameters_written_in_float32),
    (PARAMETERS_IN_FLOAT32, order.parameters_held_in_float32),
    ("Adam's step counter is one too high: t counts from 1", partial(learning.adam, ahead=1)),
    (
        "Adam's ε is inside the root: m̂ / (√v̂ + ε)",
        partial(learning.adam, move=learning.epsilon_inside),
    ),
    (
        "Adam's ε is added before the bias correction: m̂ / (√v̂ + ε)",
        partial(learning.adam, move=learning.epsilon_before_correction),
    ),
    (
        "Adam's ε is missing: m̂ / (√v̂ + ε)",
        partial(learning.adam, move=learning.without_epsilon),
    ),
    (
        "Adam's moments are not kept from step to step",
        partial(learning.adam, kept=False, counted=False),
    ),
    (
        "Adam's moments are not kept from step to step, while t counts on",
        partial(learning.adam, kept=False),
    ),
    ("Adam's step counter stays at 1: t counts on", partial(learning.adam, counted=False)),
    *[
        (
            "Adam's 1 − β is taken of a β that float32 has rounded: take it in double",
            partial(learning.adam, betas_rounded=True, from_the_start=always),
        )
        for always in (False, True)
    ],
    *[
        (
            "Adam's 1 − β₂ is taken of a β₂ that float32 has rounded: take it in double",
            partial(
                learning.adam, second_weights=learning.rounded_complement, from_the_start=always
            ),
        )
        for always in (False, True)
    ],
    (
        "Adam's 1 − β^t is computed in float32: as −expm1(t log β), or in double",
        partial(learning.adam, sum_of_weights=learning.rounded_sum_of_weights),
    ),
    (
        "Adam's β₁ and β₂ are exchanged",
        settings_from(
            lambda c: {"optimizer": {"beta_1": c.optimizer.beta_2, "beta_2": c.optimizer.beta_1}}
        ),
    ),
    # In this step, on moments that were right so far.
    ("Adam's β₁ and β₂ are exchanged", partial(learning.adam, betas_exchanged=True)),
    *OF_STEPS,
    *[
        (IN_MEMORY, partial(order.written_in_every_step, change, undone))
        for change, undone in (ORDERS, ORDERS[::-1])
    ],
]
