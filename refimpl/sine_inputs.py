"""Sine waves as inputs of a network in continuous time (section 10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AMPLITUDES, FREQUENCIES, PHASES = (0.1, 1.0), (0.1, 2.0), (0.0, np.pi)
"""Limits between which waves are drawn; frequencies in hertz, phases in radians."""


@dataclass(frozen=True)
class SineWaves:
    """x_i(t) = A_i sin(2π f_i t + ϕ_i).

    Parameters
    ----------
    amplitude : array, (n,)
        A.
    frequency : array, (n,)
        f, hertz.
    phase : array, (n,)
        ϕ, radians.
    """

    amplitude: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray


def draw_sine_waves(generator: np.random.Generator, n: int) -> SineWaves:
    """Draw amplitudes, frequencies and phases, each uniform between its limits.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of randomness.
    n : int
        Number of waves.
    """
    return SineWaves(
        *(generator.uniform(*limits, n) for limits in (AMPLITUDES, FREQUENCIES, PHASES))
    )


def sine_inputs(waves: SineWaves, time: np.ndarray) -> np.ndarray:
    """Samples of the waves.

    Parameters
    ----------
    waves : SineWaves
        Waves.
    time : array, (n_samples,)
        Times, seconds.

    Returns
    -------
    array, (n_samples, n)
    """
    angle = 2 * np.pi * waves.frequency * time[:, None] + waves.phase
    return waves.amplitude * np.sin(angle)


def sample_times(epoch: int, n_samples: int, sample_interval: float) -> np.ndarray:
    """Times of an epoch's samples, on one clock that runs on from epoch to epoch.

    Sample 0 of epoch 0 is at time 0. An epoch of 5000 samples has 4999 intervals: a state
    is carried from the last sample of one epoch to the first of the next while the clock
    goes on by an interval. The published run does so; `golden/teacher-student.h5` shows it,
    its states after burn-in being those of 4.999 s, its second epoch starting at 5 s.

    Parameters
    ----------
    epoch : int
        Counted from 0.
    n_samples : int
        Samples an epoch.
    sample_interval : float
        Seconds.

    Returns
    -------
    array, (n_samples,)
        Seconds.
    """
    return (epoch * n_samples + np.arange(n_samples)) * sample_interval
