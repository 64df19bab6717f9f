"""Gradients of functions without any, from their values at places nearby."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from kexue_jax.numerics import widened

ESTIMATORS = ("central", "forward", "one_point")
DISTRIBUTIONS = ("normal", "rademacher", "sphere", "orthogonal")
BASELINES = ("none", "leave_one_out", "optimal")


def centred_ranks(values: jax.Array) -> jax.Array:
    """Returns the ranks of values, from -1/2 for the least to 1/2 for the greatest.

    Args:
      values: ``[N]``.

    Returns:
      ``[N]`` float32; equal values share the mean of their ranks, one value alone is 0,
      and a nan makes all of them nan.

    Raises:
      ValueError: if `values` is not ``[N]``.

    Source: Salimans et al., arXiv 1703.03864

    >>> [float(r) for r in centred_ranks(jnp.array([3.0, -7.0, 3.0, 9.0, 4.0]))]
    [-0.125, -0.5, -0.125, 0.5, 0.25]
    """
    if values.ndim != 1:
        raise ValueError(f"values must be [N], got {values.shape}")
    rising = jnp.sort(values)
    below = jnp.searchsorted(rising, values, side="left")
    upto = jnp.searchsorted(rising, values, side="right")
    rank = 0.5 * (below + upto - 1).astype(jnp.float32)
    rank = (rank - 0.5 * (len(values) - 1)) / max(len(values) - 1, 1)
    return jnp.where(jnp.any(jnp.isnan(values)), jnp.nan, rank)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _squared_length(tree: Any) -> jax.Array:
    squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]
    return sum(squares, start=jnp.zeros((), jnp.float32))


def _independent(rng: jax.Array, like: Any, distribution: str) -> Any:
    """One direction, every leaf from a key of its own."""
    signs = distribution == "rademacher"
    draw = jax.random.rademacher if signs else jax.random.normal
    leaves, structure = jax.tree.flatten(like)
    drawn = [  # adding it to zeros like the leaf gives it the leaf's sharding
        jnp.zeros_like(x) + draw(jax.random.fold_in(rng, i), x.shape, x.dtype)
        for i, x in enumerate(leaves)
    ]
    if distribution == "sphere":
        length = jnp.sqrt(_squared_length(drawn))
        scale = math.sqrt(_size(like)) / jnp.where(length > 0.0, length, 1.0)
        drawn = [(scale * u).astype(u.dtype) for u in drawn]
    return jax.tree.unflatten(structure, drawn)


def _orthogonal(rng: jax.Array, like: Any, count: int) -> Any:
    """`count` directions at right angles, along a leading axis of every leaf."""
    flat, unravel = ravel_pytree(like)
    square = jax.random.normal(rng, (flat.size, count), flat.dtype)
    basis, upper = jnp.linalg.qr(square)
    sign = jnp.where(jnp.diagonal(upper) < 0.0, -1.0, 1.0).astype(flat.dtype)
    rows = (math.sqrt(flat.size) * sign)[:, None] * basis.T
    return jax.vmap(unravel)(rows.astype(flat.dtype))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {known}, got {value!r}")


def check_options(
    *,
    deviation: Any,
    directions: int,
    chunk: int,
    estimator: str,
    distribution: str,
    baseline: str,
    shaping: str,
) -> None:
    """Refuses options of `zeroth_order_gradient` that do not go together.

    Raises:
      ValueError: naming the first of them.
    """
    if isinstance(deviation, (int, float)) and not deviation > 0:
        raise ValueError(f"deviation must be positive, got {deviation}")
    for name, value in (("directions", directions), ("chunk", chunk)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    _one_of("estimator", estimator, ESTIMATORS)
    _one_of("distribution", distribution, DISTRIBUTIONS)
    _one_of("baseline", baseline, BASELINES)
    _one_of("shaping", shaping, ("none", "ranks"))
    if baseline != "none" and estimator != "one_point":
        raise ValueError(f"a baseline is for one_point, not for {estimator}")
    if baseline != "none" and directions < 2:
        raise ValueError(f"a baseline needs at least 2 directions, got {directions}")
    if shaping == "ranks" and estimator == "forward":
        raise ValueError("ranks are of central or one_point values, not of forward")


def _weights(values, lengths, here, *, deviation, estimator, baseline, shaping):
    """What each direction is multiplied by, ``[N]``; `values` are ``[N, 2]``."""
    if estimator == "central":
        if shaping == "ranks":
            values = centred_ranks(values.reshape(-1)).reshape(values.shape)
        return (values[:, 0] - values[:, 1]) / (2.0 * deviation)
    values = values[:, 0]
    if shaping == "ranks":
        values = centred_ranks(values)
    if estimator == "forward":
        return (values - here) / deviation
    if baseline != "none":  # of the other directions, so that the mean stays
        share = lengths if baseline == "optimal" else jnp.ones_like(lengths)
        rest = jnp.sum(share) - share
        total = jnp.sum(share * values) - share * values
        values = values - total / jnp.where(rest > 0.0, rest, 1.0)
    return values / deviation


def zeroth_order_gradient(
    f: Callable[[Any], jax.Array],
    x: Any,
    rng: jax.Array,
    *,
    deviation: float | jax.Array,
    directions: int = 1,
    estimator: Literal["central", "forward", "one_point"] = "central",
    distribution: Literal["normal", "rademacher", "sphere", "orthogonal"] = "normal",
    baseline: Literal["none", "leave_one_out", "optimal"] = "none",
    shaping: Literal["none", "ranks"] = "none",
    chunk: int = 1,
    value: jax.Array | None = None,
) -> Any:
    r"""Estimates the gradient of a smoothed function from values alone.

    .. math:: \frac{f(x + \epsilon u) - f(x - \epsilon u)}{2\epsilon} u, \quad
              \frac{f(x + \epsilon u) - f(x)}{\epsilon} u, \quad
              \frac{f(x + \epsilon u) - b}{\epsilon} u

    averaged over directions u of mean 0 and covariance 1. With normal u all three have
    the mean :math:`\nabla E f(x + \epsilon u)`, which tends to the gradient with
    :math:`\epsilon`. Of a linear f with the gradient g the variance, all entries
    together, is :math:`(D + 1)\|g\|^2` with normal u, :math:`(D - 1)\|g\|^2` with the
    others, over the number of directions; the third adds about
    :math:`D (f - b)^2 / \epsilon^2`.

    Args:
      f: from trees like `x` to one number. It is called with leaves in float32 at
        least, as small steps are lost in less; what it draws should come from one key,
        so that all values share it.
      x: a tree of floating arrays.
      rng: key of the directions. They do not depend on `chunk`.
      deviation: :math:`\epsilon > 0`. Too small, and a score that counts does not
        change; too large, and all is smoothed away.
      directions: how many; ``central`` takes two values each, the others one.
      estimator: ``"central"``, ``"forward"`` or ``"one_point"``.
      distribution: ``"normal"``; ``"rademacher"``, signs; ``"sphere"`` of radius
        :math:`\sqrt D`; or ``"orthogonal"``, on the sphere and at right angles to each
        other in blocks of up to D directions. A whole block gives the gradient of a
        linear f exactly; it holds D numbers a direction, all at once, and a QR
        decomposition.
      baseline: b of ``one_point``: ``"none"`` for 0; ``"leave_one_out"``, the mean of
        the other values; ``"optimal"``, their mean by the squared lengths of u, which
        varies least and is f(x) but for :math:`O(\epsilon^2)`.
      shaping: ``"ranks"`` puts `centred_ranks` in place of the values, as evolution
        strategies do; the gradient then has no scale of its own.
      chunk: how many directions are held, and values taken, at once.
      value: f(x), if it is known; read by ``forward``.

    Returns:
      A tree like `x`, in its dtypes; descend along it.

    Raises:
      ValueError: if a number is out of range, there is no such choice or two do not go
        together; when traced, if f gives no single number or a leaf is not floating.

    Numerics: sums in float32 at least. Directions are drawn twice, from the same keys,
      unless one chunk holds them all: memory does not grow with `directions`. A nan or
      an infinity of f reaches the result.

    Source: https://kexue.fm/archives/7737; Nesterov and Spokoiny, 2017; Salimans et
      al., arXiv 1703.03864; Choromanski et al., arXiv 1804.02395 (orthogonal).

    >>> def steps(x):
    ...     return jnp.sum(jnp.where(x > 0.0, 1.0, 0.0))
    >>> slope = zeroth_order_gradient(
    ...     steps, jnp.zeros(2), jax.random.key(0),
    ...     deviation=0.5, directions=20_000, chunk=1_000,
    ... )  # a normal density at 0, over 0.5
    >>> bool(jnp.all(jnp.abs(slope - 0.798) < 0.03))
    True
    """
    options: dict[str, Any] = dict(
        estimator=estimator, baseline=baseline, shaping=shaping
    )
    check_options(
        deviation=deviation,
        directions=directions,
        chunk=chunk,
        distribution=distribution,
        **options,
    )
    wrong = [x for x in jax.tree.leaves(x) if not _is_floating(x)]
    if wrong:
        raise ValueError(f"all leaves of x must be floating, got {wrong[0].dtype}")
    wide = jax.tree.map(lambda x: widened(jnp.asarray(x)), x)
    if not _size(wide):
        return x
    number = _one_number(f)

    def moved(direction, sign):
        return number(jax.tree.map(lambda x, u: x + sign * u, wide, direction))

    def measured(direction):
        step = jax.tree.map(lambda u: (deviation * u).astype(u.dtype), direction)
        values = [moved(step, 1.0)]
        if estimator == "central":
            values.append(moved(step, -1.0))
        return jnp.stack(values), _squared_length(direction)

    at_right_angles = distribution == "orthogonal"
    most = min(_size(wide), directions) if at_right_angles else min(chunk, directions)
    blocks = -(-directions // most)
    rows = -(-directions // blocks)

    def drawn(block):
        if at_right_angles:
            return _orthogonal(jax.random.fold_in(rng, block), wide, rows)
        return jax.vmap(
            lambda index: _independent(
                jax.random.fold_in(rng, index), wide, distribution
            )
        )(block * rows + jnp.arange(rows))

    def valued(block_of_directions):
        if chunk == 1 and rows == 1:  # what cannot be vectorised need not be
            alone = jax.tree.map(lambda u: u[0], block_of_directions)
            return jax.tree.map(lambda v: v[None], measured(alone))
        if chunk >= rows:
            return jax.vmap(measured)(block_of_directions)
        at_once = None if chunk == 1 else chunk
        return jax.lax.map(measured, block_of_directions, batch_size=at_once)

    def summed(weights, block_of_directions):
        return jax.tree.map(
            lambda u: jnp.tensordot(weights.astype(u.dtype), u, axes=1),
            block_of_directions,
        )

    here = jnp.zeros(())
    if estimator == "forward":
        here = number(wide) if value is None else widened(jnp.asarray(value))
    if blocks == 1:
        only = drawn(0)
        values, lengths = valued(only)
    else:
        values, lengths = jax.lax.map(
            lambda block: valued(drawn(block)), jnp.arange(blocks)
        )
    values = values.reshape(-1, values.shape[-1])[:directions]
    lengths = lengths.reshape(-1)[:directions]
    weights = _weights(values, lengths, here, deviation=deviation, **options)
    weights = jnp.pad(weights / directions, (0, blocks * rows - directions))
    if blocks == 1:
        total = summed(weights, only)
    else:

        def add(total, at):
            block, weights = at
            return jax.tree.map(jnp.add, total, summed(weights, drawn(block))), None

        total, _ = jax.lax.scan(
            add,
            jax.tree.map(jnp.zeros_like, wide),
            (jnp.arange(blocks), weights.reshape(blocks, rows)),
        )
    return jax.tree.map(lambda g, x: g.astype(jnp.result_type(x)), total, x)


def _is_floating(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _one_number(f: Callable[[Any], Any]) -> Callable[[Any], jax.Array]:
    def number(x):
        found = jnp.asarray(f(x))
        if found.ndim:
            raise ValueError(f"f must give one number, got the shape {found.shape}")
        return widened(found)

    return number
