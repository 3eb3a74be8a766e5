"""How far a right answer may lie from the golden one: derived, not picked.

Two independent causes, of which the larger is the allowance, so that rounding widens
nothing where a trace's own tolerance leaves room for it:

1. The trace itself is only as good as the solver that made it, and an end state found by
   integration only as good as the solver that found it: ten times the tolerance of one
   step, relative to the largest element of the array, or of the whole state, by whose size
   a solver judges its steps; a hundred times for a trace whose
   parameters are stored in float32, in natural units, since Adam divides by their own size
   gradients that this noise may dominate. For the shipped traces these are the figures of
   the golden README: 1e-9 and 1e-5.

2. Rounding in the backend's precision, measured by Monte Carlo arithmetic (D. S. Parker,
   Monte Carlo arithmetic, UCLA CSD-970002, 1997): the reference runs the same stage in
   float64, several times, with every array that enters it changed by a random relative
   amount of the size that rounding has there; a bound on the largest change of each result
   and the rounding of the result itself are its allowance. This takes in the conditioning of the
   stage, with κ, loop gains and number of layers, without a formula for each. In fixed point
   the amount is absolute. The size for sums of n terms is
   λ √(n + m) u, u half the machine epsilon (N. J. Higham & T. Mary, A new approach to
   probabilistic rounding error analysis, SIAM J. Sci. Comput. 41 (2019) A2815-A2835),
   with λ = 4 and m = 16 for the elementwise operations of a stage.

A closed loop found by fixed point may stop at the residual that the model admits; there
the target is changed by that too, for κ times its change is the change of the residual.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from ..refimpl.configuration import NetworkConfiguration, Solver
from ..refimpl.errors import Setting
from ..refimpl.loss import error
from .arithmetic import Arithmetic
from .stage_arrays import Arrays
from .stage_inputs import Disturb
from .trace import Trace

CONFIDENCE = 4
ELEMENTWISE_OPERATIONS = 16
N_DRAWS = 4
LEAST_DISTURBANCE = 2.0**-30
"""Disturbances below this would drown in the reference's own rounding; the effect of a
larger one is scaled down."""
TRAJECTORY_TOLERANCE = 1e-12
"""Golden README: constant steps leave nothing but rounding."""


def trace_tolerance(trace: Trace) -> float:
    """Relative tolerance of the golden numbers themselves."""
    return 10 * trace.solver.rtol


def run_tolerance(trace: Trace) -> float:
    """Tolerance of losses and final parameters after all steps of a trace."""
    return (100 if trace.stored_precision == np.float32 else 10) * trace.solver.rtol


def solver_tolerance(solver: Solver) -> float:
    """Relative tolerance of an end state found by integration; 0 by fixed point."""
    return 0.0 if solver.method == "fixed-point" else 10 * solver.rtol


def rounding_size(arithmetic: Arithmetic, longest_sum: int) -> float:
    """Error that rounding may leave in a sum, λ √(n + m) u; relative unless in fixed point."""
    growth = CONFIDENCE * float(np.sqrt(longest_sum + ELEMENTWISE_OPERATIONS))
    return growth * arithmetic.unit_roundoff


def disturbance(
    arithmetic: Arithmetic, size: float, generators: Sequence[np.random.Generator]
) -> Disturb:
    """Change every element by a random amount within ±size, relative unless in fixed point.

    The first axis of an array are draws, each with its own generator.
    """

    def disturb(array: np.ndarray) -> np.ndarray:
        change = size * np.stack([one.uniform(-1, 1, np.shape(array)[1:]) for one in generators])
        if not arithmetic.is_fixed_point:
            return np.asarray(array * (1 + change))
        # A rate stays a rate, and a square a square: neither is rounded below 0.
        return np.where((array >= 0) & (array + change < 0), array, array + change)

    return disturb


def own_rounding(arithmetic: Arithmetic, size: float, array: np.ndarray) -> float:
    """Largest error in a result that was rounded by `size`, relative unless in fixed point.

    A product of which one factor has underflowed is off by the smallest number times the others,
    which are taken to be below 1/ε.
    """
    if arithmetic.is_fixed_point:
        return size
    return size * largest(array) + arithmetic.smallest / arithmetic.epsilon


def generators(name: str) -> list[np.random.Generator]:
    """One source of random numbers a draw; the same stage always gets the same ones."""
    seed = zlib.crc32(name.encode())
    return [np.random.default_rng([seed, draw]) for draw in range(N_DRAWS)]


def largest_effects(
    run: Callable[[Sequence[np.random.Generator]], Arrays],
    exact: Arrays,
    name: str,
    factor: float,
    at_once: int = N_DRAWS,
) -> dict[str, float]:
    """Run a stage disturbed, several draws at once, and bound the largest change of each array.

    The bound is the larger of the largest change seen and the 95 % prediction limit for one more
    draw, of which a right candidate is one: mean + t √(1 + 1/n) times the standard deviation.

    Parameters
    ----------
    run : callable
        Runs the stage with disturbances from as many generators as it is given; the first axis
        of its arrays are these.
    exact : dict of array
        What it gives undisturbed.
    name : str
        Of the stage.
    factor : float
        Scales the changes back to the size of rounding.
    at_once : int
        How many draws at once.
    """
    changes: dict[str, list[float]] = {key: [] for key in exact}
    draws = generators(name)
    for first in range(0, len(draws), at_once):
        for key, arrays in run(draws[first : first + at_once]).items():
            changes[key] += [factor * largest(array - exact[key]) for array in arrays]
    return {key: _prediction_limit(np.array(seen)) for key, seen in changes.items()}


def _prediction_limit(seen: np.ndarray) -> float:
    if not np.all(np.isfinite(seen)):
        return float(np.inf)
    limit = np.mean(seen) + student_t(seen.size - 1) * np.sqrt(1 + 1 / seen.size) * np.std(
        seen, ddof=1
    )
    return float(max(limit, np.max(seen)))


def largest(array: np.ndarray) -> float:
    """Largest magnitude; infinite where an element is not a number."""
    size = float(np.max(np.abs(array), initial=0))
    return np.inf if np.isnan(size) else size


def admitted_residual(kappa: Setting, u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Residual of c = κ e at which a search in float64 may stop, (batch, 1)."""
    scale = 1 + kappa * np.max(np.abs(u_out) + np.abs(target), axis=-1, keepdims=True)
    return np.asarray(np.finfo(np.float64).eps ** 0.75 * scale)


