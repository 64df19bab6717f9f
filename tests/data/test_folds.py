import numpy as np
import pytest

from kexue_jax.data.folds import Folds, folded_table


def test_every_row_is_held_out_once_a_repeat_and_not_learned_from():
    rows = np.arange(23.0)[:, None]
    data = Folds(rows, np.arange(23) % 3, batch=100, folds=4, repeats=2)
    valid, train = data.held_out[0], data.source(0)
    assert (data.copies, data.classes) == (8, 3)
    for repeat in range(2):
        asked = []
        for k in range(4 * repeat, 4 * repeat + 4):
            own = data._valid[k]
            assert not set(own) & set(data._train[k][0])
            assert valid["weight"][:, k].sum() == len(own)
            asked += own.tolist()
        assert sorted(asked) == list(range(23))
    assert train["inputs"].shape == (100, 8, 1)
    assert train["label"].shape == (100, 8)


def test_columns_are_scaled_by_what_a_model_learns_from():
    data = folded_table("wine", batch=10, folds=3, repeats=1)
    own, _ = data._train[1]
    scaled = data._scaled[1][own]
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, atol=1e-5)
    again = folded_table("wine", batch=10, folds=3, repeats=1)
    assert again.fingerprint() == data.fingerprint()
    np.testing.assert_array_equal(again.source(4)["label"], data.source(4)["label"])


def test_tables_that_cannot_be_folded_are_refused():
    with pytest.raises(ValueError, match="folds must be from 2"):
        Folds(np.zeros((3, 1)), np.zeros(3), batch=1, folds=5)
    with pytest.raises(ValueError, match="must be as many"):
        Folds(np.zeros((9, 1)), np.zeros(8), batch=1, folds=2)
    with pytest.raises(ValueError, match="name must be one of"):
        folded_table("iris", batch=1)
