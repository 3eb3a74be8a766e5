"""The standard set of cases: every rule, loss and feedback option, depths, extremes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..refimpl.activation import SoftReLU
from ..refimpl.configuration import (
    LOSSES,
    RULES,
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
)
from ..refimpl.parameters import Parameters, initial_parameters
from .trace import Trace
from .trace_recording import record_trace

BATCH, STEPS = 5, 3

FEEDBACK_OPTIONS: dict[str, Feedback] = {
    "default": Feedback(),
    "averaged": Feedback(average=True),
    "clipped": Feedback(clip=0.05),
    "clipped-unnormalised": Feedback(clip=0.05, normalize=False),
    "unnormalised": Feedback(normalize=False),
    "norm-2": Feedback(norm=2.0),
    "weak": Feedback(strong=False),
    "weak-averaged": Feedback(strong=False, average=True),
    "readout-free": Feedback(to_readout=False),
}
"""By the name that a case's file bears."""


@dataclass(frozen=True)
class StandardCase:
    """One small network and what is special in it.

    Parameters
    ----------
    name : str
        Of its file.
    configuration : NetworkConfiguration
        Network and rule.
    input_scale, weight_scale, bias : float
        Inputs are drawn from 0 to `input_scale`, initial weights are multiplied, initial
        biases drawn around `bias`.
    with_trajectory : bool
        Whether batch 0 is also integrated.
    """

    name: str
    configuration: NetworkConfiguration
    input_scale: float = 1.0
    weight_scale: float = 1.0
    bias: float = 0.0
    with_trajectory: bool = field(default=False)


def standard_cases() -> Iterator[StandardCase]:
    """List the cases; their order and numbers are fixed."""
    for rule in RULES:
        for loss in LOSSES:
            options = {"default": Feedback()} if rule == "backprop" else FEEDBACK_OPTIONS
            for option, feedback in options.items():
                yield StandardCase(
                    f"{rule}-{loss}-{option}",
                    NetworkConfiguration(
                        sizes=(6, 7, 7, 4), rule=rule, loss=loss, feedback=feedback
                    ),
                    with_trajectory=rule == "exact-inverse" and option in ("default", "weak"),
                )
    for depth in range(1, 6):
        sizes = (6, *(8 - l for l in range(depth)), 3)
        yield StandardCase(
            f"depth-{depth}",
            NetworkConfiguration(sizes=sizes, rule="linear-threshold"),
            with_trajectory=True,
        )
    yield from _special_cases()


def _special_cases() -> Iterator[StandardCase]:
    plain = NetworkConfiguration(sizes=(6, 7, 5, 4))
    threshold = replace(plain, rule="linear-threshold")
    yield StandardCase(
        "unequal-activations",
        replace(
            plain,
            activation_E=SoftReLU(1.3, 2.0, 0.2),
            activation_I=SoftReLU(0.8, 1.5, -0.3),
            tau_E=0.03,
            tau_I=0.008,
        ),
        with_trajectory=True,
    )
    yield StandardCase(
        "unequal-activations-linear-threshold",
        replace(
            threshold,
            activation_E=SoftReLU(0.7, 3.0, 0.1),
            activation_I=SoftReLU(1.5, 0.8, 0.4),
            mean_inhibition=MeanInhibition(rate=0.25, init=0.5),
        ),
    )
    yield StandardCase(
        "plain-descent", replace(plain, optimizer=Optimizer("sgd", learning_rate=0.1))
    )
    yield StandardCase(
        "plain-descent-running-mean",
        replace(
            threshold,
            optimizer=Optimizer("sgd", learning_rate=0.1),
            mean_inhibition=MeanInhibition(rate=0.1, init=2.0),
        ),
    )
    yield StandardCase(
        "stiff-time-constants",
        replace(plain, tau_E=0.5, tau_I=1e-4, controller=Controller(tau=2.0)),
        with_trajectory=True,
    )
    yield StandardCase(
        "slow-inhibition",
        replace(plain, tau_E=0.005, tau_I=0.2, controller=Controller(tau=0.02)),
        with_trajectory=True,
    )
    yield StandardCase(
        "strong-gain", replace(plain, controller=Controller(k_p=2.0, k_i=20.0, leak=0.2))
    )
    yield StandardCase(
        "strong-gain-fast-controller",
        replace(plain, controller=Controller(k_p=30.0, k_i=15.0, leak=0.5, tau=0.002)),
        with_trajectory=True,
    )
    yield StandardCase(
        "without-leak",
        # The squared error: a softmax at its target has no slope left to come to rest on.
        replace(plain, loss="mse", controller=Controller(k_p=0.5, k_i=2.0, leak=0.0)),
    )
    # A fixed point all the same, and to be found: an integration would not stay at it.
    yield StandardCase(
        "unstable-fixed-point",
        NetworkConfiguration(
            sizes=(6, 5, 5, 5, 3),
            loss="mse",
            tau_I=0.02,
            controller=Controller(k_p=40.0, k_i=0.5),
            feedback=Feedback(norm=2.0, strong=False, nudge=0.1, to_readout=False),
        ),
    )
    yield StandardCase("near-silent", threshold, bias=-12.0)
    yield StandardCase("saturated", plain, input_scale=40.0, weight_scale=3.0)
    yield StandardCase("saturated-linear-threshold", threshold, input_scale=40.0, weight_scale=3.0)
    yield StandardCase("one-unit-layers", replace(threshold, sizes=(1, 1, 1, 2)))
    yield StandardCase("many-outputs", replace(plain, sizes=(6, 5, 24)))


def case_data(case: StandardCase) -> tuple[Parameters, np.ndarray, np.ndarray]:
    """Draw the initial parameters, inputs and labels of a case.

    Parameters
    ----------
    case : StandardCase
        Its name is the seed.

    Returns
    -------
    parameters : Parameters
    inputs : array, (3, 5, n_in)
    targets : array, (3, 5, n_out)
    """
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    sizes = case.configuration.sizes
    drawn = initial_parameters(sizes, generator)
    parameters = Parameters(
        tuple(case.weight_scale * W for W in drawn.weights),
        tuple(case.bias + 0.1 * generator.standard_normal(b.shape) for b in drawn.biases),
        case.weight_scale * drawn.readout,
    )
    inputs = case.input_scale * generator.uniform(size=(STEPS, BATCH, sizes[0]))
    n_out = sizes[-1]
    if case.configuration.loss == "mse":
        return parameters, inputs, generator.uniform(-1, 1, (STEPS, BATCH, n_out))
    classes = generator.integers(n_out, size=(STEPS, BATCH))
    targets = np.where(np.arange(n_out) == classes[..., None], 0.99, 0.01 / (n_out - 1))
    return parameters, inputs, targets


def record_standard_case(case: StandardCase) -> Trace:
    """Run the reference on a case.

    Parameters
    ----------
    case : StandardCase
        Which.
    """
    parameters, inputs, targets = case_data(case)
    return record_trace(
        case.configuration, parameters, inputs, targets, with_trajectory=case.with_trajectory
    )
