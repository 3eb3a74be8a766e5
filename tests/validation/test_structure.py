"""Files that lead out of themselves, or unfold to more than a machine holds."""

import os
import shutil
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from disinhib.experiments.paper.table import read_results
from disinhib.validation import (
    FileError,
    contents,
    find_traces,
    read_candidate,
    read_checkpoint,
    read_start,
    read_trace,
    shipped_directory,
)
from disinhib.validation.storage.hdf5 import ALWAYS_ALLOWED, MOST_EXPANSION
from disinhib.validation.storage.signed_file import sign

GOLDEN = shipped_directory() / "one-hidden-mse.h5"
SECRET = b"root:x:0:0:" * 100


def trace_copy(directory):
    path = directory / "t.h5"
    shutil.copy(GOLDEN, path)
    return path


def replaced(change):
    """A trace whose inputs are something else, of the same shape."""

    def make(directory):
        path = trace_copy(directory)
        (directory / "secret").write_bytes(SECRET)
        with h5py.File(directory / "other.h5", "w") as file:
            file["numbers"] = np.ones((3, 5, 12))
        with h5py.File(path, "a") as file:
            shape = file["inputs"].shape
            del file["inputs"]
            change(file, shape, directory)
        return path

    return make


def external_storage(file, shape, directory):
    place = [(str(directory / "secret"), 0, int(np.prod(shape)))]
    file.create_dataset("inputs", shape, np.uint8, external=place)


def external_link(file, shape, directory):
    file["inputs"] = h5py.ExternalLink(directory / "other.h5", "/numbers")


def soft_link_to_an_external_link(file, shape, directory):
    file["elsewhere"] = h5py.ExternalLink(directory / "other.h5", "/")
    file["inputs"] = h5py.SoftLink("/elsewhere/numbers")


def soft_link(file, shape, directory):
    file["x"] = np.ones(shape)
    file["inputs"] = h5py.SoftLink("/x")


def virtual(file, shape, directory):
    layout = h5py.VirtualLayout(shape, np.float64)
    layout[:] = h5py.VirtualSource(directory / "other.h5", "numbers", shape)
    file.create_virtual_dataset("inputs", layout)


def group_in_itself(file, shape, directory):
    file["steps/0000/open_loop/again"] = file["steps"]
    file["inputs"] = np.ones(shape)


LEADING_OUT = {
    external_storage: "dataset /inputs has external storage",
    external_link: "/(inputs|elsewhere) is an external link",
    soft_link_to_an_external_link: "/elsewhere is an external link",
    soft_link: "/inputs is a soft link",
    virtual: "dataset /inputs is virtual",
    group_in_itself: "group .* lies in itself",
}


@pytest.mark.parametrize("change", LEADING_OUT, ids=lambda change: change.__name__)
def test_what_leads_out_of_a_file_is_refused_wherever_it_is_opened(tmp_path, change):
    path = replaced(change)(tmp_path)
    trace = read_trace(GOLDEN)
    for read in (
        read_trace,
        read_checkpoint,
        lambda path: read_start(path, trace.configuration.sizes, 5, 100),
        lambda path: read_candidate(path, trace),
        contents,
        lambda path: find_traces([path.parent]),
        read_results,
    ):
        with pytest.raises(FileError, match=LEADING_OUT[change]) as problem:
            read(path)
        assert "\n" not in str(problem.value)


def test_a_pipe_is_refused_before_anyone_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "t.h5")
    with pytest.raises(FileError, match="is a pipe, socket or device: a file is needed"):
        read_trace(tmp_path / "t.h5")
    with pytest.raises(FileError, match="is a directory: a file is needed"):
        contents(tmp_path)


def test_one_object_may_have_two_names_and_the_digest_knows_both(tmp_path):
    """As where a port says that the final parameters are those after the last step."""
    path = trace_copy(tmp_path)
    with h5py.File(path, "a") as file:
        del file["final_parameters"]
        file["final_parameters"] = file["steps/0002/parameters_after"]
        sign(file)
        signed = file.attrs["sha256"]
    np.testing.assert_array_equal(
        read_trace(path).final_parameters.readout, read_trace(GOLDEN).final_parameters.readout
    )
    with h5py.File(path, "a") as file:
        del file["final_parameters/readout/weight"]
        file["final_parameters/readout/weight"] = file["initial_parameters/readout/weight"]
        sign(file)
        assert file.attrs["sha256"] != signed


