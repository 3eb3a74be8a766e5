"""PyTorch's backprop step of the same plain network: a yardstick from outside."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..datasets.labels import softened_labels


def torch_backprop_step(
    sizes: tuple[int, ...], batch: int, dtype: str, threads: int | None, device: str = "cpu"
) -> Callable[[int], None]:
    """Build the network, its Adam and eight batches.

    Parameters
    ----------
    sizes : tuple of int
        Units per layer; softplus between, a readout without bias.
    batch : int
        Samples per step.
    dtype : {'float32', 'float64'}
        Precision.
    threads : int or None
        None takes all processors.
    device : {'cpu', 'cuda'}
        Where.

    Returns
    -------
    callable
        Takes so many steps.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    precision = getattr(torch, dtype)
    layers: list[torch.nn.Module] = []
    for n, m in pairwise(sizes[:-1]):
        layers += [torch.nn.Linear(n, m, dtype=precision), torch.nn.Softplus()]
    readout = torch.nn.Linear(sizes[-2], sizes[-1], bias=False, dtype=precision)
    network = torch.nn.Sequential(*layers, readout).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = np.random.default_rng(0)
    x = torch.tensor(generator.random((8, batch, sizes[0])), dtype=precision, device=device)
    labels = softened_labels(generator.integers(0, sizes[-1], 8 * batch), sizes[-1])
    y = torch.tensor(labels.reshape(8, batch, -1), dtype=precision, device=device)

    def steps(n: int) -> None:
        for i in range(n):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x[i % 8]), y[i % 8])
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return steps
