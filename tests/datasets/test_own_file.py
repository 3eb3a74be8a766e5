"""Somebody's own data from a .npz file: what becomes of it, and what is refused in a line."""

import pickle
import zipfile

import numpy as np
import pytest

from disinhib.datasets import DatasetError, dataset_digest, load_dataset, softened_labels

N = 60


def arrays(dtype="f4", shape=(4, 3), labels=("ant", "bee", "cat")):
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 1, (N, *shape))
    x = (255 * x).astype("u1") if dtype == "u1" else (x > 0.5) if dtype == "?" else x.astype(dtype)
    return {"x": x, "y": np.array(labels)[np.arange(N) % len(labels)]}


def written(path, **contents):
    np.savez(path, **contents)
    return str(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["u1", "?", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (4, 3, 3)], ids=str)
def test_every_sample_is_in_one_part_with_its_class(tmp_path, save, dtype, shape):
    own = arrays(dtype, shape)
    path = tmp_path / "own.npz"
    save(path, **own)
    data = load_dataset(str(path))
    assert (data.name, data.n_classes, data.image_shape) == ("own", 3, shape)
    assert data.class_names == ("ant", "bee", "cat")
    assert data.source == str(path)
    parts = (data.train, data.validation, data.test)
    assert [len(part.labels) for part in parts] == [48, 6, 6]
    scale = 255 if dtype == "u1" else 1
    wanted = {
        (np.ravel(x) / scale).astype("f8").tobytes(): y for x, y in zip(*own.values(), strict=True)
    }
    found = {
        np.asarray(data.inputs(image), "f8").tobytes(): data.name_of(label)
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    }
    assert found == wanted


def test_parts_that_are_given_are_kept_in_their_order(tmp_path):
    own = arrays("f8", (4,))
    given = {
        "x": own["x"][:40], "y": own["y"][:40], "x_valid": own["x"][40:50],
        "y_valid": own["y"][40:50], "x_test": own["x"][50:], "y_test": own["y"][50:],
    }  # fmt: skip
    data = load_dataset(written(tmp_path / "own.npz", **given))
    for part, first, last in (("train", 0, 40), ("validation", 40, 50), ("test", 50, 60)):
        split = getattr(data, part)
        np.testing.assert_array_equal(split.images, own["x"][first:last])
        assert [data.name_of(label) for label in split.labels] == list(own["y"][first:last])


def test_with_a_test_set_alone_a_tenth_validates(tmp_path):
    own = arrays()
    given = {**own, "x_test": own["x"][:7], "y_test": own["y"][:7]}
    data = load_dataset(written(tmp_path / "own.npz", **given))
    assert [len(p.labels) for p in (data.train, data.validation, data.test)] == [54, 6, 7]


def test_classes_may_be_any_whole_numbers(tmp_path):
    data = load_dataset(written(tmp_path / "own.npz", **arrays(labels=(-3, 7, 100))))
    assert data.class_names == ("-3", "7", "100")
    assert set(data.train.labels) == {0, 1, 2}
    assert softened_labels(data.train.labels, 3).shape == (48, 3)


def test_the_parts_are_the_same_each_time_and_the_digest_knows_the_content(tmp_path):
    path = tmp_path / "own.npz"
    first = dataset_digest(load_dataset(written(path, **arrays())))
    assert dataset_digest(load_dataset(written(path, **arrays()))) == first
    changed = arrays()
    changed["x"][0, 0, 0] += 1
    assert dataset_digest(load_dataset(written(path, **changed))) != first


