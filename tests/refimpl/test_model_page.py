"""The chapters in order, and the model page: functions it names exist, and name its sections."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

REFIMPL = Path(__file__).parents[2] / "refimpl"
SECTIONS = {
    int(number): text
    for number, text in re.findall(
        r"^## (\d+)\. (.*?)(?=^## |\Z)",
        (REFIMPL / "model.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
}
CHAPTERS = "|".join(path.stem for path in REFIMPL.glob("*.py"))
NAMED = [
    (number, chapter, name)
    for number, text in SECTIONS.items()
    for chapter, name in re.findall(rf"`({CHAPTERS})\.(\w+)`", text)
]


def test_every_section_of_the_model_is_in_the_code():
    assert {number for number, _, _ in NAMED} == {1, 2, 3, 4, 5, 6, 7, 10}


@pytest.mark.parametrize(("number", "chapter", "name"), NAMED)
def test_what_the_page_names_names_the_section(number, chapter, name):
    module = importlib.import_module(f"disinhib.refimpl.{chapter}")
    told = f"{inspect.getdoc(getattr(module, name))} {module.__doc__}"
    runs = re.findall(r"sections? ([\d, -]+(?:and \d+)?)", told)
    sections = {int(n) for run in runs for n in re.findall(r"\d+", run.replace("2-4", "2, 3, 4"))}
    assert number in sections or name == "learning_step"


def test_chapters_import_earlier_ones_only():
    """Except `learning_step`, which calls all; `configuration` imports nothing of ours."""
    order = re.findall(r"^\d+\. `(\w+)`", importlib.import_module("disinhib.refimpl").__doc__, re.M)
    assert set(order) == {path.stem for path in REFIMPL.glob("*.py")} - {"__init__"}
    for position, chapter in enumerate(order):
        tree = ast.parse((REFIMPL / f"{chapter}.py").read_text(encoding="utf-8"))
        ours = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}
        earlier = set(order[1:position]) | {"configuration"}
        assert ours <= earlier - {chapter} or chapter == "learning_step", chapter
