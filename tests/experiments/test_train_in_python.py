"""`disinhib.train` and `disinhib.load`: what a user has who never leaves Python."""

import csv
import importlib
import json
import math
import os
import shutil
import signal
import threading

import h5py
import numpy as np
import pytest

import disinhib
from disinhib import FileError
from disinhib.experiments.training import begin, run_configuration, train as train_run
from disinhib.validation import Position, named_arrays, read_checkpoint
from disinhib.validation.storage.arrays import write_parameters

from .test_command_line import disinhib as command, one_line
from .test_training import Watcher

SETTINGS = {"rule": "linear-threshold", "hidden": [8], "epochs": 3, "batch_size": 50}
QUIET = {"progress": False}


def arrays_of(network):
    return named_arrays(network.parameters)


def same(network, other):
    found, expected = arrays_of(network), arrays_of(other)
    return all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return disinhib.train(**SETTINGS, **QUIET, out=out), out


def test_it_is_the_run_that_the_loop_itself_trains(whole, tmp_path):
    network, out = whole
    run = begin(run_configuration(SETTINGS, "test"), tmp_path / "run")
    train_run(run, Position(0), [], Watcher())
    trained = named_arrays(read_checkpoint(tmp_path / "run" / "checkpoint.h5").learner.parameters)
    for name, array in trained.items():
        np.testing.assert_array_equal(arrays_of(network)[name], array)
    assert network.epochs == 3
    assert network.source == out / "checkpoint.h5"


