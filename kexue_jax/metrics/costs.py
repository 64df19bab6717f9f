"""What it costs to move from each of some vectors to each of others."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from kexue_jax import numerics

NEAR = 2e-6  # of the squares of lengths: what products cannot tell from 0 in float32


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


def _products(x, y):
    return jnp.einsum("bmd,bnd->bmn", x, y, precision=jax.lax.Precision.HIGHEST)


def _squares(x, y, exact):
    """Squared distances ``[B, M, N]``."""
    if exact:
        return jnp.sum(jnp.square(x[:, :, None] - y[:, None, :]), axis=3)
    middle = jnp.mean(y, axis=1, keepdims=True)
    common = jnp.sum(jnp.square(middle)) / jnp.maximum(len(y), 1)
    whole = jnp.sum(jnp.square(y)) / max(len(y) * y.shape[1], 1)

    def apart(x, y):
        sizes = jnp.sum(x * x, 2)[:, :, None] + jnp.sum(y * y, 2)[:, None, :]
        found = sizes - 2.0 * _products(x, y)
        return jnp.where(found > NEAR * sizes, found, 0.0)

    def less_middle(x, y):  # what all have in common would cancel
        return apart(x - middle, y - middle)

    return jax.lax.cond(common > 0.2 * whole, less_middle, apart, x, y)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _distances(x, y, exact):
    return jnp.sqrt(_squares(x, y, exact))


@_distances.defjvp
def _distances_jvp(exact, primals, tangents):
    (x, y), (x_way, y_way) = primals, tangents
    found = _distances(x, y, exact)
    apart = found > 0.0
    per = jnp.where(apart, 1.0 / jnp.where(apart, found, 1.0), 0.0)
    own = jnp.sum(x * x_way, 2)[:, :, None] + jnp.sum(y * y_way, 2)[:, None, :]
    change = per * (own - _products(x_way, y) - _products(x, y_way))
    return found, change


def euclidean_costs(x: jax.Array, y: jax.Array, *, exact: bool = False) -> jax.Array:
    r"""Distances :math:`\| x_i - y_j \|` of all pairs.

    Args:
      x: ``[..., M, D]`` floating.
      y: ``[..., N, D]`` with the same leading axes.
      exact: by differences, some twenty times slower; otherwise by products.

    Returns:
      ``[..., M, N]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: by products, of vectors less the mean of `y` where that is much of them,
      the error of a square is about 2e-7 of those of the lengths, and vectors nearer
      than 0.0014 of these are taken for equal. Gradients at equal vectors are 0.
    """
    return _distances(*_pairs(x, y), exact).reshape(*x.shape[:-1], y.shape[-2])


def squared_euclidean_costs(
    x: jax.Array, y: jax.Array, *, exact: bool = False
) -> jax.Array:
    r"""Squared distances :math:`\| x_i - y_j \|^2` of all pairs.

    Arguments, result, errors and numerics are those of `euclidean_costs`.
    """
    return _squares(*_pairs(x, y), exact).reshape(*x.shape[:-1], y.shape[-2])


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
