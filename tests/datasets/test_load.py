"""Where a dataset is looked for, and what is said when it is not there."""

import struct

import pytest

from disinhib.datasets.dataset import DatasetError
from disinhib.datasets.load import DATASETS, INSTALLED, load_dataset


def write_set(directory, pixel):
    directory.mkdir(parents=True)
    for split in ("train", "t10k"):
        images = struct.pack(">HBB3I", 0, 8, 3, 20, 1, 1) + bytes([pixel]) * 20
        labels = struct.pack(">HBBI", 0, 8, 1, 20) + bytes(range(10)) * 2
        (directory / f"{split}-images-idx3-ubyte").write_bytes(images)
        (directory / f"{split}-labels-idx1-ubyte").write_bytes(labels)
    return directory


def first_pixel(data):
    return int(data.train.images[0, 0])


def message_of(*arguments):
    with pytest.raises(DatasetError) as caught:
        load_dataset(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_name_lists_the_allowed():
    message = message_of("cifar10")
    assert "'cifar10'" in message
    assert all(name in message for name in DATASETS)


def test_digits_takes_no_directory(tmp_path, monkeypatch):
    assert "takes no directory" in message_of("digits", tmp_path)
    assert str(tmp_path) in message_of("digits", tmp_path)
    monkeypatch.setenv("DISINHIB_DATA", str(tmp_path / "absent"))
    assert load_dataset("digits").name == "digits"


def test_given_directory_goes_before_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("DISINHIB_DATA", str(write_set(tmp_path / "variable", 1)))
    assert first_pixel(load_dataset("mnist")) == 1
    assert first_pixel(load_dataset("mnist", write_set(tmp_path / "given", 2))) == 2
    assert first_pixel(load_dataset("mnist", str(tmp_path / "given"))) == 2


def test_variable_goes_before_what_is_installed(tmp_path, monkeypatch):
    write_set(tmp_path / "fashion-mnist", 3)
    monkeypatch.setenv("DISINHIB_DATA", str(tmp_path))
    assert first_pixel(load_dataset("fashion_mnist")) == 3


@pytest.mark.skipif(
    not INSTALLED["fashion_mnist"].is_dir(),
    reason="Debian package dataset-fashion-mnist is not installed",
)
@pytest.mark.parametrize("with_mnist", [False, True])
def test_what_is_installed_is_found_beside_a_variable_for_another(
    tmp_path, monkeypatch, with_mnist
):
    if with_mnist:
        write_set(tmp_path / "mnist", 4)
    monkeypatch.setenv("DISINHIB_DATA", str(tmp_path))
    assert load_dataset("fashion_mnist").source == str(INSTALLED["fashion_mnist"])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_missing_directory_is_an_error(tmp_path, monkeypatch, name):
    absent = tmp_path / "absent"
    assert f"{absent}: no such directory" in message_of(name, absent)
    monkeypatch.setenv("DISINHIB_DATA", str(absent))
    assert f"DISINHIB_DATA={absent}: no such directory" in message_of(name)


def test_file_in_place_of_the_directory_is_an_error(tmp_path):
    file = tmp_path / "train-images-idx3-ubyte"
    file.touch()
    assert f"{file}: not a directory" in message_of("mnist", file)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_given_directory_without_data_is_an_error(tmp_path, monkeypatch, name):
    # Even where the search would go on to find the data.
    monkeypatch.setenv("DISINHIB_DATA", str(write_set(tmp_path / "variable", 1)))
    empty = tmp_path / "given"
    empty.mkdir()
    message = message_of(name, empty)
    assert f"{empty}: found no {name}" in message
    assert "train-images-idx3-ubyte" in message
