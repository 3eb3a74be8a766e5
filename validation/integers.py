"""Traces of the model in integers, and where a port first differs from one, to the bit.

A trace is an HDF5 file of int64 arrays: what a port is given (tables, constants, inputs, labels,
start), and under `steps/0000` and so on what it comes to, every tick of it. Answers are such a
file, or a directory of plain ones. What is wrong is looked for by making the usual mistakes.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
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
    NetworkState,
    Optimizer,
    OptimizerState,
    Parameters,
    SoftReLU,
)
from ..refimpl.integers import (
    Arithmetic,
    Chance,
    Chip,
    Format,
    Here,
    Overflows,
    Table,
    arithmetic,
    backprop as backprop_of,
    chip_of,
    closed_loop,
    closed_loop_target,
    feedback_weights,
    multiplier,
    open_loop,
    plasticity_gradients as gradients_of,
    quantized,
    shifted,
    tick,
    updated,
    updated_mean_inhibition as mean_of,
)
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
    kind: type[Here] = Here,
    ticked: Callable[..., NetworkState] = tick,
) -> Iterator[tuple[str, np.ndarray]]:
    """All that a port comes to, in order."""
    for number, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        path, parameters, r_bar = f"steps/{number:04d}", learner.parameters, learner.mean_inhibition
        here = kind(overflows, Chance(chip.arithmetic.seed, learner.optimizer.n_steps))
        if chip.network.rule == "backprop":
            u_out, g = backprop_of(chip, parameters, x, y, here)
            yield f"{path}/output/u_out", u_out
        else:
            opened = list(open_loop(chip, parameters, x, here, ticked))
            yield from _path(f"{path}/open_loop", opened, with_z=False)
            if chip.network.rule == "linear-threshold":
                r_bar = mean_of(chip, r_bar, opened[-1], here)
                for l, r in enumerate(r_bar):
                    yield f"{path}/mean_inhibition/r_bar_{l}", r
            Q = feedback_weights(chip, parameters, opened[-1], here)
            for l, Q_l in enumerate(Q):
                yield f"{path}/feedback_weights/Q_{l}", Q_l
            target = closed_loop_target(chip, opened[-1].u_out, y, here)
            yield f"{path}/target/target", target
            closed = list(closed_loop(chip, parameters, x, Q, target, opened[-1], here, ticked))
            yield from _path(f"{path}/closed_loop", closed, with_z=True)
            g = gradients_of(chip, parameters, x, y, opened[-1], closed[-1], r_bar, here)
        yield from _parameters(f"{path}/gradients", g)
        learner = updated(chip, learner, g, r_bar, here)
        yield from _parameters(f"{path}/parameters", learner.parameters)


def _path(path: str, states: list[NetworkState], with_z: bool) -> Iterator[tuple[str, np.ndarray]]:
    for l in range(len(states[0].u_E)):
        yield f"{path}/u_E_{l}", np.stack([state.u_E[l] for state in states])
        yield f"{path}/u_I_{l}", np.stack([state.u_I[l] for state in states])
    yield f"{path}/u_out", np.stack([state.u_out for state in states])
    if with_z:
        yield f"{path}/z", np.stack([state.z for state in states])


def _parameters(path: str, parameters: Parameters) -> Iterator[tuple[str, np.ndarray]]:
    for l, (W, b) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        yield f"{path}/hidden_{l}_weight", W
        yield f"{path}/hidden_{l}_bias", b
    yield f"{path}/readout_weight", parameters.readout


# Files.


def questions(trace: IntegerTrace) -> Arrays:
    """What a port is given: start, data, tables and constants, by path."""
    chip, start = chip_of(trace.configuration, trace.arithmetic), trace.initial
    batch = trace.inputs.shape[1]
    arrays = {"inputs": trace.inputs, "targets": trace.targets}
    arrays |= dict(_parameters("initial", start.parameters))
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
    start = Learner(
        Parameters(
            tuple(arrays[f"initial/hidden_{l}_weight"] for l in range(L)),
            tuple(arrays[f"initial/hidden_{l}_bias"] for l in range(L)),
            arrays["initial/readout_weight"],
        ),
        OptimizerState(0),
        tuple(arrays[f"initial/r_bar_{l}"] for l in range(L)),
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
    mistakes: tuple[str, ...]  # what gives just the port's integers, in words

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
        return "\n".join([*lines, *(f"  hint: {one}" for one in self.mistakes)])


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
    return FirstDifference(
        array,
        tick_number,
        place,
        int(given[place]),
        int(expected[place]),
        format_of_answer(trace, array),
        int(np.count_nonzero(given != expected)),
        tuple(_mistakes(trace, answers, array, tick_number)),
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


def _mistakes(trace: IntegerTrace, answers: Arrays, array: str, tick_number: int) -> Iterator[str]:
    """Of the usual mistakes, those that give the port's integers where the right ones do not.

    All of that tick, or of that array, and all before it.
    """
    for words, made in MISTAKES.items():
        try:
            wrong = made(trace)
        except ConfigurationError:
            continue
        if wrong is None:
            continue
        is_it = True
        for name, values in wrong:
            if name in answers:
                given, until = answers[name], slice(None)
                stage = array.rpartition("/")[0]
                if tick_number and name.rpartition("/")[0] == stage:
                    until = slice(tick_number)
                is_it = np.array_equal(given[until], values[until])
            if not is_it or name == _last_of(trace, array):
                break
        if is_it:
            yield words


def _last_of(trace: IntegerTrace, array: str) -> str:
    """The last array of the same stage."""
    stage = array.rpartition("/")[0]
    return [name for name in trace.answers if name.rpartition("/")[0] == stage][-1]


Made = Iterator[tuple[str, np.ndarray]] | None


def _with(trace: IntegerTrace, **changes: Any) -> Made:
    """Answers of another arithmetic; None where it is the trace's own."""
    about = replace(trace.arithmetic, **changes)
    if about == trace.arithmetic:
        return None
    return _again(trace, chip_of(trace.configuration, about))


