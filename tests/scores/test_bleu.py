import math
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.scores.bleu import (
    bleu_counts,
    bleu_of_counts,
    corpus_bleu,
    sentence_bleu,
)

LENGTH, REFERENCES = 9, 3


def drawn(count=24, seed=0):
    """Candidates and references as lists, of 1 to 9 tokens but for some of none."""
    rng = np.random.default_rng(seed)

    def tokens(least):
        return rng.integers(0, 3, rng.integers(least, LENGTH + 1)).tolist()

    found = [(tokens(0), [tokens(1) for _ in range(REFERENCES)]) for _ in range(count)]
    found[0][1][1] = [*found[0][0], 2][:LENGTH]
    return [([], found[1][1]), *found]


def padded(cases):
    """The arguments of our functions; what fills up is a token like any other."""

    def fill(tokens):
        return [*tokens, *[1] * (LENGTH - len(tokens))]

    candidate = np.array([fill(c) for c, _ in cases])
    references = np.array([[fill(r) for r in rs] for _, rs in cases])
    return (
        candidate,
        np.array([len(c) for c, _ in cases]),
        references,
        np.array([[len(r) for r in rs] for _, rs in cases]),
    )


def grams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def slow_counts(candidate, references, order):
    matches, totals = [], []
    for n in range(1, order + 1):
        most = Counter()
        for reference in references:
            most |= grams(reference, n)
        matches.append(sum((grams(candidate, n) & most).values()))
        totals.append(sum(grams(candidate, n).values()))
    lengths = [len(r) for r in references]
    nearest = min(lengths, key=lambda x: (abs(x - len(candidate)), x))
    return np.array([*matches, *totals, len(candidate), nearest], float)


def slow_bleu(numbers, order, effective=False):
    """Papineni's formula without smoothing, from counts."""
    matches, totals = numbers[:order], numbers[order : 2 * order]
    length, wanted = numbers[2 * order :]
    if effective:
        order = max(int(np.sum(totals > 0)), 1)
    if not length or not matches[:order].all():
        return 0.0
    precision = np.exp(np.mean(np.log(matches[:order] / totals[:order])))
    return min(1.0, math.exp(1.0 - wanted / length)) * precision


@pytest.mark.parametrize("order", [2, 4])
def test_it_is_papinenis_formula(order):
    cases = drawn()
    slow = [slow_counts(c, rs, order) for c, rs in cases]
    counts, each, whole = jax.jit(
        lambda *a: (
            bleu_counts(*a, order=order),
            sentence_bleu(*a, order=order, smoothing="none"),
            corpus_bleu(*a, order=order, smoothing="none"),
        )
    )(*padded(cases))
    got = np.concatenate([counts.matches, counts.totals, np.stack(counts[2:], 1)], 1)
    np.testing.assert_array_equal(got, np.stack(slow))
    want = [slow_bleu(numbers, order, effective=True) for numbers in slow]
    np.testing.assert_allclose(each, want, rtol=1e-5)
    assert np.count_nonzero(want) > 2
    np.testing.assert_allclose(whole, slow_bleu(sum(slow), order), rtol=1e-5)


def test_smoothing_stands_in_for_precisions_of_0():
    tokens, length = np.array([1, 2, 9, 4, 5]), np.array(5)
    reference = np.array([[1, 2, 3, 4, 5, 6]])
    counts = jax.jit(bleu_counts)(tokens, length, reference, np.array([6]))
    np.testing.assert_array_equal(counts.matches, [4, 2, 0, 0])
    short = math.exp(1.0 - 6.0 / 5.0)
    for smoothing, precisions in {
        "none": (4 / 5, 2 / 4, 0.0, 0.0),
        "floor": (4 / 5, 2 / 4, 0.1 / 3, 0.1 / 2),
        "add_k": (4 / 5, 3 / 5, 1 / 4, 1 / 3),
        "exponential": (4 / 5, 2 / 4, 0.5 / 3, 0.25 / 2),
    }.items():
        want = short * np.prod(precisions) ** 0.25
        np.testing.assert_allclose(
            bleu_of_counts(counts, smoothing=smoothing), want, rtol=1e-5
        )
    added = short * (4 / 5 * 4 / 6 * 2 / 5 * 2 / 4) ** 0.25
    np.testing.assert_allclose(
        bleu_of_counts(counts, smoothing="add_k", amount=2.0), added, rtol=1e-5
    )


def test_one_axis_of_weights_leaves_rows_out():
    cases = drawn()
    arrays = padded(cases)
    weight = (np.arange(len(cases)) < 5).astype(np.float32)
    got = jax.jit(corpus_bleu)(*arrays, weight)
    slow = [slow_counts(c, rs, 4) for c, rs in cases[:5]]
    want = slow_bleu(sum(slow), 4)
    assert want > 0.0
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_what_lies_past_the_length_is_not_read():
    arrays = padded(drawn())
    other = [np.array(a) for a in arrays]
    past = np.arange(LENGTH)
    other[0][past[None] >= arrays[1][:, None]] = 7
    other[2][past[None, None] >= arrays[3][..., None]] = 7
    first, second = (
        jax.jit(partial(bleu_counts, order=3))(*a) for a in (arrays, other)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_what_does_not_fit_is_refused():
    tokens, one = jnp.zeros((2, 3), int), jnp.ones(2, int)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(2,\), \(2, 3\) and \(2,\)"):
        bleu_counts(tokens, one, tokens, one)
    counts = jax.jit(bleu_counts)(tokens, one, tokens[:, None], one[:, None])
    with pytest.raises(ValueError, match="smoothing must be one of"):
        bleu_of_counts(counts, smoothing="laplace")
    with pytest.raises(ValueError, match=r"takes no amount, got 1\.0"):
        bleu_of_counts(counts, amount=1.0)
