"""A digest of a file's bytes at its end, so that damage is found before HDF5 sees any of it.

HDF5 passes over what follows its own content. A file without a seal is no worse than before.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .parameter_groups import FileError

MARK = b"\ndisinhib sha256 "
LENGTH = len(MARK) + 64 + 1


def sealed(content: bytes) -> bytes:
    """Content with the seal after it."""
    return content + MARK + hashlib.sha256(content).hexdigest().encode() + b"\n"


def check_seal(path: str | os.PathLike[str], content: bytes) -> None:
    """Compare a file's bytes with its seal, if it has one.

    Parameters
    ----------
    path : str or path
        For the message.
    content : bytes
        Of the whole file.

    Raises
    ------
    FileError
        They differ: the file is damaged.
    """
    # A view, as a copy would take the file's size once more.
    path = Path(path)
    body, seal = memoryview(content)[:-LENGTH], content[-LENGTH:]
    if not seal.startswith(MARK):
        return
    found = hashlib.sha256(body).hexdigest()
    written = seal[len(MARK) : -1].decode("ascii", "replace")
    if found != written:
        raise FileError(
            f"{path}: the file is damaged: its bytes have SHA-256 {found[:12]}…, "
            f"they were sealed with {written[:12]!r}…"
        )
