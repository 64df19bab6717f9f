import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexue_jax.data.tokenization import BytePairTokenizer, byte_tokens

TEXT = "the cat sat on the mat; the bat sat on the cat.\n\n  Then é and 漢字.\n" * 5
TOKENIZERS = [byte_tokens(TEXT), BytePairTokenizer(TEXT, vocabulary=300)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None, max_examples=60)
def test_any_text_comes_back_unchanged(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.byte_lengths()[tokens].sum() == len(text.encode())


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("text", ["", " ", "\n\n", "\r\n\t\x00", "a\u0301\U0001f600"])
def test_edges_come_back_unchanged(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32
    assert tokenizer.decode(tokens) == text


def test_bytes_are_those_of_utf8():
    assert TOKENIZERS[0].encode("aé").tolist() == [97, 195, 169]


def test_merges_shorten_the_text_that_they_were_learned_from():
    assert len(TOKENIZERS[1].encode(TEXT)) < 0.6 * len(TEXT.encode())


def test_learning_twice_gives_the_same_tokens_and_fingerprint():
    again = BytePairTokenizer(TEXT, vocabulary=300)
    assert again.fingerprint() == TOKENIZERS[1].fingerprint()
    np.testing.assert_array_equal(again.encode(TEXT), TOKENIZERS[1].encode(TEXT))
    other = BytePairTokenizer(TEXT, vocabulary=280)
    assert other.fingerprint() != again.fingerprint()


def test_tokens_lie_below_the_vocabulary():
    tokenizer = TOKENIZERS[1]
    assert tokenizer.vocabulary <= 300
    assert tokenizer.encode(TEXT).max() < tokenizer.vocabulary
    assert tokenizer.byte_lengths().shape == (tokenizer.vocabulary,)


def test_a_token_that_is_half_a_character_decodes_to_a_replacement():
    for tokenizer in TOKENIZERS:
        assert "\ufffd" in tokenizer.decode(tokenizer.encode("ж")[:1])


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(ValueError, match="255"):
        BytePairTokenizer(TEXT, vocabulary=255)
