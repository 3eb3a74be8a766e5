"""Every setting is a number of its kind and range, or is refused by name."""

import dataclasses
import re

import numpy as np
import pytest

from disinhib.backends.precision import settings_as
from disinhib.refimpl.configuration import (
    ConfigurationError,
    Controller,
    Feedback,
    MeanInhibition,
    NetworkConfiguration,
    Optimizer,
    Setting,
    SoftReLU,
    Solver,
)
from disinhib.refimpl.continuous import ContinuousLearning
from disinhib.refimpl.end_state import Recording

KINDS = (
    SoftReLU,
    Controller,
    Feedback,
    MeanInhibition,
    Optimizer,
    Solver,
    NetworkConfiguration,
    ContinuousLearning,
    Recording,
)
FIELDS = [(kind, item) for kind in KINDS for item in dataclasses.fields(kind)]
NUMBERS = [(kind, item.name) for kind, item in FIELDS if re.match("Setting|float|int", item.type)]
FLAGS = [(kind, item.name) for kind, item in FIELDS if item.type == "bool"]
PER_REPLICA = [(kind, item.name) for kind, item in FIELDS if item.type.startswith("Setting")]
OBJECTS = [
    (kind, item.name)
    for kind, item in FIELDS
    if item.type in ("SoftReLU", "Controller", "Feedback", "MeanInhibition", "Optimizer")
]
WORDS = [(kind, item.name) for kind, item in FIELDS if item.type == "str"]


def refused(kind, name, value):
    with pytest.raises(ConfigurationError) as problem:
        kind(**{name: value})
    message = str(problem.value)
    assert message.startswith((f"{kind.__name__}.{name} ", name))
    assert "\n" not in message
    assert len(message) < 250
    return message


@pytest.mark.parametrize(
    "value",
    [
        True, np.True_, "1", b"1", [1.0, 2.0], (0.5,), {0.5}, {}, 1j, np.nan, -np.inf, 10**400,
        np.complex128(1), np.array(["1"]), np.array([True]), np.array([1.0]), np.zeros((2, 1)),
        np.zeros((0, 1, 1)), np.full((2, 1, 1), np.nan), np.ones((2, 1, 3)),
        np.ones((2, 1, 1), dtype=object), float,
    ],
    ids=lambda value: repr(value)[:20].replace("\n", " "),
)  # fmt: skip
def test_what_is_no_number_is_refused(value):
    for kind, name in NUMBERS:
        refused(kind, name, value)


@pytest.mark.parametrize("value", [1, 0, 1.0, "true", None, [True], np.array([True, False])])
def test_a_flag_is_true_or_false(value):
    for kind, name in FLAGS:
        refused(kind, name, value)


@pytest.mark.parametrize("value", [1, None, True, ["adam"], b"adam", "Adam", "", np.array(["mse"])])
def test_a_word_is_one_of_those_there_are(value):
    for kind, name in WORDS:
        assert "choose one of" in refused(kind, name, value)


@pytest.mark.parametrize("value", [None, {}, {"k_p": 1.0}, 3, SoftReLU, Solver()])
def test_a_part_is_an_object_of_its_class(value):
    for kind, name in OBJECTS:
        assert "is needed" in refused(kind, name, value)


@pytest.mark.parametrize(("kind", "name"), PER_REPLICA)
def test_a_number_a_replica_is_an_array_of_that_shape(kind, name):
    default = getattr(kind(), name) or 1.0
    for shape in ((2, 1, 1), (1, 1, 1), (2, 3, 1, 1)):
        array = np.full(shape, default, dtype=np.float32)
        assert getattr(kind(**{name: array}), name).shape == shape
    assert "(R, 1, 1)" in refused(kind, name, np.full((1, 2), default))


