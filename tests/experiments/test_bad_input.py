"""Generated bad input: each ends in one line and exit code 2, or in a right run."""

import contextlib
import dataclasses
import json
import math
import random
import re

import numpy as np
import pytest
import tomli_w

from disinhib.backends.precision import settings_as
from disinhib.experiments.training.configuration import (
    SECTIONS,
    SETTINGS,
    TOP,
    run_configuration,
)
from disinhib.experiments.training.epochs import CheckpointInterval
from disinhib.refimpl.configuration import ConfigurationError, NetworkConfiguration
from disinhib.refimpl.continuous import ContinuousLearning, Departures
from disinhib.refimpl.end_state import Recording

from .test_command_line import disinhib, in_a_process, said

SEED = 15

FOREIGN = re.compile(
    "Input should|Value error|after validation|pydantic|valid integer|Traceback|unhashable|"
    "not supported between|has no attribute|positional argument|unexpected keyword|object is not"
)
"""Wording of a library or of Python itself."""

NUMBERS = [
    0, 1, -1, 2, 0.5, -0.0, 1e-300, 1e-46, 1e300, 4e38, 1e308, -1e300, math.inf, -math.inf,
    math.nan, 2**31, 2**63, 2**64, 10**19, 10**30, -(2**70), 1.5, 2.5, 1e-12, 1e12,
]  # fmt: skip
OTHERS = [
    True, False, "", "1", "x", "nan", "١", "[bold]", "a\nb", "\x1b[2J", "\0", "é" * 300, [], [1.0],
    [1.0, 2.0], [[1.0]], [True], ["adam"], {}, {"a": 1}, {"k_p": [1]},
]  # fmt: skip
VALUES = NUMBERS + OTHERS
SMALL = {"hidden": [3], "epochs": 1, "batch_size": 675}
EXTREME = {2**31, 2**63, 2**64, 10**19, 10**30, 1e12, 1e-12}
"""What a precision holds, but at which a fixed point takes minutes: other tests go there."""

DEFAULTS = {**run_configuration({}, "test").as_dict(), **SMALL}
LONG = {"epochs", "max_steps", "horizon", "dt", "dt_min", "dt_max", "rtol", "atol", "method"}
"""Settings that make right runs long; only refused values of theirs are tried."""


def call(*arguments):
    """Run the command in this process: exit code, and lines on standard error."""
    result = disinhib(*arguments)
    return result.returncode, said(result.stderr)


def outcome(make):
    """What is made, and why not if it is refused."""
    try:
        return make(), ""
    except ConfigurationError as problem:
        return None, str(problem)


def one_line(what, code, lines):
    assert len(lines) == 1, (what, code, lines)
    assert lines[0].startswith("disinhib: "), (what, lines)
    assert not FOREIGN.search(lines[0]), (what, lines)
    assert lines[0].isprintable(), (what, lines)
    assert len(lines[0]) < 1200, (what, lines)


def is_right_run(directory):
    records = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
    losses = [records[-1][name] for name in ("train_loss", "valid_loss", "test_loss")]
    return len(records) == 1 and all(map(math.isfinite, losses))


def takes_long(section, key, value):
    """Whether a number, if it is taken, may make the run a long one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return key in LONG or (value in EXTREME and section not in (TOP, "optimizer", "solver"))


def right_value(draw, section, key):
    """A value that a setting may have, where it may be asked for there."""
    default = (DEFAULTS.get(section, {}) if section else DEFAULTS).get(key, 0.25)
    is_free = isinstance(default, float) and key not in LONG
    return draw.choice([0.5, 1.0, 1.5]) * default if is_free else default


def bad_settings(draw):
    """One to three settings of a run, put somewhere in its file with some value."""
    settings = {**SMALL, "hidden": list(SMALL["hidden"])}
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        section = draw.choice(list(SETTINGS))
        key = draw.choice(SETTINGS[draw.choice([section, section, section, TOP, "solver"])])
        if draw.random() < 0.1:
            key = "".join(draw.sample(key, len(key)))
        value = draw.choice(VALUES)
        if draw.random() < 0.4:
            value = right_value(draw, section, key)
        elif takes_long(section, key, value):
            value = draw.choice(OTHERS)
        if section and draw.random() > 0.05:
            if isinstance(settings.get(section, {}), dict):
                settings.setdefault(section, {})[key] = value
        else:
            settings[section if section and draw.random() < 0.3 else key] = value
    return settings


def damaged_text(draw, text):
    """The bytes of a file of settings, cut, doubled or overwritten somewhere."""
    content = bytearray(text.encode())
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) or 1)
        piece = draw.choice(
            [b"", b"\xff", b"\0", b"\xef\xbb\xbf", b"[", b"]]", b"=", b"'", b'"""', b"\n", b"\r",
             b"#", b"[[a]]\n", b"9" * 5000, b"[" * 3000, b"1979-05-27", b"inf", b"\xe2\x80\xae"]
        )  # fmt: skip
        content[at : at + draw.choice([0, 0, 1, 3])] = piece
    return bytes(content)


