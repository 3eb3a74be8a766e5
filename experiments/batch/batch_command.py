"""The commands `disinhib batch …`, and `disinhib.batch`: a study from its file to its table."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from ...refimpl import ConfigurationError, shown
from ..output import (
    announced,
    going_on_without_output,
    refuse_other_pictures,
    refuse_twice,
    refuse_unwritable,
    say,
    tell_user,
    terminal_console,
    visible,
    working,
    write_output,
    write_text,
)
from ..runs_compared import print_whole, write_rows
from ..training import RunConfiguration, parse_settings, stop_on_interrupt
from .here import ENDED_EARLY, Share, prepared, replicas_for, train_here, workers_for
from .results import (
    Progress,
    batch_figure,
    batch_table,
    best_study,
    grouped,
    ranking,
    read_batch,
)
from .search import trials_of, without_optuna, work_on_trials
from .study import STUDY, Study, read_study, whole_numbers
from .work import DONE, Results, Terms, in_turn, own_first, work

console = terminal_console()
TIME_IS_UP = 75
"""Exit code where rows are left because the time was: the same command goes on."""
MOST_SHOWN_WORKERS, MOST_SHOWN_ROWS = 16, 500


def run_batch(
    source: Path | Mapping[str, Any],
    given_settings: Sequence[str],
    out: Path | None,
    n_workers: int | None,
    n_threads: int | None,
    shard: str = "1/1",
    time_limit: str = "",
    scheduler: str = "",
    slurm_jobs: int = 0,
    n_replicas: int | None = None,
) -> int:
    """Run a study, or go on with it, and give the exit code.

    `source` is its file, or what one would hold, for which `out` is needed. `scheduler` is the
    address of Dask's; `slurm_jobs` how many workers SLURM is to start.
    """
    _refuse_two_ways(n_workers, scheduler, slurm_jobs)
    deadline = time.time() + seconds_of(time_limit) if time_limit else float("inf")
    settings, share = parse_settings(given_settings), parse_share(shard)
    if isinstance(source, Path):
        directory = out or Path("runs") / source.stem
    else:
        assert out is not None
        directory = out
    with working(console, f"getting {directory} ready"):
        study = prepared(source, settings, directory, n_threads, tell_user, n_replicas)
        _refuse_without_optuna(study)
        replicas = replicas_for(study, n_replicas)
    n_rows = trials_of(study) or study.n_combinations
    is_here = not scheduler and not slurm_jobs
    with going_on_without_output():
        _outlive_the_terminal()
        if is_here:
            n_workers = n_workers or workers_for(study, n_rows)
            workers = f"{n_workers} workers" if n_workers > 1 else "1 worker"
            say(console, _headline(study, directory, workers))
            with stop_on_interrupt() as stop, showing(console) as watch:
                is_all = train_here(
                    directory, study, share, n_workers, deadline, stop, watch, replicas
                )
        else:
            from .cluster import cluster, train_on_cluster

            say(console, _headline(study, directory, scheduler or f"{slurm_jobs} jobs of SLURM"))
            n_threads = int(study.base["threads"])
            with (
                stop_on_interrupt() as stop,
                cluster(scheduler, slurm_jobs, n_threads) as (client, look),
                showing(console) as watch,
            ):
                is_all = train_on_cluster(
                    client, directory, study, share, deadline, stop, watch, look, replicas
                )
        if stop():
            say(console, f"Stopped; the same command goes on ({directory}).")
            return 128 + stop()
        return _told_end(study, directory, share, is_all, time.time() > deadline)


def _told_end(study: Study, directory: Path, share: Share, is_all: bool, is_late: bool) -> int:
    results = Results(directory)
    progress = Progress(study, directory, share, "", results)
    n_failed = _n_failed(results)
    say(console, _counts(progress.of_rows, progress.n_rows, progress.what))
    if study.search is not None and progress.best is not None:
        firsts = [t for t in results.trials.values() if t["number"] == 0 and "value" in t]
        beside = f"; as in [base]: {firsts[0]['value']:.4g}" if len(firsts) == 1 else ""
        best = f"{progress.best['value']:.4g} in trial {progress.best['number']}"
        say(console, f"best {study.search.metric}: {best}{beside}")
    for line in [one for one in results.outcomes.values() if one["state"] != DONE][:10]:
        if line.get("why"):
            say(console, f"  {line['state']}: {line['name']}: {line['why']}", "yellow")
    if is_late and not is_all:
        say(console, f"The time is up; the same command goes on ({directory}).")
        return TIME_IS_UP
    if not is_all and not n_failed:
        say(console, f"{progress.n_left:,} are being worked on by others in {directory}.")
        return 0
    say(console, f"disinhib batch table {directory}   has a row a run")
    return 1 if n_failed else 0


def _n_failed(results: Results) -> int:
    return sum(line["state"] == "failed" for line in results.outcomes.values())


def _refuse_without_optuna(study: Study) -> None:
    missing = without_optuna() if study.search is not None else ""
    if missing:
        raise ConfigurationError(missing)


def _refuse_two_ways(n_workers: int | None, scheduler: str, slurm_jobs: int) -> None:
    ways = {"--workers": n_workers, "--scheduler": scheduler, "--slurm": slurm_jobs}
    given = [name for name, value in ways.items() if value]
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)}: a batch runs in one of these ways")
    for name in ("--workers", "--slurm"):
        value = ways[name]
        if isinstance(value, int) and value < 0:
            raise ConfigurationError(f"{name} is {value}: at least 1 is needed")
    if n_workers == 0:
        raise ConfigurationError("--workers is 0: at least 1 is needed")


def _headline(study: Study, directory: Path, by: str) -> str:
    n, search = study.n_combinations, study.search
    if search is None:
        what = f"{n:,} runs"
    else:
        seeds = f" of {len(search.seeds)} runs each" if len(search.seeds) > 1 else ""
        what = f"{search.trials:,} trials{seeds}" + (f" in {n:,} searches" if n > 1 else "")
    threads = study.base["threads"]
    backend = f"{study.base['backend']} {study.base['dtype']}"
    each = f"{threads} threads a run" if threads > 1 else "1 thread a run"
    return f"{what}, {backend}, {each}, {by}: {directory}"


def _outlive_the_terminal() -> None:
    """A terminal that goes away takes no batch with it."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None:
        with suppress(ValueError):
            signal.signal(hangup, signal.SIG_IGN)


