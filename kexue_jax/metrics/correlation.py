"""How far two lists of numbers rise together: by values, by ranks, by pairs."""

import math

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.directions import directions


def _prepared(x, y, weight):
    """The arrays as ``[R, N]`` in one dtype, with zeros where the weight is 0."""
    if not x.ndim or x.shape != y.shape:
        raise ValueError(f"x and y must both be [..., N], got {x.shape} and {y.shape}")
    x, y = numerics.widened(x), numerics.widened(y)
    kind = jnp.promote_types(x.dtype, y.dtype)
    weight = _weights(x, weight, "x and y are").astype(kind)
    x, y = (jnp.where(weight > 0.0, a.astype(kind), 0.0) for a in (x, y))
    arrays = [_rows(a) for a in (x, y, weight)]
    if not x.shape[-1]:  # one value that does not count stands for none
        arrays = [jnp.zeros((a.shape[0], 1), kind) for a in arrays]
    return arrays


def _rows(x):
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _weights(x, weight, like):
    if weight is None:
        return jnp.ones(x.shape, numerics.widened(x).dtype)
    if weight.shape != x.shape:
        raise ValueError(f"weight must be {x.shape} as {like}, got {weight.shape}")
    return jax.lax.stop_gradient(numerics.widened(weight))


def _centred(x, weight):
    """``[R, N]`` less the weighted mean; exact zeros if all that weighs is equal."""
    at = jnp.argmax(weight > 0.0, axis=-1, keepdims=True)
    x = x - jax.lax.stop_gradient(jnp.take_along_axis(x, at, axis=-1))
    total = jnp.sum(weight, axis=-1, keepdims=True)
    mean = jnp.sum(weight * x, axis=-1, keepdims=True)
    return x - mean / jnp.where(total > 0.0, total, 1.0)


def _pearson(x, y, weight):
    some = weight > 0.0
    root = jnp.where(some, jnp.sqrt(jnp.where(some, weight, 1.0)), 0.0)
    x, y = (directions(root * _centred(a, weight)) for a in (x, y))
    return jnp.clip(jnp.sum(x * y, axis=-1), -1.0, 1.0)


def pearson(x: jax.Array, y: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Pearson's correlation, the cosine of what is left without the means.

    .. math:: \frac{\sum_i w_i (x_i - \bar x)(y_i - \bar y)}{\sqrt{\sum_i w_i
              (x_i - \bar x)^2} \sqrt{\sum_i w_i (y_i - \bar y)^2}}

    Args:
      x, y: ``[..., N]`` of one shape.
      weight: ``[..., N]``, not negative, or bool for values that count (True) and those
        that only fill up, which are not read. Whole weights count as repetitions.
        None: all count.

    Returns:
      ``[...]`` float32, or float64 if `x` or `y` are, from -1 to 1. It is 0, where
      SciPy has nan, if `x` or `y` is constant or fewer than two values count.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: values are taken relative to the first and to the greatest, so that a
      constant is found exactly and squares neither overflow nor vanish. Gradients by
      `x` and `y` are finite, and 0 at a constant; weights are held fixed.

    >>> pearson(jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 4.0, 6.0])).round(4).item()
    1.0
    """
    lead = x.shape[:-1]
    return _pearson(*_prepared(x, y, weight)).reshape(lead)


def _ranks(x, weight):
    """Ranks ``[R, N]`` of values with weights; 0 where the weight is 0."""
    place = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
    hidden = (weight <= 0.0).astype(jnp.int32)
    hidden, values, heavy, place = jax.lax.sort(
        (hidden, x, weight, place), dimension=1, num_keys=2
    )
    new = (values[:, 1:] != values[:, :-1]) | (hidden[:, 1:] != hidden[:, :-1])
    edge = jnp.ones_like(new, shape=(x.shape[0], 1))
    upto = jnp.cumsum(heavy, axis=1)
    # Sums never fall, so those at the ends of a run of equals reach over it as a
    # greatest from the left and a least from the right.
    first = jnp.concatenate([edge, new], axis=1)
    below = jax.lax.cummax(jnp.where(first, upto - heavy, -jnp.inf), axis=1)
    last = jnp.concatenate([new, edge], axis=1)
    within = jax.lax.cummin(jnp.where(last, upto, jnp.inf), axis=1, reverse=True)
    ranks = jnp.where(hidden > 0, 0.0, 0.5 * (below + within + 1.0))
    return jax.lax.sort((place, ranks), dimension=1, num_keys=1)[1]


def average_ranks(x: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Ranks from 1 on; equal values share the mean of theirs.

    .. math:: r_i = \sum_{j: x_j < x_i} w_j
              + \tfrac12 \Big( 1 + \sum_{j: x_j = x_i} w_j \Big)

    Args:
      x: ``[..., N]``, not nan.
      weight: as in `pearson`.

    Returns:
      ``[..., N]`` float32, or float64 if `x` is; 0 where the weight is 0.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: in float32 exact up to :math:`2^{23}` values. Gradients are 0.

    >>> average_ranks(jnp.array([3.0, 1.0, 3.0, 2.0])).tolist()
    [3.5, 1.0, 3.5, 2.0]
    """
    if not x.ndim:
        raise ValueError(f"x must be [..., N], got {x.shape}")
    wide = numerics.widened(jax.lax.stop_gradient(x))
    weight = _weights(x, weight, "x is").astype(wide.dtype)
    if not x.size:
        return wide
    wide = jnp.where(weight > 0.0, wide, 0.0)
    return _ranks(_rows(wide), _rows(weight)).reshape(x.shape)


