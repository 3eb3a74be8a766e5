"""What a command gives: lines on a terminal, and files.

Lines are plain text whatever they are made of, on any stream, and work is never long silent. What
could not be written is said in one line, and where that can be known at once, before any work.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import stat
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.text import Text

# Lines.

SPELT = {
    "…": "...", "∞": "inf", "–": "-", "—": "-", "−": "-", "×": "x", "÷": "/", "·": "*",
    "²": "^2", "±": "+-", "φ": "phi", "η": "eta", "λ": "lambda", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "κ": "kappa", "•": "*",
}  # fmt: skip
"""Characters of our own, as a stream in ASCII or Latin-1 shows them."""

FIRST_SILENCE = 5.0
"""Seconds after which work that has shown nothing says what it is; then twice that, and so on."""

LONGEST_SILENCE = 640.0


class OutputFailed(Exception):
    """Standard output takes no more; the message says why, and is empty if its reader left."""


def visible(text: object) -> str:
    r"""Turn text from outside into one line that shows every character of it.

    What would move the cursor, reorder or hide characters, or end the line is written as Python
    writes it (``\x1b``, ``\u202e``); so is a byte of a file name that is not UTF-8.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def terminal_console(*, stderr: bool = False) -> Console:
    """Make a console on which text is only ever text: no markup, no emoji codes, no guesses."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def say(console: Console, text: object, style: str = "") -> None:
    """Print one line, of any length, whatever it is made of."""
    console.print(Text(visible(text), style=style), soft_wrap=True)


def tell_user(text: object) -> None:
    """Print one line on standard error; where that fails there is nobody to tell."""
    with suppress(OSError, ValueError, AttributeError):
        print(f"disinhib: {visible(text)}", file=sys.stderr, flush=True)


@contextmanager
def any_stream() -> Iterator[None]:
    """Let both streams take every character, and what fails on standard output be `OutputFailed`.

    A stream that is not Unicode gets our own signs spelt out and the rest escaped.
    """
    codecs.register_error("disinhib", _spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="disinhib")
    before = sys.stdout
    if before is not None:
        sys.stdout = cast(Any, _Output(before))
    try:
        yield
    except BaseException:
        # Flushed here, so that it does not fail when the interpreter ends.
        with suppress(OutputFailed, ValueError, AttributeError):
            sys.stdout.flush()
        raise
    else:
        if before is not None:
            sys.stdout.flush()
    finally:
        sys.stdout = before


@contextmanager
def going_on_without_output() -> Iterator[None]:
    """Do work whose result is in files: it does not end because nobody reads along.

    A full disk under standard output is told once.
    """
    output = sys.stdout
    if not isinstance(output, _Output):
        yield
        return
    before, output.is_dispensable = output.is_dispensable, True
    try:
        yield
    finally:
        output.is_dispensable = before


class _Output:
    """Standard output that fails once, in one way, and swallows what comes after."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._failed, self.is_dispensable = stream, False, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not self._failed:
            self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        if not self._failed:
            self._attempt(self._stream.flush)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as problem:
            self._failed = True
            # What its buffer still holds would fail again when the interpreter ends.
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            gone = isinstance(problem, BrokenPipeError)
            why = "" if gone else f"standard output cannot be written: {problem.strerror}"
            if not self.is_dispensable:
                raise OutputFailed(why) from problem
            if why:
                tell_user(f"{why}; going on without it")


class Announcement:
    """Says on standard error what is being done whenever nothing has been shown for a while.

    `wait` waits for an event as long as given, and says whether it came: a test has its own clock.
    """

    def __init__(
        self, doing: str, wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    ) -> None:
        self._doing, self._wait = doing, wait
        self._stirred, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self, doing: str) -> None:
        """Name what is being done from here on; the silence goes on."""
        self._doing = doing

    def shown(self) -> None:
        """Begin anew: something has been shown."""
        self._stirred.set()

    def end(self) -> None:
        """Say no more."""
        self._ended = True
        self._stirred.set()
        self._thread.join()

    def _watch(self) -> None:
        silence, so_far = FIRST_SILENCE, 0.0
        while True:
            stirred = self._wait(self._stirred, silence)
            # Before the question, so that no end is overlooked.
            self._stirred.clear()
            if self._ended:
                return
            if stirred:
                silence, so_far = FIRST_SILENCE, 0.0
                continue
            so_far += silence
            tell_user(f"{self._doing} ({so_far:.0f} s so far)")
            silence = min(2 * silence, LONGEST_SILENCE)


