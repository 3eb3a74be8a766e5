"""Generators and batch orders as functions of (seed, purpose, epoch)."""

from itertools import combinations

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError, batch_order, random_generator

SEEDS = [0, -1, 1, -2, 2**63, 2**70, -(2**70), 2**200]


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_batches_are_a_permutation(seed):
    order = batch_order(seed, 3, 60, 12)
    assert order.shape == (5, 12)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order, axis=None), np.arange(60))


def test_remainder_is_dropped_and_differs_by_epoch():
    dropped = []
    for epoch in range(5):
        order = batch_order(7, epoch, 103, 10)
        assert order.shape == (10, 10)
        left = set(range(103)) - set(order.ravel().tolist())
        assert len(left) == 3
        dropped.append(left)
    assert any(first != second for first, second in combinations(dropped, 2))


def test_seeds_differ():
    orders = [batch_order(seed, 0, 100, 100) for seed in SEEDS]
    for first, second in combinations(orders, 2):
        assert not np.array_equal(first, second)


def test_epochs_and_purposes_differ():
    draws = [
        random_generator(5, purpose, epoch).integers(2**63, size=4).tolist()
        for purpose in ("initial-parameters", "batch-order")
        for epoch in range(3)
    ]
    for first, second in combinations(draws, 2):
        assert first != second


def test_an_epoch_does_not_depend_on_those_before():
    alone = batch_order(11, 4, 50, 10)
    in_turn = [batch_order(11, epoch, 50, 10) for epoch in range(5)]
    assert np.array_equal(alone, in_turn[4])


@pytest.mark.parametrize(
    ("seed", "entropy"), [(0, 0), (-1, 1), (1, 2), (-2, 3), (2**70, 2**71), (-(2**70), 2**71 - 1)]
)
@pytest.mark.parametrize(("purpose", "code"), [("initial-parameters", 0), ("batch-order", 1)])
def test_construction_is_the_documented_one(seed, entropy, purpose, code):
    sequence = np.random.SeedSequence(entropy=entropy, spawn_key=(code, 9))
    expected = np.random.Generator(np.random.PCG64(sequence)).random(8)
    assert np.array_equal(random_generator(seed, purpose, 9).random(8), expected)


def test_order_is_the_permutation_of_the_documented_generator():
    sequence = np.random.SeedSequence(entropy=84, spawn_key=(1, 2))
    permutation = np.random.Generator(np.random.PCG64(sequence)).permutation(25)
    assert np.array_equal(batch_order(42, 2, 25, 10), permutation[:20].reshape(2, 10))


def test_numpy_integers_are_seeds_too():
    largest = np.iinfo(np.int64).max
    assert np.array_equal(
        batch_order(np.int64(largest), 0, 20, 20), batch_order(int(largest), 0, 20, 20)
    )


def test_a_fraction_is_no_seed():
    with pytest.raises(TypeError):
        random_generator(1.5, "batch-order")


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_impossible_batch_size_is_refused(batch_size):
    with pytest.raises(DatasetError, match=f"batch_size: found {batch_size}, expected 1 to 10"):
        batch_order(0, 0, 10, batch_size)


def test_unknown_purpose_and_negative_epoch_are_refused():
    with pytest.raises(DatasetError, match=r"'shuffle', expected one of initial-parameters, batch"):
        random_generator(0, "shuffle")
    with pytest.raises(DatasetError, match="epoch: found -1"):
        random_generator(0, "batch-order", -1)
