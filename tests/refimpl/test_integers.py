"""Integers for numbers: against Python's own integers and fractions, and against the reference."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from disinhib.refimpl import (
    Controller,
    Feedback,
    Learner,
    MeanInhibition,
    NetworkConfiguration,
    NetworkState,
    Optimizer,
    OptimizerState,
    Parameters,
    SoftReLU,
    Solver,
    closed_loop_end_state,
    closed_loop_target,
    feedback_weights,
    initial_parameters,
    integers as chips,
    inverse,
    open_loop_end_state,
    plasticity_gradients,
    rate,
    slope,
    updated_mean_inhibition,
)
from disinhib.refimpl.configuration import ConfigurationError
from disinhib.refimpl.integers import (
    PRESETS,
    QUANTITIES,
    ROUNDINGS,
    Arithmetic,
    Chance,
    Format,
    Here,
    Overflows,
    arithmetic,
    chip_of,
    looked_up,
    multiplier,
    numbers,
    quantized,
    random_bits,
    saturated,
    shifted,
)
from disinhib.refimpl.integers.circuit import bit_length, mantissa_of, softmax, tick


def NEAREST(values, bits):
    return shifted(values, bits, "nearest-even")


SGD = Optimizer(name="sgd", learning_rate=0.5)
EXACT = st.integers(-(2**50), 2**50)


def rounded(value, way):
    """A fraction, rounded as the name says."""
    match way:
        case "floor":
            return math.floor(value)
        case "truncate":
            return math.trunc(value)
        case "nearest-even":
            return round(value)
    away = math.floor(abs(value) + Fraction(1, 2))
    return away if value >= 0 else -away


@pytest.mark.parametrize("way", [way for way in ROUNDINGS if way != "stochastic"])
@given(value=EXACT, shift=st.integers(-8, 55))
def test_dropping_bits_is_rounding_of_the_exact_quotient(way, value, shift):
    found = shifted(np.array([value]), shift, way)
    assert found.dtype == np.int64
    assert found[0] == rounded(Fraction(value) / Fraction(2) ** shift, way)


@pytest.mark.parametrize("way", ROUNDINGS)
def test_shifts_of_their_own_are_those_one_by_one(way):
    values = np.array([[5, -5, 6], [7, -7, 1 << 40]])
    shifts = np.array([[0, 1, -2], [3, 2, 30]])
    together = shifted(values, shifts, way, Chance(3, 1, 4), 7)
    bits = random_bits(Chance(3, 1, 4), 7, values.size)
    for i, (value, shift) in enumerate(zip(values.ravel(), shifts.ravel(), strict=True)):
        if way == "stochastic" and shift > 0:
            # v + r of shift random bits, the uppermost of 32, floored.
            expected = (int(value) + (int(bits[i]) >> (32 - int(shift)))) >> int(shift)
        elif shift > 0:
            expected = rounded(Fraction(int(value), 2 ** int(shift)), way)
        else:
            expected = int(value) << -int(shift)
        assert together.ravel()[i] == expected


def lowbias32(x):
    """C. Wellons' mixer, in Python's integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


@pytest.mark.parametrize("way", ROUNDINGS)
@pytest.mark.parametrize("shift", [63, 64, 67, 200])
def test_more_bits_than_there_are_leave_what_62_leave(way, shift):
    """By 63 every weight moved whose gradient was 0: an int64 has no 2^63."""
    values = np.array([-(2**61), -5, -1, 0, 1, 5, 2**61])
    np.testing.assert_array_equal(shifted(values, shift, way), shifted(values, 62, way))
    some = np.full(values.shape, shift)
    np.testing.assert_array_equal(shifted(values, some, way), shifted(values, 62, way))
    assert shifted(values, shift, way)[3] == 0


def test_random_bits_are_those_of_the_documented_counter():
    word = 0
    for part in (11, 22, 33, 44):
        word = lowbias32(word ^ part)
    expected = [lowbias32(i ^ word) for i in range(5)]
    assert random_bits(Chance(seed=11, step=22, tick=44), 33, 5).tolist() == expected


def test_chance_rounds_up_as_often_as_the_rest_is_large():
    """Within five standard deviations of 100,000 throws."""
    n = 100_000
    for rest in (1, 5, 12):
        found = shifted(np.full(n, 160 + rest), 4, "stochastic", Chance(1), 0)
        share, expected = np.mean(found == 11), rest / 16
        assert set(found) == {10, 11}
        assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / n)
    exact = shifted(np.full(n, -160), 4, "stochastic", Chance(1), 0)
    assert set(exact) == {-10}


