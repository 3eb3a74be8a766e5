"""A trace of the first steps of a training run."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..backends import Backend
from ..datasets.batch_order import batch_order, random_generator
from ..datasets.labels import softened_labels
from ..datasets.load import load_dataset
from ..refimpl.errors import ConfigurationError
from ..refimpl.parameters import initial_parameters
from ..validation import Trace, record_trace
from .network_memory import refuse_more_than_memory
from .run_configuration import RunConfiguration


def record_dataset_trace(
    configuration: RunConfiguration,
    steps: int,
    with_trajectory: bool,
    backend_class: type[Backend],
    dtype: np.dtype,
) -> Trace:
    """Record the steps with which such a run would begin.

    Parameters
    ----------
    configuration : RunConfiguration
        Dataset, network, rule, batch size and seed.
    steps : int
        How many.
    with_trajectory : bool
        Also integrate the first batch.
    backend_class, dtype
        Who computes, in which precision.

    Raises
    ------
    ConfigurationError, DatasetError
        The data cannot be had, or have fewer batches.
    """
    dataset = load_dataset(configuration.dataset, configuration.data_dir)
    n_samples, n_inputs = dataset.train.images.shape
    network = configuration.network(n_inputs, dataset.n_classes)
    refuse_more_than_memory(network.sizes, configuration.batch_size, dtype.name)
    order = batch_order(configuration.seed, 0, n_samples, configuration.batch_size)
    if steps > len(order):
        raise ConfigurationError(
            f"steps is {steps}: {dataset.name} has {len(order)} batches of "
            f"{configuration.batch_size} an epoch"
        )
    indices = order[:steps]
    labels = softened_labels(dataset.train.labels, dataset.n_classes)
    generator = random_generator(configuration.seed, "initial-parameters")
    trace = record_trace(
        network,
        initial_parameters(network.sizes, generator),
        dataset.train.images[indices] / dataset.full_scale,
        labels[indices],
        with_trajectory=with_trajectory,
        backend_class=backend_class,
        dtype=dtype,
    )
    return dataclasses.replace(trace, dataset=dataset.name, dataset_indices=indices)
