import numpy as np
import pytest

from kexue_jax.data.census import Census, drawn_census, read_census


def test_a_row_has_all_entries():
    row = ", ".join(["39", *"abcdefghijklm", "<=50K"])
    (found,) = read_census([row + "\n", "\n"])
    assert found["age"] == "39"
    assert found["native-country"] == "m"
    with pytest.raises(ValueError, match="line 1 must have 15 entries"):
        read_census(["39, a\n"])


def test_batches_hold_scaled_numbers_words_and_two_labels():
    train, test = (Census(name="drawn", train=t, batch_size=50) for t in (True, False))
    assert train.inputs.shape == (300, 12)
    assert test.inputs.shape == (100, 12)
    np.testing.assert_allclose(train.inputs[:, :2].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(train.inputs[:, :2].std(axis=0), 1.0, rtol=1e-4)
    words = train.inputs[:, 5:]
    np.testing.assert_array_equal(words.sum(axis=1), 6.0)  # one of each kind
    batch = train(3)
    assert batch["inputs"].dtype == np.float32
    assert batch["label"].shape == (50, 2)
    rows = drawn_census()[:300]
    single = [row["marital-status"] == "Never-married" for row in rows]
    np.testing.assert_array_equal(train.label[:, 1], single)
    again = Census(name="drawn", batch_size=50)(3)
    np.testing.assert_array_equal(again["inputs"], batch["inputs"])


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="name must be 'adult' or 'drawn', got 'x'"):
        Census(name="x")
