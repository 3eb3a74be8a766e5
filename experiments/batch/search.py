"""Searches: Optuna studies in a journal, whose trials are runs like any others.

A trial is worked on by whoever holds its lock, and one whose worker is gone is gone on with. The
sampler draws from a generator of the study's name and the trial's number, so that what is drawn
depends on nothing but the trials before.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...refimpl import ConfigurationError
from ..output import make_directory
from ..training import EpochRecord, InUse, RunLock
from .study import Search, Study
from .work import DIVERGED, DONE, PRUNED, STOPPED, News, Results, Terms, run_row

if TYPE_CHECKING:
    import optuna

JOURNAL, TRIALS = "search.journal", "trials"
WARM_UP = 10
"""Trials that a sampler draws at random, and that none is pruned before."""


def without_optuna() -> str:
    """Say what is missing for searches; empty if nothing is."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        return "a [search] needs Optuna: pip install 'disinhib[search]'"
    return ""


def trials_of(study: Study) -> int:
    """How many trials a study has at most."""
    return 0 if study.search is None else study.n_combinations * study.search.trials


def group_of(own: Mapping[str, Any]) -> str:
    """Name the Optuna study of a combination of what varies."""
    about = ", ".join(f"{name} = {value}" for name, value in own.items())
    return about or "search"


def work_on_trials(
    directory: str | os.PathLike[str],
    study: Study,
    combinations: Sequence[Mapping[str, Any]],
    terms: Terms,
    stop: Callable[[], int] = lambda: 0,
    at_most: int | None = None,
) -> bool:
    """Work on trials until there are enough in each group; whether all were seen through.

    `at_most` is how many are worked on here. Raises ConfigurationError: Optuna is not installed.
    """
    missing = without_optuna()
    if missing:
        raise ConfigurationError(missing)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directory = Path(directory)
    results, news = Results(directory), News(directory)

    def reason() -> int:
        return stop() or terms.reason_to_stop()

    is_all, n = True, 0
    try:
        for own in combinations:
            worker = _Group(directory, study, own, terms, results, news)
            while not reason() and (at_most is None or n < at_most):
                n += 1
                with worker.a_trial() as trial:
                    if trial is None:
                        break
                    worker.run(trial, reason)
            is_all = is_all and worker.is_finished()
    finally:
        news.end()
    return is_all and not reason()