def test_what_does_not_fit_is_taken_to_the_end_and_counted():
    overflows = Overflows()
    found = saturated(np.array([-200, -128, 127, 128, 5]), Format(8, 3), "weight", overflows)
    assert found.tolist() == [-128, -128, 127, 127, 5]
    assert overflows.as_dict() == {"weight": 2}
    # 15.94 = 127.5 / 8 is a tie: to the even one, which does not fit.
    assert quantized(np.array([15.9375]), Format(8, 3), "bias", overflows).tolist() == [127]
    assert overflows.as_dict() == {"weight": 2, "bias": 1}
    assert numbers(np.array([-128]), Format(8, 3)).tolist() == [-16.0]


@given(factor=st.floats(1e-6, 1e6), bits=st.integers(4, 18))
def test_a_constant_is_the_nearest_of_so_many_bits(factor, bits):
    found = multiplier(factor, bits)
    assert 2 ** (bits - 2) <= found.m < 2 ** (bits - 1)
    spacing = Fraction(2) ** -found.shift
    off = abs(found.m * spacing - Fraction(factor))
    # Just below a power of two the spacing beyond it counts, which is twice as large.
    assert off <= spacing / 2
    assert multiplier(-factor, bits) == replace(found, m=-found.m)
    assert multiplier(0, bits).m == 0


@given(value=st.integers(1, 2**62))
def test_lengths_and_mantissas(value):
    assert bit_length(np.array([value]))[0] == value.bit_length()
    for step in (1, 2):
        m, p = mantissa_of(np.array([value]), step, 16)
        assert p[0] % step == 0
        assert m[0] == math.floor(Fraction(value) / Fraction(2) ** int(p[0]) * 2**16)
        assert 2**16 <= m[0] < 2 ** (16 + step)


# Tables.


@pytest.mark.parametrize("bits", [4, 8, 12])
@pytest.mark.parametrize("interpolation", ["linear", "none"])
def test_tables_are_as_near_as_their_cells_allow(bits, interpolation):
    """Linear: a cell's width squared times |f''| / 8, and rounding; else half a cell times |f'|."""
    about = arithmetic(table_bits=bits, interpolation=interpolation)
    phi = SoftReLU(0.9, 2.0, 0.2)
    chip = chip_of(NetworkConfiguration(sizes=(2, 3, 2), activation_E=phi, optimizer=SGD), about)
    overflows = Overflows()
    u = np.arange(-(8 << 11), 8 << 11)
    last_bit = 2.0**-about.rate.fraction
    cell = 16 / 2**bits
    for table, function, form, first, second in (
        # The first three derivatives of φ are at most s k, s k² / 4 and s k³ / (6 √3).
        (chip.tables.rate_E, rate, about.rate, 1.8, 0.9),
        (chip.tables.slope_E, slope, about.slope, 0.9, 0.7),
    ):
        exact = function(phi, u / 2.0**11)
        # Not where the cell's upper end is too large for the format.
        fits = function(phi, u / 2.0**11 + cell) < form.largest / 2.0**form.fraction
        found = numbers(looked_up(table, u, NEAREST, overflows), form)
        allowed = cell**2 / 8 * second if interpolation == "linear" else cell / 2 * first
        assert np.max(np.abs(found - exact)[fits]) <= allowed + last_bit
    assert overflows.as_dict() == {}
    looked_up(chip.tables.rate_E, np.array([8 << 11, (8 << 11) + 1]), NEAREST, overflows)
    assert overflows.as_dict() == {"table": 1}


def test_the_tangent_s_tables():
    about = arithmetic("wide")
    phi = SoftReLU(1.0, 1.5, -0.3)
    network = NetworkConfiguration(sizes=(2, 3, 2), activation_I=phi, optimizer=SGD)
    tables, overflows = chip_of(network, about).tables, Overflows()
    r = np.array([0.2, 0.7, 1.5, 4.0])
    at = quantized(r, about.rate, "rate", overflows)
    u = inverse(phi, r)
    delta = 1 / slope(phi, u)
    gain = numbers(looked_up(tables.gain, at, NEAREST, overflows), about.tangent)
    offset = numbers(looked_up(tables.offset, at, NEAREST, overflows), about.tangent)
    # δ = 1 / (k (1 − e^−r)) here: its second derivative and θ's are at most 4 / (k r³) + 1.
    allowed = (8 / 2**14) ** 2 / 8 * (4 / (1.5 * r**3) + 1) + 2.0**-22
    assert np.all(np.abs(gain - delta) <= allowed)
    assert np.all(np.abs(offset - (u - r * delta)) <= allowed)
    # Towards 0 δ grows beyond any format.
    assert tables.gain.unfit > 0
    assert tables.slope_I.unfit == 0


