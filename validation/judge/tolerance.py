"""How far a right answer may lie from the golden one: derived, not picked.

It depends on the implementation's arithmetic, and is measured by disturbing what a stage is given
as rounding in that arithmetic would.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import erfc, sqrt

import numpy as np

from ...refimpl import ConfigurationError, NetworkConfiguration, Setting, Solver, error, shown
from ..trace import Trace
from .stages import Arrays, Disturb

FLOATS = ("float16", "float32", "float64")
ROUNDINGS = ("nearest-even", "nearest-away", "floor", "truncate", "stochastic")
"""Ways in which fixed point may round; floor is an arithmetic shift, truncate a cast in C."""


@dataclass(frozen=True)
class Arithmetic:
    """Floating or fixed point, as far as rounding goes.

    Parameters
    ----------
    name : str
        As `named_arithmetic` takes it.
    epsilon : float
        Distance of neighbouring numbers: relative, at 1, in floating point; everywhere in
        fixed point.
    is_fixed_point : bool
        Whether that distance is the same for small numbers and large.
    smallest_normal, smallest : float
        Below the first a float's neighbours are no nearer; what is below the second may vanish:
        the smallest normal number, as many flush what is below to 0; in float16, which is little
        use without, the smallest subnormal one.
    rounding : str
        How fixed point rounds, of ROUNDINGS; empty where nobody said, which is taken for nearest.
    integer_bits : int or None
        In fixed point that saturates, the bits before the binary point, without the sign.
    """

    name: str
    epsilon: float
    is_fixed_point: bool = False
    smallest_normal: float = 0.0
    smallest: float = 0.0
    rounding: str = ""
    integer_bits: int | None = None

    @property
    def fraction_bits(self) -> int:
        """Bits after the binary point, of fixed point."""
        return -int(np.log2(self.epsilon))

    @property
    def unit_roundoff(self) -> float:
        """Largest error, beside its mean, of rounding one number: half of `epsilon`."""
        # Of the neighbours on both sides stochastic rounding takes either.
        return self.epsilon if self.rounding == "stochastic" else self.epsilon / 2

    @property
    def is_biased(self) -> bool:
        """Whether rounding has a mean error, half of `epsilon` down or towards zero."""
        return self.rounding in ("floor", "truncate")

    def saturated(self, array: np.ndarray) -> np.ndarray:
        """Hold numbers within the range of fixed point that saturates."""
        if self.integer_bits is None:
            return array
        end = 2.0**self.integer_bits
        return np.asarray(np.clip(array, -end, end - self.epsilon))

    def spacing(self, x: np.ndarray) -> np.ndarray:
        """Distance between neighbouring numbers at x, one unit in the last place; of x's shape."""
        if self.is_fixed_point:
            return np.full(np.shape(x), self.epsilon)
        _, exponent = np.frexp(np.maximum(np.abs(x), self.smallest_normal))
        return np.ldexp(self.epsilon, exponent - 1)


def float_arithmetic(dtype: np.dtype | type | str) -> Arithmetic:
    """Describe float16, float32 or float64."""
    limits, name = np.finfo(dtype), np.dtype(dtype).name
    normal, subnormal = float(limits.smallest_normal), float(limits.smallest_subnormal)
    return Arithmetic(
        name,
        float(limits.eps),
        smallest_normal=normal,
        smallest=subnormal if name == "float16" else normal,
    )


def named_arithmetic(name: str) -> Arithmetic:
    """Find an arithmetic by the name that a user gives.

    Parameters
    ----------
    name : str
        `float16`, `float32`, `float64`, or `fixedN` for N bits after the binary point. Fixed point
        may go on with how it rounds, and with where it saturates: `fixed16:floor`,
        `fixed16:nearest-even:saturate7` for 7 bits before the point and a sign.

    Raises
    ------
    ConfigurationError
        It is none of these.
    """
    if name in FLOATS:
        return float_arithmetic(name)
    named, *options = name.split(":")
    bits = re.fullmatch(r"fixed([1-9]\d?)", named)
    if bits is None or int(bits[1]) > 62:
        raise ConfigurationError(
            f"precision is {shown(name)}: choose {', '.join(FLOATS)}, or fixedN for N bits after "
            "the binary point, N from 1 to 62"
        )
    rounding, integer_bits = "", None
    for option in options:
        end = re.fullmatch(r"saturate(\d{1,2})", option)
        if end is not None and integer_bits is None:
            integer_bits = int(end[1])
        elif option in ROUNDINGS and not rounding:
            rounding = option
        else:
            raise ConfigurationError(
                f"precision is {shown(name)}: after {named} come how it rounds "
                f"({', '.join(ROUNDINGS)}) and saturateM for M bits before the binary point"
            )
    epsilon = 2.0 ** -int(bits[1])
    return Arithmetic(
        name, epsilon, is_fixed_point=True, rounding=rounding, integer_bits=integer_bits
    )


