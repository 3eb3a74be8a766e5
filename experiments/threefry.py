"""Random numbers of the published run: Threefry-2x32 as JAX draws from it.

J. K. Salmon, M. A. Moraes, R. O. Dror & D. E. Shaw, Parallel random numbers: as easy as
1, 2, 3, Proc. SC11 (2011). A key and a counter give two words of 32 bits; there is no other
state. With it the published networks follow from their seed alone, without JAX.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erfinv

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
FRACTION_BITS = np.uint32(9)
ONE_AS_BITS = np.uint32(0x3F800000)


def key_of_seed(seed: int) -> np.ndarray:
    """Key (2,) of a seed below 2³²."""
    return np.array([0, seed], dtype=np.uint32)


def split(key: np.ndarray, n: int) -> np.ndarray:
    """Make n keys, (n, 2), out of one, (2,)."""
    return _words(key, 2 * n).reshape(n, 2)


def uniform(key: np.ndarray, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Numbers uniform in [low, high), drawn in single precision.

    Parameters
    ----------
    key : array of uint32, (2,)
        Used for one draw only.
    shape : tuple of int
        Of the result.
    low, high : float
        Limits.

    Returns
    -------
    array of float32
    """
    # 23 random bits as the fraction of a number from 1 to 2.
    bits = (_words(key, int(np.prod(shape))) >> FRACTION_BITS) | ONE_AS_BITS
    fraction = bits.view(np.float32) - np.float32(1)
    first, last = np.float32(low), np.float32(high)
    return np.maximum(first, fraction * (last - first) + first).reshape(shape)


def normal(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, √2 erf⁻¹ of uniform ones.

    Parameters
    ----------
    key : array of uint32, (2,)
        Used for one draw only.
    shape : tuple of int
        Of the result.

    Returns
    -------
    array of float64
        Of single precision: the uniform numbers have 23 bits.
    """
    above_minus_one = float(np.nextafter(np.float32(-1), np.float32(0)))
    return np.sqrt(2) * erfinv(uniform(key, shape, above_minus_one, 1).astype(np.float64))


def threefry(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """Twenty rounds on pairs of words.

    Parameters
    ----------
    key : array of uint32, (2,)
    counter : array of uint32, (2, n)

    Returns
    -------
    array of uint32, (2, n)
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    with np.errstate(over="ignore"):
        first, second = counter[0] + schedule[0], counter[1] + schedule[1]
        for injection in range(1, 6):
            for turn in ROTATIONS[(injection - 1) % 2]:
                first = first + second
                rotated = (second << np.uint32(turn)) | (second >> np.uint32(32 - turn))
                second = rotated ^ first
            first = first + schedule[injection % 3]
            second = second + schedule[(injection + 1) % 3] + np.uint32(injection)
    return np.stack([first, second])


def _words(key: np.ndarray, n: int) -> np.ndarray:
    """n random words: the counters 0 … n − 1, the first half paired with the second."""
    counter = np.zeros(n + n % 2, dtype=np.uint32)
    counter[:n] = np.arange(n)
    return threefry(key, counter.reshape(2, -1)).reshape(-1)[:n]
