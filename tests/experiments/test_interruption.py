"""Runs that are stopped, killed or run into each other."""

import ctypes
import functools
import json
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from disinhib.experiments.checkpoint_interval import CheckpointInterval, parse_checkpoint_interval
from disinhib.experiments.run_beginning import begin, resume
from disinhib.experiments.run_configuration import run_configuration
from disinhib.experiments.training import train
from disinhib.refimpl.errors import ConfigurationError
from disinhib.validation import Position, newest_checkpoint
from disinhib.validation.parameter_groups import named_arrays

from .test_command_line import said
from .test_run_lock import KINDS, on_both_kinds
from .test_training import SETTINGS, Watcher, parameters_of, without_times

COMMAND = str(Path(sys.executable).parent / "disinhib")
SMALL = ["train", "--dataset", "digits", "--hidden", "8", "--batch-size", "50"]


def started(directory, *options, preexec_fn=None):
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [COMMAND, *options],
        cwd=directory,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=preexec_fn,
    )


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_its_number_is_in_the_exit_code(tmp_path, number, code):
    process = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run")
    wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    process.send_signal(number)
    output, problems = process.communicate(timeout=60)
    assert process.returncode == code, problems
    assert "go on with: disinhib train --resume run" in output


def test_two_runs_do_not_share_a_directory(tmp_path):
    first = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run")
    wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    second = started(tmp_path, "train", "--resume", "run")
    _, problems = second.communicate(timeout=60)
    assert second.returncode == 2
    assert len(problems.strip().splitlines()) == 1
    assert f"is in use by process {first.pid} on " in problems
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [("1epoch", 1, "epochs"), ("3 epochs", 3, "epochs"), ("100steps", 100, "steps"),
     ("5 minutes", 5, "minutes")],
)  # fmt: skip
def test_intervals(text, number, unit):
    assert parse_checkpoint_interval(text) == CheckpointInterval(number, unit)


@pytest.mark.parametrize("text", ["", "0steps", "5", "two epochs", "1.5minutes", "-1 steps"])
def test_what_is_no_interval_is_named(text):
    with pytest.raises(ConfigurationError, match="--checkpoint-every is "):
        parse_checkpoint_interval(text)


def test_checkpoints_come_as_often_as_asked(tmp_path):
    class Peeking(Watcher):
        def on_steps(self, epoch, steps, n_steps, metrics):
            super().on_steps(epoch, steps, n_steps, metrics)
            found, _ = newest_checkpoint(tmp_path / "run" / "checkpoint.h5")
            seen.append((found.position.epochs, found.position.steps))

    seen = []
    settings = {**SETTINGS, "epochs": 2}
    run = begin(run_configuration(settings, "test"), tmp_path / "run")
    train(run, Position(0), [], Peeking(), interval=CheckpointInterval(5, "steps"))
    # 27 batches an epoch: what is on disk is never more than 5 steps behind.
    assert {(0, 0), (0, 5), (0, 10), (1, 0), (1, 5)} <= set(seen)
    run = begin(run_configuration(settings, "test"), tmp_path / "other")
    train(run, Position(0), [], Watcher())
    assert without_times(tmp_path / "run") == without_times(tmp_path / "other")
    for name, array in parameters_of(tmp_path / "run").items():
        np.testing.assert_array_equal(array, parameters_of(tmp_path / "other")[name])


def has_begun_or_ended(process, lock):
    """A process that was killed may have left a lock: that of this one is waited for."""
    if process.poll() is not None:
        return True
    with suppress(FileNotFoundError):
        return f'"process": {process.pid},' in lock.read_text()
    return False


