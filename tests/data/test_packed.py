from functools import partial

import numpy as np
import pytest

from kexue_jax.data.characters import Characters
from kexue_jax.data.packed import (
    Packed,
    every_token,
    placed,
    whole_pieces,
    words_of,
)
from kexue_jax.data.wordpiece import MARKS, WordPiece

TEXTS = ["春眠不觉晓。处处闻啼鸟。", "夜来风雨声", "花落知多少", "a", ""]


def characters(length=None):
    return Characters(TEXTS, least=1, length=length)


def packed(texts=TEXTS, length=12, batch=2, **options):
    return Packed(texts, tokenizer=characters(), length=length, batch=batch, **options)


def test_things_go_into_the_fullest_row_that_has_room():
    draws = np.random.default_rng(0)
    sizes = draws.integers(1, 11, 200).tolist()
    rows = placed(sizes, room=10)
    assert sorted(number for row in rows for number in row) == list(range(200))
    left = [10 - sum(sizes[number] for number in row) for row in rows]
    assert min(left) >= 0
    assert sum(sizes) > 0.95 * 10 * len(rows)
    # Slowly: all rows are looked at for each thing.
    slow: list[list[int]] = []
    for number, size in enumerate(sizes):
        room = [10 - sum(sizes[other] for other in row) for row in slow]
        fits = [x for x in room if x >= size]
        if not fits:
            slow.append([number])
        else:
            slow[room.index(min(fits))].append(number)
    assert len(slow) == pytest.approx(len(rows), abs=2)  # ties are broken otherwise
    with pytest.raises(ValueError, match="from 1 to 10, got 11"):
        placed([3, 11], room=10)


def test_every_token_of_every_text_is_in_one_row_behind_a_mark():
    rows = packed()
    own = characters()
    inside = "".join(
        piece for row in rows.tokens for piece in own.pieces(row) if piece not in MARKS
    )
    assert sorted(inside) == sorted("".join(TEXTS))
    for row in rows.tokens:
        pieces = own.pieces(row)
        assert pieces[0] == "[CLS]"
        stop = pieces.index("[PAD]") if "[PAD]" in pieces else len(pieces)
        assert pieces[stop - 1] == "[SEP]"
        assert set(pieces[stop:]) <= {"[PAD]"}
    assert rows.filled == np.mean(rows.tokens != own.padding)


def test_a_text_that_is_too_long_is_cut_behind_a_sentence_and_else_before_a_word():
    own = characters()

    def pieces(text, length, starts=every_token):
        rows = packed([text], length=length, starts=starts)
        found = ["".join(own.pieces(row)) for row in rows.tokens]
        return {
            part
            for row in found
            for part in row.replace("[PAD]", "").replace("[CLS]", "").split("[SEP]")
            if part
        }

    assert pieces(TEXTS[0], 10) == {"春眠不觉晓。", "处处闻啼鸟。"}
    words = partial(words_of, words=lambda text: ["春眠", "不觉晓。", "处处闻啼鸟。"])
    assert pieces(TEXTS[0], 5, words) >= {"春眠"}
    assert pieces("花落知多少", 5) == {"花落知", "多少"}


def test_a_batch_is_a_function_of_its_step_and_every_epoch_has_every_row():
    first, again = packed(), packed()
    for step in (0, 3, 1):
        np.testing.assert_array_equal(first(step)["tokens"], again(step)["tokens"])
        assert first(step)["tokens"].shape == (2, 12)
        assert first(step)["words"].dtype == first(step)["tokens"].dtype == np.int32
    size = len(first)
    seen = [row.tobytes() for step in range(size) for row in first(step)["tokens"]]
    for epoch in range(2):
        own = seen[epoch * size : (epoch + 1) * size]
        assert sorted(own) == sorted(row.tobytes() for row in first.tokens)
    assert first.fingerprint() == again.fingerprint()
    assert packed(seed=1).fingerprint() != first.fingerprint()


def test_marks_padding_and_unknown_tokens_belong_to_no_word():
    found = packed(["花落☃知", "ab"], length=8)(0)
    own = characters()
    for row, words in zip(found["tokens"], found["words"], strict=True):
        for piece, word in zip(own.pieces(row), words, strict=True):
            assert (word < 0) == (piece in MARKS)


def test_the_last_batch_is_filled_up_with_rows_of_padding():
    rows = packed(batch=2)
    batches = list(rows.all_batches())
    tokens = np.concatenate([batch["tokens"] for batch in batches])
    words = np.concatenate([batch["words"] for batch in batches])
    np.testing.assert_array_equal(tokens[: len(rows)], rows.tokens)
    assert (tokens[len(rows) :] == characters().padding).all()
    assert (words[len(rows) :] == -1).all()
    assert all(len(batch["tokens"]) == 2 for batch in batches)


def test_words_start_where_the_text_is_cut_and_pieces_go_on():
    own = characters()
    text = "我爱北京"
    starts = words_of(
        text,
        own.encode(text),
        own.pieces,
        words=lambda text: [text[:1], text[1:2], text[2:]],
    )
    np.testing.assert_array_equal(starts, [1, 1, 1, 1, 0, 1])
    with pytest.raises(ValueError, match="parts of"):
        words_of(text, own.encode(text), own.pieces, words=lambda text: ["我"])
    read = WordPiece([*MARKS, "un", "##know", "##n", "x"], length=None)
    tokenized = read.encode("unknown x")
    np.testing.assert_array_equal(
        whole_pieces("unknown x", tokenized, read.pieces), [1, 1, 0, 0, 1, 1]
    )


def test_words_of_a_row_are_told_apart_also_where_texts_meet():
    cut = partial(words_of, words=lambda text: [text] if text else [])
    rows = packed(["花落", "多少", "风雨"], length=12, batch=1, starts=cut)
    words = rows(0)["words"][0]
    own = [word for word in words.tolist() if word >= 0]
    assert len(own) == 6
    assert len(set(own)) == 3


def test_numbers_that_are_too_small_and_texts_without_tokens_are_refused():
    with pytest.raises(ValueError, match="length >= 3 and batch >= 1, got 2 and 1"):
        packed(length=2, batch=1)
    with pytest.raises(ValueError, match="must have a token, got 2"):
        packed(["", ""])
