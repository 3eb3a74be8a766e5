"""Compiled code on disk: that of the sources as they are, in a place that can be trusted."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import platformdirs
import pytest

from disinhib.backends.numba.kernels import code_cache

from ..test_package import imports

ROOT = Path(__file__).parents[2]
KERNEL = """
from .code_cache import kernel
from .neurons import add_one

@kernel
def add_twice(total, row):
    add_one(total, 2.0, row)
"""
"""One that calls another in another file, small: what is tried here is not the model."""
CALL = """
import numpy as np
from disinhib.backends.numba.kernels import tried
assert tried.__file__.startswith({place!r}), tried.__file__
total = np.ones(3)
tried.add_twice(total, np.full(3, 3.0))
stats = tried.add_twice.stats
print(total[0], sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
"""1 + 2 · 3; then hits and misses."""


def copy_of_the_package(place):
    """The folders as they lie in an install, where nothing may be written."""
    for folder in ("refimpl", "backends", "datasets", "validation", "experiments"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, place / "disinhib" / folder, ignore=ignore)
    (place / "disinhib" / "backends" / "numba" / "kernels" / "tried.py").write_text(KERNEL)
    return place


def run_in(place, *arguments, **environment):
    environment = {
        **os.environ,
        "PYTHONPATH": str(place),
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=place
    )


def kernel_in(place, **environment):
    result = run_in(place, "-c", CALL.format(place=str(place)), **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.split(), result.stderr


def change(place, name, old, new):
    path = place / "disinhib" / "backends" / "numba" / "kernels" / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_code_is_kept_and_a_change_in_another_file_that_it_calls_is_seen(tmp_path):
    place, kept = copy_of_the_package(tmp_path / "site"), {"NUMBA_CACHE_DIR": str(tmp_path / "c")}
    assert kernel_in(place, **kept)[0] == ["7.0", "0", "1"]
    assert kernel_in(place, **kept)[0] == ["7.0", "1", "0"]
    change(place, "neurons.py", "total[i] += factor", "total[i] -= factor")
    assert kernel_in(place, **kept)[0] == ["-5.0", "0", "1"]
    # A damaged file is no code.
    for file in (tmp_path / "c").rglob("*.code"):
        file.write_bytes(file.read_bytes()[:-1])
    assert kernel_in(place, **kept)[0] == ["-5.0", "0", "1"]


@pytest.mark.slow
def test_conform_sees_a_callee_that_was_broken_when_all_was_compiled(tmp_path):
    place, kept = copy_of_the_package(tmp_path / "site"), {"NUMBA_CACHE_DIR": str(tmp_path / "c")}
    conform = (
        "-c",
        "from disinhib.experiments.command_line import main; main()",
        *("conform", ROOT / "validation/golden/one-hidden-mse.h5", "--backend", "numba"),
    )
    result = run_in(place, *conform, **kept)
    assert result.returncode == 0, result.stdout + result.stderr
    change(place, "readout.py", "e[k] = target[k] - u[k]", "e[k] = 1.5 * target[k] - u[k]")
    result = run_in(place, *conform, **kept)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 of 1 traces deviate" in result.stdout


def test_without_a_home_code_lies_in_a_temporary_directory_and_is_found_again(tmp_path):
    place = copy_of_the_package(tmp_path / "site")
    (tmp_path / "t").mkdir()
    # No user, root included, can make a directory below a device.
    places = {"HOME": "/dev/null", "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path / "t")}
    assert kernel_in(place, **places)[0] == ["7.0", "0", "1"]
    (directory,) = (tmp_path / "t").iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert kernel_in(place, **places) == (["7.0", "1", "0"], "")
    # What another could have put there is not run.
    directory.chmod(0o777)
    assert kernel_in(place, **places)[0] == ["7.0", "0", "1"]


@pytest.mark.skipif(os.name == "nt", reason="there every user has a temporary directory")
def test_without_any_directory_it_compiles_and_says_so_in_a_line(tmp_path):
    place = copy_of_the_package(tmp_path / "site")
    # `disinhib` asks the standard library for a temporary directory; here there is none.
    code = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/dev/null/t']\n"
    result = run_in(
        place, "-c", code + CALL.format(place=str(place)), HOME="/dev/null", XDG_CACHE_HOME=""
    )
    assert result.stdout.split() == ["7.0", "0", "1"]
    assert result.stderr == (
        "disinhib: no directory for compiled code: every process compiles anew\n"
    )


@pytest.fixture
def directory(monkeypatch):
    """Choose the directory as a new process would whose NUMBA_CACHE_DIR is the given one."""

    def choose(named):
        monkeypatch.setattr(numba.config, "CACHE_DIR", str(named))
        return code_cache.code_directory.__wrapped__()

    return choose


def test_a_named_directory_comes_first_then_the_users_own(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "own")
    digest = code_cache.code_digest()
    assert directory(tmp_path / "named") == tmp_path / "named" / "disinhib" / digest
    assert directory("") == tmp_path / "own" / "code" / digest
    assert directory("/dev/null") == tmp_path / "own" / "code" / digest


@pytest.mark.skipif(os.name == "nt", reason="there rights are those of the profile")
@pytest.mark.parametrize("change", ["all may write", "another's", "a link", "all may rename"])
def test_a_directory_that_others_can_write_to_is_not_used(directory, tmp_path, monkeypatch, change):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "own")
    found = directory(tmp_path / "named")
    assert found.is_relative_to(tmp_path / "named")
    if change == "all may write":
        found.chmod(0o777)
    elif change == "another's":
        if os.geteuid() == 0:
            os.chown(found, 12345, -1)
        else:
            # Root alone gives directories away; to somebody else all of them are another's.
            us = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: us + 1)
            assert directory(tmp_path / "named") is None
            return
    elif change == "a link":
        shutil.move(found, tmp_path / "elsewhere")
        found.symlink_to(tmp_path / "elsewhere")
    else:
        found.parent.chmod(0o777)
    assert directory(tmp_path / "named").is_relative_to(tmp_path / "own")


def test_code_of_other_states_goes_when_it_was_long_not_used(directory, tmp_path):
    above = tmp_path / "disinhib"
    recent, old, foreign = above / ("0" * 32), above / ("1" * 32), above / "else"
    long_ago = time.time() - 2 * code_cache.KEPT_SECONDS
    for made in (recent, old, foreign):
        made.mkdir(parents=True)
        (made / "kernel.code").touch()
    os.utime(old, (long_ago, long_ago))
    os.utime(foreign, (long_ago, long_ago))
    used = directory(tmp_path)
    assert set(above.iterdir()) == {used, recent, foreign}
    os.utime(used, (long_ago, long_ago))
    directory(tmp_path)
    assert time.time() - used.stat().st_mtime < code_cache.KEPT_SECONDS


def test_nothing_outside_their_folder_is_compiled_into_kernels():
    """The digest covers the folder: nothing else of ours may be in the code."""
    allowed = {"numba", "numpy", "llvmlite", "platformdirs", *sys.stdlib_module_names}
    paths = list((ROOT / "backends" / "numba" / "kernels").glob("*.py"))
    assert paths
    for path in paths:
        assert {top for top, _ in imports(path)} <= allowed, path
    for folder in ("backends", "refimpl", "validation", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            assert path in paths or "njit" not in path.read_text(encoding="utf-8"), path


def test_the_digest_changes_with_versions_and_settings(monkeypatch):
    seen = {code_cache.code_digest.__wrapped__()}
    assert seen == {code_cache.code_digest.__wrapped__()}
    for owner, name, value in (
        (numba, "__version__", "0"),
        (np, "__version__", "0"),
        (numba.config, "BOUNDSCHECK", 1),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(owner, name, value)
            seen.add(code_cache.code_digest.__wrapped__())
    assert len(seen) == 4
