"""Traces: everything a few learning steps computed, in schema `disinhib-trace` version 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..refimpl.configuration import NetworkConfiguration, Solver
from ..refimpl.dynamics import FeedbackWeights
from ..refimpl.parameters import Parameters
from ..refimpl.state import NetworkState
from ..refimpl.trajectory import Recording

SCHEMA = "disinhib-trace"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CircuitStep:
    """What the microcircuit does in one learning step.

    Parameters
    ----------
    open_loop, closed_loop : NetworkState
        End states, arrays (batch, n).
    feedback : tuple of array, each (batch, n_out, n_l)
        Feedback weights as applied.
    closed_loop_target : array, (batch, n_out)
        What the controller was given.
    mean_inhibition : tuple of array, each (n_l,), or None
        r̄, for the linear threshold.
    """

    open_loop: NetworkState
    feedback: FeedbackWeights
    closed_loop_target: np.ndarray
    closed_loop: NetworkState
    mean_inhibition: tuple[np.ndarray, ...] | None


@dataclass(frozen=True)
class TraceStep:
    """Every stage of one learning step.

    Parameters
    ----------
    gradients, parameters_after : Parameters
        g, and the parameters one optimiser step later.
    circuit : CircuitStep or None
        What the microcircuit did; None for backprop, which has none.
    """

    gradients: Parameters
    parameters_after: Parameters
    circuit: CircuitStep | None


@dataclass(frozen=True)
class TraceTrajectory:
    """Paths of batch 0 from rest and then under control, at the initial parameters.

    Parameters
    ----------
    open_loop, closed_loop : NetworkState
        Arrays (time, batch, n); the closed loop starts where the open loop ended.
    feedback : tuple of array, each (batch, n_out, n_l)
        Feedback weights of the closed loop.
    recording : Recording
        How they were integrated.
    """

    open_loop: NetworkState
    closed_loop: NetworkState
    feedback: FeedbackWeights
    recording: Recording


@dataclass(frozen=True)
class Trace:
    """A recorded run of S learning steps.

    Parameters
    ----------
    path : Path
        Where it was read from.
    configuration : NetworkConfiguration
        Network and rule.
    solver : Solver
        How its end states were found.
    initial_parameters, final_parameters : Parameters
        Before the first and after the last step.
    stored_precision : numpy.dtype
        Of the parameters in the file.
    inputs : array of float64, (S, batch, n_in)
        Scaled to [0, 1] where the file has bytes.
    targets : array of float64, (S, batch, n_out)
        Labels.
    open_loop_loss : array of float64, (S,)
        Mean loss of each step before its update.
    closed_loop_loss : array of float64, (S,), or None
        Likewise under control; backprop has none.
    steps : tuple of TraceStep
        Empty where the file has a summary only.
    trajectory : TraceTrajectory or None
        Where the file has one.
    dataset : str
        Name of the dataset that the inputs are from; empty for none.
    dataset_indices : array of int64, (S, batch), or None
        Their positions in its training split.
    """

    path: Path
    configuration: NetworkConfiguration
    solver: Solver
    initial_parameters: Parameters
    final_parameters: Parameters
    stored_precision: np.dtype
    inputs: np.ndarray
    targets: np.ndarray
    open_loop_loss: np.ndarray
    closed_loop_loss: np.ndarray | None
    steps: tuple[TraceStep, ...]
    trajectory: TraceTrajectory | None
    dataset: str = ""
    dataset_indices: np.ndarray | None = None


def time_first(state: NetworkState) -> NetworkState:
    """Exchange the first two axes: the files have (batch, time, n), the model (time, batch, n)."""
    return NetworkState(
        tuple(np.swapaxes(u, 0, 1) for u in state.u_E),
        tuple(np.swapaxes(u, 0, 1) for u in state.u_I),
        np.swapaxes(state.u_out, 0, 1),
        np.swapaxes(state.z, 0, 1),
    )
