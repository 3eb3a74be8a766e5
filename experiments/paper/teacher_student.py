"""A student learns its teacher's output in continuous time (section 10; figure 4).

Then what the published run printed, for comparison, and the random numbers that it drew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.special import erfinv

from ...backends import run_compiled
from ...refimpl import (
    BURN_IN,
    LEARNING,
    OPEN_LOOP,
    ContinuousLearning,
    ContinuousRun,
    ContinuousState,
    Sampling,
    initial_state,
    require,
)

INITIAL_SCALE = 2.0
"""Deviation of a first weight is this over √n_in, of a first bias this over √n_layer."""

AMPLITUDES, FREQUENCIES, PHASES = (0.1, 1.0), (0.1, 2.0), (0.0, np.pi)
"""Limits between which waves are drawn; frequencies in hertz, phases in radians."""

PUBLISHED_SEED = 2
Runner = Callable[..., ContinuousRun]
"""`run_compiled`, or the reference's `run_continuously`."""


@dataclass(frozen=True)
class Schedule:
    """How long, and in what steps.

    One step of the integration to a millisecond keeps the loss per epoch to a thousandth. In the
    burn-in only the feedback weights learn, in training all does.
    """

    sampling: Sampling = field(default_factory=Sampling)
    n_samples: int = 5000
    burn_in_epochs: int = 4
    training_epochs: int = 60

    def __post_init__(self) -> None:
        require(self, "n_samples", minimum=2, whole=True)
        require(self, "burn_in_epochs", minimum=0, whole=True)
        require(self, "training_epochs", minimum=1, whole=True)

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch."""
        return self.n_samples * self.sampling.interval

    def inputs(self, waves: SineWaves, epoch: int) -> np.ndarray:
        """Inputs (n_samples, n_in) of an epoch, burn-in counted from 0."""
        return sine_inputs(waves, sample_times(epoch, self.n_samples, self.sampling.interval))


@dataclass(frozen=True)
class Pair:
    """What is drawn at random: inputs, and weights and biases (W, b) of teacher and student."""

    waves: SineWaves
    teacher: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
    student: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Course:
    """How a student learned, by training epoch; arrays (n_epochs,) where nothing else is said.

    The open loop is of a copy of the student that runs through the epoch from the same state
    without control, its weights held still. The target's variance is the MSE of a student that
    knows each output's mean and nothing else.
    """

    open_loop_mse: np.ndarray  # mean over the samples of Σ (y − target)²
    closed_loop_mse: np.ndarray  # the same of the student that is controlled and learns
    control_cost: np.ndarray  # mean over the samples of Σ_l ‖c Q^l‖²
    target_variance: np.ndarray  # over the samples, summed over the outputs
    before: np.ndarray  # (n_samples, n_out), output of a copy in the first training epoch
    after: np.ndarray  # and in the last
    student: ContinuousState

    @property
    def factor(self) -> float:
        """Open-loop MSE of the last training epoch over that of the first."""
        return float(self.open_loop_mse[-1] / self.open_loop_mse[0])

    @property
    def variance_left(self) -> float:
        """Open-loop MSE over the target's variance, of the last ten training epochs."""
        return float(np.sum(self.open_loop_mse[-10:]) / np.sum(self.target_variance[-10:]))


def draw_pair(generator: np.random.Generator, sizes: tuple[int, ...]) -> Pair:
    """Draw inputs, teacher and student, in this order; sizes are units per layer, inputs first."""
    waves = draw_sine_waves(generator, sizes[0])
    teacher = draw_weights(generator, sizes)
    return Pair(waves, teacher, draw_weights(generator, sizes))


