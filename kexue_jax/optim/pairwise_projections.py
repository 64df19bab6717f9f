"""Merges that correct gradients pair by pair, in an order drawn at random.

What has been done to a gradient is kept as its K coefficients, so the double loop over
pairs never touches a parameter.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from kexue_jax.optim import objectives as many


def _orders(key: jax.Array, objectives: int) -> jax.Array:
    """For each objective the others, and itself, in an order of its own: ``[K, K]``."""
    drawn = jax.random.uniform(key, (objectives, objectives))
    return jnp.argsort(drawn, axis=1)


def _in_turn(meet, key, gram, extra):
    """Lets each gradient meet the others in its order.

    ``meet(coefficients [K], j, extra [K])`` returns both, changed.
    """
    objectives = len(gram)

    def one(i, order, coefficients, extra):
        def step(place, carry):
            j = order[place]
            met = meet(*carry, j)
            return jax.tree.map(
                lambda new, old: jnp.where(j == i, old, new), met, carry
            )

        return jax.lax.fori_loop(0, objectives, step, (coefficients, extra))

    start = jnp.eye(objectives, dtype=gram.dtype)
    places = jnp.arange(objectives)
    return jax.vmap(one)(places, _orders(key, objectives), start, extra)


def pcgrad(
    objectives: int, *, seed: int = 0, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the sum of the gradients, each without its conflicts (PCGrad).

    Each in turn meets the others in random order; where the inner product with another
    is negative, it loses its part along that other.

    Args:
      objectives: K.
      seed: of the orders; the state keeps the key's two words.
      shared_mask: as in `objectives.merge`.

    Source: https://arxiv.org/abs/2001.06782
    """

    def weigh(gram, losses, memory):
        del losses
        after, now = jax.random.split(jax.random.wrap_key_data(memory))

        def meet(coefficients, extra, j):
            inner = jnp.vdot(coefficients, gram[:, j])
            square = gram[j, j]
            part = jnp.minimum(inner, 0.0) / jnp.where(square > 0, square, 1.0)
            return coefficients.at[j].add(jnp.where(square > 0, -part, 0.0)), extra

        none = jnp.zeros_like(gram)
        coefficients, _ = _in_turn(meet, now, gram, none)
        return jnp.sum(coefficients, axis=0), jax.random.key_data(after), {}

    return many.merge(
        weigh,
        objectives=objectives,
        memory=lambda: jax.random.key_data(jax.random.key(seed)),
        shared_mask=shared_mask,
    )


def gradvac(
    objectives: int, *, decay: float = 0.5, seed: int = 0, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the sum of the gradients, each turned to a usual angle (GradVac).

    As `pcgrad`; but a gradient p whose cosine c with g is below the running mean
    :math:`\rho` of that pair gets so much of g that the cosine is :math:`\rho`:

    .. math:: p + g \frac{\|p\| (\rho \sqrt{1 - c^2} - c \sqrt{1 - \rho^2})}
              {\|g\| \sqrt{1 - \rho^2}}

    The mean then moves to :math:`(1 - \beta)\rho + \beta c`, whether or not p was
    changed. With :math:`\beta = 0` this is `pcgrad`.

    Args:
      objectives: K.
      decay: :math:`\beta`, in [0, 1].
      seed: of the orders; the state keeps the key's two words.
      shared_mask: as in `objectives.merge`.

    Numerics: :math:`\rho` is held below 1 - 1e-6; a gradient of 0 changes nothing.
    Source: https://arxiv.org/abs/2010.05874, with one mean a pair over all parameters.
    """
    many.check_count(objectives)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay}")

    def weigh(gram, losses, memory):
        del losses
        key, usual = memory
        after, now = jax.random.split(jax.random.wrap_key_data(key))

        def meet(coefficients, usual, j):
            own = jnp.einsum("i,ij,j->", coefficients, gram, coefficients)
            sound = (own > 0) & (gram[j, j] > 0)
            own = jnp.sqrt(jnp.where(sound, own, 1.0))
            other = jnp.sqrt(jnp.where(sound, gram[j, j], 1.0))
            cosine = jnp.vdot(coefficients, gram[:, j]) / (own * other)
            cosine = jnp.clip(cosine, -1.0, 1.0)
            rho = jnp.clip(usual[j], -1.0 + 1e-6, 1.0 - 1e-6)
            across = jnp.sqrt(1.0 - jnp.square(rho))
            turn = rho * jnp.sqrt(1.0 - jnp.square(cosine)) / across - cosine
            part = jnp.where(sound & (cosine < rho), own / other * turn, 0.0)
            mean = (1.0 - decay) * usual[j] + decay * cosine
            usual = usual.at[j].set(jnp.where(sound, mean, usual[j]))
            return coefficients.at[j].add(part), usual

        coefficients, usual = _in_turn(meet, now, gram, usual.astype(gram.dtype))
        weights = jnp.sum(coefficients, axis=0)
        return weights, (jax.random.key_data(after), usual.astype(jnp.float32)), {}

    def memory():
        usual = jnp.zeros((objectives, objectives), jnp.float32)
        return jax.random.key_data(jax.random.key(seed)), usual

    return many.merge(
        weigh,
        objectives=objectives,
        memory=memory,
        shared_mask=shared_mask,
    )
