"""AdaFactor: the second moment of a matrix kept as its row and column means."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, require_params, safe_root
from kexue_jax.optim.schedules import relative_step


class ScaleByAdafactorState(NamedTuple):
    """Steps taken, and mean squares of the gradients.

    Each leaf of params has `whole`, shaped like it, or else `rows` and `columns`: means
    over one axis, kept with length 1. The other is None.
    """

    count: jax.Array
    rows: Any
    columns: Any
    whole: Any


class _Leaf(NamedTuple):
    update: Any
    rows: Any
    columns: Any
    whole: Any


def factored_axes(shape: tuple[int, ...], least: int = 128) -> tuple[int, int] | None:
    """Returns the axes of the second largest and the largest length, or None.

    None where the second largest is below `least`, as with vectors.
    """
    if len(shape) < 2:
        return None
    *_, smaller, larger = np.argsort(shape)
    return (int(smaller), int(larger)) if shape[smaller] >= max(least, 1) else None


def _again(x: jax.Array, other: jax.Array) -> jax.Array:
    """The same; the compiler does not know it, if each call has another `other`.

    XLA would else make the square, which is summed along two axes, as an array like
    the gradient; on a CPU that takes several times as long as to read that again.
    """
    return jax.lax.optimization_barrier((x, other))[0]


def _inverse_root(x: jax.Array) -> jax.Array:
    """One over the root; 0 where x is 0."""
    seen = x > 0
    return jnp.where(seen, jax.lax.rsqrt(jnp.where(seen, x, 1.0)), 0.0)


def _root_mean_square(x: jax.Array) -> jax.Array:
    return safe_root(jnp.sum(x * x) / max(x.size, 1))


def scale_by_adafactor(
    decay: float = 0.8,
    eps: float = 1e-30,
    *,
    clip: float | None = 1.0,
    min_scale: float | None = 1e-3,
    min_dim_size_to_factor: int = 128,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformation:
    r"""Returns AdaFactor's direction: what is left is to multiply by the rate.

    .. math:: r_i \leftarrow \beta_t r_i + (1 - \beta_t) \mathrm{mean}_j (g_{ij}^2
              + \epsilon), \quad s_j \leftarrow \beta_t s_j + (1 - \beta_t)
              \mathrm{mean}_i (g_{ij}^2 + \epsilon), \quad \beta_t = 1 - t^{-c}

    .. math:: u_{ij} = g_{ij} \Big/ \sqrt{r_i s_j / \mathrm{mean}_i\, r_i}, \qquad
              \hat u = \frac{u}{\max(1, \mathrm{RMS}(u) / d)} \max(\epsilon_2,
              \mathrm{RMS}(\theta))

    The product of the means is the matrix of rank 1 nearest to the squares in the
    divergence of Kullback and Leibler; m + n numbers stand for m n. The values are
    those of ``optax.scale_by_factored_rms`` and its companions in ``optax.adafactor``.

    Args:
      decay: c, in (0, 1]; 1 is the mean of all squares.
      eps: :math:`\epsilon`, at least 0, added to squares.
      clip: d, positive: the most that the root mean square of u may be. None: any.
      min_scale: :math:`\epsilon_2`, at least 0, so that what begins at zero can leave
        it. None: there is no factor :math:`\mathrm{RMS}(\theta)`.
      min_dim_size_to_factor: a leaf is factored, along its two longest axes, if both
        have this length; else its squares are kept whole.
      nu_dtype: of what is kept; default, each parameter's.

    Raises:
      ValueError: if an argument is out of range, a leaf is not real and floating, or
        `update` gets no params where `min_scale` asks for them.

    Numerics: computed in float32. Where all squares of a row and `eps` are 0, so is the
      update. The derivative of an update overflows at a gradient of 0 unless `eps` is
      1e-20 or more. Nothing as large as a factored leaf is made beside the update.

    Source: https://kexue.fm/archives/7302; https://arxiv.org/abs/1804.04235
    """
    require(decay > 0, f"decay must be in (0, 1], got {decay}")
    require(decay <= 1, f"decay must be in (0, 1], got {decay}")
    require(eps >= 0, f"eps must be at least 0, got {eps}")
    require(clip is None or clip > 0, f"clip must be positive or None, got {clip}")
    require(
        min_scale is None or min_scale >= 0,
        f"min_scale must be at least 0 or None, got {min_scale}",
    )
    require(
        min_dim_size_to_factor >= 1,
        f"min_dim_size_to_factor must be at least 1, got {min_dim_size_to_factor}",
    )
    name = "scale_by_adafactor"

    def init_leaf(p):
        axes = factored_axes(jnp.shape(p), min_dim_size_to_factor)
        if axes is None:
            return _Leaf(None, None, None, jnp.zeros_like(p, nu_dtype))
        column, row = axes
        like = [
            jax.eval_shape(lambda x, a=a: jnp.sum(x, axis=a, keepdims=True), p)
            for a in (row, column)
        ]
        rows, columns = (jnp.zeros_like(x, nu_dtype) for x in like)
        return _Leaf(None, rows, columns, None)

    def split(tree):
        """A tree of `_Leaf` as a `_Leaf` of trees."""
        return _Leaf(
            *(
                jax.tree.map(
                    lambda leaf, at=at: leaf[at],
                    tree,
                    is_leaf=lambda x: isinstance(x, _Leaf),
                )
                for at in range(len(_Leaf._fields))
            )
        )

    def init(params):
        require_floating(params, name)
        made = split(jax.tree.map(init_leaf, params))
        return ScaleByAdafactorState(jnp.zeros((), jnp.int32), *made[1:])

    def update(updates, state, params=None):
        require_floating(updates, name)
        if min_scale is not None:
            require_params(params, name)
        count = jnp.asarray(optax.safe_increment(state.count))
        rate = count.astype(jnp.result_type(float)) ** -decay

        def mix(old, new):
            wide = widened(old)
            return (wide + rate.astype(wide.dtype) * (new + eps - wide)).astype(
                old.dtype
            )

        def factored(g, rows, columns, axes):
            column, row = axes
            x, y, z = (widened(_again(g, other)) for other in (rate, rows, columns))
            rows = mix(rows, jnp.mean(x * x, axis=row, keepdims=True))
            columns = mix(columns, jnp.mean(y * y, axis=column, keepdims=True))
            left = widened(rows)
            mean = jnp.mean(left, axis=column, keepdims=True)
            left = _inverse_root(left / jnp.where(mean > 0, mean, 1.0))
            right = _inverse_root(widened(columns))
            if clip is None:
                return left, right, 1.0, rows, columns
            # along the last axis, leaves times vectors are summed without being made
            outer, inner = (left, right) if row > column else (right, left)
            squares = jnp.sum(z * z * (inner * inner), max(axes), keepdims=True)
            size = safe_root(jnp.sum(squares * (outer * outer)) / g.size)
            return left, right, size, rows, columns

        def direction(g, p, rows, columns, whole):
            axes = factored_axes(g.shape, min_dim_size_to_factor)
            if axes is not None:
                left, right, size, rows, columns = factored(g, rows, columns, axes)
            else:
                whole = mix(whole, jnp.square(widened(g)))
                left, right, size = _inverse_root(widened(whole)), 1.0, 1.0
                if clip is not None:
                    size = _root_mean_square(widened(g) * left)
            factor = 1.0 if clip is None else 1.0 / jnp.maximum(1.0, size / clip)
            if min_scale is not None:
                factor *= jnp.maximum(_root_mean_square(widened(p)), min_scale)
            step = widened(g) * (left * factor) * right
            return _Leaf(step.astype(g.dtype), rows, columns, whole)

        params = updates if params is None else params
        old = (state.rows, state.columns, state.whole)
        made = split(jax.tree.map(direction, updates, params, *old))
        return made.update, ScaleByAdafactorState(count, *made[1:])

    return optax.GradientTransformation(init, update)


def adafactor(
    learning_rate: optax.ScalarOrSchedule | None = None,
    decay: float = 0.8,
    eps: float = 1e-30,
    weight_decay: float = 0.0,
    mask: Any | None = None,
    *,
    clip: float | None = 1.0,
    min_scale: float | None = 1e-3,
    min_dim_size_to_factor: int = 128,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaFactor: for matrices, memory of m + n numbers in place of Adam's 2 m n.

    Args:
      learning_rate: a number or a schedule, relative to the size of each parameter;
        1e-3 even to fine-tune. None: `relative_step`, times 0.05 if `min_scale` is
        None.
      weight_decay: :math:`\lambda` in :math:`\theta \to (1 - \alpha\lambda)\theta`,
        :math:`\alpha` being the rate, as in ``optax.adamw``. That of
        ``optax.adafactor`` is not multiplied by the rate.
      mask: the leaves that decay, as in ``optax.add_decayed_weights``.
      decay, eps, clip, min_scale, min_dim_size_to_factor, nu_dtype: as in
        `scale_by_adafactor`.

    Source: https://kexue.fm/archives/7302; https://arxiv.org/abs/1804.04235
    """
    if learning_rate is None:
        learning_rate = relative_step(scale=0.05 if min_scale is None else 1.0)
    return optax.chain(
        scale_by_adafactor(
            decay,
            eps,
            clip=clip,
            min_scale=min_scale,
            min_dim_size_to_factor=min_dim_size_to_factor,
            nu_dtype=nu_dtype,
        ),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
