import numpy as np
import pytest

from kexue_jax.data.windows import RandomWindows, RespelledWindows, tiles


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