def try_configurations(tmp_path, n):
    """Files of settings for `disinhib train`, and counts of what became of them."""
    draw, counts = random.Random(SEED), {"refused": 0, "trained": 0, "diverged": 0}
    path = tmp_path / "c.toml"
    for number in range(n):
        settings = bad_settings(draw)
        content = tomli_w.dumps(settings).encode()
        if draw.random() < 0.25:
            content = damaged_text(draw, content.decode())
        path.write_bytes(content)
        directory = tmp_path / f"run-{number}"
        code, lines = call("train", path, "--out", directory)
        if code == 0:
            assert lines == [], (content, lines)
            assert is_right_run(directory), content
            counts["trained"] += 1
            continue
        one_line(content, code, lines)
        counts["diverged" if code == 1 else "refused"] += 1
        assert code == 2 or (code == 1 and "not finite" in lines[0]), (content, code, lines)
        if code == 2:
            assert not directory.exists(), (content, lines)
    return counts


WHOLE = ["٣", "1_0", " 5", "5 ", "x", "", "1.0", "1e3", "0x10", "9" * 5000, "nan", "-", "+", "½"]
COUNT = [*WHOLE, "0", "-1", "9" * 20, "99999999999999999999999"]
REAL = ["٣.٥", "1_0.5", " 1", "x", "", "nan", "inf", "-inf", "1e999", "0x1p3", "1,5", "[1.0]"]
WORD = ["", "x", "[/b]", "\x1b[2J", "x" * 300, "float16", "Adam", "é", "a\nb"]
NAMES = ["no/such", "x" * 300, "", "/dev/null/x", "[/b]/x", "\x1b[2J/x"]
LIST = ["", ",", "3,", "64 64", "64;64", "3,x", "٣", "1_0", "3,0", "3,-1", "9" * 30, "9" * 19]
BAD_FLAGS = {
    "train": {
        "--dataset": WORD, "--rule": WORD, "--hidden": LIST, "--epochs": COUNT,
        "--batch-size": [*COUNT, "1351"], "--learning-rate": [*REAL, "-1"], "--seed": WHOLE,
        "--backend": WORD, "--threads": [*COUNT, "1025"], "--dtype": WORD, "--method": WORD,
        "--start": NAMES, "--out": ["/dev/null/x", "x" * 300], "--resume": NAMES,
        "--checkpoint-every": [*WHOLE, "0steps", "1hour", "٣steps"], "--data-dir": NAMES,
    },
    "conform": {
        "--backend": WORD, "--dtype": WORD, "--method": WORD, "--json": NAMES[:-2],
        "--html": NAMES[:-2], "--junit": NAMES[:-2],
    },
    "bench": {
        "--backend": WORD, "--dtype": WORD, "--rule": WORD, "--method": WORD, "--sizes": LIST,
        "--batch": COUNT, "--json": NAMES[:-2], "--chart": [*NAMES, "r.svg"], "--threads": COUNT,
    },
    "trace record": {
        "--out": NAMES[:-2], "--cases": WORD, "--steps": [*COUNT, "99999"], "--backend": WORD,
        "--dtype": WORD,
    },
    "reproduce table": {
        "--datasets": WORD, "--depths": LIST, "--seeds": COUNT, "--epochs": COUNT, "--rules": WORD,
        "--feedback": WORD, "--strength": WORD, "--hidden-units": COUNT, "--data-dir": ["no/such"],
        "--backend": WORD, "--dtype": WORD, "--threads": COUNT, "--out": ["/dev/null/x", "x" * 300],
    },
    "figure figure-3": {"--format": WORD, "--out": ["/dev/null/x", "x" * 300]},
    "demo": {"--out": ["/dev/null/x", "x" * 300]},
}  # fmt: skip
GOOD_FLAGS = {
    "train": [["--seed", "3"], ["--hidden", "3"], ["--dtype", "float64"], ["--rule", "backprop"]],
    "bench": [["--dtype", "float32"], ["--batch", "3"], ["--profile"], ["--scaling"]],
    "reproduce table": [["--seeds", "1"], ["--depths", "1,2"], ["--epochs", "1"]],
}
ARGUMENTS = [
    ["inspect"], ["conform"], ["train"], ["trace", "inputs"], ["trace", "compare"],
    ["trace", "tolerances"], ["figure"], ["nonsense"], ["trace", "nonsense"], ["backends"],
]  # fmt: skip


def bad_command(draw):
    if draw.random() < 0.2:
        command = draw.choice(ARGUMENTS)
        return [*command, *(draw.choice(NAMES[:3] + WORD[1:]) for _ in range(draw.randint(1, 3)))]
    command = draw.choice([name for name in BAD_FLAGS for _ in BAD_FLAGS[name]])
    flag = draw.choice(list(BAD_FLAGS[command]))
    flags = [[flag, draw.choice(BAD_FLAGS[command][flag])]]
    flags += draw.sample(
        GOOD_FLAGS.get(command, []), draw.randint(0, len(GOOD_FLAGS.get(command, [])))
    )
    flags = [one for one in flags if one[0] != flag or one is flags[0]]
    draw.shuffle(flags)
    return [*command.split(), *(part for one in flags for part in one)]


