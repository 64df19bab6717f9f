"""Efficient attention: softmax of a query over features, of the keys over places."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.attention.protocol import check_own_heads, key_mask

CHUNK = 16  # places; the weights of a chunk have one entry per pair and feature


def efficient_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
) -> jax.Array:
    r"""Averages values by two softmaxes, each of which is made without the other.

    .. math:: o_t = \sum_f \rho(q_t)_f
              \frac{\sum_s e^{k_{sf}}\, v_s}{\sum_s e^{k_{sf}}}, \quad
              \rho(q)_f = \frac{e^{q_f}}{\sum_g e^{q_g}}

    Every feature averages the values with weights of its own, and a query mixes these
    averages, so that weights sum to 1 without a division. `linear_attention` with
    `exp_features` has the same products but one denominator for all features: another
    function. Causal sums run over s <= t + S - T.

    Args:
      query: ``[B, T, N, H]``, without a scale.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool ``[B or 1, N or 1, 1, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or `mask` tells queries apart.

    Numerics: float32 whatever the input dtype. Causal averages are updated, never
      divided anew, so that all weights are at most 1 and a large key changes nothing
      before it.

    Source: arXiv 1812.01243 and https://kexue.fm/archives/7546; the causal form has one
      normaliser per feature and place.

    >>> query = key = jnp.zeros((1, 2, 1, 3))
    >>> value = jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    >>> efficient_attention(query, key, value, is_causal=True).ravel().tolist()
    [1.0, 2.0]
    """
    check_own_heads(query, key, value)
    reason = "efficient attention averages the keys before it sees a query"
    keep = key_mask(mask, key, reason=reason)
    dtype, wide = value.dtype, jnp.float32
    query, key, value = (
        jnp.swapaxes(x, 1, 2).astype(wide) for x in (query, key, value)
    )
    if keep is not None:
        value = jnp.where(keep[..., None], value, 0.0)
        key = jnp.where(keep[..., None], key, -jnp.inf)
    late = key.shape[2] - query.shape[2]
    if is_causal and late < 0:
        query = query[:, :, -late:]
    rho = numerics.masked_softmax(query)
    if is_causal:
        output = _causal(rho, key, value, max(late, 0))
        output = jnp.pad(output, ((0, 0), (0, 0), (max(-late, 0), 0), (0, 0)))
    else:
        context, _ = _averages(_nothing(key, value), key, value)
        output = jnp.einsum("bntf,bnfv->bntv", rho, context)
    return jnp.swapaxes(output, 1, 2).astype(dtype)


def _nothing(key, value):
    """The averages of no keys, and the logarithms of their weights."""
    shape = (*key.shape[:2], key.shape[-1])
    means = jnp.zeros((*shape, value.shape[-1]), jnp.float32)
    return means, jnp.full(shape, -jnp.inf, jnp.float32)


def _averages(past, key, value):
    """Adds keys to the averages ``[B, N, F, V]`` of every feature."""
    means, log_weights = past
    scores = jnp.swapaxes(key, -2, -1)  # [B, N, F, S]
    scores = jnp.concatenate([log_weights[..., None], scores], axis=-1)
    weights = numerics.masked_softmax(scores)
    means = means * weights[..., :1]
    means = means + jnp.einsum("bnfs,bnsv->bnfv", weights[..., 1:], value)
    return means, _log_sum(scores)


def _log_sum(scores):
    """Logarithm of a sum of exponentials; -inf, with gradient 0, where all are 0."""
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1))
    seen = top > -jnp.inf
    top = jnp.where(seen, top, 0.0)
    total = jnp.sum(jnp.exp(scores - top[..., None]), axis=-1)
    return jnp.where(seen, top + jnp.log(jnp.where(seen, total, 1.0)), -jnp.inf)


def _chunk(past, inputs):
    """The body of the causal scan."""
    rho, key, value = inputs
    means, log_weights = past
    length = key.shape[2]
    visible = jnp.tri(length, dtype=jnp.bool_)[None, None, :, None]
    scores = jnp.swapaxes(key, -2, -1)[:, :, None]  # [B, N, 1, F, S]
    scores = jnp.where(visible, scores, -jnp.inf)
    before = log_weights[:, :, None, :, None]
    before = jnp.broadcast_to(before, (*scores.shape[:-1], 1))
    weights = numerics.masked_softmax(jnp.concatenate([before, scores], axis=-1))
    weights = weights * rho[..., None]
    output = jnp.einsum("bntf,bnfv->bntv", weights[..., 0], means)
    inside = jnp.sum(weights[..., 1:], axis=-2)
    output = output + jnp.einsum("bnts,bnsv->bntv", inside, value)
    return _averages(past, key, value), output


def _causal(rho, key, value, first):
    past = _nothing(key, value)
    if first:
        past = _averages(past, key[:, :, :first], value[:, :, :first])
    inputs = (rho, key[:, :, first:], value[:, :, first:])
    length = rho.shape[2]
    count = length // CHUNK

    def chunks(x):
        x = x[:, :, : count * CHUNK]
        x = x.reshape(*x.shape[:2], count, CHUNK, x.shape[-1])
        return jnp.moveaxis(x, 2, 0)

    body = jax.checkpoint(_chunk, prevent_cse=False)
    past, output = jax.lax.scan(body, past, tuple(map(chunks, inputs)))
    output = jnp.moveaxis(output, 0, 2)
    output = output.reshape(*output.shape[:2], count * CHUNK, output.shape[-1])
    if length % CHUNK:
        _, rest = _chunk(past, tuple(x[:, :, count * CHUNK :] for x in inputs))
        output = jnp.concatenate([output, rest], axis=2)
    return output
