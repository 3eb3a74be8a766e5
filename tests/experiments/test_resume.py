"""What a run may go on from, and with: all else is refused, the field and both values named."""

import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest
import tomli_w

from disinhib.datasets.dataset import batch_order, order_digest, random_generator
from disinhib.experiments.training import (
    begin,
    load_run_configuration,
    read_records,
)
from disinhib.experiments.training.configuration import run_configuration
from disinhib.experiments.training.run import _tell_missing, json_state
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import ConfigurationError
from disinhib.validation import FileError, read_checkpoint
from disinhib.validation.storage.arrays import named_arrays, write_parameters
from disinhib.validation.storage.signed_file import sign

from ..datasets.test_image_files import write_set
from .test_command_line import disinhib, one_line
from .test_training import Watcher, new_run, parameters_of, resume, train, without_times

UNSET = None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one epoch, to be copied."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train(*new_run(out, epochs=1), Watcher())
    return out


@pytest.fixture
def run_directory(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def rewrite(directory, field, value):
    """Change config.toml as a user would; None takes the field out."""
    file = directory / "config.toml"
    settings = load_run_configuration(file, {}).as_dict()
    section, _, name = field.rpartition(".")
    table = settings[section] if section else settings
    table[name] = value
    if value is UNSET:
        del table[name]
    file.write_text(tomli_w.dumps(settings))


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def refusal(directory, epochs=3, **chosen):
    """One line, and nothing in the directory has changed."""
    before = content(directory)
    with pytest.raises((ConfigurationError, FileError)) as problem:
        resume(directory, epochs, chosen=chosen)
    assert "\n" not in str(problem.value)
    assert content(directory) == before
    return str(problem.value)


@pytest.mark.parametrize(
    ("field", "value", "shown", "saved"),
    [
        ("hidden", [9], "[9]", "[8]"),
        ("rule", "backprop", "'backprop'", "'exact-inverse'"),
        ("dataset", "mnist", "'mnist'", "'digits'"),
        ("batch_size", 49, "49", "50"),
        ("seed", 1, "1", "0"),
        ("seed", UNSET, None, None),
        ("loss", "mse", "'mse'", "'softmax-cross-entropy'"),
        ("tau_E", 0.021, "0.021", "0.02"),
        ("optimizer.learning_rate", 0.5, "0.5", "0.001"),
        ("optimizer.name", "sgd", "'sgd'", "'adam'"),
        ("controller.leak", 0.25, "0.25", None),
        ("solver.method", "tsit5", "'tsit5'", "'fixed-point'"),
        ("start", "s.h5", "'s.h5'", "unset"),
        ("backend", "numba", "'numba'", "'numpy'"),
        ("dtype", "float32", "'float32'", "'float64'"),
        ("threads", 2, "2", "unset"),
    ],
)
def test_a_changed_config_toml_is_refused(run_directory, field, value, shown, saved):
    rewrite(run_directory, field, value)
    if shown is None:  # What is left out has its default, which is what was used.
        assert resume(run_directory, 3)[1].epochs == 1
        return
    line = refusal(run_directory)
    assert line.startswith(f"{field} is {shown} in {run_directory / 'config.toml'}, ")
    assert re.search(rf", {re.escape(saved or '')}.* in the checkpoint: ", line)
    assert (f"; {field} may be chosen when it is resumed" in line) == (
        field in ("backend", "dtype", "threads")
    )


def test_epochs_in_config_toml_are_the_user_s(run_directory):
    rewrite(run_directory, "epochs", 2)
    run, position, records = resume(run_directory, None)
    train(run, position, records, Watcher())
    assert [row["epoch"] for row in without_times(run_directory)] == [1, 2]
    rewrite(run_directory, "epochs", 1)
    assert "config.toml 1 is the total, and " in refusal(run_directory, None)


def test_a_config_toml_that_is_gone_comes_again(run_directory):
    before = (run_directory / "config.toml").read_bytes()
    (run_directory / "config.toml").unlink()
    resume(run_directory, None)
    assert (run_directory / "config.toml").read_bytes() == before


@pytest.mark.parametrize("text", ["epochs = ", "epoch = 3", "\udcff"])
def test_a_config_toml_that_is_none_is_one_line(run_directory, text):
    (run_directory / "config.toml").write_text(text, errors="surrogateescape")
    assert f"{run_directory / 'config.toml'}: " in refusal(run_directory)


def test_data_may_move_but_not_change(tmp_path):
    """A single pixel of any split is enough."""
    out, here, there = tmp_path / "run", tmp_path / "here", tmp_path / "there"
    write_set(here)
    settings = {"dataset": "mnist", "epochs": 1, "batch_size": 9}
    train(*new_run(out, data_dir=str(here), **settings), Watcher())
    here.rename(there)
    rewrite(out, "data_dir", str(there))
    run, _, _ = resume(out, None)
    run.lock.release()
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        whole = (there / name).read_bytes()
        (there / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        line = refusal(out)
        assert re.match(r"data: mnist \(.*there\) has SHA-256 \w{12}…, the .* had \w{12}…", line)
        (there / name).write_bytes(whole)


def start_file(path, seed=5, order=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("initial_parameters")
        write_parameters(group, initial_parameters((64, 8, 10), np.random.default_rng(seed)))
        if order is not None:
            file["batch_order"] = order
    return str(path)


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("stop_after", [4, 12])
def test_a_start_file_may_move_but_not_change(tmp_path, stop_after):
    """Neither within the epoch that it orders, nor later."""
    out, order = tmp_path / "run", np.arange(500).reshape(10, 50)
    start = start_file(tmp_path / "s.h5", order=order)
    watcher = Watcher(stop_after)
    train(*new_run(out, start=start, epochs=2), watcher, watcher.stop)
    line = r"start: .*s\.h5 has SHA-256 \w{12}…, the checkpoint's had \w{12}…: resumed, "
    for changed in ({"order": order[::-1]}, {"order": order, "seed": 6}, {}):
        start_file(tmp_path / "s.h5", **changed)
        assert re.match(line, refusal(out, None)), changed
    moved = start_file(tmp_path / "moved.h5", order=order)
    rewrite(out, "start", moved)
    assert resume(out, None)[1].epochs == stop_after // 10


def test_the_batches_of_the_epoch_are_in_the_checkpoint(run_directory):
    """As where another NumPy shuffles otherwise from the same state."""
    order = batch_order(0, 1, 1350, 50)
    assert read_checkpoint(run_directory / "checkpoint.h5").batch_order == order_digest(order)
    assert order_digest(order) != order_digest(order.reshape(-1, 25))
    assert order_digest(order) != order_digest(order[::-1])
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        file.attrs["batch_order"] = order_digest(order[::-1])
        sign(file)
    line = refusal(run_directory)
    assert re.match(r"batch_order: epoch 2 has SHA-256 \w{12}…, the checkpoint's had \w{12}…", line)


def test_the_random_state_is_named_with_both_values(run_directory):
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        state = json.loads(file.attrs["random_state"])
        now = state["state"]["state"]
        state["state"]["state"] = 17
        file.attrs["random_state"] = json.dumps(state)
        sign(file)
    assert f"random_state.state.state is {now} by seed" in refusal(run_directory)
    assert "17 in the checkpoint" in refusal(run_directory)


def test_a_checkpoint_of_before_the_digests_were_kept_is_gone_on_from(run_directory):
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        for name in ("data", "batch_order", "start"):
            del file.attrs[name]
        sign(file)
    assert resume(run_directory, 3)[1].epochs == 1


def learner_arrays(learner):
    groups = {
        "parameters": learner.parameters,
        "first moment": learner.optimizer.first_moment,
        "second moment": learner.optimizer.second_moment,
    }
    arrays = {(g, n): a for g, p in groups.items() for n, a in named_arrays(p).items()}
    return arrays | {("r̄", l): r for l, r in enumerate(learner.mean_inhibition)}


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize(
    ("first", "second", "stop_after"),
    [
        (("numba", "float32"), ("numpy", "float64"), 27),
        (("numpy", "float64"), ("numba", "float32"), 40),
    ],
)
def test_a_run_moves_to_another_backend_and_precision(tmp_path, first, second, stop_after):
    """At the moment of resuming it is the saved run, cast; it ends near where it would have."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    settings = {"rule": "linear-threshold", "epochs": 3, "hidden": [8, 6]}

    def named(pair):
        return dict(zip(("backend", "dtype"), pair, strict=True))

    watcher = Watcher(stop_after)
    train(*new_run(out, **settings, **named(first)), watcher, watcher.stop)
    saved = read_checkpoint(out / "checkpoint.h5")
    assert saved.learner.parameters.dtype == first[1]
    run, position, records = resume(out, None, chosen={**named(second), "threads": 1})
    found, expected = learner_arrays(run.backend.learner()), learner_arrays(saved.learner)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == second[1], name
        np.testing.assert_array_equal(found[name], array.astype(second[1]), err_msg=str(name))
    assert any(np.any(array != 1) for name, array in found.items() if name[0] == "r̄")
    n_steps = run.backend.learner().optimizer.n_steps
    assert n_steps == saved.learner.optimizer.n_steps == position.epochs * 27 + position.steps
    assert (position.epochs, position.steps) == (saved.position.epochs, saved.position.steps)
    if position.steps:
        np.testing.assert_array_equal(position.metrics.loss, saved.position.metrics.loss)
    # From here on it is a run of the second kind, also for who resumes without a flag.
    assert load_run_configuration(out / "config.toml", {}).backend == second[0]
    run.lock.release()
    run, position, records = resume(out, None)
    assert (run.configuration.dtype, run.configuration.threads) == (second[1], 1)
    train(run, position, records, Watcher())
    train(*new_run(whole, **settings, **named(first)), Watcher())
    names = [record.computed_by.split()[0] for record in read_records(out / "metrics.jsonl")]
    assert names == [first[0], second[0], second[0]]
    for name, array in parameters_of(whole).items():
        # float32 against float64 over at most 54 steps of Adam, each of size 0.001.
        np.testing.assert_allclose(parameters_of(out)[name], array, rtol=0, atol=2e-3)


def test_numbers_too_large_for_the_precision_asked_for_are_refused(run_directory):
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        file["parameters/readout/weight"][0, 0] = 1e300
        sign(file)
    line = refusal(run_directory, dtype="float32")
    assert "readout weight is 1e+300 at row 0, column 0: float32 ends at 3.4e+38" in line
    assert resume(run_directory, None)[1].epochs == 1


def test_the_flags_that_resume_takes(run_directory):
    for flag, value in (("--rule", "backprop"), ("--hidden", "9"), ("--method", "euler")):
        line = one_line(disinhib("train", "--resume", run_directory, flag, value))
        assert f"{flag} with --resume: " in line
        assert "only --epochs, --backend, --dtype and --threads may change" in line
    flags = ["--backend", "numba", "--dtype", "float32", "--threads", "1", "--epochs", "2"]
    result = disinhib("train", "--resume", run_directory, *flags)
    assert result.returncode == 0, result.stderr
    assert "numba float32" in result.stdout
    assert not (run_directory / "lock").exists()
    assert "is unknown" in one_line(
        disinhib("train", "--resume", run_directory, "--backend", "tpu", "--epochs", "3")
    )
    result = disinhib("train", "--resume", run_directory)
    assert "All 2 epochs are done" in result.stdout
    assert not (run_directory / "lock").exists()


def test_a_log_that_lacks_epochs_is_told(run_directory):
    (run_directory / "metrics.jsonl").unlink()
    told = []
    run, _, _ = resume(run_directory, 2, told.append)
    assert told == [f"{run_directory / 'metrics.jsonl'} lacks epochs 1 of 1"]
    run.lock.release()
    (run_directory / "metrics.jsonl").write_bytes(b"\xff\xfe\n{}\n")
    assert "metrics.jsonl: " in refusal(run_directory)


def test_a_directory_of_which_nothing_was_saved_says_so(tmp_path):
    run = begin(run_configuration({"hidden": [4]}, "test"), tmp_path / "run")
    run.lock.release()
    with pytest.raises(ConfigurationError, match="of which nothing was saved: remove that file"):
        new_run(tmp_path / "run")


POSITIONS = [
    ("position", "epochs", 2, "optimiser that took 27 steps: at 2 epochs and 0 steps it would be"),
    ("optimizer", "n_steps", 26, "an optimiser that took 26 steps: at 1 epochs and 0 steps it"),
]


@pytest.mark.parametrize(("group", "name", "value", "message"), POSITIONS)
def test_a_place_that_no_run_comes_to_is_refused(run_directory, group, name, value, message):
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        file[group].attrs[name] = value
        # A whole checkpoint has the batches of its epoch; older ones had not.
        del file.attrs["batch_order"]
        state = json.loads(file.attrs["random_state"])
        generator = random_generator(0, "batch-order", file["position"].attrs["epochs"])
        file.attrs["random_state"] = json.dumps({**state, **json_state(generator)})
        sign(file)
    assert message in refusal(run_directory)


@pytest.mark.parametrize(("steps", "right"), [(27, 50), (10**6, 50), (3, 51), (3, -1)])
def test_steps_beyond_the_epoch_and_samples_beyond_the_batch_are_refused(
    run_directory, steps, right
):
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        file["optimizer"].attrs["n_steps"] = 27 + steps
        file["position"].attrs["steps"] = steps
        for name in ("loss", "closed_loop_loss"):
            file[f"position/{name}"] = np.ones(steps)
        file["position/n_correct"] = np.full(steps, right)
        for name in ("open_loop_counts", "closed_loop_counts"):
            file[f"position/{name}"] = np.zeros(4, int)
        sign(file)
    line = refusal(run_directory)
    if steps > 3:
        assert f"is at step {steps} of epoch 2, which has 27" in line
    else:
        assert f"has from {right} to {right} samples right of 50" in line


def test_a_learner_of_another_network_is_refused(run_directory):
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        for name in ("first_moment", "second_moment"):
            del file[f"optimizer/{name}"]
        sign(file)
    assert "has no moments: not so the optimiser adam" in refusal(run_directory)
    with h5py.File(run_directory / "checkpoint.h5", "a") as file:
        config = json.loads(file.attrs["config"])
        config["hidden"] = [9]
        file.attrs["config"] = json.dumps(config)
        sign(file)
    rewrite(run_directory, "hidden", [9])
    assert "is of sizes (64, 8, 10): (64, 9, 10) is configured" in refusal(run_directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: "[" * 50_000 + "\n", "line 1 is not an epoch"),
        (lambda row: "[]\n", "line 1 is not an epoch: [] is no object"),
        (lambda row: json.dumps({**row, "epoch": "1"}) + "\n", "epoch is '1': int is needed"),
        (lambda row: json.dumps({**row, "epoch": 0}) + "\n", "epoch is 0: int is needed"),
        (lambda row: json.dumps({**row, "test_loss": None}) + "\n", "test_loss is None: float"),
        (lambda row: json.dumps({**row, "seconds": 1e999}) + "\n", "seconds is inf: float is"),
        (lambda row: json.dumps({**row, "evaluation": {}}) + "\n", "evaluation is {}: dict"),
        (lambda row: json.dumps({**row, "speed": 1}) + "\n", "speed is unknown"),
        (lambda row: '{"epoch": 1}\n', "train_loss is missing"),
        (lambda row: (json.dumps(row) + "\n") * 2, "line 2 is of epoch 1, after epoch 1"),
    ],
)
def test_a_log_that_is_none_is_one_line(run_directory, change, message):
    log = run_directory / "metrics.jsonl"
    row = json.loads(log.read_text())
    log.write_text(change(row))
    line = refusal(run_directory)
    assert "metrics.jsonl: line " in line
    assert message in line


def test_a_log_that_is_a_pipe_is_not_waited_for(run_directory):
    (run_directory / "metrics.jsonl").unlink()
    os.mkfifo(run_directory / "metrics.jsonl")
    with pytest.raises(FileError, match="is a pipe, socket or device"):
        resume(run_directory, 3)


def test_a_log_that_lacks_very_many_epochs_is_told_briefly(tmp_path):
    told = []
    _tell_missing(tmp_path / "metrics.jsonl", 10**12, told.append)
    assert told == [f"{tmp_path / 'metrics.jsonl'} lacks epochs 1–{10**12} of {10**12}"]
