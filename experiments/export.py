"""`disinhib export`: a trained network for programs that do not have disinhib."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import DatasetError
from ..refimpl import ConfigurationError
from ..refimpl.integers import arithmetic
from ..validation import (
    FileError,
    integer_arrays,
    record_integer_trace,
    write_c_header,
    write_memory_files,
)
from .output import (
    make_directory,
    refuse_unwritable,
    replace_bytes,
    say,
    tell_user,
    terminal_console,
    working,
    write_output,
    write_text,
)
from .trained import TrainedNetwork, load
from .training import holds_a_run, npz_bytes, refuse_files_of_run, soft_labels

console = terminal_console()


def exported_arrays(network: TrainedNetwork) -> dict[str, Any]:
    """Weights, biases, readout and running means by name, and the run's settings as JSON.

    `weight_l`, (n_in, n_out), `bias_l` and `mean_inhibition_l`, (n_out,), of each hidden layer from
    0; `readout`, (n_L, n_out); `settings`, a text; `class_names`, (n_out,), where the data, which
    have them, can be had.
    """
    learner, configuration = network.backend.learner(), network.configuration
    arrays: dict[str, Any] = {}
    for l, (W, b) in enumerate(
        zip(learner.parameters.weights, learner.parameters.biases, strict=True)
    ):
        arrays |= {f"weight_{l}": W, f"bias_{l}": b}
    for l, r_I in enumerate(learner.mean_inhibition):
        arrays[f"mean_inhibition_{l}"] = r_I
    settings = configuration.as_dict()
    # Where the data lay is nobody else's business.
    for name in ("data_dir", "start", "backend", "threads"):
        settings.pop(name, None)
    settings["dataset"] = Path(settings["dataset"]).name
    with suppress(ConfigurationError, DatasetError):
        # Where the data can be had.
        arrays["class_names"] = np.array(network.class_names)
    return {
        **arrays,
        "readout": learner.parameters.readout,
        "settings": np.array(json.dumps(settings)),
    }


def export_run(
    run: Path, to: str, out: Path, preset: str | None = None, samples: int | None = None
) -> None:
    """Write a network to a file, or to a directory with what reads it beside it."""
    if to == "npz" and out.suffix != ".npz":
        raise ConfigurationError(f"{out}: a file FILE.npz is needed, or --to torch for a directory")
    asks_for_integers = preset is not None or samples is not None
    if to in ("c-header", "readmemh") or (to == "npz" and asks_for_integers):
        _export_integers(run, to, out, preset, SAMPLES if samples is None else samples)
        return
    for name, value in (("--arithmetic", preset), ("--samples", samples)):
        if value is not None:
            raise ConfigurationError(f"{name} is of integers, which --to {to} has not")
    refuse_files_of_run(run if run.is_dir() else run.parent, out)
    if to == "torch" and holds_a_run(out):
        raise ConfigurationError(f"{out} holds a run: choose another directory")
    if to == "npz":
        refuse_unwritable(out)
    with working(console, f"exporting {run}"):
        network = load(run, notify=tell_user)
        arrays = exported_arrays(network)
    if to == "npz":
        write_output(out, _save, arrays)
        say(console, f"Written to {out}: {', '.join(arrays)}")
        return
    make_directory(out)
    source = resources.files(__package__).joinpath("pytorch_network.py").read_text("utf-8")
    _refuse_another_module(out / "network.py", source)
    write_output(out / "network.py", write_text, source)
    write_output(out / "network.npz", _save, arrays)
    say(console, f"Written to {out}: network.py, which needs PyTorch alone, and network.npz")


SAMPLES = 2
"""Of the test set, whose ticks go with an export in integers."""


def _export_integers(run: Path, to: str, out: Path, preset: str | None, samples: int) -> None:
    """Write a network in integers, and what it comes to on a few samples, tick by tick."""
    if to == "c-header" and out.suffix != ".h":
        raise ConfigurationError(
            f"{out}: a file FILE.h is needed, or --to readmemh for a directory"
        )
    refuse_files_of_run(run if run.is_dir() else run.parent, out)
    if to == "readmemh" and (holds_a_run(out) or (out.exists() and not out.is_dir())):
        raise ConfigurationError(f"{out} is a run or a file: choose another directory")
    if to != "readmemh":
        refuse_unwritable(out)
    with working(console, f"exporting {run}"):
        network = load(run, notify=tell_user)
        configuration = network.configuration
        about = configuration.arithmetic or arithmetic(preset or "int16")
        if preset is not None and configuration.arithmetic not in (None, arithmetic(preset)):
            raise ConfigurationError(
                f"--arithmetic is {preset}: {run} was trained in one of its own, and is exported "
                "in that"
            )
        test = network.data().test
        if not 1 <= samples <= len(test.images):
            raise ConfigurationError(
                f"--samples is {samples}: 1 to {len(test.images)}, as many as the test set has"
            )
        labels = soft_labels(configuration, test.labels[:samples], network.data().n_classes)
        inputs = network.data().inputs(test.images[:samples])
        # Only the update is the optimiser's, of which integers have one.
        learnt = network.backend.configuration
        plain = replace(learnt, optimizer=replace(learnt.optimizer, name="sgd"))
        trace = record_integer_trace(
            plain, about, network.parameters, np.asarray(inputs)[None], np.asarray(labels)[None]
        )
    if to == "c-header":
        write_output(out, lambda path, one: write_c_header(one, path), trace)
    elif to == "npz":
        write_output(out, _save, integer_arrays(trace))
    else:
        make_directory(out)
        write_memory_files(trace, out)
    unfit = sum(n for name, n in trace.overflows.items() if name in ("weight", "bias"))
    said = f"; {unfit:,} parameters did not fit their format" if unfit else ""
    say(console, f"Written to {out}: {about.ticks} ticks of each loop for {samples} samples{said}")


def _refuse_another_module(file: Path, source: str) -> None:
    """Refuse to write over somebody's own module; an export of before is replaced."""
    try:
        there = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as problem:
        raise FileError(f"{file} is in the way: {problem}") from problem
    if there and there.splitlines()[0] != source.splitlines()[0]:
        raise FileError(f"{file} is another module: choose another directory")


def _save(path: str | os.PathLike[str], arrays: dict[str, Any]) -> None:
    """Write arrays at once; a device or a link stays what it is."""
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(npz_bytes(arrays))
    else:
        replace_bytes(path, npz_bytes(arrays))
