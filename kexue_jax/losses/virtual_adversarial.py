"""Virtual adversarial training: steadiness where no label is needed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kexue_jax.losses.leaves import over_length


def divergence_of_scores(target: jax.Array, scores: jax.Array) -> jax.Array:
    r"""KL divergence :math:`\sum_c p_c (\log p_c - \log q_c)` of softmax distributions.

    Args:
      target, scores: ``[..., C]``, of p and of q.

    Returns:
      ``[...]`` in nats, float32 or wider.
    """
    kind = jnp.promote_types(scores.dtype, jnp.float32)
    log_p, log_q = (jax.nn.log_softmax(x.astype(kind)) for x in (target, scores))
    terms = jnp.exp(log_p) * (log_p - log_q)
    return jnp.sum(jnp.where(jnp.isneginf(log_p), 0.0, terms), axis=-1)


def virtual_adversarial_loss(
    score: Callable[[jax.Array], jax.Array],
    inputs: jax.Array,
    rng: jax.Array,
    *,
    radius: float,
    iterations: int = 1,
    probe: float = 0.1,
    per: str = "example",
) -> jax.Array:
    r"""How far predictions move when the inputs move where that matters most.

    .. math:: \mathrm{KL}(f(x) \,\|\, f(x + \epsilon u)), \quad
              u \leftarrow \nabla_u \mathrm{KL}(f(x) \,\|\, f(x + \xi u)) / \|\cdot\|

    From noise, `iterations` of the power method lead towards the direction of the
    largest curvature of the divergence. None leaves noise, which is consistency
    training; try it, too, as it is cheaper and sometimes better.

    Args:
      score: from inputs to logits ``[B, ..., C]``; the same function, with the same
        dropout, each time.
      inputs: x, ``[B, ...]`` floating.
      rng: key of the noise.
      radius: :math:`\epsilon`, the length of the perturbation.
      iterations: of the power method, each one more gradient.
      probe: :math:`\xi`, the length at which the gradient is taken. Too small a one
        drowns in rounding; the post uses 10 for a table of embeddings.
      per: ``"example"`` or ``"whole"``: what has one length.

    Returns:
      ``[]``, the mean over all but the classes, in nats; no gradient goes through f(x)
      or u.

    Raises:
      ValueError: if a number is out of range or inputs are not floating.

    Numerics: where the gradient is 0 the noise stays as it was.

    Source: https://kexue.fm/archives/7466; Miyato et al., arXiv 1704.03976.
    """
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")
    if iterations < 0:
        raise ValueError(f"iterations must not be negative, got {iterations}")
    if probe <= 0:
        raise ValueError(f"probe must be positive, got {probe}")
    if per not in ("example", "whole"):
        raise ValueError(f"per must be example or whole, got {per!r}")
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(f"inputs must be floating, got {inputs.dtype}")
    axes = tuple(range(1, inputs.ndim)) if per == "example" else None
    target = jax.lax.stop_gradient(score(inputs))

    def apart(change):
        return jnp.mean(divergence_of_scores(target, score(inputs + change)))

    def turn(_, way):
        slope = jax.grad(apart)(probe * way)
        found = over_length(slope, axes)
        seen = jnp.any(found != 0.0, axis=axes, keepdims=True)
        return jnp.where(seen, found, way)

    way = over_length(jax.random.normal(rng, inputs.shape, inputs.dtype), axes)
    way = jax.lax.fori_loop(0, iterations, turn, way)
    return apart(radius * jax.lax.stop_gradient(way))
