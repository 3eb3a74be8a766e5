"""What an HDF5 file is made of: looked through before any of it is used, then read by name.

A file is refused that leads out of itself, or unfolds to more than its size allows (docs/files.md).
What is read of one are groups, numbers, and attributes of text or numbers, each of the kind that it
must be.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from ...refimpl import shown
from .arrays import FileError, read_array

MOST_EXPANSION = 64
"""Bytes in memory for each byte of the file, a number at 8 as it is computed with.

Uncompressed float16 takes 4 of them, bytes take 8, and so are left 8 for compression; what the
shipped traces gain by it is a factor below 2, MNIST's images gain 5.
"""
ALWAYS_ALLOWED = 2**24
"""Bytes that any file may unfold to: small ones have long runs of zeros."""
DEEPEST = 32
"""Groups inside groups; traces have 4."""
BYTES_OF_A_NAME = 128
"""What an object costs a reader beside its numbers, at least."""
BYTES_OF_A_NUMBER = 8
BYTES_OF_A_REFERENCE = 16
"""To a text in a heap, as it lies in the file."""
MOST_DEFLATED = 1040
"""By how much deflate's output can grow when it is read (RFC 1951: 258 bytes from two bits)."""
INFLATED_AT_ONCE = 2**20
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
NUMBERS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.BITFIELD)
OTHER_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}


def objects(file: h5py.File) -> Iterator[tuple[str, h5py.HLObject]]:
    """Go through the paths and items of a file, each item under every name, in order of names."""

    def below(group: h5py.Group, prefix: str) -> Iterator[tuple[str, h5py.HLObject]]:
        # By their bytes, as HDF5 orders them.
        for name in sorted(group, key=lambda name: name.encode(errors="surrogateescape")):
            item = group[name]
            yield prefix + name, item
            if isinstance(item, h5py.Group):
                yield from below(item, f"{prefix}{name}/")

    return below(file, "")


def check_structure(file: h5py.File) -> None:
    """Refuse a file that leads out of itself, or unfolds to more than its size allows.

    Out of itself lead soft and external links, external storage and virtual datasets. Refused are
    also filters other than gzip, shuffle and fletcher32, a dataset that claims more than is stored
    and a group in itself; and all names together may not hold more than `MOST_EXPANSION` times the
    file's size and `ALWAYS_ALLOWED`.
    """
    _Examination(file).size(file, "/")


def holds_text_or_numbers(item: h5py.HLObject, name: str) -> bool:
    """Tell whether an attribute is of a kind that this project writes; others are never read."""
    return item.attrs.get_id(name).get_type().get_class() in (*NUMBERS, h5py.h5t.STRING)


def read_texts(group: h5py.Group, name: str) -> np.ndarray:
    """Read an array of texts, as Python's, or of numbers if it is one of those.

    A text of any length lies in a heap, in which many may be one: they are read in parts, none of
    which can take more memory than the file's size allows, and neither may all of them.

    Raises
    ------
    FileError
        There is none, it holds something else, or more than the file's size allows.
    """
    item = group.get(name)
    if not isinstance(item, h5py.Dataset) or item.dtype.kind in "biuf":
        return read_array(group, name)
    return _Examination(group.file).texts(item, name)


