"""The largest curvature of a loss, from products of its Hessian with vectors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree


def largest_curvature(
    grad_fn: Callable[[Any], Any], x: Any, rng: jax.Array, *, iterations: int = 30
) -> jax.Array:
    r"""Returns the top eigenvalue of the Hessian, called the sharpness of a loss.

    Gradient descent with the rate :math:`\eta` is stable where it stays below
    :math:`2 / \eta`. It is found by Lanczos' method from a random vector, whose
    vectors are kept and made orthogonal to each other.

    Args:
      grad_fn: from a tree like x to its gradient, with forward derivatives.
      x: a tree of floating arrays, of n numbers in all.
      rng: a key, of the first vector.
      iterations: products with the Hessian, each about two gradients.

    Returns:
      ``[]``, at most the eigenvalue but for rounding; equal where the iterations reach
      n. It is the algebraically largest: negative where all are. 0 where x has no
      numbers.

    Raises:
      ValueError: if `iterations` is below 1.

    Numerics: in the dtype of x, float32 at least. Vectors take ``iterations * n``
      numbers of memory.

    >>> square = lambda x: jnp.array([3.0, -5.0]) * x
    >>> largest_curvature(square, jnp.ones(2), jax.random.key(0)).round(4).tolist()
    3.0
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    flat, back = ravel_pytree(x)
    if not flat.size:
        return jnp.zeros((), jnp.float32)
    kind = jnp.promote_types(flat.dtype, jnp.float32)
    dot = lambda a, b: jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731

    def product(v):
        direction = back(v.astype(flat.dtype))
        return ravel_pytree(jax.jvp(grad_fn, (x,), (direction,))[1])[0].astype(kind)

    first = jax.random.normal(rng, flat.shape, kind)
    first = first / jnp.linalg.norm(first)
    basis = jnp.zeros((iterations, flat.size), kind).at[0].set(first)

    def step(i, carry):
        basis, diagonal, beside = carry
        image = product(basis[i])
        # A vector of zeros: the space is spanned. The first entry adds nothing new.
        spent = ~jnp.any(basis[i] != 0)
        diagonal = diagonal.at[i].set(
            jnp.where(spent, diagonal[0], dot(basis[i], image))
        )
        rest = image
        for _ in range(2):  # once leaves what rounding has put back
            rest = rest - dot(dot(basis, rest), basis)
        length = jnp.linalg.norm(rest)
        more = length > 1e-5 * jnp.linalg.norm(image)
        beside = beside.at[i].set(jnp.where(more, length, 0.0))
        following = jnp.where(more, rest / jnp.where(more, length, 1.0), 0.0)
        return basis.at[i + 1].set(following, mode="drop"), diagonal, beside

    zero = jnp.zeros(iterations, kind)
    _, diagonal, beside = jax.lax.fori_loop(0, iterations, step, (basis, zero, zero))
    inner = beside[: iterations - 1]
    whole = jnp.diag(diagonal) + jnp.diag(inner, 1) + jnp.diag(inner, -1)
    return jnp.linalg.eigvalsh(whole)[-1]
