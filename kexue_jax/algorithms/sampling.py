"""How a next token is drawn: what is done to the scores first, and the drawing itself.

Each adjustment goes from logits to logits, -inf for what is left out, so that they can
follow one another; `jax.random.categorical` draws from the last.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.entropy_normalization import (
    entropy_normalized,
    softmax_entropy,
)


def tempered(logits: jax.Array, temperature: float | jax.Array) -> jax.Array:
    """Divides logits by a temperature; at 0 the first of the largest is left alone.

    Args:
      logits: ``[..., V]``; -inf leaves a token out.
      temperature: at least 0, broadcastable to ``[..., 1]``.

    Returns:
      ``[..., V]`` float32, or wider if `logits` are.
    """
    logits = numerics.widened(logits)
    temperature = jnp.asarray(temperature, logits.dtype)
    temperature = temperature.reshape(
        (1,) * (logits.ndim - temperature.ndim) + temperature.shape
    )
    warm = temperature > 0.0
    first = jnp.argmax(logits, axis=-1, keepdims=True)
    alone = jnp.arange(logits.shape[-1]).reshape((1,) * (logits.ndim - 1) + (-1,))
    cold = jnp.where(alone == first, logits, -jnp.inf)
    return jnp.where(warm, logits / jnp.where(warm, temperature, 1.0), cold)


def top_k(logits: jax.Array, *, k: int) -> jax.Array:
    """Leaves the k likeliest tokens, and those that are as likely as the last of them.

    Args:
      logits: ``[..., V]``; -inf leaves a token out.
      k: at least 1; from V on nothing changes.

    Returns:
      ``[..., V]`` in the dtype of `logits`.

    Raises:
      ValueError: if `k` is less than 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    last = jax.lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
    return jnp.where(logits >= last, logits, -jnp.inf)


def top_p(logits: jax.Array, *, p: float | jax.Array) -> jax.Array:
    """Leaves the fewest likeliest tokens that have probability `p` together.

    Of tokens that are as likely as each other the first is taken first, and one token
    is always left.

    Args:
      logits: ``[..., V]``; -inf leaves a token out.
      p: in (0, 1]; traced values are not checked.

    Returns:
      ``[..., V]`` in the dtype of `logits`.

    Raises:
      ValueError: if `p` is a number out of its range.

    Source: Holtzman et al., https://arxiv.org/abs/1904.09751
    """
    if not isinstance(p, jax.Array) and not 0.0 < p <= 1.0:
        raise ValueError(f"p must lie in (0, 1], got {p}")
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(numerics.widened(logits), order, axis=-1)
    top = ranked[..., :1]
    power = jnp.exp(ranked - jnp.where(top > -jnp.inf, top, 0.0))
    share = power / jnp.maximum(jnp.sum(power, axis=-1, keepdims=True), 1.0)
    before = jnp.cumsum(share, axis=-1) - share
    within = (before < p) | (jnp.asarray(p) >= 1.0)  # sums of all may be rounded up
    kept = jnp.take_along_axis(within, jnp.argsort(order, axis=-1), axis=-1)
    return jnp.where(kept, logits, -jnp.inf)


def at_entropy(logits: jax.Array, *, target: float | jax.Array) -> jax.Array:
    """Raises the distribution to the power at which its entropy is `target`.

    Args:
      logits: ``[..., V]``; -inf leaves a token out.
      target: in nats, broadcastable to ``[...]``; out of reach, the limit is taken.

    Returns:
      ``[..., V]`` float32, or wider if `logits` are: logarithms of probabilities.

    Source: https://kexue.fm/archives/8829, which names decoding as a use.
    """
    weights = entropy_normalized(logits, target).weights
    seen = weights > 0.0
    return jnp.where(seen, jnp.log(jnp.where(seen, weights, 1.0)), -jnp.inf)


def at_most_entropy(logits: jax.Array, *, target: float | jax.Array) -> jax.Array:
    """`at_entropy` where the entropy is greater; other rows stay as they are.

    Arguments and result are those of `at_entropy`.
    """
    wide = numerics.widened(logits)
    greater = softmax_entropy(wide) > target
    return jnp.where(greater[..., None], at_entropy(wide, target=target), wide)


def continuations(
    logits_of: Callable[[jax.Array], jax.Array],
    tokens: jax.Array,
    lengths: jax.Array,
    rng: jax.Array,
    *,
    adjust: Callable[[jax.Array], jax.Array] = lambda logits: logits,
) -> jax.Array:
    """Fills a buffer behind its prompts with tokens that are drawn.

    The whole buffer is read anew for each token, so one shape serves all lengths.

    Args:
      logits_of: ``[R, T]`` tokens to ``[R, T, V]``, place t a function of 0 to t.
      tokens: ``[R, T]`` int32, prompts and whatever behind them.
      lengths: ``[R]`` int32, sizes of the prompts, at least 1.
      rng: a key.
      adjust: from the logits ``[R, V]`` of a place to those that it is drawn by, such
        as `top_p` bound to its share.

    Returns:
      ``[R, T]`` int32, prompts and their continuations.
    """

    def fill(place, buffer):
        logits = logits_of(buffer)
        last = jax.lax.dynamic_index_in_dim(logits, place - 1, axis=1, keepdims=False)
        key = jax.random.fold_in(rng, place)
        drawn = jax.random.categorical(key, adjust(last), axis=-1)
        now = jax.lax.dynamic_index_in_dim(buffer, place, axis=1, keepdims=False)
        token = jnp.where(place < lengths, now, drawn.astype(buffer.dtype))
        return jax.lax.dynamic_update_index_in_dim(buffer, token, place, axis=1)

    return jax.lax.fori_loop(jnp.min(lengths), tokens.shape[1], fill, tokens)


def continued(
    step: Callable[[jax.Array, Any], tuple[jax.Array, Any]],
    cache: Any,
    tokens: jax.Array,
    rng: jax.Array,
    *,
    places: int,
    adjust: Callable[[jax.Array], jax.Array] = lambda logits: logits,
) -> jax.Array:
    """Draws tokens behind prompts of one length, each token read once.

    Args:
      step: from ``[R, T]`` tokens and what is known of those before to ``[R, T, V]``
        logits and what is known now, as the method of that name of a `Transformer`.
      cache: what is known before the first token.
      tokens: ``[R, T]`` int32, T at least 1.
      rng: a key.
      places: how many tokens are drawn, at least 1.
      adjust: as in `continuations`.

    Returns:
      ``[R, places]`` int32.

    Raises:
      ValueError: if there is no prompt, or no token is to be drawn.
    """
    if tokens.shape[1] < 1 or places < 1:
        raise ValueError(
            f"tokens must be [R, T], T at least 1, and places at least 1; got "
            f"{tokens.shape} and {places}"
        )
    logits, cache = step(tokens, cache)

    def draw(state, key):
        last, cache = state
        drawn = jax.random.categorical(key, adjust(last), axis=-1)
        drawn = drawn.astype(tokens.dtype)
        logits, cache = step(drawn[:, None], cache)
        return (logits[:, -1], cache), drawn

    keys = jax.random.split(rng, places)
    _, drawn = jax.lax.scan(draw, (logits[:, -1], cache), keys)
    return drawn.T
