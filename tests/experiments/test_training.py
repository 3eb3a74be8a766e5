"""Whole runs on the embedded digits: what they write, and that stopping changes nothing."""

import dataclasses
import itertools
import json
import math
from functools import partial

import h5py
import numpy as np
import pytest

from disinhib import load
from disinhib.datasets.dataset import DatasetError, batch_order, softened_labels
from disinhib.datasets.load import digits, load_dataset
from disinhib.experiments import training
from disinhib.experiments.training import begin, read_records
from disinhib.experiments.training.configuration import (
    load_run_configuration,
    run_configuration,
)
from disinhib.experiments.training.epochs import TrainingDiverged
from disinhib.experiments.training.metrics import append_record, weight_norms
from disinhib.refimpl.circuit import Parameters, initial_parameters
from disinhib.refimpl.configuration import ConfigurationError, NetworkConfiguration, Solver
from disinhib.refimpl.learning_step import learning_step, new_learner
from disinhib.validation import Position, read_checkpoint
from disinhib.validation.storage.arrays import named_arrays, write_parameters
from disinhib.validation.storage.signed_file import sign

from .test_command_line import disinhib

# Without their picture, which takes longer than they do; it is test_inspect_run's.
train = partial(training.train, seconds_between_pictures=None)
resume = partial(training.resume, draws=False)

SETTINGS = {"hidden": [8], "epochs": 3, "batch_size": 50, "seed": 0, "dtype": "float64"}


class Watcher:
    """Sees a run go by, and may stop it."""

    def __init__(self, stop_after=math.inf):
        self.steps, self.epochs, self.stop_after = 0, [], stop_after

    def on_steps(self, epoch, steps, n_steps, metrics):
        self.steps = epoch * n_steps + steps
        assert metrics.loss.shape == (steps,)

    def on_epoch(self, record):
        self.epochs.append(record.epoch)

    def stop(self):
        return self.steps >= self.stop_after


def new_run(directory, **settings):
    run = begin(run_configuration({**SETTINGS, **settings}, "test"), directory)
    return run, Position(0), []


def parameters_of(directory):
    return named_arrays(read_checkpoint(directory / "checkpoint.h5").learner.parameters)


