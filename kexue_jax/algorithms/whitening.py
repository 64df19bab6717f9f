"""Whitening: vectors made to have the mean 0 and the identity as their covariance.

What has been seen of the vectors is a `Moments`, which grows by `update` and `merge`;
`fit` makes a `Whitening` of it, and `apply` uses that on any vectors.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics

EXACT = jax.lax.Precision.HIGHEST
BLOCK = 4096  # rows that `apply` centres at once on CPUs


class Moments(NamedTuple):
    r"""What is kept of vectors that have been seen.

    Attributes:
      weight: ``[]``, the sum of their weights, their number if each weighs 1.
      mean: ``[D]``.
      scatter: ``[D, D]``, :math:`\sum_i w_i (x_i - \mu)(x_i - \mu)^\top`.
    """

    weight: jax.Array
    mean: jax.Array
    scatter: jax.Array


class Whitening(NamedTuple):
    """A shift and a linear map, made by `fit` and used by `apply`.

    Attributes:
      mean: ``[D]``, what is subtracted.
      kernel: ``[D, k]``, by decreasing variance; zeros for components without any.
      variance: ``[k]``, along the components, before they are scaled.
      rank: ``[]`` int32, how many of all D components have variance.
    """

    mean: jax.Array
    kernel: jax.Array
    variance: jax.Array
    rank: jax.Array


def empty_moments(size: int, dtype: jnp.dtype = jnp.float32) -> Moments:
    """Returns the `Moments` of no vectors of `size` entries, to start from."""
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return Moments(
        jnp.zeros((), dtype), jnp.zeros(size, dtype), jnp.zeros((size, size), dtype)
    )


def merge(p: Moments, q: Moments) -> Moments:
    r"""Returns the `Moments` of all vectors of two, which none or one may lack.

    .. math:: \mu = \mu_p + \frac{w_q}{w_p + w_q} \delta, \quad
              S = S_p + S_q + \frac{w_p w_q}{w_p + w_q} \delta \delta^\top, \quad
              \delta = \mu_q - \mu_p

    Raises:
      ValueError: if they are of vectors of different sizes.

    Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for
      computing sample variances (1979).
    """
    if p.mean.shape != q.mean.shape:
        raise ValueError(
            "p and q must be moments of vectors of one size, got means "
            f"{p.mean.shape} and {q.mean.shape}"
        )
    weight = p.weight + q.weight
    share = q.weight / jnp.where(weight > 0.0, weight, 1.0)
    shift = q.mean - p.mean
    return Moments(
        weight,
        p.mean + share * shift,
        p.scatter + q.scatter + (p.weight * share) * jnp.outer(shift, shift),
    )


def merge_over(moments: Moments, axis_name: str) -> Moments:
    r"""Returns the `Moments` of the vectors of all devices, the same on each.

    .. math:: \mu = \sum_d w_d \mu_d / \sum_d w_d, \quad
              S = \sum_d \big( S_d + w_d (\mu_d - \mu)(\mu_d - \mu)^\top \big)

    Args:
      moments: of the vectors of one device, perhaps of none.
      axis_name: of `jax.shard_map`, `jax.pmap` or `jax.vmap`, or several in a tuple.
    """
    weight = jax.lax.psum(moments.weight, axis_name)
    safe = jnp.where(weight > 0.0, weight, 1.0)
    # Sums of differences: those of means far from 0 would round what differs away.
    near = jax.lax.pmax(
        jnp.where(moments.weight > 0.0, moments.mean, -jnp.inf), axis_name
    )
    near = jnp.where(weight > 0.0, near, 0.0)
    away = jnp.where(moments.weight > 0.0, moments.mean - near, 0.0)
    shift = jax.lax.psum(moments.weight * away, axis_name) / safe
    away = away - shift
    own = moments.scatter + moments.weight * jnp.outer(away, away)
    return Moments(weight, near + shift, jax.lax.psum(own, axis_name))


def _of_rows(x, weight):
    """Moments of ``[N, D]`` rows with weights ``[N]``, of the same dtype."""
    total = jnp.sum(weight)
    safe = jnp.where(total > 0.0, total, 1.0)
    root = jnp.sqrt(weight)
    seen = (root > 0.0)[:, None]
    x = jnp.where(seen, x, 0.0)
    mean = jnp.matmul(weight / safe, x, precision=EXACT)
    x = jnp.where(seen, (x - mean[None, :]) * root[:, None], 0.0)
    # The mean was rounded, so that what is left still has a small one.
    left = jnp.matmul(root, x, precision=EXACT) / safe
    return Moments(total, mean + left, _square(x) - total * jnp.outer(left, left))


def _square(x):
    """Returns X' X of ``[N, D]``; a quarter, known by symmetry, is not computed."""
    half = x.shape[1] // 2
    above = jnp.einsum("nd,ne->de", x[:, :half], x, precision=EXACT)
    below = jnp.einsum("nd,ne->de", x[:, half:], x[:, half:], precision=EXACT)
    below = jnp.concatenate([above[:, half:].T, below], axis=1)
    return jnp.concatenate([above, below], axis=0)


