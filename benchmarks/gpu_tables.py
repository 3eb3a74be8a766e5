"""The paper's tables and a tuned one, many runs side by side on one GPU.

    python benchmarks/gpu_tables.py --out DIR [--data-dir DIR] [--deadline SECONDS]

Runs that differ in seed, or in numbers that a replica may have of its own, are replicas of one
network. Each finished group is a line of `runs.jsonl`: configurations, every epoch of every run,
seconds and joules, commit and device. The same command goes on with what is missing. A search keeps
its trials in Optuna's journal; it looks at the validation split alone, and what is trained with its
best settings is written down before the test split is looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from disinhib.backends import backend_class
from disinhib.datasets import batch_order, load_dataset, random_generator, softened_labels
from disinhib.experiments.training import (
    run_configuration,
    stacked,
    with_learning_rate,
    with_own_numbers,
)
from disinhib.refimpl import initial_parameters

ROOT = Path(__file__).resolve().parent.parent
RULES = ("backprop", "exact-inverse", "linear-threshold")
TUNED = {
    "backprop": {"rule": "backprop"},
    "linear-threshold-strong": {"rule": "linear-threshold", "feedback": {"strong": True}},
    "exact-inverse-strong": {"rule": "exact-inverse", "feedback": {"strong": True}},
    "linear-threshold-weak": {"rule": "linear-threshold", "feedback": {"strong": False}},
    "exact-inverse-weak": {"rule": "exact-inverse", "feedback": {"strong": False}},
}


@lru_cache(maxsize=600)
def order_of(seed: int, epoch: int, n_samples: int, batch_size: int) -> np.ndarray:
    """As a run of this seed has it; kept, for all rules have the same."""
    return batch_order(seed, epoch, n_samples, batch_size).astype(np.int32)


def joules() -> float:
    """What the device has used since its driver was loaded; NaN where it does not tell."""
    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    return math.nan


def begun(
    configurations: Sequence[Any], data: Any, start_seed: int | None = None, epoch: int = 0
) -> tuple[Any, Callable[[Any], Any]]:
    """The networks of all runs in one backend, and what places a split there.

    `start_seed` gives all runs one start, so that they differ by the order of their batches alone.
    The learning rates are those of an epoch, from 0.
    """
    first = configurations[0]
    n_inputs = data.train.images.shape[1]
    networks = [one.network(n_inputs, data.n_classes) for one in configurations]
    parameters = stacked([
        initial_parameters(
            network.sizes,
            random_generator(one.seed if start_seed is None else start_seed, "initial-parameters"),
        )
        for one, network in zip(configurations, networks, strict=True)
    ])  # fmt: skip
    kind = backend_class(first.backend)
    learning = [
        with_learning_rate(network, one.schedule.factor_at(epoch, one.epochs))
        for one, network in zip(configurations, networks, strict=True)
    ]
    backend = kind(with_own_numbers(learning), parameters, np.dtype(first.dtype), first.solver)

    def place(split: Any) -> Any:
        labels = softened_labels(split.labels, data.n_classes)
        return backend.place(split.images, labels, full_scale=data.full_scale)

    return backend, place


def train(
    configurations: Sequence[Any],
    data: Any,
    with_test: bool = True,
    start_seed: int | None = None,
    deadline: float = math.inf,
    patience: float = math.inf,
) -> dict[str, Any] | None:
    """Train side by side; figures (epochs, replicas), or None if the deadline came before the end.

    `start_seed` is that of `begun`. TooSlow is raised if the first few steps, or any epoch, take
    more than `patience` seconds: some settings leave no way to the end states but integration.
    """
    first, n_samples = configurations[0], len(data.train.labels)
    seeds = [one.seed for one in configurations]
    backend, place = begun(configurations, data, start_seed)
    placed, valid = place(data.train), place(data.validation)
    test = place(data.test) if with_test else None
    curves: dict[str, list[list[float]]] = {}

    def note(**figures: np.ndarray) -> None:
        for name, values in figures.items():
            curves.setdefault(name, []).append([round(float(v), 6) for v in np.atleast_1d(values)])

    seconds, used = [], []
    for epoch in range(first.epochs):
        if epoch and any(one.schedule.name != "constant" for one in configurations):
            learner = backend.learner()
            del backend, placed, valid, test, place
            backend, place = begun(configurations, data, start_seed, epoch)
            backend.load(learner)
            placed, valid = place(data.train), place(data.validation)
            test = place(data.test) if with_test else None
        orders = [order_of(seed, epoch, n_samples, first.batch_size) for seed in seeds]
        same = len(set(seeds)) == 1
        order = orders[0] if same else np.stack(orders, axis=1)
        before, began = joules(), time.perf_counter()
        first_look = epoch == 0 and math.isfinite(patience)
        few = min(FIRST_STEPS, len(order) - 1) if first_look else 0
        if few:
            backend.train(placed, order[:few])
            if time.perf_counter() - began > patience:
                raise TooSlow
        metrics = backend.train(placed, order[few:])
        if time.perf_counter() - began > patience:
            raise TooSlow
        seconds.append(round(time.perf_counter() - began, 4))
        used.append(round(joules() - before, 2))
        found = backend.evaluate(valid)
        note(
            train_loss=metrics.loss.mean(axis=0),
            train_accuracy=metrics.n_correct.mean(axis=0) / first.batch_size,
            train_closed_loop_loss=metrics.closed_loop_loss.mean(axis=0),
            valid_loss=found.loss,
            valid_accuracy=found.accuracy,
        )
        if test is not None:
            found = backend.evaluate(test)
            note(test_loss=found.loss, test_accuracy=found.accuracy)
        if time.monotonic() > deadline:
            return None
    by = backend_class(first.backend).describe()
    return {
        "computed_by": f"{by.name} {by.version}, {by.device}",
        "training_seconds": seconds,
        "joules": used,
        "last_counts": dataclasses.asdict(metrics.closed_loop_counts),
        "curves": curves,
    }


FIRST_STEPS = 10
"""After which a search first looks whether its runs are too slow."""


class TooSlow(Exception):
    """Runs take longer than a search has patience for."""


# How far precisions and methods part, from one start and in one order.

WAYS = {
    "float64, fixed point": ("float64", "fixed-point"),
    "float32, fixed point": ("float32", "fixed-point"),
    "float64, integrated": ("float64", "tsit5"),
    "float32, integrated": ("float32", "tsit5"),
}
PARTS = (1, 1, 3, 5, 10, 20, 60, 100, 200)  # steps


def part(
    ways: Mapping[str, Sequence[Any]], data: Any, path: Path, deadline: float, n_epochs: int = 3
) -> None:
    """Train in several ways at once; distances of the parameters from those of the first way.

    A distance is relative to the way that the first has gone from the start, over all parameters.
    """

    def flat(backend: Any) -> np.ndarray:
        p = backend.learner().parameters
        arrays = [*p.weights, *p.biases, p.readout]
        return np.concatenate([a.reshape(len(a), -1).astype(float) for a in arrays], axis=1)

    made = {}
    for name, configurations in ways.items():
        backend, place = begun(configurations, data)
        made[name] = (backend, place(data.train), place(data.validation))
    one, n_samples = configurations[0], len(data.train.labels)
    seeds = [one.seed for one in configurations]
    start = flat(next(iter(made.values()))[0])
    rows = []
    for epoch in range(n_epochs):
        order = np.stack([order_of(s, epoch, n_samples, one.batch_size) for s in seeds], axis=1)
        sizes = PARTS if epoch == 0 else ()
        ends = [*(e for e in np.cumsum(sizes) if e < len(order)), len(order)]
        for first, end in zip([0, *ends], ends, strict=False):
            reference = None
            for name, (backend, placed, valid) in made.items():
                began = time.perf_counter()
                backend.train(placed, order[first:end])
                seconds = time.perf_counter() - began
                now = flat(backend)
                reference = now if reference is None else reference
                away = np.linalg.norm(now - reference, axis=1)
                row = {
                    "way": name,
                    "step": int(epoch * len(order) + end),
                    "distance": (away / np.linalg.norm(reference - start, axis=1)).tolist(),
                    "seconds": seconds,
                }
                if end == len(order):
                    row["valid_accuracy"] = backend.evaluate(valid).accuracy.tolist()
                rows.append(row)
                path.with_suffix(".part").write_text(json.dumps(rows))
                if time.monotonic() > deadline:
                    return
    text = json.dumps({"commit": commit(), "seeds": seeds, "rows": rows})
    path.write_text(text + "\n", encoding="utf-8")


# What is run.


def configured(settings: Mapping[str, Any], given: argparse.Namespace, **more: Any) -> Any:
    """A run's configuration; settings may have dotted names."""
    nested: dict[str, Any] = {"backend": given.backend, "dtype": "float32"}
    for name, value in {**settings, **more}.items():
        section, _, key = name.rpartition(".")
        if section:
            nested[section] = {**nested.get(section, {}), key: value}
        elif isinstance(value, Mapping):
            nested[name] = {**nested.get(name, {}), **value}
        else:
            nested[name] = value
    return run_configuration(nested, "tables")


