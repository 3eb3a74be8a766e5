"""What the runs of gpu_tables.py say: tables of accuracies, and pictures of them.

    python benchmarks/accuracy_tables.py docs/tables

reads `runs.jsonl`, `searches.journal`, `parting.json` and `misreading.json` of that folder and
writes `accuracies.md` and its pictures beside them. Nothing is trained, and every number of
`accuracies.md` is computed here.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter
from scipy.stats import chi2, t as student

from disinhib.datasets import softened_labels
from disinhib.experiments.paper.table import AccuracyRow, draw_column
from disinhib.refimpl import Feedback, closed_loop_target

Array = np.ndarray

BACKPROP = AccuracyRow("backprop")
ROWS = (
    BACKPROP,
    AccuracyRow("exact-inverse", "per-sample", "strong"),
    AccuracyRow("exact-inverse", "averaged", "strong"),
    AccuracyRow("exact-inverse", "per-sample", "weak"),
    AccuracyRow("linear-threshold", "per-sample", "strong"),
    AccuracyRow("linear-threshold", "averaged", "strong"),
    AccuracyRow("linear-threshold", "per-sample", "weak"),
)
PLACES = (("fashion_mnist", 1), ("fashion_mnist", 3), ("mnist", 1), ("mnist", 3))
TUNED_PLACE, TRANSFERRED_PLACE = ("fashion_mnist", 3), ("mnist", 3)
SEARCHES = {
    "backprop": ROWS[0],
    "exact-inverse-strong": ROWS[1],
    "linear-threshold-strong": ROWS[4],
}
"""Ways of learning that settings were searched for, by the names of the searches."""
WEAK_SEARCHES = {"linear-threshold-weak": ROWS[6]}
"""The like, only searched for more widely."""


@dataclass(frozen=True)
class Tuning:
    """Searches of one kind, one a way: what their names end in, and the epochs of a trial."""

    ending: str
    epochs: int

    def search_of(self, searches: Mapping[str, Search], way: str) -> Search:
        """That of a way."""
        return searches[way + self.ending]

    def end_of_trial(self, group: Group) -> Array:
        """The epoch at which a trial ended, (seeds,)."""
        return np.full(len(group.seeds), self.epochs - 1)


NARROW, WIDE = Tuning("", 10), Tuning("-wide", 20)
TUNINGS = (NARROW, WIDE)

DISTURBED = {
    "fashion_mnist-depth-3-exact-inverse-per-sample-strong": "its training shared the device with "
    "another program, a race checker, for most of its epochs"
}
"""Groups whose seconds and joules say nothing, and why. Their accuracies are as good as any."""


# The runs.


@dataclass(frozen=True)
class Group:
    """Runs that were trained side by side, one a seed; curves (epochs, seeds), in percent."""

    name: str
    place: tuple[str, int]  # dataset and hidden layers
    row: AccuracyRow
    seeds: tuple[int, ...]
    valid: Array
    test: Array
    seconds: Array  # of training, (epochs,)
    joules: Array
    commit: str
    computed_by: str
    settings: Mapping[str, Any]  # that all its runs share, by dotted names

    @property
    def tuning(self) -> Tuning | None:
        """Whether and which searches chose its settings."""
        if "-tuned-" not in self.name:
            return None
        return WIDE if self.name.endswith(WIDE.ending) else NARROW


def read_groups(path: Path) -> list[Group]:
    """Read every group of `runs.jsonl`."""
    return [_group(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _group(line: Mapping[str, Any]) -> Group:
    shared = line["shared"]
    way = ()
    if shared["rule"] != "backprop":
        feedback = shared["feedback"]
        way = (
            "averaged" if feedback["average"] else "per-sample",
            "strong" if feedback["strong"] else "weak",
        )
    return Group(
        name=line["group"],
        place=(shared["dataset"], len(shared["hidden"])),
        row=AccuracyRow(shared["rule"], *way),
        seeds=tuple(one["seed"] for one in line["own"]),
        valid=100 * np.array(line["curves"]["valid_accuracy"]),
        test=100 * np.array(line["curves"]["test_accuracy"]),
        seconds=np.array(line["training_seconds"]),
        joules=np.array(line["joules"]),
        commit=line["commit"],
        computed_by=line["computed_by"],
        settings=flat(shared),
    )


def flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values by dotted names."""
    found = {}
    for name, value in nested.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{above}{name}.") if inner else {above + name: value}
    return found


Cells = Mapping[tuple[tuple[str, int], AccuracyRow], Group]


def cells_of(groups: Iterable[Group], tuning: Tuning | None = None) -> Cells:
    """Groups by place and row, with the published settings or with tuned ones.

    Those that ask something else, such as one start in ten orders, are in no table.
    """
    kinds = ("-depth-", "-tuned-")
    return {
        (one.place, one.row): one
        for one in groups
        if one.tuning == tuning and any(kind in one.name for kind in kinds)
    }


# A curve's values at an epoch of each run's own.

Moment = Callable[[Group], Array]


def last_epoch(group: Group) -> Array:
    """The last one, (seeds,)."""
    return np.full(len(group.seeds), len(group.valid) - 1)


def best_epoch(group: Group) -> Array:
    """The first one of best validation accuracy, (seeds,)."""
    return np.argmax(group.valid, axis=0)


MOMENTS: dict[str, Moment] = {
    "After the last epoch": last_epoch,
    "At each run's epoch of best validation accuracy": best_epoch,
}


def at(group: Group, curve: str, moment: Moment) -> Array:
    """Values of `valid` or `test`, (seeds,)."""
    return getattr(group, curve)[moment(group), np.arange(len(group.seeds))]


# Sums.


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{signed(self.mean)} [{signed(self.low)}, {signed(self.high)}]"


