"""What the runs of gpu_tables.py say: tables of accuracies, and pictures of them.

    python benchmarks/accuracy_tables.py docs/tables

reads `runs.jsonl` and `searches.journal` of that folder and writes `accuracies.md` and three
pictures beside them. Nothing is trained, and every number of `accuracies.md` is computed here.
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
from scipy.stats import t as student

from disinhib.experiments.paper.table import AccuracyRow, draw_column

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
    )


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


def settings_table(searches: Mapping[str, Search], tuning: Tuning) -> str:
    """What was searched, between which bounds, and what was best."""
    widest = tuning.search_of(searches, "linear-threshold-strong")
    lines = []
    for name, bounds in widest.bounds.items():
        numeric = name in widest.logarithmic
        limits = " to ".join(map(plain, bounds)) if numeric else ", ".join(map(plain, bounds))
        scale = " (log)" if widest.logarithmic.get(name) else ""
        published = plain(widest.trials[0].settings[name])
        best = [_best_setting(tuning.search_of(searches, way), name) for way in SEARCHES]
        lines.append([name, limits + scale, published, *best, _where_the_best_lie(widest, name)])
    ways = map(str, SEARCHES.values())
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


def search_table(searches: Mapping[str, Search], tuning: Tuning, usual: Cells, tuned: Cells) -> str:
    """What the search saw, and what ten seeds make of its best settings after as many epochs."""
    lines = []
    for name, row in SEARCHES.items():
        search, key = tuning.search_of(searches, name), (TUNED_PLACE, row)
        best = f"{search.values[search.best]:.2f} (trial {search.best})"
        seeds = [mean_and_deviation(at(cells[key], "valid", tuning.end_of_trial))
                 for cells in (usual, tuned)]  # fmt: skip
        lines.append([str(row), f"{search.values[0]:.2f}", best, *seeds])
    of = f"after {tuning.epochs} epochs"
    heads = [f"validation {of}, %", "search: published", "search: best"]
    return markdown([*heads, "seeds 0 to 9: published", "seeds 0 to 9: tuned"], lines)


def tuned_accuracy_table(usual: Cells, tuned: Cells, place: tuple[str, int]) -> str:
    """Test accuracy with the published settings and with the best."""
    lines = []
    for row in SEARCHES.values():
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


def page(groups: Sequence[Group], searches: Mapping[str, Search]) -> str:
    """Write `accuracies.md`."""
    usual, tuned, wider = (cells_of(groups, tuning) for tuning in (None, *TUNINGS))
    commits, devices = (
        {getattr(one, name) for one in groups} for name in ("commit", "computed_by")
    )
    n_epochs = {len(one.valid) for one in groups}
    parts = [
        "# Accuracies\n",
        f"Made of runs.jsonl and searches.journal by `python benchmarks/accuracy_tables.py`: "
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
        f"The same settings, {place_name(TRANSFERRED_PLACE)}:\n",
        tuned_accuracy_table(usual, wider, TRANSFERRED_PLACE),
        tuned_difference_table(usual, wider, TRANSFERRED_PLACE, WIDE),
        "## Table 6: cost\n",
        _about_cost(groups),
        cost_table(usual, tuned, "seconds"),
        cost_table(usual, tuned, "joules"),
        "To the mean validation accuracy of backprop's first epoch, a run's own first epoch that "
        "reaches it: median (range).\n",
        to_first_epoch_table(usual),
        "## Table 7: last epoch less best epoch\n",
        fall_table(usual, tuned, wider),
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


def _all(values: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, values)))


def _at_both(table: Callable[[Moment], str]) -> list[str]:
    return [part for when, moment in MOMENTS.items() for part in (f"{when}:\n", table(moment))]


def _about_searches(searches: Mapping[str, Search], tuning: Tuning) -> str:
    used = {name + one.ending for name in SEARCHES for one in TUNINGS}
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


def _about_cost(groups: Sequence[Group]) -> str:
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


def main() -> None:
    """Write everything anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with runs.jsonl and searches.journal")
    folder = parser.parse_args().folder
    groups = read_groups(folder / "runs.jsonl")
    searches = read_searches(folder / "searches.journal")
    usual = cells_of(groups)
    (folder / "accuracies.md").write_text(page(groups, searches), encoding="utf-8")
    draw_all_accuracies(folder / "accuracies.png", usual)
    draw_curves(folder / "curves.png", usual, epochs_of, "epoch")
    draw_curves(folder / "time.png", usual, seconds_of_one, "seconds of one of ten runs")
    draw_searches(folder / "searches.png", searches, NARROW, SCATTERED)
    draw_searches(folder / "wider-searches.png", searches, WIDE, SCATTERED_MORE_WIDELY)


if __name__ == "__main__":
    main()
