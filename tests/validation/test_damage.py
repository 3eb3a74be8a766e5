"""Files that were damaged, or made to do harm: one line or the right content, nothing else."""

import dataclasses
import os
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.refimpl.configuration import ConfigurationError
from disinhib.validation import (
    FileError,
    Position,
    conform,
    newest_checkpoint,
    read_checkpoint,
    read_trace,
    shipped_directory,
    write_checkpoint,
)
from disinhib.validation.storage import signed_file as byte_seal
from disinhib.validation.storage.arrays import named_arrays
from disinhib.validation.storage.hdf5 import check_global_heaps
from disinhib.validation.storage.signed_file import sign

from .test_files import checkpoint

N_FLIPS = 1000


MANY_AND_FEW = pytest.mark.parametrize("flips", [20, pytest.param(N_FLIPS, marks=pytest.mark.slow)])


def content_of(found):
    learner = found.learner
    arrays = [*named_arrays(learner.parameters).items()]
    arrays += [("m/" + k, v) for k, v in named_arrays(learner.optimizer.first_moment).items()]
    arrays += [("v/" + k, v) for k, v in named_arrays(learner.optimizer.second_moment).items()]
    values = [(name, array.dtype.str, array.tobytes()) for name, array in arrays]
    means = [r.tobytes() for r in learner.mean_inhibition]
    return values, means, found.configuration, found.random_state, found.position


def read_or_line(read, path):
    """Content, or None where one line told what is wrong."""
    try:
        return read(path)
    except FileError as problem:
        line = str(problem)
    assert "\n" not in line
    assert path.name in line
    return None


def with_a_flipped_bit(whole, flips):
    """Byte, bit and content, as often as asked, the same ones every time."""
    generator = np.random.default_rng(0)
    places = generator.integers(0, len(whole), flips), generator.integers(0, 8, flips)
    for at, bit in zip(*places, strict=True):
        content = bytearray(whole)
        content[at] ^= 1 << bit
        yield at, bit, content


def test_no_flipped_bit_goes_unseen(tmp_path):
    """What is read is what was written, or nothing is."""
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    whole, expected = path.read_bytes(), content_of(read_checkpoint(path))
    damaged, seen = tmp_path / "damaged.h5", 0
    for at, bit, content in with_a_flipped_bit(whole, N_FLIPS):
        damaged.write_bytes(content)
        found = read_or_line(read_checkpoint, damaged)
        seen += found is None
        assert found is None or content_of(found) == expected, f"byte {at}, bit {bit}"
    # The seal is of every byte, gaps of HDF5 included.
    print(f"checkpoint: {seen} of {N_FLIPS} flips found, the others change nothing")
    assert seen > 0.99 * N_FLIPS


@MANY_AND_FEW
def test_no_flipped_bit_goes_unseen_without_the_seal_either(tmp_path, flips):
    """As in a file that h5py has changed and `sign` has signed."""
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    whole, expected = path.read_bytes()[: -byte_seal.LENGTH], content_of(read_checkpoint(path))
    damaged, seen = tmp_path / "damaged.h5", 0
    for at, bit, content in with_a_flipped_bit(whole, flips):
        damaged.write_bytes(content)
        found = read_or_line(read_checkpoint, damaged)
        seen += found is None
        assert found is None or content_of(found) == expected, f"byte {at}, bit {bit}"
    print(f"unsealed: {seen} of {flips} flips found, the others change nothing")
    # Most of a small HDF5 file is structure and gaps, but not all of it.
    assert seen > flips / 10