def without_times(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "samples_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def test_a_run_writes_what_the_manual_says(tmp_path):
    out = tmp_path / "run"
    watcher = Watcher()
    training.train(*new_run(out), watcher)
    assert sorted(p.name for p in out.iterdir()) == [
        "best.h5",
        "checkpoint-1.h5",
        "checkpoint.h5",
        "config.toml",
        "curves.png",
        "metrics.jsonl",
    ]
    assert watcher.epochs == [1, 2, 3]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        needed = "train_loss train_accuracy valid_loss valid_accuracy test_loss test_accuracy"
        for key in (*needed.split(), "seconds", "samples_per_second"):
            assert math.isfinite(row[key])
        assert 0 <= row["train_accuracy"] <= 1
        # 27 batches of 50 fit the 1,350 training digits exactly.
        assert sum(row["closed_loop"].values()) == 1350
        assert sum(row["evaluation"].values()) == 150 + 297
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert load_run_configuration(out / "config.toml", {}).hidden == [8]
    # Three epochs of descent: the loss that is descended must have fallen.
    assert rows[0]["train_loss"] > rows[1]["train_loss"] > rows[2]["train_loss"]


@pytest.mark.parametrize("rule", ["exact-inverse", "linear-threshold", "backprop"])
def test_the_epoch_is_the_reference_s_own_steps_in_the_stated_order(tmp_path, rule):
    """The loop written out once more from refimpl and the data alone."""
    train(*new_run(tmp_path / "run", rule=rule, epochs=1, seed=-5), Watcher())
    data = digits()
    entropy = np.random.SeedSequence(entropy=9, spawn_key=(0, 0))
    parameters = initial_parameters((64, 8, 10), np.random.Generator(np.random.PCG64(entropy)))
    configuration = NetworkConfiguration(sizes=(64, 8, 10), rule=rule)
    learner = new_learner(configuration, parameters)
    labels = softened_labels(data.train.labels, 10)
    losses, under_control = [], []
    for batch in batch_order(-5, 0, 1350, 50):
        x = data.train.images[batch] / 16
        learner, metrics = learning_step(configuration, Solver(), learner, x, labels[batch])
        losses.append(metrics.loss)
        under_control.append(metrics.closed_loop_n_correct)
    for name, array in named_arrays(learner.parameters).items():
        np.testing.assert_allclose(parameters_of(tmp_path / "run")[name], array, rtol=0, atol=1e-12)
    (record,) = read_records(tmp_path / "run" / "metrics.jsonl")
    assert record.train_loss == pytest.approx(np.mean(losses), rel=1e-12)
    if rule == "backprop":
        assert record.train_closed_loop_accuracy is None
    else:
        assert record.train_closed_loop_accuracy == sum(under_control) / 1350
        assert record.train_closed_loop_accuracy > record.train_accuracy
    arrays = named_arrays(learner.parameters)
    assert record.weight_norm == {
        name: pytest.approx(np.sqrt(np.sum(arrays[f"{name}/weight"] ** 2)), rel=1e-9)
        for name in ("hidden_0", "readout")
    }
    assert record.learning_rate == 1e-3
    assert (record.train_closed_loop_loss is None) == (rule == "backprop")


STOPS = (
    (5, "float32", "linear-threshold"),
    (27, "float64", "linear-threshold"),
    (40, "float32", "backprop"),
)
RULES = ("exact-inverse", "linear-threshold", "backprop")


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize(
    ("stop_after", "dtype", "rule"),
    [
        pytest.param(*stop, marks=() if stop in STOPS else pytest.mark.slow)
        for stop in itertools.product((0, 5, 27, 40), ("float32", "float64"), RULES)
    ],
)
def test_a_run_stopped_and_resumed_is_the_same_run(tmp_path, dtype, rule, stop_after):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(*new_run(whole, dtype=dtype, rule=rule), Watcher())
    watcher = Watcher(stop_after)
    position, _ = train(*new_run(parts, dtype=dtype, rule=rule), watcher, watcher.stop)
    assert position.epochs < 3
    train(*resume(parts, None), Watcher())
    for name, array in parameters_of(whole).items():
        np.testing.assert_array_equal(parameters_of(parts)[name], array)
    assert without_times(parts) == without_times(whole)


def test_epochs_is_the_total_when_resuming_too(tmp_path):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    train(*resume(out, 3), Watcher())
    assert [row["epoch"] for row in without_times(out)] == [1, 2, 3]
    assert load_run_configuration(out / "config.toml", {}).epochs == 3
    with pytest.raises(ConfigurationError, match=r"is the total, and .* has come further"):
        resume(out, 2)
    train(*new_run(tmp_path / "whole"), Watcher())
    for name, array in parameters_of(tmp_path / "whole").items():
        np.testing.assert_array_equal(parameters_of(out)[name], array)


def test_a_line_without_its_checkpoint_does_not_come_twice(tmp_path):
    """As after a crash between the two."""
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    log = out / "metrics.jsonl"
    (record,) = read_records(log)
    append_record(log, type(record)(**{**record.__dict__, "epoch": 2}))
    with open(log, "a") as file:
        file.write('{"epoch": 3, "train_l')
    train(*resume(out, 2), Watcher())
    rows = without_times(out)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] != rows[0]["train_loss"]


def test_seeds_and_only_seeds_change_a_run(tmp_path):
    losses = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", -1), ("e", 2**70)):
        train(*new_run(tmp_path / name, seed=seed, epochs=1), Watcher())
        losses[name] = without_times(tmp_path / name)[0]["train_loss"]
    assert losses["a"] == losses["b"]
    assert len({losses[name] for name in "acde"}) == 4


def test_a_start_file_sets_parameters_and_the_first_epoch_s_batches(tmp_path):
    parameters = initial_parameters((64, 8, 10), np.random.default_rng(5))
    order = np.arange(100).reshape(2, 50)
    with h5py.File(tmp_path / "start.h5", "w") as file:
        write_parameters(file.create_group("initial_parameters"), parameters)
        file["batch_order"] = order
    train(*new_run(tmp_path / "run", start=str(tmp_path / "start.h5"), epochs=1), Watcher())
    configuration = NetworkConfiguration(sizes=(64, 8, 10))
    learner, data = new_learner(configuration, parameters), digits()
    labels = softened_labels(data.train.labels, 10)
    for batch in order:
        x = data.train.images[batch] / 16
        learner, _ = learning_step(configuration, Solver(), learner, x, labels[batch])
    for name, array in named_arrays(learner.parameters).items():
        np.testing.assert_allclose(parameters_of(tmp_path / "run")[name], array, rtol=0, atol=1e-12)


