"""Reading traces, with every shape checked before anything is compared."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..refimpl.configuration import NetworkConfiguration
from ..refimpl.dynamics import FeedbackWeights
from ..refimpl.parameters import Parameters, check_shapes
from ..refimpl.state import NetworkState
from ..refimpl.trajectory import Recording
from .content_digest import DIGEST, check_digest
from .hdf5_file import reading
from .parameter_groups import FileError, read_array, read_parameters
from .trace import (
    SCHEMA,
    SCHEMA_VERSION,
    CircuitStep,
    Trace,
    TraceStep,
    TraceTrajectory,
    time_first,
)
from .trace_configuration import parse_trace_configuration

LARGEST_EVERY = 10_000
"""More steps between entries than anyone records would keep a judge busy for ever."""


def read_trace(path: str | Path) -> Trace:
    """Read a trace file.

    Parameters
    ----------
    path : str or Path
        HDF5 file.

    Returns
    -------
    Trace
        All arrays in float64.

    Raises
    ------
    FileError
        It cannot be used; the message names the file and what is wrong.
    """
    with reading(path) as file:
        _check_schema(file)
        # Those recorded elsewhere carry none.
        if DIGEST in file.attrs:
            check_digest(file)
        try:
            configuration, solver = parse_trace_configuration(file.attrs["config"])
        except (ValueError, TypeError, KeyError) as problem:
            raise FileError(f"{path}: attribute config is unusable: {problem}") from problem
        initial = _fitting_parameters(file, "initial_parameters", configuration)
        trace = Trace(
            path=Path(path),
            configuration=configuration,
            solver=solver,
            initial_parameters=initial.astype(np.float64),
            final_parameters=_fitting_parameters(file, "final_parameters", configuration).astype(
                np.float64
            ),
            stored_precision=initial.dtype,
            inputs=_inputs(file),
            targets=_float64(file, "targets"),
            open_loop_loss=_float64(file, "open_loop_loss"),
            closed_loop_loss=(
                None if configuration.rule == "backprop" else _float64(file, "closed_loop_loss")
            ),
            steps=tuple(
                _step(step, configuration) for _, step in sorted(file.get("steps", {}).items())
            ),
            trajectory=_trajectory(file, configuration.n_hidden),
            dataset=str(file.attrs.get("dataset", "")),
            dataset_indices=(
                read_array(file, "dataset_indices").astype(np.int64)
                if "dataset_indices" in file
                else None
            ),
        )
        _check_lengths(trace)
        _check_circuit(trace)
    return trace


def _check_schema(file: h5py.File) -> None:
    schema, version = file.attrs.get("schema"), file.attrs.get("schema_version")
    if schema != SCHEMA:
        raise FileError(f"{file.filename}: schema is {schema!r}: {SCHEMA!r} is needed")
    if version != SCHEMA_VERSION:
        raise FileError(
            f"{file.filename}: schema_version is {version}: this program reads {SCHEMA_VERSION}"
        )


def _check_lengths(trace: Trace) -> None:
    n_steps, sizes = trace.inputs.shape[0], trace.configuration.sizes
    for name, found, needed in (
        ("inputs", trace.inputs.shape[2:], sizes[:1]),
        ("targets", trace.targets.shape, (*trace.inputs.shape[:2], sizes[-1])),
        ("open_loop_loss", trace.open_loop_loss.shape, (n_steps,)),
        (
            "closed_loop_loss",
            (n_steps,) if trace.closed_loop_loss is None else trace.closed_loop_loss.shape,
            (n_steps,),
        ),
    ):
        if found != needed:
            raise FileError(f"{trace.path}: {name} has shape {found}: {needed} is needed")
    if trace.steps and len(trace.steps) != n_steps:
        raise FileError(f"{trace.path}: {len(trace.steps)} steps for {n_steps} batches of inputs")


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    group = parent.get(name)
    if not isinstance(group, h5py.Group):
        raise FileError(f"{parent.file.filename}: group {name} is missing")
    return group


def _fitting_parameters(
    parent: h5py.Group, name: str, configuration: NetworkConfiguration
) -> Parameters:
    group = _group(parent, name)
    parameters = read_parameters(group)
    try:
        check_shapes(parameters, configuration.sizes)
    except ValueError as problem:
        raise FileError(f"{parent.file.filename}: {group.name}: {problem}") from problem
    if parameters.readout.ndim != 2 or any(b.ndim != 1 for b in parameters.biases):
        raise FileError(
            f"{parent.file.filename}: {group.name}: readout/weight has shape "
            f"{parameters.readout.shape}: one network, without leading axes, is needed"
        )
    return parameters


def _float64(group: h5py.Group, path: str) -> np.ndarray:
    return read_array(group, path).astype(np.float64)


def _check_circuit(trace: Trace) -> None:
    """Refuse end states and feedback weights of the wrong shape, which nobody could compare."""
    batch = trace.inputs.shape[1:2]
    *_, n_out = trace.configuration.sizes
    for number, step in enumerate(trace.steps):
        circuit = step.circuit
        if circuit is None:
            continue
        where = f"{trace.path}: steps/{number:04d}"
        _check_state(f"{where}/open_loop", circuit.open_loop, trace, batch)
        _check_state(f"{where}/closed_loop", circuit.closed_loop, trace, batch)
        _check_feedback(f"{where}/feedback", circuit.feedback, trace)
        _check_shape(f"{where}/closed_loop_targets", circuit.closed_loop_target, (*batch, n_out))
        for l, r in enumerate(circuit.mean_inhibition or ()):
            needed = trace.configuration.sizes[l + 1 : l + 2]
            _check_shape(f"{where}/mean_inhibition/r_I_{l}", r, needed)
    if trace.trajectory is not None:
        leading = (len(trace.trajectory.open_loop.u_out), *batch)
        where = f"{trace.path}: trajectory"
        _check_state(f"{where}/open_loop", trace.trajectory.open_loop, trace, leading)
        _check_state(f"{where}/closed_loop", trace.trajectory.closed_loop, trace, leading)
        _check_feedback(f"{where}/feedback", trace.trajectory.feedback, trace)


def _check_state(where: str, state: NetworkState, trace: Trace, leading: tuple[int, ...]) -> None:
    *hidden, n_out = trace.configuration.sizes[1:]
    for l, n in enumerate(hidden):
        _check_shape(f"{where}/u_E_{l}", state.u_E[l], (*leading, n))
        _check_shape(f"{where}/u_I_{l}", state.u_I[l], (*leading, n))
    _check_shape(f"{where}/u_out", state.u_out, (*leading, n_out))
    _check_shape(f"{where}/c_int", state.z, (*leading, n_out))


def _check_feedback(where: str, Q: FeedbackWeights, trace: Trace) -> None:
    *hidden, n_out = trace.configuration.sizes[1:]
    for l, n in enumerate(hidden):
        _check_shape(f"{where}/Q_{l}", Q[l], (trace.inputs.shape[1], n_out, n))


def _check_shape(where: str, array: np.ndarray, needed: tuple[int, ...]) -> None:
    if array.shape != needed:
        raise FileError(f"{where} has shape {array.shape}: {needed} is needed")


def _inputs(file: h5py.File) -> np.ndarray:
    inputs = read_array(file, "inputs")
    return inputs / 255 if inputs.dtype == np.uint8 else inputs.astype(np.float64)


def _state(group: h5py.Group, n_hidden: int) -> NetworkState:
    return NetworkState(
        tuple(_float64(group, f"u_E_{l}") for l in range(n_hidden)),
        tuple(_float64(group, f"u_I_{l}") for l in range(n_hidden)),
        _float64(group, "u_out"),
        _float64(group, "c_int"),
    )


def _layers(group: h5py.Group, name: str, n_hidden: int) -> tuple[np.ndarray, ...]:
    return tuple(_float64(group, f"{name}_{l}") for l in range(n_hidden))


def _step(group: h5py.Group, configuration: NetworkConfiguration) -> TraceStep:
    return TraceStep(
        gradients=_fitting_parameters(group, "gradients", configuration).astype(np.float64),
        parameters_after=_fitting_parameters(group, "parameters_after", configuration).astype(
            np.float64
        ),
        circuit=(
            None if configuration.rule == "backprop" else _circuit(group, configuration.n_hidden)
        ),
    )


def _circuit(group: h5py.Group, n_hidden: int) -> CircuitStep:
    return CircuitStep(
        open_loop=_state(_group(group, "open_loop"), n_hidden),
        feedback=_layers(_group(group, "feedback"), "Q", n_hidden),
        closed_loop_target=_float64(group, "closed_loop_targets"),
        closed_loop=_state(_group(group, "closed_loop"), n_hidden),
        mean_inhibition=(
            _layers(_group(group, "mean_inhibition"), "r_I", n_hidden)
            if "mean_inhibition" in group
            else None
        ),
    )


def _trajectory(file: h5py.File, n_hidden: int) -> TraceTrajectory | None:
    if "trajectory" not in file:
        return None
    group = _group(file, "trajectory")
    open_loop = time_first(_state(_group(group, "open_loop"), n_hidden))
    every = int(group.attrs["every"])
    if not 1 <= every <= LARGEST_EVERY:
        raise FileError(
            f"{file.filename}: trajectory keeps every {every}th step: 1 to {LARGEST_EVERY} is read"
        )
    return TraceTrajectory(
        open_loop=open_loop,
        closed_loop=time_first(_state(_group(group, "closed_loop"), n_hidden)),
        feedback=_layers(_group(group, "feedback"), "Q", n_hidden),
        recording=Recording(
            # "tsit5, constant step"
            method=str(group.attrs["method"]).partition(",")[0],
            dt=float(group.attrs["dt"]),
            n_steps=(open_loop.u_out.shape[0] - 1) * every,
            every=every,
        ),
    )
