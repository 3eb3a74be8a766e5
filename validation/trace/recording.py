"""Recording a trace: a few learning steps by a backend, every stage of them kept."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np

from ...backends import Backend, NumpyBackend
from ...refimpl import (
    ConfigurationError,
    EndStateCounts,
    NetworkConfiguration,
    Parameters,
    Recording,
    Solver,
    map_arrays,
    slowest_time_constant,
)
from ..judge import Stage, has_fixed_point, learner_before, learning_run, repeated, run_to_gradients
from .trace import CircuitStep, Trace, TraceStep, TraceTrajectory

RECORDED_RTOL, RECORDED_ATOL = 1e-10, 1e-12
"""How good recorded numbers are; those of the published implementation are as good."""
LONGEST_RECORDED_STEP = 1e-3
STEPS_PER_TIME_CONSTANT = 5
RECORDED_STEPS, RECORDED_EVERY = 200, 10
TIME_CONSTANTS_TO_REST, KEPT, MOST_RECORDED_STEPS = 10, 100, 100_000
JUST_RECORDED = Path("trace just recorded")


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
    recording: Recording | None = None,
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
    recording : Recording, optional
        Of the trajectory; else `suitable_recording`.
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
        how = recording or suitable_recording(configuration)
        trajectory = _trajectory(backend, inputs[0], targets[0], how)
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
    backend.load(learner_before(trace, 0))
    run = learning_run(backend, trace)
    return dataclasses.replace(
        trace,
        final_parameters=backend.learner().parameters.astype(np.float64),
        open_loop_loss=run["open_loop_loss"],
        closed_loop_loss=run.get("closed_loop_loss"),
    )


def recording_solver(configuration: NetworkConfiguration) -> Solver:
    """Choose a solver for golden numbers: the fixed point, or where there is none, integration."""
    return Solver(
        method="fixed-point" if has_fixed_point(configuration) else "tsit5",
        rtol=RECORDED_RTOL,
        atol=RECORDED_ATOL,
        horizon=30.0,
        settled="published",
    )


def suitable_recording(configuration: NetworkConfiguration) -> Recording:
    """Choose a constant step at which the fastest unit is followed, 1 ms at most."""
    fastest = np.min([configuration.tau_E, configuration.tau_I, configuration.controller.tau])
    step = min(LONGEST_RECORDED_STEP, float(fastest) / STEPS_PER_TIME_CONSTANT)
    return Recording("tsit5", step, RECORDED_STEPS, RECORDED_EVERY)


def recording_to_rest(configuration: NetworkConfiguration) -> Recording:
    """Choose a recording that lasts until nothing moves any more, a hundred points of time.

    Ten of the slowest time constant leave e⁻¹⁰ of a change.
    """
    suitable = suitable_recording(configuration)
    slowest = float(np.max(slowest_time_constant(configuration, is_closed=True)))
    every = max(1, math.ceil(TIME_CONSTANTS_TO_REST * slowest / suitable.dt / KEPT))
    n_steps = KEPT * every
    if n_steps > MOST_RECORDED_STEPS:
        raise ConfigurationError(
            f"a path to rest has {n_steps:,} steps of {suitable.dt:g} s, as the slowest time "
            f"constant is {slowest:g} s: at most {MOST_RECORDED_STEPS:,} are recorded"
        )
    return dataclasses.replace(suitable, n_steps=n_steps, every=every)


def _step(backend: Backend, x: np.ndarray, y: np.ndarray, step: int) -> TraceStep:
    def refuse_unsettled(stage: Stage, counts: EndStateCounts) -> None:
        if counts.unsettled:
            raise ConfigurationError(
                f"step {step}: {stage.name}: {counts.unsettled} samples did not come to rest, so "
                "that there is no end state to record: lower the controller's gains, or give its "
                "integral a leak"
            )

    rule = backend.configuration.rule
    done = run_to_gradients(backend, x, y, told=refuse_unsettled)
    backend.update(done["gradients"], done["mean_inhibition"])
    circuit = None
    if rule != "backprop":
        r_bar = done["mean_inhibition"] if rule == "linear-threshold" else None
        circuit = CircuitStep(
            open_loop=map_arrays(_wide, done["open_loop"]),
            feedback=map_arrays(_wide, repeated(done["feedback"], len(x))),
            closed_loop_target=_wide(done["closed_loop_target"]),
            closed_loop=map_arrays(_wide, done["closed_loop"]),
            mean_inhibition=None if r_bar is None else map_arrays(_wide, r_bar),
        )
    return TraceStep(
        gradients=map_arrays(_wide, done["gradients"]),
        parameters_after=map_arrays(_wide, backend.learner().parameters),
        circuit=circuit,
    )


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _trajectory(
    backend: Backend, x: np.ndarray, y: np.ndarray, recording: Recording
) -> TraceTrajectory:
    open_loop, _ = backend.open_loop(x)
    target = backend.closed_loop_target(open_loop, y)
    path = backend.open_loop_trajectory(recording, x)
    end = map_arrays(lambda u: u[-1], path)
    Q = repeated(backend.feedback_weights(end), len(x))
    return TraceTrajectory(
        open_loop=map_arrays(_wide, path),
        closed_loop=map_arrays(_wide, backend.closed_loop_trajectory(recording, x, Q, target, end)),
        feedback=map_arrays(_wide, Q),
        recording=recording,
    )
