import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexue_jax.data.tokenization import BytePairTokenizer, _spaced, byte_tokens

TEXT = "the cat sat on the mat; the bat sat on the cat.\n\n  Then é and 漢字.\n" * 5
PAIRS = BytePairTokenizer(TEXT, vocabulary=300)
TOKENIZERS = [byte_tokens(TEXT), PAIRS]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None, max_examples=60)
def test_any_text_comes_back_unchanged(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("text", ["", " ", "\n\n", "\r\n\t\x00", "a\u0301\U0001f600"])
def test_edges_come_back_unchanged(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32
    assert tokenizer.decode(tokens) == text


@given(text=st.text(st.sampled_from("a b\n\n\n\r\t.\x0b\x1c\x85\u2028é漢")))
@settings(deadline=None)
def test_pieces_encoded_side_by_side_are_the_tokens_of_the_whole(text):
    whole = PAIRS._tokenizer.encode(_spaced(text)).ids
    assert PAIRS.encode(text).tolist() == whole


def test_bytes_are_those_of_utf8():
    assert TOKENIZERS[0].encode("aé").tolist() == [97, 195, 169]


def test_merges_shorten_the_text_that_they_were_learned_from():
    assert len(PAIRS.encode(TEXT)) < 0.6 * len(TEXT.encode())


def test_learning_twice_gives_the_same_tokens_and_fingerprint():
    again = BytePairTokenizer(TEXT, vocabulary=300)
    assert again.fingerprint() == PAIRS.fingerprint()
    np.testing.assert_array_equal(again.encode(TEXT), PAIRS.encode(TEXT))
    other = BytePairTokenizer(TEXT, vocabulary=280)
    assert other.fingerprint() != again.fingerprint()


def test_tokens_lie_below_the_vocabulary():
    tokenizer = PAIRS
    assert tokenizer.vocabulary <= 300
    assert tokenizer.encode(TEXT).max() < tokenizer.vocabulary


def test_a_token_that_is_half_a_character_decodes_to_a_replacement():
    for tokenizer in TOKENIZERS:
        assert "\ufffd" in tokenizer.decode(tokenizer.encode("ж")[:1])


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(ValueError, match="255"):
        BytePairTokenizer(TEXT, vocabulary=255)


def test_a_word_is_the_same_tokens_at_the_beginning_of_a_line():
    tokenizer = PAIRS
    inside, below = tokenizer.encode("on the cat"), tokenizer.encode("on\nthe cat")
    np.testing.assert_array_equal(inside[-2:], below[-2:])