def try_flags(tmp_path, n):
    """Commands with at least one impossible value each."""
    draw = random.Random(SEED + 1)
    with contextlib.chdir(tmp_path):
        for _ in range(n):
            arguments = bad_command(draw)
            code, lines = call(*arguments)
            assert code == 2, (arguments, code, lines)
            one_line(arguments, code, lines)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    return {"refused": n}


KINDS = (*SECTIONS.values(), NetworkConfiguration, ContinuousLearning, Departures, Recording,
         CheckpointInterval)  # fmt: skip
OBJECTS = [
    None, 1j, b"1", (1.0,), {1.0}, object(), float, np.float64(0.5), np.float32("nan"), np.int8(1),
    np.True_, np.array(0.5), np.array([0.5]), np.full((2, 1, 1), 0.5), np.zeros((0, 1, 1)),
    np.full((2, 1, 1), np.inf), np.full((2, 1, 1), "x"), np.array([0.5, None]), 10**400, 10**5000,
    np.longdouble(0.25), np.datetime64("2020-01-01"), "exact-inverse", "adam", range(3), lambda: 0,
]  # fmt: skip


def try_objects(tmp_path, n):
    """Arguments of the configuration's classes; what is accepted is plain, or one a replica."""
    draw, counts = random.Random(SEED + 2), {"refused": 0, "taken": 0}
    for _ in range(n):
        kind = draw.choice(KINDS)
        fields = dataclasses.fields(kind)
        some = draw.sample(fields, min(len(fields), draw.choice([1, 1, 2])))
        arguments = {item.name: draw.choice(VALUES + OBJECTS) for item in some}
        made, why = outcome(lambda: kind(**arguments))  # noqa: B023
        if made is not None:
            for dtype in (np.float32, np.float64):
                why = why or outcome(lambda: settings_as(made, np.dtype(dtype)))[1]  # noqa: B023
        if why:
            assert "\n" not in why, arguments
            assert not FOREIGN.search(why), (arguments, why)
            counts["refused"] += 1
            continue
        counts["taken"] += 1
        for name, given in arguments.items():
            value = getattr(made, name)
            if isinstance(value, np.ndarray):
                assert value.shape[-2:] == (1, 1), arguments
                assert value.ndim == 3, arguments
                assert np.all(np.isfinite(value)), arguments
            else:
                assert type(value) in (bool, int, float, str, tuple, type(None)), (kind, arguments)
                # A whole number that is no double becomes the nearest one.
                assert value == given or math.isclose(value, given), arguments
                assert not isinstance(given, bool) or isinstance(value, bool), arguments
    return counts


def try_mappings(tmp_path, n):
    """Settings from Python, sections and values of any type."""
    draw, counts = random.Random(SEED + 3), {"refused": 0, "taken": 0}
    for _ in range(n):
        settings = bad_settings(draw)
        if draw.random() < 0.5:
            settings = {key: value for key, value in settings.items() if key in SETTINGS[TOP]}
        place = draw.choice([settings, *(v for v in settings.values() if isinstance(v, dict))])
        if draw.random() < 0.5:
            key = draw.choice([*SETTINGS[TOP], *SECTIONS, 3, None])
            place[key] = draw.choice(VALUES + OBJECTS)
        made, why = outcome(lambda: run_configuration(settings, "test"))  # noqa: B023
        if made is None:
            assert "\n" not in why, settings
            assert not FOREIGN.search(why), (settings, why)
            counts["refused"] += 1
            continue
        counts["taken"] += 1
        assert run_configuration(json.loads(json.dumps(made.as_dict())), "test") == made
    return counts


CAMPAIGNS = {
    "files of settings": (try_configurations, 300, 16),
    "flags": (try_flags, 700, 20),
    "arguments": (try_objects, 1500, 300),
    "mappings": (try_mappings, 500, 100),
}


@pytest.mark.parametrize(
    ("what", "n"),
    [(what, sample) for what, (_, _, sample) in CAMPAIGNS.items()]
    + [
        pytest.param(what, n, marks=pytest.mark.slow, id=f"{what}-all")
        for what, (_, n, _) in CAMPAIGNS.items()
    ],
)
def test_bad_input_is_told_in_one_line_or_the_run_is_right(tmp_path, record_property, what, n):
    counts = CAMPAIGNS[what][0](tmp_path, n)
    assert sum(counts.values()) == n
    listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    record_property("measured", f"bad input, {what}: {listed}, 0 else")


@pytest.mark.slow
def test_bad_input_in_processes_of_their_own(tmp_path, record_property):
    draw, n = random.Random(SEED + 4), 12
    for _ in range(n):
        arguments = list(bad_command(draw))
        result = in_a_process(*arguments, cwd=tmp_path)
        assert result.returncode == 2, (arguments, result.stderr)
        one_line(arguments, 2, said(result.stderr))
    record_property("measured", f"bad input, processes: {n} refused, 0 else")
