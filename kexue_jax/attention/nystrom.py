"""Nystrom attention: softmax attention by way of a few landmarks, in linear time."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics
from kexue_jax.attention.protocol import check_own_heads, key_mask
from kexue_jax.attention.softmax import softmax_attention

REASON = "landmarks stand for all tokens of a run"
MOST_ITERATIONS = 12  # more only amplify what float32 has rounded


def iterative_pinv(matrix: jax.Array, *, iterations: int = 6) -> jax.Array:
    r"""Approximates pseudo-inverses by matrix products alone.

    .. math:: Z \leftarrow \tfrac14 Z (13 I - A Z (15 I - A Z (7 I - A Z))), \quad
              Z_0 = \frac{A^\top}{\|A\|_1 \|A\|_\infty}

    With :math:`E = I - A Z` a step makes :math:`\frac34 E^3 + \frac14 E^4` of E, and
    what is far from inverted grows by 13/4. So k steps invert the directions in which
    :math:`\sigma^2` is above about :math:`3.25^{-k}` of the two norms and leave out the
    others: a filter, which for a matrix that is nearly singular serves better than its
    inverse.

    Args:
      matrix: A, ``[..., M, M]``, not necessarily symmetric.
      iterations: from 0 to 12. Of a singular matrix in float32, errors grow after about
        10 steps and overflow after 30.

    Returns:
      ``[..., M, M]`` float32; zeros for a matrix of zeros.

    Raises:
      ValueError: if `matrix` is not square or `iterations` is out of range.

    Numerics: multiplied in full float32 on every device. The norms are those of each
      matrix alone, so that a result does not depend on others in the batch.

    Source: https://kexue.fm/archives/8180 and arXiv 2102.03902, where one norm of the
      whole batch stands for all.

    >>> print(iterative_pinv(jnp.array([[2.0, 0.0], [0.0, 4.0]])).round(3))
    [[0.5  0.  ]
     [0.   0.25]]
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix must be [..., M, M], got {matrix.shape}")
    if not 0 <= iterations <= MOST_ITERATIONS:
        raise ValueError(
            f"iterations must be from 0 to {MOST_ITERATIONS}, got {iterations}"
        )
    matrix = matrix.astype(jnp.float32)
    size = jnp.abs(matrix)
    rows = jnp.max(jnp.sum(size, axis=-1), axis=-1)
    columns = jnp.max(jnp.sum(size, axis=-2), axis=-1)
    norm = rows * columns
    norm = jnp.where(norm > 0.0, norm, 1.0)[..., None, None]
    inverse = jnp.swapaxes(matrix, -1, -2) / norm
    unit = jnp.eye(matrix.shape[-1], dtype=jnp.float32)
    unit = unit.reshape((1,) * (matrix.ndim - 2) + unit.shape)

    def times(a, b):
        return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

    for _ in range(iterations):
        both = times(matrix, inverse)
        inner = 15.0 * unit - times(both, 7.0 * unit - both)
        inverse = 0.25 * times(inverse, 13.0 * unit - times(both, inner))
    return inverse


def nystrom_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    landmarks: int = 64,
    iterations: int = 6,
    convolution: jax.Array | None = None,
    scale: float | None = None,
    is_causal: bool = False,
) -> jax.Array:
    r"""Approximates softmax attention by three small softmax matrices.

    .. math:: \mathrm{softmax}(Q \tilde K^\top)\,
              \mathrm{softmax}(\tilde Q \tilde K^\top)^{+}\,
              \mathrm{softmax}(\tilde Q K^\top)\, V + \kappa * V

    Landmarks :math:`\tilde Q, \tilde K` are the means of M runs of tokens, and the
    pseudo-inverse is that of `iterative_pinv`. It does well where neighbours resemble
    each other and badly where they do not; the convolution with a kernel
    :math:`\kappa` returns what is local. Weights may be negative and do not sum to 1.

    Args:
      query, key: ``[B, T, N, H]``, of the same tokens.
      value: ``[B, T, N, V]``.
      mask: bool ``[B or 1, N or 1, 1, T]``; True keeps a token, as a key and in the
        means, for queries too. A landmark without tokens takes no part.
      landmarks: M, positive. Runs differ by at most one token in length, whether M
        divides T or not. Where T <= M the result is softmax attention, exactly.
      iterations: from 0 to 12, of `iterative_pinv`.
      convolution: ``[N, W]``, W odd: a kernel for every head, see
        `depthwise_convolution`; None adds nothing. Usually W = 33.
      scale: default ``1 / sqrt(H)``.
      is_causal: must be False, as every landmark sees all tokens of its run.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros where no token is kept.

    Raises:
      ValueError: if the shapes disagree, `mask` tells queries apart, `is_causal` is
        True, or a hyperparameter is out of range.

    Numerics: softmax, inverse and sums are float32 whatever the input dtype. Gradients
      are finite for equal queries, of which all landmarks are alike.

    Source: https://kexue.fm/archives/8180 and arXiv 2102.03902, with means over kept
      tokens only, and runs of nearly equal length instead of padding.
    """
    _check(query, key, value, landmarks, is_causal)
    keep, dtype = key_mask(mask, key, reason=REASON), value.dtype
    query, key, value = _kept(query, key, value, keep)
    if query.shape[1] <= landmarks:
        output = softmax_attention(query, key, value, mask, scale=scale)
    else:
        first, middle, last = _factors(query, key, keep, landmarks, scale)
        inverse = iterative_pinv(middle, iterations=iterations)
        averages = jnp.einsum("bnms,bsnv->bnmv", last, value)
        averages = jnp.einsum("bnlm,bnmv->bnlv", inverse, averages)
        output = jnp.einsum("bntm,bnmv->btnv", first, averages)
    if convolution is not None:
        output = output + depthwise_convolution(value, convolution)
    return output.astype(dtype)


