"""Before any test: no compiled code older than the kernels. After all: what was measured."""

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


def pytest_terminal_summary(terminalreporter):
    """Print what tests have measured, of all workers."""
    measured = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "measured" and getattr(report, "when", "") == "call"
    ]
    if measured:
        terminalreporter.section("measured")
        for line in measured:
            terminalreporter.write_line(line)
