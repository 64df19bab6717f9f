"""Causal linear attention in blocks of chunks, with its gradient written by hand.

A block holds several chunks, whose small matrix products are made in one call each:
the triangle of every chunk, and what every chunk reads of the sums before it. The
gradient walks back over the blocks with the outputs, the denominators and the sums
before each chunk at hand, and makes the features of a block again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

BLOCK = 512  # places whose products are made together

Sums = tuple[jax.Array, jax.Array, jax.Array]


class _Plan(NamedTuple):
    """What is known before any array is."""

    asked: Callable[..., jax.Array]  # (constants, query) -> features
    kept: Callable[..., Any]  # (constants, key, value, keep) -> features, logs, value
    chunk: int


def causal_sums(
    asked: Callable[[jax.Array], jax.Array],
    kept: Callable[..., Any],
    sums: Sums,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    keep: jax.Array | None,
    *,
    chunk_size: int,
) -> tuple[Sums, jax.Array]:
    """Returns the sums after all keys, and the averages that every query sees.

    Args:
      asked: from queries ``[B, N, C, H]`` to features ``[B, N, C, M]``; its factors
        cancel.
      kept: from keys, values and `keep` of a run of places to features, logarithms of
        their factors ``[B, N, C]`` or None, and values, nothing left of hidden keys.
      sums: moments ``[B, N, V, M]`` and totals ``[B, N, M]`` of earlier keys, and the
        logarithm ``[B, N]`` of the factor taken out of both.
      query, key, value: ``[B, T, N, H]``, ``[B, T, N, H]``, ``[B, T, N, V]``.
      keep: bool ``[B or 1, N or 1, T]`` or None.
      chunk_size: C.

    Returns:
      The sums, and ``[B, T, N, V]`` float32.

    Numerics: reverse differentiation only, of any order.
    """
    batch, length, heads, _ = query.shape
    chunk = min(chunk_size, max(length, 1))
    group = max(1, min(BLOCK // chunk, length // chunk))
    outputs, start = [], 0
    # Whole blocks in a scan, then the chunks that are left over, then their rest.
    whole = length // (group * chunk) * group * chunk
    left = length // chunk * chunk
    for stop, size in ((whole, group * chunk), (left, left - whole), (length, 0)):
        if start == stop:
            continue
        size = size or stop - start
        run = slice(start, stop)
        arrays = tuple(_blocks(x[:, run], size, 1) for x in (query, key, value))
        mask = None if keep is None else _blocks(keep[..., run], size, 2)
        # What the functions close over may need a gradient, too.
        some = [_heads_first(x[0]) for x in arrays]
        plain_asked, first = jax.closure_convert(asked, some[0])
        some = [*some[1:], None if mask is None else mask[0]]
        plain_kept, second = jax.closure_convert(kept, *some)
        plan = _Plan(plain_asked, plain_kept, min(chunk, size))
        constants = tuple(first), tuple(second)
        sums, output = _causal(plan, constants, sums, arrays, mask)
        output = jnp.moveaxis(output, 0, 1)
        outputs.append(output.reshape(batch, stop - start, heads, -1))
        start = stop
    if not outputs:
        return sums, jnp.zeros(value.shape, jnp.float32)
    return sums, outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def _blocks(array, size, axis):
    """Cuts an axis into blocks, which come first."""
    split = (*array.shape[:axis], -1, size, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(split), axis, 0)


def _ratio(above, below):
    """Returns ``above / below``, and 0 where `below` is 0 or denormal."""
    seen = jnp.abs(below) >= jnp.finfo(jnp.float32).tiny
    return jnp.where(seen, above / jnp.where(seen, below, 1.0), 0.0)


def _finite(log_scale):
    return jnp.where(log_scale > -jnp.inf, log_scale, 0.0)


def _chunks(array, chunk):
    """``[B, N, L, ...]`` as ``[B, N, G, C, ...]``."""
    return array.reshape(*array.shape[:2], -1, chunk, *array.shape[3:])


class _Factors(NamedTuple):
    """How much the factors of keys count at every place; None where there are none."""

    inside: Any  # [B, N, G, C, C], of key s for query t, 0 where s > t
    past: Any  # [B, N, G, C], of the sums before the chunk for query t
    share: Any  # [B, N, G, C], of key s in the sums after its chunk
    fade: Any  # [B, N, G], of the sums before the chunk in those after it
    top: Any  # [B, N], after the block


def _factors(plan, top, log_scale):
    visible = jnp.tri(plan.chunk, dtype=jnp.bool_)[None, None, None]
    if log_scale is None:
        return _Factors(visible.astype(jnp.float32), None, None, None, top)
    tops = lax.cummax(log_scale, axis=2)
    tops = _chunks(jnp.maximum(tops, top[..., None]), plan.chunk)
    after = tops[..., -1]
    before = jnp.concatenate([top[..., None], after[..., :-1]], axis=-1)
    log_scale = _chunks(log_scale, plan.chunk)
    inside = log_scale[..., None, :] - _finite(tops)[..., None]
    return _Factors(
        jnp.exp(jnp.where(visible, inside, -jnp.inf)),
        jnp.exp(before[..., None] - _finite(tops)),
        jnp.exp(log_scale - _finite(after)[..., None]),
        jnp.exp(before - _finite(after)),
        after[..., -1],
    )


def _times(array, factor):
    """Multiplies by a factor of fewer axes, or by 1."""
    if factor is None:
        return array
    return array * factor.reshape(factor.shape + (1,) * (array.ndim - factor.ndim))


def _running(start, parts, fade, *, reverse=False):
    """Sums before every chunk, and after all: ``s' = fade * s + part``."""
    count = parts.shape[2]
    found, sums = [None] * count, start
    for g in reversed(range(count)) if reverse else range(count):
        found[g] = sums
        sums = _times(sums, None if fade is None else fade[:, :, g]) + parts[:, :, g]
    return jnp.stack(found, axis=2), sums


