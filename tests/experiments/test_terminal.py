"""Whatever is printed is plain text, on any stream, and nothing is silent for long."""

import errno
import io
import itertools
import os
import subprocess
import sys
import threading

import h5py
import pytest
from rich.console import Console

from disinhib.experiments.command_line import main
from disinhib.experiments.output import (
    FIRST_SILENCE,
    Announcement,
    any_stream,
    say,
    terminal_console,
    visible,
    working,
)
from disinhib.validation import shipped_directory

from .test_command_line import COMMAND, disinhib, one_line, said

HOSTILE = "x[/b]y [bold]z[/] :smile: $\\alpha$"
"""Markup of rich, its codes for emoji, and of matplotlib."""

GOLDEN = shipped_directory() / "one-hidden-mse.h5"


def run(monkeypatch, *arguments):
    """Call the command in this process; give its exit code."""
    monkeypatch.setattr(sys, "argv", ["disinhib", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, HOSTILE),
        ("é ∞ 漢", "é ∞ 漢"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
    ],
)
def test_text_from_outside_is_shown_as_it_is_in_one_line(text, shown):
    assert visible(text) == shown
    output = io.StringIO()
    console = terminal_console()
    console.file = output
    say(console, text, "bold")
    assert output.getvalue() == shown + "\n"


def test_hostile_names_are_printed_as_they_are(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    out = HOSTILE.replace("/", "")
    small = ("--hidden", "4", "--batch-size", "450", "--epochs", "1")
    assert run(monkeypatch, "train", *small, "--out", out) == 0
    assert f"Written to {out}\n" in capsys.readouterr().out
    nested = tmp_path / HOSTILE
    assert run(monkeypatch, "train", *small, "--out", nested) == 0
    assert f"Written to {nested}\n" in capsys.readouterr().out
    questions = f"{out}.h5"
    assert run(monkeypatch, "trace", "inputs", GOLDEN, "--out", questions) == 0
    assert f"written to {questions}\n" in capsys.readouterr().out

    named = tmp_path / "[red]traces[" / "a [link=x]trace[.h5"
    named.parent.mkdir()
    named.write_bytes(GOLDEN.read_bytes())
    other = named.parent / "[bold]none[.h5"
    other.write_bytes((nested / "checkpoint.h5").read_bytes())
    assert run(monkeypatch, "conform", named.parent) == 0
    output = capsys.readouterr().out
    assert f"{named.name}   numpy" in output
    assert f"{other}: not a trace, left out\n" in output
    assert run(monkeypatch, "trace", "compare", named, named) == 0
    assert named.name in capsys.readouterr().out


@pytest.mark.slow
def test_tolerances_of_a_hostile_name(monkeypatch, capsys, tmp_path):
    named = tmp_path / "a [link=x]trace[.h5"
    named.write_bytes(GOLDEN.read_bytes())
    assert run(monkeypatch, "trace", "tolerances", named, "--precision", "float16") == 0
    assert named.name in capsys.readouterr().out


def test_hostile_attributes_and_datasets_are_shown_as_they_are(monkeypatch, capsys, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["[/red]name"] = "[bold]va\x1b[2Jlue"
        file["[/blue]data[link]"] = [1.0]
    assert run(monkeypatch, "inspect", path) == 0
    output = capsys.readouterr().out
    assert r"[/red]name: [bold]va\x1b[2Jlue" in output
    assert "[/blue]data[link]" in output
    assert "\x1b" not in output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_streams_of_any_encoding(monkeypatch, tmp_path, encoding):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["name"] = "∞ é 漢"
        file["data"] = [1.0]
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert run(monkeypatch, "inspect", path) == 0
    output = raw.getvalue().decode(encoding)
    assert {
        "ascii": r"name: inf \xe9 \u6f22",
        "latin-1": r"name: inf é \u6f22",
        "utf-8": "name: ∞ é 漢",
    }[encoding] in output
    table = [line for line in output.splitlines() if "float64" in line]
    assert ("│ data" in table[0]) == (encoding == "utf-8")
    assert ("| data" in table[0]) == (encoding != "utf-8")


@pytest.mark.parametrize("columns", [1, pytest.param(2, marks=pytest.mark.slow), 10_000])
def test_terminals_of_any_width(columns):
    """In processes of their own: the width is read when the command starts."""
    for arguments in (["--help"], ["inspect", GOLDEN]):
        done = disinhib(*arguments, COLUMNS=str(columns))
        assert done.returncode == 0
    assert ("steps/0002/parameters_after/readout/weight" in done.stdout) == (columns > 2)


class Stream(io.TextIOWrapper):
    """A stream that takes so many writes and then fails as the system would."""

    def __init__(self, number, writes):
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.number, self.writes = number, writes

    def write(self, text):
        self.writes -= 1
        if self.writes < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPIPE])
