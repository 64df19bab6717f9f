import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from kexue_jax.algorithms import ngram

TEXT = b"the cat sat on the mat and the bat sat on the hat, the rat ran at that cat"


def slow(text, order, history, byte):
    """Interpolated modified Kneser-Ney by dictionaries, one byte at a time."""
    probability = 1.0 / 256
    for length in range(1, order + 1):
        raw = Counter(text[i : i + length] for i in range(len(text) - length + 1))
        if length == order:
            count = dict(raw)
        else:
            left = defaultdict(set)
            for i in range(1, len(text) - length + 1):
                left[text[i : i + length]].add(text[i - 1])
            count = {gram: max(len(left[gram]), 1) for gram in raw}
        n = [max(sum(c == k for c in count.values()), 1) for k in range(1, 5)]
        y = n[0] / (n[0] + 2 * n[1])
        discount = [0.0] + [
            min(max(k - (k + 1) * y * n[k] / n[k - 1], 0.05), k) for k in (1, 2, 3)
        ]
        context = history[len(history) - length + 1 :]
        followers = {g: c for g, c in count.items() if g[:-1] == context}
        if len(history) < length - 1 or not followers:
            return probability
        total = sum(followers.values())
        kept = sum(discount[min(c, 3)] for c in followers.values())
        own = followers.get(context + bytes([byte]), 0)
        own = max(own - discount[min(own, 3)], 0.0)
        probability = (own + kept * probability) / total
    return probability


ZEROS, PERIODIC = b"\0\0\0a\0\0\0", b"xy" * 9 + b"x\0"


@pytest.mark.parametrize(
    ("text", "order"),
    [*((TEXT, n) for n in (1, 2, 3, 5, 9, 17)), (ZEROS, 4), (ZEROS, 6), (PERIODIC, 12)],
)
def test_equals_a_count_by_dictionaries(text, order):
    model = ngram.fit(text, order=order)
    unseen = b"the hat on that zebra sat\0\0" + text[-9:]
    got = ngram.log2_probabilities(model, unseen)[-1]
    want = [
        math.log2(slow(text, order, unseen[:i], byte)) for i, byte in enumerate(unseen)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize(
    "history", [b"", b"t", b"the ", TEXT[-9:], b"zz\xff", TEXT[:4]]
)
def test_probabilities_of_all_bytes_sum_to_one(history):
    model = ngram.fit(TEXT * 3, order=6)
    rows = [
        ngram.log2_probabilities(model, bytes([byte]), history)[:, 0]
        for byte in range(256)
    ]
    np.testing.assert_allclose(np.exp2(rows).sum(axis=0), np.ones(6), rtol=1e-12)
    assert np.isfinite(rows).all()


def test_history_is_read_but_not_scored():
    model = ngram.fit(TEXT, order=4)
    whole = ngram.log2_probabilities(model, b"the cat")
    np.testing.assert_allclose(
        ngram.log2_probabilities(model, b"cat", b"the "), whole[:, 4:]
    )


def test_the_chosen_order_is_the_best_on_the_end_of_the_training_text():
    rng = np.random.default_rng(0)
    words = [bytes(rng.integers(97, 123, 5).tolist()) for _ in range(40)]
    text = b" ".join(words[i] for i in rng.integers(0, 40, 1500))
    order = ngram.best_order(text, longest=6)
    assert 3 <= order <= 6
    cut = len(text) - round(0.1 * len(text))
    bits = [ngram.bits_per_byte(text[:cut], text[cut:], order=n) for n in range(1, 7)]
    assert bits[order - 1] <= min(bits) + 0.02


def test_random_bytes_cost_eight_bits():
    rng = np.random.default_rng(1)
    train, valid = (rng.integers(0, 256, 20000, np.uint8).tobytes() for _ in range(2))
    assert abs(ngram.bits_per_byte(train, valid, order=2) - 8.0) < 0.15


def test_impossible_orders_are_refused():
    with pytest.raises(ValueError, match="order"):
        ngram.fit(TEXT, order=0)
    with pytest.raises(ValueError, match="3 bytes"):
        ngram.fit(b"abc", order=3)
