"""What `disinhib arithmetic` says of a network, against its own numbers and by hand."""

import numpy as np
import pytest

from disinhib.experiments.chips import costs, distances, distances_by_format, probed_ranges
from disinhib.experiments.trained import load
from disinhib.refimpl import (
    Feedback,
    NetworkConfiguration,
    Optimizer,
    feedback_weights,
    open_loop_end_state,
    rate,
)
from disinhib.refimpl.integers import QUANTITIES, arithmetic

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


# How far integers are from floating point.


def test_each_part_of_the_distance_is_its_own(run):
    """Few ticks, coarse tables, narrow formats: each shows in its own part, and all in the sum."""
    network = load(run)
    base = distances(network, arithmetic(ticks=400), 20).parts
    name = "u_out, open loop"
    few = distances(network, arithmetic(ticks=10), 20).parts
    assert few[name]["ticks"] > 1e3 * base[name]["ticks"]
    assert few[name]["tables"] < 2 * base[name]["tables"]
    coarse = distances(network, arithmetic(ticks=400, table_bits=3), 20).parts
    assert coarse[name]["tables"] > 100 * base[name]["tables"]
    assert coarse[name]["ticks"] == base[name]["ticks"]
    narrow = distances(network, arithmetic(ticks=400, weight="8.5", bias="8.5"), 20).parts
    # Potentials round as before, and weights 256 times as coarsely.
    assert narrow[name]["rounding"] > 2 * base[name]["rounding"]
    assert narrow[name]["tables"] == base[name]["tables"]
    assert distances(network, arithmetic(weight="6.6"), 20).unfit["weight"] > 0
    assert distances(network, arithmetic(weight="6.6"), 20).beyond == {}
    for parts in (*base.values(), *few.values(), *narrow.values()):
        whole = parts["ticks"] + parts["tables"] + parts["rounding"]
        assert parts["all"] <= whole * (1 + 1e-9)
        assert parts["all"] >= 2 * max(list(parts.values())[:3]) - whole - 1e-12


def test_rounding_is_told_by_the_format_that_costs_it(run):
    network = load(run)
    off = distances_by_format(network, arithmetic(ticks=100, gradient="8.8", feedback="8.7"), 20)
    assert list(off) == list(QUANTITIES)
    # What comes before it in a step, a format cannot touch.
    assert off["gradient"]["u_out, under control"] == off["gradient"]["Q"] == 0
    assert off["gradient"]["g of hidden layers"] > 0.1
    assert off["feedback"]["u_out, open loop"] == 0
    assert off["feedback"]["Q"] > 100 * off["slope"]["Q"]


# What it costs, counted by hand.

SGD = Optimizer(name="sgd")


def test_the_cost_of_a_network_counted_by_hand():
    """3-2-2, two ticks, no interpolation, squares, no norm: 6 synapses below, 4 above."""
    about = arithmetic(ticks=2, interpolation="none", weight="8.6", accumulator=40)
    network = NetworkConfiguration(
        sizes=(3, 2, 2), loss="mse", optimizer=SGD, feedback=Feedback(normalize=False)
    )
    opened, feedback, closed, learning = costs(network, about)
    # x W once, then r_E W_out in each of two ticks; φ_E and φ_I of two units.
    assert (opened.multiplications, opened.lookups) == (6 + 2 * 4, 2 * 4)
    assert opened.weight_bits == 8 * (6 + 2 * 4)
    # Potentials of 2 + 2 units and 2 outputs of 16 bits, read and written.
    assert opened.state_bits == 3 * 16 + 2 * 2 * 6 * 16
    # J is W_out φ_E', Q is J φ_I': 4 products each.
    assert (feedback.multiplications, feedback.lookups) == (8, 4)
    # r_E W_out, c Q, and three products of the controller for each of two outputs.
    assert closed.multiplications == 2 * (4 + 4 + 6)
    assert closed.weight_bits == 2 * (8 * 4 + 16 * 4)
    assert closed.state_bits == 2 * (2 * 6 * 16 + 2 * 2 * 16)
    # Outer products, δ's slope, r_E W_out for the readout's δ; the gradient's sums in and out.
    assert learning.multiplications == 10 + 2 + 4
    assert learning.weight_bits == 2 * 10 * 40


def test_backprop_and_interpolation_cost_what_they_do():
    about = arithmetic(interpolation="linear")
    network = NetworkConfiguration(sizes=(3, 2, 2), loss="mse", rule="backprop", optimizer=SGD)
    forward, backward, gradients = costs(network, about)
    # A product a synapse, and one a unit to interpolate φ.
    assert forward.multiplications == 10 + 2
    assert backward.multiplications == 4 + 2 + 2
    assert gradients.multiplications == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("distance", "--set", "seed=3"), "only settings of [arithmetic]"),
        (("distance", "--arithmetic", "int9"), "choose one of int16"),
        (
            ("cost", "--arithmetic", "int16", "--set", "arithmetic.preset=wide"),
            "says int16 already",
        ),
        (("distance", "--samples", "0"), "--samples is 0"),
    ],
)
def test_other_chips_that_cannot_be_are_refused(run, arguments, words):
    result = disinhib("arithmetic", arguments[0], run, *arguments[1:])
    assert result.returncode == 2
    assert words in one_line(result)


def test_the_reports_are_tables(run):
    result = disinhib("arithmetic", "distance", run, "--samples", "10", "--each",
                      "--set", "arithmetic.weight=16.10")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "16.10" in result.stdout
    assert "g of the readout" in result.stdout
    result = disinhib("arithmetic", "cost", run)
    assert result.returncode == 0, result.stderr
    assert "closed loop" in result.stdout
