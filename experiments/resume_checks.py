"""May a run go on from a checkpoint? What must be as it was, and what may change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..refimpl.configuration import NetworkConfiguration
from ..refimpl.errors import ConfigurationError
from ..refimpl.learning_step import Learner
from ..validation import Position, Start
from ..validation.parameter_groups import named_arrays
from .run_configuration import RunConfiguration, run_configuration

CHOSEN_ANEW = ("backend", "dtype", "threads")
"""Change a run by rounding alone; but they do, so that they are changed by flags only."""

FREE = ("epochs", "data_dir", "start")
"""Epochs are where to stop; of data and start file the content counts, which has digests."""


def resumed_configuration(
    config_file: str | os.PathLike[str],
    written: RunConfiguration,
    saved: RunConfiguration,
    chosen: Mapping[str, Any],
) -> RunConfiguration:
    """Configure the rest of a run.

    Parameters
    ----------
    config_file : str or path
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
    config_file = Path(config_file)
    given = {name: value for name, value in chosen.items() if value is not None}
    for field, now, then in differences(written.as_dict(), saved.as_dict()):
        # With a start file or without is another run; where it lies is not.
        moved = field in FREE and (field != "start" or None not in (now, then))
        if moved or field in given:
            continue
        way = f"; {field} may be chosen when it is resumed" if field in CHOSEN_ANEW else ""
        raise ConfigurationError(
            f"{field} is {_shown(now)} in {config_file}, {_shown(then)} in the checkpoint: "
            f"resumed, it would be another run{way}"
        )
    return run_configuration({**written.as_dict(), **given}, "command line")


def refuse_fewer_epochs(
    said_by: str, epochs: int, directory: str | os.PathLike[str], position: Position
) -> None:
    """Refuse a total that the run has passed.

    Raises
    ------
    ConfigurationError
        Naming the total and how far the run has come.
    """
    directory = Path(directory)
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


def refuse_other_network(
    source: str | os.PathLike[str], learner: Learner, network: NetworkConfiguration
) -> None:
    """Refuse a learner that is whole in itself, but of another network than is configured.

    Raises
    ------
    ConfigurationError
        Other sizes, or moments that the optimiser does not keep or would miss.
    """
    source = Path(source)
    parameters = learner.parameters
    widths = [W.shape[0] for W in (*parameters.weights, parameters.readout)]
    sizes = (*widths, parameters.readout.shape[1])
    if sizes != network.sizes:
        raise ConfigurationError(f"{source} is of sizes {sizes}: {network.sizes} is configured")
    has_moments = learner.optimizer.first_moment is not None
    if has_moments != (network.optimizer.name == "adam"):
        found = "moments" if has_moments else "no moments"
        raise ConfigurationError(
            f"{source} has {found}: not so the optimiser {network.optimizer.name}"
        )


def refuse_impossible_position(
    source: str | os.PathLike[str],
    position: Position,
    n_steps: int,
    steps_of: Callable[[int], int],
    batch_size: int,
) -> None:
    """Refuse a place in the run that no run comes to.

    Parameters
    ----------
    source : str or path
        For the message.
    position : Position
        The checkpoint's.
    n_steps : int
        That its optimiser has taken.
    steps_of : callable
        From an epoch, counted from 0, to its steps.
    batch_size : int
        Samples of a step.

    Raises
    ------
    ConfigurationError
        More steps than the epoch has, other steps than the optimiser took, or more samples right
        than there were.
    """
    # All epochs but the first, which a start file may order, are of one length.
    source = Path(source)
    lengths = [steps_of(epoch) for epoch in range(min(position.epochs, 2))]
    total = sum(lengths) + max(position.epochs - 2, 0) * (lengths[-1] if lengths else 0)
    here = steps_of(position.epochs)
    if position.steps >= here:
        raise ConfigurationError(
            f"{source} is at step {position.steps} of epoch {position.epochs + 1}, which has {here}"
        )
    if n_steps != total + position.steps:
        raise ConfigurationError(
            f"{source} has an optimiser that took {n_steps} steps: at {position.epochs} epochs "
            f"and {position.steps} steps it would be {total + position.steps}"
        )
    correct = None if position.metrics is None else position.metrics.n_correct
    if correct is not None and not 0 <= correct.min() <= correct.max() <= batch_size:
        raise ConfigurationError(
            f"{source} has from {correct.min()} to {correct.max()} samples right of {batch_size}"
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