class _Examination:
    """Sizes found so far, by the address of their object."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._file_size = file.id.get_filesize()
        self._limit = max(ALWAYS_ALLOWED, MOST_EXPANSION * self._file_size)
        self._sizes: dict[int, int] = {}
        self._above: list[int] = []

    def size(self, item: h5py.HLObject, path: str) -> int:
        """Bytes in memory of an object and all below it, counted again under each name."""
        address = h5py.h5o.get_info(item.id).addr
        if address in self._above:
            raise self._refusal(f"group {path} lies in itself")
        if address not in self._sizes:
            if len(self._above) > DEEPEST:
                raise self._refusal(f"its groups are nested more than {DEEPEST} deep")
            self._above.append(address)
            size = BYTES_OF_A_NAME + self._attributes(item, path)
            if isinstance(item, h5py.Group):
                size += self._members(item, path)
            elif isinstance(item, h5py.Dataset):
                size += self._numbers(item, path)
            self._above.pop()
            self._sizes[address] = self._checked(size)
        return self._sizes[address]

    def texts(self, dataset: h5py.Dataset, path: str) -> np.ndarray:
        """Read texts of a dataset that has been looked at."""
        kind = h5py.check_string_dtype(dataset.dtype)
        if kind is None or dataset.ndim != 1:
            raise self._refusal(
                f"dataset {path} has dtype {dataset.dtype} and shape {dataset.shape}: numbers or "
                "texts, (n,), are needed"
            )
        if dataset.id.get_create_plist().get_nfilters():
            self._check_chunks(dataset, path)
        n, total, found = dataset.size, 0, []
        longest = kind.length or self._file_size
        at_once = max(1, self._limit // longest)
        for first in range(0, n, at_once):
            read = dataset[first : first + at_once].tolist()
            total = self._checked(total + sum(map(len, read)) + BYTES_OF_A_NUMBER * len(read))
            found += [one.decode("utf-8", "backslashreplace") for one in read]
        # NumPy gives all of them the room of the longest, 4 bytes a character.
        self._checked(4 * n * max(map(len, found), default=0))
        return np.array(found, dtype=str)

    def _refusal(self, what: str) -> FileError:
        return FileError(f"{self._file.filename}: {what}")

    def _checked(self, size: int) -> int:
        if size > self._limit:
            raise self._refusal(
                f"its {self._file_size:,} bytes unfold to {size:,} or more: "
                f"at most {self._limit:,} are read from a file of this size"
            )
        return size

    def _members(self, group: h5py.Group, path: str) -> int:
        total = 0
        for name in group:
            where = f"{path.rstrip('/')}/{name}"
            kind = group.id.links.get_info(name.encode(errors="surrogateescape")).type
            if kind != h5py.h5l.TYPE_HARD:
                raise self._refusal(
                    f"{where} is {OTHER_LINKS.get(kind, 'a user-defined link')}: "
                    "what is read must lie in the file itself, under its own name"
                )
            total = self._checked(total + self.size(group[name], where))
        return total

    def _attributes(self, item: h5py.HLObject, path: str) -> int:
        total = 0
        for name in item.attrs:
            attribute = item.attrs.get_id(name)
            kind, n = attribute.get_type(), attribute.get_space().get_simple_extent_npoints()
            total += BYTES_OF_A_NAME + n * kind.get_size()
            if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
                # Many may share one text in the heap, which is no longer than the file.
                total += n * self._file_size if n > 1 else len(str(item.attrs[name]))
            self._checked(total)
        return total

    def _numbers(self, dataset: h5py.Dataset, path: str) -> int:
        layout, kind = dataset.id.get_create_plist(), dataset.id.get_type()
        if layout.get_external_count():
            raise self._refusal(f"dataset {path} has external storage: its numbers lie elsewhere")
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            raise self._refusal(f"dataset {path} is virtual: its numbers lie elsewhere")
        n, is_packed = math.prod(dataset.id.shape or (0,)), layout.get_nfilters() > 0
        stored, claimed = dataset.id.get_storage_size(), n * kind.get_size()
        # Before anything of the claimed size is allocated.
        if stored > self._file_size or claimed > (MOST_DEFLATED if is_packed else 1) * stored:
            raise self._refusal(
                f"dataset {path} claims {claimed:,} bytes, of which {stored:,} are stored"
            )
        if kind.get_class() not in NUMBERS:
            # It is named, and never read.
            return 0
        if layout.get_layout() == h5py.h5d.CHUNKED:
            # One number of a chunk is had by reading all of it.
            n = max(n, math.prod(layout.get_chunk()))
        size = self._checked(n * max(kind.get_size(), BYTES_OF_A_NUMBER))
        if is_packed:
            self._check_chunks(dataset, path)
        return size

    def _check_chunks(self, dataset: h5py.Dataset, path: str) -> None:
        """Refuse what HDF5 would unpack to more than the chunk that it stands for."""
        layout = dataset.id.get_create_plist()
        filters = [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]
        if not set(filters) <= set(FILTERS) or len(set(filters)) < len(filters):
            raise self._refusal(
                f"dataset {path} has filters {filters} of HDF5: gzip, shuffle and fletcher32 "
                "are read, each once"
            )
        if h5py.h5z.FILTER_DEFLATE not in filters:
            return
        left_out = 1 << filters.index(h5py.h5z.FILTER_DEFLATE)
        # A checksum that was taken before packing is 4 bytes more.
        kind = dataset.id.get_type()
        is_text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
        each = BYTES_OF_A_REFERENCE if is_text else kind.get_size()
        most = math.prod(layout.get_chunk()) * each + 4
        places: list[tuple[int, ...]] = []

        def take(chunk: h5py.h5d.StoreInfo) -> None:
            if not chunk.filter_mask & left_out:
                places.append(chunk.chunk_offset)

        dataset.id.chunk_iter(take)
        for place in places:
            if _inflates_beyond(dataset.id.read_direct_chunk(place)[1], most):
                raise self._refusal(
                    f"dataset {path} has a chunk that unpacks to more than its {most:,} bytes"
                )


def _inflates_beyond(packed: bytes, most: int) -> bool:
    stream, found = zlib.decompressobj(), 0
    try:
        while packed and not stream.eof:
            found += len(stream.decompress(packed, INFLATED_AT_ONCE))
            packed = stream.unconsumed_tail
            if found > most:
                return True
    except zlib.error:
        # HDF5 will say so.
        return False
    return False


def is_of_schema(file: h5py.File, schema: str) -> bool:
    """Tell whether a file says that it is of a schema."""
    try:
        return read_text(file, "schema", default="") == schema
    except FileError:
        return False


def refuse_other_schema(file: h5py.File, schema: str) -> None:
    """Refuse a file that is of another schema, or of none.

    Raises
    ------
    FileError
        Naming its schema and the one that is needed.
    """
    found = read_text(file, "schema", default="")
    if found != schema:
        raise FileError(f"{file.filename}: schema is {shown(found)}: {schema!r} is needed")


def read_text(group: h5py.Group, name: str, default: str | None = None) -> str:
    """Read an attribute that is one text.

    Parameters
    ----------
    group : h5py.Group
        What has the attribute.
    name : str
        Of the attribute.
    default : str, optional
        Where there is none; without, it must be there.

    Raises
    ------
    FileError
        It is missing, or something else.
    """
    if name not in group.attrs and default is not None:
        return default
    value = _value(group, name)
    if isinstance(value, bytes):
        # Of fixed length, as C programs write it.
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        raise _refusal(group, name, value, "a text is needed")
    return value


def read_json(group: h5py.Group, name: str) -> dict[str, Any]:
    """Read an attribute that is a text, and that a JSON object.

    Raises
    ------
    FileError
        It is missing, or something else.
    """
    try:
        value = json.loads(read_text(group, name))
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, FileError):
            raise
        raise FileError(f"{_place(group, name)} is no JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise _refusal(group, name, value, "a JSON object is needed")
    return value


def read_whole(group: h5py.Group, name: str, minimum: int, maximum: int | None = None) -> int:
    """Read an attribute that is one whole number, in a range."""
    value = _value(group, name)
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise _refusal(group, name, value, "a whole number is needed")
    if value < minimum or (maximum is not None and value > maximum):
        most = "" if maximum is None else f" and at most {maximum}"
        raise _refusal(group, name, value, f"at least {minimum}{most} is needed")
    return int(value)


def read_seconds(group: h5py.Group, name: str) -> float:
    """Read an attribute that is one finite number, 0 or more."""
    value = _value(group, name)
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if not is_number or isinstance(value, bool) or not 0 <= value < np.inf:
        raise _refusal(group, name, value, "a finite number, 0 or more, is needed")
    return float(value)


def _value(group: h5py.Group, name: str) -> Any:
    if name not in group.attrs:
        raise FileError(f"{_place(group, name)} is missing")
    if not holds_text_or_numbers(group, name):
        kind = group.attrs.get_id(name).dtype
        raise FileError(f"{_place(group, name)} is of type {kind}: text or numbers are needed")
    value = group.attrs[name]
    # One number in an array of no axes, or of one entry, is what some programs write.
    return value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value


def _refusal(group: h5py.Group, name: str, value: Any, needed: str) -> FileError:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return FileError(f"{_place(group, name)} is {shown(plain)}: {needed}")


def _place(group: h5py.Group, name: str) -> str:
    where = "" if group.name == "/" else f" of {group.name}"
    return f"{group.file.filename}: attribute {name}{where}"


HEAP = b"GCOL\x01\0\0\0"
HEAP_HEADER = 16
"""Bytes, of a heap and of each object in it."""


def check_global_heaps(path: str | os.PathLike[str], content: bytes) -> None:
    """Refuse a file with a heap of text whose objects do not fill it from end to end.

    A damaged one can hold up the HDF5 library for ever.
    """
    start = content.find(HEAP)
    while start >= 0:
        if not _is_filled(content, start):
            raise FileError(f"{path}: the file is damaged: its text heap at byte {start}")
        start = content.find(HEAP, start + 1)


def _is_filled(content: bytes, start: int) -> bool:
    end = start + _number(content, start + 8, 8)
    if end > len(content):
        return False
    at = start + HEAP_HEADER
    while at + HEAP_HEADER <= end:
        index, size = _number(content, at, 2), _number(content, at + 8, 8)
        if index == 0:
            # Free space: the rest, its own header included.
            return at + size == end
        at += HEAP_HEADER + -(-size // 8) * 8
    return at <= end


def _number(content: bytes, at: int, length: int) -> int:
    return int.from_bytes(content[at : at + length], "little")