def draw_weights(
    generator: np.random.Generator, sizes: tuple[int, ...]
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """W^l from N(0, 1) · 2/√n_{l−1}, b^l from N(0, 1) · 2/√n_l, inputs being layer 0."""
    W = tuple(
        generator.standard_normal((n_in, n)) * INITIAL_SCALE / np.sqrt(n_in)
        for n_in, n in pairwise(sizes)
    )
    b = tuple(generator.standard_normal(n) * INITIAL_SCALE / np.sqrt(n) for n in sizes[1:])
    return W, b


@dataclass(frozen=True)
class SineWaves:
    """x_i(t) = A_i sin(2π f_i t + ϕ_i), A, f in hertz and ϕ in radians being (n,)."""

    amplitude: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray


def draw_sine_waves(generator: np.random.Generator, n: int) -> SineWaves:
    """Draw amplitudes, frequencies and phases of n waves, each uniform between its limits."""
    return SineWaves(
        *(generator.uniform(*limits, n) for limits in (AMPLITUDES, FREQUENCIES, PHASES))
    )


def sine_inputs(waves: SineWaves, time: np.ndarray) -> np.ndarray:
    """Waves at these times, (n_samples,) in seconds; the result is (n_samples, n)."""
    angle = 2 * np.pi * waves.frequency * time[:, None] + waves.phase
    return waves.amplitude * np.sin(angle)


def sample_times(epoch: int, n_samples: int, sample_interval: float) -> np.ndarray:
    """Seconds of an epoch's samples, on one clock that runs on from epoch to epoch, both from 0.

    An epoch of 5000 samples has 4999 intervals: a state is carried from the last sample of
    one epoch to the first of the next while the clock goes on by an interval. The published
    run does so; `golden/teacher-student.h5` shows it, its states after burn-in being those of
    4.999 s, its second epoch starting at 5 s.
    """
    return (epoch * n_samples + np.arange(n_samples)) * sample_interval


def published_pair(seed: int = PUBLISHED_SEED) -> Pair:
    """Networks and inputs of the published figure, 30-20-2, drawn as its notebook draws.

    The notebook's seed of the figure is 2.
    """
    n_in, n, n_out = 30, 20, 2
    for_inputs, for_student, for_teacher = split(key_of_seed(seed), 3)
    limits = (AMPLITUDES, FREQUENCIES, PHASES)
    waves = SineWaves(
        *(
            uniform(key, (n_in,), *pair).astype(np.float64)
            for key, pair in zip(split(for_inputs, 3), limits, strict=True)
        )
    )

    def weights(key: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        shapes = ((n_in, n), (n, n_out), (n,), (n_out,))
        w_1, w_2, b_1, b_2 = (
            normal(one, shape) * INITIAL_SCALE / np.sqrt(shape[0])
            for one, shape in zip(split(key, 4), shapes, strict=True)
        )
        return (w_1, w_2), (b_1, b_2)

    return Pair(waves, teacher=weights(for_teacher), student=weights(for_student))


def teacher_outputs(
    network: ContinuousLearning, schedule: Schedule, pair: Pair, run: Runner = run_compiled
) -> list[np.ndarray]:
    """Output (n_samples, n_out) of the teacher in every epoch, the burn-in's among them.

    The teacher runs in open loop from the zero state on, and none of its weights moves.
    """
    state, outputs = initial_state(network, *pair.teacher), []
    for epoch in range(schedule.burn_in_epochs + schedule.training_epochs):
        x = schedule.inputs(pair.waves, epoch)
        epoch_run = run(network, OPEN_LOOP, schedule.sampling, state, x, _none(network, x))
        state = epoch_run.state
        outputs.append(epoch_run.output)
    return outputs


def learn(
    network: ContinuousLearning,
    schedule: Schedule,
    pair: Pair,
    targets: list[np.ndarray],
    run: Runner = run_compiled,
) -> Course:
    """Let the student learn its teacher's outputs: burn-in, then training, on one clock.

    Raises FloatingPointError when the student leaves the finite numbers.
    """
    student = initial_state(network, *pair.student)
    sampling = schedule.sampling
    for epoch in range(schedule.burn_in_epochs):
        x = schedule.inputs(pair.waves, epoch)
        student = run(network, BURN_IN, sampling, student, x, _none(network, x)).state
    measures, outputs = np.empty((4, schedule.training_epochs)), []
    for epoch in range(schedule.training_epochs):
        x = schedule.inputs(pair.waves, schedule.burn_in_epochs + epoch)
        target = targets[schedule.burn_in_epochs + epoch]
        copy = run(network, OPEN_LOOP, sampling, student, x, target)
        learning = run(network, LEARNING, sampling, student, x, target)
        student = learning.state
        measures[:, epoch] = (
            mean_squared_error(copy.output, target),
            mean_squared_error(learning.output, target),
            np.mean(learning.control_cost),
            np.sum(np.var(target, axis=0)),
        )
        if not np.all(np.isfinite(measures[:, epoch])):
            raise FloatingPointError(f"training epoch {epoch + 1}: the student diverged")
        outputs.append(copy.output)
    open_loop, closed_loop, cost, variance = measures
    return Course(open_loop, closed_loop, cost, variance, outputs[0], outputs[-1], student)


def mean_squared_error(output: np.ndarray, target: np.ndarray) -> float:
    """Mean over the samples of Σ (y − target)², summed over the outputs; arrays (n_samples, n_out).

    `golden/teacher-student.h5` holds this one, at the inputs' samples.
    """
    return float(np.mean(np.sum((output - target) ** 2, axis=1)))


def _none(network: ContinuousLearning, x: np.ndarray) -> np.ndarray:
    return np.zeros((len(x), network.sizes[-1]))


# What the published run printed.


@dataclass(frozen=True)
class Printed:
    """Of one rule, in the training epochs listed, from 0: as `Course` has them, (n,)."""

    epochs: np.ndarray
    open_loop_mse: np.ndarray
    control_cost: np.ndarray


# Training epoch; open-loop MSE and control cost of the linear threshold, then of the exact inverse,
# which are called 'approx' and 'exact' there.
_TABLE = """
     0     5.264478  82.98541     5.264478  86.86559
     1    1.5288918  46.06329    2.9760065   57.8122
     2   0.40197185  32.34796    1.6316317 47.076866
     3   0.08338577  35.42065   0.70705044 45.544342
     4  0.034455735  28.30481    0.3614552 31.107737
     5  0.036256824 35.201298   0.22125536 38.120228
     6  0.017446216 32.222694   0.10380677  36.82704
     7  0.009882145 24.002752  0.058052476 30.642311
     8  0.013240991 29.842937  0.040836748 35.369793
    47 0.0022482849 7.6678724 0.0041299774 10.984397
    48 0.0078717675  23.17245  0.012517019 34.000057
    49 0.0026421382  9.644203 0.0046539586 12.195984
    50 0.0020503323  7.111653  0.004027646 10.309206
    51 0.0042231944 11.641614  0.006738095 14.528125
    52 0.0031552766  12.54819 0.0054130643 15.185344
    53 0.0023563295  9.031395  0.003778749 13.640756
    54 0.0021084158 11.454344  0.003290375 14.648328
    55 0.0022970946  7.439664 0.0046065454 10.135722
    56 0.0023051226  8.680688  0.005032514 12.748427
    57 0.0016454085  5.677426 0.0031517143  8.780663
    58 0.0024180203  9.239791  0.004034292 12.867696
    59 0.0014332049 7.9643216 0.0029323017 11.295608
"""
_EPOCHS, *_COLUMNS = np.array(_TABLE.split(), dtype=float).reshape(-1, 5).T
PRINTED = {
    rule: Printed(_EPOCHS.astype(int), *columns)
    for rule, columns in zip(
        ("linear-threshold", "exact-inverse"), (_COLUMNS[:2], _COLUMNS[2:]), strict=True
    )
}


# Random numbers of the published run: Threefry-2x32 as JAX draws from it.

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
FRACTION_BITS = np.uint32(9)
ONE_AS_BITS = np.uint32(0x3F800000)


def key_of_seed(seed: int) -> np.ndarray:
    """Key (2,) of a seed below 2³²."""
    return np.array([0, seed], dtype=np.uint32)


def split(key: np.ndarray, n: int) -> np.ndarray:
    """Make n keys, (n, 2), out of one, (2,)."""
    return _words(key, 2 * n).reshape(n, 2)


def uniform(key: np.ndarray, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Numbers uniform in [low, high), in single precision; a key (2,) is used for one draw only."""
    # 23 random bits as the fraction of a number from 1 to 2.
    bits = (_words(key, int(np.prod(shape))) >> FRACTION_BITS) | ONE_AS_BITS
    fraction = bits.view(np.float32) - np.float32(1)
    first, last = np.float32(low), np.float32(high)
    return np.maximum(first, fraction * (last - first) + first).reshape(shape)


def normal(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, √2 erf⁻¹ of uniform ones, of which single precision is left."""
    above_minus_one = float(np.nextafter(np.float32(-1), np.float32(0)))
    return np.sqrt(2) * erfinv(uniform(key, shape, above_minus_one, 1).astype(np.float64))


def threefry(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """Twenty rounds on pairs of words: key (2,), counter and result (2, n), all uint32."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    with np.errstate(over="ignore"):
        first, second = counter[0] + schedule[0], counter[1] + schedule[1]
        for injection in range(1, 6):
            for turn in ROTATIONS[(injection - 1) % 2]:
                first = first + second
                rotated = (second << np.uint32(turn)) | (second >> np.uint32(32 - turn))
                second = rotated ^ first
            first = first + schedule[injection % 3]
            second = second + schedule[(injection + 1) % 3] + np.uint32(injection)
    return np.stack([first, second])


def _words(key: np.ndarray, n: int) -> np.ndarray:
    """n random words: the counters 0 … n − 1, the first half paired with the second."""
    counter = np.zeros(n + n % 2, dtype=np.uint32)
    counter[:n] = np.arange(n)
    return threefry(key, counter.reshape(2, -1)).reshape(-1)[:n]