@dataclass(frozen=True)
class StepLeft:
    """How far from its end a search in float64 may stop that tests the step in c.

    In each element of c, (batch, 1); and of how much more target that is the end, row k for a
    change of c_k, (batch, n_out, n_out).
    """

    in_control: np.ndarray
    in_target: np.ndarray


MoveTarget = Callable[[np.ndarray, np.ndarray, StepLeft], np.ndarray]
"""From (u_out, target, what a search leaves) to the target that the closed loop is given."""
CONFIDENCE = 4
SURE = 1 - erfc(CONFIDENCE / sqrt(2)) / 2
"""How certain the confidence of that many standard deviations is."""
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


def mean_error(arithmetic: Arithmetic, longest_sum: int) -> float:
    """Mean error that rounding may leave in a sum, in units of `rounding_size`; 0 without bias.

    If every term is rounded before it is added, n + m times half of the last place.
    """
    if not arithmetic.is_biased:
        return 0.0
    mean = (longest_sum + ELEMENTWISE_OPERATIONS) * arithmetic.epsilon / 2
    return mean / rounding_size(arithmetic, longest_sum)


def disturbance(
    arithmetic: Arithmetic,
    size: float,
    generators: Sequence[np.random.Generator],
    mean: float = 0.0,
) -> Disturb:
    """Change every element by a random amount within ±size, relative unless in fixed point.

    The first axis of an array are draws, each with its own generator. Where rounding is biased, a
    draw's errors have a mean besides, of up to `mean` times the size, down or towards zero.
    """
    shares = [one.uniform(0, 1) for one in generators] if mean else []

    def disturb(array: np.ndarray) -> np.ndarray:
        change = size * np.stack([one.uniform(-1, 1, np.shape(array)[1:]) for one in generators])
        if not arithmetic.is_fixed_point:
            return np.asarray(array * (1 + change))
        if mean:
            share = np.reshape(shares, (-1, *[1] * (np.ndim(array) - 1)))
            signs = np.sign(array) if arithmetic.rounding == "truncate" else 1.0
            change = change - mean * size * share * signs
        # A rate stays a rate, and a square a square: neither is rounded below 0.
        return np.where((array >= 0) & (array + change < 0), array, array + change)

    return disturb


def own_rounding(
    arithmetic: Arithmetic, size: float, array: np.ndarray, mean: float = 0.0
) -> float:
    """Largest error in a result that was rounded by `size`, relative unless in fixed point.

    Where rounding is biased its mean error, in units of the size, comes to it. A product of which
    one factor has underflowed is off by the smallest number times the others, which are taken to be
    below 1/ε.
    """
    if arithmetic.is_fixed_point:
        return size * (1 + mean)
    return size * largest(array) + arithmetic.smallest / arithmetic.epsilon


def generators(name: str, n_draws: int = N_DRAWS) -> list[np.random.Generator]:
    """One source of random numbers a draw; the same stage always gets the same ones."""
    seed = zlib.crc32(name.encode())
    return [np.random.default_rng([seed, draw]) for draw in range(n_draws)]


