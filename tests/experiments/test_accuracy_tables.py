"""The tables of docs/tables are those of its runs, and their sums are right."""

import importlib.util
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, stdev

import pytest
from scipy.stats import ttest_1samp

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "docs" / "tables"


@pytest.fixture(scope="module")
def script():
    name = "accuracy_tables"
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


@pytest.fixture(scope="module")
def runs():
    lines = (TABLES / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["group"]: line for line in map(json.loads, lines)}


@pytest.fixture(scope="module")
def groups(script):
    return script.read_groups(TABLES / "runs.jsonl")


@pytest.fixture(scope="module")
def searches(script):
    return script.read_searches(TABLES / "searches.journal")


@pytest.fixture(scope="module")
def published():
    return (TABLES / "accuracies.md").read_text(encoding="utf-8")


def cell(text, title, when, way, column):
    """Of the table that follows a title and a moment."""
    part = text.split(f"## {title}")[1].split(when)[1]
    row = next(line for line in part.splitlines() if line.startswith(f"| {way} |"))
    return row.strip("| ").split(" | ")[column]


def tables(text):
    """Blocks of lines that make a table."""
    return [block for block in text.split("\n\n") if block.startswith("|")]


def test_the_page_is_what_the_runs_make_now(script, groups, searches, published):
    assert script.page(groups, searches) == published


def test_results_give_the_tables_of_the_page(published):
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for part in published.split("\n## ")[1:]:
        if not part.startswith("Table 2"):
            for table in tables(part):
                assert table.strip() in results, table.splitlines()[0]


def test_numbers_in_the_text_are_those_of_the_page(published):
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    ours, _ = results.split("## Tables: accuracy after")[1].split("### Ten epochs")
    paragraphs = [part for part in ours.split("\n\n") if not part.startswith("|")]
    text = " ".join(" ".join(paragraphs).split())  # lines may break anywhere
    reported = re.search(r"Deep Feedback Control.*?where ours", text)
    others = set(re.findall(r"\d+\.\d\d+", reported[0]))
    numbers = set(re.findall(r"(?<![\d.])\d+\.\d\d+(?![\d.])", text)) - others
    assert len(numbers) > 50
    assert numbers <= set(re.findall(r"\d+\.\d\d+", published))


def test_mean_and_deviation_of_a_last_epoch(runs, published):
    last = [100 * a for a in runs["mnist-depth-3-backprop"]["curves"]["test_accuracy"][-1]]
    found = cell(published, "Table 1", "After the last epoch", "backprop", 4)
    assert found == f"{fmean(last):.2f} ± {stdev(last):.2f} (10)"


def best_of(line):
    """Test accuracies at the first epoch of best validation accuracy of each run."""
    curves = line["curves"]
    found = []
    for i in range(len(line["own"])):
        valid = [epoch[i] for epoch in curves["valid_accuracy"]]
        found.append(100 * curves["test_accuracy"][valid.index(max(valid))][i])
    return found


def test_mean_and_deviation_of_best_epochs(runs, published):
    best = best_of(runs["fashion_mnist-depth-3-linear-threshold-per-sample-strong"])
    way = "linear-threshold, per-sample, strong"
    found = cell(published, "Table 1", "At each run's epoch", way, 2)
    assert found == f"{fmean(best):.2f} ± {stdev(best):.2f} (10)"


def test_a_difference_is_students_of_pairs_of_seeds(runs, published):
    ours, backprop = (
        best_of(runs[f"fashion_mnist-depth-3-{way}"])
        for way in ("exact-inverse-averaged-strong", "backprop")
    )
    pairs = [a - b for a, b in zip(ours, backprop, strict=True)]
    limits = ttest_1samp(pairs, 0).confidence_interval()
    mean, low, high = (
        f"{value:+.2f}".replace("-", "−") for value in (fmean(pairs), limits.low, limits.high)
    )
    way = "exact-inverse, averaged, strong"
    assert cell(published, "Table 3", "At each run's epoch", way, 2) == f"{mean} [{low}, {high}]"


def test_runs_of_other_seeds_are_no_pairs(script, groups):
    one = groups[0]
    other = replace(one, seeds=tuple(seed + 1 for seed in one.seeds))
    with pytest.raises(ValueError, match="other seeds"):
        script.difference(one, other, "test", script.last_epoch)


def test_best_trials_are_those_that_were_trained(searches, script):
    tuned = json.loads((TABLES / "tuned.json").read_text(encoding="utf-8"))
    assert set(tuned) == {way + one.ending for way in script.SEARCHES for one in script.TUNINGS}
    for name, settings in tuned.items():
        best = searches[name].trials[searches[name].best].settings
        assert best.items() <= settings.items()
        assert sum(math.isfinite(value) for value in searches[name].values) == 96


def test_epochs_to_where_backprop_is_after_one(runs, published):
    """Counted by hand for one cell."""
    curves = {way: runs[f"mnist-depth-3-{way}"]["curves"]["valid_accuracy"]
              for way in ("backprop", "linear-threshold-averaged-strong")}  # fmt: skip
    wanted = fmean(curves["backprop"][0])
    found = []
    for i in range(10):
        epoch = 1
        while curves["linear-threshold-averaged-strong"][epoch - 1][i] < wanted:
            epoch += 1
        found.append(epoch)
    part = published.split("## Table 6")[1].split("To the mean validation")[1]
    row = next(
        line for line in part.splitlines() if line.startswith("| linear-threshold, averaged")
    )
    assert f"{median(found):g} ({min(found)} to {max(found)})" in row.split("|")[5]


def test_what_asks_something_else_is_in_no_table(script, groups):
    others = [replace(groups[0], name=name) for name in ("orders-of-one-start", "float64")]
    others.append(replace(groups[0], name="fashion_mnist-why: published"))
    assert script.cells_of([*groups, *others]) == script.cells_of(groups)
