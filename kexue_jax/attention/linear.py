"""Linear attention: similarities are inner products of features, keys are summed first.

The causal form exists three times, equal in value and gradient: `linear_attention` in
chunks (for training), `linear_attention_parallel` with the state of every place at once
and `linear_attention_step` with the state of one place (for decoding).
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax.attention.causal_sums import causal_sums, finite, ratio
from kexue_jax.attention.feature_maps import (
    FeatureMap,
    ScaledFeatures,
    elu_plus_one,
)
from kexue_jax.attention.protocol import check_own_heads, key_mask

REASON = "linear attention sums the keys before it sees a query"
Rotation = Callable[[jax.Array, jax.Array], jax.Array]


class LinearState(NamedTuple):
    """All that linear attention keeps of the keys and values it has seen.

    Attributes:
      moment: ``[B, N, V, M]`` float32, sum of values times features.
      total: ``[B, N, M]`` float32, sum of features.
      log_scale: ``[B, N]`` float32, logarithm of the factor taken out of both sums,
        the largest among the keys; -inf while no key has been seen.
      position: ``[]`` int32, how many keys there were, hidden ones included.
    """

    moment: jax.Array
    total: jax.Array
    log_scale: jax.Array
    position: jax.Array


class _Form(NamedTuple):
    """The hyperparameters that every execution shares."""

    feature_map: FeatureMap
    scale: float
    rotate: Rotation | None

    def features(self, inputs):
        """Features of ``[B, N, C, H]`` and the logarithms of their factors."""
        inputs = inputs.astype(jnp.float32)
        if self.scale != 1.0:
            inputs = inputs * math.sqrt(self.scale)
        features = self.feature_map(inputs)
        if not isinstance(features, ScaledFeatures):
            features = ScaledFeatures(features)
        return features

    def turned(self, features, start):
        """The features that meet the values: rotated, places counted from `start`."""
        if self.rotate is None:
            return features
        positions = start + jnp.arange(features.shape[-2])
        turned = self.rotate(jnp.swapaxes(features, -3, -2), positions)
        return jnp.swapaxes(turned, -3, -2)


def _keys(form, key, value, keep):
    """Features, factors and values of keys, nothing left of the hidden ones."""
    value = value.astype(jnp.float32)
    if keep is None:
        values, log_scale = form.features(key)
    else:
        keep = keep[..., None]
        values, log_scale = form.features(jnp.where(keep, key, 0))
        values, value = jnp.where(keep, values, 0.0), jnp.where(keep, value, 0.0)
        if log_scale is not None:
            log_scale = jnp.where(keep, log_scale, -jnp.inf)
    return values, None if log_scale is None else log_scale[..., 0], value


def _absorbed(state, turned, features, log_scale, value):
    """Adds keys and values to a state."""
    top = state.log_scale
    if log_scale is not None:
        top = jax.lax.stop_gradient(jnp.maximum(top, jnp.max(log_scale, axis=-1)))
        kept = jnp.exp(state.log_scale - finite(top))
        share = jnp.exp(log_scale - finite(top)[..., None])
        moment = state.moment * kept[..., None, None]
        total = state.total * kept[..., None]
        total = total + jnp.einsum("bnsm,bns->bnm", features, share)
        value = value * share[..., None]
    else:
        moment, total = state.moment, state.total + jnp.sum(features, axis=-2)
    moment = moment + jnp.einsum("bnsv,bnsm->bnvm", value, turned)
    return LinearState(moment, total, top, state.position + features.shape[-2])


def _absorb(form, state, inputs):
    """`_absorbed`, as the body of a scan."""
    key, value, keep = inputs
    features, log_scale, value = _keys(form, key, value, keep)
    turned = form.turned(features, state.position)
    return _absorbed(state, turned, features, log_scale, value), None


def _read(form, state, start, query):
    """Returns ``[B, N, C, V]``, what queries from place `start` on see in a state."""
    features = form.features(query).values
    above = jnp.einsum("bntm,bnvm->bntv", form.turned(features, start), state.moment)
    below = jnp.einsum("bntm,bnm->bnt", features, state.total)
    return ratio(above, below[..., None])


def _causal_chunk(form, state, inputs):
    """The body of the causal scan: what came before, and the chunk's own triangle."""
    query, key, value, keep = inputs
    features, log_scale, value = _keys(form, key, value, keep)
    asked = form.features(query).values
    turned = form.turned(features, state.position)
    asked_turned = form.turned(asked, state.position)
    visible = jnp.tri(features.shape[-2], dtype=jnp.bool_)[None, None]
    if log_scale is None:
        shares = visible.astype(jnp.float32)
        past = jnp.ones((1, 1, 1), jnp.float32)
    else:
        top = jax.lax.cummax(jax.lax.stop_gradient(log_scale), axis=2)
        top = finite(jnp.maximum(state.log_scale[..., None], top))
        shares = log_scale[..., None, :] - top[..., None]
        shares = jnp.exp(jnp.where(visible, shares, -jnp.inf))
        past = jnp.exp(state.log_scale[..., None] - top)
    weights = jnp.einsum("bntm,bnsm->bnts", asked, features) * shares
    below = jnp.sum(weights, axis=-1)
    below = below + past * jnp.einsum("bntm,bnm->bnt", asked, state.total)
    if form.rotate is not None:
        weights = jnp.einsum("bntm,bnsm->bnts", asked_turned, turned) * shares
    above = jnp.einsum("bntm,bnvm->bntv", asked_turned, state.moment)
    above = above * past[..., None] + jnp.einsum("bnts,bnsv->bntv", weights, value)
    state = _absorbed(state, turned, features, log_scale, value)
    return state, ratio(above, below[..., None])