def groups(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any], list[int]]]:
    """Name, settings and seeds of each group of the paper's tables, the most wanted first."""
    everything = range(given.seeds)

    def cells(depth: int, average: bool, strong: bool, rules: Sequence[str]) -> Iterator[Any]:
        for dataset in given.datasets:
            for rule in rules:
                ways = ["averaged" if average else "per-sample", "strong" if strong else "weak"]
                way = [rule] if rule == "backprop" else [rule, *ways]
                settings = {
                    "dataset": dataset,
                    "rule": rule,
                    "hidden": [given.units] * depth,
                    "epochs": given.epochs,
                    "feedback": {"average": average, "strong": strong},
                }
                if rule == "backprop":
                    del settings["feedback"]
                yield "-".join([dataset, f"depth-{depth}", *way]), settings, list(everything)

    yield from cells(3, False, True, RULES)
    yield from cells(1, False, True, RULES)
    yield from cells(3, True, True, RULES[1:])
    yield from cells(1, True, True, RULES[1:])


def weak_groups(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any], list[int]]]:
    """Those under weak control."""
    for name, settings, seeds in groups(given):
        if "per-sample" in name:
            weak = {**settings, "feedback": {"average": False, "strong": False}}
            yield name.replace("strong", "weak"), weak, seeds


