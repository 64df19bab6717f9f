import numpy as np
import pytest

from kexue_jax.data.parts import Part, parted


def part(count, first=0, width=3):
    number = np.arange(first, first + count)
    return Part(np.repeat(number[:, None], width, 1).astype(np.uint8), number % 4)


def test_an_epoch_has_every_row_to_learn_from_once_and_none_that_is_held_out():
    data = parted(part(12), part(5, first=100), batch=4, seed=1)
    seen = np.concatenate([data.source(step)["inputs"][:, 0] for step in range(3)])
    assert sorted(seen) == list(range(12))
    assert data.classes == 4
    for batch in (data.source(7), *data.held_out):
        np.testing.assert_array_equal(batch["inputs"][:, 0] % 4, batch["label"])
        assert (batch["inputs"].dtype, batch["label"].dtype) == (np.int32, np.int32)
    assert parted(part(12), part(5), batch=4, seed=2).source(0)["inputs"].tolist() != (
        data.source(0)["inputs"].tolist()
    )


def test_the_last_batch_held_out_is_filled_with_rows_that_weigh_nothing():
    data = parted(part(12), part(5, first=100), batch=4, seed=0)
    kept = [batch["inputs"][batch["weight"] > 0, 0] for batch in data.held_out]
    assert [len(batch["weight"]) for batch in data.held_out] == [4, 4]
    assert np.concatenate(kept).tolist() == [100, 101, 102, 103, 104]


def test_rows_of_floats_stay_floats():
    rows = Part(np.full((2, 3), 0.5), np.array([0, 1]))
    assert parted(rows, rows, batch=2, seed=0).source(0)["inputs"].dtype == np.float32


def test_parts_that_do_not_fit_are_refused():
    none = Part(np.zeros((0, 3)), np.zeros(0, int))
    for train, apart, batch, message in (
        (part(4), part(4), 0, "batch must be at least 1, got 0"),
        (none, part(4), 2, "train must have at least one row .*got 0 rows"),
        (part(4), none, 2, "held_out must have at least one row"),
        (Part(np.zeros((3, 3)), np.zeros(2, int)), part(4), 2, "3 rows and 2 labels"),
        (part(4), part(4, width=2), 2, r"one shape, got \(3,\) and \(2,\)"),
        (part(4), Part(part(1).inputs, np.array([-1])), 2, "not be negative, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            parted(train, apart, batch=batch, seed=0)
