"""An image classification task in memory, split three ways."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


class DatasetError(ValueError):
    """Data that cannot be had or is not what it should be, said in one line for the user.

    The message names the file or the argument, what was found, and what would be right.
    """

    def __init__(self, message: str) -> None:
        # Messages quote other libraries' errors and users' paths, either of which may span lines.
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


@dataclass(frozen=True)
class Split:
    """Images and their classes.

    Parameters
    ----------
    images : array of uint8, (n, n_pixels)
        Flattened row by row; 0 to the dataset's `full_scale`.
    labels : array of int64, (n,)
        Class of each image, 0 to n_classes − 1.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A task: its three splits and what is needed to read them.

    Parameters
    ----------
    name : str
        Name that `load_dataset` takes.
    image_shape : (int, int)
        Rows and columns of an image before flattening.
    n_classes : int
        Number of classes.
    full_scale : int
        Pixel value that becomes 1.0.
    train, validation, test : Split
        Disjoint; `validation` was the beginning of the published training split.
    source : str
        Where the data came from: a directory, or the package.
    """

    name: str
    image_shape: tuple[int, int]
    n_classes: int
    full_scale: int
    train: Split
    validation: Split
    test: Split
    source: str


def split_off_validation(published: Split, source: str) -> tuple[Split, Split]:
    """Divide the published training split: the first 10% validate, the others train.

    Parameters
    ----------
    published : Split
        The training split as it is distributed, n images.
    source : str
        Where it came from, for the message.

    Returns
    -------
    train, validation : Split
        n − ⌊n/10⌋ and ⌊n/10⌋ images, in the order they came, sharing memory with
        `published`.

    Raises
    ------
    DatasetError
        There are fewer than ten images: none would validate.
    """
    n = len(published.labels) // 10
    if n == 0:
        raise DatasetError(
            f"{source}: expected at least 10 training images, the first tenth of which validates,"
            f" found {len(published.labels)}"
        )
    return (
        Split(published.images[n:], published.labels[n:]),
        Split(published.images[:n], published.labels[:n]),
    )


def dataset_digest(dataset: Dataset) -> str:
    """SHA-256 of all images and labels, in hexadecimal.

    Wherever they came from: two runs with the same digest learnt from, and were judged by,
    the same data.
    """
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.validation, dataset.test):
        for array in (split.images, split.labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