def fill_values(file):
    file.create_dataset("inputs", (2**29,), np.float64, chunks=(2**20,), compression="gzip")


def hard_links(file):
    step = file.create_group("steps/0000")
    step.create_dataset("u", (2**20,), np.float64, compression="gzip", data=np.zeros(2**20))
    for number in range(1, 300):
        file[f"steps/{number:04d}"] = step


def groups_of_two(file):
    """2³⁰ names of one number."""
    below = file.create_group("g29")
    below["x"] = 1.0
    for depth in reversed(range(29)):
        group = file.create_group(f"g{depth}")
        group["a"] = group["b"] = below
        below = group


def a_chunk_that_inflates(file):
    data = file.create_dataset("inputs", (1000,), np.float64, chunks=(1000,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(2**27), 1))


def one_number_of_a_large_chunk(file):
    data = file.create_dataset(
        "inputs", (1,), np.float64, maxshape=(None,), chunks=(2**28,), compression="gzip"
    )
    data.id.write_direct_chunk((0,), zlib.compress(bytes(2**25)))


def a_text_many_times(file):
    file.attrs["many"] = ["x" * 200] * 4000


def packed_twice(file):
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((1000,))
    layout.set_deflate(9)
    layout.set_deflate(9)
    kind, space = h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((1000,))
    data = h5py.Dataset(h5py.h5d.create(file.id, b"inputs", kind, space, dcpl=layout))
    data.id.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(2**27), 1)))


UNFOLDING = {
    fill_values: "claims 4,294,967,296 bytes, of which 0 are stored",
    hard_links: "bytes unfold to .* at most 16,777,216 are read",
    groups_of_two: "bytes unfold to",
    a_chunk_that_inflates: "has a chunk that unpacks to more than its 8,004 bytes",
    one_number_of_a_large_chunk: "bytes unfold to",
    a_text_many_times: "bytes unfold to",
    packed_twice: r"has filters \[1, 1\] of HDF5",
}
LARGEST_GROWTH = 48 * 2**20
"""Bytes; each of these files would take 128 MiB or more."""


def test_a_small_file_takes_little_memory(tmp_path):
    """In a process of its own, whose peak is measured."""
    for make in UNFOLDING:
        with h5py.File(tmp_path / f"{make.__name__}.h5", "w") as file:
            make(file)
    code = (
        "import resource, sys\n"
        "from disinhib.validation import FileError, contents\n"
        "def peak():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        contents(path)\n"
        "    except FileError as problem:\n"
        "        print(peak() - before, problem)\n"
    )
    paths = [str(tmp_path / f"{make.__name__}.h5") for make in UNFOLDING]
    result = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    assert len(lines) == len(UNFOLDING), lines
    for line, message in zip(lines, UNFOLDING.values(), strict=True):
        growth, _, problem = line.partition(" ")
        assert int(growth) < LARGEST_GROWTH, line
        with pytest.raises(FileError, match=message):
            raise FileError(problem)


@pytest.mark.parametrize(("factor", "allowed"), [(0.9, True), (1.1, False)])
def test_the_limit_is_where_it_is_said_to_be(tmp_path, factor, allowed):
    """Numbers at eight bytes each, against the file's size; below 16 MiB they are free."""
    path = tmp_path / "x.h5"
    padding = 2 * ALWAYS_ALLOWED // MOST_EXPANSION
    with h5py.File(path, "w") as file:
        file["noise"] = np.frombuffer(np.random.default_rng(0).bytes(padding), np.uint64)
        zeros = np.zeros(int(factor * MOST_EXPANSION * padding / 8), np.uint8)
        file.create_dataset("zeros", data=zeros, compression="gzip", chunks=(2**16,))
    if allowed:
        assert contents(path)[1][-1][3] == "0 … 0"
        return
    with pytest.raises(FileError, match="bytes unfold to"):
        contents(path)
