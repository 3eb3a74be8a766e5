"""What a worker does: one run after the other, whoever else is at work on the same study.

Who works on what is decided by the lock that a run's directory has anyway, so that workers need not
know of each other: processes, hosts and jobs of a cluster share a study by sharing its directory.
What has come of a run is a line in a file of the worker's own under `results/`.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ...backends import Backend, BackendUnavailable, TrainingMetrics, backend_class
from ...datasets import DatasetError
from ...refimpl import ArgumentError, ConfigurationError, shown
from ...validation import FileError, Position, newest_checkpoint
from ..output import make_directory, replace_text
from ..training import (
    CHECKPOINT,
    CheckpointInterval,
    EpochRecord,
    InUse,
    RunConfiguration,
    TooManyAtOnce,
    TrainingDiverged,
    begin,
    best_record,
    differences,
    holds_a_run,
    lost_patience,
    read_records,
    resume,
    run_configuration,
    side_by_side,
    train,
    what_must_agree,
)
from .study import MOVED, Row

RUNS, RESULTS, WORKERS = "runs", "results", "workers"
"""In a study's directory: a directory a run, and a file of lines and one of news a worker."""

DONE, DIVERGED, PRUNED, FAILED, STOPPED = "done", "diverged", "pruned", "failed", "stopped"
FINAL = (DONE, DIVERGED, PRUNED)
"""Of a run there is nothing left to do. What failed is tried again by the next command, for what
was wrong may lie outside of it."""

MEASURES = ("loss", "accuracy")
SECONDS_BETWEEN_NEWS = 1.0
MANY = 2000
"""Runs in one directory; those of a larger study lie in 256."""

INTERVAL = CheckpointInterval(1, "minutes", at_epochs=False)
"""Between checkpoints: of short runs saving takes longer than training."""

Observe = Callable[[EpochRecord], None]
T = TypeVar("T")


def directory_of(directory: str | os.PathLike[str], row: Row, n_rows: int) -> Path:
    """Where a row's run lies; where it lay when the study was smaller, if it does."""
    runs = Path(directory) / RUNS
    flat, deep = runs / row.name, runs / row.key[:2] / row.name
    first, second = (flat, deep) if n_rows <= MANY else (deep, flat)
    return second if not first.exists() and second.exists() else first


SETTLING = ("state", "asked", "epochs", "attempt")
"""What a worker needs of a line."""


