"""The whole configuration of a training run, as one validated object."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveInt,
    ValidationError,
)

from ..refimpl.activation import SoftReLU
from ..refimpl.configuration import (
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Solver,
)
from ..refimpl.errors import ConfigurationError

T = TypeVar("T")


def _table(kind: type[T]) -> Callable[[Any], T]:
    """Validate a TOML table as one of the model's own dataclasses, whose checks apply."""

    def validate(value: Any) -> T:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is not a table of settings")
        names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
        for key in value:
            if key not in names:
                raise ValueError(_unknown(str(key), names))
        return kind(**value)

    return validate


def _plain(section: Any) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(section).items() if value is not None}


_AS_TABLE = PlainSerializer(_plain)


class RunConfiguration(BaseModel):
    """One training run; every field has the published value as its default.

    Sections are those of the model: see `refimpl/configuration.py` for their fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    dataset: Literal["digits", "fashion_mnist", "mnist"] = "digits"
    data_dir: Path | None = None
    rule: Literal["exact-inverse", "linear-threshold", "linear-threshold-fixed", "backprop"] = (
        "exact-inverse"
    )
    hidden: Annotated[list[PositiveInt], Field(min_length=1)] = [256, 256, 256]
    epochs: PositiveInt = 50
    batch_size: PositiveInt = 100
    seed: int = 0
    backend: str = "numpy"
    threads: PositiveInt | None = None
    dtype: Literal["float32", "float64"] = "float32"
    loss: Literal["softmax-cross-entropy", "mse"] = "softmax-cross-entropy"
    tau_E: float = 0.02
    tau_I: float = 0.005
    start: Path | None = None
    activation_E: Annotated[SoftReLU, BeforeValidator(_table(SoftReLU)), _AS_TABLE] = SoftReLU()
    activation_I: Annotated[SoftReLU, BeforeValidator(_table(SoftReLU)), _AS_TABLE] = SoftReLU()
    controller: Annotated[Controller, BeforeValidator(_table(Controller)), _AS_TABLE] = Controller()
    feedback: Annotated[Feedback, BeforeValidator(_table(Feedback)), _AS_TABLE] = Feedback()
    mean_inhibition: Annotated[
        MeanInhibition, BeforeValidator(_table(MeanInhibition)), _AS_TABLE
    ] = MeanInhibition()
    optimizer: Annotated[Optimizer, BeforeValidator(_table(Optimizer)), _AS_TABLE] = Optimizer()
    solver: Annotated[Solver, BeforeValidator(_table(Solver)), _AS_TABLE] = Solver()

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
        return NetworkConfiguration(
            sizes=(n_inputs, *self.hidden, n_outputs),
            activation_E=self.activation_E,
            activation_I=self.activation_I,
            tau_E=self.tau_E,
            tau_I=self.tau_I,
            loss=self.loss,
            controller=self.controller,
            feedback=self.feedback,
            rule=self.rule,
            mean_inhibition=self.mean_inhibition,
            optimizer=self.optimizer,
        )

    def as_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values, without settings that are not set."""
        plain: dict[str, Any] = json.loads(self.model_dump_json(exclude_none=True))
        return plain


def run_configuration(settings: Mapping[str, Any], source: str) -> RunConfiguration:
    """Validate settings.

    Parameters
    ----------
    settings : mapping
        By name; sections are mappings of their own.
    source : str
        Where they come from, for the message.

    Raises
    ------
    ConfigurationError
        A key is unknown or a value impossible; it is named, with what is allowed.
    """
    try:
        configuration = RunConfiguration.model_validate(dict(settings))
        # The network's own checks, at sizes that any dataset has.
        configuration.network(1, 1)
    except ValidationError as problem:
        raise ConfigurationError(f"{source}: {_one_line(problem)}") from problem
    except ConfigurationError as problem:
        raise ConfigurationError(f"{source}: {problem}") from problem
    return configuration


def load_run_configuration(path: Path | None, flags: Mapping[str, Any]) -> RunConfiguration:
    """Read a TOML file and let flags override it.

    Parameters
    ----------
    path : Path or None
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
        settings = run_configuration(_read_toml(path), str(path)).as_dict()
    for name, value in flags.items():
        if value is None:
            continue
        section, _, key = name.rpartition(".")
        if section:
            settings[section] = {**settings.get(section, {}), key: value}
        else:
            settings[key] = value
    return run_configuration(settings, "command line")


def write_run_configuration(path: Path, configuration: RunConfiguration) -> None:
    """Write a configuration as TOML that `load_run_configuration` reads back."""
    path.write_text(tomli_w.dumps(configuration.as_dict()), encoding="utf-8")


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such configuration file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{path}: not valid TOML: {problem}") from problem


def _one_line(problem: ValidationError) -> str:
    error = problem.errors()[0]
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return _unknown(where, list(RunConfiguration.model_fields))
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    message = error["msg"].replace("Input should be", "must be")
    return f"{where} is {error['input']!r}: {message}"


def _unknown(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key {key!r}: {hint}allowed are {', '.join(allowed)}"
