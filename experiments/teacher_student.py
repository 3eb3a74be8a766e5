"""A student learns its teacher's output in continuous time (section 10; figure 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..backends.continuous_simulation import run_compiled
from ..refimpl.continuous_learning import (
    BURN_IN,
    LEARNING,
    OPEN_LOOP,
    ContinuousLearning,
    initial_state,
)
from ..refimpl.continuous_state import INITIAL_SCALE, ContinuousState, draw_weights
from ..refimpl.continuous_trajectory import ContinuousRun, Sampling
from ..refimpl.errors import require
from ..refimpl.sine_inputs import (
    AMPLITUDES,
    FREQUENCIES,
    PHASES,
    SineWaves,
    draw_sine_waves,
    sample_times,
    sine_inputs,
)
from . import threefry

PUBLISHED_SEED = 2
Runner = Callable[..., ContinuousRun]
"""`run_compiled`, or the reference's `run_continuously`."""


@dataclass(frozen=True)
class Schedule:
    """How long, and in what steps.

    Parameters
    ----------
    sampling : Sampling
        Interval between samples, and steps of the integration to an interval. One step to
        a millisecond keeps the loss per epoch to a thousandth.
    n_samples : int
        Samples an epoch.
    burn_in_epochs, training_epochs : int
        Epochs in which only the feedback weights learn, and in which all does.
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
    """What is drawn at random.

    Parameters
    ----------
    waves : SineWaves
        Inputs.
    teacher, student : tuple
        Weights and biases (W, b) of each.
    """

    waves: SineWaves
    teacher: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
    student: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Course:
    """How a student learned, by training epoch.

    Parameters
    ----------
    open_loop_mse : array, (n_epochs,)
        Mean over the samples of Σ (y − target)², of a copy of the student that runs through
        the epoch from the same state without control, its weights held still.
    closed_loop_mse : array, (n_epochs,)
        The same of the student that is controlled and learns.
    control_cost : array, (n_epochs,)
        Mean over the samples of Σ_l ‖c Q^l‖².
    target_variance : array, (n_epochs,)
        Variance of the target over the samples, summed over the outputs: the MSE of a student
        that knows each output's mean and nothing else.
    before, after : array, (n_samples, n_out)
        Output of such a copy in the first and in the last training epoch.
    student : ContinuousState
        At the end.
    """

    open_loop_mse: np.ndarray
    closed_loop_mse: np.ndarray
    control_cost: np.ndarray
    target_variance: np.ndarray
    before: np.ndarray
    after: np.ndarray
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
    """Draw inputs, teacher and student, in this order.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of randomness.
    sizes : tuple of int
        Units per layer, inputs first.
    """
    waves = draw_sine_waves(generator, sizes[0])
    teacher = draw_weights(generator, sizes)
    return Pair(waves, teacher, draw_weights(generator, sizes))


def published_pair(seed: int = PUBLISHED_SEED) -> Pair:
    """Networks and inputs of the published figure, 30-20-2, drawn as its notebook draws.

    Parameters
    ----------
    seed : int
        Of the notebook; that of the figure is 2.
    """
    n_in, n, n_out = 30, 20, 2
    for_inputs, for_student, for_teacher = threefry.split(threefry.key_of_seed(seed), 3)
    limits = (AMPLITUDES, FREQUENCIES, PHASES)
    waves = SineWaves(
        *(
            threefry.uniform(key, (n_in,), *pair).astype(np.float64)
            for key, pair in zip(threefry.split(for_inputs, 3), limits, strict=True)
        )
    )

    def weights(key: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        shapes = ((n_in, n), (n, n_out), (n,), (n_out,))
        w_1, w_2, b_1, b_2 = (
            threefry.normal(one, shape) * INITIAL_SCALE / np.sqrt(shape[0])
            for one, shape in zip(threefry.split(key, 4), shapes, strict=True)
        )
        return (w_1, w_2), (b_1, b_2)

    return Pair(waves, teacher=weights(for_teacher), student=weights(for_student))


def teacher_outputs(
    network: ContinuousLearning, schedule: Schedule, pair: Pair, run: Runner = run_compiled
) -> list[np.ndarray]:
    """Output of the teacher in every epoch, the burn-in's among them.

    The teacher runs in open loop from the zero state on, and none of its weights moves.

    Parameters
    ----------
    network : ContinuousLearning
        Shape and activations; the rule is without effect.
    schedule : Schedule
        Epochs.
    pair : Pair
        Inputs and teacher.
    run : callable
        Integrates an epoch.

    Returns
    -------
    list of array, each (n_samples, n_out)
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
    """Let the student learn: burn-in, then training, on one clock.

    Parameters
    ----------
    network : ContinuousLearning
        Network and rule.
    schedule : Schedule
        Epochs.
    pair : Pair
        Inputs and student.
    targets : list of array, each (n_samples, n_out)
        What `teacher_outputs` returns.
    run : callable
        Integrates an epoch.

    Raises
    ------
    FloatingPointError
        The student left the finite numbers.
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
    return Course(
        open_loop_mse=measures[0],
        closed_loop_mse=measures[1],
        control_cost=measures[2],
        target_variance=measures[3],
        before=outputs[0],
        after=outputs[-1],
        student=student,
    )


def mean_squared_error(output: np.ndarray, target: np.ndarray) -> float:
    """Mean over the samples of Σ (y − target)², summed over the outputs.

    `golden/teacher-student.h5` holds this one, at the inputs' samples.

    Parameters
    ----------
    output, target : array, (n_samples, n_out)
    """
    return float(np.mean(np.sum((output - target) ** 2, axis=1)))


def _none(network: ContinuousLearning, x: np.ndarray) -> np.ndarray:
    return np.zeros((len(x), network.sizes[-1]))