def test_without_out_nothing_is_kept_and_the_same_is_learnt(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    network = disinhib.train(**SETTINGS, **QUIET)
    assert list(tmp_path.iterdir()) == []
    assert same(network, whole[0])
    assert network.evaluate("test").accuracy == whole[0].evaluate("test").accuracy
    assert network.metrics["epoch"].tolist() == [1, 2, 3]


def test_a_picture_that_nobody_will_see_is_not_drawn(tmp_path, monkeypatch):
    drawn = []
    epochs = importlib.import_module("disinhib.experiments.training.epochs")
    monkeypatch.setattr(epochs, "draw_curves", lambda run, records: drawn.append(len(records)))
    disinhib.train(**SETTINGS, **QUIET)
    assert drawn == []
    disinhib.train(**SETTINGS, **QUIET, out=tmp_path / "run")
    assert drawn == [3]


def test_once_more_is_no_more_work_and_more_epochs_are(whole, tmp_path):
    out = tmp_path / "run"
    seen = []
    note = {"callbacks": [lambda record: seen.append(record.epoch)], **QUIET}
    disinhib.train(**{**SETTINGS, "epochs": 1}, out=out, **note)
    assert seen == [1]
    disinhib.train(**{**SETTINGS, "epochs": 1}, out=out, **note)
    assert seen == [1]
    network = disinhib.train(**SETTINGS, out=out, **note)
    assert seen == [1, 2, 3]
    assert same(network, whole[0])


def test_what_is_not_said_is_taken_from_the_run_if_it_is_to_go_on(whole, tmp_path):
    out = tmp_path / "run"
    disinhib.train(**{**SETTINGS, "epochs": 2}, out=out, **QUIET)
    assert same(disinhib.train(out=out, resume=True, epochs=3, **QUIET), whole[0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rule": "backprop"}, "holds another run: rule is 'linear-threshold' there, 'backprop'"),
        ({"controller": {"k_p": 1}}, "another run: controller.k_p is 0.2 there, 1.0 here"),
        ({"resume": True, "seed": 1}, "another run: seed is 0 there, 1 here"),
        ({"resume": False}, "already holds a run"),
        ({"epochs": 2}, "epochs 2 is the total, and"),
        ({"resume": "yes"}, "resume is 'yes': choose 'auto', True or False"),
        ({"resume": 2}, "resume is 2: choose"),
        ({"epoch": 2}, "train: unknown key 'epoch': did you mean 'epochs'"),
        ({"dataset": 7}, "dataset is 7: a name, a file, arrays"),
        ({"configuration": 7}, "configuration is 7: a file, a mapping"),
        ({"checkpoint_every": "now"}, "a run saved every 'now'"),
    ],
)
def test_another_run_is_never_gone_on_with(whole, more, message):
    with pytest.raises(disinhib.ConfigurationError) as refusal:
        disinhib.train(**{**SETTINGS, "out": whole[1], **QUIET, **more})
    assert message in str(refusal.value)
    assert "--" not in str(refusal.value)
    assert disinhib.load(whole[1]).epochs == 3


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(disinhib.ConfigurationError, match="holds no run"):
        disinhib.train(out=tmp_path, resume=True, **QUIET)
    assert list(tmp_path.iterdir()) == []


def test_settings_by_name_go_before_those_of_a_file_or_mapping(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("hidden = [8]\nepochs = 1\n[controller]\nk_p = 0.3\nk_i = 0.5\n")
    settings = {"hidden": [8], "epochs": 1, "controller": {"k_p": 0.3, "k_i": 0.5}}
    for configuration in (file, disinhib.load_run_configuration(file, {}), settings):
        network = disinhib.train(configuration, controller={"k_p": 0.4}, seed=3, **QUIET)
        found = network.configuration
        assert (found.controller.k_p, found.controller.k_i, found.seed) == (0.4, 0.5, 3)


def test_a_callback_that_says_so_ends_the_training_and_the_run_goes_on_from_there(whole, tmp_path):
    out = tmp_path / "run"
    ended = disinhib.train(
        **SETTINGS, out=out, callbacks=[lambda record: record.epoch == 2], **QUIET
    )
    assert (ended.epochs, ended.steps) == (2, 0)
    assert same(disinhib.train(**SETTINGS, out=out, **QUIET), whole[0])


def test_an_interrupt_is_saved_and_passed_on(whole, tmp_path):
    out = tmp_path / "run"

    def interrupt(record):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after 1 epochs and 0 steps: .* goes on"):
        disinhib.train(**SETTINGS, out=out, callbacks=[interrupt], **QUIET)
    assert same(disinhib.train(**SETTINGS, out=out, **QUIET), whole[0])


def test_metrics_are_the_lines_of_the_log_in_columns(whole, tmp_path):
    network, out = whole
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for metrics in (network.metrics, disinhib.load(out).metrics):
        for name in ("epoch", "train_loss", "valid_accuracy", "test_loss", "computed_by"):
            assert metrics[name].tolist() == [row[name] for row in rows]
        counts = [row["closed_loop"]["unsettled"] for row in rows]
        assert metrics["closed_loop.unsettled"].tolist() == counts
        assert metrics["epoch"].dtype.kind == "i"
        metrics.to_csv(tmp_path / "metrics.csv")
        with (tmp_path / "metrics.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        assert [float(row["test_loss"]) for row in read] == [row["test_loss"] for row in rows]


def test_what_a_rule_does_not_have_is_no_number(tmp_path):
    metrics = disinhib.train(**{**SETTINGS, "rule": "backprop", "epochs": 1}, **QUIET).metrics
    assert np.isnan(metrics["train_closed_loop_loss"]).all()
    metrics.to_csv(tmp_path / "metrics.csv")
    assert ",nan," not in (tmp_path / "metrics.csv").read_text()


# Arrays.


def clouds(n=300):
    """Three clouds that hardly touch, called by text."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, n)
    x = generator.normal(scale=0.08, size=(n, 2, 2)) + y[:, None, None] / 3
    return x, np.array(["ash", "beech", "cedar"])[y]


OWN = {"hidden": [16], "epochs": 8, "batch_size": 20, "optimizer": {"learning_rate": 1e-2}, **QUIET}


def test_arrays_are_learnt_and_kept_with_the_run(tmp_path):
    x, y = clouds()
    out = tmp_path / "run"
    network = disinhib.train(dataset=(x, y), out=out, **OWN)
    found = network.evaluate("test")
    assert found.accuracy > 0.9
    assert found.class_names == ("ash", "beech", "cedar")
    assert disinhib.load(out).evaluate("test").accuracy == found.accuracy
    again = disinhib.train(dataset={"x": x, "y": y}, out=out, **OWN)
    assert same(again, network)


def test_arrays_move_with_their_run(tmp_path, monkeypatch):
    """A run's directory may have another name, or be looked at from elsewhere."""
    monkeypatch.chdir(tmp_path)
    network = disinhib.train(dataset=clouds(), out="run", **{**OWN, "epochs": 1})
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = disinhib.load("../moved")
    assert moved.evaluate("test").accuracy == network.evaluate("test").accuracy
    gone_on = disinhib.train(out="../moved", resume=True, epochs=2, **QUIET)
    assert gone_on.epochs == 2


def test_other_arrays_are_another_run(tmp_path):
    x, y = clouds()
    out = tmp_path / "run"
    network = disinhib.train(dataset=(x, y), out=out, **{**OWN, "epochs": 1})
    with pytest.raises(disinhib.DatasetError, match="has learnt other data than are given"):
        disinhib.train(dataset=(x + 1, y), out=out, **OWN)
    assert same(disinhib.load(out), network)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (([[1, 2]] * 30, [0, 1] * 15), "dataset: found x of int64, expected uint8"),
        ((np.zeros((30, 4)), np.zeros(20)), r"dataset: found y of shape \(20,\), expected \(30,\)"),
        ({"x": np.zeros((30, 4)), "z": np.zeros(3)}, "dataset: found an array 'z', expected x, y"),
        ({"x": np.full((30, 4), math.nan), "y": np.arange(30)}, "no finite numbers"),
    ],
)
def test_arrays_that_are_no_data_are_refused_and_leave_nothing(tmp_path, dataset, message):
    with pytest.raises(disinhib.DatasetError, match=message):
        disinhib.train(dataset=dataset, out=tmp_path / "run", **OWN)
    assert not (tmp_path / "run").exists()


def test_arrays_of_a_run_that_cannot_begin_are_taken_away_again(tmp_path):
    with pytest.raises(disinhib.ConfigurationError, match="batch_size is 5000"):
        disinhib.train(dataset=clouds(), out=tmp_path, **{**OWN, "batch_size": 5000})
    assert list(tmp_path.iterdir()) == []


# The best epoch, and patience.


def valid_accuracies(out):
    return [json.loads(line)["valid_accuracy"] for line in (out / "metrics.jsonl").open()]


FAST = {"hidden": [8], "batch_size": 50, "optimizer": {"learning_rate": 0.05}, **QUIET}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """So fast a learner that some epochs are worse than those before."""
    out = tmp_path_factory.mktemp("runs") / "impatient"
    return disinhib.train(epochs=40, patience=3, **FAST, out=out), out


def test_training_ends_when_validation_has_not_risen_for_long(impatient):
    network, out = impatient
    accuracies = valid_accuracies(out)
    best = accuracies.index(max(accuracies))
    assert len(accuracies) == network.epochs == best + 1 + 3 < 40
    for end in range(1, len(accuracies)):
        before = accuracies[:end]
        assert end - 1 - before.index(max(before)) < 3


def test_the_best_is_kept_as_it_was_after_its_epoch(impatient, tmp_path):
    _, out = impatient
    accuracies = valid_accuracies(out)
    best = disinhib.load(out / "best.h5")
    assert best.epochs == accuracies.index(max(accuracies)) + 1
    assert best.evaluate("validation").accuracy == max(accuracies)
    shorter = disinhib.train(epochs=best.epochs, **FAST, out=tmp_path / "run")
    assert same(best, shorter)
    assert best.metrics["epoch"].size == best.epochs


def test_a_run_that_lost_patience_is_done(impatient):
    network, out = impatient
    seen = []
    again = disinhib.train(epochs=40, patience=3, **FAST, out=out, callbacks=[seen.append])
    assert seen == []
    assert same(again, network)


# What is easily got wrong.


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": 0.1}, 'write optimizer={"learning_rate": 0.1}'),
        ({"k_p": 0.1}, 'write controller={"k_p": 0.1}'),
        ({"schedule": "cosine"}, """write schedule={"name": 'cosine'}"""),
        ({"configuration": (np.zeros((3, 2)), np.zeros(3))}, "arrays are given as dataset=(x, y)"),
        ({"callbacks": [lambda record: "yes"]}, "a callback gave 'yes': None is needed, or True"),
    ],
)
def test_it_is_said_how_it_is_written(wrong, message):
    with pytest.raises(disinhib.ConfigurationError) as refusal:
        disinhib.train(**{**SETTINGS, "epochs": 1, **QUIET, **wrong})
    assert message in str(refusal.value)


