"""How the learning rate changes from epoch to epoch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ...refimpl import NetworkConfiguration, Setting, require

SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True)
class Schedule:
    """A factor on `optimizer.learning_rate` for each epoch; published runs have 1 in all.

    Warm-up comes first, whatever follows: in its k-th epoch the factor is k / (warm_up + 1).
    """

    name: str = "constant"  # "step" falls by `factor` every `every` epochs, "cosine" to `final`
    warm_up: int = 0  # epochs in which the rate rises to its full value, first of all
    every: int = 10  # epochs from one fall of "step" to the next
    factor: float = 0.1  # what one fall of "step" multiplies by
    final: Setting = 0.0  # what the cosine comes to as the last epoch ends

    def __post_init__(self) -> None:
        require(self, "name", among=SCHEDULES)
        require(self, "warm_up", minimum=0, whole=True)
        require(self, "every", minimum=1, whole=True)
        require(self, "factor", above=0)
        require(self, "final", minimum=0, maximum=1, per_replica=True)

    def factor_at(self, epoch: int, n_epochs: int) -> Setting:
        """What the learning rate is multiplied by in an epoch, from 0, of so many."""
        since = epoch - self.warm_up
        if since < 0:
            return (epoch + 1) / (self.warm_up + 1)
        if self.name == "step":
            try:
                return self.factor ** (since // self.every)
            except OverflowError:
                return math.inf
        if self.name == "cosine":
            way = min(since / max(n_epochs - self.warm_up, 1), 1.0)
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * way)) / 2
        return 1.0


def with_learning_rate(network: NetworkConfiguration, factor: Setting) -> NetworkConfiguration:
    """The same network, learning so many times as fast."""
    optimizer = network.optimizer
    faster = dataclasses.replace(optimizer, learning_rate=optimizer.learning_rate * factor)
    return dataclasses.replace(network, optimizer=faster)
