"""Softened labels."""

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError, softened_labels


def test_entries_are_those_of_the_published_setup():
    softened = softened_labels(np.array([2, 0]), 3)
    np.testing.assert_allclose(
        softened, [[0.005, 0.005, 0.99], [0.99, 0.005, 0.005]], rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-15), (np.float32, 1e-6)])
def test_rows_sum_to_one(dtype, tolerance):
    labels = np.arange(10)
    softened = softened_labels(labels, 10, dtype)
    assert softened.dtype == dtype
    assert softened.shape == (10, 10)
    assert np.array_equal(softened.argmax(axis=1), labels)
    np.testing.assert_allclose(softened.sum(axis=1), 1, rtol=0, atol=tolerance)


def test_on_class_one_is_one_hot():
    assert np.array_equal(softened_labels(np.array([1, 0]), 2, on_class=1.0), [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("labels", "n_classes", "words"),
    [([0, 3], 3, "found 3, expected 0 to 2"), ([-1], 3, "found -1"), ([0], 1, "at least 2")],
)
def test_impossible_classes_are_refused(labels, n_classes, words):
    with pytest.raises(DatasetError, match=words):
        softened_labels(np.array(labels), n_classes)
