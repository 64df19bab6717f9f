"""Score-function gradients: a reward that has none, through the odds of what was drawn.

Also known as REINFORCE or the policy gradient.
"""

import jax
import jax.numpy as jnp

from kexue_jax.numerics import widened

BASELINES = ("none", "mean", "leave_one_out")


def _baseline(baseline: str | jax.Array, reward: jax.Array) -> jax.Array:
    if not isinstance(baseline, str):
        return jnp.broadcast_to(widened(jnp.asarray(baseline)), reward.shape)
    if baseline not in BASELINES:
        raise ValueError(
            f"baseline must be an array or one of {BASELINES}, got {baseline!r}"
        )
    if baseline == "none":
        return jnp.zeros_like(reward)
    mean = jnp.mean(reward, axis=-1, keepdims=True)
    count = reward.shape[-1]
    if baseline == "mean":
        return jnp.broadcast_to(mean, reward.shape)
    if count < 2:
        raise ValueError(f"leave_one_out needs at least 2 samples, got {count}")
    return (count * mean - reward) / (count - 1)


def score_function_loss(
    log_probability: jax.Array,
    reward: jax.Array,
    *,
    baseline: str | jax.Array = "leave_one_out",
) -> jax.Array:
    r"""Returns a surrogate whose gradient is minus that of the expected reward.

    .. math:: -\frac1K \sum_k (r_k - b_k) \log p(y_k), \quad y_k \sim p

    Its value means nothing. A baseline that does not depend on its own sample leaves
    the mean of the gradient as it is and takes away variance.

    Args:
      log_probability: ``[..., K]``, of what was drawn; K samples of one distribution,
        or of many alike. From logits, not from logarithms of probabilities.
      reward: ``[..., K]``, higher is better.
      baseline: ``"none"``; ``"mean"``, of the K, which makes the gradient
        ``(K - 1) / K`` as long; ``"leave_one_out"``, the mean of the other samples; or
        an array that broadcasts to the reward, such as the reward of the likeliest
        choice (self-critical training) or `optimal_baseline`.

    Returns:
      ``[]``, the mean over all axes; 0 where there is nothing.

    Raises:
      ValueError: if the shapes differ, there is no such baseline, or one sample is to
        be left out of one.

    Numerics: float32 or wider. No gradient goes through reward or baseline.

    Source: https://kexue.fm/archives/7737; Williams, 1992. The post has the mean; Kool
      et al., 2019, leave one out; Rennie et al., arXiv 1612.00563, take the greedy
      choice.

    >>> logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    >>> def loss(logits):
    ...     log_p = jax.nn.log_softmax(logits)[jnp.array([0, 2])]
    ...     return score_function_loss(log_p, jnp.array([1.0, 0.0]), baseline="none")
    >>> [round(float(g), 2) for g in jax.grad(loss)(logits)]
    [-0.25, 0.15, 0.1]
    """
    if log_probability.shape != reward.shape or not reward.ndim:
        raise ValueError(
            "log_probability and reward must both be [..., K], got "
            f"{log_probability.shape} and {reward.shape}"
        )
    reward = widened(reward)
    advantage = jax.lax.stop_gradient(reward - _baseline(baseline, reward))
    return -jnp.sum(advantage * widened(log_probability)) / max(reward.size, 1)


def expected_reward_loss(logits: jax.Array, reward: jax.Array) -> jax.Array:
    r"""Returns minus the mean of :math:`\sum_y p(y) r(y)`, where every reward is known.

    Its gradient by the logits is :math:`-p\,(r - p \cdot r)`: nothing need be drawn. A
    maximiser orders p as r is ordered, which is more than the likeliest choice needs.

    Args:
      logits: ``[..., C]``.
      reward: ``[..., C]``, that of each choice; no gradient goes through it.

    Returns:
      ``[]``, the mean over the leading axes.

    Raises:
      ValueError: if the shapes differ.

    Source: https://kexue.fm/archives/7737
    """
    if logits.shape != reward.shape or not logits.ndim:
        raise ValueError(
            f"logits and reward must both be [..., C], got {logits.shape} and "
            f"{reward.shape}"
        )
    probability = jax.nn.softmax(widened(logits))
    reward = jax.lax.stop_gradient(widened(reward))
    rows = max(reward.size // max(reward.shape[-1], 1), 1)
    return -jnp.sum(probability * reward) / rows


def softmax_score_norms(logits: jax.Array) -> jax.Array:
    r"""Returns :math:`\|\nabla_z \log p(y)\|^2 = 1 - 2 p_y + \|p\|^2` of each y.

    Args:
      logits: z, ``[..., C]``.

    Returns:
      ``[..., C]`` float32 or wider, for `optimal_baseline`.
    """
    p = jax.nn.softmax(widened(logits))
    return 1.0 - 2.0 * p + jnp.sum(p * p, axis=-1, keepdims=True)


def optimal_baseline(
    reward: jax.Array, squared_norm: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    r"""Returns the one number with which a score-function gradient varies least.

    .. math:: b^* = \frac{E[r \|\nabla \log p\|^2]}{E[\|\nabla \log p\|^2]}

    Exact with every choice and its probability as the weight; of samples an estimate,
    which depends on each of them.

    Args:
      reward: ``[..., K]``.
      squared_norm: ``[..., K]``, of the gradient of the log-probability of each; for a
        softmax by its logits `softmax_score_norms`.
      weight: ``[..., K]``, at least 0; default all alike.

    Returns:
      ``[..., 1]`` float32 or wider; 0 where all norms or weights are 0.

    Raises:
      ValueError: if the shapes differ.

    Source: https://kexue.fm/archives/7737
    """
    weight = jnp.ones_like(squared_norm) if weight is None else weight
    if not reward.shape == squared_norm.shape == weight.shape or not reward.ndim:
        raise ValueError(
            "reward, squared_norm and weight must all be [..., K], got "
            f"{reward.shape}, {squared_norm.shape} and {weight.shape}"
        )
    share = widened(weight) * widened(squared_norm)
    total = jnp.sum(share, axis=-1, keepdims=True)
    some = total > 0.0
    mean = jnp.sum(share * widened(reward), axis=-1, keepdims=True)
    return jnp.where(some, mean / jnp.where(some, total, 1.0), 0.0)