def landmark_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    landmarks: int = 64,
    scale: float | None = None,
    is_causal: bool = False,
) -> jax.Array:
    r"""Averages values for every landmark, and these averages for every query.

    .. math:: \mathrm{softmax}(Q \tilde K^\top)\, \mathrm{softmax}(\tilde Q K^\top)\, V

    `nystrom_attention` without the matrix in the middle: weights are positive and sum
    to 1, and it approximates nothing. Arguments, result and errors are those of
    `nystrom_attention`.

    Source: https://kexue.fm/archives/8180
    """
    _check(query, key, value, landmarks, is_causal)
    keep, dtype = key_mask(mask, key, reason=REASON), value.dtype
    query, key, value = _kept(query, key, value, keep)
    if query.shape[1] <= landmarks:
        output = softmax_attention(query, key, value, mask, scale=scale)
    else:
        first, _, last = _factors(query, key, keep, landmarks, scale)
        averages = jnp.einsum("bnms,bsnv->bnmv", last, value)
        output = jnp.einsum("bntm,bnmv->btnv", first, averages)
    return output.astype(dtype)


def nystrom_matrix(
    query: jax.Array,
    key: jax.Array,
    mask: jax.Array | None = None,
    *,
    landmarks: int = 64,
    iterations: int = 6,
    scale: float | None = None,
) -> jax.Array:
    """Returns the matrix that `nystrom_attention` applies without making it.

    Args:
      query, key, mask, landmarks, iterations, scale: as in `nystrom_attention`.

    Returns:
      ``[B, N, T, T]`` float32, of the convolution nothing.
    """
    each = jnp.eye(key.shape[1], dtype=jnp.float32)[None, :, None]
    each = jnp.broadcast_to(each, (*key.shape[:3], key.shape[1]))
    matrix = nystrom_attention(
        query, key, each, mask, landmarks=landmarks, iterations=iterations, scale=scale
    )
    return jnp.swapaxes(matrix, 1, 2)


def landmark_means(
    features: jax.Array, mask: jax.Array | None = None, *, landmarks: int
) -> jax.Array:
    """Returns the means of runs of tokens, of those that are kept.

    Args:
      features: ``[B, T, N, H]``.
      mask: bool ``[B or 1, N or 1, 1, T]``; True keeps a token.
      landmarks: M, from 1 to T. Run i begins at token ``floor(i T / M)``.

    Returns:
      ``[B, M, N, H]`` float32; zeros for a run without kept tokens.

    Raises:
      ValueError: if `landmarks` is out of range or `mask` does not fit.
    """
    if not 1 <= landmarks <= features.shape[1]:
        raise ValueError(
            f"landmarks must be from 1 to {features.shape[1]}, got {landmarks}"
        )
    return _means(features, key_mask(mask, features, reason=REASON), landmarks)[0]