@pytest.mark.parametrize(
    ("kind", "name"), [one for one in NUMBERS if one not in PER_REPLICA and one[1] != "sizes"]
)
def test_what_all_replicas_share_is_no_array(kind, name):
    refused(kind, name, np.full((2, 1, 1), getattr(kind(), name)))


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_numbers_become_plain_ones(kind, name):
    """NumPy's promote arrays of float32, and a setting must not."""
    default = getattr(kind(), name)
    if default is None:
        default = 1.0
    same = getattr(kind(**{name: np.asarray(default)[()]}), name)
    assert type(same) is type(default)
    assert same == default


@pytest.mark.parametrize(
    "sizes",
    [
        (4, 3), (4,), (), (4, 0, 2), (4, -1, 2), (4, 2.0, 2), (4, True, 2), (4, "3", 2), "432", 5,
        None, (4, 2**63, 2), (4, 10**5000, 2), (4, [3], 2), np.ones((3, 2), dtype=int), (4, 3.7, 2),
    ],
)  # fmt: skip
def test_sizes_are_whole_numbers_of_units(sizes):
    assert "sizes" in refused(NetworkConfiguration, "sizes", sizes)


def test_sizes_may_be_numpy_numbers():
    assert NetworkConfiguration(sizes=np.array([4, 3, 2])).sizes == (4, 3, 2)


@pytest.mark.parametrize(
    ("part", "name", "value", "becomes"),
    [
        ("mean_inhibition", "init", 1e-300, "0"),
        ("mean_inhibition", "fixed_point", 1e39, "infinity"),
        ("mean_inhibition", "rate", 1e-46, "0"),
        ("optimizer", "learning_rate", 1e-300, "0"),
        ("optimizer", "epsilon", 1e-60, "0"),
        ("controller", "k_p", 1e300, "infinity"),
        ("controller", "k_i", 4e38, "infinity"),
        ("controller", "leak", 1e-50, "0"),
        ("controller", "tau", 1e-50, "0"),
        ("feedback", "norm", 1e300, "infinity"),
        ("feedback", "clip", 1e-46, "0"),
        ("feedback", "nudge", 1e-46, "0"),
        ("activation_I", "sharpness", 1e300, "infinity"),
        ("activation_E", "shift", -1e300, "infinity"),
        ("activation_E", "scale", np.array([1.0, 1e-300]).reshape(2, 1, 1), "0"),
        ("", "tau_E", 1e-300, "0"),
    ],
)
def test_what_a_precision_cannot_hold_is_refused_by_it(part, name, value, becomes):
    """Largest and smallest numbers of float32: IEEE 754, 3.4e38 and 2^-149."""
    whole = NetworkConfiguration()
    owner = getattr(whole, part) if part else whole
    changed = dataclasses.replace(owner, **{name: value})
    configuration = dataclasses.replace(whole, **{part: changed}) if part else changed
    settings_as(configuration, np.dtype(np.float64))
    where = re.escape(f"{type(owner).__name__}.{name} is ")
    with pytest.raises(ConfigurationError, match=f"^{where}.*float32 makes that {becomes}, and"):
        settings_as(configuration, np.dtype(np.float32))


@pytest.mark.parametrize("name", ["rtol", "atol", "dt", "dt_min", "dt_max", "horizon"])
def test_a_solver_is_held_by_a_precision_too(name):
    solver = Solver(**{"dt_min": 1e-300, "dt_max": 1.0, name: 1e-300})
    settings_as(solver, np.dtype(np.float64))
    with pytest.raises(ConfigurationError, match="1e-300: float32 makes that 0"):
        settings_as(solver, np.dtype(np.float32))


def test_zero_is_held_by_every_precision():
    configuration = NetworkConfiguration(
        controller=Controller(k_p=0, k_i=0), optimizer=Optimizer(learning_rate=0)
    )
    assert settings_as(configuration, np.dtype(np.float32)) == configuration


def test_the_annotation_of_a_setting_is_what_the_tests_above_go_by():
    assert Setting == float | np.ndarray
    assert ("Controller", "k_p") in [(kind.__name__, name) for kind, name in PER_REPLICA]
    assert len(NUMBERS) > 35
