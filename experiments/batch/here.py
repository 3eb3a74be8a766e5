"""A batch on this machine: worker processes, each with its share of the processor's cores.

The process that was asked starts them, shows how far all has come, starts those anew that die, and
hands on what it is told by a signal. If it dies itself its workers save their runs and end.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ...backends import BackendUnavailable, HasDevices, backend_class, checked_threads
from ...datasets import load_dataset
from ...refimpl import ConfigurationError, whole_number
from ...validation import FileError
from ..output import make_directory, writing
from ..training import (
    AUTO,
    InUse,
    RunLock,
    agrees_with_numpy,
    asked_backend,
    place_of_data,
    run_configuration,
)
from .results import Progress
from .study import STUDY, Study, new_and_gone, read_study, refuse_same_cases, write_study
from .work import FAILED, RUNS, Results

LOGS = "logs"
MOST_DEATHS = 5
"""Of workers over one and the same row, one after the other; then it is the row that fails."""
SECONDS_BETWEEN_LOOKS = 0.2
CHECKED_ROWS = 1000
"""Of which all settings are checked before anything is begun; of others when their turn comes."""
SECONDS_TO_END = 60.0
"""For workers that were told to, before they are killed."""


@dataclass(frozen=True)
class Share:
    """One part of the rows, of so many: for jobs that know nothing of each other."""

    number: int = 1
    of: int = 1


def prepared(
    source: str | os.PathLike[str] | Mapping[str, Any],
    settings: Mapping[str, Any],
    directory: str | os.PathLike[str],
    n_threads: int | None,
    notify: Callable[[str], None],
    n_replicas: int | None = None,
) -> Study:
    """Make a study's directory, or see what is in it, and give the study with nothing left open.

    Backend and number of threads are decided once, for all its runs: the last bits of a result
    depend on both, and must not depend on who came to a row when.

    Raises
    ------
    ConfigurationError, DatasetError, BackendUnavailable, FileError
        The study is none, or no study with this directory; nothing has been changed then.
    """
    study, directory = read_study(source, **settings), Path(directory)
    file = directory / STUDY
    if not file.exists() and any((directory / name).exists() for name in ("config.toml", RUNS)):
        raise ConfigurationError(f"{directory} holds something else: choose another directory")
    before = read_study(file) if file.exists() else None
    study = _with_backend_and_threads(study, before, n_threads)
    if before is not None:
        _refuse_another(before, study, directory, notify)
    _check(study)
    replicas_for(study, n_replicas)
    make_directory(directory)
    with writing(file), _Held(directory):
        write_study(file, study)
    return study


class _Held:
    """The study's directory for as long as its file is written; others do that in no time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        for _ in range(100):
            try:
                self._lock = RunLock(self._directory)
            except InUse:
                time.sleep(0.05)
            else:
                return
        self._lock = RunLock(self._directory)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._lock.release()


