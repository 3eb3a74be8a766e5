"""May a run go on from a checkpoint? What must be as it was, and what may change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..refimpl.errors import ConfigurationError
from ..validation import Position, Start
from ..validation.parameter_groups import named_arrays
from .run_configuration import RunConfiguration, run_configuration

CHOSEN_ANEW = ("backend", "dtype", "threads")
"""Change a run by rounding alone; but they do, so that they are changed by flags only."""

FREE = ("epochs", "data_dir", "start")
"""Epochs are where to stop; of data and start file the content counts, which has digests."""


def resumed_configuration(
    config_file: Path,
    written: RunConfiguration,
    saved: RunConfiguration,
    chosen: Mapping[str, Any],
) -> RunConfiguration:
    """Configure the rest of a run.

    Parameters
    ----------
    config_file : Path
        Where `written` stands, for messages.
    written : RunConfiguration
        As it stands there now.
    saved : RunConfiguration
        The checkpoint's.
    chosen : mapping
        Settings given anew, `epochs` and those of `CHOSEN_ANEW`; None leaves one be.

    Raises
    ------
    ConfigurationError
        The two differ where they must not; the message names the field and both values.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    for field, now, then in differences(written.as_dict(), saved.as_dict()):
        # With a start file or without is another run; where it lies is not.
        moved = field in FREE and (field != "start" or None not in (now, then))
        if moved or field in given:
            continue
        way = f"; --{field} would change it" if field in CHOSEN_ANEW else ""
        raise ConfigurationError(
            f"{field} is {_shown(now)} in {config_file}, {_shown(then)} in the checkpoint: "
            f"resumed, it would be another run{way}"
        )
    return run_configuration({**written.as_dict(), **given}, "command line")


def refuse_fewer_epochs(said_by: str, epochs: int, directory: Path, position: Position) -> None:
    """Refuse a total that the run has passed.

    Raises
    ------
    ConfigurationError
        Naming the total and how far the run has come.
    """
    if epochs < position.epochs or (epochs == position.epochs and position.steps):
        raise ConfigurationError(
            f"{said_by} {epochs} is the total, and {directory} has come further: "
            f"{position.epochs} epochs and {position.steps} steps"
        )


def refuse_other_content(what: str, found: str, saved: str) -> None:
    """Refuse data, a start file or a batch order that the checkpoint does not know.

    Parameters
    ----------
    what : str
        In words.
    found, saved : str
        Digests, now and the checkpoint's; where that is empty, it was not kept.

    Raises
    ------
    ConfigurationError
        They differ.
    """
    if saved and found != saved:
        raise ConfigurationError(
            f"{what} has SHA-256 {found[:12]}…, the checkpoint's had {saved[:12]}…: resumed, it "
            "would be another run"
        )


def refuse_other_random_state(found: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse a generator that is not in the state in which the checkpoint's was.

    Raises
    ------
    ConfigurationError
        Naming the field and both values.
    """
    for field, now, then in differences(found, saved):
        raise ConfigurationError(
            f"random_state.{field} is {_shown(now)} by seed, epoch and this NumPy, {_shown(then)} "
            "in the checkpoint: resumed, it would be another run"
        )


def start_digest(start: Start) -> str:
    """SHA-256 of all that a start file gives a run, in hexadecimal."""
    arrays = named_arrays(start.parameters)
    if start.batch_order is not None:
        arrays["batch_order"] = start.batch_order
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def differences(
    now: Mapping[str, Any], then: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields in which two nested mappings differ, with both values; None is unset."""
    for name in sorted({*now, *then}):
        a, b = now.get(name), then.get(name)
        if isinstance(a, Mapping) or isinstance(b, Mapping):
            yield from differences(
                a if isinstance(a, Mapping) else {},
                b if isinstance(b, Mapping) else {},
                f"{prefix}{name}.",
            )
        elif a != b:
            yield f"{prefix}{name}", a, b


def _shown(value: Any) -> str:
    return "unset" if value is None else repr(value)