@pytest.mark.parametrize("told", [True, np.bool_(True)])
def test_one_callback_may_stand_alone_and_any_truth_value_ends(told):
    network = disinhib.train(**SETTINGS, callbacks=lambda record: told, **QUIET)
    assert network.epochs == 1


def test_a_network_is_a_start(whole, tmp_path):
    network, out = whole
    for number, start in enumerate((network, out, out / "best.h5", str(out / "checkpoint.h5"))):
        begun = disinhib.train(
            **{**SETTINGS, "epochs": 1}, optimizer={"learning_rate": 0}, start=start,
            out=tmp_path / str(number), **QUIET,
        )  # fmt: skip
        if number != 2:
            assert same(begun, network)


@pytest.mark.slow
def test_runs_of_the_same_arrays_learnt_the_same(tmp_path, capsys):
    for name in ("a", "b"):
        disinhib.train(dataset=clouds(), out=tmp_path / name, **{**OWN, "epochs": 1})
    rows = disinhib.runs_table([tmp_path / "a", tmp_path / "b"])
    assert [row["epochs"] for row in rows] == [1, 1]
    assert "dataset" not in rows[0]
    x, y = clouds()
    disinhib.train(dataset=(x + 0.1, y), out=tmp_path / "c", **{**OWN, "epochs": 1})
    first, second = disinhib.runs_table([tmp_path / "a", tmp_path / "c"])
    assert first["data"] != second["data"]


