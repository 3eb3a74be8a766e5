"""The table `data` of a run: what validates, how soft labels are, what inputs are divided by."""

import json

import h5py
import numpy as np
import pytest
import tomli_w

import disinhib as package
from disinhib import ArgumentError, ConfigurationError, DatasetError, NetworkConfiguration, Solver
from disinhib.datasets import batch_order, digits, load_dataset, own_dataset, random_generator
from disinhib.experiments.training import begin, run_configuration
from disinhib.refimpl import initial_parameters, learning_step, new_learner
from disinhib.validation import named_arrays
from disinhib.validation.storage.signed_file import sign

from .test_command_line import disinhib, one_line
from .test_training import Watcher, new_run, parameters_of, resume, train, without_times

SMALL = {"hidden": [6], "epochs": 1, "batch_size": 20, "dtype": "float64", "backend": "numpy"}


def own(n=200, scale=1.0, kind="f8"):
    generator = np.random.default_rng(0)
    y = np.arange(n) % 4
    x = np.clip(np.eye(4)[y].repeat(2, axis=1) * 0.6 + 0.4 * generator.random((n, 8)), 0, 1)
    return (scale * x).astype(kind), y


def learnt(dataset, out, **settings):
    run = package.train(dataset=dataset, out=out, progress=False, **{**SMALL, **settings})
    return run, named_arrays(run.parameters)


def test_of_the_digits_the_first_part_validates():
    plain, data = digits(), load_dataset("digits", validation=0.2)
    published = np.concatenate([plain.validation.images, plain.train.images])
    assert len(published) == 1500
    np.testing.assert_array_equal(data.validation.images, published[:300])
    np.testing.assert_array_equal(data.train.images, published[300:])
    np.testing.assert_array_equal(data.test.images, plain.test.images)


@pytest.mark.parametrize(
    ("n", "part", "wanted"),
    # 0.29 · 100 is 28.999… in floating point.
    [(200, 0.1, 20), (109, 0.1, 10), (100, 0.29, 29), (50, 0.02, 1), (40, 0.85, 34)],
)
def test_of_own_data_so_many_are_drawn_as_the_decimal_says(n, part, wanted):
    x, y = own(n)
    data = own_dataset({"x": x, "y": y}, "own", validation=part)
    sizes = [len(one.labels) for one in (data.train, data.validation, data.test)]
    assert sizes == [n - wanted - n // 10, wanted, n // 10]
    together = np.concatenate([one.images for one in (data.train, data.validation, data.test)])
    assert {row.tobytes() for row in together} == {row.tobytes() for row in x}


@pytest.mark.parametrize(
    ("n", "part", "said"),
    [
        (40, 0.01, "found 40 samples in x, expected so many that 0.01 of them, for validation"),
        (40, 0.9, "found 40 samples in x, of which 0.9 for validation and 0.1 for test leave none"),
    ],
)
def test_parts_of_which_one_is_empty_are_refused(n, part, said):
    x, y = own(n)
    with pytest.raises(DatasetError, match=f"own: {said}"):
        own_dataset({"x": x, "y": y}, "own", validation=part)
    with pytest.raises(DatasetError, match=r"digits: expected at least 10000 training images"):
        load_dataset("digits", validation=1e-4)


def test_a_part_of_its_own_and_the_setting_are_one_line(tmp_path):
    x, y = own()
    np.savez(tmp_path / "own.npz", x=x, y=y, x_valid=x[:30], y_valid=y[:30])
    made = ("train", "--dataset", "own.npz", "--hidden", "4", "--epochs", "1", "--out", "run")
    line = one_line(disinhib(*made, "--set", "data.validation=0.2", cwd=tmp_path))
    assert "own.npz: found a validation part of its own (x_valid), expected none with" in line
    assert not (tmp_path / "run").exists()
    assert disinhib(*made, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("softness", [0.99, 0.7, 1.0])
def test_labels_are_as_soft_as_is_asked_for(tmp_path, softness):
    """The reference's own steps, with labels written out by hand."""
    settings = {"epochs": 1, "data": {"softness": softness}}
    train(*new_run(tmp_path / "run", **settings), Watcher())
    images, labels = digits().train.images / 16, digits().train.labels
    y = np.array([[softness if k == label else (1 - softness) / 9 for k in range(10)]
                  for label in labels])  # fmt: skip
    network = NetworkConfiguration(sizes=(64, 8, 10))
    parameters = initial_parameters((64, 8, 10), random_generator(0, "initial-parameters"))
    learner = new_learner(network, parameters)
    for batch in batch_order(0, 0, 1350, 50):
        learner, _ = learning_step(network, Solver(), learner, images[batch], y[batch])
    for name, array in named_arrays(learner.parameters).items():
        np.testing.assert_allclose(parameters_of(tmp_path / "run")[name], array, rtol=0, atol=1e-12)


def test_too_soft_a_label_is_refused_before_anything_is_written(tmp_path):
    line = one_line(disinhib("train", "--set", "data.softness=0.1", "--out", tmp_path / "run"))
    assert "data.softness is 0.1: of 10 classes, more than 0.1 is needed" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "given", "scale"),
    [("u1", 255, 510), ("i2", 4000, 4095), ("u4", 70000, 70000.5), ("f8", 30, 32), ("f4", 7, 8)],
)
def test_inputs_are_divided_by_the_scale(tmp_path, kind, given, scale):
    x, y = own(scale=given, kind=kind)
    run, found = learnt((x, y), tmp_path / "a", data={"scale": scale})
    divided = x.astype("f8") / scale
    other, wanted = learnt((divided, y), tmp_path / "b")
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6 if kind == "f4" else 1e-12)
    # Inputs as the data have them are predicted so, after loading too.
    u_out = other.outputs(divided)
    for one in (run, package.load(tmp_path / "a")):
        np.testing.assert_allclose(one.outputs(x), u_out, rtol=0, atol=1e-5)
        assert one.evaluate("test").loss == pytest.approx(other.evaluate("test").loss, rel=1e-5)


