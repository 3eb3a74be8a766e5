"""Somebody's own data from a file: `.npz`, which NumPy's `savez` writes, or HDF5.

It has `x`, (n, ...), and `y`, (n,): inputs of any shape, which are flattened, and a class each.
Parts that are to validate or test are `x_valid`, `y_valid`, `x_test`, `y_test`; for each of those
that are not there a tenth is drawn.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from .dataset import TENTH, Dataset, DatasetError, Split, scaled, whole_part
from .image_files import ALWAYS_ALLOWED, MOST_EXPANSION

NUMPY, HDF5 = (".npz",), (".h5", ".hdf5")
"""Endings of names, by what is in such a file."""
PARTS = {"train": "", "validation": "_valid", "test": "_test"}
ARRAYS = [f"{letter}{part}" for part in PARTS.values() for letter in "xy"]
LEAST = 20
"""Samples to train on: two for each tenth that may be drawn of them."""
BYTES_FULL_SCALE = 255


def is_own_file(name: str) -> bool:
    """Whether a dataset's name is that of a file."""
    return name.lower().endswith((*NUMPY, *HDF5))


def read_own_file(
    path: str | os.PathLike[str], validation: float = TENTH, scale: float | None = None
) -> Dataset:
    """Read somebody's own data.

    Bytes are divided by 255, truth values are 0 and 1, floats are taken as they are. Classes are
    the values of `y`, whole numbers or text, in their order. A part that the file does not have is
    a tenth of its `x` and `y`, drawn by a fixed seed, so that it is the same in every run.

    Parameters
    ----------
    path : path
        A file in `.npz`, or in HDF5: `.h5` or `.hdf5`.
    validation, scale : float, optional
        As of `own_dataset`.

    Returns
    -------
    Dataset
        With the file as its source, and its class names.

    Raises
    ------
    DatasetError
        The file cannot be read, an array is missing, unknown, or not what it should be.
    """
    path = Path(path)
    is_hdf5 = path.suffix.lower() in HDF5
    arrays = _arrays_of_hdf5(path) if is_hdf5 else _arrays(path)
    return own_dataset(arrays, path, validation, scale)


def own_dataset(
    arrays: Mapping[str, np.ndarray],
    source: str | os.PathLike[str],
    validation: float = TENTH,
    scale: float | None = None,
) -> Dataset:
    """Make a dataset of somebody's own arrays, as `read_own_file` says.

    Parameters
    ----------
    arrays : mapping of arrays
        By the names that they have in a file.
    source : path
        Where they are from, to name in messages; its last part names the dataset.
    validation : float
        Part of `x` that is drawn to validate where none is given; other than a tenth it is refused
        where one is.
    scale : float, optional
        Input that becomes 1. With it inputs may be any whole numbers, none larger.

    Raises
    ------
    DatasetError
        An array is missing, unknown, or not what it should be.
    """
    path = Path(source)
    _refuse_unknown(path, arrays)
    given = {}
    for part, ending in PARTS.items():
        x, y = arrays.get(f"x{ending}"), arrays.get(f"y{ending}")
        if (x is None) != (y is None):
            there, missing = ("x", "y") if y is None else ("y", "x")
            raise DatasetError(f"{path}: found {there}{ending} without {missing}{ending}")
        if x is not None and y is not None:
            given[part] = _checked_pair(path, x, y, ending, scale is not None)
    if "train" not in given:
        raise DatasetError(f"{path}: found no x and y, expected inputs (n, ...) and a class each")
    shape, dtype = given["train"][0].shape[1:], given["train"][0].dtype
    for part, (x, _) in given.items():
        if x.shape[1:] != shape or x.dtype != dtype:
            raise DatasetError(
                f"{path}: found {x.dtype} {x.shape[1:]} a sample in x{PARTS[part]}, "
                f"expected {dtype} {shape} as in x"
            )
    has_own_validation = "validation" in given
    if has_own_validation and validation != TENTH:
        raise DatasetError(
            f"{path}: found a validation part of its own (x_valid), expected none with "
            f"validation = {validation:g}"
        )
    drawn = {
        part: size
        for part, size in (("validation", validation), ("test", TENTH))
        if part not in given
    }
    given |= _drawn(path, *given.pop("train"), drawn)
    classes = np.unique(np.concatenate([given["train"][1], *(given[part][1] for part in drawn)]))
    if classes.size < 2:
        raise DatasetError(
            f"{path}: found the class {str(classes[0])!r} alone in y, expected at least 2"
        )
    splits = {part: _split(path, x, y, classes, PARTS[part]) for part, (x, y) in given.items()}
    dataset = Dataset(
        name=path.stem,
        image_shape=shape,
        n_classes=int(classes.size),
        full_scale=_full_scale(arrays["x"].dtype),
        source=str(path),
        class_names=tuple(str(name) for name in classes),
        has_own_validation=has_own_validation,
        **splits,
    )
    return scaled(dataset, scale)