def test_integrations_that_do_not_settle_are_in_the_metrics(tmp_path):
    solver = {"method": "tsit5", "horizon": 0.01}
    train(*new_run(tmp_path / "run", solver=solver, epochs=1), Watcher())
    (record,) = read_records(tmp_path / "run" / "metrics.jsonl")
    assert record.open_loop["unsettled"] == record.closed_loop["unsettled"] == 1350
    assert record.unsettled == 2 * 1350 + 150 + 297


def test_the_mean_number_of_solver_steps_is_in_the_metrics_and_shown(tmp_path):
    solver = "solver.method=euler solver.step_control=constant solver.dt=0.001 solver.horizon=0.02"
    small = ["--hidden", "3", "--batch-size", "50", "--epochs", "1", "--backend", "numpy"]
    settings = [part for one in solver.split() for part in ("--set", one)]
    trained = disinhib("train", *small, *settings, "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    (record,) = read_records(tmp_path / "run" / "metrics.jsonl")
    assert (record.open_loop_steps, record.closed_loop_steps) == (20.0, 20.0)
    said = "20.0 steps in open loop and 20.0 steps under control to integrate a sample"
    assert f"\n  {said}\n" in trained.stdout
    file = tmp_path / "e.json"
    shown = disinhib("evaluate", tmp_path / "run", "--closed-loop", "--json", file)
    assert f"\n  {said}\n" in shown.stdout
    assert json.loads(file.read_text())["closed_loop_steps"] == 20.0
    assert "20.0 steps in open loop to integrate" in disinhib("evaluate", tmp_path / "run").stdout
    table = load(tmp_path / "run").metrics
    assert table["open_loop_steps"].tolist() == [20.0]


def test_without_integration_there_are_no_steps(tmp_path):
    train(*new_run(tmp_path / "run", epochs=1), Watcher())
    (record,) = read_records(tmp_path / "run" / "metrics.jsonl")
    assert (record.open_loop_steps, record.closed_loop_steps) == (None, None)
    assert set(record.open_loop) == {"frozen_newton", "fresh_newton", "integrated", "unsettled"}


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("is_older", [False, True])
def test_steps_are_counted_across_a_stop_within_an_epoch(tmp_path, is_older):
    """A checkpoint of before they were has none, and then the epoch has none either."""
    settings = {"epochs": 1, "solver": {"method": "euler", "max_steps": 3}, "hidden": [3]}
    parts, watcher = tmp_path / "parts", Watcher(stop_after=5)
    train(*new_run(parts, **settings), watcher, watcher.stop)
    for file in ("checkpoint.h5", "checkpoint-1.h5") if is_older else ():
        with h5py.File(parts / file, "a") as checkpoint:
            for loop in ("open_loop_counts", "closed_loop_counts"):
                if loop in checkpoint["position"]:
                    del checkpoint[f"position/{loop}"].attrs["steps"]
            sign(checkpoint)
    train(*resume(parts, 1), Watcher())
    (found,) = read_records(parts / "metrics.jsonl")
    wanted = None if is_older else 3
    assert (found.open_loop_steps, found.closed_loop_steps) == (wanted, wanted)


def test_a_run_is_never_overwritten(tmp_path):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    before = parameters_of(out)
    with pytest.raises(ConfigurationError, match="already holds a run"):
        new_run(out)
    for name, array in parameters_of(out).items():
        np.testing.assert_array_equal(before[name], array)


def test_a_loss_that_is_no_number_ends_the_run_with_its_checkpoint_whole(tmp_path):
    """Outputs of 1e25 have squares that float32 cannot hold."""
    parameters = initial_parameters((64, 8, 10), np.random.default_rng(5))
    huge = dataclasses.replace(parameters, readout=parameters.readout * 1e25)
    with h5py.File(tmp_path / "start.h5", "w") as file:
        write_parameters(file.create_group("initial_parameters"), huge)
    settings = {"rule": "backprop", "loss": "mse", "start": str(tmp_path / "start.h5")}
    out = tmp_path / "run"
    with (
        pytest.raises(TrainingDiverged, match="the loss is not finite in epoch 1"),
        np.errstate(all="ignore"),
    ):
        train(*new_run(out, dtype="float32", **settings), Watcher())
    assert read_checkpoint(out / "checkpoint.h5").position.epochs == 0


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    """And the run ends as if nothing had happened."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    train(*new_run(whole, epochs=3), Watcher())
    train(*new_run(out, epochs=2), Watcher())
    damaged = out / "checkpoint.h5"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    told = []
    run, position, records = resume(out, 3, told.append)
    assert position.epochs == 1
    assert len(told) == 2
    assert "checkpoint.h5: the file is damaged" in told[0]
    assert told[1].endswith("checkpoint-1.h5")
    train(run, position, records, Watcher())
    for name, array in parameters_of(whole).items():
        np.testing.assert_array_equal(parameters_of(out)[name], array)
    assert without_times(out) == without_times(whole)


def test_other_data_are_not_resumed(tmp_path):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    for name in ("checkpoint.h5", "checkpoint-1.h5"):
        with h5py.File(out / name, "a") as file:
            assert len(file.attrs["data"]) == 64
            file.attrs["data"] = "0" * 64
            sign(file)
    with pytest.raises(ConfigurationError, match=r"data: digits .* SHA-256 \w{12}…, the .* 0{12}…"):
        resume(out, 3)


def test_another_random_state_is_not_resumed(tmp_path):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    with h5py.File(out / "checkpoint.h5", "a") as file:
        state = json.loads(file.attrs["random_state"])
        state["state"]["state"] += 1
        file.attrs["random_state"] = json.dumps(state)
        sign(file)
    with pytest.raises(ConfigurationError, match="it would be another run"):
        resume(out, 3)


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigurationError, match="batch_size is 2000: digits has 1350"):
        new_run(tmp_path / "run", batch_size=2000)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_epoch_in_float32_ends_where_the_reference_in_float64_does(tmp_path):
    """Compiled float32 against the reference, same start and order, within 0.3 points."""
    try:
        load_dataset("fashion_mnist")
    except DatasetError as problem:
        pytest.skip(str(problem))
    accuracies = {}
    for backend, dtype in (("numba", "float32"), ("numpy", "float64")):
        out = tmp_path / backend
        settings = {"hidden": [256, 256, 256], "epochs": 1, "batch_size": 100}
        run = new_run(out, dataset="fashion_mnist", backend=backend, **{**settings, "dtype": dtype})
        train(*run, Watcher())
        accuracies[backend] = read_records(out / "metrics.jsonl")[0].test_accuracy
    assert accuracies["numba"] > 0.75
    assert abs(accuracies["numba"] - accuracies["numpy"]) < 0.003


def test_a_log_of_before_some_figures_were_kept_is_read_and_gone_on_with(tmp_path):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    (row,) = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for name in (
        "train_closed_loop_accuracy", "learning_rate", "weight_norm",
        "open_loop_steps", "closed_loop_steps",
    ):  # fmt: skip
        del row[name]
    (out / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    train(*resume(out, 2), Watcher())
    first, second = read_records(out / "metrics.jsonl")
    assert (first.train_closed_loop_accuracy, first.learning_rate) == (None, None)
    assert first.weight_norm == {}
    assert list(second.weight_norm) == ["hidden_0", "readout"]


@pytest.mark.usefixtures("step_by_step")
def test_a_checkpoint_within_an_epoch_keeps_the_count_under_control(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(*new_run(whole, epochs=1), Watcher())
    watcher = Watcher(stop_after=5)
    train(*new_run(parts, epochs=1), watcher, watcher.stop)
    train(*resume(parts, 1), Watcher())
    assert without_times(parts) == without_times(whole)
    # One of before it was counted has none, and the epoch says so.
    older = tmp_path / "older"
    watcher = Watcher(stop_after=5)
    train(*new_run(older, epochs=1), watcher, watcher.stop)
    for file in ("checkpoint.h5", "checkpoint-1.h5"):
        with h5py.File(older / file, "a") as checkpoint:
            if "closed_loop_n_correct" in checkpoint["position"]:
                del checkpoint["position/closed_loop_n_correct"]
            sign(checkpoint)
    train(*resume(older, 1), Watcher())
    (record,) = read_records(older / "metrics.jsonl")
    assert record.train_closed_loop_accuracy is None
    assert record.train_closed_loop_loss is not None


def test_a_norm_is_one_of_whatever_finite_weights():
    huge = np.full((2, 2), 1e200)
    parameters = Parameters((huge, np.zeros((2, 1))), (np.zeros(2), np.zeros(1)), np.eye(2))
    found = weight_norms(parameters)
    assert found == {
        "hidden_0": pytest.approx(2e200),
        "hidden_1": 0,
        "readout": pytest.approx(2**0.5),
    }
