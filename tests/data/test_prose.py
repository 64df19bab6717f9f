import numpy as np
import pytest

from kexue_jax.data.prose import (
    SEPARATOR,
    paragraphs,
    passages,
    python_topics,
    same,
    split,
)
from kexue_jax.data.windows import RandomWindows, RespelledWindows, tiles


def test_no_held_out_paragraph_is_in_the_training_text():
    text = python_topics(seed=3)
    train = {same(paragraph) for paragraph in paragraphs(text.train)}
    valid = [same(paragraph) for paragraph in paragraphs(text.valid)]
    assert valid
    assert not train.intersection(valid)
    assert len(valid) == len(set(valid))


def test_the_topics_are_prose_of_the_promised_size_and_share():
    sizes = python_topics().sizes()
    total = sizes["train_bytes"] + sizes["valid_bytes"]
    assert total > 300_000
    assert 0.05 < sizes["valid_bytes"] / total < 0.2


def test_the_split_is_a_function_of_the_seed():
    one, same_seed, other = (python_topics(seed=seed) for seed in (0, 0, 1))
    assert one == same_seed
    assert one.fingerprint() == same_seed.fingerprint()
    assert one.valid != other.valid
    assert one.fingerprint()["valid_sha256"] != other.fingerprint()["valid_sha256"]


def test_a_paragraph_that_comes_again_is_left_out_though_wrapped_otherwise():
    documents = {"b": "One\ntwo.\n\nThree.", "a": "  One two.\n \n\nFour."}
    assert passages(documents, 1000) == ["  One two.\n\nFour.", "Three."]


def test_passages_end_at_their_size_and_at_the_end_of_a_document():
    documents = {"a": "1234\n\n5678\n\n9", "b": "0"}
    assert passages(documents, 12) == ["1234\n\n5678", "9", "0"]


def test_split_loses_nothing_and_keeps_the_order():
    pieces = [str(n) * 10 for n in range(10, 40)]
    text = split(pieces, held_out=0.2, seed=0)
    parts = text.train.split(SEPARATOR), text.valid.split(SEPARATOR)
    assert sorted(parts[0] + parts[1]) == sorted(pieces)
    assert all(part == sorted(part) for part in parts)
    assert len(parts[1]) in (6, 7)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_part_is_ever_empty(share):
    text = split(["one", "two"], held_out=share, seed=0)
    assert text.train
    assert text.valid


def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="held_out"):
        split(["a", "b"], held_out=0.0, seed=0)
    with pytest.raises(ValueError, match="2 passages"):
        split(["a"], held_out=0.5, seed=0)
    with pytest.raises(ValueError, match="size 0"):
        passages({}, 0)


def test_random_windows_are_a_function_of_seed_and_step():
    tokens = np.arange(100)
    source = RandomWindows(tokens, batch=3, length=7, seed=1)
    again = RandomWindows(tokens, batch=3, length=7, seed=1)
    other = RandomWindows(tokens, batch=3, length=7, seed=2)
    one = source(5)["tokens"]
    source(6)
    np.testing.assert_array_equal(again(5)["tokens"], one)
    assert (source(6)["tokens"] != one).any()
    assert (other(5)["tokens"] != one).any()
    assert one.dtype == np.int32
    np.testing.assert_array_equal(np.diff(one, axis=1), 1)


def test_random_windows_reach_both_ends():
    source = RandomWindows(np.arange(10), batch=200, length=8, seed=0)
    np.testing.assert_array_equal(np.unique(source(0)["tokens"][:, 0]), [0, 1])


@pytest.mark.parametrize("size", [4, 9, 10, 23, 64])
@pytest.mark.parametrize(("length", "stride"), [(8, 8), (8, 4), (8, 1), (5, 3)])
def test_tiles_predict_every_token_once_from_what_precedes_it(size, length, stride):
    tokens, skip = np.arange(100, 100 + size), 3
    seen = []
    for batch in tiles(tokens, length=length, stride=stride, batch=4, skip=skip):
        assert batch["tokens"].shape == (4, length + 1)
        for row, weight in zip(batch["tokens"], batch["weight"], strict=True):
            for place in np.flatnonzero(weight):
                seen.append(row[place + 1])
                assert row[place] == row[place + 1] - 1
    np.testing.assert_array_equal(seen, tokens[skip:])


def test_tiles_give_context_of_length_minus_stride():
    batches = tiles(np.arange(50), length=8, stride=3, batch=2)
    first = [np.argmax(w) for b in batches for w in b["weight"] if w.any()]
    assert all(place >= 5 for place in first[3:])


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match="more tokens than length"):
        RandomWindows(np.arange(8), batch=1, length=8, seed=0)
    with pytest.raises(ValueError, match="stride=9"):
        tiles(np.arange(20), length=8, stride=9, batch=1)


def test_respelled_windows_follow_the_words_in_any_spelling():
    ways = [[np.array([w, 10 + v]) for v in range(2)] for w in range(5)]
    words = np.array([0, 1, 2, 3, 4] * 6)
    source = RespelledWindows(words, ways, batch=50, length=9, seed=3, fade=100)
    batch = source(4)["tokens"]
    assert batch.shape == (50, 10)
    np.testing.assert_array_equal(np.diff(batch[:, ::2], axis=1) % 5, 1)
    assert set(np.unique(batch[:, 1::2])) == {10, 11}
    again = RespelledWindows(words, ways, batch=50, length=9, seed=3, fade=100)
    np.testing.assert_array_equal(again(4)["tokens"], batch)
    assert (source(5)["tokens"] != batch).any()


def test_respelling_fades_to_the_usual_way():
    ways = [[np.array([0]), np.array([1])]]
    source = RespelledWindows(
        np.zeros(50, int), ways, batch=200, length=9, seed=0, fade=100
    )
    shares = [source(step)["tokens"].mean() for step in (0, 50, 99, 100, 1000)]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.0, 0.0, 0.0], atol=0.03)
    assert not source(100)["tokens"].any()


def test_tables_drawn_with_characters_are_left_out_and_prose_is_kept():
    table = "   +----+\n   | a  |\n   +====+\n   | b  |\n   +----+"
    prose = 'The operators "|" and "+-"\n| are kept\nin prose.'
    assert passages({"a": f"{table}\n\n{prose}"}) == [prose]
    assert "+---" not in python_topics().train