def killed_runs(directory, kills, seed, preexec_fn):
    """Kill a run so many times at random moments, resume it each time, and let it end."""
    generator = np.random.default_rng(seed)
    options = [*SMALL, "--epochs", "40", "--out", "run", "--checkpoint-every", "1step"]
    notes = []
    done = 0
    while done < kills:
        process = started(directory, *options, preexec_fn=preexec_fn)
        wait_for(functools.partial(has_begun_or_ended, process, directory / "run" / "lock"))
        time.sleep(generator.uniform(0, 0.6))
        if process.poll() is not None:
            _, problems = process.communicate()
            assert process.returncode == 0, problems
            break
        process.kill()
        _, problems = process.communicate()
        notes += problems.splitlines()
        done += 1
        if (directory / "run" / "checkpoint.h5").exists():
            options = ["train", "--resume", "run", "--checkpoint-every", "1step"]
        elif (directory / "run" / "config.toml").exists():
            (directory / "run" / "config.toml").unlink()
    return done, notes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("whole")
    ended = started(directory, *SMALL, "--epochs", "40", "--out", "run")
    _, problems = ended.communicate(timeout=300)
    assert ended.returncode == 0, problems
    return directory / "run"


@on_both_kinds
@pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_no_kill_loses_a_run(tmp_path, whole, kills, kind):
    """Saves after every step, so that many a kill falls into one."""
    total, round_number = 0, 0
    while total < kills:
        directory = tmp_path / f"round-{round_number}"
        directory.mkdir()
        done, notes = killed_runs(directory, kills - total, round_number, KINDS[kind])
        last = started(directory, "train", "--resume", "run", preexec_fn=KINDS[kind])
        _, problems = last.communicate(timeout=300)
        assert last.returncode == 0, problems
        assert notes == []
        total, round_number = total + done, round_number + 1
        for name, array in parameters_of(whole).items():
            found = named_arrays(
                newest_checkpoint(directory / "run" / "checkpoint.h5")[0].learner.parameters
            )
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert without_times(directory / "run") == without_times(whole)
        lines = (directory / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 41))


def as_a_user():
    """Take from root what lets it write where the mode of a directory forbids it."""
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def read_only():
    """Make directories read-only, and writable again so that they can be removed."""
    made = []

    def make(directory):
        directory.chmod(0o555)
        made.append(directory)
        tried = subprocess.run(
            ["touch", directory / "tried"], preexec_fn=as_a_user, capture_output=True, check=False
        )
        assert tried.returncode != 0, "the mode of a directory does not bind here"

    yield make
    for directory in made:
        directory.chmod(0o755)


def one_line_of(process):
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 2, problems
    (line,) = said(problems)
    assert line.startswith("disinhib: ")
    return line


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}


def test_a_read_only_directory_is_one_line(tmp_path, read_only):
    first = started(tmp_path, *SMALL, "--epochs", "1", "--out", "run")
    assert first.wait(timeout=60) == 0
    before = content(tmp_path / "run")
    read_only(tmp_path / "run")
    options = ["train", "--resume", "run", "--epochs", "2"]
    line = one_line_of(started(tmp_path, *options, preexec_fn=as_a_user))
    assert "run/lock: cannot be written (Permission denied)" in line
    assert content(tmp_path / "run") == before
    (tmp_path / "empty").mkdir()
    read_only(tmp_path / "empty")
    for out, wanted in (("empty", "empty/lock: cannot"), ("empty/run", "empty/run cannot be made")):
        line = one_line_of(started(tmp_path, *SMALL, "--out", out, preexec_fn=as_a_user))
        assert wanted in line
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_directory_that_becomes_read_only_keeps_what_was_saved(tmp_path, read_only):
    process = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run", preexec_fn=as_a_user)
    wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    read_only(tmp_path / "run")
    line = one_line_of(process)
    assert re.search(
        r"run/\S+: cannot be written \(Permission denied\); what was saved before", line
    )
    saved, told = newest_checkpoint(tmp_path / "run" / "checkpoint.h5")
    assert told == []
    (tmp_path / "run").chmod(0o755)
    epochs = str(saved.position.epochs + 1)
    again = started(tmp_path, "train", "--resume", "run", "--epochs", epochs)
    assert again.wait(timeout=60) == 0


def test_a_directory_deleted_underneath_is_one_line(tmp_path):
    process = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run")
    wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    (tmp_path / "run").rename(tmp_path / "gone")
    assert one_line_of(process).startswith("disinhib: run: the directory is gone, ")
    assert newest_checkpoint(tmp_path / "gone" / "checkpoint.h5")[1] == []