def _with_backend_and_threads(study: Study, before: Study | None, n_threads: int | None) -> Study:
    base = dict(study.base)
    if base["backend"] != AUTO:
        backend_class(base["backend"])
    elif before is not None:
        base["backend"] = before.base["backend"]
    else:
        base["backend"] = asked_backend() or _fastest(np.dtype(base["dtype"]))
    if n_threads is not None:
        base["threads"] = checked_threads(n_threads, "--threads")
    elif "threads" not in base and before is not None:
        base["threads"] = before.base["threads"]
    # Runs beside each other make more of the cores than threads do, if there are enough of them.
    n_rows = study.n_combinations * (1 if study.search is None else study.search.trials)
    base.setdefault("threads", max(1, cores() // n_rows))
    return dataclasses.replace(study, base=base)


def _fastest(dtype: np.dtype) -> str:
    for name in ("cupy", "numba"):
        try:
            kind = backend_class(name)
        except BackendUnavailable:
            continue
        if name == "numba" or agrees_with_numpy(kind, dtype):
            return name
    return "numpy"


def _refuse_another(
    before: Study, now: Study, directory: Path, notify: Callable[[str], None]
) -> None:
    """Refuse a study that has nothing of the directory's, and tell of rows that come and go."""
    if before.search != now.search:
        ours, theirs = ({**s.as_dict().get("search", {}), "trials": 0} for s in (before, now))
        if ours != theirs:
            raise ConfigurationError(
                f"{directory} holds a study with another [search]: it goes on as it began, but for "
                "its number of trials; choose another directory"
            )
    new, gone = new_and_gone(before, now)
    if gone and len(new) == now.n_combinations:
        raise ConfigurationError(
            f"{directory} holds another study, of whose {before.n_combinations:,} rows this one "
            "has none: choose another directory"
        )
    for names, what in ((new, "new"), (gone, "no longer in the study, and stay where they are")):
        if names:
            some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            notify(f"{len(names):,} rows are {what}: {some}")


def _check(study: Study) -> None:
    """Refuse what would fail in every row, or in the first many, before any is begun."""
    refuse_same_cases(study)
    combinations = study.combinations()
    data = set()
    for _, own in zip(range(CHECKED_ROWS), combinations, strict=False):
        configuration = study.row(own).configuration()
        data.add((configuration.dataset, configuration.data_dir))
    for dataset, data_dir in data:
        plain = {"dataset": dataset, **({"data_dir": data_dir} if data_dir else {})}
        configuration = run_configuration(plain, "study")
        load_dataset(dataset, place_of_data(configuration, Path()))


def compile_ahead(study: Study) -> None:
    """Compile once what all workers need, so that they do not do it side by side."""
    kind = backend_class(study.base["backend"])
    if not hasattr(kind, "compile_ahead"):
        return
    rules, methods, dtypes = (
        _values(study, name) for name in ("rule", "solver.method", "dtype")
    )  # fmt: skip
    for rule, method, dtype in product(rules, methods, dtypes):
        kind.compile_ahead(rule, method, np.dtype(dtype))


def _values(study: Study, name: str) -> list[Any]:
    section, _, key = name.rpartition(".")
    base = study.base[section][key] if section else study.base[key]
    found = [*study.vary.get(name, ()), *(case[name] for case in study.cases if name in case)]
    if study.search is not None and name in study.search.space:
        found += study.search.space[name]["values"]
    in_all = name in study.vary or (found and all(name in case for case in study.cases))
    return list(dict.fromkeys(found if in_all else [base, *found]))


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    share: int
    deaths: dict[str, int] = field(default_factory=dict)  # by the row that it was at


def train_here(
    directory: str | os.PathLike[str],
    study: Study,
    share: Share,
    n_workers: int,
    deadline: float,
    stop: Callable[[], int],
    watch: Callable[[Progress], None],
    replicas: int = 1,
) -> bool:
    """Run a share of a study's rows with so many workers; whether none of them is left."""
    directory, attempt = Path(directory), secrets.token_hex(4)
    compile_ahead(study)
    make_directory(directory / LOGS)
    results = Results(directory)
    progress = Progress(study, directory, share, attempt, results)
    command = [
        sys.executable, "-m", "disinhib", "batch", "work", str(directory),
        "--shard", f"{share.number}/{share.of}", "--attempt", attempt,
        "--parent", str(os.getpid()), "--deadline", repr(deadline), "--replicas", str(replicas),
    ]  # fmt: skip
    devices = gpus(study)

    def started(number: int, deaths: dict[str, int]) -> _Worker:
        log = directory / LOGS / f"worker-{share.number}-{number}.txt"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*command, "--worker", f"{number}/{n_workers}"],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
                env=os.environ | ({VISIBLE: devices[number % len(devices)]} if devices else {}),
            )  # fmt: skip
        return _Worker(process, number, deaths)

    workers = [started(number, {}) for number in range(1, n_workers + 1)]
    is_told = False
    try:
        while workers:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            results.refresh()
            progress.look()
            watch(progress)
            if stop() and not is_told:
                is_told = True
                _tell(workers, signal.SIGTERM)
            for worker in list(workers):
                code = worker.process.poll()
                if code is None:
                    continue
                workers.remove(worker)
                if code in (0, ENDED_EARLY) or is_told or time.time() > deadline:
                    continue
                if _may_go_on(worker, progress, results):
                    workers.append(started(worker.share, worker.deaths))
    finally:
        _end(workers)
        results.refresh(at_once=True)
        progress.look()
    return progress.n_left == 0