def interval(values: Array) -> Interval:
    """Student's, of the mean of a sample."""
    mean = float(np.mean(values))
    half = float(student.ppf(0.975, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    return Interval(mean, mean - half, mean + half)


def difference(one: Group, other: Group, curve: str, moment: Moment) -> Interval:
    """One less the other, in points, paired by seed: by all that one has."""
    if not set(one.seeds) <= set(other.seeds):
        raise ValueError(f"{one.name} and {other.name} have other seeds")
    pairs = [other.seeds.index(seed) for seed in one.seeds]
    return interval(at(one, curve, moment) - at(other, curve, moment)[pairs])


def fall(group: Group, curve: str) -> Interval:
    """From the epoch of best validation accuracy to the last, in points."""
    return interval(at(group, curve, last_epoch) - at(group, curve, best_epoch))


def interval_of_deviation(values: Array) -> str:
    """95 % confidence limits of a standard deviation (n − 1), by χ², of normal values."""
    squares = float(values.var(ddof=1)) * (values.size - 1)
    low, high = (math.sqrt(squares / chi2.ppf(q, values.size - 1)) for q in (0.975, 0.025))
    return f"{low:.2f} to {high:.2f}"


def signed(value: float) -> str:
    """Two decimals; what rounds to zero keeps its sign: that says if zero is in an interval."""
    return f"{round(value, 9):+.2f}".replace("-", "−")


def mean_and_deviation(values: Array) -> str:
    """Mean ± standard deviation of the sample (n − 1), and its size."""
    # A mean of ten such accuracies often ends in a 5: rounding first makes of it one number, in
    # whatever order it was summed.
    mean, deviation = round(float(values.mean()), 9), round(float(values.std(ddof=1)), 9)
    return f"{mean:.2f} ± {deviation:.2f} ({values.size})"


# The searches.


@dataclass
class Trial:
    """Settings and what they came to: validation accuracy in percent, NaN if not finished."""

    settings: dict[str, Any] = field(default_factory=dict)
    value: float = math.nan


@dataclass
class Search:
    """Trials in order, and for each setting its bounds, or all its choices, and if it is log."""

    trials: list[Trial] = field(default_factory=list)
    bounds: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    logarithmic: dict[str, bool] = field(default_factory=dict)

    @property
    def values(self) -> Array:
        """Of all trials."""
        return np.array([trial.value for trial in self.trials])

    @property
    def best(self) -> int:
        """Number of the best trial, the first of equals."""
        return int(np.nanargmax(self.values))

    def position(self, name: str, value: float) -> float | None:
        """Where between its bounds a value lies, 0 to 1; None for a choice."""
        if name not in self.logarithmic:
            return None
        low, high = self.bounds[name]
        if self.logarithmic[name]:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)


def read_searches(path: Path) -> dict[str, Search]:
    """Read Optuna's journal; by ourselves, for it is a file of plain lines and Optuna a dependency.

    Of its operations 0 makes a study (or finds it by its name), 4 a trial; 5 sets one of a trial's
    settings, and 6 ends it.
    """
    searches: dict[str, Search] = {}
    trials: list[tuple[Search, Trial]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        match entry["op_code"]:
            case 0:
                searches.setdefault(entry["study_name"], Search())
            case 4:
                search, trial = list(searches.values())[entry["study_id"]], Trial()
                search.trials.append(trial)
                trials.append((search, trial))
            case 5:
                _set(*trials[entry["trial_id"]], entry)
            case 6 if entry["values"]:
                trials[entry["trial_id"]][1].value = 100 * entry["values"][0]
    return searches


def _set(search: Search, trial: Trial, entry: Mapping[str, Any]) -> None:
    name, value = entry["param_name"], entry["param_value_internal"]
    about = json.loads(entry["distribution"])["attributes"]
    if "choices" in about:
        search.bounds[name] = tuple(about["choices"])
        value = about["choices"][int(value)]
    else:
        search.bounds[name] = (about["low"], about["high"])
        search.logarithmic[name] = about["log"]
    trial.settings[name] = value


# The tables.


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    rule = "|---" * len(heads) + "|"
    rows = ["| " + " | ".join(cells) + " |" for cells in (heads, *lines)]
    return "\n".join([rows[0], rule, *rows[1:]]) + "\n"


def place_name(place: tuple[str, int]) -> str:
    """A column's head."""
    return f"{place[0]}, depth {place[1]}"


def by_row_and_place(head: str, rows: Sequence[AccuracyRow], cell: Callable[..., str]) -> str:
    """Write a table of one cell a way, dataset and depth."""
    return markdown(
        [head, *map(place_name, PLACES)],
        ([str(row), *(cell(place, row) for place in PLACES)] for row in rows),
    )


def accuracy_table(cells: Cells, curve: str, moment: Moment, head: str) -> str:
    """Means and deviations, empty where nothing was trained."""

    def cell(*key: Any) -> str:
        return mean_and_deviation(at(cells[key], curve, moment)) if key in cells else ""

    return by_row_and_place(head, ROWS, cell)


def difference_table(cells: Cells, moment: Moment) -> str:
    """Test accuracy less that of backprop."""

    def cell(place: tuple[str, int], row: AccuracyRow) -> str:
        if (place, row) not in cells:
            return ""
        return str(difference(cells[place, row], cells[place, BACKPROP], "test", moment))

    return by_row_and_place("test accuracy less backprop's, points", ROWS[1:], cell)


Ways = Mapping[str, AccuracyRow]


def settings_table(
    searches: Mapping[str, Search], tuning: Tuning, searched: Ways = SEARCHES
) -> str:
    """What was searched, between which bounds, and what was best."""
    widest = tuning.search_of(searches, list(searched)[-1])
    lines = []
    for name, bounds in widest.bounds.items():
        numeric = name in widest.logarithmic
        limits = " to ".join(map(plain, bounds)) if numeric else ", ".join(map(plain, bounds))
        scale = " (log)" if widest.logarithmic.get(name) else ""
        published = plain(widest.trials[0].settings[name])
        best = [_best_setting(tuning.search_of(searches, way), name) for way in searched]
        lines.append([name, limits + scale, published, *best, _where_the_best_lie(widest, name)])
    ways = map(str, searched.values())
    heads = ["setting", "searched", "published", *ways, f"its {N_BEST} best trials"]
    return markdown(heads, lines)


N_BEST = 10


def _where_the_best_lie(search: Search, name: str) -> str:
    best = np.argsort(-search.values, kind="stable")[:N_BEST]
    found = [search.trials[i].settings[name] for i in best]
    if name not in search.logarithmic:
        choices = search.bounds[name]
        return ", ".join(f"{found.count(one)} × {plain(one)}" for one in choices if one in found)
    positions = 100 * np.array([search.position(name, one) for one in found], float)
    return f"{positions.min():.0f} to {positions.max():.0f} %, median {np.median(positions):.0f}"


def _best_setting(search: Search, name: str) -> str:
    settings = search.trials[search.best].settings
    if name not in settings:
        return ""
    position = search.position(name, settings[name])
    return plain(settings[name]) + ("" if position is None else f" ({100 * position:.0f} %)")


def plain(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}".replace("-", "−")


def search_table(
    searches: Mapping[str, Search],
    tuning: Tuning,
    usual: Cells,
    tuned: Cells,
    searched: Ways = SEARCHES,
) -> str:
    """What the search saw, and what ten seeds make of its best settings after as many epochs."""
    lines = []
    for name, row in searched.items():
        search, key = tuning.search_of(searches, name), (TUNED_PLACE, row)
        best = f"{search.values[search.best]:.2f} (trial {search.best})"
        seeds = [mean_and_deviation(at(cells[key], "valid", tuning.end_of_trial))
                 for cells in (usual, tuned)]  # fmt: skip
        lines.append([str(row), f"{search.values[0]:.2f}", best, *seeds])
    of = f"after {tuning.epochs} epochs"
    heads = [f"validation {of}, %", "search: published", "search: best"]
    return markdown([*heads, "seeds 0 to 9: published", "seeds 0 to 9: tuned"], lines)


def tuned_accuracy_table(
    usual: Cells, tuned: Cells, place: tuple[str, int], searched: Ways = SEARCHES
) -> str:
    """Test accuracy with the published settings and with the best."""
    lines = []
    for row in searched.values():
        if (place, row) in tuned:
            groups = [cells[place, row] for cells in (usual, tuned)]
            lines.append([str(row)] + [mean_and_deviation(at(group, "test", moment))
                         for moment in MOMENTS.values() for group in groups])  # fmt: skip
    heads = ["last epoch: published", "last epoch: tuned", "best epoch: published"]
    return markdown(["test, %", *heads, "best epoch: tuned"], lines)


def tuned_difference_table(
    usual: Cells, tuned: Cells, place: tuple[str, int], tuning: Tuning
) -> str:
    """What tuning brought, and how far each is from backprop that was tuned alike."""
    lines = []
    for row in SEARCHES.values():
        if (place, row) not in tuned:
            continue
        key, baseline = (place, row), tuned[place, BACKPROP]
        pair = tuned[key], usual[key]
        cells = [
            difference(*pair, "valid", tuning.end_of_trial),
            *(difference(*pair, "test", moment) for moment in MOMENTS.values()),
        ]
        gaps = ["", ""] if row == BACKPROP else [
            str(difference(tuned[key], baseline, "test", moment)) for moment in MOMENTS.values()
        ]  # fmt: skip
        lines.append([str(row), *map(str, cells), *gaps])
    return markdown(
        [
            "points",
            f"tuned less published: validation, epoch {tuning.epochs}",
            "test, last epoch",
            "test, best epoch",
            "tuned less tuned backprop: test, last epoch",
            "test, best epoch",
        ],
        lines,
    )


def against_table(one: Group, others: Mapping[str, Group]) -> str:
    """One group's test accuracy less that of others."""
    lines = [
        [name, *(str(difference(one, other, "test", moment)) for moment in MOMENTS.values())]
        for name, other in others.items()
    ]
    return markdown(["test accuracy less that of, points", "last epoch", "best epoch"], lines)


@dataclass(frozen=True)
class Goal:
    """What was wished of tuned settings before they were searched for, in percent or points."""

    place: tuple[str, int]
    row: AccuracyRow
    limit: float
    gap: bool  # the most behind backprop that was tuned alike, else the least test accuracy

    def __str__(self) -> str:
        what = f"at most {self.limit} behind backprop" if self.gap else f"at least {self.limit} %"
        return f"{place_name(self.place)}: {self.row}: {what}"

    def found(self, cells: Cells, moment: Moment) -> Interval:
        """What came of it."""
        group = cells[self.place, self.row]
        if self.gap:
            return difference(cells[self.place, BACKPROP], group, "test", moment)
        return interval(at(group, "test", moment))

    def verdict(self, found: Interval) -> str:
        """Whether it is met: by the mean, and by how much of its interval."""
        sign = -1 if self.gap else 1
        mean, *ends = (sign * (x - self.limit) for x in (found.mean, found.low, found.high))
        sure = min(ends) >= 0 if mean >= 0 else max(ends) < 0
        return ("met" if mean >= 0 else "not met") + ("" if sure else ", not surely")


GOALS = (
    Goal(TUNED_PLACE, ROWS[1], 89.4, gap=False),
    Goal(TUNED_PLACE, ROWS[1], 0.3, gap=True),
    Goal(TUNED_PLACE, ROWS[4], 1.0, gap=True),
    Goal(TRANSFERRED_PLACE, ROWS[1], 98.5, gap=False),
    Goal(TRANSFERRED_PLACE, ROWS[1], 0.1, gap=True),
    Goal(TRANSFERRED_PLACE, ROWS[4], 0.5, gap=True),
)


def goal_table(tuned: Cells) -> str:
    """What was wished, what was found, and whether the one is the other."""
    lines = []
    for goal in GOALS:
        cells = []
        for moment in MOMENTS.values():
            found = goal.found(tuned, moment)
            number = f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
            cells.append(f"{str(found) if goal.gap else number}: {goal.verdict(found)}")
        lines.append([str(goal), *cells])
    return markdown(["goal, tuned more widely", "last epoch", "best epoch"], lines)


# What of the tuned settings does it.

WHY = f"{TUNED_PLACE[0]}-why: "
PUBLISHED, TUNED = "published", "tuned"
WITH, WITHOUT = "published with ", "tuned without "


def ways_between(groups: Iterable[Group]) -> dict[str, Group]:
    """Groups on the way from published settings to tuned ones, from the one end to the other."""
    found = {g.name.removeprefix(WHY): g for g in groups if g.name.startswith(WHY)}

    def rank(name: str) -> int:
        kinds = (name == PUBLISHED, name.startswith(WITH), name.startswith(WITHOUT), name == TUNED)
        return kinds.index(True)

    return {name: found[name] for name in sorted(found, key=rank)}


def parts_table(between: Mapping[str, Group]) -> str:
    """What each part of the settings consists of."""
    usual = between[PUBLISHED].settings
    lines = []
    for name, group in between.items():
        if name.startswith(WITH):
            other = {n: v for n, v in group.settings.items() if usual[n] != v}
            changes = (f"{n} {_shown(usual[n])} → {_shown(v)}" for n, v in other.items())
            lines.append([name.removeprefix(WITH), "; ".join(changes)])
    return markdown(["part", "published → tuned"], lines)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else plain(value)


def why_table(between: Mapping[str, Group]) -> str:
    """Accuracies after the last epoch, less both ends' by seed."""
    lines = []
    for name, group in between.items():
        accuracies = [mean_and_deviation(at(group, c, last_epoch)) for c in ("valid", "test")]
        gaps = ["" if name == end else str(difference(group, between[end], "test", last_epoch))
                for end in (PUBLISHED, TUNED)]  # fmt: skip
        lines.append([name, *accuracies, *gaps])
    heads = ["settings", "validation, %", "test, %"]
    return markdown([*heads, "test less published", "test less tuned"], lines)


# A linear threshold's misreading along learning.

STEPS_OF_AN_EPOCH = 540
SHOWN_EPOCHS = (0, 1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Looks:
    """What was seen of one run, at some of its steps; arrays are (looks, layers) or (looks,)."""

    epochs: Array
    test: Array  # percent
    misreading: Array
    work: Array
    angle: Array  # to the gradient, degrees, of the hidden layers and the readout
    to_exact: Array  # to the exact inverse's update, degrees

    @property
    def ratio(self) -> Array:
        """Misreading by work."""
        return self.misreading / self.work


def read_looks(path: Path) -> dict[str, Looks]:
    """Read `misreading.json`, by settings."""
    courses = json.loads(path.read_text(encoding="utf-8"))["courses"]

    def looks(rows: Sequence[Mapping[str, Any]]) -> Looks:
        def column(name: str) -> Array:
            return np.array([row[name] for row in rows])

        return Looks(
            epochs=column("step") / STEPS_OF_AN_EPOCH,
            test=100 * column("test"),
            misreading=column("misreading"),
            work=column("work"),
            angle=column("angle"),
            to_exact=column("angle_to_exact"),
        )

    return {name: looks(rows) for name, rows in courses.items()}


def misreading_table(courses: Mapping[str, Looks]) -> str:
    """Misreading by work and angles, layer by layer."""
    lines = []
    for name, looks in courses.items():
        for epoch in SHOWN_EPOCHS:
            i = list(looks.epochs).index(epoch)
            cells = [
                ", ".join(f"{value:.{digits}f}" for value in layers[i][:N_HIDDEN])
                for layers, digits in (
                    (looks.misreading, 3),
                    (looks.work, 3),
                    (looks.ratio, 3),
                    (looks.angle, 0),
                    (looks.to_exact, 0),
                )
            ]
            lines.append([name, f"{epoch}", *cells, f"{looks.test[i]:.2f}"])
    heads = ["settings", "epoch", "misreading", "work", "misreading ÷ work", *ANGLES, "test, %"]
    return markdown(heads, lines)


def misreading_ranges(courses: Mapping[str, Looks]) -> str:
    """From the first epoch to the last: ranges of quotients and angles, layer by layer."""

    def cell(layer: Array, digits: int) -> str:
        middle, low, high = (
            f"{value:.{digits}f}" for value in (np.median(layer), layer.min(), layer.max())
        )
        return f"{middle} ({low} to {high})"

    lines = []
    for name, looks in courses.items():
        trained = looks.epochs >= 1
        for what, values, digits in (
            ("misreading ÷ work", looks.ratio, 3),
            (ANGLES[0], looks.angle, 0),
            (ANGLES[1], looks.to_exact, 0),
        ):
            layers = values[trained].T[:N_HIDDEN]
            lines.append([name, what, *(cell(layer, digits) for layer in layers)])
    heads = [f"layer {layer + 1}" for layer in range(N_HIDDEN)]
    return markdown(["settings", "epochs 1 to 20: median (range)", *heads], lines)


N_HIDDEN = TUNED_PLACE[1]
ANGLES = ("angle to gradient, °", "to exact inverse, °")


# How much is chance, precision or method.

ORDERS, DOUBLE = "orders-of-one-start", "float64"
SINGLE = "fashion_mnist-depth-3-exact-inverse-per-sample-strong"


def orders_table(groups: Mapping[str, Group]) -> str:
    """How far runs of many starts scatter, and such of one start."""
    lines = []
    kinds = {"ten starts, each in its order": SINGLE, "one start in ten orders": ORDERS}
    for kind, name in kinds.items():
        cells = []
        for moment in MOMENTS.values():
            values = at(groups[name], "test", moment)
            cells += [mean_and_deviation(values), interval_of_deviation(values)]
        lines.append([kind, *cells])
    heads = [f"{when}: {what}" for when in ("last epoch", "best epoch")
             for what in ("test, %", "deviation's interval")]  # fmt: skip
    return markdown(["", *heads], lines)


def precision_table(groups: Mapping[str, Group]) -> str:
    """Float64 less float32, by seed."""
    double, single = groups[DOUBLE], groups[SINGLE]
    lines = []
    for when, moment in zip(("last epoch", "best epoch"), MOMENTS.values(), strict=True):
        pair = [at(group, "test", moment) for group in (double, single)]
        gaps = " ".join(signed(value) for value in pair[0] - pair[1])
        scatter = f"{float(np.std(pair[0] - pair[1], ddof=1)):.2f}"
        means = [mean_and_deviation(values) for values in pair]
        gap = str(difference(double, single, "test", moment))
        lines.append([when, *means, gap, scatter, gaps])
    heads = ["test, %", "float64", "float32", "float64 less float32", "deviation of that"]
    return markdown([*heads, "by seed, 0 to 9"], lines)


def made_twice(groups: Mapping[str, Group]) -> str:
    """What became of runs that were trained on two devices at two commits."""
    linear_threshold = SINGLE.replace("exact-inverse", "linear-threshold")
    pairs = (
        (groups[WHY + PUBLISHED], groups[linear_threshold]),
        (groups[ORDERS], groups[SINGLE]),
    )
    same, compared = 0, 0
    for one, other in pairs:
        n_epochs = min(len(one.valid), len(other.valid))
        runs = [0] if one.name == ORDERS else slice(None)  # its others are of another start
        for curve in ("valid", "test"):
            ours, theirs = (getattr(g, curve)[:n_epochs, runs] for g in (one, other))
            same += int(np.sum(ours == theirs))
            compared += ours.size
    return f"{same} of {compared}"


REFERENCE = "float64, fixed point"


@dataclass(frozen=True)
class Parting:
    """Trainings of one start and order in several ways, (ways): arrays (looks, seeds)."""

    steps: Array  # (looks,)
    distances: Mapping[str, Array]
    accuracies: Mapping[str, Array]  # of validation, percent; (epochs, seeds)
    seeds: Sequence[int]
    commit: str


def read_parting(path: Path) -> Parting:
    """Read `parting.json`; what not all ways have come to is left out."""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows: dict[str, list[Any]] = {}
    for row in found["rows"]:
        rows.setdefault(row["way"], []).append(row)
    n_looks = min(map(len, rows.values()))
    rows = {way: all_of[:n_looks] for way, all_of in rows.items()}
    return Parting(
        steps=np.array([row["step"] for row in rows[REFERENCE]]),
        distances={way: np.array([row["distance"] for row in looks]) for way, looks in rows.items()
                   if way != REFERENCE},
        accuracies={way: 100 * np.array([row["valid_accuracy"] for row in looks
                                         if "valid_accuracy" in row])
                    for way, looks in rows.items()},
        seeds=found["seeds"],
        commit=found["commit"],
    )  # fmt: skip


def parting_table(parting: Parting) -> str:
    """Least and greatest distances over seeds."""
    lines = [
        [f"{step}", *(f"{percent(d[i].min())} to {percent(d[i].max())}"
                      for d in parting.distances.values())]
        for i, step in enumerate(parting.steps)
    ]  # fmt: skip
    return markdown(["distance after step, % of the way gone", *parting.distances], lines)


def percent(part: float) -> str:
    """Two digits that count."""
    return f"{float(f'{100 * part:.2g}'):g}"


def parting_accuracy_table(parting: Parting) -> str:
    """Validation accuracies by seed."""
    lines = [
        [way, *(", ".join(f"{value:.2f}" for value in epoch) for epoch in accuracies)]
        for way, accuracies in parting.accuracies.items()
    ]
    n_epochs = len(parting.accuracies[REFERENCE])
    seeds = ", ".join(map(str, parting.seeds))
    return markdown(
        [f"validation, %, seeds {seeds}", *(f"epoch {i + 1}" for i in range(n_epochs))], lines
    )


def to_first_epoch_table(cells: Cells) -> str:
    """What it takes to come where backprop is after one epoch, by validation accuracy."""

    def cell(place: tuple[str, int], row: AccuracyRow) -> str:
        if (place, row) not in cells:
            return ""
        group, wanted = cells[place, row], cells[place, BACKPROP].valid[0].mean()
        reached = group.valid >= wanted
        if not reached.any(axis=0).all():
            return f"{reached.any(axis=0).sum()} of {len(group.seeds)} runs"
        epochs = 1 + np.argmax(reached, axis=0)
        text = f"{np.median(epochs):g} ({epochs.min()} to {epochs.max()})"
        if group.name in DISTURBED:
            return text
        # The first epoch of some groups compiled kernels; all are equally long.
        seconds, joules = (
            float(np.median(epochs) * np.median(getattr(group, of)) / len(group.seeds))
            for of in ("seconds", "joules")
        )
        return f"{text}; {seconds:.3f} s, {joules:.0f} J{_other_device(group)}"

    return by_row_and_place("epochs; seconds and joules of one of ten runs", ROWS, cell)


def _other_device(group: Group) -> str:
    return "" if DEVICE in group.computed_by else "*"


DEVICE = "H200"
"""On which most groups were trained; what another took has a star."""


def fall_table(usual: Cells, tuned: Cells, wider: Cells) -> str:
    """What the epochs after the best one cost."""
    lines = []
    for kind, cells in (("", usual), (", tuned", tuned), (", tuned more widely", wider)):
        for place in PLACES:
            for row in ROWS:
                if (place, row) not in cells:
                    continue
                group = cells[place, row]
                epochs = 1 + best_epoch(group)
                when = f"{np.median(epochs):g} ({epochs.min()} to {epochs.max()})"
                falls = [str(fall(group, curve)) for curve in ("test", "valid")]
                lines.append([place_name(place), str(row) + kind, when, *falls])
    heads = ["", "", "epoch of best validation: median (range)", "test, points"]
    return markdown([*heads, "validation, points"], lines)


def cost_table(usual: Cells, tuned: Cells, of: str) -> str:
    """Seconds or joules of a group, and of one run of it."""

    def cell(cells: Cells, *key: Any) -> str:
        if key not in cells:
            return ""
        group = cells[key]
        if group.name in DISTURBED:
            return "left out"
        total, digits = float(getattr(group, of).sum()), {"seconds": 1, "joules": 0}[of]
        each = f"{total / len(group.seeds):.{digits + 1}f}"
        return f"{total:.{digits}f} ({each}){_other_device(group)}"

    lines = [[str(row), *(cell(usual, place, row) for place in PLACES)] for row in ROWS]
    lines += [
        [f"{row}, tuned", *(cell(tuned, place, row) for place in PLACES)]
        for row in SEARCHES.values()
    ]
    return markdown([f"{of} of ten runs (of one)", *map(place_name, PLACES)], lines)


# The page.


def page(
    groups: Sequence[Group],
    searches: Mapping[str, Search],
    parting: Parting,
    courses: Mapping[str, Looks],
) -> str:
    """Write `accuracies.md`."""
    by_name = {group.name: group for group in groups}
    between = ways_between(groups)
    usual, tuned, wider = (cells_of(groups, tuning) for tuning in (None, *TUNINGS))
    commits, devices = (
        {getattr(one, name) for one in groups} for name in ("commit", "computed_by")
    )
    n_epochs = {len(one.valid) for one in groups}
    parts = [
        "# Accuracies\n",
        f"Made of the files beside it by `python benchmarks/accuracy_tables.py`: "
        f"{len(groups)} groups of runs, {_all(n_epochs)} epochs, {_all(devices)}, commits "
        f"{_all(commits)}. Mean ± standard deviation (n − 1) over seeds, their number in brackets. "
        "Differences are paired by seed, with their 95 % confidence interval by Student's t. The "
        "best epoch is each run's own, the first of best validation accuracy.\n",
        "## Table 1: test accuracy\n",
        *_at_both(lambda moment: accuracy_table(usual, "test", moment, "test, %")),
        "## Table 2: validation accuracy\n",
        *_at_both(lambda moment: accuracy_table(usual, "valid", moment, "validation, %")),
        "## Table 3: difference to backprop\n",
        *_at_both(lambda moment: difference_table(usual, moment)),
        f"## Table 4: tuned, {place_name(TUNED_PLACE)}\n",
        *_tuned(searches, NARROW, usual, tuned),
        f"## Table 5: tuned more widely, {place_name(TUNED_PLACE)}\n",
        *_tuned(searches, WIDE, usual, wider),
        "## Table 6: cost\n",
        _about_cost([*usual.values(), *tuned.values()]),
        cost_table(usual, tuned, "seconds"),
        cost_table(usual, tuned, "joules"),
        "To the mean validation accuracy of backprop's first epoch, a run's own first epoch that "
        "reaches it: median (range).\n",
        to_first_epoch_table(usual),
        "## Table 7: last epoch less best epoch\n",
        fall_table(usual, tuned, wider),
        f"## Table 8: which settings do it, {place_name(TUNED_PLACE)}\n",
        f"{ROWS[4]}, after {len(between[TUNED].valid)} epochs.\n",
        parts_table(between),
        why_table(between),
        f"## Table 9: misreading along learning, {place_name(TUNED_PLACE)}\n",
        f"{ROWS[4]}, one seed; layers 1 to {N_HIDDEN}.\n",
        misreading_table(courses),
        misreading_ranges(courses),
        f"## Table 10: the settings of Table 5, {place_name(TRANSFERRED_PLACE)}\n",
        tuned_accuracy_table(usual, wider, TRANSFERRED_PLACE),
        tuned_difference_table(usual, wider, TRANSFERRED_PLACE, WIDE),
        "Goals of both datasets:\n",
        goal_table(wider),
        f"## Table 11: weak control, tuned, {place_name(TUNED_PLACE)}\n",
        *_weak(searches, usual, wider),
        f"## Table 12: how much is chance, {place_name(TUNED_PLACE)}\n",
        f"{ROWS[1]}. Limits of a standard deviation are of 95 %, by χ².\n",
        orders_table(by_name),
        precision_table(by_name),
        f"What was trained twice, on two devices at two commits: {made_twice(by_name)} recorded "
        "accuracies are the same.\n",
        f"Parting from {REFERENCE}, {len(parting.seeds)} seeds, commit {parting.commit}:\n",
        parting_table(parting),
        parting_accuracy_table(parting),
    ]
    return "\n".join(parts)


def _tuned(searches: Mapping[str, Search], tuning: Tuning, usual: Cells, tuned: Cells) -> list[str]:
    return [
        _about_searches(searches, tuning),
        settings_table(searches, tuning),
        search_table(searches, tuning, usual, tuned),
        tuned_accuracy_table(usual, tuned, TUNED_PLACE),
        tuned_difference_table(usual, tuned, TUNED_PLACE, tuning),
    ]


def _weak(searches: Mapping[str, Search], usual: Cells, tuned: Cells) -> list[str]:
    weak, strong = ROWS[6], ROWS[4]
    others = {
        f"{weak}, published": usual[TUNED_PLACE, weak],
        f"{strong}, tuned more widely": tuned[TUNED_PLACE, strong],
        f"{BACKPROP}, tuned more widely": tuned[TUNED_PLACE, BACKPROP],
        f"{BACKPROP}, published": usual[TUNED_PLACE, BACKPROP],
    }
    return [
        settings_table(searches, WIDE, WEAK_SEARCHES),
        search_table(searches, WIDE, usual, tuned, WEAK_SEARCHES),
        tuned_accuracy_table(usual, tuned, TUNED_PLACE, WEAK_SEARCHES),
        against_table(tuned[TUNED_PLACE, weak], others),
        _about_nudge([cells[TUNED_PLACE, weak] for cells in (tuned, usual)]),
    ]


def _about_nudge(groups: Iterable[Group]) -> str:
    """Where control leads from an output that knows nothing, the more telling side of a nudge."""
    n_classes, loss = 10, "softmax-cross-entropy"
    equal, labels = np.zeros((1, n_classes)), softened_labels(np.array([0]), n_classes)
    nudges = [group.settings["feedback.nudge"] for group in groups]
    ways = {f"a nudge of {plain(nudge)}": Feedback(strong=False, nudge=nudge) for nudge in nudges}
    ways["strong control"] = Feedback(strong=True)
    targets = [
        f"{closed_loop_target(loss, feedback, equal, labels)[0, 0]:.3f} ({name})"
        for name, feedback in ways.items()
    ]
    return f"The right class's target, where all ten outputs are alike: {', '.join(targets)}.\n"


def _all(values: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, values)))


def _at_both(table: Callable[[Moment], str]) -> list[str]:
    return [part for when, moment in MOMENTS.items() for part in (f"{when}:\n", table(moment))]


def _about_searches(searches: Mapping[str, Search], tuning: Tuning) -> str:
    used = {name + one.ending for name in SEARCHES for one in TUNINGS}
    used |= {name + WIDE.ending for name in WEAK_SEARCHES}
    n_trials = {np.isfinite(tuning.search_of(searches, name).values).sum() for name in SEARCHES}
    others = [
        f"{name} ({np.isfinite(search.values).sum()} trials ended, {_nudged(search)})"
        for name, search in searches.items()
        if name not in used
    ]
    begun = f" Begun, not finished and not used: {', '.join(others)}."
    unused = begun if others and tuning == NARROW else ""
    return (
        f"{_all(n_trials)} trials of {tuning.epochs} epochs a search, of one seed; its value is "
        "validation accuracy after the last of them. Percent say where between its bounds a "
        "setting lies, from 0 (the lower) to 100 (the upper); the last column is of the linear "
        f"threshold.{unused}\n"
    )


def _nudged(search: Search) -> str:
    best = search.trials[search.best]
    nudge = plain(best.settings["feedback.nudge"])
    published = plain(search.trials[0].settings["feedback.nudge"])
    return f"the best at {best.value:.2f} by a nudge of {nudge}, published {published}"


def _about_cost(groups: Iterable[Group]) -> str:
    slow = [
        f"{one.name} ({one.seconds[0]:.1f} s, later ones {np.median(one.seconds[1:]):.2f} s)"
        for one in groups
        if one.name not in DISTURBED and one.seconds[0] > 2 * np.median(one.seconds[1:])
    ]
    left_out = [f"{name} is left out: {why}." for name, why in DISTURBED.items()]
    compiled = f" First epochs that compiled kernels: {', '.join(slow)}." if slow else ""
    return (
        "Training alone, without evaluation; ten runs share the device, so one alone takes more "
        f"than the tenth in brackets. {' '.join(left_out)}{compiled} Joules are rough: an epoch's "
        "are a difference of two readings of a counter that moves by some 30 to 40 J at once, and "
        "epochs can be in step with it, as those of the two weak groups on the H200 must have "
        "been. A star: on an H100.\n"
    )


# Pictures.


def draw_all_accuracies(path: Path, cells: Cells) -> None:
    """Draw every seed's last test accuracy and the means, a panel a dataset and depth."""
    from disinhib.experiments.paper.figures.style import PAGE, new_figure

    figure = new_figure(PAGE, 4.6)
    panels = figure.subplots(2, 2)
    for axes, place in zip(panels.flat, PLACES, strict=True):
        rows = [
            row for row in ROWS[::-1] if any((p, row) in cells for p in PLACES if p[0] == place[0])
        ]
        column = {row: at(cells[place, row], "test", last_epoch) for row in rows
                  if (place, row) in cells}  # fmt: skip
        shown = {row: values for row, values in column.items() if values.mean() > LEAST_SHOWN}
        draw_column(axes, place, shown, rows)
        for row in column.keys() - shown.keys():
            text = f"← {mean_and_deviation(column[row])}, far to the left"
            where = axes.get_yaxis_transform()
            axes.text(0.02, rows.index(row), text, transform=where, va="center", fontsize=7)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), [str(row) for row in rows])
    for axes in panels[0]:
        axes.set_xlabel("")
    for axes in panels[:, 1]:
        axes.tick_params(labelleft=False)
    figure.savefig(path, dpi=200)


