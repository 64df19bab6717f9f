"""Flooding: a training loss that does not fall below a level."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def flooded(loss: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
    r"""Returns :math:`|L - b| + b` of losses of any shape.

    Of the losses of single examples, before their mean is taken, it is the individual
    form (iFlood), which floods every example; levels may then differ, too.

    Args:
      loss: L, floating.
      level: b, in the units of the loss; of a shape that broadcasts.

    Numerics: at the level itself the slope is 1, as above it, so that a loss which
      starts there moves.

    Source: https://kexue.fm/archives/7643; Ishida et al., arXiv 2002.08709.

    >>> flooded(jnp.array([0.5, 0.1, 0.2]), 0.2).round(3).tolist()
    [0.5, 0.30000001192092896, 0.20000000298023224]
    """
    return jnp.where(loss >= level, loss, 2.0 * level - loss)


def flooding(loss: Callable, *, level: float) -> Callable:
    r"""Returns the loss :math:`|L - b| + b` of a batch.

    Above the level b it is the loss. Below it the gradient turns round, so that the
    parameters wander where the loss is b instead of fitting every example. A step down
    and a step up of size :math:`\eta` together descend on
    :math:`\frac{\eta^2}{2} \|\nabla L\|^2`.

    It belongs around the loss of the data, so before penalties in the order of `wrap`.
    The level is that of the mean over the batch; of single examples see `flooded`.

    Args:
      loss: ``(params, extras, batch, rng) -> loss, (extras, scores)``.
      level: b, in the units of the loss; a loss ``[K]`` is flooded part by part.

    Returns:
      A loss of the same signature. Its scores gain ``unflooded``, the sum of the loss
      as it was.

    Raises:
      ValueError: if `level` is not finite. A loss that may be negative may have a
        negative level.

    Source: https://kexue.fm/archives/7643; Ishida et al., arXiv 2002.08709.
    """
    if not abs(level) < float("inf"):
        raise ValueError(f"level must be finite, got {level}")

    def wrapped(params, extras, batch, rng):
        value, (extras, scores) = loss(params, extras, batch, rng)
        scores = scores | {"unflooded": jnp.sum(value)}
        return flooded(value, level), (extras, scores)

    return wrapped
