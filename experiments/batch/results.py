"""What a study has come to: how far it is, tables a row a run, pictures, and the best settings."""

from __future__ import annotations

import json
import os
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...refimpl import ConfigurationError, shown
from ..output import in_a_picture
from .study import STUDY, Search, Study, cells, read_study
from .work import DIVERGED, DONE, FAILED, FINAL, PRUNED, STOPPED, WORKERS, Results, in_turn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .here import Share

FIGURES = (
    "train_loss", "train_accuracy", "train_closed_loop_loss", "train_closed_loop_accuracy",
    "valid_loss", "valid_accuracy", "test_loss", "test_accuracy",
)  # fmt: skip
COLUMNS = (
    "epochs", *FIGURES, "best_epoch", *(f"best_{name}" for name in FIGURES), "seconds",
    "state", "why",
)  # fmt: skip
SECONDS_OF_NEWS = 30.0
"""After which a worker that has said nothing is no longer counted as working."""


class Progress:
    """How far a share of a study is."""

    def __init__(
        self, study: Study, directory: Path, share: Share, attempt: str, results: Results
    ) -> None:
        self.study, self.directory, self.attempt = study, directory, attempt
        self._results, self._began, self._n_before = results, time.monotonic(), 0
        n, search = study.n_combinations, study.search
        # Of a search the trials are counted, which are worked on by whoever is free.
        if search is None:
            self._keys = None if share.of == 1 else _keys_of(study, share)
            self.n_rows = n if self._keys is None else len(self._keys)
        else:
            self._keys = None
            groups = len(range(share.number - 1, n, share.of))
            self.n_rows = groups * search.trials
        self.of_rows: dict[str, int] = {}
        self.best: Mapping[str, Any] | None = None
        self.fresh: list[Mapping[str, Any]] = []  # finished since the last look
        self._settled: dict[str, str] = {}  # states by key
        self.look()
        self.fresh, self._n_before = [], self.n_settled

    @property
    def what(self) -> str:
        """Are counted."""
        return "runs" if self.study.search is None else "trials"

    @property
    def n_settled(self) -> int:
        """Rows that nothing is to be done about in this attempt."""
        return sum(self.of_rows.values())

    @property
    def n_left(self) -> int:
        """Rows that are not."""
        return self.n_rows - self.n_settled

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before the first."""
        n = self.n_settled - self._n_before
        return None if n == 0 else (time.monotonic() - self._began) / n * self.n_left

    @property
    def per_minute(self) -> float:
        """Rows seen through a minute, since this began."""
        passed = max(time.monotonic() - self._began, 1e-9)
        return 60 * (self.n_settled - self._n_before) / passed

    def look(self) -> None:
        """Count what has come since; `Results.refresh` comes before."""
        self.fresh = []
        news, metric = self._results.news(), _metric_of(self.study)
        lines = self._results.outcomes if self.study.search is None else self._results.trials
        for key in news:
            if key not in lines or (self._keys is not None and key not in self._keys):
                continue
            line, before = lines[key], self._settled.pop(key, "")
            state = line["state"]
            # What was stopped is left, though nobody may go on with it now.
            is_ours = self.attempt and line.get("attempt") == self.attempt and state != STOPPED
            is_settled = state in FINAL or is_ours
            if self.study.search is None and state == DONE:
                asked = line["own"].get("epochs", self.study.base["epochs"])
                is_settled = line["asked"] >= asked
            if not is_settled:
                continue
            self._settled[key] = state
            if state != before:
                self.fresh.append(line)
            value = line.get("value", line.get(metric))
            if state == DONE and value is not None and self._is_better(value):
                self.best = {**line, "value": value}
        self.of_rows = dict(Counter(self._settled.values()))

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        better = value > self.best["value"]
        return better if _direction_of(self.study) == "maximize" else value < self.best["value"]

    def working(self) -> Iterator[Mapping[str, Any]]:
        """What workers have said of late, read where they said it."""
        with suppress(FileNotFoundError), os.scandir(self.directory / WORKERS) as entries:
            for entry in entries:
                if not entry.name.endswith(".json"):
                    continue
                with suppress(OSError, ValueError):
                    news = json.loads(Path(entry.path).read_text(encoding="utf-8"))
                    if time.time() - news["at"] < SECONDS_OF_NEWS:
                        yield news

    def news_of(self, process: int) -> Mapping[str, Any]:
        """What a worker of this machine said last."""
        for path in (self.directory / WORKERS).glob(f"{socket.gethostname()}-{process}-*.json"):
            with suppress(OSError, ValueError):
                found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                return found
        return {}

    def forget(self, process: int) -> None:
        """Remove what a worker of this machine left that is dead."""
        for path in (self.directory / WORKERS).glob(f"{socket.gethostname()}-{process}-*.json"):
            with suppress(OSError):
                path.unlink()


def _keys_of(study: Study, share: Share) -> set[str]:
    return {study.row(own).key for own in in_turn(study.combinations(), share.number, share.of)}


def _metric_of(study: Study) -> str:
    return "valid_accuracy" if study.search is None else study.search.metric


def _direction_of(study: Study) -> str:
    return "maximize" if study.search is None else study.search.direction


# Tables.


def read_batch(directory: str | os.PathLike[str]) -> tuple[Study, Results]:
    """Read a study and what has come of it; ConfigurationError if there is none."""
    directory = Path(directory)
    if not (directory / STUDY).is_file():
        raise ConfigurationError(f"{directory} holds no study: {STUDY} is missing")
    return read_study(directory / STUDY), Results(directory)


def batch_table(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Make a row a run, as ``pandas.DataFrame`` takes them.

    Parameters
    ----------
    directory : path
        Of a study.

    Returns
    -------
    list of dict
        `run`, the directory; every setting that varies by its dotted name; of a search `trial`;
        `epochs`, figures of the last epoch by their names in metrics.jsonl, `best_epoch`, the first
        of highest validation accuracy, and its figures after `best_`; `seconds`; `state` ('done',
        'diverged', 'pruned', 'failed', 'stopped') and `why`, empty if it is done.

    Raises
    ------
    ConfigurationError, FileError
        There is no study, or what is there cannot be read.
    """
    study, results = read_batch(directory)
    names = study.names
    ours = _keys_in_order(study, results)
    trial = [] if study.search is None else ["trial"]
    rows = []
    for key in ours:
        line = results.outcomes[key]
        rows.append({
            "run": str(Path(directory) / line["directory"]),
            **{name: line.get(name) for name in trial},
            **cells((name, line["own"].get(name, study.value(name))) for name in names),
            **{name: line.get(name) for name in COLUMNS[:-2]},
            "state": line["state"],
            "why": line.get("why", ""),
        })  # fmt: skip
    return rows


