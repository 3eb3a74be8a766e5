"""Whether the closed-loop end states of a trace are stable fixed points of the equations."""

from __future__ import annotations

import numpy as np

from .stability import growth_rates
from .stage_inputs import learner_before
from .trace import Trace

LARGEST_STATE = 400
"""Variables of a sample beyond which eigenvalues take longer than all else in a report."""


def trace_growth_rates(trace: Trace) -> np.ndarray | None:
    """Linearise around every closed-loop end state.

    Parameters
    ----------
    trace : Trace
        Golden numbers.

    Returns
    -------
    array of float64, (S, batch), or None
        Largest real part of the eigenvalues, per second (see `stability`); None where the trace
        has no closed loop, or its states are too large.
    """
    sizes = trace.configuration.sizes
    n_variables = 2 * (sum(sizes[1:-1]) + sizes[-1])
    if n_variables > LARGEST_STATE:
        return None
    rates = []
    for step, recorded in enumerate(trace.steps):
        circuit = recorded.circuit
        if circuit is None:
            return None
        parameters = learner_before(trace, step).parameters
        rates.append(
            growth_rates(trace.configuration, parameters, circuit.feedback, circuit.closed_loop)
        )
    return np.array(rates) if rates else None


def stability_in_words(trace: Trace) -> str:
    """Say whether an integration would stay at the closed-loop end states; empty if unknown.

    Parameters
    ----------
    trace : Trace
        Golden numbers.
    """
    rates = trace_growth_rates(trace)
    if rates is None:
        return ""
    unstable = int(np.sum(rates > 0))
    slowest = float(np.max(rates))
    if unstable == 0:
        return f"All closed-loop end states are stable; the slowest mode goes with {slowest:.3g}/s."
    return (
        f"UNSTABLE: {unstable} of {rates.size} closed-loop end states are fixed points that an "
        f"integration leaves, the fastest with {slowest:+.3g}/s."
    )
