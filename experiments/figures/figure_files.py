"""Writing a figure: the picture, its data as CSV, its numbers and checks as JSON."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ...refimpl.errors import ConfigurationError, shown
from .figure_result import FigureResult

FORMATS = ("png", "pdf", "svg")
DOTS_PER_INCH = 300


def write_figure(
    directory: str | os.PathLike[str], name: str, result: FigureResult, picture_format: str = "png"
) -> list[Path]:
    """Write all of a figure, and close its picture.

    Parameters
    ----------
    directory : path
        Made if it is missing.
    name : str
        Files are NAME.png, NAME-TABLE.csv and NAME.json.
    result : FigureResult
        What to write.
    picture_format : {'png', 'pdf', 'svg'}
        Of the picture.

    Returns
    -------
    list of Path
        Files written.

    Raises
    ------
    ConfigurationError
        The directory cannot be written to, or SOURCE_DATE_EPOCH is no date.
    """
    directory = Path(directory)
    refuse_no_date(picture_format)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        picture = directory / f"{name}.{picture_format}"
        result.picture.savefig(picture, dpi=DOTS_PER_INCH)
        written = [picture]
        for table, columns in result.data.items():
            written.append(directory / f"{name}-{table}.csv")
            _write_table(written[-1], columns)
        written.append(directory / f"{name}.json")
        document = {
            "figure": name,
            "numbers": _plain(result.numbers),
            "checks": [_plain(dataclasses.asdict(check)) for check in result.checks],
        }
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        written[-1].write_text(text + "\n", encoding="utf-8")
    except OSError as problem:
        raise ConfigurationError(f"{directory} cannot be written: {problem.strerror}") from problem
    return written


def refuse_no_date(picture_format: str) -> None:
    """Refuse a date of pictures that is none, which only formats that are text have.

    Raises
    ------
    ConfigurationError
        SOURCE_DATE_EPOCH is set to something else than seconds.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text or picture_format == "png":
        return
    try:
        datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"SOURCE_DATE_EPOCH is {shown(text)}: a whole number of seconds since 1970 is needed"
        ) from None


def _write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        # repr of a float is the shortest text that reads back as the same number.
        lists = [np.asarray(column).tolist() for column in columns.values()]
        writer.writerows(zip(*lists, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