def wrong(**changes):
    return {name: value for name, value in {**arrays(), **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (wrong(y=None), "found x without y"),
        (wrong(x=None), "found y without x"),
        (wrong(x=None, y=None), "found no x and y"),
        (wrong(z=np.zeros(3)), "found an array 'z', expected x, y, x_valid, y_valid, x_test"),
        (wrong(x=np.zeros(N)), r"found x of shape \(60,\), expected \(n, ...\)"),
        (wrong(x=np.zeros((N, 0))), r"found x of shape \(60, 0\)"),
        (wrong(y=np.zeros(N - 1, int)), r"found y of shape \(59,\), expected \(60,\)"),
        (wrong(y=np.zeros((N, 3), int)), r"found y of shape \(60, 3\)"),
        (wrong(y=np.zeros(N)), "found y of float64, expected whole numbers or text"),
        (wrong(y=np.zeros(N, int)), "found the class '0' alone in y"),
        (wrong(x=np.zeros((N, 4), int)), "found x of int64, expected uint8, 0 to 255, or floats"),
        (wrong(x=np.full((N, 4), np.nan)), "found 240 values of x that are no finite numbers"),
        (wrong(x=np.zeros((19, 4)), y=np.arange(19) % 2), "found 19 samples in x, expected at lea"),
        (wrong(x_test=np.zeros((3, 4, 3))), "found x_test without y_test"),
        (
            wrong(x_test=np.zeros((3, 4, 3)), y_test=np.array(["ant"] * 3)),
            r"found float64 \(4, 3\) a sample in x_test, expected float32 \(4, 3\) as in x",
        ),
        (
            wrong(x_test=np.zeros((3, 4, 3), "f4"), y_test=np.array(["ant", "bee", "dog"])),
            "found the class 'dog' in y_test, expected one of y's: ant, bee, cat",
        ),
        (
            wrong(x_test=np.zeros((2, 4, 3), "f4"), y_test=np.array([0, 1])),
            "found whole numbers in y_test, expected text as in y",
        ),
        (wrong(y=np.array([{}] * N)), "y.npy is of object, and numbers or text are needed"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, contents, said):
    path = written(tmp_path / "own.npz", **contents)
    with pytest.raises(DatasetError, match=said) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def packed(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def header(shape, dtype="|u1"):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"x.npy": header((10**12, 4))}, "has 0 bytes for uint8 of shape"),
        ({"x.npy": header((2, 4)) + bytes(9)}, "has 9 bytes for uint8 of shape"),
        ({"x.npy": bytes(200_000_000)}, "200,000,000 bytes packed in it, expected at most"),
        ({"x.npy": b"no array"}, "not a file that numpy.savez wrote"),
        ({"x.npy": header((1,), "|O") + pickle.dumps([print])}, "is of object"),
        ({"x.npy": b"\x93NUMPY\x03\x00"}, "is of an unknown version"),
        ({"x.npy": header("(True, 4)") + bytes(4)}, "not a file that numpy.savez wrote"),
        ({"y.npy": header((1,), "<U1") + b"\x00\x00\x11\x00"}, "has text that is none"),
        ({"y.npy": header((1,), "<U1") + b"\x00\xd8\x00\x00"}, "has text that is none"),
        ({"y.npy": header((1,)) + b"0", "y": header((1,)) + b"0"}, "found an array twice"),
    ],
    ids=[
        "a lie",
        "too many",
        "a bomb",
        "no array",
        "a pickle",
        "a later version",
        "a truth",
        "no text",
        "half a pair",
        "twice",
    ],
)
def test_no_file_takes_more_than_it_holds_nor_runs_anything(tmp_path, entries, said):
    path = tmp_path / "own.npz"
    packed(path, entries)
    with pytest.raises(DatasetError, match=said):
        load_dataset(str(path))


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "own.npz"
    text.write_text("x,y\n")
    with pytest.raises(DatasetError, match=r"not a file that numpy\.savez wrote"):
        load_dataset(str(text))
    with pytest.raises(DatasetError, match="no such file"):
        load_dataset(str(tmp_path / "none.npz"))
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DatasetError, match="not a file, expected one that"):
        load_dataset(str(tmp_path / "folder.npz"))


def test_a_file_is_looked_for_where_the_data_are_said_to_lie(tmp_path):
    written(tmp_path / "own.npz", **arrays())
    assert load_dataset("elsewhere/own.npz", tmp_path).source == str(tmp_path / "own.npz")


def test_great_labels_are_told_apart_whatever_their_type(tmp_path):
    """In float64 2^53 and 2^53 + 1 are one."""
    y = 2**53 + np.arange(N) % 3
    given = {**arrays(), "y": y, "x_test": arrays()["x"], "y_test": y.astype(np.uint64)}
    data = load_dataset(written(tmp_path / "own.npz", **given))
    np.testing.assert_array_equal(data.test.labels, np.arange(N) % 3)
    with pytest.raises(DatasetError, match=r"in y, expected at most 2\^63"):
        load_dataset(
            written(tmp_path / "own.npz", **{**arrays(), "y": np.uint64(2**63) + y.astype("u8")})
        )


def test_names_of_bytes_are_those_of_text(tmp_path):
    given = arrays()
    more = {"x_test": given["x"], "y_test": given["y"].astype("S")}
    data = load_dataset(written(tmp_path / "own.npz", **given, **more))
    assert data.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_one_line_or_no_change(tmp_path, every):
    """Every array has a checksum; of what is beside them only names and lengths matter."""
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **arrays("u1", (3,)))
    whole, digest = path.read_bytes(), dataset_digest(load_dataset(str(path)))
    found = 0
    for position in range(0, 8 * len(whole), every):
        content = bytearray(whole)
        content[position // 8] ^= 1 << position % 8
        path.write_bytes(content)
        line = line_or_digest(path)
        is_found = line.startswith(str(path))
        assert is_found or line == digest
        assert "\n" not in line
        found += is_found
    assert every * found > 4 * len(whole)


def line_or_digest(path):
    try:
        return dataset_digest(load_dataset(str(path)))
    except DatasetError as problem:
        return str(problem)
