"""An image classification task in memory, split three ways, and what a learning step takes of it.

Classes become targets of the readout, and samples an order of batches. Nothing here has state: an
epoch's order is drawn from (seed, purpose, epoch) and does not depend on which epochs ran before
it, so a resumed run sees the batches that an uninterrupted one would have.
"""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

Purpose = Literal["initial-parameters", "batch-order"]

SPLITS = ("train", "validation", "test")
"""Parts of a dataset, by the names of its fields."""

# Part of what a seed means: a code once given is never changed nor reused.
PURPOSE_CODES: dict[str, int] = {"initial-parameters": 0, "batch-order": 1}


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
    images : array of whole numbers or float, (n, n_pixels)
        Flattened row by row; bytes are 0 to the dataset's `full_scale`.
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
    image_shape : tuple of int
        Of an image before flattening: rows and columns, or more.
    n_classes : int
        Number of classes.
    full_scale : float or None
        Value of an input that becomes 1.0; None where floats are taken as they are.
    train, validation, test : Split
        Disjoint; `validation` was the beginning of the published training split, or drawn, or had
        been made by whoever made the data.
    source : str
        Where the data came from: a directory, a file, or the package.
    class_names : tuple of str
        A name for each class; empty if they are called by their numbers.
    has_own_validation : bool
        Whether the validation part came with the data.
    """

    name: str
    image_shape: tuple[int, ...]
    n_classes: int
    full_scale: float | None
    train: Split
    validation: Split
    test: Split
    source: str
    class_names: tuple[str, ...] = ()
    has_own_validation: bool = False

    def name_of(self, label: int) -> str:
        """What a class is called."""
        return self.class_names[label] if self.class_names else str(label)

    def inputs(self, images: np.ndarray) -> np.ndarray:
        """Images as a network takes them, floats; of the same shape."""
        return images if self.full_scale is None else images / self.full_scale


TENTH = 0.1
"""Part of the training samples that validates, as published."""


def whole_part(n: int, part: float) -> int:
    """Whole samples in a part of `n`, which is taken as it is written: 0.1 is a tenth."""
    return int(Fraction(repr(part)) * n)


def split_off_validation(published: Split, source: str, part: float = TENTH) -> tuple[Split, Split]:
    """Divide the published training split: the first 10%, or another part, validate.

    Both are in the order they came, the others train; they share memory with `published`. So few
    images that none would validate are refused by the name of their `source`.
    """
    n = whole_part(len(published.labels), part)
    if n == 0:
        validates = "first tenth" if part == TENTH else f"first {part:g}"
        raise DatasetError(
            f"{source}: expected at least {-int(-1 // Fraction(repr(part)))} training images, the "
            f"{validates} of which validates, found {len(published.labels)}"
        )
    return (
        Split(published.images[n:], published.labels[n:]),
        Split(published.images[:n], published.labels[:n]),
    )


def scaled(dataset: Dataset, scale: float | None) -> Dataset:
    """Give a dataset of which an input of this size becomes 1; None leaves it as it is.

    Whole numbers that exceed it are refused.
    """
    if scale is None:
        return dataset
    for split in SPLITS:
        images = getattr(dataset, split).images
        largest = max(int(images.max()), -int(images.min())) if images.dtype.kind in "iu" else 0
        if largest > scale:
            raise DatasetError(
                f"{dataset.source}: found inputs up to {largest}, expected at most {scale:g}, the "
                "scale, which becomes 1"
            )
    return dataclasses.replace(dataset, full_scale=scale)


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


def softened_labels(
    labels: np.ndarray, n_classes: int, dtype: DTypeLike = np.float64, on_class: float = 0.99
) -> np.ndarray:
    """One-hot labels whose 1 is `on_class`, the remainder shared by the other classes.

    A softmax reaches 0.99 at a finite potential, and 1 at none: the controller of the
    closed loop needs a target it can attain.

    Parameters
    ----------
    labels : array of int, (n,)
        Class of each sample.
    n_classes : int
        Number of classes, at least 2.
    dtype : dtype
        Of the result.
    on_class : float
        Entry of the sample's own class.

    Returns
    -------
    array of `dtype`, (n, n_classes)
        Rows sum to 1.

    Raises
    ------
    DatasetError
        If there are fewer than two classes, or a label outside 0 to n_classes − 1.
    """
    labels = np.asarray(labels)
    if n_classes < 2:
        raise DatasetError(f"n_classes: found {n_classes}, expected at least 2")
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if outside.size:
        raise DatasetError(f"labels: found {outside[0]}, expected 0 to {n_classes - 1}")
    softened = np.full((len(labels), n_classes), (1 - on_class) / (n_classes - 1), dtype=dtype)
    softened[np.arange(len(labels)), labels] = on_class
    return softened


def random_generator(seed: int, purpose: Purpose, epoch: int = 0) -> np.random.Generator:
    """Generator of its own for each seed, purpose and epoch.

    It is PCG64 on SeedSequence(entropy=z, spawn_key=(code, epoch)), where z is 2 seed
    for seed ≥ 0 and −2 seed − 1 below, and code is 0 for 'initial-parameters' and 1 for
    'batch-order'.

    Parameters
    ----------
    seed : int
        Any whole number: zero, negative or arbitrarily large.
    purpose : {'initial-parameters', 'batch-order'}
        What is drawn. Two purposes of one seed are independent.
    epoch : int
        From 0.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    DatasetError
        If the purpose is not one of these, or the epoch is negative.
    """
    if purpose not in PURPOSE_CODES:
        allowed = ", ".join(PURPOSE_CODES)
        raise DatasetError(f"purpose: found {purpose!r}, expected one of {allowed}")
    if epoch < 0:
        raise DatasetError(f"epoch: found {epoch}, expected 0 or more")
    # NumPy's integers would overflow below, and SeedSequence takes no negative entropy.
    seed = operator.index(seed)
    zigzag = 2 * seed if seed >= 0 else -2 * seed - 1
    sequence = np.random.SeedSequence(
        entropy=zigzag, spawn_key=(PURPOSE_CODES[purpose], operator.index(epoch))
    )
    return np.random.Generator(np.random.PCG64(sequence))


def batch_order(seed: int, epoch: int, n_samples: int, batch_size: int) -> np.ndarray:
    """Samples of each step of one epoch: a fresh permutation, cut into batches.

    What does not fill a last batch is dropped: n_samples mod batch_size samples, others
    in every epoch. All batches have the same size.

    Parameters
    ----------
    seed : int
        Any whole number.
    epoch : int
        From 0. The order is a function of (seed, epoch) alone.
    n_samples : int
        Size of the training split.
    batch_size : int
        1 to n_samples.

    Returns
    -------
    array of int64, (n_samples // batch_size, batch_size)
        Indices of samples, none twice.

    Raises
    ------
    DatasetError
        If the batch size is below 1 or above n_samples, or the epoch is negative.
    """
    if not 1 <= batch_size <= n_samples:
        raise DatasetError(
            f"batch_size: found {batch_size}, expected 1 to {n_samples}, the number of samples"
        )
    steps = n_samples // batch_size
    permutation = random_generator(seed, "batch-order", epoch).permutation(n_samples)
    return permutation[: steps * batch_size].reshape(steps, batch_size).astype(np.int64, copy=False)


def order_digest(order: np.ndarray) -> str:
    """SHA-256 of an epoch's batches, in hexadecimal.

    Parameters
    ----------
    order : array of int64, (steps, batch)
        As `batch_order` gives it, or a start file.
    """
    digest = hashlib.sha256(f"{order.shape}".encode())
    digest.update(np.ascontiguousarray(order, dtype="<i8").data)
    return digest.hexdigest()
