"""The multi-label loss of all spans of a text, without an array of all their scores.

Scores are made tile by tile, of a block of starts and a block of ends, and made again
for the gradient. Where no span ends before it starts, nearly half of the tiles are left
out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kexue_jax.algorithms.global_pointer import efficient_span_scores, span_scores
from kexue_jax.algorithms.log_sum_exp import log_one_plus_sum_exp

SIDE, AREA = 128, 2**22  # at most: tokens on a side of a tile, and scores in one


def span_loss(
    query: jax.Array,
    key: jax.Array,
    positives: jax.Array,
    kept: jax.Array | None = None,
    *,
    upper: bool = True,
    scale: float | jax.Array | None = None,
    block: int | None = None,
) -> jax.Array:
    r"""Multi-label cross-entropy of the scores of `span_scores`, of every type.

    .. math:: \log\Big(1 + \sum_{(i, j) \notin P_c} e^{s_c(i, j)}\Big)
              + \log\Big(1 + \sum_{(i, j) \in P_c} e^{-s_c(i, j)}\Big)

    The sums go over all pairs of tokens kept, of which `upper` leaves those out that
    end before they start.

    Args:
      query: ``[B, T, C, H]``, of starts, turned by their positions.
      key: ``[B, T, C, H]``, of ends, likewise.
      positives: P, ``[B, C, K, 2]`` integers, starts and ends, both included. What is
        not in ``[0, T)``, as -1 is not, is padding; so is a pair that is not summed
        over. A pair that comes twice counts once.
      kept: bool ``[B, T]``; True keeps a token. None: all.
      upper: whether no span ends before it starts.
      scale: of the inner products; default ``1 / sqrt(H)``.
      block: tokens on a side of a tile; default at most 128, and fewer where tiles of
        all B C maps would have more than 2^22 scores.

    Returns:
      ``[B, C]`` float32, or float64 if an argument is; never below 0.

    Raises:
      ValueError: if the shapes disagree, `positives` are no integers, `kept` is not
        bool, or `block` is below 1.

    Numerics: equal to `sparse_multilabel_cross_entropy` of the scores, and its gradient
      to the gradient of that, up to the order of sums. Memory is that of the arguments,
      their gradients and a few tiles. Features are to be finite at all tokens.

    Source: https://kexue.fm/archives/8373, whose program holds all scores.

    >>> features = jnp.ones((1, 2, 1, 4))
    >>> positives = jnp.array([[[[0, 1], [-1, -1]]]])
    >>> loss = jax.jit(span_loss)(features, features, positives)
    >>> round(loss.item(), 3)  # of 3 scores of 2
    2.886
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    starts, ends = (query * jnp.asarray(scale, query.dtype),), (key,)
    return _checked(_plain, starts, ends, positives, kept, upper, block)


