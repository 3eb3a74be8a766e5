"""The command `disinhib bench`: which cases, in what order, shown how."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ...backends import backend_class, backend_descriptions
from ...refimpl import ConfigurationError
from ..output import refuse_unwritable, say, terminal_console, working, write_output
from .cases import TORCH, TORCHES, Case, Choice, chosen_cases, profiled_cases, scaling_cases
from .measurement import Row, measure, stage_profile
from .results import (
    draw_rows,
    draw_scaling,
    print_profile,
    print_rows,
    print_scaling,
    processor,
    write_profiles,
    write_rows,
)

console = terminal_console()


def write_benchmark(
    choice: Choice, json_file: Path | None, chart: Path | None, *, scaling: bool, profile: bool
) -> None:
    """Time what is chosen, show it, and write it where it is asked for.

    Without backends, all that can run.
    """
    for name in choice.backends:
        backend_class(name)
    if not choice.backends:
        can_run = [one.name for one in backend_descriptions() if not one.unavailable]
        choice = dataclasses.replace(choice, backends=can_run)
    if profile and (chart is not None or scaling):
        raise ConfigurationError("--profile with --chart or --scaling: stages have no such picture")
    if chart is not None and chart.suffix != ".png":
        raise ConfigurationError(f"--chart is {str(chart)!r}: a name that ends in .png is needed")
    for path in (json_file, chart):
        refuse_unwritable(path)
    if profile:
        write_output(json_file, write_profiles, _profiles(choice))
        return
    rows, curves = _benchmark(choice, scaling)
    write_output(json_file, write_rows, rows, curves)
    write_output(chart, draw_rows, rows)
    if chart is not None and curves:
        write_output(chart.with_name(f"{chart.stem}-scaling{chart.suffix}"), draw_scaling, curves)


def _benchmark(choice: Choice, with_scaling: bool) -> tuple[list[Row], dict[str, list[Row]]]:
    """Measure the chosen cases, and if asked for the scaling curves of the last backend.

    PyTorch's backprop step is measured too where PyTorch is installed. Gives the table's rows, and
    those of each curve by the size that it varies.
    """
    backends = [*choice.backends, *_torches(choice.backends)]
    cases = chosen_cases(dataclasses.replace(choice, backends=backends))
    threads = "" if choice.threads is None else f", {choice.threads} threads"
    say(console, f"{processor()}{threads}, {len(cases)} rows")
    rows: list[Row] = []
    for _, of in groupby(cases, key=lambda case: case.workload):
        measured = _measured(list(of))
        print_rows(console, measured)
        rows += measured
    scaling: dict[str, list[Row]] = {}
    if with_scaling:
        for name, curve in scaling_cases(choice.backends[-1], choice.threads).items():
            scaling[name] = _measured(curve)
            print_scaling(console, name, scaling[name])
    return rows, scaling


def _torches(backends: Sequence[str]) -> list[str]:
    """PyTorch on the CPU if it is installed, and on the GPU if a backend of ours is there."""
    if importlib.util.find_spec(TORCH) is None:
        return []
    if "cupy" not in backends:
        return [TORCH]
    import torch

    return list(TORCHES) if torch.cuda.is_available() else [TORCH]


def _profiles(choice: Choice) -> dict[Case, dict[str, float]]:
    """Break one step of every chosen case into its stages: seconds by case and stage."""
    profiles = {}
    for case in profiled_cases(choice):
        with working(console, f"timing the stages of {case}"):
            profiles[case] = stage_profile(case)
        print_profile(console, case, profiles[case])
    return profiles


def _measured(cases: Sequence[Case]) -> list[Row]:
    rows = []
    with working(console, "timing") as now:
        for number, case in enumerate(cases, 1):
            now(f"timing {number} of {len(cases)}: {case}")
            rows.append(measure(case))
    return rows
