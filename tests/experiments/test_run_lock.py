"""One process at a time in a run's directory, with the system's locks and on a file system without.

The kernel is told to refuse locks as such a file system does: to a process and its children, all
that HDF5 does among it.
"""

import ctypes
import errno
import fcntl
import functools
import json
import multiprocessing
import os
import pickle
import platform
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import pytest

from disinhib.experiments.training import begin, train
from disinhib.experiments.training.configuration import run_configuration
from disinhib.experiments.training.lock import RunLock
from disinhib.refimpl.configuration import ConfigurationError
from disinhib.validation import Position, read_trace, shipped_directory

from .test_training import SETTINGS, Watcher, parameters_of

ENOTSUPP = 524
"""Linux's own, on NFS and DVS; no header for programs has it."""

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ARCHITECTURE_AT, NUMBER_AT, SECOND_ARGUMENT_AT = 4, 0, 24
LOCKING_COMMANDS = (6, 7, 37, 38)
"""Of fcntl: F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW."""

MACHINES = {"x86_64": (0xC000003E, 73, 72), "aarch64": (0xC00000B7, 32, 25)}
"""AUDIT_ARCH, and the numbers of flock and fcntl."""


class Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(Instruction)))


def no_locks(error):
    """Give what a child process calls so that to it and its children no file has locks."""
    machine, flock, fcntl = MACHINES[platform.machine()]
    steps = [(LOAD, 0, 0, ARCHITECTURE_AT), (EQUAL, 0, 9, machine)]
    steps += [(LOAD, 0, 0, NUMBER_AT), (EQUAL, 7, 0, flock), (EQUAL, 0, 5, fcntl)]
    steps += [(LOAD, 0, 0, SECOND_ARGUMENT_AT)]
    steps += [(EQUAL, 4 - at, 0, command) for at, command in enumerate(LOCKING_COMMANDS)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE | error)]
    program = Program(len(steps), (Instruction * len(steps))(*(Instruction(*s) for s in steps)))
    libc = ctypes.CDLL(None, use_errno=True)

    def refuse():
        for call in (
            (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
        ):
            if libc.prctl(*call):
                raise OSError(ctypes.get_errno(), "prctl")

    return refuse


KINDS = {"system": None, "file": no_locks(errno.ENOLCK)}
on_both_kinds = pytest.mark.parametrize("kind", KINDS)


def python(code, *arguments, kind="system", preexec_fn=None, **options):
    """Run a program in a process with locks of one kind."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn or KINDS[kind],
        **options,
    )


def in_a_child(function):
    """Call a function in a forked process, and give what it returned."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    child = context.Process(target=lambda: sender.send(function()))
    child.start()
    told = receiver.recv()
    child.join()
    assert child.exitcode == 0
    return told


HOLD = """
import sys
from pathlib import Path
from disinhib.experiments.training.lock import RunLock
from disinhib.refimpl.configuration import ConfigurationError
for line in sys.stdin:
    try:
        lock = RunLock(Path(sys.argv[1]))
    except (ConfigurationError, OSError) as problem:
        print(problem, flush=True)
        continue
    if line == "hold and release\\n":
        lock.release()
    print("held", flush=True)
"""


class Process:
    """A process that locks a directory whenever told to."""

    def __init__(self, directory, kind, **options):
        self.process = python(HOLD, directory, kind=kind, **options)
        self.id = self.process.pid

    def asked(self, line="hold"):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self, wait=True):
        self.process.send_signal(signal.SIGKILL)
        if wait:
            self.process.communicate()


