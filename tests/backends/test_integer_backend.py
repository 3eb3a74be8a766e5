"""The backend in integers: the same bits compiled and not, on any threads, stopped and gone on."""

import copy
import dataclasses
import itertools
import json

import numpy as np
import pytest

from disinhib.backends import backend_class
from disinhib.experiments.training import load_run_configuration, resume, run_configuration
from disinhib.experiments.training.epochs import train
from disinhib.refimpl import (
    LOSSES,
    ArgumentError,
    ConfigurationError,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Recording,
    Solver,
    initial_parameters,
)
from disinhib.refimpl.integers import ROUNDINGS, arithmetic
from disinhib.validation import (
    conform,
    named_arithmetic,
    named_arrays,
    read_checkpoint,
    read_trace,
    record_trace,
    shipped_directory,
)

from ..experiments.test_command_line import disinhib, one_line
from ..experiments.test_training import Watcher, new_run, without_times

SGD = Optimizer(name="sgd", learning_rate=0.5)
COMPILED, REFERENCE = "integer", "integer-reference"
WAYS = {
    "default": {},
    "weak, averaged": {"feedback": Feedback(strong=False, nudge=0.1, average=True)},
    "threshold, clipped": {
        "rule": "linear-threshold",
        "mean_inhibition": MeanInhibition(rate=0.3),
        "feedback": Feedback(to_readout=False, clip=0.1, norm=2.0),
    },
    "backprop": {"rule": "backprop"},
}


def made(name, about, hidden=(6, 5), threads=1, dtype=np.float32, **settings):
    network = NetworkConfiguration(sizes=(9, *hidden, 3), optimizer=SGD, **settings)
    parameters = initial_parameters(network.sizes, np.random.default_rng(1))
    return backend_class(name)(network, parameters, dtype, Solver(), threads, arithmetic=about)


def data(n=13):
    generator = np.random.default_rng(3)
    y = np.full((n, 3), 0.005, np.float32)
    y[np.arange(n), generator.integers(0, 3, n)] = 0.99
    return generator.random((n, 9)).astype(np.float32), y


