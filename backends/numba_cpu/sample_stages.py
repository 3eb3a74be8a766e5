"""The stages of a learning step on a thread's samples, one compiled call for any run of them.

Stages are numbered in their order. A call runs from one to another without returning to
Python, except where samples are left that the compiled search did not solve, or that are
to be integrated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .closed_loop import closed_loop
from .code_cache import njit
from .learning import backprop_factors, factors
from .open_loop import feedback_weights, gather, inhibitory_rate_sums, open_loop
from .readout import closed_loop_target, losses

GATHER, OPEN_LOOP, FEEDBACK, RATE_SUMS, TARGET, CLOSED_LOOP, FACTORS, LOSSES = range(8)


class Settings(NamedTuple):
    """What the stages need to know of a configuration; numbers in the network's precision.

    `phi` is (s_E, k_E, m_E, s_I, k_I, m_I); a `clip` of 0 is none; `kappa` is the
    controller's steady gain.
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


class Estimate(NamedTuple):
    """û_I = u_I where exact; else θ + δ r_I, intercept θ and inclination δ of every unit."""

    is_exact: bool
    intercept: Any
    inclination: Any


class Samples(NamedTuple):
    """All inputs and labels, the batch's indices into them, and the input that counts as 1."""

    source: Any
    labels: Any
    order: Any
    full_scale: Any


@njit(nogil=True, cache=True, error_model="numpy")
def run_stages(theta, sizes, settings, estimate, w, samples, chunk, b_0, b_1, first, last):
    """Run stages `first` to `last` on samples b_0 … b_1 of workspace `w`.

    Parameters
    ----------
    theta, sizes : array
        Parameters and layout.
    settings : Settings
    estimate : Estimate
    w : Workspace
    samples : Samples
        Read by GATHER alone.
    chunk : int
        Number of the thread's share, which has scratch of its own.
    first, last : int
        Stages.

    Returns
    -------
    int
        The stage to go on with: last + 1, or an earlier one if samples are left for Python.
    """
    s, phi, batch = settings, settings.phi, w.y.shape[0]
    part = slice(b_0, b_1)
    for stage in range(first, last + 1):
        if stage == GATHER:
            order = samples.order[part]
            gather(samples.source, order, samples.full_scale, w.x[part], w.x_columns, b_0)
            for b in range(order.size):
                w.y[b_0 + b] = samples.labels[order[b]]
        elif stage == LOSSES:
            y, correct = w.y[part], w.correct[part]
            if not s.is_backprop:
                losses(s.is_mse, w.u_out[part], y, w.closed_loop_loss[part], correct)
            u_out = w.u_out if s.is_backprop else w.open_u_out
            losses(s.is_mse, u_out[part], y, w.loss[part], correct)
        elif s.is_backprop:
            if stage == FACTORS:
                backprop_factors(
                    theta, sizes, phi, s.is_mse, w.x[part], w.y, batch, b_0, b_1, w.r_E, w.u_out,
                    w.delta, w.delta_out, w.pre_columns,
                )  # fmt: skip
        elif stage == OPEN_LOOP:
            # For an integration this still gives the drive of the first layer.
            open_loop(
                theta, sizes, phi, s.eps, w.x[part], batch, b_0, b_1, w.a_1, w.open_u_E,
                w.open_u_I, w.open_r_E, w.open_u_out, w.open_found,
            )  # fmt: skip
            if s.is_integrated or not w.open_found[part].all():
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
            closed_loop_target(
                s.is_mse, s.strong, s.nudge, w.open_u_out[part], w.y[part], w.target[part]
            )
        elif stage == CLOSED_LOOP:
            if s.is_integrated:
                return stage + 1
            closed_loop(
                theta, sizes, phi, s.eps, s.is_mse, s.to_readout, s.kappa, s.leak, batch, b_0,
                b_1, w.a_1, w.target, w.Q, w.strength, w.gain, w.open_u_E, w.open_u_out, w.u_E,
                w.u_I, w.r_E, w.u_out, w.z, w.found, w.scratch[chunk],
            )  # fmt: skip
            if not w.found[part].all():
                return stage + 1
        elif stage == FACTORS:
            factors(
                theta, sizes, phi, estimate.is_exact, estimate.intercept, estimate.inclination,
                s.is_mse, s.to_readout, batch, b_0, b_1, w.y, w.u_E, w.u_I, w.r_E, w.u_out,
                w.open_u_E, w.open_u_out, w.delta, w.delta_out, w.pre_columns,
            )  # fmt: skip
    return last + 1