def _chunked(body, state, inputs, chunk_size):
    """Scans `body` over chunks of ``[B, L, N, ...]``; the rest is a shorter chunk.

    Masks, ``[B, N, L]``, and None are passed along. The body is computed again in the
    backward pass, so that only the states between chunks are stored. Heads are brought
    to the front in the body, where a chunk is in the cache.
    """

    def swapped(x):  # [B, C, N, F] <-> [B, N, C, F]
        return x if x is None or x.ndim == 3 else jnp.swapaxes(x, 1, 2)

    def leading(state, inputs):
        state, output = body(state, tuple(map(swapped, inputs)))
        return state, swapped(output)

    def chunks(x):
        if x is None:
            return None
        axis = 2 if x.ndim == 3 else 1
        x = jax.lax.slice_in_dim(x, 0, count * chunk_size, axis=axis)
        split = (*x.shape[:axis], count, chunk_size, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(split), axis, 0)

    length = inputs[0].shape[1]
    count = length // chunk_size
    outputs = []
    if count:
        again = jax.checkpoint(leading, prevent_cse=False)
        state, output = jax.lax.scan(again, state, tuple(map(chunks, inputs)))
        if output is not None:
            output = jnp.moveaxis(output, 0, 1)
            outputs.append(output.reshape(output.shape[0], -1, *output.shape[3:]))
    if length % chunk_size:
        rest = tuple(
            _from(x, count * chunk_size, 2 if x is not None and x.ndim == 3 else 1)
            for x in inputs
        )
        state, output = leading(state, rest)
        outputs += [] if output is None else [output]
    return state, jnp.concatenate(outputs, axis=1) if outputs else None


def _causal(form, state, inputs, chunk_size):
    """Returns the state after all keys, and what every query sees."""
    if form.rotate is not None:
        body = functools.partial(_causal_chunk, form)
        return _chunked(body, state, inputs, chunk_size)
    *sums, position = state
    sums, output = causal_sums(
        lambda query: form.features(query).values,
        functools.partial(_keys, form),
        tuple(sums),
        *inputs,
        chunk_size=chunk_size,
    )
    return LinearState(*sums, position + inputs[1].shape[1]), output


