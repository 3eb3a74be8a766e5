"""`disinhib reproduce table`: what it trains, that its cells are runs, and its sums."""

import importlib

import numpy as np
import pytest

from disinhib.experiments.batch import read_study
from disinhib.experiments.paper.table import (
    CURVES,
    AccuracyCell,
    AccuracyRow,
    CellResult,
    Table,
    accuracy_rows,
    cell_of,
    grouped,
    read_results,
    table_in_markdown,
    table_study,
    write_results,
)
from disinhib.experiments.training import read_records
from disinhib.validation import FileError

from .test_command_line import disinhib, one_line

SMALL = [
    *("--datasets", "digits", "--depths", "1", "--seeds", 2, "--epochs", 2),
    *("--hidden-units", 12, "--backend", "numpy", "--threads", 1),
    *("--rules", "backprop,exact-inverse", "--feedback", "per-sample", "--strength", "strong"),
]


def result(row, accuracies, seed, dataset="digits", depth=1):
    curves = {name: np.zeros(len(accuracies)) for name in CURVES}
    curves["test_accuracy"] = np.array(accuracies)
    return CellResult(AccuracyCell(row, dataset, depth, seed), {"seed": seed}, curves, "numpy")


def test_every_way_of_feedback_is_a_row_and_backprop_is_one():
    rows = accuracy_rows(
        ["backprop", "exact-inverse", "linear-threshold"],
        ["per-sample", "averaged"],
        ["strong", "weak"],
    )
    assert len(rows) == len(set(rows)) == 9
    assert rows[0] == AccuracyRow("backprop")
    assert AccuracyRow("linear-threshold", "averaged", "weak") in rows


def test_a_cell_is_the_published_set_up_but_for_what_it_says():
    table = Table(
        ["digits", "mnist"], [1, 3], seeds=8, epochs=4, rules=["backprop", "linear-threshold"],
        feedback=["per-sample", "averaged"], strength=["strong", "weak"], hidden_units=256,
        data_dir=None, backend="numpy", dtype="float32", threads=None,
    )  # fmt: skip
    study = read_study(table_study(table))
    assert study.n_combinations == 2 * 2 * 8 * 5
    configurations = [row.configuration() for row in study.rows()]
    cells = [cell_of(configuration) for configuration in configurations]
    assert len(set(cells)) == len(cells)
    wanted = AccuracyCell(AccuracyRow("linear-threshold", "averaged", "weak"), "digits", 3, 7)
    configuration = configurations[cells.index(wanted)]
    assert configuration.hidden == [256, 256, 256]
    assert (configuration.feedback.average, configuration.feedback.strong) == (True, False)
    assert (configuration.feedback.normalize, configuration.feedback.norm) == (True, 1.0)
    assert (configuration.optimizer.learning_rate, configuration.batch_size) == (1e-3, 100)
    assert (configuration.seed, configuration.epochs, configuration.dtype) == (7, 4, "float32")


def test_mean_and_deviation_are_of_the_last_epoch_over_seeds():
    row = AccuracyRow("backprop")
    results = [result(row, [0.5, a], seed) for seed, a in enumerate([0.80, 0.82, 0.87])]
    values = grouped(results)["digits", 1][row]
    np.testing.assert_allclose(values, [80, 82, 87], rtol=1e-12)
    # Mean 83, squared deviations 9, 1, 16 over 2: √13 = 3.6056.
    assert "| backprop | 83.00 ± 3.61 (3 seeds) |" in table_in_markdown(results)
    assert "| backprop | 80.00 (1 seed) |" in table_in_markdown(results[:1])


