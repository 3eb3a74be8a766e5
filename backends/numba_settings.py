"""A configuration as the compiled stages read it."""

from __future__ import annotations

import numpy as np

from ..refimpl.configuration import NetworkConfiguration
from .numba_cpu.sample_stages import Settings


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
    )