def assert_same(one, other):
    """Learners, bit for bit."""
    assert one.optimizer == other.optimizer
    for ours, theirs in zip(
        (*named_arrays(one.parameters).values(), *one.mean_inhibition),
        (*named_arrays(other.parameters).values(), *other.mean_inhibition),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


CASES = list(itertools.product(WAYS, ROUNDINGS, LOSSES))


@pytest.mark.parametrize(
    ("way", "rounding", "loss"),
    [pytest.param(*case, marks=() if n % 3 == 0 else pytest.mark.slow)
     for n, case in enumerate(CASES)],
)  # fmt: skip
def test_compiled_ticks_are_the_reference_s_on_any_threads(way, rounding, loss):
    hidden = (6,) if rounding == "truncate" else (6, 5)
    interpolation = "none" if rounding == "floor" else "linear"
    # Narrow ones, so that something does not fit.
    about = arithmetic(rounding=rounding, interpolation=interpolation, ticks=12, seed=7,
                       control="10.8", gradient="8.12", table_range=1)  # fmt: skip
    x, y = data()
    found = []
    for name, threads in ((REFERENCE, 1), (COMPILED, 1), (COMPILED, 3)):
        backend = made(name, about, hidden, threads, loss=loss, **WAYS[way])
        metrics = backend.train(backend.place(x, y), np.array([[0, 5, 2, 7], [1, 3, 12, 4]]))
        evaluation = backend.evaluate(backend.place(x, y), 5)
        found.append((backend.learner(), metrics, evaluation, backend.take_overflows()))
        assert backend.take_overflows() == {}
    first = found[0]
    assert first[3]
    for learner, metrics, evaluation, overflows in found[1:]:
        assert_same(learner, first[0])
        np.testing.assert_array_equal(metrics.loss, first[1].loss)
        np.testing.assert_array_equal(metrics.closed_loop_loss, first[1].closed_loop_loss)
        assert (evaluation.loss, evaluation.accuracy) == (first[2].loss, first[2].accuracy)
        assert overflows == first[3]


@pytest.mark.parametrize("way", ["default", "threshold, clipped", "backprop"])
def test_stages_one_by_one_are_a_learning_step(way):
    """Through numbers and back: nothing is lost on the way."""
    about, (x, y) = arithmetic(rounding="stochastic", ticks=9), data()
    whole, parts = (made(COMPILED, about, **WAYS[way]) for _ in range(2))
    whole.learning_step(x, y)
    if way == "backprop":
        states, r_bar = [parts_state(parts, x)] * 2, parts.learner().mean_inhibition
    else:
        opened, counts = parts.open_loop(x)
        assert counts.integrated == 13
        r_bar = parts.mean_inhibition(opened)
        Q, target = parts.feedback_weights(opened), parts.closed_loop_target(opened, y)
        states = [opened, parts.closed_loop(x, Q, target, opened)[0]]
    parts.update(parts.gradients(x, y, *states, r_bar), r_bar)
    assert_same(parts.learner(), whole.learner())


def parts_state(backend, x):
    """Of the right shapes: backprop does not use it."""
    other = made(COMPILED, backend.arithmetic)
    return other.open_loop(x)[0]


def test_a_path_ends_where_the_end_state_is():
    about, (x, y) = arithmetic(ticks=20), data()
    backend = made(COMPILED, about)
    end, _ = backend.open_loop(x)
    path = backend.open_loop_trajectory(Recording(method="euler", n_steps=20, every=5), x)
    assert path.u_out.shape == (5, 13, 3)
    np.testing.assert_array_equal(path.u_E[1][-1], end.u_E[1])
    Q, target = backend.feedback_weights(end), backend.closed_loop_target(end, y)
    closed, _ = backend.closed_loop(x, Q, target, end)
    record = Recording(method="euler", n_steps=20, every=20)
    under_control = backend.closed_loop_trajectory(record, x, Q, target, end)
    np.testing.assert_array_equal(under_control.z[-1], closed.z)
    np.testing.assert_array_equal(under_control.u_I[0][0], end.u_I[0])
    nothing = backend.open_loop_trajectory(Recording(method="euler", n_steps=0), x)
    assert nothing.u_out.shape == (1, 13, 3)
    assert not np.any(nothing.u_E[0])
    with pytest.raises(ArgumentError, match="method euler"):
        backend.open_loop_trajectory(Recording(), x)


def test_bytes_are_taken_by_their_full_scale():
    backend = made(COMPILED, arithmetic(ticks=5))
    x, y = data()
    bytes_ = np.rint(x * 255).astype(np.uint8)
    same = backend.evaluate(backend.place((bytes_ / 255).astype(np.float32), y))
    assert backend.evaluate(backend.place(bytes_, y, full_scale=255.0)).loss == same.loss


def test_a_copy_goes_on_as_the_original(tmp_path):
    one = made(COMPILED, arithmetic(ticks=5, preset="int8-weights"))
    x, y = data()
    one.learning_step(x, y)
    other = copy.deepcopy(one)
    one.learning_step(x, y)
    other.learning_step(x, y)
    assert_same(one.learner(), other.learner())


@pytest.mark.usefixtures("step_by_step")
def test_a_run_stopped_and_resumed_has_the_same_bits(tmp_path):
    settings = {
        "backend": "integer", "dtype": "float32", "epochs": 2, "batch_size": 300,
        "arithmetic": {"ticks": 10, "rounding": "stochastic"}, "optimizer": {"learning_rate": 2.0},
    }  # fmt: skip
    train(*new_run(tmp_path / "whole", **settings), Watcher())
    watcher = Watcher(stop_after=3)
    position, _ = train(*new_run(tmp_path / "parts", **settings), watcher, watcher.stop)
    assert position.steps == 3
    train(*resume(tmp_path / "parts", None), Watcher())
    ours, theirs = (
        read_checkpoint(tmp_path / name / "checkpoint.h5").learner for name in ("parts", "whole")
    )
    assert_same(ours, theirs)
    lines = [without_times(tmp_path / name) for name in ("parts", "whole")]
    for line in itertools.chain(*lines):
        # What did not fit before the stop was counted by the process before.
        line.pop("overflows")
    assert lines[0] == lines[1]


def test_settings_of_integers_are_filled_in_and_come_back_from_their_file(tmp_path):
    configuration = run_configuration({"backend": "integer"}, "test")
    assert configuration.arithmetic == arithmetic("int16")
    assert configuration.optimizer.name == "sgd"
    assert run_configuration({"arithmetic": {"ticks": 3}}, "test").backend == "integer"
    file = tmp_path / "run.toml"
    file.write_text('[arithmetic]\npreset = "fpga"\nticks = 9\n')
    found = load_run_configuration(file, {"arithmetic.weight": "9.7"})
    assert found.arithmetic == arithmetic("fpga", ticks=9, weight="9.7")
    other = load_run_configuration(file, {"arithmetic.preset": "int16", "arithmetic.ticks": 4})
    assert other.arithmetic == arithmetic("int16", ticks=4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("--set", "optimizer.name=adam"), "descend by sgd"),
        (("--set", "solver.method=euler"), "ticks alone"),
        (("--set", "arithmetic.weight=8"), "as in '16.12'"),
        (("--set", "arithmetic.preset=wide"), "use dtype float64"),
        (("--set", "arithmetic.normalisation=table"), "normali"),
    ],
)
def test_what_integers_do_not_have_is_refused_in_a_line(tmp_path, settings, words):
    result = disinhib("train", "--backend", "integer", *settings, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert words in one_line(result)
    assert not (tmp_path / "run").exists()


def test_floating_point_has_no_arithmetic_of_integers():
    with pytest.raises(ConfigurationError, match="use backend integer"):
        run_configuration({"backend": "numba", "arithmetic": {"ticks": 3}}, "test")


def test_the_command_says_what_it_takes_and_a_float_run_runs_in_integers(tmp_path):
    small = ("--set", "hidden=[8]", "--epochs", "1")
    result = disinhib("train", "--backend", "integer", *small, "--set", "arithmetic.ticks=10",
                      "--out", tmp_path / "run")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "10 ticks in integers of preset int16" in result.stderr + result.stdout
    assert "sgd" in result.stderr + result.stdout
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert all(n > 0 for n in record["overflows"].values())
    floats = disinhib("train", "--backend", "numpy", *small, "--out", tmp_path / "float")
    assert floats.returncode == 0
    found = {}
    for backend in ("numpy", "integer"):
        out = tmp_path / f"{backend}.json"
        result = disinhib("evaluate", tmp_path / "float", "--backend", backend, "--json", out)
        assert result.returncode == 0, result.stderr
        found[backend] = json.loads(out.read_text())
    # 16 bits change few of 297 decisions.
    assert abs(found["numpy"]["accuracy"] - found["integer"]["accuracy"]) < 0.03
    assert abs(found["numpy"]["loss"] - found["integer"]["loss"]) < 0.01


def test_replicas_are_refused():
    network = NetworkConfiguration(sizes=(9, 4, 3), optimizer=SGD)
    one = initial_parameters(network.sizes, np.random.default_rng(0))
    two = dataclasses.replace(
        one,
        weights=tuple(np.stack([W, W]) for W in one.weights),
        biases=tuple(np.stack([b, b]) for b in one.biases),
        readout=np.stack([one.readout] * 2),
    )
    with pytest.raises(ConfigurationError, match="one network"):
        backend_class("integer")(network, two, np.float32, Solver())


def test_integers_conform_to_floating_point_at_the_wide_format():
    """24 bits after the point, tables of 14 bits of address, 800 ticks; 16 bits do not."""
    result = disinhib("conform", "--backend", "integer", shipped_directory() / "one-hidden-mse.h5")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "plain descent" in result.stdout
    assert "of 1 traces agree" in result.stdout
    trace = read_trace(shipped_directory() / "one-hidden-mse.h5")
    plain = dataclasses.replace(trace.configuration, optimizer=SGD)
    trace = record_trace(plain, trace.initial_parameters, trace.inputs, trace.targets)
    judged_as = named_arithmetic("fixed20")
    found = conform(trace, backend_class("integer"), np.dtype(np.float64), arithmetic=judged_as)
    assert not all(stage.passed for stage in found)
