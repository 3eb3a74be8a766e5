"""Runs beside each other: only what sets them apart, and their own figures."""

import csv
import json

import pytest

from .test_command_line import disinhib, one_line

MADE = ("--dataset", "digits", "--backend", "numba", "--hidden", "12", "--epochs", "3")
OTHERS = {
    "a": (),
    "b": ("--rule", "backprop"),
    "c": ("--rule", "backprop", "--seed", "7", "--set", "optimizer.name=sgd", "--epochs", "2"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    for name, more in OTHERS.items():
        result = disinhib("train", *MADE, *more, "--out", directory / name)
        assert result.returncode == 0, result.stderr
    return directory


def epochs_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_row_has_what_differs_and_the_last_and_the_best_epoch(runs, tmp_path):
    table = tmp_path / "table.csv"
    picture = tmp_path / "curves.svg"
    result = disinhib("compare", *OTHERS, "--csv", table, "--plot", picture, cwd=runs)
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert list(rows[0])[:5] == ["run", "rule", "seed", "optimizer.name", "epochs"]
    assert [row["run"] for row in rows] == ["a", "b", "c"]
    assert [row["rule"] for row in rows] == ["exact-inverse", "backprop", "backprop"]
    assert [row["seed"] for row in rows] == ["0", "0", "7"]
    for row in rows:
        epochs = epochs_of(runs / row["run"])
        best = max(epochs, key=lambda one: one["valid_accuracy"])
        assert (int(row["epochs"]), int(row["best_epoch"])) == (len(epochs), best["epoch"])
        for name in ("train_loss", "valid_accuracy", "test_loss", "test_accuracy"):
            assert float(row[name]) == epochs[-1][name]
            assert float(row[f"best_{name}"]) == best[name]
        assert float(row["seconds"]) == pytest.approx(sum(one["seconds"] for one in epochs))
        # Backprop has none under control.
        closed = row["train_closed_loop_loss"]
        assert closed == str(epochs[-1]["train_closed_loop_loss"] or "")
    assert "tau_E" not in result.stdout
    assert b"<svg" in picture.read_bytes()


def test_the_first_of_equal_epochs_is_the_best(runs, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.toml").write_bytes((runs / "a" / "config.toml").read_bytes())
    epochs = epochs_of(runs / "a")
    for epoch, accuracy in zip(epochs, (0.5, 0.75, 0.75), strict=True):
        epoch["valid_accuracy"] = accuracy
    (copy / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in epochs))
    assert disinhib("compare", copy, "--csv", tmp_path / "t.csv").returncode == 0
    (row,) = csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8"))
    assert row["best_epoch"] == "2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "nowhere"], "nowhere holds no run: config.toml is missing"),
        (["a", "a"], "a run is given twice"),
        (["a", "b/../a"], "a run is given twice"),
        (["a", "--csv", "none/t.csv"], "none/t.csv cannot be written: none is not a directory"),
        (["a", "--plot", "p.bmp"], "p.bmp: a picture's name ends in .png, .pdf, .svg"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(runs, arguments, said):
    assert said in one_line(disinhib("compare", *arguments, cwd=runs))


def test_a_run_that_has_no_epoch_is_told(runs, tmp_path):
    (tmp_path / "config.toml").write_bytes((runs / "a" / "config.toml").read_bytes())
    assert "has no finished epoch yet" in one_line(disinhib("compare", tmp_path))


@pytest.mark.parametrize(("name", "value"), [("seconds", 10**400), ("epoch", 10**400)])
def test_numbers_that_no_run_writes_are_told(runs, tmp_path, name, value):
    (tmp_path / "config.toml").write_bytes((runs / "a" / "config.toml").read_bytes())
    epoch = {**epochs_of(runs / "a")[0], name: value}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    assert f"line 1 is not an epoch: {name} is 1" in one_line(disinhib("compare", tmp_path))
