"""A configuration as the compiled stages take it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...refimpl import NetworkConfiguration


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


def compiled_settings(
    configuration: NetworkConfiguration, dtype: np.dtype, is_integrated: bool
) -> Settings:
    """Turn plain numbers of a configuration into the network's precision.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Of a single network.
    dtype : numpy.dtype
        Its precision.
    is_integrated : bool
        End states are found by integration.
    """
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
