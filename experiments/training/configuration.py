"""The whole configuration of a training run, as one validated object."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from ...backends import checked_threads
from ...datasets import DATASETS, is_own_file, is_tfds_name
from ...refimpl import (
    ConfigurationError,
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    SoftReLU,
    Solver,
    real_number,
    shown,
    whole_number,
)
from ...refimpl.integers import QUANTITIES, Arithmetic, Format, arithmetic
from ..output import replace_text
from .data import Data
from .schedule import Schedule

AUTO = "auto"
"""The backend of a run that leaves the choice."""

MOST_DIGITS = 1000
"""Of a seed; neither TOML nor JSON is read beyond 4,300."""


def _checked(check: Callable[[str, Any], Any]) -> BeforeValidator:
    """Validate a setting by a function of its name and value, whose message is the user's."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        return check(str(info.field_name), value)

    return BeforeValidator(validate)


def _count(name: str, value: Any) -> int:
    return whole_number(name, value, minimum=1)


def _count_or_0(name: str, value: Any) -> int:
    return whole_number(name, value, minimum=0)


def _counts(name: str, value: Any) -> list[int]:
    if isinstance(value, (range, np.ndarray)):
        value = list(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigurationError(
            f"{name} is {shown(value)}: a list of at least 1 whole number is needed"
        )
    return [_count(f"{name}[{i}]", n) for i, n in enumerate(value)]


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigurationError(f"{name} is {shown(value)}: true or false is needed")
    return bool(value)


def _threads(name: str, value: Any) -> int | None:
    return None if value is None else checked_threads(value, name)


def _seed(name: str, value: Any) -> int:
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or abs(int(value)) >= 10**MOST_DIGITS:
        raise ConfigurationError(
            f"{name} is {shown(value)}: a whole number of at most {MOST_DIGITS} digits is needed"
        )
    return int(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is {shown(value)}: a text is needed")
    return str.__str__(value)


def _dataset(name: str, value: Any) -> str:
    """A dataset's name, or the path of a file with one."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if isinstance(text, str) and is_own_file(text):
        return str(_path(name, text))
    if text not in DATASETS and not (isinstance(text, str) and is_tfds_name(text)):
        known = ", ".join(repr(one) for one in DATASETS)
        raise ConfigurationError(
            f"{name} is {shown(value)}: must be {known}, a file FILE.npz or FILE.h5, or tfds:NAME"
        )
    return str(text)


def _path(name: str, value: Any) -> Path | None:
    return None if value is None else checked_path(name, value)


def checked_path(name: str, value: Any) -> Path:
    """Take the name of a file or directory; ConfigurationError if it is none."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(f"{name} is {shown(value)}: the name of a file is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{name} is {shown(text)}: config.toml, where it is noted, cannot hold a name that "
            "is not UTF-8"
        ) from None
    return Path(text)


def _table(name: str, value: Any) -> Any:
    """Take a TOML table as one of the model's own dataclasses, whose checks apply."""
    kind = SECTIONS[name]
    if not isinstance(value, kind):
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{name}: {shown(value)} is not a table of settings")
        for key in value:
            if key not in SETTINGS[name]:
                raise ConfigurationError(f"{name}: {_unknown(key, name)}")
        try:
            value = kind(**value)
        except ConfigurationError as problem:
            raise ConfigurationError(f"{name}: {problem}") from problem
    for key, number in _plain(value).items():
        if not isinstance(number, (int, float, str)):
            raise ConfigurationError(
                f"{name}: {key} is {shown(number)}: a run has one network, and so one number"
            )
    return value


def _arithmetic(name: str, value: Any) -> Arithmetic | None:
    """Take a table of integers' settings, a preset among them."""
    if value is None or isinstance(value, Arithmetic):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name}: {shown(value)} is not a table of settings")
    return arithmetic(**{str(key): item for key, item in value.items()})


def _plain(section: Any) -> dict[str, Any]:
    values = {item.name: getattr(section, item.name) for item in dataclasses.fields(section)}
    return {
        name: str(value) if isinstance(value, Format) else value
        for name, value in values.items()
        if value is not None
    }