@pytest.fixture
def processes():
    made = []

    def make(*arguments, **options):
        made.append(Process(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.mark.parametrize(
    "error", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, ENOTSUPP]
)
def test_without_locks_training_and_reading_go_on(tmp_path, error):
    """What takes them away reaches Python and HDF5, and neither then needs them."""
    trace = shipped_directory() / "one-hidden-mse.h5"

    def without_locks():
        no_locks(error)()
        met = []
        for use in (
            lambda: fcntl.flock(os.open(trace, os.O_RDONLY), fcntl.LOCK_SH),
            lambda: h5py.File(trace, "r", locking=True),
        ):
            try:
                use()
            except OSError as problem:
                met.append(problem.errno)
        lock = RunLock(tmp_path)
        by = json.loads((tmp_path / "lock").read_text())["by"]
        lock.release()
        return met, by, len(read_trace(trace).steps)

    met, by, n_steps = in_a_child(without_locks)
    assert met == [error, error]
    assert by == "file"
    assert n_steps > 0


@on_both_kinds
def test_the_second_is_told_who_holds_it(tmp_path, processes, kind):
    first, second = processes(tmp_path, kind), processes(tmp_path, kind)
    assert first.asked() == "held"
    expected = rf"{tmp_path} is in use by process {first.id} on \S+: wait for it, or choose another"
    assert re.match(expected, second.asked())
    # Nor does a thread or another part of the same process get in.
    assert re.match(expected, first.asked())
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@on_both_kinds
def test_released_it_is_free_and_the_file_is_gone(tmp_path, processes, kind):
    first, second = processes(tmp_path, kind), processes(tmp_path, kind)
    assert first.asked("hold and release") == "held"
    assert list(tmp_path.iterdir()) == []
    assert second.asked() == "held"


@on_both_kinds
def test_a_lock_ends_with_its_holder(tmp_path, processes, kind):
    """A file left behind by a process that was killed holds no one up, again and again."""
    for _ in range(3):
        holder = processes(tmp_path, kind)
        assert holder.asked() == "held"
        holder.kill()
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert processes(tmp_path, kind).asked("hold and release") == "held"
    assert list(tmp_path.iterdir()) == []


@on_both_kinds
def test_a_process_that_is_dead_but_not_yet_fetched_holds_nothing(tmp_path, processes, kind):
    """As children of a container's first process may stay for good."""
    holder = processes(tmp_path, kind)
    assert holder.asked() == "held"
    holder.kill(wait=False)
    os.waitid(os.P_PID, holder.id, os.WEXITED | os.WNOWAIT)
    assert processes(tmp_path, kind).asked() == "held"


@on_both_kinds
def test_a_stopped_process_still_holds(tmp_path, processes, kind):
    holder = processes(tmp_path, kind)
    assert holder.asked() == "held"
    os.kill(holder.id, signal.SIGSTOP)
    assert f"in use by process {holder.id} on" in processes(tmp_path, kind).asked()


def left_behind(directory, processes, **changed):
    """Leave the lock file of a process that was killed, with something else in it."""
    holder = processes(directory, "file")
    assert holder.asked() == "held"
    holder.kill()
    lock = directory / "lock"
    said = {**json.loads(lock.read_text()), **changed}
    lock.write_text(f" {json.dumps(said)}\n")
    return said


def test_a_process_that_got_the_number_of_a_dead_one_holds_nothing(tmp_path, processes):
    left_behind(tmp_path, processes, process=os.getpid())
    assert processes(tmp_path, "file").asked() == "held"


@pytest.mark.parametrize("changed", [{"host": "node7"}, {"numbering": "pid:[1]"}])
def test_of_a_holder_elsewhere_the_remedy_is_told(tmp_path, processes, changed):
    said = left_behind(tmp_path, processes, **changed)
    contender = processes(tmp_path, "file")
    told = contender.asked()
    assert f"in use by process {said['process']} on {said['host']}" in told
    assert told.endswith(f"if it does not run any more, delete {tmp_path}/lock")
    (tmp_path / "lock").unlink()
    assert contender.asked() == "held"


def test_where_locks_work_a_lock_file_of_a_host_without_counts_all_the_same(tmp_path, processes):
    left_behind(tmp_path, processes, host="node7")
    assert (
        "on node7, and whether that still runs cannot be seen"
        in processes(tmp_path, "system").asked()
    )


@pytest.mark.parametrize("content", [b"", b" ", b" {}", b" [1]", b"x" * 10_000, b" {" + b"[" * 900])
def test_a_lock_file_that_says_nothing_is_refused_with_the_remedy(tmp_path, processes, content):
    (tmp_path / "lock").write_bytes(content)
    told = processes(tmp_path, "file").asked()
    assert told.startswith(f"{tmp_path}/lock does not say which process holds {tmp_path}")
    assert "delete it if none does, on any host" in told
    assert (tmp_path / "lock").read_bytes() == content


@on_both_kinds
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_another_file_by_the_name_of_the_lock_is_refused_and_untouched(
    tmp_path, processes, kind, link
):
    precious = tmp_path / "precious"
    precious.write_text("words")
    (tmp_path / "run").mkdir()
    link(precious, tmp_path / "run" / "lock")
    told = processes(tmp_path / "run", kind).asked()
    assert "run/lock" in told
    if link is os.symlink:
        assert "run/lock is a symbolic link, and a lock is none: remove it" in told
    assert precious.read_text() == "words"
    assert len(list((tmp_path / "run").iterdir())) == 1


@on_both_kinds
def test_a_link_to_nothing_is_refused_and_makes_nothing(tmp_path, processes, kind):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in processes(tmp_path / "run", kind).asked()
    assert not (tmp_path / "elsewhere").exists()


@on_both_kinds
def test_of_many_that_follow_a_dead_holder_one_gets_in(tmp_path, processes, kind):
    contenders = [processes(tmp_path, kind) for _ in range(5)]
    for _ in range(3):
        for each in contenders:
            each.process.stdin.write("hold\n")
            each.process.stdin.flush()
        told = [each.process.stdout.readline().strip() for each in contenders]
        assert told.count("held") == 1, told
        contenders.pop(told.index("held")).kill()


def test_every_kill_amid_a_taking_over_leaves_a_lock_that_can_be_had(tmp_path):
    """The process is killed right before the n-th file is opened, linked, renamed or removed."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from disinhib.experiments.training.lock import RunLock\n"
        "directory, sign = Path(sys.argv[1]), Path(sys.argv[1]).name\n"
        "countdown = 0\n"
        "def killed(event, arguments):\n"
        "    global countdown\n"
        "    touches = event in ('open', 'os.link', 'os.rename', 'os.remove')\n"
        "    if countdown and touches and f'{sign}/lock' in str(arguments[0]):\n"
        "        countdown -= 1\n"
        "        if not countdown:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(killed)\n"
        "for moment in range(1, 100):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        countdown = moment\n"
        "        RunLock(directory)\n"
        "        os._exit(0 if countdown else 1)\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "    if status == 0:\n"
        "        break\n"
        "    assert status == signal.SIGKILL, status\n"
        "RunLock(directory).release()\n"
        "print(moment, *sorted(path.name for path in directory.iterdir()))\n"
    )
    process = python(code, tmp_path, kind="file")
    told, problems = process.communicate()
    assert process.returncode == 0, problems
    moments, *left = told.split()
    assert int(moments) > 5
    # What a kill leaves beside the lock is never in the way.
    assert "lock" not in left


def test_a_renamed_directory_takes_its_lock_along(tmp_path):
    (tmp_path / "run").mkdir()
    first = RunLock(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "gone")
    (tmp_path / "run").mkdir()
    second = RunLock(tmp_path / "run")
    first.release()
    with pytest.raises(ConfigurationError, match="in use by"):
        RunLock(tmp_path / "run")
    second.release()


def refused(function, *arguments):
    try:
        function(*arguments)
    except ConfigurationError as problem:
        return str(problem)
    return "not refused"


def test_a_forked_child_has_no_part_in_its_parents_lock(tmp_path):
    run = begin(run_configuration({**SETTINGS, "epochs": 1}, "test"), tmp_path / "run")
    here = rf"in use by process {os.getpid()} on"
    assert re.search(here, in_a_child(functools.partial(refused, RunLock, tmp_path / "run")))
    told = in_a_child(lambda: refused(train, run, Position(0), [], Watcher()))
    assert f"the lock of this run is process {os.getpid()}'s" in told
    in_a_child(run.lock.release)
    assert re.search(here, refused(RunLock, tmp_path / "run"))
    train(run, Position(0), [], Watcher())
    assert "has been released" in refused(train, run, Position(0), [], Watcher())


def test_a_parent_that_dies_leaves_its_lock_to_no_child(tmp_path, processes):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from disinhib.experiments.training.lock import RunLock\n"
        "lock = RunLock(Path(sys.argv[1]))\n"
        "if os.fork():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('orphan', flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = python(code, tmp_path)
    assert parent.stdout.readline() == "orphan\n"
    parent.wait()
    assert processes(tmp_path, "system").asked() == "held"
    parent.communicate()


def test_a_forked_child_trains_a_run_of_its_own_as_a_thread_does(tmp_path):
    """Bit for bit as here; and two threads at once do not mix."""
    configuration = run_configuration({**SETTINGS, "epochs": 1}, "test")

    def trained(name):
        train(begin(configuration, tmp_path / name), Position(0), [], Watcher())
        return {n: array.tobytes() for n, array in parameters_of(tmp_path / name).items()}

    here = trained("here")
    assert in_a_child(functools.partial(trained, "child")) == here
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(trained, ("one", "two"))) == [here, here]


def test_a_run_is_passed_on_by_its_directory(tmp_path):
    lock = RunLock(tmp_path)
    with pytest.raises(TypeError, match=r"pass its directory on, and `resume` there"):
        pickle.dumps(lock)
    lock.release()


def test_nothing_asks_for_locks_that_windows_lacks():
    """Without the module fcntl, which Windows does not have, everything is there but its locks."""
    code = (
        "import sys, warnings\nsys.modules['fcntl'] = None\nwarnings.simplefilter('ignore')\n"
        "import disinhib.experiments.command_line as command\n"
        "sys.argv = ['disinhib', 'backends']\ncommand.main()"
    )
    process = python(code)
    told, problems = process.communicate()
    assert process.returncode == 0, problems
    assert "numpy" in told
