"""A trained network in use: what it predicts, and how it is evaluated."""

import csv
import json
import re
import warnings

import h5py
import numpy as np
import pytest
from matplotlib import image

from disinhib import (
    ArgumentError,
    ConfigurationError,
    NumpyBackend,
    Solver,
    load,
    load_dataset,
    read_records,
    train,
)
from disinhib.experiments.runs_compared import write_rows
from disinhib.experiments.trained import (
    SplitEvaluation,
    by_class,
    draw_confusion,
    predictions,
    write_predictions,
)
from disinhib.validation import named_arrays, read_checkpoint

from .test_command_line import disinhib, one_line

SETTINGS = ("--dataset", "digits", "--hidden", "24,16", "--epochs", "2", "--backend", "numba")


@pytest.fixture(scope="module", params=["float32", "float64"])
def run(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / request.param
    result = disinhib("train", *SETTINGS, "--dtype", request.param, "--out", directory)
    assert result.returncode == 0, result.stderr
    return directory


def outputs_by_hand(run, x):
    """At rest without control u_I = φ_E(u_E) and u_E = a − φ_I(u_I): solved by bisection."""

    def phi(u):
        return np.logaddexp(0, u)

    parameters = read_checkpoint(run / "checkpoint.h5").learner.parameters
    r = x
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        a = r @ W.astype(float) + b.astype(float)
        low, high = a - 50, a + 0.0
        for _ in range(80):
            u = (low + high) / 2
            is_above = u + phi(phi(u)) > a
            low, high = np.where(is_above, low, u), np.where(is_above, u, high)
        r = phi(u)
    return r @ parameters.readout.astype(float)


def test_outputs_are_those_of_the_equations(run):
    x = load_dataset("digits").test.images[:50] / 16
    network = load(run)
    found = network.outputs(x)
    assert found.dtype == run.name
    expected = outputs_by_hand(run, x)
    tolerance = 1e-12 if run.name == "float64" else 2e-6
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(network.outputs(x.reshape(50, 8, 8)), found)
    assert network.outputs(x[:0]).shape == (0, 10)
    assert list(network.predict(x)) == [int(np.argmax(row)) for row in found]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_run_s_own_figures_come_again(run, split):
    record = read_records(run / "metrics.jsonl")[-1]
    evaluation = load(run).evaluate(split)
    name = {"validation": "valid"}.get(split, split)
    assert evaluation.accuracy == getattr(record, f"{name}_accuracy")
    assert evaluation.loss == pytest.approx(getattr(record, f"{name}_loss"), rel=1e-6)
    assert np.trace(evaluation.confusion) == round(evaluation.accuracy * evaluation.labels.size)
    np.testing.assert_array_equal(
        evaluation.confusion.sum(axis=1), np.bincount(evaluation.labels, minlength=10)
    )


def test_the_command_writes_what_it_is_asked_for_and_leaves_the_run_alone(run, tmp_path):
    before = {file: file.read_bytes() for file in run.iterdir()}
    files = {name: tmp_path / name for name in ("c.png", "p.csv", "e.json")}
    result = disinhib(
        *("evaluate", run, "--split", "validation", "--confusion", files["c.png"]),
        *("--predictions", files["p.csv"], "--json", files["e.json"]),
    )
    assert result.returncode == 0, result.stderr
    assert {file: file.read_bytes() for file in run.iterdir()} == before
    evaluation = load(run).evaluate("validation")
    assert f"{evaluation.accuracy:.2%} of 150 right" in result.stdout
    assert files["c.png"].read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(files["p.csv"].open(encoding="utf-8")))
    assert [int(row["prediction"]) for row in rows] == list(evaluation.predictions)
    assert [int(row["label"]) for row in rows] == list(load_dataset("digits").validation.labels)
    said = json.loads(files["e.json"].read_text(encoding="utf-8"))
    assert (said["samples"], said["epochs"], said["accuracy"]) == (150, 2, evaluation.accuracy)
    assert np.sum(said["confusion"]) == 150


def test_another_backend_and_precision_give_the_same_classes(run):
    x = load_dataset("digits").test.images / 16
    a, b = load(run), load(run, backend="numpy", dtype="float64")
    np.testing.assert_allclose(a.outputs(x), b.outputs(x), rtol=0, atol=1e-5)
    assert (b.epochs, b.steps, b.configuration.backend) == (2, 0, "numpy")


