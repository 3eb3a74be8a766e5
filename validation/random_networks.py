"""Random networks on which implementations can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

STEPS = 3


@dataclass(frozen=True)
class RandomNetwork:
    """A network, where it starts and what it learns.

    Parameters
    ----------
    name : str
        With its seed.
    configuration : NetworkConfiguration
        Network and rule.
    parameters : Parameters
        Start.
    inputs, targets : array, (3, batch, n)
        Batches.
    """

    name: str
    configuration: NetworkConfiguration
    parameters: Parameters
    inputs: np.ndarray
    targets: np.ndarray


def random_networks(n: int) -> Iterator[RandomNetwork]:
    """Draw networks of any sizes, rule, loss, feedback and activations.

    Parameters
    ----------
    n : int
        How many; the first are always the same.
    """
    for seed in range(n):
        yield random_network(seed)


def random_network(seed: int) -> RandomNetwork:
    """Draw one network.

    Parameters
    ----------
    seed : int
        From 0.
    """
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, 5))
    sizes = tuple(int(n) for n in generator.integers(2, 24, depth + 2))

    def choice(values: tuple[str, ...]) -> str:
        return values[int(generator.integers(len(values)))]

    def coin() -> bool:
        return bool(generator.integers(2))

    def activation() -> SoftReLU:
        scale, sharpness = generator.uniform(0.5, 2, 2)
        return SoftReLU(float(scale), float(sharpness), float(generator.uniform(-1, 1)))

    configuration = NetworkConfiguration(
        sizes=sizes,
        activation_E=activation(),
        activation_I=activation(),
        tau_E=float(generator.uniform(0.01, 0.05)),
        tau_I=float(generator.uniform(0.002, 0.01)),
        loss=choice(LOSSES),
        controller=Controller(
            k_p=float(generator.uniform(0, 1)),
            k_i=float(generator.uniform(0.1, 1)),
            leak=float(generator.uniform(0.5, 2)),
            tau=float(generator.uniform(0.05, 0.2)),
        ),
        feedback=Feedback(
            average=coin(),
            clip=float(generator.uniform(0.01, 0.2)) if coin() else None,
            normalize=coin(),
            norm=float(generator.uniform(0.5, 2)),
            strong=coin(),
            nudge=float(generator.uniform(0.01, 0.2)),
            to_readout=coin(),
        ),
        rule=choice(RULES),
        mean_inhibition=MeanInhibition(
            rate=float(generator.uniform(0.05, 1)), init=float(generator.uniform(0.3, 2))
        ),
        optimizer=Optimizer(name=choice(("adam", "sgd")), learning_rate=0.01),
    )
    drawn = initial_parameters(sizes, generator)
    parameters = Parameters(
        drawn.weights,
        tuple(0.1 * generator.standard_normal(b.shape) for b in drawn.biases),
        drawn.readout,
    )
    batch = int(generator.integers(1, 12))
    inputs = generator.uniform(size=(STEPS, batch, sizes[0]))
    targets = generator.dirichlet(np.ones(sizes[-1]), size=(STEPS, batch))
    return RandomNetwork(f"random network {seed}", configuration, parameters, inputs, targets)
