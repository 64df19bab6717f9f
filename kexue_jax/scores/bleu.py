"""BLEU of token sequences, as a function that can be compiled and vectorised."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

SMOOTHING = ("none", "floor", "add_k", "exponential")


class BleuCounts(NamedTuple):
    """What BLEU is computed from; counts of a corpus are the sums of its sentences'.

    `matches` and `totals` are ``[..., N]`` for n-grams of 1 to N tokens, `length` and
    `reference_length` ``[...]``, all float32.
    """

    matches: jax.Array
    totals: jax.Array
    length: jax.Array
    reference_length: jax.Array


def _grams(first, second, order):
    """For n = 1 to N, whether n-grams at t and s are equal, ``[T, S]``.

    `first` and `second` are tokens and whether there is one.
    """
    (a, a_kept), (b, b_kept) = first, second
    same = (a[:, None] == b[None, :]) & a_kept[:, None] & b_kept[None, :]
    found = [same]
    for shift in range(1, order):
        later = jnp.pad(same[shift:, shift:], ((0, shift), (0, shift)))[
            : len(a), : len(b)
        ]
        found.append(found[-1] & later)
    return found


def _sentence(candidate, length, references, lengths, order):
    """Counts of one sentence; `references` are ``[R, S]``."""
    own = candidate, jnp.arange(len(candidate)) < length
    kept = jnp.arange(references.shape[1])[None] < lengths[:, None]
    within = _grams(own, own, order)
    across = jax.vmap(lambda r, k: jnp.stack(_grams(own, (r, k), order)))(
        references, kept
    )
    most = jnp.max(jnp.sum(across, axis=3), axis=0, initial=0)  # [N, T]
    matches, totals = [], []
    for n, same in enumerate(within):
        # Each kind of n-gram is counted where it comes first.
        earlier = jnp.tril(same, k=-1)
        is_gram = jnp.diagonal(same)
        first = is_gram & ~jnp.any(earlier, axis=1)
        times = jnp.sum(same, axis=1)
        matches.append(jnp.sum(jnp.where(first, jnp.minimum(times, most[n]), 0)))
        totals.append(jnp.sum(is_gram))
    apart = jnp.abs(lengths - length)
    nearest = jnp.min(jnp.where(apart == jnp.min(apart), lengths, jnp.max(lengths)))
    numbers = jnp.stack(matches), jnp.stack(totals), length, nearest
    return BleuCounts(*(x.astype(jnp.float32) for x in numbers))


def bleu_counts(
    candidate: jax.Array,
    candidate_length: jax.Array,
    references: jax.Array,
    reference_lengths: jax.Array,
    *,
    order: int = 4,
) -> BleuCounts:
    """Returns the n-grams of sentences and how many of them references have.

    An n-gram counts at most as often as the reference that has it most often.

    Args:
      candidate: ``[..., T]`` integers, read up to the length.
      candidate_length: ``[...]`` integers.
      references: ``[..., R, S]``, at least one for each sentence.
      reference_lengths: ``[..., R]``. A reference that is not there can repeat another.
      order: N, the longest n-grams.

    Returns:
      Counts of ``[..., N]`` and ``[...]``. The length of the reference is that nearest
      to the candidate's, the shorter of two as near.

    Raises:
      ValueError: if the shapes disagree or `order` is less than 1.

    Numerics: n-grams are compared in pairs: T (T + R S) numbers for each n.
    """
    lead = candidate.shape[:-1]
    if (
        order < 1
        or candidate.ndim < 1
        or references.ndim < 2
        or not references.shape[-2]
        or references.shape[:-2] != lead
        or candidate_length.shape != lead
        or reference_lengths.shape != references.shape[:-1]
    ):
        raise ValueError(
            "order must be at least 1, candidate, candidate_length, references and "
            "reference_lengths [..., T], [...], [..., R, S] and [..., R]; got "
            f"{order}, {candidate.shape}, {candidate_length.shape}, "
            f"{references.shape} and {reference_lengths.shape}"
        )

    def one(*arrays):
        return _sentence(*arrays, order)

    for _ in lead:
        one = jax.vmap(one)
    return one(candidate, candidate_length, references, reference_lengths)


def bleu_of_counts(
    counts: BleuCounts,
    *,
    smoothing: Literal["none", "floor", "add_k", "exponential"] = "exponential",
    amount: float | None = None,
    effective_order: bool = False,
) -> jax.Array:
    r"""Returns the geometric mean of precisions, times a penalty for being short.

    .. math:: \min\big(1, e^{1 - r/c}\big) \prod_{n \le N} p_n^{1/N}

    Args:
      counts: of a sentence, or summed over a corpus.
      smoothing: what stands for a precision of 0: ``"none"``, 0 itself;
        ``"floor"``, `amount` matches; ``"add_k"``, `amount` more matches and n-grams at
        every n above 1; ``"exponential"``, a half, a quarter ... of a match, in turn.
      amount: default 0.1 for the floor, 1 to add.
      effective_order: whether n stops at the longest n-grams that the candidate is
        long enough for, as is right for single sentences; otherwise BLEU of something
        shorter than N tokens is 0.

    Returns:
      ``[...]`` float32 from 0 to 1, where sacrebleu has 0 to 100; 0 without any match.

    Raises:
      ValueError: if there is no such smoothing, or it takes no `amount`.

    Source: Papineni et al., 2002; smoothing as in sacrebleu 2.6, after Chen and Cherry,
      2014.
    """
    if smoothing not in SMOOTHING:
        raise ValueError(f"smoothing must be one of {SMOOTHING}, got {smoothing!r}")
    if amount is not None and smoothing not in ("floor", "add_k"):
        raise ValueError(f"smoothing {smoothing!r} takes no amount, got {amount}")
    matches, totals = counts.matches, counts.totals
    order = matches.shape[-1]
    some = jnp.any(matches > 0.0, axis=-1)
    if smoothing == "add_k":
        more = (1.0 if amount is None else amount) * (jnp.arange(order) > 0)
        more = more.reshape((1,) * (matches.ndim - 1) + (order,))
        matches, totals = matches + more, totals + more
    there = jnp.cumprod(totals > 0.0, axis=-1) > 0
    none = there & (matches == 0.0)
    if smoothing == "floor":
        matches = jnp.where(none, 0.1 if amount is None else amount, matches)
    elif smoothing == "exponential":
        halves = jnp.exp2(-jnp.cumsum(none, axis=-1).astype(jnp.float32))
        matches = jnp.where(none, halves, matches)
    found = there & (matches > 0.0)
    precision = jnp.where(found, matches / jnp.where(there, totals, 1.0), 0.0)
    logs = jnp.where(found, jnp.log(jnp.where(found, precision, 1.0)), -jnp.inf)
    if effective_order:
        places = jnp.maximum(jnp.sum(there, axis=-1), 1)
        mean = jnp.sum(jnp.where(there, logs, 0.0), axis=-1) / places
    else:
        mean = jnp.mean(logs, axis=-1)
    length, wanted = counts.length, counts.reference_length
    short = jnp.where(length > 0.0, length, 1.0)
    penalty = jnp.exp(jnp.minimum(1.0 - wanted / short, 0.0))
    return jnp.where(some & (length > 0.0), penalty * jnp.exp(mean), 0.0)


def sentence_bleu(
    candidate: jax.Array,
    candidate_length: jax.Array,
    references: jax.Array,
    reference_lengths: jax.Array,
    *,
    order: int = 4,
    smoothing: Literal["none", "floor", "add_k", "exponential"] = "exponential",
    amount: float | None = None,
) -> jax.Array:
    """Returns BLEU of each sentence, ``[...]`` from 0 to 1, with the effective order.

    Arguments and errors are those of `bleu_counts` and `bleu_of_counts`.

    >>> tokens = jnp.array([5, 6, 7, 8, 0])
    >>> sentence_bleu(tokens, jnp.array(4), tokens[None, :4], jnp.array([4]))
    Array(1., dtype=float32)
    """
    counts = bleu_counts(
        candidate, candidate_length, references, reference_lengths, order=order
    )
    return bleu_of_counts(
        counts, smoothing=smoothing, amount=amount, effective_order=True
    )


def corpus_bleu(
    candidate: jax.Array,
    candidate_length: jax.Array,
    references: jax.Array,
    reference_lengths: jax.Array,
    weight: jax.Array | None = None,
    *,
    order: int = 4,
    smoothing: Literal["none", "floor", "add_k", "exponential"] = "exponential",
    amount: float | None = None,
) -> jax.Array:
    """Returns BLEU of all sentences together, ``[]`` from 0 to 1.

    Counts are summed before they are divided, so it is no mean over sentences.

    Args:
      candidate, candidate_length, references, reference_lengths, order, smoothing,
        amount: as in `bleu_counts` and `bleu_of_counts`.
      weight: ``[...]``, 0 for rows that only fill up; default 1 each.

    Raises:
      ValueError: as `bleu_counts` and `bleu_of_counts`.
    """
    counts = bleu_counts(
        candidate, candidate_length, references, reference_lengths, order=order
    )
    if weight is None:
        weight = jnp.ones(candidate_length.shape, jnp.float32)

    def summed(count):
        shape = weight.shape + (1,) * (count.ndim - weight.ndim)
        weighed = weight.reshape(shape) * count
        return jnp.sum(weighed, axis=tuple(range(weight.ndim)))

    total = BleuCounts(*map(summed, counts))
    return bleu_of_counts(total, smoothing=smoothing, amount=amount)
