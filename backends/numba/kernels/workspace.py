"""The arrays in which the CPU backend works on a batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Workspace(NamedTuple):
    """Arrays of one batch, allocated once for each batch size.

    Layer arrays are flat, a block a layer; see `layout`.
    """

    x: np.ndarray
    x_columns: np.ndarray
    y: np.ndarray
    a_1: np.ndarray
    open_u_E: np.ndarray
    open_u_I: np.ndarray
    open_r_E: np.ndarray
    open_u_out: np.ndarray
    open_found: np.ndarray
    Q: np.ndarray
    strength: np.ndarray
    gain: np.ndarray
    target: np.ndarray
    u_E: np.ndarray
    u_I: np.ndarray
    r_E: np.ndarray
    u_out: np.ndarray
    z: np.ndarray
    found: np.ndarray
    delta: np.ndarray
    delta_out: np.ndarray
    pre_columns: np.ndarray
    loss: np.ndarray
    closed_loop_loss: np.ndarray
    correct: np.ndarray
    closed_loop_correct: np.ndarray
    rate_sums: np.ndarray
    scratch: np.ndarray

    @property
    def batch(self) -> int:
        """Samples in a batch."""
        return len(self.x)


def scratch_per_sample(sizes: tuple[int, ...]) -> int:
    """Numbers that the kernels carve out of scratch for each sample."""
    widest, hidden, n_out = max(sizes[1:-1]), sum(sizes[1:-1]), sizes[-1]
    feedback = 2 * n_out * widest + 2 * widest
    loop = 3 * hidden + 2 * widest + sizes[1] + n_out * n_out + 5 * n_out
    return max(feedback, loop)


def workspace(sizes: tuple[int, ...], batch: int, threads: int, dtype: np.dtype) -> Workspace:
    """Allocate the arrays of one batch size."""
    n_in, n_out, hidden = sizes[0], sizes[-1], sum(sizes[1:-1])
    shapes: dict[str, tuple[int, ...]] = {
        "x": (batch, n_in),
        "x_columns": (n_in, batch),
        "a_1": (batch, sizes[1]),
        "Q": (batch * hidden * n_out,),
        "strength": (len(sizes) - 2, batch),
        "loss": (batch,),
        "closed_loop_loss": (batch,),
        "rate_sums": (threads, hidden),
        # What feedback weights or closed loop of a share need, kept: memory taken anew in
        # every step would be mapped anew, and threads would wait for each other there.
        "scratch": (threads, -(-batch // threads) * scratch_per_sample(sizes)),
    }
    outputs = ("y", "open_u_out", "target", "u_out", "z", "delta_out")
    units = (
        "open_u_E",
        "open_u_I",
        "open_r_E",
        "gain",
        "u_E",
        "u_I",
        "r_E",
        "delta",
        "pre_columns",
    )
    shapes |= dict.fromkeys(outputs, (batch, n_out)) | dict.fromkeys(units, (batch * hidden,))
    arrays = {name: np.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    arrays["closed_loop_loss"][:] = np.nan
    flags = {"open_found": True, "found": True, "correct": False, "closed_loop_correct": False}
    arrays |= {name: np.full(batch, value) for name, value in flags.items()}
    return Workspace(**arrays)
