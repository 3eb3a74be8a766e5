"""What rounding may do to a whole run of learning steps, measured on the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..backends import NumpyBackend
from .allowance import draws_at_once, for_draws, repeating
from .arithmetic import Arithmetic
from .learning_run import disturbed_learning_run
from .stage_arrays import Arrays
from .stage_inputs import undisturbed
from .stages import CLOSED_LOOP
from .tolerance import (
    LEAST_DISTURBANCE,
    disturbance,
    largest_effects,
    rounding_size,
    stopped_short,
)
from .trace import Trace

LEARNING_RUN = "learning steps in one run"


def run_effects(
    reference: NumpyBackend, trace: Trace, arithmetic: Arithmetic, by_fixed_point: bool
) -> dict[str, float]:
    """Largest change of each loss and parameter that rounding may make in a run.

    Two right runs may differ by twice this.

    Parameters
    ----------
    reference : NumpyBackend
        In float64.
    trace : Trace
        Its configuration, batches and initial parameters; steps are not read.
    arithmetic : Arithmetic
        Whose rounding is allowed for.
    by_fixed_point : bool
        Allow also for the residual at which a closed loop found by fixed point may stop.

    Returns
    -------
    dict of float
        By the names of `learning_run`.
    """
    configuration = trace.configuration
    size = rounding_size(arithmetic, CLOSED_LOOP.longest_sum(trace))
    applied = max(size, LEAST_DISTURBANCE)
    magnified = applied / size
    stored = magnified * rounding_size(arithmetic, 1)

    def unmoved(u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
        return target

    def disturbed(generators: Sequence[np.random.Generator]) -> Arrays:
        return disturbed_learning_run(
            for_draws(reference, trace, len(generators)),
            trace,
            repeating(len(generators)),
            disturbance(arithmetic, applied, generators),
            disturbance(arithmetic, stored, generators),
            stopped_short(configuration, arithmetic, generators, magnified)
            if by_fixed_point
            else unmoved,
        )

    exact = disturbed_learning_run(reference, trace, undisturbed, undisturbed, undisturbed, unmoved)
    return largest_effects(disturbed, exact, LEARNING_RUN, 1 / magnified, draws_at_once(trace))
