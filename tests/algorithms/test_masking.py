import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.masking import (
    chosen_places,
    masked_runs,
    masked_tokens,
    masked_words,
    width_of,
)

HIDDEN, OTHERS = 4, jnp.arange(5, 105)


def rows(seed=0, count=64, length=48):
    """Rows of words of 1 to 4 tokens, with marks inside and padding behind."""
    draws = np.random.default_rng(seed)
    words = np.full((count, length), -1, np.int32)
    for row in words:
        end, at, word = draws.integers(length // 2, length + 1), 1, 0
        while at < end:
            size = draws.integers(1, 5)
            if draws.random() < 0.1:
                at += 1  # a mark
            row[at : min(at + size, end)] = word
            at, word = at + size, word + 1
    tokens = np.where(words < 0, 0, draws.integers(5, 105, words.shape))
    return jnp.asarray(tokens), jnp.asarray(words)


def slowly_chosen(priority, words, budget):
    """Takes words one by one, from lists."""
    taken = np.zeros(words.shape, bool)
    for row in range(len(words)):
        found, at = [], 0
        while at < words.shape[1]:
            stop = at + 1
            while stop < words.shape[1] and words[row, stop] == words[row, at] >= 0:
                stop += 1
            if words[row, at] >= 0:
                found.append((priority[row, at], at, stop))
            at = stop
        left = budget[row]
        for _, start, stop in sorted(found):
            if stop - start > left:
                break
            taken[row, start:stop] = True
            left -= stop - start
    return taken


def test_words_are_taken_by_priority_as_a_slow_reader_takes_them(keys):
    for seed in range(3):
        _, words = rows(seed)
        priority = jax.random.uniform(next(keys), words.shape)
        if seed == 2:  # ties
            priority = jnp.round(priority * 4) / 8
        budget = jnp.arange(len(words)) % 12
        got = jax.jit(chosen_places)(priority, words, budget)
        want = slowly_chosen(*map(np.asarray, (priority, words, budget)))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("masked", [masked_words, masked_tokens, masked_runs])
def test_what_is_not_to_be_told_stays_and_targets_are_what_stood_there(masked, keys):
    tokens, words = rows()
    options = dict(hidden=HIDDEN, replacements=OTHERS, width=width_of(48, 0.15))
    found = jax.jit(functools.partial(masked, **options))(next(keys), tokens, words)
    read, places, targets, weight = map(np.asarray, found)
    told = np.zeros(tokens.shape, bool)
    for row, (there, counts) in enumerate(zip(places, weight, strict=True)):
        own = there[counts > 0]
        assert len(set(there.tolist())) == len(there)
        assert (np.diff(own) > 0).all()
        told[row, own] = True
    np.testing.assert_array_equal(read[~told], np.asarray(tokens)[~told])
    np.testing.assert_array_equal(
        targets, np.take_along_axis(np.asarray(tokens), places, axis=1)
    )
    assert not told[np.asarray(words) < 0].any()
    assert set(np.unique(weight)) <= {0.0, 1.0}
    assert found.tokens.dtype == found.places.dtype == jnp.int32


def test_words_are_hidden_whole_and_tokens_alone(keys):
    tokens, words = rows()
    options = dict(hidden=HIDDEN, replacements=OTHERS, width=12, rate=0.2)

    def partly(masked):
        found = masked(next(keys), tokens, words, **options)
        told = np.zeros(tokens.shape, bool)
        np.put_along_axis(
            told, np.asarray(found.places), np.asarray(found.weight) > 0, axis=1
        )
        count = 0
        for row, own in zip(np.asarray(words), told, strict=True):
            for word in set(row[row >= 0].tolist()):
                count += 0 < own[row == word].sum() < (row == word).sum()
        return count

    assert partly(masked_words) == partly(masked_runs) == 0
    assert partly(masked_tokens) > 100


def test_the_shares_are_those_of_the_paper_within_three_deviations(keys):
    length, count = 128, 512
    tokens = jax.random.randint(next(keys), (count, length), 5, 105)
    words = jnp.zeros_like(tokens).at[:, 0].set(-1)
    read, places, targets, weight = masked_tokens(
        next(keys),
        tokens,
        words,
        hidden=HIDDEN,
        replacements=OTHERS,
        width=width_of(length, 0.15),
    )
    assert (weight.sum(axis=1) == 19).all()  # 0.15 * 127 = 19.05
    there = jnp.take_along_axis(read, places, axis=1)[weight > 0]
    were = targets[weight > 0]
    size = len(were)
    is_hidden, is_same = there == HIDDEN, there == were

    def near(share, want):
        return abs(float(share) - want) < 3 * np.sqrt(want * (1 - want) / size)

    assert near(jnp.mean(is_hidden), 0.8)
    assert near(jnp.mean(is_same), 0.1 + 0.1 / 100)  # some are replaced by themselves
    others = there[~is_hidden & ~is_same]
    assert near(len(others) / size, 0.1 * 99 / 100)
    assert np.isin(others, OTHERS).all()
    assert len(np.unique(others)) > 90
    # Every place that may be told is told as often.
    often = np.zeros(length)
    np.add.at(often, np.asarray(places)[np.asarray(weight) > 0], 1)
    assert often[0] == 0
    share = often[1:] / count
    deviation = np.sqrt(19 / 127 * (1 - 19 / 127) / count)
    assert np.abs(share - 19 / 127).max() < 4.5 * deviation


def test_runs_have_the_length_that_is_asked_for(keys):
    length = 4096
    tokens = jnp.full((16, length), 7)
    words = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    options = dict(hidden=HIDDEN, replacements=OTHERS, width=32, rate=0.005)

    def words_a_run(**more):
        found = masked_runs(next(keys), tokens, words, **options, **more)
        told = np.zeros((16, length + 1), int)
        np.put_along_axis(told, np.asarray(found.places), np.asarray(found.weight), 1)
        return told.sum() / (np.diff(told, axis=1) == 1).sum()

    assert words_a_run(going_on=0.0) < 1.1
    # A run that does not fit is left out, so that there are fewer long ones.
    assert 2.0 < words_a_run(going_on=2 / 3) < 3.5


def test_masks_differ_from_key_to_key_and_not_for_one_key(keys):
    tokens, words = rows()
    options = dict(hidden=HIDDEN, replacements=OTHERS, width=8)
    first, second = next(keys), next(keys)
    one, again, other = (
        masked_words(key, tokens, words, **options) for key in (first, first, second)
    )
    np.testing.assert_array_equal(one.tokens, again.tokens)
    assert (one.tokens != other.tokens).any()


def test_a_row_without_words_has_nothing_to_tell_and_one_word_is_told(keys):
    words = jnp.array([[-1, -1, -1, -1], [-1, 0, -1, -1], [0, 0, 0, 0]])
    tokens = jnp.array([[2, 3, 0, 0], [2, 9, 3, 0], [9, 9, 9, 9]])
    options = dict(hidden=HIDDEN, replacements=OTHERS, width=2)
    found = masked_words(next(keys), tokens, words, **options)
    # The last row's only word is longer than what may be hidden.
    np.testing.assert_array_equal(found.weight.sum(axis=1), [0, 1, 0])
    assert found.targets[1, 0] == 9
    np.testing.assert_array_equal(found.tokens[0], tokens[0])


def test_what_is_out_of_range_is_refused(keys):
    tokens, words = rows(count=2)
    made = functools.partial(masked_words, next(keys), tokens, hidden=HIDDEN)
    made = functools.partial(made, replacements=OTHERS)
    with pytest.raises(ValueError, match=r"both be \[B, T\]; got \(2, 48\)"):
        made(words[:, :3], width=2)
    for wrong in (dict(width=0), dict(width=49), dict(width=2, rate=0.0)):
        with pytest.raises(ValueError, match="width must be from 1 to 48"):
            made(words, **wrong)
    with pytest.raises(ValueError, match="at most 1 in all"):
        made(words, width=2, shares=(0.9, 0.2))
    with pytest.raises(ValueError, match="going_on"):
        masked_runs(
            next(keys),
            tokens,
            words,
            going_on=1.0,
            hidden=HIDDEN,
            replacements=OTHERS,
            width=2,
        )
    with pytest.raises(ValueError, match="rate"):
        width_of(8, 1.5)