class _Group:
    """One Optuna study, and the runs of its trials."""

    def __init__(
        self,
        directory: Path,
        study: Study,
        own: Mapping[str, Any],
        terms: Terms,
        results: Results,
        news: News,
    ) -> None:
        import optuna

        assert study.search is not None
        self._directory, self._study, self._own, self._terms = directory, study, own, terms
        self._search, self._results, self._news = study.search, results, news
        self._running = optuna.trial.TrialState.RUNNING
        self.name = group_of(own)
        self._place = directory / TRIALS / f"{zlib.crc32(self.name.encode()):08x}"
        make_directory(self._place)
        with self._alone():
            self._optuna = optuna.create_study(
                study_name=self.name,
                storage=_storage(directory),
                direction=self._search.direction,
                pruner=_pruner(self._search),
                load_if_exists=True,
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Ask for a trial by oneself, or two that ask at once have one too many."""
        while True:
            try:
                lock = RunLock(self._place)
            except InUse:
                time.sleep(0.02)
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.release()
            return

    @contextmanager
    def a_trial(self) -> Iterator[optuna.Trial | None]:
        """Hold a trial that nobody works on, or a new one; none if there is nothing to do."""
        with self._alone():
            found = self._left_over() or self._new()
        if found is None:
            yield None
            return
        trial, lock = found
        try:
            yield trial
        finally:
            with suppress(OSError):
                lock.release()

    def _left_over(self) -> tuple[optuna.Trial, RunLock] | None:
        """A trial that was begun and has no worker any more."""
        import optuna

        for one in self._optuna.get_trials(deepcopy=False, states=(self._running,)):
            lock = self._held(one.number) if self._is_of_now(one.number) else None
            if lock is not None:
                self._optuna.sampler = self._sampler(one.number)
                return optuna.Trial(self._optuna, one._trial_id), lock
        return None

    def _new(self) -> tuple[optuna.Trial, RunLock] | None:
        n_trials = len(self._optuna.get_trials(deepcopy=False))
        if n_trials >= self._most_trials():
            return None
        self._optuna.sampler = self._sampler(n_trials)
        if self._search.sampler == "grid":
            self._optuna.enqueue_trial(grid_point(self._search, n_trials))
        elif n_trials == 0:
            # What is found is to be better than that.
            self._optuna.enqueue_trial(settings_of_base(self._study))
        trial = self._optuna.ask()
        lock = self._held(trial.number)
        return None if lock is None else (trial, lock)

    def _most_trials(self) -> int:
        is_grid = self._search.sampler == "grid"
        return min(self._search.trials, grid_size(self._search) if is_grid else 10**12)

    def _is_of_now(self, number: int) -> bool:
        """Whether a trial that is not finished may be gone on with: it has not failed just now."""
        line = self._results.trials.get(self._key(number))
        return line is None or line.get("attempt") != self._terms.attempt

    def _held(self, number: int) -> RunLock | None:
        place = self._place / str(number)
        make_directory(place)
        try:
            return RunLock(place)
        except InUse:
            return None

    def _key(self, number: int) -> str:
        return f"{self._place.name}/{number}"

    def _sampler(self, number: int) -> Any:
        from optuna import samplers

        seed = zlib.crc32(f"{self.name}/{number}".encode())
        if self._search.sampler != "tpe":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=WARM_UP
        )

    def run(self, trial: optuna.Trial, stop: Callable[[], int]) -> None:
        """Train the runs of a trial, one a seed, and tell Optuna and the results what came of it.

        What is told epoch by epoch is the mean over the seeds so far, so that pruning compares
        like with like.
        """
        import optuna

        search = self._search
        own = {**self._own, **_suggested(trial, search)}
        values: list[float] = []
        state, why = DONE, ""
        n_epochs = own.get("epochs", self._study.base["epochs"])
        for place, seed in enumerate(search.seeds):
            row = self._study.row({**own, "seed": seed})

            def on_epoch(record: EpochRecord, place: int = place) -> None:
                now = getattr(record, search.metric)
                if search.prune == "none" or now is None:
                    return
                step = place * n_epochs + record.epoch
                if step not in self._reported(trial):
                    trial.report((sum(values) + now) / (place + 1), step)

            def ends_early() -> int:
                return stop() or (PRUNE if search.prune != "none" and trial.should_prune() else 0)

            outcome = run_row(
                self._directory, row, trials_of(self._study) * len(search.seeds), self._terms,
                ends_early, self._news, on_epoch, group=self.name, trial=trial.number,
            )  # fmt: skip
            state, why = outcome["state"], outcome.get("why", "")
            if state == STOPPED and not stop():
                state = outcome["state"] = PRUNED
            self._results.write(outcome)
            value = outcome.get(search.metric)
            if state != DONE or value is None:
                break
            values.append(value)
        if state == STOPPED:
            return
        line = {
            "kind": "trial", "key": self._key(trial.number), "group": self.name,
            "number": trial.number, "own": own, "state": state, "why": why,
            "attempt": self._terms.attempt,
        }  # fmt: skip
        states = optuna.trial.TrialState
        if state == DONE:
            value = sum(values) / len(values)
            self._optuna.tell(trial, value)
            line["value"] = value
        elif state == PRUNED:
            self._optuna.tell(trial, state=states.PRUNED)
        elif state == DIVERGED:
            self._optuna.tell(trial, state=states.FAIL)
        # What failed for a reason outside of it stays open, and the next command goes on with it.
        self._results.write(line)
        self._results.refresh(at_once=True)

    def _reported(self, trial: optuna.Trial) -> Mapping[int, float]:
        return self._optuna._storage.get_trial(trial._trial_id).intermediate_values

    def is_finished(self) -> bool:
        """Whether there are enough trials, none of them at work."""
        trials = self._optuna.get_trials(deepcopy=False)
        is_any_at_work = any(trial.state == self._running for trial in trials)
        return len(trials) >= self._most_trials() and not is_any_at_work


PRUNE = -1
"""Asked of a run why it is to stop: its trial is worse than others were."""


def _storage(directory: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(directory / JOURNAL)))


def _pruner(search: Search) -> Any:
    from optuna import pruners

    if search.prune == "median":
        return pruners.MedianPruner(n_startup_trials=WARM_UP, n_warmup_steps=0)
    return pruners.NopPruner()


def _suggested(trial: optuna.Trial, search: Search) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for name, domain in search.space.items():
        if "values" in domain:
            chosen[name] = trial.suggest_categorical(name, domain["values"])
        elif isinstance(domain["low"], int) and isinstance(domain["high"], int):
            step = {} if "step" not in domain else {"step": domain["step"]}
            chosen[name] = trial.suggest_int(
                name, domain["low"], domain["high"], log=domain["log"], **step
            )
        else:
            step = {} if "step" not in domain else {"step": domain["step"]}
            chosen[name] = trial.suggest_float(
                name, domain["low"], domain["high"], log=domain["log"], **step
            )
    return chosen


def settings_of_base(study: Study) -> dict[str, Any]:
    """What the base has of the settings that are searched, as far as that lies within the space."""
    assert study.search is not None
    found = {}
    for name, domain in study.search.space.items():
        value = study.value(name)
        if "values" in domain:
            is_within = value in domain["values"]
        else:
            is_within = isinstance(value, (int, float)) and domain["low"] <= value <= domain["high"]
        if is_within:
            found[name] = value
    return found


def grid_points(search: Search) -> dict[str, list[Any]]:
    """Values of each setting that a grid has."""
    points = {}
    for name, domain in search.space.items():
        if "values" in domain:
            points[name] = list(domain["values"])
        else:
            low, step = domain["low"], domain["step"]
            n = int((domain["high"] - low) / step + 1e-9) + 1
            points[name] = [low + i * step for i in range(n)]
    return points


def grid_size(search: Search) -> int:
    """Points of a grid."""
    return prod(len(values) for values in grid_points(search).values())


def grid_point(search: Search, number: int) -> dict[str, Any]:
    """One of a grid's points, the last setting first to change."""
    point = {}
    for name, values in reversed(grid_points(search).items()):
        number, place = divmod(number, len(values))
        point[name] = values[place]
    return point


def importances(directory: str | os.PathLike[str], group: str) -> dict[str, float]:
    """How much each setting sets the good trials of a group apart; empty of too few trials."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=group, storage=_storage(Path(directory)))
    try:
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    except (ValueError, RuntimeError):
        return {}
    return dict(found)
