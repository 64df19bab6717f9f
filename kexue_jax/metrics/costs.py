"""What it costs to move from each of some vectors to each of others."""

import math

import jax
import jax.numpy as jnp

from kexue_jax import numerics

NEAR = 16  # roundings of the squares of lengths, which products cannot tell from 0
FEW = 32  # dimensions in which differences cost little


def _pairs(x, y):
    if (
        x.ndim < 2
        or y.ndim != x.ndim
        or x.shape[:-2] != y.shape[:-2]
        or x.shape[-1] != y.shape[-1]
    ):
        raise ValueError(
            f"x and y must be [..., M, D] and [..., N, D], got {x.shape} and {y.shape}"
        )
    x, y = numerics.widened(x), numerics.widened(y)
    kind = jnp.promote_types(x.dtype, y.dtype)
    lead = math.prod(x.shape[:-2])
    return [a.astype(kind).reshape(lead, *a.shape[-2:]) for a in (x, y)]


def _at_once(x, y):
    return jnp.einsum("bmd,bnd->bmn", x, y, precision=jax.lax.Precision.HIGHEST)


def _one_by_one(x, y):
    return jax.lax.map(lambda pair: jnp.matmul(pair[0], pair[1].T), (x, y))


def _products(x, y):
    """Products ``[B, M, N]``; at once XLA would copy y transposed on a CPU."""
    return jax.lax.platform_dependent(x, y, cpu=_one_by_one, default=_at_once)


def _differences(x, y):
    """Squared distances ``[B, M, N]``, by differences."""
    return jnp.sum(jnp.square(x[:, :, None] - y[:, None, :]), axis=3)


def _sizes(x):
    return jnp.sum(jnp.square(x), axis=2)


def _middle(y, y_sizes):
    """The mean of `y`, and whether it is so much of all that it would cancel."""
    middle = jnp.mean(y, axis=1, keepdims=True)
    common = jnp.sum(jnp.square(middle)) / max(len(y), 1)
    return middle, common > 0.2 * jnp.sum(y_sizes) / max(y_sizes.size, 1)


def _squares(x, y):
    """Squared distances ``[B, M, N]``, by products."""

    def apart(x, y, x_sizes, y_sizes):
        sizes = x_sizes[:, :, None] + y_sizes[:, None, :]
        found = sizes - 2.0 * _products(x, y)
        return jnp.where(found > NEAR * jnp.finfo(x.dtype).eps * sizes, found, 0.0)

    def less_middle(x, y, *sizes):
        del sizes
        x, y = x - middle, y - middle
        return apart(x, y, _sizes(x), _sizes(y))

    arrays = x, y, _sizes(x), _sizes(y)
    middle, is_much = _middle(y, arrays[3])
    return jax.lax.cond(is_much, less_middle, apart, *arrays)


@jax.custom_jvp
def _distances(x, y):
    """Distances ``[B, M, N]``, by products."""
    return jnp.sqrt(_squares(x, y))


@_distances.defjvp
def _distances_jvp(primals, tangents):
    (x, y), (x_way, y_way) = primals, tangents
    found = _distances(x, y)
    apart = found > 0.0
    per = jnp.where(apart, 1.0 / jnp.where(apart, found, 1.0), 0.0)
    middle, _ = _middle(y, _sizes(y))
    x, y = x - middle, y - middle
    own = jnp.sum(x * x_way, 2)[:, :, None] + jnp.sum(y * y_way, 2)[:, None, :]
    change = per * (own - _products(x_way, y) - _products(x, y_way))
    return found, change


def _is_exact(exact, size):
    return size <= FEW if exact is None else exact


def euclidean_costs(
    x: jax.Array, y: jax.Array, *, exact: bool | None = None
) -> jax.Array:
    r"""Distances :math:`\| x_i - y_j \|` of all pairs.

    Args:
      x: ``[..., M, D]`` floating.
      y: ``[..., N, D]`` with the same leading axes.
      exact: whether by differences, which takes longer in many dimensions, or by
        products; None is by differences in at most 32.

    Returns:
      ``[..., M, N]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: by products, of vectors less the mean of `y` where that is much of them,
      the error of a square is about two roundings of those of the lengths, and vectors
      nearer than 0.0014 of these in float32 (6e-8 in float64) are taken for equal.
      Gradients at equal vectors are 0.
    """
    pairs = _pairs(x, y)
    if _is_exact(exact, x.shape[-1]):
        square = _differences(*pairs)
        some = square > 0.0
        found = jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)
    else:
        found = _distances(*pairs)
    return found.reshape(*x.shape[:-1], y.shape[-2])


def squared_euclidean_costs(
    x: jax.Array, y: jax.Array, *, exact: bool | None = None
) -> jax.Array:
    r"""Squared distances :math:`\| x_i - y_j \|^2` of all pairs.

    Arguments, result, errors and numerics are those of `euclidean_costs`.
    """
    squares = _differences if _is_exact(exact, x.shape[-1]) else _squares
    return squares(*_pairs(x, y)).reshape(*x.shape[:-1], y.shape[-2])


def lengths(x: jax.Array) -> jax.Array:
    """Returns norms ``[...]`` of ``[..., D]``; gradients at zero vectors are 0."""
    square = jnp.sum(jnp.square(numerics.widened(x)), axis=-1)
    some = square > 0.0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)


def cosine_costs(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""One less the cosine of all pairs, from 0 to 2.

    Args:
      x, y: as in `euclidean_costs`; a zero vector is at 1 from all.

    Returns:
      ``[..., M, N]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: products are exact to 1e-7, so equal directions may be that far apart.
    """
    x_rows, y_rows = _pairs(x, y)
    sizes = lengths(x_rows)[:, :, None] * lengths(y_rows)[:, None, :]
    some = sizes > 0.0
    cosine = _products(x_rows, y_rows) / jnp.where(some, sizes, 1.0)
    found = jnp.clip(1.0 - jnp.where(some, cosine, 0.0), 0.0, 2.0)
    return found.reshape(*x.shape[:-1], y.shape[-2])
