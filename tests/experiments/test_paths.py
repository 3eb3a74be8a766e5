"""Paths as users have them: as text or objects, of any characters, too long, not to be read."""

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from disinhib.backends import NumpyBackend
from disinhib.datasets.image_files import find_image_files
from disinhib.datasets.load import load_dataset
from disinhib.experiments.conformance.report import TraceReport, write_json, write_junit, write_page
from disinhib.experiments.training import begin, read_records, resume, train
from disinhib.experiments.training.configuration import run_configuration
from disinhib.experiments.training.metrics import draw_learning_curves
from disinhib.validation import (
    Position,
    conform,
    contents,
    find_traces,
    read_candidate,
    read_checkpoint,
    read_trace,
    shipped_directory,
    write_flat_directory,
    write_trace,
    write_trace_inputs,
)

from .test_command_line import disinhib, in_a_process, one_line
from .test_configuration import FsPath
from .test_training import Watcher

GOLDEN = shipped_directory() / "one-hidden-mse.h5"
LONG = "x" * 300
HOSTILE = os.fsdecode(b"a\x1b[2J\x01<b>&\n\xe9[bold].h5")
"""Markup of a terminal, of XML and of rich, a line break, and a byte that is not UTF-8."""


@pytest.mark.parametrize("kind", [str, FsPath])
def test_text_and_objects_are_paths_everywhere(tmp_path, kind):
    def there(name):
        return kind(str(tmp_path / name))

    golden = kind(str(GOLDEN))
    trace = read_trace(golden)
    write_trace(there("t.h5"), trace, "test")
    write_trace_inputs(there("i.h5"), trace)
    write_flat_directory(there("t.h5"), there("flat"))
    assert contents(there("t.h5"))[1]
    assert find_traces([there("t.h5")]) == ([tmp_path / "t.h5"], [])
    assert find_traces(there("t.h5")) == ([tmp_path / "t.h5"], [])
    for answers in ("t.h5", "flat"):
        assert read_candidate(there(answers), trace).path == tmp_path / answers
    settings = {"hidden": [3], "batch_size": 675, "epochs": 1}
    run = begin(run_configuration(settings, "test"), there("run"))
    _, records = train(run, Position(0), [], Watcher())
    draw_learning_curves(there("c.png"), {"rule": records})
    assert read_records(there("run/metrics.jsonl")) == records
    assert read_checkpoint(there("run/checkpoint.h5")).position == Position(1)
    again, position, _ = resume(there("run"), 2)
    assert position == Position(1)
    again.lock.release()
    assert find_image_files(there("run"), "mnist") is None
    with pytest.raises(ValueError, match="digits is embedded"):
        load_dataset("digits", there("run"))


@pytest.fixture(scope="module")
def report():
    results = conform(read_trace(GOLDEN), NumpyBackend, np.dtype(np.float64))
    return TraceReport(f"/data/{HOSTILE}", f"{HOSTILE}, float64", results)


def test_reports_hold_names_of_any_characters(tmp_path, report):
    shown = r"a\x1b[2J\x01<b>&\n\xe9[bold]"
    xml, page, document = (tmp_path / f"r.{kind}" for kind in ("xml", "html", "json"))
    write_junit(xml, [report])
    suite = ElementTree.parse(xml).getroot()[0]
    assert suite.get("name") == shown
    assert suite[0].get("classname") == f"{shown}.{shown}.h5, float64"
    write_page(page, HOSTILE, [report])
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<title>{escaped}.h5</title>" in page.read_text()
    assert "\x1b" not in page.read_text()
    write_json(document, {"candidate": HOSTILE}, [report])
    assert list(json.loads(document.read_text())["traces"]) == [f"/data/{HOSTILE}"]


def test_a_trace_of_any_name_is_judged_and_reported(tmp_path):
    shutil.copy(GOLDEN, tmp_path / HOSTILE)
    reports = [f"{HOSTILE}.{kind}" for kind in ("json", "html", "xml")]
    flags = ("--json", "--html", "--junit")
    named = [part for pair in zip(flags, reports, strict=True) for part in pair]
    result = disinhib("conform", HOSTILE, *named, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert r"a\x1b[2J\x01<b>&\n\xe9[bold].h5   numpy" in result.stdout
    assert all((tmp_path / name).stat().st_size > 1000 for name in reports)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", LONG], ["train", "--out", LONG], ["train", "--resume", LONG],
        ["train", "--start", LONG], ["train", "--dataset", "mnist", "--data-dir", LONG],
        ["conform", LONG], ["conform", "--json", LONG], ["conform", "--html", LONG],
        ["inspect", LONG], ["trace", "inputs", GOLDEN, "--out", LONG], ["trace", "record", LONG],
        ["trace", "inputs", GOLDEN, "--out", LONG, "--flat"], ["trace", "compare", GOLDEN, LONG],
        ["trace", "compare", LONG, GOLDEN], ["trace", "record", "--out", LONG],
        ["trace", "tolerances", LONG, "--precision", "float16"], ["demo", "--out", LONG],
        ["figure", "figure-3", "--out", LONG], ["reproduce", "table", "--out", LONG],
        ["bench", "--json", LONG], ["bench", "--chart", f"{LONG}.png"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments))[:24],
)  # fmt: skip
def test_a_name_too_long_is_one_line(tmp_path, arguments):
    assert "File name too long" in one_line(disinhib(*arguments, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_left_may_not_be_what_it_was(tmp_path):
    """A directory where the log or the configuration was, when the run is to go on."""
    small = ["--hidden", "3", "--batch-size", "675", "--epochs", "1"]
    assert disinhib("train", *small, "--out", "run", cwd=tmp_path).returncode == 0
    for name in ("config.toml", "metrics.jsonl"):
        (tmp_path / "run" / name).rename(tmp_path / name)
        (tmp_path / "run" / name).mkdir()
        again = disinhib("train", "--resume", "run", "--epochs", "2", cwd=tmp_path)
        line = one_line(again)
        assert f"run/{name}" in line
        (tmp_path / "run" / name).rmdir()
        (tmp_path / name).rename(tmp_path / "run" / name)
    assert disinhib("train", "--resume", "run", "--epochs", "2", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [("MPLBACKEND", "nonsense", 0), ("SOURCE_DATE_EPOCH", "abc", 2), ("SOURCE_DATE_EPOCH", "1", 0)],
)
def test_what_libraries_read_of_the_environment(tmp_path, variable, value, code):
    small = ["--hidden", "3", "--batch-size", "675", "--epochs", "1", "--out", tmp_path / "run"]
    result = in_a_process("train", *small, **{variable: value})
    assert result.returncode == code, result.stderr
    if code:
        assert "SOURCE_DATE_EPOCH is 'abc': a whole number of seconds" in one_line(result)
    assert (tmp_path / "run" / "curves.png").exists() == (code == 0)


def test_a_figure_needs_a_possible_date_before_its_work(monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "99999999999999")
    result = disinhib("figure", "figure-3", "--format", "svg", "--out", "new", cwd=tmp_path)
    assert "SOURCE_DATE_EPOCH is '99999999999999'" in one_line(result)
    assert not Path(tmp_path / "new").exists()
