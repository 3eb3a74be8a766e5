"""The stages of a learning step on a thread's samples, a compiled call each.

Each is compiled by itself, when it is first called: one call for all of them would compile
branches that are not taken, and every kernel twice. A call takes some 3 μs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...refimpl import NetworkConfiguration
from .kernels.closed_loop import closed_loop
from .kernels.learning import backprop_factors, factors, plain_forward
from .kernels.open_loop import feedback_weights, gather, inhibitory_rate_sums, open_loop
from .kernels.readout import closed_loop_target, losses
from .kernels.workspace import Workspace

GATHER, OPEN_LOOP, FEEDBACK, RATE_SUMS, TARGET, CLOSED_LOOP, FACTORS, LOSSES = range(8)


class Settings(NamedTuple):
    """What the stages need to know of a configuration; numbers in the network's precision.

    `phi` is (s_E, k_E, m_E, s_I, k_I, m_I); a `clip` of 0 is none; `kappa` is the
    controller's steady gain; the last two are those of the closed loop's kernel.
    """

    phi: Any
    eps: Any
    is_backprop: bool
    is_linear_threshold: bool
    is_integrated: bool
    is_mse: bool
    to_readout: bool
    strong: bool
    nudge: Any
    average: bool
    normalize: bool
    norm: Any
    clip: Any
    kappa: Any
    leak: Any
    integral_gain: Any
    small_control: Any


class Estimate(NamedTuple):
    """û_I = u_I where exact; else θ + δ r_I, intercept θ and inclination δ of every unit."""

    is_exact: bool
    intercept: np.ndarray
    inclination: np.ndarray


class Samples(NamedTuple):
    """All inputs and labels, the batch's indices into them, and the input that counts as 1."""

    source: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    full_scale: np.floating


def run_stages(
    theta: np.ndarray,
    sizes: np.ndarray,
    s: Settings,
    estimate: Estimate,
    w: Workspace,
    samples: Samples | None,
    chunk: int,
    b_0: int,
    b_1: int,
    first: int,
    last: int,
) -> int:
    """Run stages `first` to `last` on samples b_0 … b_1 of workspace `w`.

    `theta` and `sizes` are parameters and layout; `samples` is read by GATHER alone; `chunk` is the
    number of the thread's share, which has scratch of its own. Returns the stage to go on with:
    last + 1, or an earlier one if samples are left that the compiled search did not solve, or that
    are to be integrated.
    """
    phi, batch = s.phi, len(w.y)
    for stage in range(first, last + 1):
        if stage == GATHER:
            assert samples is not None
            gather(
                samples.source, samples.labels, samples.order, samples.full_scale, b_0, b_1, w.x,
                w.x_columns, w.y,
            )  # fmt: skip
        elif stage == LOSSES:
            if not s.is_backprop:
                losses(s.is_mse, b_0, b_1, w.u_out, w.y, w.closed_loop_loss, w.closed_loop_correct)
            u_out = w.u_out if s.is_backprop else w.open_u_out
            losses(s.is_mse, b_0, b_1, u_out, w.y, w.loss, w.correct)
        elif s.is_backprop:
            if stage == FACTORS:
                plain_forward(theta, sizes, phi, w.x, batch, b_0, b_1, w.r_E, w.delta, w.u_out)
                backprop_factors(
                    theta, sizes, s.is_mse, w.y, batch, b_0, b_1, w.r_E, w.u_out, w.delta,
                    w.delta_out, w.pre_columns,
                )  # fmt: skip
        elif stage == OPEN_LOOP:
            # For an integration this still gives the drive of the first layer.
            open_loop(
                theta, sizes, phi, s.eps, w.x, batch, b_0, b_1, w.a_1, w.open_u_E, w.open_u_I,
                w.open_r_E, w.open_u_out, w.open_found,
            )  # fmt: skip
            if s.is_integrated or not w.open_found[b_0:b_1].all():
                return stage + 1
        elif stage == FEEDBACK:
            feedback_weights(
                theta, sizes, phi, s.normalize, s.norm, s.clip, s.average, batch, b_0, b_1,
                w.open_u_E, w.open_u_I, w.Q, w.strength, w.gain, w.scratch[chunk],
            )  # fmt: skip
        elif stage == RATE_SUMS:
            if s.is_linear_threshold:
                inhibitory_rate_sums(sizes, phi, batch, b_0, b_1, w.open_u_I, w.rate_sums[chunk])
        elif stage == TARGET:
            closed_loop_target(s.is_mse, s.strong, s.nudge, b_0, b_1, w.open_u_out, w.y, w.target)
        elif stage == CLOSED_LOOP:
            if s.is_integrated:
                return stage + 1
            closed_loop(
                theta, sizes, phi, s.eps, s.is_mse, s.to_readout, s.kappa, s.leak,
                s.integral_gain, s.small_control, batch, b_0, b_1, w.a_1, w.target, w.Q,
                w.strength, w.gain, w.open_u_E, w.open_u_out, w.u_E, w.u_I, w.r_E, w.u_out, w.z,
                w.found, w.scratch[chunk],
            )  # fmt: skip
            if not w.found[b_0:b_1].all():
                return stage + 1
        elif stage == FACTORS:
            factors(
                theta, sizes, phi, estimate.is_exact, estimate.intercept, estimate.inclination,
                s.is_mse, s.to_readout, batch, b_0, b_1, w.y, w.u_E, w.u_I, w.r_E, w.u_out,
                w.open_u_E, w.open_u_out, w.delta, w.delta_out, w.pre_columns,
            )  # fmt: skip
    return last + 1


def compiled_settings(
    configuration: NetworkConfiguration, dtype: np.dtype, is_integrated: bool
) -> Settings:
    """Turn plain numbers of a single network's configuration into its precision."""
    phi = [
        getattr(activation, name)
        for activation in (configuration.activation_E, configuration.activation_I)
        for name in ("scale", "sharpness", "shift")
    ]
    controller, feedback, number = configuration.controller, configuration.feedback, dtype.type
    is_backprop = configuration.rule == "backprop"
    needs_gain = not (is_integrated or is_backprop)
    return Settings(
        phi=np.array(phi, dtype=dtype),
        eps=np.finfo(dtype).eps,
        is_backprop=is_backprop,
        is_linear_threshold=configuration.rule == "linear-threshold",
        is_integrated=is_integrated,
        is_mse=configuration.loss == "mse",
        to_readout=feedback.to_readout,
        strong=feedback.strong,
        nudge=number(feedback.nudge),
        average=feedback.average,
        normalize=feedback.normalize,
        norm=number(feedback.norm),
        clip=number(feedback.clip or 0),
        # Neither integration nor backprop needs a steady gain; without a leak there is none.
        kappa=number(controller.steady_gain if needs_gain else 0),
        leak=number(controller.leak),
        integral_gain=number(controller.k_p * controller.leak + controller.k_i),
        # No feedback weight exceeds the norm of all.
        small_control=number(
            np.finfo(dtype).eps ** -0.5 / feedback.norm if feedback.normalize else 0
        ),
    )