def _heads_first(array):
    return jnp.swapaxes(array, 1, 2)


def _forward(plan, constants, sums, block):
    """The averages of a block, and what its gradient needs."""
    (query, key, value), keep = block
    query, key, value = map(_heads_first, (query, key, value))
    asked = plan.asked(query, *constants[0])
    kept, log_scale, value = plan.kept(key, value, keep, *constants[1])
    factors = _factors(plan, sums[2], log_scale)
    asked, kept, value = (_chunks(x, plan.chunk) for x in (asked, kept, value))
    shared = _times(value, factors.share)
    moments = jnp.einsum("bngsv,bngsm->bngvm", shared, kept)
    totals = jnp.sum(_times(kept, factors.share), axis=3)
    moments, moment = _running(sums[0], moments, factors.fade)
    totals, total = _running(sums[1], totals, factors.fade)
    weights = jnp.einsum("bngtm,bngsm->bngts", asked, kept) * factors.inside
    above = _times(jnp.einsum("bngtm,bngvm->bngtv", asked, moments), factors.past)
    above = above + jnp.einsum("bngts,bngsv->bngtv", weights, value)
    below = _times(jnp.einsum("bngtm,bngm->bngt", asked, totals), factors.past)
    below = below + jnp.sum(weights, axis=-1)
    output = _ratio(above, below[..., None])
    output = _heads_first(output.reshape(*query.shape[:3], -1))
    return (moment, total, factors.top), (output, (below, moments, totals, sums[2]))


def _backward(plan, constants, carry, block):
    """The gradients of a block, from those of the sums after it."""
    slopes, constant_slopes = carry
    (query, key, value), keep, output, change, saved = block
    below, moments, totals, top = saved
    query, key, value = map(_heads_first, (query, key, value))
    asked, pull_query = jax.vjp(plan.asked, query, *constants[0])
    (kept, log_scale, value), pull_key = jax.vjp(
        lambda key, value, *rest: plan.kept(key, value, keep, *rest),
        key,
        value,
        *constants[1],
    )
    factors = _factors(plan, top, log_scale)
    features = kept
    asked, kept, value, output, change = (
        _chunks(x, plan.chunk)
        for x in (asked, kept, value, _heads_first(output), _heads_first(change))
    )
    above = _ratio(change, below[..., None])
    below = -jnp.sum(above * output, axis=-1)
    past = _times(above, factors.past), _times(below, factors.past)
    parts = jnp.einsum("bngtv,bngtm->bngvm", past[0], asked)
    moment_slopes, moment = _running(slopes[0], parts, factors.fade, reverse=True)
    parts = jnp.einsum("bngt,bngtm->bngm", past[1], asked)
    total_slopes, total = _running(slopes[1], parts, factors.fade, reverse=True)

    inside = jnp.swapaxes(factors.inside, -2, -1)
    weights = jnp.einsum("bngsm,bngtm->bngst", kept, asked) * inside
    slope = jnp.einsum("bngsv,bngtv->bngst", value, above)
    slope = (slope + below[..., None, :]) * inside
    asked_slope = jnp.einsum("bngst,bngsm->bngtm", slope, kept)
    asked_slope += jnp.einsum("bngtv,bngvm->bngtm", past[0], moments)
    asked_slope += past[1][..., None] * totals[..., None, :]
    kept_slope = jnp.einsum("bngsv,bngvm->bngsm", value, moment_slopes)
    kept_slope = _times(kept_slope + total_slopes[..., None, :], factors.share)
    kept_slope += jnp.einsum("bngst,bngtm->bngsm", slope, asked)
    value_slope = jnp.einsum("bngsm,bngvm->bngsv", kept, moment_slopes)
    value_slope = _times(value_slope, factors.share)
    value_slope += jnp.einsum("bngst,bngtv->bngsv", weights, above)

    asked_slope, kept_slope, value_slope = (
        x.reshape(*x.shape[:2], -1, x.shape[-1])
        for x in (asked_slope, kept_slope, value_slope)
    )
    # A key counts as its features times its factor, so that this is the slope of both.
    log_slope = None if log_scale is None else jnp.sum(features * kept_slope, axis=-1)
    query_slope, *query_rest = pull_query(asked_slope)
    key_slope, in_slope, *key_rest = pull_key((kept_slope, log_slope, value_slope))
    rest = jax.tree.map(
        jnp.add, constant_slopes, (tuple(query_rest), tuple(key_rest))
    )
    grads = tuple(map(_heads_first, (query_slope, key_slope, in_slope)))
    return ((moment, total), rest), grads


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _causal(plan, constants, sums, arrays, keep):
    return _causal_forward(plan, constants, sums, arrays, keep)[0]


def _causal_forward(plan, constants, sums, arrays, keep):
    body = partial(_forward, plan, constants)
    sums_after, (output, saved) = lax.scan(body, sums, (arrays, keep))
    return (sums_after, output), (constants, arrays, keep, output, saved)


def _causal_backward(plan, saved, change):
    constants, arrays, keep, output, rest = saved
    (moment, total, _), change = change
    start = (moment, total), jax.tree.map(jnp.zeros_like, constants)
    body = partial(_backward, plan, constants)
    blocks = (arrays, keep, output, change, rest)
    (sums, constants), grads = lax.scan(body, start, blocks, reverse=True)
    return constants, (*sums, None), grads, None


_causal.defvjp(_causal_forward, _causal_backward)
