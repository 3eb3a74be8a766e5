"""A study: many runs in one file, every combination of what varies, each with a name of its own.

Rows are made when they are asked for, so that a study of a million costs no more than one of ten
until its runs are trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

import tomli_w

from ...refimpl import ConfigurationError, shown
from ..output import replace_text
from ..training import (
    SECTIONS,
    SETTINGS,
    TOP,
    RunConfiguration,
    dotted,
    read_toml,
    run_configuration,
)

STUDY = "study.toml"
"""In a study's directory."""

TABLES = ("base", "case", "vary", "search")
RANGE = re.compile(r"\s*(-?[0-9]{1,18})\s*(?:-\s*(-?[0-9]{1,18})\s*)?")
MOST_VALUES = 10_000_000
"""Of one setting: a range is written down whole."""

MOVED = ("data_dir", "threads")
"""Settings that make no other run: where its data lie, and what of a processor it takes."""

BY_TRIAL = "trial"
"""The column of a search's rows that says of which trial they are."""

LONGEST_NAME = 80


@cache
def _usual() -> dict[str, Any]:
    """Defaults of a run's settings, by dotted names."""
    return dotted(RunConfiguration().as_dict())


@dataclass(frozen=True)
class Search:
    """What is searched for within each combination of what varies.

    Parameters
    ----------
    space : mapping
        Of each setting, by its dotted name: ``{"low": …, "high": …, "log": …, "step": …}`` or
        ``{"values": […]}``.
    sampler : {'tpe', 'random', 'grid'}
    trials : int
        At most; a grid ends by itself too.
    metric : str
        Of the validation split or of training, at the last epoch.
    prune : {'median', 'none'}
        Whether trials end early that are worse than the median of those before, epoch by epoch.
    seeds : tuple of int
        A trial's value is the mean over the runs of these.
    """

    space: Mapping[str, Mapping[str, Any]]
    sampler: str = "tpe"
    trials: int = 50
    metric: str = "valid_accuracy"
    prune: str = "none"
    seeds: tuple[int, ...] = (0,)

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """In which direction better lies."""
        return "minimize" if self.metric.endswith("loss") else "maximize"


@dataclass(frozen=True)
class Row:
    """One run of a study."""

    key: str  # of its settings: 16 hexadecimal digits
    own: Mapping[str, Any]  # what varies, by dotted names
    settings: Mapping[str, Any]  # of the run, sections as mappings

    @property
    def name(self) -> str:
        """Of its directory: what varies, as far as there is room, and the key's beginning."""
        about = "-".join(
            f"{name.rpartition('.')[2]}-{_in_a_name(value)}" for name, value in self.own.items()
        )
        readable = re.sub(r"[^\w.+-]", "_", about, flags=re.ASCII)[:LONGEST_NAME].rstrip(".-_")
        return f"{readable}-{self.key[:8]}" if readable else self.key[:8]

    def configuration(self) -> RunConfiguration:
        """The run's, all of it; ConfigurationError if these settings do not go together."""
        return run_configuration(self.settings, f"row {self.name}")