@pytest.fixture
def own_data(tmp_path):
    """Three clouds that a network tells apart, of floats, with names."""
    generator = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = np.eye(3)[y].repeat(4, axis=1) + 0.1 * generator.normal(size=(300, 12))
    file = tmp_path / "own.npz"
    np.savez(file, x=x.reshape(300, 3, 4), y=np.array(["ant", "bee", "cat"])[y])
    return file


def test_own_data_are_learnt_and_their_classes_called_by_their_names(tmp_path, own_data):
    made = ("--hidden", "8", "--epochs", "20", "--batch-size", "20", "--learning-rate", "0.01")
    result = disinhib("train", "--dataset", "own.npz", *made, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    result = disinhib("evaluate", run, "--json", "found.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "own test: 100.00% of 30 right" in result.stdout
    assert re.search(r"\bcat\b +│", result.stdout)
    assert json.loads((tmp_path / "found.json").read_text())["classes"] == ["ant", "bee", "cat"]


def test_own_data_may_move_but_not_change(tmp_path, own_data):
    made = ("--hidden", "4", "--epochs", "1", "--batch-size", "20", "--out", "run")
    assert disinhib("train", "--dataset", "own.npz", *made, cwd=tmp_path).returncode == 0
    config = tmp_path / "run" / "config.toml"
    moved = own_data.rename(tmp_path / "moved.npz")
    config.write_text(config.read_text().replace("own.npz", "moved.npz"))
    result = disinhib("train", "--resume", "run", "--epochs", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with np.load(moved) as arrays:
        np.savez(moved, x=2 * arrays["x"], y=arrays["y"])
    for command in (("train", "--resume", "run", "--epochs", "3"), ("evaluate", "run")):
        result = disinhib(*command, cwd=tmp_path)
        assert result.returncode == 2
        assert re.search(r"data: \w*moved\S* .*has SHA-256 \w{12}…", result.stderr)


def test_own_data_may_become_hdf5_but_not_change(tmp_path, own_data):
    """The digest is of the arrays, whatever file they lie in."""
    made = ("--hidden", "4", "--epochs", "1", "--batch-size", "20", "--out", "run")
    assert disinhib("train", "--dataset", "own.npz", *made, cwd=tmp_path).returncode == 0
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("own.npz", "own.h5"))
    with np.load(own_data) as arrays, h5py.File(tmp_path / "own.h5", "w") as file:
        file["x"], file["y"] = arrays["x"], arrays["y"].astype(object)
    result = disinhib("train", "--resume", "run", "--epochs", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "own.h5", "a") as file:
        file["x"][0] += 1
    for command in (("train", "--resume", "run", "--epochs", "3"), ("evaluate", "run")):
        line = one_line(disinhib(*command, cwd=tmp_path))
        assert re.search(r"data: own\.h5 .*has SHA-256 \w{12}…", line)


def test_a_checkpoint_is_taken_by_itself(run, tmp_path):
    moved = tmp_path / "moved.h5"
    moved.write_bytes((run / "checkpoint.h5").read_bytes())
    x = load_dataset("digits").test.images[:5] / 16
    np.testing.assert_array_equal(load(moved).outputs(x), load(run).outputs(x))


def test_of_a_damaged_checkpoint_the_one_before_is_taken_and_it_is_said(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for file in run.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    whole = (copy / "checkpoint.h5").read_bytes()
    (copy / "checkpoint.h5").write_bytes(whole[: len(whole) // 2])
    lines = []
    network = load(copy, notify=lines.append)
    assert network.epochs == 1
    assert len(lines) >= 1
    assert "checkpoint.h5" in lines[0]


def test_a_link_that_is_written_stays_one(run, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "target.json")
    assert disinhib("evaluate", run, "--json", link).returncode == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "target.json").read_text())["samples"] == 297


def test_names_of_any_characters_are_drawn_and_written(tmp_path):
    """No mathematics, no colours, no line breaks; what is no Unicode as an escape."""
    names = (r"$\frac{$", "[red]", "a\x1b[31mb\n", "_hidden", "x" * 5000)
    labels = np.arange(5)
    found = SplitEvaluation(r"a$\frac{$", "test", labels, labels[::-1], np.ones(5), names, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(tmp_path / "confusion.png", found)
    write_predictions(tmp_path / "predictions.csv", found)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == list(names[::-1])
    write_rows(tmp_path / "runs.csv", [{"run": "d\udcff", "epochs": 1}])
    assert (tmp_path / "runs.csv").read_text(encoding="utf-8").splitlines()[1] == r"d\udcff,1"


@pytest.mark.slow
def test_a_thousand_classes_make_a_picture_of_bounded_size(tmp_path):
    labels = np.arange(1000)
    names = tuple(map(str, labels))
    found = SplitEvaluation("own", "test", labels, labels, np.ones(1000), names, 0)
    draw_confusion(tmp_path / "confusion.png", found)
    assert max(image.imread(tmp_path / "confusion.png").shape) <= 14 * 200


def test_what_has_no_prediction_counts_as_wrong_in_its_class():
    labels, found = np.array([0, 0, 1]), np.array([0, -1, 1])
    evaluation = SplitEvaluation("own", "test", labels, found, np.ones(3), ("a", "b"), 0)
    cells = [list(column.cells) for column in by_class(evaluation).columns]
    assert cells[1:3] == [["2", "1"], ["50.0%", "100.0%"]]


def test_outputs_that_are_no_numbers_predict_nothing(tmp_path):
    u_out = np.array([[0.0, 1.0], [np.nan, 3.0], [2.0, -np.inf]])
    np.testing.assert_array_equal(predictions(u_out), [1, -1, -1])
    labels = np.array([1, 0, 0])
    found = SplitEvaluation(
        "own", "test", labels, predictions(u_out), np.full(3, np.nan), ("a", "b"), 2
    )
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.as_dict()["loss"] is None
    np.testing.assert_array_equal(found.confusion, [[0, 0], [0, 1]])
    draw_confusion(tmp_path / "confusion.png", found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such file"),
        (["."], "holds no run: checkpoint.h5 is missing"),
        (["RUN", "--split", "tset"], "tset"),
        (["RUN", "--confusion", "picture.jpeg"], "ends in .png, .pdf, .svg"),
        (["RUN", "--json", "missing/e.json"], "cannot be written: missing is not a directory"),
        (["RUN", "--backend", "nubma"], "nubma"),
        (["RUN", "--data-dir", "."], "digits is embedded and takes no directory"),
        (["RUN", "--json", "RUN/checkpoint.h5"], "is the run's own file: choose another name"),
        (["RUN", "--predictions", "RUN/config.toml"], "is the run's own file"),
        (["RUN", "--json", "one", "--predictions", "one"], "is to be written twice"),
        (["RUN", "--json", "one", "--predictions", "sub/../one"], "is to be written twice"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(run, tmp_path, arguments, said):
    given = [argument.replace("RUN", str(run)) for argument in arguments]
    result = disinhib("evaluate", *given, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros(64), r"x has shape \(64,\): \(n, 64\) is needed"),
        (np.zeros((3, 8, 7)), r"x has shape \(3, 8, 7\)"),
        (np.zeros((3, 64), int), "x is of int64: floats are needed, scaled to 0 to 1, or bytes"),
        (np.full((3, 64), np.nan), "x"),
    ],
    ids=["a vector", "other pixels", "whole numbers", "no numbers"],
)
def test_inputs_that_are_none_are_refused(run, x, said):
    with pytest.raises(ArgumentError, match=said):
        load(run).predict(x)


def test_other_data_than_it_learnt_are_refused(run, tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes((run / "checkpoint.h5").read_bytes())
    network = load(other)
    changed = type(network)(**{**vars(network), "data_digest": "0" * 64})
    with pytest.raises(ConfigurationError, match="it learnt something else"):
        changed.evaluate()
    with pytest.raises(ConfigurationError, match="split is 'tset': choose from train"):
        network.evaluate("tset")
    with h5py.File(other, "r") as file:
        assert file.attrs["data"] == network.data_digest


# Going on from a trained network.


def parameters_of(run):
    return named_arrays(read_checkpoint(run / "checkpoint.h5").learner.parameters)


@pytest.mark.parametrize("what", ["a run", "a checkpoint"])
def test_a_run_begins_with_what_another_has_learnt(run, tmp_path, what):
    start = run if what == "a run" else run / "checkpoint.h5"
    made = ("--dataset", "digits", "--hidden", "24,16", "--dtype", run.name, "--epochs", "1")
    other = ("--learning-rate", "0", "--rule", "linear-threshold", "--seed", "9")
    result = disinhib("train", *made, *other, "--start", start, "--out", tmp_path / "b")
    assert result.returncode == 0, result.stderr
    # Nothing is learnt at rate 0, so that all is as it was.
    for name, array in parameters_of(run).items():
        np.testing.assert_array_equal(parameters_of(tmp_path / "b")[name], array, err_msg=name)
    first, last = (
        read_records(tmp_path / "b" / "metrics.jsonl")[0],
        read_records(run / "metrics.jsonl")[-1],
    )
    assert first.test_accuracy == last.test_accuracy


def test_it_goes_on_when_the_other_is_gone(run, tmp_path):
    start = tmp_path / "a"
    start.mkdir()
    (start / "checkpoint.h5").write_bytes((run / "checkpoint.h5").read_bytes())
    made = ("--dataset", "digits", "--hidden", "24,16", "--backend", "numba")
    whole = ("train", *made, "--epochs", "2", "--start", "a", "--out", "whole")
    assert disinhib(*whole, cwd=tmp_path).returncode == 0
    assert disinhib(*whole[:-1], "b", "--epochs", "1", cwd=tmp_path).returncode == 0
    (start / "checkpoint.h5").unlink()
    start.rmdir()
    result = disinhib("train", "--resume", "b", "--epochs", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for name, array in parameters_of(tmp_path / "whole").items():
        np.testing.assert_array_equal(parameters_of(tmp_path / "b")[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hidden", "24"], r"is of sizes \(64, 24, 16, 10\): \(64, 24, 10\) is configured"),
        (["--hidden", "24,16", "--start", "."], "checkpoint.h5"),
        (["--hidden", "24,16", "--start", "DAMAGED"], "name the checkpoint to start from"),
    ],
)
def test_another_network_is_no_start(run, tmp_path, arguments, said):
    made = ("--dataset", "digits", "--epochs", "1", "--out", "b")
    damaged = tmp_path / "DAMAGED"
    damaged.mkdir()
    whole = (run / "checkpoint.h5").read_bytes()
    (damaged / "checkpoint.h5").write_bytes(whole[:-100])
    (damaged / "checkpoint-1.h5").write_bytes(whole)
    given = arguments if "--start" in arguments else [*arguments, "--start", run]
    result = disinhib("train", *made, *given, cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert re.search(said, result.stderr)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("backend", ["numpy", "numba", "integer"])
def test_a_plain_network_is_evaluated_as_its_training_was(tmp_path, backend):
    """Backprop's has no inhibitory units: its outputs are not those of a circuit at rest."""
    out = tmp_path / "run"
    flags = ("--rule", "backprop", "--hidden", "12,8", "--epochs", "2", "--backend", backend)
    assert disinhib("train", *flags, "--out", out).returncode == 0
    record = read_records(out / "metrics.jsonl")[-1]
    network = load(out)
    for split, accuracy, loss in (
        ("validation", record.valid_accuracy, record.valid_loss),
        ("test", record.test_accuracy, record.test_loss),
    ):
        found = network.evaluate(split)
        assert found.accuracy == pytest.approx(accuracy, abs=1e-12)
        assert found.loss == pytest.approx(loss, rel=1e-5)
    parameters = read_checkpoint(out / "checkpoint.h5").learner.parameters
    r = load_dataset("digits").test.images[:20] / 16
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        r = np.logaddexp(0, r @ W.astype(float) + b.astype(float))
    outputs = network.outputs(load_dataset("digits").test.images[:20] / 16)
    within = 1e-2 if backend == "integer" else 1e-5
    np.testing.assert_allclose(outputs, r @ parameters.readout.astype(float), atol=within)


def test_a_network_runs_in_the_integers_that_are_asked_for(run, tmp_path):
    x = load_dataset("digits").test.images[:20] / 16
    coarse = load(run, arithmetic={"weight": "4.2", "bias": "4.2"})
    for array, was in zip(coarse.parameters.weights, load(run).parameters.weights, strict=True):
        np.testing.assert_array_equal(array, np.clip(np.round(was * 4), -8, 7) / 4)
    # 24 bits after the point, and tables of 14 bits of address.
    wide = load(run, dtype="float64", arithmetic="wide").outputs(x)
    np.testing.assert_allclose(wide, load(run).outputs(x), atol=1e-5)
    found, coarse = {}, "arithmetic.weight=4.2"
    for name, given in {"16": ("--arithmetic", "int16"), "4": ("--set", coarse)}.items():
        out = tmp_path / f"{name}.json"
        assert disinhib("evaluate", run, *given, "--json", out).returncode == 0
        found[name] = json.loads(out.read_text())["loss"]
    exact = load(run).evaluate("test").loss
    assert abs(found["16"] - exact) < 1e-3 < abs(found["4"] - exact)
    result = disinhib("evaluate", run, "--backend", "numpy", "--arithmetic", "int16")
    assert result.returncode == 2
    assert "use backend integer" in one_line(result)


def test_outputs_under_control_are_the_references(run, tmp_path):
    """By the reference's own stages, in float64, batch by batch of the run's size."""
    network = load(run)
    parameters = read_checkpoint(run / "checkpoint.h5").learner.parameters
    configuration = network.backend.configuration
    reference = NumpyBackend(configuration, parameters, np.float64, Solver())
    data = load_dataset("digits").validation
    y = np.eye(10)[data.labels] * (0.99 - 0.01 / 9) + 0.01 / 9
    u_out = []
    for first in (0, 100):
        x, labels = data.images[first : first + 100] / 16, y[first : first + 100]
        open_loop, _ = reference.open_loop(x)
        Q = reference.feedback_weights(open_loop)
        target = reference.closed_loop_target(open_loop, labels)
        u_out.append(reference.closed_loop(x, Q, target, open_loop)[0].u_out)
    u_out = np.concatenate(u_out)
    log_p = u_out - np.log(np.sum(np.exp(u_out), axis=1, keepdims=True))
    found = network.evaluate("validation", closed_loop=True)
    assert found.loss == pytest.approx(np.mean(-np.sum(y * log_p, axis=1)), rel=1e-4)
    assert found.loss < network.evaluate("validation").loss
    result = disinhib("evaluate", run, "--split", "validation", "--closed-loop",
                      "--json", tmp_path / "found.json")  # fmt: skip
    assert "digits validation, under control: " in result.stdout
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["closed_loop"] is True
    assert document["loss"] == pytest.approx(found.loss)


def test_a_plain_network_has_no_control(tmp_path):
    flags = ("--rule", "backprop", "--hidden", "8", "--epochs", "1", "--out", tmp_path / "run")
    assert disinhib("train", *flags).returncode == 0
    result = disinhib("evaluate", tmp_path / "run", "--closed-loop")
    assert result.returncode == 2
    assert "has no control" in one_line(result)


def test_bytes_are_scaled_as_those_that_were_learnt(run):
    network, images = load(run), load_dataset("digits").test.images[:20]
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(network.outputs(images), network.outputs(images / 16))


def test_what_is_shown_of_a_network_is_short(run):
    network = load(run)
    assert repr(network) == "<TrainedNetwork 64-24-16-10, exact-inverse, digits, after 2 epochs>"
    found = network.evaluate("validation")
    assert repr(found) == (
        f"<SplitEvaluation digits validation: {found.accuracy:.2%} of 150 right, "
        f"loss {found.loss:.4f}>"
    )
    lines = repr(network.metrics).splitlines()
    assert lines[0].split()[:2] == ["epoch", "train_loss"]
    assert lines[2].split()[0] == "2"
    assert all(len(line) <= 80 for line in lines[:-1])


def test_classes_have_names(run, tmp_path, own_data):
    assert load(run).class_names == tuple("0123456789")
    own = train(dataset=own_data, hidden=[8], epochs=1, batch_size=20, progress=False,
                out=tmp_path / "run")  # fmt: skip
    assert own.class_names == load(tmp_path / "run").class_names == ("ant", "bee", "cat")


def test_a_confusion_matrix_is_a_figure_in_python(run):
    found = load(run).evaluate("test")
    (axes,) = found.picture().axes
    np.testing.assert_allclose(
        axes.images[0].get_array(), found.confusion / found.confusion.sum(axis=1, keepdims=True)
    )
