"""The table of usual mistakes, by stage, and the one that would give the numbers that were found.

A row is a hint, what the mistake is and what would be right, and what the stage gives under it. A
hint that has numbers of what was found is a function that gives the words.
What is more than a changed setting or a changed array is a function in the file of its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from ...backends import Backend
from ...refimpl import SoftReLU
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
    Arrays,
    Comparison,
    Stage,
    deviation,
    largest,
)
from ..trace import Trace
from . import dynamics, feedback, learning, losses, order, recognised
from .mistake import (
    Result,
    Setting,
    Words,
    arrays,
    givens,
    negated,
    settings,
    settings_from,
)

Row = tuple[str | Words, Result]

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
INTEGRAL_ONLY: Row = (
    "the controller is integral only: c = k_p e + k_i z",
    settings(controller={"k_p": 0.0}),
)


def _of_weights(change: Callable[[np.ndarray], np.ndarray]) -> Result:
    return givens(partial(order.of_weights, change))


def _times(factor: float) -> Result:
    return givens(partial(dynamics.inputs_times, factor))


def _without(factor: str, slope_of: Callable[[SoftReLU, np.ndarray], np.ndarray]) -> list[Row]:
    """Slopes without one of their factors, both or either."""
    words = f"the {factor} is left out of {{}}: φ' = s k σ(k (u − m))"
    return [
        (
            words.format("φ_E' and φ_I'"),
            partial(feedback.chain, slope_E=slope_of, slope_I=slope_of),
        ),
        (words.format("φ_E'"), partial(feedback.chain, slope_E=slope_of)),
        (words.format("φ_I'"), partial(feedback.chain, slope_I=slope_of)),
    ]


INPUTS_NOT_SCALED: Row = ("byte inputs are not divided by 255", _times(255))
INPUTS_OVER_256: Row = (
    "byte inputs are divided by 256: they are divided by 255",
    _times(255 / 256),
)
BIAS_LEFT_OUT: Row = ("biases are left out: a = h W + b", givens(dynamics.without_bias))
BIAS_TWICE: Row = ("biases are added twice: a = h W + b", givens(dynamics.bias_twice))
SOFTMAX_OVER_BATCH = "the softmax goes over the batch: it goes over the outputs of a sample"
HARD_LABELS = (
    "labels are 1 on the class and 0 elsewhere: those of the trace are softened, 0.99 and "
    "0.01 / (n_out − 1)"
)

TRANSPOSED = "weights are transposed: they are (n_in, n_out), and a = h W + b"
COLUMN_MAJOR = "weights are read column-major: they are (n_in, n_out), the last index fastest"
OF_WEIGHTS: list[Row] = [
    (TRANSPOSED, givens(dynamics.transposed)),
    (COLUMN_MAJOR, _of_weights(order.read_column_major)),
    (COLUMN_MAJOR, _of_weights(order.written_column_major)),
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
]
IN_MEMORY = "arrays are column-major: the last index is to run fastest"
ORDERS = (order.written_column_major, order.read_column_major)
OF_MEMORY: list[Row] = [(IN_MEMORY, arrays("*", order.in_a_file(change))) for change in ORDERS]
OF_SAMPLES: list[Row] = [
    (
        partial(order.order_in_words, "samples", order.sample_order),
        order.samples_in_another_order,
    ),
]

OF_STATES: list[Row] = [
    ACTIVATIONS_EXCHANGED,
    ("φ_E stands where φ_I belongs", settings_from(lambda c: {"activation_I": c.activation_E})),
    (
        "the shift has the wrong sign: φ(u) = s log(1 + exp(k (u − m)))",
        settings_from(
            lambda c: {
                "activation_E": {"shift": -c.activation_E.shift},
                "activation_I": {"shift": -c.activation_I.shift},
            }
        ),
    ),
    (
        "the scale s of the activation is left out",
        settings(activation_E={"scale": 1.0}, activation_I={"scale": 1.0}),
    ),
    (
        "the sharpness k of the activation is left out",
        settings(activation_E={"sharpness": 1.0}, activation_I={"sharpness": 1.0}),
    ),
    *OF_WEIGHTS,
    BIAS_LEFT_OUT,
    BIAS_TWICE,
    INPUTS_NOT_SCALED,
    INPUTS_OVER_256,
    ("rates are given where potentials belong", dynamics.rates),
    ("excitatory and inhibitory potentials are exchanged", dynamics.exchanged_populations),
    *OF_SAMPLES,
    *OF_MEMORY,
]
OF_PATHS: list[Row] = [
    ("τ_E and τ_I are exchanged", settings_from(lambda c: {"tau_E": c.tau_I, "tau_I": c.tau_E})),
    (
        "wrong time constant: τ_I where excitatory and readout units have τ_E",
        settings_from(lambda c: {"tau_E": c.tau_I}),
    ),
    (
        "wrong time constant: τ_E where inhibitory units have τ_I",
        settings_from(lambda c: {"tau_I": c.tau_E}),
    ),
    (
        "another integration method than the trace's (Euler for Tsitouras, or the reverse)",
        givens(dynamics.other_method),
    ),
    (
        "time and batch are exchanged in memory: trajectories are (B, T, n)",
        arrays("*", order.in_a_file(order.time_and_batch_exchanged)),
    ),
]

USUAL_MISTAKES: dict[Stage, list[Row]] = {
    OPEN_LOOP_PATH: [*OF_STATES, *OF_PATHS],
    CLOSED_LOOP_PATH: [
        *OF_STATES,
        *OF_PATHS,
        (
            "wrong time constant: τ_E where the controller's integral has τ_c",
            settings_from(lambda c: {"controller": {"tau": c.tau_E}}),
        ),
        READOUT_FEEDBACK,
        (
            "the controller's integral does not leak: τ_c dz/dt = e − leak · z",
            settings(controller={"leak": 0.0}),
        ),
        PROPORTIONAL_ONLY,
        INTEGRAL_ONLY,
    ],
    OPEN_LOOP: [
        *OF_STATES,
        *OF_STEPS,
        ("inhibition is left out: at rest u_E + φ_I(u_I) = a", dynamics.without_inhibition),
    ],
    MEAN_INHIBITION: [
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
        ("the rate of the mean potential: it is the mean of the rates", learning.rate_of_mean),
        (
            "ρ and 1 − ρ are exchanged: r̄ ← (1 − ρ) r̄ + ρ · batch mean",
            settings_from(lambda c: {"mean_inhibition": {"rate": 1 - c.mean_inhibition.rate}}),
        ),
    ],
    FEEDBACK: [
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
        ("the clipping to ±feedback.clip is missing", settings(feedback={"clip": None})),
        ACTIVATIONS_EXCHANGED,
        (
            "Q is taken at the closed-loop state: it belongs to the open-loop end state",
            givens(feedback.in_closed_loop),
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
            "the factor φ_E'(u_E^l) is missing from J^l",
            partial(feedback.chain, slope_E=feedback.no_slope),
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
        *_without("sharpness k", feedback.without_sharpness),
        *_without("scale s", feedback.without_scale),
        *OF_WEIGHTS[1:],
        *OF_STEPS,
        *OF_SAMPLES,
        *OF_MEMORY,
    ],
    CLOSED_LOOP_TARGET: [
        (
            "strong and weak feedback are exchanged (feedback.strong)",
            settings_from(lambda c: {"feedback": {"strong": not c.feedback.strong}}),
        ),
        (
            "the nudge goes away from the label: o + λ (y − o), in cross-entropy inside the "
            "softmax",
            dynamics.nudged_away,
        ),
        (
            "the nudge is applied to probabilities: with cross-entropy it goes inside the softmax",
            dynamics.nudged_probabilities,
        ),
        ("the softmax around the nudged potential is left out", dynamics.nudged_without_softmax),
        (SOFTMAX_OVER_BATCH, dynamics.nudged_over_the_batch),
        (HARD_LABELS, givens(dynamics.hard_labels)),
        (
            partial(order.order_in_words, "labels", order.label_order),
            order.labels_in_another_order,
        ),
        *OF_MEMORY,
    ],
    CLOSED_LOOP: [
        *OF_STATES,
        *OF_STEPS,
        (
            "the sign of the control: c Q is taken from u_I, c = k_p e + k_i z, "
            "e = target − output",
            givens(dynamics.feedback_negated),
        ),
        ("the label is the target where weak feedback nudges", givens(dynamics.label_as_target)),
        (HARD_LABELS, givens(dynamics.hard_label_as_target)),
        ("the softmax is left out of the error: e = target − softmax(u_out)", settings(loss="mse")),
        (SOFTMAX_OVER_BATCH, recognised.error_over_the_batch),
        READOUT_FEEDBACK,
        PROPORTIONAL_ONLY,
        INTEGRAL_ONLY,
        (
            "the leak is left out of the steady gain: κ = k_p + k_i / leak",
            settings(controller={"leak": 1.0}),
        ),
        *[
            (words, partial(dynamics.other_gain, gain, of_control))
            for words, gain in (
                (
                    "the leak is left out of the steady gain: κ = k_p + k_i / leak",
                    lambda c: c.k_p + c.k_i,
                ),
                (
                    "the leak multiplies in the steady gain: κ = k_p + k_i / leak",
                    lambda c: c.k_p + c.k_i * c.leak,
                ),
                (
                    "the leak divides all of the steady gain: κ = k_p + k_i / leak",
                    lambda c: (c.k_p + c.k_i) / c.leak,
                ),
            )
            for of_control in (False, True)
        ],
        (
            "c_int is to be the integral z = e / leak, not the control signal c",
            dynamics.control_as_integral,
        ),
        ("the integral rests at z = e / leak, not at e", dynamics.integral_without_leak),
        (
            "the sign of the integral: τ_c dz/dt = e − leak · z, e = target − output",
            arrays("c_int", negated),
        ),
        (
            "c_int is not given: it is the integral z = e / leak, which was left at 0",
            arrays("c_int", lambda setting, array: np.zeros_like(array)),
        ),
        (
            "u_I = φ_E(u_E) − c Q under control; the open loop's relation is used",
            dynamics.inhibition_without_control,
        ),
        (
            "c Q is added to u_I: dis-inhibition takes it away",
            dynamics.excitation_instead_of_inhibition,
        ),
        (
            "the control does nothing: this is the open loop",
            lambda setting: OPEN_LOOP.golden(setting.trace, setting.step),
        ),
    ],
    LOSSES: [
        ("the ½ is missing: the loss is ½ Σ (y − u_out)²", losses.without_half),
        ("losses are summed over the batch: they are means over it", losses.summed),
        (
            "losses are divided by the number of outputs: they are sums over them",
            losses.mean_over_outputs,
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
        (SOFTMAX_OVER_BATCH, losses.over_the_batch),
        (
            "the squared error of the softmax, where cross-entropy is asked for",
            losses.of_squared_error,
        ),
        ("right samples are given as a part of all: they are counted", losses.fraction),
        (
            "right samples are counted in the closed loop: predictions are of the open one",
            losses.counted_in_closed_loop,
        ),
    ],
    GRADIENTS: [
        (
            "the sign of δ: δ = û_I − r_E, and parameters descend along g",
            arrays("*", lambda setting, array: -1.0 * array),
        ),
        ("the sign of the hidden layers' δ: δ = û_I − r_E", arrays("hidden*", negated)),
        (
            "the sign of the readout's δ: δ_out = φ_E(u_E^L) W_out − u_out",
            arrays("readout*", negated),
        ),
        ("summed over the batch: g is a mean", arrays("*", learning.summed)),
        (
            "the biases' gradients are summed over the batch: g is a mean",
            arrays("*bias", learning.summed),
        ),
        (
            "the readout's gradient is summed over the batch: g is a mean",
            arrays("readout*", learning.summed),
        ),
        ("divided by the batch size twice", arrays("*", learning.divided_again)),
        ("weights are transposed: g(W) = preᵀ δ is (n_in, n_out)", learning.transposed),
        *OF_MEMORY,
        (
            "the exact inverse, where the rule is another",
            settings_from(partial(learning.other_rule, "exact-inverse")),
        ),
        (
            "the running r̄ is linearised at, where the rule is another",
            settings_from(partial(learning.other_rule, "linear-threshold")),
        ),
        (
            "a fixed r₀ is linearised at, where the rule is another",
            settings_from(partial(learning.other_rule, "linear-threshold-fixed")),
        ),
        (
            "the running mean is updated late: r̄ takes in the present batch before it is used",
            learning.late_mean,
        ),
        (
            "mean_inhibition.init is linearised at: the rule has the tangent at the running r̄",
            learning.initial_mean,
        ),
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
            "the sharpness k is left out of the tangent: δ = 1/φ'(u₀), φ' = s k σ(k (u − m))",
            partial(learning.written_out, estimate_of=learning.tangent_without_sharpness),
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
            "the readout follows the loss's gradient: with feedback, "
            "δ_out = φ_E(u_E^L) W_out − u_out",
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
        BIAS_TWICE,
        INPUTS_NOT_SCALED,
        INPUTS_OVER_256,
        *OF_STEPS,
    ],
    UPDATE: [
        ("the sign of the step: parameters descend along g", learning.ascent),
        ("the parameters have not moved", learning.unmoved),
        ("plain descent, where the optimiser is Adam", learning.plain_descent),
        ("Adam's bias correction is missing", partial(learning.adam, move=learning.uncorrected)),
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
        (
            "Adam's 1 − β^t is computed in float32: as −expm1(t log β), or in double",
            partial(learning.adam, sum_of_weights=learning.rounded_sum_of_weights),
        ),
        (
            "Adam's β₁ and β₂ are exchanged",
            settings_from(
                lambda c: {
                    "optimizer": {"beta_1": c.optimizer.beta_2, "beta_2": c.optimizer.beta_1}
                }
            ),
        ),
        # In this step, on moments that were right so far.
        ("Adam's β₁ and β₂ are exchanged", partial(learning.adam, betas_exchanged=True)),
        *OF_STEPS,
        *[
            (IN_MEMORY, partial(order.written_in_every_step, change, undone))
            for change, undone in (ORDERS, ORDERS[::-1])
        ],
    ],
}

NOT_CONVERGED: Row = (recognised.potential_left, recognised.potential_not_converged)
FACTOR: Row = (recognised.factor_in_words, recognised.one_factor)
FACTORS: Row = (recognised.factors_in_words, recognised.a_factor_each)
WHERE_NONE_IS_USUAL: dict[Stage, list[Row]] = {
    OPEN_LOOP: [NOT_CONVERGED],
    FEEDBACK: [FACTOR, FACTORS],
    CLOSED_LOOP: [
        (recognised.control_left, recognised.control_not_converged),
        NOT_CONVERGED,
    ],
    GRADIENTS: [FACTOR, FACTORS],
    UPDATE: [FACTOR],
}
"""What is looked for only where no usual mistake explains what was found."""

LIKENESS = 1e-3
"""A mistake is named if it explains all but this fraction of every array's deviation: of two that
differ by a per cent, as no step and one a hundred times too small, only one is right."""
FAR_BETTER = 0.25
"""And if, where more deviates than rounding would, it leaves no more than this of it, by root mean
square: in coarse arithmetic, too, it must be far nearer to what was found than the right is."""
MOST_NAMED = 3
"""Of mistakes that give the same numbers."""


@dataclass(frozen=True)
class Explanation:
    """The usual mistakes that give what was found, in words, and what they leave unexplained.

    The words are empty if there are none. What is left is a fraction of the deviation, by root mean
    square, of the array that is explained worst.
    """

    words: str = ""
    left: float = 1.0


def usual_mistake(
    stage: Stage, trace: Trace, comparisons: Sequence[Comparison], reference: Backend
) -> Explanation:
    """Name the mistake that gives nearest to the numbers found; none if none explains every array.

    Those that give the same numbers, within rounding, are all named, as far as three. The
    comparisons are the steps' in order, of what was computed, as far as given, and what rounding
    may do. The trace has what the stage was given, the reference the solver that finds end states.
    """
    places = [
        Setting(stage, trace, comparison.step or 0, reference.solver, _usable(comparison))
        for comparison in comparisons
    ]
    if any(len(s.found) < len(c.found) for s, c in zip(places, comparisons, strict=True)):
        # Of what is no number, or of another shape, nothing can be said.
        return Explanation()
    with np.errstate(all="ignore"):
        rights = [setting.right for setting in places]
        for table in (USUAL_MISTAKES, WHERE_NONE_IS_USUAL):
            explained = []
            for row in table.get(stage, []):
                wrongs = _results(row[1], places)
                unexplained = _unexplained(wrongs, rights, comparisons)
                if unexplained < 1:
                    explained.append((unexplained, row))
            if explained:
                return _explanation(explained, places, comparisons)
    return Explanation()


def _usable(comparison: Comparison) -> Arrays:
    return {
        name: np.asarray(array, dtype=np.float64)
        for name, array in comparison.found.items()
        if array.shape == comparison.expected[name].shape and np.all(np.isfinite(array))
    }


def _results(result: Result, places: Sequence[Setting]) -> Iterator[Arrays | None]:
    for setting in places:
        try:
            yield result(setting)
        except (ValueError, np.linalg.LinAlgError):
            # A mistaken network may have no answer at all.
            yield None


def _unexplained(
    wrongs: Iterator[Arrays | None],
    rights: Sequence[Arrays],
    comparisons: Sequence[Comparison],
) -> float:
    """Largest part of any array's deviation that a mistake leaves, over what it may leave."""
    worst, deviates_anywhere = 0.0, False
    for wrong, right, comparison in zip(wrongs, rights, comparisons, strict=True):
        if wrong is None:
            return np.inf
        for name, found in comparison.found.items():
            off, left = deviation(right[name], found), deviation(wrong[name], found)
            rounding = comparison.rounding.get(name, 0.0)
            # What is right by itself must stay right under the mistake.
            limit = max(LIKENESS * largest(off), 2 * rounding, np.finfo(np.float64).tiny)
            worst = max(worst, largest(left) / limit)
            if largest(off) > 2 * rounding:
                deviates_anywhere = True
                worst = max(worst, _size(left) / (FAR_BETTER * _size(off)))
        if worst >= 1:
            # The other steps cost time, and cannot make it better.
            break
    # Where nothing deviates by more than two right answers may, nothing is there to explain.
    return worst if deviates_anywhere else np.inf


