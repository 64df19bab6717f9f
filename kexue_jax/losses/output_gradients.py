"""What noise on the inputs costs to second order: a penalty on gradients of outputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

KINDS = ("squares", "divergence")


def output_gradient_penalty(
    score: Callable[[jax.Array], jax.Array],
    inputs: jax.Array,
    rng: jax.Array,
    *,
    deviation: float,
    kind: str = "divergence",
    draws: int = 1,
) -> jax.Array:
    r"""Returns what noise of a small deviation adds to a loss, with no noise drawn.

    .. math:: \frac{\sigma^2}{2} \sum_i \lambda_i \|\nabla_x f_i\|^2
              = \frac{\sigma^2}{2} \operatorname{E}\Big\|\nabla_x \sum_i
              \eta_i \sqrt{\lambda_i} f_i\Big\|^2, \qquad \eta_i = \pm 1

    where :math:`\lambda_i` is the second derivative of the loss between what is said of
    x and of x with noise, where both are the same: 2 for the sum of squares, and
    :math:`1/f_i` for the KL divergence of probabilities f, which gives
    :math:`\sum_i f_i \|\nabla \log f_i\|^2`.

    Args:
      score: from inputs to outputs ``[B, ..., C]``, each example by itself; logits for
        ``"divergence"``.
      inputs: x, ``[B, ...]`` floating.
      rng: key of the signs.
      deviation: :math:`\sigma`, not negative.
      kind: ``"squares"`` or ``"divergence"``.
      draws: of the signs, each one more gradient; more of them have less variance.

    Returns:
      ``[]``, the mean over all but the outputs, float32 or wider; unbiased.

    Raises:
      ValueError: if a number is out of range, there is no such kind, or inputs are not
        floating.

    Numerics: finite with its gradient where a probability is 0.

    Source: https://kexue.fm/archives/7466
    """
    if deviation < 0:
        raise ValueError(f"deviation must not be negative, got {deviation}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(f"inputs must be floating, got {inputs.dtype}")
    wide = jnp.promote_types(inputs.dtype, jnp.float32)

    def outputs(x):
        found = score(x.astype(inputs.dtype)).astype(wide)
        return jax.nn.log_softmax(found) if kind == "divergence" else found

    found, pull = jax.vjp(outputs, inputs.astype(wide))
    # sqrt of 2, or of f f / f as the gradients are those of log f
    size = (
        jnp.exp(0.5 * found) if kind == "divergence" else jnp.full_like(found, 2**0.5)
    )
    rows = found.size // max(found.shape[-1], 1)

    def one(key):
        signs = jax.random.rademacher(key, found.shape, wide)
        (slopes,) = pull(signs * size)
        return jnp.sum(jnp.square(slopes))

    total = jnp.mean(jax.lax.map(one, jax.random.split(rng, draws)))
    return 0.5 * deviation**2 * total / max(rows, 1)
