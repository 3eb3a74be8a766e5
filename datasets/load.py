"""A dataset by its name, from wherever it is on this machine; `digits` ships with the package."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import numpy as np

from .dataset import TENTH, Dataset, DatasetError, Split, scaled, split_off_validation
from .image_files import SUBDIRECTORIES, find_image_files, read_image_files
from .own_file import is_own_file, read_own_file
from .tensorflow_datasets_source import (
    find_prepared,
    is_tfds_name,
    prepare_and_read,
    read_any_set,
    read_prepared,
)

DATASETS = ("digits", "fashion_mnist", "mnist")

DATA_VARIABLE = "DISINHIB_DATA"

N_TRAINING_DIGITS = 1500

# Where Debian's package dataset-fashion-mnist puts its files.
INSTALLED: dict[str, Path] = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}


def load_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    validation: float = TENTH,
    scale: float | None = None,
) -> Dataset:
    """Load a dataset.

    `digits` ships with the package. The others are looked for in `data_dir` alone if it
    is given; else in the directory that the environment variable DISINHIB_DATA names,
    then, Fashion-MNIST, in /usr/share/datasets/fashion-mnist; else tensorflow-datasets
    downloads them. A directory holds either IDX files, themselves or in a subdirectory
    named like the dataset, which goes first, or a set that tensorflow-datasets prepared.

    Parameters
    ----------
    name : {'digits', 'fashion_mnist', 'mnist'}, path of a file, or 'tfds:NAME'
        Dataset, or somebody's own in `.npz` or `.h5` (see `read_own_file`), or any set of images
        in classes that tensorflow-datasets has (see `read_any_set`).
    data_dir : path, optional
        Directory with the data, or one's own file itself. None looks where said above.
    validation : float
        Part of the training samples that is held back, above 0 and below 1, where the data have no
        validation part of their own; there anything but a tenth is refused.
    scale : float, optional
        Input that becomes 1; else 255 for bytes, 16 for the digits, and floats are as they are.

    Returns
    -------
    Dataset
        The same whatever the way, but for `source`.

    Raises
    ------
    DatasetError
        If there is no such dataset or directory, the directory has no data, the data is
        not what it should be, or none is found and the download fails.
    """
    try:
        return _loaded(name, data_dir, validation, scale)
    except OSError as problem:
        # A directory that may not be looked into, say.
        where = name if problem.filename is None else problem.filename
        raise DatasetError(f"{where}: cannot be read ({problem.strerror or problem})") from problem


def _loaded(
    name: str, data_dir: str | os.PathLike[str] | None, validation: float, scale: float | None
) -> Dataset:
    if is_own_file(name):
        # Where it lies now, should the name be of a place where it is no more.
        if data_dir is None:
            return read_own_file(name, validation, scale)
        place = Path(data_dir)
        found = place if place.is_file() else place / Path(name).name
        return read_own_file(found, validation, scale)
    if is_tfds_name(name):
        root = data_dir or os.environ.get(DATA_VARIABLE) or None
        return read_any_set(name, root, validation, scale)
    if name not in DATASETS:
        raise DatasetError(
            f"dataset: found {name!r}, expected one of {', '.join(DATASETS)}, a .npz or .h5 "
            "file, or tfds:NAME"
        )
    if name == "digits":
        if data_dir is not None:
            raise DatasetError(
                f"data_dir: found {os.fspath(data_dir)!r}, expected none:"
                " digits is embedded and takes no directory"
            )
        return scaled(digits(validation), scale)
    return scaled(_of_images(name, data_dir, validation), scale)


def _of_images(name: str, data_dir: str | os.PathLike[str] | None, validation: float) -> Dataset:
    if data_dir is not None:
        return _in_given_directory(Path(data_dir), name, validation)
    named = os.environ.get(DATA_VARIABLE)
    if named:
        found = _in_directory(_existing(Path(named), f"{DATA_VARIABLE}="), name, validation)
        if found is not None:
            return found
    if name in INSTALLED:
        found = _in_directory(INSTALLED[name], name, validation)
        if found is not None:
            return found
    return prepare_and_read(name, validation=validation)


def digits(validation: float = TENTH) -> Dataset:
    """1,797 images of 8 × 8 pixels, 0 to 16, of ten digits.

    The images are in the order of the source, by groups of writers: the last 297, the
    test split, are by writers who come late. Of the first 1,500 the first 150, or another part,
    validate.

    Returns
    -------
    Dataset
        1,350 training, 150 validation and 297 test images.
    """
    with (resources.files("disinhib.datasets.data") / "digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images, labels = stored["images"], stored["labels"].astype(np.int64)
    published = Split(images[:N_TRAINING_DIGITS], labels[:N_TRAINING_DIGITS])
    train, held_back = split_off_validation(published, "digits", validation)
    test = Split(images[N_TRAINING_DIGITS:], labels[N_TRAINING_DIGITS:])
    return Dataset("digits", (8, 8), 10, 16, train, held_back, test, "shipped with the package")


def _existing(directory: Path, said_by: str = "") -> Path:
    if not directory.is_dir():
        trouble = "not a directory" if directory.exists() else "no such directory"
        raise DatasetError(
            f"{said_by}{directory}: {trouble}, expected one with IDX files"
            " or a prepared tensorflow-datasets set"
        )
    return directory


def _in_directory(root: Path, name: str, validation: float) -> Dataset | None:
    directory = find_image_files(root, name)
    if directory is not None:
        return read_image_files(directory, name, validation)
    prepared = find_prepared(root, name)
    return None if prepared is None else read_prepared(prepared, name, validation)


def _in_given_directory(root: Path, name: str, validation: float) -> Dataset:
    found = _in_directory(_existing(root), name, validation)
    if found is None:
        places = " or ".join(("there", *(f"in {part}/" for part in SUBDIRECTORIES[name])))
        raise DatasetError(
            f"{root}: found no {name}, expected train-images-idx3-ubyte and the three other"
            f" IDX files {places}, or a set prepared by tensorflow-datasets"
        )
    return found
