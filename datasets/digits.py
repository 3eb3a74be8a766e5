"""The UCI handwritten digits, 8 × 8 pixels: the task that ships with the package."""

from __future__ import annotations

from importlib import resources

import numpy as np

from .dataset import Dataset, Split, split_off_validation

N_TRAINING = 1500
FULL_SCALE = 16


def digits() -> Dataset:
    """1,797 images of 8 × 8 pixels, 0 to 16, of ten digits.

    The images are in the order of the source, by groups of writers: the last 297, the
    test split, are by writers who come late. Of the first 1,500 the first 150 validate.

    Returns
    -------
    Dataset
        1,350 training, 150 validation and 297 test images.
    """
    with (resources.files("disinhib.datasets.data") / "digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images, labels = stored["images"], stored["labels"].astype(np.int64)
    published = Split(images[:N_TRAINING], labels[:N_TRAINING])
    train, validation = split_off_validation(published, "digits")
    return Dataset(
        name="digits",
        image_shape=(8, 8),
        n_classes=10,
        full_scale=FULL_SCALE,
        train=train,
        validation=validation,
        test=Split(images[N_TRAINING:], labels[N_TRAINING:]),
        source="shipped with the package",
    )