Count = Annotated[int, _checked(_count)]
CountOr0 = Annotated[int, _checked(_count_or_0)]
Number = Annotated[float, _checked(real_number)]
OptionalPath = Annotated[Path | None, _checked(_path)]
TABLE = _checked(_table)
OptionalArithmetic = Annotated[Arithmetic | None, _checked(_arithmetic)]

INTEGER_BACKENDS = ("integer", "integer-reference")
INTEGER_LEARNING_RATE = 1.0
"""Of plain descent, in integers, where none is given: that of Adam would move nothing."""


def dotted(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Values of mappings in a mapping by their names after a point, as controller.k_p."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        is_mapping = isinstance(value, Mapping)
        flat |= dotted(value, f"{before}{name}.") if is_mapping else {f"{before}{name}": value}
    return flat


class RunConfiguration(BaseModel):
    """One training run; every field has the published value as its default.

    Sections are those of the model: see `refimpl/configuration.py` for their fields. A setting
    is of its type or refused: no text, truth value or list counts as a number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    dataset: Annotated[str, _checked(_dataset)] = "digits"
    data_dir: OptionalPath = None
    rule: Literal["exact-inverse", "linear-threshold", "linear-threshold-fixed", "backprop"] = (
        "exact-inverse"
    )
    hidden: Annotated[list[int], _checked(_counts)] = [256, 256, 256]
    bias: Annotated[bool, _checked(_truth)] = True
    epochs: Count = 50
    patience: CountOr0 = 0  # epochs without better validation that end the run; 0: never
    batch_size: Count = 100
    seed: Annotated[int, _checked(_seed)] = 0
    backend: Annotated[str, _checked(_text)] = AUTO
    threads: Annotated[int | None, _checked(_threads)] = None
    dtype: Literal["float32", "float64"] = "float32"
    loss: Literal["softmax-cross-entropy", "mse"] = "softmax-cross-entropy"
    tau_E: Number = 0.02
    tau_I: Number = 0.005
    start: OptionalPath = None
    data: Annotated[Data, TABLE] = Data()
    activation_E: Annotated[SoftReLU, TABLE] = SoftReLU()
    activation_I: Annotated[SoftReLU, TABLE] = SoftReLU()
    controller: Annotated[Controller, TABLE] = Controller()
    feedback: Annotated[Feedback, TABLE] = Feedback()
    mean_inhibition: Annotated[MeanInhibition, TABLE] = MeanInhibition()
    optimizer: Annotated[Optimizer, TABLE] = Optimizer()
    schedule: Annotated[Schedule, TABLE] = Schedule()
    solver: Annotated[Solver, TABLE] = Solver()
    arithmetic: OptionalArithmetic = None  # of backend integer

    def backend_options(self) -> dict[str, Any]:
        """What a backend is told besides what all are told."""
        return {} if self.arithmetic is None else {"arithmetic": self.arithmetic}

    def network(self, n_inputs: int, n_outputs: int) -> NetworkConfiguration:
        """Configure the network that fits a dataset.

        Parameters
        ----------
        n_inputs, n_outputs : int
            Pixels and classes.

        Raises
        ------
        ConfigurationError
            A value is impossible.
        """
        # Every setting of a network but its sizes is one of a run.
        names = {item.name for item in dataclasses.fields(NetworkConfiguration)} - {"sizes"}
        settings = {name: getattr(self, name) for name in names}
        return NetworkConfiguration(sizes=(n_inputs, *self.hidden, n_outputs), **settings)

    def as_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values, without settings that are not set."""
        plain: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in SECTIONS and value is not None:
                plain[name] = _plain(value)
            elif value is not None:
                plain[name] = str(value) if isinstance(value, Path) else value
        return plain


SECTIONS: dict[str, Any] = {
    "data": Data,
    "activation_E": SoftReLU,
    "activation_I": SoftReLU,
    "controller": Controller,
    "feedback": Feedback,
    "mean_inhibition": MeanInhibition,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "solver": Solver,
    "arithmetic": Arithmetic,
}
"""Tables of a configuration."""

TOP = ""
SETTINGS: dict[str, list[str]] = {
    TOP: list(RunConfiguration.model_fields),
    **{name: [item.name for item in dataclasses.fields(kind)] for name, kind in SECTIONS.items()},
}
SETTINGS["arithmetic"].insert(0, "preset")
"""Names of the settings by the table in which they stand, `TOP` above all of them."""


def run_configuration(settings: Mapping[str, Any], source: str) -> RunConfiguration:
    """Validate settings, sections of which are mappings of their own.

    Raises ConfigurationError: a key is unknown or a value impossible; `source`, the key and what is
    allowed are named.
    """
    try:
        named = _with_integers({str(name): value for name, value in settings.items()})
        configuration = RunConfiguration.model_validate(named)
        # The network's own checks, at sizes that any dataset has.
        configuration.network(1, 1)
        _refuse_impossible_rates(configuration)
    except ValidationError as problem:
        raise ConfigurationError(f"{source}: {_one_line(problem)}") from problem
    except ConfigurationError as problem:
        raise ConfigurationError(f"{source}: {problem}") from problem
    return configuration


def _with_integers(settings: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the backend of integers takes where nothing is said; refuse what it has not."""
    backend, given = settings.get("backend", AUTO), settings.get("arithmetic")
    if backend not in INTEGER_BACKENDS:
        if given is None:
            return settings
        if backend != AUTO:
            raise ConfigurationError(
                f"arithmetic: backend {shown(backend)} has floating point; use backend integer"
            )
        settings["backend"] = "integer"
    settings["arithmetic"] = {} if given is None else given
    optimizer = settings.get("optimizer", {})
    if isinstance(optimizer, Mapping):
        usual = {"name": "sgd", "learning_rate": INTEGER_LEARNING_RATE}
        settings["optimizer"] = {**usual, **optimizer}
    return settings


def _refuse_impossible_rates(configuration: RunConfiguration) -> None:
    """Refuse a schedule under which an epoch has a learning rate that the precision has not."""
    if configuration.schedule.name != "step":
        return
    # Its factors rise or fall from epoch to epoch, so that the last is the worst.
    last, limits = configuration.epochs - 1, np.finfo(configuration.dtype)
    rate = configuration.optimizer.learning_rate
    found = rate * configuration.schedule.factor_at(last, configuration.epochs)
    if rate and not limits.smallest_normal <= found <= limits.max:
        raise ConfigurationError(
            f"schedule: the learning rate would come to {found:.3g} in epoch {last + 1}, and "
            f"{configuration.dtype} holds {limits.smallest_normal:.1e} to {limits.max:.1e}"
        )


def load_run_configuration(
    path: str | os.PathLike[str] | None, flags: Mapping[str, Any]
) -> RunConfiguration:
    """Read a TOML file and let flags override it.

    Parameters
    ----------
    path : path or None
        File; without one the defaults hold.
    flags : mapping
        Settings by name, those of sections as ``"section.name"``; None leaves a setting be.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or a setting is unknown or impossible.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        # The file alone first, so that its mistakes are blamed on it.
        settings = run_configuration(read_toml(Path(path)), str(path)).as_dict()
    for name, value in flags.items():
        if value is None:
            continue
        section, _, key = name.rpartition(".")
        if name == "arithmetic.preset":
            # It stands for all that was said before.
            settings[section] = {key: value, **_flags_of(section, flags)}
        elif section:
            settings[section] = {**settings.get(section, {}), key: value}
        else:
            settings[key] = value
    return run_configuration(settings, "command line")


def _flags_of(section: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    before = f"{section}."
    return {
        name.removeprefix(before): value
        for name, value in flags.items()
        if name.startswith(before) and value is not None
    }


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Read settings as TOML has them, NAME=VALUE each, names of sections before a point.

    A value that TOML does not know is taken for a text, so that quotes may be left out.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value or len(text.splitlines()) > 1:
            raise ConfigurationError(
                f"--set {shown(text)}: NAME=VALUE is needed, as in controller.k_p=0.3"
            )
        section, _, key = name.rpartition(".")
        if key not in SETTINGS.get(section, ()):
            raise ConfigurationError(f"--set {shown(text)}: {_no_such_setting(name)}")
        if name in SECTIONS:
            raise ConfigurationError(
                f"--set {shown(text)}: {name} is a section; give its settings one by one, as in "
                f"{name}.{SETTINGS[name][0]}=…"
            )
        if name in settings:
            raise ConfigurationError(f"--set {shown(text)}: {name} is given twice")
        parsed = _toml_value(value)
        # 16.10 is a format there, and no number that may lose its zero.
        is_format = section == "arithmetic" and key in QUANTITIES and isinstance(parsed, float)
        settings[name] = value if is_format else parsed
    return settings


def parse_arithmetic(preset: str | None, texts: Iterable[str]) -> dict[str, Any]:
    """Read settings of `[arithmetic]` alone, NAME=VALUE each, and the name of a preset."""
    settings: dict[str, Any] = {} if preset is None else {"preset": preset}
    for name, value in parse_settings(texts).items():
        section, _, key = name.rpartition(".")
        if section != "arithmetic":
            raise ConfigurationError(f"--set {name}: only settings of [arithmetic] belong here")
        if key in settings:
            raise ConfigurationError(f"--set {name}: --arithmetic says {preset} already")
        settings[key] = value
    return settings


def _no_such_setting(name: str) -> str:
    every = [
        f"{section}.{key}" if section else key for section in SETTINGS for key in SETTINGS[section]
    ]
    # First those that end alike: the section is what is forgotten most often.
    last = name.rpartition(".")[2].lower()
    near = [one for one in every if one.rpartition(".")[2].lower() == last]
    near = near or difflib.get_close_matches(name, every, n=1)
    meant = f": did you mean {' or '.join(near)}?" if near else ""
    return f"there is no setting {shown(name)}{meant}"


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def write_run_configuration(path: str | os.PathLike[str], configuration: RunConfiguration) -> None:
    """Write a configuration as TOML that `load_run_configuration` reads back."""
    replace_text(path, tomli_w.dumps(configuration.as_dict()))


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the settings of a file as they stand there; ConfigurationError if it is no TOML."""
    path = Path(path)
    try:
        if not path.is_file():
            trouble = "not a file" if path.exists() else "no such configuration file"
            raise ConfigurationError(f"{path}: {trouble}")
        # Windows' editors put a byte order mark before UTF-8.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise ConfigurationError(f"{path}: cannot be read ({problem.strerror})") from problem
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"{path}: not valid TOML: {problem}") from problem
    except UnicodeDecodeError as problem:
        raise ConfigurationError(
            f"{path}: not valid TOML: byte {problem.start} is not UTF-8"
        ) from problem
    except RecursionError as problem:
        raise ConfigurationError(f"{path}: lists or tables lie too deep in each other") from problem
    except ConfigurationError:
        raise
    except ValueError as problem:
        # Python's, of a number or date that it cannot hold.
        raise ConfigurationError(f"{path}: a value is no possible one: {problem}") from problem


def _one_line(problem: ValidationError) -> str:
    error = problem.errors()[0]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return _unknown(error["loc"][0])
    name = ".".join(str(part) for part in error["loc"])
    right = "it cannot be that"
    if error["type"] == "literal_error":
        right = f"must be {error['ctx']['expected']}"
    return f"{name} is {shown(error['input'])}: {right}"


def _unknown(key: object, section: str = TOP) -> str:
    """Say of a key where it belongs, or which it may be meant to be."""
    own = SETTINGS[section]
    allowed = f"allowed are {', '.join(own)}"
    elsewhere = [name for name in SETTINGS if key in SETTINGS[name]]
    if elsewhere:
        return f"unknown key {shown(key)} here: write it {_place(elsewhere)}"
    spelt = {name.lower(): name for names in (*SETTINGS.values(), own) for name in names}
    lower = str(key).lower()
    near = difflib.get_close_matches(lower, [name.lower() for name in own], n=1)
    near = near or difflib.get_close_matches(lower, spelt, n=1)
    if not near:
        return f"unknown key {shown(key)}: {allowed}"
    meant = spelt[near[0]]
    if meant in own:
        return f"unknown key {shown(key)}: did you mean {meant!r}? {allowed}"
    place = _place(name for name in SETTINGS if meant in SETTINGS[name])
    return f"unknown key {shown(key)}: did you mean {meant!r}? write that {place}"


def _place(sections: Iterable[str]) -> str:
    named = [f"under [{name}]" if name else "at the top, above all sections" for name in sections]
    return " or ".join(named)
