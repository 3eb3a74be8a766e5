"""Files that were damaged, or made to do harm: one line or the right content, nothing else."""

import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from disinhib.validation import (
    FileError,
    Position,
    newest_checkpoint,
    read_checkpoint,
    read_trace,
    shipped_directory,
    write_checkpoint,
)
from disinhib.validation.parameter_groups import named_arrays

from .test_files import checkpoint

N_FLIPS = 1000


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


def test_no_flipped_bit_goes_unseen(tmp_path):
    """What is read is what was written, or nothing is."""
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    whole, expected = path.read_bytes(), content_of(read_checkpoint(path))
    generator = np.random.default_rng(0)
    damaged = tmp_path / "damaged.h5"
    seen = 0
    for at, bit in zip(
        generator.integers(0, len(whole), N_FLIPS), generator.integers(0, 8, N_FLIPS), strict=True
    ):
        content = bytearray(whole)
        content[at] ^= 1 << bit
        damaged.write_bytes(content)
        found = read_or_line(read_checkpoint, damaged)
        seen += found is None
        assert found is None or content_of(found) == expected, f"byte {at}, bit {bit}"
    # Most of a small HDF5 file is structure and gaps, but not all of it.
    assert seen > N_FLIPS / 10


def test_a_file_cut_short_anywhere_is_one_line(tmp_path):
    path = tmp_path / "c.h5"
    write_checkpoint(path, checkpoint())
    whole = path.read_bytes()
    for percent in range(100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        assert read_or_line(read_checkpoint, path) is None, percent


def test_a_trace_with_a_flipped_byte_never_crashes(tmp_path):
    whole = (shipped_directory() / "one-hidden-mse.h5").read_bytes()
    path = tmp_path / "t.h5"
    generator = np.random.default_rng(1)
    for at in generator.integers(0, len(whole), 200):
        content = bytearray(whole)
        content[at] ^= 0xFF
        path.write_bytes(content)
        read_or_line(read_trace, path)


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
    with pytest.raises(FileError, match="cannot be written") as problem:
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
