"""Bad files, made from good ones by a change of their structure: seeded, each by its number."""

import json
import shutil

import h5py
import numpy as np

from disinhib.validation.storage.signed_file import DIGEST, sign

NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e30, 1e-320, -1.0, 0.0, 3.0)
JSON_VALUES = (
    None,
    True,
    "text",
    "",
    -1,
    0,
    2,
    1e300,
    10**30,
    float("nan"),
    float("inf"),
    [],
    [1.0],
    [1, 2],
    {},
    {"a": 1},
)
ATTRIBUTES = (
    "text",
    "",
    "{}",
    "[]",
    "[" * 20_000,
    '{"a":' * 20_000,
    "é\N{ZERO WIDTH SPACE}",
    "two\nlines [bold]",
    b"bytes",
    0,
    -1,
    7,
    2**62,
    0.5,
    np.nan,
    np.inf,
    True,
    [1, 2],
    [0.5],
    ["a", "b"],
    h5py.Empty("f8"),
    np.zeros((0,)),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.ones(7, np.float16),
)
DTYPES = (
    np.float16,
    np.float32,
    np.float64,
    np.longdouble,
    ">f8",
    np.int8,
    np.int64,
    np.uint8,
    np.uint64,
    np.bool_,
    np.complex128,
)


def pick(generator, options):
    return options[int(generator.integers(len(options)))]


def everything(file):
    """Names of all groups and datasets."""
    names = []
    file.visit(names.append)
    return names


def change_file(path, generator):
    """Change one or two things in an HDF5 file; say what."""
    with h5py.File(path, "a") as file:
        told = []
        for _ in range(int(generator.integers(1, 3))):
            try:
                told.append(_change(file, generator))
            except (KeyError, OSError, RuntimeError, TypeError, ValueError) as problem:
                # As after a first change that left nothing to change: that one stands.
                told.append(f"a change that HDF5 refused: {problem}")
        # To sign is to go through all names, and of a loop they have no end.
        if DIGEST in file.attrs and not any(": loop" in one for one in told):
            try:
                sign(file)
            except Exception:
                # What nobody can sign is found as unsigned.
                told.append("unsigned")
    return "; ".join(told)


def _change(file, generator):
    names = everything(file)
    kind = pick(generator, ["value"] * 3 + ["dataset"] * 4 + ["object"] * 2 + ["attribute"] * 3)
    datasets = [name for name in names if isinstance(file.get(name), h5py.Dataset)]
    if kind == "attribute" or not datasets:
        return change_attribute(file, names, generator)
    if kind == "object":
        return change_object(file, pick(generator, names), generator)
    name = pick(generator, datasets)
    data = file[name]
    if kind == "value" and data.size and data.dtype.kind in "biuf":
        at = tuple(int(generator.integers(n)) for n in data.shape)
        value = pick(generator, NUMBERS)
        with np.errstate(all="ignore"):
            array = np.array(data[()])
            array[at] = np.array(value).astype(array.dtype)
            data[...] = array
        return f"{name}{list(at)} = {value}"
    return change_dataset(file, name, generator)


def change_dataset(file, name, generator):
    array = file[name][()]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        array = np.ones(3)
    changes = {
        "fewer": lambda: array[:-1] if array.ndim else array,
        "more": lambda: np.concatenate([array, array[:1]]) if array.ndim else array[None],
        "none": lambda: array[:0] if array.ndim else np.zeros(0),
        "last axis shorter": lambda: array[..., :-1] if array.ndim else array,
        "leading axis": lambda: array[None],
        "two replicas": lambda: np.stack([array, array]),
        "transposed": lambda: array.T,
        "flat": lambda: array.reshape(-1),
        "many axes": lambda: array.reshape((1,) * 20 + array.shape),
        "scalar": lambda: np.float64(1.0),
        "dtype": lambda: array.astype(pick(generator, DTYPES)),
        "text": lambda: "a text",
        "texts": lambda: ["a", "text"],
        "nothing": lambda: h5py.Empty("f8"),
        "records": lambda: np.zeros(array.shape, dtype=[("a", "f8"), ("b", "i4")]),
        "all nan": lambda: np.full(array.shape, np.nan),
        "all 0": lambda: np.zeros(array.shape),
        "negative": lambda: -array if array.dtype.kind == "f" else array,
        "packed": lambda: array,
        "lzf": lambda: array,
        "large chunks": lambda: array,
        "only claimed": lambda: array,
        "external": lambda: array,
    }
    what = pick(generator, sorted(changes))
    with np.errstate(all="ignore"):
        value = changes[what]()
    attributes = dict(file[name].attrs)
    del file[name]
    if what in ("packed", "lzf") and np.ndim(value) and np.size(value):
        file.create_dataset(name, data=value, compression="lzf" if what == "lzf" else "gzip")
    elif what == "large chunks" and np.ndim(value):
        free = (None,) * np.ndim(value)
        chunk = (2**12,) * min(np.ndim(value), 2) + (1,) * (np.ndim(value) - 2)
        file.create_dataset(name, data=value, maxshape=free, chunks=chunk, compression="gzip")
    elif what == "only claimed":
        shape = (2**40, *np.shape(value))
        file.create_dataset(name, shape, np.float64, chunks=(1,) * len(shape))
    elif what == "external":
        place = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, np.shape(value), np.uint8, external=place)
    else:
        file[name] = value
    for key, kept in attributes.items():
        file[name].attrs[key] = kept
    return f"{name}: {what}"