def _full_scale(dtype: np.dtype) -> int | None:
    """Value that becomes 1 unless another is given; None for floats, taken as they are."""
    return {"u": BYTES_FULL_SCALE, "b": 1}.get(dtype.kind)


def _checked_pair(
    path: Path, x: np.ndarray, y: np.ndarray, ending: str, has_scale: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs that are bytes, finite floats or, with a scale, whole numbers, and as many labels."""
    if x.ndim < 2 or x.size == 0:
        raise DatasetError(f"{path}: found x{ending} of shape {x.shape}, expected (n, ...)")
    if y.shape != x.shape[:1]:
        raise DatasetError(
            f"{path}: found y{ending} of shape {y.shape}, expected ({len(x)},), "
            f"a class for each of x{ending}"
        )
    y = _checked_classes(path, y, ending)
    if x.dtype.kind == "b":
        return x.astype(np.uint8), y
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32 if x.dtype.itemsize < 8 else np.float64)
        if not np.all(np.isfinite(x)):
            n = np.count_nonzero(~np.isfinite(x))
            raise DatasetError(f"{path}: found {n} values of x{ending} that are no finite numbers")
        return x, y
    if x.dtype != np.uint8 and not (has_scale and x.dtype.kind in "iu"):
        raise DatasetError(
            f"{path}: found x{ending} of {x.dtype}, expected uint8, 0 to 255, or floats; other "
            "whole numbers need a scale, as by data.scale"
        )
    return x, y


def _checked_classes(path: Path, y: np.ndarray, ending: str) -> np.ndarray:
    """Labels as int64 or text, so that those of one kind can be told apart exactly."""
    if y.dtype.kind == "S":
        return np.array([name.decode("utf-8", "backslashreplace") for name in y.tolist()])
    if y.dtype.kind == "U":
        return y
    if y.dtype.kind == "O" and all(isinstance(name, str) for name in y):
        # As pandas has text.
        return np.array(y.tolist(), dtype=str)
    if y.dtype.kind not in "biu":
        raise DatasetError(
            f"{path}: found y{ending} of {y.dtype}, expected whole numbers or text, a class each"
        )
    if y.size and y.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"{path}: found {y.max()} in y{ending}, expected at most 2^63 − 1")
    return y.astype(np.int64)


def _drawn(
    path: Path, x: np.ndarray, y: np.ndarray, parts: dict[str, float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training samples, in their order, without those of each part, drawn by a fixed seed."""
    if len(x) < LEAST:
        raise DatasetError(f"{path}: found {len(x)} samples in x, expected at least {LEAST}")
    order, first, pairs = np.random.default_rng(0).permutation(len(x)), 0, {}
    for part, size in parts.items():
        n = whole_part(len(x), size)
        if n == 0:
            raise DatasetError(
                f"{path}: found {len(x)} samples in x, expected so many that {size:g} of them, "
                f"for {part}, are at least 1"
            )
        taken = np.sort(order[first : first + n])
        pairs[part], first = (x[taken], y[taken]), first + n
    left = np.sort(order[first:])
    if not left.size:
        sizes = " and ".join(f"{size:g} for {part}" for part, size in parts.items())
        raise DatasetError(f"{path}: found {len(x)} samples in x, of which {sizes} leave none")
    return {"train": (x[left], y[left]), **pairs} if parts else {"train": (x, y)}


def _split(path: Path, x: np.ndarray, y: np.ndarray, classes: np.ndarray, ending: str) -> Split:
    if y.dtype.kind != classes.dtype.kind:
        kinds = [{"U": "text"}.get(one.dtype.kind, "whole numbers") for one in (y, classes)]
        raise DatasetError(f"{path}: found {kinds[0]} in y{ending}, expected {kinds[1]} as in y")
    strange = y[~np.isin(y, classes)]
    if strange.size:
        listed = ", ".join([*map(str, classes[:10]), *(["…"] if classes.size > 10 else [])])
        raise DatasetError(
            f"{path}: found the class {str(strange[0])!r} in y{ending}, "
            f"expected one of y's: {listed}"
        )
    images = np.ascontiguousarray(x.reshape(len(x), math.prod(x.shape[1:])))
    return Split(images, np.searchsorted(classes, y).astype(np.int64))


def _refuse_unknown(path: Path, names: Iterable[str]) -> None:
    """Refuse an array by a name that means nothing."""
    unknown = sorted(set(names) - set(ARRAYS))
    if unknown:
        raise DatasetError(f"{path}: found an array {unknown[0]!r}, expected {', '.join(ARRAYS)}")


# The file. HDF5 is looked through as all such files of this project are; `.npz` is a zip archive of
# NumPy's arrays, of which no more is taken than it can hold.


def _arrays_of_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an HDF5 file, which must lie in the file itself."""
    # Imported here: slow to load, and most data are no HDF5.
    from ..validation import FileError, read_array, read_texts, reading

    try:
        with reading(path) as file:
            names = list(file)
            arrays = {
                name: read_texts(file, name) if name.startswith("y") else read_array(file, name)
                for name in names
                if name in ARRAYS
            }
    except FileError as problem:
        raise DatasetError(str(problem)) from problem
    _refuse_unknown(path, names)
    return arrays


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays; what NumPy would unpickle is refused."""
    if not path.is_file():
        trouble = "not a file" if path.exists() else "no such file"
        raise DatasetError(f"{path}: {trouble}, expected one that numpy.savez wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            if len(entries) < len(archive.infolist()):
                raise DatasetError(f"{path}: found an array twice, expected each once")
            _refuse_unknown(path, entries)
            most = max(ALWAYS_ALLOWED, MOST_EXPANSION * path.stat().st_size)
            unpacked = sum(entry.file_size for entry in entries.values())
            if unpacked > most:
                raise DatasetError(
                    f"{path}: found {unpacked:,} bytes packed in it, expected at most {most:,}"
                )
            return {name: _array(archive, entry) for name, entry in entries.items()}
    except DatasetError:
        raise
    except OSError as problem:
        raise DatasetError(f"{path}: cannot be read ({problem.strerror or problem})") from problem
    except MemoryError:
        raise
    except Exception as problem:
        # What a damaged archive makes its readers raise has no end of kinds.
        said = str(problem) or type(problem).__name__
        raise DatasetError(f"{path}: not a file that numpy.savez wrote: {said}") from problem


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array, of as many bytes as its own header says."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{entry.filename} is of an unknown version")
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, in_columns, dtype = read_header(file)
        if dtype.kind not in "biufUS":
            raise ValueError(f"{entry.filename} is of {dtype}, and numbers or text are needed")
        content = file.read()
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{entry.filename} has {len(content)} bytes for {dtype} of shape {shape}")
    flat = np.frombuffer(content, dtype=dtype)
    if dtype.kind == "U":
        points = np.frombuffer(content, dtype=np.dtype("u4").newbyteorder(dtype.byteorder))
        if np.any((points > 0x10FFFF) | ((points >= 0xD800) & (points <= 0xDFFF))):
            raise ValueError(f"{entry.filename} has text that is none")
    array = flat.reshape(shape[::-1]).T if in_columns else flat.reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