@pytest.mark.parametrize("writes", [0, 1])
def test_output_that_fails_ends_what_only_prints(monkeypatch, capsys, number, writes):
    monkeypatch.setattr(sys, "stdout", Stream(number, writes))
    code = run(monkeypatch, "inspect", GOLDEN)
    lines = said(capsys.readouterr().err)
    if number == errno.EPIPE:
        assert (code, lines) == (0, [])
    else:
        why = f"disinhib: standard output cannot be written: {os.strerror(number)}"
        assert (code, lines) == (2, [why])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
@pytest.mark.parametrize("writes", [0, 1])
def test_output_that_fails_does_not_end_a_training(monkeypatch, capsys, tmp_path, number, writes):
    monkeypatch.setattr(sys, "stdout", Stream(number, writes))
    small = ("--hidden", "4", "--batch-size", "450", "--epochs", "3")
    assert run(monkeypatch, "train", *small, "--out", tmp_path / "run") == 0
    lines = said(capsys.readouterr().err)
    assert len(lines) == (number == errno.ENOSPC)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["inspect", str(GOLDEN)], ["nonsense"]])
def test_streams_of_the_system(arguments):
    """As the shell gives them: full, closed, and read by nobody."""

    def code_and_errors(**streams):
        result = subprocess.run([COMMAND, *arguments], check=False, text=True, **streams)
        return result.returncode, result.stderr

    wrong = 2 if arguments == ["nonsense"] else 0
    with open("/dev/full", "w") as full:
        code, errors = code_and_errors(stdout=full, stderr=subprocess.PIPE)
        assert code == 2
        assert len(said(errors)) == 1
        assert code_and_errors(stdout=subprocess.DEVNULL, stderr=full)[0] == wrong
    reading, writing = os.pipe()
    os.close(reading)
    code, errors = code_and_errors(stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert code == wrong
    assert len(said(errors)) == (1 if wrong else 0)
    closed = f'"{COMMAND}" {" ".join(arguments)} >&-'
    result = subprocess.run(["sh", "-c", closed], check=False, capture_output=True, text=True)
    assert result.returncode == wrong
    result = disinhib(*arguments, PYTHONIOENCODING="ascii")
    assert result.returncode == wrong
    if wrong:
        one_line(result)


class Clock:
    """Waits that are over at once, so many of them; then until the end."""

    def __init__(self, n):
        self.left, self.asked, self.used_up = n, [], threading.Event()

    def __call__(self, event, seconds):
        self.asked.append(seconds)
        if len(self.asked) > self.left:
            self.used_up.set()
            return event.wait()
        return event.is_set()


def test_silence_is_broken_at_growing_intervals(capsys):
    clock = Clock(12)
    announcement = Announcement("reading a\nfile", clock)
    clock.used_up.wait()
    announcement.end()
    lines = capsys.readouterr().err.splitlines()
    spans = [min(FIRST_SILENCE * 2**n, 640.0) for n in range(13)]
    assert clock.asked == spans
    assert lines == [
        rf"disinhib: reading a\nfile ({seconds:.0f} s so far)"
        for seconds in itertools.accumulate(spans[:12])
    ]
    assert lines[0].endswith("(5 s so far)")
    assert lines[1].endswith("(15 s so far)")


def test_what_has_been_shown_begins_the_silence_anew(capsys):
    clock = Clock(2)
    announcement = Announcement("one", clock)
    clock.used_up.wait()
    clock.left, clock.used_up = 4, threading.Event()
    announcement.now("two")
    announcement.shown()
    clock.used_up.wait()
    announcement.end()
    assert clock.asked == [5, 10, 20, 5, 10]
    assert capsys.readouterr().err.splitlines() == [
        "disinhib: one (5 s so far)",
        "disinhib: one (15 s so far)",
        "disinhib: two (5 s so far)",
    ]


def test_nobody_to_tell_is_no_failure(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Stream(errno.ENOSPC, 0))
    clock = Clock(2)
    announcement = Announcement("one", clock)
    clock.used_up.wait()
    announcement.end()
    assert len(clock.asked) == 3


def test_a_terminal_shows_work_at_once():
    output = io.StringIO()
    with working(Console(file=output, force_terminal=True), "rea[d]ing") as now:
        now("[/x]writing")
    assert "[/x]writing" in output.getvalue()


def test_streams_are_left_as_they_were():
    before = sys.stdout
    with pytest.raises(KeyboardInterrupt), any_stream():
        raise KeyboardInterrupt
    assert sys.stdout is before
