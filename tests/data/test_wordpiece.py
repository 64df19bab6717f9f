import unicodedata

import numpy as np
import pytest

from kexue_jax.data.wordpiece import (
    MARKS,
    Tokenized,
    WordPiece,
    padded_batches,
    read_vocabulary,
)

SIGNS = [chr(c) for c in range(33, 127)] + list("éüßñçІдıªµ中文字𠀀。，«»“”…—€あア가")
WORDS = ["un", "##aff", "##able", "hello", "world", "##s", "new", "york", "##ing"]
VOCABULARY = [
    *MARKS,
    *WORDS,
    *dict.fromkeys(sign.lower() for sign in SIGNS),
    *(sign for sign in SIGNS if sign != sign.lower()),
    *(f"##{sign}" for sign in SIGNS if sign.isalnum()),
]
TEXTS = [
    "Unaffable Hello,  WORLDS!",
    "",
    "   \t\r\n ",
    "New York's naïve café—über «résumé» … ﬁne",
    "中文abc字，𠀀。 中 文",
    "emoji 😀👩‍👩‍👧 end",
    "a\u0000b\u200bc\ufeffd\u00ade\ufffdf\x07g\u2028h\u00a0i\u3000j",
    "x" * 100 + " " + "y" * 101,
    "#hash ##able a##able",
    "İstanbul ΑΣ Straße ǅ Å",
    "e\u0301 o\u0308 각 가 ア ガ",
    "1,234.50$ 3.14 a_b-c/d\\e^f`g~h",
]


def cjk(sign):
    code = ord(sign)
    return any(
        low <= code <= high
        for low, high in (
            (0x4E00, 0x9FFF),
            (0x3400, 0x4DBF),
            (0x20000, 0x2A6DF),
            (0x2A700, 0x2B73F),
            (0x2B740, 0x2B81F),
            (0x2B820, 0x2CEAF),
            (0xF900, 0xFAFF),
            (0x2F800, 0x2FA1F),
        )
    )


def slow(text, vocabulary, lowercase):
    """BERT's two tokenisers, character by character."""
    clean = ""
    for sign in text:
        kind = unicodedata.category(sign)
        if sign in "\t\n\r" or kind in ("Zs", "Zl", "Zp"):
            clean += " "
        elif ord(sign) not in (0, 0xFFFD) and kind[0] != "C":
            clean += f" {sign} " if cjk(sign) else sign
    words = []
    for word in clean.split():
        if lowercase:
            apart = unicodedata.normalize("NFD", word.lower())
            word = "".join(s for s in apart if unicodedata.category(s) != "Mn")
        piece = ""
        for sign in word:
            ascii_mark = sign.isascii() and not sign.isalnum()
            if ascii_mark or unicodedata.category(sign)[0] == "P":
                words += [piece, sign]
                piece = ""
            else:
                piece += sign
        words.append(piece)
    tokens = []
    for word in filter(None, words):
        pieces, start = [], 0
        while start < len(word) and len(word) <= 100:
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in vocabulary:
                    pieces.append(piece)
                    start = end
                    break
            else:
                pieces = ["[UNK]"]
                break
        tokens += pieces or ["[UNK]"]
    return ["[CLS]", *tokens, "[SEP]"]


@pytest.mark.parametrize("lowercase", [True, False])
def test_pieces_are_those_of_the_slow_form(lowercase):
    made, known = WordPiece(VOCABULARY, lowercase=lowercase), set(VOCABULARY)
    for text, found in zip(TEXTS, made.encode_all(TEXTS), strict=True):
        assert made.pieces(found.tokens) == slow(text, known, lowercase), repr(text)


def test_offsets_are_of_characters_of_the_text_as_it_was():
    text = "𠀀 É\u0301Hello中"
    made = WordPiece(VOCABULARY)
    found = made.encode(text)
    assert made.pieces(found.tokens)[1:3] == ["𠀀", "e"]
    first, *_, last = (text[a:b] for a, b in found.offsets[~found.added])
    assert (first, last) == ("𠀀", "中")
    assert found.added.tolist() == [True, *[False] * (len(found.added) - 2), True]
    assert found.offsets.dtype == found.tokens.dtype == np.int32


def test_two_texts_have_two_segments_and_the_longer_is_cut():
    made = WordPiece(VOCABULARY, length=10)
    found = made.encode("hello hello hello hello hello hello", "new york")
    assert made.pieces(found.tokens) == [
        *("[CLS]", *["hello"] * 5, "[SEP]"),
        *("new", "york", "[SEP]"),
    ]
    assert found.segments.tolist() == [0] * 7 + [1] * 3
    assert len(WordPiece(VOCABULARY, length=None).encode("a " * 900).tokens) == 902


def test_marks_in_a_text_are_tokens_and_half_characters_are_refused():
    made = WordPiece(VOCABULARY)
    found = made.encode("hello [MASK]!")
    assert made.pieces(found.tokens)[2] == "[MASK]"
    assert found.tokens[2] == made.hidden == 4
    with pytest.raises(ValueError, match="text is no Unicode"):
        made.encode("\ud800")
    with pytest.raises(ValueError, match=r"vocabulary must hold .*no \['\[SEP\]'\]"):
        WordPiece([piece for piece in VOCABULARY if piece != "[SEP]"])
    with pytest.raises(ValueError, match="must be at least 1 and 4, got 100 and 3"):
        WordPiece(VOCABULARY, length=3)


def test_a_file_may_hold_any_sign_but_the_end_of_a_line(tmp_path):
    path = tmp_path / "vocab.txt"
    odd = [*VOCABULARY, "\u2028", "\x85", "\u3000"]
    path.write_bytes("\r\n".join(odd).encode() + b"\r\n")
    assert read_vocabulary(path) == odd
    made = WordPiece(path)
    assert made.vocabulary == len(odd)
    assert made.fingerprint() == WordPiece(odd).fingerprint()
    assert made.fingerprint() != WordPiece(odd, lowercase=False).fingerprint()


def text_of(length):
    tokens = np.arange(1, length + 1, dtype=np.int32)
    return Tokenized(tokens, tokens % 2, np.zeros((length, 2)), tokens < 2)


def test_batches_hold_every_text_once_in_few_shapes():
    texts = [text_of(n) for n in (3, 9, 1, 4, 8, 2, 5)]
    found = list(padded_batches(texts, batch=3, lengths=(4, 9, 20), padding=99))
    assert [batch.tokens.shape for batch in found] == [(3, 4), (3, 9), (3, 9)]
    assert sorted(np.concatenate([b.texts for b in found]).tolist()) == list(range(7))
    for batch in found:
        for row, text in enumerate(batch.texts):
            kept = batch.kept[row]
            np.testing.assert_array_equal(batch.tokens[row, kept], texts[text].tokens)
            np.testing.assert_array_equal(
                batch.segments[row, kept], texts[text].segments
            )
            assert (batch.tokens[row, ~kept] == 99).all()
        assert not batch.kept[len(batch.texts) :].any()
    assert list(padded_batches([], batch=3)) == []
    with pytest.raises(ValueError, match="lengths must reach 9, the longest text"):
        list(padded_batches(texts, batch=3, lengths=(4, 8)))
    with pytest.raises(ValueError, match="batch must be at least 1"):
        list(padded_batches(texts, batch=0))