def change_object(file, name, generator):
    what = pick(
        generator,
        ("gone", "renamed", "a group", "a number", "soft", "external", "loop", "twice", "more"),
    )
    other = pick(generator, everything(file))
    if what == "renamed":
        file.move(name, f"{name[:-1]}{pick(generator, 'x0')}" + "~")
    elif what == "twice":
        file[f"{name}_again"] = file[other]
    elif what == "more":
        file[f"extra_{generator.integers(9)}"] = np.ones(2)
    elif what == "loop":
        holder = file[name] if isinstance(file[name], h5py.Group) else file[name].parent
        holder["loop"] = file["/"]
    else:
        del file[name]
        if what == "a group":
            file.create_group(name)
        elif what == "a number":
            file[name] = 1.0
        elif what == "soft":
            file[name] = h5py.SoftLink(f"/{other}")
        elif what == "external":
            file[name] = h5py.ExternalLink("/etc/passwd", f"/{other}")
    return f"{name}: {what} ({other})"


def change_attribute(file, names, generator):
    holders = [name for name in names if isinstance(file.get(name), h5py.HLObject)]
    holders = ["/"] * 3 + [name for name in holders if len(file[name].attrs)] + holders[:1]
    item = file[pick(generator, holders)]
    present = sorted(set(item.attrs) - {DIGEST})
    if not present or generator.random() < 0.05:
        item.attrs["extra"] = pick(generator, ATTRIBUTES)
        return f"{item.name}.extra"
    name = pick(generator, present)
    value = item.attrs[name]
    if isinstance(value, str) and value.startswith("{") and generator.random() < 0.7:
        item.attrs[name], told = change_json(value, generator)
        return f"{item.name}.{name}: {told}"
    if generator.random() < 0.2:
        del item.attrs[name]
        return f"{item.name}.{name}: gone"
    value = pick(generator, ATTRIBUTES)
    item.attrs[name] = value
    return f"{item.name}.{name} = {str(value)[:30]!r}"


def change_json(text, generator):
    """Change, remove or add a value anywhere in a JSON object."""
    root = json.loads(text)
    table = root
    while True:
        tables = [value for value in table.values() if isinstance(value, dict) and value]
        if not tables or generator.random() < 0.4:
            break
        table = pick(generator, tables)
    if generator.random() < 0.1 or not table:
        table["extra"] = pick(generator, JSON_VALUES)
        return json.dumps(root), "extra"
    key = pick(generator, sorted(table))
    if generator.random() < 0.15:
        del table[key]
        return json.dumps(root), f"no {key}"
    table[key] = pick(generator, JSON_VALUES)
    return json.dumps(root), f"{key} = {table[key]}"


def change_bytes(content, generator):
    """Change bytes of a file: flipped, cut, doubled, of another."""
    content = bytearray(content)
    at = int(generator.integers(len(content) + 1))
    what = pick(generator, ("flip", "cut", "more", "zeros", "front"))
    if what == "flip" and at < len(content):
        content[at] ^= 1 << int(generator.integers(8))
    elif what == "cut":
        del content[at:]
    elif what == "more":
        content += bytes(int(generator.integers(1, 40)))
    elif what == "zeros":
        content[at : at + 16] = bytes(len(content[at : at + 16]))
    else:
        content[: int(generator.integers(1, 8))] = b""
    return bytes(content), f"{what} at {at}"


def change_flat(directory, generator):
    """Change a flat directory: a line of its index or settings, or a file of numbers."""
    index = directory / "arrays.txt"
    lines = index.read_text(encoding="utf-8").splitlines()
    number = int(generator.integers(len(lines)))
    path, kind, *shape = lines[number].split()
    file = directory / f"{path}.bin"
    what = pick(
        generator,
        ("word", "kind", "shape", "twice", "gone", "path", "bytes", "numbers", "settings", "file"),
    )
    words = ("²", "٣", "-1", "9" * 5000, "9" * 30, "9" * 19, "1.0", "x", "0", "1 " * 100)
    if what == "word":
        lines[number] = f"{path} {kind} {' '.join([*shape, pick(generator, words)])}"
    elif what == "kind":
        kinds = ("float32", "float128", "int64", "object", "<f8", "uint8", "double", "")
        lines[number] = " ".join([path, pick(generator, kinds), *shape])
    elif what == "shape":
        shapes = (shape[::-1], shape[1:], ["1", *shape], [*shape[:-1], "0"], [])
        lines[number] = " ".join([path, kind, *pick(generator, shapes)])
    elif what == "twice":
        lines.append(lines[number])
    elif what == "gone":
        del lines[number]
    elif what == "path":
        paths = ("../../etc/passwd", "/etc/passwd", "", "a/../" + path, "\x1b[2J", "steps")
        lines[number] = " ".join([pick(generator, paths), kind, *shape])
    elif what == "bytes":
        content, told = change_bytes(file.read_bytes(), generator)
        file.write_bytes(content)
        return f"{path}: {told}"
    elif what == "numbers":
        array = np.fromfile(file, kind)
        array[int(generator.integers(array.size))] = pick(generator, NUMBERS)
        file.write_bytes(array.tobytes())
        return f"{path}: a number"
    elif what == "settings":
        text = pick(generator, ("precision", "precision x", "\0", "precision float16", "[b] x\n\n"))
        (directory / "settings.txt").write_bytes(text.encode() + b"\xff" * (number % 2))
    else:
        target = pick(generator, (file, index))
        target.unlink()
        if generator.random() < 0.5:
            target.mkdir()
        return f"{target.name}: gone or a directory"
    index.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{path}: {what}"


def copy_of(source, target):
    """A fresh copy of a file or a directory."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