def finished_runs(directory: str | os.PathLike[str]) -> list[Path]:
    """Directories of all runs that are done, those too that a study no longer has."""
    directory = Path(directory)
    _, results = read_batch(directory)
    done = (line for line in results.outcomes.values() if line["state"] == DONE)
    return sorted(directory / line["directory"] for line in done)


def _keys_in_order(study: Study, results: Results) -> list[str]:
    """Keys of the study's rows that something has come of, in the order of the study."""
    if study.search is not None:
        lines = results.outcomes
        return sorted(lines, key=lambda key: (lines[key].get("group", ""), lines[key]["trial"],
                                              lines[key]["own"].get("seed", 0)))  # fmt: skip
    return [row.key for row in study.rows() if row.key in results.outcomes]


def grouped(
    rows: Sequence[Mapping[str, Any]], by: Sequence[str], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean, standard deviation and number of figures over the rows that agree in some settings.

    Of rows that are done. The deviation is that of a sample (n − 1), and none of one row alone.
    """
    if rows:
        for name in (*by, *metrics):
            if name not in rows[0]:
                raise ConfigurationError(
                    f"{shown(name)} is no column of the table, which has {', '.join(rows[0])}"
                )
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] == DONE:
            groups.setdefault(tuple(row[name] for name in by), []).append(row)
    found = []
    for values, members in groups.items():
        line: dict[str, Any] = {**dict(zip(by, values, strict=True)), "n": len(members)}
        for metric in metrics:
            numbers = [row[metric] for row in members if row[metric] is not None]
            line[metric] = statistics.fmean(numbers) if numbers else None
            line[f"{metric}_sd"] = statistics.stdev(numbers) if len(numbers) > 1 else None
        found.append(line)
    return found


# The best settings.


def best_study(
    directory: str | os.PathLike[str], top: int, seeds: Sequence[int], epochs: int | None
) -> Study:
    """Give the study that repeats the best settings, chosen by validation alone.

    Those of a search by the value of its trials; else by the mean validation accuracy at the last
    epoch over the seeds that are there.
    """
    study, results = read_batch(directory)
    ranked = ranking(study, results)
    if not ranked:
        raise ConfigurationError(f"{directory} has no run yet that came to its end")
    base = dict(study.base) if epochs is None else {**study.base, "epochs": epochs}
    cases = tuple(dict(settings) for settings, _ in ranked[:top])
    # A setting that is off cannot stand in a file.
    cases = tuple({n: v for n, v in case.items() if v is not None} for case in cases)
    return Study(base, cases, {"seed": tuple(seeds)})


def ranking(study: Study, results: Results) -> list[tuple[dict[str, Any], float]]:
    """Settings but for the seed, each with its value, the best first."""
    values: dict[str, tuple[dict[str, Any], list[float]]] = {}
    if study.search is not None:
        lines = [(t["own"], t["value"]) for t in results.trials.values() if t["state"] == DONE]
    else:
        ours = [results.outcomes[key] for key in _keys_in_order(study, results)]
        lines = [(line["own"], line["valid_accuracy"]) for line in ours if line["state"] == DONE]
    for own, value in lines:
        settings = {name: one for name, one in own.items() if name != "seed"}
        values.setdefault(json.dumps(settings, sort_keys=True), (settings, []))[1].append(value)
    means = [(settings, statistics.fmean(found)) for settings, found in values.values()]
    is_up = _direction_of(study) == "maximize"
    return sorted(means, key=lambda one: one[1], reverse=is_up)


# Pictures.

MOST_BARS = 40


def batch_figure(directory: str | os.PathLike[str], metric: str = "") -> Figure:
    """Draw a study: figures by setting with their spread over seeds; of a search its history.

    Parameters
    ----------
    directory : path
        Of a study.
    metric : str
        A column of the table; else test accuracy, or what a search went by.

    Raises
    ------
    ConfigurationError, FileError
        There is no study, nothing has come of it yet, or no such column.
    """
    study, results = read_batch(directory)
    if study.search is None:
        rows = [row for row in batch_table(directory) if row["state"] == DONE]
        if not rows:
            raise ConfigurationError(f"{directory} has no run yet that came to its end")
        return _by_setting(study, rows, metric or "test_accuracy")
    return _search_history(study, study.search, results, directory)


def _by_setting(study: Study, rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    from matplotlib.figure import Figure

    by = [name for name in study.names if name != "seed"]
    lines = grouped(rows, by, [metric])
    axis = _numeric_axis(lines, by)
    others = [name for name in by if name != axis]
    if axis is None:
        figure = Figure(figsize=(8, 1.3 + 0.32 * min(len(lines), MOST_BARS)), layout="constrained")
        _draw_groups(figure.subplots(), lines[:MOST_BARS], by, rows, metric)
        return figure
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    curves: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for line in lines:
        curves.setdefault(tuple(line[name] for name in others), []).append(line)
    for number, (values, points) in enumerate(curves.items()):
        points = sorted(points, key=lambda line: line[axis])
        x = [line[axis] for line in points]
        y = [line[metric] for line in points]
        spread = [line[f"{metric}_sd"] or 0.0 for line in points]
        label = in_a_picture(", ".join(map(_short, values))) if values else None
        axes.errorbar(
            x, y, yerr=spread, label=label, marker="o", markersize=4, capsize=3,
            color=f"C{number % 10}",
        )  # fmt: skip
    every = sorted({line[axis] for line in lines})
    if every[0] > 0 and every[-1] / every[0] >= 10:
        axes.set_xscale("log")
    axes.set(xlabel=axis, ylabel=_words(metric))
    _finish(axes, metric, "y")
    if others:
        axes.legend(frameon=False, fontsize="small")
    n = max(line["n"] for line in lines)
    axes.set_title(f"mean and standard deviation, n = {n}" if n > 1 else "one run each", size=9)
    return figure


def _numeric_axis(lines: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str | None:
    """The last varied setting of numbers with three values or more."""
    for name in reversed(by):
        values = {line[name] for line in lines}
        are_numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        if are_numbers and len(values) > 2:
            return name
    return None


def _draw_groups(
    axes: Axes,
    lines: Sequence[Mapping[str, Any]],
    by: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    metric: str,
) -> None:
    """A line a group: every run as a dot, mean and standard deviation beside."""
    for place, line in enumerate(lines):
        members = [row[metric] for row in rows if all(row[name] == line[name] for name in by)]
        members = [value for value in members if value is not None]
        axes.plot(members, [place] * len(members), "o", color="C0", alpha=0.35, markersize=4)
        if line[metric] is not None:
            spread = line[f"{metric}_sd"] or 0.0
            axes.errorbar(line[metric], place, xerr=spread, fmt="D", color="C0", capsize=3)
    labels = [in_a_picture(", ".join(_short(line[name]) for name in by)) or "all" for line in lines]
    axes.set_yticks(range(len(lines)), labels)
    axes.invert_yaxis()
    axes.set(xlabel=f"{_words(metric)}: runs, mean and standard deviation")
    _finish(axes, metric, "x")


def _search_history(
    study: Study, search: Search, results: Results, directory: str | os.PathLike[str]
) -> Figure:
    """Values of trials in order with the best so far, and how much each setting matters."""
    from matplotlib.figure import Figure

    from .search import importances

    trials = [t for t in results.trials.values() if t["state"] in (DONE, PRUNED, DIVERGED, FAILED)]
    if not any(t["state"] == DONE for t in trials):
        raise ConfigurationError(f"{directory} has no trial yet that came to its end")
    groups = list(dict.fromkeys(t["group"] for t in trials))
    figure = Figure(figsize=(10, 3.2 * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), 2, squeeze=False, width_ratios=(3, 2))
    is_up = search.direction == "maximize"
    for (history, bars), group in zip(grid, groups, strict=True):
        ours = sorted((t for t in trials if t["group"] == group), key=lambda t: t["number"])
        done = [t for t in ours if t["state"] == DONE]
        history.plot([t["number"] for t in done], [t["value"] for t in done], "o", alpha=0.6,
                     markersize=4, label="trial")  # fmt: skip
        best: list[float] = []
        for t in done:
            best.append((max if is_up else min)([*best[-1:], t["value"]]))
        history.step([t["number"] for t in done], best, where="post", label="best so far")
        first = next((t for t in done if t["number"] == 0), None)
        if first is not None and search.sampler != "grid":
            history.axhline(first["value"], color="0.5", linestyle=":", label="as in [base]")
        given_up = [t["number"] for t in ours if t["state"] != DONE]
        low = min(t["value"] for t in done)
        history.plot(given_up, [low] * len(given_up), "|", color="0.5", label="pruned or diverged")
        history.set(xlabel="trial", ylabel=_words(search.metric))
        if len(groups) > 1:
            history.set_title(in_a_picture(group), size=9)
        _finish(history, search.metric, "y")
        history.legend(frameon=False, fontsize="small")
        found = importances(directory, group)
        names = list(found)[::-1]
        bars.barh(names, [found[name] for name in names], color="C0")
        bars.set(xlabel="importance", xlim=(0, 1))
        bars.spines[["top", "right"]].set_visible(False)
    return figure


def _words(metric: str) -> str:
    words = metric.replace("valid", "validation").replace("train", "training").split("_")
    return " ".join(words) + (", at the best epoch" if metric.startswith("best_") else "")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _finish(axes: Axes, metric: str, along: str) -> None:
    from matplotlib.ticker import PercentFormatter

    if metric.endswith("accuracy"):
        (axes.yaxis if along == "y" else axes.xaxis).set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