def _again(trace: IntegerTrace, chip: Chip, **how: Any) -> Made:
    return _answers(chip, trace.initial, trace.inputs, trace.targets, Overflows(), **how)


def _by(trace: IntegerTrace, **how: Any) -> Made:
    """Answers of the trace's own arithmetic, taken otherwise."""
    return _again(trace, _own_chip(trace), **how)


def _shifts_exchanged(trace: IntegerTrace) -> Made:
    about = trace.arithmetic
    return _with(trace, shift_E=about.shift_I, shift_I=about.shift_E)


def _own_chip(trace: IntegerTrace) -> Chip:
    return chip_of(trace.configuration, trace.arithmetic)


class Wraps(Here):
    """What does not fit wraps around."""

    def fitted(self, values: np.ndarray, form: Format, quantity: str) -> np.ndarray:
        """Keep the lower bits."""
        return ((values - form.smallest) & ((1 << form.width) - 1)) + form.smallest


class Grows(Here):
    """What does not fit is kept as it is."""

    def fitted(self, values: np.ndarray, form: Format, quantity: str) -> np.ndarray:
        """Keep all bits."""
        return values


def _logical(bits: int) -> type[Here]:
    class ShiftsLogically(Here):
        """The sign is not kept by a shift to the right."""

        def dropped(
            self, values: np.ndarray, shift: Any, rounding: str, place: str, layer: int
        ) -> np.ndarray:
            """Shift as an unsigned word is."""
            kept = values & ((1 << bits) - 1) if bits < 63 else values
            down = np.maximum(shift, 0)
            moved = np.where(
                values < 0, (kept >> down) & ((1 << max(bits - 1, 1)) - 1), kept >> down
            )
            right = super().dropped(values, shift, rounding, place, layer)
            return np.where((values < 0) & (np.asarray(shift) > 0), moved, right)

    return ShiftsLogically


def _rounds_products(trace: IntegerTrace) -> Made:
    """Each product rounded before the sum, to the bits of the first factor."""
    about, own = trace.arithmetic, _own_chip(trace)
    bits = about.weight.fraction

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products = a[..., :, None] * b
        return np.sum(shifted(products, bits, about.rounding), axis=-2) << bits

    if max(trace.configuration.sizes) > 4096:
        return None
    return _again(trace, replace(own, multiply=multiply))


def _tables_changed(trace: IntegerTrace, change: Callable[[Table], Table]) -> Made:
    own = _own_chip(trace)
    names = [item.name for item in dataclasses.fields(own.tables)]
    changed = {name: change(getattr(own.tables, name)) for name in names}
    return _again(trace, replace(own, tables=type(own.tables)(**changed)))


def _off_by_one(table: Table) -> Table:
    return replace(table, entries=np.append(table.entries[1:], table.entries[-1]))


def _not_interpolated(table: Table) -> Table:
    return replace(table, interpolates=False)


def _in_place(*arguments: Any) -> NetworkState:
    """u_E moves first, and I units and the readout see what it has become."""
    chip, parameters, a_1, state, control, here = arguments
    first = tick(chip, parameters, a_1, state, control, here)
    second = tick(chip, parameters, a_1, replace(state, u_E=first.u_E), control, here)
    return NetworkState(first.u_E, second.u_I, second.u_out, first.z)


MISTAKES: dict[str, Callable[[IntegerTrace], Made]] = {
    **{
        f"rounded by {way}, where the trace's rounding is another": partial(_with, rounding=way)
        for way in ("floor", "truncate", "nearest-even", "nearest-away", "stochastic")
    },
    **{
        f"updates are rounded by {way}, where update_rounding is another": partial(
            _with, update_rounding=way
        )
        for way in ("floor", "truncate", "nearest-even", "nearest-away", "stochastic")
    },
    "what does not fit wraps around: it is to saturate": partial(_by, kind=Wraps),
    "what does not fit is kept: it is to saturate to its format": partial(_by, kind=Grows),
    "products are rounded one by one: the sum is exact, and rounded once": _rounds_products,
    "tables are off by one entry": partial(_tables_changed, change=_off_by_one),
    "tables are not interpolated: they are to be, between their entries": partial(
        _tables_changed, change=_not_interpolated
    ),
    **{
        f"a shift of {bits}-bit words to the right is logical: it is to keep the sign": partial(
            _by, kind=_logical(bits)
        )
        for bits in (32, 64)
    },
    "u_E is updated before I units and readout have seen it: all move at once": partial(
        _by, ticked=_in_place
    ),
    "shift_E and shift_I are exchanged": _shifts_exchanged,
    "seed is taken for 0": partial(_with, seed=0),
}
"""Usual mistakes in words, and what a port comes to that makes one."""
