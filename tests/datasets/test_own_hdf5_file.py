"""Somebody's own data from an HDF5 file: as from a .npz file, and nothing from elsewhere."""

import h5py
import numpy as np
import pytest

from disinhib.datasets import DatasetError, dataset_digest, load_dataset

from .test_own_file import N, arrays, line_or_digest, wrong


def written(path, **contents):
    """As h5py writes arrays; text, which it takes as objects alone, of any length."""
    with h5py.File(path, "w") as file:
        for name, array in contents.items():
            is_text = array.dtype.kind == "U"
            kind = h5py.string_dtype() if is_text else array.dtype
            file.create_dataset(name, data=array.astype(object) if is_text else array, dtype=kind)
    return str(path)


def refusal(path):
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(path))
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


@pytest.mark.parametrize("ending", [".h5", ".hdf5", ".H5"])
@pytest.mark.parametrize("dtype", ["u1", "?", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("labels", [("ant", "bee", "cät"), (-3, 7, 100)], ids=["text", "numbers"])
def test_it_is_what_a_npz_file_of_the_same_arrays_is(tmp_path, ending, dtype, labels):
    own = arrays(dtype, labels=labels)
    np.savez(tmp_path / "own.npz", **own)
    found = load_dataset(written(tmp_path / f"own{ending}", **own))
    wanted = load_dataset(str(tmp_path / "own.npz"))
    assert dataset_digest(found) == dataset_digest(wanted)
    assert found.class_names == tuple(map(str, labels))
    assert (found.name, found.image_shape, found.full_scale) == (
        "own",
        (4, 3),
        {"u1": 255, "?": 1}.get(dtype),
    )
    assert found.source == str(tmp_path / f"own{ending}")


def test_parts_that_are_given_are_kept_in_their_order(tmp_path):
    own = arrays("f8", (4,))
    given = {
        "x": own["x"][:40], "y": own["y"][:40], "x_valid": own["x"][40:50],
        "y_valid": own["y"][40:50], "x_test": own["x"][50:], "y_test": own["y"][50:],
    }  # fmt: skip
    data = load_dataset(written(tmp_path / "own.h5", **given))
    for part, first, last in (("train", 0, 40), ("validation", 40, 50), ("test", 50, 60)):
        split = getattr(data, part)
        np.testing.assert_array_equal(split.images, own["x"][first:last])
        assert [data.name_of(label) for label in split.labels] == list(own["y"][first:last])


@pytest.mark.parametrize("filters", [{"compression": "gzip"}, {"shuffle": True, "chunks": True}])
@pytest.mark.parametrize("text", ["any length", "fixed length"])
def test_packed_arrays_and_either_kind_of_text_are_read(tmp_path, filters, text):
    own, kind = arrays("u1"), h5py.string_dtype()
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.create_dataset("x", data=own["x"], **filters)
        y = own["y"].astype("S") if text == "fixed length" else own["y"].astype(object)
        file.create_dataset("y", data=y, dtype=None if text == "fixed length" else kind, **filters)
    np.savez(tmp_path / "own.npz", **own)
    digests = [dataset_digest(load_dataset(str(tmp_path / f"own.{end}"))) for end in ("h5", "npz")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (wrong(y=None), "found x without y"),
        (wrong(x=None, y=None), "found no x and y"),
        (wrong(z=np.zeros(3)), "found an array 'z', expected x, y, x_valid, y_valid, x_test"),
        (wrong(x=np.zeros(N)), "found x of shape (60,), expected (n, ...)"),
        (wrong(y=np.zeros(N - 1, int)), "found y of shape (59,), expected (60,)"),
        (wrong(y=np.zeros(N)), "found y of float64, expected whole numbers or text"),
        (wrong(y=np.zeros(N, int)), "found the class '0' alone in y"),
        (wrong(x=np.full((N, 4), np.nan)), "found 240 values of x that are no finite numbers"),
        (wrong(x=np.array(["a"] * N)), "x has dtype object: numbers are needed"),
        (wrong(y=np.array([["a"]] * N)), "shape (60, 1): numbers or texts, (n,), are needed"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, contents, said):
    assert said in refusal(written(tmp_path / "own.h5", **contents))


def link_elsewhere(file, path):
    written(path / "other.h5", **arrays())
    file["x"] = h5py.ExternalLink(str(path / "other.h5"), "/x")


def link_within(file, path):
    file["z"] = arrays()["x"]
    file["x"] = h5py.SoftLink("/z")


def stored_elsewhere(file, path):
    (path / "raw").write_bytes(bytes(N * 4))
    shape, place = (N, 4), [(str(path / "raw"), 0, N * 4)]
    file.create_dataset("x", shape=shape, dtype="u1", external=place)


def virtual(file, path):
    written(path / "other.h5", **arrays("u1", (4,)))
    layout = h5py.VirtualLayout(shape=(N, 4), dtype="u1")
    layout[:] = h5py.VirtualSource(str(path / "other.h5"), "x", shape=(N, 4))
    file.create_virtual_dataset("x", layout)


def nothing_stored(file, path):
    file.create_dataset("x", shape=(10**12, 4), dtype="u1", chunks=(1000, 4))


def a_bomb(file, path):
    file.create_dataset("x", data=np.zeros((10**5, 400), "u1"), compression="gzip", chunks=True)


def another_filter(file, path):
    file.create_dataset("x", data=arrays()["x"], compression="lzf")


def a_group(file, path):
    file.create_group("x")


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (link_elsewhere, "/x is an external link: what is read must lie in the file itself"),
        (link_within, "/x is a soft link: what is read must lie in the file itself"),
        (stored_elsewhere, "dataset /x has external storage: its numbers lie elsewhere"),
        (virtual, "dataset /x is virtual: its numbers lie elsewhere"),
        (nothing_stored, "claims 4,000,000,000,000 bytes, of which 0 are stored"),
        (a_bomb, "bytes unfold to"),
        (another_filter, "gzip, shuffle and fletcher32 are read"),
        (a_group, "/x is missing"),
    ],
)
def test_nothing_lies_elsewhere_nor_unfolds_to_more_than_its_file_allows(tmp_path, fill, said):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["y"] = np.arange(N) % 2
        fill(file, tmp_path)
    assert said in refusal(tmp_path / "own.h5")


def test_one_long_text_under_many_numbers_is_not_unfolded(tmp_path):
    """10,000 references, 16 bytes each, to a text of 100,000 characters: a gigabyte."""
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((10**4, 1), "u1")
        many = file.create_dataset("y", (10**4,), h5py.string_dtype())
        many[0] = "a" * 10**5
        file.flush()
        place = many.id.get_offset()
    content = bytearray(path.read_bytes())
    content[place : place + 16 * 10**4] = content[place : place + 16] * 10**4
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert len(file["y"][-1]) == 10**5
    assert "unfold to" in refusal(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("x,y\n")
    assert "not a readable HDF5 file" in refusal(tmp_path / "text.h5")
    assert "no such file" in refusal(tmp_path / "none.h5")
    (tmp_path / "folder.h5").mkdir()
    assert "is a directory: a file is needed" in refusal(tmp_path / "folder.h5")


def test_a_file_cut_short_anywhere_is_one_line(tmp_path):
    path = tmp_path / "own.h5"
    written(path, **arrays("u1", (3,)))
    whole = path.read_bytes()
    for percent in range(0, 100, 5):
        path.write_bytes(whole[: len(whole) * percent // 100])
        refusal(path)


@pytest.mark.parametrize("flips", [80, pytest.param(400, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_one_line_or_other_data_or_no_change(tmp_path, flips):
    """HDF5 has no checksum of its own on arrays: another value is for the digest to tell."""
    path = tmp_path / "own.h5"
    written(path, **arrays("u1", (3,)))
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(flips):
        content = bytearray(whole)
        content[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(content)
        line = line_or_digest(path)
        refused += line.startswith(str(path))
        assert "\n" not in line
    assert 40 * refused > flips
