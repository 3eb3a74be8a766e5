"""For pytest: prints what fails when it fails, since the run may be stopped before its end."""


def pytest_runtest_logreport(report):
    """Say which, and how."""
    if report.failed:
        print(f"\nFAILED {report.nodeid}\n{report.longreprtext[-2500:]}\n", flush=True)