def run_worker(
    directory: Path,
    worker: str,
    shard: str,
    attempt: str,
    parent: int,
    deadline: float,
    replicas: int = 1,
) -> int:
    """Be one worker of a batch, and give the exit code: 0 if nothing is left for anybody."""
    study, share = read_study(directory / STUDY), parse_share(shard)
    number, n_workers = parse_share(worker).number, parse_share(worker).of
    terms = Terms(attempt, deadline, parent, replicas)
    with stop_on_interrupt() as stop:
        if study.search is not None:
            groups = list(in_turn(study.combinations(), share.number, share.of))
            is_all = work_on_trials(directory, study, groups, terms, stop)
        else:
            combinations = in_turn(study.combinations(), share.number, share.of)
            rows = [study.row(own) for own in combinations]
            ordered, n_own = own_first(rows, number, n_workers), len(rows[number - 1 :: n_workers])
            is_all = work(directory, ordered, study.n_combinations, terms, stop, n_own=n_own)
    return 0 if is_all else ENDED_EARLY


def parse_share(text: str) -> Share:
    """Read '2/8', the second of eight shares."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigurationError(
            f"{shown(text)} is no share: I/N is needed, I from 1 to N, as in 1/8"
        )
    return Share(int(found[1]), int(found[2]))


def seconds_of(text: str) -> float:
    """Read '2h50m', '90s', '1d'; a number alone is minutes."""
    found = re.fullmatch(r"\s*(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?\s*", text)
    if text.strip().isdecimal():
        found = re.fullmatch(r"()()\s*(\d+)()\s*", text)
    seconds = 0.0
    if found is not None:
        for part, size in zip(found.groups(), (86400, 3600, 60, 1), strict=True):
            seconds += size * int(part or 0)
    if not 0 < seconds < 1e9:
        raise ConfigurationError(
            f"a time limit of {shown(text)}: days, hours, minutes and seconds are needed, as in "
            "2h50m"
        )
    return seconds


# What is seen while it runs.


@contextmanager
def showing(target: Any) -> Iterator[Callable[[Progress], None]]:
    """Show how far a batch is: a table that stays in place on a terminal, else a line a run."""
    if not target.is_terminal:
        with announced("training") as announcement:

            def lines(progress: Progress) -> None:
                for line in progress.fresh:
                    announcement.shown()
                    say(target, f"{progress.n_settled:,}/{progress.n_rows:,}  {_line(line)}")
                announcement.now(_counts(progress.of_rows, progress.n_rows, progress.what))

            yield lines
        return
    with Live(console=target, refresh_per_second=4, transient=True) as live:
        yield lambda progress: live.update(_picture(progress))


def _line(line: Mapping[str, Any]) -> str:
    """What came of a row, in a line."""
    name = line.get("name") or f"{line['group']}, trial {line['number']}"
    value = line.get("value", line.get("valid_accuracy"))
    figures = "" if value is None or line["state"] != DONE else f"  valid {value:.2%}"
    if line.get("test_accuracy") is not None and line["state"] == DONE:
        figures += f"  test {line['test_accuracy']:.2%}"
    why = f"  {line['why']}" if line.get("why") else ""
    return f"{name}  {line['state'] if line['state'] != DONE else ''}{figures}{why}".strip()


def _counts(of_rows: Mapping[str, int], n_rows: int, what: str) -> str:
    n_left = n_rows - sum(of_rows.values())
    parts = [f"{n:,} {state}" for state, n in sorted(of_rows.items())]
    return f"{n_rows:,} {what}: " + ", ".join([*parts, *([f"{n_left:,} to do"] if n_left else [])])


def _picture(progress: Progress) -> Any:
    """The live table of a batch."""
    counts = Table.grid(padding=(0, 2))
    working = sorted(progress.working(), key=lambda one: str(one["row"]))
    n_working = len(working)
    waiting = max(progress.n_left - n_working, 0)
    left = progress.seconds_left
    counts.add_row(
        Text(f"{progress.of_rows.get(DONE, 0):,} of {progress.n_rows:,} done", style="bold"),
        f"{n_working} running", f"{waiting:,} waiting",
        *(f"{n:,} {state}" for state, n in progress.of_rows.items() if state != DONE),
        f"{progress.per_minute:,.1f} a minute",
        "" if left is None else f"{_duration(left)} left",
    )  # fmt: skip
    parts: list[Any] = [counts]
    at_work = Table.grid(padding=(0, 2))
    for news in working[:MOST_SHOWN_WORKERS]:
        share = (news["epoch"] + news["share"]) / news["of"]
        at_work.add_row(
            Text(visible(news["row"]), overflow="ellipsis", no_wrap=True),
            f"epoch {news['epoch'] + 1}/{news['of']}", f"{share:.0%}",
        )  # fmt: skip
    parts.append(at_work)
    if progress.best is not None:
        parts.append(Text(f"best so far: {_line(progress.best)}", no_wrap=True))
    return Group(*parts)


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


# Looking at a batch that runs or has run.


def show_status(directory: Path) -> int:
    """Say how far a batch is, who works on it, and what went wrong."""
    study, results = read_batch(directory)
    progress = Progress(study, directory, Share(), "", results)
    say(console, f"{directory}: {_counts(progress.of_rows, progress.n_rows, progress.what)}")
    for news in progress.working():
        say(console, f"  process {news['process']}: {news['row']}, epoch {news['epoch'] + 1} of "
                     f"{news['of']}")  # fmt: skip
    wrong = [one for one in results.outcomes.values() if one.get("why")]
    for line in wrong[:20]:
        say(console, f"  {line['state']}: {line['name']}: {line['why']}", "yellow")
    if len(wrong) > 20:
        say(console, f"  and {len(wrong) - 20:,} more; `disinhib batch table` has them all")
    if progress.best is not None:
        say(console, f"best by validation: {_line(progress.best)}")
    return 0


def show_table(
    directory: Path,
    by: str | None,
    metrics: Sequence[str],
    csv_file: Path | None,
    markdown_file: Path | None,
) -> int:
    """Print the table, or means over what is not in `by`, and write what was asked for."""
    refuse_twice(csv_file, markdown_file)
    for file in (csv_file, markdown_file):
        refuse_unwritable(file)
    rows = batch_table(directory)
    if not rows:
        raise ConfigurationError(f"nothing has come of {directory} yet")
    chosen = list(metrics) or ["valid_accuracy", "test_accuracy"]
    if by is None:
        table = rows
        study, _ = read_batch(directory)
        trial = [] if study.search is None else ["trial"]
        names = [*trial, *study.names, "epochs", *chosen, "state"]
        _refuse_no_columns(names, rows)
        shown_rows = [{name: row[name] for name in names} for row in rows]
        shown_rows = shown_rows or rows
    else:
        names_by = [name.strip() for name in by.split(",") if name.strip()]
        table = shown_rows = grouped(rows, names_by, chosen)
        if not table:
            raise ConfigurationError(f"{directory} has no run yet that came to its end")
    heads = [name for name in shown_rows[0] if not name.endswith("_sd")]
    printed = Table(*(Column(visible(name), overflow="fold") for name in heads))
    for row in shown_rows[:MOST_SHOWN_ROWS]:
        printed.add_row(*(_cell(name, row) for name in heads))
    print_whole(printed)
    if len(shown_rows) > MOST_SHOWN_ROWS:
        more = len(shown_rows) - MOST_SHOWN_ROWS
        say(console, f"and {more:,} more: --csv FILE has them all, --by NAME sums them up")
    write_output(csv_file, write_rows, table)
    write_output(markdown_file, write_text, _markdown(heads, shown_rows))
    return 0


def _refuse_no_columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    for name in names:
        if name not in rows[0]:
            raise ConfigurationError(
                f"{shown(name)} is no column of the table, which has {', '.join(rows[0])}"
            )


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if value is None:
        return ""
    if isinstance(value, float):
        spread = row.get(f"{name}_sd")
        scale, digits, unit = (100, ".2f", " %") if name.endswith("accuracy") else (1, ".4g", "")
        beside = "" if spread is None else f" ± {scale * spread:{digits}}"
        return f"{scale * value:{digits}}{beside}{unit}"
    return visible(value)


def _markdown(heads: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(name, row) for name in heads] for row in rows)]
    return "".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |\n"
                   for line in lines)  # fmt: skip


def draw_batch(directory: Path, out: Path | None, metric: str | None) -> int:
    """Draw the picture of a batch."""
    file = out or directory / "batch.png"
    read_batch(directory)
    refuse_unwritable(file)
    refuse_other_pictures(file)
    figure = batch_figure(directory, metric or "")
    write_output(file, figure.savefig)
    say(console, f"Written to {file}")
    return 0


def print_best(directory: Path, top: int, seeds: str, epochs: int | None) -> int:
    """Print the study that repeats the best settings."""
    import tomli_w

    if top < 1:
        raise ConfigurationError(f"--top is {top}: at least 1 is needed")
    study = best_study(directory, top, whole_numbers("--seeds", seeds, "command line"), epochs)
    ranked = ranking(*read_batch(directory))[:top]
    for place, (settings, value) in enumerate(ranked, start=1):
        about = ", ".join(f"{name} = {one}" for name, one in settings.items())
        print(f"# {place}. by validation, {value:.6g}: {visible(about)}")
    plain = study.as_dict()
    usual = RunConfiguration().as_dict()
    base = {name: _other(value, usual.get(name)) for name, value in plain["base"].items()}
    plain["base"] = {name: value for name, value in base.items() if value not in (None, {})}
    print(tomli_w.dumps(plain), end="")
    return 0


def _other(value: Any, usual: Any) -> Any:
    """What of a setting or section is other than by default; None or nothing if it is all that."""
    if isinstance(value, Mapping):
        return {name: one for name, one in value.items() if one != usual.get(name)}
    return None if value == usual else value


# From Python.


def batch(
    study: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    threads: int | None = None,
    replicas: int | None = None,
    shard: str = "1/1",
    time_limit: str = "",
    progress: bool = True,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Run a study of many runs, or go on with it, and give its table.

    Parameters
    ----------
    study : path or mapping
        A TOML file, or what it holds: ``{"base": …, "vary": {"seed": "0-9"}}``.
    out : path
        Its directory: of a study that is there already, what is missing is run.
    workers : int, optional
        Processes side by side; else as many as there are cores.
    threads : int, optional
        Of each run; else one, or more if there are more cores than runs. They are those of the
        study's first time unless they are given again.
    replicas : int, optional
        Runs that learn side by side in one backend, if they agree in all but seeds and numbers;
        else as many as a GPU has room for, and 1 on processors, where there is nothing to gain.
    shard : str
        ``"I/N"``: only the I-th of N parts of the rows, from 1, for jobs of their own.
    time_limit : str
        As ``"2h50m"``, after which runs are saved and the batch ends; the same call goes on.
    progress : bool
        Show how far it is.
    **settings
        Of the base, as `train` takes them.

    Returns
    -------
    list of dict
        As `batch_table` gives it: a row a run, as ``pandas.DataFrame`` takes them.

    Raises
    ------
    ConfigurationError, DatasetError, FileError, BackendUnavailable
        It is no study, or none that can run here. What fails in one run is a row that says why.
    KeyboardInterrupt
        It was interrupted; runs are saved, and the same call goes on.
    """
    directory = Path(out)
    deadline = time.time() + seconds_of(time_limit) if time_limit else float("inf")
    share = parse_share(shard)
    flat = _flat(settings)
    found = prepared(study, flat, directory, threads, tell_user, replicas)
    _refuse_without_optuna(found)
    n_rows = trials_of(found) or found.n_combinations
    n_workers = workers or workers_for(found, n_rows)
    with stop_on_interrupt() as stop, showing(console) if progress else _silence() as watch:
        train_here(
            directory, found, share, n_workers, deadline, stop, watch, replicas_for(found, replicas)
        )
    if stop():
        raise KeyboardInterrupt(f"stopped: batch with out={str(directory)!r} goes on")
    return batch_table(directory)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names, of sections given as mappings."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


@contextmanager
def _silence() -> Iterator[Callable[[Progress], None]]:
    yield lambda progress: None
