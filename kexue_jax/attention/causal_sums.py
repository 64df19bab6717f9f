"""Causal linear attention in blocks of chunks, with its gradient written by hand.

A block holds several chunks, whose small matrix products are made in one call each:
the triangle of every chunk, and what every chunk reads of the sums before it. The
gradient walks back over the blocks with the outputs, the denominators and the sums
before each block at hand, and makes the features of a block again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

BLOCK = 256  # places whose products are made together

Sums = tuple[jax.Array, jax.Array, jax.Array]


class _Plan(NamedTuple):
    """What is known before any array is."""

    asked: Callable[..., jax.Array]  # (constants, query) -> features
    kept: Callable[..., Any]  # (constants, key, value, keep) -> features, logs, value
    block: int
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
    length = query.shape[1]
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
        arrays = tuple(x[:, run] for x in (query, key, value))
        mask = None if keep is None else keep[..., run]
        # What the functions close over may need a gradient, too.
        some, part = _cut(size, 0, (arrays, mask))
        some = [_heads_first(x) for x in some]
        plain_asked, first = jax.closure_convert(asked, some[0])
        plain_kept, second = jax.closure_convert(kept, *some[1:], part)
        plan = _Plan(plain_asked, plain_kept, size, min(chunk, size))
        constants = tuple(first), tuple(second)
        sums, output = _causal(plan, constants, sums, arrays, mask)
        outputs.append(output)
        start = stop
    if not outputs:
        return sums, jnp.zeros(value.shape, jnp.float32)
    return sums, outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def _cut(size, index, arrays):
    """Block `index` of ``[B, T, N, F]`` and of masks ``[B, N, T]``."""

    def part(array):
        axis = 2 if array.ndim == 3 else 1
        return lax.dynamic_slice_in_dim(array, index * size, size, axis=axis)

    return jax.tree.map(part, arrays)


def _joined(blocks):
    """``[K, B, L, N, F]`` as ``[B, K L, N, F]``."""
    blocks = jnp.moveaxis(blocks, 0, 1)
    return blocks.reshape(blocks.shape[0], -1, *blocks.shape[3:])


@jax.custom_jvp
def ratio(above: jax.Array, below: jax.Array) -> jax.Array:
    """Returns ``above / below``, and 0 where `below` is 0 or denormal."""
    seen = jnp.abs(below) >= jnp.finfo(jnp.float32).tiny
    return jnp.where(seen, above / jnp.where(seen, below, 1.0), 0.0)


@ratio.defjvp
def _ratio_jvp(primals, tangents):
    above, below = primals
    found = ratio(above, below)
    # The usual rule divides by the square of `below`, which underflows long before it.
    return found, ratio(tangents[0] - found * tangents[1], below)


def finite(log_scale: jax.Array) -> jax.Array:
    """A factor to compare with: it cancels, and -inf (nothing seen) becomes 0."""
    return lax.stop_gradient(jnp.where(log_scale > -jnp.inf, log_scale, 0.0))


class _Factors(NamedTuple):
    """How much the factors of keys count at every place; None where there are none."""

    inside: Any  # [X or 1, C, C], of key s for query t, 0 where s > t
    past: Any  # [X, C], of the sums before the chunk for query t
    share: Any  # [X, C], of key s in the sums after its chunk
    fade: Any  # [Y, G], of the sums before the chunk in those after it
    top: Any  # [B, N], after the block


def _factors(plan, top, log_scale):
    visible = jnp.tri(plan.chunk, dtype=jnp.bool_)[None]
    if log_scale is None:
        return _Factors(visible.astype(jnp.float32), None, None, None, top)
    tops = jnp.maximum(lax.cummax(log_scale, axis=2), top[..., None])
    tops = lax.stop_gradient(tops).reshape(top.size, -1, plan.chunk)
    after = tops[..., -1]
    before = jnp.concatenate([top.reshape(-1, 1), after[:, :-1]], axis=-1)
    log_scale = log_scale.reshape(tops.shape)
    share = jnp.exp(log_scale - finite(after)[..., None])
    past = jnp.exp(before[..., None] - finite(tops))
    log_scale, tops, past, share = (
        x.reshape(-1, plan.chunk) for x in (log_scale, tops, past, share)
    )
    inside = log_scale[:, None] - finite(tops)[..., None]
    inside = jnp.exp(jnp.where(visible, inside, -jnp.inf))
    fade = jnp.exp(before - finite(after))
    return _Factors(inside, past, share, fade, after[:, -1].reshape(top.shape))


def _times(array, factor):
    """Multiplies by a factor of fewer axes, or by 1."""
    if factor is None:
        return array
    return array * factor.reshape(factor.shape + (1,) * (array.ndim - factor.ndim))


def _running(start, parts, fade, *, reverse=False):
    """Sums before every chunk, ``[X, ...]``, and after all, ``[B, N, ...]``.

    Each chunk makes ``fade * s + part`` of the sums s before it.
    """
    shape, sums = start.shape, start.reshape(-1, *start.shape[2:])
    parts = parts.reshape(sums.shape[0], -1, *sums.shape[1:])
    count = parts.shape[1]
    found = [sums] * count
    for g in reversed(range(count)) if reverse else range(count):
        found[g] = sums
        sums = _times(sums, None if fade is None else fade[:, g]) + parts[:, g]
    found = jnp.stack(found, axis=1)
    return found.reshape(-1, *found.shape[2:]), sums.reshape(shape)


def _heads_first(array):
    return jnp.swapaxes(array, 1, 2)


def _flat(chunk, *arrays):
    """``[B, N, L, F]`` as chunks ``[X, C, F]``, X = B N L / C."""
    return (x.reshape(-1, chunk, x.shape[-1]) for x in arrays)


def _turned(array):
    return jnp.swapaxes(array, 1, 2)


def _before(sums, kept, value, factors):
    """Moments and totals before every chunk, and after all."""
    parts = _turned(_times(value, factors.share)) @ kept
    moments, moment = _running(sums[0], parts, factors.fade)
    parts = jnp.sum(_times(kept, factors.share), axis=1)
    totals, total = _running(sums[1], parts, factors.fade)
    return (moments, totals), (moment, total)


def _forward(plan, constants, sums, block):
    """The averages of a block, and what its gradient needs."""
    (query, key, value), keep = block
    query, key, value = map(_heads_first, (query, key, value))
    shape = query.shape[:3]
    asked = plan.asked(query, *constants[0])
    kept, log_scale, value = plan.kept(key, value, keep, *constants[1])
    factors = _factors(plan, sums[2], log_scale)
    asked, kept, value = _flat(plan.chunk, asked, kept, value)
    (moments, totals), after = _before(sums, kept, value, factors)
    weights = jnp.einsum("xtm,xsm->xts", asked, kept) * factors.inside
    above = _times(jnp.einsum("xtm,xvm->xtv", asked, moments), factors.past)
    above = above + weights @ value
    below = _times(jnp.einsum("xtm,xm->xt", asked, totals), factors.past)
    below = below + jnp.sum(weights, axis=-1)
    output = _heads_first(ratio(above, below[..., None]).reshape(*shape, -1))
    # Sums before every chunk are kept if they are not larger than the inputs.
    at_hand = (moments, totals) if moments.size <= query.size else None
    return (*after, factors.top), (output, (below, sums, at_hand))


def _backward(plan, constants, carry, block):
    """The gradients of a block, from those of the sums after it."""
    slopes, constant_slopes = carry
    (query, key, value), keep, output, change, saved = block
    below, sums, at_hand = saved
    query, key, value, output, change = map(
        _heads_first, (query, key, value, output, change)
    )
    shape = query.shape[:3]
    asked, pull_query = jax.vjp(plan.asked, query, *constants[0])
    (kept, log_scale, value), pull_key = jax.vjp(
        lambda key, value, *rest: plan.kept(key, value, keep, *rest),
        key,
        value,
        *constants[1],
    )
    factors = _factors(plan, sums[2], log_scale)
    past, share, features = factors.past, factors.share, kept
    asked, kept, value, output, change = _flat(
        plan.chunk, asked, kept, value, output, change
    )
    if at_hand is None:
        at_hand, _ = _before(sums, kept, value, factors)
    moments, totals = at_hand
    above = ratio(change, below[..., None])
    below = -jnp.sum(above * output, axis=-1)
    parts = _turned(_times(above, past)) @ asked
    moment_slopes, moment = _running(slopes[0], parts, factors.fade, reverse=True)
    parts = jnp.einsum("xt,xtm->xm", _times(below, past), asked)
    total_slopes, total = _running(slopes[1], parts, factors.fade, reverse=True)

    inside = _turned(factors.inside)
    weights = jnp.einsum("xsm,xtm->xst", kept, asked) * inside
    slope = jnp.einsum("xsv,xtv->xst", value, above)
    slope = (slope + below[:, None]) * inside
    asked_slope = above @ moments + below[..., None] * totals[:, None]
    asked_slope = _times(asked_slope, past) + _turned(slope) @ kept
    kept_slope = _times(value @ moment_slopes + total_slopes[:, None], share)
    kept_slope = kept_slope + slope @ asked
    value_slope = jnp.einsum("xsm,xvm->xsv", kept, moment_slopes)
    value_slope = _times(value_slope, share) + weights @ above

    asked_slope, kept_slope, value_slope = (
        x.reshape(*shape, -1) for x in (asked_slope, kept_slope, value_slope)
    )
    # A key counts as its features times its factor, so that this is the slope of both.
    log_slope = None if log_scale is None else jnp.sum(features * kept_slope, axis=-1)
    query_slope, *query_rest = pull_query(asked_slope)
    key_slope, in_slope, *key_rest = pull_key((kept_slope, log_slope, value_slope))
    rest = jax.tree.map(jnp.add, constant_slopes, (tuple(query_rest), tuple(key_rest)))
    grads = tuple(map(_heads_first, (query_slope, key_slope, in_slope)))
    return ((moment, total), rest), grads


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _causal(plan, constants, sums, arrays, keep):
    return _causal_forward(plan, constants, sums, arrays, keep)[0]


def _causal_forward(plan, constants, sums, arrays, keep):
    def body(sums, index):
        block = _cut(plan.block, index, (arrays, keep))
        return _forward(plan, constants, sums, block)

    count = arrays[0].shape[1] // plan.block
    sums, (output, saved) = lax.scan(body, sums, jnp.arange(count))
    output = _joined(output)
    return (sums, output), (constants, arrays, keep, output, saved)


def _causal_backward(plan, saved, change):
    constants, arrays, keep, output, rest = saved
    (moment, total, _), change = change

    def body(carry, each):
        index, rest = each
        block = _cut(plan.block, index, (arrays, keep, output, change))
        return _backward(plan, constants, carry, (*block, rest))

    count = arrays[0].shape[1] // plan.block
    start = (moment, total), jax.tree.map(jnp.zeros_like, constants)
    each = jnp.arange(count), rest
    (sums, constants), grads = lax.scan(body, start, each, reverse=True)
    return constants, (*sums, None), tuple(map(_joined, grads)), None


_causal.defvjp(_causal_forward, _causal_backward)
