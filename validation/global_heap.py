"""HDF5's heaps of text: a damaged one can hold up the HDF5 library for ever.

Seen with HDF5 2.0.0: one flipped bit in the length of a heap's free space, and reading an
attribute does not return. Layout: HDF5 File Format Specification, III.E, Global Heap.
"""

from __future__ import annotations

import os
from pathlib import Path

from .parameter_groups import FileError

SIGNATURE = b"GCOL\x01\0\0\0"
HEADER = 16
"""Bytes, of a heap and of each object in it."""


def check_global_heaps(path: str | os.PathLike[str], content: bytes) -> None:
    """Refuse a file with a heap whose objects do not fill it from end to end.

    Parameters
    ----------
    path : str or path
        For the message.
    content : bytes
        Of the whole file.

    Raises
    ------
    FileError
        The file is damaged.
    """
    path = Path(path)
    start = content.find(SIGNATURE)
    while start >= 0:
        if not _is_filled(content, start):
            raise FileError(f"{path}: the file is damaged: its text heap at byte {start}")
        start = content.find(SIGNATURE, start + 1)


def _is_filled(content: bytes, start: int) -> bool:
    end = start + _number(content, start + 8, 8)
    if end > len(content):
        return False
    at = start + HEADER
    while at + HEADER <= end:
        index, size = _number(content, at, 2), _number(content, at + 8, 8)
        if index == 0:
            # Free space: the rest, its own header included.
            return at + size == end
        at += HEADER + -(-size // 8) * 8
    return at <= end


def _number(content: bytes, at: int, length: int) -> int:
    return int.from_bytes(content[at : at + length], "little")
