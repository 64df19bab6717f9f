"""Adversarial training: the loss at the worst place near what was given.

They wrap a loss ``(params, extras, batch, rng) -> loss, (extras, scores)`` of one
number. The attack sees the network with the same key, so the same dropout, and leaves
no trace in extras. No gradient goes through the perturbation itself.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kexue_jax.losses.leaves import (
    moved,
    over_length,
    read,
    refuse_many,
    safe_norm,
    with_slopes,
)

NORMS = ("l2", "linf", "raw")


def _axes(per, x):
    if per == "whole":
        return None
    return tuple(range(2 if per == "token" else 1, x.ndim))


def _uphill(gradient, norm, per, count):
    """The direction of a step; of a mean over examples their own gradients."""
    if norm == "linf":
        return jnp.sign(gradient)
    if norm == "raw":
        return gradient * (1 if per == "whole" else count)
    return over_length(gradient, _axes(per, gradient))


def _within(x, radius, norm, per):
    if norm == "linf":
        return jnp.clip(x, -radius, radius)
    if norm == "raw":
        return x
    size = safe_norm(x, _axes(per, x))
    share = jnp.minimum(1.0, radius / jnp.where(size > 0.0, size, 1.0))
    return (x.astype(jnp.float32) * share).astype(x.dtype)


def _check(radius, norm, per, steps, step_size):
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {NORMS}, got {norm!r}")
    if per not in ("example", "token", "whole"):
        raise ValueError(f"per must be example, token or whole, got {per!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if norm == "raw" and steps > 1:
        raise ValueError(f"norm raw takes one step, as it has no ball, got {steps}")
    if step_size is not None and step_size <= 0:
        raise ValueError(f"step_size must be positive, got {step_size}")
    if step_size is None:
        return radius if steps == 1 else 2.5 * radius / steps
    return step_size


def uphill_change(
    loss: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    *,
    radius: float,
    norm: str = "l2",
    per: str = "example",
    steps: int = 1,
    step_size: float | None = None,
) -> jax.Array:
    r"""Returns :math:`\delta`, within a radius of x, where the loss is larger.

    Args:
      loss: from x to a number, a mean over the first axis unless ``per="whole"``.
      x, radius, norm, per, steps, step_size: as in `adversarial`.

    Returns:
      Of the shape and dtype of x; no gradient goes through it.

    Raises:
      ValueError: if a number is out of range or there is no such norm.
    """
    stride = _check(radius, norm, per, steps, step_size)
    count = x.shape[0] if x.ndim else 1

    def ascend(_, change):
        slope = jax.grad(lambda change: loss(x + change))(change)
        way = _uphill(slope, norm, per, count)
        change = change + (stride * way).astype(x.dtype)
        return jax.lax.stop_gradient(_within(change, radius, norm, per))

    still = jnp.zeros_like(x)
    return jax.lax.fori_loop(0, steps, ascend, still, unroll=steps == 1)


def adversarial(
    loss: Callable,
    *,
    radius: float,
    leaf: str = "batch/inputs",
    norm: str = "l2",
    per: str = "example",
    steps: int = 1,
    step_size: float | None = None,
    clean: float = 0.0,
) -> Callable:
    r"""Returns :math:`L(x + \delta)` with :math:`\delta` uphill, within a radius.

    One step of norm l2 is the fast gradient method, of norm linf the fast gradient sign
    method, several are projected gradient descent. On the table of embeddings
    (``leaf="params/embed/table", per="whole"``) it is the form of the post, which moves
    all tokens of a kind alike.

    Args:
      loss: a loss of one number, a mean over the batch unless ``per="whole"``.
      radius: :math:`\epsilon`, the length of the perturbation (l2), the size of its
        entries (linf), or what the gradient is multiplied by (raw).
      leaf: what is x: a floating entry of the batch, ``batch/inputs``, or of the
        parameters, ``params/embed/table``, where it was before again afterwards.
      norm: ``"l2"``, ``"linf"`` or ``"raw"``.
      per: what has a ball of its own: each ``"example"`` of the first axis, each
        ``"token"`` of the first two, or the ``"whole"`` of x.
      steps: ascents, each one more gradient.
      step_size: of an ascent; default `radius` for one and ``2.5 * radius / steps``
        for several.
      clean: weight of the loss at x itself, which is added.

    Returns:
      A loss of the same signature, with the extras and scores of the loss at x, and
      ``adversarial_loss``, that at the perturbed place.

    Raises:
      ValueError: if a number is out of range or there is no such norm; when traced, if
        there is no such leaf, it is not floating, or the loss has parts.

    Numerics: norms in float32. What has no gradient, as padding, is not moved.

    Source: https://kexue.fm/archives/7234; Miyato et al., arXiv 1605.07725; Madry et
      al., arXiv 1706.06083.
    """
    _check(radius, norm, per, steps, step_size)
    if clean < 0:
        raise ValueError(f"clean must not be negative, got {clean}")

    def wrapped(params, extras, batch, rng):
        x = read(leaf, params, batch)

        def at(change):
            return loss(*moved(leaf, params, extras, batch, x + change), rng)

        value, rest = at(jnp.zeros_like(x))
        refuse_many("adversarial", value)
        change = uphill_change(
            lambda x: loss(*moved(leaf, params, extras, batch, x), rng)[0],
            x,
            radius=radius,
            norm=norm,
            per=per,
            steps=steps,
            step_size=step_size,
        )
        hard, _ = at(change)
        after, scores = rest
        scores = scores | {"adversarial_loss": hard}
        return hard + clean * value, (after, scores)

    return wrapped


def free_adversarial(
    loss: Callable,
    *,
    radius: float,
    steps: int,
    leaf: str = "batch/inputs",
    norm: str = "l2",
    per: str = "example",
    step_size: float | None = None,
) -> Callable:
    r"""Returns the mean of the losses along an ascent, whose gradients cost no more.

    .. math:: \frac1K \sum_{t<K} L(x + \delta_t), \quad
              \delta_{t+1} = \Pi(\delta_t + \alpha \nabla_x L(x + \delta_t))

    One backward pass gives both the gradient by the parameters, which is kept, and that
    by x, for the next place: K passes, where `adversarial` takes K + 1.

    Args:
      loss, radius, leaf, norm, per, step_size: as in `adversarial`.
      steps: K, at least 2; the first place is x itself.

    Returns:
      A loss of the same signature, with the extras and scores of the loss at x, and
      ``adversarial_loss``, that at the last place.

    Raises:
      ValueError: as `adversarial`, and if `steps` is below 2 or the norm is raw.

    Source: Zhu et al., FreeLB, arXiv 1909.11764, after Shafahi et al., arXiv
      1904.12843, who update the parameters between the passes, which a loss cannot.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    stride = _check(radius, norm, per, steps, step_size)

    def wrapped(params, extras, batch, rng):
        still = jax.lax.stop_gradient(params)
        x = read(leaf, still, batch)

        def passed(params, x):
            value, rest = loss(*moved(leaf, params, extras, batch, x), rng)
            refuse_many("free_adversarial", value)
            return value, rest

        def step(change, _):
            both = jax.value_and_grad(passed, argnums=(0, 1), has_aux=True)
            (value, rest), (slopes, uphill) = both(still, x + change)
            if leaf.startswith("params/"):  # moved, it has no slope of its own
                slopes = moved(leaf, slopes, None, None, uphill)[0]
            way = _uphill(uphill, norm, per, x.shape[0] if x.ndim else 1)
            change = _within(change + (stride * way).astype(x.dtype), radius, norm, per)
            return change, (value, slopes, rest)

        _, (values, slopes, rest) = jax.lax.scan(
            step, jnp.zeros_like(x), None, length=steps
        )
        mean = jax.tree.map(lambda s: jnp.mean(s, axis=0), slopes)
        value = with_slopes(jnp.mean(values), mean, params)
        after, scores = jax.tree.map(lambda r: r[0], rest)
        return value, (after, scores | {"adversarial_loss": values[-1]})

    return wrapped
