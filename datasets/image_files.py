"""MNIST and Fashion-MNIST from a directory of IDX files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from .dataset import Dataset, DatasetError, Split, split_off_validation
from .idx import read_idx

N_CLASSES = 10
FULL_SCALE = 255

SUBDIRECTORIES: dict[str, tuple[str, ...]] = {
    "mnist": ("mnist",),
    "fashion_mnist": ("fashion_mnist", "fashion-mnist"),
}

# The two sets have files of the same names and shapes; only the content tells them apart.
TEST_LABELS_SHA256: dict[str, str] = {
    "mnist": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    "fashion_mnist": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}


def find_image_files(root: str | os.PathLike[str], name: str) -> Path | None:
    """Directory with the IDX files of a dataset.

    Parameters
    ----------
    root : str or path
        Directory that holds them itself or in a subdirectory named like the dataset,
        which goes first.
    name : {'mnist', 'fashion_mnist'}
        Dataset.

    Returns
    -------
    Path or None
        The first of these directories with at least one of the four files.
    """
    root = Path(root)
    for directory in (*(root / part for part in SUBDIRECTORIES[name]), root):
        for split in ("train", "t10k"):
            for kind in ("images-idx3", "labels-idx1"):
                if any(file.is_file() for file in _spellings(directory, split, kind)):
                    return directory
    return None


def read_image_files(directory: str | os.PathLike[str], name: str) -> Dataset:
    """Read the four IDX files of a dataset.

    Other pixels, or other labels in range, are not found in plain files, where nothing but
    `dataset_digest` tells two sets of one shape apart. The published digests are not asked
    for: other sets in this form are welcome.

    Parameters
    ----------
    directory : str or path
        Holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of
        `t10k`, each plain or `.gz`, with a hyphen or a full stop before `idx`.
    name : {'mnist', 'fashion_mnist'}
        Dataset.

    Returns
    -------
    Dataset
        In the order of the files; the first 10% of the training images validate.

    Raises
    ------
    DatasetError
        If a file is missing or is not what it should be, if images and labels differ in
        number or training and test images in shape, if there are fewer than ten training
        images, or if the files are those of the other dataset.
    """
    directory = Path(directory)
    published, image_shape = _read_split(directory, "train")
    source = str(_existing(directory, "train", "images-idx3"))
    train, validation = split_off_validation(published, source)
    test, test_shape = _read_split(directory, "t10k")
    if test_shape != image_shape:
        raise DatasetError(
            f"{_existing(directory, 't10k', 'images-idx3')}: expected images of shape"
            f" {image_shape} as in the training split, found {test_shape}"
        )
    digest = hashlib.sha256(test.labels.astype(np.uint8).tobytes()).hexdigest()
    for other, known in TEST_LABELS_SHA256.items():
        if other != name and digest == known:
            raise DatasetError(
                f"{_existing(directory, 't10k', 'labels-idx1')}: expected {name}, found {other}"
            )
    return Dataset(
        name=name,
        image_shape=image_shape,
        n_classes=N_CLASSES,
        full_scale=FULL_SCALE,
        train=train,
        validation=validation,
        test=test,
        source=str(directory),
    )


def _spellings(directory: Path, split: str, kind: str) -> list[Path]:
    hyphen = f"{split}-{kind}-ubyte"
    full_stop = hyphen.replace("-idx", ".idx")
    return [directory / f"{stem}{end}" for stem in (hyphen, full_stop) for end in ("", ".gz")]


def _existing(directory: Path, split: str, kind: str) -> Path:
    for file in _spellings(directory, split, kind):
        if file.is_file():
            return file
    raise DatasetError(
        f"{directory / f'{split}-{kind}-ubyte'}: no such file, plain or .gz;"
        " expected all four IDX files in this directory"
    )


def _read_split(directory: Path, split: str) -> tuple[Split, tuple[int, int]]:
    # Both are looked for before either is read: a missing file is told without a wait.
    image_file = _existing(directory, split, "images-idx3")
    label_file = _existing(directory, split, "labels-idx1")
    images = read_idx(image_file)
    if images.ndim != 3 or images.dtype != np.uint8 or images.size == 0:
        raise DatasetError(
            f"{image_file}: expected images, uint8 in 3 dimensions,"
            f" found {images.dtype} of shape {images.shape}"
        )
    labels = read_idx(label_file)
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise DatasetError(
            f"{label_file}: expected labels, uint8 in 1 dimension,"
            f" found {labels.dtype} of shape {labels.shape}"
        )
    if len(labels) != len(images):
        raise DatasetError(
            f"{label_file}: expected {len(images)} labels, one for each image of"
            f" {image_file.name}, found {len(labels)}"
        )
    if labels.max() >= N_CLASSES:
        raise DatasetError(
            f"{label_file}: expected labels 0 to {N_CLASSES - 1}, found {labels.max()}"
        )
    n, rows, columns = images.shape
    return Split(images.reshape(n, rows * columns), labels.astype(np.int64)), (rows, columns)
