"""Rows of trajectories, open loop and closed loop."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..judge import OPEN_LOOP
from . import dynamics, feedback, order, paths, recognised
from .ignored import ignored
from .mistake import Row, arrays, givens, negated, settings, settings_from
from .other_values import SHORT_NUMBERS, WAYS, written_short_by_the_right_run
from .shared_rows import (
    ACTIVATIONS_EXCHANGED,
    BIAS_LEFT_OUT,
    BIAS_SUBTRACTED,
    BIAS_TWICE,
    ERRORS_OF_A_MEAN,
    FIRST_BATCH,
    GAINS_EXCHANGED,
    HARD_LABELS,
    IN_FLOAT32,
    IN_MEMORY,
    INPUTS_CUT,
    INPUTS_LEFT_OUT,
    INPUTS_NOT_SCALED,
    INPUTS_OVER_256,
    INPUTS_SIGNED,
    INTEGRAL_ONLY,
    K_P_FOR_K_I,
    OF_LAYERS,
    OF_MEMORY,
    OF_PRECISION,
    OF_SAMPLES,
    OF_STEPS,
    OF_STEPS_REVERSED,
    OF_THE_FIRST_STEP,
    OF_WEIGHTS,
    ORDERS,
    PROPORTIONAL_ONLY,
    READOUT_FEEDBACK,
    SOFTMAX_LEFT_OUT,
    SOFTMAX_OF_SQUARES,
    SOFTMAX_OVER_BATCH,
)

ERROR_REVERSED = "the sign of the error: e = target − output, c = k_p e + k_i z"
Q_READ_OUTPUT_FASTEST = (
    "feedback weights are read with the output fastest: Q^l is (B, n_out, n_l), the unit fastest"
)
OF_ANOTHER_SAMPLE = "feedback weights are another sample's: each has its own"

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
    (
        "m is subtracted after k has multiplied: φ(u) = s log(1 + exp(k (u − m)))",
        settings_from(
            lambda c: {
                "activation_E": {"shift": c.activation_E.shift / c.activation_E.sharpness},
                "activation_I": {"shift": c.activation_I.shift / c.activation_I.sharpness},
            }
        ),
    ),
    (
        "rates are divided by the sharpness: φ(u) = s log(1 + exp(k (u − m)))",
        settings_from(
            lambda c: {
                "activation_E": {"scale": c.activation_E.scale / c.activation_E.sharpness},
                "activation_I": {"scale": c.activation_I.scale / c.activation_I.sharpness},
            }
        ),
    ),
    *ignored("activation_"),
    *OF_WEIGHTS,
    BIAS_LEFT_OUT,
    BIAS_SUBTRACTED,
    BIAS_TWICE,
    INPUTS_NOT_SCALED,
    INPUTS_OVER_256,
    INPUTS_SIGNED,
    INPUTS_CUT,
    *INPUTS_LEFT_OUT,
    ("rates are given where potentials belong", dynamics.rates),
    (
        "the excitatory arrays hold rates: they are to hold potentials",
        partial(dynamics.rates_of, "u_E"),
    ),
    (
        "the inhibitory arrays hold rates: they are to hold potentials",
        partial(dynamics.rates_of, "u_I"),
    ),
    (
        "the output is given as probabilities: u_out is a potential, without softmax",
        dynamics.output_as_probabilities,
    ),
    (
        "the output is given as a rate: u_out is a potential, without φ_E",
        dynamics.output_as_rates,
    ),
    ("excitatory and inhibitory potentials are exchanged", dynamics.exchanged_populations),
    OF_LAYERS,
    *OF_SAMPLES,
    *OF_MEMORY,
    *OF_PRECISION,
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
    *ignored("tau_"),
    (
        "layers are stepped one after another, with what the one below has after its step: all "
        "layers move at once",
        partial(paths.followed, in_sequence=True),
    ),
    (
        "the classical Runge-Kutta method, where the trace has another",
        partial(paths.followed, weights=paths.CLASSICAL),
    ),
    ("a coefficient of the method has the wrong sign", paths.with_a_sign_lost),
    (
        "wrong time constant: τ_I where the readout has τ_E",
        partial(paths.followed, change=paths.inhibitory_readout),
    ),
    (
        "time 0 is not kept: the first entry is the state before any step",
        paths.without_time_zero,
    ),
    (
        "each of the first steps is kept: of trajectory.every steps one is",
        paths.each_step_kept,
    ),
    (
        "states lie half as far apart: trajectory.dt or .every is halved",
        partial(paths.in_other_steps, 1 / 2),
    ),
    (
        "states lie twice as far apart: trajectory.dt or .every is doubled",
        partial(paths.in_other_steps, 2),
    ),
    (
        "states are kept one step late: the first step, and each trajectory.every-th after it",
        paths.kept_a_step_late,
    ),
    (
        "states are kept one step early: each trajectory.every-th is kept before it is taken",
        paths.kept_a_step_early,
    ),
    (
        "φ_I is taken of u_E: τ_E du_E/dt = −u_E + a − φ_I(u_I)",
        partial(paths.followed, change=paths.inhibition_of_excitation),
    ),
    (
        "the readout is driven by potentials: by rates, φ_E(u_E^L) W_out",
        partial(paths.followed, change=paths.readout_of_potentials),
    ),
    (
        "the path has the parameters that learning left: it has the initial ones",
        givens(paths.of_the_learnt_parameters),
    ),
    ("the path is of the last batch: it is of batch 0", givens(paths.of_the_last_batch)),
    ("the path is of the second batch: it is of batch 0", givens(paths.of_the_second_batch)),
]

OPEN_PATH_ROWS: list[Row] = [
    *OF_STATES,
    *OF_PATHS,
    ("the path starts at the end state: it starts from zero", paths.from_the_end_state),
    *[
        (
            "the integral runs in the open loop: there is no control, and z stays 0",
            partial(paths.followed, change=partial(paths.integral_running, drives_readout)),
        )
        for drives_readout in (False, True)
    ],
]

CLOSED_PATH_ROWS: list[Row] = [
    *OF_STATES,
    *OF_PATHS,
    (
        "wrong time constant: τ_E where the controller's integral has τ_c",
        settings_from(lambda c: {"controller": {"tau": c.tau_E}}),
    ),
    (
        "τ_c is left out: τ_c dz/dt = e − leak · z",
        settings(controller={"tau": 1.0}),
    ),
    (ERROR_REVERSED, paths.with_error_reversed),
    (HARD_LABELS, givens(paths.hard_label_as_target)),
    READOUT_FEEDBACK,
    (
        "the controller's integral does not leak: τ_c dz/dt = e − leak · z",
        settings(controller={"leak": 0.0}),
    ),
    PROPORTIONAL_ONLY,
    INTEGRAL_ONLY,
    K_P_FOR_K_I,
    GAINS_EXCHANGED,
    SOFTMAX_LEFT_OUT,
    SOFTMAX_OF_SQUARES,
    *ERRORS_OF_A_MEAN,
    (
        "c_int is to be the integral z, not the control signal c",
        dynamics.control_as_integral,
    ),
    *[
        (
            f"the path's target is that of the {words} step: it is that of step 0",
            givens(partial(paths.target_of_another_step, which)),
        )
        for words, which in (("second", 1), ("last", -1))
    ],
    (
        "the path's target is the label where weak feedback nudges",
        givens(paths.label_as_target),
    ),
    (
        "the nudge starts from where the path ended: it starts from the open loop's end state",
        givens(paths.nudged_from_the_path),
    ),
    (
        "the controlled path starts at the open loop's end state: it starts where the open loop's "
        "path ends",
        paths.from_the_end_state,
    ),
    *ignored("controller"),
    (
        "the leak stands outside the time constant: τ_c dz/dt = e − leak · z",
        settings_from(lambda c: {"controller": {"leak": c.controller.leak * c.controller.tau}}),
    ),
    (
        "the controlled path starts from zero: it starts where the open loop's path ends",
        paths.from_rest,
    ),
    ("the integral starts at the error: it starts at zero", paths.integral_at_error),
    *[
        (
            "feedback weights are the port's own: the path has those of trajectory/feedback",
            givens(partial(paths.own_feedback, at_end)),
        )
        for at_end in (False, True)
    ],
    (
        "all samples have the first sample's feedback weights",
        givens(partial(paths.feedback_with, lambda Q: Q[:1] + 0 * Q)),
    ),
    (Q_READ_OUTPUT_FASTEST, givens(partial(paths.feedback_with, dynamics.read_output_fastest))),
    *[
        (OF_ANOTHER_SAMPLE, givens(partial(paths.feedback_with, partial(np.roll, shift=n, axis=0))))
        for n in (-1, 1)
    ],
    (
        "the sign of the control: c Q is taken from u_I, c = k_p e + k_i z, e = target − output",
        givens(partial(paths.feedback_with, np.negative)),
    ),
    (
        "the control does not reach the hidden layers: c Q is taken from u_I",
        givens(partial(paths.feedback_with, np.zeros_like)),
    ),
]

OPEN_LOOP_ROWS: list[Row] = [
    *OF_STATES,
    *OF_STEPS,
    FIRST_BATCH,
    (
        "each step is given the batch of the step after it: step t is given batch t",
        givens(dynamics.next_batch),
    ),
    ("u_I is u_E: at rest u_I = φ_E(u_E)", dynamics.inhibition_as_excitation),
    (
        "the output is of potentials: u_out = φ_E(u_E^L) W_out",
        dynamics.readout_of_potentials,
    ),
    (IN_FLOAT32[0], partial(dynamics.of_the_right_run, order.in_float32)),
    *[(IN_MEMORY, partial(dynamics.of_the_right_run, change)) for change in ORDERS],
    *[
        (words, partial(written_short_by_the_right_run, way))
        for way, (words, _) in zip(WAYS, SHORT_NUMBERS, strict=True)
    ],
    (
        "all is that of the step before, kept or named one too high: steps count from 0000",
        order.of_the_step_before,
    ),
    OF_THE_FIRST_STEP,
    OF_STEPS_REVERSED,
    ("inhibition is left out: at rest u_E + φ_I(u_I) = a", dynamics.without_inhibition),
    (
        "potentials inhibit where rates do: at rest u_E + φ_I(u_I) = a",
        partial(dynamics.open_loop_with, rate_I=dynamics.potential),
    ),
    (
        "rates are max(v, 0): φ is smooth, s log(1 + exp(k (u − m)))",
        partial(dynamics.open_loop_with, rate_E=dynamics.rectified, rate_I=dynamics.rectified),
    ),
    (
        "potentials go up to the next layer: rates do, a = φ_E(u_E) W + b",
        partial(dynamics.open_loop_with, upward=dynamics.potentials_up),
    ),
    (
        "inhibitory rates go up to the next layer: excitatory ones do, a = φ_E(u_E) W + b",
        partial(dynamics.open_loop_with, upward=dynamics.inhibition_up),
    ),
    ("the integral is not 0: without control it rests there", recognised.integral_left),
    (
        "this is the closed loop: the loops are exchanged, or one was written over the other",
        dynamics.closed_loop_instead,
    ),
]

CLOSED_LOOP_ROWS: list[Row] = [
    *OF_STATES,
    *OF_STEPS,
    OF_THE_FIRST_STEP,
    (
        "the sign of the control: c Q is taken from u_I, c = k_p e + k_i z, e = target − output",
        givens(dynamics.feedback_negated),
    ),
    (ERROR_REVERSED, recognised.error_reversed),
    (
        "feedback weights are applied that are not normalised, and normalised ones written",
        givens(feedback.unnormalised),
    ),
    (
        "feedback weights are applied without φ_I', and right ones written",
        givens(feedback.without_inhibitory_slope),
    ),
    (
        Q_READ_OUTPUT_FASTEST,
        givens(
            partial(dynamics.feedback_with, lambda from_top, Q: dynamics.read_output_fastest(Q))
        ),
    ),
    (
        "the output is that of the open loop: it is moved by what reaches it, and by c",
        dynamics.output_of_the_open_loop,
    ),
    (
        "the output is given without c: u_out = φ_E(u_E^L) W_out + c with feedback.to_readout",
        dynamics.output_without_control,
    ),
    *[
        (words, givens(partial(dynamics.of_another_sample, n, part)))
        for words, part in (
            (OF_ANOTHER_SAMPLE, "feedback"),
            ("the target is another sample's: each has its own", "closed_loop_target"),
        )
        for n in (-1, 1)
    ],
    ("the label is the target where weak feedback nudges", givens(dynamics.label_as_target)),
    (HARD_LABELS, givens(dynamics.hard_label_as_target)),
    SOFTMAX_LEFT_OUT,
    SOFTMAX_OF_SQUARES,
    (SOFTMAX_OVER_BATCH, recognised.error_over_the_batch),
    READOUT_FEEDBACK,
    PROPORTIONAL_ONLY,
    INTEGRAL_ONLY,
    K_P_FOR_K_I,
    (
        "the leak is left out of the steady gain: κ = k_p + k_i / leak",
        settings(controller={"leak": 1.0}),
    ),
    *[
        (words, partial(dynamics.other_gain, gain, integral))
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
            (PROPORTIONAL_ONLY[0], lambda c: c.k_p),
            (INTEGRAL_ONLY[0], lambda c: c.k_i / c.leak),
            (K_P_FOR_K_I[0], lambda c: c.k_p + c.k_p / c.leak),
        )
        for integral in ("e / leak", "e", "of c")
    ],
    (
        "c_int is to be the integral z = e / leak, not the control signal c",
        dynamics.control_as_integral,
    ),
    ("the integral rests at z = e / leak, not at e", dynamics.integral_without_leak),
    (
        "c_int is c / k_i: without the part of k_p, z = c / (k_p leak + k_i)",
        dynamics.control_over_integral_gain,
    ),
    *ERRORS_OF_A_MEAN,
    ("c_int is to be the integral z, not k_i z", dynamics.integral_times_gain),
    *ignored("controller.k_", "controller.leak"),
    GAINS_EXCHANGED,
    (
        "the control does not reach the hidden layers: c Q is taken from u_I",
        givens(partial(dynamics.feedback_with, lambda from_top, Q: 0 * Q)),
    ),
    (
        "the control reaches the top hidden layer alone: it reaches all",
        givens(partial(dynamics.feedback_with, lambda from_top, Q: 0 * Q if from_top else Q)),
    ),
    (
        "all samples have the first sample's feedback weights",
        givens(partial(dynamics.feedback_with, lambda from_top, Q: Q[:1] + 0 * Q)),
    ),
    (
        "feedback weights are those of the step before",
        givens(dynamics.feedback_of_the_step_before),
    ),
    (
        "excitatory units stay where the open loop had them: all units rest under control",
        dynamics.excitation_unchanged,
    ),
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
]
