"""Files that are whole and undamaged, and say what cannot be: one line that names it."""

import json
import os
import shutil
import socket

import h5py
import numpy as np
import pytest

from disinhib.refimpl.circuit import initial_parameters
from disinhib.validation import (
    FileError,
    compare,
    read_candidate,
    read_checkpoint,
    read_start,
    read_trace,
    shipped_directory,
    write_checkpoint,
)
from disinhib.validation.storage.arrays import write_parameters
from disinhib.validation.storage.signed_file import sign

from .test_files import SIZES, checkpoint

TRACE = shipped_directory() / "linear-threshold.h5"


def replaced(name, value_of):
    """Change a dataset by a function of its array; one that gives None takes it out."""

    def change(file):
        array = file[name][()] if isinstance(file.get(name), h5py.Dataset) else None
        if name in file:
            del file[name]
        value = value_of(array)
        if value is not None:
            file[name] = value

    return change


def without(name):
    def change(file):
        del file[name]

    return change


def attribute(name, value, group="/"):
    def change(file):
        file[group].attrs[name] = value

    return change


def setting(name, value):
    """Change the JSON attribute `config`."""

    def change(file):
        config = json.loads(file.attrs["config"])
        section, _, key = name.rpartition(".")
        (config[section] if section else config)[key] = value
        file.attrs["config"] = json.dumps(config)

    return change


def element(name, at, value):
    def change(file):
        file[name][at] = value

    return change


def line_of(read, path):
    with pytest.raises(FileError) as problem:
        read(path)
    line = str(problem.value)
    assert "\n" not in line
    assert str(path) in line
    return line


TRACES = {
    "no step": (replaced("inputs", lambda x: x[:0]), "at least one step of one sample is needed"),
    "an empty batch": (replaced("inputs", lambda x: x[:, :0]), "at least one step of one sample"),
    "nan": (element("inputs", (1, 2, 3), np.nan), r"/inputs is nan at \(1, 2, 3\): finite"),
    "inf": (element("targets", (0, 1, 2), -np.inf), r"/targets is -inf at \(0, 1, 2\): finite"),
    "a weight": (
        element("initial_parameters/hidden_0/weight", (3, 1), np.nan),
        r"/initial_parameters/hidden_0/weight is nan at \(3, 1\)",
    ),
    "an answer": (
        element("steps/0001/gradients/readout/weight", (0, 0), np.inf),
        r"/steps/0001/gradients/readout/weight is inf at \(0, 0\)",
    ),
    "a rate of 0": (
        element("steps/0002/mean_inhibition/r_I_0", 1, 0.0),
        "mean_inhibition/r_I_0 goes down to 0.0: rates above 0 are needed",
    ),
    "no means": (without("steps/0002/mean_inhibition"), "group /steps/0002/mean_inhibition is mis"),
    "two axes": (
        replaced("open_loop_loss", lambda x: x[:, None]),
        r"open_loop_loss has shape \(\d+, 1\): \(\d+,\) is needed",
    ),
    "a replica": (
        replaced("initial_parameters/readout/weight", lambda W: W[None]),
        r"initial_parameters/readout/weight has shape \(1, \d+, \d+\)",
    ),
    "complex": (replaced("inputs", lambda x: x * 1j), "numbers are needed"),
    "text": (replaced("inputs", lambda x: "text"), "numbers are needed"),
    "empty": (replaced("inputs", lambda x: h5py.Empty("f8")), "numbers are needed"),
    "steps that are none": (
        lambda file: file.move("steps/0001", "steps/1"),
        "group /steps/0001 is missing",
    ),
    "a dataset for a group": (replaced("steps", lambda x: np.ones(3)), "group /steps is missing"),
    "a schema of two": (attribute("schema", ["a", "b"]), r"attribute schema is \['a', 'b'\]: a te"),
    "a version of two": (attribute("schema_version", [1, 1]), "a whole number is needed"),
    "config of numbers": (attribute("config", 3.0), "attribute config is 3.0: a text is needed"),
    "config of a list": (attribute("config", "[]"), r"attribute config is \[\]: a JSON object"),
    "deep config": (attribute("config", "[" * 30_000), "attribute config is no JSON"),
    "long numbers": (attribute("config", '{"tau_E": 1%s}' % ("0" * 5000)), "config is no JSON"),
    "solver of a list": (setting("solver", [1]), r"solver is \[1\]: an object of settings"),
    "solver unknown": (setting("solver.speed", 1), "unknown key 'solver.speed': allowed are"),
    "sizes of text": (setting("sizes", "abc"), "sizes is 'abc': a list of whole numbers"),
    "sizes of halves": (setting("sizes", [12, 8.5, 4]), "a list of whole numbers"),
}
WRONG_NUMBERS = {
    "tau_E": [0.02],
    "tau_I": "0.005",
    "activation_E.scale": True,
    "activation_I.shift": {},
    "controller.k_p": [1.0, 2.0],
    "controller.leak": None,
    "feedback.clip": [1],
    "feedback.normalize": 1,
    "feedback.nudge": "all",
    "mean_inhibition.rate": [[0.5]],
    "optimizer.beta_1": [0.9],
    "optimizer.beta_2": float("nan"),
    "optimizer.learning_rate": float("inf"),
    "optimizer.name": 3,
    "solver.rtol": "1e-3",
    "solver.T": True,
    "solver.p": [0.1],
    "solver.d": "fast",
    "solver.max_steps": 2.5,
    "rule": ["exact-inverse"],
    "loss": None,
}


