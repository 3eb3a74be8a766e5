"""Learning rates that change from epoch to epoch."""

import itertools
import math

import numpy as np
import pytest

from disinhib.datasets import batch_order, softened_labels
from disinhib.datasets.load import digits
from disinhib.experiments.training import (
    Schedule,
    begin,
    read_records,
    run_configuration,
)
from disinhib.refimpl import (
    ConfigurationError,
    NetworkConfiguration,
    Optimizer,
    Solver,
    learning_step,
    new_learner,
)
from disinhib.validation import Position, read_checkpoint
from disinhib.validation.storage.arrays import named_arrays

from .test_training import resume, train

SETTINGS = {
    "hidden": [8], "epochs": 4, "batch_size": 150, "dtype": "float64", "rule": "linear-threshold",
}  # fmt: skip


class Watcher:
    """Stops a run after so many steps in all."""

    def __init__(self, stop_after=math.inf):
        self.steps, self.stop_after = 0, stop_after

    def on_steps(self, epoch, steps, n_steps, metrics):
        self.steps = epoch * n_steps + steps

    def on_epoch(self, record):
        pass

    def stop(self):
        return self.steps >= self.stop_after


def run(directory, **settings):
    return begin(run_configuration({**SETTINGS, **settings}, "test"), directory), Position(0), []


def parameters_of(directory):
    return named_arrays(read_checkpoint(directory / "checkpoint.h5").learner.parameters)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1, 1, 1, 1, 1]),
        (Schedule(warm_up=3), [1 / 4, 2 / 4, 3 / 4, 1, 1]),
        (Schedule("step", every=2), [1, 1, 0.1, 0.1, 0.01]),
        (Schedule("step", every=2, factor=0.5, warm_up=1), [1 / 2, 1, 1, 0.5, 0.5]),
        # Halfway between 1 and `final` when half of the epochs after warming up are over.
        (Schedule("cosine", final=0.2, warm_up=1), [1 / 2, 1, 0.8828427, 0.6, 0.3171573]),
    ],
)
def test_factors(schedule, expected):
    found = [schedule.factor_at(epoch, 5) for epoch in range(5)]
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_each_epoch_learns_at_its_rate(tmp_path, backend):
    """The loop written out once more, from the reference and the rates of a halving a epoch."""
    schedule = {"name": "step", "every": 1, "factor": 0.5}
    started = run(tmp_path / "run", schedule=schedule, backend=backend)
    data, parameters = digits(), started[0].backend.learner().parameters
    train(*started, Watcher())
    labels, learner = softened_labels(data.train.labels, 10), None
    for epoch in range(4):
        optimizer = Optimizer(learning_rate=1e-3 / 2**epoch)
        network = NetworkConfiguration(
            sizes=(64, 8, 10), rule="linear-threshold", optimizer=optimizer
        )
        learner = learner or new_learner(network, parameters)
        for batch in batch_order(0, epoch, 1350, 150):
            x = data.train.images[batch] / 16
            learner, _ = learning_step(network, Solver(), learner, x, labels[batch])
    found = parameters_of(tmp_path / "run")
    for name, array in named_arrays(learner.parameters).items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize(
    ("name", "stop_after"),
    [
        pytest.param(*stop, marks=() if stop in (("cosine", 9),) else pytest.mark.slow)
        for stop in itertools.product(("step", "cosine"), (9, 13, 27))
    ],
)
def test_a_run_with_a_schedule_resumes_to_the_same(tmp_path, name, stop_after):
    schedule = {"name": name, "every": 2, "warm_up": 1}
    train(*run(tmp_path / "whole", schedule=schedule), Watcher())
    watcher = Watcher(stop_after)
    position, _ = train(*run(tmp_path / "parts", schedule=schedule), watcher, watcher.stop)
    assert position.epochs < 4
    train(*resume(tmp_path / "parts", None), Watcher())
    found = parameters_of(tmp_path / "parts")
    for name_of_array, array in parameters_of(tmp_path / "whole").items():
        np.testing.assert_array_equal(found[name_of_array], array)


def test_the_log_has_the_rate_of_each_epoch(tmp_path):
    """Of 0.01: half in the one epoch of warming up, all for two, a tenth from then on."""
    schedule = {"name": "step", "every": 2, "factor": 0.1, "warm_up": 1}
    optimizer = {"learning_rate": 0.01}
    train(*run(tmp_path, schedule=schedule, optimizer=optimizer, epochs=4), Watcher())
    found = [record.learning_rate for record in read_records(tmp_path / "metrics.jsonl")]
    assert found == pytest.approx([0.005, 0.01, 0.01, 0.001], rel=1e-12)


def test_a_cosine_goes_on_over_the_epochs_it_began_with(tmp_path):
    """Over others all that went before would have been learnt at other rates."""
    train(*run(tmp_path, schedule={"name": "cosine"}, epochs=2), Watcher())
    with pytest.raises(
        ConfigurationError, match=r"epochs 3: .* by a cosine over 2.* may start from"
    ):
        resume(tmp_path, 3)


def test_a_cosine_after_warming_up_in_all_epochs_is_done_when_it_is(tmp_path):
    schedule = {"name": "cosine", "warm_up": 2}
    train(*run(tmp_path, schedule=schedule, epochs=2), Watcher())
    resumed = resume(tmp_path, None)
    assert resumed[1].epochs == 2
    resumed[0].lock.release()


@pytest.mark.parametrize("factor", [1e155, 1e300, 1e-20])
def test_rates_that_no_precision_has_are_refused_before_anything_is_trained(factor):
    with pytest.raises(ConfigurationError, match=r"schedule: the learning rate would come to"):
        run_configuration(
            {"schedule": {"name": "step", "every": 1, "factor": factor}, "epochs": 9,
             "dtype": "float32"}, "test",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"name": "linear"}, "Schedule.name is 'linear': choose one of constant, step, cosine"),
        ({"warm_up": -1}, "Schedule.warm_up is -1: must be at least 0"),
        ({"every": 0}, "Schedule.every is 0: must be at least 1"),
        ({"factor": 0}, "Schedule.factor is 0"),
        ({"final": 1.5}, "Schedule.final is 1.5: must be at most 1"),
        ({"cosine": True}, "unknown key 'cosine'"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, message):
    with pytest.raises(ConfigurationError, match="schedule: ") as refusal:
        run_configuration({"schedule": schedule}, "test")
    assert message in str(refusal.value)
