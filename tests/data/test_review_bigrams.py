import numpy as np
import pytest

from kexue_jax.data.review_bigrams import bag_rows, frequent, review_bigrams


def test_bigrams_are_numbered_by_how_many_texts_have_them():
    texts = ["abab", "abc", "bcb"]
    known = frequent(texts, 3)  # ab and bc in two, once each in a text; ba before cb
    assert known == {"ab": 1, "bc": 2, "ba": 3}
    rows = bag_rows([*texts, "x", ""], known, length=3)
    assert rows.tolist() == [[1, 3, 1], [1, 2, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert bag_rows(["xxabc"], known, length=1).tolist() == [[1]]


def test_drawn_reviews_come_as_rows_below_the_vocabulary():
    data = review_bigrams("drawn", vocabulary=50, length=20, batch=25)
    batch = data.source(3)
    assert batch["inputs"].shape == (25, 20)
    assert batch["inputs"].dtype == np.int32
    assert batch["inputs"].max() <= 50
    assert batch["inputs"].max() > 30
    assert data.classes == 2
    assert {*batch["label"].tolist()} == {0, 1}
    np.testing.assert_array_equal(batch["inputs"], data.source(3)["inputs"])


def test_other_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="name must be 'chnsenticorp' or 'drawn'"):
        review_bigrams("imdb")
    with pytest.raises(ValueError, match="must be at least 1, got 0, 128"):
        review_bigrams("drawn", vocabulary=0)