ENDED_EARLY = 3
"""Exit code of a worker that left rows to others, or to the next command."""


def _may_go_on(worker: _Worker, progress: Progress, results: Results) -> bool:
    """Whether to start a worker anew that has died; the row that kills them all fails."""
    news = progress.news_of(worker.process.pid)
    row = news.get("row", "")
    worker.deaths[row] = worker.deaths.get(row, 0) + 1
    progress.forget(worker.process.pid)
    if worker.deaths[row] < MOST_DEATHS:
        return True
    if row and "key" in news:
        how = (
            f"its worker died {MOST_DEATHS} times, the last time with code {worker.process.poll()}"
        )
        results.write({
            "key": news["key"], "name": row, "directory": "", "own": news["own"], "asked": 0,
            "attempt": progress.attempt, "state": FAILED, "why": how, "epochs": 0,
        })  # fmt: skip
        return True
    raise FileError(
        f"workers die before they begin a row: {progress.directory / LOGS} has what they said"
    )


def _tell(workers: list[_Worker], number: int) -> None:
    for worker in workers:
        with suppress(ProcessLookupError):
            worker.process.send_signal(number)


def _end(workers: list[_Worker]) -> None:
    """See that none is left, whatever ended us."""
    _tell(workers, signal.SIGTERM)
    until = time.monotonic() + SECONDS_TO_END
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, until - time.monotonic()))
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


def cores() -> int:
    """How many this process may use.

    Not every SLURM keeps a job to those that it was given.
    """
    found = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(found, max(1, int(given))) if given.isdecimal() else found


def workers_for(study: Study, n_rows: int) -> int:
    """How many workers keep all cores busy with runs of so many threads, or a GPU each."""
    at_once = len(gpus(study)) or cores() // int(study.base["threads"])
    return max(1, min(at_once, n_rows))


VISIBLE = "CUDA_VISIBLE_DEVICES"
MOST_REPLICAS = 32
"""On a GPU, if nobody says how many: more hardly learn faster."""


def gpus(study: Study) -> list[str]:
    """Names of the GPUs that this process may use, as CUDA's own variable has them.

    None for a study on processors.
    """
    kind = backend_class(study.base["backend"])
    if not isinstance(kind, HasDevices):
        return []
    given = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    n_devices = kind.device_count()
    return given[:n_devices] if len(given) >= n_devices else [str(n) for n in range(n_devices)]


def replicas_for(study: Study, asked: int | None) -> int:
    """How many runs may learn side by side in one backend; ConfigurationError if it is no number.

    On processors there is nothing to gain, for they are worked on in turn.
    """
    name = study.base["backend"]
    if asked is None:
        is_on_gpus = isinstance(backend_class(name), HasDevices) and study.search is None
        return MOST_REPLICAS if is_on_gpus else 1
    asked = whole_number("--replicas", asked, minimum=1)
    if asked > 1 and study.search is not None:
        raise ConfigurationError(
            f"--replicas is {asked}: trials of a search come one after the other, so that 1 is "
            "all that it can be"
        )
    if asked > 1 and name == "numpy":
        raise ConfigurationError(
            f"--replicas is {asked}: backend numpy does not tell apart how each came to its end "
            "states; numba and cupy do"
        )
    return asked
