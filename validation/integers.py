"""Traces of the model in integers, and where a port first differs from one, to the bit.

A trace is an HDF5 file of int64 arrays: what a port is given (tables, constants, inputs, labels,
start), and under `steps/0000` and so on what it comes to, every tick of it. Answers are such a
file, or a directory of plain ones. What is wrong with them: `integer_mistakes`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..refimpl import (
    ConfigurationError,
    Controller,
    Feedback,
    Learner,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    OptimizerState,
    Parameters,
    SoftReLU,
)
from ..refimpl.integers import (
    Arithmetic,
    Chip,
    Format,
    Overflows,
    Table,
    arithmetic,
    chip_of,
    multiplier,
    quantized,
)
from .integer_making import Making, all_stages, named_parameters, parameters_named
from .integer_mistakes import Asked, mistakes_that_give
from .storage import FileError, read_array, reading, write_signed_file

KIND = "disinhib integers"
"""Root attribute `kind` of a trace."""
SECTIONS: dict[str, Any] = {
    "activation_E": SoftReLU, "activation_I": SoftReLU, "controller": Controller,
    "feedback": Feedback, "mean_inhibition": MeanInhibition, "optimizer": Optimizer,
}  # fmt: skip

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class IntegerTrace:
    """What a port in integers is asked, and what it should come to."""

    configuration: NetworkConfiguration
    arithmetic: Arithmetic
    initial: Learner
    inputs: np.ndarray  # (S, batch, n_in), in the format `input`
    targets: np.ndarray  # (S, batch, n_out), in the format `error`
    answers: Arrays  # by path, in the order in which they follow from one another
    overflows: Mapping[str, int]


def record_integer_trace(
    configuration: NetworkConfiguration,
    about: Arithmetic,
    parameters: Parameters,
    inputs: np.ndarray,
    targets: np.ndarray,
) -> IntegerTrace:
    """Take learning steps and keep every tick of them.

    Parameters
    ----------
    configuration : NetworkConfiguration
        Network and rule; plain descent.
    about : Arithmetic
        Formats, tables, ticks, rounding.
    parameters : Parameters
        Start, as numbers.
    inputs, targets : array, (S, batch, n_in) and (S, batch, n_out)
        One batch a step, as numbers.

    Raises
    ------
    ConfigurationError
        Integers do not have what is configured.
    """
    overflows = Overflows()

    def integers(values: np.ndarray, quantity: str) -> np.ndarray:
        return quantized(values, about.format_of(quantity), quantity, overflows)

    r_0 = float(configuration.mean_inhibition.init)
    learner = Learner(
        Parameters(
            tuple(integers(W, "weight") for W in parameters.weights),
            tuple(integers(b, "bias") for b in parameters.biases),
            integers(parameters.readout, "weight"),
        ),
        OptimizerState(0),
        tuple(integers(np.full(len(b), r_0), "rate") for b in parameters.biases),
    )
    x, y = integers(inputs, "input"), integers(targets, "error")
    chip = chip_of(configuration, about)
    answers = dict(_answers(chip, learner, x, y, overflows))
    return IntegerTrace(configuration, about, learner, x, y, answers, overflows.as_dict())


def _answers(
    chip: Chip,
    learner: Learner,
    inputs: np.ndarray,
    targets: np.ndarray,
    overflows: Overflows,
) -> Iterator[tuple[str, np.ndarray]]:
    """All that a port comes to, in order."""
    for path, arrays in all_stages(Making(chip), learner, inputs, targets, overflows):
        for name, array in arrays.items():
            yield f"{path}/{name}", array


# Files.


def questions(trace: IntegerTrace) -> Arrays:
    """What a port is given: start, data, tables and constants, by path."""
    chip, start = chip_of(trace.configuration, trace.arithmetic), trace.initial
    batch = trace.inputs.shape[1]
    arrays = {"inputs": trace.inputs, "targets": trace.targets}
    arrays |= {f"initial/{k}": a for k, a in named_parameters(start.parameters).items()}
    arrays |= {f"initial/r_bar_{l}": r for l, r in enumerate(start.mean_inhibition)}
    for item in dataclasses.fields(chip.tables):
        table: Table = getattr(chip.tables, item.name)
        shape = [table.first, table.cell_bits, int(table.interpolates)]
        arrays[f"tables/{item.name}/entries"] = table.entries
        arrays[f"tables/{item.name}/first_cell_bits_interpolates"] = np.array(shape)
    constants = {
        **{name: getattr(chip, name) for name in ("k_p", "k_i", "leak", "nudge", "rho", "eta")},
        "batch": multiplier(1 / batch, trace.arithmetic.multiplier),
    }
    feedback, about = trace.configuration.feedback, trace.arithmetic
    constants["norm"] = multiplier(float(feedback.norm), about.multiplier)
    for name, constant in constants.items():
        arrays[f"constants/{name}"] = np.array([constant.m, constant.shift])
    # Of the norm ν 2^e: ν is in the table of ν / √m.
    arrays["constants/norm_exponent"] = np.array([np.frexp(float(feedback.norm))[1]])
    clip = 0.0 if feedback.clip is None else float(feedback.clip)
    arrays["constants/clip"] = np.rint([clip * 2.0**about.sensitivity.fraction])
    r_0 = float(trace.configuration.mean_inhibition.fixed_point) * 2.0**about.rate.fraction
    arrays["constants/fixed_point"] = np.clip(np.rint([r_0]), 0, about.rate.largest)
    return {name: np.asarray(array).astype(np.int64) for name, array in arrays.items()}


def settings_of(trace: IntegerTrace) -> dict[str, Any]:
    """Network and arithmetic in plain values."""
    about = dataclasses.asdict(trace.arithmetic)
    formats = {name: str(form) for name, form in trace.arithmetic.formats()}
    return {"network": dataclasses.asdict(trace.configuration), "arithmetic": {**about, **formats}}


def write_integer_trace(
    trace: IntegerTrace, path: str | os.PathLike[str], with_answers: bool = True
) -> None:
    """Write a trace, or without its answers what a port is given."""

    def fill(file: h5py.File) -> None:
        file.attrs["kind"] = KIND
        file.attrs["settings"] = json.dumps(settings_of(trace))
        file.attrs["overflows"] = json.dumps(dict(trace.overflows))
        for name, array in (questions(trace) | (trace.answers if with_answers else {})).items():
            file.create_dataset(name, data=np.asarray(array, dtype="<i8"))

    write_signed_file(path, fill)


def write_integer_questions(trace: IntegerTrace, directory: str | os.PathLike[str]) -> None:
    """Write what a port is given as plain files into a new directory.

    `settings.txt` has a line NAME VALUE for each setting; `arrays.txt` a line NAME and its lengths
    for each array, whose numbers lie in NAME.i64 as little-endian int64, / in names written as '.'.
    """
    directory = Path(directory)
    directory.mkdir(parents=True)
    lines = []
    for name, array in questions(trace).items():
        plain = name.replace("/", ".")
        lines.append(" ".join([plain, *map(str, array.shape)]))
        np.ascontiguousarray(array, dtype="<i8").tofile(directory / f"{plain}.i64")
    (directory / "arrays.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = "".join(f"{name} {value}\n" for name, value in settings_lines(trace))
    (directory / "settings.txt").write_text(settings, encoding="utf-8")


def settings_lines(trace: IntegerTrace) -> list[tuple[str, str]]:
    """Network and arithmetic as names and texts, for files that are not JSON."""
    return list(_flat(settings_of(trace)))


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif isinstance(value, (list, tuple)):
            yield f"{before}{name}", " ".join(map(str, value))
        elif isinstance(value, bool):
            yield f"{before}{name}", str(int(value))
        else:
            yield f"{before}{name}", "none" if value is None else str(value)


def is_integer_trace(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one; what cannot be read is none."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bool(file.attrs.get("kind") == KIND)
    except OSError:
        return False


def read_integer_trace(path: str | os.PathLike[str]) -> IntegerTrace:
    """Read a trace with its answers, made again from its questions and compared.

    Raises
    ------
    FileError
        It is damaged, is no such trace, or its answers are not those of its questions.
    """
    path = Path(path)
    with reading(path) as file:
        if file.attrs.get("kind") != KIND:
            raise FileError(f"{path}: no trace of integers")
        settings = json.loads(file.attrs["settings"])
        arrays = {name: read_array(file, name) for name in _datasets(file)}
    try:
        about = arithmetic(**settings["arithmetic"])
        plain = settings["network"]
        parts = {name: kind(**plain[name]) for name, kind in SECTIONS.items()}
        network = NetworkConfiguration(**{**plain, **parts})
    except (ConfigurationError, TypeError, KeyError) as problem:
        raise FileError(f"{path}: settings: {problem}") from problem
    L = network.n_hidden
    initial = {k.removeprefix("initial/"): a for k, a in arrays.items() if k.startswith("initial")}
    start = Learner(
        parameters_named(initial, L),
        OptimizerState(0),
        tuple(initial[f"r_bar_{l}"] for l in range(L)),
    )
    overflows = Overflows()
    x, y = arrays["inputs"], arrays["targets"]
    answers = dict(_answers(chip_of(network, about), start, x, y, overflows))
    for name, array in answers.items():
        if not np.array_equal(arrays.get(name, ()), array):
            raise FileError(f"{path}: {name} is not what its questions come to here")
    return IntegerTrace(network, about, start, x, y, answers, overflows.as_dict())


def read_integer_answers(path: str | os.PathLike[str], trace: IntegerTrace) -> Arrays:
    """Read what a port gave, of the arrays that the trace has: an HDF5 file or plain ones.

    Raises
    ------
    FileError
        An array has another number of numbers, is none of integers, or no file is one.
    """
    path, found = Path(path), dict[str, np.ndarray]()
    if path.is_dir():
        known = {name.replace("/", "."): name for name in trace.answers}
        for file_of_array in sorted(path.glob("*.i64")):
            if file_of_array.stem in known:
                name = known[file_of_array.stem]
                if file_of_array.stat().st_size % 8:
                    raise FileError(
                        f"{file_of_array} has {file_of_array.stat().st_size} bytes: integers of 8 "
                        "bytes are needed"
                    )
                found[name] = np.fromfile(file_of_array, dtype="<i8").astype(np.int64)
            elif file_of_array.stem.startswith("steps"):
                raise FileError(f"{file_of_array}: the trace asks for no such array")
    else:
        with reading(path) as file:
            for name in _datasets(file):
                if name in trace.answers:
                    found[name] = read_array(file, name)
    if not found:
        raise FileError(f"{path}: holds none of the arrays that the trace asks for")
    for name, array in found.items():
        shape = trace.answers[name].shape
        if array.size != int(np.prod(shape)) or (array.ndim > 1 and array.shape != shape):
            raise FileError(f"{path}: {name} has {array.shape}: {shape} is needed")
        if array.dtype.kind not in "iu":
            raise FileError(f"{path}: {name} is of {array.dtype}: integers are needed")
        found[name] = array.astype(np.int64).reshape(shape)
    return found


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return names


# Where a port differs, and why.

MOST_NAMED = 4
"""Of mistakes that give the same integers."""


@dataclass(frozen=True)
class FirstDifference:
    """The first integer that is another: first in time, then in cause."""

    array: str  # by its path
    tick: int  # from 1; 0 where there are no ticks
    place: tuple[int, ...]  # sample and unit, or what the array has
    found: int
    expected: int
    form: Format
    n_other: int  # of the array's integers at that tick
    mistakes: tuple[str, ...]  # what gives all integers of this stage and before it, in words

    def __str__(self) -> str:
        """Several lines: where, the two in binary, and what it may be."""
        _, step, stage, name = self.array.split("/")
        at = f", tick {self.tick}" if self.tick else ""
        place = ", ".join(map(str, self.place))
        lines = [
            f"first difference: step {int(step)}, {stage.replace('_', ' ')}{at}, {name}[{place}], "
            f"format {self.form}; {self.n_other:,} of it there",
            f"  found    {_binary(self.found, self.form)}  {self.found}",
            f"  expected {_binary(self.expected, self.form)}  {self.expected}",
        ]
        hints = [
            f"  {'or of' if number else 'these are the integers of a usual mistake'}: {one}"
            for number, one in enumerate(self.mistakes)
        ]
        return "\n".join([*lines, *hints])


def _binary(value: int, form: Format) -> str:
    if not form.smallest <= value <= form.largest:
        return "does not fit".rjust(form.width + 1)
    bits = format(value & ((1 << form.width) - 1), f"0{form.width}b")
    point = form.width - form.fraction
    return f"{bits[:point]}.{bits[point:]}" if point >= 0 else f".{bits}"


QUANTITY_OF = {
    "u_E": "potential", "u_I": "potential", "u_out": "potential", "z": "integral", "Q": "feedback",
    "target": "error", "r_bar": "rate",
}  # fmt: skip


def format_of_answer(trace: IntegerTrace, array: str) -> Format:
    """Format of an array under `steps`, by its path."""
    _, _, stage, name = array.split("/")
    quantity = QUANTITY_OF.get(name if name in QUANTITY_OF else name.rpartition("_")[0], "")
    if stage == "gradients":
        quantity = "gradient"
    elif stage == "parameters":
        quantity = "bias" if name.endswith("bias") else "weight"
    return trace.arithmetic.format_of(quantity)


def first_integer_difference(trace: IntegerTrace, answers: Arrays) -> FirstDifference | None:
    """Find the first integer that differs, and what mistake gives the port's.

    Parameters
    ----------
    trace : IntegerTrace
        What should be.
    answers : dict of array
        From `read_integer_answers`; what is missing is not judged.

    Returns
    -------
    FirstDifference or None
        None if all that was given is equal.
    """
    found = _first(trace, trace.answers, answers)
    if found is None:
        return None
    array, tick_number, place = found
    expected, given = trace.answers[array], answers[array]
    if tick_number:
        expected, given = expected[tick_number - 1], given[tick_number - 1]
    asked = Asked(
        chip_of(trace.configuration, trace.arithmetic),
        trace.initial,
        trace.inputs,
        trace.targets,
        trace.answers,
    )
    return FirstDifference(
        array,
        tick_number,
        place,
        int(given[place]),
        int(expected[place]),
        format_of_answer(trace, array),
        int(np.count_nonzero(given != expected)),
        tuple(islice(mistakes_that_give(asked, answers, array, tick_number), MOST_NAMED)),
    )


def _first(
    trace: IntegerTrace, expected: Arrays, answers: Arrays
) -> tuple[str, int, tuple[int, ...]] | None:
    """Array, tick from 1 or 0, and place of the first integer that differs."""
    stages: dict[str, list[str]] = {}
    for name in expected:
        if name in answers:
            stages.setdefault(name.rpartition("/")[0], []).append(name)
    for stage, names in stages.items():
        has_ticks = stage.endswith(("open_loop", "closed_loop"))
        differing = {name: answers[name] != expected[name] for name in names}
        ticks = [0]
        if has_ticks:
            n = trace.arithmetic.ticks
            other = [np.any(one.reshape(n, -1), axis=1) for one in differing.values()]
            ticks = [int(t) + 1 for t in np.flatnonzero(np.any(other, axis=0))[:1]]
        for number in ticks:
            for name in names:
                one = differing[name][number - 1] if has_ticks else differing[name]
                if np.any(one):
                    place = tuple(int(i) for i in np.argwhere(one)[0])
                    return name, number, place
    return None