LEAST_SHOWN = 80.0
"""Percent; what learnt less would press all else into a corner, and is written instead."""

DASHES = {("", ""): "-", ("per-sample", "strong"): "-", ("averaged", "strong"): "--",
          ("per-sample", "weak"): ":"}  # fmt: skip


def epochs_of(group: Group) -> Array | None:
    """Epochs passed, (epochs,)."""
    return 1 + np.arange(len(group.valid))


def seconds_of_one(group: Group) -> Array | None:
    """Seconds of training of one of the runs, (epochs,); None where they say nothing."""
    if group.name in DISTURBED or DEVICE not in group.computed_by:
        return None
    return epochs_of(group) * np.median(group.seconds) / len(group.seeds)


def draw_curves(
    path: Path, cells: Cells, along: Callable[[Group], Array | None], label: str
) -> None:
    """Draw mean test accuracies, by epoch or time, with a band of one deviation to each side."""
    from disinhib.experiments.paper.figures.style import PAGE, RULE_COLOURS, new_figure

    figure = new_figure(PAGE, 5.2)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, place in zip(panels.flat, PLACES, strict=True):
        for row in ROWS:
            if (place, row) not in cells:
                continue
            curve = cells[place, row].test
            mean, spread = curve.mean(axis=1), curve.std(axis=1, ddof=1)
            if mean.max() < LEAST_SHOWN:
                continue
            epochs = along(cells[place, row])
            if epochs is None:
                continue
            colour, dashes = RULE_COLOURS[row.rule], DASHES[row.feedback, row.strength]
            axes.plot(epochs, mean, dashes, color=colour, label=str(row))
            band = {"alpha": 0.15, "linewidth": 0}
            axes.fill_between(epochs, mean - spread, mean + spread, color=colour, **band)
        axes.set_title(place_name(place).replace("_", "-"))
        axes.set_ylim({"fashion_mnist": (80, 90.5), "mnist": (93, 99)}[place[0]])
        axes.grid(alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel(label)
    for axes in panels[:, 0]:
        axes.set_ylabel("test accuracy, %")
    named = {}
    for axes in panels.flat:
        named |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    order = [label for label in map(str, ROWS) if label in named]
    figure.legend([named[label] for label in order], order, loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=200)


SCATTERED = {
    "optimizer.learning_rate": "learning rate",
    "controller.k_p": "$k_p$",
    "controller.k_i": "$k_i$",
    "feedback.norm": "norm of the feedback",
}
SCATTERED_MORE_WIDELY = {
    "schedule.final": "last learning rate ÷ first",
    "activation_I.sharpness": "sharpness of $\\varphi_I$",
    "controller.k_p": "$k_p$",
    "feedback.norm": "norm of the feedback",
}


def draw_searches(
    path: Path, searches: Mapping[str, Search], tuning: Tuning, scattered: Mapping[str, str]
) -> None:
    """Draw the history of the searches, and the linear threshold's values by some settings."""
    from disinhib.experiments.paper.figures.style import PAGE, RULE_COLOURS, new_figure

    figure = new_figure(PAGE, 4.6)
    upper, lower = figure.subfigures(2, 1)
    for axes, (name, row) in zip(upper.subplots(1, 3, sharey=True), SEARCHES.items(), strict=True):
        values = tuning.search_of(searches, name).values
        numbers = np.arange(values.size)
        colour = RULE_COLOURS[row.rule]
        axes.plot(numbers, values, ".", color=colour, alpha=0.5, markersize=4, label="a trial")
        best = np.fmax.accumulate(values)
        axes.step(numbers, best, where="post", color=colour, label="best so far")
        _cut_below(axes, values)
        axes.set_title(str(row))
        axes.set_xlabel("trial")
        axes.legend(loc="lower right")
        if name == "backprop":
            axes.set_ylabel("validation, %")
    search = tuning.search_of(searches, "linear-threshold-strong")
    panels = lower.subplots(1, len(scattered), sharey=True)
    for axes, (setting, label) in zip(panels, scattered.items(), strict=True):
        chosen = np.array([trial.settings[setting] for trial in search.trials])
        colour = RULE_COLOURS["linear-threshold"]
        axes.semilogx(chosen, search.values, ".", color=colour, alpha=0.5, markersize=4)
        axes.plot(chosen[search.best], search.values[search.best], "*", color="black")
        low, high = search.bounds[setting]
        for bound in (low, high):
            axes.axvline(bound, color="black", linewidth=0.8, linestyle=":")
        axes.set_xlim(low / 1.3, high * 1.3)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        _cut_below(axes, search.values)
    panels[0].set_ylabel("validation, %")
    lower.suptitle(
        "linear-threshold, per-sample, strong: all trials; ★ the best, dotted the bounds",
        fontsize=8,
    )
    figure.savefig(path, dpi=200)


def _cut_below(axes: Any, values: Array) -> None:
    axes.set_ylim(LEAST_SHOWN, 91)
    axes.grid(alpha=0.3)
    n_below = int(np.sum(values < LEAST_SHOWN))
    if n_below:
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        where = {"transform": axes.transAxes, "fontsize": 6, "va": "bottom", "bbox": white}
        axes.text(0.1, 0.02, f"{n_below} below", **where)


WAY_STYLES = {
    "float32, fixed point": ("-", "o"),
    "float64, integrated": ("--", "s"),
    "float32, integrated": (":", "^"),
}


def draw_parting(path: Path, parting: Parting) -> None:
    """Draw distances by step, medians with a band from the least to the greatest seed."""
    from disinhib.experiments.paper.figures.style import BLUE, ORANGE, PAGE, VERMILION, new_figure

    figure = new_figure(PAGE, 3.0)
    axes = figure.subplots()
    colours = dict(zip(parting.distances, (BLUE, ORANGE, VERMILION), strict=True))
    for way, distance in parting.distances.items():
        dashes, marker = WAY_STYLES[way]
        style = {"color": colours[way], "marker": marker, "markersize": 3, "label": way}
        axes.loglog(parting.steps, 100 * np.median(distance, axis=1), dashes, **style)
        axes.fill_between(
            parting.steps, 100 * distance.min(axis=1), 100 * distance.max(axis=1),
            color=colours[way], alpha=0.15, linewidth=0,
        )  # fmt: skip
    for epoch in range(1, len(parting.accuracies[REFERENCE]) + 1):
        axes.axvline(epoch * STEPS_OF_AN_EPOCH, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("step (dotted: ends of epochs)")
    axes.set_ylabel("distance of the parameters,\n% of the way gone")
    axes.set_title(f"from {REFERENCE}, of the same start and order")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=200)


def draw_misreading(path: Path, courses: Mapping[str, Looks]) -> None:
    """Draw misreading by work, and angles to the gradient, by epoch, a column a layer."""
    from disinhib.experiments.paper.figures.style import BLACK, PAGE, VERMILION, new_figure

    figure = new_figure(PAGE, 4.4)
    panels = figure.subplots(2, N_HIDDEN, sharex=True, sharey="row")
    styles = {PUBLISHED: {"color": BLACK, "linestyle": "--"}, TUNED: {"color": VERMILION}}
    for layer, (upper, lower) in enumerate(panels.T):
        for name, looks in courses.items():
            upper.semilogy(looks.epochs, looks.ratio[:, layer], label=name, **styles[name])
            lower.plot(looks.epochs, looks.angle[:, layer], **styles[name])
        lower.axhline(90, color="0.6", linewidth=0.7, zorder=0)
        lower.set_ylim(0, 135)
        lower.set_yticks((0, 45, 90, 135))
        lower.set_xlabel("epoch")
        upper.set_title(f"layer {layer + 1}")
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
            axes.margins(x=0.02)
    panels[0, 0].yaxis.set_major_formatter("{x:g}")
    panels[0, 0].set_ylabel("misreading ÷ work")
    panels[1, 0].set_ylabel("angle to the gradient, °")
    panels[0, -1].legend(loc="lower right")
    figure.savefig(path, dpi=200)


def main() -> None:
    """Write everything anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with runs.jsonl and what else is read")
    folder = parser.parse_args().folder
    groups = read_groups(folder / "runs.jsonl")
    searches = read_searches(folder / "searches.journal")
    usual = cells_of(groups)
    parting = read_parting(folder / "parting.json")
    courses = read_looks(folder / "misreading.json")
    text = page(groups, searches, parting, courses)
    (folder / "accuracies.md").write_text(text, encoding="utf-8")
    draw_all_accuracies(folder / "accuracies.png", usual)
    draw_curves(folder / "curves.png", usual, epochs_of, "epoch")
    draw_curves(folder / "time.png", usual, seconds_of_one, "seconds of one of ten runs")
    draw_searches(folder / "searches.png", searches, NARROW, SCATTERED)
    draw_searches(folder / "wider-searches.png", searches, WIDE, SCATTERED_MORE_WIDELY)
    draw_parting(folder / "parting.png", parting)
    draw_misreading(folder / "misreading.png", courses)


if __name__ == "__main__":
    main()