def largest_effects(
    run: Callable[[Sequence[np.random.Generator]], Arrays],
    exact: Arrays,
    name: str,
    factor: float,
    at_once: int = N_DRAWS,
    n_draws: int = N_DRAWS,
    certainty: float = 0.95,
) -> dict[str, float]:
    """Run a stage disturbed, several draws at once, and bound the largest change of each array.

    The bound is the larger of the largest change seen and the prediction limit, 95 % certain, for
    one more draw, of which a right candidate is one: mean + t √(1 + 1/n) times the standard
    deviation.

    `run` takes as many generators as there are draws; these are the first axis of its arrays, of
    which `exact` has those undisturbed. `factor` scales the changes back to the size of rounding.
    """
    changes: dict[str, list[float]] = {key: [] for key in exact}
    draws = generators(name, n_draws)
    for first in range(0, len(draws), at_once):
        for key, arrays in run(draws[first : first + at_once]).items():
            changes[key] += [factor * largest(array - exact[key]) for array in arrays]
    return {key: _prediction_limit(np.array(seen), certainty) for key, seen in changes.items()}


def _prediction_limit(seen: np.ndarray, certainty: float) -> float:
    if not np.all(np.isfinite(seen)):
        return float(np.inf)
    t = student_t(seen.size - 1, certainty)
    limit = np.mean(seen) + t * np.sqrt(1 + 1 / seen.size) * np.std(seen, ddof=1)
    return float(max(limit, np.max(seen)))


def largest(array: np.ndarray) -> float:
    """Largest magnitude; infinite where an element is not a number."""
    size = float(np.max(np.abs(array), initial=0))
    return np.inf if np.isnan(size) else size


def admitted_residual(kappa: Setting, u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Residual of c = κ e at which a search in float64 may stop, (batch, 1)."""
    scale = 1 + kappa * np.max(np.abs(u_out) + np.abs(target), axis=-1, keepdims=True)
    return np.asarray(np.finfo(np.float64).eps ** 0.75 * scale)


def admitted_step(kappa: Setting, c: np.ndarray, u_out: np.ndarray) -> np.ndarray:
    """Step in c that a search in float64 may leave where it stops, in each c_k, (batch, 1)."""
    scale = np.max(np.abs(c), axis=-1, keepdims=True) + np.minimum(kappa, 1) * (
        1 + np.max(np.abs(u_out), axis=-1, keepdims=True)
    )
    return np.asarray(np.finfo(np.float64).eps ** 0.75 * scale)


def coarser(arithmetic: Arithmetic) -> float:
    """By how much more than one in float64 a search may leave: it goes with ε^¾."""
    return float((arithmetic.epsilon / float(np.finfo(np.float64).eps)) ** 0.75)


def stopped_short(
    configuration: NetworkConfiguration,
    arithmetic: Arithmetic,
    generators: Sequence[np.random.Generator],
    magnified: float = 1.0,
    along: bool = True,
) -> MoveTarget:
    """Move a target so that the closed loop ends where a fixed point may stop.

    A search that stops on the way it came (`along`) leaves all outputs short of their end, or all
    beyond it; else each output has a sign of its own. The generators choose the signs, each of a
    draw. `magnified` is by how much, where the effect is to be scaled down again. Given is the move
    from (u_out, target), arrays (draws, batch, n_out), to the target. It stands for what a test of
    the residual leaves, or one of the step in c, whichever moves a sample's target further.
    """
    kappa = configuration.controller.steady_gain

    def moved(u_out: np.ndarray, target: np.ndarray, left: StepLeft) -> np.ndarray:
        if along:
            e = error(configuration.loss, u_out, target)
            sides = np.reshape([one.choice([-1.0, 1.0]) for one in generators], (-1, 1, 1))
            signs = sides * np.where(e < 0, -1.0, 1.0)
        else:
            signs = np.stack([one.choice([-1.0, 1.0], target.shape[1:]) for one in generators])
        by_residual = signs * admitted_residual(kappa, u_out, target) / kappa
        by_step = ((signs * left.in_control)[..., None, :] @ left.in_target)[..., 0, :]
        is_further = np.max(np.abs(by_step), axis=-1) > np.max(np.abs(by_residual), axis=-1)
        shift = np.where(is_further[..., None], by_step, by_residual)
        return np.asarray(target + magnified * coarser(arithmetic) * shift, dtype=np.float64)

    return moved


@cache
def student_t(freedom: int, certainty: float = 0.95) -> float:
    """Student's t that so much of all stays below."""
    # Imported here: slow to load, and most commands judge nothing.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, certainty))


def student_t_beyond(freedom: int, t: float) -> float:
    """Chance of a Student's t that lies at least so far from 0, to either side."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))
