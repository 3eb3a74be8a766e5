"""The embedded digits against what is known of the published set."""

import hashlib
import re
from importlib import resources

import numpy as np

from disinhib.datasets.load import digits

# Published with the UCI set: images of each digit in its test part.
PER_CLASS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]

# The first image, a zero, as scikit-learn's tutorial prints it.
FIRST_IMAGE = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


def test_sizes_and_types():
    data = digits()
    sizes = [len(split.labels) for split in (data.train, data.validation, data.test)]
    assert sizes == [1350, 150, 297]
    for split in (data.train, data.validation, data.test):
        assert split.images.shape == (len(split.labels), 64)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
    assert (data.name, data.image_shape, data.n_classes) == ("digits", (8, 8), 10)


def test_content_is_the_published_one():
    data = digits()
    in_order = (data.validation, data.train, data.test)
    images = np.concatenate([split.images for split in in_order])
    labels = np.concatenate([split.labels for split in in_order])
    assert np.bincount(labels).tolist() == PER_CLASS
    assert images.max() == data.full_scale == 16
    assert images[0].reshape(data.image_shape).tolist() == FIRST_IMAGE
    assert labels[:10].tolist() == list(range(10))
    assert labels[-5:].tolist() == [9, 0, 8, 9, 8]


def test_readme_states_the_checksum_of_the_file():
    folder = resources.files("disinhib.datasets.data")
    digest = hashlib.sha256((folder / "digits.npz").read_bytes()).hexdigest()
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert digest in re.findall(r"[0-9a-f]{64}", readme)
