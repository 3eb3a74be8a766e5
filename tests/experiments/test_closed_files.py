"""Files that may not be read, and directories where files are wanted: one line, by any way."""

import importlib
import os
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import disinhib as package
from disinhib import ConfigurationError, DatasetError, FileError, load_dataset, read_records
from disinhib.experiments.training import load_run_configuration
from disinhib.validation import read_checkpoint, read_start

from .test_command_line import disinhib, one_line

NOBODY = 65534
COMMANDS = (
    "about", "conformance.conform_commands", "export", "runs_compared", "settings_described",
    "trained", "training.train_command",
)  # fmt: skip
CLOSED = (
    "own.npz", "own.h5", "run.toml", "checkpoint.h5", "mnist/train-images-idx3-ubyte",
    "config/config.toml", "log/metrics.jsonl", "saved/checkpoint.h5", "saved/checkpoint-1.h5",
    "closed",
)  # fmt: skip


@pytest.fixture(scope="module")
def files():
    """Not in pytest's own directory, which no other user may enter; nor perhaps Python's."""
    for name in COMMANDS:
        importlib.import_module(f"disinhib.experiments.{name}")
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    x, y = np.random.default_rng(0).random((60, 4)), np.arange(60) % 2
    np.savez(directory / "own.npz", x=x, y=y)
    with h5py.File(directory / "own.h5", "w") as file:
        file["x"], file["y"] = x, y
    made = {"hidden": [3], "epochs": 1, "batch_size": 675, "backend": "numpy", "progress": False}
    package.train(out=directory / "run", **made)
    for name in ("config", "log", "saved"):
        shutil.copytree(directory / "run", directory / name)
    shutil.copy(directory / "run" / "checkpoint.h5", directory)
    (directory / "run.toml").write_text("epochs = 1\n")
    (directory / "mnist").mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (directory / "mnist" / f"{part}-ubyte").write_bytes(b"")
    for name in ("closed", "folder.npz", "folder.h5", "folder.toml", "folder"):
        (directory / name).mkdir()
    for name in CLOSED:
        (directory / name).chmod(0)
    yield directory
    for name in CLOSED:
        (directory / name).chmod(0o700)
    shutil.rmtree(directory)


@pytest.fixture
def closed(files, monkeypatch):
    """As somebody to whom they are closed: root is someone else for as long as it lasts."""
    if os.name == "nt":
        pytest.skip("Windows has other permissions")
    monkeypatch.chdir(files)
    if os.geteuid() != 0:
        yield files
        return
    os.seteuid(NOBODY)
    try:
        yield files
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train run.toml", "run.toml: cannot be read (Permission denied)"),
        ("train folder.toml", "folder.toml: not a file"),
        ("train --dataset own.npz", "own.npz: cannot be read (Permission denied)"),
        ("train --dataset own.h5", "own.h5 cannot be read: Permission denied"),
        ("train --dataset closed/own.npz", "closed/own.npz: Permission denied"),
        ("train --dataset folder.npz", "folder.npz: not a file"),
        ("train --dataset folder.h5", "folder.h5 is a directory: a file is needed"),
        ("train --dataset mnist --data-dir mnist", "train-images-idx3-ubyte: expected a readable"),
        ("train --dataset mnist --data-dir closed", "cannot be read (Permission denied)"),
        ("train --start checkpoint.h5", "checkpoint.h5 cannot be read: Permission denied"),
        ("train --start folder", "folder/checkpoint.h5: no such file"),
        ("train --resume closed", "closed/checkpoint.h5: Permission denied"),
        ("train --resume folder", "folder holds no run to resume"),
        ("train --out closed/new", "closed/new/checkpoint.h5: Permission denied"),
        ("train --out run.toml", "run.toml cannot be made: it is a file, not a directory"),
        ("inspect checkpoint.h5", "checkpoint.h5 cannot be read: Permission denied"),
        ("inspect saved", "saved/checkpoint.h5 cannot be read: Permission denied"),
        ("inspect log", "log/metrics.jsonl cannot be read: Permission denied"),
        ("evaluate checkpoint.h5", "checkpoint.h5 cannot be read: Permission denied"),
        ("evaluate closed", "closed cannot be read: Permission denied"),
        ("evaluate run --json folder", "folder cannot be written: it is a directory"),
        ("evaluate run --trace closed/t.h5", "closed/t.h5 cannot be written: Permission denied"),
        ("export checkpoint.h5 --out n.npz", "checkpoint.h5 cannot be read: Permission denied"),
        ("conform closed", "closed cannot be read: Permission denied"),
        ("conform checkpoint.h5", "checkpoint.h5 cannot be read: Permission denied"),
        ("config run.toml", "run.toml: cannot be read (Permission denied)"),
        ("config config", "config/config.toml: cannot be read (Permission denied)"),
        ("compare config", "config/config.toml: cannot be read (Permission denied)"),
        ("compare log", "log/metrics.jsonl cannot be read: Permission denied"),
    ],
)
def test_a_command_says_so_in_a_line(closed, command, said):
    assert said in one_line(disinhib(*command.split()))


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (lambda: load_dataset("own.npz"), DatasetError),
        (lambda: load_dataset("own.h5"), DatasetError),
        (lambda: load_dataset("closed/own.npz"), DatasetError),
        (lambda: load_dataset("closed/own.h5"), DatasetError),
        (lambda: load_dataset("mnist", "closed"), DatasetError),
        (lambda: package.load("checkpoint.h5"), FileError),
        (lambda: package.load("closed"), FileError),
        (lambda: package.train(out="closed/new", progress=False), FileError),
        (lambda: package.train("closed/run.toml", progress=False), ConfigurationError),
        (lambda: load_run_configuration("closed/run.toml", {}), ConfigurationError),
        (lambda: read_records("log/metrics.jsonl"), FileError),
        (lambda: read_records("closed/metrics.jsonl"), ConfigurationError),
        (lambda: read_checkpoint("closed/checkpoint.h5"), FileError),
        (lambda: read_start("checkpoint.h5", (64, 3, 10), 1, 1), FileError),
    ],
)
def test_python_raises_what_it_says_it_does(closed, work, kind):
    with pytest.raises(kind, match="Permission denied") as caught:
        work()
    assert "\n" not in str(caught.value)
