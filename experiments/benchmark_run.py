"""The command `disinhib bench`: which cases, in what order, shown how."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console

from .benchmark import Row, measure
from .benchmark_cases import (
    TORCH,
    TORCH_CUDA,
    Case,
    Choice,
    chosen_cases,
    profiled_cases,
    scaling_cases,
)
from .benchmark_report import print_profile, print_rows, print_scaling, processor
from .stage_profile import stage_profile
from .terminal import say, working


def run_benchmark(
    console: Console,
    choice: Choice,
    with_scaling: bool,
) -> tuple[list[Row], dict[str, list[Row]]]:
    """Measure the chosen cases, and if asked for the scaling curves of the last backend.

    PyTorch's backprop step is measured too where PyTorch is installed.

    Returns
    -------
    rows : list of Row
        Of the table.
    scaling : dict of list of Row
        By the size that is varied; empty if not asked for.

    Raises
    ------
    ConfigurationError
        A choice is impossible, or a case cannot run.
    """
    backends = [*choice.backends, *_torches(choice.backends)]
    cases = chosen_cases(dataclasses.replace(choice, backends=backends))
    threads = "" if choice.threads is None else f", {choice.threads} threads"
    say(console, f"{processor()}{threads}, {len(cases)} rows")
    rows: list[Row] = []
    for _, of in groupby(cases, key=lambda case: case.workload):
        measured = _measured(console, list(of))
        print_rows(console, measured)
        rows += measured
    scaling: dict[str, list[Row]] = {}
    if with_scaling:
        for name, curve in scaling_cases(choice.backends[-1], choice.threads).items():
            scaling[name] = _measured(console, curve)
            print_scaling(console, name, scaling[name])
    return rows, scaling


def _torches(backends: Sequence[str]) -> list[str]:
    """PyTorch on the CPU if it is installed, and on the GPU if a backend of ours is there."""
    if importlib.util.find_spec(TORCH) is None:
        return []
    if "cupy" not in backends:
        return [TORCH]
    import torch

    return [TORCH, TORCH_CUDA] if torch.cuda.is_available() else [TORCH]


def run_profile(console: Console, choice: Choice) -> dict[Case, dict[str, float]]:
    """Break one step of every chosen case into its stages.

    Returns
    -------
    dict of dict of float
        Seconds by case and stage.

    Raises
    ------
    ConfigurationError
        A choice is impossible.
    """
    profiles = {}
    for case in profiled_cases(choice):
        with working(console, f"timing the stages of {case}"):
            profiles[case] = stage_profile(case)
        print_profile(console, case, profiles[case])
    return profiles


def _measured(console: Console, cases: Sequence[Case]) -> list[Row]:
    rows = []
    with working(console, "timing") as now:
        for number, case in enumerate(cases, 1):
            now(f"timing {number} of {len(cases)}: {case}")
            rows.append(measure(case))
    return rows