def stopped_short(
    configuration: NetworkConfiguration,
    arithmetic: Arithmetic,
    generators: Sequence[np.random.Generator],
    magnified: float = 1.0,
    along: bool = True,
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Move a target so that the closed loop ends where a fixed point may stop.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Of whose controller the residual is.
    arithmetic : Arithmetic
        Of the search.
    generators : sequence of numpy.random.Generator
        Choose the signs of the residual, each of a draw.
    magnified : float
        By how much, where the effect is to be scaled down again.
    along : bool
        A search that stops on the way it came leaves all outputs short of their end, or all
        beyond it; else each output has a sign of its own.

    Returns
    -------
    callable
        From (u_out, target), arrays (draws, batch, n_out), to the moved target.
    """
    kappa = configuration.controller.steady_gain
    # What the model admits goes with ε^¾ of the arithmetic.
    coarser = (arithmetic.epsilon / float(np.finfo(np.float64).eps)) ** 0.75

    def moved(u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
        residual = coarser * admitted_residual(kappa, u_out, target)
        if along:
            e = error(configuration.loss, u_out, target)
            sides = np.reshape([one.choice([-1.0, 1.0]) for one in generators], (-1, 1, 1))
            signs = sides * np.where(e < 0, -1.0, 1.0)
        else:
            signs = np.stack([one.choice([-1.0, 1.0], target.shape[1:]) for one in generators])
        return np.asarray(target + magnified * signs * residual / kappa, dtype=np.float64)

    return moved


@cache
def student_t(freedom: int) -> float:
    """Student's t that 95 % stay below."""
    # Imported here: slow to load, and most commands judge nothing.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.95))
