"""Runs that are stopped, killed or run into each other."""

import ctypes
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from disinhib.experiments.training.configuration import run_configuration
from disinhib.experiments.training.epochs import (
    CheckpointInterval,
    parse_checkpoint_interval,
)
from disinhib.experiments.training.interruption import stop_on_interrupt
from disinhib.experiments.training.run import begin
from disinhib.refimpl.configuration import ConfigurationError
from disinhib.validation import (
    Position,
    newest_checkpoint,
    read_checkpoint,
    shipped_directory,
)
from disinhib.validation.storage.arrays import named_arrays
from disinhib.validation.storage.signed_file import generations

from .test_command_line import COMMAND, disinhib, one_line, said
from .test_resume import learner_arrays
from .test_run_lock import KINDS, in_a_child, on_both_kinds
from .test_training import SETTINGS, Watcher, parameters_of, resume, train, without_times

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


def a_line_of(process, beginning):
    """Wait for it: what it tells of has happened, however long that took."""
    for line in process.stdout:
        if line.startswith(beginning):
            return
    pytest.fail(f"no line begins with {beginning!r}; {process.communicate()[1]}")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 128 + signal.SIGUSR1)],
)
def test_a_signal_saves_and_its_number_is_in_the_exit_code(tmp_path, number, code):
    process = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run")
    a_line_of(process, "epoch ")
    process.send_signal(number)
    output, problems = process.communicate()
    assert process.returncode == code, problems
    assert "go on with: disinhib train --resume run" in output
    position = read_checkpoint(tmp_path / "run" / "checkpoint.h5").position
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == position.epochs >= 1


INTERRUPTED_AT = """
import os, signal, sys
moment = int(os.environ["MOMENT"])
began, passed = False, 0

def interrupt(event, arguments):
    global began, passed
    began = began or (event == "import" and arguments[0] == "disinhib.experiments.command_line")
    if began and event in ("import", "open"):
        passed += 1
        if passed == moment:
            os.kill(os.getpid(), signal.SIGINT)
            if "TWICE" in os.environ:
                os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
"""


def interrupted_at(directory, moment, *options, **environment):
    """Interrupt the command right before it imports or opens its n-th module or file."""
    (directory / "sitecustomize.py").write_text(INTERRUPTED_AT)
    return subprocess.run(
        [COMMAND, *options],
        cwd=directory,
        env={**os.environ, **environment, "PYTHONPATH": str(directory), "MOMENT": str(moment)},
        capture_output=True,
        text=True,
        check=False,
    )


TRACE = str(shipped_directory() / "one-hidden-mse.h5")


@pytest.mark.parametrize("twice", [{}, {"TWICE": "1"}])
@pytest.mark.parametrize("moment", [1, 50, pytest.param(400, marks=pytest.mark.slow)])
def test_an_interrupt_while_it_starts_is_one_line(tmp_path, moment, twice):
    result = interrupted_at(tmp_path, moment, "inspect", TRACE, **twice)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "disinhib: interrupted\n"


@pytest.mark.slow
def test_an_interrupt_at_any_moment_is_one_line_at_most(tmp_path):
    """At every 40th module or file; once there is no such moment, all is as if it never came."""
    undisturbed = interrupted_at(tmp_path, 0, "inspect", TRACE).stdout
    moment, last = 1, None
    while last is None or last.returncode:
        last = interrupted_at(tmp_path, moment, "inspect", TRACE)
        assert last.returncode in (0, 130), last.stderr
        assert len(last.stderr.splitlines()) <= (last.returncode != 0), last.stderr
        moment += 40
    assert moment > 400
    assert last.stdout == undisturbed