def linear_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    feature_map: FeatureMap = elu_plus_one,
    scale: float = 1.0,
    is_causal: bool = False,
    chunk_size: int | None = None,
    rotate: Rotation | None = None,
) -> jax.Array:
    r"""Averages values by inner products of features, in linear time and memory.

    .. math:: o_t = \frac{\sum_s \phi(q_t) \cdot \phi(k_s)\, v_s}
                         {\sum_s \phi(q_t) \cdot \phi(k_s)}
                  = \frac{\phi(q_t) \sum_s \phi(k_s) v_s^\top}
                         {\phi(q_t) \cdot \sum_s \phi(k_s)}

    The sums over keys are made once for all queries, or, if causal, carried from chunk
    to chunk with an ordinary masked product inside a chunk. Features are made inside
    blocks of chunks, forward and backward, so that nothing of size S x M is stored.

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool ``[B or 1, N or 1, 1, S]``; True keeps a key.
      feature_map: from ``[..., H]`` to ``[..., M]`` or `ScaledFeatures` of it.
      scale: > 0; queries and keys are multiplied by its root before `feature_map`,
        which makes ``1 / sqrt(H)`` the temperature that softmax attention has.
      is_causal: whether query t sees the keys s <= t + S - T only.
      chunk_size: C, how many places are worked on at once; default 64 if causal and
        256 if not. The gradient keeps the sums before every 256 places, ``S / 256 * N *
        M * V`` floats, and before every chunk where that is less than the inputs take.
      rotate: ``(features [B, C, N, M], positions [C]) -> features``, for instance
        `kexue_jax.position.rotary`: turns the features in the numerator alone, at
        place s for key s and t + S - T for query t. The denominator stays as it is,
        so that it cannot vanish; the weights then no longer sum to 1.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key, or
      whose similarity to every key is below the smallest float32.

    Raises:
      ValueError: if the shapes disagree, `mask` tells queries apart, or `scale` or
        `chunk_size` is not positive.

    Numerics: features, sums and ratios are float32 whatever the input dtype. Factors of
      `ScaledFeatures` are compared with the largest of the keys seen so far and no
      constant is added to features: what comes later changes nothing, to the last bit.
      If causal and without `rotate`, reverse differentiation only, of any order.

    Source: https://kexue.fm/archives/7546 and https://kexue.fm/archives/8601; `rotate`:
      https://kexue.fm/archives/8265
    """
    form = _form(query, key, value, feature_map, scale, rotate)
    keep = key_mask(mask, key, reason=REASON)
    chunk_size = _size(chunk_size, 64 if is_causal else 256)
    state = _empty(form, query.shape, value.shape[-1])
    late = key.shape[1] - query.shape[1]
    if is_causal:
        first = max(late, 0)  # keys that every query sees
        if first:
            early = _until(key, first), _until(value, first), _until(keep, first, 2)
            absorb = functools.partial(_absorb, form)
            state, _ = _chunked(absorb, state, early, max(chunk_size, 256))
        rest = _from(key, first), _from(value, first), _from(keep, first, 2)
        inputs = (_from(query, max(-late, 0)), *rest)
        _, output = _causal(form, state, inputs, chunk_size)
        output = _behind_zeros(output, max(-late, 0))
    else:
        absorb = functools.partial(_absorb, form)
        state, _ = _chunked(absorb, state, (key, value, keep), chunk_size)

        def body(start, inputs):
            return start + inputs[0].shape[2], _read(form, state, start, *inputs)

        _, output = _chunked(body, jnp.int32(late), (query,), chunk_size)
    return output.astype(value.dtype)


def linear_attention_parallel(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    feature_map: FeatureMap = elu_plus_one,
    scale: float = 1.0,
    rotate: Rotation | None = None,
) -> jax.Array:
    """Causal `linear_attention` from the states of all places, made at once.

    An associative scan of depth log S; its memory, ``S * N * M * V`` floats, is the
    price. Arguments, result and errors are those of `linear_attention`.

    Source: https://kexue.fm/archives/7546
    """
    form = _form(query, key, value, feature_map, scale, rotate)
    keep = key_mask(mask, key, reason=REASON)
    late = key.shape[1] - query.shape[1]
    query, key, value_ = (
        jnp.swapaxes(x, 1, 2) for x in (_from(query, max(-late, 0)), key, value)
    )
    features, log_scale, value_ = _keys(form, key, value_, keep)
    if log_scale is None:
        log_scale = jnp.zeros(features.shape[:-1], jnp.float32)
    turned = form.turned(features, 0)
    moment = jnp.einsum("bnsm,bnsv->bnsvm", turned, value_)

    def join(first, second):
        top = jax.lax.stop_gradient(jnp.maximum(first[0], second[0]))
        one, two = (jnp.exp(x[0] - finite(top)) for x in (first, second))
        moment = one[..., None, None] * first[1] + two[..., None, None] * second[1]
        return top, moment, one[..., None] * first[2] + two[..., None] * second[2]

    sums = (log_scale, moment, features)
    _, moment, total = jax.lax.associative_scan(join, sums, axis=2)
    first = max(late, 0)
    moment, total = moment[:, :, first:], total[:, :, first:]
    asked = form.features(query).values
    above = jnp.einsum("bntm,bntvm->bntv", form.turned(asked, first), moment)
    below = jnp.einsum("bntm,bntm->bnt", asked, total)
    output = jnp.swapaxes(ratio(above, below[..., None]), 1, 2)
    return _behind_zeros(output, max(-late, 0)).astype(value.dtype)


