"""Recording a trace: a few learning steps by a backend, every stage of them kept."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import (
    ConfigurationError,
    EndStateCounts,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    Recording,
    Solver,
    resting_state,
)
from ..judge import learning_run
from .trace import CircuitStep, Trace, TraceStep, TraceTrajectory

RECORDED_RTOL, RECORDED_ATOL = 1e-10, 1e-12
"""How good recorded numbers are; those of the published implementation are as good."""
LONGEST_RECORDED_STEP = 1e-3
STEPS_PER_TIME_CONSTANT = 5
RECORDED_STEPS, RECORDED_EVERY = 200, 10
JUST_RECORDED = Path("trace just recorded")


def recording_solver(configuration: NetworkConfiguration) -> Solver:
    """Choose a solver for golden numbers: the fixed point, or where there is none, integration.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Its controller has a fixed point if it leaks.
    """
    leaks = bool(np.all(np.asarray(configuration.controller.leak) > 0))
    return Solver(
        method="fixed-point" if leaks else "tsit5",
        rtol=RECORDED_RTOL,
        atol=RECORDED_ATOL,
        horizon=30.0,
        settled="published",
    )


def suitable_recording(configuration: NetworkConfiguration) -> Recording:
    """Choose a constant step at which the fastest unit is followed, 1 ms at most.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Its time constants.
    """
    fastest = np.min([configuration.tau_E, configuration.tau_I, configuration.controller.tau])
    step = min(LONGEST_RECORDED_STEP, float(fastest) / STEPS_PER_TIME_CONSTANT)
    return Recording("tsit5", step, RECORDED_STEPS, RECORDED_EVERY)


def record_trace(
    configuration: NetworkConfiguration,
    parameters: Parameters,
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    with_trajectory: bool = False,
    backend_class: type[Backend] = NumpyBackend,
    dtype: np.dtype | type = np.float64,
    solver: Solver | None = None,
    path: str | os.PathLike[str] = JUST_RECORDED,
) -> Trace:
    """Run learning steps and keep all they compute.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule.
    parameters : Parameters
        Start.
    inputs : array, (S, batch, n_in)
        One batch a step.
    targets : array, (S, batch, n_out)
        Labels.
    with_trajectory : bool
        Also integrate batch 0 with a constant step.
    backend_class, dtype
        Who computes, in which precision; the reference in float64 makes golden numbers.
    solver : Solver, optional
        Else `recording_solver`.
    path : str or path
        Name by which reports call it.

    Raises
    ------
    ConfigurationError
        An end state was not reached: there is nothing to record.
    """
    path = Path(path)
    solver = solver or recording_solver(configuration)
    backend = backend_class(configuration, parameters, dtype, solver)
    initial = backend.learner().parameters
    trajectory = None
    if with_trajectory and configuration.rule != "backprop":
        trajectory = _trajectory(backend, inputs[0], targets[0])
    steps = [
        _step(backend, x, y, step) for step, (x, y) in enumerate(zip(inputs, targets, strict=True))
    ]
    empty = np.zeros(len(steps))
    trace = Trace(
        path=path,
        configuration=configuration,
        solver=solver,
        initial_parameters=initial.astype(np.float64),
        final_parameters=initial.astype(np.float64),
        stored_precision=np.dtype(np.float64),
        inputs=np.asarray(inputs, dtype=np.float64),
        targets=np.asarray(targets, dtype=np.float64),
        open_loop_loss=empty,
        closed_loop_loss=None if configuration.rule == "backprop" else empty,
        steps=tuple(steps),
        trajectory=trajectory,
    )
    # The run itself, not its stages: what a backend fuses may differ from them.
    run = learning_run(backend, trace)
    return dataclasses.replace(
        trace,
        final_parameters=backend.learner().parameters.astype(np.float64),
        open_loop_loss=run["open_loop_loss"],
        closed_loop_loss=run.get("closed_loop_loss"),
    )


def _step(backend: Backend, x: np.ndarray, y: np.ndarray, step: int) -> TraceStep:
    circuit = None
    if backend.configuration.rule == "backprop":
        open_loop = closed_loop = resting_state(backend.learner().parameters, x)
        r_bar = backend.learner().mean_inhibition
    else:
        circuit = _circuit_step(backend, x, y, step)
        open_loop, closed_loop = circuit.open_loop, circuit.closed_loop
        r_bar = circuit.mean_inhibition or backend.learner().mean_inhibition
    gradients = backend.gradients(x, y, open_loop, closed_loop, r_bar)
    backend.update(gradients, r_bar)
    return TraceStep(
        gradients=gradients.astype(np.float64),
        parameters_after=backend.learner().parameters.astype(np.float64),
        circuit=circuit,
    )


def _circuit_step(backend: Backend, x: np.ndarray, y: np.ndarray, step: int) -> CircuitStep:
    open_loop, counts = backend.open_loop(x)
    _refuse_unsettled(counts, f"step {step}: open loop")
    r_bar = backend.mean_inhibition(open_loop)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, counts = backend.closed_loop(x, Q, target, open_loop)
    _refuse_unsettled(counts, f"step {step}: closed loop")
    learns_mean = backend.configuration.rule == "linear-threshold"
    return CircuitStep(
        open_loop=_wide(open_loop),
        feedback=tuple(
            np.broadcast_to(q, (x.shape[0], *q.shape[1:])).astype(np.float64) for q in Q
        ),
        closed_loop_target=target.astype(np.float64),
        closed_loop=_wide(closed_loop),
        mean_inhibition=tuple(r.astype(np.float64) for r in r_bar) if learns_mean else None,
    )


def _refuse_unsettled(counts: EndStateCounts, where: str) -> None:
    if counts.unsettled:
        raise ConfigurationError(
            f"{where}: {counts.unsettled} samples did not come to rest, so that there is no end "
            "state to record: lower the controller's gains, or give its integral a leak"
        )


def _trajectory(backend: Backend, x: np.ndarray, y: np.ndarray) -> TraceTrajectory:
    recording = suitable_recording(backend.configuration)
    open_loop, _ = backend.open_loop(x)
    target = backend.closed_loop_target(open_loop, y)
    path = backend.open_loop_trajectory(recording, x)
    end = NetworkState(
        tuple(u[-1] for u in path.u_E), tuple(u[-1] for u in path.u_I), path.u_out[-1], path.z[-1]
    )
    Q = tuple(np.broadcast_to(q, (x.shape[0], *q.shape[1:])) for q in backend.feedback_weights(end))
    return TraceTrajectory(
        open_loop=_wide(path),
        closed_loop=_wide(backend.closed_loop_trajectory(recording, x, Q, target, end)),
        feedback=tuple(q.astype(np.float64) for q in Q),
        recording=recording,
    )


def _wide(state: NetworkState) -> NetworkState:
    return NetworkState(
        tuple(u.astype(np.float64) for u in state.u_E),
        tuple(u.astype(np.float64) for u in state.u_I),
        state.u_out.astype(np.float64),
        state.z.astype(np.float64),
    )
