"""Compiled code on disk is of the kernels as they stand, before any test runs."""

from pathlib import Path

from disinhib.backends import numba_cpu


def pytest_configure(config):
    """Remove what was compiled before any kernel's last change.

    Numba compares a function's own file alone: after a change in one that it calls from
    another file, tests would run the old code.
    """
    if hasattr(config, "workerinput"):
        return
    kernels = Path(numba_cpu.__file__).parent
    compiled = list((kernels / "__pycache__").glob("*.nb[ic]"))
    changed = max(source.stat().st_mtime for source in kernels.glob("*.py"))
    if any(file.stat().st_mtime < changed for file in compiled):
        for file in compiled:
            file.unlink(missing_ok=True)
