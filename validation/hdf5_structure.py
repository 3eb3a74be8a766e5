"""What an HDF5 file is made of, looked through before any of it is used.

An HDF5 file can refer to others (external links, external storage, virtual datasets), and a small
one can unfold to more than a machine holds: by fill values, by compression, by one object under
many names. Here every name in it is looked at, each object once.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import h5py

from .parameter_groups import FileError

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
MOST_DEFLATED = 1040
"""By how much deflate's output can grow when it is read (RFC 1951: 258 bytes from two bits)."""
INFLATED_AT_ONCE = 2**20
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
NUMBERS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.BITFIELD)
OTHER_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}


def objects(file: h5py.File) -> Iterator[tuple[str, h5py.HLObject]]:
    """Go through all groups and datasets, each under every name that it has, in order of names.

    Parameters
    ----------
    file : h5py.File
        One that `check_structure` has passed.

    Yields
    ------
    path : str
        Without a leading stroke.
    item : h5py.HLObject
    """

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

    Parameters
    ----------
    file : h5py.File
        Just opened.

    Raises
    ------
    FileError
        It has a soft or an external link, external storage, a virtual dataset, a filter other
        than gzip, a dataset that claims more than is stored, a group in itself; or all its
        names together hold more than `MOST_EXPANSION` times its size and `ALWAYS_ALLOWED`.
    """
    _Examination(file).size(file, "/")


def holds_text_or_numbers(item: h5py.HLObject, name: str) -> bool:
    """Tell whether an attribute is of a kind that this project writes; others are never read."""
    return item.attrs.get_id(name).get_type().get_class() in (*NUMBERS, h5py.h5t.STRING)


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
        most = math.prod(layout.get_chunk()) * dataset.id.get_type().get_size() + 4
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
