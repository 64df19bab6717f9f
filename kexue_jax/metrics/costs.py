"""What it costs to move from each of some vectors to each of others."""

import math
from functools import partial

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


def _one_by_one(function, *arrays):
    return jax.lax.map(lambda pair: function(*pair), arrays)


def _each(function, *arrays):
    """Calls `function` for each entry of the first axis.

    On a CPU one by one: XLA would copy what it multiplies transposed, and a pair stays
    in the caches.
    """
    return jax.lax.platform_dependent(
        *arrays,
        cpu=partial(_one_by_one, function),
        default=jax.vmap(function),
    )


def _products(x, y):
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def _differences(x, y):
    """Squared distances ``[B, M, N]``, by differences."""
    return jnp.sum(jnp.square(x[:, :, None] - y[:, None, :]), axis=3)


def _less_middle(x, y):
    """Both less the mean of `y`, which could be so much of them that it cancels."""
    middle = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
    return x - middle, y - middle


def _squares_of(x, y):
    """Squared distances ``[M, N]`` of one pair, by products."""
    x, y = _less_middle(x, y)
    sizes = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]
    found = sizes - 2.0 * _products(x, y)
    return jnp.where(found > NEAR * jnp.finfo(x.dtype).eps * sizes, found, 0.0)


def _change_of(x, y, found, x_way, y_way):
    """What the distances of one pair change by."""
    x, y = _less_middle(x, y)
    apart = found > 0.0
    per = jnp.where(apart, 1.0 / jnp.where(apart, found, 1.0), 0.0)
    own = jnp.sum(x * x_way, axis=1)[:, None] + jnp.sum(y * y_way, axis=1)[None, :]
    return per * (own - _products(x_way, y) - _products(x, y_way))


def _squares(x, y):
    """Squared distances ``[B, M, N]``, by products."""
    return _each(_squares_of, x, y)


@jax.custom_jvp
def _distances(x, y):
    """Distances ``[B, M, N]``, by products."""
    return jnp.sqrt(_squares(x, y))


@_distances.defjvp
def _distances_jvp(primals, tangents):
    found = _distances(*primals)
    return found, _each(_change_of, *primals, found, *tangents)


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

    Numerics: by products, of vectors less the mean of `y`, the error of a square is
      about two roundings of those of the lengths, and vectors nearer than 0.0014 of
      these in float32 (6e-8 in float64) are taken for equal.
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
    cosine = _each(_products, x_rows, y_rows) / jnp.where(some, sizes, 1.0)
    found = jnp.clip(1.0 - jnp.where(some, cosine, 0.0), 0.0, 2.0)
    return found.reshape(*x.shape[:-1], y.shape[-2])
