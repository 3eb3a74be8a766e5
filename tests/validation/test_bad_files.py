"""A campaign of bad files: each ends in one line, or in what the file says, and nothing else.

The files are made from good ones by changes of their structure (`bad_files`), each from its number
alone. Of what is taken, the content is compared with what h5py or NumPy read of it by themselves.
"""

import collections
import dataclasses
import gzip
import json

import h5py
import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.datasets import DatasetError, load_dataset
from disinhib.experiments import read_records
from disinhib.refimpl.circuit import initial_parameters
from disinhib.refimpl.configuration import ArgumentError, ConfigurationError, NetworkConfiguration
from disinhib.validation import (
    FileError,
    compare,
    conform,
    contents,
    read_candidate,
    read_checkpoint,
    read_start,
    read_trace,
    record_trace,
    write_checkpoint,
    write_flat_directory,
    write_trace,
    write_trace_inputs,
)
from disinhib.validation.storage.arrays import named_arrays, write_parameters
from disinhib.validation.storage.signed_file import DIGEST

from ..datasets.test_image_files import write_set
from .bad_files import change_bytes, change_file, change_flat, change_json, copy_of, pick
from .test_damage import content_of
from .test_files import SIZES, checkpoint

TAKEN, REFUSED = "taken", "refused"
N_JUDGED = 10
"""One in so many of the traces and answers that are taken is judged too: that takes longer."""