def depthwise_convolution(value: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Correlates the values of every head with a kernel along the tokens.

    .. math:: o_t = \sum_{w} \kappa_w\, v_{t + w - (W - 1) / 2}

    Values beyond both ends are zeros; all V channels of a head share its kernel.

    Args:
      value: ``[B, T, N, V]``.
      kernel: ``[N, W]``, W odd.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`.

    Raises:
      ValueError: if `kernel` is not ``[N, W]`` or W is even.

    Numerics: sums are float32 whatever the dtype. The gradient is written by hand, for
      reverse mode only, as the usual one stores W arrays of the size of `value`.

    Source: arXiv 2102.03902
    """
    if kernel.ndim != 2 or kernel.shape[0] != value.shape[2] or kernel.shape[1] % 2 < 1:
        raise ValueError(
            f"kernel must be [N, W] with N = {value.shape[2]} and W odd, "
            f"got {kernel.shape}"
        )
    wide = value.astype(jnp.float32), kernel.astype(jnp.float32)
    return _correlated(*wide).astype(value.dtype)


def _padded(value, width):
    return jnp.pad(value, ((0, 0), (width // 2, width // 2), (0, 0), (0, 0)))


@jax.custom_vjp
def _correlated(value, kernel):
    output, length = jnp.zeros_like(value), value.shape[1]
    padded = _padded(value, kernel.shape[1])
    for w in range(kernel.shape[1]):
        shifted = jax.lax.slice_in_dim(padded, w, w + length, axis=1)
        output = output + shifted * kernel[None, None, :, w, None]
    return output


def _correlated_back(inputs, change):
    # The usual transpose of every shift would store W arrays of the size of `value`.
    value, kernel = inputs
    padded = _padded(value, kernel.shape[1])

    def slope(w):
        shifted = jax.lax.dynamic_slice_in_dim(padded, w, value.shape[1], axis=1)
        return jnp.sum(shifted * change, axis=(0, 1, 3))

    slopes = jax.lax.map(slope, jnp.arange(kernel.shape[1]))
    return _correlated(change, kernel[:, ::-1]), slopes.T


_correlated.defvjp(lambda *inputs: (_correlated(*inputs), inputs), _correlated_back)


def _check(query, key, value, landmarks, is_causal):
    check_own_heads(query, key, value)
    if query.shape != key.shape:
        raise ValueError(
            "query and key must be of the same tokens, as landmarks of both are "
            f"paired; got {query.shape}, {key.shape}"
        )
    if landmarks < 1:
        raise ValueError(f"landmarks must be positive, got {landmarks}")
    if is_causal:
        raise ValueError(
            "is_causal must be False: a landmark is a mean over its run and would show "
            "later tokens to earlier ones; got True"
        )


def _tokens(keep):
    """``[B, N, T]`` as ``[B, T, N, 1]``."""
    return jnp.swapaxes(keep, 1, 2)[..., None]


def _means(features, keep, landmarks):
    """Means ``[B, M, N, H]``, and ``[B, N, M]`` which of them have tokens, or None."""
    length = features.shape[1]
    features = features.astype(jnp.float32)
    counted = None if keep is None else _tokens(keep)
    if counted is not None:
        features = jnp.where(counted, features, 0.0)
        counted = counted.astype(jnp.float32)

    def runs(x):  # [B, T, N, H] -> [B, M, N, H], sums
        if length % landmarks == 0:
            x = x.reshape(x.shape[0], landmarks, length // landmarks, *x.shape[2:])
            return jnp.sum(x, axis=2)
        starts = np.arange(landmarks + 1) * length // landmarks
        longest = -(-length // landmarks)
        places = starts[:-1, None] + np.arange(longest)
        inside = places < starts[1:, None]
        x = jnp.take(x, np.minimum(places, length - 1), axis=1)
        return jnp.sum(jnp.where(inside[None, :, :, None, None], x, 0.0), axis=2)

    if counted is None:
        sizes = np.diff(np.arange(landmarks + 1) * length // landmarks)
        sizes = jnp.asarray(sizes, jnp.float32)[None, :, None, None]
        return runs(features) / sizes, None
    counts = runs(counted)
    some = jnp.swapaxes(counts[..., 0] > 0.0, 1, 2)
    return runs(features) / jnp.maximum(counts, 1.0), some


def _kept(query, key, value, keep):
    """All in float32, with nothing left of hidden keys and values."""
    query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    if keep is not None:
        key, value = (jnp.where(_tokens(keep), x, 0.0) for x in (key, value))
    return query, key, value


def _factors(query, key, keep, landmarks, scale):
    """The three softmax matrices: [B, N, T, M], [B, N, M, M], [B, N, M, T]."""
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    query_means, some = _means(query, keep, landmarks)
    key_means, _ = _means(key, keep, landmarks)

    def softmax(query, key, rows, columns):
        scores = scale * jnp.einsum("btnh,bsnh->bnts", query, key)
        if columns is None:
            return numerics.masked_softmax(scores)
        seen = columns[:, :, None]
        if rows is not None:
            seen = seen & rows[..., None]
        return numerics.masked_softmax(scores, seen)

    first = softmax(query, key_means, None, some)
    middle = softmax(query_means, key_means, some, some)
    last = softmax(query_means, key, some, keep)
    return first, middle, last
