"""Every setting of a network, of its learning and of its solver, checked when it is given.

Imports nothing of ours, and every chapter may import it. Sections are those of `model.md`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray

Setting = float | np.ndarray
"""A number, or one per replica in an array of shape (R, 1, 1)."""

LOSSES = ("softmax-cross-entropy", "mse")
RULES = ("exact-inverse", "linear-threshold", "linear-threshold-fixed", "backprop")
OPTIMIZERS = ("adam", "sgd")
METHODS = ("fixed-point", "tsit5", "euler")
STEP_CONTROLS = ("adaptive", "constant")
SETTLED = ("distance", "published")

MOST_STEPS = 2**31 - 1
"""Of an integration: what a CUDA kernel counts."""


@dataclass(frozen=True)
class SoftReLU:
    """φ(u) = s · log(1 + exp(k (u − m))) (section 1; `circuit.rate`)."""

    scale: Setting = 1.0  # s, the rate gained per unit of k (u − m) far above threshold
    sharpness: Setting = 1.0  # k, how sharply it bends at the threshold
    shift: Setting = 0.0  # m, the threshold

    def __post_init__(self) -> None:
        require(self, "scale", "sharpness", above=0, per_replica=True)
        require(self, "shift", per_replica=True)


@dataclass(frozen=True)
class Controller:
    """Leaky proportional-integral controller (section 3).

    With leak 0 the integral has no resting value that the error alone determines, so the
    fixed-point method refuses it.
    """

    k_p: Setting = 0.2  # proportional gain
    k_i: Setting = 0.4  # integral gain
    leak: Setting = 1.0  # leak of the integral
    tau: Setting = 0.1  # τ_c, time constant of the integral, seconds

    def __post_init__(self) -> None:
        require(self, "k_p", "k_i", "leak", minimum=0, per_replica=True)
        require(self, "tau", above=0, per_replica=True)

    @property
    def steady_gain(self) -> Setting:
        """κ = k_p + k_i / leak, the gain from a constant error to c (section 6)."""
        if np.any(np.asarray(self.leak) == 0):
            raise ConfigurationError(
                "controller.leak is 0: no fixed point c = κ error exists; "
                "use method tsit5 or euler, or a leak above 0"
            )
        return self.k_p + self.k_i / self.leak


@dataclass(frozen=True)
class Feedback:
    """How errors are fed back (sections 2-4)."""

    average: bool = False  # use the batch mean of the feedback weights for every sample
    clip: Setting | None = None  # limit each feedback weight to ±clip
    normalize: bool = True  # scale each sample's Q^l to the Frobenius norm `norm`
    norm: Setting = 1.0  # Frobenius norm of each sample's Q^l, if normalised
    strong: bool = True  # control towards the label, else a small nudge from the open-loop output
    nudge: Setting = 0.015  # λ of weak feedback, at most 1: the part of the way to the label
    to_readout: bool = True  # c also drives the readout (the `+ c` of section 2)

    def __post_init__(self) -> None:
        require(self, "average", "normalize", "strong", "to_readout", among=(True, False))
        require(self, "norm", above=0, per_replica=True)
        why = "1 is the way to the label, and beyond it lies no target"
        require(self, "nudge", above=0, maximum=1, per_replica=True, because=why)
        if self.clip is not None:
            require(self, "clip", above=0, per_replica=True)


@dataclass(frozen=True)
class MeanInhibition:
    """Where the linear threshold is linearised (section 5)."""

    rate: Setting = 1.0  # ρ of the running mean; 1 takes the present batch alone
    init: Setting = 0.8  # r̄ before the first step
    fixed_point: Setting = 1.0  # r₀ of the rule `linear-threshold-fixed`

    def __post_init__(self) -> None:
        require(self, "rate", minimum=0, maximum=1, per_replica=True)
        require(self, "init", "fixed_point", above=0, per_replica=True)


@dataclass(frozen=True)
class Optimizer:
    """Gradient descent on g (section 7; `optimizer.optimizer_step`)."""

    name: str = "adam"  # way of descending
    learning_rate: Setting = 1e-3  # η, the step size
    beta_1: float = 0.9  # Adam's decay rates
    beta_2: float = 0.999
    epsilon: float = 1e-8  # keeps Adam's quotient finite

    def __post_init__(self) -> None:
        require(self, "name", among=OPTIMIZERS)
        require(self, "learning_rate", minimum=0, per_replica=True)
        require(self, "beta_1", "beta_2", minimum=0, below=1)
        require(self, "epsilon", above=0)


@dataclass(frozen=True)
class NetworkConfiguration:
    """One network and how it learns; ConfigurationError names what is impossible."""

    sizes: tuple[int, ...] = (784, 256, 256, 256, 10)  # units of inputs, hidden layers, outputs
    activation_E: SoftReLU = field(default_factory=SoftReLU)  # φ_E
    activation_I: SoftReLU = field(default_factory=SoftReLU)  # φ_I
    tau_E: Setting = 0.02  # membrane time constants, seconds
    tau_I: Setting = 0.005
    loss: str = "softmax-cross-entropy"  # what is descended; the controller's error goes with it
    controller: Controller = field(default_factory=Controller)
    feedback: Feedback = field(default_factory=Feedback)
    rule: str = "exact-inverse"  # of learning; see RULES
    bias: bool = True  # hidden layers have biases, which learn; where not, they stay at 0
    mean_inhibition: MeanInhibition = field(default_factory=MeanInhibition)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", checked_sizes(self.sizes))
        if len(self.sizes) < 3:
            raise ConfigurationError(
                f"sizes is {self.sizes}: inputs, at least one hidden layer and outputs "
                "are needed, each of at least one unit"
            )
        require_kind(self, activation_E=SoftReLU, activation_I=SoftReLU, controller=Controller)
        require_kind(self, feedback=Feedback, mean_inhibition=MeanInhibition, optimizer=Optimizer)
        require(self, "tau_E", "tau_I", above=0, per_replica=True)
        require(self, "loss", among=LOSSES)
        require(self, "rule", among=RULES)
        require(self, "bias", among=(True, False))

    @property
    def n_hidden(self) -> int:
        """Number of hidden layers, L."""
        return len(self.sizes) - 2


@dataclass(frozen=True)
class Solver:
    """How an end state is found (sections 6 and 7).

    An integration has settled, as 'published', when the root mean square of the derivative is
    below atol + rtol · that of the state; 'distance' asks besides that the state be no further
    than that from where it comes to rest, which a slow time constant cannot feign.
    """

    method: str = "fixed-point"  # algebraic; or integration by "tsit5" or explicit "euler"
    step_control: str = "adaptive"  # steps of an integration
    rtol: float = 1e-3  # error allowed per step, and the threshold of the steady state
    atol: float = 1e-6
    dt: float = 1e-3  # first step, or the constant step, seconds
    dt_min: float = 1e-4  # limits of an adaptive step, seconds
    dt_max: float = 1e-2
    horizon: float = 2.0  # longest simulated time, seconds
    settled: str = "distance"  # when an integration is at rest
    max_steps: int = 100_000  # most steps of an integration, rejected ones counted
    p: float = 0.1  # gains of the PID step control
    i: float = 0.3
    d: float = 0.1
    safety: float = 0.9  # factor on every new step
    factor_min: float = 0.1  # limits of one change of the step
    factor_max: float = 2.0

    def __post_init__(self) -> None:
        require(self, "method", among=METHODS)
        require(self, "step_control", among=STEP_CONTROLS)
        require(self, "settled", among=SETTLED)
        require(self, "rtol", "atol", minimum=0)
        require(self, "dt", "dt_min", "dt_max", "horizon", above=0)
        require(self, "max_steps", minimum=1, maximum=MOST_STEPS, whole=True)
        require(self, "p", "i", "d")
        shrinks = "a step that was rejected is tried again with a shorter one"
        require(self, "safety", "factor_min", above=0, below=1, because=shrinks)
        require(self, "factor_max", minimum=1)
        for lower, upper in (("dt_min", "dt_max"), ("factor_min", "safety")):
            if getattr(self, lower) > getattr(self, upper):
                raise ConfigurationError(
                    f"Solver.{lower} {getattr(self, lower)} exceeds {upper} "
                    f"{getattr(self, upper)}: it must not"
                )


# What is wrong with a setting, said in one line.

LONGEST_SHOWN = 60
"""Characters of a value that a message repeats."""


class ConfigurationError(ValueError):
    """A setting that the model does not admit; the message is one line."""


class ArgumentError(ValueError):
    """An array or number that does not fit the network, or is no number; the message is one line.

    It names the argument, what came, and what would be right.
    """


def shown(value: object) -> str:
    """Write a value for a message: as Python does, in one line, and only the beginning of it."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):
        # Python writes no whole number of more than 4,300 digits.
        return "too long a number"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def require(
    owner: Any,
    *names: str,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    among: tuple[str, ...] | tuple[bool, ...] | None = None,
    whole: bool = False,
    per_replica: bool = False,
    because: str = "",
) -> None:
    """Check fields of a frozen dataclass, and turn NumPy scalars into plain numbers.

    Plain numbers matter: NumPy promotes a float32 array by a `np.float64` scalar, but
    not by a Python float. Truth values, text and lists are no numbers, and 1 is no truth value;
    with `per_replica` an array of shape (R, 1, 1) is a number as well. The ConfigurationError
    names the field, its value and what would be right, and why if `because` tells it.
    """
    for name in names:
        value, where = getattr(owner, name), f"{type(owner).__name__}.{name}"
        if among is not None:
            object.__setattr__(owner, name, _one_of(where, value, among))
            continue
        number = np.asarray(
            whole_number(where, value) if whole else _real(where, value, per_replica)
        )
        if number.ndim == 0:
            object.__setattr__(owner, name, number.item())
        for limit, words, holds in (
            (above, "above", operator.gt),
            (minimum, "at least", operator.ge),
            (below, "below", operator.lt),
            (maximum, "at most", operator.le),
        ):
            if limit is not None and not np.all(holds(number, limit)):
                why = f", since {because}" if because else ""
                raise ConfigurationError(
                    f"{where} is {shown(value)}: must be {words} {limit:g}{why}"
                )