def spearman(x: jax.Array, y: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Spearman's correlation: that of Pearson, of ranks.

    Args:
      x, y: ``[..., N]`` of one shape, not nan.
      weight: as in `pearson`; ranks are those of `average_ranks`.

    Returns:
      As `pearson`, 0 for a constant and for fewer than two values.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: as `average_ranks`. Ranks are steps, so that gradients are 0 everywhere:
      nothing can be trained by it, for which `kexue_jax.losses.cosent` is there.

    >>> x = jnp.array([1.0, 2.0, 3.0])
    >>> spearman(x, jnp.exp(9.0 * x)).round(4).item()
    1.0
    """
    lead = x.shape[:-1]
    x, y, heavy = _prepared(*map(jax.lax.stop_gradient, (x, y)), weight)
    return _pearson(_ranks(x, heavy), _ranks(y, heavy), heavy).reshape(lead)


def kendall(x: jax.Array, y: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Kendall's tau-b: pairs in the same order less those in the other.

    .. math:: \frac{\sum_{i<j} w_i w_j\, \mathrm{sgn}(x_i - x_j)\,
              \mathrm{sgn}(y_i - y_j)}{\sqrt{\sum_{i<j} w_i w_j [x_i \neq x_j]}
              \sqrt{\sum_{i<j} w_i w_j [y_i \neq y_j]}}

    Args:
      x, y: ``[..., N]`` of one shape, not nan.
      weight: as in `pearson`.

    Returns:
      As `pearson`, 0 for a constant and for fewer than two values.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: all pairs are compared, in time by the square of N and memory by N.
      Gradients are 0 everywhere.

    >>> kendall(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 3.0, 2.0])).round(4).item()
    0.33329999446868896
    """
    lead = x.shape[:-1]
    x, y, heavy = _prepared(*map(jax.lax.stop_gradient, (x, y)), weight)

    def step(sums, one):
        x_own, y_own, own = one
        x_sign, y_sign = (jnp.sign(a - b[:, None]) for a, b in ((x, x_own), (y, y_own)))
        parts = (x_sign * y_sign, jnp.square(x_sign), jnp.square(y_sign))
        add = [own * jnp.sum(heavy * part, axis=1) for part in parts]
        return tuple(a + b for a, b in zip(sums, add, strict=True)), None

    none = jnp.zeros_like(x, shape=x.shape[:1])
    (both, x_pairs, y_pairs), _ = jax.lax.scan(
        step, (none, none, none), (x.T, y.T, heavy.T)
    )
    some = (x_pairs > 0.0) & (y_pairs > 0.0)
    x_pairs, y_pairs = (jnp.where(some, a, 1.0) for a in (x_pairs, y_pairs))
    tau = jnp.where(some, both / jnp.sqrt(x_pairs) / jnp.sqrt(y_pairs), 0.0)
    return jnp.clip(tau, -1.0, 1.0).reshape(lead)