def test_results_come_back_and_damage_is_found(tmp_path):
    path = tmp_path / "a.h5"
    assert read_results(path) == {}
    one = result(AccuracyRow("exact-inverse", "per-sample", "strong"), [0.1, 0.9], 3)
    write_results(path, {one.cell.name: one})
    again = read_results(path)[one.cell.name]
    assert again.cell == one.cell
    assert again.configuration == {"seed": 3}
    np.testing.assert_array_equal(again.curves["test_accuracy"], [0.1, 0.9])
    content = bytearray(path.read_bytes())
    where = content.find(np.float64(0.9).tobytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        read_results(path)


def test_a_cell_is_what_disinhib_train_would_have_given(tmp_path):
    whole = disinhib(
        "train", "--dataset", "digits", "--rule", "backprop", "--hidden", 12, "--epochs", 2,
        "--backend", "numpy", "--threads", 1, "--out", tmp_path / "run",
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "table"
    result = disinhib("reproduce", "table", *SMALL, "--out", out)
    assert result.returncode == 0, result.stderr
    table = read_results(out / "accuracies.h5")
    assert len(table) == 4
    cell = table[AccuracyCell(AccuracyRow("backprop"), "digits", 1, 0).name]
    records = read_records(tmp_path / "run" / "metrics.jsonl")
    for curve in set(CURVES) - {"seconds"}:
        np.testing.assert_array_equal(cell.curves[curve], [getattr(r, curve) for r in records])
    assert (out / "table.md").read_text() in result.stdout
    # A wider table trains only what is missing.
    wider = [*SMALL]
    wider[wider.index("--rules") + 1] = "backprop,exact-inverse,linear-threshold"
    began = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/metrics.jsonl")}
    again = disinhib("reproduce", "table", *wider, "--out", out)
    assert again.returncode == 0, again.stderr
    assert len(began) == 4
    assert {path: path.stat().st_mtime_ns for path in began} == began
    assert len(read_results(out / "accuracies.h5")) == 6
    line = one_line(disinhib("reproduce", "table", *SMALL, "--hidden-units", 13, "--out", out))
    assert "holds another study" in line
    assert line.endswith("choose another directory")


def test_cells_of_another_number_of_epochs_are_no_part_of_a_table(tmp_path, monkeypatch, capsys):
    module = importlib.import_module("disinhib.experiments.paper.table")
    cells = {
        "a": result(AccuracyRow("backprop"), [0.5, 0.6], 0),
        "b": result(AccuracyRow("exact-inverse", "per-sample", "strong"), [0.9], 0),
    }
    monkeypatch.setattr(module, "run_batch", lambda *arguments: 0)
    monkeypatch.setattr(module, "finished_runs", lambda directory: list(cells))
    monkeypatch.setattr(module, "cell_result", cells.get)
    table = Table(
        ["digits"], [1], seeds=1, epochs=2, rules=["backprop", "exact-inverse"],
        feedback=["per-sample"], strength=["strong"], hidden_units=8,
        data_dir=None, backend="numpy", dtype="float32", threads=None,
    )  # fmt: skip
    assert module.train_table(table, tmp_path) == 0
    assert list(read_results(tmp_path / "accuracies.h5")) == [cells["a"].cell.name]
    assert "exact-inverse" not in (tmp_path / "table.md").read_text()
    assert "which is of 2 epochs: 1 of 2 cells" in capsys.readouterr().err


def test_a_table_without_its_runs_is_left_alone(tmp_path):
    one = result(AccuracyRow("backprop"), [0.5], 0)
    write_results(tmp_path / "accuracies.h5", {one.cell.name: one})
    line = one_line(disinhib("reproduce", "table", *SMALL, "--out", tmp_path))
    assert "a table of an earlier version" in line
    assert sorted(tmp_path.iterdir()) == [tmp_path / "accuracies.h5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "cifar"], "--datasets has 'cifar': choose from"),
        (["--depths", "1,x"], "--depths is '1,x': whole numbers separated by commas"),
        (["--seeds", "1001"], "--seeds is 1001: at most 1000"),
        (["--depths", "0"], "--depths is '0': whole numbers from 1 to 100"),
        (["--seeds", 0], "at least 1 is needed"),
        (["--rules", "hebb"], "--rules has 'hebb': choose from backprop"),
        (["--feedback", "none"], "--feedback has 'none'"),
        (["--strength", "medium"], "--strength has 'medium'"),
        (["--data-dir", "x"], "--data-dir x with 2 datasets"),
        (["--backend", "tpu"], "backend 'tpu' is unknown"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, tmp_path):
    assert message in one_line(disinhib("reproduce", "table", *arguments, cwd=tmp_path))
