"""What `disinhib arithmetic probe` says of a network, against its own numbers."""

import numpy as np
import pytest

from disinhib.experiments.chips import probed_ranges
from disinhib.experiments.trained import load
from disinhib.refimpl import feedback_weights, open_loop_end_state, rate
from disinhib.refimpl.integers import QUANTITIES

from .test_command_line import disinhib, one_line
from .test_training import Watcher, new_run, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("probe") / "run"
    train(*new_run(out, epochs=1, rule="linear-threshold"), Watcher())
    return out


def test_ranges_are_the_network_s_own(run):
    network = load(run)
    ranges = {one.quantity: one for one in probed_ranges(network, 12, 40)}
    assert list(ranges) == list(QUANTITIES)
    parameters, configuration = network.parameters, network.backend.configuration
    x = network.data().inputs(network.data().train.images[:40])
    opened, _ = open_loop_end_state(configuration, network.configuration.solver, parameters, x)
    largest = max(np.abs(W).max() for W in (*parameters.weights, parameters.readout))
    assert ranges["weight"].largest == pytest.approx(largest)
    assert ranges["input"].largest == 1
    assert ranges["rate"].largest >= rate(configuration.activation_E, opened.u_E[0]).max()
    Q = feedback_weights(configuration, parameters, opened)
    assert ranges["feedback"].largest == pytest.approx(np.abs(Q[0]).max())
    for one in ranges.values():
        # It fits with a quarter to spare, and would not with one bit more after the point.
        assert one.form.width == 12
        assert one.largest * 1.25 <= 2.0 ** (11 - one.form.fraction)
        assert one.form.fraction == 31 or one.largest * 1.25 > 2.0 ** (10 - one.form.fraction)
        assert one.median <= one.largest


def test_what_it_proposes_is_a_run_s_arithmetic(run, tmp_path):
    result = disinhib("arithmetic", "probe", run, "--width", "14", "--samples", "50")
    assert result.returncode == 0, result.stderr
    (tmp_path / "run.toml").write_text("[arithmetic]" + result.stdout.partition("[arithmetic]")[2])
    small = ("--set", "hidden=[8]", "--epochs", "1", "--set", "arithmetic.ticks=5")
    trained = disinhib("train", tmp_path / "run.toml", *small, "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert "of its own formats" in trained.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--samples", "0"), "--samples is 0"), (("--width", "50"), "at most 32")],
)
def test_what_cannot_be_is_refused(run, arguments, words):
    result = disinhib("arithmetic", "probe", run, *arguments)
    assert result.returncode == 2
    assert words in one_line(result)
