"""Before all tests: what Hypothesis may do. After them: what was measured."""

import gc
import importlib
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# What a shell starts in the background ignores interrupts, and so does all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, on a machine however busy: a health check measures speed.
settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

# Which backend a run chooses depends on what has been compiled: here it is the reference's, in
# commands too, where a test names none.
os.environ["DISINHIB_BACKEND"] = "numpy"


@pytest.fixture
def step_by_step(monkeypatch):
    """A run looks up after every step: elsewhere it depends on the machine how many it takes."""
    epochs = importlib.import_module("disinhib.experiments.training.epochs")
    monkeypatch.setattr(epochs, "steps_at_once", lambda *_: 1)


def pytest_collection_finish():
    """What has been loaded stays: nobody need look for garbage in it over and over."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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
