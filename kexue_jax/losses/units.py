"""The same losses in other units: a factor on each, a constant added to each."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp


def in_units(
    loss: Callable, *, scales: Sequence[float], shifts: Sequence[float]
) -> Callable:
    r"""Returns the task's loss with :math:`L_k` replaced by :math:`s_k L_k + c_k`.

    For a config's ``wrap``: what is trained changes its units, what is evaluated does
    not. A method that weighs objectives may be asked whether it cares.

    Args:
      loss: ``(params, extras, batch, rng) -> loss [K], (extras, scores)``.
      scales, shifts: s and c, K numbers each; the scales positive.

    Returns:
      A function like `loss`; the scores are as they were.

    Raises:
      ValueError: if the lengths differ or a scale is not positive; when traced, if the
        loss is not ``[K]``.

    Source: https://kexue.fm/archives/8870
    """
    scales, shifts = tuple(scales), tuple(shifts)
    if len(scales) != len(shifts) or not all(scale > 0 for scale in scales):
        raise ValueError(
            f"scales must be positive and as many as shifts, got {scales} and {shifts}"
        )

    def changed(params, extras, batch, rng):
        value, rest = loss(params, extras, batch, rng)
        if value.shape != (len(scales),):
            raise ValueError(
                f"scales are for {len(scales)} losses, but the loss is {value.shape}"
            )
        factors, constants = (jnp.asarray(x, value.dtype) for x in (scales, shifts))
        return value * factors + constants, rest

    return changed
