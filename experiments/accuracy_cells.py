"""The trainings behind a table of accuracies, one a cell and seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..refimpl.errors import ConfigurationError
from .run_configuration import RunConfiguration, run_configuration

FEEDBACKS = ("per-sample", "averaged")
STRENGTHS = ("strong", "weak")
TABLE_RULES = ("backprop", "exact-inverse", "linear-threshold")


@dataclass(frozen=True, order=True)
class AccuracyRow:
    """A way to learn.

    Parameters
    ----------
    rule : str
        Learning rule.
    feedback : {'per-sample', 'averaged', ''}
        Feedback weights; empty for backprop, which has none.
    strength : {'strong', 'weak', ''}
        Of the control; likewise.
    """

    rule: str
    feedback: str = ""
    strength: str = ""

    def __str__(self) -> str:
        return ", ".join(part for part in (self.rule, self.feedback, self.strength) if part)


@dataclass(frozen=True)
class AccuracyCell:
    """One training.

    Parameters
    ----------
    row : AccuracyRow
        How it learns.
    dataset : str
        What.
    depth : int
        Hidden layers.
    seed : int
        Of start and batch order.
    """

    row: AccuracyRow
    dataset: str
    depth: int
    seed: int

    @property
    def name(self) -> str:
        """Of its run and of its results."""
        parts = (self.row.rule, self.row.feedback, self.row.strength)
        way = "-".join(part for part in parts if part)
        return f"{self.dataset}-depth-{self.depth}-{way}-seed-{self.seed}"


def accuracy_rows(
    rules: Sequence[str], feedbacks: Sequence[str], strengths: Sequence[str]
) -> list[AccuracyRow]:
    """Combine rules and ways of feedback; backprop is one row whatever they are.

    Parameters
    ----------
    rules, feedbacks, strengths : sequence of str
        As asked for.

    Raises
    ------
    ConfigurationError
        One of them does not exist.
    """
    for option, given, known in (
        ("rules", rules, TABLE_RULES),
        ("feedback", feedbacks, FEEDBACKS),
        ("strength", strengths, STRENGTHS),
    ):
        for value in given:
            if value not in known:
                raise ConfigurationError(f"{option} has {value!r}: choose from {', '.join(known)}")
    rows = []
    for rule in rules:
        if rule == "backprop":
            rows.append(AccuracyRow(rule))
            continue
        rows += [AccuracyRow(rule, f, s) for s in strengths for f in feedbacks]
    return rows


def cell_configuration(
    cell: AccuracyCell,
    epochs: int,
    settings: dict[str, Any],
    data_dir: str | os.PathLike[str] | None,
) -> RunConfiguration:
    """Configure the training of a cell, at the published values but for what is given.

    Parameters
    ----------
    cell : AccuracyCell
        Which.
    epochs : int
        How long.
    settings : dict
        `hidden_units` (a layer), `backend`, `dtype`, `threads`.
    data_dir : str or path or None
        Where the images are, if not in the usual places.
    """
    data_dir = None if data_dir is None else Path(data_dir)
    feedback = {}
    if cell.row.feedback:
        feedback = {
            "average": cell.row.feedback == "averaged",
            "strong": cell.row.strength == "strong",
        }
    chosen = {
        "dataset": cell.dataset,
        "data_dir": data_dir,
        "rule": cell.row.rule,
        "hidden": [settings["hidden_units"]] * cell.depth,
        "epochs": epochs,
        "seed": cell.seed,
        "backend": settings["backend"],
        "dtype": settings["dtype"],
        "threads": settings["threads"],
        "feedback": feedback,
    }
    return run_configuration(
        {name: value for name, value in chosen.items() if value is not None}, "command line"
    )