@pytest.mark.slow
def test_inputs_that_are_not_scaled_are_told(capsys):
    x, y = clouds()
    disinhib.train(dataset=(x * 200, y), **{**OWN, "epochs": 1})
    assert "the settings are for 0 to 1" in capsys.readouterr().err
    disinhib.train(dataset=(x, y), **{**OWN, "epochs": 1})
    assert capsys.readouterr().err == ""


def test_a_run_says_what_it_is_and_that_it_is_done(tmp_path, capsys):
    settings = {**SETTINGS, "epochs": 1, "out": tmp_path / "run"}
    disinhib.train(**settings)
    assert "64-8-10, linear-threshold, fixed-point, numpy float32" in capsys.readouterr().out
    disinhib.train(**settings)
    assert "all 1 epochs are done" in " ".join(capsys.readouterr().out.split())


# What somebody found who tried to break it.

TINY = {"hidden": [4], "epochs": 1, **QUIET}


def test_another_start_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        disinhib.train(**TINY, seed=seed, out=f"s{seed}")
    begun = disinhib.train(**TINY, start="s1", out="run")
    for start in ("s2", None, "nowhere"):
        with pytest.raises(disinhib.ConfigurationError, match="another run: start is"):
            disinhib.train(**TINY, start=start, out="run")
    assert same(disinhib.train(**TINY, start=tmp_path / "s1", out="run"), begun)


