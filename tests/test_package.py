"""The house: what imports what, and what a wheel carries."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "refimpl": set(),
    "backends": {"refimpl"},
    "datasets": {"validation"},
    "validation": {"refimpl", "backends"},
    "experiments": {"refimpl", "backends", "datasets", "validation"},
}

FACES = {
    ".".join(("disinhib", *path.relative_to(ROOT).parent.parts))
    for folder in MAY_IMPORT
    for path in (ROOT / folder).rglob("__init__.py*")
    if "__all__" in path.read_text(encoding="utf-8")
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


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_nobody_reaches_behind_a_folder_s_face(folder):
    """What a file needs of another folder comes from that folder's `__init__`."""
    for path in (ROOT / folder).rglob("*.py"):
        here = path.relative_to(ROOT).parent.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            above = here[: len(here) - (node.level - 1)]
            module = tuple(node.module.split(".")) if node.module else ()
            own = above == here
            reaches = not own and len(module) > 1 and (ROOT.joinpath(*above, module[0])).is_dir()
            # The settings, which import nothing, are everybody's; integers have their own face.
            faces = ("refimpl", "configuration"), ("refimpl", "integers")
            assert not reaches or module in faces, f"{path}: {module}"


@pytest.mark.parametrize("package", sorted(FACES))
def test_a_folder_has_what_its_face_offers(package):
    face = importlib.import_module(package)
    assert face.__doc__
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_the_reference_needs_numpy_and_nothing_else():
    allowed = {"numpy", *sys.stdlib_module_names}
    for path in (ROOT / "refimpl").rglob("*.py"):
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
        modules = {f"disinhib/{p.relative_to(ROOT)}" for p in (ROOT / folder).rglob("*.py*")}
        modules = {name for name in modules if "__pycache__" not in name}
        assert modules <= names
    assert "disinhib/refimpl/model.md" in names
    assert "disinhib/datasets/data/digits.npz" in names
    assert "disinhib/experiments/conformance/conformance_page.html.j2" in names
    assert "disinhib/experiments/paper/figures/figures.mplstyle" in names
    assert "disinhib/backends/cuda/kernels/kernels.cu" in names
    assert "disinhib/refimpl/model.md" in names
    assert {
        n for n in names if n.startswith("disinhib/validation/golden/") and n.endswith(".h5")
    } == {f"disinhib/validation/golden/{p.name}" for p in (ROOT / "validation/golden").glob("*.h5")}
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert any(n.endswith("LICENSE-digits.txt") for n in names)
    assert not any(n.startswith(("datasets/", "refimpl/", "tests/")) for n in names)
    assert {"disinhib/__init__.py", "disinhib/__init__.pyi", "disinhib/__main__.py"} <= names
    # As installed from it, Python started in the checkout finds it all the same.
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert_a_whole_package(ROOT, tmp_path / "installed", tmp_path / "installed")


def assert_a_whole_package(cwd, origin, path=None):
    """`import disinhib` in a Python that starts in `cwd`: everything it offers can be had."""
    code = (
        "import disinhib, sys; names = [getattr(disinhib, n).__name__ for n in disinhib.__all__]; "
        "from disinhib.refimpl import learning_step; import disinhib.experiments; "
        "print(disinhib.__file__); print(disinhib.__version__, len(names))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    file, about = told.stdout.splitlines()
    assert Path(file).is_relative_to(origin)
    version, offered = about.split()
    assert version == "0.1.0"
    assert int(offered) > 30


def test_an_editable_install_is_found_from_the_checkout_and_from_elsewhere(tmp_path):
    assert_a_whole_package(ROOT, ROOT / "api")
    assert_a_whole_package(tmp_path, ROOT / "api")


def called_by_the_command_line():
    """What does the work of a command: it is imported where the command is run."""
    path = ROOT / "experiments" / "command_line.py"
    return {
        name.name
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }


@pytest.mark.parametrize("folder", ["validation", "datasets", "experiments"])
def test_whoever_takes_a_path_takes_it_as_text_too(folder):
    """`str` and `os.PathLike` are how a user of Python has a path; commands are given theirs."""
    found, commands = 0, called_by_the_command_line()
    for path in (ROOT / folder).rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in module.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            if node.name in commands:
                continue
            for argument in (*node.args.args, *node.args.kwonlyargs):
                kind = "" if argument.annotation is None else ast.unparse(argument.annotation)
                if "Path" in kind and not kind.startswith(("Annotated", "Callable")):
                    found += 1
                    assert "os.PathLike[str]" in kind, f"{path.name}: {node.name}: {argument.arg}"
    assert found > 5


def test_version_and_date_are_the_same_wherever_they_stand():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", text_of("CITATION.cff"), re.M))
    newest = re.search(r"^## (\S+), (\d{4}-\d\d-\d\d)$", text_of("CHANGELOG.md"), re.M)
    assert newest is not None
    assert newest.groups() == (cited["version"], cited["date-released"])
    assert cited["version"] == version


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")
