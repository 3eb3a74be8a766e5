"""Runs that stop having numbers: the step, the layer, and the checkpoint that is left."""

import dataclasses
import re

import h5py
import numpy as np
import pytest

from disinhib.datasets.dataset import batch_order, softened_labels
from disinhib.datasets.load import digits
from disinhib.experiments.training.epochs import CheckpointInterval, TrainingDiverged
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import (
    ConfigurationError,
    NetworkConfiguration,
    Optimizer,
    Solver,
)
from disinhib.refimpl.learning_step import learning_step, new_learner
from disinhib.validation import FileError, Position, read_checkpoint, write_checkpoint
from disinhib.validation.storage.arrays import named_arrays, not_finite, write_parameters

from ..validation.test_files import checkpoint
from .test_command_line import disinhib, one_line
from .test_training import Watcher, new_run, train

STEEP = {"rule": "backprop", "loss": "mse", "dtype": "float32", "hidden": [8, 6]}


def start_file(path, scale=1.0, sizes=(64, 8, 6, 10)):
    parameters = initial_parameters(sizes, np.random.default_rng(5))
    scaled = dataclasses.replace(parameters, readout=parameters.readout * scale)
    with h5py.File(path, "w") as file:
        write_parameters(file.create_group("initial_parameters"), scaled)
    return str(path)


def first_step_that_fails(rule, loss, rate):
    """By the reference alone, step by step; whether a loss failed, and which layers did."""
    configuration = NetworkConfiguration(
        sizes=(64, 8, 6, 10),
        rule=rule,
        loss=loss,
        optimizer=Optimizer("sgd", learning_rate=rate),
    )
    parameters = initial_parameters((64, 8, 6, 10), np.random.default_rng(5))
    learner, data = new_learner(configuration, parameters.astype(np.float32)), digits()
    labels = softened_labels(data.train.labels, 10).astype(np.float32)
    with np.errstate(all="ignore"):
        for number, batch in enumerate(batch_order(0, 0, 1350, 50), start=1):
            x = (data.train.images[batch] / 16).astype(np.float32)
            learner, metrics = learning_step(configuration, Solver(), learner, x, labels[batch])
            arrays = named_arrays(learner.parameters).items()
            layers = {name.split("/")[0] for name, a in arrays if not np.isfinite(a).all()}
            losses = [
                metrics.loss,
                metrics.loss if rule == "backprop" else metrics.closed_loop_loss,
            ]
            if layers or not np.isfinite(losses).all():
                return number, not np.isfinite(losses).all(), layers
    raise AssertionError("no step fails")


@pytest.mark.parametrize("every", [4, 1000])
@pytest.mark.parametrize(
    ("backend", "rule", "loss", "rate"),
    [
        ("numpy", "backprop", "mse", 1e8),
        pytest.param("numpy", "exact-inverse", "mse", 1e8, marks=pytest.mark.slow),
        pytest.param("numpy", "exact-inverse", "mse", 1e16, marks=pytest.mark.slow),
        pytest.param(
            "numpy", "exact-inverse", "softmax-cross-entropy", 1e30, marks=pytest.mark.slow
        ),
        pytest.param("numpy", "linear-threshold", "mse", 1e8, marks=pytest.mark.slow),
        ("numpy", "backprop", "mse", 1e38),
        ("numba", "backprop", "mse", 1e8),
    ],
)
def test_the_step_and_the_layers_are_those_of_the_reference(
    tmp_path, backend, rule, loss, rate, every
):
    step, loss_failed, layers = first_step_that_fails(rule, loss, rate)
    settings = {**STEEP, "backend": backend, "rule": rule, "loss": loss}
    settings["optimizer"] = {"name": "sgd", "learning_rate": rate}
    run = new_run(tmp_path / "run", **settings, start=start_file(tmp_path / "s.h5"))
    with pytest.raises(TrainingDiverged) as problem:
        train(*run, Watcher(), interval=CheckpointInterval(every, "steps"))
    line = str(problem.value)
    assert "\n" not in line
    assert re.search(rf"epoch 1, step {step}\b", line), line
    assert ("loss is not finite in" in line) == loss_failed, line
    named = {
        *(f"hidden_{l}" for l in re.findall(r"hidden layer (\d) \([^)]*(?:weight|bias)", line)),
        *re.findall(r"(readout) \([^)]*weight", line),
    }
    assert named == layers, line
    # Saved at every fourth step, and never from there on.
    good = (step - 1) // every * every
    assert line.endswith(
        f"the last good checkpoint is {tmp_path}/run/checkpoint.h5, at 0 epochs and {good} steps"
    )
    saved = read_checkpoint(tmp_path / "run" / "checkpoint.h5")
    assert saved.position.steps == good
    assert not_finite(saved.learner) == []