def test_bytes_and_floats_of_the_same_values_are_other_data(tmp_path):
    bytes_ = np.random.default_rng(0).integers(0, 256, (200, 5), dtype=np.uint8)
    y, settings = (bytes_[:, 0] > 127).astype(int), {**TINY, "batch_size": 20, "out": tmp_path}
    disinhib.train(dataset=(bytes_, y), **settings)
    with pytest.raises(disinhib.DatasetError, match="other data"):
        disinhib.train(dataset=(bytes_.astype(float), y), **settings)


def test_what_a_configuration_says_counts_as_given(whole, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('rule = "backprop"\n')
    configuration = disinhib.load_run_configuration(file, {})
    for given in ({"rule": "backprop"}, file, configuration):
        with pytest.raises(disinhib.ConfigurationError, match="another run: "):
            disinhib.train(given, out=whole[1], resume=True, **QUIET)
    partly = {"controller": {"k_p": 0.2}}
    assert same(disinhib.train(partly, out=whole[1], resume=True, **QUIET), whole[0])


def test_a_finished_run_is_given_as_it_is_asked_for(whole):
    given = disinhib.train(**SETTINGS, out=whole[1], dtype="float64", **QUIET)
    assert given.parameters.dtype == np.float64
    with pytest.raises(disinhib.BackendUnavailable, match="nonsense"):
        disinhib.train(**SETTINGS, out=whole[1], backend="nonsense", **QUIET)


def test_of_several_at_once_one_trains_and_keeps_its_data(tmp_path):
    results = []

    def attempt():
        try:
            results.append(disinhib.train(dataset=clouds(), out=tmp_path / "run", **OWN))
        except Exception as problem:
            results.append(problem)

    team = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    trained = [one for one in results if isinstance(one, disinhib.TrainedNetwork)]
    assert trained
    refused = [one for one in results if isinstance(one, Exception)]
    assert all(isinstance(one, disinhib.ConfigurationError) for one in refused), refused
    evaluated = disinhib.load(tmp_path / "run").evaluate("test")
    assert evaluated.accuracy == trained[0].evaluate("test").accuracy


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_a_refused_call_leaves_nothing_behind(whole, tmp_path):
    before = files_of(whole[1])
    with pytest.raises(disinhib.DatasetError):
        disinhib.train(dataset=clouds(), out=whole[1], **SETTINGS, **QUIET)
    assert files_of(whole[1]) == before
    with pytest.raises(disinhib.ConfigurationError):
        disinhib.train(dataset=clouds(), out=tmp_path / "new", rule="zz", **QUIET)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["best.h5", "curves.png", "data.npz"])
def test_what_somebody_keeps_there_is_not_written_over(tmp_path, name):
    (tmp_path / name).write_bytes(b"kept")
    with pytest.raises(disinhib.ConfigurationError, match=f"has a {name}"):
        disinhib.train(**TINY, out=tmp_path)
    assert files_of(tmp_path) == {name: b"kept"}


def test_a_pipe_in_the_datas_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.npz")
    with pytest.raises(disinhib.ConfigurationError, match=r"has a data\.npz"):
        disinhib.train(dataset=clouds(), out=tmp_path, **OWN)


def test_the_beginning_of_the_same_run_is_begun_anew_and_that_of_another_is_not(whole, tmp_path):
    """As after a kill before the first checkpoint."""
    begin(run_configuration(SETTINGS, "test"), tmp_path).lock.release()
    with pytest.raises(disinhib.ConfigurationError, match="the beginning of another run"):
        disinhib.train(**{**SETTINGS, "seed": 1}, out=tmp_path, **QUIET)
    assert same(disinhib.train(**SETTINGS, out=tmp_path, **QUIET), whole[0])


def test_a_beginning_that_another_backend_would_compute_now_is_the_same(whole, tmp_path):
    begin(run_configuration({**SETTINGS, "backend": "numba"}, "test"), tmp_path).lock.release()
    network = disinhib.train(**SETTINGS, out=tmp_path, **QUIET)
    assert network.configuration.backend == "numpy"
    assert same(network, whole[0])