def test_softmax_of_tables_is_softmax():
    about = arithmetic("wide")
    chip = chip_of(NetworkConfiguration(sizes=(2, 3, 10), optimizer=SGD), about)
    u = np.random.default_rng(0).normal(0, 2, (50, 10))
    here = Here(Overflows(), Chance())
    found = numbers(softmax(chip, quantized(u, about.potential, "potential", here.overflows), here),
                    about.error)  # fmt: skip
    exp = np.exp(u - u.max(-1, keepdims=True))
    np.testing.assert_allclose(found, exp / exp.sum(-1, keepdims=True), atol=3e-7)


# A tick by hand, from the page, in Python's integers.


def test_a_tick_is_the_page_s():
    about = arithmetic(table_bits=8)
    network = NetworkConfiguration(sizes=(1, 1, 2), loss="mse", optimizer=SGD,
                                   controller=Controller(k_p=0.5, k_i=0.25, leak=1.0))  # fmt: skip
    chip, overflows = chip_of(network, about), Overflows()
    u_E, u_I, u_out, z = 1234, -777, (300, -41), (50, -3)
    Q, W_out, target, a_1 = (1000, -2500), (8000, -6001), (16000, 400), (123456789, 27)
    r_E = int(looked_up(chip.tables.rate_E, np.array([u_E]), NEAREST, overflows)[0])
    r_I = int(looked_up(chip.tables.rate_I, np.array([u_I]), NEAREST, overflows)[0])
    F = Fraction
    e = [
        round(F(y, 2**14) * 2**14 - F(u, 2**11) * 2**14) for y, u in zip(target, u_out, strict=True)
    ]
    c = [round((F(1, 2) * F(e_k, 2**14) + F(1, 4) * F(z_k, 2**14)) * 2**14)
         for e_k, z_k in zip(e, z, strict=True)]  # fmt: skip
    new_z = [z_k + round((F(e_k) - z_k) / 32) for e_k, z_k in zip(e, z, strict=True)]
    change = F(a_1[0], 2**27) - F(u_E, 2**11) - F(r_I, 2**12)
    new_u_E = u_E + round(change * 2**11 / 8)
    cQ = sum(F(c_k, 2**14) * F(Q_k, 2**15) for c_k, Q_k in zip(c, Q, strict=True))
    new_u_I = u_I + round((F(r_E, 2**12) - F(u_I, 2**11) - cQ) * 2**11 / 2)
    new_out = [u + round((F(r_E, 2**12) * F(w, 2**13) - F(u, 2**11) + F(c_k, 2**14)) * 2**11 / 8)
               for u, w, c_k in zip(u_out, W_out, c, strict=True)]  # fmt: skip

    def array(*values):
        return np.array([values], dtype=np.int64)

    parameters = Parameters((array(0),), (np.zeros(1, np.int64),), array(*W_out))
    state = NetworkState((array(u_E),), (array(u_I),), array(*u_out), array(*z))
    control = (np.array(Q, dtype=np.int64).reshape(1, 2, 1),), array(*target)
    found = tick(chip, parameters, (array(a_1[0]), a_1[1]), state, control,
                 Here(overflows, Chance()))  # fmt: skip
    assert found.u_E[0][0, 0] == new_u_E
    assert found.u_I[0][0, 0] == new_u_I
    assert found.u_out[0].tolist() == new_out
    assert found.z[0].tolist() == new_z


