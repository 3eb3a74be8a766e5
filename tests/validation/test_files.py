"""Checkpoints, start files and traces: what is written is read back; what is wrong is named."""

import errno
import os
import shutil

import h5py
import numpy as np
import pytest

from disinhib.backends.backend import TrainingMetrics
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import NetworkConfiguration, Optimizer, Solver
from disinhib.refimpl.end_state import EndStateCounts
from disinhib.refimpl.learning_step import learning_step, new_learner
from disinhib.validation import (
    Checkpoint,
    FileError,
    Position,
    contents,
    find_traces,
    read_checkpoint,
    read_start,
    read_trace,
    shipped_directory,
    write_checkpoint,
)
from disinhib.validation.storage.arrays import named_arrays, write_parameters

SIZES = (5, 6, 4, 3)


def learner(dtype=np.float64, optimizer="adam"):
    configuration = NetworkConfiguration(
        sizes=SIZES, rule="linear-threshold", optimizer=Optimizer(optimizer)
    )
    parameters = initial_parameters(SIZES, np.random.default_rng(0)).astype(dtype)
    x = np.random.default_rng(1).random((4, 5)).astype(dtype)
    y = np.full((4, 3), 1 / 3, dtype=dtype)
    return learning_step(configuration, Solver(), new_learner(configuration, parameters), x, y)[0]


def checkpoint(dtype=np.float64, optimizer="adam", position=Position(3)):  # noqa: B008
    state = np.random.default_rng(7).bit_generator.state
    return Checkpoint(learner(dtype, optimizer), position, state, {"seed": 2**70, "rule": "x"})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, dtype, optimizer):
    metrics = TrainingMetrics(
        np.array([0.5, 0.25]),
        np.array([0.4, np.nan]),
        np.array([3, 4]),
        EndStateCounts(5, 1, 0, 0),
        EndStateCounts(4, 1, 1, 1),
    )
    written = checkpoint(dtype, optimizer, Position(3, 2, 1.5, metrics))
    write_checkpoint(tmp_path / "c.h5", written)
    read = read_checkpoint(tmp_path / "c.h5")
    assert read.random_state == written.random_state
    assert read.configuration == written.configuration
    a, b = read.learner, written.learner
    assert a.optimizer.n_steps == b.optimizer.n_steps == 1
    pairs = [(a.parameters, b.parameters)]
    if optimizer == "adam":
        pairs.append((a.optimizer.first_moment, b.optimizer.first_moment))
        pairs.append((a.optimizer.second_moment, b.optimizer.second_moment))
    else:
        assert a.optimizer.first_moment is None
    for p, q in pairs:
        for name, array in named_arrays(p).items():
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, named_arrays(q)[name])
    for p, q in zip(a.mean_inhibition, b.mean_inhibition, strict=True):
        np.testing.assert_array_equal(p, q)
    position = read.position
    assert (position.epochs, position.steps, position.seconds) == (3, 2, 1.5)
    np.testing.assert_array_equal(position.metrics.closed_loop_loss, metrics.closed_loop_loss)
    assert position.metrics.closed_loop_counts == metrics.closed_loop_counts


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint(position=Position(1)))
    unwritable = Checkpoint(learner(), Position(2), {"state": object()}, {})
    with pytest.raises(TypeError):
        write_checkpoint(path, unwritable)
    assert read_checkpoint(path).position.epochs == 1


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_one_line(tmp_path, keep):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(FileError) as problem:
        read_checkpoint(path)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_other_files_and_versions_are_refused(tmp_path):
    path = tmp_path / "c.h5"
    with pytest.raises(FileError, match="no such file"):
        read_checkpoint(path)
    path.write_text("not HDF5")
    with pytest.raises(FileError, match="not a readable HDF5 file"):
        read_checkpoint(path)
    trace = shipped_directory() / "exact-inverse.h5"
    with pytest.raises(FileError, match="'disinhib-checkpoint' is needed"):
        read_checkpoint(trace)
    write_checkpoint(path, checkpoint())
    with pytest.raises(FileError, match="'disinhib-trace' is needed"):
        read_trace(path)
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 9
    with pytest.raises(FileError, match="schema_version is 9: this program reads 1"):
        read_checkpoint(path)


def start_file(path, order=None, sizes=SIZES):
    parameters = initial_parameters(sizes, np.random.default_rng(0)).astype(np.float32)
    with h5py.File(path, "w") as file:
        write_parameters(file.create_group("initial_parameters"), parameters)
        if order is not None:
            file["batch_order"] = order
    return parameters


