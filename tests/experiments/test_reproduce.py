"""`disinhib reproduce table`: what it trains, that a kill loses nothing, and its sums."""

import numpy as np
import pytest

from disinhib.experiments.paper.table import (
    CURVES,
    AccuracyCell,
    AccuracyRow,
    CellResult,
    accuracy_rows,
    cell_configuration,
    grouped,
    read_results,
    table_in_markdown,
    write_results,
)
from disinhib.experiments.training.epochs import train
from disinhib.experiments.training.run import begin
from disinhib.validation import FileError, Position

from .test_command_line import disinhib, one_line
from .test_interruption import killed_again_and_again

SETTINGS = {"hidden_units": 12, "backend": "numpy", "dtype": "float32", "threads": 1}
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
    cell = AccuracyCell(AccuracyRow("linear-threshold", "averaged", "weak"), "digits", 3, 7)
    configuration = cell_configuration(cell, 4, {**SETTINGS, "hidden_units": 256}, None)
    assert configuration.hidden == [256, 256, 256]
    assert (configuration.feedback.average, configuration.feedback.strong) == (True, False)
    assert (configuration.feedback.normalize, configuration.feedback.norm) == (True, 1.0)
    assert (configuration.optimizer.learning_rate, configuration.batch_size) == (1e-3, 100)
    assert (configuration.seed, configuration.epochs, configuration.rule) == (
        7,
        4,
        "linear-threshold",
    )


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


def test_a_killed_table_goes_on_and_ends_as_if_never_killed(tmp_path):
    killed_again_and_again(
        tmp_path, "reproduce", "table", *SMALL, "--out", "table", where="table", first=60
    )
    whole, cut = (tmp_path / way / "table" for way in ("whole", "killed"))
    expected, found = (read_results(d / "accuracies.h5") for d in (whole, cut))
    assert set(found) == set(expected)
    assert len(found) == 4
    for name, one in expected.items():
        for curve in set(CURVES) - {"seconds"}:
            np.testing.assert_array_equal(found[name].curves[curve], one.curves[curve])
    assert (cut / "table.md").read_text() == (whole / "table.md").read_text()
    assert (cut / "table.png").is_file()
    assert list((cut / "runs").iterdir()) == []


def test_a_cell_is_what_disinhib_train_would_have_given(tmp_path):
    cell = AccuracyCell(AccuracyRow("backprop"), "digits", 1, 0)
    run = begin(cell_configuration(cell, 2, SETTINGS, None), tmp_path / "run")

    class Silent:
        def on_steps(self, *arguments):
            pass

        def on_epoch(self, record):
            pass

    _, records = train(run, Position(0), [], Silent())
    out = tmp_path / "table"
    result = disinhib("reproduce", "table", *SMALL, "--out", out)
    assert result.returncode == 0, result.stderr
    table = read_results(out / "accuracies.h5")[cell.name]
    assert table.test_accuracy == records[-1].test_accuracy
    # A wider table trains only what is missing.
    wider = [*SMALL]
    wider[wider.index("--rules") + 1] = "backprop,exact-inverse,linear-threshold"
    again = disinhib("reproduce", "table", *wider, "--out", out)
    assert again.returncode == 0
    assert sum("test accuracy " in line for line in again.stdout.splitlines()) == 2
    line = one_line(disinhib("reproduce", "table", *SMALL, "--hidden-units", 13, "--out", out))
    assert "with hidden [12], now it is [13]: choose another directory" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "cifar"], "--datasets has 'cifar': choose from"),
        (["--depths", "1,x"], "--depths is '1,x': whole numbers separated by commas"),
        (["--seeds", "1001"], "--seeds is 1001: at most 1000"),
        (["--depths", "0"], "--depths is '0': whole numbers from 1 to 100"),
        (["--seeds", 0], "at least 1 is needed"),
        (["--rules", "hebb"], "rules has 'hebb': choose from backprop"),
        (["--feedback", "none"], "feedback has 'none'"),
        (["--strength", "medium"], "strength has 'medium'"),
        (["--data-dir", "x"], "--data-dir x with 2 datasets"),
        (["--backend", "tpu"], "backend 'tpu' is unknown"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, tmp_path):
    assert message in one_line(disinhib("reproduce", "table", *arguments, cwd=tmp_path))
