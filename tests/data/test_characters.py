import numpy as np
import pytest

from kexue_jax.data.characters import Characters

TEXTS = ["北京很大", "北京 Is big", "Iß İ is"]


def test_every_character_is_a_token_at_its_place():
    made = Characters(TEXTS, least=1)
    for text in (*TEXTS, "大小\n😀", ""):
        found = made.encode(text)
        assert found.offsets[1:-1].tolist() == [[at, at + 1] for at in range(len(text))]
        assert found.added.tolist() == [True, *[False] * len(text), True]
        pieces = made.pieces(found.tokens)[1:-1]
        for piece, sign in zip(pieces, text, strict=True):
            assert piece in ("[UNK]", sign, sign.lower())
    assert made.pieces(made.encode("IS 小").tokens) == [
        *("[CLS]", "i", "s", " ", "[UNK]", "[SEP]")
    ]


def test_rare_characters_have_no_token():
    assert Characters(TEXTS, least=2).encode("北大").tokens.tolist()[2] == 1
    assert Characters(TEXTS, least=1).encode("北大").tokens.tolist()[2] != 1


def test_two_texts_are_cut_from_the_longer_one():
    made = Characters(["abcdefghij"], least=1, length=10)
    for first, second, want in ((8, 2, (5, 2)), (2, 8, (2, 5)), (9, 9, (4, 3))):
        found = made.encode("abcdefghij"[:first], "abcdefghij"[:second])
        sizes = [int(np.sum((found.segments == s) & ~found.added)) for s in (0, 1)]
        assert len(found.tokens) == 10
        assert sorted(sizes) == sorted(want)
        assert sizes[0] >= sizes[1] if first >= second else sizes[0] < sizes[1]
    with pytest.raises(ValueError, match="length must be at least 4"):
        Characters(TEXTS, length=3)


def test_other_characters_have_another_fingerprint():
    prints = {Characters(t, least=1).fingerprint() for t in (TEXTS, TEXTS[:2], ["x"])}
    assert len(prints) == 3
