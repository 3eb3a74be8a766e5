"""`disinhib figure`, as its user meets it, and the files it leaves."""

import csv
import json

import numpy as np
import pytest

from disinhib.experiments.paper.figures import FIGURES, Check, FigureResult, write_figure
from disinhib.experiments.paper.figures.catalogue import figure_maker
from disinhib.experiments.paper.figures.style import new_figure

from .test_command_line import disinhib, one_line


def test_a_figure_is_a_picture_its_data_and_its_checks(tmp_path):
    result = disinhib("figure", "figure-3", "--out", tmp_path / "new", "--format", "svg")
    assert result.returncode == 0, result.stderr
    assert "figure-3: plasticity of one synapse" in result.stdout
    assert "NO" not in result.stdout
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == [
        "figure-3-controlled.csv",
        "figure-3-inverse.csv",
        "figure-3-isolated.csv",
        "figure-3-uncontrolled.csv",
        "figure-3.json",
        "figure-3.svg",
    ]
    assert (tmp_path / "new/figure-3.svg").read_text().lstrip().startswith("<?xml")
    document = json.loads((tmp_path / "new/figure-3.json").read_text())
    assert all(check["passed"] for check in document["checks"])


def test_numbers_come_back_from_the_files_as_they_were(tmp_path):
    column = np.array([0.1, 1 / 3, 1e-300])
    result = FigureResult(
        new_figure(2, 2),
        {"table": {"x": column, "name": np.array(["a", "b", "c"])}},
        {"array": column, "infinite": np.inf, "count": np.int64(3)},
        [Check("a claim", False, {"value": np.float64(0.1)})],
    )
    picture, table, document = write_figure(tmp_path, "one", result, "pdf")
    assert picture.read_bytes().startswith(b"%PDF")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["x"]) for row in rows] == column.tolist()
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert json.loads(document.read_text()) == {
        "figure": "one",
        "numbers": {"array": column.tolist(), "infinite": None, "count": 3},
        "checks": [{"claim": "a claim", "passed": False, "numbers": {"value": 0.1}}],
    }


def test_every_figure_of_the_catalogue_has_a_maker():
    for name in FIGURES:
        assert callable(figure_maker(name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure-5"], "figure 'figure-5' is unknown: choose one of figure-3"),
        (["figure-3", "--format", "gif"], "'gif' is not one of 'png', 'pdf', 'svg'"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message):
    assert message in one_line(disinhib("figure", *arguments))


def test_a_directory_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    line = one_line(disinhib("figure", "figure-3", "--out", tmp_path / "file"))
    assert f"{tmp_path / 'file'} cannot be made" in line
