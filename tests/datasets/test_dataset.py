"""What every dataset and every message about one has in common."""

import numpy as np
import pytest

from disinhib.datasets.dataset import DatasetError, Split, split_off_validation
from disinhib.datasets.load import load_dataset


def test_message_is_one_line_whatever_it_quotes(tmp_path):
    with pytest.raises(DatasetError) as caught:
        load_dataset("mnist", tmp_path / "two\n  lines")
    assert str(caught.value).startswith(f"{tmp_path}/two lines: no such directory")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("n", "n_validation"), [(60000, 6000), (1500, 150), (39, 3), (10, 1)])
def test_first_tenth_validates(n, n_validation):
    labels = np.arange(n)
    published = Split(labels[:, None].astype(np.uint8), labels)
    train, validation = split_off_validation(published, "ours")
    assert np.array_equal(validation.labels, np.arange(n_validation))
    assert np.array_equal(train.labels, np.arange(n_validation, n))
    for split in (train, validation):
        assert np.array_equal(split.images[:, 0], split.labels.astype(np.uint8))


def test_a_set_of_which_nothing_would_validate_is_refused():
    few = Split(np.zeros((9, 4), dtype=np.uint8), np.zeros(9, dtype=np.int64))
    with pytest.raises(DatasetError, match=r"^ours: expected at least 10 training images.*found 9"):
        split_off_validation(few, "ours")
