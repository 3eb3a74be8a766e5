"""MNIST and Fashion-MNIST from a directory of IDX files, and the IDX format itself.

Two zero bytes, a type code, the number of dimensions, their lengths as big-endian
uint32, then the elements, big-endian, the last dimension fastest. There is no checksum:
an element that changed in a plain file cannot be told; gzip has one.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import stat
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from .dataset import TENTH, Dataset, DatasetError, Split, split_off_validation

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

ELEMENT_TYPES: dict[int, np.dtype] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

MOST_EXPANSION = 64
"""Bytes for each byte of a packed file; gzip makes a fifth of MNIST's images, half of others."""
ALWAYS_ALLOWED = 2**24
"""Bytes that any packed file may have."""
READ_AT_ONCE = 2**20


def find_image_files(root: str | os.PathLike[str], name: str) -> Path | None:
    """The first directory with at least one of the four IDX files of a dataset, or None.

    A subdirectory of `root` named like the dataset goes before `root` itself.
    """
    root = Path(root)
    for directory in (*(root / part for part in SUBDIRECTORIES[name]), root):
        for split in ("train", "t10k"):
            for kind in ("images-idx3", "labels-idx1"):
                if any(file.is_file() for file in _spellings(directory, split, kind)):
                    return directory
    return None


def read_image_files(
    directory: str | os.PathLike[str], name: str, validation: float = TENTH
) -> Dataset:
    """Read the four IDX files of a dataset, in their order; the first of training validate.

    Each is plain or `.gz`, with a hyphen or a full stop before `idx`. Refused are files that are
    missing, not what they should be, of other numbers or shapes than each other, or the other
    dataset's. Other pixels, or other labels in range, are not found in plain files, where nothing
    but `dataset_digest` tells two sets of one shape apart. The published digests are not asked for:
    other sets in this form are welcome.
    """
    directory = Path(directory)
    published, image_shape = _read_split(directory, "train")
    source = str(_existing(directory, "train", "images-idx3"))
    train, held_back = split_off_validation(published, source, validation)
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
    splits = train, held_back, test
    return Dataset(name, image_shape, N_CLASSES, FULL_SCALE, *splits, str(directory))


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


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Array that an IDX file holds, in native byte order; one ending in `.gz` is decompressed.

    Refused is what cannot be read, is corrupt, does not begin as an IDX file does, has an unknown
    element type, is shorter or longer than its header says, or unpacks to more than MOST_EXPANSION
    times its size and ALWAYS_ALLOWED.
    """
    path = Path(path)
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            # One might wait for ever to read it.
            raise DatasetError(f"{path}: expected a file, found a pipe, socket or device")
        with open(path, "rb") as stored:
            size = os.fstat(stored.fileno()).st_size
            if path.suffix != ".gz":
                return _read(path, stored, size, size)
            most = max(ALWAYS_ALLOWED, MOST_EXPANSION * size)
            return _read(path, gzip.GzipFile(fileobj=stored), most, None)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: expected a sound gzip file, found: {error}") from error
    except OSError as error:
        raise DatasetError(f"{path}: expected a readable file, found: {error.strerror}") from error


def _read(path: Path, file: IO[bytes] | gzip.GzipFile, most: int, size: int | None) -> np.ndarray:
    """Read no more than the header says and a byte; `size` is the content's, where it is known."""
    start = file.read(4)
    if len(start) < 4:
        raise DatasetError(
            f"{path}: truncated: expected an IDX header of at least 4 bytes, found {len(start)}"
        )
    if start[:2] != b"\0\0":
        raise DatasetError(
            f"{path}: not an IDX file: expected to begin with 0x0000, found 0x{start[:2].hex()}"
        )
    code, n_dimensions = start[2], start[3]
    if code not in ELEMENT_TYPES:
        allowed = ", ".join(f"0x{known:02x}" for known in ELEMENT_TYPES)
        raise DatasetError(
            f"{path}: unsupported IDX element type: expected one of {allowed}, found 0x{code:02x}"
        )
    lengths, header = file.read(4 * n_dimensions), 4 + 4 * n_dimensions
    if len(lengths) < 4 * n_dimensions:
        raise DatasetError(
            f"{path}: truncated: expected an IDX header of {header} bytes"
            f" for {n_dimensions} dimensions, found {4 + len(lengths)}"
        )
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    dtype = ELEMENT_TYPES[code]
    expected = header + math.prod(shape) * dtype.itemsize
    content = bytearray()
    if size in (None, expected):
        # In pieces: what is asked for at once is allocated at once, whether it is there or not.
        wanted = min(expected, most) - header + 1
        while piece := file.read(min(wanted - len(content), READ_AT_ONCE)):
            content += piece
    found = header + len(content) if size is None else size
    if expected > most and found > most:
        raise DatasetError(
            f"{path}: expected to unpack to at most {most} bytes, {MOST_EXPANSION} times its size,"
            f" found {expected} for shape {shape} of {dtype.name}"
        )
    if found != expected:
        trouble = "truncated" if found < expected else "trailing bytes"
        more = " or more" if size is None and found > expected else ""
        raise DatasetError(
            f"{path}: {trouble}: expected {expected} bytes"
            f" for shape {shape} of {dtype.name}, found {found}{more}"
        )
    try:
        elements = np.frombuffer(content, dtype).reshape(shape)
    except ValueError as error:  # too many dimensions, or lengths too large beside a zero
        raise DatasetError(f"{path}: expected a shape NumPy can hold, found {shape}") from error
    return elements.astype(dtype.newbyteorder("="), copy=False)