class IntegersOnly(np.ndarray):
    """An array that no float may meet."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [np.asarray(one) for one in inputs]
        given = {"out": tuple(np.asarray(one) for one in out)} if out else {}
        found = getattr(ufunc, method)(*inputs, **given, **options)
        for one in (*inputs, *(found if isinstance(found, tuple) else (found,))):
            assert np.asarray(one).dtype.kind in "iub", (ufunc, np.asarray(one).dtype)
        return found.view(IntegersOnly) if isinstance(found, np.ndarray) else found


def only_integers(array):
    return array.view(IntegersOnly)


@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "mse"])
@pytest.mark.parametrize("way", ["nearest-even", "stochastic"])
def test_no_float_enters_a_tick(loss, way):
    about = arithmetic(rounding=way, ticks=2)
    network = NetworkConfiguration(sizes=(4, 3, 3, 2), loss=loss, optimizer=SGD)
    chip, here = chip_of(network, about), Here(Overflows(), Chance())
    parameters = integers_of(initial_parameters(network.sizes, np.random.default_rng(0)), about)
    parameters = Parameters(*[
        tuple(map(only_integers, arrays)) for arrays in (parameters.weights, parameters.biases)
    ], only_integers(parameters.readout))  # fmt: skip
    x = only_integers(np.full((5, 4), 3000))
    with pytest.raises(AssertionError):
        only_integers(np.arange(3)) * 0.5
    opened = chips.last(chips.open_loop(chip, parameters, x, here))
    Q = chips.feedback_weights(chip, parameters, opened, here)
    y = only_integers(np.full((5, 2), 8000))
    target = chips.closed_loop_target(chip, opened.u_out, y, here)
    closed = chips.last(chips.closed_loop(chip, parameters, x, Q, target, opened, here))
    for array in (*opened.u_E, *closed.u_I, closed.u_out, closed.z, *Q):
        assert array.dtype == np.int64


# Against the reference.


def integers_of(parameters, about):
    overflows = Overflows()
    found = Parameters(
        tuple(quantized(W, about.weight, "weight", overflows) for W in parameters.weights),
        tuple(quantized(b, about.bias, "bias", overflows) for b in parameters.biases),
        quantized(parameters.readout, about.weight, "weight", overflows),
    )
    assert overflows.as_dict() == {}
    return found


def numbers_of(parameters, weight, bias):
    return Parameters(
        tuple(numbers(W, weight) for W in parameters.weights),
        tuple(numbers(b, bias) for b in parameters.biases),
        numbers(parameters.readout, weight),
    )


VARIANTS = {
    "default": {},
    "linear threshold": {"rule": "linear-threshold", "mean_inhibition": MeanInhibition(rate=0.25)},
    "fixed": {"rule": "linear-threshold-fixed"},
    "mse, weak, averaged": {"loss": "mse", "feedback": Feedback(strong=False, nudge=0.1,
                                                                average=True)},
    "weak, clipped": {"feedback": Feedback(strong=False, nudge=0.2, clip=0.05, norm=2.0)},
    "not normalised, readout free": {"feedback": Feedback(normalize=False, to_readout=False)},
    "activations": {"activation_E": SoftReLU(1.2, 1.5, 0.1), "activation_I": SoftReLU(0.9, 1.3)},
    "no bias": {"bias": False},
}  # fmt: skip


FAST = ("linear threshold", "mse, weak, averaged", "activations")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in VARIANTS],
)
def test_wide_integers_are_the_reference(name):
    """24 bits after the point, tables of 14 bits, 800 ticks: what is left is tables' doing.

    A table of φ is off by a cell's width squared times |φ''| / 8, 3e-8 to 7e-8 here; what comes of
    it is at most some ten times as much.
    """
    network = NetworkConfiguration(sizes=(8, 7, 6, 4), optimizer=SGD, **VARIANTS[name])
    about, generator = arithmetic("wide", ticks=800), np.random.default_rng(2)
    parameters = integers_of(initial_parameters(network.sizes, generator), about)
    x, y = generator.random((9, 8)), np.full((9, 4), 0.01 / 3)
    y[np.arange(9), generator.integers(0, 4, 9)] = 0.99
    overflows = Overflows()
    chip = chip_of(network, about)
    x_int = quantized(x, about.input, "input", overflows)
    y_int = quantized(y, about.error, "error", overflows)
    r_bar = tuple(quantized(np.full(n, 0.8), about.rate, "rate", overflows) for n in (7, 6))
    learner, step = chips.learning_step(
        chip, Learner(parameters, OptimizerState(0), r_bar), x_int, y_int, overflows
    )
    assert overflows.as_dict() == {}
    p = numbers_of(parameters, about.weight, about.bias)
    solver = Solver(rtol=0.0, atol=1e-12)
    opened, _ = open_loop_end_state(network, solver, p, x)
    Q = feedback_weights(network, p, opened)
    target = closed_loop_target(network.loss, network.feedback, opened.u_out, y)
    closed, _ = closed_loop_end_state(network, solver, p, x, Q, target, opened)
    means = tuple(np.full(n, 0.8) for n in (7, 6))
    if network.rule == "linear-threshold":
        means = updated_mean_inhibition(network, means, opened)
    g = plasticity_gradients(network, p, x, y, opened, closed, means)
    pairs = [
        *zip(opened.u_E, step.open_loop.u_E, ["potential"] * 2, strict=True),
        *zip(Q, step.Q, ["feedback"] * 2, strict=True),
        (target, step.target, "error"),
        *zip(closed.u_I, step.closed_loop.u_I, ["potential"] * 2, strict=True),
        (closed.z, step.closed_loop.z, "integral"),
        *zip(means, learner.mean_inhibition, ["rate"] * 2, strict=True),
        *zip(g.weights, step.gradients.weights, ["gradient"] * 2, strict=True),
        *zip(g.biases, step.gradients.biases, ["gradient"] * 2, strict=True),
        (g.readout, step.gradients.readout, "gradient"),
    ]
    for expected, found, quantity in pairs:
        off = np.abs(expected - numbers(found, about.format_of(quantity)))
        assert np.max(off) < 2e-6, quantity
    moved = numbers_of(learner.parameters, about.weight, about.bias)
    np.testing.assert_allclose(moved.weights[1], p.weights[1] - 0.5 * g.weights[1], atol=1e-6)


@pytest.mark.parametrize(("way", "within"), [("table", 0.01), ("power-of-two", 0.5)])
def test_feedback_has_its_norm(way, within):
    """By a table of 8 bits to a hundredth; by shifts alone between half of it and all of it."""
    about = arithmetic(normalization=way)
    network = NetworkConfiguration(sizes=(5, 20, 4), optimizer=SGD, feedback=Feedback(norm=0.5))
    chip, here = chip_of(network, about), Here(Overflows(), Chance())
    J = (
        np.random.default_rng(0).integers(-3000, 3000, (30, 4, 20))
        >> np.arange(30)[:, None, None] // 4
    )
    J[3] = 0
    Q = numbers(chips.learning.normalised(chip, J, here, 0), about.feedback)
    norms = np.sqrt(np.sum(Q**2, axis=(1, 2)))
    assert norms[3] == 0
    # Where J has few bits, so has Q.
    coarse = 2.0**-about.feedback.fraction * np.sqrt(80)
    others = np.delete(norms, 3)
    assert np.all(others <= 0.5 * (1 + (within if way == "table" else 0)) + coarse)
    assert np.all(others >= 0.5 * (1 - within) - coarse)


# What is refused, in a line.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "int9"}, "choose one of int16, int8-weights, fpga, wide"),
        ({"weight": "16"}, "as in '16.12'"),
        ({"weight": "a.b"}, "whole number"),
        ({"weight": "40.2"}, "at most 32"),
        ({"rounding": "up"}, "choose one of floor"),
        ({"tick": 3}, "has no 'tick'"),
        ({"table_bits": 16, "potential": "8.3"}, "bits of address"),
        ({"ticks": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
    ],
)
def test_impossible_arithmetics_are_refused(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        arithmetic(**changes)


@pytest.mark.parametrize(
    ("about", "network", "words"),
    [
        ({}, {"optimizer": Optimizer()}, "descend by sgd"),
        ({"normalization": "power-of-two"}, {"feedback": Feedback(norm=3.0)}, "a power of 2"),
        # r̄ beside ρ times what it lacks: 16 bits, moved up by 15 + 53.
        ({}, {"mean_inhibition": MeanInhibition(rate=1e-16)}, "mean_inhibition.rate is too small"),
        ({}, {"controller": Controller(leak=1e-12)}, "controller.leak is too small"),
        ({}, {"controller": Controller(k_p=1e-12, k_i=1.0)}, "k_p and k_i are too small"),
        ({}, {"feedback": Feedback(strong=False, nudge=1e-13)}, "feedback.nudge is too small"),
        ({"preset": "wide"}, {"sizes": (100_000, 3, 2)}, "bits: the sums here have 63"),
        ({"bias": "32.31"}, {}, "cannot take in more"),
        # Of 62 bits after the point the sums have, a potential would lie 59 bits up.
        ({"weight": "20.31", "rate": "20.31", "potential": "8.3", "table_bits": 4}, {}, "have 63"),
        (
            {
                "weight": "16.23",
                "rate": "16.20",
                "table_bits": 2,
                "table_range": 3,
                "shift_E": 20,
                "shift_I": 20,
                "input": "16.20",
                "potential": "8.0",
            },
            {},
            "would drop",
        ),
    ],
)
def test_networks_that_integers_do_not_have_are_refused(about, network, words):
    settings = {"sizes": (4, 3, 2), "optimizer": SGD} | network
    with pytest.raises(ConfigurationError, match=words):
        chip_of(NetworkConfiguration(**settings), arithmetic(**about))


def test_every_quantity_has_a_format_in_every_preset():
    for preset in PRESETS:
        about = arithmetic(preset)
        assert {name for name, _ in about.formats()} == set(QUANTITIES)
    assert arithmetic() == Arithmetic()
