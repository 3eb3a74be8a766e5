"""What a run makes of its data: what validates, how inputs are scaled, how soft labels are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from ...datasets import Dataset, load_dataset, softened_labels
from ...refimpl import ConfigurationError, require

if TYPE_CHECKING:
    from .configuration import RunConfiguration


@dataclass(frozen=True)
class Data:
    """What is made of the dataset; published runs have the defaults (sections 3 and 7).

    Inputs are flattened row by row, colours last.
    """

    validation: float = 0.1  # part of the training samples that is held back for validation
    softness: float = 0.99  # label of a sample's own class; the others share the remainder
    scale: float | None = None  # input that becomes 1; off: 255 of bytes, 16 of digits, 1 of floats

    def __post_init__(self) -> None:
        require(self, "validation", above=0, below=1)
        require(self, "softness", above=0, maximum=1)
        if self.scale is not None:
            require(self, "scale", above=0)


def load_data(
    configuration: RunConfiguration, data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load the dataset of a run, from `data_dir` if it is given, as its configuration has it.

    Raises
    ------
    DatasetError
        It cannot be had, or not so.
    """
    about = configuration.data
    return load_dataset(
        configuration.dataset, data_dir, validation=about.validation, scale=about.scale
    )


def soft_labels(
    configuration: RunConfiguration,
    labels: np.ndarray,
    n_classes: int,
    dtype: DTypeLike = np.float64,
) -> np.ndarray:
    """Rows of labels as soft as a run has them, (n, n_classes).

    Raises
    ------
    ConfigurationError
        They are so soft that the own class's entry is not the largest.
    """
    softness = configuration.data.softness
    if softness * n_classes <= 1:
        raise ConfigurationError(
            f"data.softness is {softness:g}: of {n_classes} classes, more than {1 / n_classes:.3g} "
            "is needed, so that a label is largest at its own class"
        )
    return softened_labels(labels, n_classes, dtype, softness)
