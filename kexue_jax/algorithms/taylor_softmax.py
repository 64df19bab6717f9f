"""Softmax with the exponential replaced by a Taylor polynomial of even order."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.numerics import taylor_exp


def monotone_taylor_exp(inputs: jax.Array, *, order: int = 2) -> jax.Array:
    """The same as `taylor_exp`, but constant to the left of its minimum.

    Larger inputs never give smaller results. Left of the minimum the gradient is 0.
    """
    place, _ = numerics.taylor_exp_minimum(order)
    return taylor_exp(jnp.maximum(inputs, place), order=order)


def _masked_logs(inputs, order, axis, where):
    if where is None:
        logs = numerics.log_taylor_exp(inputs, order=order)
        return jnp.moveaxis(logs, axis, -1), None
    if where.dtype != jnp.bool_ or where.ndim != inputs.ndim:
        raise ValueError(
            f"where must be bool of the rank of inputs {inputs.shape}, got "
            f"{where.dtype} {where.shape}"
        )
    logs = numerics.log_taylor_exp(jnp.where(where, inputs, 0.0), order=order)
    return jnp.moveaxis(logs, axis, -1), jnp.moveaxis(where, axis, -1)


def taylor_softmax(
    inputs: jax.Array,
    *,
    order: int = 2,
    axis: int = -1,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Distribution whose weights are polynomials of the inputs.

    .. math:: p_i = \frac{f_n(x_i)}{\sum_j f_n(x_j)}, \quad
              f_n(x) = \sum_{k \le n} \frac{x^k}{k!}

    Its tails are those of a polynomial: to be sure takes far larger inputs than with
    the softmax. A constant added to all inputs changes the result, so an additive mask
    cannot hide anything; `where` can. Of the inputs left of the minimum of f the lower
    one gets more (`monotone_taylor_softmax` makes them equal).

    Args:
      inputs: ``[..., C, ...]``, any float dtype.
      order: n, even and at least 2.
      axis: along which the result sums to 1.
      where: bool, of the rank of `inputs` and broadcastable to it; True keeps an entry.

    Returns:
      The shape of `inputs`; float32, or wider if `inputs` are. Zeros where nothing is
      kept.

    Raises:
      ValueError: if `order` is odd or below 2, or `where` does not fit.

    Numerics: finite for all finite inputs, with finite gradients.

    Source: https://kexue.fm/archives/7919; de Brebisson and Vincent,
      https://arxiv.org/abs/1511.05042; Banerjee et al.,
      https://arxiv.org/abs/2011.11538, without its margin.
    """
    logs, where = _masked_logs(inputs, order, axis, where)
    return jnp.moveaxis(numerics.masked_softmax(logs, where), -1, axis)


def monotone_taylor_softmax(
    inputs: jax.Array,
    *,
    order: int = 2,
    axis: int = -1,
    where: jax.Array | None = None,
) -> jax.Array:
    """The same as `taylor_softmax`, with `monotone_taylor_exp` in place of the other.

    It keeps the order of the inputs. Those left of the minimum have equal weights and
    no gradient.
    """
    place, _ = numerics.taylor_exp_minimum(order)
    return taylor_softmax(
        jnp.maximum(inputs, place), order=order, axis=axis, where=where
    )


def log_taylor_softmax(
    inputs: jax.Array,
    *,
    order: int = 2,
    axis: int = -1,
    where: jax.Array | None = None,
) -> jax.Array:
    """Logarithm of `taylor_softmax`, whose arguments and errors it shares.

    Returns:
      The shape of `inputs`, in nats; -inf for what is hidden.

    Numerics: finite also where a weight underflows. The slope of the logarithm of f is
      :math:`f_{n-1} / f_n`. Hidden entries have zero gradients.
    """
    logs, where = _masked_logs(inputs, order, axis, where)
    kept = jnp.ones((1,) * logs.ndim, bool) if where is None else where
    top = jnp.max(jnp.where(kept, logs, -jnp.inf), -1, keepdims=True, initial=-jnp.inf)
    top = jax.lax.stop_gradient(jnp.where(top > -jnp.inf, top, 0.0))
    shifted = jnp.where(kept, logs - top, 0.0)
    total = jnp.sum(jnp.where(kept, jnp.exp(shifted), 0.0), axis=-1, keepdims=True)
    result = shifted - jnp.log(jnp.where(total == 0.0, 1.0, total))
    return jnp.moveaxis(jnp.where(kept, result, -jnp.inf), -1, axis)


def log_monotone_taylor_softmax(
    inputs: jax.Array,
    *,
    order: int = 2,
    axis: int = -1,
    where: jax.Array | None = None,
) -> jax.Array:
    """Logarithm of `monotone_taylor_softmax`, as `log_taylor_softmax` is of the other.

    Inputs left of the minimum have no gradient: a class whose input lies there is not
    brought back, however right it would be.
    """
    place, _ = numerics.taylor_exp_minimum(order)
    return log_taylor_softmax(
        jnp.maximum(inputs, place), order=order, axis=axis, where=where
    )
