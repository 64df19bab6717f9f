import numpy as np
import pytest

from kexue_jax.data.images import DigitPairs, Digits, digits, overlay


def test_train_and_test_share_no_digit_and_miss_none():
    train, test = digits(train=True), digits(train=False)
    assert (len(train.label), len(test.label)) == (1438, 359)
    seen = {image.tobytes() for image in train.image}
    assert sum(image.tobytes() in seen for image in test.image) == 0
    assert train.image.dtype == np.float32
    assert train.image.min() == 0
    assert train.image.max() == 1
    assert set(test.label) == set(range(10))


@pytest.mark.parametrize("make", [Digits, DigitPairs])
def test_a_step_is_the_same_batch_forever_and_epochs_miss_nothing(make):
    source = make(batch_size=50, seed=3)
    again = make(batch_size=50, seed=3)
    for step in (0, 7, 100):
        for name, rows in source(step).items():
            np.testing.assert_array_equal(rows, again(step)[name])
    count = len(source.pictures.label)
    seen = np.concatenate([source(i)["index"] for i in range(-(-count // 50))])[:count]
    assert sorted(seen) == list(range(count))
    other = make(batch_size=50, seed=4)
    assert not np.array_equal(source(0)["index"], other(0)["index"])


def test_labels_belong_to_their_pictures():
    source = DigitPairs(pairs=64, batch_size=8)
    batch = source(5)
    whole = source.pictures
    np.testing.assert_array_equal(batch["image"], whole.image[batch["index"]])
    np.testing.assert_array_equal(batch["label"], whole.label[batch["index"]])
    assert batch["label"].shape == (8, 2)


def test_an_overlay_shows_both_digits_and_the_brighter_where_they_meet():
    one, two = np.full((1, 2, 2), 0.25), np.full((1, 2, 2), 0.75)
    want = [[0.25, 0.25, 0], [0.25, 0.75, 0.75], [0, 0.75, 0.75]]
    np.testing.assert_array_equal(overlay(one, two, 3)[0], want)
    with pytest.raises(ValueError, match="canvas must be at least 2, got 1"):
        overlay(one, two, 1)