def _one_of(where: str, value: Any, choices: tuple[Any, ...]) -> Any:
    are_flags = isinstance(choices[0], bool)
    if not isinstance(value, (bool, np.bool_) if are_flags else str) or value not in choices:
        listed = ", ".join(str(choice).lower() for choice in choices)
        raise ConfigurationError(f"{where} is {shown(value)}: choose one of {listed}")
    return bool(value) if are_flags else str.__str__(value)


def whole_number(where: str, value: object, minimum: int | None = None) -> int:
    """Take a whole number that 64 bits hold, Python's or NumPy's, as a plain one.

    `where` names it in the message of the ConfigurationError that anything else raises.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ConfigurationError(f"{where} is {shown(value)}: a whole number is needed")
    if not -(2**63) <= value < 2**63:
        raise ConfigurationError(f"{where} is {shown(value)}: a number of 64 bits is needed")
    if minimum is not None and value < minimum:
        raise ConfigurationError(f"{where} is {value}: must be at least {minimum}")
    return int(value)


def real_number(where: str, value: object) -> float:
    """Take a finite number, Python's or NumPy's, as a plain one; see `whole_number`."""
    return float(_real(where, value, per_replica=False))


def _real(where: str, value: object, per_replica: bool) -> Array:
    is_array = isinstance(value, np.ndarray) and value.ndim > 0
    if is_array and not per_replica:
        raise ConfigurationError(f"{where} is {shown(value)}: it is one number for all replicas")
    number = np.asarray(np.nan)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = np.asarray(float(value))
    elif isinstance(value, (np.number, np.ndarray)) and value.dtype.kind in "iuf":
        number = np.asarray(value, dtype=float)
    if not number.size or not np.all(np.isfinite(number)):
        raise ConfigurationError(f"{where} is {shown(value)}: a finite number is needed")
    if is_array and (number.ndim < 3 or number.shape[-2:] != (1, 1)):
        raise ConfigurationError(
            f"{where} has shape {number.shape}: a number is needed, or an array of shape "
            "(R, 1, 1), a number a replica"
        )
    return number


def checked_sizes(sizes: Any) -> tuple[int, ...]:
    """Take the units of every layer as plain whole numbers above 0."""
    if isinstance(sizes, (str, bytes)) or not isinstance(sizes, Iterable):
        raise ConfigurationError(f"sizes is {shown(sizes)}: a whole number a layer is needed")
    return tuple(whole_number(f"sizes[{i}]", n, minimum=1) for i, n in enumerate(list(sizes)))


def require_kind(owner: Any, **kinds: type) -> None:
    """Refuse parts of a configuration that are no objects of their class."""
    for name, kind in kinds.items():
        value = getattr(owner, name)
        if not isinstance(value, kind):
            where = f"{type(owner).__name__}.{name}"
            raise ConfigurationError(f"{where} is {shown(value)}: a {kind.__name__} is needed")


def with_axes(setting: Setting, n: int) -> Setting:
    """Fit a setting that is a number a replica, (R, 1, 1), to arrays of n axes a replica."""
    if np.ndim(setting) == 0:
        return setting
    return np.reshape(setting, (*np.shape(setting)[:-2], *[1] * n))
