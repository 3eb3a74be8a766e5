"""The house: what imports what, and what a wheel carries."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "refimpl": set(),
    "backends": {"refimpl"},
    "datasets": set(),
    "validation": {"refimpl", "backends"},
    "experiments": {"refimpl", "backends", "datasets", "validation"},
}


def imports(path):
    """Modules that a file imports, ours in other top-level folders as ('disinhib', folder)."""
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name.split(".")[0], None) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            parts = node.module.split(".")
            yield parts[0], parts[1] if parts[0] == "disinhib" else None
        elif isinstance(node, ast.ImportFrom) and node.level > depth:
            yield "disinhib", (node.module or "").split(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_dependencies_point_one_way(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for top, ours in imports(path):
            if top == "disinhib":
                assert ours in MAY_IMPORT[folder], f"{path} imports {ours}"


def test_the_reference_needs_numpy_and_nothing_else():
    allowed = {"numpy", *sys.stdlib_module_names}
    for path in (ROOT / "refimpl").glob("*.py"):
        assert {top for top, _ in imports(path)} <= allowed, path
    code = (
        "import sys, importlib, pkgutil, disinhib.refimpl as r\n"
        "for m in pkgutil.iter_modules(r.__path__):\n"
        "    importlib.import_module('disinhib.refimpl.' + m.name)\n"
        "print({'scipy', 'h5py', 'numba', 'pydantic', 'typer'} & set(sys.modules) or 'none')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "none"


def test_a_wheel_carries_code_data_and_licences(tmp_path):
    """Built from a copy, so that no earlier build can lend it a file."""
    import shutil

    copy = tmp_path / "source"
    ignore = shutil.ignore_patterns(".*", "build", "runs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignore)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "-w", tmp_path, copy],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("disinhib-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in MAY_IMPORT:
        assert f"disinhib/{folder}/py.typed" in names
        modules = {f"disinhib/{folder}/{p.name}" for p in (ROOT / folder).glob("*.py*")}
        assert modules <= names
    assert "disinhib/datasets/data/digits.npz" in names
    assert "disinhib/experiments/conformance_page.html.j2" in names
    assert "disinhib/experiments/figures/figures.mplstyle" in names
    assert {
        n for n in names if n.startswith("disinhib/validation/golden/") and n.endswith(".h5")
    } == {f"disinhib/validation/golden/{p.name}" for p in (ROOT / "validation/golden").glob("*.h5")}
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert any(n.endswith("LICENSE-digits.txt") for n in names)
    assert not any(n.startswith(("datasets/", "refimpl/", "tests/")) for n in names)
    assert "disinhib/__init__.py" not in names


@pytest.mark.parametrize("folder", ["validation", "datasets", "experiments"])
def test_whoever_takes_a_path_takes_it_as_text_too(folder):
    """`str` and `os.PathLike` are how a user of Python has a path; commands are given theirs."""
    found = 0
    for path in (ROOT / folder).rglob("*.py"):
        if path.stem.endswith(("_command", "_commands")):
            continue
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in module.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            for argument in (*node.args.args, *node.args.kwonlyargs):
                kind = "" if argument.annotation is None else ast.unparse(argument.annotation)
                if "Path" in kind and not kind.startswith(("Annotated", "Callable")):
                    found += 1
                    assert "os.PathLike[str]" in kind, f"{path.name}: {node.name}: {argument.arg}"
    assert found > 5