GOES_AT_EVERY_MOMENT = """
import os, sys
from pathlib import Path
from disinhib.experiments import begin, train
from disinhib.experiments.run_configuration import run_configuration
from disinhib.refimpl.errors import ConfigurationError
from disinhib.validation import FileError, Position

countdown = 0

def goes_away(event, arguments):
    global countdown
    touches = event in ("open", "os.rename", "os.remove") and "place/run" in str(arguments[0])
    if countdown and touches:
        countdown -= 1
        if not countdown:
            os.rename("place", "gone")

class Watcher:
    def on_steps(self, *_): pass
    def on_epoch(self, record): pass

settings = {"hidden": [4], "epochs": 1, "batch_size": 450, "rule": "backprop"}
configuration = run_configuration(settings, "test")
sys.addaudithook(goes_away)
for moment in range(1, 1000):
    os.makedirs("place")
    run = begin(configuration, Path("place/run"))
    countdown = moment
    try:
        train(run, Position(0), [], Watcher())
        line = "finished"
    except FileError as problem:
        line = str(problem)
    left, countdown = countdown, 0
    os.rename("gone" if os.path.exists("gone") else "place", f"after-{moment}")
    print(line)
    if left:
        break
"""


def test_whatever_moment_the_directory_goes_the_line_is_the_same(tmp_path):
    """It goes right before the n-th file is opened, renamed or removed in it, for every n."""
    script = tmp_path / "script.py"
    script.write_text(GOES_AT_EVERY_MOMENT)
    told = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *lines, at_the_lock, last = told.stdout.splitlines()
    expected = (
        "place/run: the directory is gone, removed or renamed while it was written to: "
        "nothing more can be saved there"
    )
    assert lines == len(lines) * [expected]
    assert len(lines) > 10
    # All is written by the time the lock is removed, and no one misses that.
    assert at_the_lock == last == "finished"


@pytest.mark.parametrize("allowed", [10, 1000, 20_000, 30_000])
def test_a_disk_that_fills_up_is_one_line_and_what_was_saved_stands(tmp_path, allowed):
    """No file may grow beyond so many bytes: lock, config.toml, checkpoint or log is first."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, allowed))

    process = started(
        tmp_path, *SMALL, "--epochs", "100000", "--out", "run",
        "--checkpoint-every", "1step", preexec_fn=limit,
    )  # fmt: skip
    line = one_line_of(process)
    assert re.search(r"run/\S+: cannot be written \(File too large\); what was saved before", line)
    if (tmp_path / "run" / "checkpoint.h5").exists():
        saved, told = newest_checkpoint(tmp_path / "run" / "checkpoint.h5")
        assert told == []
        epochs = str(saved.position.epochs + 1)
        again = started(tmp_path, "train", "--resume", "run", "--epochs", epochs)
        _, problems = again.communicate(timeout=60)
        assert again.returncode == 0, problems
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, int(epochs) + 1))
    # The first checkpoint has 29,000 bytes, later ones have the losses of their epoch too.
    assert (tmp_path / "run" / "checkpoint.h5").exists() == (allowed == 30_000)


def test_two_runs_that_begin_at_once_do_not_share_a_directory(tmp_path):
    both = [started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run") for _ in range(2)]
    wait_for(lambda: any(process.poll() is not None for process in both))
    (loser,) = [process for process in both if process.poll() is not None]
    (winner,) = [process for process in both if process is not loser]
    assert re.search("is in use by|already holds a run", one_line_of(loser))
    wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    winner.send_signal(signal.SIGTERM)
    winner.communicate(timeout=60)
    assert winner.returncode == 143
    assert newest_checkpoint(tmp_path / "run" / "checkpoint.h5")[1] == []


def test_resuming_what_another_process_finished_is_no_error(tmp_path):
    run = begin(run_configuration({**SETTINGS, "epochs": 1}, "test"), tmp_path / "run")
    train(run, Position(0), [], Watcher())
    again, position, _ = resume(tmp_path / "run", None)
    assert position.epochs == 1
    again.lock.release()
