"""What an arithmetic is too coarse for, where a right port fails in it.

Such a failure is no mistake of the port's, and is told by what lies near the last place: feedback
weights before they are normalised, squares of gradients; or by steps that are long beside a time
constant.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ...refimpl import feedback_weights
from ..trace import Trace
from .stages import FEEDBACK, UPDATE, Stage, learner_before
from .tolerance import Arithmetic, largest
from .verdict import Comparison, deviation

GROWTH = 8.0
"""Standard errors of a sum of rounding errors, with room for the layers that J goes through."""
COARSEST_FLOAT = 1e-4
"""Floats finer than this have digits to spare."""
LONG_STEP = 0.1
"""Of a time constant: beyond it a step hands on a good part of what rounding left before."""


def coarseness_in_words(
    stage: Stage, trace: Trace, comparison: Comparison, arithmetic: Arithmetic
) -> str:
    """Say what the arithmetic is too coarse for in a step that fails; empty if it is not that."""
    if not arithmetic.is_fixed_point and arithmetic.epsilon < COARSEST_FLOAT:
        return ""
    if stage is FEEDBACK:
        return _feedback_below_the_last_place(trace, comparison, arithmetic)
    if stage.is_path:
        return _steps_too_long(trace)
    return ""


def moments_in_words(
    stage: Stage, trace: Trace, comparison: Comparison, arithmetic: Arithmetic
) -> str:
    """Say that Adam's second moments fall below the last place, if nothing explains an update."""
    optimizer = trace.configuration.optimizer
    if stage is not UPDATE or optimizer.name != "adam" or not arithmetic.is_fixed_point:
        return ""
    gradients = trace.steps[comparison.step or 0].gradients
    arrays = [*gradients.weights, *gradients.biases, gradients.readout]
    squares = (1 - optimizer.beta_2) * np.concatenate([g.ravel() for g in arrays]) ** 2
    below = float(np.mean(squares < arithmetic.epsilon))
    if below < 0.5:
        return ""
    return (
        f"of {100 * below:.0f} % of these gradients the square, times 1 − β₂, lies below the last "
        "place: Adam's second moments are to be kept wider"
    )


def _feedback_below_the_last_place(
    trace: Trace, comparison: Comparison, arithmetic: Arithmetic
) -> str:
    """Whether what normalising makes of the rounding of J is as large as what deviates."""
    configuration, step = trace.configuration, comparison.step or 0
    circuit = trace.steps[step].circuit
    if not configuration.feedback.normalize or circuit is None:
        return ""
    plain = dataclasses.replace(configuration.feedback, normalize=False)
    parameters = learner_before(trace, step).parameters
    before = feedback_weights(
        dataclasses.replace(configuration, feedback=plain), parameters, circuit.open_loop
    )
    words = ""
    for l, Q in enumerate(before):
        name = f"Q_{l}"
        found, expected = comparison.found.get(name), comparison.expected.get(name)
        if found is None or expected is None or found.shape != expected.shape:
            continue
        Q = np.broadcast_to(Q, expected.shape)
        norms = np.linalg.norm(Q, axis=(1, 2))
        last_place = np.max(arithmetic.spacing(Q), axis=(1, 2))
        with np.errstate(divide="ignore"):
            places = norms / last_place
            hidden = (
                GROWTH * np.sqrt(Q[0].size) * float(np.max(configuration.feedback.norm)) / places
            )
        off = np.max(deviation(expected, found), axis=(1, 2))
        allowed = comparison.rounding.get(name, 0.0)
        if np.any((off > allowed) & (off > np.minimum(hidden, 2 * largest(expected)))):
            # There is more than rounding can do.
            return ""
        if np.any(off > allowed) and not words:
            sample = int(np.argmax(off))
            words = (
                f"before it is normalised {name} of sample {sample} is {places[sample]:.2g} last "
                "places large, and its rounding grows with it: keep J wider until then"
            )
    return words


def _steps_too_long(trace: Trace) -> str:
    assert trace.trajectory is not None
    configuration, dt = trace.configuration, trace.trajectory.recording.dt
    shortest = float(
        np.min([configuration.tau_E, configuration.tau_I, configuration.controller.tau])
    )
    if dt / shortest < LONG_STEP:
        return ""
    return (
        f"a step is {dt / shortest:.2g} of the shortest time constant, so that what rounding "
        "leaves in a derivative comes back in every step: keep state and derivative wider"
    )