def efficient_span_loss(
    query: jax.Array,
    key: jax.Array,
    start_terms: jax.Array,
    end_terms: jax.Array,
    positives: jax.Array,
    kept: jax.Array | None = None,
    *,
    upper: bool = True,
    scale: float | jax.Array | None = None,
    block: int | None = None,
) -> jax.Array:
    """`span_loss` of the scores of `efficient_span_scores`.

    Args:
      query, key: ``[B, T, H]``, of starts and of ends, turned by their positions.
      start_terms, end_terms: ``[B, T, C]``.
      positives, kept, upper, scale, block: of `span_loss`.

    Returns:
      ``[B, C]`` float32, or float64 if an argument is; never below 0.

    Raises:
      ValueError: as `span_loss`.

    Source: https://kexue.fm/archives/8877, whose program holds all scores.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    starts = (query * jnp.asarray(scale, query.dtype), start_terms)
    ends = (key, end_terms)
    return _checked(_efficient, starts, ends, positives, kept, upper, block)


def _plain(query, key):
    return span_scores(query, key, scale=1.0)


def _efficient(query, start_terms, key, end_terms):
    return efficient_span_scores(query, key, start_terms, end_terms, scale=1.0)


class _Plan(NamedTuple):
    """What is known before any array is."""

    scores: Callable[..., jax.Array]  # (*of starts, *of ends) -> [B, C, t, s]
    block: int
    count: int  # blocks on a side
    upper: bool

    def tiles(self):
        """Rows and columns ``[N]`` of the tiles in which there are spans."""
        rows, columns = np.indices((self.count, self.count), np.int32).reshape(2, -1)
        some = (rows <= columns) | (not self.upper)
        return jnp.asarray(rows[some]), jnp.asarray(columns[some])

    def cut(self, array, block):
        """Returns a block ``[B, t, ...]`` of ``[B, T, ...]``."""
        return lax.dynamic_slice_in_dim(array, block * self.block, self.block, axis=1)

    def added(self, array, block, more):
        """Adds to a block."""
        more = self.cut(array, block) + more.astype(array.dtype)
        start = block * self.block
        return lax.dynamic_update_slice_in_dim(array, more, start, axis=1)


class _Inputs(NamedTuple):
    """What scores are made of, ``[B, T, ...]`` each, and what is said of them."""

    starts: tuple[jax.Array, ...]
    ends: tuple[jax.Array, ...]
    positives: Any  # [B, C, K, 2], none twice; -1 is padding
    kept: Any  # bool [B, T]


def _parts(plan, inputs, row, column):
    """What a tile is made of: features, spans, and places of positives in it."""
    starts = [plan.cut(x, row) for x in inputs.starts]
    ends = [plan.cut(x, column) for x in inputs.ends]
    kept = [plan.cut(inputs.kept, block) for block in (row, column)]
    spans = kept[0][:, None, :, None] & kept[1][:, None, None, :]
    offset, size = jnp.stack([row, column]) * plan.block, plan.block
    if plan.upper:
        place = jnp.arange(size, dtype=jnp.int32)
        order = place[:, None] + offset[0] <= place[None, :] + offset[1]
        spans &= order[None, None]
    local = inputs.positives - offset.reshape(1, 1, 1, 2)
    inside = jnp.all((local >= 0) & (local < size), axis=-1)
    places = jnp.where(inside, local[..., 0] * size + local[..., 1], size * size)
    return starts, ends, spans, places


def _flat(tile):
    return tile.reshape(*tile.shape[:2], -1)


@partial(jax.vmap, in_axes=(0, 0, 0))
@partial(jax.vmap, in_axes=(0, 0, 0))
def _put(tile, places, values):
    """Writes values ``[K]`` into a tile ``[t * t]``; places beyond it are dropped."""
    return tile.at[places].set(values, mode="drop")


def _sums(plan, inputs):
    """Logarithms ``[B, C]`` of both sums, and the scores ``[B, C, K]`` of positives."""
    rows, columns = plan.tiles()
    shape = inputs.positives.shape[:-1]
    dtype = jax.eval_shape(plan.scores, *inputs.starts, *inputs.ends).dtype
    nothing, zeros = jnp.full(shape, -jnp.inf, dtype), jnp.zeros(shape[:-1], dtype)

    def more(index, state):
        top, total, own = state
        starts, ends, spans, places = _parts(plan, inputs, rows[index], columns[index])
        scores = _flat(jnp.where(spans, plan.scores(*starts, *ends), -jnp.inf))
        found = jnp.take_along_axis(
            scores, places, axis=-1, mode="fill", fill_value=-jnp.inf
        )
        scores = _put(scores, places, nothing)
        new = jnp.maximum(top, jnp.max(scores, axis=-1))
        rest = jnp.sum(jnp.exp(scores - new[..., None]), axis=-1)
        return new, total * jnp.exp(top - new) + rest, jnp.maximum(own, found)

    # The top begins as 0, that of the 1 in the sum, which itself is added at the end.
    start = (zeros, zeros, nothing)
    top, total, own = lax.fori_loop(0, len(rows), more, start)
    large = top > 0.0
    inner = jnp.where(large, jnp.exp(-top) + total, 1.0)
    small = jnp.log1p(jnp.where(large, 0.0, total))
    wrong = jnp.where(large, top + jnp.log(inner), small)
    missed = log_one_plus_sum_exp(jnp.where(own != -jnp.inf, -own, -jnp.inf))
    return wrong, missed, own


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(plan, inputs):
    wrong, missed, _ = _sums(plan, inputs)
    return wrong + missed


def _loss_forward(plan, inputs):
    sums = _sums(plan, inputs)
    return sums[0] + sums[1], (inputs, sums)


def _loss_backward(plan, saved, change):
    inputs, (wrong, missed, own) = saved
    rows, columns = plan.tiles()
    wrong, missed, change = (x[..., None] for x in (wrong, missed, change))
    some = own != -jnp.inf
    pull = -change * jnp.exp(jnp.where(some, -own - missed, -jnp.inf))
    operands = (*inputs.starts, *inputs.ends)

    def more(index, grads):
        row, column = rows[index], columns[index]
        starts, ends, spans, places = _parts(plan, inputs, row, column)
        scores, backward = jax.vjp(plan.scores, *starts, *ends)
        weights = jnp.exp(_flat(jnp.where(spans, scores, -jnp.inf)) - wrong)
        # Those of positives may have overflown; they are written over.
        weights = _put(change * weights, places, pull)
        blocks = [row] * len(starts) + [column] * len(ends)
        news = backward(weights.reshape(scores.shape))
        return [plan.added(*own) for own in zip(grads, blocks, news, strict=True)]

    grads = [jnp.zeros_like(x, jnp.result_type(x, wrong)) for x in operands]
    grads = lax.fori_loop(0, len(rows), more, grads)
    grads = [x.astype(like.dtype) for x, like in zip(grads, operands, strict=True)]
    cut = len(inputs.starts)
    return (_Inputs(tuple(grads[:cut]), tuple(grads[cut:]), None, None),)


_loss.defvjp(_loss_forward, _loss_backward)


def _once(positives, length):
    """Positives ``[B, C, K, 2]``; those that come twice or lie outside become -1."""
    start, end = jnp.moveaxis(positives.astype(jnp.int32), -1, 0)
    inside = (start >= 0) & (start < length) & (end >= 0) & (end < length)
    flat = jnp.sort(jnp.where(inside, start * length + end, -1), axis=-1)
    ahead = jnp.concatenate([jnp.full_like(flat[..., :1], -1), flat[..., :-1]], axis=-1)
    pairs = jnp.stack([flat // length, flat % length], axis=-1)
    return jnp.where((flat != ahead)[..., None], pairs, -1)


def _padded(array, length):
    widths = [(0, 0), (0, length - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
    return jnp.pad(array, widths)


def _checked(scores, starts, ends, positives, kept, upper, block):
    """Checks all arguments, pads them to whole blocks, and returns the loss."""
    batch, types, length, last = jax.eval_shape(scores, *starts, *ends).shape
    if length != last or not length:
        raise ValueError(
            "query and key must have as many tokens, at least 1, got "
            f"{length} and {last}"
        )
    wanted = (batch, types, *positives.shape[2:3], 2)
    if positives.shape != wanted or not jnp.issubdtype(positives.dtype, jnp.integer):
        raise ValueError(
            f"positives must be integers [{batch}, {types}, K, 2], got "
            f"{positives.dtype} {positives.shape}"
        )
    kept = jnp.ones((batch, length), bool) if kept is None else kept
    if kept.dtype != jnp.bool_ or kept.shape != (batch, length):
        raise ValueError(
            f"kept must be bool {(batch, length)}, got {kept.dtype} {kept.shape}"
        )
    if block is None:
        block = min(SIDE, max(int((AREA / max(batch * types, 1)) ** 0.5), 8))
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    count = -(-length // block)
    block = -(-length // count)
    whole = block * count
    starts, ends = (tuple(_padded(x, whole) for x in own) for own in (starts, ends))
    inputs = _Inputs(starts, ends, _once(positives, length), _padded(kept, whole))
    return _loss(_Plan(scores, block, count, upper), inputs)
