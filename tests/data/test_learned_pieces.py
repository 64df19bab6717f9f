import pytest

from kexue_jax.data.learned_pieces import learned_pieces
from kexue_jax.data.wordpiece import MARKS

TEXTS = ["the cat and the hat", "the hatter", "That cat! the THE"] * 3


def test_pieces_are_merged_by_their_counts_and_the_same_each_time():
    read = learned_pieces(TEXTS, vocabulary=40, length=None)
    assert read.pieces(range(5)) == [*MARKS]
    assert read.pieces(read.encode("The cat").tokens[1:-1])[0] == "the"
    assert read.vocabulary <= 40
    again = learned_pieces(iter(TEXTS), vocabulary=40, length=None)
    assert read.fingerprint() == again.fingerprint()


def test_every_sign_of_the_texts_has_a_piece_at_the_start_and_inside_of_words():
    few = len(MARKS) + len({*"thecandr!"}) + len({*"headntr"})
    read = learned_pieces(TEXTS, vocabulary=few)
    assert read.vocabulary == few
    text = " ".join(TEXTS)
    assert read.unknown not in read.encode(text).tokens
    spelt = read.pieces(read.encode("hatter").tokens[1:-1])
    assert spelt == ["h", "##a", "##t", "##t", "##e", "##r"]
    assert read.unknown in read.encode("z").tokens
    with pytest.raises(
        ValueError, match=f"room for {few} marks and signs, got {few - 1}"
    ):
        learned_pieces(TEXTS, vocabulary=few - 1)
