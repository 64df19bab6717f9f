import gzip

import numpy as np
import pytest

from kexue_jax.data import fetch
from kexue_jax.data.labelled_texts import embedded_texts, read_tweets
from kexue_jax.data.sentence_pairs import (
    ScoredPair,
    embedded_pairs,
    read_cnsd,
    read_sick,
    read_sts,
    scored_pairs,
)
from kexue_jax.data.word_vectors import (
    WordVectors,
    character_vectors,
    characters,
    embedded,
    english_tokens,
    read_vectors,
    word_vectors,
)


def test_vectors_are_read_once_each_and_checked():
    found = read_vectors(["a 1 2\n", "b 3 4\n", "a 9 9\n"])
    assert found.row_of == {"a": 0, "b": 1}
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4]])
    for lines, message in (
        (["a 1 2", "b 3"], r"line 2 must be a word and 2 numbers, got 'b 3'"),
        (["alone"], "line 1 must be"),
        ([], "no vector"),
    ):
        with pytest.raises(ValueError, match=message):
            read_vectors(lines)


def test_texts_are_padded_and_words_without_a_vector_left_out():
    words = WordVectors(
        {"a": 0, "b": 1}, np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    )
    vectors, weight = embedded([["b", "x", "a"], [], ["a"]], words)
    np.testing.assert_array_equal(weight, [[1, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(vectors[0], [[3, 4], [1, 2]])
    assert not vectors[1].any()
    assert embedded([], words)[0].shape == (0, 1, 2)
    assert embedded([["x"]], words)[1].tolist() == [[0.0]]


def test_tokens_are_lower_case_without_signs():
    assert english_tokens("It's 3 Cats, see-saw!") == [
        "it's",
        "3",
        "cats",
        "see",
        "saw",
    ]


def test_characters_are_lower_case_and_those_drawn_have_no_vector():
    assert characters("他 用iPad\n") == [*"他用ipad"]
    table = np.array([[0.0, 0.9], [0.5, 1.0], [-0.1, 0.2]])
    found = character_vectors("甲\n乙\n丙\n", table)
    assert found.row_of == {"乙": 0, "丙": 1}
    np.testing.assert_array_equal(found.vectors, table[1:].astype(np.float32))
    with pytest.raises(ValueError, match=r"must be \[2, D\], .* got \(3, 2\)"):
        character_vectors("甲\n乙", table)


def test_pairs_and_tweets_are_read_from_their_forms():
    rows = ['"A ""cat"", here.",A cat.,4.5', "x,y,0"]
    assert read_sts(rows)[0] == ScoredPair('A "cat", here.', "A cat.", 4.5)
    with pytest.raises(ValueError, match="row 2 must have 3 columns"):
        read_sts(["a,b,1", "a,b"])
    assert read_cnsd(["1||a||b||3\n"]) == [ScoredPair("a", "b", 3.0)]
    with pytest.raises(ValueError, match="row 1 must have 4 columns"):
        read_cnsd(["1||a||b"])
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"
    found = read_sick([header, '1\tA "man" is\tHe is\t4.5\tNEUTRAL'])
    assert found == [ScoredPair('A "man" is', "He is", 4.5)]
    with pytest.raises(ValueError, match="header must name"):
        read_sick(["a\tb", "1\t2"])
    assert read_tweets(['"neutral"\t a  b\n']) == [(["a", "b"], "neutral")]
    with pytest.raises(ValueError, match="line 1 must be a class in quotes"):
        read_tweets(["neutral\ta"])


def test_drawn_sets_need_no_file_and_are_always_the_same():
    pairs, again = embedded_pairs("drawn"), embedded_pairs("drawn")
    assert pairs.fingerprint() == again.fingerprint()
    assert pairs.first.shape[:2] == pairs.first_weight.shape
    assert pairs.first_weight.any(axis=1).all()
    texts = embedded_texts("drawn")
    assert texts.fingerprint() == embedded_texts("drawn").fingerprint()
    assert set(texts.label) == {0, 1, 2}
    assert texts.words.max() < 90
    assert ((texts.words >= 0).sum(1) >= texts.weight.sum(1)).all()


def test_wrong_names_are_refused_and_missing_files_are_said(tmp_path):
    for call in (word_vectors, scored_pairs, embedded_texts, embedded_pairs):
        with pytest.raises(ValueError, match=r"name must be .*, got 'none'"):
            call("none")
    with pytest.raises(ValueError, match=r"vectors must be .*, got 'none'"):
        embedded_pairs("drawn", vectors="none")
    with pytest.raises(fetch.DataNotFoundError, match="stsb-en-test"):
        scored_pairs("stsb_test", path=tmp_path)


def test_a_damaged_file_is_not_read(tmp_path):
    name = "glove_twitter_25d_11925.txt.gz"
    (tmp_path / name).write_bytes(gzip.compress(b"a 1 2\n"))
    with pytest.raises(fetch.ChecksumError, match="glove"):
        word_vectors(path=tmp_path)


def test_the_real_sets_have_the_sizes_that_the_documentation_gives(real_set):
    words = word_vectors(path=real_set("vec_glove_twitter25d"))
    assert words.vectors.shape == (11925, 25)
    assert words.vectors[:1000, 12].mean() == pytest.approx(-3.7, abs=0.05)
    assert word_vectors(
        "vec_tencent_char", path=real_set("vec_tencent_char")
    ).vectors.shape == (4729, 200)
    assert len(scored_pairs("stsb_zh_test", path=real_set("stsb_zh"))) == 1361
    folder = real_set("stsb_en_zh_mt")
    assert len(scored_pairs("stsb_test", path=folder)) == 1379
    scores = [pair.score for pair in scored_pairs("stsb_dev", path=folder)]
    assert (len(scores), min(scores), max(scores)) == (1500, 0.0, 5.0)
    assert len(scored_pairs("sick_train", path=real_set("sick_en"))) == 4500
    real_set("wmd_twitter")
    assert len(embedded_texts().label) == 2832