def commit() -> str:
    """Of the checkout; the file COMMIT where it was copied without its history."""
    with suppress(OSError):
        return (ROOT / ".tune" / "COMMIT").read_text().strip()
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class Book:
    """The file of finished groups: what it has is not run again."""

    def __init__(self, path: Path) -> None:
        self._path, self._commit = path, commit()
        lines = path.read_text().splitlines() if path.exists() else []
        self._names = {json.loads(line)["group"] for line in lines}

    def has(self, name: str) -> bool:
        """Whether a group is finished."""
        return name in self._names

    def add(self, name: str, configurations: Sequence[Any], found: dict[str, Any]) -> None:
        """Write down a finished group."""
        plain = [one.as_dict() for one in configurations]
        shared = {key: value for key, value in plain[0].items()
                  if all(one.get(key) == value for one in plain)}  # fmt: skip
        own = [{key: v for key, v in one.items() if key not in shared} for one in plain]
        line = {"group": name, "commit": self._commit, "shared": shared, "own": own, **found}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._names.add(name)


# Searches.


def suggestions(trial: Any, way: str) -> dict[str, Any]:
    """Settings of a trial; each is within bounds that are reported with the results."""
    low_high = {"optimizer.learning_rate": (1e-4, 1e-2)}
    if way != "backprop":
        low_high |= {
            "controller.k_p": (0.05, 20.0),
            "controller.k_i": (0.1, 40.0),
            "feedback.norm": (0.3, 10.0),
        }
    if way.startswith("linear-threshold"):
        low_high["mean_inhibition.rate"] = (0.01, 1.0)
    if way.endswith("weak"):
        low_high["feedback.nudge"] = (0.003, 0.3)
    for population in ("activation_E", "activation_I"):
        low_high[f"{population}.sharpness"] = (0.5, 4.0)
    chosen = {name: trial.suggest_float(name, *bounds, log=True)
              for name, bounds in low_high.items()}  # fmt: skip
    for population in ("activation_E", "activation_I"):
        name = f"{population}.shift"
        chosen[name] = trial.suggest_float(name, -1.0, 1.0)
    chosen["optimizer.epsilon"] = trial.suggest_categorical("optimizer.epsilon", (1e-8, 1e-6, 1e-4))
    chosen["batch_size"] = trial.suggest_categorical("batch_size", (50, 100))
    return chosen


