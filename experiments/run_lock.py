"""One process at a time in a run's directory."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from ..refimpl.errors import ConfigurationError

LOCK_FILE = "lock"


class RunLock:
    """Holds a directory until it is released or the process ends, in whatever way.

    Parameters
    ----------
    directory : Path
        Of the run; must exist.

    Raises
    ------
    ConfigurationError
        Another process holds it; the message says which.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_FILE
        try:
            self._file: IO[str] = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as problem:
            raise ConfigurationError(f"{path} cannot be written: {problem.strerror}") from problem
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise ConfigurationError(
                f"{directory} is in use by {holder}: wait for it, or choose another --out"
            ) from None
        if not self._is_in_place(path):
            # Whoever held it has just removed it: others would lock a new file of this name.
            self._file.close()
            raise ConfigurationError(
                f"{directory} was in use until this moment: try again, or choose another --out"
            )
        self._path = path
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def _is_in_place(self, path: Path) -> bool:
        held = os.fstat(self._file.fileno())
        try:
            there = os.stat(path)
        except FileNotFoundError:
            return False
        return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Let others in; again is of no effect."""
        if not self._file.closed:
            self._path.unlink(missing_ok=True)
            self._file.close()
