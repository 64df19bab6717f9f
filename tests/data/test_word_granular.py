import unicodedata

import numpy as np
import pytest

from kexue_jax.data.word_granular import WordGranular, averaged_rows, jieba_words
from kexue_jax.data.wordpiece import MARKS, WordPiece

VOCABULARY = [
    *MARKS,
    *"今天气很好我爱北京安门看cafe12",
    "##afe",
    "##2",
    "今天",
    "天气",
    "北京",
    "天安门",
    "北京天安门",
]
WORDS = sorted((w for w in VOCABULARY if len(w) > 1), key=len, reverse=True)


def longest(text):
    """Cuts by the longest word of a list that begins here, else a character."""
    found, at = [], 0
    while at < len(text):
        word = next((w for w in WORDS if text.startswith(w, at)), text[at])
        found.append(word)
        at += len(word)
    return found


@pytest.fixture(scope="module")
def made():
    return WordGranular(VOCABULARY, words=longest)


def test_words_of_the_vocabulary_are_tokens_and_others_are_read_by_pieces(made):
    found = made.encode("我爱北京天安门，今天气很好 Café 12")
    assert made.pieces(found.tokens) == [
        *("[CLS]", "我", "爱", "北京天安门", "[UNK]", "今天", "气", "很", "好"),
        *("c", "a", "f", "e", "1", "2", "[SEP]"),
    ]
    assert not found.segments.any()
    assert found.added.tolist() == [True, *[False] * 14, True]


TEXTS = ["我爱北京天安门", "ＡＢ Café 今天", "é\u0301今天\u200b好", "", "İ今天"]
TEXTS += ["😀今天\n天气"]


@pytest.mark.parametrize("text", TEXTS)
def test_each_token_is_the_text_between_its_offsets(made, text):
    found = made.encode(text)
    for piece, (start, stop), added in zip(
        made.pieces(found.tokens), found.offsets, found.added, strict=True
    ):
        if added or piece == "[UNK]":
            continue
        folded = unicodedata.normalize("NFD", text[start:stop].lower())
        folded = "".join(c for c in folded if unicodedata.category(c) != "Mn")
        assert folded == piece.removeprefix("##")
    inner = found.offsets[~found.added]
    assert (inner[1:, 0] >= inner[:-1, 1]).all()


def test_cut_into_characters_it_reads_as_bert_does():
    vocabulary = [p for p in VOCABULARY if len(p) == 1 or p[0] in "[#"]
    ours = WordGranular(vocabulary, words=lambda text: [text] if text else [])
    bert = WordPiece(vocabulary)
    for text in ("我爱北京天安门 cafe 12", "今天，12天气", "a", ""):
        for mine, theirs in zip(ours.encode(text), bert.encode(text), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_two_texts_are_cut_to_the_length_as_bert_cuts_them():
    texts = ("我爱北京天安门看", "今天气好")
    for length in (5, 8, 9, 12, 30):
        ours = WordGranular(VOCABULARY, words=list, length=length)
        bert = WordPiece(VOCABULARY, length=length)
        for mine, theirs in zip(ours.encode(*texts), bert.encode(*texts), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_what_cannot_be_is_refused_by_name(made):
    with pytest.raises(ValueError, match="length must be at least 4, got 3"):
        WordGranular(VOCABULARY, words=list, length=3)
    with pytest.raises(ValueError, match=r"vocabulary must hold \[PAD\]"):
        WordGranular(VOCABULARY[1:], words=list)
    with pytest.raises(ValueError, match="words must be parts of"):
        WordGranular(VOCABULARY, words=str.split).encode("今天 好")


def test_other_words_and_other_vocabularies_have_other_fingerprints(made):
    same = WordGranular(VOCABULARY, words=longest)
    assert made.fingerprint() == same.fingerprint()
    others = (
        WordGranular(VOCABULARY, words=list),
        WordGranular([*VOCABULARY, "安"], words=longest),
        WordGranular(VOCABULARY, words=longest, lowercase=False),
    )
    assert len({tokens.fingerprint() for tokens in (made, *others)}) == 4


def test_jieba_cuts_by_its_dictionary_alone():
    pytest.importorskip("jieba")
    cut = jieba_words()
    assert cut("我爱北京天安门") == ["我", "爱", "北京", "天安门"]
    assert cut("杭研大厦")[0] == "杭"  # guessed as one word by the model that is off
    assert "".join(cut(" a\n今天 b ")) == " a\n今天 b "


def test_new_rows_are_means_of_old_ones_and_the_others_stay():
    table = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    made = averaged_rows(table, [[2, 3], [4]], kept=[0, 1, 8, 5])
    np.testing.assert_array_equal(made[:4], table[[0, 1, 8, 5]])
    np.testing.assert_allclose(made[4], (table[2] + table[3]) / 2, atol=1e-7)
    np.testing.assert_array_equal(made[5], table[4])
    assert made.dtype == table.dtype
    assert averaged_rows(table, [], kept=[3]).shape == (1, 4)
    with pytest.raises(ValueError, match="a token each"):
        averaged_rows(table, [[]], kept=[0])
    with pytest.raises(ValueError, match="below 9"):
        averaged_rows(table, [[9]], kept=[0])
