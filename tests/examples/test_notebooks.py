"""The notebooks run from top to bottom, as scripts."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
NEEDS = {"own_data.py": "sklearn"}
SLOW = {"first_network.py", "own_data.py"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.name, marks=[pytest.mark.slow] if path.name in SLOW else [])
        for path in sorted(NOTEBOOKS.glob("*.py"))
    ],
)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    with plt.rc_context():
        plt.switch_backend("agg")
        runpy.run_path(str(NOTEBOOKS / name))
