"""Usual mistakes in the parameters that are left when all steps are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...refimpl import Parameters, map_arrays, optimizer_step
from ..judge import Arrays, learner_before
from ..storage import named_arrays
from ..trace import Trace
from .explanation import LIKENESS, Explanation
from .order import in_float32, written_column_major


def mistake_in_final_parameters(trace: Trace, found: Arrays) -> Explanation:
    """Name the mistakes that give the final parameters found; none if none does.

    The trace has the steps of the port, which tell what they should be.
    """
    if not trace.steps:
        return Explanation()
    right = named_arrays(trace.steps[-1].parameters_after)
    given = {name: found[name] for name in right if name in found}
    if not given or any(array.shape != right[name].shape for name, array in given.items()):
        return Explanation()
    off = _apart(right, given)
    if off == 0:
        return Explanation()
    left = {
        hint: _apart(named_arrays(parameters), given) / off for hint, parameters in _mistaken(trace)
    }
    named = [hint for hint, part in left.items() if part <= LIKENESS]
    return Explanation("; or ".join(named), max((left[hint] for hint in named), default=1.0))


def _mistaken(trace: Trace) -> Iterator[tuple[str, Parameters]]:
    n_steps, last = len(trace.steps), trace.steps[-1]
    left = "they are what the last step left"
    yield f"final parameters are the initial ones: {left}", trace.initial_parameters
    if n_steps > 1:
        before = trace.steps[-2].parameters_after
        yield f"final parameters are those before the last step: {left}", before
    learner = learner_before(trace, n_steps)
    further, _ = optimizer_step(
        trace.configuration.optimizer, learner.parameters, last.gradients, learner.optimizer
    )
    yield f"final parameters are one step further than the last: {left}", further
    changes: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
        ("are column-major: the last index is to run fastest", written_column_major),
        ("are rounded to float32, and another precision is said", in_float32),
    )
    for words, change in changes:
        yield f"final parameters {words}", map_arrays(change, last.parameters_after)


def _apart(expected: Arrays, found: Arrays) -> float:
    differences = (np.max(np.abs(expected[name] - array)) for name, array in found.items())
    return float(max(differences))
