"""After all tests: what was measured."""


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
