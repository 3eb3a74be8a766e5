"""Where an array lies furthest off, in words, and how deviations are distributed."""

import numpy as np
import pytest

from disinhib.validation.judge.tolerance import float_arithmetic, named_arithmetic
from disinhib.validation.judge.verdict import deviation, last_places, worst_element

WORDS = [
    ("u_E_1", (4, 3), (2, 1), "hidden layer 1, excitatory unit 1, sample 2"),
    ("u_I_0", (4, 3), (0, 2), "hidden layer 0, inhibitory unit 2, sample 0"),
    ("u_out", (4, 3), (3, 0), "readout unit 0, sample 3"),
    ("c_int", (4, 3), (3, 0), "controller's integral of output 0, sample 3"),
    ("Q_2", (4, 3, 5), (1, 2, 4), "hidden layer 2, from output 2 to unit 4, sample 1"),
    ("r_I_0", (6,), (5,), "hidden layer 0, inhibitory unit 5"),
    ("closed_loop_targets", (4, 3), (1, 2), "output 2, sample 1"),
    ("hidden_1/weight", (4, 3), (1, 2), "hidden layer 1, weight from unit 1 to unit 2"),
    ("hidden_1/bias", (4,), (1,), "hidden layer 1, bias of unit 1"),
    ("readout/weight", (4, 3), (1, 2), "readout, weight from unit 1 to unit 2"),
    ("open_loop_loss", (4,), (3,), "step 3"),
]


@pytest.mark.parametrize(("name", "shape", "at", "words"), WORDS)
def test_the_worst_element_is_found_and_named(name, shape, at, words):
    expected = np.random.default_rng(0).uniform(size=shape)
    found = expected + 1e-6
    found[at] += 1e-3
    element = worst_element(7, name, expected, found)
    assert element.index == at
    assert element.words == words
    assert (element.expected, element.found) == (expected[at], found[at])
    assert str(element) == f"step 7: {name}[{', '.join(map(str, at))}]"


def test_an_element_of_a_path_is_named_as_in_the_file_with_its_time():
    expected = np.zeros((21, 5, 3))
    found = expected.copy()
    found[13, 4, 2] = 1.0
    element = worst_element(0, "u_E_0", expected, found, True, 0.01)
    assert element.index == (4, 13, 2)
    assert element.words == "hidden layer 0, excitatory unit 2, sample 4 at 0.13 s"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_missing_number_is_the_worst_of_all(wrong):
    expected = np.ones((3, 2))
    found = np.array([[1.0, 1.0], [1.0, wrong], [1e300, 1.0]])
    element = worst_element(0, "u_out", expected, found)
    assert element.index == (1, 1)
    places = last_places(float_arithmetic(np.float64), [(expected, found)])
    assert places.largest == np.inf
    assert places.median == 0


def test_a_wrong_shape_is_infinitely_far_off():
    assert np.all(np.isinf(deviation(np.ones((2, 3)), np.ones((3, 2)))))
    assert np.all(np.isinf(deviation(np.ones((2, 3)), None)))


def test_last_places_count_units_of_the_candidates_precision():
    """Elements moved by a known number of float32 neighbours."""
    expected = np.float32(1.5) * np.ones(100, dtype=np.float32)
    moves = np.array([0] * 50 + [1] * 30 + [3] * 19 + [40])
    found = expected + moves * np.spacing(expected)
    places = last_places(
        float_arithmetic(np.float32), [(expected.astype(float), found.astype(float))]
    )
    assert (places.median, places.percentile_99, places.largest) == (1, 40, 40)
    # At 0; below 1; 1 up to 2; 2 up to 4; and so on, doubling, up to 64.
    assert places.histogram == (50, 0, 30, 19, 0, 0, 0, 1)


def test_last_places_in_fixed_point_are_the_same_for_small_and_large():
    expected = np.array([0.0, 1.0, 1000.0])
    places = last_places(named_arithmetic("fixed8"), [(expected, expected + 3 / 256)])
    assert places.median == places.largest == 3
