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
from scipy.stats import chi2, ttest_1samp

from disinhib.experiments.batch import read_study
from disinhib.experiments.training import dotted, run_configuration

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
def parting(script):
    return script.read_parting(TABLES / "parting.json")


@pytest.fixture(scope="module")
def courses(script):
    return script.read_looks(TABLES / "misreading.json")


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


def row(text, title, beginning):
    """Cells of the first row of a table that begins so."""
    part = text.split(f"## {title}:")[1].split("\n## ")[0]
    found = next(line for line in part.splitlines() if line.startswith(f"| {beginning} |"))
    return [one.strip() for one in found.split("|")[1:-1]]


def test_the_page_is_what_the_runs_make_now(script, groups, searches, parting, courses, published):
    assert script.page(groups, searches, parting, courses) == published


def test_results_give_the_tables_of_the_page(published):
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for part in published.split("\n## ")[1:]:
        if not part.startswith("Table 2"):
            for table in tables(part):
                assert table.strip() in results, table.splitlines()[0]


def test_numbers_in_the_text_are_those_of_the_page(published):
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    ours, _ = results.split("## Tables: accuracy after")[1].split("### Ten epochs")
    ours += results.split("## In short")[1].split("\n## ")[0]
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
    way = "exact-inverse, averaged, strong"
    assert cell(published, "Table 3", "At each run's epoch", way, 2) == mean_and_limits(pairs)


def mean_and_limits(differences):
    """Of a mean, by SciPy's test."""
    limits = ttest_1samp(differences, 0).confidence_interval()
    mean, low, high = (
        f"{value:+.2f}".replace("-", "−") for value in (fmean(differences), limits.low, limits.high)
    )
    return f"{mean} [{low}, {high}]"


def test_runs_of_other_seeds_are_no_pairs(script, groups):
    one = groups[0]
    other = replace(one, seeds=tuple(seed + 1 for seed in one.seeds))
    with pytest.raises(ValueError, match="other seeds"):
        script.difference(one, other, "test", script.last_epoch)


def test_best_trials_are_those_that_were_trained(searches, script):
    tuned = json.loads((TABLES / "tuned.json").read_text(encoding="utf-8"))
    strong = {way + one.ending for way in script.SEARCHES for one in script.TUNINGS}
    assert set(tuned) == strong | {"linear-threshold-weak-wide"}
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


def last_of(line, curve="test_accuracy"):
    """By seed, percent."""
    return [100 * value for value in line["curves"][curve][-1]]


def less(ours, theirs):
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def test_a_part_of_the_settings_is_held_against_both_ends(runs, published):
    ours = last_of(runs["fashion_mnist-why: tuned without control"])
    ends = [last_of(runs[f"fashion_mnist-why: {end}"]) for end in ("published", "tuned")]
    found = row(published, "Table 8", "tuned without control")
    assert found[2] == f"{fmean(ours):.2f} ± {stdev(ours):.2f} (10)"
    assert found[3:] == [mean_and_limits(less(ours, end)) for end in ends]


def test_parts_of_the_settings_make_up_the_whole(script, groups):
    """All that is tuned is in one part, and only there."""
    between = script.ways_between(groups)
    usual, tuned = (between[end].settings for end in ("published", "tuned"))
    changed = []
    for name, group in between.items():
        if name.startswith("published with"):
            its = [key for key in usual if group.settings[key] != usual[key]]
            assert all(group.settings[key] == tuned[key] for key in its)
            without = between[name.replace("published with", "tuned without")].settings
            assert all(without[key] == usual[key] for key in its)
            changed += its
    assert sorted(changed) == sorted(key for key in usual if tuned[key] != usual[key])


def test_quotients_and_angles_are_those_of_the_looks(published):
    looks = json.loads((TABLES / "misreading.json").read_text(encoding="utf-8"))["courses"]
    for name, rows in looks.items():
        assert [one["step"] for one in rows] == [540 * epoch for epoch in range(21)]
        found = row(published, "Table 9", f"{name} | 5")
        quotients = (a / b for a, b in zip(rows[5]["misreading"], rows[5]["work"], strict=True))
        assert found[4] == ", ".join(f"{value:.3f}" for value in quotients)
        assert found[5] == ", ".join(f"{value:.0f}" for value in rows[5]["angle"][:3])
    second = [one["misreading"][1] / one["work"][1] for one in looks["published"][1:]]
    found = row(published, "Table 9", "published | misreading ÷ work")[3]
    assert found == f"{median(second):.3f} ({min(second):.3f} to {max(second):.3f})"


def test_goals_are_judged_by_the_gap_to_tuned_backprop(runs, published):
    """0.5 lies within the interval of the gap on MNIST, above its mean at the best epoch alone."""
    ours, backprop = (
        runs[f"mnist-tuned-{way}-wide"] for way in ("linear-threshold-strong", "backprop")
    )
    goal = "mnist, depth 3: linear-threshold, per-sample, strong: at most 0.5 behind backprop"
    assert row(published, "Table 10", goal)[1:] == [
        f"{mean_and_limits(less(last_of(backprop), last_of(ours)))}: not met, not surely",
        f"{mean_and_limits(less(best_of(backprop), best_of(ours)))}: met, not surely",
    ]