@dataclass(frozen=True)
class Study:
    """Many runs: a base, cases of it, what varies, and what is searched for.

    Parameters
    ----------
    base : mapping
        Settings of all runs, as a run's file has them, every default filled in.
    cases : sequence of mappings
        Settings that go together, by dotted names: one row each, for all that varies.
    vary : mapping
        Values of each setting that varies, by dotted names: every combination.
    search : Search, optional
        Of further settings, within each combination.
    """

    base: Mapping[str, Any]
    cases: Sequence[Mapping[str, Any]] = ({},)
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    search: Search | None = None

    @cached_property
    def n_combinations(self) -> int:
        """Rows of what varies; within each there may be a search."""
        return len(self.cases) * prod(len(values) for values in self.vary.values())

    @property
    def names(self) -> list[str]:
        """Settings that vary, by dotted names, in the order of the study."""
        named = dict.fromkeys(name for case in self.cases for name in case)
        searched = [] if self.search is None else [*self.search.space, "seed"]
        return list(dict.fromkeys([*named, *self.vary, *searched]))

    def value(self, name: str) -> Any:
        """What the base has of a setting, None if it is off."""
        section, _, key = name.rpartition(".")
        return (self.base.get(section, {}) if section else self.base).get(key)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """What is varied in each combination."""
        names = list(self.vary)
        for case in self.cases:
            for values in product(*self.vary.values()):
                yield {**case, **dict(zip(names, values, strict=True))}

    def row(self, own: Mapping[str, Any]) -> Row:
        """The run with these settings, other than the base's."""
        settings: dict[str, Any] = dict(self.base)
        for name, value in own.items():
            section, _, key = name.rpartition(".")
            if section:
                settings[section] = {**settings[section], key: value}
            else:
                settings[key] = value
        return Row(self._key(settings), own, settings)

    def _key(self, settings: Mapping[str, Any]) -> str:
        left_out = set(MOVED) - set(self.names)
        # A run may be trained further; but not where its learning rate depends on the end.
        if "epochs" not in self.names and settings["schedule"]["name"] != "cosine":
            left_out.add("epochs")
        # What is as by default is left out: a version that has more settings finds its runs again.
        usual = _usual()
        counted = {
            name: value for name, value in dotted(settings).items()
            if name not in left_out and value != usual.get(name)
        }  # fmt: skip
        text = json.dumps(counted, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def rows(self) -> Iterator[Row]:
        """All runs of a study without a search."""
        return map(self.row, self.combinations())

    def as_dict(self) -> dict[str, Any]:
        """Turn into what a file of it holds."""
        plain: dict[str, Any] = {"base": dict(self.base)}
        if self.vary:
            plain["vary"] = {name: list(values) for name, values in self.vary.items()}
        if any(self.cases):
            plain["case"] = [dict(case) for case in self.cases]
        if self.search is not None:
            options = {name: getattr(self.search, name) for name in OPTIONS}
            plain["search"] = {**options, "seeds": list(self.search.seeds), **self.search.space}
        return plain


def read_study(source: str | os.PathLike[str] | Mapping[str, Any], **settings: Any) -> Study:
    """Read and check a study.

    Parameters
    ----------
    source : path or mapping
        A TOML file, or what it holds: tables `base`, `vary`, `search`, and a list of tables `case`.
    **settings
        Of the base, by dotted names; they go before what the source has.

    Raises
    ------
    ConfigurationError
        It cannot be read, or has what no study can have; the table, the name and what would be
        right are said.
    """
    named = "study" if isinstance(source, Mapping) else str(source)
    plain = dict(source) if isinstance(source, Mapping) else read_toml(source)
    for name in plain:
        if name not in TABLES:
            known = name in SETTINGS[TOP] or name in SECTIONS
            hint = f"; a run's settings stand in [base], as {name} does" if known else ""
            raise ConfigurationError(
                f"{named}: {shown(name)} is no part of a study, which has [base], [[case]], "
                f"[vary] and [search]{hint}"
            )
    base = _table(plain, "base", named)
    for name, value in settings.items():
        section, _, key = name.rpartition(".")
        if section:
            base[section] = {**base.get(section, {}), key: value}
        else:
            base[key] = value
    whole = run_configuration(base, f"{named} [base]").as_dict()
    cases = plain.get("case", [{}])
    if not isinstance(cases, list) or not cases or not all(isinstance(c, Mapping) for c in cases):
        raise ConfigurationError(f"{named}: case is {shown(cases)}: tables [[case]] are needed")
    study = Study(
        base=whole,
        cases=tuple(_case(whole, dotted(case), f"{named} [[case]]") for case in cases),
        vary={
            name: _values(whole, name, value, f"{named} [vary]")
            for name, value in _varied(_table(plain, "vary", named)).items()
        },
        search=_search(whole, _table(plain, "search", named), f"{named} [search]"),
    )
    _refuse_named_twice(study, named)
    return study


def write_study(path: str | os.PathLike[str], study: Study) -> None:
    """Write a study as `read_study` reads it."""
    replace_text(path, tomli_w.dumps(study.as_dict()))


def _table(plain: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    table = plain.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{source}: {name} is {shown(table)}: a table [{name}] is needed")
    return dict(table)


def _varied(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names, whether they stand in quotes or in tables of their sections."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if name in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _refuse_no_setting(name: str, source: str) -> None:
    section, _, key = name.rpartition(".")
    if key in SETTINGS.get(section, ()) and name not in SECTIONS:
        return
    if name in SECTIONS:
        right = f"name one of its settings, as {name}.{SETTINGS[name][0]}"
    else:
        ends = [f"{s}.{key}" if s else key for s in SETTINGS if key in SETTINGS[s]]
        right = f"did you mean {' or '.join(ends)}?" if ends else "`disinhib config` has them all"
    raise ConfigurationError(f"{source}: there is no setting {shown(name)} to vary: {right}")


def _refuse_preset(name: str, source: str) -> None:
    if name == PRESET:
        raise ConfigurationError(
            f"{source}: {name} stands for many settings: it may stand in [base], or in a [[case]]"
        )


def _one(base: Mapping[str, Any], name: str, value: Any, source: str) -> Any:
    """A setting's value as a run has it, checked beside the base's others."""
    section, _, key = name.rpartition(".")
    if isinstance(value, Mapping):
        raise ConfigurationError(f"{source}: {name} is {shown(value)}: a value is needed")
    inner: Any = {**base[section], key: value} if section else value
    changed = run_configuration({**base, (section or key): inner}, source)
    return dotted(changed.as_dict()).get(name)


def _values(base: Mapping[str, Any], name: str, value: Any, source: str) -> tuple[Any, ...]:
    """All values of a setting that varies: a list, one alone, or of whole numbers "0-9,20"."""
    _refuse_no_setting(name, source)
    _refuse_preset(name, source)
    is_whole = isinstance(base.get(name), int) and not isinstance(base.get(name), bool)
    if isinstance(value, str) and is_whole:
        value = whole_numbers(name, value, source)
    if not isinstance(value, (list, tuple, range)):
        value = [value]
    if name == "hidden" and value and not isinstance(value[0], (list, tuple)):
        raise ConfigurationError(
            f"{source}: hidden is {shown(list(value))}: a list of layers' units for each network "
            "is needed, as in [[256], [256, 256]]"
        )
    if not value:
        raise ConfigurationError(f"{source}: {name} has no value: at least one is needed")
    found = _all_whole(value) if is_whole and name == "seed" else None
    found = found or tuple(_one(base, name, one, source) for one in value)
    twice = [one for i, one in enumerate(found[:1000]) if one in found[:i]]
    if twice or (found and len(found) > 1000 and len(set(map(str, found))) < len(found)):
        raise ConfigurationError(f"{source}: {name} has {shown((twice or found)[0])} twice")
    return found


def _all_whole(values: Sequence[Any]) -> tuple[int, ...] | None:
    """Seeds need no check beside the others, and there may be a million."""
    are_whole = all(type(one) is int and abs(one) < 10**18 for one in values)
    return tuple(values) if are_whole else None


def whole_numbers(name: str, text: str, source: str) -> list[int]:
    """Read whole numbers and ranges of them with commas between, as "0-9,20"."""
    numbers: list[int] = []
    for part in text.split(","):
        found = RANGE.fullmatch(part)
        if found is None:
            raise ConfigurationError(
                f"{source}: {name} is {shown(text)}: whole numbers or ranges of them are needed, "
                'as in "0-9" or "0-4,7"'
            )
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last - first >= MOST_VALUES:
            raise ConfigurationError(
                f"{source}: {name} is {shown(text)}: a range goes up, by {MOST_VALUES:,} at most"
            )
        numbers += range(first, last + 1)
    return numbers


def _case(base: Mapping[str, Any], case: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings that go together, as a run has them."""
    for name in case:
        _refuse_no_setting(name, source)
    if PRESET in case:
        case = _with_preset(base, case, source)
    settings: dict[str, Any] = dict(base)
    for name, value in case.items():
        section, _, key = name.rpartition(".")
        settings[section or key] = {**settings[section], key: value} if section else value
    whole = dotted(run_configuration(settings, source).as_dict())
    return {name: whole.get(name) for name in case}


PRESET = "arithmetic.preset"
"""A name for many settings, which a run has one by one."""


def _with_preset(base: Mapping[str, Any], case: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Give a case the settings in which a preset of integers differs from the base's.

    What the base says otherwise than the defaults stays, as it does in a run.
    """
    defaults = run_configuration({"backend": "integer"}, source).as_dict()["arithmetic"]
    own = base.get("arithmetic") or defaults
    said = {key: value for key, value in own.items() if value != defaults[key]}
    here = {name.rpartition(".")[2]: value for name, value in case.items() if "arithmetic." in name}
    settings = {**base, "arithmetic": {**said, **here}}
    whole = run_configuration(settings, source).as_dict()["arithmetic"]
    changes = {key: value for key, value in whole.items() if value != own[key] or key in here}
    rest = {name: value for name, value in case.items() if "arithmetic." not in name}
    return rest | {f"arithmetic.{key}": value for key, value in changes.items()}


OPTIONS = ("sampler", "trials", "metric", "prune", "seeds")
SAMPLERS, PRUNERS = ("tpe", "random", "grid"), ("none", "median")
METRICS = (
    "valid_accuracy", "valid_loss", "train_accuracy", "train_loss",
    "train_closed_loop_loss",
)  # fmt: skip
"""What may be searched by: never the test set."""


def _search(base: Mapping[str, Any], table: dict[str, Any], source: str) -> Search | None:
    if not table:
        return None
    options = {name: table.pop(name) for name in OPTIONS if name in table}
    space = {name: _domain(base, name, domain, source) for name, domain in _varied(table).items()}
    if not space:
        raise ConfigurationError(
            f"{source}: nothing is searched for: name a setting, as in "
            '"controller.k_p" = { low = 0.05, high = 2.0, log = true }'
        )
    seeds = options.get("seeds", "0")
    if isinstance(seeds, str):
        seeds = whole_numbers("seeds", seeds, source)
    for name, among in (("sampler", SAMPLERS), ("metric", METRICS), ("prune", PRUNERS)):
        value = options.get(name, among[0])
        if value not in among:
            never = "; the test set is for the end" if "test" in str(value) else ""
            raise ConfigurationError(
                f"{source}: {name} is {shown(value)}: must be {', '.join(among)}{never}"
            )
    trials = options.get("trials", Search.trials)
    if type(trials) is not int or trials < 1:
        raise ConfigurationError(
            f"{source}: trials is {shown(trials)}: a whole number above 0 is needed"
        )
    if not isinstance(seeds, (list, tuple)) or not seeds or _all_whole(seeds) is None:
        raise ConfigurationError(
            f'{source}: seeds is {shown(seeds)}: whole numbers are needed, as in "0-2"'
        )
    options |= {"trials": trials, "seeds": tuple(dict.fromkeys(seeds))}
    if options.get("sampler") == "grid":
        for name, domain in space.items():
            if "values" not in domain and "step" not in domain:
                raise ConfigurationError(
                    f"{source}: {name} has no end of values: a grid needs {{ values = […] }}, or a "
                    "step"
                )
    return Search(space=space, **options)


DOMAIN = ("low", "high", "log", "step", "values")


def _domain(base: Mapping[str, Any], name: str, domain: Any, source: str) -> dict[str, Any]:
    """From where a searched setting is taken, its ends checked as a run's."""
    _refuse_no_setting(name, source)
    _refuse_preset(name, source)
    if name in ("seed", "epochs", "dataset", "data_dir", "start"):
        raise ConfigurationError(f"{source}: {name} is nothing to search for; it may vary")
    right = (
        "{ low = …, high = … }, perhaps with log = true or a step, or { values = […] } is needed"
    )
    if not isinstance(domain, Mapping) or not set(domain) <= set(DOMAIN) or (
        ("values" in domain) == ("low" in domain or "high" in domain)
    ):  # fmt: skip
        raise ConfigurationError(f"{source}: {name} is {shown(domain)}: {right}")
    if "values" in domain:
        if not isinstance(domain["values"], list) or not domain["values"]:
            raise ConfigurationError(f"{source}: {name} is {shown(domain)}: {right}")
        if any(isinstance(one, list) for one in domain["values"]):
            raise ConfigurationError(f"{source}: {name} has lists, which may vary, not be searched")
        return {"values": [_one(base, name, one, source) for one in domain["values"]]}
    is_log = domain.get("log", False)
    ends = [domain.get("low"), domain.get("high")]
    if not isinstance(is_log, bool) or not all(_is_number(end) for end in ends):
        raise ConfigurationError(f"{source}: {name} is {shown(domain)}: {right}")
    low, high = (_one(base, name, end, source) for end in ends)
    if not low < high or (is_log and low <= 0):
        raise ConfigurationError(
            f"{source}: {name} from {shown(low)} to {shown(high)}: low is below high"
            f"{', and above 0 if log' if is_log else ''}"
        )
    step = domain.get("step")
    if step is not None and (not _is_number(step) or step <= 0 or is_log):
        raise ConfigurationError(
            f"{source}: {name} has step {shown(step)}: a number above 0 is needed, without log"
        )
    found = {"low": low, "high": high, "log": is_log}
    return found if step is None else {**found, "step": step}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse_named_twice(study: Study, source: str) -> None:
    """Refuse a setting that varies in two ways at once."""
    in_cases = {name for case in study.cases for name in case}
    in_search = set() if study.search is None else {*study.search.space, "seed"}
    for one, other, where in (
        (in_cases, set(study.vary), "[[case]] and [vary]"),
        (in_cases, in_search, "[[case]] and [search]"),
        (set(study.vary), in_search, "[vary] and [search]"),
    ):
        for name in sorted(one & other):
            hint = "; a search has its own seeds" if name == "seed" else ""
            raise ConfigurationError(f"{source}: {name} stands in {where}: in one of them{hint}")


def _in_a_name(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else Path(str(value)).name


def refuse_same_cases(study: Study) -> None:
    """Refuse two [[case]] that say the same, one by defaults: one run cannot be two rows."""
    firsts = {name: values[0] for name, values in study.vary.items()}
    known: dict[str, int] = {}
    for number, case in enumerate(study.cases, start=1):
        key = study.row({**case, **firsts}).key
        if key in known:
            raise ConfigurationError(
                f"[[case]] number {number} is {shown(dict(case))}: the same runs as number "
                f"{known[key]}, so that one is to be left out"
            )
        known[key] = number


def new_and_gone(before: Study, now: Study) -> tuple[list[str], list[str]]:
    """Names of the rows that a changed study has and had not, and that it had and has not."""
    rows = [{row.key: row.name for row in study.rows()} for study in (now, before)]
    new, gone = (
        [name for key, name in ours.items() if key not in theirs]
        for ours, theirs in (rows, rows[::-1])
    )
    return new, gone


def cells(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Settings as a table has them, each in one cell."""
    return {
        name: "-".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        for name, value in values
    }