@contextmanager
def announced(doing: str) -> Iterator[Announcement]:
    """Announce work for as long as it lasts."""
    announcement = Announcement(doing)
    try:
        yield announcement
    finally:
        announcement.end()


@contextmanager
def working(console: Console, doing: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done: on a terminal at once, elsewhere when it takes long.

    What it yields names what is being done from there on.
    """
    if console.is_terminal:
        with console.status(Text(visible(doing))) as status:
            yield lambda text: status.update(Text(visible(text)))
        return
    with announced(doing) as announcement:
        yield announcement.now


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        # How Python keeps a byte of a file name that is not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _spelt_out(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    characters = problem.object[problem.start : problem.end]
    return "".join(SPELT.get(c) or _as_ascii(c) for c in characters), problem.end


def _as_ascii(character: str) -> str:
    name = unicodedata.name(character, "")
    if name.startswith("BRAILLE"):  # a spinner
        return "*"
    if name.startswith("BOX DRAWINGS"):
        lies, stands = "HORIZONTAL" in name, "VERTICAL" in name
        return "+" if lies == stands else "-" if lies else "|"
    return _escaped(character)


# Files and directories. What is read and written in HDF5 is loaded only when there is a failure to
# name by it: the command line, which is to be there at once, imports this file.


def refuse_unwritable(path: str | os.PathLike[str] | None) -> None:
    """Say before minutes of work what would fail after them; raises FileError. None is no file."""
    if path is None:
        return
    path = Path(path)
    try:
        # Asked of the system itself: `Path.exists` takes some errors for an answer.
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        is_directory = False
    except OSError as problem:
        raise _file_error(f"{path} cannot be written: {problem.strerror}") from problem
    if is_directory:
        raise _file_error(f"{path} cannot be written: it is a directory")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise _file_error(f"{path} cannot be written: {path.parent} is not a directory")
    if not os.access(path if path.exists() else parent, os.W_OK):
        raise _file_error(f"{path} cannot be written: {os.strerror(errno.EACCES)}")


MOST_DRAWN = 24
"""Characters of a name in a picture."""


def in_a_picture(name: str) -> str:
    """Make a name fit to be drawn: no mathematics, nothing invisible, not too long."""
    short = name if len(name) <= MOST_DRAWN else f"{name[: MOST_DRAWN - 1]}…"
    return visible(short).replace("$", r"\$")


PICTURES = (".png", ".pdf", ".svg")


def refuse_other_pictures(path: str | os.PathLike[str] | None) -> None:
    """Say before the work that no such picture can be drawn; raises FileError. None is no file."""
    if path is not None and Path(path).suffix.lower() not in PICTURES:
        raise _file_error(f"{path}: a picture's name ends in {', '.join(PICTURES)}")


def make_directory(path: str | os.PathLike[str]) -> None:
    """Make a directory, with those above it, unless it is there; raises FileError."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _file_error(f"{path} cannot be made: it is a file, not a directory") from None
    except OSError as problem:
        raise _file_error(f"{path} cannot be made: {problem.strerror}") from problem


def write_output(
    path: str | os.PathLike[str] | None, write: Callable[..., object], *content: object
) -> None:
    """Write a file by ``write(path, *content)``; raises FileError. None is no file."""
    if path is None:
        return
    try:
        write(Path(path), *content)
    except OSError as problem:
        raise _file_error(f"{path} cannot be written: {problem.strerror}") from problem


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one line that a file of a run cannot be written; raises FileError."""
    try:
        yield
    except OSError as problem:
        from ..validation import not_written

        raise not_written(Path(path), problem) from problem


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file that a user named: a device or a link stays one, any other is replaced whole.

    What is no Unicode, as parts of names of files may be, is written as an escape.
    """
    path, text = Path(path), text.encode("utf-8", "backslashreplace").decode()
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8", newline="")
    else:
        replace_text(path, text)


def refuse_twice(*paths: Path | None) -> None:
    """Say before the work that one file cannot hold two things; raises FileError."""
    given = [path.resolve() for path in paths if path is not None]
    for number, path in enumerate(given):
        if path in given[:number]:
            raise _file_error(f"{path} is to be written twice: give each its own name")


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file at once, so that a crash leaves it, or the one before, whole."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file at once, as `replace_text` does."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _file_error(message: str) -> Exception:
    from ..validation import FileError

    return FileError(message)
