"""IDX files with flipped bits or cut short: what a format can tell, and what it cannot."""

import gzip

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError, dataset_digest
from disinhib.datasets.load import load_dataset

from .test_image_files import write_set

N_FLIPS = 1000


def arrays_of(data):
    return [
        array
        for split in (data.train, data.validation, data.test)
        for array in (split.images, split.labels)
    ]


def load_or_line(directory):
    try:
        return load_dataset("mnist", directory)
    except DatasetError as problem:
        line = str(problem)
    assert "\n" not in line
    assert str(directory) in line
    return None


@pytest.mark.parametrize("packed", [False, True])
def test_a_flipped_bit_is_one_line_or_one_value(tmp_path, packed):
    """gzip has a checksum. Without, a value may be another; then the digest is another too."""
    write_set(tmp_path, packed)
    files = sorted(tmp_path.iterdir())
    whole = {file: file.read_bytes() for file in files}
    original = load_dataset("mnist", tmp_path)
    expected, digest = arrays_of(original), dataset_digest(original)
    generator = np.random.default_rng(0)
    counts = {"found": 0, "harmless": 0, "another value": 0}
    for _ in range(N_FLIPS):
        file = files[generator.integers(len(files))]
        content = bytearray(whole[file])
        at = generator.integers(len(content))
        content[at] ^= 1 << generator.integers(8)
        file.write_bytes(content)
        data = load_or_line(tmp_path)
        file.write_bytes(whole[file])
        if data is None:
            counts["found"] += 1
            continue
        changed = sum(int(np.sum(a != b)) for a, b in zip(arrays_of(data), expected, strict=True))
        assert changed <= (0 if packed else 1)
        counts["another value" if changed else "harmless"] += 1
        assert (dataset_digest(data) != digest) == bool(changed)
        assert max(split.labels.max() for split in (data.train, data.validation, data.test)) < 10
        # The header says all there is to say of what is no value.
        assert packed or changed == 1
    print(f"{'gzip' if packed else 'plain'}: {counts}")
    assert counts["found"] > N_FLIPS / 10
    assert (counts["another value"] > 0) != packed


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_short_anywhere_is_one_line(tmp_path, packed):
    write_set(tmp_path, packed)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for percent in range(100):
            file.write_bytes(whole[: len(whole) * percent // 100])
            assert load_or_line(tmp_path) is None, (file.name, percent)
        file.write_bytes(whole)
    assert load_or_line(tmp_path) is not None


def test_a_label_that_is_none_is_refused_in_either_split(tmp_path):
    write_set(tmp_path)
    for split in ("train", "t10k"):
        file = tmp_path / f"{split}-labels-idx1-ubyte"
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] | 0x80]))
        with pytest.raises(DatasetError, match=r"expected labels 0 to 9, found 13\d"):
            load_dataset("mnist", tmp_path)
        file.write_bytes(whole)


def test_a_gzip_file_that_holds_less_than_it_says_is_one_line(tmp_path):
    write_set(tmp_path, packed=True)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content[:-1]))
    with pytest.raises(DatasetError, match="truncated"):
        load_dataset("mnist", tmp_path)