def linear_attention_init(
    *,
    batch: int,
    heads: int,
    head_size: int,
    value_size: int | None = None,
    feature_map: FeatureMap = elu_plus_one,
) -> LinearState:
    """Returns the state before the first key, for `linear_attention_step`.

    Args:
      batch, heads, head_size: B, N and H.
      value_size: V; default H.
      feature_map: that of the steps.

    Returns:
      `LinearState` of zeros; its size does not depend on any length.
    """
    form = _Form(feature_map, 1.0, None)
    value_size = head_size if value_size is None else value_size
    return _empty(form, (batch, 1, heads, head_size), value_size)


def linear_attention_step(
    state: LinearState,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    feature_map: FeatureMap = elu_plus_one,
    scale: float = 1.0,
    chunk_size: int | None = None,
    rotate: Rotation | None = None,
) -> tuple[LinearState, jax.Array]:
    """Causal `linear_attention` of the next tokens, after those in `state`.

    One token in decoding, with constant time and memory, or any number of them, such
    as a prompt.

    Args:
      state: of `linear_attention_init`, or what the last step returned.
      query, key: ``[B, T, N, H]``, the new tokens.
      value: ``[B, T, N, V]``.
      mask: bool ``[B or 1, N or 1, 1, T]``; a hidden key leaves the sums alone but
        counts as a place.
      feature_map, scale, chunk_size, rotate: as in `linear_attention`.

    Returns:
      The state after the tokens, and ``[B, T, N, V]`` in the dtype of `value`.

    Raises:
      ValueError: as `linear_attention`, or if there are not as many queries as keys, or
        `state` is of another size.

    Source: https://kexue.fm/archives/7546
    """
    form = _form(query, key, value, feature_map, scale, rotate)
    keep = key_mask(mask, key, reason=REASON)
    want = jax.eval_shape(lambda: _empty(form, query.shape, value.shape[-1]))
    shapes, expected = (tuple(x.shape for x in s) for s in (state, want))
    if query.shape[1] != key.shape[1] or shapes != expected:
        raise ValueError(
            f"query and key must be equally long and the state {expected}; "
            f"got {query.shape}, {key.shape}, {shapes}"
        )
    inputs = (query, key, value, keep)
    state, output = _causal(form, state, inputs, _size(chunk_size, 64))
    return state, output.astype(value.dtype)


def _form(query, key, value, feature_map, scale, rotate):
    check_own_heads(query, key, value)
    if scale <= 0.0:
        raise ValueError(f"scale must be positive, got {scale}")
    return _Form(feature_map, scale, rotate)


def _size(chunk_size, default):
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be positive, got {chunk_size}")
    return default if chunk_size is None else chunk_size


def _empty(form, shape, value_size):
    batch, _, heads, size = shape
    one = jax.ShapeDtypeStruct((batch, heads, 1, size), jnp.float32)
    features = jax.eval_shape(form.features, one)
    count = features.values.shape[-1]
    scaled = features.log_scale is not None
    return LinearState(
        jnp.zeros((batch, heads, value_size, count), jnp.float32),
        jnp.zeros((batch, heads, count), jnp.float32),
        jnp.full((batch, heads), -jnp.inf if scaled else 0.0, jnp.float32),
        jnp.int32(0),
    )


def _until(array, end, axis=1):
    return array if array is None else jax.lax.slice_in_dim(array, 0, end, axis=axis)


def _from(array, start, axis=1):
    if array is None or not start:
        return array
    return jax.lax.slice_in_dim(array, start, None, axis=axis)


def _behind_zeros(output, count):
    return jnp.pad(output, ((0, 0), (count, 0), (0, 0), (0, 0))) if count else output