def wide_suggestions(trial: Any, way: str) -> dict[str, Any]:
    """Wider bounds, batches of the published size, and a learning rate that falls by a cosine."""
    low_high = {"optimizer.learning_rate": (1e-4, 1e-2), "schedule.final": (0.003, 1.0)}
    if way != "backprop":
        low_high |= {
            "controller.k_p": (0.05, 200.0),
            "controller.k_i": (0.1, 400.0),
            "feedback.norm": (0.3, 30.0),
        }
    if way.startswith("linear-threshold"):
        low_high["mean_inhibition.rate"] = (0.01, 1.0)
    if way.endswith("weak"):
        low_high["feedback.nudge"] = (0.003, 1.0)
    for population in ("activation_E", "activation_I"):
        low_high[f"{population}.sharpness"] = (0.25, 4.0)
    chosen = {name: trial.suggest_float(name, *bounds, log=True)
              for name, bounds in low_high.items()}  # fmt: skip
    for population in ("activation_E", "activation_I"):
        name = f"{population}.shift"
        chosen[name] = trial.suggest_float(name, -1.5, 1.5)
    chosen["optimizer.epsilon"] = trial.suggest_categorical("optimizer.epsilon", (1e-8, 1e-4))
    return chosen


SHARED = ("optimizer.epsilon", "batch_size")
"""Settings that replicas cannot differ in."""

Suggestions = Callable[[Any, str], dict[str, Any]]


