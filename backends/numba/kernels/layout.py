"""Where each layer lies in a flat array.

`sizes` is (n_in, n_1, …, n_L, n_out) as an array. Parameters: all weights in order, the
readout among them as layer L, then the biases. Layer arrays of a batch: one block
(batch, n_l) a hidden layer, or (batch, n_out, n_l) for feedback weights.
"""

from __future__ import annotations

from .code_cache import inner


@inner
def n_weights(sizes):
    """Number of all weights, the readout's included."""
    total = 0
    for l in range(sizes.size - 1):
        total += sizes[l] * sizes[l + 1]
    return total


@inner
def weight_start(sizes, l):
    """Position of W^l; l counts from 0, the readout is layer L."""
    start = 0
    for k in range(l):
        start += sizes[k] * sizes[k + 1]
    return start


@inner
def units_before(sizes, l):
    """Units of the hidden layers below hidden layer l."""
    total = 0
    for k in range(l):
        total += sizes[k + 1]
    return total


@inner
def weight(theta, sizes, l):
    """W^l, (n_{l-1}, n_l)."""
    start = weight_start(sizes, l)
    return theta[start : start + sizes[l] * sizes[l + 1]].reshape(sizes[l], sizes[l + 1])


@inner
def bias(theta, sizes, l):
    """b^l, (n_l,)."""
    start = n_weights(sizes) + units_before(sizes, l)
    return theta[start : start + sizes[l + 1]]


@inner
def layer(array, sizes, batch, l, b_0, b_1):
    """Rows b_0 … b_1 of hidden layer l's block, (b_1 - b_0, n_l)."""
    n = sizes[l + 1]
    start = batch * units_before(sizes, l) + b_0 * n
    return array[start : start + (b_1 - b_0) * n].reshape(b_1 - b_0, n)


@inner
def feedback(array, sizes, batch, l, b_0, b_1):
    """Samples b_0 … b_1 of Q^l's block, (b_1 - b_0, n_out, n_l)."""
    n, n_out = sizes[l + 1], sizes[sizes.size - 1]
    start = n_out * (batch * units_before(sizes, l) + b_0 * n)
    return array[start : start + (b_1 - b_0) * n_out * n].reshape(b_1 - b_0, n_out, n)


@inner
def carve(scratch, start, rows, n):
    """Take (rows, n) out of scratch; returns it and where the next may start."""
    end = start + rows * n
    return scratch[start:end].reshape(rows, n), end


@inner
def widest(sizes):
    """Units of the widest layer."""
    n = sizes[0]
    for size in sizes:
        n = max(n, size)
    return n


@inner
def copy_row(source, target):
    """Copy a row. An assignment of arrays would compile the words of its errors too."""
    for i in range(source.size):
        target[i] = source[i]


@inner
def copy(source, target):
    """Copy a block, (rows, n)."""
    for b in range(source.shape[0]):
        copy_row(source[b], target[b])