def test_one_run_by_another_path_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = disinhib.train(dataset=clouds(), out="run", **OWN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for out in (tmp_path / "run", "../run"):
        assert same(disinhib.train(dataset=clouds(), out=out, **OWN), network)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert same(disinhib.train(dataset=clouds(), out="../moved", **OWN), network)


def test_masked_values_are_no_numbers(whole):
    x, y = clouds()
    masked = np.ma.masked_array(x, mask=False)
    masked[:, 0] = np.ma.masked
    with pytest.raises(disinhib.DatasetError, match="masked values in x"):
        disinhib.train(dataset=(masked, y), **OWN)
    with pytest.raises(disinhib.ArgumentError, match="masked values"):
        whole[0].predict(np.ma.masked_array(np.zeros((2, 64)), mask=True))


def test_metrics_are_those_of_the_run_or_none(whole, tmp_path, monkeypatch):
    _, out = whole
    other = tmp_path / "other"
    disinhib.train(**{**SETTINGS, "seed": 5}, out=other, **QUIET)
    (other / "copied.h5").write_bytes((out / "best.h5").read_bytes())
    (tmp_path / "best.h5").write_bytes((out / "best.h5").read_bytes())
    for file in (other / "copied.h5", tmp_path / "best.h5"):
        with pytest.raises(disinhib.ConfigurationError, match="has no figures of epoch"):
            _ = disinhib.load(file).metrics
    monkeypatch.chdir(tmp_path)
    network = disinhib.load("other")
    monkeypatch.chdir(out)
    assert network.metrics["epoch"].tolist() == [1, 2, 3]


def test_no_table_is_written_over_what_is_a_runs_own(whole):
    network, out = whole
    before = files_of(out)
    for name in ("checkpoint.h5", "config.toml", "metrics.jsonl", "best.h5"):
        with pytest.raises(disinhib.ConfigurationError, match="the run's own file"):
            network.metrics.to_csv(out / name)
    with pytest.raises(disinhib.ConfigurationError, match="the name of a file is needed"):
        network.metrics.to_csv(None)
    assert files_of(out) == before


def test_a_damaged_checkpoint_is_told(whole, tmp_path, capsys):
    copied = tmp_path / "run"
    shutil.copytree(whole[1], copied)
    os.truncate(copied / "checkpoint.h5", 1000)
    assert disinhib.load(copied).epochs == 2
    assert "checkpoint.h5" in capsys.readouterr().err


def test_a_best_that_is_trained_anew_is_not_left_as_it_was(tmp_path):
    """Stopped between two checkpoints, and gone on with to fewer epochs."""

    def stop_at_12(record):
        if record.epoch == 12:
            raise RuntimeError("killed")

    settings = {**FAST, "optimizer": {"learning_rate": 0.03}, "out": tmp_path / "run"}
    with pytest.raises(RuntimeError, match="killed"):
        disinhib.train(epochs=20, checkpoint_every="9 epochs", callbacks=[stop_at_12], **settings)
    disinhib.train(epochs=10, **settings)
    accuracies = valid_accuracies(tmp_path / "run")
    assert len(accuracies) == 10
    best = tmp_path / "run" / "best.h5"
    if best.exists():
        assert disinhib.load(best).epochs == accuracies.index(max(accuracies)) + 1


@pytest.mark.parametrize("callbacks", [None, 5, ["a"], (None,)])
def test_what_are_no_callbacks_is_said_before_anything_begins(tmp_path, callbacks):
    with pytest.raises(disinhib.ConfigurationError, match="callbacks is"):
        disinhib.train(**TINY, callbacks=callbacks, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_output_that_fails_ends_no_run(tmp_path, monkeypatch, capsys):
    closed = (tmp_path / "closed").open("w")
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)
    network = disinhib.train(hidden=[4], epochs=2, out=tmp_path / "run")
    assert network.epochs == 2
    assert "going on without it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"out": b"x"}, {"out": 5}, {"out": ["a"]}, {"out": "a\0b"}, {"out": "n" * 300},
        {"checkpoint_every": None}, {"checkpoint_every": 5}, {"resume": np.array([1, 2])},
        {"dataset": ([[1], [1, 2]], [0, 1])},
    ],
)  # fmt: skip
def test_other_kinds_of_things_are_refused_in_a_line(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    documented = (disinhib.ConfigurationError, disinhib.DatasetError, disinhib.FileError)
    with pytest.raises(documented) as refusal:
        disinhib.train(**{**TINY, **wrong})
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [b"x", 5, ["a"], "a\0b", "n" * 300])
def test_what_is_no_path_is_not_loaded(path):
    with pytest.raises((disinhib.ConfigurationError, disinhib.FileError)):
        disinhib.load(path)