STRONG = ("backprop", "linear-threshold-strong", "exact-inverse-strong")
WEAK = ("linear-threshold-weak", "exact-inverse-weak")
COSINE = {"schedule": {"name": "cosine"}}


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched: a way of learning, and how."""

    way: str
    suggest: Suggestions
    epochs: int  # of a trial
    shared: Mapping[str, Any]  # settings of all trials

    @property
    def name(self) -> str:
        """Of the study in the journal."""
        return self.way if self.suggest is suggestions else f"{self.way}-wide"


SEARCHES = (
    *(Search(way, suggestions, 10, {}) for way in STRONG),
    *(Search(way, wide_suggestions, 20, COSINE) for way in STRONG),
)
WEAK_SEARCHES = tuple(Search(way, wide_suggestions, 20, COSINE) for way in WEAK)

SECONDS_OF_PARTING = 60.0

NEVER = 0.1
"""What a run is worth that diverged or was too slow: the accuracy of a guess among ten."""


def search(
    what: Search, given: argparse.Namespace, data: Any, deadline: float
) -> dict[str, Any] | None:
    """Search for the best validation accuracy; settings of the best trial, None if out of time."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(given.out / "searches.journal")))
    generation = given.generation
    sampler = optuna.samplers.TPESampler(
        seed=0, multivariate=True, constant_liar=True, n_startup_trials=2 * generation
    )
    study = optuna.create_study(
        study_name=what.name, storage=storage, sampler=sampler, direction="maximize",
        load_if_exists=True,
    )  # fmt: skip
    base = {
        **TUNED[what.way],
        **what.shared,
        "dataset": given.datasets[0],
        "hidden": [given.units] * 3,
        "epochs": what.epochs,
        "seed": 0,
    }

    def values_of(some: Sequence[dict[str, Any]]) -> list[tuple[float, str]] | None:
        """Validation accuracies, and a remark of each; runs that are too slow are parted."""
        configurations = [configured(base, given, **one) for one in some]
        try:
            found = train(configurations, data, with_test=False, deadline=deadline,
                          patience=given.patience)  # fmt: skip
        except TooSlow:
            if len(some) == 1:
                return [(NEVER, "too slow")]
            halves = [values_of(half) for half in (some[::2], some[1::2])]
            if None in halves:
                return None
            joined: list[Any] = [None] * len(some)
            joined[::2], joined[1::2] = halves
            return joined
        if found is None:
            return None
        accuracies = found["curves"]["valid_accuracy"][-1]
        losses = found["curves"]["train_loss"][-1]
        return [(accuracy, "") if math.isfinite(loss) else (NEVER, "diverged")
                for accuracy, loss in zip(accuracies, losses, strict=True)]  # fmt: skip

    while len(study.get_trials(states=(TrialState.COMPLETE,))) < given.trials:
        # The published settings are the first trial.
        if not study.trials:
            study.enqueue_trial(published_settings(what))
        trials = [study.ask() for _ in range(generation)]
        chosen = [what.suggest(trial, what.way) for trial in trials]
        kinds = {tuple(one.get(name) for name in SHARED) for one in chosen}
        for kind in sorted(kinds, key=str):
            members = [i for i, one in enumerate(chosen)
                       if tuple(one.get(name) for name in SHARED) == kind]  # fmt: skip
            values = values_of([chosen[i] for i in members])
            if values is None:
                return None
            for i, (accuracy, remark) in zip(members, values, strict=True):
                if remark:
                    trials[i].set_user_attr("remark", remark)
                study.tell(trials[i], float(accuracy))
    best = {**base, **study.best_params}
    del best["epochs"], best["seed"], best["dataset"]
    number = study.best_trial.number
    print(f"{what.name}: {study.best_value:.4f} in trial {number}: {best}", flush=True)
    return best


WHY = "linear-threshold-strong-wide"
PARTS_OF_SETTINGS = {
    "inhibitory activation": ("activation_I",),
    "excitatory activation": ("activation_E",),
    "control": ("controller", "feedback"),
    "running mean": ("mean_inhibition",),
    "learning rate": ("optimizer", "schedule"),
}


