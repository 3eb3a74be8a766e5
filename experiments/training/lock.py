"""One process at a time in a run's directory.

The system's own lock on the file `lock` keeps others out, and ends with its holder. Where the file
system has none, the file itself does: whoever makes it holds the directory. Either way it says who.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import secrets
import socket
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import filelock

from ...refimpl import ConfigurationError

LOCK_FILE = "lock"
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, 524}
"""Errors of a file system without locks; 524 is Linux's own ENOTSUPP, which NFS and DVS return."""

MOST_BYTES = 1000
"""Of a lock file; ours have some 200."""


@dataclass(frozen=True)
class Holder:
    """Who holds a directory, and in which way."""

    process: int
    host: str
    numbering: str  # in which set of numbers: a container counts its processes for itself
    started: str | None  # in the words of its system; None where that says nothing
    by: str  # 'system' or 'file': whether the system's lock counts or that the file is there


class RunLock:
    """Holds a directory until it is released or the process ends, in whatever way.

    Raises ConfigurationError where another process holds it, or what is there is no lock; OSError
    where the file cannot be written.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._path, self._process = Path(directory) / LOCK_FILE, os.getpid()
        self._lock: filelock.BaseFileLock | None = None
        self._held: os.stat_result | None = None
        claim = self._path.with_name(f"{LOCK_FILE}.{secrets.token_hex(8)}")
        try:
            if _write_claim(claim):
                self._lock_by_system()
            if self._lock is None:
                self._held = _lock_by_file(self._path, claim)
        finally:
            claim.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others in; again, or in a forked child, is of no effect."""
        if self._held is None or self._process != os.getpid():
            return
        held, self._held = self._held, None
        try:
            # The directory may have been renamed, and another's lock be where this one was. Windows
            # removes no open file, but its locks remove theirs by themselves.
            with suppress(FileNotFoundError, PermissionError):
                if os.path.samestat(os.lstat(self._path), held):
                    self._path.unlink()
        finally:
            if self._lock is not None:
                self._lock.release()

    def refuse_unless_held(self) -> None:
        """Refuse to go on where others may be let in: it is released, or this process is a fork."""
        if self._held is None or self._process != os.getpid():
            why = "has been released" if self._held is None else f"is process {self._process}'s"
            raise ConfigurationError(
                f"{self._path.parent}: the lock of this run {why}: a run is trained once, by the "
                "process that began it; `resume` goes on with it"
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a run belongs to the process that began it: pass its directory on, and `resume` there"
        )

    def _lock_by_system(self) -> None:
        """Take the system's lock, unless the file there is one by itself."""

        def write_holder(descriptor: int) -> None:
            there = os.fstat(descriptor)
            if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
                _refuse_no_lock(self._path)
            with os.fdopen(os.dup(descriptor), "r+b", buffering=0) as file:
                holder = _holder(file.read(MOST_BYTES))
                if holder is not None and holder.by == "file":
                    raise _HeldByFile
                file.truncate(0)
                _write(file.fileno(), _content("system"))
            self._held = there

        lock = filelock.FileLock(
            self._path,
            thread_local=False,
            blocking=False,
            fallback_to_soft=False,
            on_acquired=write_holder,
        )
        try:
            lock.acquire()
        except _HeldByFile:
            # Of a host that shares this file system and has no locks on it.
            return
        except filelock.Timeout:
            _refuse_held(self._path)
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                _refuse_no_lock(self._path)
            raise
        self._lock = lock


class InUse(ConfigurationError):
    """Another process holds the directory, or did until this moment."""


class _HeldByFile(Exception):
    pass


def _lock_by_file(path: Path, claim: Path) -> os.stat_result:
    """Make the file, or take it over from a process that is dead.

    Who is to follow a dead holder is decided by making another file, named by the digest of what
    the dead one left: that succeeds once. A dead follower has followers in turn. So nothing is ever
    removed of which another process could still believe that it is in force.
    """
    passed: list[tuple[Path, bytes]] = []
    place = path
    while not _made(place, claim):
        content = _read(place)
        _refuse_running(path, place, content)
        passed.append((place, content))
        place = path.with_name(f"{LOCK_FILE}.{hashlib.sha256(content).hexdigest()[:16]}")
    try:
        if any(_read(before) != content for before, content in passed):
            _refuse_now(path)
        if passed:
            os.replace(claim, path)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    for left in {place, *(before for before, _ in passed)} - {path}:
        left.unlink(missing_ok=True)
    return os.lstat(path)