class Results:
    """What has come of the rows of a study so far, by their keys, and where to write more.

    Of a row's lines that counts which is final, and of those the one that went further. A worker
    names the `keys` of its rows, and has no more than it needs of these: of a million runs there
    are gigabytes.
    """

    def __init__(
        self, directory: str | os.PathLike[str], keys: Collection[str] | None = None
    ) -> None:
        self._directory, self._keys = Path(directory) / RESULTS, keys
        self._read: dict[str, int] = {}  # bytes, by name of file
        self._own = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self.outcomes: dict[str, dict[str, Any]] = {}  # of runs
        self.trials: dict[str, dict[str, Any]] = {}  # of a search, by group and number
        self._news: dict[str, dict[str, Any]] = {}
        self._due, self._has_looked = 0.0, False
        self.refresh()

    def refresh(self, at_once: bool = False) -> None:
        """Read what others have written since, if that has not just been done.

        It takes no more than a hundredth of the time: a thousand jobs that each ask for the files
        of a thousand are more than a shared file system has answers for. The first look, which
        reads all that there is, says nothing of how long others take.
        """
        began = time.monotonic()
        if (began < self._due and not at_once) or (self._keys is not None and not self._keys):
            return
        with suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".jsonl"):
                    self._read_more(Path(entry.path), entry.stat().st_size)
        now = time.monotonic()
        if self._has_looked:
            self._due = now + 100 * (now - began)
        self._has_looked = True

    def _read_more(self, path: Path, size: int) -> None:
        begin = self._read.get(path.name, 0)
        if size <= begin:
            return
        with path.open("rb") as file:
            file.seek(begin)
            content = file.read(size - begin)
        # What a worker was cut short in is no line.
        whole = content.rpartition(b"\n")[0]
        self._read[path.name] = begin + len(whole) + bool(whole)
        for line in whole.splitlines():
            try:
                outcome = json.loads(line)
                key = outcome["key"]
                _weight(outcome)
            except (ValueError, KeyError, TypeError):
                raise FileError(f"{path} has a line that is no result of a run") from None
            lines = self.trials if outcome.get("kind") == "trial" else self.outcomes
            if self._keys is not None and lines is self.outcomes:
                if key not in self._keys:
                    continue
                outcome = {name: outcome[name] for name in SETTLING if name in outcome}
            before = lines.get(key)
            if before is None or _weight(outcome) >= _weight(before):
                lines[key] = self._news[key] = outcome

    def news(self) -> dict[str, dict[str, Any]]:
        """Lines that are new since this was last asked, by key."""
        news, self._news = self._news, {}
        return news

    def write(self, outcome: Mapping[str, Any]) -> None:
        """Add a line, whole or not at all."""
        make_directory(self._directory)
        line = json.dumps(outcome, ensure_ascii=False) + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self._directory / self._own, flags, 0o666)
        try:
            os.write(descriptor, line.encode("utf-8", "surrogatepass"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def is_settled(self, row: Row, attempt: str) -> bool:
        """Whether there is nothing to do about a row, for good or in this attempt."""
        outcome = self.outcomes.get(row.key)
        if outcome is None:
            return False
        is_enough = outcome["state"] != DONE or outcome["asked"] >= row.settings["epochs"]
        if outcome["state"] == STOPPED:
            return False
        return (outcome["state"] in FINAL and is_enough) or outcome.get("attempt") == attempt


def _weight(outcome: Mapping[str, Any]) -> tuple[bool, int, int]:
    """Which of a row's lines counts: what is final, of that what went further or was to."""
    is_final = outcome["state"] in FINAL
    return is_final, int(outcome.get("epochs", 0)), int(is_final and outcome.get("asked", 0))


@dataclass(frozen=True)
class Terms:
    """Of a worker: when it has to end, and how many runs it takes at once.

    Parameters
    ----------
    attempt : str
        What failed in it is not tried again in it.
    deadline : float
        Seconds since the epoch, as of `time.time`.
    parent : int
        The process without which the worker has nothing to do; 0 is none.
    replicas : int
        Runs that may learn side by side in one backend.
    """

    attempt: str = ""
    deadline: float = float("inf")
    parent: int = 0
    replicas: int = 1

    def reason_to_stop(self) -> int:
        """0 while there is none."""
        is_alone = self.parent and os.getppid() != self.parent
        return int(is_alone or time.time() > self.deadline)


class News:
    """A file that says what a worker is doing, for whoever watches."""

    def __init__(self, directory: Path) -> None:
        make_directory(directory / WORKERS)
        # A process may have several workers, in threads.
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
        self._path = directory / WORKERS / name
        self._last = 0.0

    def tell(self, **what: Any) -> None:
        """Say it, but not too often."""
        now = time.time()
        if now - self._last < SECONDS_BETWEEN_NEWS:
            return
        self._last = now
        # Nobody's results depend on it.
        with suppress(OSError):
            replace_text(self._path, json.dumps({**what, "process": os.getpid(), "at": now}))

    def end(self) -> None:
        """Say no more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class _Watching:
    """Tells the news of a run, and hands its epochs on."""

    def __init__(self, news: News, row: Row, epochs: int, on_epoch: Observe) -> None:
        self._news, self._row, self._epochs, self._on_epoch = news, row, epochs, on_epoch

    def on_steps(self, epoch: int, steps: int, n_steps: int, metrics: TrainingMetrics) -> None:
        self._news.tell(
            row=self._row.name, key=self._row.key, own=dict(self._row.own),
            epoch=epoch, of=self._epochs, share=steps / n_steps,
        )  # fmt: skip

    def on_epoch(self, record: EpochRecord) -> None:
        self._on_epoch(record)


def work(
    directory: str | os.PathLike[str],
    rows: Iterable[Row],
    n_rows: int,
    terms: Terms,
    stop: Callable[[], int] = lambda: 0,
    reads_results: bool = True,
    n_own: int = 0,
) -> bool:
    """Train every row that nobody else has trained or is training; whether all were seen through.

    `n_rows` is the number of all rows of the study, of which these may be a share. Without results
    of others, which of a large study take time to read, a run's own directory tells all the same.
    Runs that agree learn side by side in one backend, fewer at once where it has no room; the first
    `n_own` rows not with those after them, which other workers begin with.
    """
    directory, rows = Path(directory), list(rows)
    keys = {row.key for row in rows} if reads_results else set()
    results, news = Results(directory, keys), News(directory)

    def reason() -> int:
        return stop() or terms.reason_to_stop()

    held = 0
    try:
        groups = deque(groups_of(rows, terms.replicas, n_own))
        while groups:
            left = [row for row in groups.popleft() if not results.is_settled(row, terms.attempt)]
            if left:
                results.refresh()
                left = [row for row in left if not results.is_settled(row, terms.attempt)]
            if not left:
                continue
            if reason():
                return False
            outcomes = run_rows(directory, left, n_rows, terms, reason, news)
            if any(isinstance(outcome, TooManyAtOnce) for outcome in outcomes):
                half = (len(left) + 1) // 2
                groups.extendleft((left[half:], left[:half]))
                continue
            for row, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, InUse):
                    held += 1
                elif isinstance(outcome, BaseException):
                    raise outcome
                elif not _is_told(outcome, row, results, terms):
                    results.write(outcome)
            if reason() and any(o["state"] == STOPPED for o in outcomes if isinstance(o, dict)):
                return False
    finally:
        news.end()
    return held == 0


def _is_told(outcome: Mapping[str, Any], row: Row, results: Results, terms: Terms) -> bool:
    """Whether who trained a run that was found done has said so, who knows how long it took."""
    if not outcome.get("found"):
        return False
    results.refresh(at_once=True)
    return results.is_settled(row, terms.attempt)


def groups_of(rows: Sequence[Row], most: int, n_own: int = 0) -> list[list[Row]]:
    """Rows that may learn side by side, so many at most, in the order of the first of each.

    None of the first `n_own` is with one of the others.
    """
    if most == 1:
        return [[row] for row in rows]
    if n_own:
        return groups_of(rows[:n_own], most) + groups_of(rows[n_own:], most)
    agreeing: dict[Any, list[list[Row]]] = {}
    groups = []
    for row in rows:
        try:
            key: Any = what_must_agree(row.configuration())
        except ConfigurationError:
            # It fails when its turn comes, and says why.
            key = row.key
        own = agreeing.setdefault(key, [])
        if not own or len(own[-1]) == most:
            own.append([])
            groups.append(own[-1])
        own[-1].append(row)
    return groups


def run_rows(
    directory: str | os.PathLike[str],
    rows: Sequence[Row],
    n_rows: int,
    terms: Terms,
    stop: Callable[[], int],
    news: News,
) -> Sequence[dict[str, Any] | BaseException]:
    """Train rows side by side, or one by itself, and say what came of each, or why nothing did."""
    if len(rows) == 1:
        try:
            return [run_row(directory, rows[0], n_rows, terms, stop, news)]
        except InUse as problem:
            return [problem]

    def task(row: Row) -> Callable[[Callable[..., Backend]], dict[str, Any]]:
        return lambda make_backend: run_row(
            directory, row, n_rows, terms, stop, news, make_backend=make_backend
        )

    kind = backend_class(rows[0].settings["backend"])
    cpu = time.process_time()
    outcomes = side_by_side(kind, [task(row) for row in rows])
    each = round((time.process_time() - cpu) / len(rows), 3)
    return [
        {**outcome, "cpu_seconds": each, "side_by_side": len(rows)}
        if isinstance(outcome, dict)
        else outcome
        for outcome in outcomes
    ]


def run_row(
    directory: str | os.PathLike[str],
    row: Row,
    n_rows: int,
    terms: Terms,
    stop: Callable[[], int],
    news: News,
    on_epoch: Observe = lambda record: None,
    make_backend: Callable[..., Backend] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Train a row as far as it goes, and say what came of it; `more` is added to that.

    Raises InUse: somebody else is at work on it. TooManyAtOnce: there is no room side by side.
    """
    directory = Path(directory)
    place = directory_of(directory, row, n_rows)
    began, cpu = time.perf_counter(), time.process_time()
    outcome: dict[str, Any] = {
        "key": row.key, "name": row.name, "directory": str(place.relative_to(directory)),
        "own": dict(row.own), "asked": row.settings["epochs"], "attempt": terms.attempt, **more,
    }  # fmt: skip
    records: list[EpochRecord] = []
    try:
        found = found_done(row, place)
        if found is not None:
            configuration, records = found
            outcome |= {"state": DONE, "found": True, **about_this_process(configuration)}
        else:
            configuration, records, is_done = trained(
                row, place, stop, news, on_epoch, make_backend
            )
            outcome |= {"state": DONE if is_done else STOPPED, **about_this_process(configuration)}
    except (InUse, TooManyAtOnce):
        raise
    except TrainingDiverged as problem:
        outcome |= {"state": DIVERGED, "why": str(problem).partition("; ")[0]}
        with suppress(ConfigurationError, FileError):
            records = read_records(place / "metrics.jsonl")
    except (ArgumentError, ConfigurationError, DatasetError, BackendUnavailable) as problem:
        outcome |= {"state": FAILED, "why": str(problem)}
    except (FileError, OSError, MemoryError) as problem:
        outcome |= {"state": FAILED, "why": str(problem) or type(problem).__name__}
    except Exception as problem:
        # A fault of ours ends one run, and not those that come after it.
        traceback.print_exc()
        outcome |= {"state": FAILED, "why": f"{type(problem).__name__}: {problem}"}
    return {
        **outcome,
        **figures(records),
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def found_done(
    row: Row, place: str | os.PathLike[str]
) -> tuple[RunConfiguration, list[EpochRecord]] | None:
    """What a row's run came to that somebody has seen through; None if there is something to do."""
    place = Path(place)
    if not holds_a_run(place):
        return None
    wanted = row.configuration()
    checkpoint, _ = newest_checkpoint(place / CHECKPOINT)
    saved = run_configuration(checkpoint.configuration, str(place))
    _refuse_another(wanted, saved, place)
    position = checkpoint.position
    records = [r for r in read_records(place / "metrics.jsonl") if r.epoch <= position.epochs]
    is_done = not position.steps and _is_done(wanted, position, records)
    return (saved, records) if is_done else None


def trained(
    row: Row,
    place: str | os.PathLike[str],
    stop: Callable[[], int],
    news: News,
    on_epoch: Observe,
    make_backend: Callable[..., Backend] | None = None,
) -> tuple[RunConfiguration, list[EpochRecord], bool]:
    """Begin a row's run or go on with it, as `disinhib train` does; whether it came to its end."""
    place, wanted = Path(place), row.configuration()
    if holds_a_run(place):
        run, position, records = resume(
            place, wanted.epochs, make_backend=make_backend, draws=False
        )
    else:
        run = begin(wanted, place, anew=True, make_backend=make_backend)
        position, records = Position(0), []
    for record in records:
        on_epoch(record)
    watching = _Watching(news, row, wanted.epochs, on_epoch)
    # Few look at the curves of a run among many, and to draw them takes longer than many a run.
    position, records = train(
        run, position, records, watching, stop, INTERVAL, seconds_between_pictures=None
    )
    return run.configuration, records, _is_done(wanted, position, records)


def _refuse_another(wanted: RunConfiguration, saved: RunConfiguration, place: Path) -> None:
    """Refuse to go on with a run of other settings, as another version's defaults may have made."""
    for name, now, then in differences(wanted.as_dict(), saved.as_dict()):
        if name not in ("epochs", *MOVED):
            raise ConfigurationError(
                f"{place} holds another run: {name} is {shown(then)} there, {shown(now)} here"
            )


def _is_done(
    configuration: RunConfiguration, position: Position, records: Sequence[EpochRecord]
) -> bool:
    return position.epochs >= configuration.epochs or lost_patience(configuration, records)


def figures(records: Sequence[EpochRecord]) -> dict[str, Any]:
    """Of the last epoch, and after `best_` of the first with the highest validation accuracy."""
    if not records:
        return {"epochs": 0}
    last, best = asdict(records[-1]), asdict(best_record(records))
    names = [name for name in last if name.endswith(MEASURES)]
    return {
        "epochs": last["epoch"],
        **{name: last[name] for name in names},
        "best_epoch": best["epoch"],
        **{f"best_{name}": best[name] for name in names},
        "training_seconds": round(sum(record.seconds for record in records), 3),
        "computed_by": last["computed_by"],
    }


def about_this_process(configuration: RunConfiguration) -> dict[str, Any]:
    """On what the last bits of a result depend."""
    return {"threads": configuration.threads, **_about_this_machine()}


@cache
def _about_this_machine() -> dict[str, Any]:
    names = ("disinhib", "numpy", "numba", "scipy")
    versions = {name: version(name) for name in names}
    return {
        "host": socket.gethostname(),
        "processor": _processor(),
        "versions": {"python": platform.python_version(), **versions},
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def in_turn(every: Iterator[T], share: int, shares: int) -> Iterator[T]:
    """Every `shares`-th of them, beginning with the one numbered `share`, from 1."""
    return islice(every, share - 1, None, shares)


def own_first(rows: Sequence[Row], share: int, shares: int) -> list[Row]:
    """All rows, first every `shares`-th, so that workers meet only when little is left."""
    return [row for turn in range(shares) for row in rows[(share - 1 + turn) % shares :: shares]]
