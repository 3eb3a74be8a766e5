"""Randomness from (seed, purpose, epoch), and the order of the samples drawn from it.

Nothing here has state: an epoch's order does not depend on which epochs ran before it,
so a resumed run sees the batches that an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import operator
from typing import Literal

import numpy as np

from .dataset import DatasetError

Purpose = Literal["initial-parameters", "batch-order"]

# Part of what a seed means: a code once given is never changed nor reused.
PURPOSE_CODES: dict[str, int] = {"initial-parameters": 0, "batch-order": 1}


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
