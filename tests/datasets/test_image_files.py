"""Directories of IDX files: hand-written ones, and the real Fashion-MNIST."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError
from disinhib.datasets.image_files import find_image_files, read_image_files
from disinhib.datasets.load import load_dataset

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAMES = [
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def idx(array, code=8):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def write_set(directory, packed=False, full_stop=False, pixel=0, without=(), **replaced):
    """Write 30 training and 5 test images of 2 × 3 pixels, numbered, labels 0 to 9 in turn."""
    directory.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", 30), ("t10k", 5)):
        images = (np.arange(n * 6) + pixel).astype(np.uint8).reshape(n, 2, 3)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{split}-{kind}-ubyte"
            if name in without:
                continue
            content = replaced.get(f"{split}_{kind[:6]}", idx(array))
            file = directory / (name.replace("-idx", ".idx") if full_stop else name)
            if packed:
                file.with_name(file.name + ".gz").write_bytes(gzip.compress(content))
            else:
                file.write_bytes(content)
    return directory


@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_set_too_small_to_validate_is_refused(tmp_path, n):
    """It would train for an epoch, and then advise a lower learning rate."""
    images, labels = np.zeros((n, 2, 3), np.uint8), np.zeros(n, np.uint8)
    write_set(tmp_path, train_images=idx(images), train_labels=idx(labels))
    with pytest.raises(DatasetError) as caught:
        read_image_files(tmp_path, "mnist")
    assert one_line(caught) == (
        f"{tmp_path / 'train-images-idx3-ubyte'}: expected at least 10 training images, the first "
        f"tenth of which validates, found {n}"
    )


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("full_stop", [False, True])
def test_reads_a_hand_written_set(tmp_path, name, packed, full_stop):
    data = load_dataset(name, write_set(tmp_path, packed, full_stop))
    assert data.name == name
    assert data.image_shape == (2, 3)
    assert (data.n_classes, data.full_scale) == (10, 255)
    assert data.source == str(tmp_path)
    assert data.validation.labels.tolist() == [0, 1, 2]
    assert data.train.labels.tolist() == [i % 10 for i in range(3, 30)]
    assert data.test.labels.tolist() == [0, 1, 2, 3, 4]
    assert data.train.images[0].tolist() == [18, 19, 20, 21, 22, 23]
    assert data.test.images[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mnist", "mnist"),
        ("fashion_mnist", "fashion_mnist"),
        ("fashion_mnist", "fashion-mnist"),
    ],
)
def test_named_subdirectory_goes_before_the_directory_itself(tmp_path, name, part):
    write_set(tmp_path, pixel=100)
    assert load_dataset(name, tmp_path).test.images[0, 0] == 100
    write_set(tmp_path / part, pixel=7)
    assert load_dataset(name, tmp_path).test.images[0, 0] == 7


def test_subdirectory_of_the_other_dataset_is_not_looked_into(tmp_path):
    write_set(tmp_path / "mnist")
    assert find_image_files(tmp_path, "mnist") == tmp_path / "mnist"
    assert find_image_files(tmp_path, "fashion_mnist") is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packed", [False, True])
def test_missing_file_is_named(tmp_path, name, packed):
    write_set(tmp_path, packed, without=[name])
    with pytest.raises(DatasetError) as caught:
        load_dataset("mnist", tmp_path)
    assert f"{tmp_path / name}: no such file" in one_line(caught)


WIDE = np.zeros((5, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("file", "replaced", "found"),
    [
        ("train-labels-idx1-ubyte", {"train_labels": idx(np.zeros(29, np.uint8))}, "30.*found 29"),
        ("train-labels-idx1-ubyte", {"train_labels": idx(np.full(30, 10, np.uint8))}, "found 10"),
        ("t10k-labels-idx1-ubyte", {"t10k_labels": idx(np.zeros((5, 1), np.uint8))}, r"\(5, 1\)"),
        ("t10k-labels-idx1-ubyte", {"t10k_labels": idx(np.zeros(5, np.int8), 9)}, "found int8"),
        ("train-images-idx3-ubyte", {"train_images": idx(np.zeros((30, 6), np.uint8))}, r"\(30, 6"),
        (
            "train-images-idx3-ubyte",
            {"train_images": idx(np.zeros((30, 2, 3), np.int8), 9)},
            "int8",
        ),
        (
            "train-images-idx3-ubyte",
            {"train_images": idx(np.zeros((0, 2, 3), np.uint8))},
            r"\(0, 2",
        ),
        ("t10k-images-idx3-ubyte", {"t10k_images": idx(WIDE)}, r"\(2, 3\).*found \(3, 3\)"),
        ("t10k-images-idx3-ubyte", {"t10k_images": idx(WIDE)[:-1]}, "truncated"),
    ],
)
def test_file_that_is_not_what_it_should_be_is_named(tmp_path, file, replaced, found):
    write_set(tmp_path, **replaced)
    with pytest.raises(DatasetError, match=found) as caught:
        load_dataset("mnist", tmp_path)
    assert one_line(caught).startswith(f"{tmp_path / file}: ")


needs_fashion_mnist = pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="Debian package dataset-fashion-mnist is not installed"
)


@needs_fashion_mnist
def test_fashion_mnist_is_the_published_one(monkeypatch):
    monkeypatch.delenv("DISINHIB_DATA", raising=False)
    data = load_dataset("fashion_mnist")
    assert data.image_shape == (28, 28)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [
        54000,
        6000,
        10000,
    ]
    training = np.concatenate([data.validation.labels, data.train.labels])
    assert np.bincount(training).tolist() == [6000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    # Ankle boot, T-shirt, T-shirt, dress: the first images in the authors' README.
    assert data.validation.labels[:4].tolist() == [9, 0, 0, 3]
    # Mean of the training pixels, known from everybody's normalisation: 0.2860.
    pixels = np.concatenate([data.validation.images, data.train.images])
    assert pixels.mean() / data.full_scale == pytest.approx(0.2860, abs=5e-5)


@needs_fashion_mnist
def test_fashion_mnist_does_not_pass_for_mnist():
    with pytest.raises(DatasetError, match="expected mnist, found fashion_mnist") as caught:
        read_image_files(DEBIAN, "mnist")
    assert str(DEBIAN / "t10k-labels-idx1-ubyte") in one_line(caught)


def test_mnist_is_the_published_one():
    root = os.environ.get("DISINHIB_DATA")
    directory = find_image_files(Path(root), "mnist") if root else None
    if directory is None:
        pytest.skip("DISINHIB_DATA names no directory with MNIST's IDX files")
    data = read_image_files(directory, "mnist")
    training = np.concatenate([data.validation.labels, data.train.labels])
    assert np.bincount(training).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(data.test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert data.validation.labels[:5].tolist() == [5, 0, 4, 1, 9]
    with pytest.raises(DatasetError, match="expected fashion_mnist, found mnist"):
        read_image_files(directory, "fashion_mnist")
