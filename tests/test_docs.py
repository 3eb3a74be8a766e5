"""The pages say what is true: their code runs, their commands and functions exist."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from disinhib.experiments.command_line import app

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(path.relative_to(ROOT / "docs")) for path in PAGES]
FENCE = re.compile(r"^( *)```(\w+)[ ]*([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

QUICK = {"tutorial.md", "how-to/own-data.md"}
"""A sample for the fast tests; the other pages take longer than it together."""


def blocks(path, language):
    """Code of a page with the words after its language, such as no-run, and its line."""
    text = path.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        if found[2] == language:
            yield found[4], found[3].split(), text[: found.start()].count("\n") + 2


def runnable():
    """Pages with Python that is to run."""
    for path, name in zip(PAGES, NAMES, strict=True):
        if any("no-run" not in words for _, words, _ in blocks(path, "python")):
            marks = [] if name in QUICK else [pytest.mark.slow]
            yield pytest.param(path, id=name, marks=marks)


@pytest.mark.parametrize("path", list(runnable()))
def test_python_of_a_page_runs(path, tmp_path, monkeypatch):
    """From top to bottom, in one namespace; blocks marked no-run are for reading."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code, words, line in blocks(path, "python"):
        if "no-run" in words:
            continue
        for word in words:
            assert word.startswith("needs-"), f"{path.name}: {word}"
            pytest.importorskip(word.removeprefix("needs-"))
        # Line numbers of a failure are the page's.
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_python_of_a_page_is_python(path):
    for code, _, _ in blocks(path, "python"):
        ast.parse(code)


def commands_of(path):
    """Lines of shell code that call our command, without comments."""
    for language in ("sh", "bash"):
        for code, _, _ in blocks(path, language):
            joined = code.replace("\\\n", " ")
            for line in joined.splitlines():
                words = shlex.split(line, comments=True)
                if "disinhib" in words:
                    yield words[words.index("disinhib") + 1 :]


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_commands_of_a_page_exist(path):
    for words in commands_of(path):
        command = get_command(app)
        while hasattr(command, "commands"):
            name = words.pop(0)
            if name == "--version":
                return
            assert name in command.commands, f"{path.name}: disinhib … {name}"
            command = command.commands[name]
        known = {option for one in command.params for option in one.opts}
        asked = {word.split("=")[0] for word in words if word.startswith("--")}
        assert asked <= known, f"{path.name}: {command.name} has no {asked - known}"


@pytest.mark.parametrize("name", ["model.md", "synapse.md"])
def test_functions_beside_the_equations_exist(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    # "In [refimpl/circuit.py](…): `rate`, `slope`."
    named = re.findall(r"In\s\[([\w/.]+)\]\([^)]*\):\s+((?:`\w+`,?\s*)+)", text)
    assert named
    for file, functions in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert set(re.findall(r"\w+", functions)) <= there, file


def test_the_settings_that_mend_the_linear_threshold_are_the_table_s():
    """Those of the questions page, rounded, are in Table 5."""
    questions = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    table = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").replace("−", "-")
    code = next(FENCE.finditer(questions))[4]
    call = ast.parse(code).body[0].value
    rows = {
        cells[1].strip(): cells[6].split()[0]
        for line in table.partition("### Table 5")[2].splitlines()
        if len(cells := line.split("|")) == 9 and "." in cells[1]
    }
    given = {
        f"{keyword.arg}.{key}": value
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Dict)
        for key, value in ast.literal_eval(keyword.value).items()
        if key != "name"
    }
    for name, value in given.items():
        assert float(rows[name]) == value, name