def _size(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.ravel()))


def _explanation(
    explained: Sequence[tuple[float, Row]],
    places: Sequence[Setting],
    comparisons: Sequence[Comparison],
) -> Explanation:
    """Name the mistake that leaves least, and before or after it those that give its numbers."""
    nearest = min(explained, key=itemgetter(0))[1]
    wrongs = list(_results(nearest[1], places))
    hints = []
    for _, (hint, result) in explained:
        others = _results(result, places)
        if all(map(_are_equal, wrongs, others, comparisons)):
            hints.append(hint if isinstance(hint, str) else hint(places))
    left = 0.0
    for wrong, setting, comparison in zip(wrongs, places, comparisons, strict=True):
        for name, found in comparison.found.items():
            off = deviation(setting.right[name], found)
            if wrong is not None and largest(off) > 2 * comparison.rounding.get(name, 0.0):
                left = max(left, _size(deviation(wrong[name], found)) / _size(off))
    return Explanation("; or ".join(list(dict.fromkeys(hints))[:MOST_NAMED]), left)


def _are_equal(one: Arrays | None, other: Arrays | None, comparison: Comparison) -> bool:
    """Whether two mistakes give the same numbers, as far as rounding lets one tell."""
    if one is None or other is None:
        return False
    return all(
        largest(deviation(one[name], other[name]))
        <= max(2 * comparison.rounding.get(name, 0.0), np.finfo(np.float64).tiny)
        for name in comparison.found
    )
