"""How many samples a block of threads takes at once, and the memory that it needs for them."""

from __future__ import annotations

from dataclasses import dataclass

from .backend import BackendUnavailable
from .cuda_device import Device
from .cuda_source import SAMPLES_PER_GROUP

OUTPUT_ARRAYS, FLAGS, SCALARS = 6, 4, 8
"""What a group keeps of each sample in its block's memory, as in cuda/group.cuh."""


@dataclass(frozen=True)
class GroupSize:
    """Samples of a group, bytes of its block, and whether matrices lie in these too."""

    samples: int
    block_bytes: int
    matrices_in_block: bool


def group_size(sizes: tuple[int, ...], rows: int, device: Device) -> GroupSize:
    """Choose the size of a group.

    As many samples share one reading of the weights as leave half of the processors a
    group: up to there they compete for the cache that all read from.

    Parameters
    ----------
    sizes : tuple of int
        Units per layer.
    rows : int
        Samples of all replicas.
    device : Device
        Where.

    Raises
    ------
    BackendUnavailable
        A single sample's widest layer does not fit a block's memory.
    """
    width, n_out = max(sizes[1:]), sizes[-1]
    itemsize, threads = device.dtype.itemsize, device.group_threads

    def bytes_of(samples: int, with_matrices: bool) -> int:
        numbers = 2 * width + threads + OUTPUT_ARRAYS * n_out
        numbers += 2 * n_out**2 if with_matrices else 0
        return samples * (8 * SCALARS + itemsize * numbers + 4 * FLAGS)

    for with_matrices in (True, False):
        fitting = [s for s in SAMPLES_PER_GROUP if bytes_of(s, with_matrices) <= device.block_bytes]
        if fitting:
            enough = [s for s in fitting if 2 * rows <= s * device.processors]
            samples = enough[0] if enough else fitting[-1]
            return GroupSize(samples, bytes_of(samples, with_matrices), with_matrices)
    raise BackendUnavailable(
        f"a layer of {width} units needs {bytes_of(1, False):,} bytes of a block's memory, "
        f"of which this device has {device.block_bytes:,}: use narrower layers, or backend numba"
    )