def with_and_without(tuned: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tuned settings but for one part, and published ones with one part tuned.

    All train for as many epochs as a trial of the search.
    """
    numbers = {name: value for name, value in tuned.items() if "." in name}
    numbers["schedule.name"] = tuned["schedule"]["name"]
    shared = {n: value for n, value in tuned.items() if "." not in n and n != "schedule"}
    groups = {"published": {}, "tuned": numbers}
    for part, beginnings in PARTS_OF_SETTINGS.items():
        its = {name for name in numbers if name.startswith(beginnings)}
        groups[f"tuned without {part}"] = {n: v for n, v in numbers.items() if n not in its}
        groups[f"published with {part}"] = {n: v for n, v in numbers.items() if n in its}
    return {f"why: {name}": {**shared, **own} for name, own in groups.items()}


def published_settings(what: Search) -> dict[str, Any]:
    """The defaults, as far as they are searched."""

    class Asked:
        def __init__(self) -> None:
            self.names: list[str] = []

        def suggest_float(self, name: str, *_: Any, **__: Any) -> float:
            self.names.append(name)
            return 1.0

        def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
            self.names.append(name)
            return choices[0]

    asked = Asked()
    what.suggest(asked, what.way)
    plain: Any = run_configuration({}, "defaults")
    values = {}
    for name in asked.names:
        value = plain
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    # As far as the cosine may fall; at 1 it does not.
    return values | ({"schedule.final": 1.0} if "schedule.final" in values else {})


def main() -> None:
    """Run what is missing, until all is done or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, help="with a folder for each dataset")
    parser.add_argument("--backend", default="cupy")
    parser.add_argument("--datasets", type=lambda t: t.split(","), default="fashion_mnist,mnist")
    parser.add_argument("--units", type=int, default=256, help="of each hidden layer")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--generation", type=int, default=16, help="trials side by side")
    parser.add_argument("--patience", type=float, default=10.0,
                        help="seconds for an epoch of a trial")  # fmt: skip
    parser.add_argument("--only", default="", help="groups whose names have this in them, and no "
                        "search: the settings are those of tuned.json")  # fmt: skip
    parser.add_argument("--deadline", type=float, default=math.inf, help="seconds")
    given = parser.parse_args()
    if isinstance(given.datasets, str):
        given.datasets = given.datasets.split(",")
    deadline = time.monotonic() + given.deadline
    given.out.mkdir(parents=True, exist_ok=True)
    book = Book(given.out / "runs.jsonl")
    data = {
        name: load_dataset(name, given.data_dir and given.data_dir / name)
        for name in given.datasets
    }

    def run(name: str, settings: Mapping[str, Any], seeds: Sequence[int], **how: Any) -> None:
        if given.only not in name or book.has(name) or time.monotonic() > deadline:
            return
        configurations = [configured(settings, given, seed=seed) for seed in seeds]
        began = time.monotonic()
        found = train(configurations, data[settings["dataset"]], deadline=deadline, **how)
        if found is None:
            print(f"{name}: not finished", flush=True)
            return
        book.add(name, configurations, found)
        test = 100 * np.array(found["curves"]["test_accuracy"][-1])
        spread = f"{test.mean():.2f} ± {test.std(ddof=1) if test.size > 1 else 0:.2f}"
        print(f"{name}: {spread} %, {time.monotonic() - began:.1f} s", flush=True)

    for group in (*groups(given), *weak_groups(given)):
        run(*group)
    seeds = list(range(given.seeds))
    chosen = given.out / "tuned.json"
    best: dict[str, dict[str, Any]] = {}
    if given.only and chosen.exists():
        best |= json.loads(chosen.read_text(encoding="utf-8"))

    def tune(what: Search) -> None:
        """Search, write down what is best, and only then train with it, test split and all."""
        if given.only or time.monotonic() > deadline:
            return
        settings = search(what, given, data[given.datasets[0]], deadline)
        if settings is not None:
            best[what.name] = settings
            chosen.write_text(json.dumps(best, indent=1) + "\n", encoding="utf-8")
            run_tuned(given.datasets[0], what.name)

    def run_tuned(dataset: str, name: str) -> None:
        more = {"dataset": dataset, "epochs": given.epochs}
        run(f"{dataset}-tuned-{name}", {**best[name], **more}, seeds)

    for what in SEARCHES:
        tune(what)
    if WHY in best:
        for name, settings in with_and_without(best[WHY]).items():
            more = {"dataset": given.datasets[0], "epochs": SEARCHES[-1].epochs}
            run(f"{given.datasets[0]}-{name}", {**settings, **more}, seeds)
    # How much is chance, precision or method: one dataset, the exact inverse.
    base = {"dataset": given.datasets[0], "hidden": [given.units] * 3, "epochs": given.epochs}
    run("orders-of-one-start", base, seeds, start_seed=0)
    run("float64", {**base, "dtype": "float64"}, seeds)
    parted = given.only not in "parting" or (given.out / "parting.json").exists()
    if not parted and time.monotonic() < deadline:
        configurations = {
            name: [configured({**base, "dtype": dtype, "solver": {"method": method}}, given,
                              seed=seed) for seed in seeds[:3]]
            for name, (dtype, method) in WAYS.items()
        }  # fmt: skip
        until = min(deadline, time.monotonic() + SECONDS_OF_PARTING)
        part(configurations, data[given.datasets[0]], given.out / "parting.json", until)
    for what in WEAK_SEARCHES:
        tune(what)
    for dataset in given.datasets if given.only else given.datasets[1:]:
        for name in sorted(best, key=lambda name: not name.endswith("-wide")):
            run_tuned(dataset, name)


if __name__ == "__main__":
    main()