def in_process_of_its_own(script, directory):
    (directory / "script.py").write_text(script)
    told = subprocess.run(
        [sys.executable, "script.py"], cwd=directory, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


IMPATIENT = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
from disinhib.experiments.training import begin, train
from disinhib.experiments.training.epochs import CheckpointInterval
from disinhib.experiments.training.interruption import stop_on_interrupt
from disinhib.experiments.training.configuration import run_configuration
from disinhib.validation import Position, newest_checkpoint

countdown = 0

def interrupt_again(event, arguments):
    global countdown
    touches = event in ("open", "os.rename", "os.remove") and "checkpoint" in str(arguments[0])
    if countdown and touches:
        countdown -= 1
        if not countdown:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

class Impatient:
    def on_steps(self, epoch, steps, n_steps, metrics):
        global countdown, stopped_at
        stopped_at = steps
        if first:
            os.kill(os.getpid(), signal.SIGINT)
        countdown = moment

    def on_epoch(self, record): pass

settings = {"hidden": [4], "epochs": 1, "batch_size": 50, "rule": "backprop"}
configuration = run_configuration(settings, "test")
sys.addaudithook(interrupt_again)
for first in (True, False):
    for moment in range(1, 100):
        run = begin(configuration, Path(f"{first}-{moment}"))
        interval = CheckpointInterval(1, "epochs" if first else "steps")
        try:
            with stop_on_interrupt() if first else nullcontext(lambda: 0) as stop:
                train(run, Position(0), [], Impatient(), stop, interval)
            end = "stopped" if first else "finished"
        except KeyboardInterrupt:
            end = "interrupted"
        left, countdown = countdown, 0
        saved, problems = newest_checkpoint(run.directory / "checkpoint.h5")
        assert problems == [] and not (run.directory / "lock").exists()
        print(first, left > 0, end, stopped_at, saved.position.steps)
        if left or end == "finished":
            break
"""


@pytest.mark.slow
def test_a_second_interrupt_amid_a_save_loses_nothing(tmp_path):
    """It comes, twice, right before the n-th file of the save is opened, renamed or removed.

    After a first that asked the run to stop it changes nothing; where it is the first, and nobody
    turns it into a request, it is a KeyboardInterrupt after the save.
    """
    lines = [line.split() for line in in_process_of_its_own(IMPATIENT, tmp_path)]
    asked = [line[1:] for line in lines if line[0] == "True"]
    alone = [line[1:] for line in lines if line[0] == "False"]
    assert len(asked) > 5
    assert len(alone) > 5
    assert {end for _, end, _, _ in asked} == {"stopped"}
    assert {end for is_over, end, _, _ in alone if is_over == "False"} == {"interrupted"}
    assert [line[1] for line in alone if line[0] == "True"] == ["finished"]
    for _, end, stopped_at, saved in asked + alone:
        assert stopped_at == saved or end == "finished"


def test_a_second_signal_insists_only_while_the_first_is_not_heeded():
    def signals(*numbers, heed=False):
        with stop_on_interrupt() as stop:
            try:
                for number in numbers:
                    signal.raise_signal(number)
                    assert not heed or stop() == numbers[0]
            except (KeyboardInterrupt, SystemExit) as insisted:
                return insisted.args
            return stop()

    def outcomes():
        interrupt, terminate, warn = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1
        return [
            signals(interrupt),
            signals(interrupt, interrupt),
            signals(terminate, terminate),
            signals(terminate, interrupt),
            # A warning is no insisting, however often, nor is what follows it as announced.
            signals(warn, warn, terminate),
            signals(warn, terminate, terminate),
            signals(interrupt, terminate, interrupt, heed=True),
        ]

    assert in_a_child(outcomes) == [2, (), (143,), (), signal.SIGUSR1, (143,), 2]


def test_a_run_trains_in_any_thread_while_the_signals_are_the_main_ones(tmp_path):
    """As in a notebook or a server."""

    def trained():
        with stop_on_interrupt() as stop:
            run = begin(run_configuration({**SETTINGS, "epochs": 1}, "test"), tmp_path / "run")
            position, _ = train(run, Position(0), [], Watcher(), stop)
            return position.epochs, stop()

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(trained).result() == (1, 0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_two_runs_do_not_share_a_directory(tmp_path):
    first = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run")
    a_line_of(first, "epoch ")
    line = one_line(disinhib("train", "--resume", "run", cwd=tmp_path))
    assert f"is in use by process {first.pid} on " in line
    first.send_signal(signal.SIGTERM)
    first.communicate()
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
    with pytest.raises(ConfigurationError, match="a run saved every "):
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


KILLED_AGAIN_AND_AGAIN = """
import os, signal, sys
from disinhib.experiments.command_line import main

OPERATIONS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
where, first, every, apart = sys.argv[1], *map(int, sys.argv[2:5])
del sys.argv[1:5]

def run_up_to(left):
    def count(event, arguments):
        nonlocal left
        if event in OPERATIONS or event == "open" and str(arguments[0]).startswith(where):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(count)
    main()

def run_in(directory, left):
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    if left is None:
        return main()
    run_up_to(left)

# The whole first: what it imports as it goes, the others need not.
try:
    run_in("whole", None)
except SystemExit as ended:
    assert not ended.code
os.chdir("..")
number, code = 0, -signal.SIGKILL
while code == -signal.SIGKILL:
    child = os.fork()
    if child == 0:
        run_in(str(number) if apart else "killed", first + number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    number += every
sys.exit(code)
"""


def killed_again_and_again(
    directory, *arguments, where, first=0, every=1, apart=False, preexec_fn=None
):
    """Let a command end, in `whole`; then kill it before an operation on files, each time some
    later, until it ends: each time in a directory of its own, or always in `killed`.

    Processes branch off from one that has imported everything, and have a moment each.
    """
    how = [where, *(str(int(number)) for number in (first, every, apart))]
    result = subprocess.run(
        [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN, *how, *map(str, arguments)],
        cwd=directory, capture_output=True, text=True, check=False, preexec_fn=preexec_fn,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("kind", "every"),
    [
        ("file", 11),
        *(
            pytest.param(kind, every, marks=pytest.mark.slow)
            for kind, every in (("system", 11), ("file", 1), ("system", 1))
        ),
    ],
)
def test_no_kill_before_an_operation_on_files_loses_a_run(tmp_path, every, kind):
    """What goes on is the run at the last moment saved, bit for bit, and all of it is there."""
    killed_again_and_again(
        tmp_path,
        *("train", "--dataset", "digits", "--hidden", "8", "--batch-size", "675"),
        *("--dtype", "float64", "--epochs", "2", "--out", "run", "--checkpoint-every", "1step"),
        where="run",
        every=every,
        apart=True,
        preexec_fn=KINDS[kind],
    )
    lines = without_times(tmp_path / "whole" / "run")
    directories = sorted(tmp_path.glob("[0-9]*"), key=lambda directory: int(directory.name))
    saved = {}

    class Keeper(Watcher):
        def on_steps(self, epoch, steps, n_steps, metrics):
            saved[epoch + steps // n_steps, steps % n_steps] = learner_arrays(run.backend.learner())

    settings = {**SETTINGS, "epochs": 2, "batch_size": 675}
    run = begin(run_configuration(settings, "test"), tmp_path / "seen")
    saved[0, 0] = learner_arrays(run.backend.learner())
    train(run, Position(0), [], Keeper(), interval=CheckpointInterval(1, "steps"))

    found = []
    for directory in directories:
        if not newest_exists(directory / "run"):
            assert not found, "what was saved is gone"
            continue
        run, position, records = resume(directory / "run", None)
        run.lock.release()
        found.append((position.epochs, position.steps))
        for name, array in learner_arrays(run.backend.learner()).items():
            np.testing.assert_array_equal(array, saved[found[-1]][name], err_msg=str(name))
        assert [record.epoch for record in records] == list(range(1, position.epochs + 1))
        assert without_times(directory / "run") == lines[: position.epochs]
    assert found == sorted(found)
    # A save has more than eleven operations; after the last one there are few.
    assert set(found) | {(2, 0)} == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)}


def newest_exists(directory):
    return any(file.exists() for file in generations(directory / "checkpoint.h5", keep=2))


def killed_runs(directory, kills, seed, preexec_fn):
    """Kill a run so many times at random moments, resume it each time, and let it end."""
    generator = np.random.default_rng(seed)
    options = [*SMALL, "--epochs", "40", "--out", "run", "--checkpoint-every", "1step"]
    notes = []
    done = 0
    while done < kills:
        process = started(directory, *options, preexec_fn=preexec_fn)
        a_line_of(process, "digits ")
        # At any moment from here on; which, is of no matter.
        time.sleep(generator.uniform(0, 0.6))
        if process.poll() is not None:
            _, problems = process.communicate()
            assert process.returncode == 0, problems
            break
        process.kill()
        _, problems = process.communicate()
        notes += said(problems)
        done += 1
        if newest_exists(directory / "run"):
            options = ["train", "--resume", "run", "--checkpoint-every", "1step"]
        else:
            (directory / "run" / "config.toml").unlink(missing_ok=True)
    return done, notes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("whole")
    ended = started(directory, *SMALL, "--epochs", "40", "--out", "run")
    _, problems = ended.communicate()
    assert ended.returncode == 0, problems
    return directory / "run"


@on_both_kinds
@pytest.mark.slow
def test_no_kill_at_a_random_moment_loses_a_run(tmp_path, whole, kind):
    """Saves after every step, so that many a kill falls into one."""
    total, round_number, kills = 0, 0, 200
    while total < kills:
        directory = tmp_path / f"round-{round_number}"
        directory.mkdir()
        done, notes = killed_runs(directory, kills - total, round_number, KINDS[kind])
        last = started(directory, "train", "--resume", "run", preexec_fn=KINDS[kind])
        _, problems = last.communicate()
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
    _, problems = process.communicate()
    assert process.returncode == 2, problems
    (line,) = said(problems)
    assert line.startswith("disinhib: ")
    return line


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}


def test_a_read_only_directory_is_one_line(tmp_path, read_only):
    assert disinhib(*SMALL, "--epochs", "1", "--out", "run", cwd=tmp_path).returncode == 0
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
    a_line_of(process, "epoch ")
    read_only(tmp_path / "run")
    line = one_line_of(process)
    assert re.search(
        r"run/\S+: cannot be written \(Permission denied\); what was saved before", line
    )
    saved, told = newest_checkpoint(tmp_path / "run" / "checkpoint.h5")
    assert told == []
    (tmp_path / "run").chmod(0o755)
    epochs = str(saved.position.epochs + 1)
    again = disinhib("train", "--resume", "run", "--epochs", epochs, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_a_directory_deleted_underneath_is_one_line(tmp_path):
    process = started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run")
    a_line_of(process, "epoch ")
    (tmp_path / "run").rename(tmp_path / "gone")
    assert one_line_of(process).startswith("disinhib: run: the directory is gone, ")
    assert newest_checkpoint(tmp_path / "gone" / "checkpoint.h5")[1] == []


GOES_AT_EVERY_MOMENT = """
import os, sys
from pathlib import Path
from disinhib.experiments.training import begin, train
from disinhib.experiments.training.configuration import run_configuration
from disinhib.refimpl.configuration import ConfigurationError
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


@pytest.mark.slow
def test_whatever_moment_the_directory_goes_the_line_is_the_same(tmp_path):
    """It goes right before the n-th file is opened, renamed or removed in it, for every n."""
    *lines, at_the_lock, last = in_process_of_its_own(GOES_AT_EVERY_MOMENT, tmp_path)
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
        again = disinhib("train", "--resume", "run", "--epochs", epochs, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, int(epochs) + 1))
    # The first checkpoint has 29,000 bytes, later ones have the losses of their epoch too.
    assert (tmp_path / "run" / "checkpoint.h5").exists() == (allowed == 30_000)


@pytest.mark.slow
def test_two_runs_that_begin_at_once_do_not_share_a_directory(tmp_path):
    both = [started(tmp_path, *SMALL, "--epochs", "100000", "--out", "run") for _ in range(2)]
    ends = [os.pidfd_open(process.pid) for process in both]
    (first, *_), _, _ = select.select(ends, [], [])
    loser, winner = both if first == ends[0] else reversed(both)
    for end in ends:
        os.close(end)
    assert re.search("is in use by|already holds a run", one_line_of(loser))
    a_line_of(winner, "epoch ")
    winner.send_signal(signal.SIGTERM)
    winner.communicate()
    assert winner.returncode == 143
    assert newest_checkpoint(tmp_path / "run" / "checkpoint.h5")[1] == []


def test_resuming_what_another_process_finished_is_no_error(tmp_path):
    run = begin(run_configuration({**SETTINGS, "epochs": 1}, "test"), tmp_path / "run")
    train(run, Position(0), [], Watcher())
    again, position, _ = resume(tmp_path / "run", None)
    assert position.epochs == 1
    again.lock.release()