@pytest.mark.parametrize("what", TRACES)
def test_a_trace_is_looked_at_as_a_whole(tmp_path, what):
    change, message = TRACES[what]
    path = tmp_path / "t.h5"
    shutil.copy(TRACE, path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(FileError, match=message):
        raise FileError(line_of(read_trace, path))


@pytest.mark.parametrize("name", WRONG_NUMBERS)
def test_the_settings_of_a_trace_are_of_their_kind(tmp_path, name):
    path = tmp_path / "t.h5"
    shutil.copy(TRACE, path)
    with h5py.File(path, "a") as file:
        setting(name, WRONG_NUMBERS[name])(file)
    line = line_of(read_trace, path)
    assert "attribute config is unusable: " in line
    assert name.rpartition(".")[2].replace("T", "horizon") in line
    assert "needed" in line


R = np.ones((2, 1, 1))
CHECKPOINTS = {
    "no moments": (without("optimizer/first_moment"), "group /optimizer/first_moment is missing"),
    "a moment that is not there": (
        without("optimizer/second_moment/hidden_1/bias"),
        "dataset /optimizer/second_moment/hidden_1/bias is missing",
    ),
    "a moment of another shape": (
        replaced("optimizer/first_moment/readout/weight", lambda m: m[:-1]),
        r"/optimizer/first_moment/readout/weight has shape \(3, 3\): \(4, 3\) is needed",
    ),
    "a negative square": (
        element("optimizer/second_moment/readout/weight", (0, 0), -1.0),
        "a second moment goes down to -1.0: 0 or more",
    ),
    "a mean of another shape": (
        replaced("mean_inhibition/r_I_0", lambda r: r[:-1]),
        r"/mean_inhibition/r_I_0 has shape \(5,\): \(6,\) is needed",
    ),
    "a mean too few": (without("mean_inhibition/r_I_1"), "/mean_inhibition/r_I_1 is missing"),
    "a mean too many": (
        replaced("mean_inhibition/r_I_2", lambda r: np.ones(3)),
        "2 hidden layers and 3 running means",
    ),
    "layers that do not meet": (
        replaced("parameters/hidden_1/weight", lambda W: W[:-1]),
        "/parameters/hidden_0/weight has shape",
    ),
    "a bias of another length": (
        replaced("parameters/hidden_0/bias", lambda b: b[:-1]),
        r"/parameters/hidden_0/bias has shape \(5,\): \(6,\)",
    ),
    "replicas": (
        replaced("parameters/readout/weight", lambda W: R * W),
        "/parameters/readout/weight has shape .*: a matrix is needed",
    ),
    "two precisions": (
        replaced("mean_inhibition/r_I_0", lambda r: r.astype(np.float32)),
        "parameters, moments and means are float32, float64: all",
    ),
    "whole numbers": (
        replaced("parameters/readout/weight", lambda W: W.astype(int)),
        "are float64, int64: all",
    ),
    "nan": (
        element("parameters/hidden_1/weight", (0, 0), np.nan),
        r"/parameters/hidden_1/weight is nan at \(0, 0\)",
    ),
    "seconds": (attribute("seconds", np.nan, "position"), "attribute seconds of /position is nan"),
    "seconds before": (attribute("seconds", -1.0, "position"), "is -1.0: a finite number, 0 or"),
    "epochs": (attribute("epochs", -1, "position"), "attribute epochs of /position is -1: at leas"),
    "half epochs": (attribute("epochs", 1.5, "position"), "is 1.5: a whole number is needed"),
    "steps without figures": (attribute("steps", 3, "position"), "/position/loss is missing"),
    "figures without steps": (
        replaced("position/loss", lambda x: np.ones(3)),
        "/position has figures of steps, and attribute steps is 0",
    ),
    "steps taken": (attribute("n_steps", "many", "optimizer"), "is 'many': a whole number"),
    "random_state": (attribute("random_state", "[1, 2]"), r"random_state is \[1, 2\]: a JSON obj"),
    "config": (attribute("config", '"text"'), "attribute config is 'text': a JSON object"),
    "deep config": (attribute("config", '{"a":' * 30_000), "attribute config is no JSON"),
    "data": (attribute("data", 3), "attribute data is 3: a text is needed"),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_signed_checkpoint_is_looked_at_as_a_whole(tmp_path, what):
    change, message = CHECKPOINTS[what]
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    with h5py.File(path, "a") as file:
        change(file)
        sign(file)
    with pytest.raises(FileError, match=message):
        raise FileError(line_of(read_checkpoint, path))


STARTS = {
    "a leading axis of 1": (
        replaced("initial_parameters/hidden_0/weight", lambda W: W[None]),
        r"initial_parameters/hidden_0/weight has shape \(1, 5, 6\): \(5, 6\) is needed",
    ),
    "a leading axis of 2": (
        replaced("initial_parameters/hidden_1/bias", lambda b: np.stack([b, b])),
        r"initial_parameters/hidden_1/bias has shape \(2, 4\): \(4,\) is needed",
    ),
    "no batch": (
        replaced("batch_order", lambda x: np.zeros((0, 4), int)),
        "batch_order has no step: leave it out, or give at least one",
    ),
    "nan": (
        element("initial_parameters/readout/weight", (3, 2), np.nan),
        r"initial_parameters/readout/weight is nan at \(3, 2\): finite numbers are needed",
    ),
    "a layer too many": (
        replaced("initial_parameters/hidden_2/weight", lambda W: np.ones((4, 4))),
        r"/initial_parameters has 3 hidden layers: sizes \(5, 6, 4, 3\) need 2",
    ),
}


@pytest.mark.parametrize("what", STARTS)
def test_a_start_is_looked_at_as_a_whole(tmp_path, what):
    change, message = STARTS[what]
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        parameters = initial_parameters(SIZES, np.random.default_rng(0))
        write_parameters(file.create_group("initial_parameters"), parameters)
        change(file)
    with pytest.raises(FileError, match=message):
        raise FileError(line_of(lambda path: read_start(path, SIZES, 4, 12), path))


@pytest.fixture(scope="module")
def trace():
    return read_trace(TRACE)


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_a_rate_that_is_none_in_an_answer_is_judged(tmp_path, trace, wrong):
    path = tmp_path / "answers.h5"
    shutil.copy(TRACE, path)
    with h5py.File(path, "a") as file:
        file["steps/0000/mean_inhibition/r_I_0"][0] = wrong
    candidate = read_candidate(path, trace)
    results = compare(trace, candidate, candidate.arithmetic()).results
    assert [result.stage for result in results if not result.passed] == ["mean inhibition"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("float64 ²", "is no path, type"),
        ("float64 ٣", "is no path, type"),
        ("float64 " + "9" * 5000, "is no path, type"),
        ("float64 " + "9" * 30, "is no path, type"),
        ("float64 0" + 2 * (" " + "9" * 18), "NumPy holds none such"),
        ("float64" + " 1" * 101, "and up to 8 dimensions"),
        ("float64 -1", "is no path, type"),
        ("float128 1", "is no path, type"),
        ("float64 3", r"has 0 bytes: float64 of shape \(3,\) needs 24"),
    ],
)
def test_the_index_of_a_flat_directory_is_taken_at_its_word_or_not(tmp_path, trace, words, message):
    (tmp_path / "arrays.txt").write_text(f"open_loop_loss {words}\n", encoding="utf-8")
    (tmp_path / "open_loop_loss.bin").write_bytes(b"")
    with pytest.raises(FileError, match=message) as problem:
        read_candidate(tmp_path, trace)
    assert len(str(problem.value)) < 400
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("name", ["arrays.txt", "settings.txt", "open_loop_loss.bin"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "directory"])
def test_a_flat_directory_of_other_things_than_files(tmp_path, trace, name, kind):
    (tmp_path / "arrays.txt").write_text("open_loop_loss float64 0\n")
    (tmp_path / "open_loop_loss.bin").write_bytes(b"")
    (tmp_path / name).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(tmp_path / name)
        elif kind == "socket":
            # Bound by a short name: the path of a socket has 108 bytes.
            directory = os.open(tmp_path, os.O_RDONLY)
            listener.bind(f"/proc/self/fd/{directory}/{name}")
            os.close(directory)
        else:
            (tmp_path / name).mkdir()
        with pytest.raises(FileError, match=r"is a .*: a file is needed"):
            read_candidate(tmp_path, trace)


def test_an_array_that_a_flat_directory_lists_twice_is_refused(tmp_path, trace):
    (tmp_path / "arrays.txt").write_text("open_loop_loss float64 0\n" * 2)
    (tmp_path / "open_loop_loss.bin").write_bytes(b"")
    with pytest.raises(FileError, match="line 2: open_loop_loss is in an earlier line too"):
        read_candidate(tmp_path, trace)
