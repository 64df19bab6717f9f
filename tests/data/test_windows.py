import numpy as np
import optax
import pytest

from kexue_jax.data.windows import RandomWindows, tiles


def test_random_windows_are_a_function_of_seed_and_step():
    tokens = np.arange(100)
    source = RandomWindows([tokens], batch=3, length=7, seed=1)
    again = RandomWindows([tokens], batch=3, length=7, seed=1)
    other = RandomWindows([tokens], batch=3, length=7, seed=2)
    one = source(5)["tokens"]
    source(6)
    np.testing.assert_array_equal(again(5)["tokens"], one)
    assert (source(6)["tokens"] != one).any()
    assert (other(5)["tokens"] != one).any()
    assert one.dtype == np.int32
    np.testing.assert_array_equal(np.diff(one, axis=1), 1)


def test_random_windows_reach_both_ends():
    source = RandomWindows([np.arange(10)], batch=200, length=8, seed=0)
    np.testing.assert_array_equal(np.unique(source(0)["tokens"][:, 0]), [0, 1])


def test_windows_come_more_from_the_last_part_as_the_focus_rises():
    parts = [np.arange(900), np.arange(900, 1000)]
    focus = optax.linear_schedule(0.0, 1.0, 100)
    source = RandomWindows(parts, batch=4000, length=9, seed=0, focus=focus)
    for step, share in (0, 0.1), (50, 0.55), (100, 1.0), (200, 1.0):
        first = source(step)["tokens"][:, 0]
        assert np.mean(first >= 900) == pytest.approx(share, abs=0.03)
    assert first.min() == 900
    assert first.max() == 990


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
        RandomWindows([np.arange(8)], batch=1, length=8, seed=0)
    for share in (-0.1, 1.5, float("nan")):
        source = RandomWindows(
            [np.arange(9)], batch=1, length=8, seed=0, focus=lambda step, x=share: x
        )
        with pytest.raises(ValueError, match=f"focus .* got {share} at step 3"):
            source(3)
    with pytest.raises(ValueError, match="stride=9"):
        tiles(np.arange(20), length=8, stride=9, batch=1)