def test_where_nothing_is_kept_no_checkpoint_is_named():
    wild = {"rule": "backprop", "loss": "mse", "optimizer": {"name": "sgd", "learning_rate": 1e16}}
    with pytest.raises(disinhib.TrainingDiverged) as problem:
        disinhib.train(**{**TINY, "hidden": [8, 6], "batch_size": 50, **wild})
    assert "checkpoint" not in str(problem.value)


def test_numpys_numbers_are_numbers(whole):
    settings = {**SETTINGS, "seed": np.int64(0), "hidden": np.array([8]), "epochs": np.int32(3)}
    assert same(disinhib.train(**settings, **QUIET), whole[0])


def test_text_as_pandas_has_it_is_text():
    x, y = clouds()
    network = disinhib.train(dataset=(x, y.astype(object)), **{**OWN, "epochs": 1})
    assert network.class_names == ("ash", "beech", "cedar")
    with pytest.raises(disinhib.DatasetError, match="y of object"):
        disinhib.train(dataset=(x, np.array([None] * len(y))), **OWN)


def test_what_a_callback_raises_is_raised(tmp_path):
    def cannot_write(record):
        raise PermissionError("the callback's own")

    with pytest.raises(PermissionError, match="the callback's own"):
        disinhib.train(**TINY, callbacks=cannot_write, out=tmp_path / "run")
    assert disinhib.train(**TINY, out=tmp_path / "run").epochs == 1


@pytest.mark.slow
def test_a_start_of_other_sizes_says_which_would_fit(tmp_path, monkeypatch):
    """In Python's words and the command's; none where inputs or classes are others too."""
    monkeypatch.chdir(tmp_path)
    made = {"hidden": [5, 4], "epochs": 1, "batch_size": 675, "backend": "numpy", **QUIET}
    network = disinhib.train(out="run", **made)
    with pytest.raises(FileError, match=r"is of sizes .* is configured; hidden=\[5, 4\] would fit"):
        disinhib.train(start="run", epochs=1, hidden=[5], **QUIET)
    line = one_line(command("train", "--start", "run", "--hidden", "5", "--epochs", "1"))
    assert line.endswith("is configured; --hidden 5,4 would fit")
    assert command("train", "--start", "run", "--hidden", "5,4", "--epochs", "1").returncode == 0
    generator = np.random.default_rng(0)
    other = generator.random((60, 7)), np.arange(60) % 10
    with pytest.raises(FileError, match=r"\(64, 5, 4, 10\): \(7, 5, 4, 10\) is configured$"):
        disinhib.train(dataset=other, start="run", hidden=[5, 4], batch_size=20, **QUIET)
    # A start file, of parameters alone.
    with h5py.File("start.h5", "w") as file:
        write_parameters(file.create_group("initial_parameters"), network.parameters)
    with pytest.raises(FileError, match=r"sizes .* need 1; hidden=\[5, 4\] would fit"):
        disinhib.train(start="start.h5", epochs=1, hidden=[5], **QUIET)
    line = one_line(command("train", "--start", "start.h5", "--hidden", "5,3", "--epochs", "1"))
    assert line.endswith("; --hidden 5,4 would fit")