def update(
    moments: Moments,
    x: jax.Array,
    weight: jax.Array | None = None,
    *,
    block: int = 2048,
) -> Moments:
    r"""Returns `moments` with more vectors added.

    Args:
      moments: of the vectors before, at first `empty_moments`.
      x: ``[..., D]``, any float dtype. Entries of vectors that weigh 0 are not read.
      weight: ``[...]``, not negative, or bool for vectors that count (True) and rows
        that only fill up. None: all count.
      block: vectors that are centred at once; so many copies are held.

    Returns:
      The `Moments`, in their dtype.

    Raises:
      ValueError: if the shapes disagree, or `block` is below 1.

    Numerics: each block is centred before it is multiplied, so that a mean far from 0
      costs no digits of the covariance; only how far the means of `moments` and `x`
      are apart errs by roundings of the means. In float32 the sum of weights is exact
      up to :math:`2^{24}` vectors, and errs by roundings beyond.
    """
    size = moments.mean.shape[0]
    if not x.ndim or x.shape[-1] != size:
        raise ValueError(f"x must be [..., {size}] as the moments are, got {x.shape}")
    if weight is not None and weight.shape != x.shape[:-1]:
        raise ValueError(f"weight must be {x.shape[:-1]} as x is, got {weight.shape}")
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    kind = moments.mean.dtype
    x = x.reshape(math.prod(x.shape[:-1]), size)
    rows = x.shape[0]
    if not rows:
        return moments
    weight = jnp.ones(rows, kind) if weight is None else weight.reshape(rows)
    # Means are small from the first vector that counts, and so are their roundings.
    origin = jax.lax.dynamic_index_in_dim(x, jnp.argmax(weight > 0), keepdims=False)
    origin = jnp.where(jnp.any(weight > 0), origin, 0.0).astype(kind)

    def moments_of(part, heavy):
        return _of_rows(part.astype(kind) - origin[None, :], heavy.astype(kind))

    def step(state, start):
        at = jnp.minimum(start, rows - block)  # the last block reaches back
        new = at + jnp.arange(block) >= start
        part = jax.lax.dynamic_slice_in_dim(x, at, block)
        heavy = jax.lax.dynamic_slice_in_dim(weight, at, block)
        return merge(state, moments_of(part, jnp.where(new, heavy, 0))), None

    if rows <= block:
        added = moments_of(x, weight)
    else:
        starts = jnp.arange(0, rows, block)
        added, _ = jax.lax.scan(step, empty_moments(size, kind), starts)
    return merge(moments, added._replace(mean=added.mean + origin))


def covariance(moments: Moments, *, ddof: int = 0) -> jax.Array:
    r"""Returns :math:`S / (w - \mathrm{ddof})`, ``[D, D]``; zeros where w is not more.

    Args:
      moments: of any vectors.
      ddof: 0 as scikit-learn's scalers have it, 1 as `numpy.cov`.
    """
    left = moments.weight - ddof
    some = left > 0.0
    return jnp.where(some, moments.scatter / jnp.where(some, left, 1.0), 0.0)