@pytest.mark.parametrize(
    ("gap", "found", "verdict"),
    [
        (True, (0.2, 0.1, 0.3), "met"),
        (True, (0.4, 0.1, 0.7), "met, not surely"),
        (True, (0.6, 0.4, 0.8), "not met, not surely"),
        (True, (0.8, 0.6, 1.0), "not met"),
        (False, (0.8, 0.6, 1.0), "met"),
        (False, (0.4, 0.1, 0.7), "not met, not surely"),
    ],
)
def test_a_goal_of_a_half_is_met_or_not(script, gap, found, verdict):
    goal = script.Goal(("mnist", 3), script.ROWS[1], 0.5, gap)
    assert goal.verdict(script.Interval(*found)) == verdict


def test_weak_control_is_held_against_tuned_backprop(runs, published):
    ours, backprop = (
        last_of(runs[f"fashion_mnist-tuned-{way}-wide"])
        for way in ("linear-threshold-weak", "backprop")
    )
    found = row(published, "Table 11", "backprop, tuned more widely")
    assert found[1] == mean_and_limits(less(ours, backprop))


def test_a_nudge_moves_the_target_of_the_right_class(published):
    """softmax(o + λ (y − softmax o)) by hand, with all ten outputs zero."""
    nudge = json.loads((TABLES / "tuned.json").read_text(encoding="utf-8"))[
        "linear-threshold-weak-wide"
    ]["feedback.nudge"]
    right, other = (math.exp(nudge * (label - 0.1)) for label in (0.99, 0.01 / 9))
    assert f" {right / (right + 9 * other):.3f} (a nudge of {nudge:.3g})" in published


def test_limits_of_a_deviation(runs, published):
    values = last_of(runs["orders-of-one-start"])
    low, high = (stdev(values) * math.sqrt(9 / chi2.isf(q, 9)) for q in (0.025, 0.975))
    found = row(published, "Table 12", "one start in ten orders")
    assert found[1] == f"{fmean(values):.2f} ± {stdev(values):.2f} (10)"
    assert found[2] == f"{low:.2f} to {high:.2f}"


SINGLE = "fashion_mnist-depth-3-exact-inverse-per-sample-strong"


def test_precisions_are_pairs_of_seeds(runs, published):
    assert [one["seed"] for one in runs["float64"]["own"]] == list(range(10))
    ours, theirs = (runs[name]["shared"] for name in ("float64", SINGLE))
    assert {name for name in theirs if ours[name] != theirs[name]} == {"dtype"}
    # The two settings that were not yet there are at what they do by default: nothing.
    assert ours.keys() - theirs.keys() == {"patience", "schedule"}
    assert (ours["patience"], ours["schedule"]["name"]) == (0, "constant")
    found = row(published, "Table 12", "last epoch")
    pairs = less(last_of(runs["float64"]), last_of(runs[SINGLE]))
    assert found[3:5] == [mean_and_limits(pairs), f"{stdev(pairs):.2f}"]
    assert found[5].split()[1] == f"{pairs[1]:+.2f}"


def test_runs_that_were_made_twice_agree_in_every_number(runs, published):
    again, first = (
        runs[name]["curves"]
        for name in (
            "fashion_mnist-why: published",
            "fashion_mnist-depth-3-linear-threshold-per-sample-strong",
        )
    )
    for curve, epochs in again.items():
        assert epochs == first[curve][:20], curve
    for curve, epochs in runs["orders-of-one-start"]["curves"].items():
        seed_0 = [epoch[0] for epoch in epochs]
        assert seed_0 == [epoch[0] for epoch in runs[SINGLE]["curves"][curve]], curve
    # Validation and test accuracy: ten runs of 20 epochs, and one of 50.
    assert "500 of 500" in published


def test_parting_is_of_the_farthest_that_all_ways_have_come_to(script, published, tmp_path):
    found = json.loads((TABLES / "parting.json").read_text(encoding="utf-8"))
    last = next(
        one for one in found["rows"]
        if one["way"] == "float64, integrated" and one["step"] == 1080
    )  # fmt: skip
    least, greatest = (f"{100 * of(last['distance']):.2g}" for of in (min, max))
    assert row(published, "Table 12", "1080")[2] == f"{least} to {greatest}"
    accuracies = ", ".join(f"{100 * value:.2f}" for value in last["valid_accuracy"])
    assert row(published, "Table 12", "float64, integrated")[2] == accuracies
    # The first way was further when the time was over.
    further = {**found["rows"][-4], "step": 1620}
    path = tmp_path / "parting.json"
    path.write_text(json.dumps({**found, "rows": [*found["rows"], further]}), encoding="utf-8")
    assert list(script.read_parting(path).steps)[-2:] == [540, 1080]


def test_the_paper_s_tables_are_a_study_whose_rows_were_run():
    """All but the tuned and the special ones; only the backend is another."""
    study = read_study(TABLES / "paper.toml")

    def plain(configuration):
        settings = dotted(configuration.as_dict())
        return json.dumps({k: v for k, v in settings.items() if k not in ("backend", "threads")})

    rows = {plain(row.configuration()) for row in study.rows()}
    run = set()
    for line in (TABLES / "runs.jsonl").read_text().splitlines():
        group = json.loads(line)
        if "-depth-" in group["group"]:
            for own in group["own"]:
                run.add(plain(run_configuration({**group["shared"], **own}, group["group"])))
    assert len(rows) == study.n_combinations == 280
    assert rows == run
