"""The memory in which the CUDA kernels work on a batch, and the plan that points to it.

First how many samples a group, a block of threads, takes at once: they lie in its block's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ...refimpl import (
    MOST_STEPS_TO_REST,
    TABLEAUS,
    NetworkConfiguration,
    Solver,
    slowest_time_constant,
    tolerances_to_rest,
)
from ..backend import BackendUnavailable
from ..layout import state_size
from .device import Device, DeviceArray
from .source import SAMPLES_PER_GROUP, enumerators, plan_members

PARTIAL, OUTPUT_ARRAYS, FLAGS, SCALARS = 4, 6, 4, 8
"""What a group keeps of each sample in its block's memory, as in kernels/group.cuh."""


@dataclass(frozen=True)
class GroupSize:
    """Samples of a group, threads and bytes of its block, and whether matrices lie in these too."""

    samples: int
    threads: int
    block_bytes: int
    matrices_in_block: bool


def group_size(sizes: tuple[int, ...], rows: int, device: Device) -> GroupSize:
    """Choose the size of a group; refuse a layer too wide for a single sample's block.

    As few samples as let all groups work at once, one a processor: a sample alone waits for no
    other. Where even the most samples would leave some waiting, blocks of half the threads: two
    share a processor, and one computes while the other reads its weights.
    """
    width, n_out = max(sizes[1:]), sizes[-1]
    itemsize, threads = device.dtype.itemsize, device.group_threads
    layouts = [(threads, device.block_bytes)]
    if rows > SAMPLES_PER_GROUP[-1] * device.processors:
        layouts.insert(0, (-(-threads // 2), device.block_bytes // 2))

    def size(samples: int, threads: int, with_matrices: bool) -> GroupSize:
        numbers = 2 * width + PARTIAL * threads + OUTPUT_ARRAYS * n_out
        numbers += 2 * n_out**2 if with_matrices else 0
        needed = samples * (8 * SCALARS + itemsize * numbers + 4 * FLAGS)
        return GroupSize(samples, threads, needed, with_matrices)

    for of_threads, most in layouts:
        for with_matrices in (True, False):
            sized = [size(samples, of_threads, with_matrices) for samples in SAMPLES_PER_GROUP]
            fitting = [one for one in sized if one.block_bytes <= most]
            if fitting:
                enough = [one for one in fitting if rows <= one.samples * device.processors]
                return enough[0] if enough else fitting[-1]
    raise BackendUnavailable(
        f"a layer of {width} units needs {size(1, threads, False).block_bytes:,} bytes of a "
        f"block's memory, of which this device has {device.block_bytes:,}: use narrower layers, "
        "or backend numba"
    )


def refuse_too_large(
    device: Device, needed: int, what: str, fitting: Callable[[float], str]
) -> None:
    """Raise a BackendUnavailable if more bytes are needed than are free, before any are taken.

    `fitting` says of the share that is free what would fit.
    """
    free = device.free_bytes()
    if needed > free:
        raise BackendUnavailable(
            f"the device is out of memory: {what} would take {needed:,} bytes, {free:,} are free; "
            f"{fitting(free / needed)}"
        )


RULES = {
    "exact-inverse": "EXACT_INVERSE",
    "linear-threshold": "LINEAR_THRESHOLD",
    "linear-threshold-fixed": "LINEAR_THRESHOLD_FIXED",
    "backprop": "BACKPROP",
}


@dataclass
class Workspace:
    """Arrays for one batch size, and the plan's values by the names of `struct Plan`."""

    batch: int
    arrays: dict[str, DeviceArray]
    values: dict[str, int]
    plan: DeviceArray


def workspace_elements(
    configuration: NetworkConfiguration, rows: int, n_stages: int, matrices_in_block: bool
) -> dict[str, int]:
    """Elements of each array of a workspace, in the network's precision."""
    sizes = configuration.sizes
    n_in, n_1, n_out = sizes[0], sizes[1], sizes[-1]
    units, widest, n_hidden = sum(sizes[1:-1]), max(sizes[1:-1]), len(sizes) - 2
    elements = dict.fromkeys(("open_u_out", "y", "delta_out", "u_out", "z", "target"), rows * n_out)
    elements |= dict.fromkeys(("r_E", "delta"), rows * units)
    elements |= {"x": rows * n_in, "back": rows * widest}
    layers = ("open_u_E", "open_u_I", "open_r_E", "gain", "u_E", "u_I")
    elements |= dict.fromkeys(layers, rows * units)
    elements |= dict.fromkeys(("J_even", "J_odd"), rows * n_out * widest)
    elements |= dict.fromkeys(("state", "next_state"), rows * state_size(sizes))
    return elements | {
        "a_1": rows * n_1,
        "Q": rows * n_out * units,
        "strength": rows * n_hidden,
        "matrices": 0 if matrices_in_block else rows * 2 * n_out**2,
        "stages": rows * (n_stages + 1) * state_size(sizes),
    }


def settings_array(configuration: NetworkConfiguration, leading: tuple[int, ...]) -> np.ndarray:
    """Settings of every replica, (replicas, N_SETTINGS), float64."""
    phi_E, phi_I = configuration.activation_E, configuration.activation_I
    controller, feedback = configuration.controller, configuration.feedback
    inhibition, o = configuration.mean_inhibition, configuration.optimizer
    has_gain = np.all(np.asarray(controller.leak) > 0)
    named: dict[str, Any] = {
        "SCALE_E": phi_E.scale, "SHARPNESS_E": phi_E.sharpness, "SHIFT_E": phi_E.shift,
        "SCALE_I": phi_I.scale, "SHARPNESS_I": phi_I.sharpness, "SHIFT_I": phi_I.shift,
        "TAU_E": configuration.tau_E, "TAU_I": configuration.tau_I,
        "K_P": controller.k_p, "K_I": controller.k_i, "LEAK": controller.leak,
        "TAU_C": controller.tau, "KAPPA": controller.steady_gain if has_gain else 0,
        "SLOWEST_OPEN": slowest_time_constant(configuration, False),
        "SLOWEST_CLOSED": slowest_time_constant(configuration, True),
        "NUDGE": feedback.nudge, "NORM": feedback.norm,
        "CLIP": 0 if feedback.clip is None else feedback.clip,
        "RHO": inhibition.rate, "R_0": inhibition.fixed_point,
        "LEARNING_RATE": o.learning_rate, "BETA_1": o.beta_1, "BETA_2": o.beta_2,
        "REST_1": 1 - o.beta_1, "REST_2": 1 - o.beta_2, "EPSILON": o.epsilon,
    }  # fmt: skip
    order = [name for name in enumerators("Setting") if name != "N_SETTINGS"]
    columns = [
        np.broadcast_to(np.asarray(named[name], dtype=np.float64), (*leading, 1, 1)).ravel()
        for name in order
    ]
    return np.stack(columns, axis=-1)


def control_array(
    configuration: NetworkConfiguration, solver: Solver, dtype: np.dtype, dt: float | None = None
) -> np.ndarray:
    """Numbers in float64: of the step control and of the optimiser's decay."""
    rtol, atol, max_steps = solver.rtol, solver.atol, solver.max_steps
    if solver.method == "fixed-point":
        # For samples that no search finds.
        rtol, atol = tolerances_to_rest(dtype)
        max_steps = min(max_steps, MOST_STEPS_TO_REST)
    named = {
        "RTOL": rtol, "ATOL": atol, "DT": solver.dt if dt is None else dt,
        "DT_MIN": solver.dt_min, "DT_MAX": solver.dt_max, "HORIZON": solver.horizon,
        "MAX_STEPS": max_steps, "SAFETY": solver.safety,
        "FACTOR_MIN": solver.factor_min, "FACTOR_MAX": solver.factor_max,
        "GAIN_P": solver.p, "GAIN_I": solver.i, "GAIN_D": solver.d,
        "ERROR_ORDER": TABLEAUS[integration_method(solver)].error_order,
        "ADAPTIVE": solver.step_control == "adaptive",
        "BY_DISTANCE": solver.settled == "distance",
        "DECAY_1": configuration.optimizer.beta_1, "DECAY_2": configuration.optimizer.beta_2,
    }  # fmt: skip
    order = [name for name in enumerators("Control") if name != "N_CONTROLS"]
    return np.array([named[name] for name in order], dtype=np.float64)


def integration_method(solver: Solver) -> str:
    """Method by which states are integrated, those included that no search finds."""
    return "tsit5" if solver.method == "fixed-point" else solver.method


def structure_values(configuration: NetworkConfiguration, solver: Solver) -> dict[str, int]:
    """Members of the plan that follow from the configuration alone."""
    sizes, feedback = configuration.sizes, configuration.feedback
    return {
        "n_hidden": configuration.n_hidden,
        "n_in": sizes[0],
        "n_out": sizes[-1],
        "n_parameters": sum(a * b for a, b in pairwise(sizes)) + sum(sizes[1:-1]),
        "n_units": sum(sizes[1:-1]),
        "widest": max(sizes[1:-1]),
        "rule": enumerators("Rule")[RULES[configuration.rule]],
        "is_mse": configuration.loss == "mse",
        "to_readout": feedback.to_readout,
        "strong": feedback.strong,
        "average": feedback.average,
        "normalize": feedback.normalize,
        "has_biases": configuration.bias,
        "is_adam": configuration.optimizer.name == "adam",
    }


def write_plan(device: Device, workspace: Workspace) -> None:
    """Bring the plan on the device up to date with the workspace's values."""
    values = workspace.values
    plan = np.array([int(values.get(name, 0)) for name in plan_members()], dtype=np.int64)
    device.put(plan, into=workspace.plan)
