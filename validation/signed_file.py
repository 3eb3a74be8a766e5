"""Writing an HDF5 file that can be trusted: signed, sealed, checked on disk, then named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import get_ident

import h5py

from .byte_seal import sealed
from .content_digest import check_digest, sign
from .durable_file import replace_durably
from .hdf5_file import reading


def write_signed_file(
    path: str | os.PathLike[str], fill: Callable[[h5py.File], None], keep: int = 1
) -> None:
    """Make a file in memory, and let it take its name when it lies whole on disk.

    Parameters
    ----------
    path : str or Path
        One that exists is replaced.
    fill : callable
        Writes the content into an open, empty file.
    keep : int
        Generations kept, see `durable_file.generations`.

    Raises
    ------
    FileError
        It cannot be written; what was there before stands.
    """
    # In memory first: HDF5 that meets a full disk may end the process. It tells files by name, also
    # those that are nowhere, and another thread may be here too.
    path = Path(path)
    name = f"in memory of thread {get_ident()}"
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        fill(file)
        sign(file)
        file.flush()
        image = file.id.get_file_image()

    def check(unfinished: Path) -> None:
        with reading(unfinished) as written:
            check_digest(written)

    replace_durably(Path(path), sealed(image), check, keep)
