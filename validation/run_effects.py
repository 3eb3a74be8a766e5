"""What rounding may do to a whole run of learning steps, measured on the reference."""

from __future__ import annotations

import numpy as np

from ..backends import Backend
from .learning_run import disturbed_learning_run
from .stages import CLOSED_LOOP, Arrays, undisturbed
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
    reference: Backend, trace: Trace, dtype: np.dtype, by_fixed_point: bool
) -> dict[str, float]:
    """Largest change of each loss and parameter that a run in `dtype` may show.

    Two right runs may differ by twice this.

    Parameters
    ----------
    reference : Backend
        In float64.
    trace : Trace
        Its configuration, batches and initial parameters; steps are not read.
    dtype : numpy.dtype
        Precision whose rounding is allowed for.
    by_fixed_point : bool
        Allow also for the residual at which a closed loop found by fixed point may stop.

    Returns
    -------
    dict of float
        By the names of `learning_run`.
    """
    configuration = trace.configuration
    size = rounding_size(dtype, CLOSED_LOOP.longest_sum(configuration, trace.inputs.shape[1]))
    applied = max(size, LEAST_DISTURBANCE)
    magnified = applied / size
    stored = magnified * rounding_size(dtype, 1)

    def unmoved(u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
        return target

    def disturbed(generator: np.random.Generator) -> Arrays:
        return disturbed_learning_run(
            reference,
            trace,
            disturbance(applied, generator),
            disturbance(stored, generator),
            stopped_short(configuration, dtype, generator, magnified)
            if by_fixed_point
            else unmoved,
        )

    exact = disturbed_learning_run(reference, trace, undisturbed, undisturbed, unmoved)
    return largest_effects(disturbed, exact, LEARNING_RUN, 1 / magnified)