def small_trace(path, **settings):
    configuration = NetworkConfiguration(sizes=(3, 4, 3, 2), **settings)
    generator = np.random.default_rng(3)
    parameters = initial_parameters(configuration.sizes, generator)
    inputs, labels = generator.random((2, 2, 3)), np.full((2, 2, 2), 0.5)
    trace = record_trace(configuration, parameters, inputs, labels, with_trajectory=True)
    write_trace(path, trace, "a test")
    with h5py.File(path, "a") as file:
        # As those that were recorded elsewhere: nothing but its structure tells what is wrong.
        del file.attrs[DIGEST]
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good file of each kind."""
    directory = tmp_path_factory.mktemp("good")
    small_trace(directory / "trace", rule="linear-threshold")
    copy_of(directory / "trace", directory / "answers")
    write_trace_inputs(directory / "questions", read_trace(directory / "trace"))
    write_flat_directory(directory / "questions", directory / "flat")
    with h5py.File(directory / "trace") as file:
        lines = []
        for name in sorted(names_of_datasets(file)):
            place = directory / "flat" / f"{name}.bin"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file[name][()].astype("<f8").tobytes())
            lines.append(" ".join([name, "float64", *map(str, file[name].shape)]))
        (directory / "flat" / "arrays.txt").write_text("\n".join(lines) + "\n")
    write_checkpoint(directory / "checkpoint", checkpoint())
    with h5py.File(directory / "start", "w") as file:
        parameters = initial_parameters(SIZES, np.random.default_rng(0))
        write_parameters(file.create_group("initial_parameters"), parameters)
        file["batch_order"] = np.arange(12).reshape(3, 4)
    write_set(directory / "idx")
    write_set(directory / "idx-packed", packed=True)
    row = {
        **dict.fromkeys(("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"), 0.5),
        **dict.fromkeys(("test_loss", "test_accuracy", "seconds", "samples_per_second"), 2.0),
        "train_closed_loop_loss": None,
        **{name: {"unsettled": 3} for name in ("open_loop", "closed_loop", "evaluation")},
    }
    rows = [json.dumps({"epoch": epoch, **row}) for epoch in (1, 2, 3)]
    (directory / "log").write_text("\n".join(rows) + "\n")
    return directory


def names_of_datasets(group, prefix=""):
    """Under all their names, which `visititems` does not give."""
    found = set()
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            found.add(prefix + name)
        elif isinstance(item, h5py.Group):
            found |= names_of_datasets(item, f"{prefix}{name}/")
    return found


def raw(path, name):
    with h5py.File(path) as file:
        return file[name][()]


def same(found, expected):
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found, np.asarray(expected).astype(np.float64))


def a_trace(good, path, generator, number):
    copy_of(good / "trace", path)
    yield change_file(path, generator)
    trace = read_trace(path)
    scale = 255 if raw(path, "inputs").dtype == np.uint8 else 1
    same(trace.inputs * scale, raw(path, "inputs"))
    for group, parameters in (
        ("initial_parameters", trace.initial_parameters),
        ("final_parameters", trace.final_parameters),
        *((f"steps/{n:04d}/gradients", step.gradients) for n, step in enumerate(trace.steps)),
    ):
        for name, array in named_arrays(parameters).items():
            assert np.isfinite(array).all()
            same(array, raw(path, f"{group}/{name}"))
    write_trace_inputs(path.with_name("questions"), trace)
    same(trace.targets, raw(path.with_name("questions"), "targets"))
    if number % N_JUDGED == N_JUDGED - 1:
        refuse_a_wrong_verdict(good, path, conform(trace, NumpyBackend, np.dtype(np.float64)))


def refuse_a_wrong_verdict(good, path, results):
    """Losses that are off by more than a thousandth of themselves never pass."""
    for name in ("open_loop_loss", "closed_loop_loss"):
        with h5py.File(path) as file:
            found = file[name][()] if name in file else raw(good / "trace", name)
        with np.errstate(all="ignore"):
            off = found / raw(good / "trace", name) - 1 if np.shape(found) == (2,) else np.inf
        if not np.all(np.abs(off) < 1e-3):
            assert not all(result.passed for result in results)


def an_answer(good, path, generator, number):
    copy_of(good / "answers", path)
    yield change_file(path, generator)
    trace = read_trace(good / "trace")
    candidate = read_candidate(path, trace)
    for name, array in candidate.arrays.items():
        np.testing.assert_array_equal(array, raw(path, name))
    if number % N_JUDGED == N_JUDGED - 1:
        results = compare(trace, candidate, candidate.arithmetic()).results
        refuse_a_wrong_verdict(good, path, results)


def a_flat_answer(good, path, generator, number):
    copy_of(good / "flat", path)
    yield change_flat(path, generator)
    trace = read_trace(good / "trace")
    candidate = read_candidate(path, trace)
    for name, array in candidate.arrays.items():
        assert (path / f"{name}.bin").read_bytes() == array.tobytes()
    if number % N_JUDGED == N_JUDGED - 1:
        compare(trace, candidate, candidate.arithmetic())


def a_checkpoint(good, path, generator, number):
    copy_of(good / "checkpoint", path)
    yield change_file(path, generator)
    found = read_checkpoint(path)
    for name, array in named_arrays(found.learner.parameters).items():
        np.testing.assert_array_equal(array, raw(path, f"parameters/{name}"))
    # What can be read can be written, and is the same then.
    write_checkpoint(path.with_name("again"), found)
    again = read_checkpoint(path.with_name("again"))
    if found.learner.optimizer.first_moment is not None:
        assert repr(content_of(again)) == repr(content_of(found))


def a_start(good, path, generator, number):
    copy_of(good / "start", path)
    yield change_file(path, generator)
    start = read_start(path, SIZES, 4, 12)
    for name, array in named_arrays(start.parameters).items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array, raw(path, f"initial_parameters/{name}"))
    if start.batch_order is not None:
        np.testing.assert_array_equal(start.batch_order, raw(path, "batch_order"))


def an_inspected_file(good, path, generator, number):
    copy_of(good / pick(generator, ("trace", "checkpoint", "start")), path)
    yield change_file(path, generator)
    attributes, datasets = contents(path)
    with h5py.File(path) as file:
        assert {row[0] for row in datasets} == names_of_datasets(file)
        assert set(file.attrs) <= set(attributes)


def an_idx_set(good, path, generator, number):
    packed = bool(generator.integers(2))
    copy_of(good / ("idx-packed" if packed else "idx"), path)
    unpack, pack = (gzip.decompress, gzip.compress) if packed else (bytes, bytes)
    files = sorted(path.iterdir())
    file, other = pick(generator, files), pick(generator, files)
    content, what = unpack(file.read_bytes()), pick(generator, ("bytes", "inside", "header", "is"))
    at, value = int(generator.integers(4 + 4 * content[3])), int(pick(generator, range(14)))
    if what == "bytes":
        changed, told = change_bytes(file.read_bytes(), generator)
        file.write_bytes(changed)
    elif what == "inside":
        changed, told = change_bytes(content, generator)
        file.write_bytes(pack(changed))
    elif what == "header":
        file.write_bytes(pack(content[:at] + bytes([value]) + content[at + 1 :]))
        told = f"{at} = {value}"
    else:
        file.write_bytes(other.read_bytes())
        told = other.name
    yield f"{file.name}: {what} {told}"
    data = load_dataset("mnist", path)
    for split, parts in (("train", (data.validation, data.train)), ("t10k", (data.test,))):
        end = ".gz" if packed else ""
        images, labels = (
            unpack((path / f"{split}-{kind}-ubyte{end}").read_bytes())
            for kind in ("images-idx3", "labels-idx1")
        )
        assert images[16:] == b"".join(part.images.tobytes() for part in parts)
        assert labels[8:] == b"".join(part.labels.astype(np.uint8).tobytes() for part in parts)


def a_log(good, path, generator, number):
    lines = (good / "log").read_text().splitlines()
    at = int(generator.integers(len(lines)))
    if generator.random() < 0.8:
        lines[at], told = change_json(lines[at], generator)
        path.write_text("\n".join(lines) + "\n")
    else:
        content, told = change_bytes((good / "log").read_bytes(), generator)
        path.write_bytes(content)
    yield f"line {at + 1}: {told}"
    records = read_records(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()[: len(records)]]
    for record, row in zip(records, rows, strict=True):
        assert {**dataclasses.asdict(record), **row} == dataclasses.asdict(record)


CAMPAIGN = {
    a_trace: 700,
    an_answer: 400,
    a_flat_answer: 300,
    a_checkpoint: 500,
    a_start: 300,
    an_inspected_file: 300,
    an_idx_set: 300,
    a_log: 200,
}
"""How many of each, 3,000 in sum."""


BAD_INPUT = (ArgumentError, ConfigurationError, DatasetError, FileError)
"""What a user did wrong, said in a line."""


def outcome(kind, good, directory, number):
    """One bad file, from its number alone: whether it was refused, in one line, or taken."""
    generator = np.random.default_rng([number, *kind.__name__.encode()])
    case = kind(good, directory / "bad.h5", generator, number)
    told = next(case)
    try:
        for _ in case:
            pass
    except BAD_INPUT as problem:
        line = str(problem)
    except BaseException as problem:
        raise AssertionError(f"{kind.__name__} {number}: {told}: {problem!r}") from problem
    else:
        return TAKEN
    assert "\n" not in line, told
    assert len(line) < 1500, told
    return REFUSED


@pytest.mark.parametrize(
    "share", [pytest.param(1, marks=pytest.mark.slow), 50], ids=["all", "a fiftieth"]
)
@pytest.mark.parametrize("kind", CAMPAIGN, ids=lambda kind: kind.__name__)
def test_a_bad_file_ends_in_one_line_or_a_right_answer(
    good, tmp_path, record_property, kind, share
):
    counts = collections.Counter(
        outcome(kind, good, tmp_path, number) for number in range(CAMPAIGN[kind] // share)
    )
    record_property(
        "measured",
        f"bad files, {kind.__name__.replace('_', ' ')}: {counts[REFUSED]} of "
        f"{counts.total()} refused in one line, {counts[TAKEN]} taken and right, 0 else",
    )
    # Neither all nor none: it would prove nothing.
    assert share > 1 or 0 < counts[TAKEN] < counts.total()