def test_a_file_cut_short_anywhere_is_one_line(tmp_path):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    whole = path.read_bytes()
    for percent in range(100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        assert read_or_line(read_checkpoint, path) is None, percent


def plain(value):
    """Everything that a trace says, as nested lists of values and bytes."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    if dataclasses.is_dataclass(value):
        return [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return [[name, plain(item)] for name, item in sorted(value.items())]
    return [plain(item) for item in value] if isinstance(value, tuple) else repr(value)


def trace_content(path):
    return plain(dataclasses.replace(read_trace(path), path=None))


def signed_trace(path):
    shutil.copy(shipped_directory() / "one-hidden-mse.h5", path)
    with h5py.File(path, "a") as file:
        sign(file)
    return path.read_bytes()


@MANY_AND_FEW
def test_a_signed_trace_with_a_flipped_bit_says_what_it_said_or_nothing(tmp_path, flips):
    path = tmp_path / "t.h5"
    whole = signed_trace(path)
    expected, seen = trace_content(path), 0
    generator = np.random.default_rng(1)
    for at, bit in zip(
        generator.integers(0, len(whole), flips), generator.integers(0, 8, flips), strict=True
    ):
        content = bytearray(whole)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        found = read_or_line(trace_content, path)
        seen += found is None
        assert found is None or found == expected, f"byte {at}, bit {bit}"
    print(f"signed trace: {seen} of {flips} flips found, the others change nothing")
    assert seen > flips / 10


@MANY_AND_FEW
def test_an_unsigned_trace_with_a_flipped_byte_never_crashes(tmp_path, flips):
    whole = (shipped_directory() / "one-hidden-mse.h5").read_bytes()
    path = tmp_path / "t.h5"
    generator = np.random.default_rng(1)
    for at in generator.integers(0, len(whole), flips):
        content = bytearray(whole)
        content[at] ^= 0xFF
        path.write_bytes(content)
        read_or_line(read_trace, path)


@pytest.mark.slow
def test_a_flip_that_an_unsigned_trace_cannot_tell_fails_conformance_or_is_small(tmp_path):
    """Among 1,000 flips of random bits, those that change what is read, and a sample of them."""
    whole = (shipped_directory() / "one-hidden-mse.h5").read_bytes()
    path = tmp_path / "t.h5"
    path.write_bytes(whole)
    expected = trace_content(path)
    generator = np.random.default_rng(2)
    changed = []
    for at, bit in zip(
        generator.integers(0, len(whole), N_FLIPS), generator.integers(0, 8, N_FLIPS), strict=True
    ):
        content = bytearray(whole)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        found = read_or_line(trace_content, path)
        if found is not None and found != expected:
            changed.append(content)
    path.write_bytes(whole)
    n_stages = len(conform(read_trace(path), NumpyBackend, np.dtype(np.float64)))
    failed, left_out, other_form, passed = 0, 0, [], []
    for content in changed[:: max(1, len(changed) // 100)]:
        path.write_bytes(content)
        try:
            stages = conform(read_trace(path), NumpyBackend, np.dtype(np.float64))
        except (ConfigurationError, FileError):
            failed += 1
            continue
        if len(stages) < n_stages:
            # The name of a part that a trace may lack: the table of stages is shorter.
            left_out += 1
        elif all(stage.passed for stage in stages):
            change = largest_change(expected, trace_content(path))
            (other_form if change is None else passed).append(change or 0.0)
        else:
            failed += 1
    print(
        f"unsigned: {len(changed)} of {N_FLIPS} unseen; of a sample {failed} fail to conform, "
        f"{left_out} lack stages, {len(other_form)} lack arrays and pass, {len(passed)} pass, "
        f"changed by up to {max(passed, default=0):.1e}"
    )
    # What passes lies within what a solver of the trace's own tolerance may be off by.
    assert all(change < 1e-4 for change in passed)
    assert failed > 0


def largest_change(a, b):
    """Largest change of any element over its array's largest; None where an array is lacking."""
    if isinstance(a, list) and len(a) == 3 and isinstance(a[2], bytes):
        if a[:2] != b[:2]:
            return None
        x, y = (np.frombuffer(item[2], item[0]).astype(float) for item in (a, b))
        return float(np.max(np.abs(x - y), initial=0) / max(np.max(np.abs(x), initial=0), 1e-300))
    if not isinstance(a, list):
        return 0.0 if a == b else np.inf
    if len(a) != len(b):
        return None
    changes = [largest_change(x, y) for x, y in zip(a, b, strict=True)]
    return None if None in changes else max(changes, default=0.0)


@pytest.mark.parametrize("group", ["final_parameters", "steps/0001/gradients"])
def test_a_trace_whose_parameters_lack_a_layer_is_refused(tmp_path, group):
    """As by one flipped bit in the layer's name: what is left would be judged, and pass."""
    path = tmp_path / "t.h5"
    shutil.copy(shipped_directory() / "one-hidden-mse.h5", path)
    with h5py.File(path, "a") as file:
        file.move(f"{group}/hidden_0", f"{group}/iidden_0")
    with pytest.raises(FileError, match="hidden"):
        read_trace(path)


@pytest.mark.parametrize(
    "name",
    [
        "steps/0001/open_loop/u_E_0",
        "steps/0000/closed_loop/c_int",
        "steps/0002/feedback/Q_0",
        "steps/0000/closed_loop_targets",
        "trajectory/closed_loop/u_out",
        "trajectory/feedback/Q_0",
    ],
)
def test_a_trace_with_an_array_of_another_shape_is_refused(tmp_path, name):
    path = tmp_path / "t.h5"
    shutil.copy(shipped_directory() / "one-hidden-mse.h5", path)
    with h5py.File(path, "a") as file:
        array = file[name][()]
        del file[name]
        file[name] = array[:, :-1]
    with pytest.raises(FileError, match=f"{name} has shape .* is needed"):
        read_trace(path)


@pytest.mark.parametrize("every", [0, -3, 10**12])
def test_a_path_of_endless_steps_is_refused(tmp_path, every):
    path = tmp_path / "t.h5"
    shutil.copy(shipped_directory() / "one-hidden-mse.h5", path)
    with h5py.File(path, "a") as file:
        file["trajectory"].attrs["every"] = every
    with pytest.raises(FileError, match=f"every of /trajectory is {every}: at least 1 and"):
        read_trace(path)


def test_a_text_heap_that_does_not_add_up_is_refused_before_hdf5_sees_it(tmp_path):
    """HDF5 2.0.0 would read for ever: in a process of its own, so that a user can end it."""
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    unsealed = path.read_bytes()[: -byte_seal.LENGTH]
    heap = unsealed.index(b"GCOL")
    size = heap + 8
    found = 0
    for at in (*range(size, size + 8), *range(heap + 16, len(unsealed))):
        content = bytearray(unsealed)
        content[at] ^= 0x40
        try:
            check_global_heaps(path, bytes(content))
        except FileError:
            found += 1
    assert found > 8
    # The free space at the heap's end, 64 bytes short.
    end = heap + int.from_bytes(unsealed[size : size + 8], "little")
    free = next(
        at
        for at in range(heap + 16, end, 8)
        if unsealed[at : at + 8] == bytes(8)
        and at + int.from_bytes(unsealed[at + 8 : at + 16], "little") == end
    )
    content = bytearray(unsealed)
    content[free + 8 : free + 16] = (end - free - 64).to_bytes(8, "little")
    path.write_bytes(content)
    code = (
        "import sys\nfrom disinhib.validation import FileError, read_checkpoint\n"
        "try:\n    read_checkpoint(sys.argv[1])\nexcept FileError as problem:\n    print(problem)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert "c.h5: the file is damaged: its text heap at byte" in result.stdout


def test_what_a_later_program_adds_to_version_1_is_passed_over(tmp_path):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    expected = content_of(read_checkpoint(path))
    with h5py.File(path, "a") as file:
        file.attrs["novelty"] = "of 2031"
        file["optimizer"].attrs["warmth"] = 3
        file["parameters"].create_dataset("attention/weight", data=np.ones((2, 3)))
        file.create_group("another/group")
    with pytest.raises(FileError, match="damaged"):
        read_checkpoint(path)
    with h5py.File(path, "a") as file:
        sign(file)
    assert content_of(read_checkpoint(path)) == expected


def test_a_later_version_is_refused_and_never_gives_way(tmp_path):
    """To go on from an older checkpoint would lose what the newest holds."""
    path = tmp_path / "c.h5"
    for epochs in (1, 2):
        write_checkpoint(path, checkpoint(position=Position(epochs)))
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 2
        sign(file)
    line = r"c\.h5: schema_version is 2: this program reads 1$"
    for read in (read_checkpoint, newest_checkpoint):
        with pytest.raises(FileError, match=line):
            read(path)
    # Where the digest does not say so too, it is damage like any other.
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 3
    assert newest_checkpoint(path)[0].position.epochs == 1


def test_a_damaged_newest_never_takes_the_place_of_the_whole_one_before(tmp_path, monkeypatch):
    """A crash between the two renames would leave nothing."""
    path = tmp_path / "c.h5"
    for epochs in (1, 2):
        write_checkpoint(path, checkpoint(position=Position(epochs)))
    path.write_bytes(path.read_bytes()[:-200])
    real = os.replace

    def crash(source, target):
        if str(source).endswith(".unfinished"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, checkpoint(position=Position(3)))
    assert newest_checkpoint(path)[0].position.epochs == 1


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    path = tmp_path / "c.h5"
    for epochs in (1, 2, 3, 4):
        write_checkpoint(path, checkpoint(position=Position(epochs)), keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c-1.h5", "c-2.h5", "c.h5"]
    assert newest_checkpoint(path)[0].position.epochs == 4
    path.write_bytes(path.read_bytes()[:-100])
    found, told = newest_checkpoint(path)
    assert found.position.epochs == 3
    assert "c.h5: " in told[0]
    assert told[-1] == f"the one before is taken: {tmp_path / 'c-1.h5'}"
    (tmp_path / "c-1.h5").unlink()
    assert newest_checkpoint(path)[0].position.epochs == 2
    (tmp_path / "c-2.h5").write_bytes(b"")
    with pytest.raises(FileError, match=r"c\.h5"):
        newest_checkpoint(path)


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint(position=Position(7)))
    path.rename(tmp_path / "c-1.h5")
    found, told = newest_checkpoint(path)
    assert found.position.epochs == 7
    assert len(told) == 1


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stands(tmp_path):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint(position=Position(1)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from disinhib.validation import FileError, newest_checkpoint, write_checkpoint\n"
        "path = Path(sys.argv[1])\n"
        "found, _ = newest_checkpoint(path)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    write_checkpoint(path, found)\n"
        "except FileError as problem:\n"
        "    print(problem)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limits
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.strip().splitlines()) == 1
    assert "cannot be written" in result.stdout
    assert "what was saved before stands" in result.stdout
    assert read_checkpoint(path).position.epochs == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5"]


def test_a_directory_that_is_gone_is_one_line(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_checkpoint(folder / "c.h5", checkpoint())
    shutil.rmtree(folder)
    with pytest.raises(FileError, match="run: the directory is gone") as problem:
        write_checkpoint(folder / "c.h5", checkpoint())
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_file_cannot_make_us_allocate_more_than_it_holds(tmp_path, compression):
    """A terabyte of fill values takes no room in a file."""
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    with h5py.File(path, "a") as file:
        del file["parameters/readout/weight"]
        file["parameters/readout"].create_dataset(
            "weight", (2**20, 2**17), np.float64, chunks=(1024, 1024), compression=compression
        )
    with pytest.raises(FileError, match="claims 1,099,511,627,776 bytes, of which 0 are stored"):
        read_checkpoint(path)


def test_only_numbers_are_read(tmp_path):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    with h5py.File(path, "a") as file:
        del file["parameters/readout/weight"]
        file["parameters/readout/weight"] = ["text", "of any", "length"]
    with pytest.raises(FileError, match="numbers are needed"):
        read_checkpoint(path)
