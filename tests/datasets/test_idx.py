"""The IDX reader against files written byte by byte."""

import gzip
import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError
from disinhib.datasets.image_files import read_idx

# type code, struct letter, dtype, values that a wrong byte order or sign would change
TYPES = [
    (0x08, "B", np.uint8, [0, 1, 2, 127, 128, 255]),
    (0x09, "b", np.int8, [0, 1, -1, 127, -128, 5]),
    (0x0B, "h", np.int16, [0, 1, -1, 256, -32768, 32767]),
    (0x0C, "i", np.int32, [0, 1, -1, 65536, -(2**31), 2**31 - 1]),
    (0x0D, "f", np.float32, [0.0, 1.0, -1.0, 0.5, -2.25, 1024.0]),
    (0x0E, "d", np.float64, [0.0, 1.0, -1.0, 0.1, -2.25, 1e300]),
]


def header(code, *lengths):
    return struct.pack(f">HBB{len(lengths)}I", 0, code, len(lengths), *lengths)


def write(directory, content, packed):
    path = directory / ("data.gz" if packed else "data")
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def message_of(path):
    with pytest.raises(DatasetError) as caught:
        read_idx(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("code", "letter", "dtype", "values"), TYPES)
def test_reads_what_was_written(tmp_path, packed, code, letter, dtype, values):
    content = header(code, 2, 3) + struct.pack(f">6{letter}", *values)
    array = read_idx(write(tmp_path, content, packed))
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert np.array_equal(array, np.array(values, dtype).reshape(2, 3))


def test_last_dimension_is_fastest(tmp_path):
    array = read_idx(write(tmp_path, header(8, 2, 3, 4) + bytes(range(24)), False))
    assert array[1, 2, 3] == 23
    assert array[0, 1, 0] == 4


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated: expected an IDX header of at least 4 bytes, found 0"),
        (b"\0\0\x08", "at least 4 bytes, found 3"),
        (b"\x89PNG....", "expected to begin with 0x0000, found 0x8950"),
        (header(0x0A, 1) + b"x", "expected one of 0x08, 0x09, 0x0b.*, found 0x0a"),
        (header(8, 2, 3)[:-1], "expected an IDX header of 12 bytes for 2 dimensions, found 11"),
        (header(8, 2, 3) + bytes(5), r"truncated: expected 18 bytes for shape \(2, 3\).*found 17"),
        (header(8, 2, 3) + bytes(7), r"trailing bytes: expected 18 bytes.*found 19"),
        (header(0x0C, 2) + bytes(4), "expected 16 bytes.*int32, found 12"),
        (header(8, *[2**32 - 1] * 3) + bytes(9), "truncated"),
        (header(8, 0, *[2**32 - 1] * 3), "expected a shape NumPy can hold"),
        (header(8, *[1] * 200) + b"x", "expected a shape NumPy can hold"),
    ],
)
def test_malformed_files_are_named(tmp_path, packed, content, words):
    message = message_of(write(tmp_path, content, packed))
    assert re.search(words, message)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda packed: packed[:-9], id="cut"),
        pytest.param(lambda packed: packed[:5], id="cut header"),
        pytest.param(lambda packed: packed[:-8] + bytes(8), id="checksum"),
        pytest.param(lambda packed: packed[:12] + b"\xff\xff\xff" + packed[15:], id="stream"),
        pytest.param(lambda packed: packed[:10] + b"\xff" + packed[11:], id="block type"),
        pytest.param(lambda packed: packed + b"junk", id="trailing bytes"),
        pytest.param(lambda packed: b"not gzip at all", id="not gzip"),
    ],
)
def test_corrupt_gzip_is_named(tmp_path, damage):
    path = tmp_path / "data.gz"
    path.write_bytes(damage(gzip.compress(header(8, 64) + bytes(range(64)))))
    # What is unpacked before the damage shows may be no IDX file.
    assert re.search("expected a sound gzip file, found|expected to begin with", message_of(path))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data")
    assert "expected a file, found a pipe, socket or device" in message_of(tmp_path / "data")


def test_a_small_file_takes_little_memory(tmp_path):
    """No more is unpacked than the header says and a byte, and no more than the size allows."""
    inflated = 2**27
    small = gzip.compress(header(8, 10) + bytes(inflated), 1)
    honest = gzip.compress(header(8, inflated) + bytes(inflated), 1)
    paths = [tmp_path / "behind.gz", tmp_path / "honest.gz", tmp_path / "claimed.gz"]
    for path, content in zip(paths, (small, honest, honest[:100]), strict=True):
        path.write_bytes(content)
    (tmp_path / "sparse").write_bytes(header(8, 10))
    os.truncate(tmp_path / "sparse", 2**40)
    code = (
        "import resource, sys\n"
        "from disinhib.datasets.dataset import DatasetError\n"
        "from disinhib.datasets.image_files import read_idx\n"
        "def peak():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        read_idx(path)\n"
        "    except DatasetError as problem:\n"
        "        print(peak() - before, problem)\n"
    )
    paths.append(tmp_path / "sparse")
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    messages = (
        "trailing bytes: expected 18 bytes .* found 19 or more",
        f"at most {64 * len(honest)} bytes, 64 times",
        "expected a sound gzip file",
        f"trailing bytes: expected 18 bytes .* found {2**40}",
    )
    lines = result.stdout.splitlines()
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages, strict=True):
        assert re.search(message, line)
        # Twice what may be unpacked of the larger, 0.6 MB: pieces are joined in one array.
        assert int(line.split()[0]) < 2 * 64 * len(honest), line
    assert 2 * 64 * len(honest) < inflated


def test_the_limit_is_where_it_is_said_to_be(tmp_path):
    noise = np.random.default_rng(0).bytes(2**18 + 2**16)
    most = 64 * (len(noise) + 2**14)
    for factor in (0.9, 1.2):
        zeros = bytes(int(factor * most))
        content = header(8, len(zeros) + len(noise)) + noise + zeros
        path = write(tmp_path, content, True)
        if factor < 1:
            assert len(read_idx(path)) == len(zeros) + len(noise)
        else:
            assert "64 times its size" in message_of(path)


def test_unreadable_paths_are_named(tmp_path):
    assert "No such file" in message_of(tmp_path / "absent")
    assert "directory" in message_of(tmp_path)
