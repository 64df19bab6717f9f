"""Sharpness-aware minimisation as a change of the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kexue_jax.losses.leaves import refuse_many


def sharpness_aware(loss: Callable, *, radius: float) -> Callable:
    r"""Returns :math:`L(\theta + \rho\, g / \|g\|)`, the step itself a constant.

    To first order it adds :math:`\rho \|\nabla L\|`, not squared. As a transform it is
    `optax.contrib.sam`, which spends a step of the loop on each of the two gradients.

    Args:
      loss: ``(params, extras, batch, rng) -> loss, (extras, scores)``, of one number.
      radius: :math:`\rho`, not negative, over the whole tree.

    Returns:
      A loss of the same signature, with the extras and scores of the loss at the
      parameters themselves, and ``sharp_loss``, that at the place it steps to.

    Raises:
      ValueError: if `radius` is negative; when traced, if the loss has parts.

    Numerics: the norm in float32; without a gradient there is no step.

    Source: Foret et al., arXiv 2010.01412.
    """
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")

    def wrapped(params, extras, batch, rng):
        def plain(params):
            value, rest = loss(params, extras, batch, rng)
            refuse_many("sharpness_aware", value)
            return value, rest

        slopes, (after, scores) = jax.grad(plain, has_aux=True)(params)
        slopes = jax.lax.stop_gradient(slopes)
        squares = [
            jnp.sum(jnp.square(s.astype(jnp.float32))) for s in jax.tree.leaves(slopes)
        ]
        length = jnp.sqrt(sum(squares, start=jnp.zeros(())))
        stride = radius / jnp.where(length > 0.0, length, 1.0)
        moved = jax.tree.map(
            lambda p, s: p + (stride * s).astype(p.dtype), params, slopes
        )
        value, _ = plain(moved)
        return value, (after, scores | {"sharp_loss": value})

    return wrapped
