"""A network in continuous time at machine speed: the reference's run, compiled (section 10)."""

from __future__ import annotations

import numpy as np

from ...refimpl import (
    ContinuousLearning,
    ContinuousRun,
    ContinuousState,
    Phase,
    Sampling,
    pack_continuous,
    threshold,
    unpack_continuous,
)
from ..layout import tableau_arrays
from .kernels import continuous_learning as kernels

TABLEAU, _ = tableau_arrays("tsit5", np.float64)
NODES = np.append(0.0, TABLEAU.sum(axis=1))


def run_compiled(
    configuration: ContinuousLearning,
    phase: Phase,
    sampling: Sampling,
    state: ContinuousState,
    inputs: np.ndarray,
    targets: np.ndarray,
) -> ContinuousRun:
    """Integrate from the first sample to the last, as `run_continuously` does.

    Differs from it by rounding alone, the same method with the same steps. It holds no
    interpreter lock: threads may run networks side by side.

    Parameters
    ----------
    configuration : ContinuousLearning
        Network.
    phase : Phase
        What is at work.
    sampling : Sampling
        Interval between samples, and steps to an interval.
    state : ContinuousState
        At the first sample.
    inputs : array of float64, (n_samples, n_in)
        x.
    targets : array of float64, (n_samples, n_out)
        Desired output; without effect when there is no control.

    Returns
    -------
    ContinuousRun
    """
    n_samples, sizes = len(inputs), configuration.sizes
    y = pack_continuous(state)
    output, cost = np.empty((n_samples, sizes[-1])), np.empty(n_samples)
    kernels.run(
        np.array(sizes),
        _activations(configuration),
        _constants(configuration),
        _rule(configuration),
        np.array([phase.control, phase.feedback_learns, phase.weights_learn]),
        TABLEAU,
        NODES,
        float(sampling.interval),
        int(sampling.steps),
        y,
        np.ascontiguousarray(inputs, dtype=np.float64),
        np.ascontiguousarray(targets, dtype=np.float64),
        output,
        cost,
    )
    return ContinuousRun(unpack_continuous(y, sizes), output, cost)


def _activations(configuration: ContinuousLearning) -> np.ndarray:
    both = (configuration.activation_E, configuration.activation_I)
    return np.array([(phi.scale, phi.sharpness, phi.shift) for phi in both]).reshape(-1)


def _constants(configuration: ContinuousLearning) -> np.ndarray:
    tau, c = (configuration.tau_E, configuration.tau_I), configuration.controller
    last = configuration.tau_Q, configuration.feedback_norm
    return np.array([*tau, c.k_p, c.k_i, c.leak, c.tau, *last])


def _rule(configuration: ContinuousLearning) -> np.ndarray:
    departures = configuration.departures
    form, theta, delta = 0, 0.0, 0.0
    if configuration.rule == "linear-threshold":
        form = 2 if departures.excitatory_inverse else 1
        theta, delta = threshold(configuration)
    return np.array([form, departures.slope_at_rate, theta, delta, configuration.tau_W])
