"""Machine code of the kernels on disk, kept so that what runs is what is on disk.

A directory holds the code of one state of all kernels' sources, Python, Numba, LLVM, NumPy and
the processor, a file for each kernel and types of arguments; a change in any of them is another
directory. Numba's own cache compares a function's own file alone, though code of those that it
calls from other files is inside it; besides, it does not read where it may not write, fails over
a damaged file, and two processes that save at once can exchange what they saved.

What lies there is executed: a directory counts only if it is ours, or root's, and nobody else
may write to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import platformdirs
from numba.core import config
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

KEPT_SECONDS = 14 * 24 * 3600
"""Code of other states goes when it has not been used for so long."""
SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
"""Of Numba, those that change the code."""
TEMPORARY_PREFIX = "disinhib-code-"


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile what Python calls: it lets go of the interpreter lock, and its code is kept."""
    if function is None:
        return lambda function: kernel(function, **options)
    options |= {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    dispatcher = numba.njit(**options)(function)
    # With NUMBA_DISABLE_JIT it is the plain function.
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = KernelCache(function)
    return dispatcher


def inner(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile what kernels alone call; Python cannot, for want of a wrapper, and need not wait."""
    if function is None:
        return lambda function: inner(function, **options)
    options |= {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**options)(function)


class KernelCache:
    """What Numba asks of a cache, for one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @property
    def cache_path(self) -> str | None:
        """Where the code lies; None if it is not kept."""
        directory = code_directory()
        return None if directory is None else str(directory)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Code for these types; None if there is none, or if it is damaged."""
        directory = code_directory()
        if directory is None:
            return None
        try:
            content = self._file(directory, signature).read_bytes()
        except OSError:
            return None
        digest, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        target_context.refresh()
        kept_signature, parts = pickle.loads(content)
        if kept_signature != signature:
            return None
        return CompileResult._rebuild(target_context, *parts)

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the code for these types; a disk that will not take it is told of, and no more."""
        directory = code_directory()
        if directory is None:
            return
        content = dumps((signature, result._reduce()))
        digest = hashlib.sha256(content).digest()
        try:
            _write(self._file(directory, signature), digest, bytes(content))
        except OSError as problem:
            _say_once(f"compiled code cannot be kept in {directory}: {problem.strerror}")

    def flush(self) -> None:
        """Forget nothing: code in a directory is never out of date."""

    def _file(self, directory: Path, signature: Any) -> Path:
        types = hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
        return directory / f"{self._name}-{types}.code"


def _write(path: Path, *parts: bytes) -> None:
    """Write a whole file or none, whoever else writes it too."""
    number, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(number, "wb") as file:
            file.writelines(parts)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@cache
def code_digest() -> str:
    """Digest of all that compiled code is made from and of."""
    folder = resources.files(__package__)
    sources = [(f.name, f.read_bytes()) for f in folder.iterdir() if f.name.endswith(".py")]
    made_by = (
        sys.implementation.cache_tag,
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        # As Numba's own index has them: platform, name of the processor, its features.
        cpu_target.target_context.codegen().magic_tuple(),
        [getattr(config, name, None) for name in SETTINGS],
    )
    return hashlib.sha256(repr((made_by, sorted(sources))).encode()).hexdigest()[:32]


@cache
def code_directory() -> Path | None:
    """Directory of this state's code, made if need be; None if there can be none.

    Below NUMBA_CACHE_DIR if that is set, else in the user's cache directory, else in a
    temporary one.
    """
    asked_for = config.CACHE_DIR  # type: ignore[attr-defined]
    named = [Path(asked_for, "disinhib")] if asked_for else []
    for above in (*named, platformdirs.user_cache_path("disinhib", appauthor=False) / "code"):
        found = _prepared(above / code_digest())
        if found is not None:
            return found
    temporary = _temporary_directory()
    found = None if temporary is None else _prepared(temporary / code_digest())
    if found is None:
        _say_once("no directory for compiled code: every process compiles anew")
    return found


def _prepared(directory: Path) -> Path | None:
    """Make or take the directory; None if it cannot be made, or if others may write there."""
    try:
        is_new = not directory.exists()
        # Others may read: a container's build or a cluster's prolog warms up for its users.
        directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.mkdir(mode=0o755, exist_ok=True)
        if not is_trusted(directory):
            return None
        if is_new:
            _remove_unused(directory)
    except OSError:
        return None
    # So that others can tell that it is used. A directory of root's is not ours to mark.
    with contextlib.suppress(OSError):
        os.utime(directory)
    return directory


def is_trusted(directory: Path) -> bool:
    """Whether nobody but us and root can have put there what lies there."""
    if os.name == "nt":
        # Rights are those of the user's profile.
        return True
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        return False
    # Where all may rename, unless each only what is their own, another may come in its place.
    above = [parent.stat().st_mode for parent in directory.resolve().parents]
    return not status.st_mode & 0o022 and all(
        not mode & stat.S_IWOTH or mode & stat.S_ISVTX for mode in above
    )


def _temporary_directory() -> Path | None:
    """One that an earlier process of ours has made, or a new one; no name can be foretold."""
    try:
        for found in sorted(Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*")):
            if is_trusted(found) and found.stat().st_uid == os.geteuid():
                return found
        return Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
    except OSError:
        return None


def _remove_unused(directory: Path) -> None:
    """Remove code of other states beside this one that no process has used for long."""
    for other in directory.parent.iterdir():
        is_code = re.fullmatch("[0-9a-f]{32}", other.name) and other != directory
        # Another process may be removing it too.
        with contextlib.suppress(OSError):
            if is_code and time.time() - other.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


@cache
def _say_once(line: str) -> None:
    print(f"disinhib: {line}", file=sys.stderr, flush=True)