def fit(
    moments: Moments,
    k: int | None = None,
    *,
    beta: float | jax.Array = 1.0,
    gamma: float | jax.Array = 1.0,
    ddof: int = 0,
    tolerance: float | None = None,
) -> Whitening:
    r"""Whitens, or only turns, vectors like those that have been seen.

    .. math:: (x - \beta\mu)\, U_k \Lambda_k^{-\gamma/2}, \quad U \Lambda U^\top
              = \frac{1}{n} \sum_i (x_i - \beta\mu)(x_i - \beta\mu)^\top

    With :math:`\beta = \gamma = 1` what comes out has the covariance I; with both 0 it
    is turned and cut to k components, and cosines stay as they are if none are cut.

    Args:
      moments: of the vectors to fit on. Which these are, of a task's own test texts or
        of others, is a choice that belongs into a report.
      k: how many components are kept, those of the greatest variances; None: all D.
      beta: how much of the mean is taken away.
      gamma: how much of the deviations is divided by.
      ddof: what is subtracted from the weight before it divides the scatter.
      tolerance: components whose variance is not above this share of the greatest have
        none; default ``4 eps sqrt(D)``, what rounding makes of 0.

    Returns:
      The `Whitening`, in the dtype of `moments`. With gamma other than 0 the columns of
      components without variance are zeros: they would otherwise be noise times the
      reciprocal of noise. `rank` says how many remain.

    Raises:
      ValueError: if `k` is below 1 or above D.

    Numerics: a column's entry of the greatest size is positive, as in scikit-learn's
      PCA; columns of equal variances are defined up to a rotation. No gradient passes.

    Source: https://kexue.fm/archives/8069, https://kexue.fm/archives/9079 (beta and
      gamma) and https://arxiv.org/abs/2103.15316. These divide by n - 1, which changes
      no cosine.
    """
    size = moments.mean.shape[0]
    k = size if k is None else k
    if not 1 <= k <= size:
        raise ValueError(f"k must be from 1 to {size}, got {k}")
    moments = jax.tree.map(jax.lax.stop_gradient, moments)
    kind = moments.mean.dtype
    left = (1.0 - jnp.asarray(beta, kind)) * moments.mean
    about = moments.scatter + moments.weight * jnp.outer(left, left)
    spread = covariance(moments._replace(scatter=about), ddof=ddof)
    variance, columns = jnp.linalg.eigh(spread)
    variance, columns = jnp.maximum(variance[::-1], 0.0), columns[:, ::-1]
    if tolerance is None:
        tolerance = 4.0 * float(jnp.finfo(kind).eps) * math.sqrt(size)
    some = variance > tolerance * variance[0]
    first = jnp.argmax(jnp.abs(columns), axis=0)[None, :]
    sign = jnp.where(jnp.take_along_axis(columns, first, axis=0) < 0.0, -1.0, 1.0)
    gamma = jnp.asarray(gamma, kind)
    scale = jnp.where(some, variance, 1.0) ** (-0.5 * gamma)
    scale = jnp.where(some | (gamma == 0.0), scale, 0.0)
    kernel = (columns * sign.astype(kind) * scale[None, :])[:, :k]
    mean = jnp.asarray(beta, kind) * moments.mean
    return Whitening(mean, kernel, variance[:k], jnp.sum(some, dtype=jnp.int32))


def apply(whitening: Whitening, x: jax.Array) -> jax.Array:
    r"""Returns :math:`(x - \mu) W`; for cosines, take `directions` of it.

    Args:
      whitening: of vectors of D entries.
      x: ``[..., D]``, any float dtype.

    Returns:
      ``[..., k]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    >>> x = jnp.array([[1.0, 5.0], [3.0, 1.0], [5.0, 6.0], [7.0, 8.0]])
    >>> y = apply(fit(update(empty_moments(2), x)), x)
    >>> (y.T @ y / 4).round(4).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    size = whitening.mean.shape[0]
    if not x.ndim or x.shape[-1] != size:
        raise ValueError(f"x must be [..., {size}] as the whitening is, got {x.shape}")
    x = numerics.widened(x)
    kind = jnp.promote_types(x.dtype, whitening.kernel.dtype)
    x = x.astype(kind)
    mean, kernel = whitening.mean.astype(kind), whitening.kernel.astype(kind)
    if any(axis is not None for axis in jax.typeof(x).sharding.spec):
        return _map(x, mean, kernel)  # blocks would have to be of one device
    rows = x.reshape(math.prod(x.shape[:-1]), size)
    return _mapped(rows, mean, kernel).reshape(*x.shape[:-1], kernel.shape[1])


def _map(x, mean, kernel):
    mean = jnp.expand_dims(mean, range(x.ndim - 1))
    return jnp.matmul(x - mean, kernel, precision=EXACT)


def _map_in_blocks(x, mean, kernel):
    """As `_map`, without an array of all deviations: those of a block are cached."""
    rows, size = len(x), min(len(x), BLOCK)

    def step(found, start):
        at = jnp.minimum(start, rows - size)  # the last block reaches back
        part = _map(jax.lax.dynamic_slice_in_dim(x, at, size), mean, kernel)
        return jax.lax.dynamic_update_slice_in_dim(found, part, at, 0), None

    none = jnp.zeros((rows, kernel.shape[1]), x.dtype)
    return jax.lax.scan(step, none, jnp.arange(0, rows, max(size, 1)))[0]


@jax.custom_jvp
def _mapped(x, mean, kernel):
    return jax.lax.platform_dependent(x, mean, kernel, cpu=_map_in_blocks, default=_map)


@_mapped.defjvp
def _mapped_jvp(primals, tangents):
    # Not that of the loop, which would add up arrays of all rows for each block.
    (x, mean, kernel), (way, mean_way, kernel_way) = primals, tangents
    moved = jnp.matmul(way - mean_way[None, :], kernel, precision=EXACT)
    return _mapped(*primals), moved + _map(x, mean, kernel_way)
