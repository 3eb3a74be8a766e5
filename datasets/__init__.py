"""Data of the image tasks, their split, their labels and the order of their batches.

Start at `load.load_dataset`. `digits` ships with the package; `image_files` reads IDX
files (`idx`), `tensorflow_datasets_source` what tensorflow-datasets prepared. `labels`
and `batch_order` turn a `dataset.Dataset` into what a training step takes.
"""

__all__ = [
    "batch_order",
    "dataset",
    "digits",
    "idx",
    "image_files",
    "labels",
    "load",
    "tensorflow_datasets_source",
]
