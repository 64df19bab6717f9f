import numpy as np
import pytest

from kexue_jax.data.vector_sets import vector_set


def test_digits_have_the_mean_of_the_corpus_taken_off_and_are_the_same_again():
    found = vector_set("digits", corpus=100, queries=20)
    assert found.corpus.shape == (100, 64)
    assert found.queries.shape == (20, 64)
    assert found.corpus.dtype == found.queries.dtype == np.float32
    np.testing.assert_allclose(found.corpus.mean(axis=0), 0.0, atol=1e-6)
    again = vector_set("digits", corpus=100, queries=20)
    assert found.fingerprint() == again.fingerprint()
    other = vector_set("digits", corpus=99, queries=20)
    assert found.fingerprint() != other.fingerprint()
    both = np.concatenate([found.corpus, found.queries])
    assert len(np.unique(both, axis=0)) == 120


def test_words_come_from_the_file_and_no_query_is_in_the_corpus(tmp_path, monkeypatch):
    rows = np.arange(24, dtype=np.float32).reshape(12, 2) ** 2

    def words(name, *, path):
        assert (name, path) == ("vec_glove_twitter25d", tmp_path)
        return type("Words", (), {"vectors": rows})

    monkeypatch.setattr("kexue_jax.data.vector_sets.word_vectors", words)
    found = vector_set("vec_glove_twitter25d", corpus=5, queries=3, path=tmp_path)
    mean = rows[[1, 2, 3, 5, 6]].mean(axis=0)
    np.testing.assert_allclose(found.queries + mean, rows[[0, 4, 8]])
    np.testing.assert_allclose(found.corpus + mean, rows[[1, 2, 3, 5, 6]])


def test_names_and_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"name must be one of mnist, digits, .*'dog'"):
        vector_set("dog", corpus=1, queries=1)
    with pytest.raises(ValueError, match=r"digits has 1437 vectors .*got 1438"):
        vector_set("digits", corpus=1438, queries=1)
    with pytest.raises(ValueError, match="must be positive, got 0 and 1"):
        vector_set("digits", corpus=0, queries=1)