def test_the_command_ends_with_1_and_one_line(tmp_path):
    (tmp_path / "c.toml").write_text(
        'rule = "backprop"\nloss = "mse"\nhidden = [8, 6]\nbatch_size = 50\n'
        '[optimizer]\nname = "sgd"\nlearning_rate = 1e30\n'
    )
    line = one_line(disinhib("train", "c.toml", "--out", "run", cwd=tmp_path), code=1)
    assert "epoch 1, step " in line
    assert "the last good checkpoint is run/checkpoint.h5, at 0 epochs and 0 steps" in line
    # What is left can be gone on from: it says the same again.
    again = one_line(disinhib("train", "--resume", "run", cwd=tmp_path), code=1)
    assert again == line


def test_the_newest_checkpoint_may_be_the_one_that_is_damaged(tmp_path):
    out = tmp_path / "run"
    settings = {"optimizer": {"name": "sgd", "learning_rate": 1e30}}

    class Vandal(Watcher):
        def on_steps(self, *arguments):
            super().on_steps(*arguments)
            (out / "checkpoint.h5").rename(out / "checkpoint-1.h5")
            (out / "checkpoint.h5").write_bytes(b"no checkpoint")

    run = new_run(out, **STEEP, **settings)
    with pytest.raises(TrainingDiverged) as problem:
        train(*run, Vandal())
    where = out / "checkpoint-1.h5" if (out / "checkpoint-1.h5").exists() else out / "checkpoint.h5"
    assert f"the last good checkpoint is {where}, at 0 epochs" in str(problem.value)


def test_a_loss_that_fails_in_evaluation_alone_is_placed(tmp_path):
    """One image of the test data is so bright that the square of an output overflows."""
    run, position, records = new_run(tmp_path / "run", epochs=1, loss="mse")
    images = run.dataset.test.images.astype(float)
    images[3] = 1e200
    labels = softened_labels(run.dataset.test.labels, 10)
    test = run.backend.place(images, labels)
    run = dataclasses.replace(run, test=test)
    with pytest.raises(TrainingDiverged, match="the test loss is not finite after epoch 1, though"):
        train(run, position, records, Watcher())
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("weight", "hidden layer 1 (weight)"),
        ("bias", "hidden layer 1 (bias)"),
        ("readout", "readout (weight)"),
        ("first_moment", "hidden layer 0 (first moment)"),
        ("second_moment", "readout (second moment)"),
        ("mean_inhibition", "hidden layer 1 (running mean)"),
    ],
)
def test_what_is_not_finite_is_never_saved(tmp_path, place, named, value):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint(position=Position(1)))
    before = path.read_bytes()
    broken = checkpoint(position=Position(2))
    optimizer = broken.learner.optimizer
    array = {
        "weight": broken.learner.parameters.weights[1],
        "bias": broken.learner.parameters.biases[1],
        "readout": broken.learner.parameters.readout,
        "first_moment": optimizer.first_moment.biases[0],
        "second_moment": optimizer.second_moment.readout,
        "mean_inhibition": broken.learner.mean_inhibition[1],
    }[place]
    array[(-1,) * array.ndim] = value
    with pytest.raises(FileError) as problem:
        write_checkpoint(path, broken)
    assert f"not finite: {named}: no run can go on from that; what was" in str(problem.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5"]


def test_a_start_that_is_not_finite_is_refused_before_anything_is_written(tmp_path):
    start = start_file(tmp_path / "s.h5", scale=1e300)
    message = r"s\.h5: parameters: readout weight is .*e\+2.. at .*: float32 ends at 3\.4e\+38"
    with pytest.raises(ConfigurationError, match=message):
        new_run(tmp_path / "run", **STEEP, start=start)
    assert not (tmp_path / "run").exists()