def _made(place: Path, claim: Path) -> bool:
    """Give a file, written whole, another name, if that is free; so no one reads half of it."""
    try:
        os.link(claim, place)
    except FileExistsError:
        # NFS may ask twice, and hear of its own success.
        return os.stat(claim).st_nlink > 1
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EMLINK, *NO_LOCKS):
            raise
        # No second names here.
        try:
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            _write(descriptor, _content("file"))
        finally:
            os.close(descriptor)
    return True


def _write_claim(claim: Path) -> bool:
    """Write down who asks, and try on that file whether the system has locks for it."""
    descriptor = os.open(claim, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write(descriptor, _content("file"))
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError as problem:
        if problem.errno not in NO_LOCKS:
            raise
        return False
    finally:
        os.close(descriptor)


def _content(by: str) -> bytes:
    process = os.getpid()
    holder = Holder(process, socket.gethostname(), _numbering(), _started(process), by)
    # Windows locks the first byte, and lets no one else read it.
    return b" " + json.dumps(dataclasses.asdict(holder)).encode() + b"\n"


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _read(place: Path) -> bytes:
    """Bytes of a lock file but the first, empty if it cannot be read as one."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(place, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b""
            file.seek(1)
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        _refuse_now(place)
    except OSError:
        return b""


def _holder(content: bytes) -> Holder | None:
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    known = isinstance(holder.process, int) and 0 < holder.process < 2**31
    return holder if known and isinstance(holder.host, str) else None


def _refuse_held(path: Path) -> NoReturn:
    """Refuse what the system's lock says is held."""
    if path.is_symlink():
        _refuse_no_lock(path)
    if not path.exists():
        # Whoever held it has just removed it: others would lock a new file of this name.
        _refuse_now(path)
    holder = _holder(_read(path))
    by = "another process" if holder is None else f"process {holder.process} on {holder.host}"
    raise InUse(f"{path.parent} is in use by {by}: wait for it, or choose another directory")


def _refuse_running(path: Path, place: Path, content: bytes) -> None:
    """Refuse a lock file, unless its holder is certainly dead."""
    if place.is_symlink():
        _refuse_no_lock(place)
    holder = _holder(content)
    if holder is None:
        raise ConfigurationError(
            f"{place} does not say which process holds {path.parent}, and this file system has no "
            "locks that would: delete it if none does, on any host, or choose another directory"
        )
    here = (holder.host, holder.numbering) == (socket.gethostname(), _numbering())
    started = _started(holder.process) if here else None
    by = f"process {holder.process} on {holder.host}"
    if started is None or holder.started is None:
        raise InUse(
            f"{path.parent} is in use by {by}, and whether that still runs cannot be seen from "
            f"here: wait for it, or choose another directory; if it does not run any more, delete "
            f"{place}"
        )
    if started == holder.started:
        raise InUse(f"{path.parent} is in use by {by}: wait for it, or choose another directory")


def _refuse_no_lock(path: Path) -> NoReturn:
    what = "a symbolic link" if path.is_symlink() else "no plain file with one name"
    raise ConfigurationError(f"{path} is {what}, and a lock is none: remove it")


def _refuse_now(path: Path) -> NoReturn:
    raise InUse(
        f"{path.parent} was in use until this moment: try again, or choose another directory"
    )


def _numbering() -> str:
    """Name the set of processes that has these numbers; empty where there is only one."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(process: int) -> str | None:
    """When a process started; empty if none of this number runs, None if that cannot be told."""
    if os.name != "posix":
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # another user's
    try:
        # After the name, which may hold anything but ends with the last bracket: state is the
        # third field, the start in ticks since boot the 22nd.
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return "" if fields[0] in (b"Z", b"X") else f"{fields[19].decode()} ticks after boot {boot}"
    except ProcessLookupError:
        return ""
    except OSError:
        return _started_by_ps(process)


def _started_by_ps(process: int) -> str | None:
    """The same where there is no /proc, as on macOS."""
    command = ["ps", "-o", "state=,lstart=", "-p", str(process)]
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        told = subprocess.run(command, capture_output=True, text=True, env=plain, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    state, _, started = told.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else " ".join(started.split())
