"""Masks of masked language models: which tokens are hidden, and what stands there."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Masked(NamedTuple):
    """Rows in which some tokens are hidden, and what they were.

    Attributes:
      tokens: int32 ``[B, T]``, what a model reads.
      places: int32 ``[B, M]``, where tokens are to be told, in ascending order; where
        there are fewer than M, other places fill up.
      targets: int32 ``[B, M]``, the tokens that stood there.
      weight: float32 ``[B, M]``, 1 for a place to be told and 0 for one that fills up.
    """

    tokens: jax.Array
    places: jax.Array
    targets: jax.Array
    weight: jax.Array


def width_of(length: int, rate: float) -> int:
    """Returns M, which has room for a share of a row of T tokens.

    >>> width_of(128, 0.15)
    20
    """
    if length < 1 or not 0.0 < rate <= 1.0:
        raise ValueError(
            f"length must be at least 1 and 0 < rate <= 1, got {length} and {rate}"
        )
    return min(length, max(1, math.ceil(rate * length)))


def chosen_places(
    priority: jax.Array, words: jax.Array, budget: jax.Array
) -> jax.Array:
    """Returns which tokens are hidden if whole words are taken by their priority.

    Words are taken from the lowest priority on until the next one is larger than what
    the budget has left; that one and all behind it stay.

    Args:
      priority: float ``[B, T]``, less than 1; all tokens of a word have that of its
        first.
      words: int ``[B, T]``; neighbours of one number are one word, and tokens of a
        negative number are never taken.
      budget: int ``[B]``, the most tokens.

    Returns:
      bool ``[B, T]``.
    """
    free, starts = words >= 0, _starts(words)
    length = words.shape[1]
    places = jnp.broadcast_to(jnp.arange(length), words.shape)
    first = jax.lax.cummax(jnp.where(starts, places, 0), axis=1)
    ends = jnp.concatenate([starts[:, 1:], jnp.ones_like(starts[:, :1])], axis=1)
    last = jax.lax.cummin(jnp.where(ends, places, length), axis=1, reverse=True)
    shared = jnp.take_along_axis(priority, first, axis=1)
    # Sorted stably: the tokens of a word stay side by side, also where priorities tie.
    order = jnp.argsort(jnp.where(free, shared, jnp.inf), axis=1, stable=True)
    rank = jnp.argsort(order, axis=1, stable=True)
    return free & (jnp.take_along_axis(rank, last, axis=1) < budget[:, None])


def _starts(words: jax.Array) -> jax.Array:
    """Where a word begins; tokens that are never taken each stand alone."""
    new = (words[:, 1:] != words[:, :-1]) | (words[:, 1:] < 0)
    return jnp.concatenate([jnp.ones_like(words[:, :1], bool), new], axis=1)


def masked_words(
    rng: jax.Array,
    tokens: jax.Array,
    words: jax.Array,
    *,
    hidden: int,
    replacements: jax.Array,
    width: int,
    rate: float = 0.15,
    shares: tuple[float, float] = (0.8, 0.1),
) -> Masked:
    """Hides whole words, as Whole Word Masking does: all tokens of a word or none.

    Of each row a share is to be told: `rate` times its tokens that belong to a word,
    rounded, at least 1 and at most M. Words are taken in random order as long as they
    fit, so that rows of long words have a little less. Of the tokens to be told 80 in
    100 are hidden, 10 are replaced and 10 stay, each drawn alone.

    Args:
      rng: a key.
      tokens: int ``[B, T]``.
      words: int ``[B, T]``; neighbours of one number are one word. Tokens of a negative
        number, such as marks and padding, are never told, hidden or replaced.
      hidden: the token [MASK].
      replacements: int ``[R]``, what a replaced token may become, each as likely; no
        marks.
      width: M, the most places of a row; `width_of` has room for all.
      rate: the share of tokens to be told.
      shares: of these, how many are hidden and how many replaced; the rest stays.

    Returns:
      `Masked`. A row without words has weights of 0 alone.

    Raises:
      ValueError: if the shapes disagree or a number is out of range.

    Source: Devlin et al., https://arxiv.org/abs/1810.04805, and its code, in which a
      word that does not fit is passed over and shorter ones behind it are tried; Cui et
      al., https://arxiv.org/abs/1906.08101, for Chinese.
    """
    _check(tokens, words, width, rate, shares)
    choose, kind, draw = jax.random.split(rng, 3)
    count = jnp.sum(words >= 0, axis=1)
    budget = jnp.round(rate * count).astype(jnp.int32)
    budget = jnp.minimum(jnp.maximum(budget, jnp.minimum(count, 1)), width)
    chosen = chosen_places(jax.random.uniform(choose, words.shape), words, budget)
    fate = jax.random.uniform(kind, words.shape)
    others = jax.random.choice(draw, replacements.astype(tokens.dtype), words.shape)
    read = jnp.where(fate < shares[0], hidden, tokens)
    swapped = (fate >= shares[0]) & (fate < sum(shares))
    read = jnp.where(chosen, jnp.where(swapped, others, read), tokens)
    places = jnp.argsort(~chosen, axis=1, stable=True)[:, :width]
    return Masked(
        read.astype(jnp.int32),
        places.astype(jnp.int32),
        jnp.take_along_axis(tokens, places, axis=1).astype(jnp.int32),
        jnp.take_along_axis(chosen, places, axis=1).astype(jnp.float32),
    )


def masked_tokens(
    rng: jax.Array, tokens: jax.Array, words: jax.Array, **options
) -> Masked:
    """Hides tokens, each alone, as BERT does first; else as `masked_words`."""
    places = jnp.broadcast_to(jnp.arange(words.shape[-1]), words.shape)
    return masked_words(rng, tokens, jnp.where(words < 0, -1, places), **options)


def masked_runs(
    rng: jax.Array,
    tokens: jax.Array,
    words: jax.Array,
    *,
    going_on: float = 0.5,
    **options,
) -> Masked:
    """Hides runs of whole words, as n-gram masking does; else as `masked_words`.

    Each word belongs to the run of the word before it with probability `going_on`, so
    that runs have ``1 / (1 - going_on)`` words in the mean and geometric lengths.

    Args:
      rng, tokens, words, options: of `masked_words`.
      going_on: from 0, which gives `masked_words`, and less than 1.

    Raises:
      ValueError: as there, or if `going_on` is out of range.

    Source: Joshi et al., https://arxiv.org/abs/1907.10529, who draw a start and a
      geometric length of at most 10 instead. Runs do not reach over marks.
    """
    if not 0.0 <= going_on < 1.0:
        raise ValueError(f"going_on must be from 0 to less than 1, got {going_on}")
    own, rest = jax.random.split(rng)
    free, starts = words >= 0, _starts(words)
    before = jnp.concatenate([jnp.zeros_like(free[:, :1]), free[:, :-1]], axis=1)
    joins = jax.random.bernoulli(own, going_on, words.shape)
    starts = starts & ~(joins & before & free)
    runs = jnp.where(free, jnp.cumsum(starts, axis=1), -1)
    return masked_words(rest, tokens, runs, **options)


def _check(tokens, words, width, rate, shares):
    if tokens.ndim != 2 or tokens.shape != words.shape:
        raise ValueError(
            "tokens and words must both be [B, T]; "
            f"got {tokens.shape} and {words.shape}"
        )
    if not 1 <= width <= tokens.shape[1] or not 0.0 < rate <= 1.0:
        raise ValueError(
            f"width must be from 1 to {tokens.shape[1]} and 0 < rate <= 1, got "
            f"{width} and {rate}"
        )
    if min(shares) < 0.0 or sum(shares) > 1.0:
        raise ValueError(f"shares must be from 0 on and at most 1 in all, got {shares}")