def test_whole_numbers_need_a_scale_that_none_exceeds(tmp_path):
    x, y = own(scale=4000, kind="i2")
    with pytest.raises(DatasetError, match=r"found x of int16, .* need a scale, as by data\.scale"):
        learnt((x, y), tmp_path / "run")
    with pytest.raises(DatasetError, match=rf"found inputs up to {x.max()}, expected at most 3000"):
        learnt((x, y), tmp_path / "run", data={"scale": 3000})
    with pytest.raises(DatasetError, match=r"package: found inputs up to 16, expected at most 15"):
        load_dataset("digits", scale=15)
    run, _ = learnt((x, y), None, data={"scale": 4096})
    with pytest.raises(ArgumentError, match="x is of uint8: int16 is needed, as was learnt"):
        run.predict(x.astype("u1"))


def test_digits_at_their_own_scale_are_as_without(tmp_path):
    for name, data in (("a", {}), ("b", {"data": {"scale": 16, "validation": 0.1}})):
        train(*new_run(tmp_path / name, epochs=1, **data), Watcher())
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")
    first, second = parameters_of(tmp_path / "a"), parameters_of(tmp_path / "b")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_run_of_before_there_was_the_table_goes_on(tmp_path):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    settings = run_configuration({}, "test").as_dict()
    assert settings["data"] == {"validation": 0.1, "softness": 0.99}
    for file in ("checkpoint.h5", "checkpoint-1.h5"):
        with h5py.File(out / file, "a") as checkpoint:
            saved = json.loads(checkpoint.attrs["config"])
            del saved["data"]
            checkpoint.attrs["config"] = json.dumps(saved)
            sign(checkpoint)
    (out / "config.toml").write_text(tomli_w.dumps(saved))
    run, position, _ = resume(out, 2)
    assert position.epochs == 1
    run.lock.release()


@pytest.mark.parametrize(
    ("name", "value"), [("validation", 0.2), ("softness", 0.9), ("scale", 17.0)]
)
def test_a_resumed_run_has_the_same_data(tmp_path, name, value):
    out = tmp_path / "run"
    train(*new_run(out, epochs=1), Watcher())
    settings = run_configuration({**SMALL, "hidden": [8], "batch_size": 50}, "test").as_dict()
    settings["data"][name] = value
    (out / "config.toml").write_text(tomli_w.dumps(settings))
    with pytest.raises(ConfigurationError, match=rf"data\.{name} is {value} in .*config\.toml"):
        resume(out, 2)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"validation": 0}, "data: Data.validation is 0: must be above 0"),
        ({"validation": 1}, "data: Data.validation is 1: must be below 1"),
        ({"softness": 1.5}, "data: Data.softness is 1.5: must be at most 1"),
        ({"scale": -1}, "data: Data.scale is -1: must be above 0"),
        ({"flatten": True}, "data: unknown key 'flatten'"),
    ],
)
def test_what_is_impossible_is_refused(table, said, tmp_path):
    with pytest.raises(ConfigurationError, match=said):
        begin(run_configuration({"data": table}, "test"), tmp_path / "run")


def test_an_estimator_has_soft_labels_and_is_given_the_rest():
    pytest.importorskip("sklearn")
    x, y = own(60)
    made = {"hidden": (4,), "epochs": 1, "batch_size": 20, "random_state": 0}
    losses = [
        package.DisinhibitoryClassifier(**made, settings=settings).fit(x, y).loss_curve_[0]
        for settings in (None, {"data": {"softness": 0.99}}, {"data": {"softness": 0.6}})
    ]
    assert losses[0] == losses[1] != losses[2]
    with pytest.raises(ConfigurationError, match=r"data\.scale is a setting of runs"):
        package.DisinhibitoryClassifier(settings={"data": {"scale": 2}}).fit(x, y)


def test_a_script_that_is_run_once_more_goes_on_with_its_data(tmp_path):
    x, y = own(scale=4000, kind="i2")
    table = {"validation": 0.2, "scale": 4095}
    run, first = learnt((x, y), tmp_path / "run", data=table)
    again, same = learnt((x, y), tmp_path / "run", data=table)
    assert all(np.array_equal(first[name], same[name]) for name in first)
    # What is not said is as the run has it, if the run is to go on whatever it is.
    further, _ = learnt((x, y), tmp_path / "run", resume=True, epochs=2)
    assert (run.epochs, again.epochs, further.epochs) == (1, 1, 2)
    with pytest.raises(ConfigurationError, match=r"data\.validation is 0\.2 there, 0\.1 here"):
        learnt((x, y), tmp_path / "run", data={"scale": 4095})
    with pytest.raises(DatasetError, match="has learnt other data"):
        learnt((x[:-1], y[:-1]), tmp_path / "run", data=table)