def test_a_start_gives_parameters_and_order(tmp_path):
    order = np.arange(12, dtype=np.int32).reshape(3, 4)
    parameters = start_file(tmp_path / "s.h5", order)
    start = read_start(tmp_path / "s.h5", SIZES, batch_size=4, n_samples=12)
    np.testing.assert_array_equal(start.batch_order, order)
    np.testing.assert_array_equal(start.parameters.weights[1], parameters.weights[1])
    start_file(tmp_path / "t.h5")
    assert read_start(tmp_path / "t.h5", SIZES, 4, 12).batch_order is None


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.arange(12).reshape(3, 4) - 1, "runs from -1 to 10: positions 0 to 11"),
        (np.arange(12).reshape(3, 4) + 1, "runs from 1 to 12: positions 0 to 11"),
        (np.arange(12).reshape(2, 6), "has batches of 6: the batch size is 4"),
        (np.arange(12), "whole numbers of shape"),
        (np.zeros((3, 4)), "whole numbers of shape"),
    ],
)
def test_an_order_that_does_not_fit_is_named(tmp_path, order, message):
    start_file(tmp_path / "s.h5", order)
    with pytest.raises(FileError, match=message):
        read_start(tmp_path / "s.h5", SIZES, batch_size=4, n_samples=12)


def test_a_start_of_another_network_is_named(tmp_path):
    start_file(tmp_path / "s.h5", sizes=(5, 6, 3))
    with pytest.raises(FileError, match="need 2"):
        read_start(tmp_path / "s.h5", SIZES, 4, 12)


def broken(tmp_path, change):
    path = tmp_path / "t.h5"
    shutil.copy(shipped_directory() / "exact-inverse.h5", path)
    with h5py.File(path, "a") as file:
        change(file)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__("inputs"), "dataset /inputs is missing"),
        (lambda f: f.__delitem__("steps/0001/gradients"), "group /steps/0001/gradients is missing"),
        (lambda f: f.__delitem__("steps/0001"), "2 steps for 3 batches"),
        (lambda f: f.attrs.__delitem__("config"), "attribute config is missing"),
        (lambda f: f.attrs.__setitem__("config", "{"), "attribute config is no JSON"),
        (lambda f: f.attrs.__setitem__("config", '{"rule": "magic"}'), "choose one of exact"),
        (
            lambda f: f.attrs.__setitem__("config", '{"sizes": [3, 2, 1]}'),
            r"inputs has shape .*: \(any, any, 3\) is",
        ),
    ],
)
def test_an_unusable_trace_is_named_in_one_line(tmp_path, change, message):
    path = broken(tmp_path, change)
    with pytest.raises(FileError, match=message) as problem:
        read_trace(path)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_traces_are_found_among_other_files(tmp_path):
    for name in ("exact-inverse.h5", "weak-feedback.h5"):
        shutil.copy(shipped_directory() / name, tmp_path / name)
    write_checkpoint(tmp_path / "checkpoint.h5", checkpoint())
    traces, others = find_traces([tmp_path])
    assert [path.name for path in traces] == ["exact-inverse.h5", "weak-feedback.h5"]
    assert [path.name for path in others] == ["checkpoint.h5"]
    with pytest.raises(FileError, match="no such file or directory"):
        find_traces([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no trace"):
        find_traces([tmp_path / "empty"])


def test_contents_lists_every_dataset():
    attributes, datasets = contents(shipped_directory() / "exact-inverse.h5")
    assert attributes["schema"] == "disinhib-trace"
    rows = {row[0]: row[1:] for row in datasets}
    assert rows["inputs"][:2] == ("3 × 5 × 12", "float64")
    assert "steps/0002/feedback/Q_1" in rows


@pytest.mark.parametrize("has_links", [True, False])
def test_a_checkpoint_has_its_name_at_every_moment(tmp_path, monkeypatch, has_links):
    """Where there are links. Without, it may be under the name of the one before for a moment."""
    path, missing = tmp_path / "c.h5", []

    def noted(work):
        def instead(*arguments, **more):
            result = work(*arguments, **more)
            missing.append(not path.exists())
            return result

        return instead

    def no_links(*arguments, **more):
        raise OSError(errno.ENOTSUP, "no links here")

    write_checkpoint(path, checkpoint(position=Position(1)))
    monkeypatch.setattr("os.replace", noted(os.replace))
    monkeypatch.setattr("os.link", noted(os.link) if has_links else no_links)
    for epochs in (2, 3, 4):
        write_checkpoint(path, checkpoint(position=Position(epochs)))
        assert read_checkpoint(path).position.epochs == epochs
        assert read_checkpoint(tmp_path / "c-1.h5").position.epochs == epochs - 1
        assert {file.name for file in tmp_path.iterdir()} == {"c.h5", "c-1.h5"}
    assert any(missing) != has_links
    # After a crash between the two names.
    os.replace(tmp_path / "c.h5", tmp_path / "c-1.h5")
    shutil.copy(tmp_path / "c-1.h5", tmp_path / "c-1.h5.unfinished")
    write_checkpoint(path, checkpoint(position=Position(5)))
    assert read_checkpoint(path).position.epochs == 5
    assert read_checkpoint(tmp_path / "c-1.h5").position.epochs == 4
