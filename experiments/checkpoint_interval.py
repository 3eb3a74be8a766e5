"""How often a run is saved."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..refimpl.errors import ConfigurationError, require, shown

UNITS = ("epochs", "steps", "minutes")


@dataclass(frozen=True)
class CheckpointInterval:
    """Save every so many epochs, learning steps or minutes.

    Parameters
    ----------
    number : int
        At least 1.
    unit : {'epochs', 'steps', 'minutes'}
        A run saved by steps or minutes is saved at the end of each epoch too.
    """

    number: int = 1
    unit: str = "epochs"

    def __post_init__(self) -> None:
        require(self, "number", minimum=1, whole=True)
        require(self, "unit", among=UNITS)

    def is_due(self, epochs: int, steps: int, seconds: float) -> bool:
        """Whether it is time, so many epochs, steps and seconds after the last save."""
        passed = {"epochs": epochs, "steps": steps, "minutes": seconds / 60}[self.unit]
        return passed >= self.number or (self.unit != "epochs" and epochs > 0)

    def steps_left(self, steps: int) -> int | None:
        """Steps until the next save, so many after the last; None if steps do not decide."""
        return max(self.number - steps, 1) if self.unit == "steps" else None


def parse_checkpoint_interval(text: str) -> CheckpointInterval:
    """Read '2 epochs', '100 steps' or '5 minutes'; the unit's s and the space may be missing.

    Raises
    ------
    ConfigurationError
        It is none of these.
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*(epoch|step|minute)s?\s*", text)
    if found is None or int(found.group(1)) == 0:
        raise ConfigurationError(
            f"a run saved every {shown(text)}: a whole number above 0 of epochs, steps or minutes "
            "is needed, as in 2epochs, 100steps or 5minutes"
        )
    return CheckpointInterval(int(found.group(1)), found.group(2) + "s")
